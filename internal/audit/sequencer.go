package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/mod/sumdb/note"

	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres"
)

const (
	// SequenceBatch is how many entries a round brings into the tree at the most, which bounds what is in memory: a leaf has
	// at most 64 KiB. A round that brings fewer has brought all there was, and the next may wait: many small rounds cost
	// more than few.
	SequenceBatch = 1024
	// leaseTime is how long a leader that has gone silent keeps others waiting; after a quarter of it, it renews.
	leaseTime = 4 * time.Second
	// signEvery is how often a tree that grows is signed.
	signEvery = time.Second
	// reconcileBack is how old the entries are that Reconcile looks at.
	reconcileBack = 25 * time.Hour
	// haltTime is how long nothing is done after damage was found. Then it is looked at again: somebody may have mended it.
	haltTime = time.Minute
)

// errNotLeading says that another process leads, or that this one has just lost the lead.
var errNotLeading = errors.New("audit: another process leads")

// ErrFork says that what is to be signed contradicts what was signed before. Nothing more is signed until somebody has
// looked: docs/runbooks/audit.md.
var ErrFork = errors.New("audit: the tree contradicts what was signed before; nothing is signed")

// Sequencer brings committed entries into the tree and signs it. Any number of processes run one; one of them leads at a
// time, by a lease in the tree's row. The lease is only for peace: whoever changes the tree names the state it started
// from, so a process that was stopped and wakes up late changes nothing.
type Sequencer struct {
	cfg SequencerConfig

	mu      sync.Mutex // a round at a time
	conn    *pgxpool.Conn
	epoch   int64
	renewed time.Time
	signed  time.Time
	keys    writerKeys
	halted  time.Time // until then nothing is done
	seen    Observation
}

// SequencerConfig is what a Sequencer needs.
type SequencerConfig struct {
	Pool   *pgxpool.Pool
	Clock  clock.Clock
	Origin string
	// Name tells this process from others, in the tree's row and in logs.
	Name string
	// Keys are those that the codes of entries are under.
	Keys Keys
	// Signers sign a checkpoint, all of them; the first is the present one, others are on their way out or in.
	Signers []note.Signer
	// Pins is where signed checkpoints are kept outside the database; nil is nowhere.
	Pins   Pins
	Logger *slog.Logger
	// Lease is how long a leader that has gone silent keeps others waiting; 0 is four seconds.
	Lease time.Duration
	// Observe hears of what happens; nil is nobody.
	Observe func(Observation)
}

// Observation is what a round did.
type Observation struct {
	// Leading is whether this process leads.
	Leading bool
	// Sequenced is how many entries the round put into the tree, Quarantined how many it refused.
	Sequenced, Quarantined int
	// Size is that of the tree, Signed that of the newest checkpoint.
	Size, Signed int64
	// Delays are, for the entries that a checkpoint came to cover, the time since they were written.
	Delays []time.Duration
}

// NewSequencer makes the sequencer of one process. Close gives the lead back.
func NewSequencer(c SequencerConfig) (*Sequencer, error) {
	if len(c.Signers) == 0 {
		return nil, errors.New("audit: no key signs the log; run `forge audit key generate`")
	}
	for _, s := range c.Signers {
		if s.Name() != c.Origin {
			return nil, fmt.Errorf("audit: the signing key is %q's, and the log is %q", s.Name(), c.Origin)
		}
	}
	if c.Lease == 0 {
		c.Lease = leaseTime
	}
	return &Sequencer{cfg: c, keys: newWriterKeys(c.Keys.Writer)}, nil
}

// Round does what is due: takes the lead if nobody has it, brings what was committed into the tree, signs. It returns how
// many entries it has brought, 0 when there is nothing to do or another process leads.
func (s *Sequencer) Round(ctx context.Context) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().Before(s.halted) {
		return 0, nil
	}
	o := Observation{Size: s.seen.Size, Signed: s.seen.Signed}
	err := s.round(ctx, &o)
	s.seen = o
	if errors.Is(err, ErrFork) || errors.Is(err, errDamaged) {
		s.halted = time.Now().Add(haltTime)
	}
	if err != nil {
		s.drop(ctx)
	}
	o.Leading = s.conn != nil
	if s.cfg.Observe != nil {
		s.cfg.Observe(o)
	}
	if errors.Is(err, errNotLeading) {
		return 0, nil
	}
	return o.Sequenced, err
}

func (s *Sequencer) round(ctx context.Context, o *Observation) error {
	if s.conn == nil {
		if err := s.lead(ctx); err != nil {
			return err
		}
	}
	if err := s.sequence(ctx, o); err != nil {
		return err
	}
	if time.Since(s.signed) >= signEvery {
		if err := s.sign(ctx, o); err != nil {
			return err
		}
		s.signed = time.Now()
	}
	return nil
}

// Close gives the lead back, so that another process need not wait for the lease to end.
func (s *Sequencer) Close(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		if _, err := s.conn.Exec(ctx, `UPDATE audit_tree SET lease_until = '-infinity' WHERE epoch = $1`, s.epoch); err != nil {
			s.cfg.Logger.WarnContext(ctx, "audit: the lead was not given back and ends by itself", "error", err)
		}
	}
	s.drop(ctx)
}

// drop forgets the lead. Whatever the connection was at is over with it.
func (s *Sequencer) drop(ctx context.Context) {
	if s.conn == nil {
		return
	}
	conn := s.conn.Hijack()
	s.conn = nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := conn.Close(ctx); err != nil {
		s.cfg.Logger.DebugContext(ctx, "audit: closing the leader's connection", "error", err)
	}
}

// lead takes the lease if it is free, and the tree's first row if there is none.
func (s *Sequencer) lead(ctx context.Context) error {
	var free bool
	var holder int32
	err := s.cfg.Pool.QueryRow(ctx, `SELECT lease_until < clock_timestamp(), leader_pid FROM audit_tree`).Scan(&free, &holder)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		// The snapshot that sees nothing: whatever is there already is in the first window.
		if _, err := s.cfg.Pool.Exec(ctx, `
			INSERT INTO audit_tree (origin, size, edges, tail_ids, tail_timestamps, snapshot, recheck_until, cluster, epoch, leader, leader_pid, lease_until)
			VALUES ($1, 0, '{}', '{}', '{}', '1:1:', '-infinity', '', 0, '', 0, '-infinity')
			ON CONFLICT DO NOTHING`, s.cfg.Origin); err != nil {
			return err
		}
	case err != nil:
		return err
	case !free:
		return errNotLeading
	}
	conn, err := s.cfg.Pool.Acquire(ctx)
	if err != nil {
		return err
	}
	s.conn = conn
	var origin, had, cluster string
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL lock_timeout = '1s'`); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `
			UPDATE audit_tree
			SET epoch = epoch + 1, leader = $1, leader_pid = pg_backend_pid(), lease_until = clock_timestamp() + $2
			WHERE lease_until < clock_timestamp()
			RETURNING epoch, origin, cluster, (SELECT system_identifier FROM pg_control_system()) || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())`,
			s.cfg.Name, s.cfg.Lease).Scan(&s.epoch, &origin, &had, &cluster)
	})
	var pg *pgconn.PgError
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return errNotLeading
	case errors.As(err, &pg) && pg.Code == "55P03":
		// Its lease is over and it holds the row: it was stopped between two words to the database, which goes on waiting
		// for the rest. Nothing of it is lost that was committed.
		s.cfg.Logger.WarnContext(ctx, "audit: ending the connection of a leader that stopped", "pid", holder)
		_, err = s.cfg.Pool.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND datname = current_database() AND application_name = current_setting('application_name')`, holder)
		return errors.Join(errNotLeading, err)
	case err != nil:
		return err
	case origin != s.cfg.Origin:
		return fmt.Errorf("%w: the tree is of the log %q, not %q", ErrFork, origin, s.cfg.Origin)
	}
	s.renewed, s.signed = time.Now(), time.Time{}
	s.cfg.Logger.InfoContext(ctx, "audit: leading", "epoch", s.epoch)
	if err := s.checkPins(ctx); err != nil {
		return err
	}
	if had != cluster {
		return s.resync(ctx, had, cluster)
	}
	return nil
}

// planning is how the queries of a round are planned: once and for long, because planning takes longer than running them;
// and by index, because a month that has just begun looks small and is not later.
const planning = `SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off`

// fenced runs fn in a transaction with one snapshot, which also says which partitions there are: they are not exchanged
// before its end. A server that hears nothing from it for two seconds ends it, so that a stopped leader holds nothing up.
func (s *Sequencer) fenced(ctx context.Context, fn func(tx pgx.Tx, tree *treeState) error) error {
	err := pgx.BeginTxFunc(ctx, s.conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		// LOCK takes no snapshot, so the one below is later than whatever it waited for.
		if _, err := tx.Exec(ctx, `
			SET LOCAL idle_in_transaction_session_timeout = '2s'; `+planning+`;
			LOCK TABLE ONLY audit_logs IN ACCESS SHARE MODE`); err != nil {
			return err
		}
		tree, err := readTree(ctx, tx)
		if err != nil {
			return err
		}
		if tree.Epoch != s.epoch {
			return errNotLeading
		}
		return fn(tx, &tree)
	})
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "25P03" || pg.Code == "57P01") { // changed meanwhile, idle too long, terminated
		return fmt.Errorf("%w: %w", errNotLeading, err)
	}
	return err
}

// store writes the tree back, if it is still the one that was read, and then what has become full.
func (s *Sequencer) store(ctx context.Context, tx pgx.Tx, full *pgx.Batch, was int64, t *treeState) error {
	tag, err := tx.Exec(ctx, `
		UPDATE audit_tree
		SET size = $1, edges = $2, tail_ids = $3, tail_timestamps = $4, snapshot = $5::text::pg_snapshot, pending = $6::text::pg_snapshot,
		    cursor_xid = $7::text::xid8, cursor_timestamp = $8, cursor_id = $9, recheck_until = $10::text::timestamptz, cluster = $11,
		    lease_until = clock_timestamp() + $12
		WHERE epoch = $13 AND size = $14`,
		t.Size, t.Edges, t.TailIDs, t.TailTimestamps, t.Snapshot, t.Pending, t.CursorXid, t.CursorTimestamp, t.CursorID, t.Recheck, t.Cluster,
		s.cfg.Lease, s.epoch, was)
	if err != nil {
		return err
	}
	if tag.RowsAffected() != 1 {
		return errNotLeading
	}
	if full.Len() > 0 {
		err = tx.SendBatch(ctx, full).Close()
	}
	s.renewed = time.Now()
	return err
}

// entryRow is an entry as the database has it: the columns, and the evidence.
type entryRow struct {
	Timestamp    time.Time
	ID           uuid.UUID
	Xid          string
	UserID       string
	ActorType    string
	ActionType   string
	ResourceType string
	ResourceID   string
	Result       string
	Code         string
	Interface    string
	RequestID    string
	Leaf         []byte
	Mac          []byte
}

const entryColumns = `timestamp, id, xid::text AS xid, user_id, actor_type, action_type, resource_type, resource_id, result, code, interface, request_id, leaf, mac`

// window selects the entries of the transactions that one snapshot sees and another does not. Two snapshots and a
// difference are exact whatever order transactions end in, and wait for none: a transaction that is still open is in a
// later window. $1 and $2 are the snapshots, $3 to $5 the last entry that was taken of this window, $6 up to which time
// entries may be in the tree already.
//
// What the older snapshot does not see began after it, or was under way: the two branches, each an index range however
// long the oldest transaction has been open.
const window = `
	WITH seen AS (SELECT $1::text::pg_snapshot AS before, $2::text::pg_snapshot AS now)
	SELECT ` + entryColumns + `
	FROM (
		SELECT * FROM audit_logs
		WHERE xid >= (SELECT pg_snapshot_xmax(before)::text::xid8 FROM seen) AND xid < (SELECT pg_snapshot_xmax(now)::text::xid8 FROM seen)
		UNION ALL
		SELECT * FROM audit_logs
		WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip(before)::text::xid8 FROM seen))
	) e
	WHERE pg_visible_in_snapshot(e.xid, (SELECT now FROM seen))
	  AND ($3::text IS NULL OR (e.xid, e.timestamp, e.id) > ($3::text::xid8, $4::timestamptz, $5::uuid))
	  AND (e.timestamp > $6::text::timestamptz OR NOT ` + placed + `)
	ORDER BY e.xid, e.timestamp, e.id
	LIMIT $7`

// placed is whether the tree has entry e.
const placed = `(
		EXISTS (SELECT FROM audit_bundles b WHERE tstzrange(b.first_timestamp, b.last_timestamp, '[]') @> e.timestamp AND e.id = ANY (b.ids))
		OR EXISTS (SELECT FROM audit_tree t WHERE e.id = ANY (t.tail_ids))
		OR EXISTS (SELECT FROM audit_quarantine q WHERE q.timestamp = e.timestamp AND q.id = e.id))`

// sequence brings the next batch of committed entries into the tree.
func (s *Sequencer) sequence(ctx context.Context, o *Observation) error {
	return s.fenced(ctx, func(tx pgx.Tx, t *treeState) error {
		var now string
		if err := tx.QueryRow(ctx, `SELECT pg_current_snapshot()::text`).Scan(&now); err != nil {
			return err
		}
		was := t.Size
		until := now
		if t.Pending != nil {
			until = *t.Pending
		}
		rows, err := collectEntries(ctx, tx, window, t.Snapshot, until, t.CursorXid, t.CursorTimestamp, t.CursorID, t.Recheck, SequenceBatch)
		if err != nil {
			return err
		}
		o.Size = t.Size
		if len(rows) == 0 && t.Pending == nil && time.Since(s.renewed) < s.cfg.Lease/4 {
			return nil
		}
		full := &pgx.Batch{}
		s.append(ctx, full, t, rows, o)
		if len(rows) == SequenceBatch {
			last := rows[len(rows)-1]
			t.Pending, t.CursorXid, t.CursorTimestamp, t.CursorID = &until, &last.Xid, &last.Timestamp, &last.ID
		} else {
			t.Snapshot, t.Pending, t.CursorXid, t.CursorTimestamp, t.CursorID = until, nil, nil, nil, nil
		}
		if err := s.store(ctx, tx, full, was, t); err != nil {
			return err
		}
		o.Size, o.Sequenced = t.Size, len(rows)
		return nil
	})
}

// named are the entries that $1 and $2, ids and times, name, in that order by o.i. Each is looked up by itself, whatever the
// planner thinks of how many there are.
const named = `
	unnest($1::uuid[], $2::timestamptz[]) WITH ORDINALITY o (oid, at, i)
	CROSS JOIN LATERAL (SELECT * FROM audit_logs WHERE timestamp = o.at AND id = o.oid LIMIT 1) e`

func collectEntries(ctx context.Context, tx pgx.Tx, sql string, args ...any) ([]entryRow, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[entryRow])
}

// append adds the entries to the tree, but for those that no writer of this installation made as they are: they go into
// quarantine, where the verifier shows them.
func (s *Sequencer) append(ctx context.Context, full *pgx.Batch, t *treeState, rows []entryRow, o *Observation) {
	for i := range rows {
		if reason := s.keys.objection(&rows[i], s.cfg.Origin); reason != "" {
			s.cfg.Logger.ErrorContext(ctx, "audit: an entry is not genuine and was kept out of the log", "entry", rows[i].ID, "reason", reason)
			full.Queue(`INSERT INTO audit_quarantine (timestamp, id, reason, found_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
				rows[i].Timestamp, rows[i].ID, reason, s.cfg.Clock())
			o.Quarantined++
			continue
		}
		t.add(full, rows[i].ID, rows[i].Timestamp, leafHash(rows[i].Leaf))
	}
}

// Reconcile looks for entries that no window will find, because their xid is not what it was when they were written, and
// brings them in. It returns how many there were; in a process that does not lead it does nothing.
func (s *Sequencer) Reconcile(ctx context.Context) (int, error) {
	s.mu.Lock()
	leading := s.conn != nil
	s.mu.Unlock()
	if !leading {
		return 0, nil
	}
	found, err := findOrphans(ctx, s.cfg.Pool, s.cfg.Clock().Add(-reconcileBack).UTC().Format(time.RFC3339Nano))
	if err != nil || len(found) == 0 {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return 0, nil
	}
	err = s.adopt(ctx, found)
	if err != nil {
		s.drop(ctx)
	}
	if errors.Is(err, errNotLeading) {
		return 0, nil
	}
	return len(found), err
}

// orphan names an entry that no window finds.
type orphan struct {
	Timestamp time.Time
	ID        uuid.UUID
}

// findOrphans looks from a time on for entries that are not in the tree although its snapshot sees their transaction, or
// although they have an xid that was not given out yet.
func findOrphans(ctx context.Context, q postgres.Querier, from string) ([]orphan, error) {
	return postgres.Many[orphan](ctx, q, `
		WITH placed AS (
			SELECT unnest(ids) AS id FROM audit_bundles WHERE tstzrange(first_timestamp, last_timestamp, '[]') && tstzrange($1::text::timestamptz, NULL)
			UNION ALL SELECT unnest(tail_ids) FROM audit_tree
			UNION ALL SELECT id FROM audit_quarantine
		)
		SELECT e.timestamp, e.id
		FROM audit_logs e
		WHERE e.timestamp >= $1::text::timestamptz
		  AND (pg_visible_in_snapshot(e.xid, (SELECT snapshot FROM audit_tree)) OR e.xid >= (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::xid8))
		  AND NOT EXISTS (SELECT FROM placed p WHERE p.id = e.id)
		ORDER BY e.timestamp, e.id
		LIMIT $2`, from, SequenceBatch)
}

// adopt brings orphans into the tree.
func (s *Sequencer) adopt(ctx context.Context, found []orphan) error {
	ids, timestamps := make([]uuid.UUID, len(found)), make([]time.Time, len(found))
	for i, f := range found {
		ids[i], timestamps[i] = f.ID, f.Timestamp
	}
	return s.fenced(ctx, func(tx pgx.Tx, t *treeState) error {
		rows, err := collectEntries(ctx, tx, `
			SELECT `+entryColumns+`
			FROM `+named+`
			WHERE NOT `+placed+`
			ORDER BY e.timestamp, e.id`, ids, timestamps)
		if err != nil || len(rows) == 0 {
			return err
		}
		s.cfg.Logger.ErrorContext(ctx, "audit: entries were found that no window had: a restored database, or somebody changed their xid",
			"entries", len(rows), "first", rows[0].ID)
		was, full := t.Size, &pgx.Batch{}
		s.append(ctx, full, t, rows, &Observation{})
		// Should a window come to find them after all, it looks whether they are in already.
		err = tx.QueryRow(ctx, `SELECT greatest($1::text::timestamptz, $2)::text`, t.Recheck, rows[len(rows)-1].Timestamp).Scan(&t.Recheck)
		if err != nil {
			return err
		}
		return s.store(ctx, tx, full, was, t)
	})
}

// resync is for a database that was restored into another cluster, where the xids that entries have mean nothing: it
// looks at all of them, and counts all of this cluster's transactions so far as done. For what is written from then on
// windows serve; what they find of before is looked at whether it is in already.
func (s *Sequencer) resync(ctx context.Context, had, cluster string) error {
	if had != "" {
		s.cfg.Logger.WarnContext(ctx, "audit: the database is in another cluster than before; looking for entries that the tree lacks", "had", had, "has", cluster)
	}
	err := s.fenced(ctx, func(tx pgx.Tx, t *treeState) error {
		t.Cluster = cluster
		if had != "" {
			// Windows begin anew, with everything, and take what is not in.
			err := tx.QueryRow(ctx, `SELECT coalesce(max(timestamp), '-infinity')::text FROM audit_logs`).Scan(&t.Recheck)
			if err != nil {
				return err
			}
			t.Snapshot, t.Pending, t.CursorXid, t.CursorTimestamp, t.CursorID = "1:1:", nil, nil, nil, nil
		}
		return s.store(ctx, tx, &pgx.Batch{}, t.Size, t)
	})
	for err == nil && had != "" { // those with an xid that this cluster has not come to yet
		var found []orphan
		if found, err = findOrphans(ctx, s.conn, "-infinity"); err != nil || len(found) == 0 {
			break
		}
		err = s.adopt(ctx, found)
	}
	return err
}
