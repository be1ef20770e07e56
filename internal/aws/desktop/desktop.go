// Package desktop makes and keeps Amazon WorkSpaces: it is what stands behind workspace.Provider, and the only code
// that knows Amazon's API for them.
//
// It never sends a request again that may have had an effect. A refusal for going too fast is the one answer after which
// that is certain, so it is the one that is met with another attempt; what follows from everything else is decided by
// the caller, who looks first.
package desktop

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/sony/gobreaker/v2"

	"github.com/robco-forge/forge/internal/workspace"
)

const (
	// httpTimeout bounds one attempt, from connecting to the last byte of the answer.
	httpTimeout = 10 * time.Second
	// AmazonRate is how many calls a second Amazon allows an account in a Region; above that it throttles.
	AmazonRate = 2
	// AmazonBurst is how many calls Amazon takes at once from one that has been quiet.
	AmazonBurst = 5
	// batchSize is how many WorkSpaces Amazon takes in one request.
	batchSize = 25
)

// Config says how to reach Amazon.
type Config struct {
	Endpoint string // where the API is; "" is Amazon
	// Limiter gives every attempt its turn; nil is one of this process alone, with Amazon's limits.
	Limiter Limiter
	// BreakFor is how long nothing is sent to a Region that has not answered BreakAfter calls on end; 0 is 15 s.
	BreakFor time.Duration
	// Origin names this installation. WorkSpaces that carry another's name, or none, are strangers.
	Origin string
	Logger *slog.Logger // nil is slog.Default()
	// AWS brings credentials and the HTTP client; LoadAWS makes one. Its Region, retryer and number of attempts are not
	// used. A timeout of 10 s is put on its HTTP client unless it has one, and redirects are not followed.
	AWS aws.Config
	// Observe hears of every call when it is over; nil is nobody. It is called from many goroutines.
	Observe func(Call)
}

// Call is a call of Amazon's API that is over, with all its attempts.
type Call struct {
	Operation string // Amazon's name, such as "CreateWorkspaces"
	Region    string
	Outcome   string        // "ok", or the class of the error: "throttled", "ambiguous", …
	Took      time.Duration // with the wait for its turn
}

// Provider is Amazon WorkSpaces. It is safe for concurrent use.
type Provider struct {
	cfg Config
	aws aws.Config

	mu      sync.Mutex
	regions map[string]*region
}

var _ workspace.Provider = (*Provider)(nil)

// region is what is kept for one of Amazon's Regions.
type region struct {
	name    string
	client  *workspaces.Client
	bundles *bundleList
	breaker *gobreaker.CircuitBreaker[struct{}]
}

// New makes a provider. It calls nobody yet.
func New(cfg Config) *Provider {
	if cfg.Limiter == nil {
		cfg.Limiter = &Local{PerSecond: AmazonRate, Burst: AmazonBurst}
	}
	if cfg.BreakFor == 0 {
		cfg.BreakFor = breakFor
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Observe == nil {
		cfg.Observe = func(Call) {}
	}
	shared := cfg.AWS.Copy()
	shared.HTTPClient = sendOnce(shared.HTTPClient)
	if shared.Credentials != nil {
		shared.Credentials = knownCredentials{shared.Credentials}
	}
	return &Provider{cfg: cfg, aws: shared, regions: map[string]*region{}}
}

// sendOnce bounds a client in time and keeps it from following a redirect, which would send a request a second time.
// net/http by itself repeats a POST only when not a byte of it was written.
func sendOnce(client aws.HTTPClient) aws.HTTPClient {
	var c http.Client
	switch given := client.(type) {
	case nil:
		c.Transport = awshttp.NewBuildableClient().GetTransport()
	case *awshttp.BuildableClient:
		c.Transport, c.Timeout = given.GetTransport(), given.GetTimeout()
	case *http.Client:
		c = *given
	default:
		return client
	}
	if c.Timeout == 0 {
		c.Timeout = httpTimeout
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Transport = readBodies{c.Transport}
	return &c
}

// region gives what is kept for a Region, made when it is first asked for.
func (p *Provider) region(name string) *region {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ok := p.regions[name]
	if !ok {
		client := workspaces.NewFromConfig(p.aws, func(o *workspaces.Options) {
			o.Region = name
			if p.cfg.Endpoint != "" {
				o.BaseEndpoint = aws.String(p.cfg.Endpoint)
			}
			o.Retryer = retryer{p.cfg.Limiter, name}
			o.RetryMaxAttempts = 0 // what the environment says would be put around our retryer
		})
		r = &region{name: name, client: client, bundles: newBundleList(), breaker: p.newBreaker(name)}
		p.regions[name] = r
	}
	return r
}

// call runs one operation and gives its failure a class.
func (p *Provider) call(ctx context.Context, r *region, operation string, do func(*workspaces.Client) error) error {
	began := time.Now()
	_, err := r.breaker.Execute(func() (struct{}, error) {
		err := do(r.client)
		if err == nil {
			return struct{}{}, nil
		}
		return struct{}{}, p.classified(ctx, r, operation, err)
	})
	outcome := "ok"
	var pe *workspace.ProviderError
	switch {
	case errors.As(err, &pe):
		outcome = className(pe.Class)
		if pe.Class == workspace.Throttled && pe.Code != codeNoTurn && pe.Code != codeNoLimit {
			p.cfg.Limiter.Throttled(ctx, r.name)
		}
	case err != nil:
		outcome, err = "not_sent", refused(workspace.Throttled, codeCircuitOpen, "Amazon has not answered the last calls; nothing is sent to it for a moment")
	}
	p.cfg.Observe(Call{Operation: operation, Region: r.name, Outcome: outcome, Took: time.Since(began)})
	return err
}

// classified gives a failure its class.
func (p *Provider) classified(ctx context.Context, r *region, operation string, err error) error {
	failure := failureOf(ctx, err)
	if failure.unknown {
		p.cfg.Logger.WarnContext(ctx, "Amazon answered with a code that is not known",
			"operation", operation, "region", r.name, "code", failure.Code, "message", failure.Message)
	}
	return &failure.ProviderError
}

// pages asks for page after page until there is no token for another. Only the token tells: a page may be empty and not
// the last.
func pages(ask func(token *string) (next *string, err error)) error {
	var token *string
	seen := map[string]bool{}
	for {
		next, err := ask(token)
		if err != nil {
			return err
		}
		if aws.ToString(next) == "" {
			return nil
		}
		if seen[*next] {
			return refused(workspace.Ambiguous, codeUnclear, "Amazon's list does not come to an end")
		}
		seen[*next], token = true, next
	}
}
