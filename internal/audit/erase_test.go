package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

var admin = actor.Actor{Type: actor.TypeUser, User: "usr_admin", Name: "root", Email: "root@example.com", Role: actor.Admin, Interface: "cli", SourceIP: "192.0.2.1", UserAgent: "forge/1.0"}

var eraseIntent = audit.Intent{Action: audit.EraseAction, ResourceType: "person", ResourceID: "usr_someone"}

func (r *room) erase(t *testing.T, log *audit.Log, reason string) (e audit.Erased, err error) {
	t.Helper()
	err = log.Change(actor.With(t.Context(), admin), eraseIntent, func(tx *audit.Tx) error {
		e, err = log.EraseSubject(t.Context(), tx, "usr_someone", reason, "Sam One")
		return err
	})
	return e, err
}

// clear counts the entries that show where somebody came from.
func (r *room) clear(t *testing.T, user string) int {
	t.Helper()
	return pgtest.Value[int](t, r.DB, `SELECT count(*) FROM audit_logs WHERE user_id = $1 AND (source_ip IS NOT NULL OR user_agent IS NOT NULL)`, user)
}

func TestErasingAPersonKeepsEveryProof(t *testing.T) {
	r := setUp(t)
	s := &scene{room: r}
	seq := r.sequencer(t, "s")
	ctx := actor.With(t.Context(), someone)
	for range 300 {
		if err := r.log.Note(ctx, audit.Event{Action: "audit.read", ResourceType: "audit"}); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, r, seq, 300)
	entry := pgtest.Value[uuid.UUID](t, r.DB, `SELECT ids[8] FROM audit_bundles WHERE n = 0`)
	before, err := audit.Proof(t.Context(), r.Pool, audit.ProofRequest{Entry: entry, At: noon, Size: 300, Leaf: true})
	if err != nil {
		t.Fatal(err)
	}
	e, err := r.erase(t, r.log, "GDPR art. 17, request 4711")
	if err != nil || e.Entries != 300 || e.Through != 1 {
		t.Fatal(e, err)
	}
	if n := r.clear(t, "usr_someone"); n != 0 {
		t.Errorf("%d entries show where the person came from", n)
	}
	if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM audit_subject_keys WHERE subject_id = 'usr_someone' AND wrapped_key = '' AND erased_at IS NOT NULL`); n != 1 {
		t.Errorf("%d keys are without bytes", n)
	}
	after, err := audit.Proof(t.Context(), r.Pool, audit.ProofRequest{Entry: entry, At: noon, Size: 300, Leaf: true})
	if err != nil || after != before {
		t.Errorf("the proof is another, or %v", err)
	}
	settle(t, r, seq, 301)
	if rep := s.prove(t); !rep.OK() {
		t.Error(rep.Text())
	}

	found, err := audit.Search(t.Context(), r.Pool, audit.Filter{UserID: "usr_someone", Limit: 10})
	if err != nil || len(found) != 10 || !found[0].Erased {
		t.Errorf("a search does not say that it was erased: %v", err)
	}
	var csv bytes.Buffer
	if err := audit.Export(t.Context(), r.Pool, audit.Filter{UserID: "usr_someone"}, audit.CSV, &csv, func(int64) error { return nil }); err != nil || !strings.Contains(csv.String(), ",erased,erased,") {
		t.Errorf("an export does not say so: %v", err)
	}
	found, err = audit.Search(t.Context(), r.Pool, audit.Filter{ActionType: audit.EraseAction, Limit: 10})
	if err != nil || len(found) != 1 || found[0].Details["entries"] != int64(300) || found[0].Details["reason"] != "GDPR art. 17, request 4711" || found[0].Erased {
		t.Errorf("recorded is %v, %v", found, err)
	}

	// Twice is once; and what comes later is known, under a new key.
	if _, err := r.erase(t, r.log, "again"); !errors.Is(err, audit.ErrNothingKnown) {
		t.Errorf("erased again: %v", err)
	}
	if err := r.log.Note(ctx, audit.Event{Action: "audit.read", ResourceType: "audit"}); err != nil {
		t.Fatal(err)
	}
	if n := r.clear(t, "usr_someone"); n != 1 {
		t.Errorf("%d entries show where the person came from, not the one that came later", n)
	}
	if _, err := r.log.EraseLate(t.Context()); err != nil || r.clear(t, "usr_someone") != 1 {
		t.Errorf("what came later was taken, or %v", err)
	}
	settle(t, r, seq, 303) // and the refusal
	if rep := s.prove(t); !rep.OK() {
		t.Error(rep.Text())
	}
}

func TestTheReasonOfAnErasureDoesNotNameThePerson(t *testing.T) {
	r := setUp(t)
	if err := r.log.Note(actor.With(t.Context(), someone), audit.Event{Action: "audit.read", ResourceType: "audit"}); err != nil {
		t.Fatal(err)
	}
	for _, reason := range []string{"sam one asked", "someone@example.com asked", "request of USR_SOMEONE"} {
		if _, err := r.erase(t, r.log, reason); !errors.Is(err, audit.ErrEraseReason) {
			t.Errorf("%q: %v", reason, err)
		}
	}
	if r.clear(t, "usr_someone") == 0 {
		t.Error("a refused erasure took something")
	}
}

// Other processes remember the key, and transactions are under way: what they write in clear is taken afterwards, and nothing
// of it can be opened.
func TestWhatIsWrittenWhileAPersonIsErasedIsErasedToo(t *testing.T) {
	r := setUp(t)
	s := &scene{room: r}
	other := r.DB.Log(t, clock.At(noon).Now) // another process, with its own memory of keys
	ctx := actor.With(t.Context(), someone)
	write := func(log *audit.Log) {
		if err := log.Note(ctx, audit.Event{Action: "audit.read", ResourceType: "audit"}); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}
	write(r.log)
	write(other)
	var wg sync.WaitGroup
	begun := make(chan struct{}, 8)
	stop := make(chan struct{})
	for i := range 8 {
		log := []*audit.Log{r.log, other}[i%2]
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				write(log)
				if n == 3 {
					begun <- struct{}{}
				}
			}
		})
	}
	for range 8 {
		<-begun
	}
	e, err := r.erase(t, r.log, "request 1")
	if err != nil {
		t.Fatal(err)
	}
	close(stop)
	wg.Wait()
	write(other) // which remembers the key still
	late := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM audit_personal_data WHERE subject_id = 'usr_someone' AND key_generation = 1`) - int(e.Entries)
	if late < 1 {
		t.Fatal("nothing came late")
	}
	if _, err := r.log.EraseLate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM audit_logs a JOIN audit_personal_data d ON d.entry_id = a.id WHERE d.key_generation = 1 AND d.subject_id = 'usr_someone' AND (a.source_ip IS NOT NULL OR a.user_agent IS NOT NULL)`); n != 0 {
		t.Errorf("%d entries show where the person came from", n)
	}
	s.sequence(t)
	if rep := s.prove(t); !rep.OK() {
		t.Error(rep.Text())
	}
}

func TestTheDatabaseRefusesAnErasureWithoutAnEntry(t *testing.T) {
	r := setUp(t)
	if err := r.log.Note(actor.With(t.Context(), someone), audit.Event{Action: "audit.read", ResourceType: "audit"}); err != nil {
		t.Fatal(err)
	}
	_, err := r.Pool.Exec(t.Context(), `SELECT audit_erase_subject('usr_someone', now())`)
	if err == nil || !strings.Contains(err.Error(), "without an entry") {
		t.Errorf("erased with %v", err)
	}
	if _, err := r.Pool.Exec(t.Context(), `SELECT audit_erase_clear('usr_someone')`); err != nil || r.clear(t, "usr_someone") == 0 {
		t.Errorf("what nobody erased was taken, or %v", err)
	}
}

func TestTamperingWithErasuresIsFound(t *testing.T) { //nolint:tparallel // the cases are parallel, on copies of one database
	r := setUp(t)
	for range 20 {
		if err := r.log.Note(actor.With(t.Context(), someone), audit.Event{Action: "audit.read", ResourceType: "audit"}); err != nil {
			t.Fatal(err)
		}
	}
	r.note(t, 1)
	if _, err := r.erase(t, r.log, "request 1"); err != nil {
		t.Fatal(err)
	}
	if err := r.log.Heartbeat(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	seq := r.sequencer(t, "base")
	settle(t, r, seq, 23)
	seq.Close(context.Background())
	r.Super(t, fewerMonths)
	base := func(t *testing.T) *scene {
		t.Helper()
		db := r.Copy(t)
		db.Super(t, `UPDATE audit_tree SET cluster = (SELECT system_identifier FROM pg_control_system()) || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())`)
		return &scene{room: &room{db, db.Log(t, clock.At(noon).Now)}}
	}
	hidden := func(sql string) func(*testing.T, *scene) { // without the triggers
		return super(`SET session_replication_role = replica`, sql)
	}
	for _, c := range []struct {
		name   string
		check  verify.Check
		damage func(t *testing.T, s *scene)
	}{
		{"T0 an erasure as it should be", "", func(*testing.T, *scene) {}},
		{"T34 a person is erased without a record", verify.Erasures, hidden(`UPDATE audit_subject_keys SET wrapped_key = '', erased_at = now() WHERE subject_id <> 'usr_someone'`)},
		{"T34 an address is taken without an erasure", verify.Content, hidden(`UPDATE audit_logs SET source_ip = NULL WHERE user_id <> 'usr_someone' AND source_ip IS NOT NULL`)},
		{"T34 sealed data of an erased person is removed", verify.Erasures, hidden(`DELETE FROM audit_personal_data WHERE subject_id = 'usr_someone'`)},
		{"T34 a later key goes under the record of an earlier", verify.Erasures, func(t *testing.T, s *scene) {
			if err := s.log.Note(actor.With(t.Context(), someone), audit.Event{Action: "audit.read", ResourceType: "audit"}); err != nil {
				t.Fatal(err)
			}
			s.sequence(t)
			s.Super(t, `SET session_replication_role = replica`, `UPDATE audit_subject_keys SET wrapped_key = '', erased_at = now() WHERE generation = 2`,
				`UPDATE audit_logs SET source_ip = NULL, user_agent = NULL WHERE user_id = 'usr_someone'`)
		}},
		{"T36 an erasure of nobody", verify.Erasures, func(t *testing.T, s *scene) {
			if err := s.log.Note(actor.With(t.Context(), actor.System("x")), audit.Event{Action: audit.EraseAction, ResourceType: "person", ResourceID: "usr_nobody", Details: map[string]any{"entries": 3, "through": 1}}); err != nil {
				t.Fatal(err)
			}
			s.sequence(t)
		}},
		{"T36 an erasure that kept the key", verify.Erasures, func(t *testing.T, s *scene) {
			s.Super(t, `SET session_replication_role = replica`, fmt.Sprintf(`UPDATE audit_subject_keys SET wrapped_key = '\x%x' WHERE subject_id = 'usr_someone'`, bytes.Repeat([]byte{1}, 60)))
		}},
		{"an address stands there an hour after its person was erased", verify.Erasures, func(t *testing.T, s *scene) {
			s.Super(t, `UPDATE audit_logs SET source_ip = '192.0.2.7' WHERE `+at(3))
			s.log = s.DB.Log(t, clock.At(noon.Add(2*time.Hour)).Now)
		}},
		{"T19 the function that erases is another", verify.Schema, super(
			`CREATE OR REPLACE FUNCTION audit_erase_clear(subject text) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'UPDATE audit_logs SET leaf = ''x''; SELECT 1::bigint'`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := base(t)
			c.damage(t, s)
			rep := s.prove(t)
			if c.check == "" {
				if !rep.OK() {
					t.Fatal(rep.Text())
				}
				return
			}
			if f := rep.Failed(); len(f) != 1 || f[0] != c.check {
				t.Fatalf("want %s, found by %v:\n%s", c.check, f, rep.Text())
			}
			if rep = s.prove(t, c.check); !rep.OK() {
				t.Errorf("without %s:\n%s", c.check, rep.Text())
			}
		})
	}
}
