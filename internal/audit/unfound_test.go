package audit_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

// What docs/audit.md says that no check finds is not found, and what it says of it is. Whoever makes one of these found has
// to change the document.
func TestWhatCannotBeFoundIsAsTheDocumentSays(t *testing.T) { //nolint:tparallel // the cases are parallel, on copies of one database
	base := tamperBase(t)
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, s *scene)
		note   string // of the report; empty for none but that nothing is pinned
	}{
		{"T6 all that a server wrote is removed before it comes into the tree, its heartbeat too", beforeSequencing(super(`DELETE FROM audit_logs WHERE NOT ` + inTree)), ""},
		{"T6 a server ends without a heartbeat, and what it wrote last is removed", func(t *testing.T, s *scene) {
			s.note(t, 2)
			s.sequence(t)
			s.note(t, 1)
			s.Super(t, `DELETE FROM audit_logs WHERE NOT `+inTree)
			later := s.DB.Log(t, clock.At(noon.Add(20*time.Minute)).Now)
			if err := later.Note(actor.With(t.Context(), someone), audit.Event{Action: "audit.read", ResourceType: "audit"}); err != nil {
				t.Fatal(err)
			}
			if err := later.Heartbeat(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			s.log = later
			s.sequence(t)
		}, "1 server processes ended without a last heartbeat"},
		{"entries are made up with the writers' key", func(t *testing.T, s *scene) {
			log, err := audit.NewLog(audit.Config{Pool: s.Pool, Clock: clock.At(noon).Now, Origin: pgtest.Origin, Writer: "forger", Keys: s.Keys, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			victim := actor.Actor{Type: actor.TypeUser, User: "usr_victim", Name: "victim", Interface: "api"}
			if err := log.Note(actor.With(t.Context(), victim), audit.Event{Action: "budget.set", ResourceType: "budget", ResourceID: "b"}); err != nil {
				t.Fatal(err)
			}
			if err := log.Heartbeat(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			s.sequence(t)
		}, ""},
		{"T22 and T23 an older log takes the place of the log, and nothing is pinned", func(t *testing.T, s *scene) { t.Helper(); shrinkTo(t, s, 300) }, ""},
		{"T48 the application says that a change was recorded", func(t *testing.T, s *scene) {
			err := s.log.Change(actor.With(t.Context(), someone), intent, func(tx *audit.Tx) error {
				tx.Record(audit.Event{Action: intent.Action, ResourceType: intent.ResourceType, ResourceID: intent.ResourceID})
				return addTeam(t.Context(), tx, "x")
			})
			if err != nil {
				t.Fatal(err)
			}
			s.sequence(t)
			err = pgx.BeginFunc(t.Context(), s.Pool, func(tx pgx.Tx) error {
				if _, err := tx.Exec(context.WithoutCancel(t.Context()), `SELECT set_config('forge.recorded', pg_current_xact_id()::text, true)`); err != nil {
					return err
				}
				_, err := tx.Exec(context.WithoutCancel(t.Context()), `UPDATE teams SET cost_centre = 'another'`)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"T48 the owner changes something", func(t *testing.T, s *scene) {
			s.Exec(t, `INSERT INTO teams (id, name, cost_centre, created_at, updated_at) VALUES ('team_owners', 'x', 'cc', now(), now())`)
		}, ""},
		{"T19 rights are given, and taken back", super(`GRANT UPDATE ON audit_logs TO forge_template_app`, `REVOKE UPDATE ON audit_logs FROM forge_template_app`), ""},
		{"T28 a clock is fifty minutes behind", func(t *testing.T, s *scene) { t.Helper(); s.writeAt(t, noon.Add(-50*time.Minute)) }, "1 server processes ended without"},
		{"T23 the log ends a month ago, and no age was asked for", func(t *testing.T, s *scene) {
			s.log = s.DB.Log(t, clock.At(noon.AddDate(0, 1, 0)).Now)
		}, "later entries are hidden"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := base(t)
			c.damage(t, s)
			r := s.prove(t)
			if !r.OK() {
				t.Fatalf("it is found, and docs/audit.md says that it is not:\n%s", r.Text())
			}
			if notes := strings.Join(r.Notes, "\n"); !strings.Contains(notes, "No checkpoint that was kept elsewhere") || !strings.Contains(notes, c.note) || c.note == "" && len(r.Notes) != 1 {
				t.Errorf("the notes are:\n%s", notes)
			}
		})
	}
}
