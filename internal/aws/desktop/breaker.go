package desktop

import (
	"context"
	"errors"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/robco-forge/forge/internal/workspace"
)

const (
	// breakAfter is how many calls in a row must go unanswered for the circuit to open.
	breakAfter = 5
	// breakFor is how long it stays open before one call tries.
	breakFor = 15 * time.Second
)

// newBreaker makes the circuit breaker of a Region. Only what Amazon did not answer, or answered with a failure of its own,
// counts: a refusal is an answer.
func (p *Provider) newBreaker(region string) *gobreaker.CircuitBreaker[struct{}] {
	return gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name: region, MaxRequests: 1, Timeout: p.cfg.BreakFor,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakAfter },
		IsSuccessful: func(err error) bool { return err == nil || !is(err, workspace.Ambiguous) },
		IsExcluded:   func(err error) bool { return errors.Is(err, context.Canceled) || ours(err) },
		OnStateChange: func(region string, from, to gobreaker.State) {
			p.cfg.Logger.Warn("the circuit to Amazon has changed", "region", region, "from", from.String(), "to", to.String())
		},
	})
}

// ours tells whether nothing was sent, so that nothing is known of Amazon.
func ours(err error) bool {
	var pe *workspace.ProviderError
	return errors.As(err, &pe) && (pe.Code == codeNoTurn || pe.Code == codeNoLimit || pe.Code == codeNoCredentials)
}

// Circuit is the state of the circuit breaker of a Region.
type Circuit struct {
	Region string
	State  string // "closed": calls go out; "open": none does; "half-open": one tries
}

// Circuits shows the circuit breakers of the Regions that were called.
func (p *Provider) Circuits() []Circuit {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Circuit, 0, len(p.regions))
	for name, r := range p.regions {
		all = append(all, Circuit{Region: name, State: r.breaker.State().String()})
	}
	return all
}
