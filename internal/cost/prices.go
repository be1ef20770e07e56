// Package cost turns what ran into money: meters opened and closed with the state, settled into records, summed live.
package cost

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
)

// ErrNoBook says that no price book is in force.
var ErrNoBook = fault.New(fault.Unavailable, "PRICE_BOOK_MISSING", "no price book is in force, so nothing can be priced",
	fault.Suggest("have an admin import one"))

// ImportBook adds a price book that is in force from the instant on. Books are never changed.
func ImportBook(ctx context.Context, tx *audit.Tx, source string, rule price.HourRule, from time.Time, lines []price.Price) (int64, error) {
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
	tx.Record(audit.Event{Action: "price_book.import", ResourceType: "price_book", ResourceID: audit.Microdollars(book), Details: map[string]any{
		"source": source, "hour_rule": string(rule), "lines": len(lines), "effective_from": from.Format(time.RFC3339),
	}})
	return book, nil
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
