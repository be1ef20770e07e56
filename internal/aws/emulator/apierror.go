package emulator

import (
	"net/http"
)

// apiError is an answer that says no, in Amazon's form.
type apiError struct {
	Type       string `json:"__type"`
	Message    string `json:"message"`
	ResourceID string `json:"ResourceId,omitempty"`
	Reason     string `json:"reason,omitempty"`

	status int // 0 means 400, as for nearly all of them
}

func (e *apiError) Error() string { return e.Type + ": " + e.Message }

func (e *apiError) httpStatus() int {
	if e.status == 0 {
		return http.StatusBadRequest
	}
	return e.status
}

func invalidParameters(message string) error {
	return &apiError{Type: "InvalidParameterValuesException", Message: message}
}

func notFound(id string) error {
	return &apiError{Type: "ResourceNotFoundException", Message: "The specified resource could not be found.", ResourceID: id}
}

func accessDenied() error {
	return &apiError{Type: "AccessDeniedException", Message: "The user is not authorized to access a resource."}
}

func alreadyExists(message string) error {
	return &apiError{Type: "ResourceAlreadyExistsException", Message: message}
}

func associated(message string) error {
	return &apiError{Type: "ResourceAssociatedException", Message: message}
}

func unavailable(id string) error {
	return &apiError{Type: "ResourceUnavailableException", Message: "The specified resource is not available.", ResourceID: id}
}

func limitExceeded() error {
	return &apiError{Type: "ResourceLimitExceededException", Message: "Your resource limits have been exceeded."}
}

func invalidState(message string) error {
	return &apiError{Type: "InvalidResourceStateException", Message: message}
}

func notSupported(message string) error {
	return &apiError{Type: "OperationNotSupportedException", Message: message, Reason: message}
}

func inProgress(message string) error {
	return &apiError{Type: "OperationInProgressException", Message: message}
}

func internalFailure() *apiError {
	return &apiError{
		Type:    "InternalFailure",
		Message: "The request processing has failed because of an unknown error, exception or failure.",
		status:  http.StatusInternalServerError,
	}
}

func unknownOperation() error {
	return &apiError{Type: "UnknownOperationException", Message: "The requested operation is not known to the service."}
}

// notEmulated is the answer to an operation that Amazon has and the emulator has not.
func notEmulated(operation string) error {
	return &apiError{Type: "UnknownOperationException", Message: "The emulator does not know the operation " + operation + "."}
}

// Why one item of a batch failed. Amazon does not publish these codes. Those for creation have been seen in
// its answers; the others are made alike.
const (
	codeNoDirectory        = "ResourceNotFound.Directory"
	codeNoUser             = "ResourceNotFound.User"
	codeNoBundle           = "ResourceNotFound.Bundle"
	codeNoWorkspace        = "ResourceNotFound.WorkSpace"
	codeExists             = "ResourceExists.WorkSpace"
	codeTimeoutAlwaysOn    = "AutoStopTimeoutIsNotApplicableForAnAlwaysOnWorkspace"
	codeTimeoutManual      = "AutoStopTimeoutIsNotDefaultForManualWorkspace"
	codeInvalidTimeout     = "InvalidParameterValue.AutoStopTimeout"
	codeInvalidVolume      = "InvalidParameterValue.VolumeSize"
	codeInvalidCompute     = "InvalidParameterValue.ComputeType"
	codeInvalidProtocol    = "InvalidParameterValue.Protocol"
	codeInvalidSystem      = "InvalidParameterValue.OperatingSystem"
	codeInvalidAccelerator = "InvalidParameterValue.GlobalAccelerator"
	codeInvalidEncryption  = "InvalidParameterValue.VolumeEncryptionKey"
	codeInvalidState       = "InvalidResourceState.WorkSpace"
	codeInvalidMode        = "OperationNotSupported.RunningMode"
	codeInProgress         = "OperationInProgress.WorkSpace"
	codeBundleUnavailable  = "ResourceUnavailable.Bundle"
	codeNoSnapshot         = "ResourceNotFound.Snapshot"
)

// refusal is why one item of a batch, or one setting, is not accepted.
type refusal struct{ code, message string }

// failedChange is how a batch operation reports an item it refused.
type failedChange struct {
	WorkspaceId  string `json:",omitempty"`
	ErrorCode    string
	ErrorMessage string
}
