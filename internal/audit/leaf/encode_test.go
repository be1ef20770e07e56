package leaf

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// typical is an entry like most.
func typical() Entry {
	salt := bytes.Repeat([]byte{7}, 32)
	return Entry{
		ID: "0198c1a2-7b3c-7def-8123-456789abcdef", Time: time.Date(2026, 3, 1, 12, 34, 56, 123456000, time.UTC),
		Log: "forge.example/audit", Actor: Actor{Type: User, ID: "usr_01j9z3k4m5n6p7q8r9s0t1v2w3", Role: "engineer"},
		Action: "workspace.create", Resource: Resource{Type: "workspace", ID: "ws_01j9z3k4m5n6p7q8r9s0t1v2w3"},
		Result: Refused, Code: "BUDGET_EXCEEDED", Interface: "api", RequestID: "req_01j9z3k4m5n6p7q8r9s0t1v2w3",
		Details: map[string]any{
			"blueprint": "bp_01j9z3k4m5n6p7q8r9s0t1v2w3", "estimate": "43.200000", "hours": int64(720), "spot": false,
			"tags": []any{"gpu", "eu-west-1"}, "budget": map[string]any{"id": "bud_1", "left": "1.000000"},
		},
		PII: map[string]Commitment{
			"email": Commit(salt, "email", "ann@example.com"), "source_ip": Commit(salt, "source_ip", "192.0.2.7"),
			"user_agent": Commit(salt, "user_agent", "forge/1.0"),
		},
		Writer: Writer{ID: "api-7f9c", Boot: "20260301T120000Z-0011223344556677", Seq: 184467},
	}
}

// with is typical with these details.
func with(details map[string]any) Entry {
	e := typical()
	e.Details = details
	return e
}

// normal is the normalisation that Entry describes, written down a second time.
func normal(e Entry) Entry {
	e.Time = e.Time.UTC().Truncate(time.Microsecond)
	for _, s := range []*string{&e.Actor.ID, &e.Actor.Role, &e.Code, &e.RequestID, &e.Resource.ID, &e.Resource.Type} {
		*s = Text(*s)
	}
	if len(e.PII) == 0 {
		e.PII = nil
	}
	if len(e.Details) == 0 {
		e.Details = nil
		return e
	}
	all := normalValue(e.Details, 1).(map[string]any)
	bare := e
	bare.Details = map[string]any{}
	b, err := bare.Encode()
	if err != nil {
		panic(err)
	}
	// The size by hand, without the encoder's own test of it: the member's name and the object.
	whole, err := appendObject(nil, all, 2, bottomless)
	if err != nil {
		panic(err)
	}
	if len(b)+len(`"details":,`)+len(whole) > MaxLeaf {
		t := mustTruncate(e.Details)
		e.Details, e.Truncated = nil, &t
		return e
	}
	e.Details = all
	return e
}

func normalValue(v any, inside int) any {
	switch v := v.(type) {
	case string:
		if len(v) > MaxString {
			return mustTruncate(v)
		}
		if !utf8.ValidString(v) {
			return []byte(v)
		}
		return v
	case []byte:
		if len(v) > MaxString {
			return mustTruncate(v)
		}
		return append([]byte{}, v...)
	case map[string]any:
		if inside+1 > 6 {
			return mustTruncate(v)
		}
		m := map[string]any{}
		for key, x := range v {
			m[key] = normalValue(x, inside+1)
		}
		return m
	case []any:
		if inside+1 > 6 {
			return mustTruncate(v)
		}
		a := []any{}
		for _, x := range v {
			a = append(a, normalValue(x, inside+1))
		}
		return a
	case uint64:
		if v <= math.MaxInt64 {
			return int64(v)
		}
		return v
	}
	return v
}

func mustTruncate(v any) Truncated {
	t, err := Truncate(v)
	if err != nil {
		panic(err)
	}
	return t
}

// The generators aim at what the format treats in a special way.
func anyBytes() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.String(),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 40), func(b []byte) string { return string(b) }),
		rapid.SampledFrom([]string{
			"", "$", "$$", "$b64", "$$b64", "$int", "$trunc", "$k:", "$k:w6k", "é", "e\u0301", "\x00", "\xff", "\xed\xa0\x80",
			"\u2028", "\"", "\\", "\\u0000", "YQ==", "\U0001f600", "\uffff", "\x7f",
		}),
		rapid.Map(rapid.IntRange(4090, 4100), func(n int) string { return strings.Repeat("x", n) }),
		rapid.Map(rapid.IntRange(60, 210), func(n int) string { return strings.Repeat("é\xff", n) }),
	)
}

func anyValue(levels int) *rapid.Generator[any] {
	scalars := []*rapid.Generator[any]{
		rapid.Just(any(nil)), rapid.Bool().AsAny(), anyBytes().AsAny(),
		rapid.Map(anyBytes(), func(s string) any { return []byte(s) }),
		rapid.Int64().AsAny(), rapid.Uint64().AsAny(),
		rapid.SampledFrom([]any{int64(1<<53 - 1), int64(1 << 53), int64(-1<<53 + 1), int64(-1 << 53), uint64(1 << 63), int64(0)}),
		rapid.Map(rapid.Int64Range(1, 1<<53-1), func(n int64) any { return Truncated{Len: n} }),
	}
	if levels == 0 {
		return rapid.OneOf(scalars...)
	}
	return rapid.OneOf(append(scalars,
		rapid.Deferred(func() *rapid.Generator[any] { return anyDetails(levels - 1).AsAny() }),
		rapid.Deferred(func() *rapid.Generator[any] { return rapid.SliceOfN(anyValue(levels-1), 0, 3).AsAny() }),
	)...)
}

func anyDetails(levels int) *rapid.Generator[map[string]any] {
	return rapid.MapOfN(anyBytes(), anyValue(levels), 0, 4)
}

func anyEntry() *rapid.Generator[Entry] {
	return rapid.Custom(func(t *rapid.T) Entry {
		text := anyBytes()
		some := rapid.Map(text, func(s string) string { return s + "x" })
		pii := rapid.MapOfN(rapid.StringMatching(`[a-z0-9_]{1,32}`), rapid.Map(rapid.Byte(), func(b byte) Commitment { return Commitment{b, b, 31: b} }), 0, 4)
		return Entry{
			ID:        rapid.StringMatching(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`).Draw(t, "id"),
			Time:      time.Unix(rapid.Int64Range(0, 253402300799).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).In(time.FixedZone("", rapid.IntRange(-50000, 50000).Draw(t, "zone"))),
			Log:       rapid.StringMatching(`[a-z.]{1,20}/[!#-*,-\[\]-~]{1,20}`).Draw(t, "log"),
			Actor:     Actor{rapid.SampledFrom([]string{User, System, Anonymous}).Draw(t, "type"), some.Draw(t, "actor"), text.Draw(t, "role")},
			Action:    rapid.StringMatching(`[a-z][a-z0-9_]{0,8}(\.[a-z][a-z0-9_]{0,8}){1,4}`).Draw(t, "action"),
			Resource:  Resource{some.Draw(t, "kind"), text.Draw(t, "resource")},
			Result:    rapid.SampledFrom([]Result{Success, Refused, Failed}).Draw(t, "result"),
			Code:      text.Draw(t, "code"),
			Interface: rapid.StringMatching(`[a-z0-9_-]{1,32}`).Draw(t, "interface"),
			RequestID: text.Draw(t, "req"),
			Details:   anyDetails(8).Draw(t, "details"),
			PII:       pii.Draw(t, "pii"),
			Writer:    Writer{rapid.StringMatching(`[!#-\[\]-~]{1,20}`).Draw(t, "w"), rapid.StringMatching(`[!#-\[\]-~]{1,20}`).Draw(t, "b"), rapid.Uint64().Draw(t, "n")},
		}
	})
}

func TestWhatIsEncodedDecodesToItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anyEntry().Draw(t, "entry")
		same(t, encode(t, e), normal(e))
	})
}

func TestTwoEntriesHaveTheSameLeafExactlyWhenTheyAreTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyEntry().Draw(t, "a"), anyEntry().Draw(t, "b")
		// Two random entries differ nearly everywhere; take one member of b into a, so that only that differs.
		mixed := reflect.New(reflect.TypeFor[Entry]()).Elem()
		mixed.Set(reflect.ValueOf(a))
		i := rapid.IntRange(0, mixed.NumField()-1).Draw(t, "member")
		mixed.Field(i).Set(reflect.ValueOf(b).Field(i))
		c := mixed.Interface().(Entry)
		if equal, bytesEqual := cmp.Equal(normal(a), normal(c)), bytes.Equal(encode(t, a), encode(t, c)); equal != bytesEqual {
			t.Fatalf("entries equal: %v, leaves equal: %v", equal, bytesEqual)
		}
	})
}

// Every small combination of names and values that could be taken for one another.
func TestNoTwoDetailsShareALeaf(t *testing.T) {
	names := []string{"", "a", "$", "$$", "$$$", "$b64", "$$b64", "$int", "$trunc", "$k:", "$$k:", "$k:w6k", "$k:_w", "é", "e\u0301", "\xff", "\n", "\"", "len", "sha256", "w6k"}
	marker := Truncated{Len: 3, SHA256: [32]byte{1}}
	long := strings.Repeat("x", MaxString+1)
	values := []any{
		nil, true, false, int64(0), int64(1), int64(1 << 53), uint64(1 << 63), "", "a", "1", "null", "9007199254740992", "YQ==", []byte("a"),
		[]byte{},
		"\xff",
		"\ufffd", []byte("\ufffd"), "é", "e\u0301", marker, long, []byte(long), mustTruncate("short"), mustTruncate([]any{"short"}), `"` + long + `"`,
		fmt.Sprintf("%x", marker.SHA256), nest(9, "x"), nest(8, "x"), nest(9, "y"), strings.Repeat("[", 4000),
	}
	for _, name := range names {
		values = append(values, map[string]any{name: "YQ=="}, map[string]any{name: map[string]any{"len": int64(3), "sha256": fmt.Sprintf("%x", marker.SHA256)}}, []any{name})
	}
	seen := map[string]map[string]any{}
	check := func(details map[string]any) {
		t.Helper()
		want := normal(with(details)).Details
		b := string(encode(t, with(details)))
		if other, ok := seen[b]; ok && !cmp.Equal(other, want) {
			t.Fatalf("one leaf for two details:\n%#v\n%#v", other, want)
		}
		seen[b] = want
	}
	tried := 0
	for _, outer := range names {
		for _, v := range values {
			check(map[string]any{outer: v})
			check(map[string]any{outer: []any{v}})
			check(map[string]any{outer: []any{v, v}})
			check(map[string]any{outer: map[string]any{"a": v}})
			check(map[string]any{outer: v, outer + "a": "a"})
			tried += 5
		}
	}
	t.Logf("%d details, %d leaves", tried, len(seen))
}

func TestEscapedNamesNeverMeet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyBytes().Draw(t, "a"), anyBytes().Draw(t, "b")
		for _, pair := range [][2]string{{a, b}, {a, escapeKey(b)}, {escapeKey(a), b}, {"$" + a, b}, {a, "$k:" + base64.RawURLEncoding.EncodeToString([]byte(b))}} {
			x, y := pair[0], pair[1]
			if (escapeKey(x) == escapeKey(y)) != (x == y) {
				t.Fatalf("%q and %q are both written %q", x, y, escapeKey(x))
			}
			if key, ok := unescapeKey(escapeKey(x)); !ok || key != x {
				t.Fatalf("%q comes back as %q", x, key)
			}
			if name := escapeKey(x); name == "$b64" || name == "$int" || name == "$trunc" || !every(name, plain) {
				t.Fatalf("%q is written %q", x, name)
			}
		}
	})
}

func TestAppendingToOtherLeavesGivesTheSameLeaf(t *testing.T) {
	before := bytes.Repeat([]byte("x"), MaxLeaf)
	for _, v := range vectors(t) {
		b, err := v.entry(t).AppendEncode(slices.Clone(before))
		if want := encode(t, v.entry(t)); err != nil || !bytes.Equal(b, append(slices.Clone(before), want...)) {
			t.Errorf("%s: %v, %s", v.Name, err, b[min(len(b), MaxLeaf):])
		}
	}
}

func TestConvenientGoTypesAreWrittenLikePlainOnes(t *testing.T) {
	type word string
	for _, c := range []struct{ given, plain any }{
		{word("x"), "x"},
		{word("\xff"), []byte{255}},
		{[]string{"a", "b"}, []any{"a", "b"}},
		{[]string(nil), []any{}},
		{map[string]string{"é": "b"}, map[string]any{"é": "b"}},
		{map[string]any(nil), map[string]any{}},
		{[]any(nil), []any{}},
		{[]byte(nil), []byte{}},
		{int8(-3), int64(-3)},
		{int16(-3), int64(-3)},
		{int32(-3), int64(-3)},
		{-3, int64(-3)},
		{uint8(3), int64(3)},
		{uint16(3), int64(3)},
		{uint32(3), int64(3)},
		{uint(3), int64(3)},
		{uint64(1) << 62, int64(1) << 62},
	} {
		b := encode(t, with(map[string]any{"v": c.given}))
		if want := encode(t, with(map[string]any{"v": c.plain})); !bytes.Equal(b, want) {
			t.Errorf("%#v:\n got %s\nwant %s", c.given, b, want)
		}
		same(t, b, with(map[string]any{"v": c.plain}))
	}
}

func TestAMistakeOfTheProgramIsAnErrorThatSaysWhere(t *testing.T) {
	self := map[string]any{}
	self["self"] = []any{self}
	for _, c := range []struct {
		rule Rule
		path string
		edit func(*Entry)
	}{
		{Value, "action", func(e *Entry) { e.Action = "" }},
		{Value, "action", func(e *Entry) { e.Action = "create" }},
		{Value, "action", func(e *Entry) { e.Action = "workspace." }},
		{Value, "action", func(e *Entry) { e.Action = ".create" }},
		{Value, "action", func(e *Entry) { e.Action = "workspace..create" }},
		{Value, "action", func(e *Entry) { e.Action = "workspace.1st" }},
		{Value, "action", func(e *Entry) { e.Action = "workspace._x" }},
		{Value, "action", func(e *Entry) { e.Action = "Workspace.create" }},
		{Value, "action", func(e *Entry) { e.Action = "a." + strings.Repeat("b", 99) }},
		{Value, "actor.type", func(e *Entry) { e.Actor.Type = "robot" }},
		{Value, "actor.id", func(e *Entry) { e.Actor.ID = "" }},
		{BadID, "id", func(e *Entry) { e.ID = "" }},
		{BadID, "id", func(e *Entry) { e.ID = strings.ToUpper(e.ID) }},
		{BadID, "id", func(e *Entry) { e.ID = strings.Replace(e.ID, "-7d", "-4d", 1) }},
		{BadID, "id", func(e *Entry) { e.ID = strings.Replace(e.ID, "-8", "-c", 1) }},
		{BadID, "id", func(e *Entry) { e.ID = strings.Replace(e.ID, "-4", "a4", 1) }},
		{Value, "interface", func(e *Entry) { e.Interface = "" }},
		{Value, "interface", func(e *Entry) { e.Interface = "API" }},
		{Value, "interface", func(e *Entry) { e.Interface = strings.Repeat("a", 33) }},
		{Value, "log", func(e *Entry) { e.Log = "" }},
		{Value, "log", func(e *Entry) { e.Log = "forge example" }},
		{Value, "log", func(e *Entry) { e.Log = "a+b" }},
		{Value, "log", func(e *Entry) { e.Log = strings.Repeat("a", 201) }},
		{KeyForm, "pii", func(e *Entry) { e.PII = map[string]Commitment{"E-mail": {}} }},
		{KeyForm, "pii", func(e *Entry) { e.PII = map[string]Commitment{"": {}} }},
		{TooLong, "pii", func(e *Entry) {
			for i := range 33 {
				e.PII[fmt.Sprint(i)] = Commitment{}
			}
		}},
		{Value, "resource.type", func(e *Entry) { e.Resource.Type = "" }},
		{Value, "result", func(e *Entry) { e.Result = "ok" }},
		{BadTime, "ts", func(e *Entry) { e.Time = time.Time{} }},
		{BadTime, "ts", func(e *Entry) { e.Time = time.Unix(-1, 999999999) }},
		{BadTime, "ts", func(e *Entry) { e.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }},
		{BadTime, "ts", func(e *Entry) { e.Time = time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("", -7200)) }},
		{Value, "w.b", func(e *Entry) { e.Writer.Boot = "" }},
		{Value, "w.id", func(e *Entry) { e.Writer.ID = "é" }},
		{Type, "details.a", func(e *Entry) { e.Details["a"] = 1.5 }},
		{Type, "details.a", func(e *Entry) { e.Details["a"] = float32(1) }},
		{Type, "details.a", func(e *Entry) { e.Details["a"] = math.NaN() }},
		{Type, "details.a", func(e *Entry) { e.Details["a"] = time.Second }},
		{Type, "details.a[1].b", func(e *Entry) { e.Details["a"] = []any{1, map[string]any{"b": struct{}{}}} }},
		{Type, "details.a[0][0][0][0]", func(e *Entry) { e.Details["a"] = nest(9, 1.5) }},
		{Depth, "details.a.self[0].self[0]", func(e *Entry) { e.Details["a"] = self }},
		{Marker, "details.a", func(e *Entry) { e.Details["a"] = Truncated{} }},
		{Marker, "details", func(e *Entry) { e.Truncated = &Truncated{Len: 2} }},
		{Marker, "details", func(e *Entry) { e.Details, e.Truncated = nil, &Truncated{Len: 1 << 53} }},
	} {
		e := typical()
		c.edit(&e)
		b, err := e.AppendEncode([]byte("before"))
		var got *Error
		if !errors.As(err, &got) || !errors.Is(err, c.rule) || got.Path != c.path || got.Offset != -1 || string(b) != "before" {
			t.Errorf("%q, %v; want %q in %q", b, err, c.rule, c.path)
		}
	}
}

func TestTextIsUTF8NoLongerThanAllowedAndStaysSo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyBytes().Draw(t, "s")
		got := Text(s)
		if !utf8.ValidString(got) || len(got) > MaxText || Text(got) != got || (got == "") != (s == "") {
			t.Fatalf("%q becomes %q", s, got)
		}
		if utf8.ValidString(s) && len(s) <= MaxText && got != s {
			t.Fatalf("%q becomes %q", s, got)
		}
	})
	a, b := Text(strings.Repeat("a", 1000)+"1"), Text(strings.Repeat("a", 1000)+"2")
	if a == b || len(a) != MaxText {
		t.Errorf("cut texts are told apart by the hash at their end: %q, %q", a, b)
	}
}
