package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"
)

// publication is how often a WorkSpace tells CloudWatch of itself. Amazon does not say how often its do; those
// who read them ask for periods of five minutes.
const publication = 5 * time.Minute

// utilisation is how much of something is used, in percent: while a user is connected, and while none is.
type utilisation struct {
	Idle float64 `json:"idle"`
	Busy float64 `json:"busy"`
}

// loadProfile is what a user does to a WorkSpace.
type loadProfile struct {
	From   time.Time   `json:"from"` // in force since; what was measured before stays what it was
	CPU    utilisation `json:"cpu"`
	Memory utilisation `json:"memory"`
}

var defaultLoad = loadProfile{CPU: utilisation{Idle: 4, Busy: 35}, Memory: utilisation{Idle: 30, Busy: 60}}

// maxLoadProfiles is how many profiles of a WorkSpace are kept; the oldest gives way.
const maxLoadProfiles = 100

// load is what the admin API was told of a user's ways, oldest first.
type load struct {
	ID       string        `json:"id"`
	Profiles []loadProfile `json:"profiles"`
}

func (*load) kind() string  { return "load" }
func (l *load) key() string { return l.ID }

// at is the profile in force at t.
func (l *load) at(t time.Time) loadProfile {
	in := defaultLoad
	if l == nil {
		return in
	}
	for _, p := range l.Profiles {
		if p.From.After(t) {
			break
		}
		in = p
	}
	return in
}

// adminLoad sets what the WorkSpace's user does to it from now on. What is left out stays.
func (e *Emulator) adminLoad(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		CPU    *utilisation `json:"cpu"`
		Memory *utilisation `json:"memory"`
	}
	err := readAdmin(w, r, &asked)
	for _, u := range []*utilisation{asked.CPU, asked.Memory} {
		if u != nil && (u.Idle < 0 || u.Idle > 100 || u.Busy < 0 || u.Busy > 100) {
			err = errors.Join(err, errors.New("a utilisation is a percentage, from 0 to 100"))
		}
	}
	if err == nil && asked.CPU == nil && asked.Memory == nil {
		err = errors.New(`give cpu or memory, such as {"cpu":{"idle":5,"busy":60}}`)
	}
	if err != nil {
		adminWrite(w, http.StatusBadRequest, adminError{err.Error()})
		return
	}
	status, answer := e.setLoad(r.PathValue("id"), asked.CPU, asked.Memory)
	adminWrite(w, status, answer)
}

func (e *Emulator) setLoad(id string, cpu, memory *utilisation) (int, any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	if _, ok := e.world.find("", id, now); !ok {
		return http.StatusNotFound, adminError{fmt.Sprintf("there is no WorkSpace %q", id)}
	}
	set := &load{ID: id}
	if known := e.world.loads[id]; known != nil {
		set.Profiles = append(set.Profiles, known.Profiles...)
	}
	profile := set.at(now)
	profile.From = now
	if cpu != nil {
		profile.CPU = *cpu
	}
	if memory != nil {
		profile.Memory = *memory
	}
	set.Profiles = append(set.Profiles, profile)
	if n := len(set.Profiles); n > maxLoadProfiles {
		set.Profiles = set.Profiles[n-maxLoadProfiles:]
	}
	if err := e.commit(set); err != nil {
		e.log.Error("emulator: admin request failed", "workspace", id, "error", err)
		return http.StatusInternalServerError, adminError{"the change could not be written down and was not made"}
	}
	return http.StatusOK, profile
}

// readAdmin reads the body of an admin request: one JSON value, no members that are not known.
func readAdmin(w http.ResponseWriter, r *http.Request, into any) error {
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	in.DisallowUnknownFields()
	if err := in.Decode(into); err != nil {
		return err
	}
	if _, more := in.Token(); more != io.EOF {
		return errors.New("something follows the JSON of the request")
	}
	return nil
}

// metric is one that Amazon publishes about each WorkSpace. Its value in a window is nothing where Amazon has
// a gap.
type metric struct {
	name, unit string
	value      func(w *window) (float64, bool)
}

// metrics are those of the namespace AWS/WorkSpaces that are emulated, by name.
var metrics = []metric{
	{"Available", "Count", inState(stateAvailable)},
	{"Unhealthy", "Count", inState(stateUnhealthy, stateImpaired)},
	{"Stopped", "Count", inState(stateStopped)},
	{"Maintenance", "Count", inState(stateMaintenance)},
	{"UserConnected", "Count", whileRunning(func(w *window) float64 {
		if w.connected {
			return 1
		}
		return 0
	})},
	{"ConnectionAttempt", "Count", counted(func(w *window) int { return w.attempts })},
	{"ConnectionSuccess", "Count", counted(func(w *window) int { return w.successes })},
	{"ConnectionFailure", "Count", counted(func(w *window) int { return w.failures })},
	{"SessionDisconnect", "Count", counted(func(w *window) int { return w.disconnects })},
	{"SessionLaunchTime", "Seconds", func(w *window) (float64, bool) {
		if w.successes == 0 {
			return 0, false
		}
		return w.launch.Seconds() / float64(w.successes), true
	}},
	{"InSessionLatency", "Milliseconds", func(w *window) (float64, bool) {
		return w.around(20+70*w.own("latency"), "latency"), w.connected
	}},
	{"CPUUsage", "Percent", whileRunning(func(w *window) float64 {
		return w.used(w.load.at(w.from).CPU, "cpu")
	})},
	{"MemoryUsage", "Percent", whileRunning(func(w *window) float64 {
		return w.used(w.load.at(w.from).Memory, "memory")
	})},
	{"RootVolumeDiskUsage", "Percent", whileRunning(func(w *window) float64 {
		return 35 + 30*w.own("root")
	})},
	{"UserVolumeDiskUsage", "Percent", whileRunning(func(w *window) float64 {
		return 5 + 60*w.own("user")
	})},
	{"UpTime", "Seconds", whileRunning(func(w *window) float64 {
		return max(0, w.from.Sub(w.booted).Seconds())
	})},
}

func findMetric(name string) (metric, bool) {
	for _, m := range metrics {
		if m.name == name {
			return m, true
		}
	}
	return metric{}, false
}

// inState is 1 while the WorkSpace is in one of the states and 0 while it is in another, from when it was
// first available until it is gone.
func inState(states ...string) func(*window) (float64, bool) {
	return func(w *window) (float64, bool) {
		switch w.state {
		case "", statePending, stateAbsent:
			return 0, false
		}
		for _, s := range states {
			if w.state == s {
				return 1, true
			}
		}
		return 0, true
	}
}

// whileRunning leaves a gap where nobody is there to measure.
func whileRunning(value func(*window) float64) func(*window) (float64, bool) {
	return func(w *window) (float64, bool) {
		if !w.running {
			return 0, false
		}
		return value(w), true
	}
}

// counted is a number of events, also of those that happen while nobody is there to measure.
func counted(events func(*window) int) func(*window) (float64, bool) {
	return func(w *window) (float64, bool) {
		n := events(w)
		return float64(n), w.running || n > 0
	}
}

// reporting are the states in which a WorkSpace measures itself.
var reporting = map[string]bool{
	stateAvailable: true, stateUnhealthy: true, stateImpaired: true, stateMaintenance: true, stateAdmin: true,
}

// window is what happened to a WorkSpace between two publications: the one data point dated from.
type window struct {
	*timeline
	from  time.Time
	state string // at from; "" before there was anything
	// running and connected tell whether it was so at any time within.
	running, connected bool

	attempts, successes, failures, disconnects int
	launch                                     time.Duration // how long the successes took, together
	booted                                     time.Time     // last time it began to run, up to the window's end
}

// sampler goes through a timeline one window after the other.
type sampler struct {
	timeline *timeline
	at       int       // the span the last window ended in; -1 before the first
	booted   time.Time // the last time it began to run
	waiting  time.Time // since when the user has waited; zero if not
}

// samples gives the value of m for every window from one time until another that was over by the timeline's end.
func (l *timeline) samples(m metric, from, until time.Time, yield func(t time.Time, value float64)) {
	if len(l.spans) == 0 {
		return
	}
	from = from.Add(publication - 1).Truncate(publication)
	if first := l.spans[0].From.Truncate(publication); from.Before(first) {
		from = first
	}
	s := sampler{timeline: l, at: -1}
	s.skip(from)
	for t := from; t.Before(until) && !t.Add(publication).After(l.until); t = t.Add(publication) {
		if s.over() {
			return
		}
		w := s.next(t)
		if value, ok := m.value(&w); ok {
			yield(t, value)
		}
	}
}

// over reports whether nothing is left to tell: the WorkSpace is gone.
func (s *sampler) over() bool {
	return s.at >= 0 && s.timeline.spans[s.at].State == stateAbsent
}

// skip goes to the last span that begins before t.
func (s *sampler) skip(t time.Time) {
	var ignored window
	s.enter(t, &ignored)
}

// next is the window that begins at t.
func (s *sampler) next(t time.Time) window {
	w := window{timeline: s.timeline, from: t}
	if s.at >= 0 && s.timeline.end(s.at).After(t) {
		w.see(s.timeline.spans[s.at])
	}
	s.enter(t.Add(publication), &w)
	w.booted = s.booted
	if i := covering(s.timeline.spans[:s.at+1], t); i >= 0 {
		w.state = s.timeline.spans[i].State
	}
	return w
}

func (w *window) see(s span) {
	w.running = w.running || reporting[s.State]
	w.connected = w.connected || s.Connected
}

// enter goes through the spans that begin before t and counts what happens at their beginnings.
func (s *sampler) enter(t time.Time, w *window) {
	spans := s.timeline.spans
	for s.at+1 < len(spans) && spans[s.at+1].From.Before(t) {
		var last span
		if s.at >= 0 {
			last = spans[s.at]
		}
		s.at++
		this := spans[s.at]
		w.see(this)
		if reporting[this.State] && !reporting[last.State] {
			s.booted = this.From
		}
		if this.Waiting && !last.Waiting {
			s.waiting = this.From
			w.attempts++
		}
		if this.Connected && !last.Connected {
			w.successes++
			// The client needs a few seconds itself, after whatever it had to wait for.
			w.launch += time.Duration(float64(5*time.Second) * (1 + 2*fraction(s.timeline.ID, this.From.String())))
			if last.Waiting {
				w.launch += this.From.Sub(s.waiting)
			} else {
				w.attempts++
			}
		}
		if last.Waiting && !this.Waiting && !this.Connected {
			w.failures++
		}
		if last.Connected && !this.Connected {
			w.disconnects++
		}
	}
}

// used is a utilisation in percent: the profile's, a fifth more or less.
func (w *window) used(u utilisation, what string) float64 {
	level := u.Idle
	if w.connected {
		level = u.Busy
	}
	return min(100, w.around(level, what))
}

// around is level ±20 %, always the same for the same WorkSpace and time.
func (w *window) around(level float64, what string) float64 {
	noise := float64(scatter(w.seed(what), uint64(w.from.Unix()))>>11) / (1 << 53)
	return math.Round(level*(0.8+0.4*noise)*1000) / 1000
}

// own is a number in [0,1) that belongs to the WorkSpace.
func (w *window) own(what string) float64 {
	return math.Round(float64(w.seed(what)>>11)/(1<<53)*1000) / 1000
}

// seed is the WorkSpace's own for what is measured.
func (w *window) seed(what string) uint64 { return hash(w.ID, what) }

// scatter makes a number of two that tells nothing of them and is always the same.
func scatter(seed, n uint64) uint64 {
	x := seed ^ n*0x9e3779b97f4a7c15
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
