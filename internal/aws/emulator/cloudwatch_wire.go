package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"
)

// CloudWatch speaks Smithy's RPC v2 protocol: the operation is in the path, the bodies are CBOR.
const (
	cloudWatchPath     = "/service/GraniteServiceVersion20100801/operation/"
	cloudWatchProtocol = "rpc-v2-cbor"
	cloudWatchType     = "application/cbor"
)

// cloudWatchOperation answers a request whose input has been decoded to JSON.
type cloudWatchOperation func(e *Emulator, c *call, input []byte) (cbor.Map, error)

var cloudWatchOperations = map[string]cloudWatchOperation{
	"GetMetricData":       cloudWatchReads(getMetricData),
	"GetMetricStatistics": cloudWatchReads(getMetricStatistics),
	"ListMetrics":         cloudWatchReads(listMetrics),
}

// cloudWatchReads makes an operation of a function from the input to the answer.
func cloudWatchReads[In any](f func(*Emulator, *call, In) (cbor.Map, error)) cloudWatchOperation {
	return func(e *Emulator, c *call, input []byte) (cbor.Map, error) {
		var in In
		if err := json.Unmarshal(input, &in); err != nil {
			wrong := (*json.UnmarshalTypeError)(nil)
			if errors.As(err, &wrong) {
				return nil, badCBOR(wrong.Field + " is not of the type it should be.")
			}
			return nil, badCBOR("The request is not what the operation takes.")
		}
		return f(e, c, in)
	}
}

func badCBOR(message string) error {
	return &apiError{Type: "SerializationException", Message: message}
}

// The errors of CloudWatch that are used here.

func invalidValue(format string, args ...any) error {
	return &apiError{Type: "InvalidParameterValueException", Message: fmt.Sprintf(format, args...)}
}

func invalidCombination(format string, args ...any) error {
	return &apiError{Type: "InvalidParameterCombinationException", Message: fmt.Sprintf(format, args...)}
}

func missing(member string) error {
	return &apiError{Type: "MissingRequiredParameterException", Message: "The parameter " + member + " is required."}
}

// queryCodes are the codes that CloudWatch had for its errors before it spoke this protocol. A client that
// asks for them gets them beside the new ones, and the SDKs show these.
var queryCodes = map[string]string{
	"InvalidParameterValueException":       "InvalidParameterValue",
	"InvalidParameterCombinationException": "InvalidParameterCombination",
	"MissingRequiredParameterException":    "MissingParameter",
	"InvalidNextToken":                     "InvalidNextToken",
	"InternalServiceFault":                 "InternalServiceError",
}

// serveCloudWatch answers a request for one of CloudWatch's operations.
func (e *Emulator) serveCloudWatch(w http.ResponseWriter, r *http.Request, requestID string) {
	c := &call{
		region:       placeFrom(r),
		requestID:    requestID,
		invocationID: r.Header.Get("Amz-Sdk-Invocation-Id"),
		attempt:      attemptOf(r),
		at:           e.now(),
	}
	arrived := time.Now()
	answer, struck, err := e.runCloudWatch(c, w, r)
	e.deliver(w, r, c, outcome{struck, err, arrived}, func(w http.ResponseWriter) { e.writeCBOR(w, r, c, answer, err) })
}

func (e *Emulator) runCloudWatch(c *call, w http.ResponseWriter, r *http.Request) (cbor.Map, *strike, error) {
	name := strings.TrimPrefix(r.URL.Path, cloudWatchPath)
	run, known := cloudWatchOperations[name]
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if !known {
		return nil, nil, &apiError{
			Type: "UnknownOperationException", Message: "The emulator does not know the operation " + strconv.Quote(name) + " of CloudWatch.",
			status: http.StatusNotFound,
		}
	}
	if r.Method != http.MethodPost || r.Header.Get("Smithy-Protocol") != cloudWatchProtocol || media != cloudWatchType {
		return nil, nil, &apiError{
			Type:    "UnknownOperationException",
			Message: "The emulator speaks CloudWatch's " + cloudWatchProtocol + " only: POST, with Content-Type " + cloudWatchType + ".",
		}
	}
	c.op = name
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, nil, badCBOR(fmt.Sprintf("The request could not be read, or has more than %d bytes.", maxBody))
	}
	if c.input, err = parseCBOR(body); err != nil {
		return nil, nil, err
	}
	input, err := json.Marshal(c.input)
	if err != nil {
		return nil, nil, fmt.Errorf("encode decoded input: %w", err)
	}
	if s := e.faults.strike(e, c, beforeApply); s != nil {
		return nil, s, s.answer()
	}
	answer, err := run(e, c, input)
	if err != nil {
		return nil, nil, err
	}
	if s := e.faults.strike(e, c, afterApply); s != nil {
		return nil, s, s.answer()
	}
	return answer, nil, nil
}

// parseCBOR gives a body in the terms of JSON, timestamps as seconds since 1970.
func parseCBOR(body []byte) (map[string]any, error) {
	value, err := cbor.Decode(body)
	if err != nil {
		return nil, badCBOR("The request is not valid CBOR.")
	}
	plain, err := fromCBOR(value)
	if err != nil {
		return nil, err
	}
	input, ok := plain.(map[string]any)
	if !ok {
		return nil, badCBOR("The request is not a structure.")
	}
	return input, nil
}

// fromCBOR is a value in the terms of JSON. What is absent and what is null is the same.
func fromCBOR(value cbor.Value) (any, error) {
	switch v := value.(type) {
	case cbor.Uint:
		return uint64(v), nil
	case cbor.NegInt:
		return -float64(v), nil
	case cbor.Float32:
		return fromFloat(float64(v))
	case cbor.Float64:
		return fromFloat(float64(v))
	case cbor.String:
		return string(v), nil
	case cbor.Bool:
		return bool(v), nil
	case *cbor.Nil, *cbor.Undefined:
		return nil, nil
	case *cbor.Tag:
		return fromCBOR(v.Value)
	case cbor.List:
		list := make([]any, len(v))
		for i, item := range v {
			var err error
			if list[i], err = fromCBOR(item); err != nil {
				return nil, err
			}
		}
		return list, nil
	case cbor.Map:
		members := make(map[string]any, len(v))
		for name, member := range v {
			plain, err := fromCBOR(member)
			if err != nil {
				return nil, err
			}
			if plain != nil {
				members[name] = plain
			}
		}
		return members, nil
	}
	return nil, badCBOR("The request has a value of a kind that no operation takes.")
}

func fromFloat(f float64) (any, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, badCBOR("The request has a number that is none.")
	}
	return f, nil
}

// writeCBOR sends the answer or the error.
func (e *Emulator) writeCBOR(w http.ResponseWriter, r *http.Request, c *call, answer cbor.Map, err error) {
	status := http.StatusOK
	if err != nil {
		known := (*apiError)(nil)
		if !errors.As(err, &known) {
			e.log.Error("emulator: request failed", "operation", c.op, "request_id", c.requestID, "error", err)
			known = &apiError{Type: "InternalServiceFault", Message: internalFailure().Message, status: http.StatusInternalServerError}
		}
		status = known.httpStatus()
		answer = cbor.Map{"__type": cbor.String(known.Type), "message": cbor.String(known.Message)}
		if known.Type == "InternalServiceFault" {
			answer["Message"] = cbor.String(known.Message) // as the model writes this one's
		}
		if code, ok := queryCodes[known.Type]; ok && r.Header.Get("X-Amzn-Query-Mode") == "true" {
			fault := "Sender"
			if status >= http.StatusInternalServerError {
				fault = "Receiver"
			}
			w.Header().Set("X-Amzn-Query-Error", code+";"+fault)
		}
	}
	body := cbor.Encode(answer)
	w.Header().Set("Smithy-Protocol", cloudWatchProtocol)
	w.Header().Set("Content-Type", cloudWatchType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone away has nothing more to be told
}

// cborTime is a timestamp: tag 1, seconds since 1970.
func cborTime(t time.Time) cbor.Value {
	return &cbor.Tag{ID: 1, Value: cbor.Float64(float64(t.UnixMilli()) / 1000)}
}

// cborSeconds is a timestamp as it is read.
type cborSeconds float64

// time gives the instant, to the second below; what lies outside of the years that RFC 3339 can write is
// moved to their ends.
func (s cborSeconds) time() time.Time {
	const year0, year9999 = -62135596800, 253402300799
	return time.Unix(int64(min(max(math.Floor(float64(s)), year0), year9999)), 0).UTC()
}
