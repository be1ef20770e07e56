package audit_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

var errFull = fault.New(fault.OverBudget, "TEST_FULL", "there is no room")

var noon = time.Date(2026, 11, 15, 12, 0, 0, 123_456_000, time.UTC)

var someone = actor.Actor{
	Type: actor.TypeUser, User: "usr_someone", Name: "someone", Email: "someone@example.com", Role: actor.Engineer, Team: "team_one",
	Interface: "cli", RequestID: "req-1", SourceIP: "192.0.2.7", UserAgent: "forge/1.0",
}

type room struct {
	*pgtest.DB
	log *audit.Log
}

func setUp(t *testing.T) *room {
	t.Helper()
	db := pgtest.New(t)
	return &room{db, db.Log(t, clock.At(noon).Now)}
}

var intent = audit.Intent{Action: "team.create", ResourceType: "team", ResourceID: "team_x"}

// addTeam is a change that can be seen.
func addTeam(ctx context.Context, tx *audit.Tx, name string) error {
	_, err := tx.Exec(ctx, `INSERT INTO teams (id, name, cost_centre, created_at, updated_at) VALUES ($1, $2, 'cc', $3, $3)`, id.New[id.Team](), name, tx.Now)
	return err
}

type row struct {
	Timestamp    time.Time
	ID           uuid.UUID
	UserID       string
	ActorType    string
	ActionType   string
	ResourceType string
	ResourceID   string
	Result       string
	Code         string
	Interface    string
	RequestID    string
	SourceIP     *string
	UserAgent    *string
	Leaf         []byte
	Mac          []byte
}

func (r *room) rows(t *testing.T) []row {
	t.Helper()
	rows, err := postgres.Many[row](t.Context(), r.Owner, `
		SELECT timestamp, id, user_id, actor_type, action_type, resource_type, resource_id, result, code, interface, request_id,
		       host(source_ip) AS source_ip, user_agent, leaf, mac
		FROM audit_logs
		ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// check compares a row with the evidence in it, and returns that.
func (r *room) check(t *testing.T, x row) leaf.Entry {
	t.Helper()
	e, err := leaf.Decode(x.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{x.ID.String(), x.Timestamp.UTC().String(), x.UserID, x.ActorType, x.ActionType, x.ResourceType, x.ResourceID, x.Result, x.Code, x.Interface, x.RequestID}
	want := []string{e.ID, e.Time.UTC().String(), e.Actor.ID, e.Actor.Type, e.Action, e.Resource.Type, e.Resource.ID, string(e.Result), e.Code, e.Interface, e.RequestID}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the columns are not the leaf's:\n%s", diff)
	}
	if e.Log != pgtest.Origin {
		t.Errorf("the leaf is of the log %q", e.Log)
	}
	if !leaf.VerifyMAC(leaf.WriterKey(r.Keys.Writer[:], e.Writer.ID, e.Writer.Boot), x.Leaf, x.Mac) {
		t.Error("the MAC is not the writer's")
	}
	return e
}

func (r *room) teams(t *testing.T) int {
	t.Helper()
	return pgtest.Value[int](t, r.DB, `SELECT count(*) FROM teams`)
}

func TestAChangeCommitsWithOneLeafPerEvent(t *testing.T) {
	r := setUp(t)
	ctx := actor.With(t.Context(), someone)
	called := 0
	err := r.log.Change(ctx, intent, func(tx *audit.Tx) error {
		tx.Record(audit.Event{Action: "team.create", ResourceType: "team", ResourceID: "team_a", Details: map[string]any{"name": "a", "n": 7}})
		tx.Record(audit.Event{Action: "budget.set", ResourceType: "budget", ResourceID: "bud_a"})
		tx.AfterCommit(func() {
			called++
			if r.teams(t) != 1 {
				t.Error("called before the change was durable")
			}
		})
		if !tx.Now.Equal(noon) || tx.Actor != someone {
			t.Errorf("the change is by %+v at %s", tx.Actor, tx.Now)
		}
		return addTeam(ctx, tx, "a")
	})
	if err != nil {
		t.Fatal(err)
	}
	rows := r.rows(t)
	if len(rows) != 2 || r.teams(t) != 1 || called != 1 {
		t.Fatalf("%d entries, %d teams, %d calls", len(rows), r.teams(t), called)
	}
	first, second := r.check(t, rows[0]), r.check(t, rows[1])
	if first.Action != "team.create" || second.Action != "budget.set" || first.Result != leaf.Success || second.Writer.Seq != first.Writer.Seq+1 {
		t.Errorf("the entries are %+v and %+v", first, second)
	}
	if diff := cmp.Diff(map[string]any{"name": "a", "n": int64(7)}, first.Details); diff != "" {
		t.Error(diff)
	}
	if first.Actor != (leaf.Actor{Type: "user", ID: "usr_someone", Role: "engineer"}) {
		t.Errorf("the actor is %+v", first.Actor)
	}
	for _, secret := range []string{someone.Email, someone.SourceIP, someone.UserAgent} {
		if strings.Contains(string(rows[0].Leaf), secret) {
			t.Errorf("the leaf holds the personal %q", secret)
		}
	}
	if leaf.VerifyMAC(leaf.WriterKey(r.Keys.Writer[:], "test", "another boot"), rows[0].Leaf, rows[0].Mac) {
		t.Error("another boot's key verifies")
	}
	forged := slices.Clone(rows[0].Leaf)
	forged[20] ^= 1
	if leaf.VerifyMAC(leaf.WriterKey(r.Keys.Writer[:], first.Writer.ID, first.Writer.Boot), forged, rows[0].Mac) {
		t.Error("a changed leaf verifies")
	}
}

func TestARefusalIsRecordedAndNothingElse(t *testing.T) {
	r := setUp(t)
	ctx := actor.With(t.Context(), someone)
	err := r.log.Change(ctx, intent, func(tx *audit.Tx) error {
		tx.Record(audit.Event{Action: "team.create", ResourceType: "team", ResourceID: "team_a"})
		tx.AfterCommit(func() { t.Error("called after a refusal") })
		if err := addTeam(ctx, tx, "a"); err != nil {
			return err
		}
		return errFull.Detail("missing", "12.50").Detail("share", 0.5).Detail("list", []map[string]any{{"n": 3}})
	})
	if !errors.Is(err, errFull) {
		t.Fatal(err)
	}
	rows := r.rows(t)
	if len(rows) != 1 || r.teams(t) != 0 {
		t.Fatalf("%d entries, %d teams", len(rows), r.teams(t))
	}
	e := r.check(t, rows[0])
	if e.Result != leaf.Refused || e.Code != "TEST_FULL" || e.Action != intent.Action || e.Resource.ID != intent.ResourceID {
		t.Errorf("the refusal is %+v", e)
	}
	want := map[string]any{"missing": "12.50", "share": "0.5", "list": []any{map[string]any{"n": int64(3)}}}
	if diff := cmp.Diff(want, e.Details); diff != "" {
		t.Error(diff)
	}
}

func TestAFailureLeavesOnlyItsRecord(t *testing.T) {
	r := setUp(t)
	ctx := actor.With(t.Context(), someone)
	broken := errors.New("broken")
	if err := r.log.Change(ctx, intent, func(tx *audit.Tx) error {
		tx.Record(audit.Event{Action: "team.create", ResourceType: "team"})
		return errors.Join(addTeam(ctx, tx, "a"), broken)
	}); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	// A change that records nothing is a mistake of the program's.
	if err := r.log.Change(ctx, intent, func(tx *audit.Tx) error { return addTeam(ctx, tx, "b") }); err == nil {
		t.Error("a change that recorded nothing was committed")
	}
	rows := r.rows(t)
	if len(rows) != 2 || r.teams(t) != 0 {
		t.Fatalf("%d entries, %d teams", len(rows), r.teams(t))
	}
	for _, x := range rows {
		if e := r.check(t, x); e.Result != leaf.Failed || len(e.Details) != 0 {
			t.Errorf("the failure is %+v", e)
		}
	}
	// One that finds nothing to do leaves nothing at all.
	err := r.log.Change(ctx, intent, func(tx *audit.Tx) error {
		if err := addTeam(ctx, tx, "c"); err != nil {
			return err
		}
		return audit.ErrNothing
	})
	if !errors.Is(err, audit.ErrNothing) || len(r.rows(t)) != 2 || r.teams(t) != 0 {
		t.Errorf("nothing to do: %v, %d entries", err, len(r.rows(t)))
	}
	// So does a rehearsal.
	if err := r.log.Rehearse(ctx, func(tx *audit.Tx) error { return addTeam(ctx, tx, "d") }); err != nil || len(r.rows(t)) != 2 || r.teams(t) != 0 {
		t.Errorf("the rehearsal: %v", err)
	}
}

// The record of a refusal does not depend on the patience of the one who was refused.
func TestARefusalIsRecordedThoughTheRequestIsCancelled(t *testing.T) {
	r := setUp(t)
	ctx, cancel := context.WithCancel(actor.With(t.Context(), someone))
	err := r.log.Change(ctx, intent, func(*audit.Tx) error { cancel(); return errFull })
	if !errors.Is(err, errFull) || len(r.rows(t)) != 1 {
		t.Errorf("%v, %d entries", err, len(r.rows(t)))
	}
}

func TestHostileTextDoesNotStopAnAction(t *testing.T) {
	for name, text := range map[string]string{
		"NUL": "a\x00b", "invalid UTF-8": "a\xff\xfe\xc3", "a surrogate": "\xed\xa0\x80", "1 MiB": strings.Repeat("é", 1<<19), "control": "\x01\x1b[31m\r\n\u202e", "empty": "",
		"a formula": "=cmd|'/C calc'!A0", "a fullwidth one": "＝1+1",
	} {
		t.Run(name, func(t *testing.T) {
			r := setUp(t)
			who := someone
			who.UserAgent, who.RequestID, who.SourceIP, who.Email = text, text, text, text
			ctx := actor.With(t.Context(), who)
			err := r.log.Change(ctx, intent, func(tx *audit.Tx) error {
				tx.Record(audit.Event{Action: "team.create", ResourceType: "team", ResourceID: text, Details: map[string]any{"text": text, "k" + text: 1}})
				return addTeam(ctx, tx, "a")
			})
			if err != nil {
				t.Fatal(err)
			}
			refused := r.log.NoteRefusal(ctx, audit.Intent{Action: "team.create", ResourceType: "team", ResourceID: text}, errFull.Detail("text", text))
			if !errors.Is(refused, errFull) {
				t.Fatal(refused)
			}
			if err := r.log.Note(ctx, audit.Event{Action: "audit.read", ResourceType: "audit", ResourceID: text}); err != nil {
				t.Fatal(err)
			}
			for _, x := range r.rows(t) {
				if _, err := leaf.Decode(x.Leaf); err != nil {
					t.Error(err)
				}
			}
			if found, err := audit.Search(t.Context(), r.Pool, audit.Filter{Limit: 10}); err != nil || len(found) != 3 {
				t.Errorf("found %d, %v", len(found), err)
			}
			r.opened(t)
			if err := r.log.Heartbeat(ctx, true); err != nil {
				t.Fatal(err)
			}
			settle(t, r, r.sequencer(t, "s"), 4)
			if rep := (&scene{room: r}).prove(t); !rep.OK() || len(rep.Failed()) > 0 {
				t.Error(rep.Text())
			}
		})
	}
}

// A strange byte in what is written to a table is a refusal, not a failure.
func TestTextThatNoColumnTakesIsRefused(t *testing.T) {
	r := setUp(t)
	ctx := actor.With(t.Context(), someone)
	err := r.log.Change(ctx, intent, func(tx *audit.Tx) error {
		tx.Record(audit.Event{Action: "team.create", ResourceType: "team"})
		_, err := tx.Exec(ctx, `INSERT INTO teams (id, name, cost_centre, created_at, updated_at) VALUES ('t', 't', $1, $2, $2)`, "a\x00b", tx.Now)
		return err
	})
	if !errors.Is(err, postgres.ErrText) {
		t.Fatal(err)
	}
	if rows := r.rows(t); len(rows) != 1 || rows[0].Code != postgres.ErrText.Code {
		t.Errorf("%+v", rows)
	}
}

func unseal(t *testing.T, key, sealed, bound []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], bound)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// opened opens every sealed row and compares it with the commitments of its leaf. It returns the openings of the first.
func (r *room) opened(t *testing.T) map[string]verify.Opening {
	t.Helper()
	var first map[string]verify.Opening
	for _, x := range r.rows(t) {
		e, err := leaf.Decode(x.Leaf)
		if err != nil {
			t.Fatal(err)
		}
		if len(e.PII) == 0 {
			continue
		}
		p, err := postgres.One[struct {
			SubjectID string
			Wrapped   []byte
			Sealed    []byte
		}](t.Context(), r.Owner, `
			SELECT subject_id, wrapped_key AS wrapped, sealed
			FROM audit_personal_data JOIN audit_subject_keys k USING (subject_id)
			WHERE entry_id = $1 AND k.generation = key_generation`, x.ID)
		if err != nil {
			t.Fatal(err)
		}
		key := unseal(t, r.Keys.Personal[:], p.Wrapped, []byte(p.SubjectID))
		var openings map[string]verify.Opening
		if err := json.Unmarshal(unseal(t, key, p.Sealed, x.ID[:]), &openings); err != nil {
			t.Fatal(err)
		}
		if len(openings) != len(e.PII) {
			t.Errorf("%d openings of %d commitments", len(openings), len(e.PII))
		}
		for field, o := range openings {
			if !e.PII[field].Opens(o.Salt, field, o.Value) {
				t.Errorf("the opening of %s is not of its commitment", field)
			}
			if e.PII[field].Opens(o.Salt, field, o.Value+"x") {
				t.Errorf("another value opens %s", field)
			}
		}
		if first == nil {
			first = openings
		}
	}
	return first
}

func TestSealedPersonalDataOpensItsCommitments(t *testing.T) {
	r := setUp(t)
	ctx := actor.With(t.Context(), someone)
	for range 2 {
		if err := r.log.Note(ctx, audit.Event{Action: "audit.read", ResourceType: "audit"}); err != nil {
			t.Fatal(err)
		}
	}
	openings := r.opened(t)
	if got, want := slices.Sorted(maps.Keys(openings)), []string{"email", "source_ip", "user_agent"}; !slices.Equal(got, want) {
		t.Fatalf("sealed are %v", got)
	}
	if openings["email"].Value != someone.Email || openings["source_ip"].Value != someone.SourceIP || openings["user_agent"].Value != someone.UserAgent {
		t.Errorf("sealed is %+v", openings)
	}
	if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM audit_subject_keys`); n != 1 {
		t.Errorf("%d keys for one person", n)
	}
	rows := r.rows(t)
	a, b := r.check(t, rows[0]), r.check(t, rows[1])
	if a.PII["email"] == b.PII["email"] {
		t.Error("two entries about one person can be told by their commitments")
	}
}

func TestWritersAtOnceEachKeepTheirOwnCount(t *testing.T) {
	const writers, each = 16, 6
	r := setUp(t)
	other := r.Log(t, clock.At(noon).Now) // another process
	start := make(chan struct{})
	errs := make([]error, writers)
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			<-start
			who, l := someone, r.log
			who.User = id.User([]string{"usr_a", "usr_b", "usr_c"}[i%3]) // the first ones make the same keys
			if i%2 == 0 {
				l = other
			}
			ctx := actor.With(t.Context(), who)
			for range each {
				errs[i] = errors.Join(errs[i], l.Change(ctx, intent, func(tx *audit.Tx) error {
					tx.Record(audit.Event{Action: "team.create", ResourceType: "team"})
					_, err := tx.Exec(ctx, `SELECT 1`)
					return err
				}))
			}
		})
	}
	close(start)
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	seqs := map[string][]uint64{}
	for _, x := range r.rows(t) {
		e := r.check(t, x)
		seqs[e.Writer.Boot] = append(seqs[e.Writer.Boot], e.Writer.Seq)
	}
	if len(seqs) != 2 {
		t.Errorf("%d boots", len(seqs))
	}
	for boot, s := range seqs {
		slices.Sort(s)
		if len(s) != writers*each/2 || len(slices.Compact(s)) != writers*each/2 {
			t.Errorf("boot %s numbered %v", boot, s)
		}
	}
	if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM audit_subject_keys`); n != 3 {
		t.Errorf("%d keys for three people", n)
	}
	r.opened(t)
}

func TestTheMonthsAheadAreMadeOnce(t *testing.T) {
	r := setUp(t)
	errs := make([]error, 4)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			n, err := r.log.EnsurePartitions(t.Context())
			if n != 0 {
				t.Errorf("made %d that the migration had made", n)
			}
			errs[i] = err
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestAnotherInstallationsKeysAreNotUsed(t *testing.T) {
	r := setUp(t)
	ctx := actor.With(t.Context(), someone)
	if err := r.log.Note(ctx, audit.Event{Action: "audit.read", ResourceType: "audit"}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := audit.GenerateKeys(dir); err != nil {
		t.Fatal(err)
	}
	keys, err := audit.LoadKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Equal(keys.Check(), r.Keys.Check()) {
		t.Error("two sets of keys have one fingerprint")
	}
	wrong, err := audit.NewLog(audit.Config{
		Pool: r.Pool, Clock: clock.At(noon).Now, Origin: pgtest.Origin, Writer: "test", Keys: keys, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	err = wrong.Change(ctx, intent, func(tx *audit.Tx) error {
		tx.Record(audit.Event{Action: "team.create", ResourceType: "team"})
		return addTeam(ctx, tx, "a")
	})
	if err == nil || !strings.Contains(err.Error(), "keys directory") || r.teams(t) != 0 {
		t.Errorf("changed something with the wrong keys: %v", err)
	}
}

func TestASearchPagesThroughEverythingOnce(t *testing.T) {
	r := setUp(t)
	now := clock.At(noon)
	l := r.Log(t, now.Now)
	for i := range 23 {
		ctx := actor.With(t.Context(), someone)
		if i%3 == 0 {
			ctx = actor.With(t.Context(), actor.System("settle"))
		}
		if err := l.Note(ctx, audit.Event{Action: "audit.read", ResourceType: "audit", ResourceID: "x", Details: map[string]any{"i": i}}); err != nil {
			t.Fatal(err)
		}
		if i%4 == 0 {
			now.Advance(time.Second) // several share an instant
		}
	}
	seen := map[uuid.UUID]bool{}
	f := audit.Filter{Limit: 5, ActionType: "audit.read", ResourceID: "x", From: noon, To: noon.Add(time.Hour)}
	for {
		page, err := audit.Search(t.Context(), r.Pool, f)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			if seen[e.ID] {
				t.Errorf("%s twice", e.ID)
			}
			seen[e.ID] = true
		}
		f.Before, f.BeforeID = page[len(page)-1].Timestamp, page[len(page)-1].ID
	}
	if len(seen) != 23 {
		t.Errorf("saw %d of 23", len(seen))
	}
	mine, err := audit.Search(t.Context(), r.Pool, audit.Filter{UserID: "system:settle", Limit: 50})
	if err != nil || len(mine) != 8 {
		t.Errorf("the system's are %d, %v", len(mine), err)
	}
}
