package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/robco-forge/forge/internal/audit/archive"
	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/postgres"
)

// restoredXid is the transaction number of rows that are brought back: one that every snapshot has seen, so that no window
// takes them for new.
const restoredXid = "3"

// Restored is what a restore did.
type Restored struct {
	Month   string `json:"month"`
	Entries int64  `json:"entries"`
	// FromArchive says that it was read from the store; else its own table was there still.
	FromArchive bool `json:"from_archive"`
	// Attached says that searches see it, until KeepUntil; a drill leaves nothing behind.
	Attached  bool       `json:"attached"`
	KeepUntil *time.Time `json:"keep_until,omitempty"`
}

// Restore brings a month back into the log's tables, where searches see it, for so long: from its own table if that is there
// still, else from its archive. Every entry is compared with the tree first. A drill reads the archive, whatever the state of
// the month, and leaves nothing behind but the record.
func (a *Archivist) Restore(ctx context.Context, month time.Time, keep time.Duration, drill bool) (Restored, error) {
	row, err := archivedMonth(ctx, a.Log.pool, month)
	if err != nil {
		return Restored{}, err
	}
	out := Restored{Month: row.name(), Entries: row.Entries}
	switch {
	case row.Manifest == nil:
		return out, fmt.Errorf("%w: the month %s has no archive yet", ErrArchive, row.name())
	case !drill && !row.gone():
		return out, fmt.Errorf("%w: the month %s is %s: it is in the tables", ErrArchive, row.name(), row.State)
	case drill || row.State == MonthDropped:
		out.FromArchive = true
		err = a.load(ctx, &row)
	default:
		err = a.compareTable(ctx, &row)
	}
	if err != nil {
		return out, err
	}
	if drill {
		return out, a.record(ctx, drillAction, month, map[string]any{"manifest": *row.ManifestSHA256, "entries": row.Entries}, func(tx *Tx) error {
			return a.unload(ctx, tx, &row)
		})
	}
	until := a.Log.now().Add(keep)
	err = a.record(ctx, restoreAction, month, map[string]any{"manifest": *row.ManifestSHA256, "entries": row.Entries, "from_archive": out.FromArchive, "keep_until": until.UTC().Format(time.RFC3339)}, func(tx *Tx) error {
		for _, table := range PartitionedTables() {
			if out.FromArchive {
				if _, err := tx.Exec(ctx, fmt.Sprintf(`ALTER TABLE audit_parts.%s RENAME TO %s`, loading(table, month), partOf(table, month))); err != nil {
					return err
				}
			}
			if _, err := tx.Exec(ctx, fmt.Sprintf(`ALTER TABLE %s ATTACH PARTITION audit_parts.%s FOR VALUES FROM ('%s') TO ('%s')`, table, partOf(table, month), day(row.Month), day(row.to()))); err != nil {
				return err
			}
		}
		return set(ctx, tx, &row, `state = 'verified', verified_at = $3, restored_at = $3, keep_until = $4`, tx.Now, until)
	})
	out.Attached, out.KeepUntil = err == nil, &until
	return out, err
}

// loading is the table that a month is read into.
func loading(table string, month time.Time) string {
	return "restoring" + partOf(table, month)[len("audit"):]
}

func (a *Archivist) unload(ctx context.Context, tx pgx.Tx, row *archived) error {
	for _, table := range PartitionedTables() {
		if _, err := tx.Exec(ctx, `DROP TABLE IF EXISTS audit_parts.`+loading(table, row.Month)); err != nil {
			return err
		}
	}
	return nil
}

// compareTable compares the table of a detached month with the tree.
func (a *Archivist) compareTable(ctx context.Context, row *archived) error {
	t, err := readTree(ctx, a.Log.pool)
	if err != nil {
		return err
	}
	var rows, refused, found int64
	err = a.patiently(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `
			SELECT (SELECT count(*) FROM audit_parts.`+partOf("audit_logs", row.Month)+`), (SELECT count(*) FROM audit_quarantine WHERE timestamp >= $1 AND timestamp < $2)`,
			row.Month, row.to()).Scan(&rows, &refused)
	})
	if err != nil {
		return err
	}
	err = placesIn(ctx, a.Log.pool, &t, row.Month, row.to(), func(places []place) error {
		entries, err := detachedEntries(ctx, a.Log.pool, row.Month, places)
		if err != nil {
			return err
		}
		hashes, err := newTiles(ctx, a.Log.pool, &t).tile(0, places[0].index/tileWidth)
		if err != nil {
			return err
		}
		for i := range entries {
			h := leafHash(entries[i].Leaf)
			if at := entries[i].Index % tileWidth * tlog.HashSize; tlog.Hash(hashes[at:at+tlog.HashSize]) != h {
				return fmt.Errorf("%w: entry %d is not the one in the tree; run `forge audit verify`", ErrArchive, entries[i].Index)
			}
		}
		found += int64(len(entries))
		return nil
	})
	if err == nil && (found != row.Entries || rows != found+refused) {
		err = fmt.Errorf("%w: the table of %s has %d of its %d entries, and %d rows; run `forge audit verify`", ErrArchive, row.name(), found, row.Entries, rows)
	}
	return err
}

// detachedEntries are the entries at places, from the table of a detached month. Those that are not there are left out.
func detachedEntries(ctx context.Context, q postgres.Querier, month time.Time, places []place) ([]placedEntry, error) {
	ids, timestamps, indexes := make([]uuid.UUID, len(places)), make([]time.Time, len(places)), make([]int64, len(places))
	for i, p := range places {
		ids[i], timestamps[i], indexes[i] = p.ID, p.Timestamp, p.index
	}
	return postgres.Many[placedEntry](ctx, q, `
		SELECT o.n AS index, `+entryColumns+`
		FROM unnest($1::uuid[], $2::timestamptz[], $3::bigint[]) WITH ORDINALITY o (oid, at, n, i)
		JOIN audit_parts.`+partOf("audit_logs", month)+` e ON e.timestamp = o.at AND e.id = o.oid
		ORDER BY o.i`, ids, timestamps, indexes)
}

// load reads an archive into tables beside the log's, and compares every entry with the tree on the way.
func (a *Archivist) load(ctx context.Context, row *archived) error {
	r := verify.NewReport()
	c, err := a.check(ctx, r)
	if err != nil {
		return err
	}
	m, ok, err := c.manifest(row)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: %s", ErrArchive, r.Failures[0])
	}
	cp, err := verify.OpenCheckpoint(m.Checkpoint, c.keys)
	if err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, a.Log.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL statement_timeout = 0`); err != nil {
			return err
		}
		if err := a.unload(ctx, tx, row); err != nil {
			return err
		}
		for _, table := range PartitionedTables() {
			if _, err := tx.Exec(ctx, fmt.Sprintf(`
				CREATE TABLE audit_parts.%s (LIKE public.%s INCLUDING ALL, CONSTRAINT audit_month_ck CHECK (timestamp IS NOT NULL AND timestamp >= '%s' AND timestamp < '%s'))
				WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_freeze_min_age = 0)`, loading(table, row.Month), table, day(row.Month), day(row.to()))); err != nil {
				return fmt.Errorf("making a table to restore into (the owner's rights are needed): %w", err)
			}
		}
		l := &loader{
			check: c, row: row, tx: tx, keys: a.Keys, writers: newWriterKeys(a.Keys.Writer), subjects: map[subjectName][]byte{},
			places: rangesLeft{m.Ranges}, hashes: tlog.TileHashReader(tlog.Tree{N: cp.Size, Hash: cp.Root}, &storedTiles{newTiles(ctx, a.Log.pool, c.tree)}),
		}
		for _, f := range m.Personal {
			if err := l.personal(ctx, f); err != nil {
				return err
			}
		}
		for _, f := range m.Files {
			if err := l.file(ctx, f); err != nil {
				return err
			}
		}
		if l.n != row.Entries {
			return fmt.Errorf("%w: the archive has %d entries, not %d", ErrArchive, l.n, row.Entries)
		}
		return nil
	})
}

// loader reads the files of one month into its tables.
type loader struct {
	check    *archiveCheck
	row      *archived
	tx       pgx.Tx
	keys     Keys
	writers  writerKeys
	subjects map[subjectName][]byte
	places   rangesLeft
	hashes   tlog.HashReader
	n        int64
}

// open begins to read a file.
func (l *loader) open(ctx context.Context, f archive.File) (*archive.Reader, io.Closer, error) {
	body, err := l.check.store.Open(ctx, f.Name, l.row.Objects[f.Name])
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	in, err := archive.NewReader(io.LimitReader(body, f.Bytes+1))
	return in, body, err
}

// personal loads what is known of persons, as long as it is there.
func (l *loader) personal(ctx context.Context, f archive.File) error {
	in, body, err := l.open(ctx, f)
	if errors.Is(err, archive.ErrNotThere) {
		return nil
	}
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // it was only read
	defer in.Close()
	for {
		var rows [][]any
		for len(rows) < exportPage {
			p, err := in.NextPersonal()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
			entry, err := uuid.Parse(p.Entry)
			if err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
			rows = append(rows, []any{entry, p.Timestamp, p.Subject, p.Generation, p.Sealed})
		}
		if len(rows) == 0 {
			return nil
		}
		if _, err := l.tx.CopyFrom(ctx, pgx.Identifier{"audit_parts", loading("audit_personal_data", l.row.Month)},
			[]string{"entry_id", "timestamp", "subject_id", "key_generation", "sealed"}, pgx.CopyFromRows(rows)); err != nil {
			return err
		}
	}
}

// file loads the entries of a file, a bundle at a time.
func (l *loader) file(ctx context.Context, f archive.File) error {
	in, body, err := l.open(ctx, f)
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // it was only read
	defer in.Close()
	var batch []archivedLeaf
	for {
		index, raw, err := in.Next()
		if len(batch) > 0 && (err != nil || index/tileWidth != batch[0].index/tileWidth) {
			if err := l.entries(ctx, batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		batch = append(batch, archivedLeaf{index, raw})
	}
}

// known is where somebody came from.
type known struct {
	address *netip.Addr
	program *string
}

func (l *loader) entries(ctx context.Context, batch []archivedLeaf) error {
	if before := len(l.check.Failures); l.check.compare(l.row, batch, &l.places, l.hashes) || len(l.check.Failures) > before {
		return fmt.Errorf("%w: %s", ErrArchive, l.check.Failures[before])
	}
	ids, decoded := make([]uuid.UUID, len(batch)), make([]leaf.Entry, len(batch))
	for i, b := range batch {
		var err error
		if decoded[i], err = leaf.Decode(b.raw); err != nil {
			return err
		}
		if ids[i], err = uuid.Parse(decoded[i].ID); err != nil {
			return err
		}
	}
	from, err := l.opened(ctx, ids)
	if err != nil {
		return err
	}
	rows := make([][]any, len(batch))
	for i, b := range batch {
		e, k := &decoded[i], from[ids[i]]
		mac := leaf.MAC(l.writers.of(e.Writer), b.raw)
		rows[i] = []any{
			e.Time, ids[i], restoredXid, column(e.Actor.ID), e.Actor.Type, e.Action, e.Resource.Type, column(e.Resource.ID), string(e.Result), e.Code, e.Interface, column(e.RequestID),
			k.address, k.program, b.raw, mac[:],
		}
	}
	// Not by COPY, whose binary form pgx does not have for xid8.
	insert := &pgx.Batch{}
	for _, r := range rows {
		insert.Queue(`
			INSERT INTO audit_parts.`+loading("audit_logs", l.row.Month)+` (timestamp, id, xid, user_id, actor_type, action_type, resource_type, resource_id, result, code, interface, request_id, source_ip, user_agent, leaf, mac)
			VALUES ($1, $2, $3::text::xid8, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`, r...)
	}
	l.n += int64(len(rows))
	return l.tx.SendBatch(ctx, insert).Close()
}

// opened is where the actors of entries came from, of those whose keys are there.
func (l *loader) opened(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]known, error) {
	rows, err := postgres.Many[struct {
		personalRow
		WrappedKey []byte
	}](ctx, l.tx, `
		SELECT d.entry_id, d.timestamp, d.subject_id, d.key_generation, d.sealed, k.wrapped_key
		FROM audit_parts.`+loading("audit_personal_data", l.row.Month)+` d
		JOIN audit_subject_keys k ON k.subject_id = d.subject_id AND k.generation = d.key_generation AND k.erased_at IS NULL
		WHERE d.entry_id = ANY ($1)`, ids)
	if err != nil {
		return nil, err
	}
	out := map[uuid.UUID]known{}
	for _, r := range rows {
		name := subjectName{r.SubjectID, r.KeyGeneration}
		key, ok := l.subjects[name]
		if !ok {
			if key, err = open(l.keys.Personal[:], r.WrappedKey, []byte(r.SubjectID)); err != nil {
				return nil, fmt.Errorf("the key of %s does not open: %w", r.SubjectID, err)
			}
			if len(l.subjects) >= subjectCount {
				clear(l.subjects)
			}
			l.subjects[name] = key
		}
		plain, err := open(key, r.Sealed, r.EntryID[:])
		var openings map[string]verify.Opening
		if err == nil {
			err = json.Unmarshal(plain, &openings)
		}
		if err != nil {
			return nil, fmt.Errorf("what was sealed with the entry %s does not open: %w", r.EntryID, err)
		}
		var k known
		if addr, err := netip.ParseAddr(openings["source_ip"].Value); err == nil {
			k.address = &addr
		}
		k.program = nullable(openings["user_agent"].Value)
		out[r.EntryID] = k
	}
	return out, nil
}
