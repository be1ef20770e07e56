package audit_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

// tb is a test or a benchmark's logger of what a sequencer says.
func testLogger(t testing.TB) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// sequencer is one of a process of its own on the database.
func (r *room) sequencer(t testing.TB, name string, change ...func(*audit.SequencerConfig)) *audit.Sequencer {
	t.Helper()
	signers, err := r.Keys.Signers(pgtest.Origin)
	if err != nil {
		t.Fatal(err)
	}
	c := audit.SequencerConfig{Pool: r.Pool, Clock: r.log.Clock(), Origin: pgtest.Origin, Name: name, Keys: r.Keys, Signers: signers, Logger: testLogger(t)}
	for _, f := range change {
		f(&c)
	}
	s, err := audit.NewSequencer(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

// note writes n entries.
func (r *room) note(t testing.TB, n int) {
	t.Helper()
	ctx := actor.With(t.Context(), someone)
	for i := range n {
		if err := r.log.Note(ctx, audit.Event{Action: "audit.read", ResourceType: "audit", Details: map[string]any{"i": i}}); err != nil {
			t.Fatal(err)
		}
	}
}

// settle runs rounds until the tree has so many entries and is signed.
func settle(t testing.TB, r *room, s *audit.Sequencer, size int64) {
	t.Helper()
	waitFor(t, fmt.Sprintf("a signed tree of %d entries", size), func() bool {
		if _, err := s.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		return pgtest.Value[int64](t, r.DB, `SELECT coalesce(max(size), 0) FROM audit_checkpoints`) >= size
	})
}

func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(60 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("waited in vain for " + what)
		}
	}
}

func TestCommittedEntriesComeIntoTheTreeAndAreSigned(t *testing.T) {
	r := setUp(t)
	s := r.sequencer(t, "one")
	for _, n := range []int{1, 2, 252, 1, 1, 300} {
		r.note(t, n)
		settle(t, r, s, pgtest.Value[int64](t, r.DB, `SELECT count(*) FROM audit_logs`))
	}
	if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM audit_bundles`); n != 2 {
		t.Errorf("%d full bundles of 557 entries", n)
	}
	if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM audit_quarantine`); n != 0 {
		t.Errorf("%d in quarantine", n)
	}
	note := pgtest.Value[string](t, r.DB, `SELECT note FROM audit_checkpoints ORDER BY size DESC LIMIT 1`)
	if !strings.HasPrefix(note, pgtest.Origin+"\n557\n") {
		t.Errorf("signed is\n%s", note)
	}
}
