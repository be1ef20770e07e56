package archive_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/mod/sumdb/note"

	"github.com/robco-forge/forge/internal/audit/archive"
)

type record struct {
	Index int64
	Leaf  string
}

// written is a file of records.
func written(t testing.TB, records ...record) ([]byte, archive.File) {
	t.Helper()
	var b bytes.Buffer
	w, err := archive.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := w.Add(r.Index, []byte(r.Leaf)); err != nil {
			t.Fatal(err)
		}
	}
	f, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), f
}

// read is the records of a file, up to an error.
func read(t testing.TB, b []byte) (out []record, sum string, err error) {
	t.Helper()
	r, err := archive.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	for {
		index, leaf, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return out, "", err
		}
		out = append(out, record{index, string(leaf)})
	}
	sum, length, err := r.Sum()
	if err == nil && length != int64(len(b)) {
		t.Errorf("read %d bytes of %d", length, len(b))
	}
	return out, sum, err
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	want := []record{{0, "a"}, {7, ""}, {8, strings.Repeat("x", 65535)}, {1 << 40, "b"}}
	b, f := written(t, want...)
	got, sum, err := read(t, b)
	if err != nil || !cmp.Equal(got, want) || sum != f.SHA256 || f.Entries != 4 || f.First != 0 || f.Last != 1<<40 || f.Bytes != int64(len(b)) {
		t.Errorf("%v, %v, %+v", err, got, f)
	}
	if empty, f := written(t); f.Entries != 0 || len(empty) == 0 && f.SHA256 == "" {
		t.Errorf("an empty file: %+v", f)
	}
}

func TestAFileThatIsNoneIsRefused(t *testing.T) {
	good, _ := written(t, record{1, "a"}, record{2, "b"})
	pack := func(plain string) []byte {
		var b bytes.Buffer
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(z, plain); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	var greedy bytes.Buffer // which asks its reader for more memory than there is
	z, err := zstd.NewWriter(&greedy, zstd.WithWindowSize(64<<20), zstd.WithSingleSegment(false))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(make([]byte, 80<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"no zstd":              []byte("hello"),
		"cut off":              good[:len(good)-3],
		"a byte flipped":       append(append([]byte{}, good[:len(good)/2]...), append([]byte{good[len(good)/2] ^ 0x40}, good[len(good)/2+1:]...)...),
		"half a head":          pack("\x00\x00\x00"),
		"half a leaf":          pack("\x00\x00\x00\x00\x00\x00\x00\x01\x00\x05ab"),
		"a place below zero":   pack("\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00"),
		"not in order":         pack("\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00"),
		"too large a window":   greedy.Bytes(),
		"a checksum that lies": append(append([]byte{}, good[:len(good)-1]...), good[len(good)-1]^1),
	} {
		if _, _, err := read(t, b); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	w, err := archive.NewWriter(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Add(3, []byte("a"))); err != nil {
		t.Fatal(err)
	}
	if w.Add(3, []byte("b")) == nil || w.Add(-1, nil) == nil || w.Add(9, make([]byte, 65536)) == nil {
		t.Error("what cannot be read is written")
	}
}

func TestWhatIsKnownOfPersonsIsReadBack(t *testing.T) {
	var b bytes.Buffer
	w, err := archive.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	var want []archive.Personal
	for i := range 100 {
		want = append(want, archive.Personal{Entry: "e", Timestamp: time.Date(2026, 1, 1, 0, i, 0, 123_000, time.UTC), Subject: "usr_é", Generation: i, Sealed: bytes.Repeat([]byte{byte(i)}, i*100)})
		if err := w.AddPersonal(want[i]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := archive.NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []archive.Personal
	for {
		p, err := r.NextPersonal()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p)
	}
	if d := cmp.Diff(want, got, cmp.Transformer("bytes", func(b []byte) string { return string(b) })); d != "" {
		t.Error(d)
	}
}

func TestAManifestIsWhatWasSigned(t *testing.T) {
	secret, public, err := note.GenerateKey(nil, "forge.test/audit")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	trusted := note.VerifierList(verifier)
	m := archive.Manifest{Log: "forge.test/audit", Month: "2026-01", Entries: 3, Ranges: [][2]int64{{1, 2}, {5, 5}}, Files: []archive.File{{Name: "x"}}, Checkpoint: "forge.test/audit\n3\nroot\n\n— sig\n"}
	text, err := m.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	got, err := archive.Open([]byte(text), trusted)
	if err != nil || !cmp.Equal(got, m) {
		t.Errorf("%v: %s", err, cmp.Diff(m, got))
	}
	checkpoint, err := note.Sign(&note.Note{Text: "forge.test/audit\n3\nAAAA\n"}, signer)
	if err != nil {
		t.Fatal(err)
	}
	extra, err := note.Sign(&note.Note{Text: "forge audit archive v1\n{\"unheard_of\": 1}\n"}, signer)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"edited": strings.Replace(text, `"entries": 3`, `"entries": 4`, 1), "a checkpoint": string(checkpoint), "with more than there is": string(extra), "nothing": "",
	} {
		if _, err := archive.Open([]byte(text), trusted); !errors.Is(err, archive.ErrManifest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := archive.Open([]byte(text), note.VerifierList()); !errors.Is(err, archive.ErrManifest) {
		t.Errorf("a key that nobody trusts: %v", err)
	}
}

func TestADirectoryWritesNothingOver(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	store := archive.Dir(dir)
	put := func(name, text string) error {
		_, err := store.Put(ctx, name, strings.NewReader(text), int64(len(text)), time.Time{})
		return err
	}
	if err := errors.Join(put("2026-01/a.zst", "one"), put("2026-01/a.zst", "one")); err != nil {
		t.Error(err)
	}
	if err := put("2026-01/a.zst", "two"); err == nil {
		t.Error("another content was written over")
	}
	if b, err := os.ReadFile(filepath.Join(dir, "2026-01", "a.zst")); err != nil || string(b) != "one" {
		t.Errorf("%q %v", b, err)
	}
	for _, name := range []string{"../x", "/etc/passwd", "2026-01/../../x", "", ".hidden", "2026-01//x", "A"} {
		if put(name, "x") == nil {
			t.Errorf("%q was written", name)
		}
		if _, err := store.Open(ctx, name, ""); !errors.Is(err, archive.ErrNotThere) {
			t.Errorf("%q was read: %v", name, err)
		}
	}
	if _, err := store.Stat(ctx, "2026-01/b.zst"); !errors.Is(err, archive.ErrNotThere) {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*", ".coming-*")); err != nil || len(left) != 0 {
		t.Errorf("left over: %v %v", left, err)
	}
	if err := errors.Join(store.Remove(ctx, "2026-01/a.zst", ""), store.Remove(ctx, "2026-01/a.zst", "")); err != nil {
		t.Error(err)
	}
}

// FuzzRead reads what anybody may have put into a store.
func FuzzRead(f *testing.F) {
	good, _ := written(f, record{1, "a"}, record{2, "bb"})
	f.Add(good)
	f.Add([]byte("hello"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, _, err := read(t, b)
		if err != nil {
			return
		}
		last := int64(-1)
		for _, r := range got {
			if r.Index <= last {
				t.Errorf("%d comes behind %d", r.Index, last)
			}
			last = r.Index
		}
		again, _ := written(t, got...)
		if back, _, err := read(t, again); err != nil || !cmp.Equal(back, got) {
			t.Errorf("%v", err)
		}
	})
}
