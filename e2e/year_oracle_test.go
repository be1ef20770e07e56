package e2e

import (
	"fmt"
	"slices"
	"time"
)

// The oracle says what must have happened to a WorkSpace, and when, from what its user did and from what it has been at
// Amazon's. It knows nothing of how Forge comes to do it.

// span is a time in which nothing changed at Amazon's.
type span struct {
	From        time.Time `json:"from"`
	To          time.Time `json:"to"` // zero for the last
	State       string    `json:"state"`
	Connected   bool      `json:"connected"`
	Waiting     bool      `json:"waiting"` // a user's client waits for it to start, for printing
	RunningMode string    `json:"running_mode"`
	AutoStop    int       `json:"auto_stop_minutes"`
	Compute     string    `json:"compute"`
}

// happening is something of a kind at a time.
type happening struct {
	kind string
	at   time.Time
}

// The kinds of happenings, in the order of the table.
const (
	kindRuns        = "seen: it runs"
	kindStops       = "seen: it stops running"
	kindResold      = "seen: it is sold as something else"
	kindGone        = "seen: it is gone"
	kindIdle        = "idle: stopped, as Amazon has not"
	kindRestored    = "idle: its own timeout holds again"
	kindLife7       = "lifetime: notice 7 days before"
	kindLife1       = "lifetime: notice 1 day before"
	kindLifeHour    = "lifetime: notice 1 hour before"
	kindLifeEnd     = "lifetime: terminated"
	kindFlag        = "stale: flagged after 30 days"
	kindUsed        = "stale: used again, no flag"
	kindStale1      = "stale: notice 1 day before"
	kindStaleEnd    = "stale: terminated after 7 days"
	kindStart       = "schedule: started"
	kindStopsSoon   = "schedule: notice before the stop"
	kindScheduleEnd = "schedule: stopped"
)

var kinds = []string{
	kindRuns, kindStops, kindResold, kindGone, kindIdle, kindRestored, kindLife7, kindLife1, kindLifeHour, kindLifeEnd,
	kindFlag, kindUsed, kindStale1, kindStaleEnd, kindStart, kindStopsSoon, kindScheduleEnd,
}

// oracle is one WorkSpace's.
type oracle struct {
	p     *inhabitant
	spans []span
	now   time.Time // the end of the year
	ended time.Time // when it began to be terminated; now if it was not
	all   []happening
}

// expect is all that must have happened to a WorkSpace up to now.
func expect(p *inhabitant, spans []span, now time.Time) []happening {
	o := &oracle{p: p, spans: spans, now: now, ended: now}
	for i := range o.spans {
		if o.spans[i].To.IsZero() {
			o.spans[i].To = now
		}
		if s := o.spans[i]; s.State == "TERMINATING" && o.ended.Equal(now) {
			o.ended = s.From
		}
	}
	o.seen()
	o.idle()
	o.lifetime()
	o.stale()
	o.schedule()
	return o.all
}

func (o *oracle) add(kind string, at time.Time) {
	if at.Before(o.now) {
		o.all = append(o.all, happening{kind, at})
	}
}

// seen is what Forge must have noticed.
func (o *oracle) seen() {
	for i, s := range o.spans {
		if s.State == "TERMINATED" {
			o.add(kindGone, s.From)
		}
		if i == 0 {
			continue
		}
		was := o.spans[i-1]
		switch {
		case metered(s.State) && !metered(was.State):
			o.add(kindRuns, s.From)
		case !metered(s.State) && metered(was.State):
			o.add(kindStops, s.From)
		}
		if s.RunningMode != was.RunningMode || s.Compute != was.Compute {
			o.add(kindResold, s.From)
		}
	}
}

// runs calls each for every stretch in which it was in one of the states.
func (o *oracle) runs(each func(spans []span), states ...string) {
	for i := 0; i < len(o.spans); i++ {
		first := i
		for i < len(o.spans) && slices.Contains(states, o.spans[i].State) {
			i++
		}
		if i > first {
			each(o.spans[first:i])
		}
	}
}

// idle is what Forge must stop: nobody has been connected for the timeout, and Amazon has not stopped it for a quarter of
// an hour more. When nobody knows whether somebody is connected, it is not idle.
func (o *oracle) idle() {
	for _, a := range o.p.asked {
		if a.do == "extend" {
			o.restored(a)
		}
	}
	if o.p.statusMissing || o.p.statusStale {
		return
	}
	o.runs(func(spans []span) {
		var alone time.Time
		for _, s := range spans {
			if s.Connected || s.RunningMode != "AUTO_STOP" {
				alone = time.Time{}
				continue
			}
			if alone.IsZero() {
				alone = s.From
			}
			at := alone.Add(time.Duration(s.AutoStop)*time.Minute + 15*time.Minute)
			if at.After(s.From) && !at.After(s.To) {
				o.add(kindIdle, at)
			}
		}
	}, "AVAILABLE")
}

// restored is the end of an extension, unless it was extended further before or is gone by then.
func (o *oracle) restored(a deed) {
	end := a.at.Add(time.Duration(a.n) * time.Hour)
	for _, b := range o.p.asked {
		further := b.do == "extend" && b.at.After(a.at) && b.at.Before(end) && !b.at.Add(time.Duration(b.n)*time.Hour).Before(end)
		shorter := b.do == "extend" && b.at.Before(a.at) && !b.at.Add(time.Duration(b.n)*time.Hour).Before(end)
		if further || shorter {
			return
		}
	}
	if end.Before(o.ended) {
		o.add(kindRestored, end)
	}
}

// lifetime ends it at its age, whatever else; a lead may have put that off.
func (o *oracle) lifetime() {
	if o.p.request.MaxLifetimeDays == nil {
		return
	}
	since, days := o.p.launch, *o.p.request.MaxLifetimeDays
	for _, a := range append(slices.Clone(o.p.asked), deed{at: o.now}) {
		if a.do != "lifetime" && a.do != "" {
			continue
		}
		end := o.p.launch.Add(time.Duration(days) * day)
		for _, n := range []struct {
			kind   string
			before time.Duration
		}{{kindLife7, 7 * day}, {kindLife1, day}, {kindLifeHour, time.Hour}, {kindLifeEnd, 0}} {
			at := end.Add(-n.before)
			if at.After(since) && !at.After(a.at) && !at.After(o.ended) {
				o.add(n.kind, at)
			}
		}
		since, days = a.at, a.n
	}
}

// stale is what becomes of one that is stopped and that nobody uses: a connection, a start that its user asked for and one
// by the schedule are use. Amazon's own maintenance is not, nor is a client that went away before it was connected.
func (o *oracle) stale() {
	if o.p.statusMissing || o.p.statusStale {
		return // whether it is used is not known
	}
	var stopped, flagged, noticed time.Time
	starts := map[time.Time]bool{}
	for _, a := range o.p.asked {
		if a.do == "start" {
			starts[a.at] = true
		}
	}
	keptFrom := o.now
	if o.p.request.KeepAlive {
		keptFrom = o.p.launch
	}
	for _, a := range o.p.asked {
		if a.do == "keep alive" {
			keptFrom = a.at
		}
	}
	for i, s := range o.spans {
		used := s.Connected || s.State == "STARTING" && (starts[s.From] || o.starts(s.From))
		if used {
			if !flagged.IsZero() && s.Connected {
				o.used(i)
			}
			stopped, flagged, noticed = time.Time{}, time.Time{}, time.Time{}
			continue
		}
		if s.State != "STOPPED" {
			continue
		}
		if stopped.IsZero() {
			stopped = s.From
		}
		// within is when something that is due happens in this span, if it does: not while Amazon maintains it.
		within := func(at time.Time) (time.Time, bool) {
			at = later(at, s.From)
			return at, at.Before(s.To) || at.Equal(s.To) && i+1 < len(o.spans) && o.spans[i+1].State == "TERMINATING"
		}
		if flagged.IsZero() {
			at, ok := within(stopped.Add(30 * day))
			if !ok {
				continue
			}
			flagged = at
			o.add(kindFlag, at)
		}
		if noticed.IsZero() {
			if at, ok := within(flagged.Add(6 * day)); ok && at.Before(keptFrom) {
				noticed = at
				o.add(kindStale1, at)
			}
		}
		if at, ok := within(later(flagged.Add(7*day), noticed.Add(time.Hour))); ok && !noticed.IsZero() && at.Before(keptFrom) {
			o.add(kindStaleEnd, at)
			return
		}
	}
}

// used is when Forge must find out that one that is flagged is used again, by a connection that begins with a span: a quarter
// of an hour after it was AVAILABLE or, if nobody was there by then, when it is STOPPED again.
func (o *oracle) used(connected int) {
	began := connected
	for began > 0 && o.spans[began-1].State == "AVAILABLE" {
		began--
	}
	asked := o.spans[began].From.Add(15 * time.Minute)
	for _, s := range o.spans[connected:] {
		if s.State == "AVAILABLE" && s.To.After(asked) && o.spans[connected].From.Before(asked) {
			o.add(kindUsed, asked)
			return
		}
		if s.State == "STOPPED" {
			o.add(kindUsed, s.From)
			return
		}
	}
}

// state is what it was just before an instant.
func (o *oracle) state(at time.Time) string {
	was := ""
	for _, s := range o.spans {
		if !s.From.Before(at) {
			break
		}
		was = s.State
	}
	return was
}

// zone is where the schedule's clock hangs.
func (o *oracle) zone() *time.Location {
	loc, err := time.LoadLocation(o.p.request.Schedule.Zone)
	if err != nil {
		panic(fmt.Sprint(o.p.name, ": ", err))
	}
	return loc
}

// wall calls each for a local time on all of the schedule's weekdays.
func (o *oracle) wall(hour, minute int, each func(at time.Time)) {
	if o.p.request.Schedule == nil {
		return
	}
	loc := o.zone()
	for d := o.p.launch.In(loc); d.Before(o.ended.Add(day)); d = d.AddDate(0, 0, 1) {
		at := time.Date(d.Year(), d.Month(), d.Day(), hour, minute, 0, 0, loc)
		if weekday(at) && at.After(o.p.launch) && at.Before(o.ended) {
			each(at.UTC())
		}
	}
}

// starts tells whether the schedule starts it at an instant.
func (o *oracle) starts(at time.Time) bool {
	if o.p.request.Schedule == nil {
		return false
	}
	local := at.In(o.zone())
	return weekday(local) && local.Format("15:04:05.999999999") == "08:30:00"
}

// schedule starts it at half past eight and stops it at six in the evening, if it is not so already, and tells of the stop
// a quarter of an hour before.
func (o *oracle) schedule() {
	o.wall(8, 30, func(at time.Time) {
		if was := o.state(at); was == "STOPPED" || was == "STOPPING" {
			o.add(kindStart, at)
		}
	})
	o.wall(18, 0, func(at time.Time) {
		up := func(state string) bool { return metered(state) || state == "STARTING" }
		if up(o.state(at)) {
			o.add(kindScheduleEnd, at)
		}
		notice := at.Add(-15 * time.Minute)
		if up(o.state(notice)) {
			o.add(kindStopsSoon, notice)
			return
		}
		for _, s := range o.spans {
			if up(s.State) && !s.From.Before(notice) && s.From.Before(at) {
				o.add(kindStopsSoon, s.From)
				return
			}
		}
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
