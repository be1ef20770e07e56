package audit

import (
	"errors"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/note"

	"github.com/robco-forge/forge/internal/audit/archive"
	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres"
)

// provedArchives is what a verification knows of the months that were archived.
type provedArchives struct {
	rows    []archived
	byMonth map[time.Time]*archived
	// table says that the table of a detached month is there.
	table map[time.Time]bool
	// recorded are the manifests that the log's own entries name, by action and month.
	recorded map[[2]string]recordedStep
	// streams are the archives that are read along with the log.
	streams map[time.Time]*archiveStream
	// removed are the dropped months whose files are gone as well.
	removed map[time.Time]bool
	// shut are the months whose entries could not be looked at, with how many they were.
	shut map[time.Time]int64
}

type recordedStep struct {
	index    int64
	manifest string
}

func (p *prover) readArchives() (err error) {
	a := &p.archives
	*a = provedArchives{
		byMonth: map[time.Time]*archived{}, table: map[time.Time]bool{}, recorded: map[[2]string]recordedStep{}, streams: map[time.Time]*archiveStream{},
		removed: map[time.Time]bool{}, shut: map[time.Time]int64{},
	}
	if a.rows, err = archivedMonths(p.ctx, p.Pool); err != nil {
		return err
	}
	for i := range a.rows {
		row := &a.rows[i]
		a.byMonth[row.Month] = row
		if row.State != MonthDetached {
			continue
		}
		var there bool
		if err := p.Pool.QueryRow(p.ctx, `SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'audit_parts' AND c.relname = $1)`, partOf("audit_logs", row.Month)).Scan(&there); err != nil {
			return err
		}
		a.table[row.Month] = there
	}
	return nil
}

// archivedAt is the month of an entry's time, if its rows are not in the log's tables.
func (p *prover) archivedAt(at time.Time) *archived {
	row := p.archives.byMonth[clock.StartOfMonth(at.UTC())]
	if row == nil || !row.gone() {
		return nil
	}
	return row
}

// outside fills in the leaves of a bundle that the log's tables do not have: from the table of a detached month, else from
// its archive.
func (p *prover) outside(n int64, ids []uuid.UUID, timestamps []time.Time, leaves []verify.Leaf) error {
	missing := map[*archived][]int{}
	for i := range leaves {
		if leaves[i].Raw == nil {
			if row := p.archivedAt(timestamps[i]); row != nil {
				missing[row] = append(missing[row], i)
			}
		}
	}
	for row, at := range missing {
		if p.archives.table[row.Month] {
			some, when := make([]uuid.UUID, len(at)), make([]time.Time, len(at))
			for i, x := range at {
				some[i], when[i] = ids[x], timestamps[x]
			}
			rows, err := p.provedRows("audit_parts."+partOf("audit_logs", row.Month), "audit_parts."+partOf("audit_personal_data", row.Month), some, when)
			if err != nil {
				return err
			}
			for i := range rows {
				p.rows[rows[i].ID] = &rows[i]
				leaves[at[rows[i].Place]].Raw = rows[i].Leaf
			}
			continue
		}
		if p.Archive == nil {
			continue
		}
		for _, x := range at {
			raw, err := p.fromArchive(row, n*tileWidth+int64(x))
			if err != nil {
				return err
			}
			leaves[x].Raw = raw
		}
	}
	return nil
}

// archivedEntry says that an entry comes from an archive alone: nothing is beside it that could differ.
func (p *prover) archivedEntry(e *leaf.Entry) bool {
	row := p.archivedAt(e.Time)
	return row != nil && !p.archives.table[row.Month]
}

// shutAway remembers an entry that is in an archive nobody gave; false is an entry that should be there.
func (p *prover) shutAway(at time.Time) bool {
	row := p.archivedAt(at)
	if row == nil || p.archives.table[row.Month] || p.Archive != nil && !p.archives.removed[row.Month] {
		return false
	}
	p.archives.shut[row.Month]++
	return true
}

// step notices what the log records of archives.
func (p *prover) step(index int64, e *leaf.Entry) {
	if e.Result != leaf.Success || e.Resource.Type != monthResource || !strings.HasPrefix(e.Action, "audit.archive.") {
		return
	}
	manifest, _ := e.Details["manifest"].(string)
	p.archives.recorded[[2]string{e.Action, e.Resource.ID}] = recordedStep{index, manifest}
}

// archivesAreRecorded compares what the database says of archived months with what the log recorded of them, and looks
// whether what is gone was old enough.
func (p *prover) archivesAreRecorded() error {
	for i := range p.archives.rows {
		row := &p.archives.rows[i]
		for _, s := range []struct {
			action string
			done   bool
		}{{exportAction, row.Manifest != nil}, {detachAction, row.State == MonthDetached}, {dropAction, row.State == MonthDropped}} {
			if !s.done {
				continue
			}
			rec, ok := p.archives.recorded[[2]string{s.action, row.name()}]
			switch {
			case !ok && p.excused(row, s.action):
				p.Note("That the month %s is %s is recorded in a month that is gone itself.", row.name(), row.State)
			case !ok:
				p.Fail(verify.Archives, -1, "", "the month %s is %s, and no entry records it", row.name(), row.State)
			case row.ManifestSHA256 == nil || rec.manifest != *row.ManifestSHA256:
				p.Fail(verify.Archives, rec.index, "", "the month %s has another manifest than was recorded", row.name())
			case s.action == dropAction:
				if err := p.droppedInTime(row, rec.index); err != nil {
					return err
				}
			}
		}
		if row.State == MonthDetached && !p.archives.table[row.Month] {
			p.Fail(verify.Archives, -1, "", "the table of the month %s is gone, and no drop of it was recorded", row.name())
		}
	}
	for key := range p.archives.recorded {
		if month, err := ParseMonth(key[1]); err == nil && key[0] == exportAction && p.archives.byMonth[month] == nil {
			p.Fail(verify.Archives, -1, "", "the month %s was archived, and the database knows nothing of it", key[1])
		}
	}
	return nil
}

// excused says that the record of a step may be in a month that nobody can read any more. Something newer than it must be
// recorded to be gone.
func (p *prover) excused(row *archived, action string) bool {
	for month := range p.archives.shut {
		later := month.After(row.Month)
		if action == dropAction {
			later = month.After(row.over())
		}
		if _, recorded := p.archives.recorded[[2]string{dropAction, month.Format(monthForm)}]; later && recorded {
			return true
		}
	}
	return false
}

// droppedInTime looks whether a witness had seen the end of the seven years before the month was dropped. index is the place
// of the record.
func (p *prover) droppedInTime(row *archived, index int64) error {
	rows, err := postgres.Many[struct{ Note, Line string }](p.ctx, p.Pool, `
		SELECT c.note, s.line
		FROM audit_cosignatures s JOIN audit_checkpoints c ON c.size = s.size
		WHERE s.size <= $1
		ORDER BY s.cosigned_at DESC
		LIMIT 100`, index)
	if err != nil {
		return err
	}
	var latest time.Time
	for _, r := range rows {
		at, ok := cosignedAt(r.Note+r.Line, p.Witnesses)
		if len(p.Witnesses) == 0 { // nobody said whom to trust
			at, ok = claimedAt(r.Line)
		}
		if ok && at.After(latest) {
			latest = at
		}
	}
	if latest.Before(row.over()) {
		said := "no witness had signed before"
		if !latest.IsZero() {
			said = "a witness had last signed at " + latest.UTC().Format(time.RFC3339)
		}
		p.Fail(verify.Archives, index, "", "the month %s was dropped before its seven years ended at %s: %s", row.name(), row.over().Format(time.RFC3339), said)
	}
	return nil
}

// claimedAt is the time in a signature's line, which is trusted.
func claimedAt(line string) (time.Time, bool) {
	parts := strings.Fields(line)
	if len(parts) != 3 {
		return time.Time{}, false
	}
	at, err := verify.CosignedAt(note.Signature{Base64: parts[2]})
	return at, err == nil
}

// archiveFiles looks at the archives in the store, if one was given.
func (p *prover) archiveFiles() error {
	if err := p.archivesAreRecorded(); err != nil {
		return err
	}
	var shut, removed int64
	for month, n := range p.archives.shut {
		if p.archives.removed[month] {
			removed += n
		} else {
			shut += n
		}
	}
	if shut > 0 {
		p.Note("%d entries are in archives and were not looked at: give --archive.", shut)
	}
	if removed > 0 {
		p.Note("%d entries are of months whose time was over: only their hashes are left.", removed)
	}
	if p.Archive == nil {
		p.Skip(verify.Archives, "no --archive was given to look at")
		return nil
	}
	keys, signers, err := trustedKeys(p.Keys, p.Proving.Origin)
	if err != nil {
		return err
	}
	p.Made(verify.Archives)
	c := &archiveCheck{Report: verify.NewReport(), ctx: p.ctx, q: p.Pool, store: p.Archive, keys: keys, signers: signers, witnesses: p.Witnesses, now: p.Clock(), tree: &p.tree}
	if err := c.all(p.archives.rows, nil); err != nil {
		return err
	}
	for _, f := range c.Failures {
		p.Fail(f.Check, f.Index, f.Entry, "%s", f.What)
	}
	p.Notes = append(p.Notes, c.Notes...)
	return nil
}

// archiveStream reads the entries of one archive in the order of the log.
type archiveStream struct {
	files []archive.File
	in    *archive.Reader
	body  io.Closer
	next  archivedLeaf
	ended bool
}

// fromArchive is the leaf at a place, nil when the archive does not have it. Places are asked for in ascending order. What is
// wrong with the archive itself is found elsewhere.
func (p *prover) fromArchive(row *archived, index int64) ([]byte, error) {
	s := p.archives.streams[row.Month]
	if s == nil {
		s = &archiveStream{next: archivedLeaf{index: -1}}
		p.archives.streams[row.Month] = s
		keys, signers, err := trustedKeys(p.Keys, p.Proving.Origin)
		if err != nil {
			return nil, err
		}
		c := &archiveCheck{Report: verify.NewReport(), ctx: p.ctx, q: p.Pool, store: p.Archive, keys: keys, signers: signers, tree: &p.tree}
		if row.Manifest != nil {
			if _, err := p.Archive.Stat(p.ctx, *row.Manifest); errors.Is(err, archive.ErrNotThere) && row.State == MonthDropped {
				p.archives.removed[row.Month] = true
			}
			m, ok, err := c.manifest(row)
			if err != nil {
				return nil, err
			}
			if ok {
				s.files = m.Files
			}
		}
	}
	for !s.ended && s.next.index < index {
		if err := p.forward(row, s); err != nil {
			return nil, err
		}
	}
	if s.next.index != index {
		return nil, nil
	}
	return s.next.raw, nil
}

func (p *prover) forward(row *archived, s *archiveStream) error {
	if s.in == nil {
		if len(s.files) == 0 {
			s.ended = true
			return nil
		}
		f := s.files[0]
		s.files = s.files[1:]
		body, err := p.Archive.Open(p.ctx, f.Name, row.Objects[f.Name])
		if errors.Is(err, archive.ErrNotThere) {
			return nil
		}
		if err != nil {
			return err
		}
		if s.in, err = archive.NewReader(io.LimitReader(body, f.Bytes)); err != nil {
			return errors.Join(err, body.Close())
		}
		s.body = body
	}
	index, raw, err := s.in.Next()
	if err != nil { // its end, or what the archive's own check finds
		s.in.Close()
		s.in = nil
		return s.body.Close()
	}
	s.next = archivedLeaf{index, raw}
	return nil
}

// closeArchives ends what is read still.
func (p *prover) closeArchives() {
	for _, s := range p.archives.streams {
		if s.in != nil {
			s.in.Close()
			_ = s.body.Close()
		}
	}
}

// broughtBack says whether the log has it that a month came back from its archive; what was known of persons may have been
// removed there.
func (p *prover) broughtBack(month time.Time) (bool, error) {
	row := p.archives.byMonth[month]
	if row == nil || row.RestoredAt == nil {
		return false, nil
	}
	rows, err := postgres.Many[struct{ Leaf []byte }](p.ctx, p.Pool, `SELECT leaf FROM audit_logs WHERE action_type = $1 AND resource_id = $2 AND result = 'success'`, restoreAction, row.name())
	for _, r := range rows {
		if e, err := leaf.Decode(r.Leaf); err == nil && e.Details["from_archive"] == true {
			return true, nil
		}
	}
	return false, err
}
