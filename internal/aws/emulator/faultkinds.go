package emulator

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"time"
)

// stage is where a fault strikes.
type stage int

const (
	beforeApply stage = iota // the request is read and checked, nothing is done yet
	afterApply               // it is done and durable, nothing is said yet; never reached by one that is refused
	sending                  // the answer goes out, whatever it is
	shaping                  // what a Describe operation tells is changed
	changing                 // a WorkSpace is changed: the item fails, or its further course is another
)

// faultKind is one way of failing. A new kind is an entry in faultKinds, a row of docs/emulator.md and a test.
type faultKind struct {
	about string // one line for GET /_emu/
	stage stage
	// ops are the operations it makes sense for; nil: all of them.
	ops []string
	// uses are the fields of an order beside the conditions that mean something to it, those with * it must have.
	uses []string

	when        func(*call) bool // a further condition on the request
	oncePerCall bool             // leaves alone the further attempts of a call it has struck, or another order has
	fails       func(*fault, *call) *apiError
	send        func(w http.ResponseWriter, write func(http.ResponseWriter)) // instead of just writing
	drop        bool                                                         // no answer at all
}

var (
	batches   = []string{"CreateWorkspaces", "StartWorkspaces", "StopWorkspaces", "RebootWorkspaces", "RebuildWorkspaces", "TerminateWorkspaces"}
	creates   = []string{"CreateWorkspaces"}
	describes = []string{"DescribeWorkspaces"}
	imagings  = []string{"CreateWorkspaceImage", "CopyWorkspaceImage", "CreateUpdatedWorkspaceImage"}
	statuses  = []string{"DescribeWorkspacesConnectionStatus"}
)

func always(e *apiError) func(*fault, *call) *apiError {
	return func(*fault, *call) *apiError { return e }
}

var faultKinds = map[string]faultKind{
	"drop_before_apply":         {about: "the connection breaks and nothing was done", stage: beforeApply, drop: true},
	"http500":                   {about: "InternalFailure, and nothing was done", stage: beforeApply, fails: always(internalFailure())},
	"http503":                   {about: "ServiceUnavailable, and nothing was done", stage: beforeApply, fails: always(serviceUnavailable())},
	"throttle":                  {about: "ThrottlingException, and nothing was done", stage: beforeApply, fails: always(throttled())},
	"access_denied":             {about: "AccessDeniedException, and nothing was done", stage: beforeApply, fails: denied},
	"fail_batch":                {about: "the whole call fails with the error of the code", stage: beforeApply, uses: []string{"*code", "message"}, fails: failedBatch},
	"expire_token":              {about: "a NextToken is refused", stage: beforeApply, when: hasToken, fails: expiredToken},
	"drop_response_after_apply": {about: "it was done, and the connection breaks", stage: afterApply, drop: true, oncePerCall: true},
	"http500_after_apply":       {about: "it was done, and InternalFailure is answered", stage: afterApply, fails: always(internalFailure()), oncePerCall: true},
	"html_body":                 {about: "it was done, and a proxy answers 502 with a page of HTML", stage: afterApply, send: sendPage, oncePerCall: true},
	"truncate_body":             {about: "it was done, and half of the answer arrives", stage: afterApply, send: sendHalf, oncePerCall: true},

	"delay":      {about: "the answer comes late by delay_ms", stage: sending, uses: []string{"*delay_ms"}},
	"clock_skew": {about: "the Date header is off by delay_ms", stage: sending, uses: []string{"*delay_ms"}},

	"omit_from_page":        {about: "a WorkSpace is left out", stage: shaping, ops: describes},
	"duplicate_on_page":     {about: "a WorkSpace is shown again on the next page, or twice on the last one", stage: shaping, ops: describes},
	"empty_page_with_token": {about: "a page is empty, though it has a NextToken", stage: shaping},
	"status_missing":        {about: "a WorkSpace's connection status is left out", stage: shaping, ops: statuses},
	"status_stale":          {about: "connection statuses stay what they were when the order came", stage: shaping, ops: statuses},

	"fail_item":            {about: "an item of a batch fails with the code, the others go on", stage: changing, ops: batches, uses: []string{"*code", "message"}},
	"quota":                {about: "no more than limit WorkSpaces in a Region", stage: changing, ops: creates, uses: []string{"*limit"}},
	"stuck_state":          {about: "a WorkSpace that enters the state does not leave it by itself", stage: changing, uses: []string{"*state"}},
	"to_error":             {about: "a new WorkSpace ends in ERROR with the code and the message", stage: changing, ops: creates, uses: []string{"code", "message"}},
	"unhealthy_after":      {about: "a WorkSpace becomes UNHEALTHY delay_ms after it became AVAILABLE", stage: changing, uses: []string{"*delay_ms"}},
	"describe_lag":         {about: "a new WorkSpace is not described for delay_ms", stage: changing, ops: creates, uses: []string{"*delay_ms"}},
	"tags_lost":            {about: "a new WorkSpace is without its tags", stage: changing, ops: creates},
	"tags_lag":             {about: "a new WorkSpace's tags are not described for delay_ms", stage: changing, ops: creates, uses: []string{"*delay_ms"}},
	"autostop_fails":       {about: "a new AutoStop WorkSpace is never stopped by its own timer", stage: changing, ops: creates},
	"modify_update_failed": {about: "a modification ends in UPDATE_FAILED and changes nothing", stage: changing, ops: []string{"ModifyWorkspaceProperties"}},
	"image_fails":          {about: "an image ends in ERROR with the code and the message", stage: changing, ops: imagings, uses: []string{"code", "message"}},
	"migrate_silent_fail":  {about: "a migration is accepted and comes to nothing", stage: changing, ops: []string{"MigrateWorkspace"}},
}

// Bounds of delay_ms. A request is not held for longer than clients and proxies would wait.
const (
	longestDelay = 10 * time.Minute
	longestLag   = 366 * 24 * time.Hour
)

// errorCode is what Amazon's codes look like.
var errorCode = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._]{0,127}$`)

// stuckStates are those that a WorkSpace can be stuck in.
var stuckStates = []string{
	statePending, stateAvailable, stateStarting, stateStopping, stateStopped, stateRebooting, stateRebuilding,
	stateRestoring, stateMaintenance, stateSuspended, stateTerminating, stateTerminated,
}

// checkFields refuses fields that mean nothing to the kind, and the lack of those it needs.
func (k faultKind) checkFields(o *order) error {
	given := map[string]bool{
		"delay_ms": o.DelayMS != 0, "code": o.Code != "", "message": o.Message != "", "state": o.State != "", "limit": o.Limit != nil,
	}
	for _, name := range []string{"delay_ms", "code", "message", "state", "limit"} {
		needed := slices.Contains(k.uses, "*"+name)
		switch {
		case needed && !given[name]:
			return errors.New(name + " is required")
		case given[name] && !needed && !slices.Contains(k.uses, name):
			return errors.New(name + " means nothing to it")
		}
	}
	most := longestLag.Milliseconds()
	if o.Kind == "delay" {
		most = longestDelay.Milliseconds()
	}
	switch {
	case o.DelayMS < 0 && o.Kind != "clock_skew":
		return fmt.Errorf("delay_ms %d is negative", o.DelayMS)
	case o.DelayMS > most || o.DelayMS < -most:
		return fmt.Errorf("delay_ms %d is more than %d", o.DelayMS, most)
	case o.Code != "" && !errorCode.MatchString(o.Code):
		return fmt.Errorf("code %q is not like InvalidParameterValue.VolumeSize", o.Code)
	case len(o.Message) > 1024:
		return errors.New("message is longer than 1024 bytes")
	case o.State != "" && !slices.Contains(stuckStates, o.State):
		return fmt.Errorf("a WorkSpace cannot be stuck in %q", o.State)
	case o.Limit != nil && *o.Limit < 0:
		return fmt.Errorf("limit %d is negative", *o.Limit)
	}
	return nil
}

func serviceUnavailable() *apiError {
	return &apiError{
		Type:    "ServiceUnavailable",
		Message: "The request has failed due to a temporary failure of the server.",
		status:  http.StatusServiceUnavailable,
	}
}

func throttled() *apiError { return &apiError{Type: "ThrottlingException", Message: "Rate exceeded"} }

func denied(_ *fault, c *call) *apiError {
	service := "workspaces:"
	if _, watch := cloudWatchOperations[c.op]; watch {
		service = "cloudwatch:"
	}
	return &apiError{
		Type:    "AccessDeniedException",
		Message: "User: arn:aws:iam::" + c.account() + ":user/emulated is not authorized to perform: " + service + c.op,
	}
}

func failedBatch(f *fault, _ *call) *apiError { return &apiError{Type: f.Code, Message: f.Message} }

func hasToken(c *call) bool { return text(c.input, "NextToken") != "" }

// expiredToken is the error that the operation's model has for its input.
func expiredToken(_ *fault, c *call) *apiError {
	e := &apiError{Type: "ValidationException", Message: "The specified NextToken is not valid."}
	const values = "InvalidParameterValuesException"
	if slices.Contains(model.Operations[c.op].Errors, modelRef{values}) {
		e.Type = values
	}
	return e
}

// proxyPage is what a load balancer says when it does not understand the server behind it.
const proxyPage = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"

func sendPage(w http.ResponseWriter, _ func(http.ResponseWriter)) {
	w.Header().Del("x-amzn-RequestId")
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(http.StatusBadGateway)
	_, _ = w.Write([]byte(proxyPage))
}

// sendHalf announces the whole answer; net/http breaks the connection when less was written.
func sendHalf(w http.ResponseWriter, write func(http.ResponseWriter)) { write(halfWriter{w}) }

type halfWriter struct{ http.ResponseWriter }

func (w halfWriter) Write(b []byte) (int, error) {
	if _, err := w.ResponseWriter.Write(b[:len(b)/2]); err != nil {
		return 0, err
	}
	return len(b), nil
}
