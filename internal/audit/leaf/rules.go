package leaf

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Rule is a rule of the format. Ask for one with errors.Is(err, leaf.KeyOrder).
type Rule string

// The rules, each as what is wrong when it is broken.
const (
	TooLarge     Rule = "larger than 65535 bytes"
	Syntax       Rule = "not the JSON of a leaf"
	Whitespace   Rule = "white space between tokens"
	Trailing     Rule = "something follows the leaf"
	UnknownKey   Rule = "a member that format v1 does not have"
	DuplicateKey Rule = "a member twice"
	KeyOrder     Rule = "members not in order"
	MissingKey   Rule = "a required member is missing"
	KeyForm      Rule = "a name not written in its one form"
	Escape       Rule = "a character not written in its one form"
	UTF8         Rule = "not UTF-8"
	Number       Rule = "not an integer in its one form"
	Depth        Rule = "nested too deep"
	Empty        Rule = "a member that is left out when empty"
	Value        Rule = "a value this member cannot have"
	TooLong      Rule = "longer than allowed"
	BadTime      Rule = "not a time from 1970 to 9999 in UTC with six digits of a second"
	BadID        Rule = "not a UUID of version 7 in lower case"
	Base64       Rule = "not base64 in its one form"
	Marker       Rule = "not a marker in its one form"
	Version      Rule = "not format version 1"
	Type         Rule = "a Go type that details cannot have"
	NotCanonical Rule = "encodes to other bytes again"
)

// Error is the rule as an error, without a place.
func (r Rule) Error() string { return "leaf: " + string(r) }

// Error says which rule was broken and where. It repeats names of members, never values.
type Error struct {
	Rule Rule
	// Path is the member, such as "details.tags[2]", with names as they stand in the leaf; empty for the leaf itself.
	Path string
	// Offset is the byte of the leaf at or after which the rule was broken, and -1 when encoding.
	Offset int
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Rule.Error())
	if e.Path != "" {
		fmt.Fprintf(&b, " in %q", e.Path)
	}
	if e.Offset >= 0 {
		fmt.Fprintf(&b, " at byte %d", e.Offset)
	}
	return b.String()
}

// Unwrap gives the rule, for errors.Is.
func (e *Error) Unwrap() error { return e.Rule }

func broken(r Rule, path string) error { return &Error{Rule: r, Path: path, Offset: -1} }

// under puts a step in front of the path of an error from encoding.
func under(step string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return &Error{Rule: e.Rule, Path: join(step, e.Path), Offset: e.Offset}
	}
	return err
}

func join(step, rest string) string {
	if rest == "" || strings.HasPrefix(rest, "[") {
		return step + rest
	}
	return step + "." + rest
}

func index(i int) string { return "[" + strconv.Itoa(i) + "]" }

// shortName keeps a long name of a member from filling a log line.
func shortName(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
