package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/app"
	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/aws/emulator"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/workspace"
)

// rounds of the contest in `make test`; `make prove-contest` has a thousand.
const contestRounds = 60

func TestWhoeverActsOnOneWorkSpaceAtOnceGetsATrueAnswer(t *testing.T) { contest(t, contestRounds, 1) }

// contest lets the owner of a WorkSpace, the lead of their team, an admin and the policies act on it at once, round by
// round, through two servers. Each gets a true answer, nothing that was changed is lost, and the history explains what it
// has come to. Time is the test's: half an hour a round, so that the schedule, the idle rule and the lifetime have their say.
func contest(t *testing.T, rounds int, seed uint64) {
	t.Helper()
	t.Logf("seed %d", seed)
	virtual := clock.At(time.Now().Truncate(time.Hour))
	r := newRig(t, 1, func(c *emulator.Config) { c.Now, c.APIRate = virtual.Now, 100_000 })
	r.clock = virtual.Now
	c := &contested{rig: r, t: t, clock: virtual, random: rand.New(rand.NewPCG(seed, 0)), done: map[string]int{}} //nolint:gosec // repeatable on purpose
	for range 2 {
		url, stop := r.serve(true)
		t.Cleanup(stop)
		c.servers = append(c.servers, url)
	}
	r.users("contest", 0) // for the budgets that come with them
	raw, err := os.ReadFile(filepath.Join(r.dir, "credentials.json"))
	var all []app.Credential
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ada", "lead-backend", "admin"} {
		i := slices.IndexFunc(all, func(u app.Credential) bool { return u.User == name })
		c.people = append(c.people, c.person(all[i]))
	}
	for range 2 {
		c.sweepers = append(c.sweepers, c.sweeper())
	}
	c.prepare()
	for c.round = range rounds {
		c.play()
		if t.Failed() {
			r.history(c.id)
			t.FailNow()
		}
	}
	t.Logf("%d rounds: %v", rounds, c.done)
	for _, what := range []string{"done", "so already", "refused", "refused by its version", "events of policies", "races won"} {
		if c.done[what] == 0 {
			t.Errorf("never: %s", what)
		}
	}
}

// contested is the WorkSpace that is fought for.
type contested struct {
	*rig
	t        *testing.T
	clock    *clock.Manual
	random   *rand.Rand
	servers  []string
	sweepers []*workspace.Sweeper
	people   []contestant // the owner, a lead, an admin
	id       string
	round    int
	created  time.Time

	version int64          // of the last round
	since   time.Time      // when the last round was checked
	replay  map[string]any // what its events have made of it
	done    map[string]int
}

type contestant struct {
	app.Credential
	id string
}

func (c *contested) person(u app.Credential) contestant {
	c.t.Helper()
	var me struct {
		User struct {
			ID string `json:"id"`
		} `json:"user"`
	}
	a := c.send(move{who: contestant{Credential: u}, method: http.MethodGet, path: "/api/v1/me"})
	if err := json.Unmarshal([]byte(a.body), &me); err != nil || me.User.ID == "" {
		c.t.Fatalf("who am I: %s", a.body)
	}
	return contestant{u, me.User.ID}
}

// sweeper is the policies' hand, in a process of its own as far as the database can tell.
func (c *contested) sweeper() *workspace.Sweeper {
	c.t.Helper()
	cfg := c.rig.server(rigConfig{DatabaseURL: c.pg.AppURL, AWS: c.aws, Speed: c.speed, Rate: 500})
	cfg.Workers, cfg.Clock, cfg.MaxConns = false, c.clock.Now, 4
	f, err := app.New(c.t.Context(), cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(f.Close)
	return &workspace.Sweeper{Fleet: f.Fleet, Log: f.Log, Clock: c.clock.Now, Slog: slog.New(slog.DiscardHandler)}
}

// move is one request, and what became of it.
type move struct {
	who          contestant
	method, path string
	body         string
	kind         string // of its event
	ifVersion    int64  // 0: whatever it is
	server       int
	answer       answer
}

func (c *contested) send(m move) answer {
	c.t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(c.t.Context()), m.method, c.servers[m.server]+m.path, strings.NewReader(m.body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+m.who.Token)
	req.Header.Set("Content-Type", "application/json")
	if m.ifVersion > 0 {
		req.Header.Set("If-Match", `"`+strconv.FormatInt(m.ifVersion, 10)+`"`)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Errorf("%s %s: %v", m.method, m.path, err)
		return answer{}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Errorf("%s %s: %v", m.method, m.path, err)
	}
	return answer{resp.StatusCode, resp.Header.Get("Content-Type"), string(b), resp.Header}
}

// prepare asks for the WorkSpace, with a schedule that stops and starts it by turns at every full hour.
func (c *contested) prepare() {
	c.t.Helper()
	owner, err := client.NewClientWithResponses(c.servers[0], client.WithRequestEditorFn(bearer(c.people[0].Token)))
	if err != nil {
		c.t.Fatal(err)
	}
	w := launch(c.t, owner, client.WorkspaceCreate{Blueprint: "go-dev"})
	c.id, c.created = w.Id, w.CreatedAt
	eventually(c.t, "Amazon has accepted it", func() bool { return show(c.t, owner, w.Id).ProviderId != nil })
	eventually(c.t, "it is AVAILABLE", func() bool {
		c.clock.Advance(time.Minute)
		return show(c.t, owner, w.Id).State == "AVAILABLE"
	})
	var entries []string
	for hour := range 24 {
		do := "stop"
		if hour%2 == 1 {
			do = "start"
		}
		entries = append(entries, fmt.Sprintf(`{"action":%q,"at":"%02d:00","days":["MON","TUE","WED","THU","FRI","SAT","SUN"]}`, do, hour))
	}
	m := c.patch(0, `{"schedule":{"timezone":"UTC","entries":[`+strings.Join(entries, ",")+`]}}`)
	if a := c.send(m); a.status != http.StatusOK {
		c.t.Fatalf("schedule: %d %s", a.status, a.body)
	}
	row, events, _ := c.read(0)
	c.version, c.replay = row.version, row.fields
	c.since = c.clock.Now()
	if len(events) == 0 {
		c.t.Fatal("it has no history")
	}
}

func (c *contested) patch(who int, body string) move {
	return move{who: c.people[who], method: http.MethodPatch, path: "/api/v1/workspaces/" + c.id, body: body, kind: "update"}
}

func (c *contested) do(who int, operation, body string) move {
	return move{who: c.people[who], method: http.MethodPost, path: "/api/v1/workspaces/" + c.id + "/" + operation, body: body, kind: operation}
}

// age is how many days old it is.
func (c *contested) age() int { return int(c.clock.Now().Sub(c.created).Hours() / 24) }

// moves are what people do in a round.
func (c *contested) moves() []*move {
	unique := fmt.Sprintf("r%d", c.round)
	tags := func(who int) move {
		return c.patch(who, fmt.Sprintf(`{"tags":{"round":%q,"by":%q}}`, unique, c.people[who].User))
	}
	lifetime := func(who int) move { // the nearest brings its notices about; none its end within a day
		return c.patch(who, fmt.Sprintf(`{"max_lifetime_days":%d}`, c.age()+3+c.random.IntN(30)))
	}
	hours := 1 + c.random.IntN(4)
	of := func(all ...move) *move { m := all[c.random.IntN(len(all))]; return &m }
	all := []*move{
		of(c.do(0, "start", ""), c.do(0, "stop", ""), c.do(0, "extend", fmt.Sprintf(`{"hours":%d}`, hours)), tags(0),
			c.patch(0, fmt.Sprintf(`{"name":"owner-%s","auto_stop_timeout_minutes":%d}`, unique, 60*(1+c.random.IntN(3))))),
		of(c.do(1, "stop", ""), c.do(1, "reboot", ""), lifetime(1), tags(1)),
		of(c.do(2, "start", ""), c.do(2, "stop", ""), lifetime(2), c.patch(2, `{"name":"admin-`+unique+`"}`)),
	}
	if c.random.IntN(3) == 0 { // a race of writers who have all read the same
		all = []*move{ptr(tags(0)), ptr(tags(1)), ptr(c.patch(2, `{"name":"admin-`+unique+`"}`))}
		for _, m := range all {
			m.ifVersion = c.version
		}
	} else {
		for _, m := range all {
			m.ifVersion = []int64{0, 0, c.version, c.version - 1}[c.random.IntN(4)]
		}
	}
	for i, m := range all {
		m.server = i % len(c.servers)
	}
	return all
}

// play is one round: everybody acts at once, and then the books are read.
func (c *contested) play() {
	c.t.Helper()
	c.clock.Advance(30 * time.Minute)
	if limit, ok := c.replay["max_lifetime_days"].(float64); ok && int(limit)-c.age() < 3 { // not money: days
		a := c.send(c.patch(2, fmt.Sprintf(`{"max_lifetime_days":%d}`, c.age()+60)))
		if a.status != http.StatusOK {
			c.t.Errorf("it is to live on: %d %s", a.status, a.body)
			return
		}
		row, events, _ := c.read(c.version)
		c.follow(events)
		c.version = row.version
	}
	row, events, _ := c.read(c.version) // what came of the last round since
	c.follow(events)
	c.version = row.version
	moves := c.moves()
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for _, m := range moves {
		wg.Go(func() { <-begin; m.answer = c.send(*m) })
	}
	for _, s := range c.sweepers {
		wg.Go(func() {
			<-begin
			if _, err := s.Round(actor.With(c.t.Context(), actor.System("rules"))); err != nil {
				c.t.Errorf("the policies: %v", err)
			}
		})
	}
	close(begin)
	wg.Wait()
	c.verify(moves)
}

// rowNow is the WorkSpace as its row is.
type rowNow struct {
	version int64
	fields  map[string]any
}

type eventSeen struct {
	version                   int64
	actor, kind, from, to, re string
	details                   map[string]any
}

type entrySeen struct {
	request, result, action string
	details                 map[string]any
}

// read gives the row, its events behind a version and its audit entries since the last round, all as of one instant.
func (c *contested) read(after int64) (rowNow, []eventSeen, []entrySeen) {
	c.t.Helper()
	ctx := context.WithoutCancel(c.t.Context())
	tx, err := c.db.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		c.t.Fatal(err)
	}
	defer tx.Rollback(ctx) //nolint:errcheck // it only reads
	var row rowNow
	var raw []byte
	if err := tx.QueryRow(ctx, `
		SELECT version, jsonb_build_object('name', name, 'tags', tags, 'max_lifetime_days', max_lifetime_days, 'keep_alive', keep_alive,
		       'auto_stop_timeout_minutes', auto_stop_timeout_minutes, 'desired', desired, 'state', state,
		       'extended_until', to_char(extended_until AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
		FROM workspaces WHERE id = $1`, c.id).Scan(&row.version, &raw); err != nil {
		c.t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &row.fields); err != nil {
		c.t.Fatal(err)
	}
	rows, err := tx.Query(ctx, `
		SELECT version, actor_id, kind, from_state, to_state, reason, details FROM workspace_events WHERE workspace_id = $1 AND version > $2 ORDER BY version`, c.id, after)
	if err != nil {
		c.t.Fatal(err)
	}
	events, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (e eventSeen, err error) {
		return e, r.Scan(&e.version, &e.actor, &e.kind, &e.from, &e.to, &e.re, &e.details)
	})
	if err != nil {
		c.t.Fatal(err)
	}
	rows, err = tx.Query(ctx, `SELECT request_id, result, action_type, leaf FROM audit_logs WHERE resource_id = $1 AND timestamp >= $2`, c.id, c.since.Add(-6*time.Hour)) // what waits for a lock is of when it began
	if err != nil {
		c.t.Fatal(err)
	}
	entries, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (e entrySeen, err error) {
		var bytes []byte
		if err := r.Scan(&e.request, &e.result, &e.action, &bytes); err != nil {
			return e, err
		}
		decoded, err := leaf.Decode(bytes)
		e.details = decoded.Details
		return e, err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return row, events, entries
}

// follow brings events onto what is known: each begins where the one before has left off.
func (c *contested) follow(events []eventSeen) {
	c.t.Helper()
	version := c.version
	for _, e := range events {
		if e.version != version+1 {
			c.t.Errorf("the event %d comes after %d", e.version, version)
		}
		version = e.version
		if c.replay["state"] != e.from {
			c.t.Errorf("event %d (%s): it was %s, and the event says %s", e.version, e.kind, c.replay["state"], e.from)
		}
		c.replay["state"] = e.to
		switch e.kind {
		case "start", "spare":
			c.replay["desired"] = "AVAILABLE"
		case "stop":
			c.replay["desired"] = "STOPPED"
		case "terminate":
			c.replay["desired"] = "TERMINATED"
		case "extend":
			c.replay["extended_until"] = e.details["until"]
		case "extension_over":
			c.replay["extended_until"] = nil
		case "update":
			for what, change := range e.details {
				was, ok := change.(map[string]any)
				if _, known := c.replay[what]; !ok || !known {
					c.t.Errorf("event %d changes %s by %v", e.version, what, change)
					continue
				}
				if !reflect.DeepEqual(was["from"], c.replay[what]) {
					c.t.Errorf("event %d: %s was %v, and the event says %v", e.version, what, c.replay[what], was["from"])
				}
				c.replay[what] = was["to"]
			}
		}
		if strings.HasPrefix(e.actor, "system:rules") {
			c.done["events of policies"]++
		}
	}
}

// verify holds the answers of a round against the history, the audit log and the row.
func (c *contested) verify(moves []*move) {
	c.t.Helper()
	before := c.version
	row, events, entries := c.read(before)
	c.follow(events)
	c.version, c.since = row.version, c.clock.Now()
	if !reflect.DeepEqual(c.replay, row.fields) {
		c.t.Errorf("round %d: the row is\n  %v, and its history says\n  %v", c.round, row.fields, c.replay)
	}
	if n := int64(len(events)); before+n != row.version {
		c.t.Errorf("round %d: %d events from version %d to %d", c.round, n, before, row.version)
	}
	of := map[int64]eventSeen{}
	for _, e := range events {
		of[e.version] = e
		if !slices.ContainsFunc(entries, func(a entrySeen) bool {
			return a.result == "success" && a.action == "workspace."+e.kind && fmt.Sprint(a.details["version"]) == strconv.FormatInt(e.version, 10)
		}) {
			c.t.Errorf("round %d: the event %d (%s) is not in the audit log", c.round, e.version, e.kind)
		}
	}
	claimed := map[int64]bool{}
	racing, won := 0, 0
	for _, m := range moves {
		version, ok := c.answered(m, before, of, entries)
		if m.ifVersion == before {
			racing++
		}
		if !ok {
			continue
		}
		if claimed[version] {
			c.t.Errorf("round %d: two have been told that version %d is theirs", c.round, version)
		}
		claimed[version] = true
		if m.ifVersion != 0 {
			won++
			if m.ifVersion != before || version != before+1 {
				c.t.Errorf("round %d: %s %s on version %d made version %d, and the version was %d", c.round, m.method, m.path, m.ifVersion, version, before)
			}
		}
	}
	if first, some := of[before+1]; racing == len(moves) {
		byPeople := slices.ContainsFunc(c.people, func(p contestant) bool { return p.id == first.actor })
		if some && byPeople != (won == 1) || won > 1 || !some {
			c.t.Errorf("round %d: %d of %d racing writers won, and version %d is by %q", c.round, won, racing, before+1, first.actor)
		}
		c.done["races won"] += won
	}
	for v, e := range of {
		if slices.ContainsFunc(c.people, func(p contestant) bool { return p.id == e.actor }) && !claimed[v] {
			c.t.Errorf("round %d: the event %d (%s) is by %s, who was told nothing of it", c.round, v, e.kind, e.actor)
		}
	}
}

// answered checks one answer, and gives the version that the move has made, if it made one.
func (c *contested) answered(m *move, before int64, of map[int64]eventSeen, entries []entrySeen) (int64, bool) {
	c.t.Helper()
	what := fmt.Sprintf("round %d: %s %s %s of %s (if %d, it was %d): %d", c.round, m.method, strings.TrimPrefix(m.path, "/api/v1/workspaces/"+c.id), m.body, m.who.User, m.ifVersion, before, m.answer.status)
	request := m.answer.header.Get("X-Request-Id")
	record := func(result string, already bool) bool {
		return slices.ContainsFunc(entries, func(a entrySeen) bool {
			_, is := a.details["already"]
			return a.request == request && a.result == result && is == already
		})
	}
	if m.answer.status >= 300 {
		c.done["refused"]++
		code := m.answer.code(c.t)
		if m.answer.status != http.StatusConflict && m.answer.status != http.StatusPreconditionFailed {
			c.t.Errorf("%s %s", what, m.answer.body)
		}
		if code == "WORKSPACE_CHANGED" {
			c.done["refused by its version"]++
			if m.ifVersion == 0 {
				c.t.Errorf("%s: it named no version", what)
			}
		} else if m.ifVersion != 0 && m.ifVersion != before {
			c.t.Errorf("%s: it named an old version, and is refused for %s", what, code)
		}
		if !record("refused", false) {
			c.t.Errorf("%s: the refusal is not in the audit log", what)
		}
		return 0, false
	}
	if m.ifVersion != 0 && m.ifVersion != before {
		c.t.Errorf("%s: it named an old version", what)
	}
	version, err := strconv.ParseInt(strings.Trim(m.answer.header.Get("ETag"), `"`), 10, 64)
	if err != nil {
		c.t.Errorf("%s: ETag %q", what, m.answer.header.Get("ETag"))
		return 0, false
	}
	e, is := of[version]
	if record("success", true) {
		c.done["so already"]++
		if version < before {
			c.t.Errorf("%s: it was so already in version %d", what, version)
		}
		return 0, false
	}
	if !is || e.actor != m.who.id || e.kind != m.kind {
		c.t.Errorf("%s: version %d is %+v", what, version, e)
	}
	if !record("success", false) {
		c.t.Errorf("%s: it is not in the audit log", what)
	}
	c.done["done"]++
	c.done[m.kind]++
	return version, true
}
