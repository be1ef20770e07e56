package workspace

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func holdIn(t *testing.T, db *pgtest.DB, region, directory string, next time.Time) {
	t.Helper()
	if _, err := db.Pool.Exec(t.Context(), `
		INSERT INTO provider_holds (region, directory_id, code, message, since, last_at, next_try_at, refusals)
		VALUES ($1, $2, 'ResourceLimitExceededException', 'no', $3, $3, $4, 1)`, region, directory, base, next); err != nil {
		t.Fatal(err)
	}
}

func TestOneOfManyTriesWhileNothingCanBeMade(t *testing.T) {
	db := pgtest.New(t)
	f := &Fleet{}
	now := clock.At(base.Add(time.Hour)).Now()
	holdIn(t, db, "eu-west-1", "", now)
	w := row(func(w *WorkSpace) { w.Region, w.DirectoryID = "eu-west-1", "d-1" })
	var tries atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			wait, err := f.heldFor(t.Context(), db.Pool, w, now)
			if err != nil {
				t.Error(err)
			}
			if wait == 0 {
				tries.Add(1)
			}
		})
	}
	wg.Wait()
	if tries.Load() != 1 {
		t.Errorf("%d of 20 try", tries.Load())
	}
	wait, err := f.heldFor(t.Context(), db.Pool, w, now.Add(10*time.Second))
	if err != nil || wait != triesEvery-10*time.Second {
		t.Errorf("ten seconds later one waits %s, %v", wait, err)
	}
	if wait, err = f.heldFor(t.Context(), db.Pool, w, now.Add(triesEvery)); err != nil || wait != 0 {
		t.Errorf("a minute later one waits %s, %v", wait, err)
	}
}

func TestAHoldKeepsBackWhatItCoversAndNothingElse(t *testing.T) {
	db := pgtest.New(t)
	f := &Fleet{}
	later := base.Add(time.Minute)
	holdIn(t, db, "eu-west-1", "d-1", later)
	holdIn(t, db, "us-east-1", "", later)
	for _, c := range []struct {
		region, directory string
		held              bool
	}{
		{"eu-west-1", "d-1", true},
		{"eu-west-1", "d-2", false},
		{"us-east-1", "d-3", true},
		{"us-east-1", "d-4", true},
		{"us-west-2", "d-1", false},
	} {
		w := row(func(w *WorkSpace) { w.Region, w.DirectoryID = c.region, c.directory })
		wait, err := f.heldFor(t.Context(), db.Pool, w, base)
		if err != nil || (wait > 0) != c.held {
			t.Errorf("%s %s waits %s, %v", c.region, c.directory, wait, err)
		}
		p := Progress{expected: map[string]Expectation{c.region: {}}}
		if p.holds, err = Holds(t.Context(), db.Pool); err != nil {
			t.Fatal(err)
		}
		if told := p.Waiting(w) != ""; told != c.held {
			t.Errorf("%s %s is told %q", c.region, c.directory, p.Waiting(w))
		}
	}
}

func TestWhatIsToldOfAWayThatDoesNotGoOn(t *testing.T) {
	p := Progress{}
	for want, change := range map[string]func(*WorkSpace){
		"":                func(*WorkSpace) {},
		"cleared away":    func(w *WorkSpace) { w.Replacing, w.ErrorCode = true, "InternalError" },
		"far longer than": func(w *WorkSpace) { w.Flag = FlagStuck },
	} {
		got := p.Waiting(row(change))
		if want == "" && got != "" || want != "" && !strings.Contains(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	if p.Waiting(row(ran, func(w *WorkSpace) { w.Flag = FlagStuck })) != "" {
		t.Error("one that has arrived waits for nothing")
	}
}
