package cost

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
)

// posting is a change that writes records. They are charged and written at its end, all at once and with their sums.
type posting struct {
	*audit.Tx
	budgets *budget.Book
	tariffs *tariffs
	charges []charge
	records []record
}

// charge is what records of one usage and month are charged: hours in a row are one movement of the budgets.
type charge struct {
	workspace id.WorkSpace
	payer     budget.Payer
	part      budget.Part
	month     time.Time
	reason    string
	amount    money.USD
}

// like tells whether two charges are one but for their amounts. A fee ends the reservation for it, so it stands by itself.
func (c charge) like(d charge) bool {
	d.amount = c.amount
	return c == d && c.part == budget.Lease
}

// record is one that is not written yet.
type record struct {
	id               id.CostRecord
	usage            id.Usage
	from, until      time.Time
	compute, storage money.USD
	corrects         id.CostRecord
}

// posted runs fn, and charges and writes the records that it made.
func (m *Meter) posted(ctx context.Context, tx *audit.Tx, fn func(*posting) error) error {
	p := &posting{Tx: tx, budgets: m.Budgets, tariffs: newTariffs(tx)}
	if err := fn(p); err != nil {
		return err
	}
	return p.flush(ctx)
}

// charge charges the budgets what is not charged yet.
func (p *posting) charge(ctx context.Context) error {
	for _, c := range p.charges {
		if err := p.budgets.Charge(ctx, p.Tx, c.workspace, c.payer, c.part, c.month, c.amount, c.reason); err != nil {
			return err
		}
	}
	p.charges = nil
	return nil
}

// flush charges the records, writes them, and adds them to the sums: in this order, because a budget whose month a charge
// opens begins with the records that are there.
func (p *posting) flush(ctx context.Context) error {
	if err := p.charge(ctx); err != nil || len(p.records) == 0 {
		return err
	}
	n := len(p.records)
	ids, usages, corrects := make([]id.CostRecord, n), make([]id.Usage, n), make([]id.CostRecord, n)
	from, until := make([]time.Time, n), make([]time.Time, n)
	compute, storage := make([]money.USD, n), make([]money.USD, n)
	for i, r := range p.records {
		ids[i], usages[i], corrects[i], from[i], until[i], compute[i], storage[i] = r.id, r.usage, r.corrects, r.from, r.until, r.compute, r.storage
	}
	p.records = nil
	// What a record says of its usage is read from the usage, which the change has locked. A correction is counted under
	// what the corrected was.
	if _, err := p.Exec(ctx, `
		INSERT INTO cost_records (id, usage_id, workspace_id, user_id, team_id, project_id, cost_centre, price_id, attribution_id,
		                          compute_cost_micros, storage_cost_micros, period_start, period_end, recorded_at, corrects)
		SELECT r.id, u.id, u.workspace_id, u.user_id, u.team_id, u.project_id, u.cost_centre, u.price_id, coalesce(o.attribution_id, u.attribution_id),
		       r.compute, r.storage, r.period_start, r.period_end, $8, nullif(r.corrects, '')
		FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::timestamptz[], $7::text[])
		     r (id, usage_id, compute, storage, period_start, period_end, corrects)
		JOIN usage u ON u.id = r.usage_id LEFT JOIN cost_records o ON o.id = r.corrects`,
		ids, usages, compute, storage, from, until, corrects, p.Now); err != nil {
		return err
	}
	shard, err := p.shard(ctx)
	if err != nil {
		return err
	}
	if _, err := p.Exec(ctx, `
		INSERT INTO cost_hours AS h (attribution_id, hour, shard, compute_micros, storage_micros, transfer_micros)
		SELECT attribution_id, date_trunc('hour', period_start, 'UTC'), $2, `+sums+`
		FROM cost_records
		WHERE id = ANY($1)
		GROUP BY 1, 2
		ON CONFLICT (attribution_id, hour, shard) DO UPDATE
		SET compute_micros = h.compute_micros + excluded.compute_micros, storage_micros = h.storage_micros + excluded.storage_micros,
		    transfer_micros = h.transfer_micros + excluded.transfer_micros`, ids, shard); err != nil {
		return err
	}
	_, err = p.Exec(ctx, `
		INSERT INTO cost_days AS d (dimension, key, day, shard, compute_micros, storage_micros, transfer_micros)
		SELECT k.dimension, k.key, date_trunc('day', c.period_start, 'UTC'), $2, `+sums+`
		FROM cost_records c JOIN cost_attributions a ON a.id = c.attribution_id CROSS JOIN LATERAL (`+keys+`) k (dimension, key)
		WHERE c.id = ANY($1)
		GROUP BY 1, 2, 3
		ON CONFLICT (dimension, key, day, shard) DO UPDATE
		SET compute_micros = d.compute_micros + excluded.compute_micros, storage_micros = d.storage_micros + excluded.storage_micros,
		    transfer_micros = d.transfer_micros + excluded.transfer_micros`, ids, shard)
	return err
}

// sums are the columns that are summed, of records.
const sums = `sum(compute_cost_micros), sum(storage_cost_micros), sum(data_transfer_cost_micros)`

// keys are the single things, of an attribution a, under which the days count a record.
const keys = `
	VALUES ('total', ''), ('workspace', a.workspace_id), ('user', a.user_id), ('team', a.team_id), ('project', coalesce(a.project_id, '')),
	       ('cost_centre', a.cost_centre), ('blueprint', a.blueprint_id), ('bundle', a.bundle_type), ('region', a.region)
	UNION ALL
	SELECT 'tag:' || t.key, t.value FROM jsonb_each_text(a.tags) t`

// shards are how many changes may add to the same sums at once. Few, because every row of a day may be there that often;
// mostly it is there once.
const shards = 16

// shard is the one that this change has to itself until it ends. Nobody waits for a row of a sum, so nobody can wait for
// another in a circle; only where all shards are taken one is waited for.
func (p *posting) shard(ctx context.Context) (int, error) {
	for i := range shards {
		var mine bool
		if err := p.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock($1, $2)`, shardLock, i).Scan(&mine); err != nil || mine {
			return i, err
		}
	}
	i := rand.IntN(shards) //nolint:gosec // which one does not matter
	_, err := p.Exec(ctx, `SELECT pg_advisory_xact_lock($1, $2)`, shardLock, i)
	return i, err
}

// shardLock is the class of the shards' advisory locks: "cost" in ASCII.
const shardLock = 0x636f7374

// Rebuild makes all sums anew from the records, as the owner of the tables. Nobody may settle meanwhile.
func Rebuild(ctx context.Context, tx pgx.Tx) error {
	for _, sql := range []string{
		`LOCK TABLE cost_records, cost_hours, cost_days IN EXCLUSIVE MODE`,
		`DELETE FROM cost_hours`,
		`DELETE FROM cost_days`,
		`INSERT INTO cost_hours (attribution_id, hour, shard, compute_micros, storage_micros, transfer_micros)
		SELECT attribution_id, date_trunc('hour', period_start, 'UTC'), 0, ` + sums + `
		FROM cost_records
		GROUP BY 1, 2`,
		`INSERT INTO cost_days (dimension, key, day, shard, compute_micros, storage_micros, transfer_micros)
		SELECT k.dimension, k.key, date_trunc('day', h.hour, 'UTC'), 0, sum(h.compute_micros), sum(h.storage_micros), sum(h.transfer_micros)
		FROM cost_hours h JOIN cost_attributions a ON a.id = h.attribution_id CROSS JOIN LATERAL (` + keys + `) k (dimension, key)
		GROUP BY 1, 2, 3`,
	} {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("cost: rebuilding the sums: %w", err)
		}
	}
	return nil
}

// Misfits names the sums that are not those of the records, for checks: none, ever. It reads every record.
func Misfits(ctx context.Context, q postgres.Querier) ([]string, error) {
	rows, err := q.Query(ctx, `
		SELECT what
		FROM (
		  SELECT concat_ws(' ', 'hour', attribution_id, date_trunc('hour', period_start, 'UTC')) AS what, compute_cost_micros AS c, storage_cost_micros AS s, data_transfer_cost_micros AS t
		  FROM cost_records
		  UNION ALL
		  SELECT concat_ws(' ', 'hour', attribution_id, hour), -compute_micros, -storage_micros, -transfer_micros FROM cost_hours
		  UNION ALL
		  SELECT concat_ws(' ', 'day', k.dimension, k.key, date_trunc('day', r.period_start, 'UTC')), r.compute_cost_micros, r.storage_cost_micros, r.data_transfer_cost_micros
		  FROM cost_records r JOIN cost_attributions a ON a.id = r.attribution_id CROSS JOIN LATERAL (`+keys+`) k (dimension, key)
		  UNION ALL
		  SELECT concat_ws(' ', 'day', dimension, key, day), -compute_micros, -storage_micros, -transfer_micros FROM cost_days
		) x
		GROUP BY what
		HAVING sum(c) <> 0 OR sum(s) <> 0 OR sum(t) <> 0
		ORDER BY what
		LIMIT 100`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
