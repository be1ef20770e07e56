package leaf

import (
	"encoding/base64"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// bottomless is the limit on depth while something too deep is being summed up. Nothing that was decoded from JSON gets
// there, since encoding/json stops at 10,000; a map that holds itself does.
const bottomless = 20_000

// Truncate gives the "$trunc" that stands for v in a leaf when v is too large or too deep, whether v is or not. Use it to
// leave a value out on purpose, or to compare what was kept elsewhere with what a leaf says of it. The error is that v
// has a type that details cannot have, or no end.
func Truncate(v any) (Truncated, error) {
	b, err := appendWhole(nil, v)
	if err != nil {
		return Truncated{}, err
	}
	return truncated(b), nil
}

// appendWhole writes the canonical encoding of v, where v itself is not left out whatever its size or depth.
func appendWhole(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return appendWholeString(b, v), nil
	case []byte:
		return appendBytes(b, v), nil
	}
	return appendValue(b, v, 1, bottomless)
}

// appendValue writes one value of details that stands inside depth objects and arrays.
func appendValue(b []byte, v any, depth, limit int) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return appendText(b, v), nil
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case int:
		return appendInt(b, int64(v)), nil
	case int8:
		return appendInt(b, int64(v)), nil
	case int16:
		return appendInt(b, int64(v)), nil
	case int32:
		return appendInt(b, int64(v)), nil
	case int64:
		return appendInt(b, v), nil
	case uint:
		return appendUint(b, uint64(v)), nil
	case uint8:
		return appendUint(b, uint64(v)), nil
	case uint16:
		return appendUint(b, uint64(v)), nil
	case uint32:
		return appendUint(b, uint64(v)), nil
	case uint64:
		return appendUint(b, v), nil
	case []byte:
		if len(v) > MaxString {
			return appendTruncated(b, truncated(appendBytes(nil, v))), nil
		}
		return appendBytes(b, v), nil
	case Truncated:
		if !v.valid() {
			return b, broken(Marker, "")
		}
		return appendTruncated(b, v), nil
	case map[string]any, []any, map[string]string, []string:
		return appendContainer(b, v, depth+1, limit)
	}
	// Ids, states and other words are strings with a name of their own. Numbers with a name are not taken: nobody could
	// tell from the leaf whether 1000000 was a count, micro-dollars or nanoseconds.
	if r := reflect.ValueOf(v); r.Kind() == reflect.String {
		return appendText(b, r.String()), nil
	}
	return b, broken(Type, "")
}

// appendContainer writes an object or array that is the depth-th around its members, or the marker when that is too deep.
func appendContainer(b []byte, v any, depth, limit int) ([]byte, error) {
	if depth > limit {
		if limit == bottomless {
			return b, broken(Depth, "")
		}
		whole, err := appendContainer(nil, v, depth, bottomless)
		if err != nil {
			return b, err
		}
		return appendTruncated(b, truncated(whole)), nil
	}
	switch v := v.(type) {
	case map[string]any:
		return appendObject(b, v, depth, limit)
	case map[string]string:
		return appendObject(b, v, depth, limit)
	case []any:
		return appendArray(b, v, depth, limit)
	default:
		return appendArray(b, v.([]string), depth, limit)
	}
}

func appendArray[V any](b []byte, a []V, depth, limit int) ([]byte, error) {
	b = append(b, '[')
	for i, v := range a {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendValue(b, v, depth, limit); err != nil {
			return b, within(limit, index(i), err)
		}
	}
	return append(b, ']'), nil
}

// appendObject writes the members in the order of their names as written, which are ASCII: there the order of bytes is
// the order of UTF-16 that JCS asks for.
func appendObject[V any](b []byte, m map[string]V, depth, limit int) ([]byte, error) {
	type member struct{ name, key string }
	var few [8]member
	members := few[:0]
	for key := range m {
		members = append(members, member{escapeKey(key), key})
	}
	slices.SortFunc(members, func(x, y member) int { return strings.Compare(x.name, y.name) })
	b = append(b, '{')
	for i, member := range members {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, member.name...)
		b = append(b, `":`...)
		var err error
		if b, err = appendValue(b, m[member.key], depth, limit); err != nil {
			return b, within(limit, shortName(member.name), err)
		}
	}
	return append(b, '}'), nil
}

// within adds a step to the path of an error. What is being summed up has no path of its own: in something that holds
// itself it would be as long as the way round.
func within(limit int, step string, err error) error {
	if limit == bottomless {
		return err
	}
	return under(step, err)
}

func appendText(b []byte, s string) []byte {
	if len(s) > MaxString {
		return appendTruncated(b, truncated(appendWholeString(nil, s)))
	}
	return appendWholeString(b, s)
}

func appendWholeString(b []byte, s string) []byte {
	if !utf8.ValidString(s) {
		return appendBytes(b, []byte(s))
	}
	return appendString(b, s)
}

func appendBytes(b, raw []byte) []byte {
	b = append(b, `{"$b64":"`...)
	b = base64.StdEncoding.AppendEncode(b, raw)
	return append(b, `"}`...)
}

func appendInt(b []byte, n int64) []byte {
	if -maxExact < n && n < maxExact {
		return strconv.AppendInt(b, n, 10)
	}
	b = append(b, `{"$int":"`...)
	b = strconv.AppendInt(b, n, 10)
	return append(b, `"}`...)
}

func appendUint(b []byte, n uint64) []byte {
	if n < maxExact {
		return strconv.AppendUint(b, n, 10)
	}
	b = append(b, `{"$int":"`...)
	b = strconv.AppendUint(b, n, 10)
	return append(b, `"}`...)
}
