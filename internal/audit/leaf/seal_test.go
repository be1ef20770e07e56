package leaf

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"pgregory.net/rapid"
)

func TestHashIsThatOfATree(t *testing.T) {
	// The hash of the empty leaf and of "L123456", as in other implementations of RFC 6962.
	for leaf, want := range map[string]string{
		"":        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"L123456": "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56",
	} {
		if h := Hash([]byte(leaf)); hex.EncodeToString(h[:]) != want {
			t.Errorf("%q: %x", leaf, h)
		}
	}
}

func TestACommitmentOpensToItsValueOnly(t *testing.T) {
	salt := bytes.Repeat([]byte{1}, MinSalt)
	c := Commit(salt, "email", "ann@example.com")
	if !c.Opens(salt, "email", "ann@example.com") {
		t.Fatal("does not open")
	}
	for name, opens := range map[string]bool{
		"another value": c.Opens(salt, "email", "bob@example.com"),
		"another field": c.Opens(salt, "name", "ann@example.com"),
		"another salt":  c.Opens(bytes.Repeat([]byte{2}, MinSalt), "email", "ann@example.com"),
		"shifted":       c.Opens(salt, "emai", "l\x00ann@example.com"),
		"no salt":       c.Opens(nil, "email", "ann@example.com"),
		"long salt":     Commit(salt, "email", "x").Opens(append(salt, make([]byte, 48)...), "email", "x"),
		"no field":      c.Opens(salt, "", "ann@example.com"),
	} {
		if opens {
			t.Errorf("%s opens it", name)
		}
	}
	panics(t, "a short salt", func() { Commit(salt[:15], "email", "x") })
	panics(t, "a long salt", func() { Commit(make([]byte, 33), "email", "x") })
	panics(t, "a field with a NUL", func() { Commit(salt, "a\x00b", "x") })
}

func TestEachBootOfEachWriterHasItsKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(rapid.StringMatching(`[\x00ab]{0,3}`), 4, 4).Draw(t, "names")
		same := names[0] == names[2] && names[1] == names[3]
		if bytes.Equal(WriterKey(master(), names[0], names[1]), WriterKey(master(), names[2], names[3])) != same {
			t.Fatalf("%q", names)
		}
	})
	if bytes.Equal(WriterKey(master(), "ab", "c"), WriterKey(master(), "a", "bc")) {
		t.Error("the names run together")
	}
	if bytes.Equal(WriterKey(master(), "a", "b"), WriterKey(bytes.Repeat([]byte{9}, 32), "a", "b")) {
		t.Error("the master does not matter")
	}
	panics(t, "a short master", func() { WriterKey(make([]byte, 31), "a", "b") })
}

func TestAMACIsOfOneLeafUnderOneKey(t *testing.T) {
	key := WriterKey(master(), "a", "b")
	mac := MAC(key, []byte("leaf"))
	if !VerifyMAC(key, []byte("leaf"), mac[:]) {
		t.Fatal("refused")
	}
	other := sha256.Sum256([]byte("leaf"))
	for name, ok := range map[string]bool{
		"another leaf": VerifyMAC(key, []byte("leaf2"), mac[:]),
		"another key":  VerifyMAC(WriterKey(master(), "a", "c"), []byte("leaf"), mac[:]),
		"another MAC":  VerifyMAC(key, []byte("leaf"), other[:]),
		"a short MAC":  VerifyMAC(key, []byte("leaf"), mac[:31]),
		"a long MAC":   VerifyMAC(key, []byte("leaf"), append(mac[:], 0)),
		"no MAC":       VerifyMAC(key, []byte("leaf"), nil),
	} {
		if ok {
			t.Errorf("%s passes", name)
		}
	}
}

func panics(t *testing.T, what string, fn func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s is taken", what)
		}
	}()
	fn()
}
