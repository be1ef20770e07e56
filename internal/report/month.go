package report

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres"
)

// What refuses to close a month.
var (
	ErrNotOver    = fault.New(fault.Conflict, "MONTH_NOT_OVER", "the month is not over", fault.Suggest("close it after its end, which is UTC's"))
	ErrNotSettled = fault.New(fault.Conflict, "MONTH_NOT_SETTLED", "not everything of the month is settled",
		fault.Suggest("settlement goes by itself; try again in a minute"))
	ErrOrder = fault.New(fault.Conflict, "MONTH_OUT_OF_ORDER", "months are closed one after the other", fault.Suggest("close the month that is named first"))
)

// Closing is how a month was closed. Total is of all records that its report is made of.
type Closing struct {
	Month       time.Time
	ClosedAt    time.Time
	ClosedBy    string
	Records     int64
	LastRecord  string
	TotalMicros money.USD
	ContentHash []byte
}

// Hex is the content hash as people write it.
func (c Closing) Hex() string { return hex.EncodeToString(c.ContentHash) }

// Find is how a month was closed; pgx.ErrNoRows if it was not.
func Find(ctx context.Context, q postgres.Querier, month time.Time) (Closing, error) {
	return postgres.One[Closing](ctx, q, `
		SELECT month, closed_at, closed_by, records, last_record, total_micros, content_hash
		FROM cost_months
		WHERE month = $1`, month)
}

// Close makes the report of a month final. What is recorded for the month afterwards is in the report of the month after
// the last that is closed. A month that is closed already stays as it is: then the error is audit.ErrNothing.
func Close(ctx context.Context, tx *audit.Tx, month time.Time) (Closing, error) {
	var none Closing
	if err := policy.Require(tx.Actor, policy.CostClose, "", ""); err != nil {
		return none, err
	}
	if end := clock.StartOfNextMonth(month); tx.Now.Before(end) {
		return none, ErrNotOver.Detail("ends", end.Format(time.RFC3339))
	}
	if err := alone(ctx, tx, month); err != nil {
		return none, err
	}
	c, err := Find(ctx, tx, month)
	if err == nil {
		return c, audit.ErrNothing
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return none, err
	}
	if err := next(ctx, tx, month); err != nil {
		return none, err
	}
	if err := settled(ctx, tx, month); err != nil {
		return none, err
	}
	r := &Report{Month: month, AsOf: tx.Now, q: tx, closed: true}
	if _, err := tx.Exec(ctx, `
		WITH c AS MATERIALIZED (SELECT x.workspace_id, x.team_id, x.project_id FROM `+r.covered()+` x)
		INSERT INTO cost_month_names (month, id, name, provider_id)
		SELECT $1, n.id, n.name, n.provider_id
		FROM `+liveNames+` n
		WHERE n.id IN (SELECT workspace_id FROM c UNION SELECT team_id FROM c UNION SELECT project_id FROM c)`, month, r.End()); err != nil {
		return none, err
	}
	if err := r.load(ctx); err != nil {
		return none, err
	}
	content := sha256.New()
	if err := r.Write(ctx, content, JSON, ""); err != nil {
		return none, err
	}
	c = Closing{month, tx.Now, string(tx.Actor.User), r.Records, r.Last, r.Total.Total, content.Sum(nil)}
	if c.ClosedBy == "" {
		c.ClosedBy = tx.Actor.Name
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO cost_months (month, closed_at, closed_by, records, last_record, total_micros, content_hash)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`, c.Month, c.ClosedAt, c.ClosedBy, c.Records, c.LastRecord, c.TotalMicros, c.ContentHash); err != nil {
		return none, err
	}
	tx.Record(audit.Event{Action: string(policy.CostClose), ResourceType: "cost_month", ResourceID: month.Format(monthForm), Details: map[string]any{
		"records": c.Records, "last_record": c.LastRecord, "total_micros": audit.Microdollars(int64(c.TotalMicros)), "content_sha256": c.Hex(),
	}})
	return c, nil
}

// monthLock is the class of the months' advisory locks, which the trigger of cost_records shares: "mont" in ASCII.
const monthLock = 0x6d6f6e74

// alone waits for everybody who has written a record of the month, or of the one before, and keeps others from it.
func alone(ctx context.Context, tx *audit.Tx, month time.Time) error {
	for _, m := range []time.Time{month.AddDate(0, -1, 0), month} {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1, $2)`, monthLock, m.Year()*12+int(m.Month())); err != nil {
			return err
		}
	}
	return nil
}

// next refuses a month that is not the one after the last closed; the first to be closed is the first that cost anything.
func next(ctx context.Context, q postgres.Querier, month time.Time) error {
	var due *time.Time
	if err := q.QueryRow(ctx, `
		SELECT coalesce((SELECT max(month) + interval '1 month' FROM cost_months), (SELECT date_trunc('month', min(period_start), 'UTC') FROM cost_records))`).Scan(&due); err != nil {
		return err
	}
	if due != nil && !due.Equal(month) {
		return ErrOrder.Detail("next", due.UTC().Format(monthForm))
	}
	return nil
}

// settled refuses a month of which something is not settled.
func settled(ctx context.Context, q postgres.Querier, month time.Time) error {
	open, err := postgres.One[struct {
		Usages     int64
		Since      *time.Time
		Workspaces []string
	}](ctx, q, `
		SELECT count(*) AS usages, min(settled_until) AS since, coalesce((array_agg(DISTINCT workspace_id))[1:20], '{}') AS workspaces
		FROM usage
		WHERE due_at <= $1 AND settled_until < $1`, clock.StartOfNextMonth(month))
	if err != nil || open.Usages == 0 {
		return err
	}
	return ErrNotSettled.Detail("usages", open.Usages).Detail("settled_until", open.Since.UTC().Format(time.RFC3339)).Detail("workspaces", open.Workspaces)
}
