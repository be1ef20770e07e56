package audit_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
	"github.com/robco-forge/forge/internal/price"
)

// The program forgets to record, and the database does not let it.
func TestTheDatabaseRefusesAChangeWithoutAnEntry(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	db := pgtest.New(t)
	org := db.Seed(t, now, "allow", price.SessionCeil)
	r := room{DB: db, log: db.Log(t, clock.At(now).Now)}
	ws := r.WorkSpace(t, org, org.Users[0][actor.Engineer], "", price.AutoStop, now)
	r.Exec(t, `INSERT INTO tokens (id, user_id, name, hash, created_at, expires_at) VALUES ('tok_x', $1, 'x', sha256('x'), now(), now())`, org.Users[0][actor.Engineer])
	r.Exec(t, `INSERT INTO user_budgets (id, scope, scope_id, amount_micros, period, valid_from, warning_percents, enforcement, created_at, updated_at) VALUES ('bud_x', 'ORGANISATION', 'x', 1, 'MONTHLY', now(), '{80}', 'warn', now(), now())`)
	ctx := actor.With(t.Context(), someone)
	entry := audit.Event{Action: "test.change", ResourceType: "test", ResourceID: "x"}

	for name, c := range map[string]struct {
		sql  string
		free bool // it needs no entry
	}{
		"teams":                {sql: `UPDATE teams SET version = version + 1`},
		"users":                {sql: `UPDATE users SET version = version + 1`},
		"projects":             {sql: `UPDATE projects SET version = version + 1`},
		"blueprints":           {sql: `UPDATE blueprints SET description = 'x'`},
		"blueprint_versions":   {sql: `INSERT INTO blueprint_versions (id, blueprint_id, number, definition, digest, created_by, created_at) SELECT 'bpv_x', id, 99, 'x', encode(sha256('x'), 'hex'), 'x', now() FROM blueprints LIMIT 1`},
		"blueprint_statuses":   {sql: `INSERT INTO blueprint_statuses (version_id, ordinal, status, set_by, set_at) SELECT version_id, 3, 'archived', 'x', now() FROM blueprint_statuses LIMIT 1`},
		"blueprint_promotions": {sql: `INSERT INTO blueprint_promotions (blueprint_id, ordinal, number, kind, set_by, set_at) SELECT blueprint_id, 99, number, 'promote', 'x', now() FROM blueprint_versions LIMIT 1`},
		"cost_months":          {sql: `INSERT INTO cost_months (month, closed_at, closed_by, records, last_record, total_micros, content_hash) VALUES ('2026-01-01Z', now(), 'x', 0, '', 0, sha256('x'))`},
		"price_books":          {sql: `INSERT INTO price_books (source, hour_rule, effective_from, imported_at) VALUES ('x', 'second', now(), now())`},
		"user_budgets":         {sql: `UPDATE user_budgets SET version = version + 1`},
		"budget_requests":      {sql: `INSERT INTO budget_requests (id, budget_id, asked_by, asked_micros, reason, created_at) SELECT 'brq_x', b.id, u.id, 1, 'x', now() FROM user_budgets b, users u LIMIT 1`},
		"budget_templates":     {sql: `INSERT INTO budget_templates (id, amount_micros, period, warning_percents, enforcement, created_at, updated_at) VALUES ('btp_x', 1, 'MONTHLY', '{80}', 'warn', now(), now())`},
		"policy_pauses":        {sql: `INSERT INTO policy_pauses (target, reason, paused_by, paused_at) VALUES ('idle', 'x', 'x', now()) ON CONFLICT (target) DO UPDATE SET reason = 'y'`},
		"tokens":               {sql: `UPDATE tokens SET revoked_at = now()`},
		"tokens, used":         {sql: `UPDATE tokens SET last_used_at = now()`, free: true},
		"workspaces":           {sql: `UPDATE workspaces SET version = version + 1 WHERE id = '` + string(ws) + `'`},
		"workspaces, claimed":  {sql: `UPDATE workspaces SET updated_at = now() WHERE id = '` + string(ws) + `'`, free: true},
	} {
		t.Run(name, func(t *testing.T) {
			attempt := func(also func(tx pgx.Tx) error) (rows int64, err error) {
				err = pgx.BeginFunc(ctx, r.Pool, func(tx pgx.Tx) error {
					tag, err := tx.Exec(ctx, c.sql)
					if err != nil {
						t.Fatal(err)
					}
					rows = tag.RowsAffected()
					return also(tx)
				})
				return rows, err
			}
			forgot, err := attempt(func(pgx.Tx) error { return nil })
			var pg *pgconn.PgError
			if refused := errors.As(err, &pg) && pg.Code == "23000"; refused == c.free || forgot == 0 {
				t.Errorf("%d rows, error %v", forgot, err)
			}
			if c.free {
				return
			}
			if _, err := attempt(func(tx pgx.Tx) error {
				sub, err := tx.Begin(ctx)
				if err != nil {
					return err
				}
				return errors.Join(r.log.WriteIn(ctx, sub, entry), sub.Rollback(ctx))
			}); !errors.As(err, &pg) {
				t.Errorf("the entry was taken back, and the change was not: %v", err)
			}
			// The mark of one transaction is nothing to the next one of the same connection.
			if _, err := attempt(func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, `SELECT set_config('forge.recorded', '1', false)`)
				return err
			}); !errors.As(err, &pg) {
				t.Errorf("an old mark: %v", err)
			}
			if _, err := attempt(func(tx pgx.Tx) error { return r.log.WriteIn(ctx, tx, entry) }); err != nil {
				t.Errorf("with an entry: %v", err)
			}
		})
	}
	if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM pg_trigger WHERE tgfoid = 'refuse_unrecorded'::regproc`); n != 16 {
		t.Errorf("%d triggers are there, and 16 are tested here", n)
	}
}
