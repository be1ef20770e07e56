package audit

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/robco-forge/forge/internal/audit/archive"
	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres"
)

const (
	// MergeDelay is how long an entry may be without a signed checkpoint over it before that is a finding. It is there
	// within seconds, when a sequencer runs.
	MergeDelay = 5 * time.Minute
	// lookFor is how many entries that are not in their places are looked for one by one; the others are only counted.
	lookFor = 1000
	// EraseAction is the action of the entry that records that a person was erased; its resource is the person.
	EraseAction = verify.EraseAction
)

// Proving is what a verification of the whole log needs. It reads everything once and changes nothing; memory does not
// grow with the log.
type Proving struct {
	Pool   *pgxpool.Pool
	Clock  clock.Clock
	Origin string
	Keys   Keys
	// Pinned are checkpoints that were kept outside the database.
	Pinned []string
	// Archive is where archived months are; nil leaves V12, and what is in archives alone, out.
	Archive archive.Store
	// Witnesses verify the signatures of witnesses. Without any, what they claim is believed.
	Witnesses []note.Verifier
	// MaxAge is how old the newest entry may be; 0 is any age.
	MaxAge time.Duration
	// Progress is told now and then how many of how many entries were looked at.
	Progress func(done, all int64)
	// Without switches checks off. It is for tests.
	Without []verify.Check
}

// prover is one verification under way.
type prover struct {
	Proving
	*verify.Report
	ctx  context.Context //nolint:containedctx // a verify.Source has none, and it lives as long as the one call
	tree treeState
	last checkpointRow
	keys writerKeys
	rows map[uuid.UUID]*provedRow // of the bundle that was read last
	// subjects are the keys that personal data is sealed under, as far as they were needed; nil is an erased one.
	subjects map[subjectName][]byte
	// erasures are those that the log has recorded, by person, as far as they were needed.
	erasures map[string]recordedErasure
	missing  []misplaced
	archives provedArchives
	// at are the times of the entries of the bundle that was read last, by id.
	at map[string]time.Time
}

type misplaced struct {
	index int64
	id    uuid.UUID
}

type subjectName struct {
	id         string
	generation int
}

// provedRow is an entry with all that the database has about it.
type provedRow struct {
	entryRow
	Place         int64
	SourceIP      *string
	UserAgent     *string
	SubjectID     *string
	KeyGeneration *int
	Sealed        []byte
	WrappedKey    []byte
}

// Verify checks the log in a database: what is published of it, the rows beside that, and what protects them. What is
// wrong is in the report; the error says that it could not be looked at.
func Verify(ctx context.Context, c Proving) (*verify.Report, error) {
	text, err := c.Keys.PublicKeys(c.Origin)
	if err != nil {
		return nil, err
	}
	trusted, err := verify.ParseKeys(text)
	if err != nil {
		return nil, err
	}
	p := &prover{Proving: c, Report: verify.NewReport().Without(c.Without...), ctx: ctx, keys: newWriterKeys(c.Keys.Writer), subjects: map[subjectName][]byte{}, erasures: map[string]recordedErasure{}}
	if p.last, err = lastCheckpoint(ctx, c.Pool); err != nil {
		return nil, err
	}
	// Read later than the checkpoint, it has at least what that covers.
	p.tree, err = readTree(ctx, c.Pool)
	shapeless := errors.Is(err, errDamaged)
	if err != nil && !shapeless && !errors.Is(err, pgx.ErrNoRows) {
		return nil, err
	}
	if err := p.readArchives(); err != nil {
		return nil, err
	}
	defer p.closeArchives()
	o := verify.Options{Keys: trusted, Pinned: c.Pinned, Signed: p.signed(), Each: p.entry, Missing: p.miss, Progress: c.Progress}
	if shapeless || p.tree.Size < p.last.Size {
		p.Report.Origin, p.Size = c.Origin, p.last.Size
		if shapeless {
			p.Fail(verify.Tiles, -1, "", "%v", err)
		} else {
			p.Fail(verify.History, -1, "", "%d entries were signed, and the tree has %d", p.last.Size, p.tree.Size)
		}
		return p.Report, p.protection()
	}
	if err := verify.Log(p.Report, p, o); err != nil {
		return nil, err
	}
	p.Made(verify.Codes, verify.Erasures)
	if len(c.Pinned) == 0 {
		p.Note("No checkpoint that was kept elsewhere was given (--pins, --checkpoint): whoever has the database and the signing key could have rewritten all of it.")
	}
	for _, step := range []func() error{p.unsigned, p.missed, p.strays, p.quarantine, p.protection, p.archiveFiles} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	p.freshness()
	p.Skip(verify.Receipts, "`forge audit verify-bundle` looks at proofs that callers have kept")
	return p.Report, nil
}

// OriginOf is the name that the database says its log has.
func OriginOf(ctx context.Context, q postgres.Querier) (string, error) {
	var origin string
	err := q.QueryRow(ctx, `SELECT audit_origin FROM organisation`).Scan(&origin)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", errNoLog
	}
	return origin, err
}

// Checkpoint is the newest.
func (p *prover) Checkpoint() (string, error) {
	if p.last.Size == 0 {
		return "", verify.ErrNotThere
	}
	return p.last.Note, nil
}

// Tile is the hashes of a tile, cut to the width that the checkpoint has.
func (p *prover) Tile(t tlog.Tile) ([]byte, error) {
	data, err := newTiles(p.ctx, p.Pool, &p.tree).tile(t.L, t.N)
	if errors.Is(err, errDamaged) {
		return nil, verify.ErrNotThere
	}
	return data[:min(len(data), t.W*tlog.HashSize)], err
}

// Leaves are the entries of a bundle, with nil for those whose rows are not there.
func (p *prover) Leaves(t tlog.Tile) ([]verify.Leaf, error) {
	ids, timestamps, err := bundleAt(p.ctx, p.Pool, &p.tree, t.N)
	if errors.Is(err, errDamaged) || err == nil && len(ids) < t.W {
		return nil, verify.ErrNotThere
	}
	if err != nil {
		return nil, err
	}
	ids, timestamps = ids[:t.W], timestamps[:t.W]
	rows, err := p.provedRows("audit_logs", "audit_personal_data", ids, timestamps)
	if err != nil {
		return nil, err
	}
	p.rows = map[uuid.UUID]*provedRow{}
	leaves := make([]verify.Leaf, len(ids))
	p.at = map[string]time.Time{}
	for i, id := range ids {
		leaves[i].ID = id.String()
		p.at[leaves[i].ID] = timestamps[i]
	}
	for i := range rows {
		p.rows[rows[i].ID] = &rows[i]
		leaves[rows[i].Place].Raw = rows[i].Leaf
	}
	return leaves, p.outside(t.N, ids, timestamps, leaves)
}

// provedRows are the entries that ids and timestamps name, with all that tables have about them; Place is which of them.
func (p *prover) provedRows(entries, personal string, ids []uuid.UUID, timestamps []time.Time) ([]provedRow, error) {
	return postgres.Many[provedRow](p.ctx, p.Pool, `
		SELECT o.place - 1 AS place, a.timestamp, a.id, a.xid::text AS xid, a.user_id, a.actor_type, a.action_type, a.resource_type, a.resource_id, a.result,
		       a.code, a.interface, a.request_id, a.leaf, a.mac, host(a.source_ip) AS source_ip, a.user_agent,
		       d.subject_id, d.key_generation, d.sealed, k.wrapped_key
		FROM unnest($1::uuid[], $2::timestamptz[]) WITH ORDINALITY o (oid, at, place)
		JOIN `+entries+` a ON a.timestamp = o.at AND a.id = o.oid
		LEFT JOIN `+personal+` d ON d.timestamp = o.at AND d.entry_id = o.oid
		LEFT JOIN audit_subject_keys k ON k.subject_id = d.subject_id AND k.generation = d.key_generation AND k.erased_at IS NULL`, ids, timestamps)
}

// entry compares an entry's row with its leaf.
func (p *prover) entry(index int64, _ []byte, e *leaf.Entry) error {
	var row *provedRow
	if id, err := uuid.Parse(e.ID); err == nil {
		row = p.rows[id]
	}
	p.step(index, e)
	if row == nil && p.archivedEntry(e) {
		return nil
	}
	if row == nil {
		p.Fail(verify.Content, index, e.ID, "the column id is not the leaf's")
		return nil
	}
	if what := differs(&row.entryRow, e); what != "" {
		p.Fail(verify.Content, index, e.ID, "%s", what)
	}
	if !leaf.VerifyMAC(p.keys.of(e.Writer), row.Leaf, row.Mac) {
		p.Fail(verify.Codes, index, e.ID, "its code is not that of server %s", e.Writer.ID)
	}
	if e.Action == EraseAction && e.Result == leaf.Success {
		if err := p.erasure(index, e); err != nil {
			return err
		}
	}
	return p.personal(index, row, e)
}

// miss remembers an entry that is not in its place.
func (p *prover) miss(index int64, id string) {
	if p.shutAway(p.at[id]) {
		return
	}
	parsed, err := uuid.Parse(id)
	if err != nil || len(p.missing) == lookFor {
		p.Fail(verify.Coverage, index, id, "the entry is not in the table")
		return
	}
	p.missing = append(p.missing, misplaced{index, parsed})
}

// missed looks whether entries that are not in their places are elsewhere.
func (p *prover) missed() error {
	if len(p.missing) == 0 {
		return nil
	}
	ids := make([]uuid.UUID, len(p.missing))
	for i, m := range p.missing {
		ids[i] = m.id
	}
	found, err := postgres.Many[orphan](p.ctx, p.Pool, `SELECT timestamp, id FROM audit_logs WHERE id = ANY ($1)`, ids)
	if err != nil {
		return err
	}
	at := map[uuid.UUID]time.Time{}
	for _, f := range found {
		at[f.ID] = f.Timestamp
	}
	for _, m := range p.missing {
		if moved, ok := at[m.id]; ok {
			p.Fail(verify.Content, m.index, m.id.String(), "the column timestamp is not the leaf's: the row was moved to %s", moved.UTC().Format(time.RFC3339Nano))
			continue
		}
		p.Fail(verify.Coverage, m.index, m.id.String(), "the entry is not in the table")
	}
	return nil
}

// signed reads the checkpoints up to the newest, a thousand at a time.
func (p *prover) signed() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for after := int64(0); after < p.last.Size; {
			rows, err := postgres.Many[checkpointRow](p.ctx, p.Pool, `
				SELECT size, root, note, signed_at
				FROM audit_checkpoints
				WHERE size > $1 AND size <= $2
				ORDER BY size
				LIMIT 1000`, after, p.last.Size)
			if err != nil || len(rows) == 0 {
				if err != nil {
					yield("", err)
				}
				return
			}
			for _, c := range rows {
				if n, err := verify.ParseCheckpoint(c.Note); err == nil && (n.Size != c.Size || n.Root != tlog.Hash(c.Root)) {
					p.Fail(verify.History, -1, "", "the row of the checkpoint over %d entries does not say what its note says", c.Size)
				}
				if !yield(c.Note, nil) {
					return
				}
				after = c.Size
			}
		}
	}
}

// unsigned looks at what is in the tree and under no checkpoint yet.
func (p *prover) unsigned() error {
	stored := newTiles(p.ctx, p.Pool, &p.tree)
	for from := p.last.Size; from < p.tree.Size; {
		n := from / tileWidth
		to := min((n+1)*tileWidth, p.tree.Size)
		leaves, err := p.Leaves(tlog.Tile{H: tileHeight, N: n, W: int(to - n*tileWidth)})
		if errors.Is(err, verify.ErrNotThere) {
			p.Fail(verify.Coverage, from, "", "nobody knows which the entries from %d up to %d are", from, to-1)
			return nil
		}
		if err != nil {
			return err
		}
		hashes, err := stored.tile(0, n)
		if errors.Is(err, errDamaged) || err == nil && len(hashes) < len(leaves)*tlog.HashSize {
			p.Fail(verify.Tiles, from, "", "the hashes of the entries from %d up to %d are not there", from, to-1)
			return nil
		}
		if err != nil {
			return err
		}
		for i := from; i < to; i++ {
			l := leaves[i-n*tileWidth]
			e, err := leaf.Decode(l.Raw)
			switch {
			case l.Raw == nil:
				p.miss(i, l.ID)
			case leafHash(l.Raw) != tlog.Hash(hashes[(i-n*tileWidth)*tlog.HashSize:]):
				p.Fail(verify.Leaves, i, l.ID, "its hash is not the one in the tree")
			case err != nil:
				p.Fail(verify.Content, i, l.ID, "%v", err)
			default:
				if err := p.entry(i, l.Raw, &e); err != nil {
					return err
				}
				if age := p.Clock().Sub(e.Time); age > MergeDelay && !p.Off(verify.Freshness) {
					p.Fail(verify.Freshness, i, l.ID, "it came into the tree %s ago, and no checkpoint covers it", age.Round(time.Second))
					return nil // so it is with all that follow
				}
			}
		}
		from = to
	}
	return nil
}

// freshness looks how old the newest entry is. A server that runs writes one every ten minutes, whatever happens.
func (p *prover) freshness() {
	p.Made(verify.Freshness)
	age := p.Clock().Sub(p.Newest)
	switch {
	case p.Newest.IsZero():
	case p.MaxAge > 0 && age > p.MaxAge:
		p.Fail(verify.Freshness, -1, "", "the newest entry is of %s: %s ago", p.Newest.Format(time.RFC3339), age.Round(time.Second))
	case age > verify.Silence:
		p.Note("The newest entry is of %s. A server that runs writes one every ten minutes: if one did run since then, later entries are hidden.", p.Newest.Format(time.RFC3339))
	}
}

// placedAt is every entry that the tree or the quarantine knows, with the time under which it knows it.
const placedAt = `
	placed AS (
		SELECT o.id, o.at FROM audit_bundles b, unnest(b.ids, b.timestamps) o (id, at)
		UNION ALL SELECT o.id, o.at FROM audit_tree t, unnest(t.tail_ids, t.tail_timestamps) o (id, at)
		UNION ALL SELECT q.id, q.timestamp FROM audit_quarantine q
	)`

// strays looks for rows that the tree does not know.
func (p *prover) strays() error {
	p.Made(verify.Orphans)
	rows, err := postgres.Many[struct {
		entryRow
		Known bool
	}](p.ctx, p.Pool, `
		WITH`+placedAt+`
		SELECT e.timestamp, e.id, e.xid::text AS xid, e.user_id, e.actor_type, e.action_type, e.resource_type, e.resource_id, e.result, e.code,
		       e.interface, e.request_id, e.leaf, e.mac, EXISTS (SELECT FROM placed p WHERE p.id = e.id) AS known
		FROM audit_logs e
		WHERE NOT EXISTS (SELECT FROM placed p WHERE p.id = e.id AND p.at = e.timestamp)
		  AND (e.timestamp < $1 OR e.xid >= pg_snapshot_xmax(pg_current_snapshot())::text::xid8
		       OR pg_visible_in_snapshot(e.xid, (SELECT snapshot FROM audit_tree)))
		ORDER BY e.timestamp, e.id
		LIMIT $2`, p.Clock().Add(-MergeDelay), lookFor)
	if err != nil {
		return err
	}
	for i := range rows {
		r := &rows[i]
		check, what := p.keys.verdict(&r.entryRow, p.Proving.Origin)
		switch {
		case r.Known && p.moved(r.ID):
			// Its place is empty, and was reported.
		case r.Known:
			p.Fail(verify.Coverage, -1, r.ID.String(), "the entry stands in the table a second time, at %s", r.Timestamp.UTC().Format(time.RFC3339Nano))
		case what != "":
			p.Fail(check, -1, r.ID.String(), "a row at %s is not in the log: %s", r.Timestamp.UTC().Format(time.RFC3339Nano), what)
		default:
			p.Fail(verify.Orphans, -1, r.ID.String(), "the entry was written at %s and is not in the tree", r.Timestamp.UTC().Format(time.RFC3339Nano))
		}
	}
	if len(rows) == lookFor {
		p.Note("There may be more rows that the tree does not know; only %d were looked at.", lookFor)
	}
	return nil
}

func (p *prover) moved(id uuid.UUID) bool {
	for _, m := range p.missing {
		if m.id == id {
			return true
		}
	}
	return false
}

// quarantine shows what the sequencer kept out of the log.
func (p *prover) quarantine() error {
	kept, err := postgres.Many[struct {
		Timestamp time.Time
		ID        uuid.UUID
		Reason    string
		Known     bool
	}](p.ctx, p.Pool, `
		SELECT q.timestamp, q.id, q.reason,
		       EXISTS (SELECT FROM audit_bundles b WHERE q.id = ANY (b.ids)) OR EXISTS (SELECT FROM audit_tree t WHERE q.id = ANY (t.tail_ids)) AS known
		FROM audit_quarantine q
		ORDER BY q.timestamp, q.id
		LIMIT $1`, lookFor)
	if err != nil {
		return err
	}
	for _, q := range kept {
		check, reason := verify.Content, q.Reason
		rows, err := postgres.Many[entryRow](p.ctx, p.Pool, `SELECT `+entryColumns+` FROM audit_logs WHERE timestamp = $1 AND id = $2`, q.Timestamp, q.ID)
		if err != nil {
			return err
		}
		switch {
		case q.Known:
			check, reason = verify.Coverage, "the entry is in the log already"
		case len(rows) == 0:
			check, reason = verify.Coverage, "and its row was removed since; then it was so: "+reason
		default:
			if found, what := p.keys.verdict(&rows[0], p.Proving.Origin); what != "" {
				check, reason = found, what
			}
		}
		p.Fail(check, -1, q.ID.String(), "a row at %s was kept out of the log: %s", q.Timestamp.UTC().Format(time.RFC3339Nano), reason)
	}
	return nil
}

// personal checks what is known of a person against the commitments in the leaf.
func (p *prover) personal(index int64, row *provedRow, e *leaf.Entry) error {
	fail := func(format string, args ...any) error {
		p.Fail(verify.Erasures, index, e.ID, format, args...)
		return nil
	}
	if row.SubjectID == nil {
		if len(e.PII) == 0 {
			return nil
		}
		if back, err := p.broughtBack(clock.StartOfMonth(e.Time)); err != nil || back {
			return err
		}
		return fail("what was known of %s is gone, and an erasure would have left it without a key", e.Actor.ID)
	}
	if row.WrappedKey == nil {
		return p.erasedRow(index, row, e)
	}
	key, err := p.subjectKey(row)
	if err != nil {
		return fail("the key of %s, generation %d, does not open", *row.SubjectID, *row.KeyGeneration)
	}
	plain, err := open(key, row.Sealed, row.ID[:])
	var openings map[string]verify.Opening
	if err == nil {
		err = json.Unmarshal(plain, &openings)
	}
	if err != nil {
		return fail("what was sealed of %s does not open", e.Actor.ID)
	}
	for field, c := range e.PII {
		if o, ok := openings[field]; !ok || !c.Opens(o.Salt, field, o.Value) {
			return fail("its %s is not the one that was recorded", field)
		}
	}
	if len(openings) != len(e.PII) {
		return fail("more is sealed with it than was recorded")
	}
	if value(row.UserAgent) != openings["user_agent"].Value {
		p.Fail(verify.Content, index, e.ID, "the column user_agent is not what was recorded")
	}
	// What is no address was recorded, and stands in no column.
	recorded, err := netip.ParseAddr(openings["source_ip"].Value)
	if err == nil != (row.SourceIP != nil) {
		p.Fail(verify.Content, index, e.ID, "the column source_ip is not what was recorded")
	} else if err == nil {
		if shown, err := netip.ParseAddr(*row.SourceIP); err != nil || shown != recorded.WithZone("") {
			p.Fail(verify.Content, index, e.ID, "the column source_ip is not what was recorded")
		}
	}
	return nil
}

// subjectCount bounds how many keys are remembered.
const subjectCount = 10_000

func (p *prover) subjectKey(row *provedRow) ([]byte, error) {
	name := subjectName{*row.SubjectID, *row.KeyGeneration}
	if key, ok := p.subjects[name]; ok {
		return key, nil
	}
	key, err := open(p.Keys.Personal[:], row.WrappedKey, []byte(name.id))
	if err != nil {
		return nil, err
	}
	if len(p.subjects) >= subjectCount {
		clear(p.subjects)
	}
	p.subjects[name] = key
	return key, nil
}
