package cli

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	requestTimeout = 30 * time.Second
	attempts       = 4
	patience       = 10 * time.Second // the longest Retry-After that is waited for
	pageSize       = 100
	keyHeader      = "Idempotency-Key"
)

// wire carries requests: who asks, once more where that is safe, and refusals as errors.
type wire struct {
	http              *http.Client
	long              *http.Client // for answers that may take any time once they have begun
	api, token, agent string
	pause             func(context.Context, time.Duration) error
}

// Do sends the request. An answer that is not a success is an *APIError.
func (w *wire) Do(req *http.Request) (*http.Response, error) {
	req.Header.Set("Authorization", "Bearer "+w.token)
	req.Header.Set("X-Forge-Interface", "cli")
	req.Header.Set("User-Agent", w.agent)
	req.Header.Set("Accept", "application/json")
	for attempt := 1; ; attempt++ {
		once := req.Clone(req.Context())
		if req.GetBody != nil {
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			once.Body = body
		}
		through := w.http
		if req.Context().Value(takesLong{}) != nil {
			through = w.long
		}
		resp, err := through.Do(once)
		if err == nil && resp.StatusCode/100 == 2 {
			return resp, nil
		}
		wait := 200 * time.Millisecond << (2 * (attempt - 1)) // 0.2 s, 0.8 s, 3.2 s
		var again bool
		if err != nil {
			again = mayRepeatAfter(req, err)
			err = unreachable(w.api, err)
		} else {
			again = mayRepeat(req, resp.StatusCode)
			if s, convErr := strconv.Atoi(resp.Header.Get("Retry-After")); convErr == nil && s >= 0 {
				wait = max(wait, time.Duration(min(s, int(patience/time.Second)))*time.Second)
			}
			err = refusal(resp)
		}
		if !again || attempt == attempts {
			return nil, err
		}
		if stopped := w.pause(req.Context(), wait); stopped != nil {
			return nil, stopped
		}
	}
}

// takesLong is what marks the context of a request whose answer may take any time once it has begun.
type takesLong struct{}

// repeatable tells whether sending a request twice does no more than sending it once.
func repeatable(req *http.Request) bool {
	return req.Method == http.MethodGet || req.Method == http.MethodPut || req.Header.Get(keyHeader) != ""
}

func mayRepeat(req *http.Request, status int) bool {
	switch status {
	case http.StatusTooManyRequests:
		return true // refused at the door
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return repeatable(req)
	}
	return false
}

func mayRepeatAfter(req *http.Request, err error) bool {
	if req.Context().Err() != nil {
		return false
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return false
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return true // it was never sent
	}
	return repeatable(req)
}

// refusal reads why the server said no.
func refusal(resp *http.Response) error {
	defer resp.Body.Close()
	refused := &APIError{Status: resp.StatusCode}
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil {
		err = json.Unmarshal(b, &refused.Problem)
	}
	if err != nil {
		refused.Problem.Detail = "" // a gateway's page: the status says all we know
	}
	if id := resp.Header.Get("X-Request-Id"); id != "" && refused.Problem.Instance == nil {
		refused.Problem.Instance = &id
	}
	return refused
}

// page is what every list answers, each item both as it came and as what it is.
type page struct {
	Items      []json.RawMessage `json:"items"`
	NextCursor string            `json:"next_cursor"`
}

// list holds every item of a list, in the server's own words and decoded.
type list[T any] struct {
	raw   []json.RawMessage
	items []T
}

// fetch reads all pages of a list, or as many as hold limit items; zero means all of them.
func fetch[T any](limit int, next func(cursor *string, size *int64) ([]byte, error)) (list[T], error) {
	all := list[T]{raw: []json.RawMessage{}}
	var cursor *string
	for {
		size := int64(pageSize)
		if limit > 0 {
			size = int64(min(pageSize, limit-len(all.raw)))
		}
		body, err := next(cursor, &size)
		if err != nil {
			return all, err
		}
		p, err := decode[page](body)
		if err != nil {
			return all, err
		}
		for _, raw := range p.Items {
			item, err := decode[T](raw)
			if err != nil {
				return all, err
			}
			all.raw, all.items = append(all.raw, raw), append(all.items, item)
			if limit > 0 && len(all.raw) == limit {
				return all, nil
			}
		}
		if p.NextCursor == "" {
			return all, nil
		}
		if cursor != nil && *cursor == p.NextCursor {
			return all, fmt.Errorf("the server's list does not end: its next page is the same one again")
		}
		cursor = &p.NextCursor
	}
}

// json is the list as one array.
func (l list[T]) json() (json.RawMessage, error) { return json.Marshal(l.raw) }
