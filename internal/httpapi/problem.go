package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/fault"
)

// The faults of the edge itself.
var (
	errNotFound       = fault.New(fault.NotFound, "ROUTE_NOT_FOUND", "there is nothing at this address", fault.Suggest("see /docs for what there is"))
	errMethod         = fault.New(fault.Malformed, "METHOD_NOT_ALLOWED", "this address does not take that method", fault.Suggest("see /docs for what it takes"))
	errMalformed      = fault.New(fault.Malformed, "REQUEST_MALFORMED", "the request could not be read", fault.Suggest("send a JSON object with Content-Type application/json; see /docs"))
	errTooLarge       = fault.New(fault.Malformed, "BODY_TOO_LARGE", "the body is larger than 1 MiB")
	errMediaType      = fault.New(fault.Malformed, "MEDIA_TYPE_UNSUPPORTED", "the body must be application/json")
	errNotAcceptable  = fault.New(fault.Malformed, "NOT_ACCEPTABLE", "answers are application/json")
	errInvalid        = fault.New(fault.Invalid, "VALIDATION_FAILED", "the request has fields that are not valid", fault.Suggest("correct the fields named in details"))
	errCursor         = fault.New(fault.Invalid, "CURSOR_INVALID", "the cursor is not one of this list", fault.Suggest("begin again without a cursor"))
	errIfMatch        = fault.New(fault.Invalid, "IF_MATCH_INVALID", "If-Match must be an ETag that this resource gave", fault.Suggest("read the resource and send its ETag"))
	errKey            = fault.New(fault.Invalid, "IDEMPOTENCY_KEY_INVALID", "an idempotency key is 1 to 255 printable ASCII characters")
	errKeyReused      = fault.New(fault.Conflict, "IDEMPOTENCY_KEY_REUSED", "the idempotency key was used for another request", fault.Suggest("use a new key for a new request"))
	errRateLimited    = fault.New(fault.RateLimited, "RATE_LIMITED", "too many requests", fault.Suggest("wait as long as Retry-After says"))
	errStatusRequired = fault.New(fault.Malformed, "REQUEST_REFUSED", "the request was refused")
)

// Problem is every error's body (RFC 9457).
type Problem struct {
	Type            string         `json:"type" example:"/docs/problems#BUDGET_EXCEEDED"`
	Title           string         `json:"title"`
	Status          int            `json:"status"`
	Detail          string         `json:"detail"`
	Instance        string         `json:"instance,omitempty" doc:"The request's id"`
	Code            string         `json:"code" doc:"Stable; what programs decide by"`
	Retryable       bool           `json:"retryable"`
	SuggestedAction string         `json:"suggested_action,omitempty"`
	Details         map[string]any `json:"details,omitempty"`
}

// Error is the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is that of problems.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders asks for patience where that helps.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		h.Set("Retry-After", strconv.Itoa(retryAfterSeconds))
	}
	return h
}

const retryAfterSeconds = 2

func problemOf(f *fault.Fault, instance string) *Problem {
	status := f.Kind.Status()
	switch f.Code {
	case errMethod.Code:
		status = http.StatusMethodNotAllowed
	case errTooLarge.Code:
		status = http.StatusRequestEntityTooLarge
	case errMediaType.Code:
		status = http.StatusUnsupportedMediaType
	case errNotAcceptable.Code:
		status = http.StatusNotAcceptable
	}
	return &Problem{
		Type: "/docs/problems#" + f.Code, Title: http.StatusText(status), Status: status, Detail: f.Message, Instance: instance, Code: f.Code,
		Retryable: f.Kind.Retryable(), SuggestedAction: f.Suggestion, Details: f.Details,
	}
}

// problem is an error as huma sends it.
func (s *Server) problem(ctx context.Context, err error) error {
	return problemOf(s.fault(ctx, err), actor.From(ctx).RequestID)
}

// fault turns an error into what the caller sees. The cause goes to the log, here and nowhere else.
func (s *Server) fault(ctx context.Context, err error) *fault.Fault {
	f := fault.From(audit.Public(err))
	who := actor.From(ctx)
	if f.Kind == fault.Internal || f.Kind == fault.Unavailable {
		s.log.ErrorContext(ctx, "request failed", "request_id", who.RequestID, "actor", who.ID(), "code", f.Code, "error", err)
	}
	return f
}

// writeProblem answers outside of huma's handlers.
func writeProblem(w http.ResponseWriter, r *http.Request, f *fault.Fault) {
	p := problemOf(f, actor.From(r.Context()).RequestID)
	for k, v := range p.GetHeaders() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client may be gone; there is nobody else to tell
}

// newHumaError makes huma's own errors ours. The offending values stay out of them: they may be secrets.
func newHumaError(instance string, status int, errs []error) *Problem {
	var f *fault.Fault
	switch status {
	case http.StatusUnprocessableEntity:
		f = errInvalid
	case http.StatusBadRequest:
		f = errMalformed
	case http.StatusRequestEntityTooLarge:
		f = errTooLarge
	case http.StatusUnsupportedMediaType:
		f = errMediaType
	case http.StatusNotAcceptable:
		f = errNotAcceptable
	case http.StatusNotFound:
		f = errNotFound
	default:
		if status >= 500 {
			f = fault.ErrInternal
		} else {
			f = errStatusRequired
		}
	}
	var fields []map[string]string
	for _, err := range errs {
		if d, ok := err.(huma.ErrorDetailer); ok && len(fields) < 20 { //nolint:errorlint // huma passes these unwrapped
			detail := d.ErrorDetail()
			if detail.Location != "" {
				fields = append(fields, map[string]string{"field": clip(detail.Location), "problem": clip(detail.Message)})
			}
		}
	}
	if len(fields) > 0 {
		f = f.Detail("fields", fields)
	}
	return problemOf(f, instance)
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200]
	}
	return s
}
