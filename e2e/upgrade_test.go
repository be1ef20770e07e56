package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/app"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/aws/emulator"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/blueprint/spec"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/workspace"
)

// What WorkSpaces are made from, and the bundle that the next version names: two of the emulated Amazon's own.
const (
	bundleBefore = "wsb-v26vg2847"
	bundleAfter  = "wsb-8k5xwlxqc"
)

// upgrading is a Forge whose background work is done when the test says so, on an Amazon that shares its clock, with WorkSpaces
// that are old enough to be migrated.
type upgrading struct {
	*life
	upgrader *workspace.Upgrader
	forge    *app.Forge
	people   []app.Credential
	ids      []string
	before   map[string]string // Amazon's ids at the beginning
}

func newUpgrading(t *testing.T, n int) *upgrading {
	t.Helper()
	virtual := clock.At(time.Now().Truncate(time.Hour))
	r := newRig(t, 1, func(c *emulator.Config) { c.Now, c.HourRule = virtual.Now, emulator.SessionCeil })
	r.clock = virtual.Now
	url, stop := r.serve(false)
	t.Cleanup(stop)
	cfg := r.server(rigConfig{DatabaseURL: r.pg.AppURL, AWS: r.aws, Speed: 1, Rate: 500})
	cfg.Clock = virtual.Now
	f, err := app.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	u := &upgrading{forge: f, before: map[string]string{}, life: &life{rig: r, t: t, clock: virtual, url: url, tokens: map[string]string{}}}
	u.reconciler = &workspace.Reconciler{Fleet: f.Fleet, Log: f.Log, Clock: virtual.Now, Slog: log}
	u.sweeper = &workspace.Sweeper{Fleet: f.Fleet, Log: f.Log, Clock: virtual.Now, Slog: log}
	u.upgrader = &workspace.Upgrader{Fleet: f.Fleet, Log: f.Log, Clock: virtual.Now, Slog: log}
	for _, p := range r.people {
		u.tokens[p.User] = p.Token
	}
	u.people = r.users("upg", n)
	for _, p := range u.people {
		u.tokens["owner"] = p.Token
		u.ids = append(u.ids, u.launch(map[string]any{"blueprint": "services", "bundle_type": "STANDARD"}).Id)
	}
	u.becomes("all run", 30*time.Second, func() bool { return u.count(`available_at IS NOT NULL`) == n })
	u.passes(13 * time.Hour)
	for _, id := range u.ids {
		u.ws = id
		u.before[id] = u.text(`SELECT provider_id FROM workspaces WHERE id = $1`, id)
	}
	return u
}

// passes lets time pass, with all that is due in it.
func (u *upgrading) passes(d time.Duration) {
	u.t.Helper()
	ctx := actor.With(u.t.Context(), actor.System("test"))
	for range 200 {
		n, err := u.upgrader.Round(ctx)
		if err != nil {
			u.t.Fatal(err)
		}
		if n == 0 {
			break
		}
	}
	u.pass(d)
}

func (u *upgrading) becomes(what string, step time.Duration, so func() bool) {
	u.t.Helper()
	for range 400 {
		if so() {
			return
		}
		u.passes(step)
	}
	u.t.Fatalf("not so: %s; %s", what, u.text(`SELECT string_agg(s, '; ') FROM (SELECT state || ' ' || error_code || ' ' || count(*) AS s FROM workspaces GROUP BY state, error_code) x`))
}

func (u *upgrading) count(where string, args ...any) (n int) {
	u.t.Helper()
	if err := u.db.QueryRow(u.t.Context(), `SELECT count(*) FROM workspaces WHERE `+where, args...).Scan(&n); err != nil {
		u.t.Fatal(err)
	}
	return n
}

func (u *upgrading) text(sql string, args ...any) (v string) {
	u.t.Helper()
	if err := u.db.QueryRow(u.t.Context(), sql, args...).Scan(&v); err != nil {
		u.t.Fatal(err)
	}
	return v
}

// version adds a version to the blueprint, which becomes the active one.
func (u *upgrading) version(change func(*blueprint.Definition)) {
	u.t.Helper()
	ctx := actor.With(u.t.Context(), actor.Operator("test"))
	err := u.forge.Log.Change(ctx, audit.Intent{Action: "blueprint.publish", ResourceType: "blueprint"}, func(tx *audit.Tx) error {
		b, err := blueprint.Change(ctx, tx, "backend/services")
		if err != nil {
			return err
		}
		v, err := blueprint.VersionOf(ctx, tx, b.ID, b.LatestVersion)
		if err != nil {
			return err
		}
		d := v.Definition
		change(&d)
		if v, err = blueprint.AddVersion(ctx, tx, &b, d, blueprint.Source{}); err != nil {
			return err
		}
		_, _, err = blueprint.Promote(ctx, tx, &b, v.Number, "")
		return err
	})
	if err != nil {
		u.t.Fatal(err)
	}
}

func named(d *blueprint.Definition) {
	d.Image = &spec.Image{Bundles: map[string]map[string]string{rigRegion: {"STANDARD": bundleAfter}}}
}

// call asks the API about upgrades.
func (u *upgrading) call(who, method, path string, body any, want int, code string) client.Upgrade {
	u.t.Helper()
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			u.t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(u.t.Context()), method, u.url+"/api/v1"+path, bytes.NewReader(raw))
	if err != nil {
		u.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+u.tokens[who])
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		u.t.Fatal(err)
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil {
		u.t.Fatal(err)
	}
	if resp.StatusCode != want || code != "" && !bytes.Contains(text.Bytes(), []byte(`"`+code+`"`)) {
		u.t.Fatalf("%s %s %s: %d %s, want %d %s", method, path, raw, resp.StatusCode, text.String(), want, code)
	}
	var v client.Upgrade
	if want < 300 {
		if err := json.Unmarshal(text.Bytes(), &v); err != nil {
			u.t.Fatal(err)
		}
	}
	return v
}

// summed sums up what there is of an upgrade.
func summed(v client.Upgrade) (sum client.UpgradeBatch) {
	for _, b := range v.Progress {
		sum.Waiting += b.Waiting
		sum.UnderWay += b.UnderWay
		sum.Done += b.Done
		sum.Failed += b.Failed
		sum.Skipped += b.Skipped
	}
	return sum
}

const upgradesOf = "/blueprints/backend%2Fservices/upgrades"

func TestAnUpgradeOfAHundredIsAbortedInTheMiddleAndResumed(t *testing.T) {
	const n = 100
	u := newUpgrading(t, n)
	u.version(named)
	ask := map[string]any{"canary_percent": 10, "batch_size": 25}
	u.call("lead-backend", "POST", upgradesOf, ask, 422, "CONFIRMATION_REQUIRED")
	ask["confirm"] = "services"
	u.call("lead-data", "POST", upgradesOf, ask, 404, "BLUEPRINT_NOT_FOUND")
	u.call("contractor", "POST", upgradesOf, ask, 403, "FORBIDDEN")
	if v := u.call("lead-backend", "POST", upgradesOf+"?dry_run=true", ask, 202, ""); summed(v).Waiting != n {
		t.Fatalf("a rehearsal: %+v", v)
	}
	// Answers are lost before and after Amazon has done what it was asked for.
	for _, kind := range []string{"drop_response_after_apply", "drop_before_apply"} {
		u.admin(http.MethodPost, "/_emu/faults", map[string]any{"kind": kind, "op": "MigrateWorkspace", "probability": 0.15, "count": -1}, &struct{}{})
	}
	begun := u.call("lead-backend", "POST", upgradesOf, ask, 202, "")
	path := "/upgrades/" + begun.Id
	u.call("lead-backend", "POST", upgradesOf, ask, 409, "UPGRADE_IN_PROGRESS")
	show := func() client.Upgrade {
		t.Helper()
		return u.call("lead-backend", "GET", path+"?limit=100", nil, 200, "")
	}

	// The canary goes first, and alone.
	u.becomes("the canary is over", time.Minute, func() bool {
		v := show()
		if later := summed(v); v.Progress[0].Done < 10 && later.Done+later.UnderWay != v.Progress[0].Done+v.Progress[0].UnderWay {
			t.Fatalf("others before the canary was over: %+v", v.Progress)
		}
		return v.Progress[0].Done == 10
	})
	u.becomes("half of them are under way", time.Minute, func() bool {
		sum := summed(show())
		if sum.UnderWay > 25 {
			t.Fatalf("%d at once", sum.UnderWay)
		}
		return sum.Done+sum.UnderWay >= n/2 && sum.UnderWay >= 10
	})

	at := summed(u.call("lead-backend", "POST", path+"/abort", nil, 200, ""))
	u.becomes("what was under way is over", time.Minute, func() bool { return summed(show()).UnderWay == 0 })
	u.passes(2 * time.Hour)
	v := show()
	if sum := summed(v); v.State != "ABORTED" || sum.Waiting != at.Waiting || sum.Done != n-at.Waiting || sum.Waiting == 0 {
		t.Fatalf("aborted with %+v: %+v %+v", at, v.State, sum)
	}
	if moved := u.count(`blueprint_version_id = (SELECT version_id FROM blueprint_upgrades WHERE id = $1)`, begun.Id); int64(moved) != n-at.Waiting {
		t.Fatalf("%d are upgraded, %d waited", moved, at.Waiting)
	}

	u.call("lead-backend", "POST", path+"/resume", map[string]any{}, 200, "")
	u.becomes("the upgrade is done", time.Minute, func() bool { return show().State == "DONE" })
	u.everyOneOnce(begun.Id)
}

// everyOneOnce looks whether each WorkSpace was upgraded once, at Amazon and in its history.
func (u *upgrading) everyOneOnce(upgrade string) {
	t := u.t
	t.Helper()
	v := u.call("lead-backend", "GET", "/upgrades/"+upgrade+"?limit=100", nil, 200, "")
	if sum := summed(v); int(sum.Done) != len(u.ids) || v.Items == nil || len(*v.Items) != len(u.ids) {
		t.Fatalf("done: %+v", sum)
	}
	live := map[string][]string{}
	for _, d := range u.desktops() {
		if d.State != "TERMINATED" && d.State != "TERMINATING" {
			live[d.User] = append(live[d.User], d.ID)
		}
	}
	for i, id := range u.ids {
		var w client.Workspace
		u.tokens["owner"], u.ws = u.people[i].Token, id
		w = u.show()
		has := live[u.people[i].User]
		if w.Blueprint != "backend/services@3" || len(has) != 1 || *w.ProviderId != has[0] || has[0] == u.before[id] {
			t.Fatalf("%s: %s, %v at Amazon, was %s", id, w.Blueprint, has, u.before[id])
		}
		// Amazon has made that of what there was, and nothing else of it.
		var past struct {
			Intervals []struct {
				MigratedTo string `json:"migrated_to"`
			} `json:"intervals"`
		}
		u.emu("GET", "/_emu/workspaces/"+u.before[id]+"/history", nil, &past)
		if n := len(past.Intervals); n == 0 || past.Intervals[n-1].MigratedTo != has[0] {
			t.Fatalf("%s: Amazon has made %+v of %s, and there is %s", id, past, u.before[id], has[0])
		}
		told := u.text(`
			SELECT coalesce(string_agg(kind || ' ' || actor_id || ' ' || reason || ' ' || (details ->> 'source_id' = $2)::text || ' ' || (details ->> 'target_id' = $3)::text || ' ' ||
			       (details ->> 'upgrade' = $4)::text || ' ' || (details ->> 'from_version' <> details ->> 'to_version')::text, E'\n' ORDER BY version), '')
			FROM workspace_events
			WHERE workspace_id = $1 AND kind IN ('migration_begun', 'migrated', 'migration_failed')`, id, u.before[id], has[0], upgrade)
		want := "migration_begun system:test upgrade true true true true\nmigrated system:test upgrade true true true true"
		if told != want {
			t.Fatalf("%s: its history says\n%s", id, told)
		}
		u.happened("migrate:" + u.text(`SELECT to_state FROM workspace_events WHERE workspace_id = $1 AND kind = 'migrate'`, id) + ":upgrade")
	}
	if n := u.text(`SELECT count(DISTINCT resource_id)::text || ' ' || count(*)::text FROM audit_logs WHERE action_type = 'workspace.migrated'`); n != fmt.Sprintf("%d %d", len(u.ids), len(u.ids)) {
		t.Errorf("the audit log has %s", n)
	}
}

func TestUpgradesOfSettingsAndThoseThatGoWrong(t *testing.T) {
	const n = 12
	u := newUpgrading(t, n)
	run := func(ask map[string]any) string {
		t.Helper()
		return u.call("lead-backend", "POST", upgradesOf, ask, 202, "").Id
	}
	show := func(id string) client.Upgrade {
		t.Helper()
		return u.call("lead-backend", "GET", "/upgrades/"+id+"?limit=100", nil, 200, "")
	}
	ends := func(id, state string) client.Upgrade {
		t.Helper()
		u.becomes("it is "+state, time.Minute, func() bool { return string(show(id).State) == state })
		return show(id)
	}

	// Settings change where they are, without a confirmation. What an owner has chosen stays.
	u.tokens["owner"], u.ws = u.people[0].Token, u.ids[0]
	u.patch(map[string]any{"auto_stop_timeout_minutes": 240})
	u.version(func(d *blueprint.Definition) {
		d.AutoStopTimeoutMinutes, d.MaxLifetimeDays, d.Tags = 120, 90, map[string]string{"standard": "2026"}
	})
	ends(run(map[string]any{}), "DONE")
	u.passes(10 * time.Minute)
	if same := u.count(`max_lifetime_days = 90 AND tags ->> 'standard' = '2026' AND auto_stop_timeout_minutes = CASE WHEN id = $1 THEN 240 ELSE 120 END`, u.ids[0]); same != n {
		t.Fatalf("%d of %d have the settings", same, n)
	}
	for i, id := range u.ids {
		u.tokens["owner"], u.ws = u.people[i].Token, id
		if w := u.show(); *w.ProviderId != u.before[id] || u.amazons()["auto_stop_minutes"] != float64(*w.AutoStopTimeoutMinutes) { // not money: minutes
			t.Fatalf("%s: %v, was %s", id, u.amazons(), u.before[id])
		}
		u.happened("upgrade:" + string(u.show().State) + ":upgrade")
	}

	// A migration of the canary comes to nothing, and nobody says so: the upgrade is paused, and taken up again.
	u.version(named)
	u.admin(http.MethodPost, "/_emu/faults", map[string]any{"kind": "migrate_silent_fail", "op": "MigrateWorkspace", "count": 1}, &struct{}{})
	id := run(map[string]any{"confirm": "services", "batch_size": 25})
	v := ends(id, "PAUSED")
	if v.Progress[0].Failed != 1 || v.Progress[0].Done+v.Progress[0].UnderWay != 1 || v.Progress[1].Waiting != n-2 || v.Reason == nil {
		t.Fatalf("paused: %+v", v)
	}
	for _, i := range *v.Items {
		if i.State == "FAILED" {
			u.ws = i.WorkspaceId
		}
	}
	if got := u.text(`SELECT kind || ' ' || (details ->> 'code') || ' ' || (details ->> 'source_id') FROM workspace_events WHERE workspace_id = $1 AND kind = 'migration_failed'`, u.ws); got != "migration_failed MIGRATION_FAILED "+u.before[u.ws] {
		t.Fatalf("its history says %s", got)
	}
	u.call("lead-backend", "POST", "/upgrades/"+id+"/resume", map[string]any{"retry": true}, 200, "")
	if sum := summed(ends(id, "DONE")); sum.Done != n {
		t.Fatalf("done: %+v", sum)
	}
	for i, ws := range u.ids {
		u.tokens["owner"], u.ws = u.people[i].Token, ws
		if got := u.amazons()["bundle_id"]; got != bundleAfter {
			t.Fatalf("%s is of %v", ws, got)
		}
	}

	// Whom the budgets have no room for is left as they are, and the upgrade says why; so is what is too young.
	u.version(func(d *blueprint.Definition) {
		d.Image, d.BundleTypes, d.DefaultBundleType = nil, []string{"POWERPRO"}, "POWERPRO" // of Amazon's own image again
	})
	ask := map[string]any{"confirm": "services", "batch_size": 25}
	for _, i := range *ends(run(ask), "DONE").Items {
		if i.State != "SKIPPED" || *i.Code != "CHANGE_TOO_SOON" {
			t.Fatalf("too young: %+v", i)
		}
	}
	u.passes(13 * time.Hour)
	u.noRoom(u.people[3].User)
	for _, i := range *ends(run(ask), "DONE").Items {
		want, code := client.UpgradeItemState("DONE"), ""
		if i.WorkspaceId == u.ids[3] {
			want, code = "SKIPPED", "BUDGET_EXCEEDED"
		}
		if i.State != want || code != "" && *i.Code != code {
			t.Fatalf("%+v %s, want %s %s", i, u.text(`SELECT string_agg(code || message, E'\n') FROM blueprint_upgrade_items WHERE workspace_id = $1`, i.WorkspaceId), want, code)
		}
	}
	if left := u.count(`bundle_type = 'STANDARD'`); left != 1 {
		t.Fatalf("%d are STANDARD", left)
	}
}

// noRoom leaves a user's budget what is committed of it, and ten cents.
func (u *upgrading) noRoom(user string) {
	u.t.Helper()
	ctx := actor.With(u.t.Context(), actor.Operator("test"))
	err := u.forge.Log.Change(ctx, audit.Intent{Action: "budget.set", ResourceType: "budget"}, func(tx *audit.Tx) error {
		who, err := people.FindUser(ctx, tx, user)
		if err != nil {
			return err
		}
		var committed int64
		if err := tx.QueryRow(ctx, `
			SELECT p.settled_micros + p.held_micros
			FROM budget_periods p JOIN user_budgets b ON b.id = p.budget_id
			WHERE b.scope = 'USER' AND b.scope_id = $1
			ORDER BY p.period_start DESC
			LIMIT 1`, who.ID).Scan(&committed); err != nil {
			return err
		}
		_, err = u.forge.Budgets.Set(ctx, tx, budget.Setting{Scope: budget.User, ScopeID: string(who.ID), Amount: money.USD(committed) + money.Dollar/10})
		return err
	})
	if err != nil {
		u.t.Fatal(err)
	}
}
