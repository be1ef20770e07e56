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
