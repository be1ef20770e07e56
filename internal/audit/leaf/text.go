package leaf

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// appendString writes s, which is UTF-8, as JCS does: the shortest escape, and only where JSON demands one.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		if short := shortEscape(c); short != 0 {
			dst = append(dst, '\\', short)
		} else {
			dst = append(dst, `\u00`...)
			dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
		}
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}

// shortEscape is the letter after the backslash, or 0 when c has no escape of two characters.
func shortEscape(c byte) byte {
	switch c {
	case '"', '\\':
		return c
	case '\b':
		return 'b'
	case '\t':
		return 't'
	case '\n':
		return 'n'
	case '\f':
		return 'f'
	case '\r':
		return 'r'
	}
	return 0
}

// The end of a fixed text that was cut, and how much is kept before it.
const (
	cutMark = "$sha256:"
	cutKeep = MaxText - len(cutMark) - 2*sha256.Size
)

// Text is what becomes of a fixed text such as a resource's id: each byte that is not part of valid UTF-8 becomes
// U+FFFD; if it is then longer than 200 bytes, it is cut at 128 bytes or up to three fewer, and "$sha256:" and the
// SHA-256 of s in hexadecimal follow. Text(Text(s)) is Text(s). Search columns beside a leaf hold Text(s) too.
func Text(s string) string {
	clean := s
	if !utf8.ValidString(s) {
		var b strings.Builder
		for _, r := range s {
			b.WriteRune(r) // ranging gives U+FFFD for each invalid byte
			if b.Len() > MaxText {
				break // the rest is cut off anyway
			}
		}
		clean = b.String()
	}
	if len(clean) <= MaxText {
		return clean
	}
	keep := cutKeep
	for !utf8.RuneStart(clean[keep]) {
		keep--
	}
	sum := sha256.Sum256([]byte(s))
	return clean[:keep] + cutMark + hex.EncodeToString(sum[:])
}

// validText tells whether Text would leave s alone.
func validText(s string) bool { return len(s) <= MaxText && utf8.ValidString(s) }

// keyMark begins the names that are written in base64url.
const keyMark = "$k:"

// escapeKey is how a caller's name of a member is written. The three results begin with no "$", with "$$" and with
// "$k:", so no two names meet and none looks like a marker.
func escapeKey(key string) string {
	switch {
	case !every(key, plain):
		return keyMark + base64.RawURLEncoding.EncodeToString([]byte(key))
	case strings.HasPrefix(key, "$"):
		return "$" + key
	}
	return key
}

// unescapeKey undoes escapeKey; ok is false for a name that escapeKey does not make.
func unescapeKey(name string) (key string, ok bool) {
	switch {
	case strings.HasPrefix(name, "$$"):
		key = name[1:]
	case strings.HasPrefix(name, keyMark):
		raw, err := base64.RawURLEncoding.DecodeString(name[len(keyMark):])
		if err != nil {
			return "", false
		}
		key = string(raw)
	default:
		key = name
	}
	return key, escapeKey(key) == name
}
