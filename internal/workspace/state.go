package workspace

import (
	"slices"

	"github.com/robco-forge/forge/internal/price"
)

// State is where a WorkSpace is, in our words.
type State string

// The states, and how a WorkSpace comes from one to another. Amazon's side is observed; what is wanted is Desired, and
// Asked is what Amazon is being asked for. Both together are the machine; decide.go goes on from any of them.
//
//	request ──► PENDING ──────────────► AVAILABLE ◄──────────────────────────────┐
//	              │  ▲                   │  ▲  ▲ │  reboot, ill health  ──► REBOOTING ──┤
//	              │  └─ failed, once ──┐ │  │  │ │  rebuild             ──► REBUILDING ─┤
//	              │                    │ │  │  │ │  restore             ──► RESTORING ──┤
//	              ├──► CONFLICT        │ │  │  │ │  image               ──► SUSPENDED ──┤
//	              │    (a stranger     │ │  │  │ │  Amazon              ──► MAINTENANCE ┤
//	              │    holds the place)│ │  │  │ └─ Amazon ──► IMPAIRED ──► UPDATING ───┘
//	              └──► FAILED          │ │  │  │
//	                  (it never ran) ──┘ │  │  └── STARTING ◄── start, schedule, a login ──┐
//	                                     │  │                                            │
//	               stop, idle, schedule, └─►STOPPING ──────────────────────────► STOPPED ─┤
//	               budget                                                                │
//	               terminate, lifetime, stale: from any of these ──► TERMINATING ──► TERMINATED
//
//	migrate: AVAILABLE, STOPPED or ERROR ──► SUSPENDED, and a second one is made ──┬─► AVAILABLE: the second, with its own id
//	                                                                              └─► as before: it came to nothing
//
// PENDING and FAILED are also ours alone: asked for and not seen yet; ended without ever having run. A change of bundle or
// volumes happens beside the state: Amazon tells of it elsewhere (Change, ChangeBegunAt).
//
// Every transition has a reason: user, idle, lifetime, stale, budget, schedule (who or what wanted it: WishReason),
// provider (Amazon went on by itself) or drift (somebody did it outside of Forge).
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

// Operation is what may be asked of a WorkSpace.
type Operation string

// The operations.
const (
	OpStart     Operation = "start"
	OpStop      Operation = "stop"
	OpReboot    Operation = "reboot"
	OpRebuild   Operation = "rebuild"
	OpRestore   Operation = "restore"
	OpImage     Operation = "image"
	OpChange    Operation = "change"  // bundle, running mode, volumes
	OpMigrate   Operation = "migrate" // to another bundle, by way of a new WorkSpace
	OpExtend    Operation = "extend"
	OpUpdate    Operation = "update" // what is Forge's own: name, tags, rules about time
	OpTerminate Operation = "terminate"
)

// operations says what may be asked for in which state: Amazon's own rules, and what can wait until it is possible. Start
// and stop are wishes that are kept through any transition; terminate is accepted always, and waits while SUSPENDED.
var operations = map[State][]Operation{
	Pending:     {OpStart, OpStop, OpUpdate, OpTerminate},
	Available:   {OpStart, OpStop, OpReboot, OpRebuild, OpRestore, OpImage, OpChange, OpMigrate, OpExtend, OpUpdate, OpTerminate},
	Starting:    {OpStart, OpStop, OpExtend, OpUpdate, OpTerminate},
	Stopping:    {OpStart, OpStop, OpUpdate, OpTerminate},
	Stopped:     {OpStart, OpStop, OpRebuild, OpRestore, OpChange, OpMigrate, OpUpdate, OpTerminate},
	Rebooting:   {OpStart, OpStop, OpReboot, OpExtend, OpUpdate, OpTerminate},
	Rebuilding:  {OpStart, OpStop, OpRebuild, OpUpdate, OpTerminate},
	Restoring:   {OpStart, OpStop, OpRestore, OpUpdate, OpTerminate},
	Updating:    {OpStart, OpStop, OpUpdate, OpTerminate},
	Impaired:    {OpStart, OpStop, OpReboot, OpRebuild, OpRestore, OpMigrate, OpUpdate, OpTerminate},
	Maintenance: {OpStart, OpStop, OpUpdate, OpTerminate},
	Suspended:   {OpStart, OpImage, OpUpdate, OpTerminate},
	Conflict:    {OpStart, OpStop, OpUpdate, OpTerminate},
	Terminating: {OpTerminate},
	Terminated:  {OpTerminate},
	Failed:      {OpTerminate},
}

// Allowed are the operations that may be asked for now.
func (w *WorkSpace) Allowed() []Operation {
	if w.Desired == WantTerminated {
		return []Operation{OpTerminate}
	}
	allowed := slices.Clone(operations[w.State])
	return slices.DeleteFunc(allowed, func(op Operation) bool {
		switch op {
		case OpStop, OpExtend:
			return w.RunningMode == price.AlwaysOn
		case OpMigrate:
			return w.MigrationAskedAt != nil || w.State == Impaired && w.ObservedState != "ERROR"
		case OpReboot, OpRebuild, OpRestore, OpImage, OpChange:
			return w.MigrationAskedAt != nil
		case OpStart, OpUpdate, OpTerminate:
		}
		return false
	})
}

// allow refuses an operation that the state does not allow, saying which it is and what it allows instead.
func (w *WorkSpace) allow(op Operation) error {
	allowed := w.Allowed()
	if slices.Contains(allowed, op) {
		return nil
	}
	if w.RunningMode == price.AlwaysOn && w.Desired != WantTerminated && slices.Contains(operations[w.State], op) {
		if op == OpExtend {
			return ErrExtend
		}
		return ErrAlwaysOn
	}
	said := "the WorkSpace is " + string(w.State)
	next := "wait until it is AVAILABLE or STOPPED"
	switch {
	case w.State.Ended():
		next = "launch a new one"
	case w.Desired == WantTerminated:
		said, next = "the WorkSpace is being terminated", "launch a new one once it is gone"
	case w.MigrationAskedAt != nil:
		said, next = "the WorkSpace is being migrated", "wait until that is done, which takes up to an hour"
	case w.State == Stopped:
		next = "start it first"
	case w.State == Impaired:
		next = "reboot it first"
	}
	return ErrState.Sayf("%s: %s is not possible", said, op).Suggestf("%s", next).
		Detail("state", string(w.State)).Detail("desired", string(w.Desired)).Detail("operation", string(op)).Detail("allowed", allowed)
}
