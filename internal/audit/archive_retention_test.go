package audit_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/archive"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

// retention lets a log live through so many months: in each, entries are written, witnessed, and what is due is archived.
// The last of them is followed by the present. make prove-retention takes eighty-five, which is more than seven years.
func retention(t *testing.T, months int) {
	t.Helper()
	e := beginEra(t, months, archive.Dir(t.TempDir()))
	today, begun := e.today, time.Now()
	steps := map[audit.MonthState]int{}
	for i := range months {
		e.writeMonth(t, e.month(i))
		e.today = e.month(i).AddDate(0, 0, 20)
		for _, s := range e.run(t) {
			steps[s.State]++
		}
	}
	e.today, e.log = today, e.DB.Log(t, clock.At(today).Now)
	for _, s := range e.run(t) {
		steps[s.State]++
	}
	t.Logf("%d months of %d entries and what archiving recorded, in %s: %d sealed, %d exported, %d verified, %d detached", months, perMonth, time.Since(begun).Round(time.Second),
		steps[audit.MonthSealed], steps[audit.MonthExported], steps[audit.MonthVerified], steps[audit.MonthDetached])
	counts := map[string]int{}
	for s := range strings.FieldsSeq(e.states(t)) {
		counts[s]++
	}
	t.Logf("states: %v", counts)
	begun = time.Now()
	r := e.verify(t, e.store)
	ok(t, r)
	if r.Entries != r.Size {
		t.Errorf("%d of %d entries were looked at", r.Entries, r.Size)
	}
	t.Logf("forge audit verify --archive: %d entries, %d checks passed, nothing wrong, %s", r.Entries, len(r.Passed()), time.Since(begun).Round(time.Millisecond))

	e.drops(t)
	e.proofs(t)
	e.drill(t)
	r = e.verify(t, e.store)
	ok(t, r)
	t.Logf("at the end: %d entries, nothing wrong", r.Entries)
}

// drops has the first month dropped at seven years, by the clock of the witness, and nothing before.
func (e *era) drops(t *testing.T) {
	t.Helper()
	over := e.month(1).AddDate(7, 0, 0)
	direct := func(i int) error { // with the application's rights, past the program
		_, err := e.Pool.Exec(t.Context(), `SELECT audit_drop_month($1)`, e.month(i))
		return err
	}
	try := func(what string, err error, refused bool) {
		t.Helper()
		if (err != nil) != refused {
			t.Errorf("%s: %v", what, err)
		}
		if err != nil {
			t.Logf("%s: refused: %v", what, err)
		} else {
			t.Logf("%s: allowed", what)
		}
	}
	e.restamp(t, over.AddDate(0, -1, 0))
	try("6 years and 11 months by the witness, by the program", e.archivist(t).Drop(operator, e.month(0), false), true)
	try("6 years and 11 months by the witness, lock 1: the function", direct(0), true)
	_, err := e.Pool.Exec(t.Context(), `DROP TABLE audit_parts.audit_logs_`+e.month(0).Format("2006_01"))
	try("lock 2: the application's privileges", err, true)
	e.restamp(t, over)
	try("the month after it, a month too early", direct(1), true)
	e.restamp(t, e.today.AddDate(7, 0, 0))
	try("the month after it, with a witness seven years ahead and the database's own clock right", direct(1), true)
	e.restamp(t, over)
	a := e.archivist(t)
	try("7 years", a.Drop(operator, e.month(0), false), false)
	e.settle(t, a)
	if got := e.states(t); !strings.HasPrefix(got, "dropped") || strings.Count(got, "dropped") != 1 {
		t.Errorf("states: %s", got)
	}
	e.stamp(t, e.today)
}

// proofs proves an entry of each month, with the leaf from wherever it is.
func (e *era) proofs(t *testing.T) {
	t.Helper()
	keys, err := e.Keys.PublicKeys(pgtest.Origin)
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := verify.ParseKeys(keys)
	if err != nil {
		t.Fatal(err)
	}
	proved := map[string]int{}
	size := pgtest.Value[int64](t, e.DB, `SELECT max(size) FROM audit_checkpoints`)
	for i := range e.months {
		id, at := e.entryOf(t, i)
		where := "from the tables"
		text, err := audit.Proof(t.Context(), e.Pool, audit.ProofRequest{Entry: id, At: at, Size: size, Leaf: true})
		if errors.Is(err, audit.ErrEntryArchived) {
			where = "from the archive alone"
			if text, err = audit.Proof(t.Context(), e.Pool, audit.ProofRequest{Entry: id, At: at, Size: size}); err == nil {
				var p verify.Proof
				if p, err = verify.ParseProof(text); err == nil {
					p.Leaf = e.archivedLeaf(t, i, p.Index)
					text = p.Text()
				}
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", e.named(i), err)
		}
		r := verify.NewReport()
		if _, entry, fine := verify.CheckProof(r, text, trusted); !fine || entry.ID != id.String() {
			t.Errorf("%s: the proof does not hold: %s", e.named(i), r.Text())
		}
		proved[where]++
	}
	for _, where := range slices.Sorted(maps.Keys(proved)) {
		t.Logf("proofs: one entry of each of %d months, with its leaf %s: all hold", proved[where], where)
	}
}

// archivedLeaf is an entry's bytes as a month's archive has them.
func (e *era) archivedLeaf(t *testing.T, i int, index int64) []byte {
	t.Helper()
	for _, path := range e.files(t, i, "entries") {
		var found []byte
		_, _ = rewrite(t, path, func(at int64, leaf []byte) (int64, []byte) {
			if at == index {
				found = leaf
			}
			return at, leaf
		})
		if found != nil {
			return found
		}
	}
	t.Fatalf("the archive of %s has no entry %d", e.named(i), index)
	return nil
}

// drill brings months back: the dropped one from its archive, detached ones from their tables, and tries every archive.
func (e *era) drill(t *testing.T) {
	t.Helper()
	a := e.archivist(t)
	begun, entries := time.Now(), int64(0)
	for i := range e.months {
		if _, err := a.Restore(operator, e.month(i), time.Hour, true); err != nil {
			if strings.Contains(err.Error(), "has no archive yet") || strings.Contains(err.Error(), "was not archived") {
				continue
			}
			t.Fatalf("%s: %v", e.named(i), err)
		}
		entries += perMonth
	}
	t.Logf("restore drill: at least %d entries loaded from their archives and compared with the tree, %s", entries, time.Since(begun).Round(time.Second))
	for _, i := range []int{0, 1, e.months / 2} {
		done, err := a.Restore(operator, e.month(i), time.Hour, false)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("restored: %s, %d entries, from its archive: %v", done.Month, done.Entries, done.FromArchive)
		found, err := audit.Search(t.Context(), e.Pool, audit.Filter{From: e.month(i), To: e.month(i + 1), Limit: 1000})
		known := 0
		for _, f := range found {
			if f.SourceIP != nil {
				known++
			}
		}
		if err != nil || known != perMonth-1 {
			t.Errorf("a search of %s finds %d entries and where %d came from: %v", done.Month, len(found), known, err)
		}
	}
	e.settle(t, a)
}

func TestALogLivesThroughMonthsAndIsProven(t *testing.T) { retention(t, 4) }
