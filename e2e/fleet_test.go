package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint"
)

// fleet makes live WorkSpaces of the blueprint's versions 1 and 2 by turns, each with a person of its own and some hours of use:
// every fifth has another size than the default, every seventh an owner whose budget is used up.
func (r *rig) fleet(ref string, n int) {
	r.t.Helper()
	if _, err := r.db.Exec(r.t.Context(), `
		WITH made AS (
			INSERT INTO users (id, user_name, display_name, email, team_id, role, version, created_at, updated_at)
			SELECT 'usr_fleet' || lpad(i::text, 6, '0'), 'fleet' || lpad(i::text, 6, '0'), 'f', 'fleet' || i || '@example.com', t.id, 'engineer', 1, now(), now()
			FROM generate_series(1, $2) i, teams t WHERE t.name = 'backend'
			RETURNING id, team_id, user_name, right(id, 6)::int AS i),
		spaces AS (
			INSERT INTO workspaces (id, name, user_id, team_id, cost_centre, blueprint_version_id, service_type, bundle_type,
				operating_system, license, running_mode, region, directory_id, directory_user, auto_stop_timeout_minutes, max_lifetime_days, tags,
				desired, state, state_reason, version, created_at, updated_at)
			SELECT 'ws_fleet' || lpad(i::text, 6, '0'), 'fleet', m.id, m.team_id, 'cc', v.id, 'WORKSPACES_PERSONAL', CASE WHEN i % 5 = 0 THEN 'PERFORMANCE' ELSE 'STANDARD' END,
				'WINDOWS', 'INCLUDED', 'AUTO_STOP', $3, $4, m.user_name, 60, NULL, '{}', 'STOPPED', 'STOPPED', 'seeded', 1, now(), now()
			FROM made m JOIN blueprints b ON b.name = $1 JOIN blueprint_versions v ON v.blueprint_id = b.id AND v.number = 1 + m.i % 2
			RETURNING id, user_id, team_id, right(id, 6)::int AS i),
		budgets AS (
			INSERT INTO user_budgets (id, scope, scope_id, period, amount_micros, valid_from, warning_percents, enforcement, created_at, updated_at, version)
			SELECT 'bdg_' || i, 'USER', user_id, 'MONTHLY', CASE WHEN i % 7 = 0 THEN 0 ELSE 1000000000 END, date_trunc('month', now(), 'UTC'), '{80}', 'block', now(), now(), 1
			FROM spaces),
		whose AS (
			INSERT INTO cost_attributions (digest, workspace_id, user_id, team_id, cost_centre, blueprint_id, blueprint_version_id, bundle_type, region, tags)
			SELECT sha256(convert_to(id, 'UTF8')), id, user_id, team_id, 'cc', 'bp_x', 'bpv_x', 'STANDARD', $3, '{}' FROM spaces
			RETURNING id, workspace_id)
		INSERT INTO usage (id, workspace_id, kind, opened_at, closed_at, price_id, rate_micros, hour_rule, user_id, team_id, cost_centre, settled_until, attribution_id)
		SELECT 'use_fleet' || i || '_' || day, s.id, 'running', now() - day * interval '1 day' - interval '5 hours', now() - day * interval '1 day',
			(SELECT id FROM prices WHERE item = 'auto_stop_hour' AND compute_type = 'STANDARD' ORDER BY id LIMIT 1), 300000, 'session_ceil', s.user_id, s.team_id, 'cc', now() - day * interval '1 day', w.id
		FROM spaces s JOIN whose w ON w.workspace_id = s.id, generate_series(1, 4) day`, ref[strings.Index(ref, "/")+1:], n, rigRegion, rigDirectory); err != nil {
		r.t.Fatal(err)
	}
	for _, sql := range []string{
		`UPDATE user_budgets SET amount_micros = 1e15 WHERE scope IN ('TEAM', 'ORGANISATION')`,
		`UPDATE budget_periods SET limit_micros = 1e15 WHERE budget_id IN (SELECT id FROM user_budgets WHERE scope IN ('TEAM', 'ORGANISATION'))`,
		`ANALYZE`,
	} {
		if _, err := r.db.Exec(r.t.Context(), sql); err != nil {
			r.t.Fatal(err)
		}
	}
}

// push brings a blueprint to a definition.
func (r *rig) push(ref, text string, promote bool) {
	r.t.Helper()
	ctx := actor.With(r.t.Context(), actor.Operator("rig"))
	if err := r.forge.Log.Change(ctx, audit.Intent{Action: "rig.push", ResourceType: "blueprint"}, func(tx *audit.Tx) error {
		_, err := blueprint.Push{Files: []blueprint.File{{Path: ref, Text: text}}, Promote: promote}.Apply(ctx, tx)
		return err
	}); err != nil {
		r.t.Fatal(err)
	}
}

// Before a promotion the plan tells who is on which version, what an upgrade would mean, cost and not be able to.
func TestAFleetPlan(t *testing.T) {
	const ref, n = "backend/fleet", 10_000
	r := newRig(t, 600)
	lead := ""
	for _, p := range r.everybody() {
		if p.role == actor.TeamLead && p.team == "backend" {
			lead = p.token
		}
	}
	r.push(ref, blueprintFile(ref, "one"), true)
	r.push(ref, blueprintFile(ref, "two"), true)
	// The third offers PERFORMANCE only, with an image, and lets nobody idle for less than two hours.
	third := strings.NewReplacer("[STANDARD, PERFORMANCE]", "[PERFORMANCE]", "default_bundle_type: STANDARD", "default_bundle_type: PERFORMANCE", "minutes: 60", "minutes: 120").Replace(blueprintFile(ref, "three")) +
		"  image: {bundles: {" + rigRegion + ": {PERFORMANCE: wsb-0a1b2c3d4}}}\n"
	r.push(ref, third, false)
	r.fleet(ref, n)
	api, stop := r.serve(false)
	defer stop()
	begun := time.Now()
	got := send(t, api, http.MethodGet, "/blueprints/backend%2Ffleet/plan?version=3", lead, "")
	took := time.Since(begun)
	var p client.FleetPlan
	if err := json.Unmarshal([]byte(got.body), &p); err != nil || got.status != http.StatusOK {
		t.Fatal(got.status, got.body, err)
	}
	t.Logf("a plan for %d WorkSpaces took %v", n, took.Round(time.Millisecond))
	if p.Workspaces != n || p.Users != n || p.Version != 3 {
		t.Errorf("%d WorkSpaces of %d people, version %d", p.Workspaces, p.Users, p.Version)
	}
	if len(p.Versions) != 2 || p.Versions[0].Workspaces != n/2 || p.Versions[1].Workspaces != n/2 {
		t.Errorf("versions: %+v", p.Versions)
	}
	// Of ten thousand, every fifth has PERFORMANCE already; of the others, every seventh has no money for more. Following costs
	// those with PERFORMANCE one more idle hour held, which every seventh of them has no money for either.
	bigger, same := 0, 0
	for i := 1; i <= n; i++ {
		switch {
		case i%7 == 0:
		case i%5 == 0:
			same++
		default:
			bigger++
		}
	}
	count := map[string]int64{}
	for _, c := range p.Changes {
		count[string(c.What)+": "+c.Reason] = c.Workspaces
	}
	want := map[string]int64{
		"migrate: auto_stop_timeout_minutes, image":              int64(same),
		"migrate: auto_stop_timeout_minutes, bundle_type, image": int64(bigger),
		"refused: the user budget has no room for it":            int64(n - same - bigger),
	}
	for what, number := range want {
		if count[what] != number {
			t.Errorf("%s: %d, want %d; all: %v", what, count[what], number, count)
		}
	}
	if p.RefusedCount != want["refused: the user budget has no room for it"] || len(p.Refused) != 100 || p.Refused[0].Code != "BUDGET_EXCEEDED" {
		t.Errorf("%d refused, %d shown: %+v", p.RefusedCount, len(p.Refused), p.Refused[:min(1, len(p.Refused))])
	}
	// 20 hours in 28 days are 21.428571 in 30. STANDARD: 9.75 + 0.30 an hour; PERFORMANCE: 13.00 + 0.47.
	for _, c := range p.Changes {
		if c.Reason != "auto_stop_timeout_minutes, bundle_type, image" {
			continue
		}
		before, after := "16.178571", "23.071429"
		if per(t, c.EstimatedMonthlyBefore, c.Workspaces) != before || per(t, c.EstimatedMonthlyAfter, c.Workspaces) != after {
			t.Errorf("one costs %s, and then %s; want %s and %s", per(t, c.EstimatedMonthlyBefore, c.Workspaces), per(t, c.EstimatedMonthlyAfter, c.Workspaces), before, after)
		}
	}
	if again := send(t, api, http.MethodGet, "/blueprints/backend%2Ffleet/plan?version=3", lead, ""); again.body != got.body {
		t.Error("the plan is another one when asked for again: it has changed something")
	}
}

// per is what of a sum is one's.
func per(t *testing.T, m client.Money, n int64) string {
	t.Helper()
	return amount(t, m).Share(1, n).String()
}
