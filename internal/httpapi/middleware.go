package httpapi

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
)

// wrap is what every request goes through: a name for it, a bound on it, and an answer whatever happens.
func (s *Server) wrap(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		a := actor.Actor{
			Type: actor.TypeAnonymous, Name: "anonymous", Interface: "api", RequestID: "req_" + id.Unique(),
			SourceIP: s.source(r), UserAgent: r.UserAgent(),
		}
		if kind := r.Header.Get("X-Forge-Interface"); kind == "cli" || kind == "portal" {
			a.Interface = kind
		}
		ctx, cancel := context.WithTimeout(actor.With(r.Context(), a), 30*time.Second)
		defer cancel()
		r = r.WithContext(ctx)
		h := w.Header()
		h.Set("X-Request-Id", a.RequestID)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Strict-Transport-Security", "max-age=31536000")

		rec := &recorder{ResponseWriter: w}
		pattern := "unmatched"
		defer func() {
			if p := recover(); p != nil {
				s.log.ErrorContext(ctx, "panic", "request_id", a.RequestID, "panic", p, "stack", string(debug.Stack()))
				if rec.status == 0 {
					writeProblem(rec, r, fault.ErrInternal)
				}
			}
			s.cfg.Metrics.observe(r.Method, pattern, rec.status, time.Since(began))
			s.log.InfoContext(ctx, "request", "request_id", a.RequestID, "method", r.Method, "path", r.URL.Path, "status", rec.status,
				"ms", strconv.FormatInt(time.Since(began).Milliseconds(), 10))
		}()
		if r.Body != nil {
			r.Body = http.MaxBytesReader(rec, r.Body, maxBodyOf(r)+1)
		}
		_, matched := mux.Handler(r)
		if matched == "" {
			s.unmatched(rec, r, mux)
			return
		}
		pattern = matched
		mux.ServeHTTP(rec, r)
	})
}

// unmatched tells an unknown address from a known one with another method.
func (s *Server) unmatched(w http.ResponseWriter, r *http.Request, mux *http.ServeMux) {
	var allowed []string
	for _, m := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		probe := r.Clone(r.Context())
		probe.Method = m
		if _, pattern := mux.Handler(probe); pattern != "" {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) == 0 {
		writeProblem(w, r, errNotFound)
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	writeProblem(w, r, errMethod.Detail("allowed", allowed))
}

// source is the caller's address: the last one in X-Forwarded-For that is not a proxy we trust, if the connection comes
// from such a proxy; the connection's otherwise. A header from anybody else is never believed.
func (s *Server) source(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && s.trusted(host); i-- {
		addr, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		host = addr.Unmap().String()
	}
	return host
}

func (s *Server) trusted(host string) bool {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	for _, p := range s.cfg.TrustedProxies {
		if p.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}

// recorder remembers the status.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the status and passes it on.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write notes the implied status.
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap gives http.ResponseController the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// limiter keeps a bucket per caller, for the most recent callers.
type limiter struct {
	mu    sync.Mutex
	rate  rate.Limit
	burst int
	byKey map[string]*list.Element
	order *list.List
}

type bucket struct {
	key string
	*rate.Limiter
}

const limiterSize = 20_000

func newLimiter(perSecond, otherwise float64) *limiter {
	if perSecond <= 0 {
		perSecond = otherwise
	}
	return &limiter{rate: rate.Limit(perSecond), burst: int(perSecond*4) + 1, byKey: map[string]*list.Element{}, order: list.New()}
}

func (l *limiter) allow(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.byKey[key]
	if ok {
		l.order.MoveToFront(e)
	} else {
		e = l.order.PushFront(&bucket{key, rate.NewLimiter(l.rate, l.burst)})
		l.byKey[key] = e
		if l.order.Len() > limiterSize {
			oldest := l.order.Back()
			delete(l.byKey, l.order.Remove(oldest).(*bucket).key)
		}
	}
	return e.Value.(*bucket).Allow()
}
