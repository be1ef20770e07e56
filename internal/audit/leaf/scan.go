package leaf

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// fail says that a rule is broken at that byte, where the decoder is.
func (d *decoder) fail(at int, r Rule) error {
	path := ""
	for _, step := range slices.Backward(d.path) {
		path = join(step, path)
	}
	return &Error{Rule: r, Path: path, Offset: at}
}

// expect reads exactly these bytes.
func (d *decoder) expect(want string) error {
	if !d.accept(want) {
		return d.unexpected()
	}
	return nil
}

func (d *decoder) accept(want string) bool {
	if rest := d.b[d.i:]; len(rest) < len(want) || string(rest[:len(want)]) != want {
		return false
	}
	d.i += len(want)
	return true
}

// skip reads c if it comes next.
func (d *decoder) skip(c byte) bool {
	if d.peek() != c {
		return false
	}
	d.i++
	return true
}

// peek is the next byte, and 0 at the end; no token begins with 0.
func (d *decoder) peek() byte {
	if d.i < len(d.b) {
		return d.b[d.i]
	}
	return 0
}

func (d *decoder) unexpected() error {
	switch d.peek() {
	case ' ', '\t', '\r', '\n':
		return d.fail(d.i, Whitespace)
	}
	return d.fail(d.i, Syntax)
}

// name reads the name of a member, which never needs an escape.
func (d *decoder) name() (string, error) {
	if err := d.expect(`"`); err != nil {
		return "", err
	}
	for j, c := range d.b[d.i:] {
		if c == '"' {
			name := string(d.b[d.i : d.i+j])
			d.i += j + 1
			return name, nil
		}
		if !plain(c) {
			return "", d.fail(d.i+j, KeyForm)
		}
	}
	return "", d.fail(len(d.b), Syntax)
}

// string reads a string whose every character is written as appendString writes it.
func (d *decoder) string() (string, error) {
	if err := d.expect(`"`); err != nil {
		return "", err
	}
	start, from := d.i, d.i
	var out []byte
	for d.i < len(d.b) {
		c := d.b[d.i]
		switch {
		case c == '"':
			// Escapes stand for ASCII only, so the string is UTF-8 when the bytes in the leaf are.
			if bad := invalidAt(d.b[start:d.i]); bad >= 0 {
				return "", d.fail(start+bad, UTF8)
			}
			s := string(d.b[from:d.i])
			if out != nil {
				s = string(out) + s
			}
			d.i++
			return s, nil
		case c == '\\':
			out = append(out, d.b[from:d.i]...)
			r, size := unescape(d.b[d.i:])
			if size == 0 {
				return "", d.fail(d.i, Escape)
			}
			out = append(out, r)
			d.i += size
			from = d.i
		case c < ' ':
			return "", d.fail(d.i, Escape)
		default:
			d.i++
		}
	}
	return "", d.fail(len(d.b), Syntax)
}

// invalidAt is where b stops being UTF-8, or -1.
func invalidAt(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	at := 0
	for {
		r, size := utf8.DecodeRune(b[at:])
		if r == utf8.RuneError && size <= 1 {
			return at
		}
		at += size
	}
}

// unescape reads one escape, and gives size 0 unless it is the one that appendString writes for its character.
func unescape(b []byte) (c byte, size int) {
	if len(b) < 2 {
		return 0, 0
	}
	for _, c := range []byte("\"\\\b\t\n\f\r") {
		if shortEscape(c) == b[1] {
			return c, 2
		}
	}
	if len(b) < 6 || string(b[1:4]) != "u00" || !isHex(b[4]) || !isHex(b[5]) {
		return 0, 0
	}
	c = byte(strings.IndexByte(hexDigits, b[4])<<4 | strings.IndexByte(hexDigits, b[5]))
	if c >= ' ' || shortEscape(c) != 0 {
		return 0, 0
	}
	return c, 6
}

// number reads an integer in its one form, below 2^53 either way.
func (d *decoder) number() (int64, error) {
	at := d.i
	end := at
	for end < len(d.b) && bytes.IndexByte([]byte("+-.0123456789Ee"), d.b[end]) >= 0 {
		end++
	}
	if end == at {
		return 0, d.unexpected()
	}
	s := string(d.b[at:end])
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != s || n <= -maxExact || n >= maxExact {
		return 0, d.fail(at, Number)
	}
	d.i = end
	return n, nil
}

// details reads details, or the marker that stands for them.
func (d *decoder) details(e *Entry) error {
	at := d.i
	if bytes.HasPrefix(d.b[at:], []byte(`{"$trunc":`)) {
		t, err := d.truncated()
		e.Truncated = &t
		return err
	}
	var err error
	e.Details, err = d.object(2)
	if err == nil && len(e.Details) == 0 {
		err = d.fail(at, Empty)
	}
	return err
}

// value reads one value of details that stands inside depth objects and arrays.
func (d *decoder) value(depth int) (any, error) {
	at := d.i
	switch c := d.peek(); {
	case c == '"':
		s, err := d.string()
		if err == nil && len(s) > MaxString {
			err = d.fail(at, TooLong)
		}
		return s, err
	case c == '{':
		if rest := d.b[at:]; bytes.HasPrefix(rest, []byte(`{"$`)) {
			switch {
			case bytes.HasPrefix(rest, []byte(`{"$b64":`)):
				return d.bytes()
			case bytes.HasPrefix(rest, []byte(`{"$int":`)):
				return d.big()
			case bytes.HasPrefix(rest, []byte(`{"$trunc":`)):
				return d.truncated()
			}
		}
		return d.object(depth + 1)
	case c == '[':
		return d.array(depth + 1)
	case c == '-' || '0' <= c && c <= '9':
		return d.number()
	case d.accept("true"):
		return true, nil
	case d.accept("false"):
		return false, nil
	case d.accept("null"):
		return nil, nil
	}
	return nil, d.unexpected()
}

func (d *decoder) object(depth int) (map[string]any, error) {
	if depth > maxNesting {
		return nil, d.fail(d.i, Depth)
	}
	m := map[string]any{}
	err := d.members(nil, func(name string) error {
		key, ok := unescapeKey(name)
		if !ok {
			return d.fail(d.i, KeyForm)
		}
		v, err := d.value(depth)
		m[key] = v
		return err
	})
	return m, err
}

func (d *decoder) array(depth int) ([]any, error) {
	if depth > maxNesting {
		return nil, d.fail(d.i, Depth)
	}
	a := []any{}
	d.i++
	for !d.skip(']') {
		if len(a) > 0 {
			if err := d.expect(","); err != nil {
				return nil, err
			}
		}
		d.path = append(d.path, index(len(a)))
		v, err := d.value(depth)
		if err != nil {
			return nil, err
		}
		d.path = d.path[:len(d.path)-1]
		a = append(a, v)
	}
	return a, nil
}

// bytes reads {"$b64":"…"}.
func (d *decoder) bytes() (raw []byte, err error) {
	d.i += len(`{"$b64":`)
	at := d.i
	if _, err = d.word(Base64, func(s string) (ok bool) { raw, ok = parseBase64(s); return ok }); err != nil {
		return nil, err
	}
	if len(raw) > MaxString {
		return nil, d.fail(at, TooLong)
	}
	return raw, d.endMarker("}")
}

// big reads {"$int":"…"}.
func (d *decoder) big() (n any, err error) {
	d.i += len(`{"$int":`)
	if _, err = d.word(Number, func(s string) (ok bool) { n, ok = parseBig(s); return ok }); err != nil {
		return nil, err
	}
	return n, d.endMarker("}")
}

// truncated reads {"$trunc":{"len":N,"sha256":"…"}}.
func (d *decoder) truncated() (t Truncated, err error) {
	at := d.i
	if !d.accept(`{"$trunc":{"len":`) {
		return t, d.fail(at, Marker)
	}
	if t.Len, err = d.number(); err != nil {
		return t, err
	}
	if !t.valid() || !d.accept(`,"sha256":`) {
		return t, d.fail(at, Marker)
	}
	_, err = d.word(Marker, func(s string) bool {
		_, err := hex.Decode(t.SHA256[:], []byte(s[:min(len(s), 64)]))
		return err == nil && hex.EncodeToString(t.SHA256[:]) == s
	})
	if err != nil {
		return t, err
	}
	return t, d.endMarker("}}")
}

// endMarker reads the end of a marker, which has one member only.
func (d *decoder) endMarker(end string) error {
	if !d.accept(end) {
		return d.fail(d.i, Marker)
	}
	return nil
}
