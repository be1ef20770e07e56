package audit_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

// seedOverflow puts n entries a month into the overflow partition, for each of the months after the present one.
func seedOverflow(t *testing.T, db *pgtest.DB, n int, months ...int) {
	t.Helper()
	for _, m := range months {
		db.Exec(t, `
			WITH new AS (SELECT gen_random_uuid() AS id, $1::timestamptz + i * interval '1 second' AS at FROM generate_series(1, $2) i),
			entries AS (
			  INSERT INTO audit_logs (timestamp, id, user_id, actor_type, action_type, resource_type, resource_id, result, code, interface, request_id, leaf, mac)
			  SELECT at, id, 'u', 'system', 'a.b', 'seed', '', 'success', '', 'api', '', decode(repeat('00', 500), 'hex'), decode(repeat('00', 32), 'hex') FROM new)
			INSERT INTO audit_personal_data (entry_id, timestamp, subject_id, key_generation, sealed)
			SELECT id, at, 'u', 1, '\x00' FROM new`, present().AddDate(0, m, 0), n)
	}
}

// writer writes entries as the audit log does and takes note of each. A write that waits for longer than the pool's
// lock_timeout fails, and is not tried again.
type writer struct {
	pool    *pgxpool.Pool
	ids     []string
	longest time.Duration
}

func (w *writer) write(ctx context.Context, tx pgx.Tx, at time.Time) error {
	id := uuid.New()
	if _, err := tx.Exec(ctx, `
		INSERT INTO audit_logs (timestamp, id, user_id, actor_type, action_type, resource_type, resource_id, result, code, interface, request_id, leaf, mac)
		VALUES ($1, $2, 'u', 'system', 'a.b', 'race', '', 'success', '', 'api', '', '\x0102', decode(repeat('00', 32), 'hex'))`, at, id); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `INSERT INTO audit_personal_data (entry_id, timestamp, subject_id, key_generation, sealed) VALUES ($1, $2, 'u', 1, '\x00')`, id, at); err != nil {
		return err
	}
	w.ids = append(w.ids, id.String())
	return nil
}

func (w *writer) once(ctx context.Context, at time.Time) error {
	begin := time.Now()
	err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error { return w.write(ctx, tx, at) })
	w.longest = max(w.longest, time.Since(begin))
	return err
}

// The bound on a writer's wait is the writers' own lock_timeout: a write that meets it fails the test. What a writer can
// wait for is one try of the short part: 200 ms for each table, and the swap, which takes some tens of milliseconds here.
// Two seconds leave room for a slow machine; the race detector does not slow the server.
func TestNoWriterIsHeldUpOrLosesAnEntryWhileTheOverflowIsMoved(t *testing.T) {
	db := pgtest.New(t)
	const seeded = 25_000
	seedOverflow(t, db, seeded, 25, 26)
	moved := `SELECT md5(string_agg(a::text, ',' ORDER BY id)) FROM audit_logs a WHERE resource_type = 'seed'`
	before := pgtest.Value[string](t, db, moved)

	cfg, err := pgxpool.ParseConfig(db.AppURL)
	if err != nil {
		t.Fatal(err)
	}
	cfg.MaxConns = 20
	cfg.ConnConfig.RuntimeParams["lock_timeout"] = "2000"
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)

	// One writer began before the move and goes on into it, so that the first tries give way to it.
	slow := &writer{pool: pool}
	open, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := slow.write(t.Context(), open, present().AddDate(0, 25, 3)); err != nil {
		t.Fatal(err)
	}

	// The others write into the present month, into months that are made meanwhile, and far beyond.
	var stop atomic.Bool
	var writes atomic.Int64
	var running sync.WaitGroup
	writers := make([]*writer, 8)
	for i := range writers {
		w := &writer{pool: pool}
		writers[i] = w
		running.Go(func() {
			for n := 0; !stop.Load(); n++ {
				at := present().AddDate(0, []int{0, 25, 26, 40}[(i+n)%4], 5).Add(time.Duration(n) * time.Millisecond)
				if err := w.once(t.Context(), at); err != nil {
					t.Errorf("a write failed: %v", err)
					return
				}
				writes.Add(1)
			}
		})
	}
	begin := time.Now()
	ended := make(chan error, 1)
	var made int
	go func() {
		var err error
		made, err = audit.MakePartitions(t.Context(), db.Pool, present().AddDate(0, 3, 0), audit.MonthsAhead)
		ended <- err
	}()
	// It stands in the writers' way, gives way, and comes back; whenever it has given way, writes get through.
	waits := func() bool {
		return pgtest.Value[bool](t, db, `SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'audit_logs'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted)`)
	}
	until(t, waits)
	if n := writes.Load(); n < 100 {
		t.Errorf("%d writes got through before it asked for its lock: it copies under the lock", n)
	}
	for range 3 {
		until(t, waits)
		until(t, func() bool { return !waits() })
		have := writes.Load()
		until(t, func() bool { return writes.Load() > have })
	}
	if err := slow.write(t.Context(), open, present().AddDate(0, 26, 3)); err != nil {
		t.Fatal(err)
	}
	if err := open.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	have := writes.Load()
	until(t, func() bool { return writes.Load() > have+20 }) // and afterwards
	stop.Store(true)
	running.Wait()

	if made != 6 {
		t.Errorf("made %d partitions, want three months of two tables", made)
	}
	if after := pgtest.Value[string](t, db, moved); after != before {
		t.Error("moving changed a row or its xid, or lost one")
	}
	want := slices.Clone(slow.ids)
	var longest time.Duration
	for _, w := range writers {
		want = append(want, w.ids...)
		longest = max(longest, w.longest)
	}
	t.Logf("%d writes during a move of %s, the longest %s", writes.Load(), took, longest)
	for _, query := range []string{
		`SELECT array_agg(id::text ORDER BY id) FROM audit_logs WHERE resource_type = 'race'`,
		`SELECT array_agg(entry_id::text ORDER BY entry_id) FROM audit_personal_data WHERE entry_id NOT IN (SELECT id FROM audit_logs WHERE resource_type = 'seed')`,
	} {
		slices.Sort(want)
		if have := pgtest.Value[[]string](t, db, query); !slices.Equal(have, want) {
			t.Errorf("%d entries are there of %d: %s", len(have), len(want), query)
		}
	}
	if n := pgtest.Value[int](t, db, `SELECT count(*) FROM audit_parts.audit_logs_future WHERE timestamp < $1`, present().AddDate(0, 28, 0)); n != 0 {
		t.Errorf("%d entries are left in the overflow", n)
	}
}

// until waits for something that others bring about.
func until(t *testing.T, what func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !what(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("what the test waits for does not happen")
		}
	}
}

func TestAMoveThatAReaderHoldsUpGivesUpAndChangesNothing(t *testing.T) {
	db := pgtest.New(t)
	seedOverflow(t, db, 10, 25, 40)
	tables := `SELECT array_agg(oid::regclass::text ORDER BY oid) FROM pg_class WHERE relnamespace = 'audit_parts'::regnamespace`
	before, parts, rows := pgtest.Value[[]string](t, db, tables), partitions(t, db), contents(t, db)
	reader, err := db.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Exec(t.Context(), `SELECT FROM audit_logs`); err != nil {
		t.Fatal(err)
	}
	log := db.Log(t, clock.At(present().AddDate(0, 1, 0)).Now)
	made, err := log.EnsurePartitions(t.Context())
	if !errors.Is(err, audit.ErrPartitionsBusy) || made != 0 {
		t.Fatalf("made %d: %v", made, err)
	}
	if diff := cmp.Diff(before, pgtest.Value[[]string](t, db, tables)); diff != "" {
		t.Errorf("something was left behind:\n%s", diff)
	}
	if diff := cmp.Diff(parts, partitions(t, db)); diff != "" {
		t.Errorf("the partitions changed:\n%s", diff)
	}
	if err := reader.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if made, err := log.EnsurePartitions(t.Context()); err != nil || made != 2 {
		t.Fatalf("the next round made %d: %v", made, err)
	}
	if diff := cmp.Diff(rows, contents(t, db)); diff != "" {
		t.Errorf("moving changed rows:\n%s", diff)
	}
	if n := pgtest.Value[int](t, db, `SELECT count(*) FROM audit_parts.audit_logs_future`); n != 10 {
		t.Errorf("%d rows are beyond the months, want 10", n)
	}
}

func TestServersThatStartAtOnceMakeTheMonthsOnce(t *testing.T) {
	db := pgtest.New(t)
	seedOverflow(t, db, 100, 25)
	var made atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		pool, err := postgres.Open(t.Context(), db.AppURL, 2)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		all.Go(func() {
			n, err := audit.MakePartitions(t.Context(), pool, present().AddDate(0, 2, 0), audit.MonthsAhead)
			if err != nil || n != 0 && n != 4 {
				t.Errorf("made %d: %v", n, err)
			}
			made.Add(int64(n))
		})
	}
	all.Wait()
	if made.Load() != 4 {
		t.Errorf("%d partitions were made, want two months of two tables", made.Load())
	}
	if n := lost(t, db); n != 0 {
		t.Errorf("%d rows are not in their month", n)
	}
}
