package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// route is one of the admin API.
type route struct {
	method, path string
	about        string // one line for GET /_emu/
	serve        http.HandlerFunc
}

func (e *Emulator) routes() []route {
	return append([]route{
		{"GET", "/_emu/{$}", "what is here: routes, actions, faults, operations", e.answers(e.adminIndex)},
		{"GET", "/_emu/healthz", "whether it serves", e.answers(e.adminHealth)},
		{"GET", "/_emu/workspaces", "all WorkSpaces; ?user=, directory=, region=, state=, connected=true", e.answers(e.adminWorkspaces)},
		{"POST", "/_emu/workspaces", "somebody else creates one: {user, directory, bundle, protocol, running_mode, auto_stop_minutes, tags}", e.answers(e.adminCreate)},
		{"GET", "/_emu/workspaces/{id}", "one WorkSpace", e.answers(e.adminWorkspace)},
		{"POST", "/_emu/workspaces/{id}/{action}", "something happens to it from outside", e.answers(e.adminAct)},
		{"PUT", "/_emu/workspaces/{id}/tags", "its tags are replaced: {tags}", e.answers(e.adminSetTags)},
		{"DELETE", "/_emu/workspaces/{id}/tags", "its tags are lost", e.answers(e.adminLoseTags)},
		{"POST", "/_emu/users/{user}/{action}", "the same with a user's WorkSpace; ?directory= where they have several", e.answers(e.adminActOnUser)},
		{"GET", "/_emu/directories", "the directories and who is in them", e.answers(e.adminDirectories)},
		{"POST", "/_emu/directories/{id}/users", "people come: {users}", e.answers(e.adminAddUsers)},
		{"DELETE", "/_emu/directories/{id}/users/{user}", "somebody goes; their WorkSpaces stay", e.answers(e.adminRemoveUser)},
		{"GET", "/_emu/clock", "the emulator's time", e.answers(e.adminClock)},
		{"POST", "/_emu/clock", "its time moves forward: {advance_ms} or {set}", e.answers(e.adminTurnClock)},
		{"GET", "/_emu/requests", "the last requests, oldest first; ?op=, user=, since= (a seq), limit=", e.answers(e.adminRequests)},
		{"GET", "/_emu/faults", "the faults in force", e.answers(e.adminFaults)},
		{"POST", "/_emu/faults", "one more fault", e.answers(e.adminAddFault)},
		{"DELETE", "/_emu/faults", "no more faults, nor marks of them on WorkSpaces", e.answers(e.adminClearFaults)},
		{"DELETE", "/_emu/faults/{id}", "one fault less, and its marks", e.answers(e.adminClearFault)},
		{"GET", "/_emu/quota", "how many WorkSpaces a Region may hold", e.answers(e.adminQuota)},
		{"PUT", "/_emu/quota", "another quota: {quota}", e.answers(e.adminSetQuota)},
		{"GET", "/_emu/throttle", "the calls granted and refused", e.answers(e.adminThrottle)},
		{"PUT", "/_emu/throttle", "another limit: {rate, burst}; a rate of 0 is off", e.answers(e.adminSetThrottle)},
		{"POST", "/_emu/reset", "everything is forgotten but the configuration", e.answers(e.adminReset)},
	}, e.meterRoutes()...)
}

func (e *Emulator) adminRoutes() http.Handler {
	mux := http.NewServeMux()
	for _, r := range e.routes() {
		mux.HandleFunc(r.method+" "+r.path, r.serve)
	}
	mux.HandleFunc("/_emu/", func(w http.ResponseWriter, r *http.Request) {
		adminWrite(w, http.StatusNotFound, adminError{"there is no " + r.Method + " " + r.URL.Path})
	})
	// Nothing here asks who is there, so at least no web page may do it through a developer's browser.
	return http.NewCrossOriginProtection().Handler(mux)
}

type adminError struct {
	Error string `json:"error"`
}

func adminWrite(w http.ResponseWriter, status int, answer any) {
	body, err := json.Marshal(answer)
	if err != nil {
		panic("emulator: answer cannot be encoded: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

// problem is an error that the client is told.
type problem struct {
	status int
	text   string
}

func (p *problem) Error() string { return p.text }

func bad(format string, args ...any) error {
	return &problem{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

func none(format string, args ...any) error {
	return &problem{http.StatusNotFound, fmt.Sprintf(format, args...)}
}

func conflict(text string) error { return &problem{http.StatusConflict, text} }

func noWorkspace(id string) error { return none("there is no WorkSpace %q", id) }

// answers makes a handler of a function to the answer. An error that is no problem is ours: it is logged and not
// shown.
func (e *Emulator) answers(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer, err := f(r)
		if err == nil {
			adminWrite(w, http.StatusOK, answer)
			return
		}
		p := (*problem)(nil)
		if !errors.As(err, &p) {
			e.log.Error("emulator: admin request failed", "method", r.Method, "path", r.URL.Path, "error", err)
			p = &problem{http.StatusInternalServerError, "the change could not be written down and was not made"}
		}
		adminWrite(w, p.status, adminError{p.text})
	}
}

// readBody reads one JSON value into in, which stays as it is when there is none.
func readBody(r *http.Request, in any) error {
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody))
	d.DisallowUnknownFields() // or a misspelt wish would pass as none
	err := d.Decode(in)
	if err == io.EOF {
		return nil
	}
	if err != nil {
		return bad("body: %v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return bad("body: something follows the JSON")
	}
	return nil
}

// look gives f a view of everything as it is at now.
func (e *Emulator) look(f func(now time.Time)) error {
	if !e.faults.watching() {
		e.mu.RLock()
		defer e.mu.RUnlock()
		f(e.now())
		return nil
	}
	return e.alter(func(now time.Time) error { f(now); return nil })
}

// alter lets f change things that are as they are at now.
func (e *Emulator) alter(f func(now time.Time) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	if err := e.settle(now); err != nil {
		return err
	}
	return f(now)
}

func (e *Emulator) adminIndex(*http.Request) (any, error) {
	type shownRoute struct {
		Method string `json:"method"`
		Path   string `json:"path"`
		About  string `json:"about"`
	}
	type shownFault struct {
		About      string   `json:"about"`
		Operations []string `json:"operations,omitempty"` // absent: all
		Fields     []string `json:"fields,omitempty"`     // beside the conditions; those with * are required
	}
	out := struct {
		Routes     []shownRoute          `json:"routes"`
		Actions    map[string]string     `json:"actions"`
		Faults     map[string]shownFault `json:"faults"`
		Operations []string              `json:"operations"`
	}{[]shownRoute{}, map[string]string{}, map[string]shownFault{}, slices.Sorted(maps.Keys(operations))}
	for _, r := range e.routes() {
		out.Routes = append(out.Routes, shownRoute{r.method, strings.TrimSuffix(r.path, "{$}"), r.about})
	}
	for name, a := range outsideActions {
		out.Actions[name] = a.about
	}
	for name, k := range faultKinds {
		out.Faults[name] = shownFault{k.about, k.ops, k.uses}
	}
	return out, nil
}

func (e *Emulator) adminHealth(*http.Request) (any, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return nil, &problem{http.StatusServiceUnavailable, "the emulator is closed"}
	}
	return struct {
		Status string `json:"status"`
	}{"ok"}, nil
}

type adminDirectory struct {
	ID     string   `json:"id"`
	Region string   `json:"region"`
	Name   string   `json:"name"`
	Users  []string `json:"users"` // * is everybody
}

func (e *Emulator) adminDirectories(*http.Request) (any, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	out := struct {
		Directories []adminDirectory `json:"directories"`
	}{[]adminDirectory{}}
	for _, d := range e.world.sortedDirectories() {
		out.Directories = append(out.Directories, adminDirectory{d.ID, d.Region, d.Name, []string{}})
	}
	for _, key := range slices.Sorted(maps.Keys(e.world.users)) {
		u := e.world.users[key]
		for i := range out.Directories {
			if d := &out.Directories[i]; d.ID == u.DirectoryID && !u.Removed {
				d.Users = append(d.Users, u.Name)
			}
		}
	}
	return out, nil
}

func (e *Emulator) adminAddUsers(r *http.Request) (any, error) {
	var in struct {
		Users []string `json:"users"`
	}
	if err := readBody(r, &in); err != nil {
		return nil, err
	}
	for _, name := range in.Users {
		if !model.shape("UserName").matches(name) {
			return nil, bad("user name %q is not 1 to 63 characters long", name)
		}
	}
	if err := e.directoryExists(r.PathValue("id")); err != nil {
		return nil, err
	}
	if err := e.AddUsers(r.PathValue("id"), in.Users...); err != nil {
		return nil, err
	}
	return e.adminDirectories(r)
}

func (e *Emulator) adminRemoveUser(r *http.Request) (any, error) {
	id, name := r.PathValue("id"), r.PathValue("user")
	if err := e.directoryExists(id); err != nil {
		return nil, err
	}
	e.mu.RLock()
	known := e.world.hasUser(id, name)
	e.mu.RUnlock()
	if !known {
		return nil, none("there is no user %q in directory %s", name, id)
	}
	if err := e.RemoveUser(id, name); err != nil {
		return nil, err
	}
	return e.adminDirectories(r)
}

func (e *Emulator) directoryExists(id string) error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if _, ok := e.world.directories[id]; !ok {
		return none("there is no directory %q", id)
	}
	return nil
}

type adminTime struct {
	Now     time.Time `json:"now"`
	AheadMS int64     `json:"ahead_ms"` // of Config.Now, which is the real time unless a test says otherwise
	Speed   float64   `json:"speed"`
}

func (e *Emulator) adminClock(*http.Request) (any, error) {
	return adminTime{e.now(), e.world.clock.duration().Milliseconds(), e.speed}, nil
}

func (e *Emulator) adminTurnClock(r *http.Request) (any, error) {
	var in struct {
		AdvanceMS *int64     `json:"advance_ms"`
		Set       *time.Time `json:"set"`
	}
	if err := readBody(r, &in); err != nil {
		return nil, err
	}
	if (in.AdvanceMS == nil) == (in.Set == nil) {
		return nil, bad("give either advance_ms or set")
	}
	err := e.alter(func(now time.Time) error {
		if in.Set != nil {
			return e.turn(in.Set.Sub(now))
		}
		if *in.AdvanceMS > mostAhead.Milliseconds() {
			return errClock
		}
		return e.turn(time.Duration(*in.AdvanceMS) * time.Millisecond)
	})
	if errors.Is(err, errClock) {
		return nil, bad("%v", err)
	}
	if err != nil {
		return nil, err
	}
	return e.adminClock(r)
}

func (e *Emulator) adminRequests(r *http.Request) (any, error) {
	q := r.URL.Query()
	f := requestFilter{op: q.Get("op"), user: q.Get("user")}
	for name, into := range map[string]func(int64){
		"since": func(n int64) { f.since = n },
		"limit": func(n int64) { f.limit = int(min(n, requestLogSize)) },
	} {
		text := q.Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return nil, bad("%s=%s is not a number", name, text)
		}
		into(n)
	}
	return struct {
		Requests []seenRequest `json:"requests"`
	}{f.of(e.seen.all())}, nil
}

// faultList is what every answer about faults holds.
type faultList struct {
	ID     string       `json:"id,omitempty"` // of the one that was added
	Faults []adminFault `json:"faults"`
}

func (e *Emulator) adminFaults(*http.Request) (any, error) {
	return faultList{Faults: e.faults.list()}, nil
}

func (e *Emulator) adminAddFault(r *http.Request) (any, error) {
	o, err := parseOrder(http.MaxBytesReader(nil, r.Body, maxBody))
	if err != nil {
		return nil, bad("%v", err)
	}
	f := newFault(o)
	err = e.alter(func(now time.Time) error { // so that what was before does not count
		if f.Kind == "status_stale" {
			f.stale = e.statuses(o, now)
		}
		if !e.faults.add(f) {
			return conflict(fmt.Sprintf("there are %d faults in force already", maxFaults))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return faultList{f.ID, e.faults.list()}, nil
}

func (e *Emulator) adminClearFaults(*http.Request) (any, error) {
	return e.clearFaults(func(string) bool { return true })
}

func (e *Emulator) adminClearFault(r *http.Request) (any, error) {
	return e.clearFaults(func(id string) bool { return id == r.PathValue("id") })
}

func (e *Emulator) clearFaults(meant func(id string) bool) (any, error) {
	some := false
	err := e.alter(func(now time.Time) (err error) {
		some = e.faults.remove(meant)
		released, err := e.release(func(m mark) bool { return meant(m.Fault) }, now)
		some = some || released
		return err
	})
	if err != nil {
		return nil, err
	}
	if !some && !meant("") { // an id that is not known; nothing to clear is fine
		return nil, none("there is no such fault, nor is a WorkSpace marked by it")
	}
	return faultList{Faults: e.faults.list()}, nil
}

type adminLimit struct {
	Quota int `json:"quota"`
}

func (e *Emulator) adminQuota(*http.Request) (any, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return adminLimit{e.quota}, nil
}

func (e *Emulator) adminSetQuota(r *http.Request) (any, error) {
	in := adminLimit{-1}
	if err := readBody(r, &in); err != nil {
		return nil, err
	}
	if in.Quota < 0 {
		return nil, bad("quota must be a number from 0 on")
	}
	e.mu.Lock()
	e.quota = in.Quota
	e.mu.Unlock()
	return in, nil
}

func (e *Emulator) adminThrottle(*http.Request) (any, error) { return e.rate.show(), nil }

func (e *Emulator) adminSetThrottle(r *http.Request) (any, error) {
	var in struct {
		Rate  *float64 `json:"rate"`
		Burst int      `json:"burst"`
	}
	if err := readBody(r, &in); err != nil {
		return nil, err
	}
	if in.Rate == nil {
		return nil, bad("rate is required")
	}
	if err := e.rate.set(*in.Rate, in.Burst); err != nil {
		return nil, bad("%v", err)
	}
	return e.rate.show(), nil
}

// adminReset makes everything as at the first start, the clock included.
func (e *Emulator) adminReset(r *http.Request) (any, error) {
	fresh := newWorld()
	for _, d := range e.cfg.Directories {
		records, err := fresh.merge(d)
		if err != nil {
			return nil, err
		}
		for _, record := range records {
			fresh.install(record)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, &problem{http.StatusServiceUnavailable, "the emulator is closed"}
	}
	if e.journal != nil {
		if err := e.journal.rewrite(fresh.seq, fresh.records()); err != nil {
			return nil, err
		}
	}
	fresh.clock = e.world.clock
	fresh.clock.ahead.Store(0)
	e.world, e.settled, e.quota = fresh, time.Time{}, e.cfg.Quota
	e.faults.reset()
	e.seen.reset()
	e.rate.forget()
	return struct{}{}, e.rate.set(e.cfg.APIRate, e.cfg.APIBurst)
}
