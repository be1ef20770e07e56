package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"gopkg.in/yaml.v3"
)

// Problem is one thing that is wrong with a file: where, and what would be right.
type Problem struct {
	Line    int      `json:"line,omitempty"`
	Column  int      `json:"column,omitempty"`
	Field   string   `json:"field,omitempty"` // such as definition.parameters[2].type
	Message string   `json:"message"`
	Allowed []string `json:"allowed,omitempty"`
}

// String is the problem in one line.
func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "%d:%d: ", p.Line, p.Column)
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

const (
	// maxDepth is how deep a file may nest, far more than a document needs.
	maxDepth = 16
	// maxProblems is how many are told of at once.
	maxProblems = 50
)

// Parse reads a file, which is YAML or JSON, and tells everything that is wrong with it. The document means something only
// without problems.
func Parse(text []byte) (Document, []Problem) {
	if len(text) > MaxBytes {
		return Document{}, []Problem{{Message: fmt.Sprintf("the file has %d bytes; at most %d are taken", len(text), MaxBytes)}}
	}
	root, problem := decode(text)
	if problem != nil {
		return Document{}, []Problem{*problem}
	}
	r := reader{at: map[string]*yaml.Node{}}
	value := r.value(root, "", 0)
	if len(r.problems) > 0 {
		return Document{}, r.cut()
	}
	if err := compiled().Validate(value); err != nil {
		var wrong *jsonschema.ValidationError
		if !errors.As(err, &wrong) {
			return Document{}, []Problem{{Message: err.Error()}}
		}
		r.explain(wrong)
		return Document{}, r.cut()
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return Document{}, []Problem{{Message: err.Error()}}
	}
	var d Document
	from := json.NewDecoder(bytes.NewReader(encoded))
	from.UseNumber()
	from.DisallowUnknownFields()
	if err := from.Decode(&d); err != nil {
		return Document{}, []Problem{{Message: err.Error()}}
	}
	r.sense(d)
	if len(r.problems) > 0 {
		return Document{}, r.cut()
	}
	return d, nil
}

// Check tells what is wrong with a definition that was not read from a file.
func Check(d Definition) []Problem {
	text, err := Format(Document{Blueprint: "any", Definition: d})
	if err != nil {
		return []Problem{{Message: err.Error()}}
	}
	_, problems := Parse(text)
	for i := range problems {
		problems[i].Line, problems[i].Column = 0, 0
		problems[i].Field = strings.TrimPrefix(problems[i].Field, "definition.")
	}
	return problems
}

// Format writes a document as a file that Parse reads to the same.
func Format(d Document) ([]byte, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(d); err != nil {
		return nil, err
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text.Bytes(), &root); err != nil { // JSON is YAML, and its order is kept
		return nil, err
	}
	plain(&root)
	var out bytes.Buffer
	w := yaml.NewEncoder(&out)
	w.SetIndent(2)
	if err := errors.Join(w.Encode(&root), w.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// plain takes JSON's brackets and quotes away. Text that would be read as something else is quoted by the encoder; text of
// several lines keeps its quotes, because the encoder loses leading ones.
func plain(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode || strings.IndexFunc(n.Value, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		n.Style = 0
	}
	for _, c := range n.Content {
		plain(c)
	}
}

// place is where yaml.v3's messages say that they are.
var place = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// decode reads exactly one YAML document.
func decode(text []byte) (*yaml.Node, *Problem) {
	from := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	err := from.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, &Problem{Message: "the file is empty"}
	}
	if err != nil {
		p := &Problem{Message: "this is not YAML: " + place.ReplaceAllString(err.Error(), "")}
		if m := place.FindStringSubmatch(err.Error()); len(m) > 1 && m[1] != "" {
			p.Line, _ = strconv.Atoi(m[1])
			p.Column = 1
		}
		return nil, p
	}
	var more yaml.Node
	if err := from.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, &Problem{Line: more.Line, Column: more.Column, Message: "a file is one blueprint; this one goes on with another document"}
	}
	return doc.Content[0], nil
}

// reader turns nodes into JSON's values and remembers where each was.
type reader struct {
	at       map[string]*yaml.Node // by JSON pointer
	problems []Problem
}

func (r *reader) say(n *yaml.Node, pointer, message string, allowed ...string) {
	p := Problem{Field: fieldOf(pointer), Message: message, Allowed: allowed}
	if n != nil {
		p.Line, p.Column = n.Line, n.Column
	}
	r.problems = append(r.problems, p)
}

// cut gives the problems in the order of the file, each once.
func (r *reader) cut() []Problem {
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	all := slices.CompactFunc(r.problems, func(a, b Problem) bool { return a.String() == b.String() })
	return all[:min(len(all), maxProblems)]
}

func (r *reader) value(n *yaml.Node, pointer string, depth int) any {
	r.at[pointer] = n
	if depth > maxDepth {
		r.say(n, pointer, "this is nested too deeply")
		return nil
	}
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		r.say(n, pointer, "anchors and aliases are not taken: write the value out")
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		return r.mapping(n, pointer, depth)
	case yaml.SequenceNode:
		all := make([]any, len(n.Content))
		for i, c := range n.Content {
			all[i] = r.value(c, pointer+"/"+strconv.Itoa(i), depth+1)
		}
		return all
	case yaml.ScalarNode:
		return r.scalar(n, pointer)
	case yaml.DocumentNode, yaml.AliasNode:
	}
	r.say(n, pointer, "this is not a value")
	return nil
}

func (r *reader) mapping(n *yaml.Node, pointer string, depth int) any {
	all := make(map[string]any, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode || k.Anchor != "" || k.ShortTag() == "!!merge" || !printable(k.Value) {
			r.say(k, pointer, "a field's name is plain text")
			continue
		}
		if _, twice := all[k.Value]; twice {
			r.say(k, join(pointer, k.Value), "this field is given twice")
			continue
		}
		child := join(pointer, k.Value)
		all[k.Value] = r.value(v, child, depth+1)
		if v.Kind == yaml.MappingNode || v.Kind == yaml.SequenceNode {
			r.at[child] = k // what a reader looks for is its name
		}
	}
	return all
}

func (r *reader) scalar(n *yaml.Node, pointer string) any {
	switch n.ShortTag() {
	case "!!str", "!!timestamp":
		if !printable(n.Value) {
			r.say(n, pointer, "control characters are not taken")
			return nil
		}
		return n.Value
	case "!!int":
		// yaml.v3 reads 0x10 and 1_000 too.
		i, ok := new(big.Int).SetString(strings.ReplaceAll(n.Value, "_", ""), 0)
		if !ok || !i.IsInt64() {
			r.say(n, pointer, "this number is too large")
			return nil
		}
		return json.Number(i.String())
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!null":
		r.say(n, pointer, "nothing is given; leave the field out")
		return nil
	case "!!float":
		if strings.Trim(n.Value, "-0123456789") == "" {
			r.say(n, pointer, "this number is too large")
			return nil
		}
		r.say(n, pointer, "numbers are whole here; put text in quotes")
		return nil
	}
	r.say(n, pointer, fmt.Sprintf("%s is not taken", n.ShortTag()))
	return nil
}

func join(pointer, key string) string {
	return pointer + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}

// fieldOf is a JSON pointer as people write it.
func fieldOf(pointer string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		if _, err := strconv.Atoi(part); err == nil && b.Len() > 0 {
			b.WriteString("[" + part + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(part)
	}
	return b.String()
}

var compiled = sync.OnceValue(func() *jsonschema.Schema {
	const url = "blueprint.schema.json"
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemaText))
	if err != nil {
		panic(err) // it is part of the program
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(url, doc); err != nil {
		panic(err)
	}
	return c.MustCompile(url)
})

// explain turns what the schema refuses into problems, the innermost causes only.
func (r *reader) explain(wrong *jsonschema.ValidationError) {
	if len(wrong.Causes) > 0 {
		for _, c := range wrong.Causes {
			r.explain(c)
		}
		return
	}
	pointer := ""
	for _, part := range wrong.InstanceLocation {
		pointer = join(pointer, part)
	}
	at := r.at[pointer]
	switch k := wrong.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			child := join(pointer, name)
			known := knownFields(wrong.SchemaURL)
			r.say(r.at[child], child, "there is no such field"+hint(name, known), known...)
		}
	case *kind.Required:
		for _, name := range k.Missing {
			r.say(at, join(pointer, name), "this field is missing")
		}
	case *kind.Enum:
		allowed := make([]string, len(k.Want))
		for i, w := range k.Want {
			allowed[i] = fmt.Sprint(w)
		}
		got := fmt.Sprint(k.Got)
		r.say(at, pointer, fmt.Sprintf("%q is not one of %s%s", got, strings.Join(allowed, ", "), hint(got, allowed)), allowed...)
	case *kind.Type:
		message := "this must be " + strings.Join(typeNames(k.Want), " or ") + ", not " + typeNames([]string{k.Got})[0]
		if len(k.Want) == 1 && k.Want[0] == "string" && (k.Got == "number" || k.Got == "integer" || k.Got == "boolean") {
			message += ": put it in quotes"
		}
		r.say(at, pointer, message)
	case *kind.Pattern:
		r.say(at, pointer, fmt.Sprintf("%q does not have the form %s", k.Got, k.Want))
	case *kind.PropertyNames:
		r.say(r.at[join(pointer, k.Property)], join(pointer, k.Property), "this name is not allowed here")
	case *kind.MinLength, *kind.MaxLength, *kind.MinItems, *kind.MaxItems, *kind.MinProperties, *kind.MaxProperties:
		r.say(at, pointer, bounds(k))
	case *kind.Minimum:
		r.say(at, pointer, "this must be at least "+k.Want.RatString())
	case *kind.Maximum:
		r.say(at, pointer, "this must be at most "+k.Want.RatString())
	case *kind.MultipleOf:
		r.say(at, pointer, "this must be a multiple of "+k.Want.RatString())
	case *kind.UniqueItems:
		r.say(at, pointer, fmt.Sprintf("items %d and %d are the same", k.Duplicates[0]+1, k.Duplicates[1]+1))
	default:
		r.say(at, pointer, "this is not allowed here")
	}
}

func bounds(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.MinLength:
		return fmt.Sprintf("this needs at least %d characters", k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("this has %d characters; at most %d are taken", k.Got, k.Want)
	case *kind.MinItems:
		return fmt.Sprintf("this needs at least %d items", k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("this has %d items; at most %d are taken", k.Got, k.Want)
	case *kind.MinProperties:
		return fmt.Sprintf("this needs at least %d fields", k.Want)
	case *kind.MaxProperties:
		return fmt.Sprintf("this has %d fields; at most %d are taken", k.Got, k.Want)
	}
	return "this is too much or too little"
}

func typeNames(types []string) []string {
	names := map[string]string{"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false", "object": "fields with values", "array": "a list", "null": "nothing"}
	out := make([]string, len(types))
	for i, t := range types {
		out[i] = names[t]
	}
	return out
}

// knownFields are the fields of the object that a place of the schema describes.
func knownFields(schemaURL string) []string {
	var s any
	if err := json.Unmarshal(schemaText, &s); err != nil {
		return nil
	}
	_, pointer, _ := strings.Cut(schemaURL, "#")
	for part := range strings.SplitSeq(strings.Trim(pointer, "/"), "/") {
		switch v := s.(type) {
		case map[string]any:
			if part != "" {
				s = v[part]
			}
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(v) {
				return nil
			}
			s = v[i]
		}
	}
	object, _ := s.(map[string]any)
	properties, _ := object["properties"].(map[string]any)
	var names []string
	for name := range properties {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// hint names the word that was probably meant.
func hint(got string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if d := distance(strings.ToLower(got), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// distance is how many letters must be changed, added or left out (Levenshtein), up to where it does not matter any more.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal, row[j+1] = row[j+1], min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// sense tells what no schema can: fields that contradict each other.
func (r *reader) sense(d Document) {
	f, say := d.Definition, func(field, format string, args ...any) {
		pointer := "/definition/" + field
		at := r.at[pointer]
		for p := pointer; at == nil && p != ""; p = p[:strings.LastIndex(p, "/")] {
			at = r.at[p]
		}
		r.say(at, pointer, fmt.Sprintf(format, args...))
	}
	if !slices.Contains(f.BundleTypes, f.DefaultBundleType) {
		say("default_bundle_type", "%s is not one of bundle_types: %s", f.DefaultBundleType, strings.Join(f.BundleTypes, ", "))
	}
	if f.RunningMode == "AUTO_STOP" && f.AutoStopTimeoutMinutes == 0 {
		say("auto_stop_timeout_minutes", "running_mode AUTO_STOP needs a timeout: 60 or another multiple of 60")
	}
	if f.License == "BYOL" && f.Image == nil {
		say("image", "license BYOL needs an image of your own")
	}
	if f.Image != nil {
		for region, types := range f.Image.Bundles {
			for t := range types {
				if !slices.Contains(f.BundleTypes, t) {
					say("image/bundles/"+region+"/"+t, "%s is not one of bundle_types", t)
				}
			}
		}
	}
	for i, t := range f.RequiredTags {
		if v, ok := f.Tags[t.Key]; ok && len(t.Values) > 0 && !slices.Contains(t.Values, v) {
			say("tags/"+t.Key, "%q is not one of the values that required_tags allows: %s", v, strings.Join(t.Values, ", "))
		}
		if slices.ContainsFunc(f.RequiredTags[:i], func(o RequiredTag) bool { return o.Key == t.Key }) {
			say(fmt.Sprintf("required_tags/%d/key", i), "%q is required twice", t.Key)
		}
	}
	r.parameters(f, say)
	if text, _, err := f.Canonical(); err == nil && len(text) > MaxBytes {
		say("", "the definition has %d bytes as JSON; at most %d are taken", len(text), MaxBytes)
	}
}

func (r *reader) parameters(f Definition, say func(field, format string, args ...any)) {
	for i, p := range f.Parameters {
		field := fmt.Sprintf("parameters/%d/", i)
		if slices.ContainsFunc(f.Parameters[:i], func(o Parameter) bool { return o.Name == p.Name }) {
			say(field+"name", "there is a parameter %q already", p.Name)
		}
		bounded := p.Type == Integer || p.Type == String
		switch {
		case (p.Minimum != nil || p.Maximum != nil) && !bounded:
			say(field+"type", "a %s has no minimum or maximum", p.Type)
		case p.Minimum != nil && p.Maximum != nil && *p.Minimum > *p.Maximum:
			say(field+"minimum", "the minimum is above the maximum")
		}
		if p.Pattern != "" && p.Type != String {
			say(field+"pattern", "only a string has a pattern")
		}
		if (len(p.Values) > 0) != (p.Type == Choice) {
			say(field+"values", "a choice has values, and nothing else has")
			continue
		}
		if _, err := regexp.Compile(`^(?:` + p.Pattern + `)$`); err != nil {
			say(field+"pattern", "this is not a regular expression of RE2: %v", err)
			continue
		}
		if p.Default == nil {
			continue
		}
		_, isText := p.Default.(string)
		_, isNumber := p.Default.(json.Number)
		_, isBool := p.Default.(bool)
		if isText != (p.Type == String || p.Type == Choice) || isNumber != (p.Type == Integer) || isBool != (p.Type == Boolean) {
			say(field+"default", "the default must be %s", p.allowed())
		} else if err := p.check(fmt.Sprint(p.Default)); err != nil {
			say(field+"default", "the default %v", err)
		}
	}
	for k, v := range f.Environment {
		for _, m := range reference.FindAllStringSubmatch(v, -1) {
			if !slices.Contains(f.parameterNames(), m[1]) {
				say("environment/"+k, "there is no parameter %q; there are: %s", m[1], orNone(f.parameterNames()))
			}
		}
	}
}
