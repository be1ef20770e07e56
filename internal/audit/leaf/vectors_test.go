package leaf

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gowebpki/jcs"
)

// vector is one golden vector. They were made by another implementation, testdata/vectors.py, and hold the format for
// as long as entries are kept: a vector may be added, none may change.
type vector struct {
	Name  string
	Entry struct {
		Action, ID, Interface, Log, Result, TS string
		Actor, Resource                        map[string]goString
		Code, Req                              goString
		Details                                []pair
		PII                                    map[string]struct {
			Salt  string
			Value goString
		}
		W struct{ B, ID, N string }
	}
	Leaf, Hash, MAC string
}

// goString is a string of any bytes: "text", {"hex":"ff"} or {"repeat":["x",5]}.
type goString string

func (s *goString) UnmarshalJSON(b []byte) error {
	if b[0] == '"' {
		return json.Unmarshal(b, (*string)(s))
	}
	var form struct {
		Hex    string
		Repeat []json.RawMessage
	}
	if err := json.Unmarshal(b, &form); err != nil {
		return err
	}
	if form.Repeat == nil {
		raw, err := hex.DecodeString(form.Hex)
		*s = goString(raw)
		return err
	}
	var one goString
	var n int
	if err := json.Unmarshal(form.Repeat[0], &one); err != nil {
		return err
	}
	err := json.Unmarshal(form.Repeat[1], &n)
	*s = goString(strings.Repeat(string(one), n))
	return err
}

// pair is ["name", value] in a vector's object.
type pair struct {
	key   goString
	value tagged
}

func (p *pair) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &[]any{&p.key, &p.value}) }

// tagged is a Go value with its type: {"int":"5"}, {"str":…}, {"bytes":…}, {"list":[…]}, {"map":[[…,…]]} and so on.
type tagged struct{ v any }

func (t *tagged) UnmarshalJSON(b []byte) error {
	var form map[string]json.RawMessage
	if err := json.Unmarshal(b, &form); err != nil {
		return err
	}
	for kind, raw := range form {
		switch kind {
		case "null":
		case "bool":
			t.v = string(raw) == "true"
		case "int":
			text := strings.Trim(string(raw), `"`)
			if n, err := strconv.ParseInt(text, 10, 64); err == nil {
				t.v = n
			} else if t.v, err = strconv.ParseUint(text, 10, 64); err != nil {
				return err
			}
		case "str", "bytes":
			var s goString
			if err := json.Unmarshal(raw, &s); err != nil {
				return err
			}
			if t.v = string(s); kind == "bytes" {
				t.v = []byte(s)
			}
		case "list":
			var list []tagged
			if err := json.Unmarshal(raw, &list); err != nil {
				return err
			}
			a := []any{}
			for _, x := range list {
				a = append(a, x.v)
			}
			t.v = a
		case "map":
			var pairs []pair
			if err := json.Unmarshal(raw, &pairs); err != nil {
				return err
			}
			t.v = object(pairs)
		case "nest":
			var n int
			var inner tagged
			if err := json.Unmarshal(raw, &[]any{&n, &inner}); err != nil {
				return err
			}
			t.v = nest(n, inner.v)
		}
	}
	return nil
}

func object(pairs []pair) map[string]any {
	if pairs == nil {
		return nil
	}
	m := map[string]any{}
	for _, p := range pairs {
		m[string(p.key)] = p.value.v
	}
	return m
}

// nest puts v into n arrays, one in the other.
func nest(n int, v any) any {
	for range n {
		v = []any{v}
	}
	return v
}

func (v vector) entry(t *testing.T) Entry {
	t.Helper()
	in := v.Entry
	at, err := time.Parse(time.RFC3339Nano, in.TS)
	if err != nil {
		t.Fatal(err)
	}
	seq, err := strconv.ParseUint(in.W.N, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	e := Entry{
		ID: in.ID, Time: at, Log: in.Log, Action: in.Action, Result: Result(in.Result), Code: string(in.Code),
		Actor:     Actor{Type: string(in.Actor["type"]), ID: string(in.Actor["id"]), Role: string(in.Actor["role"])},
		Resource:  Resource{Type: string(in.Resource["type"]), ID: string(in.Resource["id"])},
		Interface: in.Interface, RequestID: string(in.Req), Details: object(in.Details),
		Writer: Writer{ID: in.W.ID, Boot: in.W.B, Seq: seq},
	}
	for field, o := range in.PII {
		salt, err := hex.DecodeString(o.Salt)
		if err != nil {
			t.Fatal(err)
		}
		if e.PII == nil {
			e.PII = map[string]Commitment{}
		}
		e.PII[field] = Commit(salt, field, string(o.Value))
	}
	return e
}

func vectors(t testing.TB) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// master is the master key of the vectors.
func master() []byte {
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(i)
	}
	return key
}

func TestEveryVectorHoldsForAllTime(t *testing.T) {
	all := vectors(t)
	if len(all) < 28 {
		t.Fatalf("%d vectors; one was taken away", len(all))
	}
	for _, v := range all {
		t.Run(v.Name, func(t *testing.T) {
			e := v.entry(t)
			b := encode(t, e)
			if got := hex.EncodeToString(b); got != v.Leaf {
				want, _ := hex.DecodeString(v.Leaf)
				t.Fatalf("leaf\n got %s\nwant %s", b, want)
			}
			if h := Hash(b); hex.EncodeToString(h[:]) != v.Hash {
				t.Errorf("hash %x, want %s", h, v.Hash)
			}
			key := WriterKey(master(), e.Writer.ID, e.Writer.Boot)
			if m := MAC(key, b); hex.EncodeToString(m[:]) != v.MAC || !VerifyMAC(key, b, m[:]) {
				t.Errorf("mac %x, want %s", m, v.MAC)
			}
			same(t, b, normal(e))
		})
	}
}

// encode encodes what must encode.
func encode(t interface {
	Helper()
	Fatalf(string, ...any)
}, e Entry,
) []byte {
	t.Helper()
	b, err := e.Encode()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return b
}

// same checks all that holds for every leaf, and that it decodes to want.
func same(t interface {
	Helper()
	Fatalf(string, ...any)
}, b []byte, want Entry,
) {
	t.Helper()
	got, err := Decode(b)
	if err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("decoded otherwise (-want +got):\n%s", diff)
	}
	if again := encode(t, got); !bytes.Equal(again, b) {
		t.Fatalf("encoded again otherwise:\n%s\n%s", b, again)
	}
	canonical, err := jcs.Transform(b)
	if err != nil || !bytes.Equal(canonical, b) {
		t.Fatalf("not JCS: %v\n%s\n%s", err, b, canonical)
	}
	if n := depth(b); n > 8 {
		t.Fatalf("nests %d deep: %s", n, b)
	}
	if len(b) > MaxLeaf {
		t.Fatalf("%d bytes", len(b))
	}
}

// depth is how deep the objects and arrays of b nest, by a reader that shares nothing with the decoder.
func depth(b []byte) int {
	deepest, now := 0, 0
	dec := json.NewDecoder(bytes.NewReader(b))
	for {
		token, err := dec.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			now++
			deepest = max(deepest, now)
		case json.Delim('}'), json.Delim(']'):
			now--
		}
	}
}
