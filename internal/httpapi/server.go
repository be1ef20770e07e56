// Package httpapi is the HTTP edge: it signs in, translates, and answers. It decides nothing.
package httpapi

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/notify"
	"github.com/robco-forge/forge/internal/price"
	"github.com/robco-forge/forge/internal/workspace"

	"github.com/robco-forge/forge/api"
)

// maxBody is the largest request body, in bytes.
const maxBody = 1 << 20

// Config is what the edge needs.
type Config struct {
	Log     *audit.Log
	Fleet   *workspace.Fleet
	Budgets *budget.Book
	Notify  *notify.Sender
	Logger  *slog.Logger
	Version string
	// TrustedProxies are the addresses whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// TokenRate and AddressRate are requests a second, for a token and for an address that shows none; bursts are four
	// times that. Zero: 50 and 20.
	TokenRate, AddressRate float64
	Metrics                *Metrics
	// ReadPrices reads a price list that was uploaded, FetchPrices asks Amazon for a region's.
	ReadPrices  func(r io.Reader, region string) (price.Offer, error)
	FetchPrices func(ctx context.Context, region string) (price.Offer, error)
	// Ready answers /readyz.
	Ready func(context.Context) []Check
}

// Check is one thing that must be well for the server to be ready.
type Check struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Message string `json:"message,omitempty"`
}

// Server is the HTTP API.
type Server struct {
	cfg      Config
	audit    *audit.Log
	log      *slog.Logger
	fleet    *workspace.Fleet
	budgets  *budget.Book
	api      huma.API
	handler  http.Handler
	tokens   *limiter
	strays   *limiter
	failures *failures
}

// New makes the server; with the zero Config it can only describe itself.
func New(cfg Config) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, audit: cfg.Log, log: cfg.Logger, fleet: cfg.Fleet, budgets: cfg.Budgets}
	s.tokens, s.strays = newLimiter(cfg.TokenRate, 50), newLimiter(cfg.AddressRate, 20)
	s.failures = newFailures()

	mux := http.NewServeMux()
	s.api = humago.New(mux, describe(cfg.Version))
	s.api.UseMiddleware(s.signIn)
	s.routes()
	s.docs(mux)
	s.health(mux)
	s.handler = s.wrap(mux)
	return s
}

func describe(version string) huma.Config {
	huma.NewError = func(status int, _ string, errs ...error) huma.StatusError { return newHumaError("", status, errs) }
	huma.NewErrorWithContext = func(ctx huma.Context, status int, _ string, errs ...error) huma.StatusError {
		return newHumaError(actor.From(ctx.Context()).RequestID, status, errs)
	}
	c := huma.DefaultConfig("RobCo Forge", version)
	if version == "" {
		c.Info.Version = "0"
	}
	c.Info.Description = "Self-service cloud workstations: launch one from a team's blueprint, within what the company decided to spend, with everything on record."
	c.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	c.RejectUnknownQueryParameters = true // a misspelt filter must not answer with everything
	c.OpenAPIPath, c.DocsPath, c.SchemasPath, c.CreateHooks = "/api/v1/openapi", "", "", nil
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "An opaque token that begins with forge_"},
	}
	c.Security = []map[string][]string{{"token": {}}}
	return c
}

// OpenAPI is the description of the API, in YAML.
func (s *Server) OpenAPI() ([]byte, error) { return s.api.OpenAPI().YAML() }

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// routes is the list of everything that can be asked for.
func (s *Server) routes() {
	s.workspaceRoutes()
	s.lifecycleRoutes()
	s.policyRoutes()
	s.upgradeRoutes()
	s.peopleRoutes()
	s.tokenRoutes()
	s.blueprintRoutes()
	s.blueprintImageRoutes()
	s.moneyRoutes()
	s.budgetRoutes()
	s.costRoutes()
	s.reportRoutes()
	s.priceRoutes()
	s.auditRoutes()
	s.auditLogRoutes()
	s.auditEraseRoutes()
	s.driftRoutes()
	s.notificationRoutes()
}

// route registers an operation so that a cause never leaks: every error leaves as a problem.
func route[I, O any](s *Server, method, path, id, summary, tag string, status int, fn func(context.Context, *I) (*O, error), adjust ...func(*huma.Operation)) {
	op := huma.Operation{
		OperationID: id, Method: method, Path: "/api/v1" + path, Summary: summary, Tags: []string{tag}, DefaultStatus: status, MaxBodyBytes: maxBody,
		Errors: []int{400, 401, 403, 404, 409, 422, 429, 500, 503},
	}
	for _, set := range adjust {
		set(&op)
	}
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := fn(ctx, in)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		return out, nil
	})
}

// Page is the paging of every list.
type Page struct {
	Cursor string `query:"cursor" maxLength:"400" doc:"Opaque; next_cursor of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"50"`
}

// after reads the cursor of a list.
func (p Page) after(list string) (string, error) {
	if p.Cursor == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil {
		return "", errCursor
	}
	key, ok := strings.CutPrefix(string(raw), list+"\n")
	if !ok || strings.ContainsRune(key, 0) {
		return "", errCursor
	}
	return key, nil
}

// cut makes a page of at most limit items out of limit+1, and the cursor of the page behind it.
func cut[T any](items []T, limit int, list string, key func(T) string) ([]T, string) {
	if len(items) <= limit {
		return items, ""
	}
	items = items[:limit]
	return items, encodeCursor(list, key(items[limit-1]))
}

func encodeCursor(list, key string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(list + "\n" + key))
}

// IfMatch makes a change conditional.
type IfMatch struct {
	IfMatch string `header:"If-Match" maxLength:"64" doc:"Change it only if this is still its ETag"`
}

func (m IfMatch) version() (*int64, error) {
	if m.IfMatch == "" || m.IfMatch == "*" {
		return nil, nil
	}
	text, ok := strings.CutPrefix(m.IfMatch, `"`)
	text, ok2 := strings.CutSuffix(text, `"`)
	v, err := strconv.ParseInt(text, 10, 64)
	if !ok || !ok2 || err != nil {
		return nil, errIfMatch
	}
	return &v, nil
}

func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

func usd(u money.USD) api.Money { return api.Money{Amount: u.String(), Currency: money.Currency} }

// mapped applies fn to every item.
func mapped[A, B any](items []A, fn func(A) B) []B {
	out := make([]B, len(items))
	for i, a := range items {
		out[i] = fn(a)
	}
	return out
}

func hexHash(h [32]byte) string { return hex.EncodeToString(h[:]) }
