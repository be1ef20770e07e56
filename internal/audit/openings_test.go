package audit_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/archive"
	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/audit/verify"
)

// openings are of all entries of the log; each that has fields fits its entry.
func (e *era) openings(t *testing.T, log *audit.Log) map[int64]verify.Openings {
	t.Helper()
	out := map[int64]verify.Openings{}
	all, err := audit.Feed(t.Context(), e.Pool, 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for from := int64(0); from < int64(len(all)); from += 100 { // in stretches that are no bundles
		var places []int64
		for i := from; i < from+100; i++ {
			places = append(places, i)
		}
		slices.Reverse(places)
		found, err := log.Openings(t.Context(), places)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range found {
			out[o.Index] = o
		}
	}
	for index, o := range out {
		x, err := leaf.Decode(all[index].Leaf)
		if err != nil || x.ID != o.Entry {
			t.Fatalf("%d is %s, not %s: %v", index, x.ID, o.Entry, err)
		}
		for field, f := range o.Fields {
			if !x.PII[field].Opens(f.Salt, field, f.Value) {
				t.Fatalf("the %s of %d is not what was committed to", field, index)
			}
		}
		if o.Fields != nil && !slices.Equal(slices.Sorted(maps.Keys(o.Fields)), slices.Sorted(maps.Keys(x.PII))) {
			t.Fatalf("%d: %v given, %v recorded", index, o.Fields, x.PII)
		}
	}
	return out
}

func TestWhatCommitmentsAreToIsShownWhereItIsKept(t *testing.T) {
	e := newEra(t, 3, archive.Dir(t.TempDir()))
	const persons = (perMonth - 1) * 3 // all but the heartbeats
	given := e.openings(t, e.log)
	if len(given) != persons {
		t.Fatalf("%d entries are opened, not %d", len(given), persons)
	}
	e.run(t)
	if got := e.states(t); !strings.HasSuffix(got, "detached detached") {
		t.Fatal(got)
	}
	detached := e.openings(t, e.log)
	for index, o := range given {
		if again := detached[index]; !maps.EqualFunc(again.Fields, o.Fields, func(a, b verify.Opening) bool { return a.Value == b.Value && string(a.Salt) == string(b.Salt) }) {
			t.Fatalf("%d was opened as %v, and is %v since its month was detached", index, o, again)
		}
	}

	if _, err := e.erase(t, e.log, "GDPR art. 17, request 4711"); err != nil {
		t.Fatal(err)
	}
	e.sequenceUp(t)
	kept, erased := 0, 0
	for _, o := range e.openings(t, e.log) {
		switch {
		case o.Erased && o.Fields == nil:
			erased++
		case o.Fields["source_ip"].Value == "2001:db8::9":
			kept++
		case o.Fields["email"].Value == someone.Email:
			t.Fatalf("somebody who was erased is shown: %v", o)
		}
	}
	if erased != persons*2/3 || kept != persons/3 {
		t.Errorf("%d are erased and %d kept, of %d", erased, kept, persons)
	}

	// What does not open is not given.
	super(`SET session_replication_role = replica`, `UPDATE audit_subject_keys SET wrapped_key = set_byte(wrapped_key, 20, 255 - get_byte(wrapped_key, 20)) WHERE subject_id = 'usr_other'`)(t, e.scene)
	for _, o := range e.openings(t, e.log) {
		if o.Fields["source_ip"].Value == "2001:db8::9" {
			t.Fatalf("it opens with a damaged key: %v", o)
		}
	}
}

func TestOpeningsOfPlacesThatAreNotSignedAreNone(t *testing.T) {
	r := setUp(t)
	seq := r.sequencer(t, "s")
	if err := r.log.Note(actor.With(t.Context(), someone), audit.Event{Action: "audit.read", ResourceType: "audit"}); err != nil {
		t.Fatal(err)
	}
	settle(t, r, seq, 1)
	for _, places := range [][]int64{nil, {-1}, {1}, {1 << 62}, {-1 << 63, 5}} {
		if found, err := r.log.Openings(t.Context(), places); err != nil || len(found) != 0 {
			t.Errorf("%v: %v, %v", places, found, err)
		}
	}
	if found, err := r.log.Openings(t.Context(), []int64{0, 0, 7}); err != nil || len(found) != 1 {
		t.Errorf("%v, %v", found, err)
	}
}
