package workspace

// State is where a WorkSpace is, in our words.
type State string

// The states. PENDING and FAILED are also ours alone: asked for and not seen yet; ended without ever having run.
//
//	            ┌────────────► FAILED
//	PENDING ────┼────────────► CONFLICT (a stranger holds the place; tried again)
//	   │        │
//	   ▼        ▼
//	AVAILABLE ⇄ REBOOTING REBUILDING RESTORING UPDATING IMPAIRED MAINTENANCE SUSPENDED
//	   │  ▲
//	   ▼  │
//	STOPPING ► STOPPED ► STARTING ► AVAILABLE
//
//	any of these ► TERMINATING ► TERMINATED
const (
	Pending     State = "PENDING"
	Available   State = "AVAILABLE"
	Starting    State = "STARTING"
	Stopping    State = "STOPPING"
	Stopped     State = "STOPPED"
	Rebooting   State = "REBOOTING"
	Rebuilding  State = "REBUILDING"
	Restoring   State = "RESTORING"
	Updating    State = "UPDATING"
	Impaired    State = "IMPAIRED"
	Maintenance State = "MAINTENANCE"
	Suspended   State = "SUSPENDED"
	Terminating State = "TERMINATING"
	Terminated  State = "TERMINATED"
	Failed      State = "FAILED"
	Conflict    State = "CONFLICT"
)

// Desired is what a WorkSpace is wanted to be.
type Desired string

// The wishes.
const (
	WantAvailable  Desired = "AVAILABLE"
	WantStopped    Desired = "STOPPED"
	WantTerminated Desired = "TERMINATED"
)

// fromAmazon maps each of Amazon's states onto ours. ERROR is IMPAIRED: it is there, it costs, and it does not work.
var fromAmazon = map[string]State{
	"PENDING": Pending, "AVAILABLE": Available, "IMPAIRED": Impaired, "UNHEALTHY": Impaired, "REBOOTING": Rebooting,
	"STARTING": Starting, "REBUILDING": Rebuilding, "RESTORING": Restoring, "MAINTENANCE": Maintenance,
	"ADMIN_MAINTENANCE": Maintenance, "TERMINATING": Terminating, "TERMINATED": Terminated, "SUSPENDED": Suspended,
	"UPDATING": Updating, "STOPPING": Stopping, "STOPPED": Stopped, "ERROR": Impaired,
}

// Ended tells whether nothing can happen to the WorkSpace any more.
func (s State) Ended() bool { return s == Terminated || s == Failed }

// Runs tells whether Amazon bills running time in the state: from AVAILABLE up to the stop.
func (s State) Runs() bool {
	switch s {
	case Available, Rebooting, Rebuilding, Restoring, Updating, Impaired, Maintenance:
		return true
	case Pending, Starting, Stopping, Stopped, Suspended, Terminating, Terminated, Failed, Conflict:
	}
	return false
}

// Settled tells whether the state is one that a WorkSpace stays in by itself.
func (s State) Settled() bool { return s == Available || s == Stopped || s.Ended() }

// action is what brings a WorkSpace a step nearer to what is desired.
type action string

const (
	nothing     action = ""
	create      action = "create"
	start       action = "start"
	stop        action = "stop"
	terminate   action = "terminate"
	setAutoStop action = "modify"
)

// next is the one decision of the reconciler: what to ask of the provider, given what is desired and what is seen.
// It asks nothing while a transition is under way, and does not fight what Amazon starts by itself: a WorkSpace wanted
// STOPPED that its user has started is left to its idle timeout, so stop is asked only when a person asked for it.
func next(w *WorkSpace) action {
	if w.Desired == WantTerminated {
		switch w.State {
		case Terminating, Terminated, Failed, Suspended:
			return nothing
		case Pending, Available, Starting, Stopping, Stopped, Rebooting, Rebuilding, Restoring, Updating, Impaired, Maintenance, Conflict:
			if w.ProviderID == nil {
				return nothing
			}
			return terminate
		}
	}
	switch {
	case w.ProviderID == nil && (w.State == Pending || w.State == Conflict):
		return create
	case w.Desired == WantAvailable && w.State == Stopped && w.Asked == "start":
		return start
	case w.Desired == WantStopped && w.Asked == "stop" && (w.State == Available || w.State == Impaired):
		return stop
	case w.Asked == "modify" && (w.State == Available || w.State == Stopped):
		return setAutoStop
	}
	return nothing
}
