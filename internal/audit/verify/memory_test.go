package verify_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/audit/verify"
)

const origin = "test.forge/audit"

var noon = time.Date(2026, 11, 15, 12, 0, 0, 0, time.UTC)

// memory is a log in memory, written by one server.
type memory struct {
	leaves [][]byte
	hashes []tlog.Hash // as tlog stores them
	at     time.Time
	seq    uint64
	told   uint64
	since  [][]byte // leaf hashes since the last heartbeat
}

func (m *memory) entry(change ...func(*leaf.Entry)) leaf.Entry {
	m.seq++
	e := leaf.Entry{
		ID: fmt.Sprintf("01934000-0000-7000-8000-%012x", m.seq), Time: m.at, Log: origin, Actor: leaf.Actor{Type: leaf.User, ID: "usr_one"},
		Action: "workspace.create", Resource: leaf.Resource{Type: "workspace", ID: fmt.Sprintf("ws_%d", m.seq)}, Result: leaf.Success, Interface: "api",
		Writer: leaf.Writer{ID: "server-1", Boot: "boot-1", Seq: m.seq},
	}
	for _, f := range change {
		f(&e)
	}
	return e
}

// write adds an entry at the end of the log; lost is one that never comes into it.
func (m *memory) write(t testing.TB, lost bool, change ...func(*leaf.Entry)) {
	t.Helper()
	m.at = m.at.Add(time.Second)
	e := m.entry(change...)
	raw, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	h := leaf.Hash(raw)
	m.since = append(m.since, h[:])
	if !lost {
		m.place(t, raw)
	}
}

func (m *memory) place(t testing.TB, raw []byte) {
	t.Helper()
	add, err := tlog.StoredHashes(int64(len(m.leaves)), raw, m)
	if err != nil {
		t.Fatal(err)
	}
	m.hashes = append(m.hashes, add...)
	m.leaves = append(m.leaves, raw)
}

func (m *memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = m.hashes[x]
	}
	return out, nil
}

// beat writes a heartbeat.
func (m *memory) beat(t testing.TB, last bool) {
	t.Helper()
	told := m.since
	sum := verify.HeartbeatHash(told)
	from, to, count := m.told+1, m.seq, len(told)
	m.told, m.since = m.seq, nil
	m.write(t, false, func(e *leaf.Entry) {
		e.Action, e.Actor = verify.HeartbeatAction, leaf.Actor{Type: leaf.System, ID: "system:audit"}
		e.Details = map[string]any{"from": from, "to": to, "count": count, "sha256": hex.EncodeToString(sum[:]), "last": last}
	})
}

// newMemory is a log of n entries or a few more, with a heartbeat after every twenty.
func newMemory(t testing.TB, n int) *memory {
	t.Helper()
	m := &memory{at: noon}
	for len(m.leaves) < n {
		for range 20 {
			m.write(t, false)
		}
		m.beat(t, false)
	}
	return m
}

var signer, publicKey = func() (note.Signer, string) {
	seed := [ed25519.SeedSize]byte{1}
	public, err := note.NewEd25519VerifierKey(origin, ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey))
	if err != nil {
		panic(err)
	}
	hash := strings.Split(public, "+")[1]
	s, err := note.NewSigner("PRIVATE+KEY+" + origin + "+" + hash + "+" + base64.StdEncoding.EncodeToString(append([]byte{1}, seed[:]...)))
	if err != nil {
		panic(err)
	}
	return s, public
}()

// sign is the checkpoint over the first entries.
func (m *memory) sign(t testing.TB, size int64) string {
	t.Helper()
	root, err := tlog.TreeHash(size, m)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Sign(&note.Note{Text: verify.CheckpointText(origin, size, root)}, signer)
	if err != nil {
		t.Fatal(err)
	}
	return string(signed)
}

// files are the log as it is published.
func (m *memory) files(t testing.TB) files {
	t.Helper()
	size := int64(len(m.leaves))
	f := files{"checkpoint": []byte(m.sign(t, size))}
	for _, tile := range tlog.NewTiles(verify.TileHeight, 0, size) {
		data, err := tlog.ReadTileData(tile, m)
		if err != nil {
			t.Fatal(err)
		}
		f[verify.TilePath(tile, false)] = data
		if tile.L == 0 {
			f[verify.TilePath(tile, true)] = bundle(m.leaves[tile.N*verify.TileWidth:][:tile.W])
		}
	}
	return f
}

func bundle(leaves [][]byte) []byte {
	var b []byte
	for _, l := range leaves {
		b = binary.BigEndian.AppendUint16(b, uint16(len(l)))
		b = append(b, l...)
	}
	return b
}

type files map[string][]byte

func (f files) read(path string, limit int) ([]byte, error) {
	b, ok := f[path]
	if !ok {
		return nil, verify.ErrNotThere
	}
	if len(b) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return b, nil
}

func keys(t testing.TB) verify.Keys {
	t.Helper()
	k, err := verify.ParseKeys(publicKey)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func all(texts ...string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, s := range texts {
			if !yield(s, nil) {
				return
			}
		}
	}
}

// look verifies files, with changes to the options.
func look(t testing.TB, f files, change ...func(*verify.Options)) *verify.Report {
	t.Helper()
	o := verify.Options{Keys: keys(t)}
	for _, c := range change {
		c(&o)
	}
	return lookWithout(t, f, o)
}

func lookWithout(t testing.TB, f files, o verify.Options, off ...verify.Check) *verify.Report {
	t.Helper()
	r := verify.NewReport().Without(off...)
	if err := verify.Log(r, verify.Files(f.read), o); err != nil {
		t.Fatal(err)
	}
	return r
}
