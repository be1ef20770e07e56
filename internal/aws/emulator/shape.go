package emulator

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// shape says what a value in a request must look like: the part of Amazon's service model that its servers
// check and its SDKs mostly do not.
type shape struct {
	kind    string // as in the model: "structure", "list", "map", "string", "integer", "boolean", "blob" or "timestamp"
	members []shapeMember
	key     *shape // of a map
	item    *shape // of a list or a map
	min     int    // of a string its characters, of a blob its bytes, of a list its items, of an integer its value
	max     int
	pattern *regexp.Regexp // matches anywhere unless it says otherwise, as in the model
	shown   string         // the pattern as the model has it
	enum    []string
}

type shapeMember struct {
	name     string
	shape    *shape
	required bool
}

const unbounded = math.MaxInt32

// matches reports whether a string satisfies the shape.
func (s *shape) matches(value string) bool {
	var found violations
	_, err := s.check(value, "", &found)
	return err == nil && found.count == 0
}

// violations are the constraints a request fails. Amazon reports all of them in one error; this keeps the
// text of the first few, so that an answer does not grow with the request.
type violations struct {
	count int
	texts []string
}

const violationsShown = 25

func (v *violations) add(value any, path, must string) {
	v.count++
	if len(v.texts) == violationsShown {
		return
	}
	shown := "null"
	if value != nil {
		shown = "'" + excerpt(value) + "'"
	}
	v.texts = append(v.texts, fmt.Sprintf("Value %s at '%s' failed to satisfy constraint: Member must %s", shown, path, must))
}

// err is the error Amazon answers, nil if there is nothing to say.
func (v *violations) err() error {
	switch v.count {
	case 0:
		return nil
	case 1:
		return &apiError{Type: "ValidationException", Message: "1 validation error detected: " + v.texts[0]}
	}
	return &apiError{
		Type:    "ValidationException",
		Message: fmt.Sprintf("%d validation errors detected: %s", v.count, strings.Join(v.texts, "; ")),
	}
}

func excerpt(value any) string {
	s, ok := value.(string)
	if !ok {
		b, err := json.Marshal(value)
		if err != nil {
			return ""
		}
		s = string(b)
	}
	const most = 200
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "..."
	}
	return s
}

// check gives the part of value the shape knows (null members and unknown ones left out), collecting the
// constraints it fails. A value of another JSON type is a SerializationException, the first one met.
func (s *shape) check(value any, path string, found *violations) (any, error) {
	switch s.kind {
	case "structure":
		return s.checkStructure(value, path, found)
	case "list":
		return s.checkList(value, path, found)
	case "string":
		str, ok := value.(string)
		if !ok {
			return nil, wrongType(value, path, "a String")
		}
		s.checkString(str, path, found)
		return str, nil
	case "integer":
		num, ok := value.(json.Number)
		if !ok {
			return nil, wrongType(value, path, "an Integer")
		}
		n, err := num.Int64()
		if err != nil || n < math.MinInt32 || n > math.MaxInt32 {
			return nil, wrongType(value, path, "an Integer")
		}
		switch {
		case n < int64(s.min):
			found.add(num.String(), path, fmt.Sprintf("have value greater than or equal to %d", s.min))
		case n > int64(s.max):
			found.add(num.String(), path, fmt.Sprintf("have value less than or equal to %d", s.max))
		}
		return num, nil
	case "boolean":
		b, ok := value.(bool)
		if !ok {
			return nil, wrongType(value, path, "a Boolean")
		}
		return b, nil
	case "map":
		return s.checkMap(value, path, found)
	case "blob":
		return s.checkBlob(value, path, found)
	case "timestamp":
		if _, ok := value.(json.Number); !ok {
			return nil, wrongType(value, path, "a Timestamp")
		}
		return value, nil
	}
	panic("emulator: shape of kind " + s.kind)
}

func (s *shape) checkStructure(value any, path string, found *violations) (any, error) {
	given, ok := value.(map[string]any)
	if !ok {
		return nil, wrongType(value, path, "a structure")
	}
	kept := make(map[string]any, len(given))
	for _, m := range s.members {
		at := join(path, lowerFirst(m.name))
		v := given[m.name]
		if v == nil {
			if m.required {
				found.add(nil, at, "not be null")
			}
			continue
		}
		k, err := m.shape.check(v, at, found)
		if err != nil {
			return nil, err
		}
		kept[m.name] = k
	}
	return kept, nil
}

func (s *shape) checkList(value any, path string, found *violations) (any, error) {
	given, ok := value.([]any)
	if !ok {
		return nil, wrongType(value, path, "a list")
	}
	s.checkLength(len(given), given, path, found)
	kept := make([]any, 0, len(given))
	for i, v := range given {
		at := fmt.Sprintf("%s.%d.member", path, i+1)
		if v == nil {
			found.add(nil, at, "not be null")
			continue
		}
		k, err := s.item.check(v, at, found)
		if err != nil {
			return nil, err
		}
		kept = append(kept, k)
	}
	return kept, nil
}

func (s *shape) checkMap(value any, path string, found *violations) (any, error) {
	given, ok := value.(map[string]any)
	if !ok {
		return nil, wrongType(value, path, "a map")
	}
	s.checkLength(len(given), given, path, found)
	kept := make(map[string]any, len(given))
	for _, key := range slices.Sorted(maps.Keys(given)) {
		at := join(path, key)
		s.key.checkString(key, at+".key", found)
		if given[key] == nil {
			continue
		}
		k, err := s.item.check(given[key], at+".value", found)
		if err != nil {
			return nil, err
		}
		kept[key] = k
	}
	return kept, nil
}

// checkBlob takes bytes as JSON carries them, in base 64.
func (s *shape) checkBlob(value any, path string, found *violations) (any, error) {
	text, ok := value.(string)
	if !ok {
		return nil, wrongType(value, path, "a Blob")
	}
	content, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, wrongType(value, path, "a Blob")
	}
	s.checkLength(len(content), text, path, found)
	return text, nil
}

// checkLength reports a length outside the bounds.
func (s *shape) checkLength(n int, value any, path string, found *violations) {
	switch {
	case n < s.min:
		found.add(value, path, fmt.Sprintf("have length greater than or equal to %d", s.min))
	case n > s.max:
		found.add(value, path, fmt.Sprintf("have length less than or equal to %d", s.max))
	}
}

func (s *shape) checkString(value, path string, found *violations) {
	s.checkLength(utf8.RuneCountInString(value), value, path, found)
	if s.pattern != nil && !s.pattern.MatchString(value) {
		found.add(value, path, "satisfy regular expression pattern: "+s.shown)
	}
	if s.enum != nil && !slices.Contains(s.enum, value) {
		found.add(value, path, "satisfy enum value set: ["+strings.Join(s.enum, ", ")+"]")
	}
}

func wrongType(value any, path, want string) error {
	return &apiError{Type: "SerializationException", Message: fmt.Sprintf("%s at '%s' cannot be converted to %s", excerpt(value), path, want)}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func lowerFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToLower(r)) + s[n:]
}
