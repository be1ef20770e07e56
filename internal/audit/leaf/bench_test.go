package leaf

import "testing"

func BenchmarkEncode(b *testing.B) {
	e := typical()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Encode(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendEncode(b *testing.B) {
	e := typical()
	buf := make([]byte, 0, 2048)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.AppendEncode(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	leaf := encode(b, typical())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(leaf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHashAndMAC(b *testing.B) {
	leaf, key := encode(b, typical()), WriterKey(master(), "w", "b")
	b.ReportAllocs()
	for b.Loop() {
		Hash(leaf)
		MAC(key, leaf)
	}
}

func TestEncodingATypicalEntryAllocatesLittle(t *testing.T) {
	e := typical()
	buf := make([]byte, 0, 2048)
	if n := testing.AllocsPerRun(100, func() { _, _ = e.AppendEncode(buf) }); n > 4 {
		t.Errorf("%v allocations", n)
	}
}
