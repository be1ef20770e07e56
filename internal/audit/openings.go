package audit

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres"
)

// MaxOpenings is of how many entries at once what was known of their persons can be asked.
const MaxOpenings = tileWidth

// sealedRow is what the database has about the person of an entry.
type sealedRow struct {
	Place         int64
	SubjectID     string
	KeyGeneration int
	Sealed        []byte
	WrappedKey    []byte // nil when it is erased
}

// Openings show what the commitments of entries are to, by the entries' places in the log. Entries without commitments and
// places that no checkpoint covers have none; what does not open is left out, and so is found missing by whoever verifies.
func (l *Log) Openings(ctx context.Context, places []int64) ([]verify.Openings, error) {
	last, err := lastCheckpoint(ctx, l.pool)
	if err != nil {
		return nil, err
	}
	t, err := readTree(ctx, l.pool)
	if err != nil {
		return nil, err
	}
	places = slices.Compact(slices.Sorted(slices.Values(places)))
	places = slices.DeleteFunc(places, func(i int64) bool { return i < 0 || i >= last.Size })
	var out []verify.Openings
	for len(places) > 0 {
		n := places[0] / tileWidth
		some := 1
		for some < len(places) && places[some]/tileWidth == n {
			some++
		}
		entries, err := entriesAt(ctx, l.pool, &t, places[0], places[some-1]+1)
		if err != nil {
			return nil, err
		}
		entries = slices.DeleteFunc(entries, func(e placedEntry) bool {
			_, asked := slices.BinarySearch(places[:some], e.Index)
			return !asked
		})
		opened, err := l.openingsOf(ctx, entries)
		if err != nil {
			return nil, err
		}
		out = append(out, opened...)
		places = places[some:]
	}
	return out, nil
}

// openingsOf opens what was known of the persons of entries.
func (l *Log) openingsOf(ctx context.Context, entries []placedEntry) ([]verify.Openings, error) {
	entries = slices.DeleteFunc(entries, func(e placedEntry) bool {
		x, err := leaf.Decode(e.Leaf)
		return err != nil || len(x.PII) == 0
	})
	known, err := l.sealedRows(ctx, "audit_personal_data", entries)
	if err != nil {
		return nil, err
	}
	restored := map[time.Time]bool{}
	for _, e := range entries {
		month := clock.StartOfMonth(e.Timestamp.UTC())
		if _, asked := restored[month]; asked || known[e.ID] != nil {
			continue
		}
		row, err := archivedMonth(ctx, l.pool, month)
		if err != nil && !errors.Is(err, ErrArchive) { // which says that the month was not archived
			return nil, err
		}
		restored[month] = row.RestoredAt != nil
		if row.State != MonthDetached {
			continue
		}
		of := slices.DeleteFunc(slices.Clone(entries), func(e placedEntry) bool { return !clock.StartOfMonth(e.Timestamp.UTC()).Equal(month) })
		more, err := l.sealedRows(ctx, "audit_parts."+partOf("audit_personal_data", month), of)
		if err != nil {
			return nil, err
		}
		for id, row := range more {
			known[id] = row
		}
	}
	var out []verify.Openings
	for _, e := range entries {
		o := verify.Openings{Index: e.Index, Entry: e.ID.String()}
		row := known[e.ID]
		switch {
		case row == nil:
			o.Archived = restored[clock.StartOfMonth(e.Timestamp.UTC())]
		case row.WrappedKey == nil:
			o.Erased = true
		default:
			o.Fields = l.unsealed(row, e.ID)
		}
		if o.Archived || o.Erased || o.Fields != nil {
			out = append(out, o)
		}
	}
	return out, nil
}

// sealedRows are by the ids of their entries.
func (l *Log) sealedRows(ctx context.Context, table string, entries []placedEntry) (map[uuid.UUID]*sealedRow, error) {
	ids, timestamps := make([]uuid.UUID, len(entries)), make([]time.Time, len(entries))
	for i, e := range entries {
		ids[i], timestamps[i] = e.ID, e.Timestamp
	}
	rows, err := postgres.Many[sealedRow](ctx, l.pool, `
		SELECT o.i - 1 AS place, d.subject_id, d.key_generation, d.sealed, k.wrapped_key
		FROM unnest($1::uuid[], $2::timestamptz[]) WITH ORDINALITY o (oid, at, i)
		JOIN `+table+` d ON d.timestamp = o.at AND d.entry_id = o.oid
		LEFT JOIN audit_subject_keys k ON k.subject_id = d.subject_id AND k.generation = d.key_generation AND k.erased_at IS NULL`, ids, timestamps)
	out := make(map[uuid.UUID]*sealedRow, len(rows))
	for i := range rows {
		out[ids[rows[i].Place]] = &rows[i]
	}
	return out, err
}

// unsealed is what a row has sealed; nil when it does not open.
func (l *Log) unsealed(row *sealedRow, entry uuid.UUID) map[string]verify.Opening {
	key, err := open(l.subjects.kek[:], row.WrappedKey, []byte(row.SubjectID))
	if err != nil {
		return nil
	}
	plain, err := open(key, row.Sealed, entry[:])
	if err != nil {
		return nil
	}
	var out map[string]verify.Opening
	if json.Unmarshal(plain, &out) != nil {
		return nil
	}
	return out
}
