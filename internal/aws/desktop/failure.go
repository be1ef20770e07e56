package desktop

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/robco-forge/forge/internal/workspace"
)

// Codes of our own, for failures that Amazon has none for.
const (
	codeNoBundle      = "BUNDLE_NOT_FOUND"
	codeTooMany       = "TOO_MANY_IDS"
	codeTooManyTags   = "TOO_MANY_TAGS"
	codeNotOne        = "NOT_ONE_PROPERTY"
	codeNoTurn        = "WAITING_FOR_TURN"
	codeNoCredentials = "NO_CREDENTIALS" //nolint:gosec // a code, not a secret
	codeNoAnswer      = "NO_ANSWER"
	codeUnclear       = "UNCLEAR_ANSWER"
	codeNoLimit       = "CALLS_NOT_COUNTED"
	codeCircuitOpen   = "CIRCUIT_OPEN"
)

// classes says what Amazon's codes mean, of whole requests and of their items alike. "Exception" at the end of a code is
// left off. A code with a dot is looked for as it is, then by what stands before the dot.
var classes = map[string]workspace.Class{
	// Not the SDK's whole list: its LimitExceeded is a quota, and its TransactionInProgress promises nothing.
	"Throttling":              workspace.Throttled,
	"Throttled":               workspace.Throttled,
	"RequestThrottled":        workspace.Throttled,
	"TooManyRequests":         workspace.Throttled,
	"RequestLimitExceeded":    workspace.Throttled,
	"BandwidthLimitExceeded":  workspace.Throttled,
	"SlowDown":                workspace.Throttled,
	"PriorRequestNotComplete": workspace.Throttled,

	"OperationInProgress":  workspace.NotNow,
	"InvalidResourceState": workspace.NotNow,
	"ResourceUnavailable":  workspace.NotNow,
	"ResourceInUse":        workspace.NotNow,
	"ResourceAssociated":   workspace.NotNow,

	"ResourceExists":        workspace.Exists,
	"ResourceAlreadyExists": workspace.Exists,

	"ResourceNotFound":           workspace.Gone,
	"ResourceNotFound.Directory": workspace.Blocked,
	"ResourceNotFound.User":      workspace.Rejected,
	"ResourceNotFound.Bundle":    workspace.Rejected,
	"ResourceNotFound.Snapshot":  workspace.NotNow, // Amazon takes the first some time after it has made the WorkSpace

	"Validation":                                           workspace.Rejected,
	"ValidationError":                                      workspace.Rejected,
	"InvalidParameterValue":                                workspace.Rejected,
	"InvalidParameterValues":                               workspace.Rejected,
	"InvalidParameterCombination":                          workspace.Rejected,
	"InvalidUserConfiguration":                             workspace.Rejected,
	"UnsupportedWorkspaceConfiguration":                    workspace.Rejected,
	"OperationNotSupported":                                workspace.Rejected,
	"ComputeNotCompatible":                                 workspace.Rejected,
	"OperatingSystemNotCompatible":                         workspace.Rejected,
	"AutoStopTimeoutIsNotApplicableForAnAlwaysOnWorkspace": workspace.Rejected,
	"AutoStopTimeoutIsNotDefaultForManualWorkspace":        workspace.Rejected,

	"ResourceLimitExceeded":           workspace.Blocked,
	"AccessDenied":                    workspace.Blocked,
	"WorkspacesDefaultRoleNotFound":   workspace.Blocked,
	"UnsupportedNetworkConfiguration": workspace.Blocked,
	// Credentials that Amazon does not accept.
	"UnrecognizedClient":         workspace.Blocked,
	"InvalidClientTokenId":       workspace.Blocked,
	"InvalidSignature":           workspace.Blocked,
	"SignatureDoesNotMatch":      workspace.Blocked,
	"IncompleteSignature":        workspace.Blocked,
	"MissingAuthenticationToken": workspace.Blocked,
	"ExpiredToken":               workspace.Blocked,
	"RequestExpired":             workspace.Blocked,
	"NotAuthorized":              workspace.Blocked,
	"OptInRequired":              workspace.Blocked,

	"InternalFailure":    workspace.Ambiguous,
	"InternalServer":     workspace.Ambiguous,
	"InternalError":      workspace.Ambiguous,
	"ServiceUnavailable": workspace.Ambiguous,
}

// extents says how much the codes of class Blocked keep from being made. Others keep only the one that was asked for.
var extents = map[string]workspace.Extent{
	"ResourceNotFound.Directory":      workspace.OneDirectory,
	"UnsupportedNetworkConfiguration": workspace.OneDirectory,
	"ResourceLimitExceeded":           workspace.WholeRegion,
	"AccessDenied":                    workspace.WholeRegion,
	"WorkspacesDefaultRoleNotFound":   workspace.WholeRegion,
	"UnrecognizedClient":              workspace.WholeRegion,
	"InvalidClientTokenId":            workspace.WholeRegion,
	"InvalidSignature":                workspace.WholeRegion,
	"SignatureDoesNotMatch":           workspace.WholeRegion,
	"IncompleteSignature":             workspace.WholeRegion,
	"MissingAuthenticationToken":      workspace.WholeRegion,
	"ExpiredToken":                    workspace.WholeRegion,
	"RequestExpired":                  workspace.WholeRegion,
	"NotAuthorized":                   workspace.WholeRegion,
	"OptInRequired":                   workspace.WholeRegion,
	codeNoCredentials:                 workspace.WholeRegion,
}

// lookUp finds the class of a code.
func lookUp(code string) (workspace.Class, bool) {
	code = strings.TrimSuffix(code, "Exception")
	if class, ok := classes[code]; ok {
		return class, true
	}
	kind, _, _ := strings.Cut(code, ".")
	class, ok := classes[strings.TrimSuffix(kind, "Exception")]
	return class, ok
}

// classOf is the class of a code, or what a code that is not known is to be taken for.
func classOf(code string, unknown workspace.Class) workspace.Class {
	if class, ok := lookUp(code); ok {
		return class
	}
	return unknown
}

// className is what a class is called in metrics.
func className(c workspace.Class) string {
	switch c {
	case workspace.Ambiguous:
		return "ambiguous"
	case workspace.Throttled:
		return "throttled"
	case workspace.NotNow:
		return "not_now"
	case workspace.Exists:
		return "exists"
	case workspace.Rejected:
		return "rejected"
	case workspace.Blocked:
		return "blocked"
	case workspace.Gone:
		return "gone"
	}
	return "unknown"
}

// failure is a failure with its class.
type failure struct {
	workspace.ProviderError
	unknown bool // its code is in no table of ours
}

// refusal is the failure of one item of a request that was answered with HTTP 200 nevertheless.
type refusal struct {
	code, message string
	unknown       workspace.Class // what a code that is not known means here
}

func (r *refusal) Error() string { return r.code + ": " + r.message }

// failureOf says what a failed call means. What is not certain to have had no effect is Ambiguous.
func failureOf(ctx context.Context, err error) failure {
	made := func(class workspace.Class, code, message string) failure {
		return failure{ProviderError: workspace.ProviderError{Class: class, Extent: extents[strings.TrimSuffix(code, "Exception")], Code: code, Message: message, Err: err}}
	}
	var (
		known   *workspace.ProviderError
		item    *refusal
		api     smithy.APIError
		answer  *smithyhttp.ResponseError
		noCreds *credentialsError
	)
	status := 0
	if errors.As(err, &answer) {
		status = answer.HTTPStatusCode()
	}
	switch {
	case errors.As(err, &known):
		return failure{ProviderError: *known}
	case errors.As(err, &item):
		class, ok := lookUp(item.code)
		if !ok {
			class = item.unknown
		}
		return failure{
			ProviderError: workspace.ProviderError{Class: class, Extent: extents[strings.TrimSuffix(item.code, "Exception")], Code: item.code, Message: item.message},
			unknown:       !ok,
		}
	case errors.Is(err, errNoLimit):
		return made(workspace.Throttled, codeNoLimit, "the calls of Amazon's API cannot be counted: the database does not answer")
	case errors.Is(err, errNoTurn):
		return made(workspace.Throttled, codeNoTurn, "too many calls of Amazon's API are waiting for their turn")
	case errors.As(err, &noCreds) && ctx.Err() == nil:
		return made(workspace.Blocked, codeNoCredentials, "there are no credentials for Amazon")
	case errors.As(err, &api):
		class, ok := lookUp(api.ErrorCode())
		if status >= http.StatusInternalServerError && class != workspace.Throttled {
			class = workspace.Ambiguous
		}
		f := made(class, api.ErrorCode(), api.ErrorMessage())
		f.unknown = !ok
		return f
	case status == http.StatusTooManyRequests:
		return made(workspace.Throttled, codeUnclear, "too many requests")
	case status != 0:
		return made(workspace.Ambiguous, codeUnclear, "Amazon's answer could not be understood")
	}
	return made(workspace.Ambiguous, codeNoAnswer, "Amazon did not answer")
}

// refused makes a refusal of our own.
func refused(class workspace.Class, code, message string) error {
	return &workspace.ProviderError{Class: class, Code: code, Message: message}
}

// is tells whether an error is a provider's of that class.
func is(err error, class workspace.Class) bool {
	var pe *workspace.ProviderError
	return errors.As(err, &pe) && pe.Class == class
}
