package httpapi

import (
	"net/http/httptest"
	"net/netip"
	"strconv"
	"testing"
)

func TestOnlyATrustedProxyMaySayWhoAsks(t *testing.T) {
	s := New(Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	for _, c := range []struct{ remote, forwarded, want string }{
		{"192.0.2.1:99", "", "192.0.2.1"},
		{"192.0.2.1:99", "203.0.113.9", "192.0.2.1"},                // a client's own header
		{"10.0.0.1:99", "203.0.113.9", "203.0.113.9"},               // our proxy's word
		{"10.0.0.1:99", "198.51.100.7, 203.0.113.9", "203.0.113.9"}, // the client put the first one there
		{"10.0.0.1:99", "203.0.113.9, 10.0.0.2", "203.0.113.9"},     // two of our proxies
		{"10.0.0.1:99", "203.0.113.9, nonsense", "10.0.0.1"},        // what cannot be read is not believed
		{"10.0.0.1:99", "::ffff:203.0.113.9", "203.0.113.9"},        // one address, one spelling
		{"[2001:db8::1]:99", "203.0.113.9", "2001:db8::1"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.RemoteAddr = c.remote
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := s.source(r); got != c.want {
			t.Errorf("%s behind %q is %s, want %s", c.remote, c.forwarded, got, c.want)
		}
	}
}

func TestACursorContinuesItsOwnListAndNoOther(t *testing.T) {
	items, next := cut([]int{1, 2, 3}, 2, "numbers", strconv.Itoa)
	if len(items) != 2 || next == "" {
		t.Fatalf("%v %q", items, next)
	}
	if key, err := (Page{Cursor: next}).after("numbers"); err != nil || key != "2" {
		t.Errorf("%q, %v", key, err)
	}
	if _, err := (Page{Cursor: next}).after("letters"); err == nil {
		t.Error("another list took it")
	}
	if _, next := cut([]int{1, 2}, 2, "numbers", strconv.Itoa); next != "" {
		t.Error("the last page has a next one")
	}
}

func TestALimiterForgetsTheOldestAndRefusesTheHasty(t *testing.T) {
	l := newLimiter(0.001, 1)
	if !l.allow("a") || l.allow("a") {
		t.Error("one at once, and no more")
	}
	for i := range limiterSize {
		l.allow(strconv.Itoa(i))
	}
	if len(l.byKey) != limiterSize || l.order.Len() != limiterSize {
		t.Errorf("%d callers are kept", len(l.byKey))
	}
}

func FuzzCursor(f *testing.F) {
	f.Add("bnVtYmVycwoy")
	f.Add("%%%")
	f.Fuzz(func(t *testing.T, cursor string) {
		key, err := Page{Cursor: cursor}.after("numbers")
		if err != nil || cursor == "" {
			return
		}
		if again, err := (Page{Cursor: encodeCursor("numbers", key)}).after("numbers"); err != nil || again != key {
			t.Fatalf("%q -> %q -> %q, %v", cursor, key, again, err)
		}
	})
}

func FuzzIfMatch(f *testing.F) {
	f.Add(`"3"`)
	f.Add(`"`)
	f.Fuzz(func(t *testing.T, tag string) {
		v, err := IfMatch{IfMatch: tag}.version()
		if err != nil || v == nil {
			return
		}
		if back, err := (IfMatch{IfMatch: etag(*v)}).version(); err != nil || *back != *v {
			t.Fatalf("%q -> %d -> %v, %v", tag, *v, back, err)
		}
	})
}
