package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/note"

	"github.com/robco-forge/forge/internal/audit/archive"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
)

// detachWithin is how long a detaching may wait for the transactions that see the month.
const detachWithin = 10 * time.Minute

// alter runs a statement that wants to be alone.
func (a *Archivist) alter(ctx context.Context, sql string) error {
	ctx, cancel := context.WithTimeout(ctx, detachWithin)
	defer cancel()
	conn, err := a.Log.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, `SET statement_timeout = 0`); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	_, reset := conn.Exec(ctx, `RESET statement_timeout`)
	return errors.Join(err, reset)
}

// finalize ends what was begun: a month that is half detached takes no writes and shows no rows. Only months whose archives
// were verified are detached by Forge; others are left to whoever began it.
func (a *Archivist) finalize(ctx context.Context) error {
	parts, err := listPartitions(ctx, a.Log.pool, false)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if !p.Detaching || p.Kind != KindMonth {
			continue
		}
		row, err := archivedMonth(ctx, a.Log.pool, *p.From)
		if err != nil || row.State != MonthVerified {
			return errors.Join(fmt.Errorf("%w: somebody began to detach %s, which is no verified archive; see `forge audit partitions check`", ErrArchive, p.Name), err)
		}
		if err := a.alter(ctx, fmt.Sprintf(`ALTER TABLE %s DETACH PARTITION audit_parts.%s FINALIZE`, p.Table, p.Name)); err != nil {
			return fmt.Errorf("ending the detaching of %s: %w", p.Name, err)
		}
	}
	return nil
}

// detach takes a month out of the log's tables. It reads the archive back once more: from then on that is what there is.
func (a *Archivist) detach(ctx context.Context, row *archived) error {
	r, err := a.Verify(ctx, row.Month)
	if err != nil {
		return err
	}
	if !r.OK() {
		return fmt.Errorf("%w: what the store has is not what was written: %s", ErrArchive, r.Failures[0])
	}
	attached, err := a.attached(ctx, row.Month)
	if err != nil {
		return err
	}
	if attached["audit_logs"] {
		if err := a.whole(ctx, row.Month, row.Entries); err != nil {
			return err
		}
	}
	for _, table := range PartitionedTables() {
		if attached[table] {
			if err := a.alter(ctx, fmt.Sprintf(`ALTER TABLE %s DETACH PARTITION audit_parts.%s CONCURRENTLY`, table, partOf(table, row.Month))); err != nil {
				return fmt.Errorf("detaching (the owner's rights are needed): %w", err)
			}
		}
	}
	return a.record(ctx, detachAction, row.Month, map[string]any{"manifest": *row.ManifestSHA256, "entries": row.Entries}, func(tx *Tx) error {
		if err := readable(ctx, tx, row.Month); err != nil {
			return err
		}
		return set(ctx, tx, row, `state = 'detached', detached_at = $3, keep_until = NULL`, tx.Now)
	})
}

// readable lets whoever reads the log read a detached month, for proofs and for verifying.
func readable(ctx context.Context, tx *Tx, month time.Time) error {
	for _, table := range PartitionedTables() {
		readers, err := postgres.Many[struct{ Name string }](ctx, tx, `
			SELECT quote_ident(r.rolname) AS name
			FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) x JOIN pg_roles r ON r.oid = x.grantee
			WHERE c.oid = $1::text::regclass AND x.privilege_type = 'SELECT' AND x.grantee <> c.relowner`, "public."+table)
		if err != nil {
			return err
		}
		for _, r := range readers {
			if _, err := tx.Exec(ctx, fmt.Sprintf(`GRANT USAGE ON SCHEMA audit_parts TO %s`, r.Name)); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, fmt.Sprintf(`GRANT SELECT ON audit_parts.%s TO %s`, partOf(table, month), r.Name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// attached tells which of the tables have the month.
func (a *Archivist) attached(ctx context.Context, month time.Time) (map[string]bool, error) {
	parts, err := listPartitions(ctx, a.Log.pool, false)
	out := map[string]bool{}
	for _, p := range parts {
		if p.Kind == KindMonth && p.From.Equal(month) {
			if p.Name != partOf(p.Table, month) {
				return nil, fmt.Errorf("%w: the table of %s is called %s", ErrArchive, month.Format(monthForm), p.Name)
			}
			out[p.Table] = true
		}
	}
	return out, err
}

// Drop drops the tables of a month whose seven years are over by the clock of the database and by a witness's, which has no
// legal hold and whose files are no longer locked. The database refuses any other, whoever asks. With files, its files in
// the store are removed afterwards.
func (a *Archivist) Drop(ctx context.Context, month time.Time, files bool) error {
	row, err := archivedMonth(ctx, a.Log.pool, month)
	if err != nil {
		return err
	}
	var refusal *string
	if err := a.Log.pool.QueryRow(ctx, `SELECT audit_drop_refusal($1)`, month).Scan(&refusal); err != nil {
		return err
	}
	if refusal != nil {
		return fmt.Errorf("%w: the month %s cannot be dropped: %s", ErrArchive, row.name(), *refusal)
	}
	at, err := a.witnessedAt(ctx)
	if err != nil {
		return err
	}
	if at.Before(row.over()) {
		return fmt.Errorf("%w: the seven years of %s end at %s, and the latest genuine signature of a witness is of %s", ErrArchive, row.name(), row.over().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	}
	r, err := a.Verify(ctx, month)
	if err != nil {
		return err
	}
	if !r.OK() {
		return fmt.Errorf("%w: what the store has is not what was written: %s", ErrArchive, r.Failures[0])
	}
	for name := range row.Objects {
		o, err := a.Store.Stat(ctx, name)
		switch {
		case errors.Is(err, archive.ErrNotThere): // of persons; else it were not verified
		case err != nil:
			return err
		case o.Hold:
			return fmt.Errorf("%w: %s is under a legal hold in the store", ErrArchive, name)
		case o.LockedUntil.After(at) || o.LockedUntil.After(a.Log.now()):
			return fmt.Errorf("%w: the store has %s locked until %s", ErrArchive, name, o.LockedUntil.UTC().Format(time.RFC3339))
		}
	}
	err = a.record(ctx, dropAction, month, map[string]any{"manifest": *row.ManifestSHA256, "entries": row.Entries, "witnessed_at": at.UTC().Format(time.RFC3339)}, func(tx *Tx) error {
		_, err := tx.Exec(ctx, `SELECT audit_drop_month($1)`, month)
		return err
	})
	if err != nil || !files {
		return err
	}
	for name, version := range row.Objects {
		if err := a.Store.Remove(ctx, name, version); err != nil {
			return err
		}
	}
	return nil
}

// witnessedAt is the latest instant that a witness has signed, as far as its signature is genuine.
func (a *Archivist) witnessedAt(ctx context.Context) (time.Time, error) {
	if len(a.Witnesses) == 0 {
		return time.Time{}, fmt.Errorf("%w: nothing is dropped without the public key of a witness: its time is what shows that the years are over", ErrArchive)
	}
	rows, err := postgres.Many[struct{ Note, Line string }](ctx, a.Log.pool, `
		SELECT c.note, s.line
		FROM audit_cosignatures s JOIN audit_checkpoints c ON c.size = s.size
		ORDER BY s.cosigned_at DESC
		LIMIT 100`)
	if err != nil {
		return time.Time{}, err
	}
	for _, r := range rows {
		if at, ok := cosignedAt(r.Note+r.Line, a.Witnesses); ok {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: no witness whose key was given has signed the log", ErrArchive)
}

// cosignedAt is the latest time of the genuine signatures of witnesses on a checkpoint.
func cosignedAt(text string, witnesses []note.Verifier) (at time.Time, ok bool) {
	n, err := note.Open([]byte(text), note.VerifierList(witnesses...))
	if err != nil {
		return at, false
	}
	for _, s := range n.Sigs {
		if t, err := verify.CosignedAt(s); err == nil && t.After(at) {
			at, ok = t, true
		}
	}
	return at, ok
}

// Hold is a legal hold on months.
type Hold struct {
	ID         string     `json:"id"`
	FirstMonth time.Time  `json:"-"`
	LastMonth  time.Time  `json:"-"`
	From       string     `json:"from" db:"-"`
	To         string     `json:"to" db:"-"`
	Reason     string     `json:"reason"`
	PlacedAt   time.Time  `json:"placed_at"`
	PlacedBy   string     `json:"placed_by"`
	ReleasedAt *time.Time `json:"released_at,omitempty"`
	ReleasedBy *string    `json:"released_by,omitempty"`
}

// Holds lists the legal holds, the released ones too.
func Holds(ctx context.Context, q postgres.Querier) ([]Hold, error) {
	all, err := postgres.Many[Hold](ctx, q, `SELECT id, first_month, last_month, reason, placed_at, placed_by, released_at, released_by FROM audit_holds ORDER BY placed_at, id`)
	for i := range all {
		all[i].From, all[i].To = all[i].FirstMonth.UTC().Format(monthForm), all[i].LastMonth.UTC().Format(monthForm)
	}
	return all, err
}

// AddHold keeps months from being dropped, the last one included, until it is released. The store's files are held as well.
func (a *Archivist) AddHold(ctx context.Context, first, last time.Time, reason string) (string, error) {
	if strings.TrimSpace(reason) == "" || len(reason) > 200 || last.Before(first) {
		return "", fmt.Errorf("%w: a legal hold has a reason of up to 200 letters, and its last month is not before its first", ErrArchive)
	}
	hold := "hold_" + strings.ToLower(id.Unique())
	err := a.Log.Change(ctx, Intent{Action: holdAction, ResourceType: "audit_hold", ResourceID: hold}, func(tx *Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO audit_holds (id, first_month, last_month, reason, placed_at, placed_by) VALUES ($1, $2, $3, $4, $5, $6)`, hold, first, last, reason, tx.Now, tx.Actor.ID())
		tx.Record(Event{Action: holdAction, ResourceType: "audit_hold", ResourceID: hold, Details: map[string]any{"from": first.Format(monthForm), "to": last.Format(monthForm), "reason": reason}})
		return err
	})
	if err != nil {
		return "", err
	}
	return hold, a.holdAll(ctx)
}

// ReleaseHold ends a legal hold.
func (a *Archivist) ReleaseHold(ctx context.Context, hold, reason string) error {
	err := a.Log.Change(ctx, Intent{Action: releaseAction, ResourceType: "audit_hold", ResourceID: hold}, func(tx *Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE audit_holds SET released_at = $2, released_by = $3 WHERE id = $1 AND released_at IS NULL`, hold, tx.Now, tx.Actor.ID())
		if err == nil && tag.RowsAffected() == 0 {
			err = fmt.Errorf("%w: there is no legal hold %s, or it was released", ErrArchive, hold)
		}
		tx.Record(Event{Action: releaseAction, ResourceType: "audit_hold", ResourceID: hold, Details: map[string]any{"reason": reason}})
		return err
	})
	if err != nil {
		return err
	}
	return a.holdAll(ctx)
}

// holdAll brings the holds of the store to what the database says.
func (a *Archivist) holdAll(ctx context.Context) error {
	if a.Store == nil || !a.Store.Locks() {
		return nil
	}
	rows, err := archivedMonths(ctx, a.Log.pool)
	if err != nil {
		return err
	}
	for i := range rows {
		if rows[i].Manifest != nil && rows[i].State != MonthDropped {
			if err := a.holdFiles(ctx, rows[i].Month, rows[i].Objects); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *Archivist) holdFiles(ctx context.Context, month time.Time, objects map[string]string) error {
	var on bool
	if err := a.Log.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM audit_holds WHERE $1 BETWEEN first_month AND last_month AND released_at IS NULL)`, month).Scan(&on); err != nil {
		return err
	}
	for name, version := range objects {
		if err := a.Store.Hold(ctx, name, version, on); err != nil {
			return err
		}
	}
	return nil
}
