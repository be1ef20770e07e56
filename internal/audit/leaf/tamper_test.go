package leaf

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gowebpki/jcs"
)

// These are the cases of the audit log's tamper table that concern the encoding, T37 to T42.

// T37: what strangers send is written in some form, wherever it stands, and changes nothing else.
func TestT37HostileInputIsStillWritten(t *testing.T) {
	for name, hostile := range map[string]string{
		"NUL": "a\x00b", "invalid UTF-8": "a\xff\xc0\xafb", "lone surrogate": "\xed\xa0\x80", "overlong": "\xe0\x80\xaf",
		"one megabyte": strings.Repeat("0123456789abcdef", 1<<16), "one megabyte of nothing": strings.Repeat("\x00", 1<<20),
		"one megabyte of garbage": strings.Repeat("\xff", 1<<20), "JSON": `","result":"success","x":"`, "marker": `{"$b64":"YQ=="}`,
	} {
		t.Run(name, func(t *testing.T) {
			e := typical()
			e.Actor.ID, e.Actor.Role, e.Code, e.RequestID = hostile, hostile, hostile, hostile
			e.Resource = Resource{Type: "workspace", ID: hostile}
			e.Details = map[string]any{"value": hostile, "list": []any{hostile}, "bytes": []byte(hostile), "inner": map[string]any{"v": hostile}}
			e.PII["email"] = Commit(bytes.Repeat([]byte{1}, 16), "email", hostile)
			want := normal(e)
			same(t, encode(t, e), want)
			if want.Truncated != nil {
				t.Error("details were lost although only their values were large")
			}
			e.Details = map[string]any{hostile: hostile}
			same(t, encode(t, e), normal(e))
			b := encode(t, e)
			if bytes.Count(b, []byte(`"result":`)) != 1 || !bytes.Contains(b, []byte(`"result":"refused"`)) {
				t.Errorf("the result was forged: %s", b)
			}
		})
	}
}

// Decoded from JSON that someone sent: as deep as encoding/json goes.
func TestT37DepthNeverFails(t *testing.T) {
	for _, text := range []string{strings.Repeat("[", 9999) + strings.Repeat("]", 9999), strings.Repeat(`{"$":`, 9999) + `"x"` + strings.Repeat("}", 9999)} {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		e := with(map[string]any{"sent": v})
		same(t, encode(t, e), normal(e))
	}
}

// T38: other spellings of the same JSON are refused, and hash otherwise.
func TestT38OtherSpellingsOfALeafAreRefused(t *testing.T) {
	e := with(map[string]any{"a": int64(1), "b": "x/y", "c": []any{true}})
	b := encode(t, e)
	var indented bytes.Buffer
	if err := json.Indent(&indented, b, "", " "); err != nil {
		t.Fatal(err)
	}
	replace := func(old, new string) []byte { return bytes.Replace(b, []byte(old), []byte(new), 1) }
	for name, c := range map[string]struct {
		b    []byte
		rule Rule
	}{
		"white space":    {indented.Bytes(), Whitespace},
		"order":          {replace(`"a":1,"b":"x/y"`, `"b":"x/y","a":1`), KeyOrder},
		"twice":          {replace(`"a":1`, `"a":1,"a":1`), DuplicateKey},
		"last one wins":  {replace(`"v":1`, `"v":1,"v":1`), DuplicateKey},
		"fraction":       {replace(`"a":1`, `"a":1.0`), Number},
		"exponent":       {replace(`"a":1`, `"a":1e0`), Number},
		"slash":          {replace(`x/y`, `x\/y`), Escape},
		"escaped letter": {replace(`x/y`, `\u0078/y`), Escape},
	} {
		if bytes.Equal(c.b, b) {
			t.Fatalf("%s: not changed", name)
		}
		// Each says the same to a common reader, so only strictness tells it from the leaf.
		if canonical, err := jcs.Transform(c.b); err == nil && !bytes.Equal(canonical, b) {
			t.Errorf("%s: is another entry, not another spelling", name)
		}
		if _, err := Decode(c.b); !errors.Is(err, c.rule) {
			t.Errorf("%s: %v; want %q", name, err, c.rule)
		}
		if Hash(c.b) == Hash(b) {
			t.Errorf("%s: the same hash", name)
		}
	}
}

// T39: times are cut once, towards the past, and only real ones can be written.
func TestT39TimesAreCutAndNeverRounded(t *testing.T) {
	east := time.FixedZone("", 14*3600)
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{time.Date(2026, 12, 31, 23, 59, 59, 999999600, time.UTC), "2026-12-31T23:59:59.999999Z"},
		{time.Date(2026, 12, 31, 23, 59, 59, 999999999, time.UTC), "2026-12-31T23:59:59.999999Z"},
		{time.Date(2026, 1, 1, 0, 0, 0, 999, time.UTC), "2026-01-01T00:00:00.000000Z"},
		{time.Date(2026, 1, 1, 13, 59, 59, 0, east), "2025-12-31T23:59:59.000000Z"},
		{time.Date(2016, 12, 31, 23, 59, 60, 0, time.UTC), "2017-01-01T00:00:00.000000Z"}, // Go has no leap seconds
		{time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC), "2024-02-29T00:00:00.000000Z"},
	} {
		e := typical()
		e.Time = c.at
		b := encode(t, e)
		if !bytes.Contains(b, []byte(`"ts":"`+c.want+`"`)) {
			t.Errorf("%v: %s", c.at, b)
		}
		e.Time = c.at.UTC().Truncate(time.Microsecond) // what a column of microseconds holds
		same(t, b, e)
	}
	for _, at := range []time.Time{{}, time.Unix(math.MaxInt64, 0), time.Unix(-1<<60, 0)} { // infinity, of a kind
		e := typical()
		e.Time = at
		if b, err := e.Encode(); !errors.Is(err, BadTime) {
			t.Errorf("%v: %s, %v", at, b, err)
		}
	}
}

// T40: 65,535 bytes are a leaf; with one more, details give way and nothing else does.
func TestT40ALeafNeverOutgrowsItsLength(t *testing.T) {
	e := with(map[string]any{})
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o"} {
		e.Details[name] = strings.Repeat("x", MaxString)
	}
	e.Details["z"] = ""
	fill := 65535 - len(encode(t, e))
	e.Details["z"] = strings.Repeat("z", fill)
	full := encode(t, e)
	if len(full) != 65535 {
		t.Fatalf("%d bytes", len(full))
	}
	same(t, full, e)

	e.Details["z"] = strings.Repeat("z", fill+1)
	b := encode(t, e)
	want := typical()
	tr := mustTruncate(e.Details)
	want.Details, want.Truncated = nil, &tr
	same(t, b, want)
	canonical, err := jcs.Transform([]byte(strings.ReplaceAll(mustJSON(t, e.Details), " ", "")))
	if err != nil || tr.Len != int64(len(canonical)) || tr.SHA256 != sha256.Sum256(canonical) {
		t.Errorf("the marker is not of the canonical details: %+v", tr)
	}
	e.Details["z"] = strings.Repeat("y", fill+1)
	if bytes.Equal(encode(t, e), b) {
		t.Error("other details, the same leaf")
	}
	if _, err := Decode(append(slices.Clone(full), ' ')); !errors.Is(err, TooLarge) {
		t.Errorf("65,536 bytes: %v", err)
	}
}

// Without details a leaf is far below the limit, whatever its other members are.
func TestT40EverythingButDetailsIsBounded(t *testing.T) {
	nul := strings.Repeat("\x00", MaxText)
	e := Entry{
		ID: typical().ID, Time: typical().Time, Log: strings.Repeat("l", MaxText), Actor: Actor{User, nul, nul},
		Action: "a." + strings.Repeat("b", MaxAction-2), Resource: Resource{nul, nul}, Result: Success, Code: nul,
		Interface: strings.Repeat("i", 32), RequestID: nul, Details: map[string]any{strings.Repeat("k", 1<<20): "x"},
		PII: map[string]Commitment{}, Writer: Writer{strings.Repeat("w", MaxText), strings.Repeat("b", MaxText), math.MaxUint64},
	}
	for i := range MaxPII {
		e.PII[strings.Repeat("f", 30)+string(rune('a'+i/26))+string(rune('a'+i%26))] = Commitment{}
	}
	b := encode(t, e)
	same(t, b, normal(e))
	if len(b) > MaxLeaf/4 {
		t.Errorf("%d bytes", len(b))
	}
	if cap(b) > 4*MaxLeaf {
		t.Errorf("the leaf holds on to %d bytes", cap(b))
	}
}

// T41: a leaf cannot stand for an inner node of the tree, nor the other way round.
func TestT41ALeafIsNoInnerNode(t *testing.T) {
	left, right := Hash([]byte("left")), Hash([]byte("right"))
	preimage := slices.Concat([]byte{1}, left[:], right[:])
	if len(preimage) != 65 {
		t.Fatal(len(preimage))
	}
	if node := sha256.Sum256(preimage); Hash(preimage) == node || Hash(preimage[1:]) == node {
		t.Error("the hash of a leaf is that of a node")
	}
	if _, err := Decode(preimage); !errors.Is(err, Syntax) {
		t.Errorf("the preimage decodes: %v", err)
	}
}

// T42: the log is part of the leaf, so an entry of another log is another entry with another hash and MAC.
func TestT42ALeafNamesItsLog(t *testing.T) {
	staging, production := typical(), typical()
	staging.Log, production.Log = "staging.forge.example/audit", "forge.example/audit"
	a, b := encode(t, staging), encode(t, production)
	got, err := Decode(a)
	if err != nil || got.Log != staging.Log {
		t.Errorf("%q, %v", got.Log, err)
	}
	key := WriterKey(master(), "w", "b")
	mac := MAC(key, a)
	if Hash(a) == Hash(b) || VerifyMAC(key, b, mac[:]) {
		t.Error("an entry of one log passes as one of the other")
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
