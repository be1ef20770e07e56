package workspace

import (
	"cmp"
	"strconv"
	"time"

	"github.com/robco-forge/forge/internal/price"
)

// Everything that the reconciler does follows from one function, decide: what is on the row, what the provider shows, and
// what time it is come to one decision. The rest of the package only carries decisions out.
//
//	the row              the provider shows     decision
//	───────────────────  ─────────────────────  ─────────────────────────────────────────────────────────────────
//	no id                ours                   note: take it over                                    (faults 1-3)
//	no id, asked lately  nothing, a stranger    rest: an answer was lost, its effect may show yet      (1, 7, 28)
//	no id, unwanted      nothing, a stranger    note: ended before it was made
//	the same, unclear    nothing, 3 times       note: ended before it was made                                  (1, 7)
//	the same, unclear    unmarked stranger      note CONFLICT: it may be ours, without its tags               (20)
//	no id                a stranger             note CONFLICT, once; then look now and then                  (21)
//	no id                nothing                create                                                 (1, 3, 27)
//	id                   another state          note the state; meters and holds follow it       (11, 13, 14, 15)
//	id, never ran        ERROR                  note the error, replace it once; then give up                (10)
//	id, never ran        PENDING for 40 min     note STUCK once, people are told                              (9)
//	id, never ran        PENDING for 2 h        replace it once; then give up                                 (9)
//	id                   the same transition    after its time: note STUCK once, people are told         (12, 24)
//	id, to be replaced   nothing                note: its place is free; then as without an id           (10, 27)
//	id                   sold as something else note: adopt it, with what it costs                   (13, 16, 17)
//	id, a change begun   failed, or no effect   note: it came to nothing; people are told                    (17)
//	id, IMPAIRED         for ten minutes        note: reboot once; then told                                 (11)
//	id, asked once       no effect for 5 min    note: not known whether it happened; not repeated    (rebuild …)
//	id, TERMINATING      nothing                note: ended
//	migrating, no answer a second one of ours   note: that is the target; both ids are kept              (19, 20)
//	the same             nothing, for 5 min     note: it has not begun; ask again                            (19)
//	migrating            source goes, target is note: the target is it now, with what it costs               (19)
//	migrating            source, no target, 1 h note: it came to nothing, the source is as it was            (19)
//	migrating            neither, 3 times       confirm by directory and user; note: terminated outside  (13, 19)
//	migrating            anything else          rest; after its time: note STUCK once                        (19)
//	id, young            nothing                no conclusion: what is new shows late                         (7)
//	id                   much missing at once   no conclusion for an hour                                     (8)
//	id                   nothing, 3 times       confirm by directory and user; note: terminated outside   (7, 13)
//	id, wanted otherwise its wish not yet met   start, stop, terminate, modify; again after a minute        (6, 18)
//	id                   tags to be brought     tag                                                          (20)
//	otherwise                                   rest
//
// The numbers are those of docs/aws.md, "Faults and what follows".

// action is what is to be done about a WorkSpace.
type action string

// The first three are done here; the others are asked of the provider, and each leaves its name on the row before it is.
const (
	rest    action = ""        // nothing, until later
	note    action = "note"    // write down what follows from what was seen
	confirm action = "confirm" // look by directory and user as well

	create    action = "create"
	replace   action = "replace" // terminate one that failed on its way, so that it can be made again
	start     action = "start"
	stop      action = "stop"
	terminate action = "terminate"
	modify    action = "modify" // one property
	reboot    action = "reboot"
	rebuild   action = "rebuild"
	restore   action = "restore"
	image     action = "image"
	migrate   action = "migrate"

	retag action = "tag" // harmless to repeat, so it leaves nothing on the row
)

// once tells whether the action is something that happens, rather than something to be so: it is asked for once, and if
// nobody knows whether it happened, it is not asked for again.
func (a action) once() bool { return a == reboot || a == rebuild || a == restore || a == image }

// decision is what to do now.
type decision struct {
	do       action
	after    time.Duration // rest: when to look again
	property Property      // modify: which

	// note: what follows.
	to       State
	reason   string
	missed   bool   // it was not shown where it should have been
	cleared  bool   // the failed one is gone, and a new one can be made
	unwanted bool   // it is given up: what is there is to go
	begun    bool   // Amazon has begun the change
	undone   bool   // the change came to nothing
	target   string // the other id of one that is migrated is known
	moved    bool   // the migration is over: the target is it now
	unmoved  bool   // the migration came to nothing
	unsent   bool   // the migration has not begun, and is asked for again
	ask      action // what is to be asked for from now on
	dropped  bool   // what was asked for is not asked for any more
	over     bool   // what was asked for is so
	flag     string // what people are told, once
	code     string // why, if something is wrong
	message  string
}

// look is what the provider showed: of a WorkSpace with an id by that, of one without by its directory and user.
type look struct {
	found     *Observation
	target    *Observation // the other one, of one that is being migrated
	stranger  *Observation // somebody else's, in the user's place
	handOver  string       // the command that would make it ours
	disown    string       // the command that would say that it is not
	confirmed bool         // by directory and user, nothing is shown either
	doubtful  bool         // too much is missing at once to be believed
}

// reasonGone is why a WorkSpace ended that nobody asked Forge to end.
const reasonGone = "drift: terminated outside"

// What people are told of a WorkSpace, once per state.
const (
	FlagStuck    = "STUCK"     // it has been on its way for far longer than Amazon takes
	FlagProtocol = "PROTOCOL"  // it speaks PCoIP, which Forge never asks for
	FlagIll      = "UNHEALTHY" // it is ill, and a reboot has not helped
)

// Codes of what went wrong on the way.
const (
	codeNotOurs = "RESOURCE_NOT_OURS"
	codeStuck   = "PROVISIONING_STUCK"
	codeFailed  = "PROVISIONING_FAILED"

	codeUnclear = "OPERATION_UNCLEAR"
	codeTooLate = "OPERATION_TOO_LATE"
	codeChange  = "CHANGE_FAILED"
	codeNoPrice = "PRICE_UNKNOWN"
)

const (
	maxMissed   = 3
	maxReplaced = 1
)

// times are the reconciler's measures of Amazon. They shrink with an emulator's speed.
type times struct {
	settle   time.Duration // how long a create of unknown outcome may stay invisible before it is sent again
	glance   time.Duration // how often is looked meanwhile
	askAgain time.Duration // how long an accepted request may show no effect
	visible  time.Duration // how long what never ran may be invisible without being gone
	young    time.Duration // how long what is new may be missing from answers
	miss     time.Duration // between two looks that find it missing
	doubt    time.Duration // how long a sight in which much is missing is not believed
	stranger time.Duration // how often a place that a stranger holds is looked at
	late     time.Duration // PENDING for longer is told
	giveUp   time.Duration // PENDING for longer is replaced
	stuck    time.Duration // another transition for longer is told
	stuckBig time.Duration // the same for those that take an hour
	ill      time.Duration // ill for longer is rebooted once, and told if that does not help in twice the time
	illAgain time.Duration // it is rebooted for that so often at the most
	resize   time.Duration // Amazon's wait between two enlargements, and after the creation
	shrink   time.Duration // and between two reductions
	mature   time.Duration // how old Amazon wants one to be before it migrates it
	migrated time.Duration // a migration that shows nothing for longer has failed
	resting  time.Duration // how often what is at rest is looked at
	least    time.Duration // what is under way is not looked at more often
	most     time.Duration // nor less often
}

// timesAt gives the measures for a provider that works so many times faster than Amazon. What costs calls or the
// database's time does not shrink without end.
func timesAt(speed int) times {
	d := func(real, least time.Duration) time.Duration { return max(real/time.Duration(max(speed, 1)), least) }
	return times{
		settle: d(5*time.Minute, 500*time.Millisecond), glance: d(15*time.Second, 250*time.Millisecond),
		askAgain: d(time.Minute, 500*time.Millisecond), visible: d(time.Minute, 100*time.Millisecond), young: d(10*time.Minute, time.Second),
		miss: d(time.Minute, 500*time.Millisecond), doubt: d(time.Hour, 10*time.Second), stranger: d(time.Minute, time.Second),
		late: d(40*time.Minute, 5*time.Second), giveUp: d(2*time.Hour, 15*time.Second),
		stuck: d(20*time.Minute, 3*time.Second), stuckBig: d(2*time.Hour, 15*time.Second),
		ill: d(10*time.Minute, 2*time.Second), illAgain: d(24*time.Hour, time.Minute),
		mature: d(12*time.Hour, 0), migrated: d(time.Hour, 8*time.Second),
		resize: d(6*time.Hour, 0), shrink: d(30*24*time.Hour, 0),
		resting: d(5*time.Minute, 3*time.Second), least: d(5*time.Second, 100*time.Millisecond), most: d(30*time.Second, 500*time.Millisecond),
	}
}

func (t times) decide(w *WorkSpace, l look, now time.Time) decision {
	var d decision
	switch {
	case w.State.Ended():
		return decision{after: t.resting}
	case w.MigrationAskedAt != nil:
		return t.migrating(w, l, now)
	case l.found != nil:
		d = t.shown(w, l.found, now)
	case w.ProviderID == nil:
		d = t.unmade(w, l, now)
	default:
		d = t.missing(w, l, now)
	}
	if d != (decision{}) {
		return d
	}
	return t.towards(w, l.found, now)
}

// unmade is for a WorkSpace that has no id, of which nothing is shown. Nothing said: go on to what is wanted.
func (t times) unmade(w *WorkSpace, l look, now time.Time) decision {
	if w.Asked == string(create) && w.AskedAt != nil {
		if left := t.settle - now.Sub(*w.AskedAt); left > 0 {
			return decision{after: min(left, t.glance)}
		}
	}
	switch {
	case w.Desired == WantTerminated && w.Unclear && l.stranger == nil && w.Missed+1 < maxMissed:
		// One look may leave out what is there, and nobody would look for it again.
		if left := t.miss - now.Sub(w.UpdatedAt); w.Missed > 0 && left > 0 {
			return decision{after: left}
		}
		return decision{do: note, to: w.State, reason: w.StateReason, missed: true}
	case w.Desired == WantTerminated && !(w.Unclear && l.stranger != nil && !l.stranger.Marked):
		return decision{do: note, to: w.ended(), reason: "terminated before it was made"}
	case l.stranger != nil && (w.State != Conflict || w.ErrorMessage != conflictMessage(w, l)):
		return decision{do: note, to: Conflict, reason: "provider", code: codeNotOurs, message: conflictMessage(w, l)}
	case l.stranger != nil:
		return decision{after: t.stranger}
	case w.State == Pending && w.Flag == "" && now.Sub(w.StateSince) >= t.late:
		return decision{do: note, to: Pending, reason: w.StateReason, flag: FlagStuck}
	}
	return decision{}
}

// conflictMessage tells an operator what holds the place, and by which commands it is resolved.
func conflictMessage(w *WorkSpace, l look) string {
	s := "the directory already has the WorkSpace " + l.stranger.ProviderID + " of this user, "
	if w.Unclear && !l.stranger.Marked {
		return s + "which may be the one that Forge asked for and had no answer about, without its tags (CloudTrail tells who made it). If it is, an operator hands it over: " +
			l.handOver + " - and if it is not, they say so: " + l.disown
	}
	return s + "that Forge did not make; an operator must remove it, or hand it over: " + l.handOver
}

// missing is for a WorkSpace that has an id and is not shown.
func (t times) missing(w *WorkSpace, l look, now time.Time) decision {
	born := w.CreatedAt
	if w.AcceptedAt != nil {
		born = *w.AcceptedAt
	}
	recent := func(d time.Duration) bool { return now.Sub(born) < d || w.AskedAt != nil && now.Sub(*w.AskedAt) < d }
	switch {
	case w.Replacing:
		if recent(t.visible) {
			return decision{after: t.glance}
		}
		return decision{do: note, to: Pending, reason: "provider", cleared: true}
	case w.Migration != nil && !l.confirmed: // an earlier request for it may have had its effect after all
		return decision{do: confirm}
	case w.State == Terminating:
		if w.AvailableAt == nil && now.Sub(born) < t.visible {
			return decision{after: t.glance}
		}
		return decision{do: note, to: w.ended(), reason: w.goneBecause()}
	case recent(t.young):
		return decision{}
	case l.doubtful && now.Sub(w.lastSeen()) < t.doubt:
		return decision{}
	case w.Missed > 0 && now.Sub(w.UpdatedAt) < t.miss:
		return decision{}
	case w.Missed+1 < maxMissed:
		return decision{do: note, to: w.State, reason: w.StateReason, missed: true}
	case !l.confirmed:
		return decision{do: confirm}
	}
	return decision{do: note, to: w.ended(), reason: w.goneBecause()}
}

// lastSeen is when it was last shown; one that never was, when it came to be as it is.
func (w *WorkSpace) lastSeen() time.Time {
	if w.ObservedAt != nil {
		return *w.ObservedAt
	}
	return w.StateSince
}

func (w *WorkSpace) goneBecause() string {
	if w.Desired == WantTerminated {
		return w.wishedBy()
	}
	return reasonGone
}

// shown is for a WorkSpace that the provider shows.
func (t times) shown(w *WorkSpace, o *Observation, now time.Time) decision {
	state := w.follows(o)
	news := state != w.State || w.ProviderID == nil || w.Missed > 0 || w.met(o, now) ||
		o.State == "ERROR" && o.ErrorCode != "" && w.ErrorCode != o.ErrorCode ||
		w.Replacing && o.State != w.ObservedState || w.differs(o)
	age := now.Sub(w.StateSince)
	never := w.AvailableAt == nil && w.Desired != WantTerminated && !w.Replacing
	if w.AcceptedAt != nil && state == Pending {
		age = now.Sub(*w.AcceptedAt)
	}
	switch {
	case state == Terminated && w.Replacing:
		return decision{do: note, to: Pending, reason: "provider", cleared: true}
	case state == Terminated:
		return decision{do: note, to: w.ended(), reason: w.goneBecause()}
	case news:
		return decision{do: note, to: state, reason: t.because(w, state, o, now)}
	case w.Change != "" && w.ChangeBegunAt == nil && o.Changing != "" && o.Changing == changing[w.Change] && !o.ChangeFailed:
		return decision{do: note, to: state, reason: w.StateReason, begun: true}
	case w.Change != "" && t.changeFailed(w, o, now):
		return decision{do: note, to: state, reason: "provider", undone: true, code: codeChange, message: "Amazon has not changed the " + spelled[w.Change] + " to " + w.ChangeTo}
	case never && (o.State == "ERROR" || state == Pending && age >= t.giveUp):
		return w.afresh(o)
	case w.Flag == "" && t.overdue(state, age):
		return decision{do: note, to: state, reason: w.StateReason, flag: FlagStuck}
	case w.Flag == "" && o.Protocol == "PCOIP":
		return decision{do: note, to: state, reason: w.StateReason, flag: FlagProtocol}
	case state == Impaired && o.State == "ERROR" && w.Flag == "" && w.Desired == WantAvailable && age >= t.ill:
		return decision{do: note, to: state, reason: w.StateReason, flag: FlagIll}
	case state == Impaired && o.State != "ERROR" && (w.Asked == "" || w.Asked == string(modify)) && w.Desired == WantAvailable:
		return t.treat(w, age, now)
	}
	return t.outcome(w, state, now)
}

// treat is for one that is ill: it is rebooted once, and people are told if that does not help. Whatever loses data is
// its user's to ask for.
func (t times) treat(w *WorkSpace, age time.Duration, now time.Time) decision {
	switch {
	case age < t.ill:
	case w.RebootedAt == nil || now.Sub(*w.RebootedAt) >= t.illAgain:
		return decision{do: note, to: Impaired, reason: "provider", ask: reboot}
	case w.Flag == "" && now.Sub(*w.RebootedAt) >= 2*t.ill:
		return decision{do: note, to: Impaired, reason: w.StateReason, flag: FlagIll}
	}
	return decision{}
}

// outcome ends the wait for something that has not shown. Of what happens once nobody knows whether it did, or it has become
// impossible.
func (t times) outcome(w *WorkSpace, state State, now time.Time) decision {
	act := action(w.Asked)
	switch {
	case (act == start && state.up() || act == stop && state == Stopped) && w.AskedAt != nil && now.Sub(*w.AskedAt) >= t.askAgain:
		return decision{do: note, to: state, reason: w.StateReason, over: true} // what it was to undo has not happened
	case !act.once():
	case w.AskedAt != nil && now.Sub(*w.AskedAt) >= t.settle:
		return decision{do: note, to: state, reason: w.StateReason, dropped: true, code: codeUnclear, message: "Amazon did not say whether it has begun to " + spelled[w.Asked] + ", and shows no effect"}
	case w.AskedAt == nil && (state.Settled() || state == Impaired) && !act.possible(state):
		return decision{do: note, to: state, reason: w.StateReason, dropped: true, code: codeTooLate, message: "it was " + string(state) + " before Amazon could be asked to " + spelled[w.Asked]}
	}
	return decision{}
}

// spelled are what is asked for and changed, in words for people.
var spelled = map[string]string{
	"migrate": "the migration to another bundle",
	"reboot":  "reboot it", "rebuild": "rebuild it", "restore": "restore it", "image": "make an image of it",
	changeBundle: "bundle", changeMode: "running mode", changeRoot: "root volume", changeUser: "user volume",
}

// possible tells whether Amazon does it in that state.
func (a action) possible(s State) bool {
	switch a {
	case reboot:
		return s == Available || s == Impaired || s == Rebooting
	case rebuild, restore:
		return s == Available || s == Impaired || s == Stopped
	case image:
		return s == Available
	case migrate:
		return s == Available || s == Impaired || s == Stopped
	case rest, note, confirm, create, replace, start, stop, terminate, modify, retag:
	}
	return false
}

// changing is what Amazon calls the change of a property while it makes it. The running mode changes at once.
var changing = map[string]string{changeBundle: "COMPUTE_TYPE", changeRoot: "ROOT_VOLUME", changeUser: "USER_VOLUME"}

// changeFailed tells whether a change that Amazon accepted, or was asked for, has come to nothing.
func (t times) changeFailed(w *WorkSpace, o *Observation, now time.Time) bool {
	if w.ChangeBegunAt == nil {
		return w.ChangeAskedAt != nil && now.Sub(*w.ChangeAskedAt) >= t.stuckBig && (w.State == Available || w.State == Stopped)
	}
	if o.ChangeFailed && o.Changing == changing[w.Change] && now.Sub(*w.ChangeBegunAt) >= t.askAgain { // else it may be the one before
		return true
	}
	return o.Changing == "" && now.Sub(*w.ChangeBegunAt) >= t.stuckBig
}

// differs tells whether the provider sells it as something else than the row says. What has no price is not adopted.
func (w *WorkSpace) differs(o *Observation) bool {
	grown := func(have *int, is int) bool { return have != nil && is != 0 && *have != is }
	return w.ErrorCode != codeNoPrice && (o.ComputeType != "" && o.ComputeType != w.BundleType || grown(w.RootGiB, o.RootGiB) || grown(w.UserGiB, o.UserGiB) ||
		(o.RunningMode == price.AutoStop || o.RunningMode == price.AlwaysOn) && o.RunningMode != w.RunningMode)
}

// adopt brings what the provider sells onto the row, and tells whether that ended the change that was under way.
func (w *WorkSpace) adopt(o *Observation) (done bool) {
	if o.ComputeType != "" {
		w.BundleType = o.ComputeType
	}
	if o.RootGiB != 0 {
		w.RootGiB = &o.RootGiB
	}
	if o.UserGiB != 0 {
		w.UserGiB = &o.UserGiB
	}
	switch o.RunningMode {
	case w.RunningMode:
	case price.AutoStop:
		minutes := max(o.AutoStop, 60)
		w.RunningMode, w.AutoStopTimeoutMinutes = o.RunningMode, &minutes
	case price.AlwaysOn:
		w.RunningMode, w.AutoStopTimeoutMinutes, w.ExtendedUntil, w.ExtendedMinutes = o.RunningMode, nil, nil, nil
		if w.Desired == WantStopped { // it cannot be
			w.Desired, w.Asked, w.AskedAt = WantAvailable, "", nil
		}
	}
	return w.Change != "" && w.Property(w.Change) == w.ChangeTo
}

// Property is what a property that can change is now, in words.
func (w *WorkSpace) Property(of string) string {
	gib := func(n *int) string {
		if n == nil {
			return ""
		}
		return strconv.Itoa(*n)
	}
	switch of {
	case changeBundle:
		return w.BundleType
	case changeMode:
		return w.RunningMode
	case changeRoot:
		return gib(w.RootGiB)
	case changeUser:
		return gib(w.UserGiB)
	}
	return ""
}

// wantedProperty is what to have changed, given what is seen: nothing while Amazon changes something.
func (w *WorkSpace) wantedProperty(o *Observation, now time.Time) (Property, bool) {
	if o == nil || o.Changing != "" && !o.ChangeFailed || w.State != Available && w.State != Stopped {
		return Property{}, false
	}
	if w.Change != "" && w.ChangeBegunAt == nil {
		gib, _ := strconv.Atoi(w.ChangeTo) // the volumes'
		switch w.Change {
		case changeBundle:
			return Property{ComputeType: w.ChangeTo}, true
		case changeMode:
			return Property{RunningMode: w.ChangeTo, AutoStopMinutes: modeMinutes(w.ChangeTo)}, true
		case changeRoot:
			return Property{RootGiB: gib}, true
		case changeUser:
			return Property{UserGiB: gib}, true
		}
	}
	if minutes := w.timeout(now); w.RunningMode == price.AutoStop && o.RunningMode == price.AutoStop && minutes != o.AutoStop {
		return Property{AutoStopMinutes: minutes}, true
	}
	return Property{}, false
}

// timeout is the idle timeout that holds now, in minutes; 0 when there is none.
func (w *WorkSpace) timeout(now time.Time) int {
	switch {
	case w.AutoStopTimeoutMinutes == nil:
		return 0
	case w.ExtendedUntil != nil && now.Before(*w.ExtendedUntil):
		return max(*w.ExtendedMinutes, *w.AutoStopTimeoutMinutes)
	}
	return *w.AutoStopTimeoutMinutes
}

// modeMinutes is the idle timeout that a WorkSpace begins with when it becomes AUTO_STOP: Amazon's least.
func modeMinutes(mode string) int {
	if mode == price.AutoStop {
		return 60
	}
	return 0
}

// follows is the state that follows from an observation. What is not known leaves it as it was.
func (w *WorkSpace) follows(o *Observation) State {
	state, known := fromAmazon[o.State]
	switch {
	case !known:
		return w.State
	case state == Terminated:
		return state
	case w.AvailableAt == nil && (o.State == "ERROR" || w.Replacing):
		return Pending // it never ran, and is cleared away
	}
	return state
}

// because is why a WorkSpace came into a state: somebody or something asked for it, Amazon went on by itself, or neither.
func (t times) because(w *WorkSpace, state State, o *Observation, now time.Time) string {
	stops := state == Stopping || state == Stopped
	switch {
	case w.Asked != "" || w.Desired == WantTerminated:
		return w.wishedBy()
	case w.Change != "" && (w.differs(o) || state != w.State && state != Stopping && state != Stopped):
		return "user" // Amazon reboots it for that
	case state == w.State && w.differs(o):
		return "drift"
	case state == w.State:
		return w.StateReason
	case stops && w.State.Runs() && w.AutoStopTimeoutMinutes != nil && now.Sub(w.StateSince) >= time.Duration(*w.AutoStopTimeoutMinutes)*time.Minute:
		return "idle" // Amazon's own timer
	case w.State == Conflict, w.State == Pending, w.State == Starting, w.State == Stopping, w.State == Rebooting, w.State == Rebuilding,
		w.State == Restoring, w.State == Suspended, w.State == Updating:
		return "provider"
	case state == Maintenance, w.State == Maintenance, state == Impaired:
		return "provider"
	}
	return "drift"
}

// wishedBy is who or what wanted the latest of it.
func (w *WorkSpace) wishedBy() string { return cmp.Or(w.WishReason, "user") }

// afresh is for one that failed on its way: it is made again once, and then given up.
func (w *WorkSpace) afresh(o *Observation) decision {
	if w.Replaced < maxReplaced {
		return decision{do: replace}
	}
	d := decision{do: note, to: Pending, reason: "provider", unwanted: true, code: o.ErrorCode, message: o.ErrorMessage}
	switch {
	case o.State != "ERROR":
		d.code, d.message = codeStuck, "Amazon has not finished it in hours, twice"
	case d.code == "":
		d.code, d.message = codeFailed, "Amazon failed to make it, twice, and does not say why"
	}
	return d
}

// overdue tells whether a transition takes far longer than Amazon's do.
func (t times) overdue(state State, age time.Duration) bool {
	switch state {
	case Pending:
		return age >= t.late
	case Starting, Stopping, Rebooting, Terminating:
		return age >= t.stuck
	case Rebuilding, Restoring, Updating, Suspended:
		return age >= t.stuckBig
	case Available, Stopped, Impaired, Maintenance, Terminated, Failed, Conflict:
	}
	return false
}

// ended is the state of a WorkSpace that is gone.
func (w *WorkSpace) ended() State {
	if w.AvailableAt == nil && w.ErrorCode != "" {
		return Failed
	}
	return Terminated
}

// met tells whether what was asked for shows its effect. Of one that runs and was asked to start, an earlier request to stop
// is still on its way, and the other way round: what was so before is no answer.
func (w *WorkSpace) met(o *Observation, now time.Time) bool {
	switch action(w.Asked) {
	case create:
		return true
	case start:
		return o.State == "STARTING" || fromAmazon[o.State].up() && (!w.State.Runs() || w.AskedAt == nil)
	case stop:
		return o.State == "STOPPING" || o.State == "STOPPED" && (w.State != Stopped || w.AskedAt == nil)
	case reboot:
		// One that is stuck in it is rebooted again.
		return o.State == "REBOOTING" && (w.AskedAt != nil || w.Flag != FlagStuck)
	case rebuild:
		return o.State == "REBUILDING"
	case restore:
		return o.State == "RESTORING"
	case image:
		return o.State == "SUSPENDED"
	case terminate:
		return o.State == "TERMINATING" || o.State == "TERMINATED"
	case modify:
		return w.modified(o, now)
	case rest, note, confirm, replace, retag, migrate:
	}
	return false
}

// up tells whether one that was stopped has been started. After maintenance or a restore it may be stopped again.
func (s State) up() bool { return s == Available || s == Rebooting || s == Impaired }

// modified tells whether what was to be modified shows.
func (w *WorkSpace) modified(o *Observation, now time.Time) bool {
	if w.Change != "" {
		is := *w
		return is.adopt(o) || w.ChangeBegunAt != nil || o.Changing != "" && o.Changing == changing[w.Change]
	}
	return w.AutoStopTimeoutMinutes == nil || o.AutoStop == w.timeout(now)
}

// wanted is what to ask of the provider, given what is desired and what is seen. It asks nothing while a transition is
// under way, and does not fight what Amazon starts by itself: a WorkSpace wanted STOPPED that its user has started is left
// to its idle timeout, so stop is asked only when somebody asked for it.
func wanted(w *WorkSpace) action {
	if w.Desired == WantTerminated {
		switch w.State {
		case Terminating, Terminated, Failed, Suspended:
			return rest
		case Pending, Available, Starting, Stopping, Stopped, Rebooting, Rebuilding, Restoring, Updating, Impaired, Maintenance, Conflict:
			if w.ProviderID == nil {
				return rest
			}
			return terminate
		}
	}
	switch {
	case w.ProviderID == nil && (w.State == Pending || w.State == Conflict):
		return create
	case w.Replacing && w.ProviderID != nil && w.ObservedState != "TERMINATING":
		return replace
	case w.Desired == WantAvailable && w.State == Stopped && w.Asked == string(start):
		return start
	case w.Desired == WantStopped && w.Asked == string(stop) && (w.State == Available || w.State == Impaired):
		return stop
	case (action(w.Asked).once() || w.Asked == string(migrate)) && action(w.Asked).possible(w.State):
		return action(w.Asked)
	}
	return rest
}

// towards asks for what is wanted, unless that was asked for just now, and rests when there is nothing to ask.
func (t times) towards(w *WorkSpace, o *Observation, now time.Time) decision {
	act := wanted(w)
	var p Property
	if act == rest && w.Desired != WantTerminated && (w.Asked == "" || w.Asked == string(modify)) {
		var differs bool
		switch p, differs = w.wantedProperty(o, now); {
		case differs:
			act = modify
		case w.Retag && w.ProviderID != nil && o != nil && (w.State == Available || w.State == Stopped):
			return decision{do: retag}
		}
	}
	if act == rest {
		return decision{after: t.pause(w, now)}
	}
	if w.AskedAt != nil && w.Asked == string(act) && act != create { // unmade has waited for a create
		if left := t.askAgain - now.Sub(*w.AskedAt); left > 0 || act.once() {
			return decision{after: min(max(left, t.least), t.most)}
		}
	}
	return decision{do: act, property: p}
}

// pause is how long nothing need be looked at: short while something is under way, growing with how long it takes.
func (t times) pause(w *WorkSpace, now time.Time) time.Duration {
	switch {
	case w.Missed > 0:
		return t.miss
	case (w.State == Available || w.State == Stopped) && w.Asked == "" && w.Change == "" && w.MigrationAskedAt == nil:
		return t.resting
	}
	return min(max(now.Sub(w.UpdatedAt)/10, t.least), t.most)
}

// due is when what is put off is looked at again. It falls on a common beat, so that many are looked at in one call.
func (t times) due(now time.Time, pause time.Duration) time.Time {
	if pause <= 0 {
		return now
	}
	beat := t.least
	if pause >= t.resting {
		beat = t.resting / 5
	}
	return now.Add(pause).Truncate(beat).Add(beat)
}

// apply brings a note onto the row.
func (d decision) apply(w *WorkSpace, l look, now time.Time) {
	bundleID := ""
	if d.moved {
		l.found, bundleID = l.target, l.target.BundleID
	}
	d.conclude(w, bundleID, now)
	if l.target != nil {
		w.Missed = 0
	}
	if o := l.found; o != nil {
		if w.ProviderID == nil {
			w.AcceptedAt, w.Unclear = &now, false
		}
		w.ProviderID, w.ObservedState, w.ObservedAt = &o.ProviderID, o.State, &now
		if !d.missed {
			w.Missed = 0
		}
		switch {
		case o.State == "ERROR" && o.ErrorCode != "":
			w.ErrorCode, w.ErrorMessage = o.ErrorCode, o.ErrorMessage
		case o.State == "AVAILABLE", w.State == Conflict:
			w.ErrorCode, w.ErrorMessage = "", ""
		}
		if w.met(o, now) {
			w.Asked, w.AskedAt = "", nil
		}
		if w.adopt(o) {
			w.Change, w.ChangeTo, w.ChangeAskedAt, w.ChangeBegunAt = "", "", nil, nil
		}
	}
	if d.to == Stopped && w.StoppedAt == nil {
		w.StoppedAt = &now
	}
	if d.to != w.State {
		w.StateSince = now
		if w.Flag == FlagStuck || w.Flag == FlagIll && d.to == Available {
			w.Flag = ""
		}
	}
	if w.AvailableAt == nil && d.to.Runs() && w.Desired == WantStopped {
		w.Asked, w.AskedAt = string(stop), nil // that was asked for before there was anything to stop
	}
	w.State = d.to
	if d.missed {
		w.Missed++
	}
	if d.flag != "" {
		w.Flag = d.flag
	}
	if d.code != "" {
		w.ErrorCode, w.ErrorMessage = d.code, d.message
	}
	if d.unwanted {
		w.Desired, w.WishReason = WantTerminated, "provider"
	}
	if d.begun {
		w.beginChange(now)
	}
	if d.undone {
		w.Change, w.ChangeTo, w.ChangeAskedAt, w.ChangeBegunAt = "", "", nil, nil
		if w.Asked == string(modify) {
			w.Asked, w.AskedAt = "", nil
		}
	}
	if d.dropped || d.over {
		w.Asked, w.AskedAt = "", nil
	}
	if d.ask != rest {
		w.Asked, w.AskedAt, w.WishReason, w.RebootedAt = string(d.ask), nil, "provider", &now
	}
	if d.cleared {
		w.ProviderID, w.ObservedState, w.ObservedAt, w.AcceptedAt, w.Asked, w.AskedAt, w.Missed, w.Flag = nil, "", nil, nil, "", nil, 0, ""
		w.Replacing = false
		w.StateSince = now
		w.Replaced++
	}
}

// beginChange notes that Amazon has accepted the change: from then on it makes one wait for the next.
func (w *WorkSpace) beginChange(now time.Time) {
	w.ChangeBegunAt = &now
	if w.Asked == string(modify) {
		w.Asked, w.AskedAt = "", nil
	}
	switch w.Change {
	case changeBundle:
		if rankOf(w.ChangeTo) < rankOf(w.BundleType) {
			w.ReducedAt = &now
		} else {
			w.EnlargedAt = &now
		}
	case changeRoot, changeUser:
		w.GrownAt = &now
	}
}
