package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/note"

	"github.com/robco-forge/forge/internal/audit/archive"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres"
)

const (
	// Retention is how many years a month of the log is kept, counted from its end.
	Retention = 7
	// settled is how long after its end a month is sealed: no transaction and no clock is so late.
	settled = 7 * 24 * time.Hour
	// HotMonths is how many whole months stay attached, and so are searched.
	HotMonths = 25
)

// MonthState is how far a month is on its way out of the database.
type MonthState string

// The states of a month. Open and droppable ones are not stored: they follow from the time.
const (
	MonthOpen      MonthState = "open"
	MonthSealed    MonthState = "sealed"
	MonthExported  MonthState = "exported"
	MonthVerified  MonthState = "verified"
	MonthDetached  MonthState = "detached"
	MonthDroppable MonthState = "droppable"
	MonthDropped   MonthState = "dropped"
)

// What the states are recorded as; the resource is the month.
const (
	sealAction    = "audit.archive.seal"
	exportAction  = "audit.archive.export"
	verifyAction  = "audit.archive.verify"
	detachAction  = "audit.archive.detach"
	dropAction    = "audit.archive.drop"
	restoreAction = verify.RestoreAction
	drillAction   = "audit.archive.drill"
	holdAction    = "audit.hold.add"
	releaseAction = "audit.hold.release"
	monthResource = "audit_month"
)

// What archiving can be refused.
var (
	// ErrNotYet says that a month is not due for a step.
	ErrNotYet = errors.New("audit: it is too early")
	// ErrArchiving says that another process is at it.
	ErrArchiving = errors.New("audit: another process is archiving")
	// ErrArchive says that an archive is not what it should be, or a step does not fit the state of its month.
	ErrArchive = errors.New("audit: archive")
)

// Archivist brings months of the log out of the database, and back. Sealing, exporting and verifying need the application's
// rights; detaching and restoring need the owner's.
type Archivist struct {
	Log   *Log
	Keys  Keys
	Store archive.Store
	// Hot is how many whole months before the present one stay attached.
	Hot int
	// Witnesses verify the signatures of witnesses. Without any, nothing is dropped.
	Witnesses []note.Verifier
	Logger    *slog.Logger
}

// archived is the row of a month.
type archived struct {
	Month          time.Time
	State          MonthState
	Entries        int64
	Size           int64
	Store          *string
	Manifest       *string
	ManifestSHA256 *string `db:"manifest_sha256"`
	Objects        map[string]string
	LockedUntil    *time.Time
	SealedAt       time.Time
	ExportedAt     *time.Time
	VerifiedAt     *time.Time
	DetachedAt     *time.Time
	DroppedAt      *time.Time
	RestoredAt     *time.Time
	KeepUntil      *time.Time
}

const archivedColumns = `month, state, entries, size, store, manifest, manifest_sha256, objects, locked_until, sealed_at, exported_at, verified_at, detached_at, dropped_at, restored_at, keep_until`

func (a *archived) name() string  { return a.Month.Format(monthForm) }
func (a *archived) to() time.Time { return a.Month.AddDate(0, 1, 0) }

// over is when the seven years of a month end.
func (a *archived) over() time.Time { return a.to().AddDate(Retention, 0, 0) }

// gone says that its rows are not in the log's tables.
func (a *archived) gone() bool { return a.State == MonthDetached || a.State == MonthDropped }

const monthForm = "2006-01"

// ParseMonth reads a month like "2026-01".
func ParseMonth(s string) (time.Time, error) {
	m, err := time.Parse(monthForm, s)
	if err != nil {
		return m, fmt.Errorf("%q is no month like 2026-01", s)
	}
	return m, nil
}

func partOf(table string, month time.Time) string { return table + month.Format("_2006_01") }

func archivedMonths(ctx context.Context, q postgres.Querier) ([]archived, error) {
	rows, err := postgres.Many[archived](ctx, q, `SELECT `+archivedColumns+` FROM audit_archives ORDER BY month`)
	for i := range rows {
		rows[i].Month = rows[i].Month.UTC()
	}
	return rows, err
}

func archivedMonth(ctx context.Context, q postgres.Querier, month time.Time) (archived, error) {
	row, err := postgres.One[archived](ctx, q, `SELECT `+archivedColumns+` FROM audit_archives WHERE month = $1`, month)
	row.Month = row.Month.UTC()
	if errors.Is(err, pgx.ErrNoRows) {
		err = fmt.Errorf("%w: the month %s was not archived", ErrArchive, month.Format(monthForm))
	}
	return row, err
}

// Month is a month of the log as a reader sees it.
type Month struct {
	Month string     `json:"month"`
	State MonthState `json:"state"`
	// Attached says that searches see it.
	Attached bool   `json:"attached"`
	Entries  *int64 `json:"entries"`
	Store    string `json:"store,omitempty"`
	Manifest string `json:"manifest,omitempty"`
	// LockedUntil is until when the store keeps its files, and the database its tables.
	LockedUntil *time.Time `json:"locked_until,omitempty"`
	VerifiedAt  *time.Time `json:"verified_at,omitempty"`
	// Refusal is why it cannot be dropped.
	Refusal string `json:"drop_refused,omitempty"`
}

// Months lists the months that are over, and those that are gone.
func Months(ctx context.Context, q postgres.Querier, now time.Time) ([]Month, error) {
	parts, err := listPartitions(ctx, q, false)
	if err != nil {
		return nil, err
	}
	all := map[time.Time]*Month{}
	for _, p := range parts {
		if p.Table == "audit_logs" && p.Kind == KindMonth && !p.To.After(now) {
			all[*p.From] = &Month{Month: p.From.Format(monthForm), State: MonthOpen, Attached: !p.Detaching}
		}
	}
	rows, err := archivedMonths(ctx, q)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		m := all[r.Month]
		if m == nil {
			m = &Month{Month: r.name()}
			all[r.Month] = m
		}
		m.State, m.Entries, m.LockedUntil, m.VerifiedAt, m.Store, m.Manifest = r.State, &r.Entries, r.LockedUntil, r.VerifiedAt, value(r.Store), value(r.Manifest)
		if r.State == MonthDropped {
			continue
		}
		var refusal *string
		if err := q.QueryRow(ctx, `SELECT audit_drop_refusal($1)`, r.Month).Scan(&refusal); err != nil {
			return nil, err
		}
		if m.Refusal = value(refusal); refusal == nil {
			m.State = MonthDroppable
		}
	}
	out := []Month{}
	for _, at := range slices.SortedFunc(maps.Keys(all), time.Time.Compare) {
		out = append(out, *all[at])
	}
	return out, nil
}

// Step is what was done to a month.
type Step struct {
	Month string     `json:"month"`
	State MonthState `json:"state"`
}

// Run brings every month as far as it is due: seals, exports, verifies and, with the owner's rights, detaches. Months are
// taken in order, and a month that fails ends it. What was done is returned whatever happens. One process at a time is at
// it: ErrArchiving for others.
func (a *Archivist) Run(ctx context.Context, detach bool) (done []Step, err error) {
	conn, err := a.Log.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	var alone bool
	if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock(hashtextextended('forge audit archive', 0))`).Scan(&alone); err != nil {
		return nil, err
	}
	if !alone {
		return nil, ErrArchiving
	}
	defer func() {
		_, unlock := conn.Exec(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock(hashtextextended('forge audit archive', 0))`)
		err = errors.Join(err, unlock)
	}()
	if detach {
		if err := a.finalize(ctx); err != nil {
			return nil, err
		}
	}
	now := a.Log.now()
	months, err := Months(ctx, a.Log.pool, now)
	if err != nil {
		return nil, err
	}
	for _, m := range months {
		month, err := ParseMonth(m.Month)
		if err != nil {
			return done, err
		}
		for {
			state, err := a.step(ctx, month, detach)
			if errors.Is(err, ErrNotYet) {
				break
			}
			if err != nil {
				return done, fmt.Errorf("the month %s: %w", m.Month, err)
			}
			done = append(done, Step{m.Month, state})
		}
	}
	return done, nil
}

// step brings a month one state further; ErrNotYet when nothing is due.
func (a *Archivist) step(ctx context.Context, month time.Time, detach bool) (MonthState, error) {
	rows, err := postgres.Many[archived](ctx, a.Log.pool, `SELECT `+archivedColumns+` FROM audit_archives WHERE month = $1`, month)
	if err != nil {
		return "", err
	}
	if len(rows) == 0 {
		return MonthSealed, a.seal(ctx, month)
	}
	row := &rows[0]
	row.Month = row.Month.UTC()
	switch row.State {
	case MonthSealed:
		return MonthExported, a.export(ctx, row)
	case MonthExported:
		return MonthVerified, a.verify(ctx, row)
	case MonthVerified:
		hot := clock.StartOfMonth(a.Log.now()).AddDate(0, -a.Hot, 0)
		if !detach || row.Month.After(hot) || row.Month.Equal(hot) || row.KeepUntil != nil && a.Log.now().Before(*row.KeepUntil) {
			return "", ErrNotYet
		}
		return MonthDetached, a.detach(ctx, row)
	case MonthOpen, MonthDetached, MonthDroppable, MonthDropped:
	}
	return "", ErrNotYet
}

// record changes a month's row and records it.
func (a *Archivist) record(ctx context.Context, action string, month time.Time, details map[string]any, change func(tx *Tx) error) error {
	what := month.Format(monthForm)
	return a.Log.Change(ctx, Intent{Action: action, ResourceType: monthResource, ResourceID: what}, func(tx *Tx) error {
		if err := change(tx); err != nil {
			return err
		}
		tx.Record(Event{Action: action, ResourceType: monthResource, ResourceID: what, Details: details})
		return nil
	})
}

// set updates columns of a month that is in a state; $1 is the month, $2 that state.
func set(ctx context.Context, tx *Tx, r *archived, columns string, args ...any) error {
	tag, err := tx.Exec(ctx, `UPDATE audit_archives SET `+columns+` WHERE month = $1 AND state = $2`, append([]any{r.Month, string(r.State)}, args...)...)
	if err == nil && tag.RowsAffected() != 1 {
		err = fmt.Errorf("%w: somebody else is at the month %s", ErrArchive, r.name())
	}
	return err
}

// placesIn calls fn with the places and names of a month's entries, a bundle at a time and in order.
func placesIn(ctx context.Context, q postgres.Querier, t *treeState, from, to time.Time, fn func(places []place) error) error {
	for after := int64(-1); ; {
		var n int64
		err := q.QueryRow(ctx, `
			SELECT n FROM audit_bundles
			WHERE n > $3 AND tstzrange(first_timestamp, last_timestamp, '[]') && tstzrange($1, $2)
			ORDER BY n LIMIT 1`, from, to, after).Scan(&n)
		if errors.Is(err, pgx.ErrNoRows) {
			n = t.Size / tileWidth
		} else if err != nil {
			return err
		}
		ids, timestamps, err := bundleAt(ctx, q, t, n)
		if err != nil {
			return err
		}
		var places []place
		for i, at := range timestamps {
			if !at.Before(from) && at.Before(to) {
				places = append(places, place{n*tileWidth + int64(i), orphan{at, ids[i]}})
			}
		}
		if len(places) > 0 {
			if err := fn(places); err != nil {
				return err
			}
		}
		if n == t.Size/tileWidth {
			return nil
		}
		after = n
	}
}

// place is an entry's name at its place.
type place struct {
	index int64
	orphan
}

// seal ends a month: every row of it is in the tree, and a checkpoint covers it.
func (a *Archivist) seal(ctx context.Context, month time.Time) error {
	to := month.AddDate(0, 1, 0)
	if a.Log.now().Before(to.Add(settled)) {
		return ErrNotYet
	}
	t, err := readTree(ctx, a.Log.pool)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNotYet
	}
	if err != nil {
		return err
	}
	entries, highest := int64(0), int64(-1)
	err = placesIn(ctx, a.Log.pool, &t, month, to, func(places []place) error {
		entries, highest = entries+int64(len(places)), places[len(places)-1].index
		return nil
	})
	if err != nil {
		return err
	}
	if err := a.whole(ctx, month, entries); err != nil {
		return err
	}
	// The newest that a witness has signed; without any, the newest.
	var size int64
	err = a.Log.pool.QueryRow(ctx, `
		SELECT size FROM audit_checkpoints c
		WHERE size > $1
		ORDER BY EXISTS (SELECT FROM audit_cosignatures s WHERE s.size = c.size) DESC, size DESC
		LIMIT 1`, highest).Scan(&size)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNotYet
	}
	if err != nil {
		return err
	}
	return a.record(ctx, sealAction, month, map[string]any{"entries": entries, "size": size}, func(tx *Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO audit_archives (month, state, entries, size, sealed_at) VALUES ($1, 'sealed', $2, $3, $4)`, month, entries, size, tx.Now)
		return err
	})
}

// whole is an error unless the table has so many entries of the month, and those that were kept out of the log.
func (a *Archivist) whole(ctx context.Context, month time.Time, entries int64) error {
	var rows, refused int64
	err := a.patiently(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `
			SELECT (SELECT count(*) FROM audit_logs WHERE timestamp >= $1 AND timestamp < $2), (SELECT count(*) FROM audit_quarantine WHERE timestamp >= $1 AND timestamp < $2)`,
			month, month.AddDate(0, 1, 0)).Scan(&rows, &refused)
	})
	if err == nil && rows != entries+refused {
		err = fmt.Errorf("%w: the table has %d entries of the month, and the log %d; run `forge audit verify`", ErrArchive, rows-refused, entries)
	}
	return err
}

// patiently reads what may take longer than any request.
func (a *Archivist) patiently(ctx context.Context, fn func(tx pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, a.Log.pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL statement_timeout = 0`); err != nil {
			return err
		}
		return fn(tx)
	})
}

// trusted are the keys that checkpoints and manifests are signed with.
func (a *Archivist) trusted() (verify.Keys, note.Verifiers, error) {
	return trustedKeys(a.Keys, a.Log.origin)
}

func trustedKeys(k Keys, origin string) (verify.Keys, note.Verifiers, error) {
	text, err := k.PublicKeys(origin)
	if err != nil {
		return verify.Keys{}, nil, err
	}
	keys, err := verify.ParseKeys(text)
	if err != nil {
		return keys, nil, err
	}
	var list []note.Verifier
	for _, seed := range k.Signing {
		public, err := publicKey(origin, seed)
		if err != nil {
			return keys, nil, err
		}
		v, err := note.NewVerifier(public)
		if err != nil {
			return keys, nil, err
		}
		list = append(list, v)
	}
	return keys, note.VerifierList(list...), nil
}
