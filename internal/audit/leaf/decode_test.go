package leaf

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// forgery is a change to the leaf of typical, with details {"d":null}, that makes it no leaf: the first old becomes new,
// which breaks the rule in the member at path, at the byte where at stands.
type forgery struct {
	name, old, new string
	rule           Rule
	path, at       string
}

func forgeries() []forgery {
	value := func(name, v string, rule Rule, path, at string) forgery {
		return forgery{name, `"d":null`, `"d":` + v, rule, path, at}
	}
	sum := strings.Repeat("ab", 32)
	trunc := `{"$trunc":{"len":5,"sha256":"` + sum + `"}}`
	return []forgery{
		{"space", `{"action":`, `{"action": `, Whitespace, "action", " "},
		{"line end after comma", `,"actor"`, ",\n\"actor\"", Whitespace, "", "\n"},
		{"space before the end", `"}}`, `"} }`, Whitespace, "", " "},
		{"line end at the end", `"184467"}}`, `"184467"}}` + "\n", Trailing, "", "\n"},
		{"a second leaf", `"184467"}}`, `"184467"}}{`, Trailing, "", "{"},
		{"byte order mark", `{"action"`, "\ufeff" + `{"action"`, Syntax, "", "\ufeff"},
		{"an array", `{"action"`, `["action"`, Syntax, "", "["},
		{"cut off", `"184467"}}`, `"184467"`, Syntax, "w", ""},
		{"cut off in a string", `"184467"}}`, `"1844`, Syntax, "w.n", ""},
		{"cut off in a name", `"n":"184467"}}`, `"n`, Syntax, "w", ""},
		{"comma too many", `"v":1,`, `"v":1,,`, Syntax, "", `,"w"`},
		{"comma at the end", `"184467"}`, `"184467",}`, Syntax, "w", "}"},
		{"comma at the start", `{"action"`, `{,"action"`, Syntax, "", `,"action"`},
		{"no colon", `"v":1`, `"v"1`, Syntax, "v", "1"},
		{"unknown member", `,"ts":`, `,"tenant":"x","ts":`, UnknownKey, "tenant", `"tenant"`},
		{"unknown member of the actor", `"role":`, `"name":"x","role":`, UnknownKey, "actor.name", `"name"`},
		{"member in capitals", `"action":`, `"Action":`, UnknownKey, "Action", `"Action"`},
		{"member twice", `,"v":1`, `,"v":1,"v":1`, DuplicateKey, "v", `"v":1,"w"`},
		{"member twice, apart", `,"v":1`, `,"ts":"x","v":1`, DuplicateKey, "ts", `"ts":"x"`},
		{"member twice, far apart", `,"v":1`, `,"action":"x","v":1`, DuplicateKey, "action", `"action":"x"`},
		{"details' member twice", `"d":null`, `"d":null,"d":null`, DuplicateKey, "details.d", `"d":null}`},
		{"order of members", `,"ts":"2026-03-01T12:34:56.123456Z","v":1`, `,"v":1,"ts":"2026-03-01T12:34:56.123456Z"`, KeyOrder, "ts", `"ts"`},
		{"order in details", `"d":null`, `"e":null,"d":null`, KeyOrder, "details.d", `"d":null`},
		{"order in pii", `"pii":{`, `"pii":{"zip":"c1:` + strings.Repeat("A", 43) + `=",`, KeyOrder, "pii.email", `"email"`},
		{"no version", `,"v":1`, ``, MissingKey, "v", `{"action"`},
		{"no actor id", `"id":"usr_01j9z3k4m5n6p7q8r9s0t1v2w3",`, ``, MissingKey, "actor.id", `{"role"`},
		{"empty role", `"role":"engineer"`, `"role":""`, Empty, "actor.role", `""`},
		{"empty request", `"req":"req_01j9z3k4m5n6p7q8r9s0t1v2w3"`, `"req":""`, Empty, "req", `""`},
		{"empty details", `{"d":null}`, `{}`, Empty, "details", `{}`},
		{"no pii", `"pii":{`, `"pii":{},"pii":{`, Empty, "pii", `{}`},
		{"null for left out", `"req":"req_01j9z3k4m5n6p7q8r9s0t1v2w3"`, `"req":null`, Syntax, "req", `null`},
		{"action", `workspace.create`, `create`, Value, "action", `"create"`},
		{"actor type", `"type":"user"`, `"type":"root"`, Value, "actor.type", `"root"`},
		{"interface", `"api"`, `"API"`, Value, "interface", `"API"`},
		{"log", `"forge.example/audit"`, `"forge example"`, Value, "log", `"forge`},
		{"result", `"refused"`, `"denied"`, Value, "result", `"denied"`},
		{"writer", `"api-7f9c"`, `""`, Value, "w.id", `""`},
		{"long text", `"BUDGET_EXCEEDED"`, `"` + strings.Repeat("x", 201) + `"`, TooLong, "code", `"x`},
		{"id in capitals", `456789abcdef`, `456789ABCDEF`, BadID, "id", `"0198`},
		{"id of version 4", `-7def-`, `-4def-`, BadID, "id", `"0198`},
		{"milliseconds", `56.123456Z`, `56.123Z`, BadTime, "ts", `"2026`},
		{"nanoseconds", `56.123456Z`, `56.123456789Z`, BadTime, "ts", `"2026`},
		{"comma in the seconds", `56.123456Z`, `56,123456Z`, BadTime, "ts", `"2026`},
		{"zone", `56.123456Z`, `56.123456+00:00`, BadTime, "ts", `"2026`},
		{"lower-case zone", `56.123456Z`, `56.123456z`, BadTime, "ts", `"2026`},
		{"leap second", `12:34:56.`, `23:59:60.`, BadTime, "ts", `"2026`},
		{"hour 24", `12:34:56.`, `24:00:00.`, BadTime, "ts", `"2026`},
		{"no such day", `2026-03-01`, `2026-02-29`, BadTime, "ts", `"2026`},
		{"before 1970", `2026-03-01`, `1969-12-31`, BadTime, "ts", `"1969`},
		{"infinity", `2026-03-01T12:34:56.123456Z`, `infinity`, BadTime, "ts", `"inf`},
		{"version 2", `"v":1`, `"v":2`, Version, "v", `2`},
		{"version 1.0", `"v":1`, `"v":1.0`, Number, "v", `1.0`},
		{"version as text", `"v":1`, `"v":"1"`, Syntax, "v", `"1"`},
		{"sequence with a zero in front", `"184467"`, `"0184467"`, Number, "w.n", `"01`},
		{"sequence with a plus", `"184467"`, `"+184467"`, Number, "w.n", `"+1`},
		{"sequence of 65 bits", `"184467"`, `"18446744073709551616"`, Number, "w.n", `"18`},
		{"sequence as number", `"184467"`, `184467`, Syntax, "w.n", `18`},
		{"escaped slash", `forge.example/`, `forge.example\/`, Escape, "log", `\/`},
		{"escaped letter", `workspace.create`, `\u0077orkspace.create`, Escape, "action", `\u0077`},
		{"escape in a name", `"action"`, `"\u0061ction"`, KeyForm, "", `\u0061`},
		{"name not ASCII", `"d":null`, `"é":null`, KeyForm, "details", "é"},
		{"name with a single dollar", `"d":null`, `"$d":null`, KeyForm, "details.$d", `null`},
		{"name escaped without need", `"d":null`, `"$k:ZA":null`, KeyForm, "details.$k:ZA", `null`},
		{"name in padded base64", `"d":null`, `"$k:w6k=":null`, KeyForm, "details.$k:w6k=", `null`},
		{"name with loose bits", `"d":null`, `"$k:w6l":null`, KeyForm, "details.$k:w6l", `null`},
		{"name not base64", `"d":null`, `"$k:*":null`, KeyForm, "details.$k:*", `null`},
		{"field of pii", `"email":`, `"E-mail":`, KeyForm, "pii.E-mail", `"c1:`},
		{"commitment without version", `"email":"c1:`, `"email":"`, Base64, "pii.email", `"`},
		{"commitment of another version", `"email":"c1:`, `"email":"c2:`, Base64, "pii.email", `"c2`},
		{"commitment too long", `"email":"c1:`, `"email":"c1:AAAA`, Base64, "pii.email", `"c1:AAAA`},
		value("capital escape", `"\u001F"`, Escape, "details.d", `\u001F`),
		value("long escape of a short one", `"\u000a"`, Escape, "details.d", `\u000a`),
		value("surrogates", `"\ud83d\ude00"`, Escape, "details.d", `\ud83d`),
		value("lone surrogate", `"x\ud800"`, Escape, "details.d", `\ud800`),
		value("escaped DEL", `"\u007f"`, Escape, "details.d", `\u007f`),
		value("escape cut off", `"\u00`, Escape, "details.d", `\u00`),
		value("backslash at the end", `"\`, Escape, "details.d", `\`),
		value("raw control character", "\"a\tb\"", Escape, "details.d", "\tb"),
		value("raw NUL", "\"a\x00b\"", Escape, "details.d", "\x00b"),
		value("not UTF-8", "\"a\xffb\"", UTF8, "details.d", "\xffb"),
		value("not UTF-8 after an escape", "\"\\n\\n\xc0\xaf\"", UTF8, "details.d", "\xc0"),
		value("encoded surrogate", "\"\xed\xa0\x80\"", UTF8, "details.d", "\xed"),
		value("fraction", `1.5`, Number, "details.d", `1.5`),
		value("fraction of nothing", `1.0`, Number, "details.d", `1.0`),
		value("exponent", `1e2`, Number, "details.d", `1e2`),
		value("minus nothing", `-0`, Number, "details.d", `-0`),
		value("zero in front", `01`, Number, "details.d", `01`),
		value("minus alone", `-`, Number, "details.d", `-`),
		value("2^53", `9007199254740992`, Number, "details.d", `9007`),
		value("-2^53", `-9007199254740992`, Number, "details.d", `-9007`),
		value("not a number", `NaN`, Syntax, "details.d", `NaN`),
		value("capital word", `True`, Syntax, "details.d", `True`),
		value("word cut off", `nul`, Syntax, "details.d", `nul`),
		value("word too long", `nulll`, Syntax, "details", `l}`),
		value("nothing", ``, Syntax, "details.d", `}`),
		value("comma at the end of an array", `[1,]`, Syntax, "details.d[1]", `]`),
		value("no comma in an array", `[1 2]`, Whitespace, "details.d", ` 2`),
		value("space in an array", `[ 1]`, Whitespace, "details.d[0]", ` 1`),
		value("array left open", `[[[[`, Syntax, "details.d[0][0][0][0]", `},`),
		value("arrays too deep", strings.Repeat("[", 5)+strings.Repeat("]", 5), Depth, "details.d[0][0][0][0]", "[]]]]]"),
		value("objects too deep", strings.Repeat(`{"a":`, 5)+"1"+strings.Repeat("}", 5), Depth, "details.d.a.a.a.a", `{"a":1}`),
		value("bottomless", strings.Repeat("[", 60000), Depth, "details.d[0][0][0][0]", "[[["),
		value("long string", `"`+strings.Repeat("x", 4097)+`"`, TooLong, "details.d", `"x`),
		value("long bytes", `{"$b64":"`+strings.Repeat("AAAA", 1366)+`"}`, TooLong, "details.d", `"AAAA`),
		value("base64 without padding", `{"$b64":"YQ"}`, Base64, "details.d", `"YQ"`),
		value("base64 with loose bits", `{"$b64":"YR=="}`, Base64, "details.d", `"YR`),
		value("base64 for URLs", `{"$b64":"-_8="}`, Base64, "details.d", `"-_`),
		value("base64 with a line end", `{"$b64":"YQ\n=="}`, Base64, "details.d", `"YQ\n`),
		value("bytes with company", `{"$b64":"YQ==","a":1}`, Marker, "details.d", `,"a"`),
		value("bytes as number", `{"$b64":1}`, Syntax, "details.d", `1}`),
		value("marker not in front", `{"!":1,"$b64":"YQ=="}`, KeyForm, "details.d.$b64", `"YQ==`),
		value("unknown marker", `{"$date":1}`, KeyForm, "details.d.$date", `1}`),
		value("small integer in a marker", `{"$int":"9007199254740991"}`, Number, "details.d", `"9007`),
		value("small negative in a marker", `{"$int":"-9007199254740991"}`, Number, "details.d", `"-9007`),
		value("integer with a zero in front", `{"$int":"09007199254740992"}`, Number, "details.d", `"09`),
		value("negative with a zero in front", `{"$int":"-09007199254740992"}`, Number, "details.d", `"-09`),
		value("integer of 65 bits", `{"$int":"18446744073709551616"}`, Number, "details.d", `"18`),
		value("negative of 65 bits", `{"$int":"-9223372036854775809"}`, Number, "details.d", `"-92`),
		value("minus alone in a marker", `{"$int":"-"}`, Number, "details.d", `"-"`),
		value("integer with company", `{"$int":"9007199254740992","a":1}`, Marker, "details.d", `,"a"`),
		value("truncated, nothing more", `{"$trunc":{}}`, Marker, "details.d", `{"$trunc":{}}`),
		value("truncated to nothing", strings.Replace(trunc, "5", "0", 1), Marker, "details.d", `{"$trunc"`),
		value("truncated, negative", strings.Replace(trunc, "5", "-5", 1), Marker, "details.d", `{"$trunc"`),
		value("truncated, a fraction", strings.Replace(trunc, "5", "5.0", 1), Number, "details.d", `5.0`),
		value("truncated, no hash", strings.Replace(trunc, "sha256", "sha512", 1), Marker, "details.d", `{"$trunc"`),
		value("truncated, short hash", strings.Replace(trunc, "ab", "", 1), Marker, "details.d", `"abab`),
		value("truncated, long hash", strings.Replace(trunc, "ab", "abab", 1), Marker, "details.d", `"abab`),
		value("truncated, hash in capitals", strings.Replace(trunc, "ab", "AB", 1), Marker, "details.d", `"ABab`),
		value("truncated, hash not hexadecimal", strings.Replace(trunc, "ab", "xy", 1), Marker, "details.d", `"xyab`),
		value("truncated with company inside", strings.Replace(trunc, `"}}`, `","z":1}}`, 1), Marker, "details.d", `,"z"`),
		value("truncated with company outside", strings.Replace(trunc, `"}}`, `"},"z":1}`, 1), Marker, "details.d", `},"z"`),
		{"details are bytes", `{"d":null}`, `{"$b64":"YQ=="}`, KeyForm, "details.$b64", `"YQ`},
		{"details truncated with company", `{"d":null}`, strings.Replace(trunc, `"}}`, `"},"z":1}`, 1), Marker, "details", `},"z"`},
		{"details are an array", `{"d":null}`, `[]`, Syntax, "details", `[]`},
		{"too large", `"d":null`, `"d":"` + strings.Repeat("x", 65535) + `"`, TooLarge, "", "x"},
		{"33 commitments", `"pii":{`, `"pii":{` + commitments(30), TooLong, "pii.user_agent", `"c1:`},
	}
}

// commitments are so many members of pii that stand before "email".
func commitments(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`"` + string(rune('a'+i/10)) + string(rune('0'+i%10)) + `":"c1:` + strings.Repeat("A", 43) + `=",`)
	}
	return b.String()
}

func TestEachRuleRefusesItsForgeryAndSaysWhere(t *testing.T) {
	good := string(encode(t, with(map[string]any{"d": nil})))
	reached := map[Rule]bool{}
	for _, f := range forgeries() {
		t.Run(f.name, func(t *testing.T) {
			bad := strings.Replace(good, f.old, f.new, 1)
			if bad == good {
				t.Fatalf("%s is not in the leaf", f.old)
			}
			e, err := Decode([]byte(bad))
			var got *Error
			if !errors.As(err, &got) {
				t.Fatalf("no error")
			}
			if got.Rule != f.rule || got.Path != f.path || !strings.HasPrefix(bad[got.Offset:], f.at) || f.at == "" && got.Offset != len(bad) {
				t.Errorf("got %v, before %.20q; want %q in %q, before %q", err, bad[got.Offset:], f.rule, f.path, f.at)
			}
			if !cmp.Equal(e, Entry{}) {
				t.Errorf("an entry beside the error: %+v", e)
			}
			reached[got.Rule] = true
		})
	}
	// The other two: Type is for encoding only, NotCanonical for what no other rule catches.
	for _, r := range []Rule{
		TooLarge, Syntax, Whitespace, Trailing, UnknownKey, DuplicateKey, KeyOrder, MissingKey, KeyForm, Escape, UTF8,
		Number, Depth, Empty, Value, TooLong, BadTime, BadID, Base64, Marker, Version,
	} {
		if !reached[r] {
			t.Errorf("no forgery breaks the rule %q", r)
		}
	}
	if _, err := Decode([]byte(good)); err != nil {
		t.Errorf("untouched: %v", err)
	}
}

func TestEncodingAgainGuardsAgainstAForgottenRule(t *testing.T) {
	e := typical()
	b := encode(t, e)
	if err := sameAgain(e, b); err != nil {
		t.Fatal(err)
	}
	var got *Error
	if err := sameAgain(e, slices.Concat(b[:100], []byte(" "), b[100:])); !errors.As(err, &got) || got.Rule != NotCanonical || got.Offset != 100 {
		t.Errorf("a space at 100: %v", err)
	}
	if err := sameAgain(e, append(slices.Clone(b), '\n')); !errors.As(err, &got) || got.Offset != len(b) {
		t.Errorf("a line end: %v", err)
	}
	if err := sameAgain(Entry{}, b); !errors.As(err, &got) || got.Rule != NotCanonical {
		t.Errorf("an entry that does not encode: %v", err)
	}
}

func TestErrorsRepeatNoValues(t *testing.T) {
	e := typical()
	e.Actor.ID = "ann@example.com"
	b := bytes.Replace(encode(t, e), []byte(`"ts":"2026`), []byte(`"ts":"x`), 1)
	_, err := Decode(b)
	want := fmt.Sprintf(`leaf: not a time from 1970 to 9999 in UTC with six digits of a second in "ts" at byte %d`, bytes.Index(b, []byte(`"x-03`)))
	if got := err.Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestNoChangeOfAByteGivesTheSameEntry(t *testing.T) {
	for _, v := range vectors(t) {
		b, err := hex.DecodeString(v.Leaf)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 700 { // enough of them, and quick
			continue
		}
		want, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		accepted := 0
		check := func(m []byte) {
			t.Helper()
			got, err := Decode(m)
			if err == nil && reflect.DeepEqual(got, want) {
				t.Fatalf("%s: two leaves for one entry:\n%s\n%s", v.Name, b, m)
			}
			if err == nil {
				accepted++
			}
		}
		for i := range b {
			for _, x := range []byte{1, 2, 4, 8, 16, 32, 64, 128, b[i], b[i] ^ ' ', b[i] ^ '"', b[i] ^ '0', b[i] ^ '\\'} {
				if x != 0 {
					m := slices.Clone(b)
					m[i] ^= x
					check(m)
				}
			}
			check(slices.Delete(slices.Clone(b), i, i+1))
			check(slices.Insert(slices.Clone(b), i, b[i]))
			check(slices.Insert(slices.Clone(b), i, ' '))
			check(b[:i])
		}
		if accepted == 0 {
			t.Errorf("%s: no change was ever accepted, so nothing was compared", v.Name)
		}
	}
}

func TestWhatDecodeTakesEncodesToTheSameBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := encode(t, anyEntry().Draw(t, "entry"))
		from := rapid.IntRange(0, len(b)).Draw(t, "from")
		to := min(len(b), from+rapid.IntRange(0, 3).Draw(t, "less"))
		tokens := slices.Collect(maps.Keys(map[string]bool{`"`: true, `,`: true, `{`: true, `}`: true, `\`: true, ` `: true, `0`: true, `$`: true, `null`: true, `"a":`: true}))
		slices.Sort(tokens)
		m := slices.Concat(b[:from], []byte(rapid.SampledFrom(tokens).Draw(t, "new")), b[to:])
		if e, err := Decode(m); err == nil {
			same(t, m, e)
		}
	})
}

// FuzzDecode: whatever the bytes, Decode does not panic, and what it takes is a leaf in every respect.
func FuzzDecode(f *testing.F) {
	for _, v := range vectors(f) {
		if b, _ := hex.DecodeString(v.Leaf); len(b) < 4096 {
			f.Add(b)
		}
	}
	good := string(encode(f, with(map[string]any{"d": nil})))
	for _, x := range forgeries() {
		if len(x.new) < 1000 {
			f.Add([]byte(strings.Replace(good, x.old, x.new, 1)))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decode(b)
		if err == nil {
			same(t, b, e)
			return
		}
		var at *Error
		if !errors.As(err, &at) || at.Offset < 0 || at.Offset > len(b) || at.Rule == NotCanonical {
			t.Fatalf("%v", err) // NotCanonical would be a rule that the decoder forgot
		}
	})
}

// FuzzEncode: whatever strangers send, the entry is written and reads back.
func FuzzEncode(f *testing.F) {
	f.Add("key", "text", []byte("bytes"), int64(1), uint8(1))
	f.Add("$b64", "\xff\x00", []byte{}, int64(1)<<53, uint8(9))
	f.Add("é", strings.Repeat("\x00", 5000), []byte{0xff}, int64(-1)<<63, uint8(200))
	f.Fuzz(func(t *testing.T, key, text string, raw []byte, n int64, deep uint8) {
		e := typical()
		e.Actor.ID, e.Actor.Role, e.RequestID = "x"+text, text, key
		e.Resource, e.Code = Resource{"x" + text, text}, text
		inner := nest(int(deep), map[string]any{key: text, key + "$": raw})
		e.Details = map[string]any{key: inner, "$" + key: n, "é" + text: raw, "x" + key: text}
		same(t, encode(t, e), normal(e))
	})
}
