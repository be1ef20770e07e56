package audit_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/note"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/archive"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

// stamps is a witness whose clock is where the test says.
type stamps struct {
	key ed25519.PrivateKey
}

const stampName = "witness.test"

func newStamps() stamps { return stamps{ed25519.NewKeyFromSeed(make([]byte, 32))} }

func (w stamps) verifier(t testing.TB) note.Verifier {
	t.Helper()
	pub := append([]byte{4}, w.key.Public().(ed25519.PublicKey)...) // 4 is a cosignature (C2SP signed-note)
	v, err := torchwood.NewCosignatureVerifier(fmt.Sprintf("%s+%08x+%s", stampName, w.id(), base64.StdEncoding.EncodeToString(pub)))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (w stamps) id() uint32 {
	pub := append([]byte{4}, w.key.Public().(ed25519.PublicKey)...)
	h := sha256.Sum256(append([]byte(stampName+"\n"), pub...))
	return binary.BigEndian.Uint32(h[:])
}

// line is the signature on a checkpoint at an instant (C2SP tlog-cosignature).
func (w stamps) line(checkpoint string, at time.Time) string {
	body, _, _ := strings.Cut(checkpoint, "\n\n")
	sig := ed25519.Sign(w.key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s\n", at.Unix(), body))
	raw := binary.BigEndian.AppendUint32(nil, w.id())
	raw = binary.BigEndian.AppendUint64(raw, uint64(at.Unix())) //nolint:gosec // after 1970
	return "— " + stampName + " " + base64.StdEncoding.EncodeToString(append(raw, sig...)) + "\n"
}

// era is a log that began years ago: so many months from eighty-five months before the present one on.
type era struct {
	*scene
	first   time.Time
	months  int
	store   archive.Store
	witness stamps
	today   time.Time
}

const perMonth = 130

// newEra writes the months, each with entries of two persons, sequenced and signed at its time.
func newEra(t testing.TB, months int, store archive.Store) *era {
	t.Helper()
	e := beginEra(t, months, store)
	for i := range months {
		e.writeMonth(t, e.month(i))
	}
	e.log = e.DB.Log(t, clock.At(e.today).Now)
	return e
}

// beginEra makes the months.
func beginEra(t testing.TB, months int, store archive.Store) *era {
	t.Helper()
	today := time.Now().UTC().Truncate(time.Microsecond)
	e := &era{first: clock.StartOfMonth(today).AddDate(0, -85, 0), months: months, store: store, witness: newStamps(), today: today}
	db := pgtest.New(t)
	e.scene = &scene{room: &room{db, nil}}
	db.Months(t, e.first, months)
	return e
}

func (e *era) writeMonth(t testing.TB, month time.Time) {
	t.Helper()
	at := clock.At(month.AddDate(0, 0, 10))
	e.log = e.DB.Log(t, at.Now)
	other := someone
	other.User, other.SourceIP = "usr_other", "2001:db8::9"
	for i := range perMonth - 1 {
		if i == perMonth/2 {
			at.Advance(24 * time.Hour)
		}
		who := someone
		if i%3 == 0 {
			who = other
		}
		if err := e.log.Note(actor.With(context.Background(), who), audit.Event{Action: "audit.read", ResourceType: "audit", ResourceID: month.Format("2006-01"), Details: map[string]any{"i": i}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.log.Heartbeat(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	e.sequenceUp(t)
	e.stamp(t, at.Now())
}

// sequenceUp brings everything into the tree and has it signed.
func (e *era) sequenceUp(t testing.TB) {
	t.Helper()
	s := e.sequencer(t, "era", func(c *audit.SequencerConfig) { c.Logger = slog.New(slog.DiscardHandler) })
	defer s.Close(context.Background())
	for range 4 {
		if _, err := s.Round(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

// stamp has the witness sign the newest checkpoint.
func (e *era) stamp(t testing.TB, at time.Time) {
	t.Helper()
	_, err := e.Pool.Exec(context.Background(), `
		INSERT INTO audit_cosignatures (size, witness, line, cosigned_at)
		SELECT size, $1, $2, $3 FROM audit_checkpoints ORDER BY size DESC LIMIT 1
		ON CONFLICT (witness, size) DO NOTHING`, stampName, e.witness.line(e.newestNote(t), at), at)
	if err != nil {
		t.Fatal(err)
	}
}

// restamp puts the clock of the only witness somewhere: what it signed later is taken away.
func (e *era) restamp(t testing.TB, at time.Time) {
	t.Helper()
	e.Exec(t, `DELETE FROM audit_cosignatures`)
	e.stamp(t, at)
}

func (e *era) month(i int) time.Time { return e.first.AddDate(0, i, 0) }
func (e *era) named(i int) string    { return e.month(i).Format("2006-01") }

// archivist has the owner's rights.
func (e *era) archivist(t testing.TB) *audit.Archivist {
	t.Helper()
	owner := &pgtest.DB{Pool: e.Owner, Owner: e.Owner, Keys: e.Keys}
	return &audit.Archivist{
		Log: owner.Log(t, clock.At(e.today).Now), Keys: e.Keys, Store: e.store, Hot: audit.HotMonths, Witnesses: []note.Verifier{e.witness.verifier(t)}, Logger: slog.New(slog.DiscardHandler),
	}
}

var operator = actor.With(context.Background(), actor.Operator("archive"))

// run brings every month as far as it is due.
func (e *era) run(t testing.TB) []audit.Step {
	t.Helper()
	a := e.archivist(t)
	done, err := a.Run(operator, true)
	if err != nil {
		t.Fatal(err)
	}
	e.settle(t, a)
	return done
}

// settle writes an archivist's last heartbeat and sequences what it recorded.
func (e *era) settle(t testing.TB, a *audit.Archivist) {
	t.Helper()
	if err := a.Log.Heartbeat(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	e.sequenceUp(t)
}

func (e *era) verify(t testing.TB, store archive.Store, without ...verify.Check) *verify.Report {
	t.Helper()
	r, err := audit.Verify(context.Background(), audit.Proving{
		Pool: e.Pool, Clock: clock.At(e.today).Now, Origin: pgtest.Origin, Keys: e.Keys, Archive: store, Witnesses: []note.Verifier{e.witness.verifier(t)}, Without: without,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (e *era) states(t testing.TB) string {
	t.Helper()
	months, err := audit.Months(context.Background(), e.Pool, e.today)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range months[:e.months] {
		out = append(out, string(m.State))
	}
	return strings.Join(out, " ")
}

// entryOf is an entry of a month, with its time.
func (e *era) entryOf(t testing.TB, i int) (id uuid.UUID, at time.Time) {
	t.Helper()
	err := e.Owner.QueryRow(context.Background(), `
		WITH placed AS (
			SELECT o.id, o.at FROM audit_bundles, unnest(ids, timestamps) o (id, at)
			UNION ALL SELECT o.id, o.at FROM audit_tree, unnest(tail_ids, tail_timestamps) o (id, at)
		)
		SELECT id, at FROM placed WHERE at >= $1 AND at < $2 ORDER BY at, id LIMIT 1`,
		e.month(i), e.month(i+1)).Scan(&id, &at)
	if err != nil {
		t.Fatal(err)
	}
	return id, at
}

func (e *era) proof(t testing.TB, i int, leaf bool) (string, error) {
	t.Helper()
	id, at := e.entryOf(t, i)
	return audit.Proof(context.Background(), e.Pool, audit.ProofRequest{Entry: id, At: at, Size: perMonth * int64(e.months), Leaf: leaf})
}

// ok wants a verification without a failure.
func ok(t testing.TB, r *verify.Report) {
	t.Helper()
	if !r.OK() {
		t.Fatal(r.Text())
	}
}

func TestMonthsGoOutOfTheDatabaseAndComeBack(t *testing.T) {
	e := newEra(t, 3, archive.Dir(t.TempDir()))
	before, err := e.proof(t, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	ok(t, e.verify(t, e.store))
	done := e.run(t)
	// The three, and those from 2026 on that are over, in which nothing is: these stay attached.
	if got := e.states(t); got != "droppable detached detached" && got != "detached detached detached" {
		t.Fatalf("%s after %v", got, done)
	}
	if again := e.run(t); len(again) != 0 {
		t.Errorf("a second run did %v", again)
	}
	ok(t, e.verify(t, e.store))
	ok(t, e.verify(t, nil))

	// The entries are not searched, which a search says, and their proofs are what they were.
	for _, c := range []struct {
		from, to time.Time
		want     string
	}{
		{time.Time{}, time.Time{}, "[" + e.named(0) + " " + e.named(1) + " " + e.named(2) + "]"},
		{e.month(1), time.Time{}, "[" + e.named(1) + " " + e.named(2) + "]"},
		{time.Time{}, e.month(1), "[" + e.named(0) + "]"},
		{e.month(1).AddDate(0, 0, 3), e.month(2).Add(-time.Second), "[" + e.named(1) + "]"},
		{e.month(3), time.Time{}, "[]"},
	} {
		if got, err := audit.Unsearched(t.Context(), e.Pool, c.from, c.to); err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("from %s to %s it does not search %v, want %s (%v)", c.from, c.to, got, c.want, err)
		}
	}
	if n := pgtest.Value[int](t, e.DB, `SELECT count(*) FROM audit_logs WHERE timestamp < $1`, e.month(3)); n != 0 {
		t.Errorf("%d entries of detached months are found", n)
	}
	for _, with := range []bool{true, false} {
		after, err := e.proof(t, 0, with)
		if err != nil || with && after != before {
			t.Errorf("the proof of an archived entry is another, or %v", err)
		}
	}
	// Nobody misses the months, and none is made anew.
	if _, err := e.log.EnsurePartitions(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h, err := audit.CheckPartitions(t.Context(), e.Pool, e.today); err != nil || h.Critical() {
		t.Errorf("%v %v", h.Problems, err)
	}

	// The first is seven years old.
	a := e.archivist(t)
	e.stamp(t, e.today)
	if got := e.states(t); got != "droppable detached detached" {
		t.Fatal(got)
	}
	if err := a.Drop(operator, e.month(0), false); err != nil {
		t.Fatal(err)
	}
	e.settle(t, a)
	if got := e.states(t); got != "dropped detached detached" {
		t.Fatal(got)
	}
	r := e.verify(t, nil)
	ok(t, r)
	if !strings.Contains(r.Text(), fmt.Sprintf("%d entries are in archives and were not looked at", perMonth)) {
		t.Errorf("a month that nobody can look at is not said:\n%s", r.Text())
	}
	r = e.verify(t, e.store)
	ok(t, r)
	if r.Entries != r.Size {
		t.Errorf("%d of %d entries were looked at", r.Entries, r.Size)
	}
	if _, err := e.proof(t, 0, false); err != nil {
		t.Errorf("the proof of a dropped entry: %v", err)
	}
	if _, err := e.proof(t, 0, true); err == nil || !strings.Contains(err.Error(), "AUDIT_ENTRY_ARCHIVED") {
		t.Errorf("the leaf of a dropped entry: %v", err)
	}

	// And back: from the archive, and from its own table.
	for i, fromArchive := range []bool{true, false} {
		a = e.archivist(t)
		back, err := a.Restore(operator, e.month(i), 30*24*time.Hour, false)
		if err != nil || back.Entries != perMonth || back.FromArchive != fromArchive || !back.Attached {
			t.Fatal(back, err)
		}
		e.settle(t, a)
	}
	if got := e.states(t); got != "verified verified detached" {
		t.Fatal(got)
	}
	r = e.verify(t, e.store)
	ok(t, r)
	if after, err := e.proof(t, 0, true); err != nil || after != before {
		t.Errorf("the proof of a restored entry is another, or %v", err)
	}
	found, err := audit.Search(t.Context(), e.Pool, audit.Filter{From: e.month(0), To: e.month(1), UserID: "usr_other", Limit: 10})
	if err != nil || len(found) != 10 || found[0].SourceIP == nil || *found[0].SourceIP != "2001:db8::9" {
		t.Errorf("a restored month is not searched: %v, %v", found, err)
	}
	if again := e.run(t); len(again) != 0 {
		t.Errorf("what was brought back for thirty days: %v", again)
	}
	e.today = e.today.AddDate(0, 0, 31)
	e.run(t)
	if got := e.states(t); got != "droppable detached detached" {
		t.Error(got)
	}
	ok(t, e.verify(t, e.store))
	a = e.archivist(t)
	back, err := a.Restore(operator, e.month(2), 0, true)
	if err != nil || back.Attached || !back.FromArchive {
		t.Error(back, err)
	}
	if n := pgtest.Value[int](t, e.DB, `SELECT count(*) FROM pg_class WHERE relname LIKE 'restoring%' AND relkind = 'r'`); n != 0 {
		t.Errorf("a drill left %d tables behind", n)
	}
}
