package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/audit/archive"
	"github.com/robco-forge/forge/internal/postgres"
)

// archiveFile is how many bytes of entries a file of an archive has before the next is begun.
const archiveFile = 1 << 30

// exporter writes the files of a month.
type monthExport struct {
	*Archivist
	row     *archived
	objects map[string]string
	m       archive.Manifest
	file    *os.File
	out     *archive.Writer
}

// export writes a month to the store.
func (a *Archivist) export(ctx context.Context, row *archived) error {
	x := &monthExport{Archivist: a, row: row, objects: map[string]string{}, m: archive.Manifest{
		Log: a.Log.origin, Month: row.name(), From: row.Month, To: row.to(), Files: []archive.File{}, Ranges: [][2]int64{},
	}}
	defer x.discard()
	t, err := readTree(ctx, a.Log.pool)
	if err != nil {
		return err
	}
	if err := placesIn(ctx, a.Log.pool, &t, row.Month, row.to(), func(places []place) error { return x.add(ctx, &t, places) }); err != nil {
		return err
	}
	if err := x.end(ctx); err != nil {
		return err
	}
	if x.m.Entries != row.Entries {
		return fmt.Errorf("%w: it was sealed with %d entries and has %d", ErrArchive, row.Entries, x.m.Entries)
	}
	if err := x.personal(ctx); err != nil {
		return err
	}
	c, err := postgres.One[checkpointRow](ctx, a.Log.pool, `SELECT size, root, note, signed_at FROM audit_checkpoints WHERE size = $1`, row.Size)
	if err != nil {
		return err
	}
	if x.m.Checkpoint, err = withCosignatures(ctx, a.Log.pool, c); err != nil {
		return err
	}
	err = a.Log.pool.QueryRow(ctx, `SELECT manifest_sha256 FROM audit_archives WHERE month < $1 AND state <> 'sealed' ORDER BY month DESC LIMIT 1`, row.Month).Scan(&x.m.Previous)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	signers, err := a.Keys.Signers(a.Log.origin)
	if err != nil {
		return err
	}
	text, err := x.m.Sign(signers...)
	if err != nil {
		return err
	}
	sum := archive.Hash([]byte(text))
	manifest := archive.Name(row.name(), archive.KindManifest, sum, ".note")
	if x.objects[manifest], err = a.Store.Put(ctx, manifest, strings.NewReader(text), int64(len(text)), x.lock()); err != nil {
		return err
	}
	if err := a.holdFiles(ctx, row.Month, x.objects); err != nil {
		return err
	}
	return a.record(ctx, exportAction, row.Month, map[string]any{"manifest": sum, "entries": x.m.Entries, "files": len(x.m.Files)}, func(tx *Tx) error {
		return set(ctx, tx, row, `state = 'exported', store = $3, manifest = $4, manifest_sha256 = $5, objects = $6, locked_until = $7, exported_at = $8`,
			a.Store.Name(), manifest, sum, x.objects, row.over(), tx.Now)
	})
}

// add writes the entries of a bundle.
func (x *monthExport) add(ctx context.Context, t *treeState, places []place) error {
	ids, timestamps := make([]uuid.UUID, len(places)), make([]time.Time, len(places))
	for i, p := range places {
		ids[i], timestamps[i] = p.ID, p.Timestamp
	}
	rows, err := postgres.Many[placedEntry](ctx, x.Log.pool, `SELECT o.i - 1 AS index, `+entryColumns+` FROM `+named+` ORDER BY o.i`, ids, timestamps)
	if err != nil {
		return err
	}
	hashes, err := newTiles(ctx, x.Log.pool, t).tile(0, places[0].index/tileWidth)
	if err != nil {
		return err
	}
	if len(rows) != len(places) {
		return fmt.Errorf("%w: %d of the entries from %d on are missing; run `forge audit verify`", ErrArchive, len(places)-len(rows), places[0].index)
	}
	for i, p := range places {
		h := leafHash(rows[i].Leaf)
		if at := p.index % tileWidth * int64(len(h)); string(hashes[at:at+int64(len(h))]) != string(h[:]) {
			return fmt.Errorf("%w: entry %d is not the one in the tree; run `forge audit verify`", ErrArchive, p.index)
		}
		if err := x.entry(ctx, p.index, rows[i].Leaf); err != nil {
			return err
		}
	}
	return nil
}

func (x *monthExport) entry(ctx context.Context, index int64, leaf []byte) error {
	if x.out != nil && x.out.Plain > archiveFile {
		if err := x.end(ctx); err != nil {
			return err
		}
	}
	if x.out == nil {
		if err := x.begin(); err != nil {
			return err
		}
	}
	x.m.Entries++
	if last := len(x.m.Ranges) - 1; last >= 0 && x.m.Ranges[last][1] == index-1 {
		x.m.Ranges[last][1] = index
	} else {
		x.m.Ranges = append(x.m.Ranges, [2]int64{index, index})
	}
	return x.out.Add(index, leaf)
}

func (x *monthExport) begin() (err error) {
	if x.file, err = os.CreateTemp("", "forge-archive-*"); err == nil {
		x.out, err = archive.NewWriter(x.file)
	}
	return err
}

// end stores the file that is being written, if one is.
func (x *monthExport) end(ctx context.Context) error {
	if x.out == nil {
		return nil
	}
	f, err := x.store(ctx, archive.KindEntries, ".tlb.zst", x.lock())
	x.m.Files = append(x.m.Files, f)
	return err
}

func (x *monthExport) store(ctx context.Context, kind, ending string, until time.Time) (archive.File, error) {
	defer x.discard()
	f, err := x.out.Close()
	if err != nil {
		return f, err
	}
	if _, err := x.file.Seek(0, io.SeekStart); err != nil {
		return f, err
	}
	f.Name = archive.Name(x.row.name(), kind, f.SHA256, ending)
	x.objects[f.Name], err = x.Store.Put(ctx, f.Name, x.file, f.Bytes, until)
	return f, err
}

// lock is until when the store keeps the evidence: none, where that is over.
func (x *monthExport) lock() time.Time {
	if over := x.row.over(); over.After(x.Log.now()) {
		return over
	}
	return time.Time{}
}

// discard removes the temporary file.
func (x *monthExport) discard() {
	if x.file != nil {
		_ = x.file.Close()
		_ = os.Remove(x.file.Name())
	}
	x.file, x.out = nil, nil
}

// personalRow is what is known of a person in an entry.
type personalRow struct {
	EntryID       uuid.UUID `db:"entry_id"`
	Timestamp     time.Time
	SubjectID     string
	KeyGeneration int
	Sealed        []byte
}

// personal writes what is known of persons: sealed as it is, and without a lock, since it must be possible to remove it.
func (x *monthExport) personal(ctx context.Context) error {
	after, entry := x.row.Month, uuid.Nil
	for {
		rows, err := postgres.Many[personalRow](ctx, x.Log.pool, `
			SELECT entry_id, timestamp, subject_id, key_generation, sealed
			FROM audit_personal_data
			WHERE (timestamp, entry_id) > ($1, $2) AND timestamp < $3
			ORDER BY timestamp, entry_id
			LIMIT $4`, after, entry, x.row.to(), exportPage)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return x.endPersonal(ctx)
		}
		if x.out != nil && x.out.Plain > archiveFile {
			if err := x.endPersonal(ctx); err != nil {
				return err
			}
		}
		if x.out == nil {
			if err := x.begin(); err != nil {
				return err
			}
		}
		for _, r := range rows {
			if err := x.out.AddPersonal(archive.Personal{Entry: r.EntryID.String(), Timestamp: r.Timestamp.UTC(), Subject: r.SubjectID, Generation: r.KeyGeneration, Sealed: r.Sealed}); err != nil {
				return err
			}
		}
		after, entry = rows[len(rows)-1].Timestamp, rows[len(rows)-1].EntryID
	}
}

func (x *monthExport) endPersonal(ctx context.Context) error {
	if x.out == nil {
		return nil
	}
	f, err := x.store(ctx, archive.KindPersonal, ".jsonl.zst", time.Time{})
	x.m.Personal = append(x.m.Personal, f)
	return err
}
