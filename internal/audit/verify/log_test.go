package verify_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/audit/verify"
)

func TestAnUntouchedLogPasses(t *testing.T) {
	for _, n := range []int{1, 255, 256, 257, 700} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			m := newMemory(t, n)
			m.beat(t, true)
			size := int64(len(m.leaves))
			var signed []string
			for s := int64(1); s <= size; s += 7 {
				signed = append(signed, m.sign(t, s))
			}
			var seen int64
			r := look(t, m.files(t), func(o *verify.Options) {
				o.Pinned, o.Signed = []string{m.sign(t, 1), m.sign(t, size)}, all(signed...)
				o.Each = func(index int64, raw []byte, _ *leaf.Entry) error {
					if index != seen || !slices.Equal(raw, m.leaves[index]) {
						t.Errorf("entry %d came as %d", index, seen)
					}
					seen++
					return nil
				}
			})
			if !r.OK() || seen != size || r.Entries != size || len(r.Notes) != 0 {
				t.Errorf("%d of %d entries:\n%s", seen, size, r.Text())
			}
			want := []verify.Check{verify.Signature, verify.History, verify.Tiles, verify.Leaves, verify.Coverage, verify.Content, verify.Heartbeats, verify.Times}
			if !slices.Equal(r.Passed(), want) {
				t.Errorf("passed %v", r.Passed())
			}
		})
	}
}

func TestAStretchPassesWhereverItBegins(t *testing.T) {
	m := newMemory(t, 700)
	f := m.files(t)
	for first := int64(0); first < 60; first++ {
		for _, behind := range []int64{first, first + 1, 256, 300, 512, 700} {
			r := look(t, f, func(o *verify.Options) { o.First, o.Behind = first, behind })
			if first > 0 && behind > first && !r.OK() {
				t.Fatalf("from %d up to %d:\n%s", first, behind, r.Text())
			}
		}
	}
}

// Each case damages a log in one way: only the check that is named may find it, and nothing may when that is off. But
// who believes a checkpoint whatever its signature finds that the log is not what it says.
func TestEachCheckFindsWhatNoOtherDoes(t *testing.T) {
	const n = 600
	type log struct {
		m *memory
		f files
		o verify.Options
	}
	for _, c := range []struct {
		name   string
		check  verify.Check
		index  int64
		damage func(t *testing.T, l *log)
	}{
		{"no checkpoint", verify.Signature, -1, func(_ *testing.T, l *log) { delete(l.f, "checkpoint") }},
		{"an edited size", verify.Signature, -1, func(_ *testing.T, l *log) {
			l.f["checkpoint"] = []byte(strings.Replace(string(l.f["checkpoint"]), "\n609\n", "\n608\n", 1))
		}},
		{"another log's name", verify.Signature, -1, func(_ *testing.T, l *log) {
			l.f["checkpoint"] = []byte(strings.Replace(string(l.f["checkpoint"]), origin+"\n", "other.forge/audit\n", 1))
		}},
		{"a kept checkpoint of another key", verify.Signature, -1, func(t *testing.T, l *log) {
			l.o.Signed = all(strings.Replace(l.m.sign(t, 5), "\n5\n", "\n6\n", 1))
		}},
		{"an older log than was pinned", verify.History, -1, func(t *testing.T, l *log) {
			l.o.Pinned = []string{l.m.sign(t, int64(len(l.m.leaves)))}
			l.m.leaves = l.m.leaves[:300]
			l.m.hashes = l.m.hashes[:tlog.StoredHashCount(300)]
			l.f = l.m.files(t)
		}},
		{"another past than was pinned", verify.History, -1, func(t *testing.T, l *log) {
			l.o.Pinned = []string{other(t, n).sign(t, 300)}
		}},
		{"another past than was signed", verify.History, -1, func(t *testing.T, l *log) {
			l.o.Signed = all(l.m.sign(t, 5), other(t, n).sign(t, 300), l.m.sign(t, 301))
		}},
		{"two roots for one size", verify.History, -1, func(t *testing.T, l *log) {
			l.o.Signed = all(l.m.sign(t, 300), other(t, n).sign(t, 300))
		}},
		{"a later checkpoint was kept", verify.History, -1, func(t *testing.T, l *log) {
			l.m.write(t, false)
			l.o.Signed = all(l.m.sign(t, int64(len(l.m.leaves))))
		}},
		{"a flipped bit in a tile of leaves", verify.Tiles, 0, func(_ *testing.T, l *log) { l.f["tile/0/000"][77] ^= 4 }},
		{"a flipped bit in a tile above", verify.Tiles, 0, func(_ *testing.T, l *log) { l.f["tile/1/000.p/2"][3] ^= 4 }},
		{"a missing tile", verify.Tiles, 256, func(_ *testing.T, l *log) { delete(l.f, "tile/0/001") }},
		{"two tiles exchanged", verify.Tiles, 0, func(_ *testing.T, l *log) {
			l.f["tile/0/000"], l.f["tile/0/001"] = l.f["tile/0/001"], l.f["tile/0/000"]
		}},
		{"a tile cut off", verify.Tiles, 0, func(_ *testing.T, l *log) { l.f["tile/0/000"] = l.f["tile/0/000"][:8160] }},
		{"a leaf changed", verify.Leaves, 3, func(_ *testing.T, l *log) {
			l.m.leaves[3] = []byte(strings.Replace(string(l.m.leaves[3]), `"id":"ws_4"`, `"id":"ws_9"`, 1))
			l.f["tile/entries/000"] = bundle(l.m.leaves[:256])
		}},
		{"two leaves exchanged", verify.Leaves, 3, func(_ *testing.T, l *log) {
			l.m.leaves[3], l.m.leaves[4] = l.m.leaves[4], l.m.leaves[3]
			l.f["tile/entries/000"] = bundle(l.m.leaves[:256])
		}},
		{"two bundles exchanged", verify.Leaves, 0, func(_ *testing.T, l *log) {
			l.f["tile/entries/000"], l.f["tile/entries/001"] = l.f["tile/entries/001"], l.f["tile/entries/000"]
		}},
		{"a missing bundle", verify.Coverage, 256, func(_ *testing.T, l *log) { delete(l.f, "tile/entries/001") }},
		{"a bundle with an entry less", verify.Coverage, 0, func(_ *testing.T, l *log) { l.f["tile/entries/000"] = bundle(l.m.leaves[:255]) }},
		{"a bundle cut off", verify.Coverage, 255, func(_ *testing.T, l *log) {
			l.f["tile/entries/000"] = l.f["tile/entries/000"][:len(l.f["tile/entries/000"])-1]
		}},
		{"an entry twice", verify.Coverage, -2, func(t *testing.T, l *log) {
			l.m.write(t, false, func(e *leaf.Entry) { e.ID = "01934000-0000-7000-8000-000000000003" })
			l.f = l.m.files(t)
		}},
		{"an entry of another log", verify.Content, -2, func(t *testing.T, l *log) {
			l.m.write(t, false, func(e *leaf.Entry) { e.Log = "staging.forge/audit" })
			l.f = l.m.files(t)
		}},
		{"a leaf with white space", verify.Content, -2, func(t *testing.T, l *log) {
			l.m.place(t, []byte(strings.Replace(string(l.m.leaves[0]), `{"action"`, `{ "action"`, 1)))
			l.f = l.m.files(t)
		}},
		{"a leaf with a member twice", verify.Content, -2, func(t *testing.T, l *log) {
			l.m.place(t, []byte(strings.Replace(string(l.m.leaves[0]), `"v":1,`, `"v":1,"v":1,`, 1)))
			l.f = l.m.files(t)
		}},
		{"a leaf with a number in another form", verify.Content, -2, func(t *testing.T, l *log) {
			l.m.place(t, []byte(strings.Replace(string(l.m.leaves[0]), `"v":1,`, `"v":1.0,`, 1)))
			l.f = l.m.files(t)
		}},
		{"a leaf like a node of the tree", verify.Content, -2, func(t *testing.T, l *log) {
			l.m.place(t, append([]byte{1}, l.f["tile/0/000"][:64]...))
			l.f = l.m.files(t)
		}},
		{"an entry that vanished before it came into the tree", verify.Heartbeats, -2, func(t *testing.T, l *log) {
			l.m.write(t, true)
			l.m.beat(t, false)
			l.f = l.m.files(t)
		}},
		{"an entry that was changed before it came into the tree", verify.Heartbeats, -2, func(t *testing.T, l *log) {
			l.m.write(t, true)
			l.m.seq--
			raw, err := l.m.entry(func(e *leaf.Entry) { e.Resource.ID = "ws_other" }).Encode()
			if err != nil {
				t.Fatal(err)
			}
			l.m.place(t, raw)
			l.m.beat(t, false)
			l.f = l.m.files(t)
		}},
		{"a heartbeat left out", verify.Heartbeats, -2, func(t *testing.T, l *log) {
			l.m.write(t, false)
			l.m.told, l.m.since = l.m.seq, nil
			l.m.write(t, false)
			l.m.beat(t, false)
			l.f = l.m.files(t)
		}},
		{"a number given twice", verify.Heartbeats, -2, func(t *testing.T, l *log) {
			l.m.write(t, false, func(e *leaf.Entry) { e.Writer.Seq-- })
			l.f = l.m.files(t)
		}},
		{"an entry that no heartbeat counted", verify.Heartbeats, -2, func(t *testing.T, l *log) {
			l.m.write(t, false, func(e *leaf.Entry) { e.Writer.Seq = 2 })
			l.f = l.m.files(t)
		}},
		{"a heartbeat that says nothing", verify.Heartbeats, -2, func(t *testing.T, l *log) {
			l.m.write(t, false, func(e *leaf.Entry) {
				e.Action, e.Actor = verify.HeartbeatAction, leaf.Actor{Type: leaf.System, ID: "system:audit"}
			})
			l.f = l.m.files(t)
		}},
		{"a backdated entry", verify.Times, -2, func(t *testing.T, l *log) {
			l.m.write(t, false, func(e *leaf.Entry) { e.Time = e.Time.Add(-2 * time.Hour) })
			l.f = l.m.files(t)
		}},
		{"an entry two hours ahead", verify.Times, -3, func(t *testing.T, l *log) {
			l.m.write(t, false, func(e *leaf.Entry) { e.Time = e.Time.Add(2 * time.Hour) })
			l.m.write(t, false)
			l.f = l.m.files(t)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &log{m: newMemory(t, n)}
			l.f = l.m.files(t)
			c.damage(t, l)
			l.o.Keys = keys(t)
			r := lookWithout(t, l.f, l.o)
			if got := r.Failed(); !slices.Equal(got, []verify.Check{c.check}) {
				t.Fatalf("found by %v, want %s:\n%s", got, c.check, r.Text())
			}
			want := c.index
			if want < -1 {
				want += int64(len(l.m.leaves)) + 1
			}
			if f := r.Failures[0]; f.Index != want || f.Meaning != c.check.Meaning() || f.Meaning == "" {
				t.Errorf("found at %d, want %d: %s", f.Index, want, f)
			}
			r = lookWithout(t, l.f, l.o, c.check)
			if alone := c.check != verify.Signature; slices.Contains(r.Failed(), c.check) || alone && !r.OK() {
				t.Errorf("without %s it is found by %v", c.check, r.Failed())
			}
		})
	}
}

// other is a log whose entries are of another person.
func other(t *testing.T, n int) *memory {
	t.Helper()
	m := &memory{at: noon}
	for range n {
		m.write(t, false, func(e *leaf.Entry) { e.Actor.ID = "usr_other" })
	}
	return m
}

func TestAnEntryThatCameLateSatisfiesTheHeartbeatThatMissedIt(t *testing.T) {
	m := newMemory(t, 30)
	m.write(t, true)
	m.seq--
	raw, err := m.entry().Encode()
	if err != nil {
		t.Fatal(err)
	}
	m.beat(t, false)
	m.place(t, raw)
	m.beat(t, true)
	if r := look(t, m.files(t)); !r.OK() {
		t.Error(r.Text())
	}
}

func TestAServerThatEndedWithoutAWordIsNoted(t *testing.T) {
	m := newMemory(t, 30)
	m.at = m.at.Add(time.Hour)
	m.write(t, false, func(e *leaf.Entry) { e.Writer = leaf.Writer{ID: "server-2", Boot: "boot-2", Seq: 1} })
	r := look(t, m.files(t))
	if !r.OK() || len(r.Notes) != 2 || !strings.Contains(strings.Join(r.Notes, " "), "1 server processes ended without a last heartbeat") {
		t.Error(r.Text())
	}
}

func TestASourceThatBreaksIsNoFindingOfTheLog(t *testing.T) {
	f := newMemory(t, 300).files(t)
	for path := range f {
		err := verify.Log(verify.NewReport(), verify.Files(func(p string, limit int) ([]byte, error) {
			if p == path {
				return nil, fmt.Errorf("the line is down")
			}
			return f.read(p, limit)
		}), verify.Options{Keys: keys(t)})
		if err == nil {
			t.Errorf("%s could not be read, and nobody said so", path)
		}
	}
}
