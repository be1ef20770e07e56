package emulator

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	maxBody     = 1 << 20 // bytes
	contentType = "application/x-amz-json-1.1"
	target      = "WorkspacesService."
)

// call is one request of Amazon's API on its way through.
type call struct {
	op           string // "" while it is not known
	region       string // with the account, see placeOf
	requestID    string
	invocationID string // one per call of an SDK's method, the same for each of its attempts; may be ""
	attempt      int    // from 1; 0 when the client does not say
	at           time.Time
	input        map[string]any // checked: what the operation's shape knows of the body
	about        []subject      // whom and what it concerns
	struck       []struckFault
}

// ServeHTTP answers Amazon's operations at / and the admin API below /_emu/.
func (e *Emulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	requestID := newUUID()
	w.Header().Set("x-amzn-RequestId", requestID)
	// The wall clock's, whatever Config.Now says: an SDK that saw another would sign with a skewed time.
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	if strings.HasPrefix(r.URL.Path, "/_emu/") {
		e.admin.ServeHTTP(w, r)
		return
	}
	if strings.HasPrefix(r.URL.Path, cloudWatchPath) {
		e.serveCloudWatch(w, r, requestID)
		return
	}
	c := &call{
		region:       placeFrom(r),
		requestID:    requestID,
		invocationID: r.Header.Get("Amz-Sdk-Invocation-Id"),
		attempt:      attemptOf(r),
		at:           e.now(),
	}
	arrived := time.Now()
	answer, struck, err := e.serve(c, w, r)
	e.deliver(w, r, c, outcome{struck, err, arrived}, func(w http.ResponseWriter) { e.write(w, c, answer, err) })
}

// outcome is what a request has come to.
type outcome struct {
	struck  *strike
	err     error
	arrived time.Time // by the wall clock
}

// deliver logs a request and sends its answer with write, or does what faults want instead.
func (e *Emulator) deliver(w http.ResponseWriter, r *http.Request, c *call, o outcome, write func(http.ResponseWriter)) {
	late, skew := e.faults.inSending(c, "delay"), e.faults.inSending(c, "clock_skew")
	e.note(c, o)
	if !e.cfg.Hasty {
		late = max(late, latency-time.Since(o.arrived))
	}
	await(r, late)
	if skew != 0 {
		w.Header().Set("Date", time.Now().Add(skew).UTC().Format(http.TimeFormat))
	}
	switch {
	case o.struck != nil && o.struck.drop:
		dropConnection(w)
	case o.struck != nil && o.struck.send != nil:
		o.struck.send(w, write)
	default:
		write(w)
	}
}

// latency is how long an answer takes at least, once the request has come. Amazon's take many times that.
//
// Without it the Go SDK fails about one answer in a hundred: the first thing it does with an answer is to
// close the request's body, and smithy-go (v1.28.8, safeWriteToReadCloser.WriteTo) then tells a transport
// that is still checking for the body's end of an error, upon which that closes the connection under the
// answer. That check takes microseconds, so only a server nearby can be too fast for it.
const latency = 2 * time.Millisecond

// await returns when that much time has passed, or the request's client has gone away.
func await(r *http.Request, d time.Duration) {
	if d <= 0 || r.Context().Value(http.ServerContextKey) == nil {
		return // called directly, there is no connection
	}
	rest := time.NewTimer(d)
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-r.Context().Done():
	}
}

// serve reads, checks and carries out a request. What it returns is what the client is to be told, unless a
// fault struck that drops the connection.
func (e *Emulator) serve(c *call, w http.ResponseWriter, r *http.Request) (any, *strike, error) {
	op, input, err := e.read(c, w, r)
	if !e.rate.grant(callerOf(r), e.realNow()) {
		err = throttled() // whatever else is wrong with it: Amazon counts before it looks
	}
	if err != nil {
		return nil, nil, err
	}
	if s := e.faults.strike(e, c, beforeApply); s != nil {
		return nil, s, s.answer()
	}
	answer, err := e.apply(c, op, input)
	if err != nil {
		return nil, nil, err
	}
	if s := e.faults.strike(e, c, afterApply); s != nil {
		return nil, s, s.answer()
	}
	return e.shaped(c, op, answer), nil, nil
}

// read finds the operation and its checked input.
func (e *Emulator) read(c *call, w http.ResponseWriter, r *http.Request) (operation, []byte, error) {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	name, ours := strings.CutPrefix(r.Header.Get("X-Amz-Target"), target)
	op, known := operations[name]
	if r.Method != http.MethodPost || r.URL.Path != "/" || media != contentType || !ours {
		return operation{}, nil, unknownOperation()
	}
	if _, amazon := model.Operations[name]; amazon && !known {
		return operation{}, nil, notEmulated(name)
	}
	if !known {
		return operation{}, nil, unknownOperation()
	}
	c.op = name

	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return operation{}, nil, &apiError{
			Type:    "RequestEntityTooLargeException",
			Message: fmt.Sprintf("A request may have %d bytes at most.", maxBody),
			status:  http.StatusRequestEntityTooLarge,
		}
	}
	if err != nil {
		return operation{}, nil, &apiError{Type: "SerializationException", Message: "The request could not be read."}
	}
	if c.input, err = parse(op.input, body); err != nil {
		return operation{}, nil, err
	}
	input, err := json.Marshal(c.input)
	if err != nil {
		return operation{}, nil, fmt.Errorf("encode checked input: %w", err)
	}
	return op, input, nil
}

// parse gives the part of a body its shape knows. An empty body is an empty structure.
func parse(s *shape, body []byte) (map[string]any, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		body = []byte("{}")
	}
	in := json.NewDecoder(bytes.NewReader(body))
	in.UseNumber()
	var value any
	if err := in.Decode(&value); err != nil {
		return nil, &apiError{Type: "SerializationException", Message: "The request is not valid JSON."}
	}
	if _, err := in.Token(); err != io.EOF {
		return nil, &apiError{Type: "SerializationException", Message: "Something follows the JSON of the request."}
	}
	var found violations
	kept, err := s.check(value, "", &found)
	if err != nil {
		return nil, err
	}
	if err := found.err(); err != nil {
		return nil, err
	}
	return kept.(map[string]any), nil
}

// apply carries out an operation under the lock it needs.
func (e *Emulator) apply(c *call, op operation, input []byte) (any, error) {
	watching := e.faults.watching()
	if op.writes || watching {
		e.mu.Lock()
		defer e.mu.Unlock()
	} else {
		e.mu.RLock()
		defer e.mu.RUnlock()
	}
	if e.closed {
		return nil, serviceUnavailable()
	}
	// Under the lock, so that changes are dated in the order they are made in.
	c.at = e.now()
	if watching {
		if err := e.settle(c.at); err != nil {
			return nil, err
		}
	}
	if op.writes {
		e.doing = c
		defer func() { e.doing = nil }()
	}
	return op.run(e, c, input)
}

// write sends the answer or the error. An error that is not Amazon's is ours: it is logged and not shown.
func (e *Emulator) write(w http.ResponseWriter, c *call, answer any, err error) {
	status := http.StatusOK
	if err != nil {
		known := (*apiError)(nil)
		if !errors.As(err, &known) {
			e.log.Error("emulator: request failed", "operation", c.op, "request_id", c.requestID, "error", err)
			known = internalFailure()
		}
		status, answer = known.httpStatus(), known
	}
	body, err := json.Marshal(answer)
	if err != nil {
		panic("emulator: answer cannot be encoded: " + err.Error())
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone away has nothing more to be told
}

// dropConnection ends the connection without an answer, as a network does.
func dropConnection(w http.ResponseWriter) {
	if h, ok := w.(http.Hijacker); ok {
		if conn, _, err := h.Hijack(); err == nil {
			_ = conn.Close()
			return
		}
	}
	panic(http.ErrAbortHandler) // what net/http offers where there is no connection to take, as in HTTP/2
}

// attemptOf reads "attempt=2; max=3".
func attemptOf(r *http.Request) int {
	for field := range strings.SplitSeq(r.Header.Get("Amz-Sdk-Request"), ";") {
		if n, ok := strings.CutPrefix(strings.TrimSpace(field), "attempt="); ok {
			attempt, err := strconv.Atoi(n)
			if err == nil && attempt > 0 {
				return attempt
			}
		}
	}
	return 0
}

func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
