package cost

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
)

// Fact is a usage with everything that its cost is made of.
type Fact struct {
	usage
	BundleType string
	Region     string
	Tags       map[string]string
	Item       price.Item
	Unit       string
	Sku        string
	BookID     int64
	Source     string
	// Postings are the records of a monthly fee, and every correction. Those of running time are its hours.
	Postings []Record `db:"-"`
	// Open is what is not settled yet, at the instant of the question.
	Open money.USD `db:"-"`
	now  time.Time
}

// Total is what it comes to.
func (f *Fact) Total() money.USD { return f.SettledMicros + f.Open }

// Timeline are up to limit usages of a WorkSpace, oldest first, behind the one that is named by its beginning and its id, if
// any; and what all of them come to. The query's User and Team narrow it to what a reader may see.
func Timeline(ctx context.Context, db Database, ws id.WorkSpace, in Query, behind time.Time, last id.Usage, limit int, now time.Time) (facts []Fact, total money.USD, err error) {
	err = atOneMoment(ctx, db, func(tx pgx.Tx) error {
		if total, err = allOf(ctx, tx, ws, in, now); err != nil {
			return err
		}
		if facts, err = postgres.Many[Fact](ctx, tx, `
			SELECT `+ofUsage+`, a.bundle_type, a.region, a.tags, p.item, p.unit, p.sku, p.book_id, b.source
			FROM usage t
			JOIN cost_attributions a ON a.id = t.attribution_id
			JOIN prices p ON p.id = t.price_id
			JOIN price_books b ON b.id = p.book_id
			WHERE t.workspace_id = $1 AND ($2 = '' OR t.user_id = $2) AND ($3 = '' OR t.team_id = $3) AND ($5 = '' OR (t.opened_at, t.id) > ($4, $5))
			ORDER BY t.opened_at, t.id
			LIMIT $6`, ws, in.User, in.Team, behind, last, limit); err != nil {
			return err
		}
		byID, ids := map[id.Usage]*Fact{}, make([]id.Usage, len(facts))
		prices := newTariffs(tx)
		for i := range facts {
			f := &facts[i]
			if err := prices.due(ctx, now, &f.usage); err != nil {
				return err
			}
			f.now, f.Open = now, f.unsettled(now)
			byID[f.ID], ids[i] = f, f.ID
		}
		found, err := postgres.Many[Record](ctx, tx, `
			SELECT`+recordColumns+`
			WHERE t.usage_id = ANY($1) AND (u.kind <> '`+running+`' OR t.corrects IS NOT NULL)
			ORDER BY t.period_start, t.id`, ids)
		for _, r := range found {
			byID[r.UsageID].Postings = append(byID[r.UsageID].Postings, r)
		}
		return err
	})
	return facts, total, err
}

// allOf is what a WorkSpace has cost, as far as the reader may see it.
func allOf(ctx context.Context, q postgres.Querier, ws id.WorkSpace, in Query, now time.Time) (total money.USD, err error) {
	all, err := postgres.Many[usage](ctx, q, `
		SELECT`+usageColumns+`
		FROM usage
		WHERE workspace_id = $1 AND ($2 = '' OR user_id = $2) AND ($3 = '' OR team_id = $3)`, ws, in.User, in.Team)
	if err != nil {
		return 0, err
	}
	prices := newTariffs(q)
	for i := range all {
		if err := prices.due(ctx, now, &all[i]); err != nil {
			return 0, err
		}
		total += all[i].SettledMicros + all[i].unsettled(now)
	}
	return total, nil
}

// unsettled is what of a usage is not settled at an instant.
func (u *usage) unsettled(now time.Time) money.USD {
	if u.ClosedAt != nil {
		return 0
	}
	return u.tail(u.OpenedAt, now.Add(time.Microsecond), now) // a fee is due at the instant its month begins
}

// Explain says in words how the figure comes about.
func (f *Fact) Explain() string {
	end := f.now
	if f.ClosedAt != nil && f.ClosedAt.Before(end) {
		end = *f.ClosedAt
	}
	if f.OpenedAt.After(f.now) {
		return "it begins at " + stamp(f.OpenedAt)
	}
	if f.Kind != running {
		return fmt.Sprintf("%s USD a month, from %s until %s", f.RateMicros, stamp(f.OpenedAt), f.until())
	}
	ran := fmt.Sprintf("%s from %s until %s", length(end.Sub(f.OpenedAt)), stamp(f.OpenedAt), f.until())
	hours := int64(0)
	if f.RateMicros > 0 {
		hours = int64(f.total(end) / f.RateMicros)
	}
	text := ""
	switch f.HourRule {
	case price.SessionCeil:
		text = fmt.Sprintf("%s: each hour that has begun since the start counts whole, %d × %s USD", ran, hours, f.RateMicros)
	case price.ClockHour:
		text = fmt.Sprintf("%s: each hour of the clock (UTC) that is touched counts whole, %d × %s USD", ran, hours, f.RateMicros)
	case price.Second:
		text = fmt.Sprintf("%s: by the second, at %s USD an hour", ran, f.RateMicros)
	}
	if beyond := f.Total() - f.total(end); beyond > 0 {
		text += fmt.Sprintf("; %s USD had been settled beyond that and stay", beyond)
	}
	return text
}

func (f *Fact) until() string {
	if f.ClosedAt == nil {
		return "now"
	}
	return stamp(*f.ClosedAt)
}

// Explain says in words how a record comes about.
func (r *Record) Explain() string {
	switch {
	case r.Corrects != nil:
		return fmt.Sprintf("corrects %s: the fee was sold until the end of the month and is prorated to a change", *r.Corrects)
	case r.Kind == running:
		return fmt.Sprintf("running from %s until %s", stamp(r.PeriodStart), stamp(r.PeriodEnd))
	}
	begin, end := clock.StartOfMonth(r.PeriodStart), clock.StartOfNextMonth(r.PeriodStart)
	if r.PeriodStart.Equal(begin) && r.PeriodEnd.Equal(end) {
		return fmt.Sprintf("the whole of %s: %s USD", begin.Format("January 2006"), r.RateMicros)
	}
	return fmt.Sprintf("%s of the %s of %s: of %s USD", length(r.PeriodEnd.Sub(r.PeriodStart)), length(end.Sub(begin)), begin.Format("January 2006"), r.RateMicros)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.999999Z") }

// length is a span of time in hours, minutes and seconds.
func length(d time.Duration) string {
	text := fmt.Sprintf("%d h", d/time.Hour)
	if m := d % time.Hour / time.Minute; m > 0 {
		text += fmt.Sprintf(" %d min", m)
	}
	if s := d % time.Minute; s > 0 {
		text += " " + s.String()
	}
	return text
}
