package verify_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/audit/verify"
)

// evidence is a bundle of a whole log, to be damaged: its files, its manifest, and what is known of persons.
type evidence struct {
	log      *memory
	files    files
	manifest verify.Manifest
	known    []verify.Openings
}

// aboutPersons is a log of entries by persons, one of whom was erased.
func aboutPersons(t testing.TB) *evidence {
	t.Helper()
	m := &memory{at: noon}
	e := &evidence{log: m}
	by := func(who string) func(*leaf.Entry) {
		return func(x *leaf.Entry) {
			x.Actor.ID, x.PII = who, map[string]leaf.Commitment{}
			o := verify.Openings{Index: int64(len(m.leaves)), Entry: x.ID, Fields: map[string]verify.Opening{}}
			for field, value := range map[string]string{"email": who + "@example.com", "source_ip": "198.51.100.7"} {
				salt := bytes.Repeat([]byte{byte(m.seq), field[0]}, leaf.MinSalt/2)
				x.PII[field], o.Fields[field] = leaf.Commit(salt, field, value), verify.Opening{Salt: salt, Value: value}
			}
			if who == "usr_gone" {
				o.Fields, o.Erased = nil, true
			}
			e.known = append(e.known, o)
		}
	}
	for i := range 300 {
		switch i % 5 {
		case 0:
			m.write(t, false, by("usr_one"))
		case 2:
			m.write(t, false, by([]string{"usr_gone", "usr_two"}[i/200]))
		default:
			m.write(t, false)
		}
	}
	m.write(t, false, func(x *leaf.Entry) {
		x.Action, x.Resource = verify.EraseAction, leaf.Resource{Type: "person", ID: "usr_gone"}
		x.Details = map[string]any{"through": int64(1)}
	})
	m.beat(t, true)
	size := int64(len(m.leaves))
	e.files = m.files(t)
	e.manifest = verify.Manifest{Version: verify.BundleVersion, Kind: verify.RangeBundle, Origin: origin, Size: size, From: noon, To: m.at, Behind: size, Entries: size, PersonalData: true}
	return e
}

func (e *evidence) clone() *evidence {
	c := *e
	c.files, c.known = maps.Clone(e.files), slices.Clone(e.known)
	for i := range c.known {
		c.known[i].Fields = maps.Clone(c.known[i].Fields)
	}
	return &c
}

// zipped is the bundle.
func (e *evidence) zipped(t testing.TB) []byte {
	t.Helper()
	f := maps.Clone(e.files)
	var err error
	if f[verify.ManifestFile], err = json.Marshal(e.manifest); err != nil {
		t.Fatal(err)
	}
	if f[verify.OpeningsFile] == nil && e.known != nil {
		var b bytes.Buffer
		for _, line := range e.known {
			if err := json.NewEncoder(&b).Encode(line); err != nil {
				t.Fatal(err)
			}
		}
		f[verify.OpeningsFile] = b.Bytes()
	}
	return zipped(t, f)
}

func (e *evidence) verify(t testing.TB, o verify.Options, off ...verify.Check) (*verify.Report, error) {
	t.Helper()
	b := e.zipped(t)
	r := verify.NewReport().Without(off...)
	o.Keys = keys(t)
	_, err := verify.Bundle(r, bytes.NewReader(b), int64(len(b)), o)
	return r, err
}

// found wants the check to find the damage, alone, and nothing to when it is switched off.
func (e *evidence) found(t *testing.T, check verify.Check, o verify.Options) {
	t.Helper()
	r, err := e.verify(t, o)
	if err != nil {
		t.Fatal(err)
	}
	if f := r.Failed(); !slices.Equal(f, []verify.Check{check}) {
		t.Errorf("want %s, found by %v:\n%s", check, f, r.Text())
	}
	if r, err = e.verify(t, o, check); err != nil || !r.OK() {
		t.Errorf("without %s: %v\n%s", check, err, r.Text())
	}
}

func TestWhatIsKnownOfPersonsIsWhatWasCommittedTo(t *testing.T) {
	whole := aboutPersons(t)
	r, err := whole.verify(t, verify.Options{})
	if err != nil || !r.OK() || !slices.Contains(r.Passed(), verify.Erasures) {
		t.Fatalf("untouched: %v\n%s", err, r.Text())
	}
	at := func(e *evidence, who string) *verify.Openings {
		for i := range e.known {
			x, err := leaf.Decode(e.log.leaves[e.known[i].Index])
			if err != nil {
				t.Fatal(err)
			}
			if x.Actor.ID == who {
				return &e.known[i]
			}
		}
		t.Fatalf("nothing by %s", who)
		return nil
	}
	for name, damage := range map[string]func(e *evidence){
		"T34 the file is left out":           func(e *evidence) { e.known = nil },
		"T34 a line is left out":             func(e *evidence) { e.known = slices.Delete(e.known, 7, 8) },
		"T34 the last line is left out":      func(e *evidence) { e.known = e.known[:len(e.known)-1] },
		"T34 erased without a record":        func(e *evidence) { o := at(e, "usr_two"); o.Fields, o.Erased = nil, true },
		"T34 in an archive without a record": func(e *evidence) { o := at(e, "usr_one"); o.Fields, o.Archived = nil, true },
		"T34 a field is left out":            func(e *evidence) { delete(at(e, "usr_one").Fields, "email") },
		"T34 neither given nor said why":     func(e *evidence) { at(e, "usr_one").Fields = nil },
		"T35 another value": func(e *evidence) {
			at(e, "usr_one").Fields["email"] = verify.Opening{Salt: make([]byte, 16), Value: "mallory@example.com"}
		},
		"T35 another value under its salt": func(e *evidence) {
			o := at(e, "usr_one")
			o.Fields["email"] = verify.Opening{Salt: o.Fields["email"].Salt, Value: "x"}
		},
		"T35 a salt that is too long": func(e *evidence) { at(e, "usr_one").Fields["email"] = verify.Opening{Salt: make([]byte, 1000)} },
		"T35 fields are exchanged": func(e *evidence) {
			f := at(e, "usr_one").Fields
			f["email"], f["source_ip"] = f["source_ip"], f["email"]
		},
		"T35 a field that was never recorded":  func(e *evidence) { at(e, "usr_one").Fields["phone"] = verify.Opening{Salt: make([]byte, 16)} },
		"T35 those of another entry":           func(e *evidence) { e.known[0].Fields = e.known[2].Fields },
		"T36 erased, and given":                func(e *evidence) { at(e, "usr_gone").Fields = e.known[0].Fields },
		"T36 recorded as erased, and not said": func(e *evidence) { o := at(e, "usr_gone"); o.Erased, o.Fields = false, nil },
		"a line of an entry without any":       func(e *evidence) { e.known = slices.Insert(e.known, 1, verify.Openings{Index: 1}) },
		"a line behind the last entry":         func(e *evidence) { e.known = append(e.known, verify.Openings{Index: 1 << 40}) },
		"a line is there twice":                func(e *evidence) { e.known = slices.Insert(e.known, 5, e.known[5]) },
		"lines are out of order":               func(e *evidence) { e.known[3], e.known[4] = e.known[4], e.known[3] },
		"a line names another entry":           func(e *evidence) { e.known[3].Entry = e.known[4].Entry },
	} {
		t.Run(name, func(t *testing.T) {
			e := whole.clone()
			damage(e)
			e.found(t, verify.Erasures, verify.Options{})
		})
	}
	for name, damage := range map[string]func(e *evidence){
		"no JSON":            func(e *evidence) { e.files[verify.OpeningsFile] = []byte("{\n") },
		"a line without end": func(e *evidence) { e.files[verify.OpeningsFile] = []byte(strings.Repeat(" ", 1<<20)) },
		"no address":         func(e *evidence) { e.manifest.Filter = map[string]string{"address": "somewhere"} },
	} {
		e := whole.clone()
		damage(e)
		if _, err := e.verify(t, verify.Options{}); !errors.Is(err, verify.ErrNoBundle) {
			t.Errorf("%s: %v", name, err)
		}
	}

	// A part of the log cannot tell whether somebody was erased later, and says so.
	part := whole.clone()
	part.manifest.Behind, part.manifest.Entries, part.manifest.To = 256, 256, noon.Add(-2*time.Hour)
	part.known = slices.DeleteFunc(part.known, func(o verify.Openings) bool { return o.Index >= 256 })
	if r, err := part.verify(t, verify.Options{}); err != nil || !r.OK() || !strings.Contains(r.Text(), "erased: 1.") {
		t.Errorf("%v\n%s", err, r.Text())
	}
}

// proof is what somebody keeps of an entry.
func (m *memory) proof(t testing.TB, index int64) string {
	t.Helper()
	size := int64(len(m.leaves))
	hashes, err := tlog.ProveRecord(size, index, m)
	if err != nil {
		t.Fatal(err)
	}
	return verify.Proof{Index: index, Hashes: hashes, Checkpoint: m.sign(t, size), Leaf: m.leaves[index]}.Text()
}

func TestABundleMustHaveWhatSomebodyHasAProofOf(t *testing.T) {
	whole := aboutPersons(t)
	r, err := whole.verify(t, verify.Options{Receipts: []string{whole.log.proof(t, 0), whole.log.proof(t, 299)}})
	if err != nil || !r.OK() || !slices.Contains(r.Passed(), verify.Receipts) {
		t.Fatalf("%v\n%s", err, r.Text())
	}
	// The same key has signed another log of the same name, in which something else stands at that place.
	other := newMemory(t, 400)
	whole.found(t, verify.Receipts, verify.Options{Receipts: []string{other.proof(t, 17)}})
	for name, text := range map[string]string{
		"nothing":       "",
		"no proof":      "a letter",
		"another entry": strings.Replace(other.proof(t, 17), "index 17\n", "index 18\n", 1),
		"without entry": func() string {
			p, err := verify.ParseProof(other.proof(t, 17))
			if err != nil {
				t.Fatal(err)
			}
			p.Leaf = nil
			return p.Text()
		}(),
	} {
		t.Run(name, func(t *testing.T) { whole.found(t, verify.Receipts, verify.Options{Receipts: []string{text}}) })
	}
	// One of an entry that the bundle does not reach to is no failure.
	if r, err = whole.verify(t, verify.Options{Receipts: []string{other.proof(t, 390)}}); err != nil || !r.OK() || !strings.Contains(r.Text(), "does not belong into this bundle") {
		t.Errorf("%v\n%s", err, r.Text())
	}
}

func TestAWitnessMustHaveSignedTheCheckpointItself(t *testing.T) {
	whole := aboutPersons(t)
	witness := func(n byte) *torchwood.CosignatureSigner {
		s, err := torchwood.NewCosignatureSigner(fmt.Sprintf("witness.example.com/%d", n), ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize)))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	// seen is a checkpoint with a signature of the witness, of such a time.
	seen := func(text string, n byte, at time.Time) string {
		body, _, _ := strings.Cut(text, "\n\n")
		body += "\n"
		seed := bytes.Repeat([]byte{n}, ed25519.SeedSize)
		w := witness(n)
		raw := binary.BigEndian.AppendUint32(nil, w.KeyHash())
		raw = binary.BigEndian.AppendUint64(raw, uint64(at.Unix())) //nolint:gosec // after 1970
		raw = append(raw, ed25519.Sign(ed25519.NewKeyFromSeed(seed), fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at.Unix(), body))...)
		return text + "— " + w.Name() + " " + base64.StdEncoding.EncodeToString(raw) + "\n"
	}
	checkpoint := string(whole.files["checkpoint"])
	trusted := verify.Options{Witnesses: []note.Verifier{witness(1).Verifier()}}
	good := whole.clone()
	good.files["checkpoint"] = []byte(seen(seen(checkpoint, 1, whole.log.at), 2, whole.log.at.Add(time.Minute)))
	r, err := good.verify(t, trusted)
	if err != nil || !r.OK() || !r.Witnessed.Equal(whole.log.at.Truncate(time.Second)) || !strings.Contains(r.Text(), "witness.example.com/1 had seen the log") {
		t.Fatalf("%v\n%s", err, r.Text())
	}

	tampered := func(text string) *evidence {
		e := whole.clone()
		e.files["checkpoint"] = []byte(text)
		return e
	}
	signed := seen(checkpoint, 1, whole.log.at)
	for name, e := range map[string]*evidence{
		"T45 no witness":                    whole,
		"T45 a witness whom nobody knows":   tampered(seen(checkpoint, 2, whole.log.at)),
		"T45 the signature of a later time": tampered(strings.Replace(seen(checkpoint, 1, whole.log.at), later(t, signed, 0), later(t, signed, time.Hour), 1)),
		"T45 that of another checkpoint":    tampered(checkpoint + strings.TrimPrefix(seen(whole.log.sign(t, 200), 1, whole.log.at), whole.log.sign(t, 200))),
	} {
		t.Run(name, func(t *testing.T) { e.found(t, verify.Signature, trusted) })
	}
	t.Run("T29 an entry that is younger than the witness's signature", func(t *testing.T) {
		tampered(seen(checkpoint, 1, noon.Add(-2*time.Hour))).found(t, verify.Times, trusted)
	})

	r, err = good.verify(t, trusted)
	if err != nil {
		t.Fatal(err)
	}
	if r.Fresh(whole.log.at.Add(time.Minute), 10*time.Minute); !r.OK() || !slices.Contains(r.Passed(), verify.Freshness) {
		t.Error(r.Text())
	}
	if r.Fresh(whole.log.at.Add(time.Hour), 10*time.Minute); !slices.Contains(r.Failed(), verify.Freshness) || !strings.Contains(r.Text(), "the witness signed at") {
		t.Error(r.Text())
	}
}

// later is the signature on the last line, with its time moved.
func later(t *testing.T, text string, by time.Duration) string {
	t.Helper()
	fields := strings.Fields(text)
	raw, err := base64.StdEncoding.DecodeString(fields[len(fields)-1])
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint64(raw[4:], binary.BigEndian.Uint64(raw[4:])+uint64(by.Seconds())) //nolint:gosec // small
	return base64.StdEncoding.EncodeToString(raw)
}

// A change of what is in a bundle, in a zip that is in order: a checksum does not stand between it and the checks.
func FuzzWhatIsInABundle(f *testing.F) {
	whole := aboutPersons(f)
	genuine := map[string]bool{}
	for _, raw := range whole.log.leaves {
		genuine[string(raw)] = true
	}
	base := &evidence{log: whole.log, manifest: whole.manifest, files: maps.Clone(whole.files)}
	for _, line := range whole.known {
		b, err := json.Marshal(line)
		if err != nil {
			f.Fatal(err)
		}
		base.files[verify.OpeningsFile] = append(append(base.files[verify.OpeningsFile], b...), '\n')
	}
	names := slices.Sorted(maps.Keys(base.files))
	for i := range names {
		f.Add(uint8(i), uint16(40), uint16(1), []byte{'x'})                  //nolint:gosec // a handful
		f.Add(uint8(i), uint16(0), uint16(3), []byte("\x00\x02{}"))          //nolint:gosec // as above
		f.Add(uint8(i), uint16(300), uint16(65535), []byte(nil))             //nolint:gosec // as above
		f.Add(uint8(i), uint16(7), uint16(0), bytes.Repeat([]byte("9"), 40)) //nolint:gosec // as above
	}
	trusted := keys(f)
	f.Fuzz(func(t *testing.T, which uint8, at, gone uint16, put []byte) {
		e := *base
		e.files = maps.Clone(base.files)
		name := names[int(which)%len(names)]
		was := e.files[name]
		from := min(int(at), len(was))
		e.files[name] = slices.Concat(was[:from], put, was[min(from+int(gone), len(was)):])
		b := e.zipped(t)
		r := verify.NewReport()
		_, err := verify.Bundle(r, bytes.NewReader(b), int64(len(b)), verify.Options{Keys: trusted, Each: func(_ int64, raw []byte, _ *leaf.Entry) error {
			if !genuine[string(raw)] {
				t.Errorf("an entry passes that nobody wrote: %s", raw)
			}
			return nil
		}})
		if err == nil && r.OK() && strings.HasPrefix(name, "tile/") && !bytes.Equal(was, e.files[name]) {
			t.Errorf("%s was changed, and all is well:\n%s", name, r.Text())
		}
	})
}
