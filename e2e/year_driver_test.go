package e2e

import (
	"bytes"
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/aws/desktop"
	"github.com/robco-forge/forge/internal/aws/emulator"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/workspace"
)

// year is Forge and the emulated Amazon under one clock that goes from each instant at which something happens to the next.
//
// Forge's workers are off. At each instant the driver calls the steps that they call until none has anything to do. There is
// one thing that it does otherwise: what waits for Amazon is not looked at every few minutes, of which almost all would show
// nothing new, but when it has changed at Amazon's: at once where that makes a difference to the bill, else at the next full
// minute. That it is STARTING, which lasts a minute or two, is not looked at. The rules are swept at full minutes.
type year struct {
	*rig
	from, to   time.Time
	clock      *clock.Manual
	watch      *emulator.Watch
	meter      *cost.Meter
	reconciler *workspace.Reconciler
	sweeper    *workspace.Sweeper
	people     []*inhabitant
	byName     map[string]*inhabitant
	lead       actor.Actor

	agenda   agenda
	late     []string // WorkSpaces whose news can wait for the full minute
	changes  time.Time
	sessions int
	refusals map[string]int
	instants int
	steps    map[string]int
	spent    map[string]time.Duration
	// lineByLine has the report print every account that is compared with Amazon's bill.
	lineByLine bool
}

// far is when what waits for Amazon is looked at without its having changed.
var far = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// newYear makes Forge and Amazon, and the people with what they will do.
func newYear(t testing.TB, n int, seed uint64, from time.Time, days int) *year {
	t.Helper()
	y := &year{
		from: from, to: from.AddDate(0, 0, days), clock: clock.At(from), byName: map[string]*inhabitant{}, refusals: map[string]int{},
		steps: map[string]int{}, spent: map[string]time.Duration{},
	}
	y.rig = newRig(t, 1, func(c *emulator.Config) {
		c.Now, c.Quota, c.HourRule, c.Maintenance, c.Hasty = y.clock.Now, 100_000, emulator.SessionCeil, true, true
	})
	y.people = populate(n, seed, y.from, y.to)
	y.prices()
	y.enrol()
	aws, err := desktop.LoadAWS(t.Context(), y.aws)
	if err != nil {
		t.Fatal(err)
	}
	y.forge.Fleet.Provider = desktop.New(desktop.Config{
		Endpoint: y.aws, Limiter: &desktop.Local{PerSecond: 1e6, Burst: 1e6}, Origin: rigOrigin, Logger: slog.New(slog.DiscardHandler), AWS: aws,
	})
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	y.meter = y.forge.Fleet.Meter
	y.reconciler = &workspace.Reconciler{Fleet: y.forge.Fleet, Log: y.forge.Log, Clock: y.clock.Now, Slog: log}
	y.sweeper = &workspace.Sweeper{Fleet: y.forge.Fleet, Log: y.forge.Log, Clock: y.clock.Now, Slog: log}
	y.watch = y.emu.Watch()
	for _, p := range y.people {
		for _, d := range p.plan {
			y.agenda = append(y.agenda, appointment{d.at, p, d})
		}
	}
	for month := clock.StartOfNextMonth(y.from); month.Before(y.to); month = clock.StartOfNextMonth(month) {
		y.agenda = append(y.agenda, appointment{at: month, deed: deed{do: "month"}})
	}
	heap.Init(&y.agenda)
	return y
}

// prices gives the bundles a price for the volumes of smaller ones too, which they keep when they are enlarged: Amazon's
// list has them, and the emulator's only the pairs that are sold. Forge takes the same fee for them.
func (y *year) prices() {
	var book struct {
		Prices []map[string]any `json:"prices"`
	}
	y.admin("GET", "/_emu/prices", nil, &book)
	for _, p := range book.Prices {
		sizes := map[string][][2]int{"PERFORMANCE": {{80, 50}, {175, 100}}, "POWER": {{80, 50}, {80, 100}}, "STANDARD": {{80, 100}, {175, 100}}}
		for _, size := range sizes[fmt.Sprint(p["compute_type"])] {
			if p["region"] != rigRegion {
				continue
			}
			more := map[string]any{}
			for k, v := range p {
				more[k] = v
			}
			more["root_gib"], more["user_gib"] = size[0], size[1]
			book.Prices = append(book.Prices, more)
		}
	}
	y.admin("PUT", "/_emu/prices", book, &book)
}

// enrol makes the people, their team and its lead, and their blueprint. There are no budgets: they are not what the year is
// about, and each takes its time with every hour that is charged.
func (y *year) enrol() {
	for _, sql := range []string{`DELETE FROM budget_entries`, `DELETE FROM budget_periods`, `DELETE FROM budget_requests`, `DELETE FROM budget_versions`, `DELETE FROM user_budgets`, `UPDATE organisation SET budget_default = 'allow'`} {
		if _, err := y.db.Exec(y.t.Context(), sql); err != nil {
			y.t.Fatal(err)
		}
	}
	ctx := actor.With(y.t.Context(), actor.Operator("year"))
	err := y.forge.Log.Change(ctx, audit.Intent{Action: "year.people", ResourceType: "user"}, func(tx *audit.Tx) error {
		if _, err := people.CreateTeam(ctx, tx, "year", "cc-3000"); err != nil {
			return err
		}
		b, err := blueprint.Create(ctx, tx, nil, "year", blueprint.About{Description: "what the year is made with"})
		if err != nil {
			return err
		}
		v, err := blueprint.AddVersion(ctx, tx, &b, blueprint.Definition{
			OperatingSystem: "WINDOWS", License: "INCLUDED", DefaultBundleType: "STANDARD", RunningMode: "AUTO_STOP", AutoStopTimeoutMinutes: 60,
			BundleTypes: []string{"STANDARD", "PERFORMANCE", "POWER"},
		}, blueprint.Source{})
		if err != nil {
			return err
		}
		if _, _, err := blueprint.Promote(ctx, tx, &b, v.Number, ""); err != nil {
			return err
		}
		as := func(u people.User) actor.Actor {
			return actor.Actor{Type: actor.TypeUser, User: u.ID, Name: u.UserName, Role: u.Role, Team: u.TeamID, Interface: "api"}
		}
		enter := func(name string, role actor.Role) (people.User, error) {
			return people.CreateUser(ctx, tx, people.NewUser{UserName: name, DisplayName: name, Email: name + "@example.com", Team: "year", Role: role})
		}
		lead, err := enter("lead-year", actor.TeamLead)
		if err != nil {
			return err
		}
		y.lead = as(lead)
		for _, p := range y.people {
			u, err := enter(p.name, actor.Engineer)
			if err != nil {
				return err
			}
			p.who, y.byName[p.name] = as(u), p
		}
		return nil
	})
	if err != nil {
		y.t.Fatal(err)
	}
	for _, p := range y.people {
		if p.autoStopFails {
			y.admin("POST", "/_emu/faults", map[string]any{"kind": "autostop_fails", "user": p.name}, nil)
		}
		if p.statusMissing {
			y.admin("POST", "/_emu/faults", map[string]any{"kind": "status_missing", "user": p.name, "count": -1}, nil)
		}
	}
}

// appointment is something that somebody will do.
type appointment struct {
	at   time.Time
	who  *inhabitant
	deed deed
}

type agenda []appointment

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a agenda) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)        { *a = append(*a, x.(appointment)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// due is when each kind of Forge's work has something to do next; far if never.
type due struct{ rows, rules, meters time.Time }

func (y *year) due(ctx context.Context) due {
	defer y.took("asking what is due", time.Now())
	var d due
	if err := y.forge.Pool.QueryRow(ctx, `
		SELECT coalesce((SELECT min(next_due_at) FROM workspaces), $1),
		       coalesce(least((SELECT min(rule_due_at) FROM workspaces), (SELECT min(stop_at) FROM budget_holds)), $1),
		       coalesce((SELECT min(due_at) FROM usage), $1)`, far).Scan(&d.rows, &d.rules, &d.meters); err != nil {
		y.t.Fatal(err)
	}
	return d
}

// fullMinute is the first full minute that is not before t.
func fullMinute(t time.Time) time.Time { return t.Add(time.Minute - 1).Truncate(time.Minute) }

func (y *year) took(what string, since time.Time) {
	y.steps[what]++
	y.spent[what] += time.Since(since)
}

// run lets the time pass.
func (y *year) run(ctx context.Context) {
	began, month := time.Now(), y.from.Month()
	d := y.due(ctx)
	for {
		next := y.to
		consider := func(at time.Time) {
			if !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		if len(y.agenda) > 0 {
			consider(y.agenda[0].at)
		}
		if len(y.late) > 0 {
			consider(fullMinute(y.clock.Now().Add(time.Nanosecond)))
		}
		consider(y.changes)
		consider(d.rows)
		consider(fullMinute(d.rules))
		consider(d.meters)
		// Amazon's instants have nanoseconds.
		if next = next.Add(time.Microsecond - 1).Truncate(time.Microsecond); next.After(y.clock.Now()) {
			y.clock.Set(next)
		}
		if next.Month() != month && next.Before(y.to) {
			month = next.Month()
			y.t.Logf("%s after %s: %d instants, %d sessions; %s", next.Format("2006-01-02"), time.Since(began).Round(time.Second), y.instants, y.sessions, y.profile())
		}
		y.instants++
		for len(y.agenda) > 0 && !y.agenda[0].at.After(next) {
			y.perform(ctx, heap.Pop(&y.agenda).(appointment))
		}
		d = y.settle(ctx)
		if y.t.Failed() || !next.Before(y.to) {
			return
		}
	}
}

func (y *year) profile() string {
	var parts []string
	for _, what := range []string{"asking what is due", "watching", "reconciling", "parking", "sweeping", "settling", "people"} {
		parts = append(parts, fmt.Sprintf("%s %d in %s", what, y.steps[what], y.spent[what].Round(time.Second)))
	}
	return strings.Join(parts, ", ")
}

// settle has Forge do everything that there is to do at the instant, and tells when there is more.
func (y *year) settle(ctx context.Context) due {
	now := y.clock.Now()
	for range 1000 {
		news := y.news(ctx, now)
		d := y.due(ctx)
		switch {
		case !d.rows.After(now):
			y.reconcile(ctx)
		case !fullMinute(d.rules).After(now):
			began := time.Now()
			if _, err := y.sweeper.Round(actor.With(ctx, actor.System("rules"))); err != nil {
				y.t.Fatal(err)
			}
			y.took("sweeping", began)
		case !d.meters.After(now):
			began := time.Now()
			y.change(ctx, actor.System("settle"), "cost.settle", func(tx *audit.Tx) error {
				_, err := y.meter.Settle(ctx, tx, 100)
				return err
			})
			y.took("settling", began)
		case !news:
			return d
		}
	}
	y.restless(ctx, now)
	return due{}
}

// restless fails with what Forge does again and again at one instant.
func (y *year) restless(ctx context.Context, now time.Time) {
	rows, err := y.forge.Pool.Query(ctx, `
		SELECT format('%s %s %s wants %s, asked %s, change %s, notices %s, due %s, rule due %s, lease %s observed %s', name, provider_id, state, desired, asked, change, notices, next_due_at, rule_due_at, lease_until, observed_state)
		FROM workspaces
		WHERE next_due_at <= $1 OR rule_due_at <= $1`, now)
	if err != nil {
		y.t.Fatal(err)
	}
	which, err := pgx.CollectRows(rows, pgx.RowTo[string])
	y.t.Fatalf("%s: Forge does not come to rest: %v %v", now, which, err)
}

// metered are the states in which Amazon charges for hours.
func metered(state string) bool {
	switch state {
	case "AVAILABLE", "IMPAIRED", "UNHEALTHY", "REBOOTING", "REBUILDING", "RESTORING", "MAINTENANCE", "ADMIN_MAINTENANCE":
		return true
	}
	return false
}

// news makes due in Forge what has changed at Amazon's.
func (y *year) news(ctx context.Context, now time.Time) bool {
	began := time.Now()
	changed, next := y.watch.Look()
	y.changes = next
	y.took("watching", began)
	var rouse []string
	for _, c := range changed {
		p := y.byName[c.User]
		p.provider = c.ID
		if p.statusStale && c.Before == "PENDING" && c.State == "AVAILABLE" {
			y.admin("POST", "/_emu/faults", map[string]any{"kind": "status_stale", "workspace": c.ID, "count": -1}, nil)
		}
		switch {
		case c.Resold || metered(c.Before) != metered(c.State):
			rouse = append(rouse, c.ID)
		case c.State != "STARTING":
			y.late = append(y.late, c.ID)
		}
	}
	if now.Equal(fullMinute(now)) {
		rouse, y.late = append(rouse, y.late...), nil
	}
	if len(rouse) == 0 {
		return false
	}
	tag, err := y.forge.Pool.Exec(ctx, `UPDATE workspaces SET next_due_at = $1 WHERE region = $3 AND provider_id = ANY($2) AND terminated_at IS NULL`, now, rouse, rigRegion)
	if err != nil {
		y.t.Fatal(err)
	}
	return tag.RowsAffected() > 0
}

// reconcile takes every row that is due a step further, and lets rest until Amazon has news what waits for nothing else.
func (y *year) reconcile(ctx context.Context) {
	began := time.Now()
	for {
		n, err := y.reconciler.Round(actor.With(ctx, actor.System("reconcile")))
		if err != nil {
			y.t.Fatal(err)
		}
		if n < workspace.BatchSize {
			break
		}
	}
	y.took("reconciling", began)
	defer y.took("parking", time.Now())
	if _, err := y.forge.Pool.Exec(ctx, `
		UPDATE workspaces
		SET next_due_at = $2
		WHERE next_due_at > $1 AND next_due_at < $2 AND provider_id IS NOT NULL AND asked = '' AND missed = 0 AND NOT replacing AND state <> 'IMPAIRED'`,
		y.clock.Now(), far); err != nil {
		y.t.Fatal(err)
	}
}

// change is one change by somebody; what is refused is counted and comes back.
func (y *year) change(ctx context.Context, who actor.Actor, action string, fn func(tx *audit.Tx) error) error {
	err := y.forge.Log.Change(actor.With(ctx, who), audit.Intent{Action: "year." + action, ResourceType: "workspace"}, fn)
	var refused *fault.Fault
	switch {
	case err == nil, errors.Is(err, audit.ErrNothing):
		return nil
	case errors.As(err, &refused) && (refused.Kind == fault.Conflict || refused.Kind == fault.OverBudget):
		y.refusals[action+" "+refused.Code]++
	default:
		y.t.Fatalf("%s %s: %v", y.clock.Now(), action, err)
	}
	return err
}

// perform does what somebody has planned.
func (y *year) perform(ctx context.Context, a appointment) {
	defer y.took("people", time.Now())
	p, d := a.who, a.deed
	fleet := y.forge.Fleet
	ask := func(who actor.Actor, do func(tx *audit.Tx) (*workspace.WorkSpace, error)) {
		if p.ws == "" {
			return
		}
		d.at = y.clock.Now()
		if err := y.change(ctx, who, d.do, func(tx *audit.Tx) error {
			_, err := do(tx)
			return err
		}); err == nil {
			p.asked = append(p.asked, d)
		}
	}
	update := func(who actor.Actor, patch workspace.Patch) {
		ask(who, func(tx *audit.Tx) (*workspace.WorkSpace, error) { return fleet.Update(ctx, tx, p.ws, patch, nil) })
	}
	switch d.do {
	case "act":
		d.act(ctx)
	case "month":
		if _, err := y.forge.Log.EnsurePartitions(ctx); err != nil {
			y.t.Fatal(err)
		}
		_ = y.change(ctx, actor.System("housekeeping"), "budget.roll_over", func(tx *audit.Tx) error {
			n, err := y.forge.Budgets.RollOver(ctx, tx)
			if err == nil && n == 0 {
				return audit.ErrNothing
			}
			return err
		})
	case "launch":
		_ = y.change(ctx, p.who, "launch", func(tx *audit.Tx) error {
			made, err := fleet.Request(ctx, tx, p.request)
			if err == nil {
				p.ws = made.WorkSpace.ID
			}
			return err
		})
	case "connect":
		y.connect(a)
	case "disconnect":
		if p.provider != "" {
			y.atAmazon(p.provider, "disconnect")
		}
	case "start":
		ask(p.who, func(tx *audit.Tx) (*workspace.WorkSpace, error) { return fleet.Start(ctx, tx, p.ws, nil) })
	case "stop":
		ask(p.who, func(tx *audit.Tx) (*workspace.WorkSpace, error) { return fleet.Stop(ctx, tx, p.ws, nil) })
	case "terminate":
		ask(p.who, func(tx *audit.Tx) (*workspace.WorkSpace, error) { return fleet.Terminate(ctx, tx, p.ws, nil) })
	case "extend":
		ask(p.who, func(tx *audit.Tx) (*workspace.WorkSpace, error) { return fleet.Extend(ctx, tx, p.ws, d.n, nil) })
	case "lifetime":
		update(y.lead, workspace.Patch{MaxLifetimeDays: &d.n})
	case "keep alive":
		update(p.who, workspace.Patch{KeepAlive: ptr(true)})
	case "mode":
		update(p.who, workspace.Patch{RunningMode: &d.to})
	case "bundle":
		update(p.who, workspace.Patch{BundleType: &d.to})
	default:
		y.t.Fatalf("nobody knows how to %s", d.do)
	}
}

// connect logs somebody in. What is on its way cannot be logged in to: their client tries again.
func (y *year) connect(a appointment) {
	if a.who.provider == "" {
		return
	}
	switch y.atAmazon(a.who.provider, "connect") {
	case http.StatusOK:
		y.sessions++
	case http.StatusConflict:
		if a.at = a.at.Add(2 * time.Minute); a.at.Before(a.deed.until) {
			heap.Push(&y.agenda, a)
		}
	case http.StatusNotFound: // it is gone
	default:
		y.t.Fatalf("%s cannot connect", a.who.name)
	}
}

// atAmazon has a user do something to a WorkSpace without Forge, and returns what HTTP status Amazon has for it.
func (y *year) atAmazon(provider, action string) int {
	w := httptest.NewRecorder()
	y.emu.ServeHTTP(w, httptest.NewRequestWithContext(y.t.Context(), http.MethodPost, "/_emu/workspaces/"+provider+"/"+action, http.NoBody))
	return w.Code
}

// ask reads something of the emulator's admin API.
func (y *year) ask(path string, into any) {
	w := httptest.NewRecorder()
	y.emu.ServeHTTP(w, httptest.NewRequestWithContext(y.t.Context(), http.MethodGet, path, http.NoBody))
	if err := json.NewDecoder(bytes.NewReader(w.Body.Bytes())).Decode(into); err != nil || w.Code != http.StatusOK {
		y.t.Fatalf("%s: %d %v", path, w.Code, err)
	}
}

// ids are the WorkSpaces by their id at Amazon.
func (y *year) ids() map[string]id.WorkSpace {
	all := map[string]id.WorkSpace{}
	for _, p := range y.people {
		if p.provider != "" {
			all[p.provider] = p.ws
		}
	}
	return all
}
