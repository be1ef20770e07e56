package cost

import (
	"context"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/price"
)

// Migrate tells the meters that another WorkSpace has taken the place of one, which Amazon made at the subject's Since and
// which is as the subject says; runs tells whether Amazon bills running time in its state. Amazon charges both: the fees of the one
// before are prorated to now, whatever its mode was, and those of the new one from when it was made, in this month. Hours of
// the clock that the one before has paid are charged again for the new one.
func (m *Meter) Migrate(ctx context.Context, tx *audit.Tx, s Subject, runs bool) error {
	all, err := m.lock(ctx, tx, s)
	if err != nil {
		return err
	}
	return m.posted(ctx, tx, func(p *posting) error { return m.migrate(ctx, p, s, all, runs) })
}

func (m *Meter) migrate(ctx context.Context, tx *posting, s Subject, all past, runs bool) error {
	if err := m.catchUp(ctx, tx, all); err != nil {
		return err
	}
	w := &switching{Meter: m, tx: tx, s: s, past: all, books: map[int64]*price.Book{}}
	at := w.instant()
	var err error
	for i := range all {
		u := &all[i]
		switch {
		case u.Kind == running && u.ClosedAt == nil:
			err = m.close(ctx, tx, &u.usage, tx.Now)
		case u.Kind == fixedMonth && !u.OpenedAt.After(at) && (u.ClosedAt == nil || u.ClosedAt.After(at)):
			f := &fee{u, all.find(storage, func(v *meter) bool {
				return v.OpenedAt.Equal(u.OpenedAt) && (v.ClosedAt == nil || v.ClosedAt.After(at))
			})}
			sold := s.Spec
			sold.RunningMode = price.AutoStop // nothing of it is due on top
			err = w.end(ctx, f, sold, at)
		case u.Kind == fixedMonth && u.OpenedAt.After(at) && u.ClosedAt == nil: // what was to follow it
			f := &fee{u, all.find(storage, func(v *meter) bool { return v.OpenedAt.Equal(u.OpenedAt) && v.ClosedAt == nil })}
			err = f.each(func(v *meter) error { return m.close(ctx, tx, &v.usage, at) })
		}
		if err != nil {
			return err
		}
	}
	r, err := w.present(ctx, s.Spec)
	if err != nil {
		return err
	}
	from := s.Since
	if month := clock.StartOfMonth(tx.Now); from.IsZero() || from.Before(month) {
		from = month
	}
	if err := m.sell(ctx, tx, s, r, from, nil); err != nil || !runs || r.Hour == nil {
		return err
	}
	_, err = m.open(ctx, tx, s, running, *r.Hour, r.Rule, tx.Now, nil)
	return err
}

// own leaves out what was charged for the WorkSpaces that this one has taken the place of.
func (p past) own(s Subject) past {
	if s.Since.IsZero() {
		return p
	}
	var own past
	for i := range p {
		if p[i].ClosedAt == nil || !p[i].OpenedAt.Before(s.Since) {
			own = append(own, p[i])
		}
	}
	return own
}
