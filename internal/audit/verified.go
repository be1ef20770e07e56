package audit

import (
	"context"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/postgres"
)

// VerifyAction is the action of the entry that records that the whole log was verified.
const VerifyAction = "audit.verify"

// RecordVerification records what a verification of the whole log found, as done by the context's actor.
func (l *Log) RecordVerification(ctx context.Context, r *verify.Report) error {
	e := entry{result: leaf.Success, Event: Event{Action: VerifyAction, ResourceType: "audit", ResourceID: r.Origin, Details: map[string]any{
		"size": r.Size, "entries": r.Entries, "failures": int64(len(r.Failures) + r.Omitted),
	}}}
	if !r.OK() {
		e.result = leaf.Failed
		failed := []any{}
		for _, c := range r.Failed() {
			failed = append(failed, string(c))
		}
		e.Details["failed"] = failed
	}
	return Public(l.note(ctx, l.pool, actor.From(ctx), e))
}

// UnverifiedSince is since when no verification of the whole log that found nothing was recorded: the last one, or the
// beginning of the log; the zero time where nothing is signed yet. What the sequencer kept out of the log does not count.
func UnverifiedSince(ctx context.Context, q postgres.Querier) (time.Time, error) {
	var since *time.Time
	err := q.QueryRow(ctx, `
		SELECT coalesce(
			(SELECT timestamp
			 FROM audit_logs e
			 WHERE action_type = $1 AND result = $2 AND NOT EXISTS (SELECT FROM audit_quarantine q WHERE q.timestamp = e.timestamp AND q.id = e.id)
			 ORDER BY timestamp DESC, id DESC
			 LIMIT 1),
			(SELECT signed_at FROM audit_checkpoints ORDER BY size LIMIT 1))`, VerifyAction, string(leaf.Success)).Scan(&since)
	if err != nil || since == nil {
		return time.Time{}, err
	}
	return *since, nil
}

// overdueAfter is how long after its end a month should have been verified in the archive: it is sealed after a week, and
// servers look every hour.
const overdueAfter = 10 * 24 * time.Hour

// OverdueMonths is how many months of the log ended so long ago, and are not verified in the archive.
func OverdueMonths(ctx context.Context, q postgres.Querier, now time.Time) (n int, err error) {
	err = q.QueryRow(ctx, `
		SELECT count(*)
		FROM generate_series(
			(SELECT date_trunc('month', signed_at, 'UTC') FROM audit_checkpoints ORDER BY size LIMIT 1),
			date_trunc('month', $1::timestamptz, 'UTC') - interval '1 month', interval '1 month') m
		LEFT JOIN audit_archives a ON a.month = m
		WHERE coalesce(a.state, $2) IN ($2, $3, $4)
		  AND EXISTS (SELECT FROM pg_class WHERE relname = 'audit_logs' || to_char(m, '_YYYY_MM') AND relnamespace = 'audit_parts'::regnamespace)`,
		now.Add(-overdueAfter), string(MonthOpen), string(MonthSealed), string(MonthExported)).Scan(&n)
	return n, err
}
