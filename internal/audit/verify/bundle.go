package verify

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"sort"
	"strings"
	"time"

	"github.com/robco-forge/forge/internal/audit/leaf"
)

// Bounds on a bundle, which may come from anybody.
const (
	maxBundleFiles = 1 << 20 // a log of 134 million entries
	maxManifest    = 64 << 10
)

// Names of files in a bundle. Tiles and entries have those of C2SP tlog-tiles.
const (
	ManifestFile   = "manifest.json"
	CheckpointFile = "checkpoint"
	ProofsDir      = "proofs/"
)

// The kinds of bundles.
const (
	// RangeBundle has every entry from one place of the log up to another.
	RangeBundle = "range"
	// SelectionBundle has the entries that a search found, each with its own proof.
	SelectionBundle = "selection"
)

// Manifest says what a bundle is meant to be. Nothing in it is trusted: what it claims is checked.
type Manifest struct {
	Version int       `json:"version"`
	Kind    string    `json:"kind"`
	Origin  string    `json:"origin"`
	Size    int64     `json:"size"` // of the checkpoint
	Made    time.Time `json:"made"`
	// From and To are the period that was asked for: from the one up to, and without, the other.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// First and Behind are the places in a range: from the one up to, and without, the other.
	First  int64 `json:"first"`
	Behind int64 `json:"behind"`
	// Filter is what was searched for, and Entries how many were found, in a selection.
	Filter  map[string]string `json:"filter,omitempty"`
	Entries int64             `json:"entries"`
	// PersonalData says that what is behind the entries' commitments is in it, too.
	PersonalData bool `json:"personal_data,omitempty"`
}

// BundleVersion is the present form of bundles.
const BundleVersion = 1

// ErrNoBundle says that a file is not a bundle at all, or not one that can be read.
var ErrNoBundle = errors.New("this is not a bundle of an audit log")

// bundle is a zip file, read by name.
type bundle struct {
	files map[string]*zip.File
	names []string
}

func openBundle(in io.ReaderAt, size int64) (*bundle, error) {
	z, err := zip.NewReader(in, size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoBundle, err)
	}
	if len(z.File) > maxBundleFiles {
		return nil, fmt.Errorf("%w: it has %d files, more than %d", ErrNoBundle, len(z.File), maxBundleFiles)
	}
	b := &bundle{files: make(map[string]*zip.File, len(z.File))}
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/") {
			continue // a directory, from whoever has packed it again
		}
		if f.Name != path.Clean(f.Name) || strings.HasPrefix(f.Name, "/") || strings.HasPrefix(f.Name, "..") {
			return nil, fmt.Errorf("%w: it has a file named %q", ErrNoBundle, f.Name)
		}
		if b.files[f.Name] != nil {
			return nil, fmt.Errorf("%w: it has the file %s twice", ErrNoBundle, f.Name)
		}
		b.files[f.Name] = f
		b.names = append(b.names, f.Name)
	}
	return b, nil
}

// read reads a file of at most so many bytes, however small it claims to be.
func (b *bundle) read(name string, limit int) ([]byte, error) {
	f := b.files[name]
	if f == nil {
		return nil, ErrNotThere
	}
	r, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNoBundle, name, err)
	}
	defer r.Close() //nolint:errcheck // only read
	out, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNoBundle, name, err)
	}
	if len(out) > limit {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", ErrNoBundle, name, limit)
	}
	return out, nil
}

// Bundle verifies a bundle with nothing but the keys: no database, no network. The error says that it could not be read; what is
// wrong with it is in the report.
func Bundle(r *Report, in io.ReaderAt, size int64, o Options) (Manifest, error) {
	var m Manifest
	b, err := openBundle(in, size)
	if err != nil {
		return m, err
	}
	raw, err := b.read(ManifestFile, maxManifest)
	if errors.Is(err, ErrNotThere) {
		return m, fmt.Errorf("%w: it has no %s", ErrNoBundle, ManifestFile)
	}
	if err != nil {
		return m, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("%w: its manifest: %w", ErrNoBundle, err)
	}
	if m.Version != BundleVersion {
		return m, fmt.Errorf("%w: it is of the version %d, and this program knows %d: use a newer one", ErrNoBundle, m.Version, BundleVersion)
	}
	for c, why := range map[Check]string{
		Codes: "the writers' key stays with the servers", Orphans: "only the database knows", Schema: "only the database knows",
		Archives: "`forge audit verify` looks at archived months", Receipts: "no proof that somebody kept was given (--proof)",
	} {
		r.Skip(c, why)
	}
	if len(o.Pinned) == 0 {
		r.Skip(History, "no checkpoint that was kept elsewhere was given (--checkpoint)")
	}
	kept := keptProofs(r, o)
	known, err := b.openings(r, &m)
	if err != nil {
		return m, err
	}
	defer known.close()
	each := o.Each
	o.Each = func(index int64, raw []byte, e *leaf.Entry) error {
		kept.entry(index, raw)
		r.notLater(index, e.ID, e.Time)
		if err := known.entry(index, e); err != nil || each == nil {
			return err
		}
		return each(index, raw, e)
	}
	switch m.Kind {
	case RangeBundle:
		err = b.stretch(r, m, o)
	case SelectionBundle:
		err = b.selection(r, m, o)
	default:
		return m, fmt.Errorf("%w: its kind is %q", ErrNoBundle, m.Kind)
	}
	if err != nil {
		return m, err
	}
	kept.end(&m)
	return m, known.end(m.Kind == RangeBundle && m.Behind == r.Size)
}

// stretch verifies every entry from one place to another.
func (b *bundle) stretch(r *Report, m Manifest, o Options) error {
	o.First, o.Behind = m.First, m.Behind
	if m.First < 0 || m.Behind <= m.First {
		r.Made(Coverage)
		r.Fail(Coverage, -1, "", "the manifest says that it has the entries from %d up to %d", m.First, m.Behind)
		return nil
	}
	var first, last time.Time
	each := o.Each
	o.Each = func(index int64, raw []byte, e *leaf.Entry) error {
		if index == m.First {
			first = e.Time
		}
		if index == m.Behind-1 {
			last = e.Time
		}
		return each(index, raw, e)
	}
	if err := Log(r, Files(b.read), o); err != nil {
		return err
	}
	if !last.IsZero() {
		b.claims(r, m, first, last)
	}
	r.Skip(Freshness, "no --max-age was given, or the period ends before the log does")
	return nil
}

// claims compares what the manifest says with what was found.
func (b *bundle) claims(r *Report, m Manifest, first, last time.Time) {
	const form = time.RFC3339
	if m.Origin != r.Origin || m.Size != r.Size {
		r.Fail(Coverage, -1, "", "the manifest is of the log %s with %d entries, and the checkpoint of %s with %d", m.Origin, m.Size, r.Origin, r.Size)
	}
	if len(m.Filter) > 0 {
		r.Fail(Coverage, -1, "", "the manifest names a filter, and a range has none")
	}
	if m.Entries != m.Behind-m.First {
		r.Fail(Coverage, -1, "", "the manifest counts %d entries, and the range has %d places", m.Entries, m.Behind-m.First)
	}
	// No entry comes into the log more than an hour out of order (V9). So the period is whole if what is looked at
	// begins an hour before it and ends an hour behind it, or where the log does.
	if m.First > 0 && !first.Before(m.From.Add(-Skew)) {
		r.Fail(Coverage, m.First, "", "the period begins at %s, and the first entry that is looked at says %s: earlier places of the log may have entries of the period", m.From.Format(form), first.Format(form))
	}
	if m.Behind < r.Size && last.Before(m.To.Add(Skew)) {
		r.Fail(Coverage, m.Behind-1, "", "the period ends at %s, and the last entry that is looked at says %s: later places of the log may have entries of the period", m.To.Format(form), last.Format(form))
	}
	if m.Behind == r.Size && last.Before(m.To) {
		r.Note("The log of this checkpoint ends with an entry of %s, before the end of the period: what came later is not in it.", last.Format(form))
	}
	if !r.OK() {
		return
	}
	r.Note("Complete: every entry of the period from %s up to %s is in this bundle, if the servers' clocks were right within an hour.", m.From.Format(form), m.To.Format(form))
}

// selection verifies entries with a proof each.
func (b *bundle) selection(r *Report, m Manifest, o Options) error {
	c, ok, err := r.newest(Files(b.read).Checkpoint, o.Keys)
	if !ok {
		return err
	}
	r.Made(Leaves, Content)
	r.Origin, r.Size = c.Origin, c.Size
	r.witnessed(c, o.Witnesses)
	r.compare(c, o)
	var names []string
	for _, name := range b.names {
		if strings.HasPrefix(name, ProofsDir) {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	ids := map[string]bool{}
	r.Made(Coverage)
	r.First, r.Behind = -1, -1
	for _, name := range names {
		text, err := b.read(name, MaxProof)
		if err != nil {
			return err
		}
		p, e, ok := CheckProof(r, string(text), o.Keys)
		if !ok {
			continue
		}
		if r.First < 0 || p.Index < r.First {
			r.First = p.Index
		}
		r.Behind = max(r.Behind, p.Index+1)
		if proven, err := ParseCheckpoint(p.Checkpoint); err != nil || proven.Size != c.Size || proven.Root != c.Root {
			r.Fail(History, p.Index, e.ID, "its proof leads to another checkpoint than the bundle's")
		}
		if ids[e.ID] {
			r.Fail(Coverage, p.Index, e.ID, "the entry is there twice")
		}
		ids[e.ID] = true
		if e.Time.Before(m.From) || !m.To.IsZero() && !e.Time.Before(m.To) || !m.matches(&e) {
			r.Fail(Content, p.Index, e.ID, "it is not what the manifest says was searched for")
		}
		if e.Time.After(r.Newest) {
			r.Newest = e.Time
		}
		if err := o.Each(p.Index, p.Leaf, &e); err != nil {
			return err
		}
	}
	if m.Origin != c.Origin || m.Size != c.Size {
		r.Fail(Coverage, -1, "", "the manifest is of the log %s with %d entries, and the checkpoint of %s with %d", m.Origin, m.Size, c.Origin, c.Size)
	}
	if int64(len(names)) != m.Entries {
		r.Fail(Coverage, -1, "", "the manifest counts %d entries, and there are %d", m.Entries, len(names))
	}
	for _, c := range []Check{Tiles, Heartbeats, Times} {
		r.Skip(c, "it needs every entry of a stretch of the log, and this is a selection")
	}
	if !r.failed[Coverage] {
		r.unmade(Coverage, "no entry is here twice or missing by the manifest's count, and others may have been left out: this is a selection")
	}
	r.Skip(Freshness, "it needs the end of the log, and this is a selection")
	r.Note("A selection: what is here is in the log. It does not show that nothing was left out; export the whole period (without filters) for that.")
	return nil
}

// matches says whether the entry is one that the filter asks for. An address is not in an entry's clear text.
func (m *Manifest) matches(e *leaf.Entry) bool {
	for name, want := range m.Filter {
		have := map[string]string{
			"user": e.Actor.ID, "action": e.Action, "resource_type": e.Resource.Type, "resource_id": e.Resource.ID, "result": string(e.Result), "interface": e.Interface,
		}
		if got, known := have[name]; known && got != want {
			return false
		}
	}
	return true
}

// Fresh checks that the newest entry is not too old, where the end of the log was looked at: a server that runs writes one
// every ten minutes, whatever happens. Where witnesses are trusted, so must be their signature.
func (r *Report) Fresh(now time.Time, maxAge time.Duration) {
	if r.Size == 0 {
		return
	}
	if !r.Witnessed.IsZero() {
		r.Made(Freshness)
		if age := now.Sub(r.Witnessed); age > maxAge {
			r.Fail(Freshness, -1, "", "the witness signed at %s: %s ago", r.Witnessed.Format(time.RFC3339), age.Round(time.Second))
		}
	}
	if r.Behind != r.Size || r.First < 0 || r.Newest.IsZero() || !r.made[Times] {
		return
	}
	r.Made(Freshness)
	if age := now.Sub(r.Newest); age > maxAge {
		r.Fail(Freshness, -1, "", "the newest entry is of %s: %s ago", r.Newest.Format(time.RFC3339), age.Round(time.Second))
	}
}
