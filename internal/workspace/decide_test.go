package workspace

import (
	"strings"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/price"
)

var base = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time   { return base.Add(d) }
func atp(d time.Duration) *time.Time { t := at(d); return &t }
func ptr[T any](v T) *T              { return &v }

// row is a WorkSpace requested at base, changed by what a case says.
func row(changes ...func(*WorkSpace)) *WorkSpace {
	w := &WorkSpace{ID: "ws_1", Desired: WantAvailable, State: Pending, StateReason: "requested", CreatedAt: base, UpdatedAt: base, StateSince: base, Version: 1}
	for _, c := range changes {
		c(w)
	}
	return w
}

func made(w *WorkSpace) { w.ProviderID, w.AcceptedAt = ptr("ws-1"), atp(0) }

func in(s State, since time.Duration) func(*WorkSpace) {
	return func(w *WorkSpace) { w.State, w.StateSince = s, at(since) }
}

func ran(w *WorkSpace) {
	made(w)
	w.State, w.AvailableAt, w.ObservedAt = Available, atp(15*time.Minute), atp(15*time.Minute)
}

func asked(a action, when time.Duration) func(*WorkSpace) {
	return func(w *WorkSpace) { w.Asked, w.AskedAt = string(a), atp(when) }
}

func askedButNotSent(a action) func(*WorkSpace) {
	return func(w *WorkSpace) { w.Asked, w.AskedAt = string(a), nil }
}

func unclear(w *WorkSpace) { w.Unclear = true }

// told has the message of a conflict on the row.
func told(l look) func(*WorkSpace) {
	return func(w *WorkSpace) { w.ErrorCode, w.ErrorMessage = codeNotOurs, conflictMessage(w, l) }
}

func replacing(when time.Duration) func(*WorkSpace) {
	return func(w *WorkSpace) { asked(replace, when)(w); w.Replacing = true }
}

func replacingAgain(w *WorkSpace) { askedButNotSent(replace)(w); w.Replacing = true }

func want(d Desired) func(*WorkSpace) { return func(w *WorkSpace) { w.Desired = d } }

func seen(state string, changes ...func(*Observation)) look {
	o := &Observation{ProviderID: "ws-1", State: state, Intent: "ws_1", Protocol: "WSP"}
	for _, c := range changes {
		c(o)
	}
	return look{found: o}
}

func failing(o *Observation) { o.ErrorCode, o.ErrorMessage = "InternalError", "it broke" }

func missedTimes(n int, last time.Duration) func(*WorkSpace) {
	return func(w *WorkSpace) { w.Missed, w.UpdatedAt = n, at(last) }
}

// sold has what an ordinary one is sold as, and asSold shows it.
func sold(w *WorkSpace) {
	w.BundleType, w.RunningMode, w.AutoStopTimeoutMinutes, w.RootGiB, w.UserGiB = "STANDARD", price.AutoStop, ptr(60), ptr(80), ptr(50)
}

func asSold(o *Observation) {
	o.ComputeType, o.RunningMode, o.AutoStop, o.RootGiB, o.UserGiB = "STANDARD", price.AutoStop, 60, 80, 50
}

func asPower(o *Observation)    { o.ComputeType = "POWER" }
func asAlwaysOn(o *Observation) { o.RunningMode, o.AutoStop = price.AlwaysOn, 0 }
func hasFailed(o *Observation)  { o.ChangeFailed = true }

func idlesFor(minutes int) func(*Observation) { return func(o *Observation) { o.AutoStop = minutes } }

func isChanging(what string) func(*Observation) { return func(o *Observation) { o.Changing = what } }

func changes(property, to string, when time.Duration) func(*WorkSpace) {
	return func(w *WorkSpace) { w.Change, w.ChangeTo, w.ChangeAskedAt = property, to, atp(when) }
}

func begunAt(when time.Duration) func(*WorkSpace) {
	return func(w *WorkSpace) { w.ChangeBegunAt = atp(when) }
}

func rebootedAt(when time.Duration) func(*WorkSpace) {
	return func(w *WorkSpace) { w.RebootedAt = atp(when) }
}

func failedWith(code string) func(*WorkSpace) { return func(w *WorkSpace) { w.ErrorCode = code } }

// TestDecide walks the table in decide.go: each rule, and the instants just before and at which it begins to hold.
func TestDecide(t *testing.T) {
	const minute, hour = time.Minute, time.Hour
	stranger := look{stranger: &Observation{ProviderID: "ws-other"}, handOver: "aws …", confirmed: true}
	marked := look{stranger: &Observation{ProviderID: "ws-other", Marked: true}, confirmed: true}
	nobody := look{confirmed: true}
	for _, c := range []struct {
		name string
		w    *WorkSpace
		l    look
		now  time.Duration
		want decision
	}{
		{"new, nothing there", row(), nobody, 0, decision{do: create}},
		{"new, a stranger there", row(), stranger, 0, decision{do: note, to: Conflict, reason: "provider", code: codeNotOurs, message: "*"}},
		{"conflict goes on", row(in(Conflict, 0), told(stranger)), stranger, minute, decision{after: minute}},
		{"conflict, but another may be ours", row(in(Conflict, 0), told(stranger), unclear), stranger, minute, decision{do: note, to: Conflict, reason: "provider", code: codeNotOurs, message: "*"}},
		{"conflict, the place is free", row(in(Conflict, 0)), nobody, minute, decision{do: create}},
		{"create asked, answer lost, nothing yet", row(asked(create, 0)), nobody, minute, decision{after: 15 * time.Second}},
		{"the same, a stranger whose tags may be late", row(asked(create, 0)), stranger, minute, decision{after: 15 * time.Second}},
		{"the same, just before the end", row(asked(create, 0)), nobody, 5*minute - time.Second, decision{after: time.Second}},
		{"the same, in time", row(asked(create, 0)), nobody, 5 * minute, decision{do: create}},
		{"the same, a stranger, in time", row(asked(create, 0)), stranger, 5 * minute, decision{do: note, to: Conflict, reason: "provider", code: codeNotOurs, message: "*"}},
		{"create asked, it shows", row(asked(create, 0)), seen("PENDING"), minute, decision{do: note, to: Pending, reason: "user"}},
		{"create asked, it runs already", row(asked(create, 0)), seen("AVAILABLE"), minute, decision{do: note, to: Available, reason: "user"}},
		{"unwanted before it was asked for", row(want(WantTerminated)), nobody, 0, decision{do: note, to: Terminated, reason: "terminated before it was made"}},
		{"unwanted while its answer is lost", row(want(WantTerminated), asked(create, 0)), nobody, minute, decision{after: 15 * time.Second}},
		{"unwanted, the answer settled", row(want(WantTerminated), asked(create, 0)), nobody, 5 * minute, decision{do: note, to: Terminated, reason: "terminated before it was made"}},
		{"unwanted, unclear, an unmarked stranger", row(want(WantTerminated), unclear), stranger, hour, decision{do: note, to: Conflict, reason: "provider", code: codeNotOurs, message: "*"}},
		{"the same goes on", row(want(WantTerminated), unclear, in(Conflict, 0), told(stranger)), stranger, hour, decision{after: minute}},
		{"unwanted, unclear, a marked stranger", row(want(WantTerminated), unclear, in(Conflict, 0)), marked, hour, decision{do: note, to: Terminated, reason: "terminated before it was made"}},
		{"unwanted, unclear, the place is free", row(want(WantTerminated), unclear, in(Conflict, 0)), nobody, hour, decision{do: note, to: Conflict, reason: "requested", missed: true}},
		{"the same, a moment later", row(want(WantTerminated), unclear, missedTimes(1, hour)), nobody, hour + time.Second, decision{after: 59 * time.Second}},
		{"the same, a minute later", row(want(WantTerminated), unclear, missedTimes(1, hour)), nobody, hour + minute, decision{do: note, to: Pending, reason: "requested", missed: true}},
		{"the same, the third time", row(want(WantTerminated), unclear, missedTimes(2, hour)), nobody, hour + minute, decision{do: note, to: Terminated, reason: "terminated before it was made"}},
		{"unwanted in conflict", row(want(WantTerminated), in(Conflict, 0)), stranger, 0, decision{do: note, to: Terminated, reason: "terminated before it was made"}},
		{"not made for 40 minutes", row(), nobody, 40 * minute, decision{do: note, to: Pending, reason: "requested", flag: FlagStuck}},
		{"the same, told", row(func(w *WorkSpace) { w.Flag = FlagStuck }), nobody, 40 * minute, decision{do: create}},

		{"pending goes on", row(made), seen("PENDING"), 10 * minute, decision{after: 30 * time.Second}},
		{"pending at first", row(made), seen("PENDING"), time.Second, decision{after: 5 * time.Second}},
		{"pending to available", row(made), seen("AVAILABLE"), 15 * minute, decision{do: note, to: Available, reason: "provider"}},
		{"pending for 40 minutes", row(made), seen("PENDING"), 40 * minute, decision{do: note, to: Pending, reason: "requested", flag: FlagStuck}},
		{"pending for 2 hours", row(made), seen("PENDING"), 2 * hour, decision{do: replace}},
		{"pending for 2 hours, the second", row(made, func(w *WorkSpace) { w.Replaced = 1 }), seen("PENDING"), 2 * hour, decision{do: note, to: Pending, reason: "provider", unwanted: true, code: codeStuck, message: "*"}},
		{"pending for 2 hours, unwanted", row(made, want(WantTerminated)), seen("PENDING"), 2 * hour, decision{do: note, to: Pending, reason: "requested", flag: FlagStuck}},
		{"error on the way", row(made), seen("ERROR", failing), minute, decision{do: note, to: Pending, reason: "requested"}},
		{"error noted", row(made, func(w *WorkSpace) { w.ErrorCode = "InternalError" }), seen("ERROR", failing), minute, decision{do: replace}},
		{"error without a code", row(made), seen("ERROR"), minute, decision{do: replace}},
		{"a second error", row(made, func(w *WorkSpace) { w.ErrorCode, w.Replaced = "InternalError", 1 }), seen("ERROR", failing), minute, decision{do: note, to: Pending, reason: "provider", unwanted: true, code: "InternalError", message: "*"}},
		{"a second error, unwanted", row(made, want(WantTerminated), func(w *WorkSpace) { w.ErrorCode, w.Replaced = "InternalError", 1 }), seen("ERROR", failing), minute, decision{do: terminate}},
		{"replaced, still there", row(made, replacing(0)), seen("ERROR"), 30 * time.Second, decision{do: note, to: Pending, reason: "user"}},
		{"replaced, leaving", row(made, replacing(0), func(w *WorkSpace) { w.ObservedState = "TERMINATING" }), seen("TERMINATING"), 5 * minute, decision{after: 30 * time.Second}},
		{"replaced, gone", row(made, replacing(0)), look{}, 5 * minute, decision{do: note, to: Pending, reason: "provider", cleared: true}},
		{"replaced, shown as TERMINATED", row(made, replacing(0)), seen("TERMINATED"), 5 * minute, decision{do: note, to: Pending, reason: "provider", cleared: true}},
		{"replaced, gone, while somebody asked for a stop", row(made, replacing(0), asked(stop, 0), want(WantStopped)), look{}, 5 * minute, decision{do: note, to: Pending, reason: "provider", cleared: true}},
		{"replaced, refused, asked again", row(made, replacingAgain, func(w *WorkSpace) { w.ObservedState = "ERROR" }), seen("ERROR"), minute, decision{do: replace}},

		{"available goes on", row(ran), seen("AVAILABLE"), hour, decision{after: 5 * minute}},
		{"stopped by Amazon", row(ran), seen("STOPPED"), hour, decision{do: note, to: Stopped, reason: "drift"}},
		{"started outside while it is to be stopped", row(ran, want(WantStopped), in(Stopped, hour)), seen("AVAILABLE"), 2 * hour, decision{do: note, to: Available, reason: "drift"}},
		{"that is left to its idle timeout", row(ran, want(WantStopped)), seen("AVAILABLE"), 2 * hour, decision{after: 5 * minute}},
		{"unhealthy", row(ran), seen("UNHEALTHY"), hour, decision{do: note, to: Impaired, reason: "provider"}},
		{"error after it ran", row(ran), seen("ERROR", failing), hour, decision{do: note, to: Impaired, reason: "provider"}},
		{"an unknown state changes nothing", row(ran), seen("POLISHING"), hour, decision{after: 5 * minute}},
		{"it speaks PCoIP", row(ran), seen("AVAILABLE", func(o *Observation) { o.Protocol = "PCOIP" }), hour, decision{do: note, to: Available, reason: "requested", flag: FlagProtocol}},
		{"starting too long", row(ran, in(Starting, hour)), seen("STARTING"), hour + 20*minute, decision{do: note, to: Starting, reason: "requested", flag: FlagStuck}},
		{"starting, not yet too long", row(ran, in(Starting, hour)), seen("STARTING"), hour + 20*minute - time.Second, decision{after: 30 * time.Second}},
		{"a capture too long", row(ran, in(Suspended, hour)), seen("SUSPENDED"), 3 * hour, decision{do: note, to: Suspended, reason: "requested", flag: FlagStuck}},
		{"a capture keeps from terminating", row(ran, in(Suspended, hour), want(WantTerminated)), seen("SUSPENDED"), hour + minute, decision{after: 30 * time.Second}},

		{"stop wanted", row(ran, want(WantStopped), askedButNotSent(stop)), seen("AVAILABLE"), hour, decision{do: stop}},
		{"stop asked just now", row(ran, want(WantStopped), asked(stop, hour)), seen("AVAILABLE"), hour + time.Second, decision{after: 30 * time.Second}},
		{"stop asked, no effect for a minute", row(ran, want(WantStopped), asked(stop, hour)), seen("AVAILABLE"), hour + minute, decision{do: stop}},
		{"stop shows", row(ran, want(WantStopped), asked(stop, hour)), seen("STOPPING"), hour + minute, decision{do: note, to: Stopping, reason: "user"}},
		{"start wanted of one that is unhealthy", row(ran, in(Impaired, hour), askedButNotSent(start)), seen("UNHEALTHY"), hour, decision{do: note, to: Impaired, reason: "user"}},
		{"start wanted", row(ran, in(Stopped, hour), askedButNotSent(start)), seen("STOPPED"), hour, decision{do: start}},
		{"terminate wanted", row(ran, want(WantTerminated)), seen("AVAILABLE"), hour, decision{do: terminate}},
		{"terminating", row(ran, want(WantTerminated), in(Terminating, hour)), seen("TERMINATING"), hour + minute, decision{after: 30 * time.Second}},
		{"terminating too long", row(ran, want(WantTerminated), in(Terminating, hour)), seen("TERMINATING"), hour + 20*minute, decision{do: note, to: Terminating, reason: "requested", flag: FlagStuck}},
		{"terminated", row(ran, want(WantTerminated), in(Terminating, hour)), look{}, hour + 5*minute, decision{do: note, to: Terminated, reason: "user"}},
		{"terminated on its way, young", row(made, want(WantTerminated), in(Terminating, 0)), look{}, 30 * time.Second, decision{after: 15 * time.Second}},
		{"terminated on its way", row(made, want(WantTerminated), in(Terminating, 0)), look{}, minute, decision{do: note, to: Terminated, reason: "user"}},
		{"failed and cleared away", row(made, want(WantTerminated), in(Terminating, 0), func(w *WorkSpace) { w.ErrorCode = "InternalError" }), look{}, hour, decision{do: note, to: Failed, reason: "user"}},
		{"terminated outside, shown", row(ran), seen("TERMINATING"), hour, decision{do: note, to: Terminating, reason: "drift"}},
		{"terminated outside, gone", row(ran, in(Terminating, hour)), look{}, hour + 5*minute, decision{do: note, to: Terminated, reason: "drift: terminated outside"}},

		{"new and not shown", row(made), look{}, 9 * minute, decision{after: 30 * time.Second}},
		{"new and not shown, but unwanted", row(made, want(WantTerminated)), look{}, minute, decision{do: terminate}},
		{"missing once", row(ran), look{}, hour, decision{do: note, to: Available, reason: "requested", missed: true}},
		{"missing again, too soon", row(ran, missedTimes(1, hour)), look{}, hour + 59*time.Second, decision{after: minute}},
		{"missing twice", row(ran, missedTimes(1, hour)), look{}, hour + minute, decision{do: note, to: Available, reason: "requested", missed: true}},
		{"missing three times", row(ran, missedTimes(2, hour)), look{}, hour + minute, decision{do: confirm}},
		{"missing three times, and by user", row(ran, missedTimes(2, hour)), nobody, hour + minute, decision{do: note, to: Terminated, reason: "drift: terminated outside"}},
		{"missing three times, with many others", row(ran, missedTimes(2, hour)), look{confirmed: true, doubtful: true}, 2 * hour, decision{do: note, to: Terminated, reason: "drift: terminated outside"}},
		{"missing with many others, seen lately", row(ran), look{doubtful: true}, hour, decision{after: 5 * minute}},
		{"it shows again", row(ran, missedTimes(2, hour)), seen("AVAILABLE"), hour + minute, decision{do: note, to: Available, reason: "requested"}},
		{"ended", row(in(Terminated, 0)), seen("AVAILABLE"), 0, decision{after: 5 * minute}},

		{"a change of the bundle is wanted", row(ran, sold, changes(changeBundle, "POWER", hour)), seen("AVAILABLE", asSold), hour, decision{do: modify, property: Property{ComputeType: "POWER"}}},
		{"a change of the running mode is wanted", row(ran, sold, changes(changeMode, price.AlwaysOn, hour)), seen("AVAILABLE", asSold), hour, decision{do: modify, property: Property{RunningMode: price.AlwaysOn}}},
		{"a change back to AUTO_STOP begins with Amazon's least timeout", row(ran, sold, alwaysOn, changes(changeMode, price.AutoStop, hour)), seen("AVAILABLE", asSold, asAlwaysOn), hour, decision{do: modify, property: Property{RunningMode: price.AutoStop, AutoStopMinutes: 60}}},
		{"it stops by itself before a change", row(ran, sold, changes(changeUser, "100", hour)), seen("STOPPED", asSold), hour, decision{do: note, to: Stopped, reason: "idle"}},
		{"the same, stopped", row(ran, sold, in(Stopped, 0), changes(changeUser, "100", hour)), seen("STOPPED", asSold), hour, decision{do: modify, property: Property{UserGiB: 100}}},
		{"a change waits while it reboots", row(ran, sold, in(Rebooting, hour), changes(changeBundle, "POWER", hour)), seen("REBOOTING", asSold), hour, decision{after: 30 * time.Second}},
		{"a change waits for another one of Amazon's", row(ran, sold, changes(changeBundle, "POWER", hour)), seen("AVAILABLE", asSold, isChanging("USER_VOLUME")), hour, decision{after: 30 * time.Second}},
		{"a change waits for a start", row(ran, sold, in(Stopped, 0), askedButNotSent(start), changes(changeBundle, "POWER", hour)), seen("STOPPED", asSold), hour, decision{do: start}},
		{"a change asked just now", row(ran, sold, changes(changeBundle, "POWER", hour), asked(modify, hour)), seen("AVAILABLE", asSold), hour + minute - time.Second, decision{after: 5 * time.Second}},
		{"no effect for a minute", row(ran, sold, changes(changeBundle, "POWER", hour), asked(modify, hour)), seen("AVAILABLE", asSold), hour + minute, decision{do: modify, property: Property{ComputeType: "POWER"}}},
		{"a change has begun", row(ran, sold, changes(changeBundle, "POWER", hour)), seen("AVAILABLE", asSold, isChanging("COMPUTE_TYPE")), hour, decision{do: note, to: Available, reason: "requested", begun: true}},
		{"the answer to it was lost", row(ran, sold, changes(changeBundle, "POWER", hour), asked(modify, hour)), seen("AVAILABLE", asSold, isChanging("COMPUTE_TYPE")), hour, decision{do: note, to: Available, reason: "user"}},
		{"a change goes on", row(ran, sold, changes(changeBundle, "POWER", hour), begunAt(hour)), seen("AVAILABLE", asSold, isChanging("COMPUTE_TYPE")), 2 * hour, decision{after: 30 * time.Second}},
		{"a change is done", row(ran, sold, changes(changeBundle, "POWER", hour), begunAt(hour)), seen("AVAILABLE", asSold, asPower), 2 * hour, decision{do: note, to: Available, reason: "user"}},
		{"a change has failed", row(ran, sold, changes(changeBundle, "POWER", hour), begunAt(hour)), seen("AVAILABLE", asSold, isChanging("COMPUTE_TYPE"), hasFailed), 2 * hour, decision{do: note, to: Available, reason: "provider", undone: true, code: codeChange, message: "*"}},
		{"it may be the one before that has failed", row(ran, sold, changes(changeBundle, "POWER", hour), begunAt(hour)), seen("AVAILABLE", asSold, isChanging("COMPUTE_TYPE"), hasFailed), hour + minute - time.Second, decision{after: 30 * time.Second}},
		{"no effect for 2 hours", row(ran, sold, changes(changeBundle, "POWER", hour), begunAt(hour)), seen("AVAILABLE", asSold), 3 * hour, decision{do: note, to: Available, reason: "provider", undone: true, code: codeChange, message: "*"}},
		{"no effect for almost 2 hours", row(ran, sold, changes(changeBundle, "POWER", hour), begunAt(hour)), seen("AVAILABLE", asSold), 3*hour - time.Second, decision{after: 30 * time.Second}},
		{"refused for 2 hours", row(ran, sold, changes(changeBundle, "POWER", hour)), seen("AVAILABLE", asSold), 3 * hour, decision{do: note, to: Available, reason: "provider", undone: true, code: codeChange, message: "*"}},
		{"changed outside", row(ran, sold), seen("AVAILABLE", asSold, asPower), hour, decision{do: note, to: Available, reason: "drift"}},
		{"switched to ALWAYS_ON outside", row(ran, sold), seen("AVAILABLE", asSold, asAlwaysOn), hour, decision{do: note, to: Available, reason: "drift"}},
		{"a running mode that is none of ours", row(ran, sold), seen("AVAILABLE", asSold, func(o *Observation) { o.RunningMode, o.AutoStop = "MANUAL", 0 }), hour, decision{after: 5 * minute}},
		{"changed outside into what has no price", row(ran, sold, failedWith(codeNoPrice)), seen("AVAILABLE", asSold, asPower), hour, decision{after: 5 * minute}},
		{"and into another running mode", row(ran, sold, failedWith(codeNoPrice)), seen("AVAILABLE", asSold, asPower, asAlwaysOn), hour, decision{after: 5 * minute}},

		{"its timeout is another", row(ran, sold), seen("AVAILABLE", asSold, idlesFor(120)), hour, decision{do: modify, property: Property{AutoStopMinutes: 60}}},
		{"asked for just now", row(ran, sold, asked(modify, hour)), seen("AVAILABLE", asSold, idlesFor(120)), hour + time.Second, decision{after: 30 * time.Second}},
		{"extended", row(ran, sold, extendedUntil(4*hour)), seen("AVAILABLE", asSold), hour, decision{do: modify, property: Property{AutoStopMinutes: 240}}},
		{"extended, and not shown yet", row(ran, sold, extendedUntil(4*hour), asked(modify, hour)), seen("AVAILABLE", asSold), hour + time.Second, decision{after: 30 * time.Second}},
		{"extended, and shown", row(ran, sold, extendedUntil(4*hour), asked(modify, hour)), seen("AVAILABLE", asSold, idlesFor(240)), hour + time.Second, decision{do: note, to: Available, reason: "user"}},
		{"the extension is over", row(ran, sold, extendedUntil(4*hour)), seen("AVAILABLE", asSold, idlesFor(240)), 4 * hour, decision{do: modify, property: Property{AutoStopMinutes: 60}}},

		{"tags are to be brought", row(ran, sold, func(w *WorkSpace) { w.Retag = true }), seen("AVAILABLE", asSold), hour, decision{do: retag}},
		{"while it starts they wait", row(ran, sold, in(Starting, hour), func(w *WorkSpace) { w.Retag = true }), seen("STARTING", asSold), hour, decision{after: 30 * time.Second}},
		{"after its timeout", row(ran, sold, func(w *WorkSpace) { w.Retag = true }), seen("AVAILABLE", asSold, idlesFor(120)), hour, decision{do: modify, property: Property{AutoStopMinutes: 60}}},

		{"ill for almost ten minutes", row(ran, in(Impaired, hour)), seen("UNHEALTHY"), hour + 10*minute - time.Second, decision{after: 30 * time.Second}},
		{"ill for ten minutes", row(ran, in(Impaired, hour)), seen("UNHEALTHY"), hour + 10*minute, decision{do: note, to: Impaired, reason: "provider", ask: reboot}},
		{"the same, and a timeout has not shown", row(ran, in(Impaired, hour), sold, asked(modify, hour)), seen("UNHEALTHY", asSold, idlesFor(120)), hour + 10*minute, decision{do: note, to: Impaired, reason: "provider", ask: reboot}},
		{"ill and wanted to be stopped", row(ran, in(Impaired, hour), want(WantStopped)), seen("UNHEALTHY"), 2 * hour, decision{after: 30 * time.Second}},
		{"in ERROR, which a reboot does not cure", row(ran, in(Impaired, hour)), seen("ERROR"), 2 * hour, decision{do: note, to: Impaired, reason: "requested", flag: FlagIll}},
		{"ill again within a day", row(ran, in(Impaired, 2*hour), rebootedAt(hour)), seen("UNHEALTHY"), 2*hour + 10*minute, decision{do: note, to: Impaired, reason: "requested", flag: FlagIll}},
		{"that is told once", row(ran, in(Impaired, 2*hour), rebootedAt(hour), func(w *WorkSpace) { w.Flag = FlagIll }), seen("UNHEALTHY"), 3 * hour, decision{after: 30 * time.Second}},
		{"the reboot has not helped yet", row(ran, in(Impaired, hour), rebootedAt(hour+minute)), seen("UNHEALTHY"), hour + 15*minute, decision{after: 30 * time.Second}},
		{"ill a day later", row(ran, in(Impaired, 30*hour), rebootedAt(hour)), seen("UNHEALTHY"), 31 * hour, decision{do: note, to: Impaired, reason: "provider", ask: reboot}},

		{"a reboot is wanted", row(ran, askedButNotSent(reboot)), seen("AVAILABLE"), hour, decision{do: reboot}},
		{"a rebuild of one that is stopped", row(ran, in(Stopped, 0), askedButNotSent(rebuild)), seen("STOPPED"), hour, decision{do: rebuild}},
		{"a restore is sent, and shows nothing", row(ran, asked(restore, hour)), seen("AVAILABLE"), hour + 5*minute - time.Second, decision{after: 5 * time.Second}},
		{"for five minutes: it is not repeated", row(ran, asked(restore, hour)), seen("AVAILABLE"), hour + 5*minute, decision{do: note, to: Available, reason: "requested", dropped: true, code: codeUnclear, message: "*"}},
		{"a restore shows", row(ran, asked(restore, hour)), seen("RESTORING"), hour + minute, decision{do: note, to: Restoring, reason: "user"}},
		{"an image of what has stopped meanwhile", row(ran, in(Stopped, hour), askedButNotSent(image)), seen("STOPPED"), hour, decision{do: note, to: Stopped, reason: "requested", dropped: true, code: codeTooLate, message: "*"}},
		{"an image of what is stopping waits", row(ran, in(Stopping, hour), askedButNotSent(image)), seen("STOPPING"), hour, decision{after: 30 * time.Second}},
		{"a reboot of what reboots already", row(ran, in(Rebooting, hour), askedButNotSent(reboot)), seen("REBOOTING"), hour, decision{do: note, to: Rebooting, reason: "user"}},
		{"a reboot of what is stuck in one", row(ran, in(Rebooting, hour), askedButNotSent(reboot), func(w *WorkSpace) { w.Flag = FlagStuck }), seen("REBOOTING"), 2 * hour, decision{do: reboot}},
		{"the same, sent", row(ran, in(Rebooting, hour), asked(reboot, 2*hour), func(w *WorkSpace) { w.Flag = FlagStuck }), seen("REBOOTING"), 2 * hour, decision{do: note, to: Rebooting, reason: "user"}},

		{"a start after a stop that has not shown", row(ran, asked(start, hour)), seen("AVAILABLE"), hour + time.Second, decision{after: 30 * time.Second}},
		{"the stop shows", row(ran, asked(start, hour)), seen("STOPPING"), hour + time.Second, decision{do: note, to: Stopping, reason: "user"}},
		{"it has stopped", row(ran, in(Stopped, hour), asked(start, hour)), seen("STOPPED"), hour + minute, decision{do: start}},
		{"the stop shows no effect", row(ran, asked(start, hour)), seen("AVAILABLE"), hour + minute, decision{do: note, to: Available, reason: "requested", over: true}},
		{"a stop after a start that has not shown", row(ran, in(Stopped, 0), want(WantStopped), asked(stop, hour)), seen("STOPPED"), hour + time.Second, decision{after: 30 * time.Second}},
		{"the start shows no effect", row(ran, in(Stopped, 0), want(WantStopped), asked(stop, hour)), seen("STOPPED"), hour + minute, decision{do: note, to: Stopped, reason: "requested", over: true}},
		{"a start meets Amazon's maintenance", row(ran, in(Stopped, 0), askedButNotSent(start)), seen("MAINTENANCE"), hour, decision{do: note, to: Maintenance, reason: "user"}},
		{"and goes on after it", row(ran, in(Maintenance, 0), askedButNotSent(start)), seen("STOPPED"), hour, decision{do: note, to: Stopped, reason: "user"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := timesAt(1).decide(c.w, c.l, at(c.now))
			if c.want.message == "*" && got.message != "" {
				got.message = "*"
			}
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

// TestDecisionsComeToAnEnd brings every decision to note something onto the row and decides again: what was noted is not
// noted a second time, whatever the row and whatever is seen.
func TestDecisionsComeToAnEnd(t *testing.T) {
	states := []State{Pending, Available, Starting, Stopping, Stopped, Rebooting, Rebuilding, Restoring, Updating, Impaired, Maintenance, Suspended, Terminating, Conflict}
	shown := []string{"", "PENDING", "AVAILABLE", "IMPAIRED", "UNHEALTHY", "REBOOTING", "STARTING", "REBUILDING", "RESTORING", "MAINTENANCE", "ADMIN_MAINTENANCE", "TERMINATING", "TERMINATED", "SUSPENDED", "UPDATING", "STOPPING", "STOPPED", "ERROR", "POLISHING"}
	notes := 0
	for _, state := range states {
		for _, desired := range []Desired{WantAvailable, WantStopped, WantTerminated} {
			for _, a := range []action{rest, create, replace, start, stop, terminate, modify, reboot, rebuild, restore, image} {
				for _, o := range shown {
					for bits := range 512 {
						switch {
						case bits&1 == 0 && bits&(2|8) != 0, bits&(64|128) == 128, bits&(1|256) == 256, o == "" && bits&256 != 0, o != "" && bits&32 != 0:
							continue // cannot be, or makes no difference
						}
						w := row(in(state, 0), want(desired))
						if a != rest {
							asked(a, 0)(w)
							w.Replacing = a == replace
						}
						if bits&1 != 0 {
							made(w)
						}
						if bits&2 != 0 {
							w.AvailableAt = atp(time.Minute)
						}
						if bits&4 != 0 {
							w.Replaced = 1
						}
						if bits&8 != 0 {
							w.Missed = 2
						}
						w.RunningMode, w.BundleType, w.AutoStopTimeoutMinutes = price.AutoStop, "STANDARD", ptr(60)
						if bits&64 != 0 {
							w.Change, w.ChangeTo, w.ChangeAskedAt = changeBundle, "POWER", atp(0)
						}
						if bits&128 != 0 {
							w.ChangeBegunAt, w.Retag = w.ChangeAskedAt, true
						}
						now := at(24 * time.Hour)
						if bits&16 != 0 {
							now = at(time.Second)
						}
						l := look{confirmed: bits&32 != 0}
						if o != "" {
							l = seen(o, failing, func(o *Observation) {
								o.Protocol, o.RunningMode, o.ComputeType, o.AutoStop = "PCOIP", price.AutoStop, "STANDARD", 120
								if bits&256 != 0 {
									o.ComputeType, o.Changing, o.ChangeFailed = "PERFORMANCE", "COMPUTE_TYPE", bits&4 != 0
								}
							})
						}
						d := timesAt(1).decide(w, l, now)
						for n := 0; d.do == note; n++ {
							notes++
							had := w.ProviderID
							d.apply(w, l, now)
							w.UpdatedAt = now
							if had != nil && w.ProviderID == nil {
								break // what was seen is of the one that is gone
							}
							if n == steps-1 {
								t.Fatalf("%s wanted %s asked %q sees %q (%09b): never comes to rest, last %+v", state, desired, a, o, bits, d)
							}
							d = timesAt(1).decide(w, l, now)
						}
						if d.do == create && (w.ProviderID != nil || l.found != nil || w.Desired == WantTerminated) {
							t.Fatalf("%s wanted %s asked %q sees %q (%09b): creates what is there or unwanted", state, desired, a, o, bits)
						}
						if d.do == terminate && w.Desired != WantTerminated {
							t.Fatalf("%s wanted %s asked %q sees %q (%09b): terminates what is wanted", state, desired, a, o, bits)
						}
						if d.do == replace && (w.AvailableAt != nil || w.Desired == WantTerminated) && a != replace {
							t.Fatalf("%s wanted %s asked %q sees %q (%09b): replaces what has run", state, desired, a, o, bits)
						}
					}
				}
			}
		}
	}
	if notes == 0 {
		t.Fatal("nothing was ever noted")
	}
}

// Who asks for a stop before there is anything to stop gets it when there is.
func TestAStopThatWasAskedForOnTheWayIsAskedForOnArrival(t *testing.T) {
	w, l, now := row(made, want(WantStopped)), seen("AVAILABLE"), at(15*time.Minute)
	d := timesAt(1).decide(w, l, now)
	d.apply(w, l, now)
	w.AvailableAt = &now
	if d = timesAt(1).decide(w, l, now); d.do != stop {
		t.Errorf("on arrival: %+v", d)
	}
	asked(stop, 15*time.Minute)(w)
	l, now = seen("STOPPED"), at(20*time.Minute)
	d = timesAt(1).decide(w, l, now)
	d.apply(w, l, now)
	l = seen("AVAILABLE") // its user came, and Amazon started it
	d = timesAt(1).decide(w, l, now)
	d.apply(w, l, now)
	if d = timesAt(1).decide(w, l, now); d.do != rest {
		t.Errorf("after its user came: %+v", d)
	}
}

func TestAConflictSaysHowAnOperatorEndsIt(t *testing.T) {
	d := timesAt(1).decide(row(), look{stranger: &Observation{ProviderID: "ws-other"}, handOver: "aws workspaces create-tags …"}, base)
	if !strings.Contains(d.message, "ws-other") || !strings.Contains(d.message, "aws workspaces create-tags") {
		t.Errorf("message: %s", d.message)
	}
}

func TestProvisioningIsToldByItsSteps(t *testing.T) {
	w := row()
	if got := w.Provisioning().Steps; len(got) != 1 || got[0].Name != StepQueue || got[0].Ended != nil {
		t.Errorf("just requested: %+v", got)
	}
	w.FirstAskedAt, w.AcceptedAt, w.AvailableAt = atp(2*time.Second), atp(5*time.Second), atp(15*time.Minute)
	p := w.Provisioning()
	var total time.Duration
	for _, s := range p.Steps {
		total += s.Ended.Sub(s.Begun)
	}
	if len(p.Steps) != 3 || total != p.Total || p.Total != 15*time.Minute {
		t.Errorf("arrived: %+v", p)
	}
	w = row(func(w *WorkSpace) { w.FirstAskedAt, w.TerminatedAt = atp(time.Second), atp(time.Minute) })
	if got := w.Provisioning(); len(got.Steps) != 2 || got.Steps[1].Ended == nil || got.Total != 0 {
		t.Errorf("ended on its way: %+v", got)
	}
}

// Amazon shows 25 in one call: those that are put off must fall due together.
func TestWhatIsPutOffFallsDueTogether(t *testing.T) {
	m := timesAt(1)
	for pause, most := range map[time.Duration]int{m.resting: 6, m.most: 13, m.least: 13} {
		instants := map[time.Time]bool{}
		for i := range 1000 {
			now := base.Add(time.Duration(i) * 60 * time.Millisecond) // looked at within a minute
			due := m.due(now, pause)
			if wait := due.Sub(now); wait < pause || wait > pause+m.resting/5 {
				t.Fatalf("put off by %s, it is looked at after %s", pause, wait)
			}
			instants[due] = true
		}
		if len(instants) > most {
			t.Errorf("1000 that are put off by %s fall due at %d instants", pause, len(instants))
		}
	}
	if !m.due(base, 0).Equal(base) {
		t.Error("what is due is put off")
	}
}

// What somebody asks for while Amazon answers something else is theirs, and stays on the row.
func TestAnAnswerClearsOnlyWhatItAnswers(t *testing.T) {
	w := row(ran, sold, changes(changeBundle, "POWER", 0), asked(modify, 0))
	w.wantStopped("user", base)
	w.beginChange(base)
	if w.Asked != string(stop) || w.ChangeBegunAt == nil {
		t.Errorf("a stop during a change: asked %q", w.Asked)
	}
	w = row(ran, sold, asked(stop, time.Second), want(WantStopped))
	w.wantStarted("user", at(2*time.Second))
	if w.Asked != string(start) || w.AskedAt == nil || !w.AskedAt.Equal(at(time.Second)) {
		t.Errorf("a start after a stop that was sent: asked %q at %v", w.Asked, w.AskedAt)
	}
	w = row(asked(create, 0))
	w.wantStopped("user", base)
	if w.Asked != string(create) || w.AskedAt == nil || w.Desired != WantStopped {
		t.Errorf("a stop before there is anything to stop: asked %q at %v", w.Asked, w.AskedAt)
	}
}

// What has become ALWAYS_ON can neither be stopped nor idle.
func TestWhatBecomesAlwaysOnIsNotWantedToBeStopped(t *testing.T) {
	w, l := row(ran, sold, want(WantStopped), askedButNotSent(stop), extendedUntil(time.Hour)), seen("AVAILABLE", asSold, asAlwaysOn)
	timesAt(1).decide(w, l, base).apply(w, l, base)
	if w.RunningMode != price.AlwaysOn || w.Desired != WantAvailable || w.Asked != "" || w.AutoStopTimeoutMinutes != nil || w.ExtendedUntil != nil || w.ExtendedMinutes != nil {
		t.Errorf("%+v", w)
	}
	if d := timesAt(1).decide(w, l, base); d.do != rest {
		t.Errorf("and then %+v", d)
	}
}
