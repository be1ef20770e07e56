// Package spec is the form of a blueprint: what a definition may say, how it is written in a file, and what is wrong with it.
// It is pure, so that the command line checks a file as the server does.
package spec

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxBytes bounds a file and a canonical definition.
const MaxBytes = 64 << 10

// schemaText is the JSON Schema of a Document.
//
//go:embed blueprint.schema.json
var schemaText []byte

// Schema is the JSON Schema of a file, for editors and for whoever checks by other means.
func Schema() []byte { return slices.Clone(schemaText) }

// Document is what a file says: a definition, and whose it is. Only the definition is under version.
type Document struct {
	Blueprint   string            `json:"blueprint"`
	Description string            `json:"description,omitempty"`
	Owner       string            `json:"owner,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Definition  Definition        `json:"definition"`
}

// Team is the team's name, empty for a public blueprint, and the blueprint's.
func (d Document) Team() (team, name string) {
	if team, name, ok := strings.Cut(d.Blueprint, "/"); ok {
		return team, name
	}
	return "", d.Blueprint
}

// Definition is what a version says. Its JSON, as encoded here, is the canonical form that the digest is of: fields in this
// order, keys of maps sorted, no spaces. Fields are added at the end and are empty where they were not known.
type Definition struct {
	OperatingSystem        string            `json:"operating_system"`
	License                string            `json:"license"`
	BundleTypes            []string          `json:"bundle_types"`
	DefaultBundleType      string            `json:"default_bundle_type"`
	RunningMode            string            `json:"running_mode"`
	AutoStopTimeoutMinutes int               `json:"auto_stop_timeout_minutes,omitempty"`
	MaxLifetimeDays        int               `json:"max_lifetime_days,omitempty"`
	Software               []string          `json:"software,omitempty"`
	Tags                   map[string]string `json:"tags,omitempty"`
	Image                  *Image            `json:"image,omitempty"`
	Environment            map[string]string `json:"environment,omitempty"`
	RequiredTags           []RequiredTag     `json:"required_tags,omitempty"`
	Parameters             []Parameter       `json:"parameters,omitempty"`
}

// Image is where the root volume comes from; exactly one is set.
type Image struct {
	// Bundles are custom bundles that exist, by region and bundle type.
	Bundles map[string]map[string]string `json:"bundles,omitempty"`
	// Images are images that exist, by region.
	Images map[string]string `json:"images,omitempty"`
	// Golden is a WorkSpace to capture an image from.
	Golden *Golden `json:"golden,omitempty"`
}

// Golden is a WorkSpace by Amazon's id.
type Golden struct {
	Region    string `json:"region"`
	Workspace string `json:"workspace"`
}

// RequiredTag is a tag that every WorkSpace must have; without values any will do.
type RequiredTag struct {
	Key         string   `json:"key"`
	Values      []string `json:"values,omitempty"`
	Description string   `json:"description,omitempty"`
}

// The types of parameters.
const (
	String  = "string"
	Integer = "integer"
	Boolean = "boolean"
	Choice  = "choice"
)

// Parameter is asked of whoever launches; without a default it must be given.
type Parameter struct {
	Name        string   `json:"name"`
	Type        string   `json:"type"`
	Description string   `json:"description,omitempty"`
	Default     any      `json:"default,omitempty"` // string, json.Number or bool
	Minimum     *int64   `json:"minimum,omitempty"`
	Maximum     *int64   `json:"maximum,omitempty"`
	Pattern     string   `json:"pattern,omitempty"`
	Values      []string `json:"values,omitempty"`
}

// Canonical is the definition's canonical JSON and the SHA-256 of it in hexadecimal.
func (d Definition) Canonical() (text []byte, digest string, err error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(d); err != nil {
		return nil, "", err
	}
	text = bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	sum := sha256.Sum256(text)
	return text, hex.EncodeToString(sum[:]), nil
}

// Decode reads a canonical definition.
func Decode(canonical []byte) (d Definition, err error) {
	from := json.NewDecoder(bytes.NewReader(canonical))
	from.UseNumber()
	return d, from.Decode(&d)
}

// reference is how a setting of the environment names a parameter. ${HOME} and the like are text.
var reference = regexp.MustCompile(`\$\{([a-z][a-z0-9_]*)\}`)

// Resolve completes the parameters that were given, as text, and refuses what the definition does not allow. The error is
// a sentence for whoever gave them.
func (d Definition) Resolve(given map[string]string) (map[string]string, error) {
	all := make(map[string]string, len(d.Parameters))
	for _, p := range d.Parameters {
		text, ok := given[p.Name]
		switch {
		case ok:
			if err := p.check(text); err != nil {
				return nil, fmt.Errorf("the parameter %s %w", p.Name, err)
			}
		case p.Default != nil:
			text = fmt.Sprint(p.Default)
		default:
			return nil, fmt.Errorf("the parameter %s must be given: %s", p.Name, p.allowed())
		}
		all[p.Name] = text
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if _, known := all[name]; !known {
			return nil, fmt.Errorf("there is no parameter %q; there are: %s", name, orNone(d.parameterNames()))
		}
	}
	return all, nil
}

func (d Definition) parameterNames() []string {
	names := make([]string, len(d.Parameters))
	for i, p := range d.Parameters {
		names[i] = p.Name
	}
	return names
}

func orNone(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

// Settings is the environment with the values of parameters in it.
func (d Definition) Settings(parameters map[string]string) map[string]string {
	all := make(map[string]string, len(d.Environment))
	for k, v := range d.Environment {
		all[k] = reference.ReplaceAllStringFunc(v, func(ref string) string { return parameters[ref[2:len(ref)-1]] })
	}
	return all
}

// allowed says what a parameter may be.
func (p Parameter) allowed() string {
	between := func(what string) string {
		switch {
		case p.Minimum != nil && p.Maximum != nil:
			return fmt.Sprintf("%s from %d to %d", what, *p.Minimum, *p.Maximum)
		case p.Minimum != nil:
			return fmt.Sprintf("%s of at least %d", what, *p.Minimum)
		case p.Maximum != nil:
			return fmt.Sprintf("%s of at most %d", what, *p.Maximum)
		}
		return what
	}
	switch p.Type {
	case Boolean:
		return "true or false"
	case Choice:
		return "one of " + strings.Join(p.Values, ", ")
	case Integer:
		return between("a whole number")
	}
	text := "text"
	if p.Minimum != nil || p.Maximum != nil {
		text = between("text with a length")
	}
	if p.Pattern != "" {
		text += " that matches " + p.Pattern
	}
	return text
}

// maxValue bounds the text of a parameter, in characters.
const maxValue = 1000

func (p Parameter) check(text string) error {
	refuse := func() error { return fmt.Errorf("must be %s", p.allowed()) }
	if utf8.RuneCountInString(text) > maxValue {
		return fmt.Errorf("must be at most %d characters", maxValue)
	}
	if !printable(text) {
		return fmt.Errorf("must be text without control characters")
	}
	outside := func(n int64) bool { return p.Minimum != nil && n < *p.Minimum || p.Maximum != nil && n > *p.Maximum }
	switch p.Type {
	case Boolean:
		if text != "true" && text != "false" {
			return refuse()
		}
	case Choice:
		if !slices.Contains(p.Values, text) {
			return refuse()
		}
	case Integer:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || outside(n) || strconv.FormatInt(n, 10) != text {
			return refuse()
		}
	default:
		if outside(int64(utf8.RuneCountInString(text))) {
			return refuse()
		}
		if p.Pattern != "" {
			whole, err := regexp.Compile(`^(?:` + p.Pattern + `)$`)
			if err != nil || !whole.MatchString(text) {
				return refuse()
			}
		}
	}
	return nil
}

// MissingTag is the first required tag that is not among the tags, or whose value is not allowed, as a sentence; empty: all
// are there.
func (d Definition) MissingTag(tags map[string]string) string {
	for _, r := range d.RequiredTags {
		v, ok := tags[r.Key]
		switch {
		case !ok && len(r.Values) > 0:
			return fmt.Sprintf("the tag %q is required: one of %s", r.Key, strings.Join(r.Values, ", "))
		case !ok:
			return fmt.Sprintf("the tag %q is required", r.Key)
		case len(r.Values) > 0 && !slices.Contains(r.Values, v):
			return fmt.Sprintf("the tag %q must be one of %s", r.Key, strings.Join(r.Values, ", "))
		}
	}
	return ""
}

// Offers tells whether the image can be had in a region for a bundle type. What is copied or captured can be everywhere.
func (i *Image) Offers(region, bundleType string) bool {
	if i == nil || i.Bundles == nil {
		return true
	}
	return i.Bundles[region][bundleType] != ""
}

// printable tells whether text has no control characters but line ends and tabs, and is UTF-8 that PostgreSQL takes.
func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return (r < ' ' || r == 0x7f) && r != '\n' && r != '\t' }) < 0
}
