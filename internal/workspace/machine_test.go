package workspace

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/price"
	"github.com/robco-forge/forge/internal/schedule"
)

// The machine is one row, driven by the same functions as in the product, an Amazon that can misbehave, and a clock that
// moves when the test says so. What the product does in SQL is written out here: mark, rest, and what a refusal clears.

// amazon is what there is behind the provider.
type amazon struct {
	state     string // empty: nothing is there
	id        string
	made      int
	then      string // what state comes to at until; empty: it stays
	until     time.Time
	since     time.Time
	mode      string
	compute   string
	minutes   int
	root      int
	user      int
	changing  string
	changeTo  string
	changed   time.Time // when the change is over
	fails     bool      // it will fail
	failed    bool      // it has, and is still shown
	connected bool
	lastSeen  *time.Time
	freeAt    time.Time // from when on the user's place is free
	stranger  bool
	stoppedBy string // ours, idle, outside: who began the latest stop, and when
	stoppedAt time.Time
	startedBy string
	startedAt time.Time
	ran       bool
	born      time.Time
	migrated  int        // how often
	peer      *migration // the other one, while it is migrated
	silent    bool       // the migration will come to nothing
	error     int        // so many creations will end in ERROR
	stuck     bool       // what begins does not end
}

// migration is the second WorkSpace of one: what it is to become, and then what it was, on its way out.
type migration struct {
	id      string
	compute string
	before  string // the state of what is migrated
	over    bool   // the other one has taken its place
	until   time.Time
}

// migrate begins a migration: the source is SUSPENDED, and goes when the target is there.
func (a *amazon) migrate(compute string, now time.Time) error {
	switch {
	case a.peer != nil && !a.peer.over, a.changing != "" && !a.failed:
		return refusal(NotNow, "OperationInProgress")
	case !slices.Contains([]string{"AVAILABLE", "STOPPED", "ERROR"}, a.state), now.Sub(a.born) < 12*time.Hour:
		return refusal(Rejected, "OperationNotSupported")
	}
	a.made++
	a.migrated++
	a.peer = &migration{id: "ws-" + strconv.Itoa(a.made), compute: compute, before: a.state, until: now.Add(45 * time.Minute)}
	if a.stuck {
		a.peer.until = now.Add(1000 * time.Hour)
	}
	a.changing, a.failed, a.connected = "", false, false
	stuck := a.stuck
	a.stuck = false
	a.enter(now, "SUSPENDED", "", 0)
	a.stuck = stuck
	return nil
}

// endMigration lets the one or the other go.
func (a *amazon) endMigration() {
	p, at := a.peer, a.peer.until
	switch {
	case p.over:
		a.peer = nil
	case a.silent:
		a.peer, a.silent = nil, false
		a.enter(at, p.before, "", 0)
	default:
		a.peer = &migration{id: a.id, over: true, until: at.Add(5 * time.Minute)}
		a.id, a.compute, a.born = p.id, p.compute, at.Add(-45*time.Minute)
		a.startedBy, a.startedAt = "migration", at
		a.enter(at, "AVAILABLE", "", 0)
	}
}

// showsPeer is what is seen of the other one.
func (a *amazon) showsPeer() *Observation {
	if a.peer == nil {
		return nil
	}
	o := &Observation{ProviderID: a.peer.id, State: "PENDING", Intent: "ws_1", Marked: true, Protocol: "WSP", RunningMode: a.mode, ComputeType: a.peer.compute, AutoStop: a.minutes, RootGiB: a.root, UserGiB: a.user}
	if a.peer.over {
		o.State = "TERMINATING"
	}
	return o
}

// enter begins a state that goes over into another after a while.
func (a *amazon) enter(now time.Time, state, then string, takes time.Duration) {
	a.state, a.since, a.then, a.until = state, now, then, now.Add(takes)
	if a.stuck {
		a.until = now.Add(1000 * time.Hour)
	}
	if state == "AVAILABLE" {
		a.ran = true
	}
}

// lateBy is how late looks may be.
const lateBy = 10 * time.Second

func (a *amazon) stop(now time.Time, by string) {
	a.stoppedBy, a.stoppedAt = by, now
	a.connected = false
	a.enter(now, "STOPPING", "STOPPED", 3*time.Minute)
}

func (a *amazon) start(now time.Time, by string) {
	a.startedBy, a.startedAt = by, now
	a.enter(now, "STARTING", "AVAILABLE", 90*time.Second)
}

// next is when something happens at Amazon by itself.
func (a *amazon) next() (at time.Time, do func()) {
	consider := func(t time.Time, f func()) {
		if do == nil || t.Before(at) {
			at, do = t, f
		}
	}
	if a.state != "" && a.then != "" {
		consider(a.until, func() { a.arrive(a.until) })
	}
	if a.state != "" && a.peer != nil {
		consider(a.peer.until, a.endMigration)
	}
	if a.state != "" && a.changing != "" && !a.failed {
		consider(a.changed, a.endChange)
	}
	if a.state == "AVAILABLE" && a.mode == price.AutoStop && !a.connected {
		idle := a.since
		if a.lastSeen != nil {
			idle = later(idle, *a.lastSeen)
		}
		stops := later(idle.Add(time.Duration(a.minutes)*time.Minute+3*time.Minute), a.since)
		consider(stops, func() { a.stop(stops, "idle") })
	}
	return at, do
}

func (a *amazon) arrive(at time.Time) {
	then := a.then
	switch {
	case a.state == "TERMINATING":
		a.enter(at, "TERMINATED", "gone", 5*time.Second)
	case then == "gone":
		a.state, a.then, a.freeAt, a.changing, a.failed = "", "", at.Add(10*time.Second), "", false
	case a.state == "PENDING" && a.error > 0:
		a.error--
		a.enter(at, "ERROR", "", 0)
	default:
		a.enter(at, then, "", 0)
	}
}

func (a *amazon) endChange() {
	if a.fails {
		a.failed, a.fails = true, false
		return
	}
	n, _ := strconv.Atoi(a.changeTo)
	switch a.changing {
	case "COMPUTE_TYPE":
		a.compute = a.changeTo
	case "ROOT_VOLUME":
		a.root = n
	case "USER_VOLUME":
		a.user = n
	}
	a.changing, a.changeTo = "", ""
}

// seenAt is one thing that Amazon has shown: o is nil when nothing was there.
type seenAt struct {
	at time.Time
	o  *Observation
	p  *Observation // the other one, of a migration
}

func (a *amazon) shows() *Observation {
	if a.state == "" {
		return nil
	}
	o := &Observation{
		ProviderID: a.id, State: a.state, Intent: "ws_1", Marked: true, Protocol: "WSP", RunningMode: a.mode, ComputeType: a.compute,
		RootGiB: a.root, UserGiB: a.user, Changing: a.changing, ChangeFailed: a.failed,
	}
	if a.mode == price.AutoStop {
		o.AutoStop = a.minutes
	}
	if a.state == "ERROR" {
		o.ErrorCode, o.ErrorMessage = "InternalError", "it broke"
	}
	return o
}

func refusal(c Class, code string) *ProviderError { return &ProviderError{Class: c, Code: code} }

// call carries out what is asked, as Amazon's rules are.
func (a *amazon) call(act action, p Property, now time.Time) error { //nolint:gocyclo // one case an operation
	notNow := refusal(NotNow, "InvalidResourceState")
	is := func(states ...string) bool { return slices.Contains(states, a.state) }
	if act != create && a.state == "" {
		return refusal(Gone, "ResourceNotFound")
	}
	switch act {
	case create:
		if a.state != "" || a.stranger || now.Before(a.freeAt) {
			return refusal(Exists, "ResourceExists.WorkSpace")
		}
		a.made++
		minutes := a.minutes
		if minutes == 0 {
			minutes = 60
		}
		*a = amazon{id: "ws-" + strconv.Itoa(a.made), made: a.made, mode: p.RunningMode, compute: p.ComputeType, minutes: minutes, root: 80, user: 50, born: now, migrated: a.migrated, silent: a.silent, error: a.error, stuck: a.stuck}
		a.startedBy, a.startedAt = "ours", now
		a.enter(now, "PENDING", "AVAILABLE", 15*time.Minute)
		return nil
	case start:
		switch {
		case a.mode != price.AutoStop:
			return refusal(Rejected, "OperationNotSupported")
		case !is("STOPPED") || strings.HasSuffix(a.changing, "_VOLUME") && !a.failed:
			return notNow
		}
		a.start(now, "ours")
	case stop:
		switch {
		case a.mode != price.AutoStop:
			return refusal(Rejected, "OperationNotSupported")
		case !is("AVAILABLE", "UNHEALTHY", "ERROR"):
			return notNow
		}
		a.stop(now, "ours")
	case reboot:
		if !is("AVAILABLE", "UNHEALTHY") && !(is("REBOOTING") && now.Sub(a.since) > 20*time.Minute) {
			return notNow
		}
		a.enter(now, "REBOOTING", "AVAILABLE", 4*time.Minute)
	case rebuild, restore:
		if !is("AVAILABLE", "ERROR", "UNHEALTHY", "STOPPED") {
			return notNow
		}
		if is("STOPPED") {
			a.startedBy, a.startedAt = "rebuild", now // it runs afterwards
		}
		if act == restore {
			a.enter(now, "RESTORING", "AVAILABLE", 40*time.Minute)
			return nil
		}
		a.enter(now, "REBUILDING", "AVAILABLE", 30*time.Minute)
	case image:
		if !is("AVAILABLE") || a.changing != "" && !a.failed {
			return notNow
		}
		a.enter(now, "SUSPENDED", "AVAILABLE", 30*time.Minute)
	case terminate, replace:
		if is("SUSPENDED") {
			return notNow
		}
		if !is("TERMINATING", "TERMINATED") {
			a.enter(now, "TERMINATING", "gone", 5*time.Minute)
		}
	case modify:
		return a.modify(p, now)
	case migrate:
		return a.migrate(p.ComputeType, now)
	case rest, note, confirm, retag:
	}
	return nil
}

func (a *amazon) modify(p Property, now time.Time) error {
	switch {
	case a.state != "AVAILABLE" && a.state != "STOPPED":
		return refusal(NotNow, "InvalidResourceState")
	case a.changing != "" && !a.failed:
		return refusal(NotNow, "OperationInProgress")
	case p.RunningMode != "":
		a.mode = p.RunningMode
		a.minutes = p.AutoStopMinutes
		if a.mode == price.AlwaysOn && a.state == "STOPPED" {
			a.start(now, "mode")
		}
		return nil
	case p.AutoStopMinutes > 0:
		if a.mode != price.AutoStop {
			return refusal(Rejected, "AutoStopTimeoutIsNotApplicableForAnAlwaysOnWorkspace")
		}
		a.minutes = p.AutoStopMinutes
		return nil
	case p.ComputeType != "":
		a.changing, a.changeTo, a.changed = "COMPUTE_TYPE", p.ComputeType, now.Add(30*time.Minute)
	case p.RootGiB > 0:
		a.changing, a.changeTo, a.changed = "ROOT_VOLUME", strconv.Itoa(p.RootGiB), now.Add(time.Hour)
	case p.UserGiB > 0:
		a.changing, a.changeTo, a.changed = "USER_VOLUME", strconv.Itoa(p.UserGiB), now.Add(time.Hour)
	}
	a.failed = false
	return nil
}

// connection is what Amazon tells of its user: it looks every five minutes.
func (a *amazon) connection(now time.Time) (Connection, bool) {
	if a.state == "" || a.state == "PENDING" {
		return Connection{}, false
	}
	c := Connection{State: "DISCONNECTED", CheckedAt: now.Truncate(5 * time.Minute), LastAt: a.lastSeen}
	switch {
	case a.state == "STOPPED":
		c.State = "UNKNOWN"
	case a.connected:
		c.State, c.LastAt = "CONNECTED", &c.CheckedAt
	}
	return c, true
}

// mishap is what becomes of a call.
type mishap string

const (
	fine      mishap = ""
	lost      mishap = "lost before it came there"
	unheard   mishap = "carried out, and the answer lost"
	throttled mishap = "throttled"
	busyNow   mishap = "not now"
	blocked   mishap = "blocked"
	rejected  mishap = "rejected"
)

// moment is a boundary within a round of the reconciler at which somebody else may act.
type moment int

const (
	afterLook moment = iota
	beforeCall
	afterCall
	moments
)

// wish is something that was to happen once.
type wish struct {
	act  action
	sent int // calls that were not refused for certain
}

// deedDone is something that a policy has done.
type deedDone struct {
	at     time.Time
	policy Policy
	do     deed
}

// machine is the whole of it.
type machine struct {
	now    time.Time
	w      WorkSpace
	amazon amazon

	history []seenAt // what Amazon would have shown, for looks that see late
	lag     time.Duration
	looked  time.Time // the latest instant that was shown; what is shown does not go back
	hidden  int       // so many looks by id miss it
	unseen  int       // so many connections are not told
	veiled  int       // so many looks by id miss the other one, of a migration
	migrate int       // migrations that were wished for
	deaf    int       // so many looks fail
	calls   []mishap  // what becomes of the next calls
	between map[moment]func(*machine)

	pauses Pauses
	wish   *wish
	done   []deedDone
	ran    []stretch         // what its meter has; the last may still be open
	told   map[Policy]Notice // what was told last
	spared time.Time
	began  struct { // the latest wish to run or to stop that was not so already
		at time.Time
		to Desired
	}
	tried  bool     // somebody has asked Amazon for a change since the latest wish for one
	wishes int      // to run or to stop: after another one, something may be asked for again at once
	sent   struct { // the latest call that may have had an effect
		act      action
		property Property
		at       time.Time
		wishes   int
	}
	log  []string
	fail func(format string, args ...any)
}

func newMachine(w WorkSpace, fail func(string, ...any)) *machine {
	m := &machine{now: base, w: w, fail: fail, between: map[moment]func(*machine){}, told: map[Policy]Notice{}}
	m.w.RuleDueAt = m.w.nextRule(m.now)
	m.began.at, m.began.to = m.now, WantAvailable
	due := m.now
	m.w.NextDueAt = &due
	return m
}

// clone is the same machine once more, to see what will happen.
func (m *machine) clone() *machine {
	c := *m
	c.history = slices.Clone(m.history)
	c.calls = slices.Clone(m.calls)
	c.ran = slices.Clone(m.ran)
	c.w.Notices = maps.Clone(m.w.Notices)
	c.told = maps.Clone(m.told)
	c.done = nil
	c.log = slices.Clone(m.log)
	c.between = map[moment]func(*machine){}
	if m.wish != nil {
		once := *m.wish
		c.wish = &once
	}
	return &c
}

func (m *machine) sayf(format string, args ...any) {
	m.log = append(m.log, m.now.Format("01-02 15:04:05 ")+fmt.Sprintf(format, args...))
	if len(m.log) > 400 {
		m.log = m.log[200:]
	}
}

func (m *machine) wrongf(format string, args ...any) {
	m.fail("%s: %s\n%s\nrow: %s wanted %s (%s), asked %q %v, change %q to %q begun %v, stopped %v stale %v\nAmazon: %+v",
		m.now.Format("01-02 15:04:05"), fmt.Sprintf(format, args...), strings.Join(m.log[max(0, len(m.log)-60):], "\n"),
		m.w.State, m.w.Desired, m.w.WishReason, m.w.Asked, m.w.AskedAt, m.w.Change, m.w.ChangeTo, m.w.ChangeBegunAt, m.w.StoppedAt, m.w.StaleAt, m.amazon)
}

// running are the states of one that has run.
var running = []State{Available, Starting, Stopping, Stopped, Rebooting, Rebuilding, Restoring, Updating, Impaired, Maintenance, Suspended, Terminating}

// legal tells whether the row may come from one state to another. Looks are minutes apart, and one that sees late shows
// again what was before: of one that has run, any of Amazon's states may come after any other.
func legal(w *WorkSpace, from, to State) bool {
	switch from {
	case Terminated, Failed:
		return false
	case Pending:
		return true
	case Conflict:
		return to != Stopped // it is no stranger any more
	case Terminating:
		if to == Failed || to == Pending {
			return w.AvailableAt == nil // it never ran
		}
	case Available, Starting, Stopping, Stopped, Rebooting, Rebuilding, Restoring, Updating, Impaired, Maintenance, Suspended:
		if to == Terminated {
			return true
		}
	}
	return to == Terminated || slices.Contains(running, to)
}

// save is what the product's save does to the row, and checks what must hold of it.
func (m *machine) save(before WorkSpace, kind, reason string) {
	m.w.next(reason, m.now)
	switch ran, runs := before.State.Runs(), m.w.State.Runs(); {
	case runs && !ran:
		m.ran = append(m.ran, stretch{from: m.now})
	case ran && !runs:
		m.ran[len(m.ran)-1].until = m.now
	}
	if kind == "start" || kind == "stop" || kind == string(doCheck) {
		m.wishes++
	}
	m.sayf("%s (%s): %s wanted %s, asked %q sent %v, change %q", kind, reason, m.w.State, m.w.Desired, m.w.Asked, m.w.AskedAt != nil, m.w.Change)
	if before.State != m.w.State && !legal(&before, before.State, m.w.State) {
		m.wrongf("%s after %s", m.w.State, before.State)
	}
	m.check()
}

// check holds the row against the constraints of the table in schema.sql, and what follows from what it is.
func (m *machine) check() {
	w := &m.w
	one := func(ok bool, name string) {
		if !ok {
			m.wrongf("the row violates %s", name)
		}
	}
	one(slices.Contains([]string{price.AutoStop, price.AlwaysOn}, w.RunningMode), "workspaces_running_mode_ck")
	t := w.AutoStopTimeoutMinutes
	one((w.RunningMode == price.AutoStop) == (t != nil) && (t == nil || *t > 0 && *t%60 == 0), "workspaces_auto_stop_ck")
	one(w.MaxLifetimeDays == nil || *w.MaxLifetimeDays >= 1 && *w.MaxLifetimeDays <= 3650, "workspaces_max_lifetime_ck")
	one(slices.Contains([]Desired{WantAvailable, WantStopped, WantTerminated}, w.Desired), "workspaces_desired_ck")
	one(slices.Contains([]string{"user", "idle", "lifetime", "stale", "budget", "schedule", "provider", "upgrade"}, w.WishReason), "workspaces_wish_reason_ck")
	one(slices.Contains([]string{"", "create", "replace", "start", "stop", "terminate", "modify", "reboot", "rebuild", "restore", "image", "migrate"}, w.Asked), "workspaces_asked_ck")
	one(slices.Contains([]string{"", FlagStuck, FlagProtocol, FlagIll}, w.Flag), "workspaces_flag_ck")
	one(slices.Contains([]string{"", changeBundle, changeMode, changeRoot, changeUser}, w.Change) && (w.Change == "") == (w.ChangeTo == ""), "workspaces_change_ck")
	one((w.MigrationAskedAt == nil || w.Migration != nil) && (w.TargetID == nil || w.MigrationAskedAt != nil), "workspaces_migration_ck")
	one((w.ExtendedUntil == nil) == (w.ExtendedMinutes == nil), "workspaces_extended_ck")
	one(slices.Contains([]string{"", "CONNECTED", "DISCONNECTED", "UNKNOWN"}, w.Connection), "workspaces_connection_ck")
	_, ours := operations[w.State]
	one(ours, "workspaces_state_ck")
	one(w.State.Ended() == (w.TerminatedAt != nil), "workspaces_ended_ck")

	if w.State == Failed && w.AvailableAt != nil {
		m.wrongf("it ran, and FAILED")
	}
	if w.State.Runs() && w.AvailableAt == nil {
		m.wrongf("it runs, and never became AVAILABLE")
	}
	if w.State.Ended() && (w.NextDueAt != nil || w.RuleDueAt != nil) {
		m.wrongf("it is over, and still due")
	}
	if w.RunningMode == price.AlwaysOn && (w.Desired == WantStopped || w.ExtendedUntil != nil) && w.Desired != WantTerminated {
		m.wrongf("an ALWAYS_ON WorkSpace is wanted %s, extended until %v", w.Desired, w.ExtendedUntil)
	}
}

// remember keeps what Amazon would show now.
func (m *machine) remember() {
	o, p := m.amazon.shows(), m.amazon.showsPeer()
	if n := len(m.history); n > 0 && same(m.history[n-1].o, o) && same(m.history[n-1].p, p) {
		return
	}
	m.history = append(m.history, seenAt{m.now, o, p})
	if len(m.history) > 100 {
		m.history = slices.Clone(m.history[50:])
	}
}

func same(a, b *Observation) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

// shown is what a look sees, which may be what was a while ago.
func (m *machine) shown() []Observation {
	at := later(m.looked, m.now.Add(-m.lag))
	m.looked = at
	var all []Observation
	for _, s := range m.history {
		if s.at.After(at) {
			break
		}
		all = nil
		for _, o := range []*Observation{s.o, s.p} {
			if o != nil {
				all = append(all, *o)
			}
		}
	}
	return all
}

// describe looks by id.
func (m *machine) describe(w *WorkSpace) (look, bool) {
	if m.deaf > 0 {
		m.deaf--
		return look{}, false
	}
	if m.hidden > 0 {
		m.hidden--
		return look{}, true
	}
	var l look
	for _, o := range m.shown() {
		switch {
		case o.ProviderID == *w.ProviderID:
			l.found = &o
		case o.ProviderID == deref(w.TargetID) && m.veiled > 0:
			m.veiled--
		case o.ProviderID == deref(w.TargetID):
			l.target = &o
		}
	}
	return l, true
}

// find looks by directory and user.
func (m *machine) find(w *WorkSpace) (look, bool) {
	if m.deaf > 0 {
		m.deaf--
		return look{}, false
	}
	all := m.shown()
	if w.ProviderID != nil {
		all = slices.DeleteFunc(all, func(o Observation) bool { return o.State == "TERMINATING" || o.State == "TERMINATED" }) // as the provider does
	}
	if m.amazon.stranger {
		all = append(all, Observation{ProviderID: "ws-other", Marked: true, State: "AVAILABLE"})
	}
	l := w.recognise(all)
	if l.stranger != nil {
		l.handOver, l.disown = "hand over", "disown"
	}
	return l, true
}

func (m *machine) meet(at moment) {
	if f := m.between[at]; f != nil {
		delete(m.between, at)
		f(m)
	}
}

var measures = timesAt(1)

// rest gives the row back: one that was changed meanwhile stays due as it is.
func (m *machine) rest(was int64, pause time.Duration) {
	if m.w.TerminatedAt != nil {
		m.w.NextDueAt = nil
	} else if was == m.w.Version {
		due := measures.due(m.now, pause)
		m.w.NextDueAt = &due
	}
}

// later puts it off after a call that failed.
func (m *machine) later(was int64, class Class) {
	wait := measures.least
	switch class {
	case Throttled:
		wait = 3 * time.Second
	case Blocked:
		wait = measures.most
	case Exists:
		wait = measures.glance
	case Rejected:
		wait = measures.askAgain
	case NotNow, Ambiguous, Gone:
	}
	m.rest(was, wait)
}

// reconcile is one round of the reconciler for the row.
func (m *machine) reconcile() {
	claimed := m.w // what the claim returned; the row may change while it is worked on
	claimed.Notices = nil
	var l look
	var ok bool
	if claimed.ProviderID == nil {
		l, ok = m.find(&claimed)
	} else {
		l, ok = m.describe(&claimed)
	}
	m.meet(afterLook)
	if !ok {
		m.later(claimed.Version, Ambiguous)
		return
	}
	w := &claimed
	for range steps {
		d := measures.decide(w, l, m.now)
		switch d.do {
		case rest:
			m.rest(w.Version, d.after)
			return
		case confirm:
			confirmed, ok := m.find(w)
			if !ok {
				m.later(w.Version, Ambiguous)
				return
			}
			l.confirmed = true
			if confirmed.found != nil {
				l.found = confirmed.found
			}
			if confirmed.target != nil {
				l.target = confirmed.target
			}
		case note:
			had := w.ProviderID
			m.note(l)
			copied := m.w
			w = &copied
			if had != nil && deref(w.ProviderID) != *had {
				m.rest(w.Version, 0)
				return
			}
		case retag:
			before := m.w
			m.w.Retag = false
			m.save(before, "tag", "user")
			m.rest(m.w.Version, 0)
			return
		case create, replace, start, stop, terminate, modify, reboot, rebuild, restore, image, migrate:
			if m.w.Version != w.Version {
				m.rest(w.Version, 0)
				return
			}
			m.mark(d.do)
			marked := m.w
			m.ask(&marked, d)
			return
		}
	}
	m.wrongf("one look has too many consequences: sees %+v", l.found)
}

// note decides again on the row as it is, and writes down what follows.
func (m *machine) note(l look) {
	d := measures.decide(&m.w, l, m.now)
	if d.do != note {
		return
	}
	m.enter(l, d)
}

func (m *machine) enter(l look, d decision) {
	before := m.w
	d.apply(&m.w, l, m.now)
	if !m.w.State.Ended() && m.w.AvailableAt == nil && (m.w.State.Runs() || m.w.State == Stopped) {
		at := m.now
		m.w.AvailableAt = &at
	}
	if d.undone && before.ChangeBegunAt != nil && !m.tried {
		m.wrongf("a change has come to nothing that nobody asked Amazon for")
	}
	if d.ask != rest {
		m.wish = &wish{act: d.ask}
	}
	now := m.now
	m.w.NextDueAt = &now
	m.save(before, "observe", d.reason)
}

// mark leaves word on the row of what is about to be asked.
func (m *machine) mark(act action) {
	now := m.now
	m.w.Asked, m.w.AskedAt, m.w.Attempts = string(act), &now, m.w.Attempts+1
	if m.w.FirstAskedAt == nil {
		m.w.FirstAskedAt = &now
	}
	m.w.Unclear = m.w.Unclear || act == create
	m.w.Replacing = m.w.Replacing || act == replace
	if act == migrate {
		m.w.MigrationAskedAt = &now
	}
	if act == reboot {
		m.w.RebootedAt = &now
	}
	m.check()
}

// ask asks Amazon, and follows its answer.
func (m *machine) ask(w *WorkSpace, d decision) {
	act := d.do
	m.mayBeAsked(w, act)
	if act == stop && w.WishReason == string(PolicyIdle) && !m.stillIdle(w) {
		return
	}
	s, wishes := &m.sent, m.wishes
	m.meet(beforeCall)
	if again := measures.askAgain - m.now.Sub(s.at); s.act == act && s.property == d.property && s.wishes == wishes && (act == start || act == stop || act == modify) && again > 0 {
		m.wrongf("%s %+v is asked for again %s too early", act, d.property, again)
	}
	err := m.call(w, d)
	m.tried = m.tried || act == modify
	m.sayf("%s: %v", act, err)
	var no *ProviderError
	s.act, s.property, s.at, s.wishes = act, d.property, m.now, wishes
	if errors.As(err, &no) && no.Class != Ambiguous {
		s.act = rest
	}
	if act.once() && m.wish != nil && m.wish.act == act {
		var pe *ProviderError
		if err == nil || errors.As(err, &pe) && pe.Class == Ambiguous {
			m.wish.sent++
		}
		if m.wish.sent > 1 {
			m.wrongf("%s is asked for %d times for one wish", act, m.wish.sent)
		}
	}
	m.now = m.now.Add(time.Second)
	m.remember()
	m.meet(afterCall)
	m.answered(w, d, err)
}

// mayBeAsked checks what may never be asked for.
func (m *machine) mayBeAsked(w *WorkSpace, act action) {
	switch {
	case act == terminate && w.Desired != WantTerminated:
		m.wrongf("terminate of what is wanted %s", w.Desired)
	case act == replace && w.AvailableAt != nil:
		m.wrongf("it has run, and is replaced")
	case act == create && (w.ProviderID != nil || w.Desired == WantTerminated):
		m.wrongf("create of what is there, or unwanted")
	case w.MigrationAskedAt != nil && act != migrate:
		m.wrongf("%s while it is being migrated", act)
	case act == migrate && w.Migration == nil:
		m.wrongf("a migration that nobody wished for")
	case act.once() && (m.wish == nil || m.wish.act != act):
		m.wrongf("%s, which nobody wished for", act)
	}
}

// stillIdle reads the connection again just before an idle stop.
func (m *machine) stillIdle(w *WorkSpace) bool {
	c, known := m.connections()
	if known && c.State == "DISCONNECTED" && m.now.Sub(c.CheckedAt) <= freshFor {
		m.spared = m.now
		return true
	}
	if known && fresh(c, m.now) {
		m.wrongf("%+v is taken for fresh", c)
	}
	if m.w.Desired == WantStopped && m.w.WishReason == string(PolicyIdle) {
		before := m.w
		m.w.Notices = maps.Clone(m.w.Notices)
		m.w.spare(c, known, m.now)
		m.began.at, m.began.to = m.now, ""
		m.save(before, "spare", "idle")
	}
	m.rest(m.w.Version, 0)
	return false
}

func (m *machine) connections() (Connection, bool) {
	if m.unseen > 0 {
		m.unseen--
		return Connection{}, false
	}
	return m.amazon.connection(m.now)
}

// call is one call to Amazon, with what becomes of it.
func (m *machine) call(w *WorkSpace, d decision) error {
	f := fine
	if len(m.calls) > 0 {
		f, m.calls = m.calls[0], m.calls[1:]
	}
	ambiguous := &ProviderError{Class: Ambiguous, Code: "NO_ANSWER"}
	p := d.property
	if d.do == create {
		p = Property{RunningMode: w.RunningMode, ComputeType: w.BundleType}
		if w.AutoStopTimeoutMinutes != nil {
			m.amazon.minutes = *w.AutoStopTimeoutMinutes
		}
	}
	if d.do == migrate {
		p = Property{ComputeType: w.Migration.BundleType}
	}
	if d.do == stop && w.WishReason == string(PolicyIdle) && !m.spared.Equal(m.now) {
		m.wrongf("an idle stop without a look at the connection")
	}
	switch f {
	case lost:
		return ambiguous
	case throttled:
		return refusal(Throttled, "ThrottlingException")
	case busyNow:
		return refusal(NotNow, "OperationInProgress")
	case blocked:
		return refusal(Blocked, "AccessDenied")
	case rejected:
		return refusal(Rejected, "OperationNotSupported")
	case fine, unheard:
	}
	before := m.amazon.made
	err := m.amazon.call(d.do, p, m.now)
	if m.amazon.made > before {
		m.sayf("Amazon makes %s", "ws-"+strconv.Itoa(m.amazon.made))
	}
	if m.amazon.migrated > m.migrate {
		m.wrongf("it is migrated twice for one wish")
	}
	m.remember()
	if f == unheard {
		return ambiguous
	}
	return err
}

// answered follows Amazon's answer, as reconcile.go does.
func (m *machine) answered(w *WorkSpace, d decision, err error) {
	act := d.do
	var pe *ProviderError
	if errors.As(err, &pe) {
		m.refused(w, act, pe)
		return
	}
	seen := map[action]string{create: "PENDING", terminate: "TERMINATING", replace: "TERMINATING", reboot: "REBOOTING", rebuild: "REBUILDING", restore: "RESTORING", image: "SUSPENDED"}
	switch state, told := seen[act]; {
	case told:
		id := m.amazon.id
		if w.ProviderID != nil {
			id = *w.ProviderID
		}
		m.looked = m.now // what an answer has told, no look contradicts
		m.note(look{found: &Observation{ProviderID: id, State: state, Intent: "ws_1"}})
		m.rest(m.w.Version, measures.least)
	case act == migrate:
		if m.w.MigrationAskedAt == nil || m.w.TargetID != nil {
			m.rest(w.Version, measures.least)
			return
		}
		before := m.w
		m.looked = m.now
		decision{target: m.amazon.peer.id}.conclude(&m.w, "", m.now)
		m.save(before, "migration_begun", m.w.wishedBy())
		m.rest(m.w.Version, measures.least)
	case act == modify && d.property != (Property{AutoStopMinutes: d.property.AutoStopMinutes}):
		if m.w.Change != w.Change || m.w.ChangeTo != w.ChangeTo || m.w.ChangeBegunAt != nil {
			m.rest(w.Version, measures.least)
			return
		}
		before := m.w
		m.w.beginChange(m.now)
		m.save(before, "change_begun", "user")
		m.rest(m.w.Version, measures.least)
	default:
		m.rest(w.Version, measures.least)
	}
}

func (m *machine) refused(w *WorkSpace, act action, pe *ProviderError) {
	if pe.Class == Ambiguous {
		m.later(w.Version, pe.Class)
		return
	}
	if d, ends := w.declined(act, pe); ends {
		before := m.w
		d.to = m.w.State
		d.dropped = d.dropped && m.w.Asked == string(act)
		if act == migrate {
			m.w.MigrationAskedAt = nil
		}
		d.apply(&m.w, look{}, m.now)
		m.save(before, "declined", "provider")
		m.rest(m.w.Version, 0)
		return
	}
	unclear := w.Unclear || act == create && pe.Class == Exists
	if pe.Class == Rejected && act == create {
		before := m.w
		m.w.ErrorCode, m.w.Asked, m.w.AskedAt, m.w.Unclear = pe.Code, "", nil, unclear
		if unclear {
			now := m.now
			m.w.Desired, m.w.NextDueAt = WantTerminated, &now
		} else {
			m.w.State, m.w.StateSince = Failed, m.now
		}
		m.save(before, "fail", "provider")
		m.rest(m.w.Version, 0)
		return
	}
	if act == migrate {
		m.w.MigrationAskedAt = nil
	}
	if m.w.Asked == string(act) {
		m.w.AskedAt, m.w.Unclear = nil, unclear
		if act == create {
			m.w.Asked = ""
		}
	}
	m.later(w.Version, pe.Class)
}

// sweep does what the rules about time say, until nothing is due.
func (m *machine) sweep() {
	for n := 0; m.w.RuleDueAt != nil && !m.w.RuleDueAt.After(m.now); n++ {
		if n > 12 {
			m.wrongf("the rules never come to rest: due %s, %+v", m.w.RuleDueAt, m.w.rules(m.now))
		}
		m.follow()
	}
}

// follow is one round of the sweeper for the row.
func (m *machine) follow() {
	w := &m.w
	w.Notices = maps.Clone(w.Notices) // a copy may be looked at
	version := w.Version
	due := w.due(m.pauses, m.now)
	var r reading
	read := w.ProviderID != nil && slices.ContainsFunc(due, step.wantsReading)
	if read {
		r.Connection, r.known = m.connections()
		flagged := w.StaleAt != nil
		before := *w
		w.read(r.Connection, r.known, m.now)
		if flagged && w.StaleAt == nil {
			m.save(before, "used", "stale")
		}
	}
	for _, d := range due {
		if d.wantsReading() && !read {
			continue
		}
		m.act(d, r)
		if d.do.effect() && w.Version != version {
			break
		}
	}
	if w.Version == version {
		var next *time.Time
		for _, c := range w.rules(m.now) {
			at := c.next.at
			if m.pauses.why(c.next.policy, c.next.do, m.now) != "" {
				at = later(at, m.now.Add(pausedFor))
			}
			if next == nil || at.Before(*next) {
				next = &at
			}
		}
		w.RuleDueAt = next
		m.check()
	}
}

func (m *machine) act(d step, r reading) {
	w := &m.w
	before := *w
	if !w.still(d, r, m.now) {
		return
	}
	now := m.now
	switch d.do {
	case doNotice:
		w.notice(d, m.now)
		m.told[d.policy] = Notice{For: d.of, Step: d.nth, At: m.now}
	case doFlag:
		w.StaleAt = &now
		m.told[PolicyStale] = Notice{}
	case doTerminate:
		m.mayEnd(d)
		w.wantTerminated(string(d.policy), m.now)
	case doRestore:
		w.ExtendedUntil, w.ExtendedMinutes, w.NextDueAt = nil, nil, &now
	case doCheck:
		if !r.known || r.State != "DISCONNECTED" || m.now.Sub(r.CheckedAt) > freshFor {
			m.wrongf("taken for idle: %+v", r)
		}
		w.wantStopped(string(PolicyIdle), m.now)
		m.began.at, m.began.to = m.now, WantStopped
	case doStop:
		w.wantStopped(string(PolicySchedule), m.now)
		m.began.at, m.began.to = m.now, WantStopped
	case doStart:
		w.wantStarted(string(PolicySchedule), m.now)
		m.began.at, m.began.to = m.now, WantAvailable
	}
	did := d.do
	if did == doCheck {
		did = doStop
	}
	if did != doNotice && did != doRestore {
		m.done = append(m.done, deedDone{m.now, d.policy, did})
	}
	m.save(before, string(d.do), string(d.policy))
}

// mayEnd checks that nothing is ended by itself without its last notice an hour before, nor before its time.
func (m *machine) mayEnd(d step) {
	w := &m.w
	var end time.Time
	last := 0
	switch d.policy {
	case PolicyLifetime:
		end, last = w.CreatedAt.Add(time.Duration(*w.MaxLifetimeDays)*24*time.Hour), len(lifetimeNotices)
	case PolicyStale:
		end, last = w.StaleAt.Add(staleGrace), len(staleNotices)
		if w.KeepAlive {
			m.wrongf("what is kept alive is ended for being unused")
		}
	case PolicyBudget, PolicySchedule, PolicyIdle:
		m.wrongf("%s ends it", d.policy)
	}
	told := m.told[d.policy]
	if told.Step != last || !told.For.Equal(end) || m.now.Sub(told.At) < lastNotice || m.now.Before(end) {
		m.wrongf("%s ends it; its end is %s, the last notice was %+v", d.policy, end, told)
	}
}

// pass lets time pass, with everything in it that is due.
func (m *machine) pass(d time.Duration) {
	until := m.now.Add(d)
	for n := 0; ; n++ {
		if n > 500_000 {
			m.wrongf("no end within %s", d)
		}
		at, do := m.amazon.next()
		what := 0
		if do == nil || at.After(until) {
			at, what = until, -1
		}
		if due := m.w.NextDueAt; due != nil && due.Before(at) {
			at, what = *due, 1
		}
		if due := m.w.RuleDueAt; due != nil && due.Before(at) {
			at, what = *due, 2
		}
		m.now = later(m.now, at)
		switch what {
		case -1:
			return
		case 0:
			was := m.amazon.state
			do()
			m.sayf("Amazon: %s after %s", m.amazon.state, was)
			m.remember()
		case 1:
			m.reconcile()
		case 2:
			m.sweep()
		}
	}
}

// what people ask for ---------------------------------------------------------------------------------------------------

var day = 24 * time.Hour

func (m *machine) start() {
	if m.w.allow(OpStart) != nil || m.w.starting() {
		return
	}
	before := m.w
	m.w.wantStarted("user", m.now)
	m.began.at, m.began.to = m.now, WantAvailable
	m.save(before, "start", "user")
}

func (m *machine) stop() {
	if m.w.allow(OpStop) != nil || m.w.stopping() && (m.w.Asked == "" || m.w.WishReason != string(PolicyIdle)) {
		return
	}
	before := m.w
	m.w.wantStopped("user", m.now)
	m.began.at, m.began.to = m.now, WantStopped
	m.save(before, "stop", "user")
}

func (m *machine) terminate() {
	if m.w.Desired == WantTerminated || m.w.State.Ended() {
		return
	}
	before := m.w
	m.w.wantTerminated("user", m.now)
	m.save(before, "terminate", "user")
}

func (m *machine) once(op Operation, act action) {
	if already, err := m.w.mayAsk(op, act); already || err != nil {
		return
	}
	before := m.w
	m.w.askOnce(act, m.now)
	m.wish = &wish{act: act}
	m.save(before, string(op), "user")
}

func (m *machine) change(property, to string) {
	w := &m.w
	if w.Property(property) == to || w.mayChange() != nil || measures.tooSoon(w, property, to, m.now) != nil {
		return
	}
	switch property {
	case changeRoot, changeUser:
		if w.growable(property, to) != nil {
			return
		}
	case changeMode:
		if to == price.AlwaysOn && w.Schedule != nil {
			return
		}
	}
	before := *w
	m.tried = m.amazon.changing != "" // somebody else's is taken for it
	w.askChange(property, to, m.now)
	now := m.now
	w.NextDueAt = &now
	m.save(before, "update "+property+" to "+to, "user")
}

func (m *machine) migrates(compute string) {
	w := &m.w
	if w.mayMigrate(measures, blueprint.Definition{}, blueprint.Definition{}, m.now) != nil || w.BundleType == compute {
		return
	}
	before := *w
	w.askMigration(Migration{Version: "bpv_2", BundleType: compute}, "user", m.now)
	m.migrate++
	m.save(before, "migrate", "user")
}

func (m *machine) extend(hours int) {
	if m.w.allow(OpExtend) != nil {
		return
	}
	before := m.w
	if m.w.extend(hours, m.now) {
		m.save(before, "extend", "user")
	}
}

func (m *machine) update(what string, change func(*WorkSpace)) {
	if m.w.allow(OpUpdate) != nil {
		return
	}
	before := m.w
	change(&m.w)
	m.save(before, "update "+what, "user")
}

// setSchedule gives it a schedule; nil takes it away.
func (m *machine) setSchedule(s *schedule.Schedule) {
	m.update("schedule", func(w *WorkSpace) {
		w.Notices = maps.Clone(w.Notices)
		if s == nil {
			w.Schedule, w.ScheduledThrough = nil, nil
			delete(w.Notices, string(PolicySchedule))
			return
		}
		mode := w.RunningMode
		if normal, err := checkSchedule(s, mode); err == nil {
			now := m.now
			w.Schedule, w.ScheduledThrough = normal, &now
		}
	})
}

// TestTheStateMachine lets people, policies, Amazon and time act in any order. No step leaves a row that must not be, nothing
// is asked for that must not be asked for, and when the faults are over it becomes what is desired.
func TestTheStateMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(someRow(t), t.Fatalf)
		m.remember()
		t.Repeat(m.actions(t))
		m.comesToRest()
	})
}

// someRow is a WorkSpace that was just requested.
func someRow(t *rapid.T) WorkSpace {
	w := *row(func(w *WorkSpace) {
		w.WishReason, w.RunningMode, w.BundleType, w.Tags = "user", price.AutoStop, "STANDARD", map[string]string{}
		w.AutoStopTimeoutMinutes = ptr(60)
		if rapid.IntRange(0, 4).Draw(t, "always on") == 0 {
			w.RunningMode, w.AutoStopTimeoutMinutes = price.AlwaysOn, nil
		}
		if days := rapid.SampledFrom([]int{0, 1, 2, 8, 60}).Draw(t, "lifetime"); days > 0 {
			w.MaxLifetimeDays = &days
		}
		w.KeepAlive = rapid.Bool().Draw(t, "keep alive")
	})
	return w
}

var someSchedules = []*schedule.Schedule{
	nil,
	{Zone: "Europe/Berlin", Entries: []schedule.Entry{{Action: schedule.Start, At: "08:00", Days: weekdays[:5]}, {Action: schedule.Stop, At: "18:00", Days: weekdays[:5]}}},
	{Zone: "UTC", Entries: []schedule.Entry{{Action: schedule.Stop, At: "10:30", Days: weekdays}}},
	{Zone: "UTC", Entries: []schedule.Entry{{Action: schedule.Start, At: "09:20", Days: weekdays}}},
}

// command is something that a person asks for, now or in the middle of a round of the reconciler.
func command(t *rapid.T) func(*machine) {
	hours := rapid.SampledFrom([]int{1, 4, 24}).Draw(t, "hours")
	days := rapid.SampledFrom([]int{1, 2, 5, 9, 90}).Draw(t, "days")
	return rapid.SampledFrom([]func(*machine){
		(*machine).start, (*machine).stop, (*machine).start, (*machine).stop,
		func(m *machine) { m.once(OpReboot, reboot) },
		func(m *machine) { m.once(OpRebuild, rebuild) },
		func(m *machine) { m.once(OpRestore, restore) },
		func(m *machine) { m.once(OpImage, image) },
		func(m *machine) { m.migrates("GRAPHICS_G4DN") },
		func(m *machine) { m.migrates("STANDARD") },
		func(m *machine) { m.change(changeBundle, "POWER") },
		func(m *machine) { m.change(changeBundle, "VALUE") },
		func(m *machine) { m.change(changeMode, price.AlwaysOn) },
		func(m *machine) { m.change(changeMode, price.AutoStop) },
		func(m *machine) { m.change(changeUser, "100") },
		func(m *machine) { m.change(changeRoot, "175") },
		func(m *machine) { m.extend(hours) },
		func(m *machine) { m.update("keep-alive", func(w *WorkSpace) { w.KeepAlive = !w.KeepAlive }) },
		func(m *machine) { m.update("lifetime", func(w *WorkSpace) { w.MaxLifetimeDays = &days }) },
		func(m *machine) { m.update("tags", func(w *WorkSpace) { w.Retag = true }) },
		func(m *machine) {
			m.update("timeout", func(w *WorkSpace) {
				if w.RunningMode == price.AutoStop {
					now := m.now
					w.AutoStopTimeoutMinutes, w.NextDueAt = ptr(hours*60), &now
				}
			})
		},
	}).Draw(t, "command")
}

// actions are what may happen next.
func (m *machine) actions(t *rapid.T) map[string]func(*rapid.T) {
	now := func(do func(*machine)) func(*rapid.T) {
		return func(t *rapid.T) { m.fail = t.Fatalf; do(m) }
	}
	outside := func(do func(a *amazon, now time.Time)) func(*rapid.T) {
		return now(func(m *machine) {
			do(&m.amazon, m.now)
			m.sayf("outside: %s", m.amazon.state)
			m.remember()
		})
	}
	short := rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Second, time.Minute, 4 * time.Minute})
	long := rapid.SampledFrom([]time.Duration{20 * time.Minute, 80 * time.Minute, 3 * time.Hour, 7 * time.Hour, 30 * time.Hour, 8 * day})
	return map[string]func(*rapid.T){
		"":                    func(t *rapid.T) { m.fail = t.Fatalf; m.check() },
		"a person asks":       func(t *rapid.T) { m.fail = t.Fatalf; command(t)(m) },
		"a person asks again": func(t *rapid.T) { m.fail = t.Fatalf; command(t)(m) },
		"a person asks in the middle of a round": func(t *rapid.T) {
			m.between[moment(rapid.IntRange(0, int(moments)-1).Draw(t, "moment"))] = command(t)
		},
		"a person changes their mind in the middle of a round": func(t *rapid.T) {
			m.fail = t.Fatalf
			first := rapid.SampledFrom([]func(*machine){
				(*machine).start, (*machine).stop, func(m *machine) { m.once(OpReboot, reboot) }, func(m *machine) { m.once(OpRestore, restore) },
				func(m *machine) { m.change(changeBundle, "VALUE") }, func(m *machine) { m.extend(4) },
			}).Draw(t, "first")
			second := rapid.SampledFrom([]func(*machine){(*machine).start, (*machine).stop, command(t)}).Draw(t, "second")
			first(m)
			m.between[moment(rapid.IntRange(0, int(moments)-1).Draw(t, "moment"))] = second
			m.pass(time.Second)
		},
		"a person migrates it": func(t *rapid.T) {
			m.fail = t.Fatalf
			if w := &m.w; w.AcceptedAt != nil && m.now.Sub(*w.AcceptedAt) < 12*time.Hour {
				m.pass(12 * time.Hour)
			}
			m.migrates(rapid.SampledFrom([]string{"GRAPHICS_G4DN", "STANDARD"}).Draw(t, "to"))
			m.calls = rapid.SliceOfN(rapid.SampledFrom([]mishap{fine, fine, lost, unheard, throttled, busyNow, blocked, rejected}), 1, 3).Draw(t, "faults")
			m.amazon.silent = rapid.IntRange(0, 3).Draw(t, "silent") == 0
			m.pass(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 20 * time.Minute, 44 * time.Minute, time.Hour}).Draw(t, "for"))
		},
		"a person ends it": func(t *rapid.T) {
			m.fail = t.Fatalf
			if rapid.IntRange(0, 9).Draw(t, "really") == 0 {
				m.terminate()
			}
		},
		"a person sets a schedule": func(t *rapid.T) {
			m.fail = t.Fatalf
			m.setSchedule(rapid.SampledFrom(someSchedules).Draw(t, "schedule"))
		},
		"a little time passes": func(t *rapid.T) { m.fail = t.Fatalf; m.pass(short.Draw(t, "for")) },
		"some time passes":     func(t *rapid.T) { m.fail = t.Fatalf; m.pass(long.Draw(t, "for")) },
		"calls go wrong": func(t *rapid.T) {
			m.calls = rapid.SliceOfN(rapid.SampledFrom([]mishap{fine, lost, unheard, throttled, busyNow, blocked, rejected}), 1, 3).Draw(t, "faults")
		},
		"looks go wrong": func(t *rapid.T) {
			m.lag = rapid.SampledFrom([]time.Duration{0, 3 * time.Second, lateBy}).Draw(t, "lag")
			m.veiled = rapid.IntRange(0, 3).Draw(t, "veiled")
			m.hidden, m.deaf, m.unseen = rapid.IntRange(0, 2).Draw(t, "hidden"), rapid.IntRange(0, 2).Draw(t, "deaf"), rapid.IntRange(0, 2).Draw(t, "unseen")
		},
		"its user connects": outside(func(a *amazon, now time.Time) {
			if a.state == "STOPPED" && a.mode == price.AutoStop && !strings.HasSuffix(a.changing, "_VOLUME") {
				a.start(now, "login")
			}
			a.connected = a.state == "AVAILABLE" || a.state == "STARTING"
		}),
		"its user goes": outside(func(a *amazon, now time.Time) {
			if a.connected {
				a.connected, a.lastSeen = false, &now
			}
		}),
		"somebody works at Amazon": func(t *rapid.T) {
			act := rapid.SampledFrom([]action{start, stop, reboot, rebuild, terminate, modify}).Draw(t, "operation")
			p := rapid.SampledFrom([]Property{{RunningMode: price.AlwaysOn}, {RunningMode: price.AutoStop, AutoStopMinutes: 120}, {ComputeType: "POWERPRO"}, {AutoStopMinutes: 240}}).Draw(t, "property")
			if act == terminate && rapid.IntRange(0, 4).Draw(t, "really") != 0 {
				return
			}
			outside(func(a *amazon, now time.Time) {
				if a.state == "PENDING" {
					return
				}
				m.tried = m.tried || act == modify
				if a.call(act, p, now) == nil && (act == stop || act == start) {
					a.stoppedBy, a.startedBy = "outside", "outside"
				}
			})(t)
		},
		"it falls ill": func(t *rapid.T) {
			state := rapid.SampledFrom([]string{"UNHEALTHY", "ERROR"}).Draw(t, "state")
			outside(func(a *amazon, now time.Time) {
				if a.state == "AVAILABLE" {
					a.enter(now, state, "", 0)
				}
			})(t)
		},
		"Amazon maintains it": outside(func(a *amazon, now time.Time) {
			if a.state == "AVAILABLE" || a.state == "STOPPED" {
				then := a.state
				a.enter(now, "MAINTENANCE", then, time.Hour)
			}
		}),
		"making it fails":              func(t *rapid.T) { m.amazon.error = rapid.IntRange(0, 2).Draw(t, "times") },
		"a migration comes to nothing": outside(func(a *amazon, _ time.Time) { a.silent = a.peer != nil && !a.peer.over }),
		"a change fails":               outside(func(a *amazon, _ time.Time) { a.fails = a.changing != "" && !a.failed }),
		"what begins does not end": outside(func(a *amazon, now time.Time) {
			a.stuck = !a.stuck
			if !a.stuck && a.then != "" && a.until.After(now.Add(day)) {
				a.until = now.Add(time.Minute)
			}
			if !a.stuck && a.peer != nil && a.peer.until.After(now.Add(day)) {
				a.peer.until = now.Add(time.Minute)
			}
		}),
		"a stranger comes or goes": outside(func(a *amazon, _ time.Time) { a.stranger = !a.stranger && a.state == "" }),
		"an admin pauses or resumes": func(t *rapid.T) {
			target := rapid.SampledFrom([]string{"", AllStops, AllTerminations, string(PolicyIdle), string(PolicySchedule)}).Draw(t, "what")
			m.pauses = nil
			if target != "" {
				m.pauses = Pauses{{Target: target, Reason: "for a test"}}
			}
		},
		"it is foretold": func(t *rapid.T) { m.fail = t.Fatalf; m.foretold() },
	}
}

// comesToRest ends all faults and lets half a day pass: what is desired is so then.
func (m *machine) comesToRest() {
	a := &m.amazon
	m.between = map[moment]func(*machine){}
	m.calls, m.lag, m.hidden, m.deaf, m.unseen, m.veiled, m.pauses = nil, 0, 0, 0, 0, 0, nil
	if a.peer != nil && a.peer.until.After(m.now.Add(day)) {
		a.peer.until = m.now.Add(time.Minute)
	}
	a.stuck, a.stranger, a.error, a.fails = false, false, 0, false
	if a.then != "" && a.until.After(m.now.Add(day)) {
		a.until = m.now.Add(time.Minute)
	}
	m.sayf("the faults are over")
	m.setSchedule(nil)
	m.update("lifetime", func(w *WorkSpace) { w.MaxLifetimeDays, w.KeepAlive = ptr(3650), true })
	m.remember()
	m.pass(2 * time.Hour)
	if a.state == "UNHEALTHY" && m.w.Desired == WantAvailable && m.w.Flag == "" {
		m.wrongf("it is ill, and neither rebooted nor told")
	}
	if a.state == "ERROR" && a.ran || a.state == "UNHEALTHY" {
		a.enter(m.now, "AVAILABLE", "", 0)
	}
	m.remember()
	a.connected = a.state == "AVAILABLE" // Amazon's own timer hides nothing
	for range 24 {
		m.pass(30 * time.Minute)
		if a.state == "AVAILABLE" && !a.connected {
			a.connected = true
			m.remember()
		}
	}
	w := &m.w
	if !w.State.Ended() && (w.Asked != "" || w.Change != "" || w.Migration != nil) {
		m.wrongf("something is left to be done")
	}
	stopped := a.state == "STOPPED"
	switch w.Desired {
	case WantTerminated:
		if !w.State.Ended() || a.state != "" {
			m.wrongf("it is not gone")
		}
	case WantAvailable:
		// What Amazon or somebody else has stopped since is left so, or just before, as far as looks are late.
		ours := m.began.to == WantAvailable && (a.stoppedBy == "ours" || a.stoppedAt.Before(m.began.at.Add(-lateBy)))
		if !w.State.Ended() && w.State != Available && (w.State != Stopped || !stopped || ours) {
			m.wrongf("it does not run; it was wanted to at %s", m.began.at)
		}
	case WantStopped:
		ours := m.began.to == WantStopped && (a.startedBy == "ours" || a.startedAt.Before(m.began.at.Add(-lateBy)))
		if !w.State.Ended() && w.State != Stopped && (w.State != Available || ours) {
			m.wrongf("it is not stopped; it was wanted to be at %s", m.began.at)
		}
	}
	if !w.State.Ended() && deref(w.ProviderID) != a.id {
		m.wrongf("the row has lost it: %s, and Amazon has %s", deref(w.ProviderID), a.id)
	}
	if !w.State.Ended() && fromAmazon[a.state] != w.State {
		m.wrongf("Amazon has it as %s", a.state)
	}
}

// foretold takes what a user is told of what will happen by itself, lets the time pass until then, and looks whether that is
// what has happened first.
func (m *machine) foretold() {
	w := &m.w
	a := &m.amazon
	quiet := (w.State == Available || w.State == Stopped) && fromAmazon[a.state] == w.State && w.Asked == "" && w.Change == "" && a.changing == "" &&
		w.Migration == nil && a.peer == nil &&
		len(m.calls) == 0 && m.lag == 0 && m.deaf == 0 && m.hidden == 0 && m.unseen == 0 && len(m.between) == 0 && !a.stuck &&
		a.mode == w.RunningMode && a.compute == w.BundleType && (a.mode != price.AutoStop || a.minutes == w.timeout(m.now))
	if !quiet {
		return
	}
	var first *Upcoming
	for _, u := range w.Upcoming(m.now, nil, m.pauses) {
		switch {
		case u.At == nil && u.Action != "":
			return // nobody can say
		case u.At != nil && u.Paused == "" && first == nil:
			first = &u
		case u.At != nil && u.Paused != "":
			return
		}
	}
	if first == nil || first.At.Sub(m.now) > 9*day {
		return
	}
	c := m.clone()
	c.sayf("foretold: %s by %s at %s", first.Action, first.Policy, first.At)
	c.pass(first.At.Sub(m.now) - time.Minute)
	early := slices.Clone(c.done)
	slack := 2 * time.Minute
	if first.Policy == PolicyIdle {
		slack = 20 * time.Minute
	}
	c.pass(slack)
	fail := func(said string) {
		c.wrongf("%s: it was foretold that %s would %s it at %s; done: %+v", said, first.Policy, first.Action, first.At, c.done)
	}
	if len(early) > 0 {
		fail("something else came first")
	}
	if first.Policy == PolicyIdle {
		if c.w.State == Available && c.w.Desired == WantAvailable {
			fail("it runs on")
		}
		return
	}
	// What is so already needs nothing done.
	so := first.Action == string(doStop) && (c.w.stopping() || c.w.State == Stopped) || first.Action == string(doStart) && c.w.starting()
	if !so && (len(c.done) == 0 || c.done[0].policy != first.Policy || string(c.done[0].do) != first.Action) {
		fail("it did not happen")
	}
}

var weekdays = []string{"MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"}
