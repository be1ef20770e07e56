package cost

import (
	"context"
	"errors"
	"time"

	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
)

// tariffs are the prices of monthly fees by the month. It remembers what it has read, so it serves one piece of work.
type tariffs struct {
	q     postgres.Querier
	books map[int64]*price.Book // by the month's beginning
	own   map[int64]ownPrice    // by the price's id
}

type ownPrice struct {
	key  price.Key
	book int64
}

func newTariffs(q postgres.Querier) *tariffs {
	return &tariffs{q: q, books: map[int64]*price.Book{}, own: map[int64]ownPrice{}}
}

// of is what a monthly fee costs in the month that begins at an instant: what the book says that is in force then. Where
// that knows no such price, it is the fee's own: the WorkSpace is there, and Amazon charges something.
func (t *tariffs) of(ctx context.Context, u *usage, month time.Time) (price.Price, error) {
	is := price.Price{ID: u.PriceID, Amount: u.RateMicros}
	book := t.books[month.Unix()]
	if book == nil {
		var err error
		if book, err = BookAt(ctx, t.q, month); errors.Is(err, ErrNoBook) {
			return is, nil // imported since, for now: there is no other
		} else if err != nil {
			return is, err
		}
		t.books[month.Unix()] = book
	}
	own, ok := t.own[u.PriceID]
	if !ok {
		if err := t.q.QueryRow(ctx, `SELECT region, compute_type, operating_system, license, item, book_id FROM prices WHERE id = $1`, u.PriceID).
			Scan(&own.key.Region, &own.key.ComputeType, &own.key.OperatingSystem, &own.key.License, &own.key.Item, &own.book); err != nil {
			return is, err
		}
		t.own[u.PriceID] = own
	}
	if own.book == book.ID {
		return is, nil
	}
	if u.Kind == storage {
		p, err := book.Storage(own.key, u.RootGib, u.UserGib)
		if errors.Is(err, price.ErrUnknown) || err == nil && p == nil {
			return is, nil
		}
		if err != nil {
			return is, err
		}
		return *p, nil
	}
	p, err := book.Rate(own.key)
	if errors.Is(err, price.ErrUnknown) {
		return is, nil
	}
	return p, err
}

// due gives each monthly fee what it costs in the months that have begun by now and are not settled yet.
func (t *tariffs) due(ctx context.Context, now time.Time, all ...*usage) error {
	for _, u := range all {
		if u.Kind == running || u.ClosedAt != nil {
			continue
		}
		u.due = nil
		for month := u.SettledUntil; !month.After(now); month = clock.StartOfNextMonth(month) {
			p, err := t.of(ctx, u, month)
			if err != nil {
				return err
			}
			u.due = append(u.due, p.Amount)
		}
	}
	return nil
}

// dueIn is what a monthly fee costs, whole, in the n-th month that is not settled.
func (u *usage) dueIn(n int) money.USD {
	if n < len(u.due) {
		return u.due[n]
	}
	return u.RateMicros
}

// fees posts the fees of the months that have begun by now: one that ends in a month owes its fee, whoever settles first. A
// month is charged by the book that is in force when it begins. Where that has another price, the usage ends there and one
// at that price follows; u is then the one that follows.
func (m *Meter) fees(ctx context.Context, tx *posting, u *usage, now time.Time) error {
	for !u.SettledUntil.After(now) {
		month := u.SettledUntil
		p, err := tx.tariffs.of(ctx, u, month)
		if err != nil {
			return err
		}
		if p.Amount != u.RateMicros {
			if err := m.follow(ctx, tx, u, p, month); err != nil {
				return err
			}
		}
		// Whole: the first month posts when the fee is sold, and every later one begins on its first.
		tx.record(u, clock.StartOfNextMonth(month), price.MonthShare(u.RateMicros, month))
	}
	return nil
}

// follow has another price follow from a month on. What was sold ahead and has not begun to cost takes the price itself.
func (m *Meter) follow(ctx context.Context, tx *posting, u *usage, p price.Price, month time.Time) error {
	if u.OpenedAt.Equal(month) {
		u.PriceID, u.RateMicros, u.repriced = p.ID, p.Amount, true
		_, err := tx.Exec(ctx, `UPDATE usage SET price_id = $2, rate_micros = $3 WHERE id = $1`, u.ID, u.PriceID, u.RateMicros)
		return err
	}
	// What is recorded of the one that ends is read from it when it is written.
	before, closed := *u, u.ClosedAt
	before.ClosedAt = &month
	if err := m.save(ctx, tx, &before); err != nil {
		return err
	}
	next, err := postgres.One[usage](ctx, tx, `
		INSERT INTO usage (id, workspace_id, kind, opened_at, closed_at, price_id, rate_micros, hour_rule, user_id, team_id, project_id, cost_centre, settled_until,
		                   due_at, attribution_id, root_gib, user_gib)
		SELECT $2, workspace_id, kind, $3, $4, $5, $6, hour_rule, user_id, team_id, project_id, cost_centre, $3, NULL, attribution_id, root_gib, user_gib
		FROM usage
		WHERE id = $1
		RETURNING`+usageColumns, u.ID, id.New[id.Usage](), month, closed, p.ID, p.Amount)
	if err != nil {
		return err
	}
	next.repriced = true
	*u = next
	return nil
}

// catchUp posts the fees of a WorkSpace that are owed, before something else becomes of it.
func (m *Meter) catchUp(ctx context.Context, tx *posting, all past) error {
	for i := range all {
		u := &all[i]
		if u.Kind == running || u.ClosedAt != nil || u.SettledUntil.After(tx.Now) {
			continue
		}
		was := u.PriceID
		if err := m.fees(ctx, tx, &u.usage, tx.Now); err != nil {
			return err
		}
		if err := m.save(ctx, tx, &u.usage); err != nil {
			return err
		}
		if u.PriceID != was {
			if err := tx.QueryRow(ctx, `SELECT book_id FROM prices WHERE id = $1`, u.PriceID).Scan(&u.BookID); err != nil {
				return err
			}
		}
	}
	return nil
}
