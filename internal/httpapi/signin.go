package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/people"
)

// signIn is the one place where a credential becomes an actor; single sign-on will end here too.
func (s *Server) signIn(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	stranger := actor.From(r.Context())
	secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		s.refuseStranger(w, r, stranger, people.ErrUnauthenticated)
		return
	}
	a, err := people.SignIn(r.Context(), s.audit.Pool(), strings.TrimSpace(secret), s.audit.Clock()())
	if err != nil {
		s.refuseStranger(w, r, stranger, err)
		return
	}
	if !s.tokens.allow(string(a.TokenID)) {
		writeProblem(w, r, errRateLimited)
		return
	}
	a.Interface, a.RequestID, a.SourceIP, a.UserAgent = stranger.Interface, stranger.RequestID, stranger.SourceIP, stranger.UserAgent
	next(huma.WithContext(ctx, actor.With(ctx.Context(), a)))
}

func (s *Server) refuseStranger(w http.ResponseWriter, r *http.Request, stranger actor.Actor, err error) {
	if !s.strays.allow(stranger.SourceIP) {
		writeProblem(w, r, errRateLimited)
		return
	}
	if errors.Is(err, people.ErrUnauthenticated) {
		s.failures.count(stranger)
		w.Header().Set("WWW-Authenticate", `Bearer realm="forge"`)
		writeProblem(w, r, people.ErrUnauthenticated)
		return
	}
	writeProblem(w, r, s.fault(r.Context(), err))
}

// failures counts sign-ins that failed, by address, so that the audit log gets one entry per address and minute: nobody
// can flood a log that is kept for seven years.
type failures struct {
	mu     sync.Mutex
	counts map[string]*failure
}

type failure struct {
	who   actor.Actor
	n     int
	first time.Time
}

const maxFailureSources = 1000

func newFailures() *failures { return &failures{counts: map[string]*failure{}} }

func (f *failures) count(who actor.Actor) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := who.SourceIP
	if _, ok := f.counts[key]; !ok && len(f.counts) >= maxFailureSources {
		key, who.SourceIP, who.UserAgent = "many", "", ""
	}
	e, ok := f.counts[key]
	if !ok {
		e = &failure{who: who, first: time.Now().UTC()}
		f.counts[key] = e
	}
	e.n++
}

func (f *failures) take() []*failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]*failure, 0, len(f.counts))
	for _, e := range f.counts {
		out = append(out, e)
	}
	clear(f.counts)
	return out
}

// Run writes what is gathered into the audit log every minute, and once more at the end.
func (s *Server) Run(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.FlushFailures(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			s.FlushFailures(last)
			cancel()
			return
		}
	}
}

// FlushFailures writes one audit entry for each address with failed sign-ins since the last time.
func (s *Server) FlushFailures(ctx context.Context) {
	for _, e := range s.failures.take() {
		e.who.RequestID = ""
		err := s.audit.NoteRefusal(actor.With(ctx, e.who), audit.Intent{Action: "auth.sign_in", ResourceType: "session"},
			people.ErrUnauthenticated.Detail("count", e.n).Detail("since", e.first.Format(time.RFC3339)))
		if !errors.Is(err, people.ErrUnauthenticated) {
			s.log.ErrorContext(ctx, "recording failed sign-ins", "error", err)
		}
	}
}
