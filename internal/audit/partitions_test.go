package audit_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

// present is the beginning of the month in which the test runs: the database's own clock bounds what may be made.
func present() time.Time { return clock.StartOfMonth(clock.System()) }

// lost counts the rows that are not in the month of their timestamp, and those in an overflow partition.
func lost(t *testing.T, db *pgtest.DB) int {
	t.Helper()
	n := 0
	for _, table := range audit.PartitionedTables() {
		n += pgtest.Value[int](t, db, `
			SELECT count(*)
			FROM `+table+`
			WHERE tableoid::regclass::text <> 'audit_parts.`+table+`' || to_char(timestamp AT TIME ZONE 'UTC', '_YYYY_MM')`)
	}
	return n
}

// contents is what both tables hold, the xid of each row included.
func contents(t *testing.T, db *pgtest.DB) []string {
	t.Helper()
	rows, err := db.Owner.Query(t.Context(), `
		SELECT id || ' ' || xid || ' ' || md5(a::text) FROM audit_logs a
		UNION ALL
		SELECT entry_id || ' ' || xid || ' ' || md5(p::text) FROM audit_personal_data p
		ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func partitions(t *testing.T, db *pgtest.DB) []audit.Partition {
	t.Helper()
	parts, err := audit.Partitions(t.Context(), db.Pool)
	if err != nil {
		t.Fatal(err)
	}
	for i := range parts { // what vacuum and writers change
		parts[i].Bytes, parts[i].EstimatedRows = 0, nil
	}
	return parts
}

func health(t *testing.T, db *pgtest.DB, now time.Time) *audit.Health {
	t.Helper()
	h, err := audit.CheckPartitions(t.Context(), db.Pool, now)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestTenYearsOfMonthsWithAServerWhoseJobWasDeadForThreeFailNoWriteAndLeaveNoOverflow(t *testing.T) {
	db := pgtest.New(t)
	begin := present()
	now := clock.At(begin)
	log := db.Log(t, now.Now)
	ctx := actor.With(t.Context(), someone)
	// The job makes two years ahead, so a job that is dead for three leaves one to the overflow partition.
	const died, revived, months = 30, 66, 120
	written := 0
	for n := range months {
		month := begin.AddDate(0, n, 0)
		next := month.AddDate(0, 1, 0)
		if n == revived {
			now.Set(month)
			before := contents(t, db)
			h := health(t, db, month)
			if !h.Critical() || h.Overflow[1].Rows != 4*12 || h.MonthsAhead["audit_logs"] != 0 {
				t.Errorf("before the job came back: %+v", h)
			}
			if made, err := log.EnsurePartitions(ctx); err != nil || made != 2*(revived-died+1) {
				t.Fatalf("made %d: %v", made, err)
			}
			if diff := cmp.Diff(before, contents(t, db)); diff != "" {
				t.Errorf("moving changed rows:\n%s", diff)
			}
		}
		// Midnights, the last microsecond, the 29th, 30th or 31st, and 13:00 on the last day, when it is the next in Chatham.
		for _, at := range []time.Time{month, month.AddDate(0, 0, 14), next.Add(-11 * time.Hour), next.Add(-time.Microsecond)} {
			now.Set(at)
			if n < died || n >= revived {
				if made, err := log.EnsurePartitions(ctx); err != nil || made != 0 && made != 2 {
					t.Fatalf("at %s: made %d: %v", at, made, err)
				}
			}
			err := log.Change(ctx, intent, func(tx *audit.Tx) error {
				tx.Record(audit.Event{Action: "team.create", ResourceType: "team", ResourceID: "team_a"})
				return nil
			})
			if err != nil {
				t.Fatalf("at %s: %v", at, err)
			}
			written++
		}
		if n < died || n >= revived {
			if h := health(t, db, now.Now()); len(h.Problems) > 0 || h.MonthsAhead["audit_logs"] != audit.MonthsAhead || h.MonthsAhead["audit_personal_data"] != audit.MonthsAhead {
				t.Errorf("in %s: %+v", month, h)
			}
		}
	}
	if n := lost(t, db); n != 0 {
		t.Errorf("%d rows are not in their month", n)
	}
	if all := contents(t, db); len(all) != 2*written {
		t.Errorf("%d rows of %d entries", len(all), written)
	}
	parts := partitions(t, db)
	for i, p := range parts {
		if i > 0 && parts[i-1].Table == p.Table && !parts[i-1].To.Equal(*p.From) {
			t.Errorf("%s begins at %s, and %s ends at %s", p.Name, p.From, parts[i-1].Name, parts[i-1].To)
		}
		if p.Kind == audit.KindMonth && p.Name != p.Table+p.From.Format("_2006_01") {
			t.Errorf("%s begins at %s", p.Name, p.From)
		}
		if p.Kind != audit.KindMonth && p.Kind != audit.KindPast && p.Kind != audit.KindFuture {
			t.Errorf("%s is %s", p.Name, p.Kind)
		}
	}
}

func TestMonthsAreCutAtMidnightUTCInAnySessionsZone(t *testing.T) {
	db := pgtest.New(t)
	for i, zone := range []string{"Pacific/Kiritimati", "America/St_Johns", "Pacific/Pago_Pago", "Europe/Berlin"} {
		c, err := pgx.Connect(t.Context(), db.AppURL)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close(context.Background()) }) // nothing is lost with it
		if _, err := c.Exec(t.Context(), `SELECT set_config('timezone', $1, false)`, zone); err != nil {
			t.Fatal(err)
		}
		var made int
		if err := c.QueryRow(t.Context(), `SELECT audit_partitions_ensure(24, $1)`, present().AddDate(0, i+2, 0).Add(-time.Microsecond)).Scan(&made); err != nil || made != 2 {
			t.Errorf("%s: made %d: %v", zone, made, err)
		}
		parts, err := audit.Partitions(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			if p.Kind == audit.KindOdd {
				t.Errorf("%s: %s is from %s to %s", zone, p.Name, p.From, p.To)
			}
		}
	}
}

func TestProgramsOfTheReleaseBeforeMakeMonthsToo(t *testing.T) {
	db := pgtest.New(t)
	var made int
	if err := db.Pool.QueryRow(t.Context(), `SELECT audit_partitions_ensure(26)`).Scan(&made); err != nil || made != 4 {
		t.Errorf("made %d: %v", made, err)
	}
}

func TestNoCallMakesMoreMonthsThanAPersonCouldWant(t *testing.T) {
	db := pgtest.New(t)
	before := partitions(t, db)
	for _, c := range []struct {
		months any
		at     any
		code   string
	}{
		{-1, present(), "22023"},
		{241, present(), "22023"},
		{math.MaxInt32, present(), "22023"},
		{nil, present(), "22023"},
		{24, nil, "22023"},
		{24, "infinity", "22023"},
		{24, "-infinity", "22023"},
		{24, time.Date(2025, 12, 31, 23, 59, 59, 999_999_000, time.UTC), "22023"},
		{24, time.Unix(0, 0), "22023"},
		{24, present().AddDate(0, 278, 0), "22023"},
		{0, present().AddDate(0, 302, 0), "22023"},
		{240, present().AddDate(0, 62, 0), "22023"},
		{0, "294276-12-31 23:59:59+00", "22023"},
	} {
		_, err := db.Pool.Exec(t.Context(), `SELECT audit_partitions_ensure($1, $2::text::timestamptz)`, c.months, text(c.at))
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != c.code {
			t.Errorf("%v months from %v: %v", c.months, c.at, err)
		}
	}
	// A transaction with an old snapshot would not see what comes while the overflow is moved.
	err := pgx.BeginTxFunc(t.Context(), db.Pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `SELECT audit_partitions_ensure(25, now())`)
		return err
	})
	if pg := (*pgconn.PgError)(nil); !errors.As(err, &pg) || pg.Code != "25001" {
		t.Errorf("in a repeatable read: %v", err)
	}
	if diff := cmp.Diff(before, partitions(t, db)); diff != "" {
		t.Errorf("the partitions changed:\n%s", diff)
	}
	if made, err := audit.MakePartitions(t.Context(), db.Pool, present(), 240); err != nil || made != 2*(240-audit.MonthsAhead) {
		t.Errorf("twenty years: made %d: %v", made, err)
	}
}

func text(at any) any {
	if at, ok := at.(time.Time); ok {
		return at.UTC().Format(time.RFC3339Nano)
	}
	return at
}

func TestAClockThatIsFarOffMakesNoMonthsAndFailsNoWrite(t *testing.T) {
	db := pgtest.New(t)
	for i, at := range []time.Time{time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2500, 2, 28, 0, 0, 0, 0, time.UTC)} {
		log := db.Log(t, clock.At(at).Now)
		if made, err := log.EnsurePartitions(t.Context()); err == nil || errors.Is(err, audit.ErrPartitionsBusy) || made != 0 {
			t.Errorf("in %d: made %d: %v", at.Year(), made, err)
		}
		if err := log.Note(actor.With(t.Context(), someone), audit.Event{Action: "audit.read", ResourceType: "audit"}); err != nil {
			t.Errorf("in %d: %v", at.Year(), err)
		}
		h := health(t, db, present())
		if len(h.Problems) != 2*(i+1) || h.Critical() {
			t.Errorf("%+v", h.Problems)
		}
	}
}

func TestTheCheckSaysWhatIsWrongAndWhatToDo(t *testing.T) {
	month := func(n int) string { return present().AddDate(0, n, 0).Format("2006_01") }
	for name, c := range map[string]struct {
		spoil  func(t *testing.T, db *pgtest.DB)
		later  int // months
		says   string
		do     string
		severe bool
		ahead  int
	}{
		"all is well":                       {ahead: 24},
		"the job has been dead for a while": {later: 20, says: "only 4 months are made ahead", do: "create", ahead: 4},
		"it has been dead for long":         {later: 23, says: "only 1 months are made ahead", do: "create", severe: true, ahead: 1},
		"the present month is missing":      {later: 25, says: "has no partition", do: "create", severe: true},
		"a row in the future's overflow": {
			spoil: func(t *testing.T, db *pgtest.DB) { seedOverflow(t, db, 3, 30) },
			says:  "audit_logs_future has 3 rows", do: "create", ahead: 24,
		},
		"more rows than are counted": {
			spoil: func(t *testing.T, db *pgtest.DB) { seedOverflow(t, db, 10_001, 30) },
			says:  "audit_logs_future has more than 10000 rows", do: "create", ahead: 24,
		},
		"a row in the past's overflow": {
			spoil: func(t *testing.T, db *pgtest.DB) { seedOverflow(t, db, 1, -1200) },
			says:  "audit_logs_past has 1 rows", do: "clocks", ahead: 24,
		},
		"a month that somebody took away": {
			spoil: func(t *testing.T, db *pgtest.DB) {
				db.Exec(t, `ALTER TABLE audit_logs DETACH PARTITION audit_parts.audit_logs_`+month(8))
			},
			says: "no partition takes writes from " + present().AddDate(0, 8, 0).Format("2006-01-02 15:04:05Z"), do: "attach", severe: true, ahead: 7,
		},
		"an overflow that somebody took away": {
			spoil: func(t *testing.T, db *pgtest.DB) {
				db.Exec(t, `ALTER TABLE audit_logs DETACH PARTITION audit_parts.audit_logs_future`)
			},
			says: "no partition takes writes from " + present().AddDate(0, 25, 0).Format("2006-01-02 15:04:05Z"), do: "attach", severe: true, ahead: 24,
		},
		"a month that is half detached": {
			spoil: func(t *testing.T, db *pgtest.DB) { halfDetach(t, db, "audit_logs_"+month(9)) },
			says:  "audit_logs_" + month(9) + " is half detached", do: "FINALIZE", severe: true, ahead: 8,
		},
		"a default partition": {
			spoil: func(t *testing.T, db *pgtest.DB) {
				db.Exec(t, `CREATE TABLE audit_parts.rest PARTITION OF audit_logs DEFAULT`)
			},
			says: "rest is a DEFAULT partition", do: "DETACH", severe: true, ahead: 24,
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := pgtest.New(t)
			if c.spoil != nil {
				c.spoil(t, db)
			}
			h := health(t, db, present().AddDate(0, c.later, 0))
			if h.MonthsAhead["audit_logs"] != c.ahead || h.Critical() != c.severe || (c.says == "") != (h.Summary() == "") || !strings.Contains(h.Summary(), c.says) {
				t.Errorf("%d months ahead, critical: %t, %q", h.MonthsAhead["audit_logs"], h.Critical(), h.Summary())
			}
			for _, p := range h.Problems {
				if !strings.Contains(p.Do, c.do) {
					t.Errorf("%s: %s", p.What, p.Do)
				}
			}
		})
	}
}

// halfDetach begins to detach a month and is interrupted, as a person is who grows impatient.
func halfDetach(t *testing.T, db *pgtest.DB, part string) {
	t.Helper()
	reader, err := db.Owner.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Exec(t.Context(), `SELECT FROM audit_logs`); err != nil {
		t.Fatal(err)
	}
	c, err := pgx.Connect(t.Context(), db.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(t.Context(), `SET lock_timeout = '100ms'`); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(t.Context(), `ALTER TABLE audit_logs DETACH PARTITION audit_parts.`+part+` CONCURRENTLY`); err == nil {
		t.Fatal("it was detached although somebody reads the table")
	}
	if err := errors.Join(c.Close(t.Context()), reader.Rollback(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func TestWhatWasTakenAwayIsMadeAgainAndWhatIsOnlyDetachedIsLeft(t *testing.T) {
	db := pgtest.New(t)
	gone, kept := present().AddDate(0, 5, 0), present().AddDate(0, 7, 0)
	db.Exec(t, `DROP TABLE audit_parts.audit_logs_`+gone.Format("2006_01"))
	db.Exec(t, `ALTER TABLE audit_logs DETACH PARTITION audit_parts.audit_logs_`+kept.Format("2006_01"))
	if made, err := audit.MakePartitions(t.Context(), db.Pool, present().AddDate(0, 1, 0), audit.MonthsAhead); err != nil || made != 3 {
		t.Fatalf("made %d: %v", made, err)
	}
	if h := health(t, db, present()); len(h.Problems) != 1 || !strings.Contains(h.Summary(), kept.Format("2006-01-02")) {
		t.Errorf("%q", h.Summary())
	}
}
