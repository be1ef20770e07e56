package audit_test

import (
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/archive"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

func TestARecordedVerificationCountsIfItFoundNothing(t *testing.T) {
	r := setUp(t)
	since := func() time.Time {
		t.Helper()
		at, err := audit.UnverifiedSince(t.Context(), r.Pool)
		if err != nil {
			t.Fatal(err)
		}
		return at.UTC()
	}
	if at := since(); !at.IsZero() {
		t.Errorf("nothing is signed, and since %s it was not verified", at)
	}
	seq := r.sequencer(t, "s")
	r.note(t, 3)
	settle(t, r, seq, 3)
	began := pgtest.Value[time.Time](t, r.DB, `SELECT min(signed_at) FROM audit_checkpoints`).UTC()
	if at := since(); !at.Equal(began) {
		t.Errorf("it was never verified, and is said to be until %s", at)
	}
	ctx := actor.With(t.Context(), actor.Operator("verify"))
	report := func(failures ...verify.Check) *verify.Report {
		out := verify.NewReport()
		out.Origin, out.Size, out.Entries = pgtest.Origin, 3, 3
		for _, c := range failures {
			out.Fail(c, 1, "", "a test")
		}
		return out
	}
	later := clock.At(noon.Add(time.Hour))
	log := r.Log(t, later.Now)
	for _, c := range []struct {
		report *verify.Report
		want   time.Time
	}{
		{report(verify.Leaves, verify.Coverage), began},
		{report(), noon.Add(2 * time.Hour)},
		{report(verify.Codes), noon.Add(2 * time.Hour)},
		{report(), noon.Add(4 * time.Hour)},
	} {
		if err := log.RecordVerification(ctx, c.report); err != nil {
			t.Fatal(err)
		}
		if at := since(); !at.Equal(c.want) && !(at.Equal(began) && c.want.Equal(began)) {
			t.Errorf("not verified since %s, want %s", at, c.want)
		}
		later.Advance(time.Hour)
	}
	found, err := audit.Search(t.Context(), r.Pool, audit.Filter{ActionType: audit.VerifyAction, Limit: 10})
	if err != nil || len(found) != 4 || found[3].Result != "failed" || found[2].Result != "success" || found[3].Details["failures"] != int64(2) || found[3].UserID != "operator:verify" {
		t.Errorf("%v, %v", found, err)
	}
	settle(t, r, seq, 7)
	if err := log.Heartbeat(ctx, true); err != nil {
		t.Fatal(err)
	}
	settle(t, r, seq, 8)
	if rep := (&scene{room: r}).prove(t); !rep.OK() {
		t.Error(rep.Text())
	}

	// One that somebody without the writers' key puts into the table does not count.
	at := since()
	super(`INSERT INTO audit_logs (timestamp, id, user_id, actor_type, action_type, resource_type, resource_id, result, code, interface, request_id, leaf, mac)
		SELECT timestamp + interval '5 minutes', gen_random_uuid(), user_id, actor_type, action_type, resource_type, resource_id, result, code, interface, request_id, leaf, mac
		FROM audit_logs WHERE action_type = 'audit.verify' AND result = 'success'`)(t, &scene{room: r})
	waitFor(t, "a quarantine", func() bool {
		_, err := seq.Round(t.Context())
		return err == nil && pgtest.Value[int](t, r.DB, `SELECT count(*) FROM audit_quarantine`) == 2
	})
	if now := since(); !now.Equal(at) {
		t.Errorf("a verification that was made up counts: %s, not %s", now, at)
	}
}

func TestMonthsThatShouldBeInTheArchiveAreCounted(t *testing.T) {
	e := newEra(t, 3, archive.Dir(t.TempDir()))
	overdue := func(now time.Time) int {
		t.Helper()
		n, err := audit.OverdueMonths(t.Context(), e.Pool, now)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, c := range []struct {
		now  time.Time
		want int
	}{
		{e.month(0).AddDate(0, 0, 20), 0},
		{e.month(1).Add(10*24*time.Hour - time.Second), 0},
		{e.month(1).Add(10 * 24 * time.Hour), 1},
		{e.month(3).Add(10 * 24 * time.Hour), 3},
	} {
		if n := overdue(c.now); n != c.want {
			t.Errorf("%d months are overdue on %s, not %d", n, c.now.Format(time.DateTime), c.want)
		}
	}
	e.run(t)
	if n := overdue(e.today); n != 0 {
		t.Errorf("%d months are overdue after a run", n)
	}
	e.Exec(t, `ALTER TABLE audit_archives DISABLE TRIGGER USER`)
	e.Exec(t, `UPDATE audit_archives SET state = 'exported' WHERE month = $1`, e.month(1))
	if n := overdue(e.today); n != 1 {
		t.Errorf("%d months are overdue, of which one was exported and not verified", n)
	}
}
