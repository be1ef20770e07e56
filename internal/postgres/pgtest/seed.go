package pgtest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/price"
)

// Region is where every seeded WorkSpace is.
const Region = "us-east-1"

// Org is a small organisation: two teams with a user of each role, a project each, a public blueprint, and the shipped
// price book, in force for a year.
type Org struct {
	Teams    [2]id.Team
	Users    [2]map[actor.Role]id.User
	Projects [2]id.Project
	Book     int64
	// Blueprint is the public one, Version its only version.
	Blueprint id.Blueprint
	Version   id.BlueprintVersion
	// CostCentres are the teams'.
	CostCentres [2]string
}

// Actor is the user of that role in the team, signed in.
func (o *Org) Actor(team int, role actor.Role) actor.Actor {
	return actor.Actor{
		Type: actor.TypeUser, User: o.Users[team][role], Name: userName(team, role), Email: userName(team, role) + "@example.com",
		Role: role, Team: o.Teams[team], Interface: "api",
	}
}

var teamNames = [2]string{"backend", "data"}

func userName(team int, role actor.Role) string { return teamNames[team] + "-" + string(role) }

// Seed writes an Org as of now, unrecorded: straight into the tables. budgetDefault is 'allow' or 'deny'; rule is what
// an hour is.
func (db *DB) Seed(t testing.TB, now time.Time, budgetDefault string, rule price.HourRule) *Org {
	t.Helper()
	check := db.Keys.Check()
	db.Exec(t, `INSERT INTO organisation (audit_origin, audit_keys_check, budget_default, created_at) VALUES ($1, $2, $3, $4)`,
		Origin, check, budgetDefault, now)
	o := &Org{Book: db.Book(t, now.AddDate(-1, 0, 0), rule)}
	for i, name := range teamNames {
		o.Teams[i], o.Projects[i], o.CostCentres[i] = id.New[id.Team](), id.New[id.Project](), fmt.Sprintf("cc-%d000", i+1)
		db.Exec(t, `INSERT INTO teams (id, name, cost_centre, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)`,
			o.Teams[i], name, o.CostCentres[i], now)
		db.Exec(t, `INSERT INTO projects (id, name, team_id, cost_centre, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)`,
			o.Projects[i], name+"-project", o.Teams[i], o.CostCentres[i]+"-project", now)
		o.Users[i] = map[actor.Role]id.User{}
		for _, role := range actor.Roles() {
			o.Users[i][role] = db.User(t, userName(i, role), o.Teams[i], role, now)
		}
	}
	definition := `{"operating_system":"WINDOWS","license":"INCLUDED","bundle_types":["STANDARD"],"default_bundle_type":"STANDARD","running_mode":"ALWAYS_ON"}`
	digest := sha256.Sum256([]byte(definition))
	o.Blueprint, o.Version = id.New[id.Blueprint](), id.New[id.BlueprintVersion]()
	db.Exec(t, `INSERT INTO blueprints (id, name, active_version, created_by, created_at, updated_at) VALUES ($1, 'seeded', 1, 'seed', $2, $2)`, o.Blueprint, now)
	db.Exec(t, `INSERT INTO blueprint_versions (id, blueprint_id, number, definition, digest, created_by, created_at) VALUES ($1, $2, 1, $3, $4, 'seed', $5)`,
		o.Version, o.Blueprint, definition, hex.EncodeToString(digest[:]), now)
	db.Exec(t, `INSERT INTO blueprint_statuses (version_id, ordinal, status, set_by, set_at) VALUES ($1, 0, 'draft', 'seed', $2), ($1, 1, 'published', 'seed', $2)`, o.Version, now)
	db.Exec(t, `INSERT INTO blueprint_promotions (blueprint_id, ordinal, number, kind, set_by, set_at) VALUES ($1, 1, 1, 'promote', 'seed', $2)`, o.Blueprint, now)
	return o
}

// User adds a user; a contractor's access ends a year from now.
func (db *DB) User(t testing.TB, name string, team id.Team, role actor.Role, now time.Time) id.User {
	t.Helper()
	u := id.New[id.User]()
	var end *time.Time
	if role == actor.Contractor {
		e := now.AddDate(1, 0, 0)
		end = &e
	}
	db.Exec(t, `
		INSERT INTO users (id, user_name, display_name, email, team_id, role, credential_expires_at, created_at, updated_at)
		VALUES ($1, $2, $2, $2 || '@example.com', $3, $4, $5, $6, $6)`, u, name, team, role, end, now)
	return u
}

// Book adds the shipped prices as a book in force from the instant on.
func (db *DB) Book(t testing.TB, from time.Time, rule price.HourRule) int64 {
	t.Helper()
	lines, err := price.Default()
	must(t, err)
	book := Value[int64](t, db, `
		INSERT INTO price_books (source, hour_rule, effective_from, imported_at)
		VALUES ('pgtest', $1, $2, $2)
		RETURNING id`, rule, from)
	_, err = db.Owner.CopyFrom(t.Context(), pgx.Identifier{"prices"},
		[]string{"book_id", "region", "compute_type", "operating_system", "license", "item", "unit", "amount_micros", "sku"},
		pgx.CopyFromSlice(len(lines), func(i int) ([]any, error) {
			p := lines[i]
			return []any{book, p.Key.Region, p.Key.ComputeType, p.Key.OperatingSystem, p.Key.License, string(p.Key.Item), p.Unit, int64(p.Amount), p.SKU}, nil
		}))
	must(t, err)
	return book
}

// Spec is the seeded kind of WorkSpace in the running mode.
func Spec(mode string) price.Spec {
	s := price.Spec{Region: Region, ComputeType: "STANDARD", OperatingSystem: "WINDOWS", License: "INCLUDED", RunningMode: mode}
	if mode == price.AutoStop {
		s.AutoStopMinutes = 60
	}
	return s
}

// WorkSpace adds the row of a running WorkSpace of the user, in a directory of its own; project may be empty.
func (db *DB) WorkSpace(t testing.TB, o *Org, user id.User, project id.Project, mode string, now time.Time) id.WorkSpace {
	t.Helper()
	ws, spec := id.New[id.WorkSpace](), Spec(mode)
	db.Exec(t, `
		INSERT INTO workspaces (id, name, user_id, team_id, project_id, cost_centre, blueprint_version_id, service_type, bundle_type,
			operating_system, license, running_mode, region, directory_id, directory_user, auto_stop_timeout_minutes, tags,
			desired, state, state_reason, version, created_at, updated_at)
		SELECT $1, $1, u.id, u.team_id, nullif($3, ''), t.cost_centre, $4, 'WORKSPACES_PERSONAL', $5, $6, $7, $8, $9, 'd-' || $1, u.user_name,
			nullif($10::integer, 0), '{}', 'AVAILABLE', 'AVAILABLE', 'seeded', 1, $11, $11
		FROM users u JOIN teams t ON t.id = u.team_id
		WHERE u.id = $2`,
		ws, user, project, o.Version, spec.ComputeType, spec.OperatingSystem, spec.License, mode, spec.Region, spec.AutoStopMinutes, now)
	return ws
}
