package emulator_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// amazonModel is the service model as the tests read it: not through the code that is under test.
type amazonModel struct {
	Operations map[string]struct {
		Input  struct{ Shape string }
		Errors []struct{ Shape string }
	}
	Shapes map[string]amazonShape
}

type amazonShape struct {
	Type     string
	Members  map[string]struct{ Shape string }
	Required []string
	Member   struct{ Shape string }
	Key      struct{ Shape string }
	Value    struct{ Shape string }
	Min, Max *int
	Pattern  string
	Enum     []string
}

var readModel = sync.OnceValue(func() *amazonModel {
	content, err := os.ReadFile("model/workspaces.json")
	if err != nil {
		panic(err)
	}
	m := new(amazonModel)
	if err := json.Unmarshal(content, m); err != nil {
		panic(err)
	}
	return m
})

// commonErrors are those any operation may answer, whatever its model says.
var commonErrors = []string{
	"AccessDeniedException", "InternalFailure", "RequestEntityTooLargeException", "SerializationException", "ServiceUnavailable",
	"ThrottlingException", "UnknownOperationException", "ValidationException",
}

// mayAnswer reports whether Amazon has the error for the operation. What is not an error it has, too: the
// request log also says "ok" and names faults.
func (m *amazonModel) mayAnswer(op, outcome string) bool {
	if !strings.HasSuffix(outcome, "Exception") || slices.Contains(commonErrors, outcome) {
		return true
	}
	if _, ours := m.Operations[op]; !ours && op != "" {
		return true // CloudWatch's, of another model
	}
	for _, e := range m.Operations[op].Errors {
		if e.Shape == outcome {
			return true
		}
	}
	return false
}

func TestErrorsThatAmazonDoesNotHaveAreNoticed(t *testing.T) {
	for _, c := range []struct {
		op, outcome string
		want        bool
	}{
		{"DescribeTags", "ok", true},
		{"DescribeTags", "ResourceNotFoundException", true},
		{"DescribeTags", "ValidationException", true},
		{"DescribeTags", "InvalidParameterValuesException", false},
		{"CreateWorkspaces", "ResourceLimitExceededException", true},
		{"CreateWorkspaces", "NoSuchException", false},
	} {
		if got := readModel().mayAnswer(c.op, c.outcome); got != c.want {
			t.Errorf("%s may answer %s: %v", c.op, c.outcome, got)
		}
	}
}

// generator makes inputs that are valid, with every member there is.
type generator struct {
	*amazonModel
	known map[string]any // values by the name of their shape, for ids of what is there
	above []string       // the structures around the one being made: a shape may hold itself
}

func (g *generator) value(name string) any {
	if v, ok := g.known[name]; ok {
		return v
	}
	s := g.Shapes[name]
	switch s.Type {
	case "structure":
		g.above = append(g.above, name)
		made := map[string]any{}
		for member, of := range s.Members {
			if !slices.Contains(g.above, of.Shape) {
				made[member] = g.value(of.Shape)
			}
		}
		g.above = g.above[:len(g.above)-1]
		return made
	case "list":
		return many(g.value(s.Member.Shape), max(1, s.least()))
	case "map":
		return map[string]any{g.value(s.Key.Shape).(string): g.value(s.Value.Shape)}
	case "string":
		return s.text()
	case "integer":
		return max(1, s.least())
	case "boolean":
		return true
	case "blob":
		return base64.StdEncoding.EncodeToString(make([]byte, max(1, s.least())))
	case "timestamp":
		return 1772442000
	}
	panic("shape " + name + " is a " + s.Type)
}

func (s amazonShape) least() int {
	if s.Min == nil {
		return 0
	}
	return *s.Min
}

func many(item any, n int) []any {
	all := make([]any, n)
	for i := range all {
		all[i] = item
	}
	return all
}

// text is a string that satisfies the shape.
func (s amazonShape) text() string {
	if len(s.Enum) > 0 {
		return s.Enum[0]
	}
	if s.Pattern == "" {
		return strings.Repeat("x", max(1, s.least()))
	}
	for repeats := range 100 {
		made := matching(parsed(s.Pattern), repeats)
		if utf8.RuneCountInString(made) >= max(1, s.least()) && s.compiled().MatchString(made) {
			return made
		}
	}
	panic("nothing found that matches " + s.Pattern)
}

func (s amazonShape) compiled() *regexp.Regexp { return regexp.MustCompile(goPattern(s.Pattern)) }

// goPattern is a pattern in the form Go takes: it counts to 1000 only.
func goPattern(pattern string) string {
	return strings.ReplaceAll(pattern, "{0,1023}", "{0,1000}")
}

func parsed(pattern string) *syntax.Regexp {
	re, err := syntax.Parse(goPattern(pattern), syntax.Perl)
	if err != nil {
		panic(err)
	}
	return re
}

// matching makes a string of a pattern, in which what may be repeated is so, up to the number of times.
func matching(re *syntax.Regexp, repeats int) string {
	inner := func() string { return matching(re.Sub[0], repeats) }
	switch re.Op { //nolint:exhaustive // the others match the empty string: anchors and the like
	case syntax.OpLiteral:
		return string(re.Rune)
	case syntax.OpCharClass:
		return string(oneOf(re.Rune))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return "x"
	case syntax.OpCapture:
		return inner()
	case syntax.OpStar, syntax.OpQuest:
		if re.Op == syntax.OpQuest {
			return ""
		}
		return strings.Repeat(inner(), repeats)
	case syntax.OpPlus:
		return strings.Repeat(inner(), max(1, repeats))
	case syntax.OpRepeat:
		n := max(re.Min, repeats)
		if re.Max >= 0 {
			n = min(n, re.Max)
		}
		return strings.Repeat(inner(), n)
	case syntax.OpAlternate:
		return inner()
	case syntax.OpConcat:
		var b strings.Builder
		for _, sub := range re.Sub {
			b.WriteString(matching(sub, repeats))
		}
		return b.String()
	}
	return ""
}

// oneOf picks a character of a class, given as pairs of bounds: one that is easy to read if it can.
func oneOf(ranges []rune) rune {
	for _, nice := range "a1A" {
		for i := 0; i < len(ranges); i += 2 {
			if ranges[i] <= nice && nice <= ranges[i+1] {
				return nice
			}
		}
	}
	return ranges[0]
}

// inputCheck is a request that differs from a valid one in one thing.
type inputCheck struct {
	kind  string // a column of the table
	name  string
	input any
	// wantType is the error, "" if the request is as good as the valid one.
	wantType string
	want     []string // what the message says
}

// The columns of the table.
var checkKinds = []string{"required", "length", "range", "pattern", "enum", "type", "null", "unknown"}

// checker collects the checks of one operation's input.
type checker struct {
	*amazonModel
	checks []inputCheck
}

func (c *checker) add(kind, path string, input any, must string) {
	check := inputCheck{kind: kind, name: kind + " at '" + path + "': " + must, input: input}
	switch {
	case kind == "type":
		check.wantType, check.want = "SerializationException", []string{"at '" + path + "'", must}
	case must != "":
		check.wantType = "ValidationException"
		check.want = []string{"validation error", "at '" + path + "' failed to satisfy constraint: Member must " + must}
	}
	c.checks = append(c.checks, check)
}

// missing is a member that is left out.
type missing struct{}

// visit adds the checks of a value and of all within it. put makes an input that has another value in its place.
func (c *checker) visit(shape string, value any, path string, put func(any) any) {
	s := c.Shapes[shape]
	bad := func(kind string, v any, must string) { c.add(kind, path, put(v), must) }
	switch s.Type {
	case "structure":
		c.structure(s, value.(map[string]any), path, put)
	case "list":
		bad("type", map[string]any{}, "cannot be converted to a list")
		items := value.([]any)
		first := func(v any) any { return put(append([]any{v}, items[1:]...)) }
		c.lengths(s, func(n int) any { return put(many(items[0], n)) }, path)
		c.add("null", path+".1.member", first(nil), "not be null")
		c.visit(s.Member.Shape, items[0], path+".1.member", first)
	case "map":
		bad("type", []any{}, "cannot be converted to a map")
		for key, v := range value.(map[string]any) {
			c.visit(s.Key.Shape, key, path+"."+key+".key", func(k any) any {
				text, ok := k.(string)
				if !ok {
					text = key // a name of JSON is a string
				}
				return put(map[string]any{text: v})
			})
			c.visit(s.Value.Shape, v, path+"."+key+".value", func(v any) any { return put(map[string]any{key: v}) })
		}
	case "string":
		bad("type", 7, "cannot be converted to a String")
		bad("type", []any{"x"}, "cannot be converted to a String")
		c.lengths(s, func(n int) any { return put(strings.Repeat("x", n)) }, path)
		if s.Pattern != "" {
			bad("pattern", s.mismatch(), "satisfy regular expression pattern: "+s.Pattern)
		}
		if len(s.Enum) > 0 {
			bad("enum", "NO_SUCH_VALUE", "satisfy enum value set: ["+strings.Join(s.Enum, ", ")+"]")
			bad("enum", strings.ToLower(s.Enum[0]), "satisfy enum value set: [")
		}
	case "integer":
		bad("type", "7", "cannot be converted to an Integer")
		bad("type", 1.5, "cannot be converted to an Integer")
		bad("type", 1<<31, "cannot be converted to an Integer")
		if s.Min != nil {
			bad("range", *s.Min-1, fmt.Sprintf("have value greater than or equal to %d", *s.Min))
		}
		if s.Max != nil {
			bad("range", *s.Max+1, fmt.Sprintf("have value less than or equal to %d", *s.Max))
		}
	case "boolean":
		bad("type", "true", "cannot be converted to a Boolean")
		bad("type", 1, "cannot be converted to a Boolean")
	case "timestamp":
		bad("type", "2026-03-02T09:00:00Z", "cannot be converted to a Timestamp")
	case "blob":
		bad("type", 7, "cannot be converted to a Blob")
		bad("type", "not base 64", "cannot be converted to a Blob")
		c.lengths(s, func(n int) any { return put(base64.StdEncoding.EncodeToString(make([]byte, n))) }, path)
	default:
		panic("shape " + shape + " is a " + s.Type)
	}
}

func (c *checker) structure(s amazonShape, value map[string]any, path string, put func(any) any) {
	c.add("type", path, put([]any{}), "cannot be converted to a structure")
	c.add("type", path, put("x"), "cannot be converted to a structure")
	with := func(member string) func(any) any {
		return func(v any) any {
			changed := maps.Clone(value)
			changed[member] = v
			if v == (missing{}) {
				delete(changed, member)
			}
			return put(changed)
		}
	}
	c.add("unknown", path, with("NoSuchMember")(map[string]any{"x": []any{1}}), "")
	for _, member := range slices.Sorted(maps.Keys(value)) {
		at, put := strings.TrimPrefix(path+"."+strings.ToLower(member[:1])+member[1:], "."), with(member)
		if slices.Contains(s.Required, member) {
			c.add("required", at, put(missing{}), "not be null")
			c.add("null", at, put(nil), "not be null")
		} else {
			c.add("required", at, put(missing{}), "")
			c.add("null", at, put(nil), "")
		}
		c.visit(s.Members[member].Shape, value[member], at, put)
	}
}

// lengths adds the bounds of a length. What would not fit into a request is left out.
func (c *checker) lengths(s amazonShape, of func(n int) any, path string) {
	if s.least() > 0 {
		c.add("length", path, of(*s.Min-1), fmt.Sprintf("have length greater than or equal to %d", *s.Min))
	}
	if s.Max != nil && *s.Max < 500_000 {
		c.add("length", path, of(*s.Max+1), fmt.Sprintf("have length less than or equal to %d", *s.Max))
	}
}

// mismatch is a string of a length that will do, which the pattern does not match.
func (s amazonShape) mismatch() string {
	for _, c := range []string{"☃", "\n", " ", "x"} {
		if v := strings.Repeat(c, max(1, s.least())); !s.compiled().MatchString(v) {
			return v
		}
	}
	panic("everything matches " + s.Pattern)
}
