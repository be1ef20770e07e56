package workspace_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
	"github.com/robco-forge/forge/internal/price"
	"github.com/robco-forge/forge/internal/workspace"
)

var monday = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// bookOf is a book of STANDARD's prices; items without one are left out.
func bookOf(prices map[price.Item]money.USD) *price.Book {
	var lines []price.Price
	for item, amount := range prices {
		s := pgtest.Spec(price.AutoStop)
		lines = append(lines, price.Price{Key: price.Key{Region: s.Region, ComputeType: s.ComputeType, OperatingSystem: s.OperatingSystem, License: s.License, Item: item}, Amount: amount})
	}
	return price.NewBook(1, "test", price.SessionCeil, time.Time{}, lines)
}

// ranFor writes down that a WorkSpace ran, from so long ago for so long.
func ranFor(t *testing.T, db *pgtest.DB, o *pgtest.Org, ws id.WorkSpace, ago, hours time.Duration) {
	t.Helper()
	db.Exec(t, `
		WITH whose AS (
			INSERT INTO cost_attributions (digest, workspace_id, user_id, team_id, cost_centre, blueprint_id, blueprint_version_id, bundle_type, region, tags)
			SELECT sha256(convert_to($1, 'UTF8')), id, user_id, team_id, cost_centre, 'bp_x', 'bpv_x', 'STANDARD', region, '{}' FROM workspaces WHERE id = $2
			RETURNING *)
		INSERT INTO usage (id, workspace_id, kind, opened_at, closed_at, price_id, rate_micros, hour_rule, user_id, team_id, cost_centre, settled_until, attribution_id)
		SELECT $1, workspace_id, 'running', $3, $4, (SELECT min(id) FROM prices WHERE book_id = $5), 300000, 'session_ceil', user_id, team_id, cost_centre, $4, id
		FROM whose`, id.New[id.Usage](), ws, monday.Add(-ago), monday.Add(-ago+hours), o.Book)
}

func usdText(u *money.USD) string {
	if u == nil {
		return "none"
	}
	return u.String()
}

func TestWhoseMonthlyCostMovesWithAPriceBook(t *testing.T) {
	const hour, day = time.Hour, 24 * time.Hour
	db := pgtest.New(t)
	o := db.Seed(t, monday, "allow", price.SessionCeil)
	// Ten hours and a half of it within the last 28 days: 0.30 x 10.5 = 3.15 on 9.75, and then 0.40 x 10.5 = 4.20 on 10.
	busy := db.WorkSpace(t, o, o.Users[0][actor.Engineer], "", price.AutoStop, monday)
	ranFor(t, db, o, busy, 3*day, 10*hour)
	ranFor(t, db, o, busy, 28*day+hour/2, hour)
	idle := db.WorkSpace(t, o, o.Users[0][actor.TeamLead], "", price.AutoStop, monday)
	always := db.WorkSpace(t, o, o.Users[1][actor.Engineer], "", price.AlwaysOn, monday)
	gone := db.WorkSpace(t, o, o.Users[1][actor.TeamLead], "", price.AutoStop, monday)
	db.Exec(t, `UPDATE workspaces SET state = 'TERMINATED', terminated_at = $2 WHERE id = $1`, gone, monday)
	is := map[price.Item]money.USD{price.AlwaysOnMonth: 35_000_000, price.AutoStopMonth: 9_750_000, price.AutoStopHour: 300_000}

	for name, c := range map[string]struct {
		before, after         *price.Book
		lost, gained, unknown int
		sumBefore, sumAfter   money.USD
		teams                 int
		busy, idle, always    string // before and after; empty if it does not move
		refused               bool
	}{
		"AUTO_STOP is dearer": {
			before: bookOf(is), after: bookOf(map[price.Item]money.USD{price.AlwaysOnMonth: 35_000_000, price.AutoStopMonth: 10_000_000, price.AutoStopHour: 400_000}),
			sumBefore: 57_650_000, sumAfter: 59_200_000, teams: 1, busy: "12.900000 14.200000", idle: "9.750000 10.000000",
		},
		"the hour is dearer": {
			before: bookOf(is), after: bookOf(map[price.Item]money.USD{price.AlwaysOnMonth: 35_000_000, price.AutoStopMonth: 9_750_000, price.AutoStopHour: 400_000}),
			sumBefore: 57_650_000, sumAfter: 58_700_000, teams: 1, busy: "12.900000 13.950000",
		},
		"nothing": {before: bookOf(is), after: bookOf(is), sumBefore: 57_650_000, sumAfter: 57_650_000},
		"ALWAYS_ON is gone": {
			before: bookOf(is), after: bookOf(map[price.Item]money.USD{price.AutoStopMonth: 9_750_000, price.AutoStopHour: 300_000}),
			lost: 1, sumBefore: 22_650_000, sumAfter: 22_650_000, teams: 1, always: "35.000000 none", refused: true,
		},
		"it was gone": {
			before: bookOf(map[price.Item]money.USD{price.AutoStopMonth: 9_750_000, price.AutoStopHour: 300_000}), after: bookOf(is),
			gained: 1, sumBefore: 22_650_000, sumAfter: 22_650_000, teams: 1, always: "none 35.000000",
		},
		"the first book": {after: bookOf(map[price.Item]money.USD{price.AlwaysOnMonth: 35_000_000}), gained: 1, unknown: 2, teams: 1, always: "none 35.000000"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := workspace.Reprice(t.Context(), db.Pool, c.before, c.after, monday)
			if err != nil {
				t.Fatal(err)
			}
			if m.WorkSpaces != 3 || m.Lost != c.lost || m.Gained != c.gained || m.Unknown != c.unknown || m.Before != c.sumBefore || m.After != c.sumAfter || len(m.Teams) != c.teams || m.Truncated {
				t.Errorf("got %+v", m)
			}
			got := map[id.WorkSpace]string{}
			for _, w := range m.Moves {
				got[w.WorkspaceID] = usdText(w.Before) + " " + usdText(w.After)
			}
			for ws, want := range map[id.WorkSpace]string{busy: c.busy, idle: c.idle, always: c.always} {
				if got[ws] != want {
					t.Errorf("%s moves %q, want %q", ws, got[ws], want)
				}
			}
			err = m.Refuse()
			if c.refused != errors.Is(err, workspace.ErrPriceLost) || !c.refused && err != nil {
				t.Errorf("refused: %v", err)
			}
			if c.refused && fmt.Sprint(fault.From(err).Details["workspaces"]) != "["+string(always)+"]" {
				t.Errorf("it names %v", fault.From(err).Details)
			}
		})
	}
}

// A team's row adds up what it has, and only the largest moves are named.
func TestManyMovesAreCountedAndTheLargestNamed(t *testing.T) {
	db := pgtest.New(t)
	o := db.Seed(t, monday, "allow", price.SessionCeil)
	const n = 2300 // more than two pages, and than what is kept before it is cut
	db.WorkSpace(t, o, o.Users[0][actor.Engineer], "", price.AlwaysOn, monday)
	db.Exec(t, `
		INSERT INTO workspaces (id, name, user_id, team_id, cost_centre, blueprint_version_id, service_type, bundle_type, operating_system, license, running_mode,
			region, directory_id, directory_user, tags, desired, state, state_reason, version, created_at, updated_at)
		SELECT id || '-' || n, 'n' || n, user_id, team_id, cost_centre, blueprint_version_id, service_type, bundle_type, operating_system, license, running_mode,
			region, directory_id || '-' || n, directory_user, tags, desired, state, state_reason, version, created_at, updated_at
		FROM workspaces, generate_series(2, $1) n`, n)
	m, err := workspace.Reprice(t.Context(), db.Pool,
		bookOf(map[price.Item]money.USD{price.AlwaysOnMonth: 35_000_000}), bookOf(map[price.Item]money.USD{price.AlwaysOnMonth: 36_000_000}), monday)
	if err != nil {
		t.Fatal(err)
	}
	if m.WorkSpaces != n || !m.Truncated || len(m.Moves) != 200 || len(m.Teams) != 1 || m.Teams[0].WorkSpaces != n || m.Teams[0].After-m.Teams[0].Before != n*money.Dollar || m.After-m.Before != n*money.Dollar {
		t.Errorf("%d WorkSpaces, %d named, teams %+v", m.WorkSpaces, len(m.Moves), m.Teams)
	}
}
