package workspace

import (
	"context"
	"fmt"

	"github.com/robco-forge/forge/internal/id"
)

// Provider is the cloud that WorkSpaces live in. Implementations must not repeat a call that may have had an effect:
// whether to try again is decided here, after looking.
type Provider interface {
	// Find lists what the directory has for a user, with intents, whether ours or not.
	Find(ctx context.Context, region, directory, user string) ([]Observation, error)
	// Describe observes WorkSpaces of a region by id, at most 25. What is absent from the answer was not seen.
	Describe(ctx context.Context, region string, ids []string) (map[string]Observation, error)
	// Create asks for a WorkSpace tagged with the intent and returns its id.
	Create(ctx context.Context, spec CreateSpec) (string, error)
	// Start, Stop and Terminate ask for up to BatchSize WorkSpaces of a region, and return those that it was refused for, or
	// that nobody knows about, with why. Each is settled by itself.
	Start(ctx context.Context, region string, ids []string) map[string]error
	Stop(ctx context.Context, region string, ids []string) map[string]error
	Terminate(ctx context.Context, region string, ids []string) map[string]error
	// HandOver is the command by which an operator makes a stranger's WorkSpace the one of an intent, and Disown that by
	// which they say that it is not ours.
	HandOver(region, providerID string, intent id.WorkSpace) string
	Disown(region, providerID string) string
	// SetAutoStop changes the idle timeout, in minutes.
	SetAutoStop(ctx context.Context, region, id string, minutes int) error
}

// CreateSpec is a WorkSpace to be made.
type CreateSpec struct {
	Intent          id.WorkSpace
	Region          string
	DirectoryID     string
	DirectoryUser   string
	ComputeType     string
	OperatingSystem string
	RunningMode     string
	AutoStopMinutes int
	Attempt         int
	Tags            map[string]string
}

// Observation is what the provider shows of a WorkSpace.
type Observation struct {
	ProviderID   string
	State        string // Amazon's word
	Intent       id.WorkSpace
	ErrorCode    string
	ErrorMessage string
	AutoStop     int    // minutes; 0 when the mode has none
	Marked       bool   // its tags say whose it is, so that one that is not ours is somebody else's for certain
	Protocol     string // "WSP" or "PCOIP"; empty when it is not told
}

// Class says what a provider's error means for the next step.
type Class int

// The classes of provider errors.
const (
	// Ambiguous: the call may or may not have had its effect. Look before anything else.
	Ambiguous Class = iota
	// Throttled: nothing happened; come again later.
	Throttled
	// NotNow: the WorkSpace's state does not allow it at the moment.
	NotNow
	// Exists: the user has a WorkSpace in that directory. Look whose it is.
	Exists
	// Rejected: it will never be accepted as it is.
	Rejected
	// Blocked: an operator must act first: a quota, a permission, a directory.
	Blocked
	// Gone: there is no such WorkSpace.
	Gone
)

// Extent is how much a refusal of class Blocked keeps from being made.
type Extent int

// The extents.
const (
	OneOnly      Extent = iota // the one that was asked for
	OneDirectory               // everything in its directory
	WholeRegion                // everything in its region: a quota, a permission
)

// ProviderError is a provider's refusal or failure.
type ProviderError struct {
	Class   Class
	Extent  Extent
	Code    string
	Message string
	Err     error
}

// Error shows the provider's code and message.
func (e *ProviderError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Code, e.Err)
	}
	return e.Code + ": " + e.Message
}

// Unwrap gives the cause.
func (e *ProviderError) Unwrap() error { return e.Err }
