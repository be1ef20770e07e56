package emulator

import (
	"maps"
	"slices"
	"time"
)

// The states a WorkSpace goes through here, in Amazon's words; Amazon has more.
const (
	statePending     = "PENDING"
	stateAvailable   = "AVAILABLE"
	stateImpaired    = "IMPAIRED"
	stateUnhealthy   = "UNHEALTHY"
	stateError       = "ERROR"
	stateRebooting   = "REBOOTING"
	stateStarting    = "STARTING"
	stateRebuilding  = "REBUILDING"
	stateRestoring   = "RESTORING"
	stateMaintenance = "MAINTENANCE"       // Amazon's own
	stateAdmin       = "ADMIN_MAINTENANCE" // an administrator's
	stateStopping    = "STOPPING"
	stateStopped     = "STOPPED"
	stateSuspended   = "SUSPENDED"
	stateTerminating = "TERMINATING"
	stateTerminated  = "TERMINATED"
	// stateAbsent is ours: the WorkSpace is no longer returned by anything.
	stateAbsent = "ABSENT"
)

const (
	alwaysOn = "ALWAYS_ON"
	autoStop = "AUTO_STOP"
	manual   = "MANUAL"
)

// workspace is what is stored of one WorkSpace: the last thing that was done to it, and when. What it is now
// follows from that and the time (see at), so that the passing of time needs no writes and survives a crash.
type workspace struct {
	Seq         int64  `json:"seq"` // order of creation over everything
	ID          string `json:"id"`
	Region      string `json:"region"`
	DirectoryID string `json:"directory_id"`
	User        string `json:"user"` // as it was written at creation
	BundleID    string `json:"bundle_id"`
	ImageID     string `json:"image_id,omitempty"` // what its root volume was made of; Amazon does not tell
	Name        string `json:"name,omitempty"`
	SubnetID    string `json:"subnet_id"`
	IP          string `json:"ip"`
	Computer    string `json:"computer"`

	EncryptionKey string `json:"encryption_key,omitempty"`
	EncryptRoot   bool   `json:"encrypt_root,omitempty"`
	EncryptUser   bool   `json:"encrypt_user,omitempty"`

	RunningMode string `json:"running_mode"`
	AutoStop    int    `json:"auto_stop,omitempty"` // minutes; only with AUTO_STOP
	Compute     string `json:"compute"`
	RootGiB     int    `json:"root_gib"`
	UserGiB     int    `json:"user_gib"`
	Protocol    string `json:"protocol"`
	System      string `json:"system"`

	Accelerator *accelerator `json:"accelerator,omitempty"` // nil: never asked for

	Tags map[string]string `json:"tags,omitempty"`

	Created time.Time `json:"created"`
	Visible time.Time `json:"visible"` // Describe operations do not return it before

	State  string    `json:"state"`
	Since  time.Time `json:"since"`
	Next   string    `json:"next,omitempty"` // the state that follows by itself, and when
	NextAt time.Time `json:"next_at,omitzero"`
	// Speed is the emulator's when State was set: later states keep their times when an emulator of another
	// speed takes over, and so the past stays what it was.
	Speed float64 `json:"speed"`

	AvailableAt    time.Time `json:"available_at,omitzero"`    // last time it became AVAILABLE
	ModeAt         time.Time `json:"mode_at,omitzero"`         // last change of running mode or timeout
	Connected      bool      `json:"connected,omitempty"`      // somebody is, from ConnectedAt on
	ConnectedAt    time.Time `json:"connected_at,omitzero"`    // may lie ahead: a log-in is waiting for the start
	DisconnectedAt time.Time `json:"disconnected_at,omitzero"` // zero: nobody ever left

	Change        *modification `json:"change,omitempty"` // one at a time
	VolumeAt      time.Time     `json:"volume_at,omitzero"`
	ComputeUpAt   time.Time     `json:"compute_up_at,omitzero"` // when each kind was last asked for
	ComputeDownAt time.Time     `json:"compute_down_at,omitzero"`

	Apps map[string]association `json:"apps,omitempty"` // by the id of the application

	UserSnapshotAt time.Time `json:"user_snapshot_at,omitzero"` // the newest of the user volume
	RootSnapshotAt time.Time `json:"root_snapshot_at,omitzero"` // the newest of both volumes

	// Maintained is when Amazon's monthly maintenance began to apply; zero: it does not.
	Maintained time.Time `json:"maintained,omitzero"`

	MigratedFrom string `json:"migrated_from,omitempty"` // the WorkSpace this one takes the place of
	MigratedTo   string `json:"migrated_to,omitempty"`   // the WorkSpace that takes its place

	ErrorCode string `json:"error_code,omitempty"` // why it is in ill health
	ErrorText string `json:"error_text,omitempty"`

	AsOf time.Time `json:"as_of,omitzero"` // when the record was made: the history goes on from there

	Marks        []mark `json:"marks,omitempty"`         // what faults do to its further course
	FailedChange string `json:"failed_change,omitempty"` // the resource whose last modification failed
}

// modification is a change of size that Amazon carries out in the background.
type modification struct {
	Resource string    `json:"resource"`       // COMPUTE_TYPE, ROOT_VOLUME, USER_VOLUME or PROTOCOL
	Text     string    `json:"text,omitempty"` // the new compute type or protocol
	GiB      int       `json:"gib,omitempty"`  // the new size
	Begins   time.Time `json:"begins"`         // UPDATE_INITIATED before, UPDATE_IN_PROGRESS after
	Done     time.Time `json:"done"`           // in effect from then on
}

func (*workspace) kind() string  { return "workspace" }
func (w *workspace) key() string { return w.ID }

// at gives the WorkSpace as it is at now. The copy shares nothing with w that a caller would change.
func (w *workspace) at(now time.Time) workspace {
	v := *w
	v.AsOf = now
	for v.step(now) {
	}
	v.snapshot(now)
	return v
}

// step takes the WorkSpace over the next thing that happens to it by itself, if that is due at now, and
// reports whether it was. Between two steps nothing changes but the snapshots.
func (w *workspace) step(now time.Time) bool {
	state, when := w.upcoming()
	if w.Change != nil && (state == "" || !when.Before(w.Change.Done)) {
		if now.Before(w.Change.Done) {
			return false
		}
		w.finishChange()
		return true
	}
	if state == "" || now.Before(when) {
		return false
	}
	w.snapshot(when)
	w.enter(state, when)
	return true
}

// upcoming is the state that follows by itself if nobody does anything, and when; "" if none does.
func (w *workspace) upcoming() (string, time.Time) {
	state, when := w.afflicted(w.following())
	if w.rebootsForChange() && (state == "" || !when.Before(w.Change.Done)) {
		return stateRebooting, w.Change.Done
	}
	return state, when
}

// following is upcoming for a WorkSpace that is not being modified.
func (w *workspace) following() (string, time.Time) {
	switch {
	case w.Next != "":
		return w.Next, w.NextAt
	case w.RunningMode != autoStop:
		return "", time.Time{}
	case w.State == stateStopped && !w.Maintained.IsZero():
		return stateMaintenance, w.nextMaintenance()
	case w.State != stateAvailable || w.Connected || w.marked("autostop_fails") != nil:
		return "", time.Time{}
	}
	idle := w.AvailableAt
	if w.DisconnectedAt.After(idle) {
		idle = w.DisconnectedAt
	}
	// The timeout is a user's setting and passes in real time, whatever the speed.
	stop := idle.Add(time.Duration(w.AutoStop) * time.Minute)
	if w.ModeAt.After(stop) {
		stop = w.ModeAt // overdue under the new setting, but it cannot have stopped before there was one
	}
	return stateStopping, stop
}

// enter puts the WorkSpace into a state from t on.
func (w *workspace) enter(state string, t time.Time) {
	w.State, w.Since = state, t
	w.Next, w.NextAt = "", time.Time{}
	w.ErrorCode, w.ErrorText = "", ""
	switch state {
	case stateAvailable:
		w.AvailableAt = t
	case statePending:
		takes := provisioning
		if w.EncryptRoot || w.EncryptUser {
			takes = provisioningEncrypted
		}
		w.follow(stateAvailable, takes)
	case stateStarting:
		w.follow(stateAvailable, starting)
	case stateRebooting:
		w.hangUp(t)
		w.follow(stateAvailable, rebooting)
	case stateRebuilding:
		w.hangUp(t)
		w.follow(stateAvailable, rebuilding)
	case stateRestoring:
		w.hangUp(t)
		w.follow(stateAvailable, restoring)
	case stateMaintenance:
		w.follow(stateStopped, maintaining)
	case stateAdmin, stateSuspended, stateUnhealthy, stateImpaired, stateError:
		w.hangUp(t)
	case stateStopping:
		w.hangUp(t)
		w.follow(stateStopped, stopping)
	case stateTerminating:
		w.hangUp(t)
		w.follow(stateTerminated, terminating)
	case stateTerminated:
		w.Next, w.NextAt = stateAbsent, t.Add(pace(terminatedShown, w.Speed))
	}
	w.suffer()
}

func (w *workspace) follow(next string, d duration) {
	w.Next, w.NextAt = next, w.Since.Add(d.of(w.ID, w.Speed))
}

// hangUp ends the user's connection, or the wait for one.
func (w *workspace) hangUp(t time.Time) {
	if w.Connected && !t.Before(w.ConnectedAt) {
		w.DisconnectedAt = t
	}
	w.Connected = false
}

// online reports whether a user is connected. w must be as of now.
func (w *workspace) online(now time.Time) bool {
	return w.Connected && w.State == stateAvailable && !now.Before(w.ConnectedAt)
}

// visible reports whether Describe operations return it. w must be as of now.
func (w *workspace) visible(now time.Time) bool {
	return w.State != stateAbsent && !now.Before(w.Visible)
}

// released reports whether the user may be given another WorkSpace: the directory forgets the old one a
// little after the API does. w must be as of now.
func (w *workspace) released(now time.Time) bool {
	return w.State == stateAbsent && !now.Before(w.Since.Add(pace(directoryForgets, w.Speed)))
}

// ill reports whether something is wrong with the WorkSpace that needs somebody to act.
func (w *workspace) ill() bool {
	return w.State == stateUnhealthy || w.State == stateImpaired || w.State == stateError
}

// fail puts the WorkSpace into UNHEALTHY, IMPAIRED or ERROR, for a reason that Describe operations tell.
// Only one that runs can become unhealthy; anything that is not on its way out can end in ERROR.
func (w *workspace) fail(state, code, message string, now time.Time) *refusal {
	switch w.State {
	case stateTerminating, stateTerminated, stateSuspended:
		return w.wrongState("made " + state)
	}
	if state != stateError && w.State != stateAvailable && !w.ill() {
		return w.wrongState("made " + state)
	}
	w.enter(state, now)
	w.ErrorCode, w.ErrorText = code, message
	return nil
}

// rebootsForChange reports whether the modification under way ends in a reboot: only a new compute type
// needs one, of a WorkSpace that runs.
func (w *workspace) rebootsForChange() bool {
	return w.Change != nil && w.Change.Resource == computeType && w.State == stateAvailable &&
		!w.stuck() && w.marked("modify_update_failed") == nil
}

// finishChange puts the modification into effect.
func (w *workspace) finishChange() {
	reboots, done := w.rebootsForChange(), w.Change.Done
	w.apply(*w.Change)
	w.Change = nil
	if reboots {
		w.snapshot(done)
		w.enter(stateRebooting, done)
	}
}

func (w *workspace) apply(m modification) {
	if w.marked("modify_update_failed") != nil {
		w.unmark(ofKind("modify_update_failed"))
		w.FailedChange = m.Resource
		return
	}
	switch m.Resource {
	case computeType:
		w.Compute = m.Text
	case protocol:
		w.Protocol = m.Text
	case rootVolume:
		w.RootGiB = m.GiB
	case userVolume:
		w.UserGiB = m.GiB
	}
}

type wireTag struct {
	Key   string
	Value string
}

func wireTags(tags map[string]string) []wireTag {
	out := make([]wireTag, 0, len(tags))
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, wireTag{Key: k, Value: tags[k]})
	}
	return out
}
