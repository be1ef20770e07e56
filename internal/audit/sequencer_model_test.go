package audit_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

// model is what was committed, and between which moments of one logical clock.
type model struct {
	clock atomic.Int64
	mu    sync.Mutex
	spans map[string]span // by the entry's resource
}

type span struct{ began, ended int64 }

func (m *model) committed(began int64, labels []string) {
	ended := m.clock.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range labels {
		m.spans[l] = span{began, ended}
	}
}

// interleaver is one connection's random life.
type interleaver struct {
	r     *room
	m     *model
	rng   *rand.Rand
	name  string
	count int
}

func (w *interleaver) write(ctx context.Context, tx pgx.Tx, n int) ([]string, error) {
	var labels []string
	for range n {
		w.count++
		label := fmt.Sprintf("%s-%d", w.name, w.count)
		labels = append(labels, label)
		if err := w.r.log.WriteIn(ctx, tx, audit.Event{Action: "audit.read", ResourceType: "audit", ResourceID: label}); err != nil {
			return nil, err
		}
	}
	return labels, nil
}

// step is one transaction, or two of which the first outlasts the second, ended in a random way.
func (w *interleaver) step(ctx context.Context, depth int) error {
	began := w.m.clock.Add(1)
	c, err := w.r.Pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release()
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	labels, err := w.write(ctx, tx, 1+w.rng.IntN(3))
	if err != nil {
		return err
	}
	if w.rng.IntN(3) == 0 { // a savepoint, kept or not
		sub, err := tx.Begin(ctx)
		if err != nil {
			return err
		}
		more, err := w.write(ctx, sub, 1+w.rng.IntN(2))
		if err != nil {
			return err
		}
		if w.rng.IntN(2) == 0 {
			if err := sub.Rollback(ctx); err != nil {
				return err
			}
		} else {
			if err := sub.Commit(ctx); err != nil {
				return err
			}
			labels = append(labels, more...)
		}
	}
	if depth < 3 && w.rng.IntN(3) == 0 { // it stays open while others begin and end
		for range 1 + w.rng.IntN(6) {
			if err := w.step(ctx, depth+1); err != nil {
				return err
			}
		}
	}
	switch w.rng.IntN(5) {
	case 0:
		return tx.Rollback(ctx)
	case 1:
		name := w.name + "/" + labels[0]
		if _, err := tx.Exec(ctx, `PREPARE TRANSACTION '`+name+`'`); err != nil {
			return err
		}
		if err := tx.Rollback(ctx); err != nil { // of nothing: the transaction is no longer this connection's
			return err
		}
		for range w.rng.IntN(4) {
			if err := w.step(ctx, depth+1); err != nil {
				return err
			}
		}
		if w.rng.IntN(3) == 0 {
			_, err := c.Exec(ctx, `ROLLBACK PREPARED '`+name+`'`)
			return err
		}
		if _, err := c.Exec(ctx, `COMMIT PREPARED '`+name+`'`); err != nil {
			return err
		}
	default:
		if err := tx.Commit(ctx); err != nil {
			return err
		}
	}
	w.m.committed(began, labels)
	return nil
}

// sequenced is the labels in the order of the tree.
func (r *room) sequenced(t testing.TB) []string {
	t.Helper()
	type placed struct{ ResourceID string }
	rows, err := postgres.Many[placed](t.Context(), r.Owner, `
		WITH at AS (
			SELECT b.n * 256 + o.i AS i, o.id, o.ts FROM audit_bundles b, unnest(b.ids, b.timestamps) WITH ORDINALITY o (id, ts, i)
			UNION ALL
			SELECT t.size / 256 * 256 + o.i, o.id, o.ts FROM audit_tree t, unnest(t.tail_ids, t.tail_timestamps) WITH ORDINALITY o (id, ts, i)
		)
		SELECT coalesce(a.resource_id, '(nothing)') AS resource_id
		FROM at LEFT JOIN audit_logs a ON a.timestamp = at.ts AND a.id = at.id
		ORDER BY at.i`)
	if err != nil {
		t.Fatal(err)
	}
	labels := make([]string, len(rows))
	for i, p := range rows {
		labels[i] = p.ResourceID
	}
	return labels
}

// agrees compares the tree with the model: the same entries, each once, and what ended before another began before it.
func (m *model) agrees(t *testing.T, labels []string) {
	t.Helper()
	seen := map[string]bool{}
	var latestStart int64
	for i, l := range labels {
		s, ok := m.spans[l]
		switch {
		case !ok:
			t.Fatalf("%s is at %d and was not committed", l, i)
		case seen[l]:
			t.Fatalf("%s is at %d a second time", l, i)
		case s.ended < latestStart:
			t.Fatalf("%s is at %d, behind one that began after it had ended", l, i)
		}
		seen[l] = true
		latestStart = max(latestStart, s.began)
	}
	if len(seen) != len(m.spans) {
		t.Fatalf("%d of %d committed entries are in the tree", len(seen), len(m.spans))
	}
}

// rootsHold recomputes the root of every checkpoint from the leaves with nothing of Forge's, and checks its signature.
func (r *room) rootsHold(t *testing.T) {
	t.Helper()
	text, err := r.Keys.PublicKeys(pgtest.Origin)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := verify.ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	leaves, err := postgres.Many[struct{ Leaf []byte }](t.Context(), r.Owner, `
		WITH at AS (
			SELECT b.n * 256 + o.i AS i, o.id, o.ts FROM audit_bundles b, unnest(b.ids, b.timestamps) WITH ORDINALITY o (id, ts, i)
			UNION ALL
			SELECT t.size / 256 * 256 + o.i, o.id, o.ts FROM audit_tree t, unnest(t.tail_ids, t.tail_timestamps) WITH ORDINALITY o (id, ts, i)
		)
		SELECT a.leaf FROM at JOIN audit_logs a ON a.timestamp = at.ts AND a.id = at.id ORDER BY at.i`)
	if err != nil {
		t.Fatal(err)
	}
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})
	for i, l := range leaves {
		h, err := tlog.StoredHashes(int64(i), l.Leaf, reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, h...)
	}
	signed, err := postgres.Many[struct{ Note string }](t.Context(), r.Owner, `SELECT note FROM audit_checkpoints ORDER BY size`)
	if err != nil {
		t.Fatal(err)
	}
	if len(signed) == 0 {
		t.Fatal("nothing was signed")
	}
	for _, n := range signed {
		c, err := verify.OpenCheckpoint(n.Note, keys)
		if err != nil {
			t.Fatal(err)
		}
		if want, err := tlog.TreeHash(c.Size, reader); err != nil || want != c.Root {
			t.Fatalf("signed over %d entries is %s, and they hash to %s (%v)", c.Size, c.Root, want, err)
		}
	}
}

func TestTheTreeHasWhatWasCommittedOnceAndInCausalOrder(t *testing.T) {
	const writers, steps = 6, 25
	r := setUp(t)
	rng := pgtest.Random(t)
	other := pgtest.New(t) // a transaction in another database holds up no window
	hold, err := other.Owner.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // nothing is lost with it
	if _, err := hold.Exec(t.Context(), `CREATE TABLE held (x int)`); err != nil {
		t.Fatal(err)
	}
	m := &model{spans: map[string]span{}}
	ctx, stop := context.WithCancel(actor.With(t.Context(), someone))
	defer stop()
	var leaders, all sync.WaitGroup
	for _, name := range []string{"one", "two"} {
		s := r.sequencer(t, name, func(c *audit.SequencerConfig) { c.Lease = 500 * time.Millisecond })
		handOver := rand.New(rand.NewPCG(rng.Uint64(), 0)) //nolint:gosec // a test's choices need no secrecy
		leaders.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				<-tick.C
				if _, err := s.Round(context.WithoutCancel(ctx)); err != nil {
					t.Error(err)
				}
				if handOver.IntN(6) == 0 {
					s.Close(context.WithoutCancel(ctx))
				}
			}
		})
	}
	failed := make([]error, writers)
	for i := range writers {
		w := &interleaver{r: r, m: m, rng: rand.New(rand.NewPCG(rng.Uint64(), 0)), name: fmt.Sprintf("w%d", i)} //nolint:gosec // as above
		all.Go(func() {
			for range steps {
				if failed[i] = w.step(ctx, 1); failed[i] != nil {
					return
				}
			}
		})
	}
	all.Wait()
	for _, err := range failed {
		if err != nil {
			t.Fatal(err)
		}
	}
	size := int64(len(m.spans))
	waitFor(t, "the tree to have everything", func() bool {
		return pgtest.Value[int64](t, r.DB, `SELECT coalesce(max(size), 0) FROM audit_checkpoints`) >= size || t.Failed()
	})
	stop()
	leaders.Wait()
	m.agrees(t, r.sequenced(t))
	r.rootsHold(t)
	t.Logf("%d entries, %d terms of leaders", size, pgtest.Value[int](t, r.DB, `SELECT epoch FROM audit_tree`))
}

// leaderEnv makes the test's program a process that leads until it is killed.
const (
	leaderEnv = "FORGE_TEST_AUDIT_LEADER"
	keysEnv   = "FORGE_TEST_AUDIT_KEYS"
)

func leadUntilKilled(url string) {
	ctx := context.Background()
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	pool, err := postgres.Open(ctx, url, 4)
	fail(err)
	keys, err := audit.LoadKeys(os.Getenv(keysEnv))
	fail(err)
	signers, err := keys.Signers(pgtest.Origin)
	fail(err)
	s, err := audit.NewSequencer(audit.SequencerConfig{
		Pool: pool, Clock: clock.At(noon).Now, Origin: pgtest.Origin, Name: fmt.Sprint(os.Getpid()), Keys: keys, Signers: signers,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Lease: time.Second,
	})
	fail(err)
	for range time.Tick(20 * time.Millisecond) {
		if _, err := s.Round(ctx); err != nil {
			slog.Error("round", "error", err)
		}
	}
}

// startLeader runs another process that leads.
func startLeader(t *testing.T, r *room, keys string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // this test itself
	c.Env = append(os.Environ(), leaderEnv+"="+r.AppURL, keysEnv+"="+keys)
	c.Stderr = t.Output()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill() //nolint:errcheck // it may have ended
		_ = c.Wait()         //nolint:errcheck // killed
	})
	return c
}

func TestALeaderThatIsKilledOrStoppedIsFollowedByAnother(t *testing.T) {
	db := pgtest.New(t)
	dir := t.TempDir()
	if err := audit.GenerateKeys(dir); err != nil {
		t.Fatal(err)
	}
	var err error
	if db.Keys, err = audit.LoadKeys(dir); err != nil {
		t.Fatal(err)
	}
	r := &room{db, db.Log(t, clock.At(noon).Now)}
	m := &model{spans: map[string]span{}}
	ctx, stop := context.WithCancel(actor.With(t.Context(), someone))
	defer stop()
	var writing sync.WaitGroup
	rng := pgtest.Random(t)
	for i := range 3 {
		w := &interleaver{r: r, m: m, rng: rand.New(rand.NewPCG(rng.Uint64(), 0)), name: fmt.Sprintf("w%d", i)} //nolint:gosec // a test's choices need no secrecy
		writing.Go(func() {
			for ctx.Err() == nil {
				if err := w.step(context.WithoutCancel(ctx), 1); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	signed := func() int64 {
		return pgtest.Value[int64](t, r.DB, `SELECT coalesce(max(size), 0) FROM audit_checkpoints`)
	}
	leads := func(c *exec.Cmd) func() bool {
		had := signed()
		return func() bool {
			return pgtest.Value[string](t, r.DB, `SELECT coalesce(max(leader), '') FROM audit_tree`) == fmt.Sprint(c.Process.Pid) && signed() > had
		}
	}
	var stopped []*exec.Cmd
	for i, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGSTOP} {
		c := startLeader(t, r, dir)
		waitFor(t, "a process to lead and sign", leads(c))
		for range rng.IntN(20) {
			r.recorded(t, m)
		}
		if err := c.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if signal == syscall.SIGSTOP {
			stopped = append(stopped, c)
		}
		t.Log("leader", i, signal)
	}
	last := startLeader(t, r, dir)
	waitFor(t, "the last process to lead", leads(last))
	for _, c := range stopped { // they wake up and believe that they lead
		if err := c.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	writing.Wait()
	waitFor(t, "the tree to have everything", func() bool { return signed() >= int64(len(m.spans)) })
	m.agrees(t, r.sequenced(t))
	r.rootsHold(t)
}

// recorded writes one entry of the model.
func (r *room) recorded(t *testing.T, m *model) {
	t.Helper()
	began := m.clock.Add(1)
	label := fmt.Sprintf("main-%d", began)
	err := pgx.BeginFunc(t.Context(), r.Pool, func(tx pgx.Tx) error {
		return r.log.WriteIn(actor.With(t.Context(), someone), tx, audit.Event{Action: "audit.read", ResourceType: "audit", ResourceID: label})
	})
	if err != nil {
		t.Fatal(err)
	}
	m.committed(began, []string{label})
}
