package workspace

import (
	"context"
	"fmt"
	"time"

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
	// Reboot asks for up to BatchSize WorkSpaces of a region, like Start.
	Reboot(ctx context.Context, region string, ids []string) map[string]error
	// Rebuild makes the root volume anew from the image of its bundle and the user volume from its last snapshot. Restore
	// brings back both from their last snapshots. What was written since is lost.
	Rebuild(ctx context.Context, region, id string) error
	Restore(ctx context.Context, region, id string) error
	// Migrate makes a WorkSpace of another bundle for the same user, with the user volume's last snapshot, and returns its id.
	// The one before goes when that is there, within an hour; or nothing comes of it and nobody says so.
	Migrate(ctx context.Context, region, id, bundleID string) (newID string, err error)
	// PublicBundle is the id of Amazon's own bundle for a compute type and an operating system. Its errors are never Ambiguous.
	PublicBundle(ctx context.Context, region, compute, system string) (bundleID string, err error)
	// Modify changes one property.
	Modify(ctx context.Context, region, id string, p Property) error
	// Capture makes an image of a running WorkSpace, which is SUSPENDED meanwhile. The name is unique in a region: asking
	// again for the same one is Exists.
	Capture(ctx context.Context, region, id, name, description string) (imageID string, err error)
	// Tag makes a WorkSpace's tags those of an intent and its user, and takes others that a user may set away.
	Tag(ctx context.Context, region, id string, intent id.WorkSpace, tags map[string]string) error
	// Marks tells whose a WorkSpace is by its tags.
	Marks(ctx context.Context, region, id string) (Marks, error)
	// Connections tells of up to BatchSize WorkSpaces of a region whether somebody is connected. What is absent from the
	// answer is not known.
	Connections(ctx context.Context, region string, ids []string) (map[string]Connection, error)
	// Snapshots tells what Rebuild and Restore would bring back; zero where there is none.
	Snapshots(ctx context.Context, region, id string) (Snapshots, error)
	// Sweep shows everything in a directory, page by page. Only when it returns nil was everything shown.
	Sweep(ctx context.Context, region, directory string, page func([]Observation) error) error
}

// Property is one property to be changed; exactly one is set.
type Property struct {
	RunningMode     string // with AutoStopMinutes if it is AUTO_STOP
	AutoStopMinutes int
	ComputeType     string
	RootGiB         int
	UserGiB         int
}

// Marks are what a WorkSpace's tags say.
type Marks struct {
	Intent id.WorkSpace // empty: not of this installation
	Marked bool         // they say whose it is
	Tags   map[string]string
}

// Connection is whether a user is connected, as far as the provider knows.
type Connection struct {
	State     string     // CONNECTED, DISCONNECTED or UNKNOWN
	CheckedAt time.Time  // when the provider looked
	LastAt    *time.Time // when a user was last known to be connected; nil: never
}

// Snapshots are the instants of what can be brought back.
type Snapshots struct {
	RebuildAt time.Time // the user volume's, which a rebuild uses
	RestoreAt time.Time // both volumes'
}

// CreateSpec is a WorkSpace to be made.
type CreateSpec struct {
	Intent          id.WorkSpace
	Region          string
	DirectoryID     string
	DirectoryUser   string
	ComputeType     string
	OperatingSystem string
	BundleID        string // empty: the public bundle of the compute type and operating system
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
	RunningMode  string // empty where it is not told, as of the following
	ComputeType  string
	BundleID     string
	RootGiB      int
	UserGiB      int
	DirectoryID  string
	User         string
	Changing     string // what is being changed, in Amazon's words: COMPUTE_TYPE, ROOT_VOLUME, USER_VOLUME
	ChangeFailed bool   // and that failed
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
