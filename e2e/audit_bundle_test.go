package e2e

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	merkle "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"filippo.io/torchwood"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres"
)

// The log of the tests has at least so many entries: several full bundles.
const enoughEntries = 1100

// longLog waits until the log is that long and signed, and returns its keys and its newest checkpoint.
func longLog(t *testing.T) (keys string, c verify.Checkpoint) {
	t.Helper()
	signed := func() verify.Checkpoint {
		t.Helper()
		r := patiently(t, "/api/v1/audit/log/checkpoint")
		if r.status == http.StatusNotFound {
			return verify.Checkpoint{} // nothing is signed yet
		}
		k, err := verify.ParseKeys(published{t}.mustGet("keys"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := verify.OpenCheckpoint(r.body, k)
		if err != nil {
			t.Fatalf("%v: %s", err, r.body)
		}
		return c
	}
	if c = signed(); c.Size < enoughEntries {
		writeEntries(t, enoughEntries)
	}
	for tick := time.NewTicker(50 * time.Millisecond); c.Size < enoughEntries; c = signed() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("the log is not signed")
		}
	}
	return published{t}.mustGet("keys"), c
}

// patiently asks as the auditor, and again while there are too many requests.
func patiently(t *testing.T, path string) answer {
	t.Helper()
	for tick := time.NewTicker(200 * time.Millisecond); ; <-tick.C {
		if r := ask(t, "GET", path, token(t, "auditor"), nil); r.status != http.StatusTooManyRequests || t.Context().Err() != nil {
			tick.Stop()
			return r
		}
	}
}

// writeEntries writes entries as a server of the installation does; a few of them are picked.
func writeEntries(t *testing.T, n int) {
	t.Helper()
	keys, err := audit.LoadKeys(forge.KeysDir)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := postgres.Open(t.Context(), forge.DatabaseURL, 4)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	origin, err := audit.OriginOf(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.NewLog(audit.Config{Pool: pool, Clock: clock.System, Origin: origin, Writer: "e2e-bundles", Keys: keys, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx := actor.With(t.Context(), actor.System("e2e"))
	for i := range n {
		action := "e2e.note"
		if i%200 == 0 {
			action = picked
		}
		if err := log.Note(ctx, audit.Event{Action: action, ResourceType: "e2e", ResourceID: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Heartbeat(ctx, true); err != nil {
		t.Fatal(err)
	}
}

// picked is the action of a few of the entries.
const picked = "e2e.picked"

// pages are files of a zip, to be changed.
type pages map[string][]byte

func unzip(t *testing.T, path string) pages {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	out := pages{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if out[f.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func (p pages) zip(t *testing.T) *bytes.Reader {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(p)) {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(p[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(b.Bytes())
}

// one is the file whose name begins and ends so.
func (p pages) one(t *testing.T, prefix string) string {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if strings.HasPrefix(name, prefix) {
			return name
		}
	}
	t.Fatalf("no file %s…", prefix)
	return ""
}

// manifest changes the manifest.
func (p pages) manifest(t *testing.T, change func(*verify.Manifest)) {
	t.Helper()
	var m verify.Manifest
	if err := json.Unmarshal(p[verify.ManifestFile], &m); err != nil {
		t.Fatal(err)
	}
	change(&m)
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	p[verify.ManifestFile] = raw
}

// entries changes the leaves of a file of entries.
func (p pages) entries(t *testing.T, name string, change func([]verify.Leaf) []verify.Leaf) {
	t.Helper()
	all, err := verify.SplitBundle(p[name])
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	for _, l := range change(all) {
		b = binary.BigEndian.AppendUint16(b, uint16(len(l.Raw)))
		b = append(b, l.Raw...)
	}
	p[name] = b
}

func flipped(b []byte, at int) []byte {
	out := bytes.Clone(b)
	out[at] ^= 1
	return out
}

// bundled exports a bundle and returns its files.
func bundled(t *testing.T, args ...string) (pages, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bundle.zip")
	args = append([]string{"audit", "export", "--format", "bundle", "--out", path}, args...)
	if _, notes, err := forgeCLI(t, forge.API, token(t, "auditor"), args...); err != nil {
		t.Fatalf("%v: %s", err, notes)
	}
	return unzip(t, path), path
}

func TestABundleThatWasTamperedWithIsFoundByTheCheckThatIsMeantToFindIt(t *testing.T) {
	keyText, early := longLog(t)
	keys, err := verify.ParseKeys(keyText)
	if err != nil {
		t.Fatal(err)
	}
	installed, err := audit.LoadKeys(forge.KeysDir)
	if err != nil {
		t.Fatal(err)
	}
	signers, err := installed.Signers(keys.Origin)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := (audit.Keys{Signing: [][32]byte{{9}}}).Signers(keys.Origin)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(t *testing.T, size int64, root tlog.Hash, by ...note.Signer) string {
		t.Helper()
		text, err := note.Sign(&note.Note{Text: verify.CheckpointText(keys.Origin, size, root)}, by...)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	kept := filepath.Join(t.TempDir(), "early.checkpoint")
	if err := os.WriteFile(kept, []byte(early.Text), 0o600); err != nil {
		t.Fatal(err)
	}
	whole, _ := bundled(t, "--from", "2020-01-01", "--checkpoint", kept)
	some, _ := bundled(t, "--action", picked, "--result", "success", "--from", "2020-01-01")
	selected, err := verify.ParseCheckpoint(string(some[verify.CheckpointFile]))
	if err != nil {
		t.Fatal(err)
	}
	second := verify.TilePath(tlog.Tile{H: verify.TileHeight, N: 1, W: verify.TileWidth}, true)
	const tile0, entries0 = "tile/0/000", "tile/entries/000"

	for name, c := range map[string]struct {
		check  verify.Check
		from   pages
		damage func(t *testing.T, p pages)
		also   []verify.Check
		pinned string
	}{
		"T11 a bit of an entry is flipped": {check: verify.Leaves, from: whole, damage: func(_ *testing.T, p pages) { p[entries0] = flipped(p[entries0], 60) }, also: []verify.Check{verify.Content, verify.Coverage}},
		"T11 two entries are exchanged": {check: verify.Leaves, from: whole, damage: func(t *testing.T, p pages) {
			p.entries(t, entries0, func(l []verify.Leaf) []verify.Leaf { l[3], l[4] = l[4], l[3]; return l })
		}},
		"T12 two files of entries are exchanged": {check: verify.Leaves, from: whole, damage: func(_ *testing.T, p pages) { p[entries0], p[second] = p[second], p[entries0] }, also: []verify.Check{verify.Coverage}},
		"T12 two tiles are exchanged":            {check: verify.Tiles, from: whole, damage: func(_ *testing.T, p pages) { p[tile0], p["tile/0/001"] = p["tile/0/001"], p[tile0] }},
		"T20 a tile is changed":                  {check: verify.Tiles, from: whole, damage: func(_ *testing.T, p pages) { p[tile0] = flipped(p[tile0], 500) }},
		"T20 a tile is missing":                  {check: verify.Tiles, from: whole, damage: func(_ *testing.T, p pages) { delete(p, tile0) }},
		"T4 an entry is left out": {check: verify.Coverage, from: whole, damage: func(t *testing.T, p pages) {
			p.entries(t, second, func(l []verify.Leaf) []verify.Leaf { return slices.Delete(l, 9, 10) })
		}},
		"T4 a file of entries is missing": {check: verify.Coverage, from: whole, damage: func(_ *testing.T, p pages) { delete(p, second) }},
		"T4 the last entries are cut off": {check: verify.Coverage, from: whole, damage: func(_ *testing.T, p pages) { p[second] = p[second][:len(p[second])-7] }},
		"T26 another key has signed": {check: verify.Signature, from: whole, damage: func(t *testing.T, p pages) {
			t.Helper()
			c, err := verify.ParseCheckpoint(string(p[verify.CheckpointFile]))
			if err != nil {
				t.Fatal(err)
			}
			p[verify.CheckpointFile] = []byte(sign(t, c.Size, c.Root, foreign...))
		}},
		"T26 the checkpoint's size is edited": {check: verify.Signature, from: whole, damage: func(t *testing.T, p pages) {
			t.Helper()
			c, err := verify.ParseCheckpoint(string(p[verify.CheckpointFile]))
			if err != nil {
				t.Fatal(err)
			}
			p[verify.CheckpointFile] = bytes.Replace(p[verify.CheckpointFile], fmt.Appendf(nil, "\n%d\n", c.Size), fmt.Appendf(nil, "\n%d\n", c.Size-1), 1)
		}, also: []verify.Check{verify.Tiles, verify.Coverage}},
		"the checkpoint is missing":      {check: verify.Signature, from: whole, damage: func(_ *testing.T, p pages) { delete(p, verify.CheckpointFile) }},
		"T24 another past was signed":    {check: verify.History, from: whole, damage: func(*testing.T, pages) {}, pinned: sign(t, 300, tlog.Hash{1}, signers...)},
		"T23 the log was set back since": {check: verify.History, from: whole, damage: func(*testing.T, pages) {}, pinned: sign(t, 1<<40, tlog.Hash{1}, signers...)},
		"a part is passed off as the whole period": {check: verify.Coverage, from: whole, damage: func(t *testing.T, p pages) {
			p.manifest(t, func(m *verify.Manifest) { m.First, m.Entries = 256, m.Entries-256 })
		}},
		"a period without its end": {check: verify.Coverage, from: whole, damage: func(t *testing.T, p pages) {
			p.manifest(t, func(m *verify.Manifest) { m.Behind, m.Entries = 256, 256 })
		}},
		"the manifest's count is edited": {check: verify.Coverage, from: whole, damage: func(t *testing.T, p pages) { p.manifest(t, func(m *verify.Manifest) { m.Entries++ }) }},
		"the manifest is of another log": {check: verify.Coverage, from: whole, damage: func(t *testing.T, p pages) {
			p.manifest(t, func(m *verify.Manifest) { m.Origin = "staging.forge/audit" })
		}},
		"the manifest names places beyond the log": {check: verify.Coverage, from: whole, damage: func(t *testing.T, p pages) { p.manifest(t, func(m *verify.Manifest) { m.Behind = 1 << 50 }) }},
		"a proof's entry is changed": {check: verify.Leaves, from: some, damage: func(t *testing.T, p pages) {
			t.Helper()
			name := p.one(t, verify.ProofsDir)
			proof, err := verify.ParseProof(string(p[name]))
			if err != nil {
				t.Fatal(err)
			}
			proof.Leaf = bytes.Replace(proof.Leaf, []byte(`"result":"success"`), []byte(`"result":"refused"`), 1)
			p[name] = []byte(proof.Text())
		}, also: []verify.Check{verify.Content}},
		"a proof is missing": {check: verify.Coverage, from: some, damage: func(t *testing.T, p pages) { delete(p, p.one(t, verify.ProofsDir)) }},
		"a proof is there twice": {check: verify.Coverage, from: some, damage: func(t *testing.T, p pages) {
			p[verify.ProofsDir+"9.tlog-proof"] = p[p.one(t, verify.ProofsDir)]
			p.manifest(t, func(m *verify.Manifest) { m.Entries++ })
		}},
		"a proof is to another log": {check: verify.History, from: some, damage: func(t *testing.T, p pages) {
			t.Helper()
			p[verify.CheckpointFile] = []byte(sign(t, 300, tlog.Hash{1}, signers...))
			p.manifest(t, func(m *verify.Manifest) { m.Size = 300 })
		}},
		"T24 a selection of another log of the same size": {check: verify.History, from: some, damage: func(*testing.T, pages) {}, pinned: sign(t, selected.Size, tlog.Hash{1}, signers...)},
		"what was not searched for": {check: verify.Content, from: some, damage: func(t *testing.T, p pages) {
			p.manifest(t, func(m *verify.Manifest) { m.Filter["action"] = "budget.set" })
		}},
		"a selection as a whole period": {check: verify.Tiles, from: some, damage: func(t *testing.T, p pages) {
			p.manifest(t, func(m *verify.Manifest) {
				m.Kind, m.Filter, m.Behind = verify.RangeBundle, nil, m.Size
				m.Entries = m.Size
			})
		}, also: []verify.Check{verify.Coverage}},
	} {
		t.Run(name, func(t *testing.T) {
			check := func(p pages, pinned string, without ...verify.Check) *verify.Report {
				t.Helper()
				o := verify.Options{Keys: keys}
				if pinned != "" {
					o.Pinned = []string{pinned}
				}
				r := verify.NewReport().Without(without...)
				in := p.zip(t)
				if _, err := verify.Bundle(r, in, in.Size(), o); err != nil {
					t.Fatal(err)
				}
				return r
			}
			if r := check(c.from, early.Text); !r.OK() && len(c.from) == len(whole) {
				t.Fatalf("untouched:\n%s", r.Text())
			}
			p := maps.Clone(c.from)
			c.damage(t, p)
			r := check(p, c.pinned)
			if !slices.Contains(r.Failed(), c.check) {
				t.Fatalf("want %s, found by %v:\n%s", c.check, r.Failed(), r.Text())
			}
			if strings.Contains(r.Text(), "Complete:") {
				t.Errorf("it is called complete:\n%s", r.Text())
			}
			for _, f := range r.Failed() {
				if f != c.check && !slices.Contains(c.also, f) {
					t.Errorf("want %s alone, found by %s, too:\n%s", c.check, f, r.Text())
				}
			}
			for _, f := range check(p, c.pinned, c.check).Failed() {
				if !slices.Contains(c.also, f) {
					t.Errorf("without %s it is found by %s", c.check, f)
				}
			}
		})
	}
}

func TestABundleIsReadWhateverItHolds(t *testing.T) {
	keyText, _ := longLog(t)
	keys, err := verify.ParseKeys(keyText)
	if err != nil {
		t.Fatal(err)
	}
	whole, path := bundled(t, "--from", "2020-01-01")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	twice := func() []byte {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		for range 2 {
			w, err := z.Create(verify.ManifestFile)
			if err == nil {
				_, err = w.Write(whole[verify.ManifestFile])
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	with := func(name string, data []byte) []byte {
		p := maps.Clone(whole)
		p[name] = data
		in := p.zip(t)
		out := make([]byte, in.Size())
		if _, err := in.ReadAt(out, 0); err != nil {
			t.Fatal(err)
		}
		return out
	}
	bomb := make([]byte, 256<<20) // a few hundred kilobytes in the zip
	for name, b := range map[string][]byte{
		"nothing":                     nil,
		"no zip":                      []byte("c2sp.org/but-not-a-proof"),
		"a zip that is cut off":       raw[:len(raw)/2],
		"a zip without its beginning": raw[len(raw)/2:],
		"no manifest": func() []byte {
			p := maps.Clone(whole)
			delete(p, verify.ManifestFile)
			in := p.zip(t)
			out := make([]byte, in.Size())
			_, _ = in.ReadAt(out, 0)
			return out
		}(),
		"a manifest that is no JSON":  with(verify.ManifestFile, []byte("{")),
		"a field that is unknown":     with(verify.ManifestFile, []byte(`{"version":1,"colour":"red"}`)),
		"another version":             with(verify.ManifestFile, []byte(`{"version":2}`)),
		"another kind":                with(verify.ManifestFile, []byte(`{"version":1,"kind":"novel"}`)),
		"a path that leads out":       with("../evil", nil),
		"a path from the root":        with("/etc/passwd", nil),
		"a file twice":                twice(),
		"a manifest that is a bomb":   with(verify.ManifestFile, bomb),
		"a checkpoint that is a bomb": with(verify.CheckpointFile, bomb),
		"a tile that is a bomb":       with("tile/0/000", bomb),
		"entries that are a bomb":     with("tile/entries/000", bomb),
	} {
		r := verify.NewReport()
		if _, err := verify.Bundle(r, bytes.NewReader(b), int64(len(b)), verify.Options{Keys: keys}); !errors.Is(err, verify.ErrNoBundle) && r.OK() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// published is the log as the server publishes it, for other people's verifiers.
type published struct{ t *testing.T }

func (p published) get(path string) ([]byte, error) {
	r := patiently(p.t, "/api/v1/audit/log/"+path)
	if r.status != http.StatusOK {
		return nil, fmt.Errorf("%s: %d %s: %w", path, r.status, r.body, os.ErrNotExist)
	}
	return []byte(r.body), nil
}

func (p published) mustGet(path string) string {
	p.t.Helper()
	b, err := p.get(path)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

func (p published) tile(level, n uint64, width uint8, entries bool) ([]byte, error) {
	w := int(width)
	if w == 0 {
		w = verify.TileWidth
	}
	return p.get(verify.TilePath(tlog.Tile{H: verify.TileHeight, L: int(level), N: int64(n), W: w}, entries)) //nolint:gosec // small numbers
}

func (p published) ReadCheckpoint(context.Context) ([]byte, error) { return p.get("checkpoint") }

func (p published) ReadTile(_ context.Context, level, n uint64, width uint8) ([]byte, error) {
	return p.tile(level, n, width, false)
}

func (p published) ReadEntryBundle(_ context.Context, n uint64, width uint8) ([]byte, error) {
	return p.tile(0, n, width, true)
}

// still is a log that does not grow while it is looked at.
type still struct {
	published
	checkpoint []byte
}

func (s still) ReadCheckpoint(context.Context) ([]byte, error) { return s.checkpoint, nil }

func leafHashes(bundle []byte) ([][]byte, error) {
	all, err := verify.SplitBundle(bundle)
	out := make([][]byte, len(all))
	for i, l := range all {
		out[i] = rfc6962.DefaultHasher.HashLeaf(l.Raw)
	}
	return out, err
}

func TestOtherPeoplesVerifiersAcceptTheLog(t *testing.T) {
	keyText, c := longLog(t)
	keyText = strings.TrimSpace(strings.Split(keyText, "\n")[0])
	verifier, err := note.NewVerifier(keyText)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // fsck hangs on a bad tile
	defer cancel()
	log := still{published{t}, []byte(c.Text)}
	if err := fsck.New(c.Origin, verifier, log, leafHashes, fsck.Opts{N: 2}).Check(ctx); err != nil {
		t.Errorf("Tessera's fsck: %v", err)
	}

	policy := torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(c.Origin), torchwood.SingleVerifierPolicy(verifier))
	r, err := as(t, "auditor").ListAuditEntriesWithResponse(t.Context(), &client.ListAuditEntriesParams{Action: ptr(picked), Limit: ptr(int64(5))})
	if err != nil || r.JSON200 == nil || len(r.JSON200.Items) == 0 {
		t.Fatalf("entries: %v %s", err, r.Body)
	}
	for _, e := range r.JSON200.Items {
		text := patiently(t, fmt.Sprintf("/api/v1/audit/entries/%s/proof?leaf=true&size=%d", e.Id, c.Size))
		p, err := verify.ParseProof(text.body)
		if err != nil {
			t.Fatalf("%v: %s", err, text.body)
		}
		if err := torchwood.VerifyProof(policy, tlog.RecordHash(p.Leaf), []byte(text.body)); err != nil {
			t.Errorf("torchwood: %v", err)
		}
		other := leaf.Hash(append(bytes.Clone(p.Leaf), ' '))
		if err := torchwood.VerifyProof(policy, tlog.Hash(other), []byte(text.body)); err == nil {
			t.Error("torchwood takes another entry for it")
		}
		at, err := verify.ParseCheckpoint(p.Checkpoint)
		if err != nil {
			t.Fatal(err)
		}
		hashes := make([][]byte, len(p.Hashes))
		for i := range p.Hashes {
			hashes[i] = p.Hashes[i][:]
		}
		if err := merkle.VerifyInclusion(rfc6962.DefaultHasher, uint64(p.Index), uint64(at.Size), rfc6962.DefaultHasher.HashLeaf(p.Leaf), hashes, at.Root[:]); err != nil { //nolint:gosec // not negative
			t.Errorf("transparency-dev/merkle: %v", err)
		}
		if err := tlog.CheckRecord(p.Hashes, at.Size, at.Root, p.Index, tlog.RecordHash(p.Leaf)); err != nil {
			t.Errorf("sumdb/tlog: %v", err)
		}
	}
}
