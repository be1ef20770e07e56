package cost

import (
	"context"
	"errors"
	"strings"
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
	storage    = "storage" // the monthly fee for volumes beyond the bundle's; it comes and goes with the fixed one
)

// Subject is the WorkSpace that a meter is about, as it is when the meter opens or is switched.
type Subject struct {
	Workspace  id.WorkSpace
	Payer      budget.Payer
	CostCentre string
	Spec       price.Spec
	// BlueprintVersion is what it was made of, and Tags what its people say of it: costs are counted under both.
	BlueprintVersion id.BlueprintVersion
	Tags             map[string]string
	// Since is from when on the fees of the month in which its meters open are owed: when Amazon accepted it. Zero is from
	// when they open. A month before that is not owed, though it was accepted in it.
	Since time.Time
}

// Meter opens, settles and closes usage, and charges it to the budgets.
type Meter struct {
	Budgets *budget.Book
}

// usage is one fact: something ran, or a monthly fee applies, from OpenedAt on. Both may be in the future: running time that
// is paid for until then, a fee that is sold until the month ends and the one that follows it.
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
	// RootGib and UserGib are the volumes that a fee for volumes was sold for.
	RootGib, UserGib int
	// due are the prices of the months that are not settled, where they have been asked for.
	due []money.USD
	// repriced says that the next month's fee is the first at another price.
	repriced bool
}

const usageColumns = `
	id, workspace_id, kind, opened_at, closed_at, price_id, rate_micros, hour_rule, user_id, team_id, project_id, cost_centre,
	settled_until, settled_micros, root_gib, user_gib`

// ofUsage are the same of a usage t beside other tables.
var ofUsage = "t." + strings.Join(strings.Fields(usageColumns), " t.")

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
// the month, with that for its volumes, and for AUTO_STOP the running time, from when it is not paid for already. Meters
// that are open stay as they are.
func (m *Meter) Begin(ctx context.Context, tx *audit.Tx, s Subject) error {
	return m.posted(ctx, tx, func(p *posting) error { return m.begin(ctx, p, s) })
}

func (m *Meter) begin(ctx context.Context, tx *posting, s Subject) error {
	book, err := BookAt(ctx, tx, tx.Now)
	if err != nil {
		return err
	}
	rates, err := book.RatesOf(s.Spec)
	if err != nil {
		return err
	}
	past, err := m.lock(ctx, tx.Tx, s)
	if err != nil {
		return err
	}
	past = past.own(s)
	if !past.open(fixedMonth) {
		from := tx.Now
		if first := past.find(fixedMonth, func(*meter) bool { return true }) == nil; first && !s.Since.IsZero() && s.Since.Before(from) {
			from = s.Since
		}
		if month := clock.StartOfMonth(tx.Now); from.Before(month) {
			from = month
		}
		if err := m.sell(ctx, tx, s, rates, from, nil); err != nil {
			return err
		}
	}
	if rates.Hour == nil || past.open(running) {
		return nil
	}
	_, err = m.open(ctx, tx, s, running, *rates.Hour, rates.Rule, past.unpaidFrom(tx.Now, rates.Rule), nil)
	return err
}

// open inserts a usage, which closes at the end if one is given.
func (m *Meter) open(ctx context.Context, tx *posting, s Subject, kind string, p price.Price, rule price.HourRule, from time.Time, end *time.Time) (*usage, error) {
	due := &from
	switch {
	case end != nil:
		due = nil
	case kind == running:
		hour := nextHour(from)
		due = &hour
	}
	under, err := attribute(ctx, tx, attributionOf(s))
	if err != nil {
		return nil, err
	}
	var rootGib, userGib int
	if kind == storage {
		rootGib, userGib = s.Spec.RootGiB, s.Spec.UserGiB
	}
	u, err := postgres.One[usage](ctx, tx, `
		INSERT INTO usage (id, workspace_id, kind, opened_at, closed_at, price_id, rate_micros, hour_rule, user_id, team_id, project_id, cost_centre, settled_until,
		                   due_at, attribution_id, root_gib, user_gib)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, nullif($11, ''), $12, $4, $13, $14, $15, $16)
		RETURNING`+usageColumns,
		id.New[id.Usage](), s.Workspace, kind, from, end, p.ID, p.Amount, rule, s.Payer.User, s.Payer.Team, s.Payer.Project, s.CostCentre, due, under, rootGib, userGib)
	return &u, err
}

// sell opens the monthly fees from an instant on. Those of a month that has begun post at once.
func (m *Meter) sell(ctx context.Context, tx *posting, s Subject, r price.Rates, from time.Time, end *time.Time) error {
	month, err := m.open(ctx, tx, s, fixedMonth, r.Month, r.Rule, from, end)
	if err != nil {
		return err
	}
	var extra *usage
	if r.Storage != nil {
		if extra, err = m.open(ctx, tx, s, storage, *r.Storage, r.Rule, from, end); err != nil {
			return err
		}
	}
	if from.After(tx.Now) && end == nil && from.Equal(clock.StartOfMonth(from)) {
		return nil // it is due then
	}
	until := clock.StartOfNextMonth(from)
	forMonth, forStorage := price.FeeParts(r.Month.Amount, r.Fee()-r.Month.Amount, from, until)
	if err := m.post(ctx, tx, month, until, forMonth); err != nil || extra == nil {
		return err
	}
	return m.post(ctx, tx, extra, until, forStorage)
}

// post records a fee until the end of its month.
func (m *Meter) post(ctx context.Context, tx *posting, u *usage, until time.Time, amount money.USD) error {
	tx.record(u, until, amount)
	return m.save(ctx, tx, u)
}

// save writes down how far a usage is settled, when it closed, and when it is due again.
func (m *Meter) save(ctx context.Context, tx *posting, u *usage) error {
	var due *time.Time
	if u.ClosedAt == nil {
		due = &u.SettledUntil
		if u.Kind == running {
			hour := nextHour(u.SettledUntil)
			due = &hour
		}
	}
	_, err := tx.Exec(ctx, `
		UPDATE usage
		SET closed_at = $2, settled_until = $3, settled_micros = $4, due_at = $5
		WHERE id = $1`, u.ID, u.ClosedAt, u.SettledUntil, u.SettledMicros, due)
	return err
}

func nextHour(t time.Time) time.Time { return t.Truncate(time.Hour).Add(time.Hour) }

// Pause closes the running-time meter: the WorkSpace no longer runs. What it ran is settled and charged here, in the
// same transaction, so that no charge can come after.
func (m *Meter) Pause(ctx context.Context, tx *audit.Tx, ws id.WorkSpace) error {
	u, err := postgres.One[usage](ctx, tx, `
		SELECT`+usageColumns+`
		FROM usage
		WHERE workspace_id = $1 AND kind = $2 AND closed_at IS NULL
		FOR UPDATE`, ws, running)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return m.posted(ctx, tx, func(p *posting) error { return m.close(ctx, p, &u, tx.Now) })
}

// End closes every meter of a WorkSpace that is gone, at the instant it was last known to be there. What was settled and
// charged beyond that stays.
func (m *Meter) End(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, last time.Time) error {
	past, err := m.lock(ctx, tx, Subject{Workspace: ws})
	if err != nil {
		return err
	}
	return m.posted(ctx, tx, func(p *posting) error {
		for i := range past {
			if past[i].ClosedAt != nil {
				continue
			}
			if err := m.close(ctx, p, &past[i].usage, last); err != nil {
				return err
			}
		}
		return nil
	})
}

// close closes an open usage. What did not begin before the end costs nothing.
func (m *Meter) close(ctx context.Context, tx *posting, u *usage, end time.Time) error {
	if u.Kind == running {
		// Neither before its opening, which may be by a clock that is ahead, nor before what is settled.
		if end.Before(u.SettledUntil) {
			end = u.SettledUntil
		}
		tx.slices(u, end)
		if end.After(u.SettledUntil) {
			tx.slice(u, end)
		}
	} else {
		if err := m.fees(ctx, tx, u, end); err != nil {
			return err
		}
		if end.Before(u.OpenedAt) { // what is settled may go to the month's end
			end = u.OpenedAt
		}
	}
	u.ClosedAt = &end
	return m.save(ctx, tx, u)
}

// settle brings one open usage up to now.
func (m *Meter) settle(ctx context.Context, tx *posting, u *usage, now time.Time) error {
	if u.Kind == running {
		tx.slices(u, now)
	} else if err := m.fees(ctx, tx, u, now); err != nil {
		return err
	}
	return m.save(ctx, tx, u)
}

// slices settles the whole hours up to now; months begin on an hour, so no slice crosses one.
func (p *posting) slices(u *usage, now time.Time) {
	for end := nextHour(u.SettledUntil); !end.After(now); end = nextHour(end) {
		p.slice(u, end)
	}
}

func (p *posting) slice(u *usage, end time.Time) { p.record(u, end, u.total(end)-u.SettledMicros) }

// record settles a usage until the end.
func (p *posting) record(u *usage, end time.Time, amount money.USD) {
	part, reason := budget.Fixed, "monthly fee"
	switch u.Kind {
	case running:
		part, reason = budget.Lease, "running time"
	case storage:
		reason = "monthly fee for volumes"
	}
	if u.repriced {
		reason, u.repriced = reason+", at a new price", false
	}
	p.write(u, "", u.SettledUntil, end, amount, part, reason)
	u.SettledUntil = end
}

// write has an amount charged and recorded for a span of one month. It corrects the record named, if any.
func (p *posting) write(u *usage, corrects id.CostRecord, from, until time.Time, amount money.USD, part budget.Part, reason string) {
	c := charge{u.WorkspaceID, u.payer(), part, clock.StartOfMonth(from), reason, amount}
	if last := len(p.charges) - 1; last >= 0 && p.charges[last].like(c) {
		p.charges[last].amount += amount
	} else {
		p.charges = append(p.charges, c)
	}
	r := record{id: id.New[id.CostRecord](), usage: u.ID, from: from, until: until, compute: amount, corrects: corrects}
	if u.Kind == storage {
		r.compute, r.storage = 0, amount
	}
	p.records = append(p.records, r)
	u.SettledMicros += amount
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
	workspaces, payers := make([]id.WorkSpace, len(due)), make([]budget.Payer, len(due))
	for i := range due {
		workspaces[i], payers[i] = due[i].WorkspaceID, due[i].payer()
	}
	if err := m.Budgets.Lock(ctx, tx, workspaces, payers...); err != nil {
		return 0, err
	}
	var sum money.USD
	if err := m.posted(ctx, tx, func(p *posting) error {
		for i := range due {
			if err := m.settle(ctx, p, &due[i], tx.Now); err != nil {
				return err
			}
		}
		for _, r := range p.records {
			sum += r.compute + r.storage
		}
		if err := p.charge(ctx); err != nil {
			return err
		}
		for i := range due {
			if due[i].Kind != running {
				continue
			}
			if err := m.Budgets.RenewOrTell(ctx, tx, due[i].WorkspaceID); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return 0, err
	}
	tx.Record(audit.Event{Action: "cost.settle", ResourceType: "cost", ResourceID: "", Details: map[string]any{
		"usages": len(due), "total_micros": audit.Microdollars(int64(sum)),
	}})
	return len(due), nil
}

// PaidUntil is how long the running time that a WorkSpace has open may go on until it has cost lease more than is settled;
// false if none is open, or it costs nothing.
func PaidUntil(ctx context.Context, q postgres.Querier, ws id.WorkSpace, lease money.USD) (until time.Time, runs bool, err error) {
	u, err := postgres.One[usage](ctx, q, `
		SELECT`+usageColumns+`
		FROM usage
		WHERE workspace_id = $1 AND kind = $2 AND closed_at IS NULL`, ws, running)
	if errors.Is(err, pgx.ErrNoRows) {
		return time.Time{}, false, nil
	}
	if err != nil || u.RateMicros == 0 {
		return time.Time{}, false, err
	}
	return price.PaidUntil(u.HourRule, u.RateMicros, u.OpenedAt.UTC(), u.SettledMicros+lease), true, nil
}

// Spent is what was settled for a budget's scope in whole days (UTC).
func Spent(ctx context.Context, q postgres.Querier, s budget.Scope, scopeID string, from, to time.Time) (money.USD, error) {
	dimension := strings.TrimSuffix(s.Column(), "_id")
	if dimension == "" {
		dimension, scopeID = "total", ""
	}
	var sum money.USD
	err := q.QueryRow(ctx, `
		SELECT coalesce(sum(compute_micros + storage_micros + transfer_micros), 0)::bigint
		FROM cost_days
		WHERE dimension = $1 AND key = $2 AND day >= $3 AND day < $4`, dimension, scopeID, from, to).Scan(&sum)
	return sum, err
}

// Relabel has what a WorkSpace costs counted under its present tags and blueprint version from now on: whole hours and fees
// that have begun stay under what they were.
func (m *Meter) Relabel(ctx context.Context, tx *audit.Tx, s Subject) error {
	past, err := m.lock(ctx, tx, s)
	if err != nil {
		return err
	}
	return m.posted(ctx, tx, func(p *posting) error {
		for i := range past {
			u := &past[i].usage
			if u.ClosedAt != nil {
				continue
			}
			if err := m.settle(ctx, p, u, tx.Now); err != nil {
				return err
			}
		}
		if err := p.flush(ctx); err != nil {
			return err
		}
		for i := range past {
			if past[i].ClosedAt != nil && !past[i].ClosedAt.After(tx.Now) {
				continue
			}
			if err := m.relabel(ctx, tx, past[i].ID, s); err != nil {
				return err
			}
		}
		return nil
	})
}

func (m *Meter) relabel(ctx context.Context, tx *audit.Tx, u id.Usage, s Subject) error {
	a, err := postgres.One[attribution](ctx, tx, `
		SELECT a.workspace_id, a.user_id, a.team_id, a.project_id, a.cost_centre, a.blueprint_version_id, a.bundle_type, a.region, a.tags
		FROM usage u JOIN cost_attributions a ON a.id = u.attribution_id
		WHERE u.id = $1`, u)
	if err != nil {
		return err
	}
	a.BlueprintVersionID, a.Tags = s.BlueprintVersion, s.Tags
	under, err := attribute(ctx, tx, a)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE usage SET attribution_id = $2 WHERE id = $1`, u, under)
	return err
}
