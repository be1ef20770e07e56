package cost

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
)

// Kinds of usage.
const (
	fixedMonth = "fixed_month"
	running    = "running"
)

// Subject is the WorkSpace that a meter is about, as it is when the meter opens.
type Subject struct {
	Workspace  id.WorkSpace
	Payer      budget.Payer
	CostCentre string
	Spec       price.Spec
}

// Meter opens, settles and closes usage, and charges it to the budgets.
type Meter struct {
	Budgets *budget.Book
}

// usage is one fact: something ran, or a monthly fee applies, from OpenedAt on.
type usage struct {
	ID            id.Usage
	WorkspaceID   id.WorkSpace
	Kind          string
	OpenedAt      time.Time
	ClosedAt      *time.Time
	PriceID       int64
	RateMicros    money.USD
	HourRule      price.HourRule
	UserID        id.User
	TeamID        id.Team
	ProjectID     *id.Project
	CostCentre    string
	SettledUntil  time.Time
	SettledMicros money.USD
}

const usageColumns = `
	id, workspace_id, kind, opened_at, closed_at, price_id, rate_micros, hour_rule, user_id, team_id, project_id, cost_centre,
	settled_until, settled_micros`

func (u *usage) payer() budget.Payer {
	p := budget.Payer{User: u.UserID, Team: u.TeamID}
	if u.ProjectID != nil {
		p.Project = *u.ProjectID
	}
	return p
}

// total is what the usage costs from its opening until t. Records are differences of it.
func (u *usage) total(t time.Time) money.USD {
	if u.Kind == running {
		return price.Running(u.HourRule, u.RateMicros, u.OpenedAt, t)
	}
	panic("cost: a monthly fee has no running total")
}

// Begin opens the meters of a WorkSpace that has come to run: the fixed fee, which posts at once prorated to the rest of
// the month, and for AUTO_STOP the running time. Meters that are open stay as they are.
func (m *Meter) Begin(ctx context.Context, tx *audit.Tx, s Subject) error {
	book, err := BookAt(ctx, tx, tx.Now)
	if err != nil {
		return err
	}
	rates, err := book.RatesOf(s.Spec)
	if err != nil {
		return err
	}
	fee, err := m.open(ctx, tx, s, fixedMonth, rates.Month, rates.Rule)
	if err != nil {
		return err
	}
	if fee != nil {
		if err := m.settle(ctx, tx, fee, tx.Now); err != nil {
			return err
		}
	}
	if rates.Hour == nil {
		return nil
	}
	_, err = m.open(ctx, tx, s, running, *rates.Hour, rates.Rule)
	return err
}

// open inserts an open usage; nil when one of the kind is open already.
func (m *Meter) open(ctx context.Context, tx *audit.Tx, s Subject, kind string, p price.Price, rule price.HourRule) (*usage, error) {
	due := tx.Now
	if kind == running {
		due = nextHour(tx.Now)
	}
	u, err := postgres.One[usage](ctx, tx, `
		INSERT INTO usage (id, workspace_id, kind, opened_at, price_id, rate_micros, hour_rule, user_id, team_id, project_id, cost_centre, settled_until, due_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, nullif($10, ''), $11, $4, $12)
		ON CONFLICT (workspace_id, kind) WHERE closed_at IS NULL DO NOTHING
		RETURNING`+usageColumns,
		id.New[id.Usage](), s.Workspace, kind, tx.Now, p.ID, p.Amount, rule, s.Payer.User, s.Payer.Team, s.Payer.Project, s.CostCentre, due)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return &u, err
}

func nextHour(t time.Time) time.Time { return t.Truncate(time.Hour).Add(time.Hour) }

// Pause closes the running-time meter: the WorkSpace no longer runs. What it ran is settled and charged here, in the
// same transaction, so that no charge can come after.
func (m *Meter) Pause(ctx context.Context, tx *audit.Tx, ws id.WorkSpace) error {
	return m.close(ctx, tx, ws, running, tx.Now)
}

// End closes every meter of a WorkSpace that is gone, at the instant it was last known to be there. What was settled and
// charged beyond that stays.
func (m *Meter) End(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, last time.Time) error {
	// All of them are locked before any budget is: the order in which everything here takes its locks.
	if _, err := tx.Exec(ctx, `SELECT FROM usage WHERE workspace_id = $1 AND closed_at IS NULL ORDER BY id FOR UPDATE`, ws); err != nil {
		return err
	}
	if err := m.close(ctx, tx, ws, running, last); err != nil {
		return err
	}
	return m.close(ctx, tx, ws, fixedMonth, last)
}

func (m *Meter) close(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, kind string, end time.Time) error {
	u, err := postgres.One[usage](ctx, tx, `
		SELECT`+usageColumns+`
		FROM usage
		WHERE workspace_id = $1 AND kind = $2 AND closed_at IS NULL
		FOR UPDATE`, ws, kind)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	// A clock that is behind the opener's must not close before the opening, nor running time before what is settled; a
	// month's fee is settled to the month's end.
	least := u.OpenedAt
	if kind == running {
		least = u.SettledUntil
	}
	if end.Before(least) {
		end = least
	}
	if kind == running {
		if err := m.slices(ctx, tx, &u, end); err != nil {
			return err
		}
		if end.After(u.SettledUntil) {
			if err := m.slice(ctx, tx, &u, end); err != nil {
				return err
			}
		}
	} else if err := m.fees(ctx, tx, &u, end); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		UPDATE usage
		SET closed_at = $2, settled_until = $3, settled_micros = $4, due_at = NULL
		WHERE id = $1`, u.ID, end, u.SettledUntil, u.SettledMicros)
	return err
}

// settle brings one open usage up to now and says when it is due again.
func (m *Meter) settle(ctx context.Context, tx *audit.Tx, u *usage, now time.Time) error {
	var due time.Time
	if u.Kind == fixedMonth {
		if err := m.fees(ctx, tx, u, now); err != nil {
			return err
		}
		due = u.SettledUntil
	} else {
		if err := m.slices(ctx, tx, u, now); err != nil {
			return err
		}
		due = nextHour(u.SettledUntil)
	}
	_, err := tx.Exec(ctx, `
		UPDATE usage
		SET settled_until = $2, settled_micros = $3, due_at = $4
		WHERE id = $1`, u.ID, u.SettledUntil, u.SettledMicros, due)
	return err
}

// fees posts the fees of the months that have begun by now: one that ends in a month owes its fee, whoever settles first.
func (m *Meter) fees(ctx context.Context, tx *audit.Tx, u *usage, now time.Time) error {
	for !u.SettledUntil.After(now) {
		if err := m.postFee(ctx, tx, u); err != nil {
			return err
		}
	}
	return nil
}

// postFee posts one month's fixed fee: prorated in the month of the opening, whole at the first of every later one.
func (m *Meter) postFee(ctx context.Context, tx *audit.Tx, u *usage) error {
	amount := price.MonthShare(u.RateMicros, u.SettledUntil)
	return m.record(ctx, tx, u, clock.StartOfNextMonth(u.SettledUntil), amount, budget.Fixed, "monthly fee")
}

// slices settles the whole hours up to now; months begin on an hour, so no slice crosses one.
func (m *Meter) slices(ctx context.Context, tx *audit.Tx, u *usage, now time.Time) error {
	for end := nextHour(u.SettledUntil); !end.After(now); end = nextHour(end) {
		if err := m.slice(ctx, tx, u, end); err != nil {
			return err
		}
	}
	return nil
}

func (m *Meter) slice(ctx context.Context, tx *audit.Tx, u *usage, end time.Time) error {
	return m.record(ctx, tx, u, end, u.total(end)-u.SettledMicros, budget.Lease, "running time")
}

// record charges a slice and then writes it: in this order, because a budget whose month the charge opens begins with
// the records that are there.
func (m *Meter) record(ctx context.Context, tx *audit.Tx, u *usage, end time.Time, amount money.USD, part budget.Part, reason string) error {
	if err := m.Budgets.Charge(ctx, tx, u.WorkspaceID, u.payer(), part, clock.StartOfMonth(u.SettledUntil), amount, reason); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO cost_records (id, usage_id, workspace_id, user_id, team_id, project_id, cost_centre, price_id, compute_cost_micros, period_start, period_end, recorded_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		id.New[id.CostRecord](), u.ID, u.WorkspaceID, u.UserID, u.TeamID, u.ProjectID, u.CostCentre, u.PriceID, amount, u.SettledUntil, end, tx.Now); err != nil {
		return err
	}
	u.SettledUntil, u.SettledMicros = end, u.SettledMicros+amount
	return nil
}

// Settle settles up to limit usages that are due, renews the leases of those that run on, and returns how many it
// settled. Replicas share the work: each takes rows that no other holds. It must be called within a change.
func (m *Meter) Settle(ctx context.Context, tx *audit.Tx, limit int) (int, error) {
	due, err := postgres.Many[usage](ctx, tx, `
		SELECT`+usageColumns+`
		FROM usage
		WHERE due_at <= $1
		ORDER BY due_at
		LIMIT $2
		FOR UPDATE SKIP LOCKED`, tx.Now, limit)
	if err != nil || len(due) == 0 {
		return 0, err
	}
	payers := make([]budget.Payer, len(due))
	for i := range due {
		payers[i] = due[i].payer()
	}
	if err := m.Budgets.Lock(ctx, tx, payers...); err != nil {
		return 0, err
	}
	var sum money.USD
	for i := range due {
		u := &due[i]
		before := u.SettledMicros
		if err := m.settle(ctx, tx, u, tx.Now); err != nil {
			return 0, err
		}
		if u.Kind == running {
			if err := m.Budgets.RenewOrTell(ctx, tx, u.WorkspaceID); err != nil {
				return 0, err
			}
		}
		sum += u.SettledMicros - before
	}
	tx.Record(audit.Event{Action: "cost.settle", ResourceType: "cost", ResourceID: "", Details: map[string]any{
		"usages": len(due), "total_micros": audit.Microdollars(int64(sum)),
	}})
	return len(due), nil
}

// Spent is what was settled for a budget's scope in a span of time.
func Spent(ctx context.Context, q postgres.Querier, s budget.Scope, scopeID string, from, to time.Time) (money.USD, error) {
	conditions, args := "period_start >= $1 AND period_start < $2", []any{from, to}
	if column := s.Column(); column != "" {
		conditions, args = conditions+" AND "+column+" = $3", append(args, scopeID)
	}
	var sum money.USD
	err := q.QueryRow(ctx, `
		SELECT coalesce(sum(total_cost_micros), 0)::bigint
		FROM cost_records
		WHERE `+conditions, planned(args)...).Scan(&sum)
	return sum, err
}
