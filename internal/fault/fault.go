// Package fault says what went wrong in words a caller may see: a stable code, a sentence, and the next step.
package fault

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Kind is the class of a fault; the HTTP edge turns it into a status.
type Kind int

// The kinds, each with the HTTP status it becomes.
const (
	Internal        Kind = iota // 500, fixed text
	Invalid                     // 422
	Malformed                   // 400
	Unauthenticated             // 401
	Forbidden                   // 403
	NotFound                    // 404, also "not yours"
	Conflict                    // 409
	OverBudget                  // 402
	RateLimited                 // 429
	Unavailable                 // 503
	NotSupported                // 501
)

// Status is the HTTP status of the kind.
func (k Kind) Status() int {
	switch k {
	case Invalid:
		return 422
	case Malformed:
		return 400
	case Unauthenticated:
		return 401
	case Forbidden:
		return 403
	case NotFound:
		return 404
	case Conflict:
		return 409
	case OverBudget:
		return 402
	case RateLimited:
		return 429
	case Unavailable:
		return 503
	case NotSupported:
		return 501
	case Internal:
		return 500
	}
	return 500
}

// Retryable tells whether the same request may succeed later without a change by the caller.
func (k Kind) Retryable() bool { return k == RateLimited || k == Unavailable || k == Internal }

// Fault is an error whose code, message, suggestion and details are public. Its cause is not: it goes to the log.
type Fault struct {
	Kind       Kind
	Code       string
	Message    string
	Suggestion string
	Details    map[string]any
	cause      error
}

// Option completes a declared fault.
type Option func(*Fault)

// Suggest names the next step for the person who sees the fault.
func Suggest(text string) Option { return func(f *Fault) { f.Suggestion = text } }

var (
	declaredMu sync.Mutex
	declared   = map[string]*Fault{}
)

// New declares a fault. Call it from package variables only: the declared faults are the documented list, and declaring
// one code twice is a programming error that stops the program at start.
func New(kind Kind, code, message string, opts ...Option) *Fault {
	f := &Fault{Kind: kind, Code: code, Message: message}
	for _, o := range opts {
		o(f)
	}
	declaredMu.Lock()
	defer declaredMu.Unlock()
	if _, twice := declared[code]; twice {
		panic("fault: code declared twice: " + code)
	}
	declared[code] = f
	return f
}

// Declared lists every declared fault by code.
func Declared() []*Fault {
	declaredMu.Lock()
	defer declaredMu.Unlock()
	return slices.SortedFunc(maps.Values(declared), func(a, b *Fault) int { return strings.Compare(a.Code, b.Code) })
}

// Error is the public message, with the code in front and the cause behind it for logs.
func (f *Fault) Error() string {
	s := f.Code + ": " + f.Message
	if f.cause != nil {
		s += ": " + f.cause.Error()
	}
	return s
}

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.cause }

// Is matches faults by code, so that a fault with details still is the declared one.
func (f *Fault) Is(target error) bool {
	var t *Fault
	return errors.As(target, &t) && t.Code == f.Code
}

// Detail is a copy of the fault that carries one more public detail.
func (f *Fault) Detail(key string, value any) *Fault {
	c := *f
	c.Details = maps.Clone(f.Details)
	if c.Details == nil {
		c.Details = map[string]any{}
	}
	c.Details[key] = value
	return &c
}

// Sayf is a copy of the fault with a message for this very case.
func (f *Fault) Sayf(format string, args ...any) *Fault {
	c := *f
	c.Message = fmt.Sprintf(format, args...)
	return &c
}

// Suggestf is a copy of the fault with a suggestion for this very case.
func (f *Fault) Suggestf(format string, args ...any) *Fault {
	c := *f
	c.Suggestion = fmt.Sprintf(format, args...)
	return &c
}

// Because is a copy of the fault with the cause that the log will show.
func (f *Fault) Because(err error) *Fault {
	c := *f
	c.cause = err
	return &c
}

// From finds the fault in err, or makes an internal one around it. It is nil for nil.
func From(err error) *Fault {
	if err == nil {
		return nil
	}
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	return ErrInternal.Because(err)
}

// ErrInternal is what the outside sees of every undeclared error.
var ErrInternal = New(Internal, "INTERNAL", "something went wrong on our side",
	Suggest("try again; if it persists, give the request id to the operators"))
