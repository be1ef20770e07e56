package cost

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
)

// meter is a usage with what its price is for, and of which book.
type meter struct {
	usage
	Item   price.Item
	BookID int64
}

// within reports whether the meter is open at any time between two instants.
func (u *meter) within(from, until time.Time) bool {
	if u.OpenedAt.After(from) {
		from = u.OpenedAt
	}
	if u.ClosedAt != nil && u.ClosedAt.Before(until) {
		until = *u.ClosedAt
	}
	return from.Before(until)
}

// paidBy reports whether the meter charges whom the subject's cost belongs to.
func (u *meter) paidBy(s Subject) bool { return u.payer() == s.Payer && u.CostCentre == s.CostCentre }

// past is the meters of a WorkSpace that are open, or were in the month.
type past []meter

// lock reads a WorkSpace's past and locks it, and then every budget that its meters, its hold and the subject touch: the
// order in which everything here takes its locks.
func (m *Meter) lock(ctx context.Context, tx *audit.Tx, s Subject) (past, error) {
	all, err := postgres.Many[meter](ctx, tx, `
		SELECT`+usageColumns+`,
		       (SELECT item FROM prices p WHERE p.id = usage.price_id) AS item,
		       (SELECT book_id FROM prices p WHERE p.id = usage.price_id) AS book_id
		FROM usage
		WHERE workspace_id = $1 AND (closed_at IS NULL OR closed_at > $2)
		ORDER BY id
		FOR UPDATE`, s.Workspace, clock.StartOfMonth(tx.Now))
	if err != nil {
		return nil, err
	}
	var payers []budget.Payer
	if s.Payer != (budget.Payer{}) {
		payers = append(payers, s.Payer)
	}
	for i := range all {
		payers = append(payers, all[i].payer())
	}
	return all, m.Budgets.Lock(ctx, tx, []id.WorkSpace{s.Workspace}, payers...)
}

// find is the first meter of the kind for which ok holds; nil if there is none.
func (p past) find(kind string, ok func(*meter) bool) *meter {
	for i := range p {
		if p[i].Kind == kind && ok(&p[i]) {
			return &p[i]
		}
	}
	return nil
}

func isOpen(u *meter) bool { return u.ClosedAt == nil }

func (p past) open(kind string) bool { return p.find(kind, isOpen) != nil }

// alwaysOnUntil is the end of the instant's month if ALWAYS_ON was sold in it before: until then it is ALWAYS_ON, whatever
// it is switched to. Otherwise it is zero.
func (p past) alwaysOnUntil(t time.Time) time.Time {
	if p.find(fixedMonth, func(u *meter) bool { return u.Item == price.AlwaysOnMonth && u.within(clock.StartOfMonth(t), t) }) == nil {
		return time.Time{}
	}
	return clock.StartOfNextMonth(t)
}

// unpaidFrom is when running time that begins at t begins to cost: not while the month is ALWAYS_ON's, and not, where hours
// are those of the clock, in an hour that an earlier run has paid.
func (p past) unpaidFrom(t time.Time, rule price.HourRule) time.Time {
	from := later(t, p.alwaysOnUntil(t))
	for i := range p {
		u := &p[i]
		if rule == price.ClockHour && u.Kind == running && u.HourRule == rule && u.ClosedAt != nil {
			from = later(from, price.NextHour(rule, u.OpenedAt, *u.ClosedAt))
		}
	}
	return from
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// fee is a monthly fee: the bundle's, and that for its volumes if they are larger. Both open and close together.
type fee struct{ month, storage *meter }

// fee is the one for which ok holds; nil if there is none.
func (p past) fee(ok func(*meter) bool) *fee {
	month := p.find(fixedMonth, ok)
	if month == nil {
		return nil
	}
	return &fee{month, p.find(storage, ok)}
}

func (f *fee) each(do func(u *meter) error) error {
	if err := do(f.month); err != nil || f.storage == nil {
		return err
	}
	return do(f.storage)
}

// switching is one Switch.
type switching struct {
	*Meter
	tx    *posting
	s     Subject
	past  past
	books map[int64]*price.Book
	now   *price.Book // in force
}

// Switch tells the meters that the WorkSpace is now as the subject says; runs tells whether Amazon bills running time in
// its state. Meters that this changes nothing for stay as they are, with the prices of the book that they were opened by;
// all else is priced by the book in force. A WorkSpace whose meters have not begun, or have ended, has none to switch.
//
// The hour that has begun is charged as it was; later hours, still counted from the run's beginning, as it is now. The
// monthly fee is prorated before and after, which corrects what has posted for the whole rest of the month; except from
// AUTO_STOP to ALWAYS_ON, whose fee comes on top, and from ALWAYS_ON to AUTO_STOP, which begins next month. What has posted
// stays with whom it was charged to: another payer's fees begin next month.
func (m *Meter) Switch(ctx context.Context, tx *audit.Tx, s Subject, runs bool) error {
	all, err := m.lock(ctx, tx, s)
	if err != nil || !all.open(fixedMonth) {
		return err
	}
	return m.posted(ctx, tx, func(p *posting) error {
		if err := m.catchUp(ctx, p, all); err != nil {
			return err
		}
		w := &switching{Meter: m, tx: p, s: s, past: all.own(s), books: map[int64]*price.Book{}}
		if err := w.running(ctx, runs); err != nil {
			return err
		}
		return w.fees(ctx)
	})
}

// rates are the prices of a book for a spec; nil where one is not known.
func (w *switching) rates(ctx context.Context, book int64, spec price.Spec) (*price.Rates, error) {
	b, ok := w.books[book]
	if !ok {
		var err error
		if b, err = bookByID(ctx, w.tx, book); err != nil {
			return nil, err
		}
		w.books[book] = b
	}
	r, err := b.RatesOf(spec)
	if errors.Is(err, price.ErrUnknown) {
		return nil, nil
	}
	return &r, err
}

// present are the prices in force for a spec, or price.ErrUnknown.
func (w *switching) present(ctx context.Context, spec price.Spec) (price.Rates, error) {
	if w.now == nil {
		b, err := BookAt(ctx, w.tx, w.tx.Now)
		if err != nil {
			return price.Rates{}, err
		}
		w.now, w.books[b.ID] = b, b
	}
	return w.now.RatesOf(spec)
}

// running switches the meter of the running time.
func (w *switching) running(ctx context.Context, runs bool) error {
	hourly := runs && w.s.Spec.RunningMode != price.AlwaysOn
	u := w.past.find(running, isOpen)
	if u == nil {
		if !hourly {
			return nil
		}
		r, err := w.present(ctx, w.s.Spec)
		if err != nil {
			return err
		}
		_, err = w.open(ctx, w.tx, w.s, running, *r.Hour, r.Rule, w.past.unpaidFrom(w.tx.Now, r.Rule), nil)
		return err
	}
	if !hourly {
		return w.close(ctx, w.tx, &u.usage, w.tx.Now)
	}
	p, rule := price.Price{ID: u.PriceID, Amount: u.RateMicros}, u.HourRule
	same, err := w.rates(ctx, u.BookID, w.s.Spec)
	switch {
	case err != nil:
		return err
	case same == nil || same.Hour.ID != u.PriceID:
		r, err := w.present(ctx, w.s.Spec)
		if err != nil {
			return err
		}
		p, rule = *r.Hour, r.Rule
	case u.paidBy(w.s):
		return nil
	}
	if err := w.close(ctx, w.tx, &u.usage, w.tx.Now); err != nil {
		return err
	}
	from := price.NextHour(u.HourRule, u.OpenedAt, *u.ClosedAt)
	_, err = w.open(ctx, w.tx, w.s, running, p, rule, from, nil)
	return err
}

// sold reports whether a fee is the one that is due for a spec, by the prices of its own book.
func (w *switching) sold(ctx context.Context, f *fee, spec price.Spec) (bool, error) {
	r, err := w.rates(ctx, f.month.BookID, spec)
	if err != nil || r == nil || r.Month.ID != f.month.PriceID || (r.Storage == nil) != (f.storage == nil) {
		return false, err
	}
	return r.Storage == nil || r.Storage.ID == f.storage.PriceID && r.Storage.Amount == f.storage.RateMicros, nil
}

// instant is that of the switch as far as fees go: not before one that has posted, which another may have done whose clock
// is ahead, or while this waited for its locks at the end of a month.
func (w *switching) instant() time.Time {
	at := w.tx.Now
	for i := range w.past {
		u := &w.past[i]
		if u.Kind != running && u.SettledUntil.After(u.OpenedAt) && (u.ClosedAt == nil || u.ClosedAt.After(u.OpenedAt)) {
			at = later(at, later(u.OpenedAt, clock.StartOfMonth(u.SettledUntil.Add(-time.Microsecond))))
		}
	}
	return at.UTC()
}

// fees switches the monthly fees. There is one that is sold at the instant, and there may be another that follows it when
// the month ends.
func (w *switching) fees(ctx context.Context) error {
	at := w.instant()
	end := clock.StartOfNextMonth(at)
	sold := w.past.fee(func(u *meter) bool { return !u.OpenedAt.After(at) && (u.ClosedAt == nil || u.ClosedAt.After(at)) })
	next := w.past.fee(func(u *meter) bool { return u.OpenedAt.After(at) && u.ClosedAt == nil })
	if sold == nil {
		return fmt.Errorf("cost: the WorkSpace %s has no monthly fee at %s", w.s.Workspace, at)
	}
	rest := w.s // what it is until the month ends
	if !w.past.alwaysOnUntil(at).IsZero() {
		rest.Spec.RunningMode = price.AlwaysOn
	}
	stays, err := w.sold(ctx, sold, rest.Spec)
	if err != nil {
		return err
	}
	if next != nil {
		follows, err := w.sold(ctx, next, w.s.Spec)
		if err != nil {
			return err
		}
		if !stays || !follows || !next.month.paidBy(w.s) {
			if err := next.each(func(u *meter) error { return w.close(ctx, w.tx, &u.usage, at) }); err != nil {
				return err
			}
			next = nil
		}
	}
	lasts := rest.Spec.RunningMode == w.s.Spec.RunningMode // beyond the month's end
	if !stays {
		if err := w.end(ctx, sold, rest.Spec, at); err != nil {
			return err
		}
		r, err := w.present(ctx, rest.Spec)
		if err != nil {
			return err
		}
		if lasts {
			return w.sell(ctx, w.tx, w.s, r, at, nil)
		}
		if err := w.sell(ctx, w.tx, w.s, r, at, &end); err != nil {
			return err
		}
	} else if sold.month.ClosedAt == nil {
		if lasts && sold.month.paidBy(w.s) {
			return nil
		}
		if err := sold.each(func(u *meter) error {
			if err := w.Meter.fees(ctx, w.tx, &u.usage, at); err != nil {
				return err
			}
			u.ClosedAt = &end
			return w.save(ctx, w.tx, &u.usage)
		}); err != nil {
			return err
		}
	}
	if next != nil {
		return nil
	}
	var r price.Rates
	if stays && lasts {
		old, err := w.rates(ctx, sold.month.BookID, w.s.Spec)
		if err != nil {
			return err
		}
		r = *old
	} else if r, err = w.present(ctx, w.s.Spec); err != nil {
		return err
	}
	return w.sell(ctx, w.tx, w.s, r, end, nil)
}

// end closes the fee that is sold at an instant, for another spec to follow.
func (w *switching) end(ctx context.Context, f *fee, spec price.Spec, at time.Time) error {
	from := later(f.month.OpenedAt, clock.StartOfMonth(at))
	onTop := f.month.Item == price.AutoStopMonth && spec.RunningMode == price.AlwaysOn && from.Before(at)
	var extra money.USD
	if f.storage != nil {
		extra = f.storage.RateMicros
	}
	forMonth, forStorage := price.FeeParts(f.month.RateMicros, extra, from, at)
	return f.each(func(u *meter) error {
		if err := w.Meter.fees(ctx, w.tx, &u.usage, at); err != nil {
			return err
		}
		if !onTop {
			amount := forMonth
			if u.Kind == storage {
				amount = forStorage
			}
			if err := correct(ctx, w.tx, &u.usage, from, amount); err != nil {
				return err
			}
		}
		u.ClosedAt = &at
		return w.save(ctx, w.tx, &u.usage)
	})
}

// correct makes the record of a usage that begins at an instant come to an amount.
func correct(ctx context.Context, tx *posting, u *usage, from time.Time, amount money.USD) error {
	if err := tx.flush(ctx); err != nil { // it may have been posted just now
		return err
	}
	r, err := postgres.One[struct {
		ID              id.CostRecord
		TotalCostMicros money.USD
		PeriodEnd       time.Time
	}](ctx, tx, `
		SELECT id, total_cost_micros, period_end
		FROM cost_records
		WHERE usage_id = $1 AND period_start = $2 AND corrects IS NULL`, u.ID, from)
	if err != nil || r.TotalCostMicros == amount {
		return err
	}
	tx.write(u, r.ID, from, r.PeriodEnd, amount-r.TotalCostMicros, budget.Correction, "fee prorated to a change")
	return nil
}

// AlwaysOnUntil is until when a WorkSpace's month is paid as ALWAYS_ON, whatever its running mode; zero if it is not.
func AlwaysOnUntil(ctx context.Context, q postgres.Querier, ws id.WorkSpace, now time.Time) (time.Time, error) {
	var paid bool
	err := q.QueryRow(ctx, `
		SELECT EXISTS (
			SELECT FROM usage u JOIN prices p ON p.id = u.price_id
			WHERE u.workspace_id = $1 AND u.kind = $2 AND p.item = $3
			  AND greatest(u.opened_at, $4) < least(u.closed_at, $5))`,
		ws, fixedMonth, price.AlwaysOnMonth, clock.StartOfMonth(now), now).Scan(&paid)
	if err != nil || !paid {
		return time.Time{}, err
	}
	return clock.StartOfNextMonth(now), nil
}
