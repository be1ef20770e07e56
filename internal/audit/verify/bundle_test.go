package verify_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/audit/verify"
)

// zipped is a bundle of the whole log in memory.
func (m *memory) zipped(t testing.TB) []byte {
	t.Helper()
	size := int64(len(m.leaves))
	manifest, err := json.Marshal(verify.Manifest{
		Version: verify.BundleVersion, Kind: verify.RangeBundle, Origin: origin, Size: size, From: noon, To: m.at, Behind: size, Entries: size,
	})
	if err != nil {
		t.Fatal(err)
	}
	all := m.files(t)
	all[verify.ManifestFile] = manifest
	return zipped(t, all)
}

func zipped(t testing.TB, all files) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(all[name])
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

// Whatever a file holds: it is read without a panic, and nothing passes that was not written.
func FuzzBundle(f *testing.F) {
	genuine := map[string]bool{}
	trusted := keys(f)
	for _, n := range []int{1, 300} {
		m := newMemory(f, n)
		m.beat(f, true)
		for _, raw := range m.leaves {
			genuine[string(raw)] = true
		}
		b := m.zipped(f)
		r := verify.NewReport()
		if _, err := verify.Bundle(r, bytes.NewReader(b), int64(len(b)), verify.Options{Keys: trusted}); err != nil || !r.OK() {
			f.Fatalf("%v\n%s", err, r.Text())
		}
		f.Add(b)
		f.Add(b[:len(b)-10])
	}
	persons := aboutPersons(f)
	for _, raw := range persons.log.leaves {
		genuine[string(raw)] = true
	}
	f.Add(persons.zipped(f))
	f.Add([]byte("PK"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := verify.NewReport()
		_, err := verify.Bundle(r, bytes.NewReader(b), int64(len(b)), verify.Options{Keys: trusted, Each: func(_ int64, raw []byte, _ *leaf.Entry) error {
			if !genuine[string(raw)] {
				t.Errorf("an entry passes that nobody wrote: %s", raw)
			}
			return nil
		}})
		if err == nil && r.OK() && r.Entries == 0 && r.Size != 0 && len(r.Unchecked) == 0 {
			t.Errorf("nothing was looked at, and all is well:\n%s", r.Text())
		}
	})
}
