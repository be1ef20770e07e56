// Package cost turns what ran into money: meters opened and closed with the state, settled into records, summed live.
package cost

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
)

// ErrNoBook says that no price book is in force.
var ErrNoBook = fault.New(fault.Unavailable, "PRICE_BOOK_MISSING", "no price book is in force, so nothing can be priced",
	fault.Suggest("have finance or an admin import one: `forge prices import`"))

// ErrNoSuchBook and ErrEffective refuse what is asked of price books.
var (
	ErrNoSuchBook = fault.New(fault.NotFound, "PRICE_BOOK_NOT_FOUND", "there is no such price book",
		fault.Suggest("list them with `forge prices list`"))
	ErrEffective = fault.New(fault.Invalid, "EFFECTIVE_FROM_INVALID", "a price book takes effect now or later, and within ten years",
		fault.Suggest("leave effective_from out for now: what has been charged keeps the prices that it was charged by"))
)

// ImportBook adds a price book that is in force from the instant on. Books are never changed.
func ImportBook(ctx context.Context, tx *audit.Tx, source string, rule price.HourRule, from time.Time, lines []price.Price) (int64, error) {
	return importBook(ctx, tx, source, rule, from, lines, map[string]any{})
}

// importBook is ImportBook, which records more details.
func importBook(ctx context.Context, tx *audit.Tx, source string, rule price.HourRule, from time.Time, lines []price.Price, details map[string]any) (int64, error) {
	var book int64
	err := tx.QueryRow(ctx, `
		INSERT INTO price_books (source, hour_rule, effective_from, imported_at)
		VALUES ($1, $2, $3, $4)
		RETURNING id`, source, rule, from, tx.Now).Scan(&book)
	if err != nil {
		return 0, err
	}
	_, err = tx.CopyFrom(ctx, pgx.Identifier{"prices"},
		[]string{"book_id", "region", "compute_type", "operating_system", "license", "item", "unit", "amount_micros", "sku"},
		pgx.CopyFromSlice(len(lines), func(i int) ([]any, error) {
			p := lines[i]
			return []any{book, p.Key.Region, p.Key.ComputeType, p.Key.OperatingSystem, p.Key.License, string(p.Key.Item), p.Unit, int64(p.Amount), p.SKU}, nil
		}))
	if err != nil {
		return 0, err
	}
	details["source"], details["hour_rule"], details["lines"], details["effective_from"] = source, string(rule), len(lines), from.Format(time.RFC3339)
	tx.Record(audit.Event{Action: "price_book.import", ResourceType: "price_book", ResourceID: audit.Microdollars(book), Details: details})
	return book, nil
}

// Import is what an offer is to become a price book by.
type Import struct {
	Offer price.Offer
	// Source is added to the offer's own; Digest is the SHA-256 of the file that it was read from, if it was.
	Source, Digest string
	// Rule is what an hour is; that of the book before if empty.
	Rule price.HourRule
	// From is when the book takes effect; zero is now.
	From time.Time
	// Alone leaves out everything that the offer does not speak of, which otherwise goes on from the book before.
	Alone bool
}

// Imported is a book that was added.
type Imported struct {
	Book *price.Book
	// Before is the book that was in force when it takes effect; nil if there was none. Carried counts its prices that go on.
	Before  *price.Book
	Carried int
}

// ImportOffer makes a price book of an offer, for finance and admins. What has been charged is not touched: every record
// keeps its price.
func ImportOffer(ctx context.Context, tx *audit.Tx, in Import) (Imported, error) {
	if err := policy.Require(tx.Actor, policy.PriceImport, "", ""); err != nil {
		return Imported{}, err
	}
	if len(in.Offer.Lines) == 0 {
		return Imported{}, price.ErrList.Sayf("of %d products in the price list none is a price of a WorkSpace there", in.Offer.Products).
			Suggestf("check the region; a dry run of all regions says what the list has")
	}
	if in.From.IsZero() {
		in.From = tx.Now
	}
	if in.From = in.From.UTC().Truncate(time.Microsecond); in.From.Before(tx.Now) || in.From.After(tx.Now.AddDate(10, 0, 0)) {
		return Imported{}, ErrEffective
	}
	// Each import builds on the one before.
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('forge price book', 0))`); err != nil {
		return Imported{}, err
	}
	before, err := BookAt(ctx, tx, in.From)
	if errors.Is(err, ErrNoBook) {
		before, err = nil, nil
	}
	if err != nil {
		return Imported{}, err
	}
	base := before
	if in.Alone {
		base = nil
	}
	lines, carried := in.Offer.Over(base)
	for _, p := range lines {
		if why := p.Objection(); why != "" && p.ID == 0 {
			return Imported{}, price.ErrList.Sayf("the price %s cannot be in a book: %s", p.SKU, why)
		}
	}
	rule := in.Rule
	if rule == "" {
		rule = price.SessionCeil
		if before != nil {
			rule = before.HourRule
		}
	}
	source := in.Offer.Source
	if in.Source != "" {
		source += ": " + in.Source
	}
	details := map[string]any{
		"imported": len(in.Offer.Lines), "carried": carried, "products": in.Offer.Products, "not_understood": in.Offer.NotUnderstood(), "sha256": in.Digest,
	}
	if before != nil {
		details["before"] = audit.Microdollars(before.ID)
	}
	book, err := importBook(ctx, tx, source, rule, in.From, lines, details)
	if err != nil {
		return Imported{}, err
	}
	after, err := bookByID(ctx, tx, book)
	return Imported{Book: after, Before: before, Carried: carried}, err
}

// BookInfo is what there is to say of a price book without its prices.
type BookInfo struct {
	ID            int64
	Source        string
	HourRule      price.HourRule
	EffectiveFrom time.Time
	ImportedAt    time.Time
	Lines         int
	// InForce is whether it is the one that prices what begins now.
	InForce bool
}

// Books lists price books, the newest first, beginning behind one; 0 is at the newest.
func Books(ctx context.Context, q postgres.Querier, now time.Time, after int64, limit int) ([]BookInfo, error) {
	return postgres.Many[BookInfo](ctx, q, `
		SELECT id, source, hour_rule, effective_from, imported_at,
		       (SELECT count(*) FROM prices p WHERE p.book_id = b.id) AS lines,
		       id = (SELECT id FROM price_books WHERE effective_from <= $1 ORDER BY effective_from DESC, id DESC LIMIT 1) AS in_force
		FROM price_books b
		WHERE $2 = 0 OR id < $2
		ORDER BY id DESC
		LIMIT $3`, now, after, limit)
}

// AboutBook is what there is to say of one book.
func AboutBook(ctx context.Context, q postgres.Querier, book int64, now time.Time) (BookInfo, error) {
	found, err := Books(ctx, q, now, book+1, 1)
	if err == nil && (len(found) == 0 || found[0].ID != book) {
		err = ErrNoSuchBook
	}
	if err != nil {
		return BookInfo{}, err
	}
	return found[0], nil
}

// FindBook is the price book with an id, or the one in force for "current". It is ErrNoSuchBook if there is none.
func FindBook(ctx context.Context, q postgres.Querier, name string, now time.Time) (*price.Book, error) {
	if name == "current" {
		return BookAt(ctx, q, now)
	}
	book, err := strconv.ParseInt(name, 10, 64)
	if err != nil || book < 1 {
		return nil, ErrNoSuchBook
	}
	b, err := bookByID(ctx, q, book)
	if errors.Is(err, ErrNoBook) {
		return nil, ErrNoSuchBook
	}
	return b, err
}

// BookAt is the price book in force at the instant: the one that took effect last.
func BookAt(ctx context.Context, q postgres.Querier, at time.Time) (*price.Book, error) {
	return readBook(ctx, q, `effective_from <= $1 ORDER BY effective_from DESC, id DESC LIMIT 1`, at)
}

// bookByID is the price book with the id.
func bookByID(ctx context.Context, q postgres.Querier, book int64) (*price.Book, error) {
	return readBook(ctx, q, `id = $1`, book)
}

func readBook(ctx context.Context, q postgres.Querier, which string, arg any) (*price.Book, error) {
	var b struct {
		id     int64
		source string
		rule   price.HourRule
		from   time.Time
	}
	err := q.QueryRow(ctx, `
		SELECT id, source, hour_rule, effective_from
		FROM price_books
		WHERE `+which, arg).Scan(&b.id, &b.source, &b.rule, &b.from)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrNoBook
	}
	if err != nil {
		return nil, err
	}
	rows, err := q.Query(ctx, `
		SELECT id, region, compute_type, operating_system, license, item, unit, amount_micros, sku
		FROM prices
		WHERE book_id = $1`, b.id)
	if err != nil {
		return nil, err
	}
	lines, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (price.Price, error) {
		var p price.Price
		var amount money.USD
		err := row.Scan(&p.ID, &p.Key.Region, &p.Key.ComputeType, &p.Key.OperatingSystem, &p.Key.License, &p.Key.Item, &p.Unit, &amount, &p.SKU)
		p.Amount = amount
		return p, err
	})
	if err != nil {
		return nil, err
	}
	return price.NewBook(b.id, b.source, b.rule, b.from, lines), nil
}
