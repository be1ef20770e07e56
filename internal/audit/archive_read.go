package audit

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres"
)

// archivedIndex is the place of an entry of an archived month, which the log's tables do not have.
func archivedIndex(ctx context.Context, q postgres.Querier, entry uuid.UUID, from, to time.Time) (int64, error) {
	var index int64
	var at time.Time
	err := q.QueryRow(ctx, `
		SELECT n * 256 + o.i - 1, o.at
		FROM audit_bundles, unnest(ids, timestamps) WITH ORDINALITY o (id, at, i)
		WHERE tstzrange(first_timestamp, last_timestamp, '[]') && tstzrange($2, $3, '[]') AND $1 = ANY (ids) AND o.id = $1`, entry, from, to).Scan(&index, &at)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, ErrNoEntry
	}
	if err != nil {
		return 0, err
	}
	var gone bool
	err = q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM audit_archives WHERE month = $1 AND state IN ('detached', 'dropped'))`, clock.StartOfMonth(at.UTC())).Scan(&gone)
	if err == nil && !gone {
		err = ErrNoEntry
	}
	return index, err
}

// withDetached adds entries of detached months to those that the log's tables have of a bundle's stretch from a place on.
func withDetached(ctx context.Context, q postgres.Querier, from int64, ids []uuid.UUID, timestamps []time.Time, have []placedEntry) ([]placedEntry, error) {
	there := map[int64]bool{}
	for _, e := range have {
		there[e.Index] = true
	}
	missing := map[time.Time][]place{}
	for i, id := range ids {
		if !there[from+int64(i)] {
			month := clock.StartOfMonth(timestamps[i].UTC())
			missing[month] = append(missing[month], place{from + int64(i), orphan{timestamps[i], id}})
		}
	}
	for month, places := range missing {
		row, err := archivedMonth(ctx, q, month)
		if errors.Is(err, ErrArchive) || err == nil && !row.gone() {
			continue // it is missing
		}
		if err != nil {
			return nil, err
		}
		if row.State == MonthDropped {
			return nil, ErrEntryArchived
		}
		found, err := detachedEntries(ctx, q, month, places)
		if err != nil {
			return nil, err
		}
		have = append(have, found...)
	}
	slices.SortFunc(have, func(a, b placedEntry) int { return cmp.Compare(a.Index, b.Index) })
	return have, nil
}
