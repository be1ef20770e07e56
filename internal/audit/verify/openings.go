package verify

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/robco-forge/forge/internal/audit/leaf"
)

// OpeningsFile is where a bundle has what is behind the commitments of its entries, a line of JSON for each entry, in the
// order of the log.
const OpeningsFile = "openings.jsonl"

// EraseAction is the action of the entry that records that a person was erased; its resource is the person.
const EraseAction = "audit.subject.erase"

// RestoreAction is the action of the entry that records that a month was attached again; its resource is the month.
const RestoreAction = "audit.archive.restore"

// Opening shows to whoever has it that a commitment is to this value.
type Opening struct {
	Salt  []byte `json:"salt"`
	Value string `json:"value"`
}

// Openings are those of one entry: what was known of its person.
type Openings struct {
	Index int64  `json:"index"`
	Entry string `json:"entry"`
	// Fields are by the names that the commitments have; empty when they cannot be opened any more.
	Fields map[string]Opening `json:"fields,omitempty"`
	// Erased says that the person was erased, and Archived that what was known left the database with its month.
	Erased   bool `json:"erased,omitempty"`
	Archived bool `json:"archived,omitempty"`
}

const (
	// maxOpenings bounds a line: three values of a thousand bytes, escaped, come to a third of it.
	maxOpenings = 64 << 10
	// maxPersons bounds how many persons are remembered.
	maxPersons = 100_000
)

// persons looks at what is known of the persons of entries, which come in the order of the log.
type persons struct {
	*Report
	file  io.Closer
	lines *bufio.Scanner
	// next is the line that has not been used yet; nil behind the last.
	next *Openings
	// net is the network that was searched for; the zero prefix is none.
	net netip.Prefix
	// given are the persons of whom something was shown, and claimed those who are said to be erased, with one entry each.
	given, claimed map[string]*leaf.Entry
	erased         map[string]bool
	// archived are the entries of which it is said that what was known left with their month, by months like "2026-01", and
	// restored the months that were loaded from their archives.
	archived map[string]*leaf.Entry
	restored map[string]bool
}

// openings opens the file of openings; nil when the bundle is not meant to have one.
func (b *bundle) openings(r *Report, m *Manifest) (*persons, error) {
	if !m.PersonalData {
		r.Skip(Erasures, "what is known of persons is not in this bundle (--with-personal-data)")
		return nil, nil
	}
	r.Made(Erasures)
	p := &persons{
		Report: r, given: map[string]*leaf.Entry{}, claimed: map[string]*leaf.Entry{}, erased: map[string]bool{},
		archived: map[string]*leaf.Entry{}, restored: map[string]bool{},
	}
	if text := m.Filter["address"]; text != "" {
		var err error
		if p.net, err = netip.ParsePrefix(text); err != nil {
			at, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("%w: its manifest names the address %.50q", ErrNoBundle, text)
			}
			p.net = netip.PrefixFrom(at, at.BitLen())
		}
	}
	f := b.files[OpeningsFile]
	if f == nil {
		r.Fail(Erasures, -1, "", "the manifest says that personal data is in the bundle, and %s is not there", OpeningsFile)
		return nil, nil
	}
	in, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNoBundle, OpeningsFile, err)
	}
	p.file, p.lines = in, bufio.NewScanner(in)
	p.lines.Buffer(make([]byte, 4096), maxOpenings)
	return p, p.read()
}

func (p *persons) close() {
	if p != nil {
		_ = p.file.Close() // it was only read
	}
}

func (p *persons) read() error {
	p.next = nil
	if !p.lines.Scan() {
		if err := p.lines.Err(); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrNoBundle, OpeningsFile, err)
		}
		return nil
	}
	var line Openings
	if err := json.Unmarshal(p.lines.Bytes(), &line); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrNoBundle, OpeningsFile, err)
	}
	p.next = &line
	return nil
}

// skip passes lines over that are of no entry that comes.
func (p *persons) skip(index int64) error {
	for p.next != nil && p.next.Index < index {
		// Where entries are missing, their lines are left over: V5 says that.
		if !p.failed[Coverage] && !p.failed[Leaves] && !p.failed[Tiles] && !p.failed[Content] {
			p.Fail(Erasures, p.next.Index, p.next.Entry, "personal data is given for an entry that has none, or is not here, or is out of order")
		}
		if err := p.read(); err != nil {
			return err
		}
	}
	return nil
}

// entry compares what is given for an entry with its commitments.
func (p *persons) entry(index int64, e *leaf.Entry) error {
	if p == nil {
		return nil
	}
	if e.Action == EraseAction && e.Result == leaf.Success {
		who := e.Resource.ID
		if before := p.given[who]; before != nil {
			p.Fail(Erasures, index, e.ID, "it records that %s was erased, and what was known at %s (%s) is given", who, before.Time.Format(time.RFC3339), before.ID)
		}
		if len(p.erased) < maxPersons {
			p.erased[who] = true
		}
	}
	if e.Action == RestoreAction && e.Result == leaf.Success && e.Details["from_archive"] == true && len(p.restored) < maxPersons {
		p.restored[e.Resource.ID] = true
	}
	if err := p.skip(index); err != nil || len(e.PII) == 0 {
		return err
	}
	who := e.Actor.ID
	line := p.next
	if line == nil || line.Index != index || line.Entry != e.ID {
		p.Fail(Erasures, index, e.ID, "what was known of %s is not in the bundle, and it does not say that it was erased", who)
		return nil
	}
	switch {
	case (line.Erased || line.Archived) && len(line.Fields) > 0:
		p.Fail(Erasures, index, e.ID, "it is said to be gone, and given")
	case line.Erased && len(p.claimed) < maxPersons:
		p.claimed[who] = e
	case line.Erased:
	case line.Archived:
		p.archived[e.Time.UTC().Format("2006-01")] = e
	default:
		p.open(index, e, line)
		if len(p.given) < maxPersons {
			p.given[who] = e
		}
	}
	return p.read()
}

func (p *persons) open(index int64, e *leaf.Entry, line *Openings) {
	for field, c := range e.PII {
		if o, ok := line.Fields[field]; !ok || !c.Opens(o.Salt, field, o.Value) {
			p.Fail(Erasures, index, e.ID, "its %s is not the one that was recorded", field)
		}
	}
	if len(line.Fields) > len(e.PII) {
		p.Fail(Erasures, index, e.ID, "more is given with it than was recorded")
	}
	if p.net.IsValid() {
		if at, err := netip.ParseAddr(line.Fields["source_ip"].Value); err != nil || !p.net.Contains(at.Unmap().WithZone("")) {
			p.Fail(Content, index, e.ID, "its address is not one that the manifest says was searched for")
		}
	}
}

// end looks at what is left behind the last entry. whole says that the bundle goes up to the end of the log: then it has the
// erasures, too.
func (p *persons) end(whole bool) error {
	if p == nil {
		return nil
	}
	const behindAll = 1<<63 - 1
	if err := p.skip(behindAll); err != nil {
		return err
	}
	elsewhere := 0
	for who, e := range p.claimed {
		switch {
		case p.erased[who]:
		case whole:
			p.Fail(Erasures, -1, e.ID, "what was known of %s is said to be erased, and no erasure of that person was recorded (export again, if it was while this was made)", who)
		default:
			elsewhere++
		}
	}
	if elsewhere > 0 {
		p.Note("Persons who are said to be erased: %d. The entries that record it are not in this bundle; ask for those of the action %s.", elsewhere, EraseAction)
	}
	for month, e := range p.archived {
		if whole && !p.restored[month] {
			p.Fail(Erasures, -1, e.ID, "what was known of persons in %s is said to be in the archive alone, and it was not recorded that the month was loaded from there", month)
			continue
		}
		p.Note("What was known of persons in %s is not in the bundle: it says that the month was loaded from its archive, which may have been without.", month)
	}
	return nil
}

// errNoLeaf says that a proof does not bring its entry.
var errNoLeaf = errors.New("it does not bring its entry: fetch proofs to keep with ?leaf=true")

// receipts are proofs that somebody kept, by the places of their entries.
type receipts struct {
	*Report
	kept map[int64][]keptEntry
}

type keptEntry struct {
	id  string
	raw string
}

// keptProofs reads proofs that somebody kept. They must be proofs by themselves.
func keptProofs(r *Report, o Options) *receipts {
	k := &receipts{r, map[int64][]keptEntry{}}
	for _, text := range o.Receipts {
		r.Made(Receipts)
		alone := NewReport()
		p, e, ok := CheckProof(alone, text, o.Keys)
		if ok && alone.OK() {
			k.kept[p.Index] = append(k.kept[p.Index], keptEntry{e.ID, string(p.Leaf)})
			continue
		}
		why := errNoLeaf.Error()
		if p.Leaf != nil || p.Checkpoint == "" {
			why = alone.Failures[0].What
		}
		r.Fail(Receipts, -1, e.ID, "a proof that you gave proves nothing: %s", why)
	}
	return k
}

// entry compares what is at a place with what the proof says that is there.
func (k *receipts) entry(index int64, raw []byte) {
	for _, e := range k.kept[index] {
		if e.raw != string(raw) {
			k.Fail(Receipts, index, e.id, "you have a proof of this entry, and another stands in its place")
		}
	}
	delete(k.kept, index)
}

// end tells of those whose places were not seen.
func (k *receipts) end(m *Manifest) {
	for index, all := range k.kept {
		for _, e := range all {
			if m.Kind == RangeBundle && m.First <= index && index < m.Behind {
				k.Fail(Receipts, index, e.id, "you have a proof of this entry, and it is not here")
				continue
			}
			k.Note("The entry %d (%s), of which you have a proof, does not belong into this bundle.", index, e.id)
		}
	}
}
