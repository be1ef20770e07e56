package spec_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/robco-forge/forge/internal/blueprint/spec"
)

const whole = `# Backend services with containers
blueprint: backend/services
description: Backend services
owner: platform team
labels: {tier: gold}
definition:
  operating_system: WINDOWS
  license: INCLUDED
  bundle_types: [STANDARD, POWER]
  default_bundle_type: STANDARD
  running_mode: AUTO_STOP
  auto_stop_timeout_minutes: 60
  max_lifetime_days: 180
  image:
    images:
      us-east-1: wsi-0a1b2c3d4
  software:
    - go 1.26
  environment:
    REPOSITORY: https://git.example/${repository}
    SHELL: ${HOME}/bin/sh
  tags:
    purpose: backend
  required_tags:
    - key: ticket
    - key: stage
      values: [dev, test]
  parameters:
    - name: repository
      type: string
      pattern: "[a-z]+"
      maximum: 20
    - name: cores
      type: integer
      default: 2
      minimum: 1
      maximum: 8
    - name: debug
      type: boolean
      default: false
    - name: shell
      type: choice
      values: [bash, zsh]
      default: bash
`

func parsed(t *testing.T, text string) spec.Document {
	t.Helper()
	d, problems := spec.Parse([]byte(text))
	if len(problems) > 0 {
		t.Fatalf("problems: %v", problems)
	}
	return d
}

func TestTheExampleOfTheDocumentationIsRight(t *testing.T) {
	text, err := os.ReadFile("../../../docs/examples/services.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if d := parsed(t, string(text)); d.Blueprint != "backend/services" || len(d.Definition.Parameters) != 2 {
		t.Errorf("%+v", d)
	}
}

func TestADocumentIsReadWrittenAndReadToTheSame(t *testing.T) {
	d := parsed(t, whole)
	text, err := spec.Format(d)
	if err != nil {
		t.Fatal(err)
	}
	again := parsed(t, string(text))
	if diff := cmp.Diff(d, again); diff != "" {
		t.Fatalf("read again it differs:\n%s\n%s", diff, text)
	}
	canonical, digest, err := d.Definition.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	back, err := spec.Decode(canonical)
	if err != nil {
		t.Fatal(err)
	}
	_, same, err := back.Canonical()
	if err != nil || same != digest {
		t.Fatalf("digest %s, after decoding %s, %v", digest, same, err)
	}
}

// What the digest of a definition is must never change: digests are kept, and compared, for years.
func TestTheCanonicalFormStaysAsItIs(t *testing.T) {
	canonical, digest, err := parsed(t, whole).Definition.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	const file = "testdata/canonical.json"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, canonical, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(canonical)); diff != "" {
		t.Error(diff)
	}
	if want := "1b9e552c788ec7ef930fc2ed4035759d1897d55db1c557350d5fc41a50620471"; digest != want {
		t.Errorf("digest %s, want %s", digest, want)
	}
}

func TestAWrongFileIsToldByLineAndField(t *testing.T) {
	edit := func(old, with string) string {
		if !strings.Contains(whole, old) {
			t.Fatalf("the file has no %q", old)
		}
		return strings.Replace(whole, old, with, 1)
	}
	for _, c := range []struct {
		name, text string
		want       string // line:column: field: beginning of the message
		allowed    string
	}{
		{"nothing", "", "the file is empty", ""},
		{"no YAML", "a: [", "1:1: this is not YAML", ""},
		{"two documents", whole + "---\na: 1\n", "45:1: a file is one blueprint", ""},
		{"a list", "- a\n", "1:1: this must be fields with values, not a list", ""},
		{"unknown field", edit("  license:", "  licence:"), "6:1: definition.license: this field is missing", ""},
		{"unknown field by its name", edit("owner:", "ownr:"), "4:7: ownr: there is no such field; did you mean owner?", "blueprint definition description labels owner"},
		{"unknown word", edit("[STANDARD, POWER]", "[STANDARD, POWRE]"), `9:28: definition.bundle_types[1]: "POWRE" is not one of STANDARD, PERFORMANCE, POWER, POWERPRO, GRAPHICS_G4DN, GRAPHICSPRO_G4DN; did you mean POWER?`, "STANDARD PERFORMANCE POWER POWERPRO GRAPHICS_G4DN GRAPHICSPRO_G4DN"},
		{"number for text", edit("purpose: backend", "purpose: 12"), "23:14: definition.tags.purpose: this must be text, not a number: put it in quotes", ""},
		{"not whole", edit("max_lifetime_days: 180", "max_lifetime_days: 1.5"), "13:22: definition.max_lifetime_days: numbers are whole here", ""},
		{"nothing given", edit("max_lifetime_days: 180", "max_lifetime_days:"), "13:21: definition.max_lifetime_days: nothing is given", ""},
		{"no multiple", edit("minutes: 60", "minutes: 90"), "12:30: definition.auto_stop_timeout_minutes: this must be a multiple of 60", ""},
		{"too large a number", edit("minutes: 60", "minutes: 99999999999999999999"), "12:30: definition.auto_stop_timeout_minutes: this number is too large", ""},
		{"default that is not offered", edit("default_bundle_type: STANDARD", "default_bundle_type: POWERPRO"), "10:24: definition.default_bundle_type: POWERPRO is not one of bundle_types: STANDARD, POWER", ""},
		{"no timeout", edit("  auto_stop_timeout_minutes: 60\n", ""), "6:1: definition.auto_stop_timeout_minutes: running_mode AUTO_STOP needs a timeout", ""},
		{"BYOL without an image", strings.Replace(edit("license: INCLUDED", "license: BYOL"), "  image:\n    images:\n      us-east-1: wsi-0a1b2c3d4\n", "", 1), "6:1: definition.image: license BYOL needs an image", ""},
		{"two sources", edit("    images:\n", "    golden: {region: us-east-1, workspace: ws-123456789}\n    images:\n"), "14:3: definition.image: this has 2 fields; at most 1", ""},
		{"bundle that is not offered", edit("    images:\n      us-east-1: wsi-0a1b2c3d4\n", "    bundles: {us-east-1: {POWERPRO: wsb-123456789}}\n"), "15:37: definition.image.bundles.us-east-1.POWERPRO: POWERPRO is not one of bundle_types", ""},
		{"twice", edit("owner: platform team\n", "owner: a\nowner: b\n"), "5:1: owner: this field is given twice", ""},
		{"anchor", edit("labels: {tier: gold}", "labels: &a {tier: gold}"), "5:9: labels: anchors and aliases are not taken", ""},
		{"control character", edit("platform team", `"a\u0000b"`), "4:8: owner: control characters", ""},
		{"name", edit("backend/services", "backend/Services"), `2:12: blueprint: "backend/Services" does not have the form`, ""},
		{"parameter twice", edit("name: cores", "name: repository"), `33:13: definition.parameters[1].name: there is a parameter "repository" already`, ""},
		{"default of another type", edit("default: false", `default: "no"`), "40:16: definition.parameters[2].default: the default must be true or false", ""},
		{"default outside", edit("default: 2", "default: 9"), "35:16: definition.parameters[1].default: the default must be a whole number from 1 to 8", ""},
		{"bounds", edit("minimum: 1\n", "minimum: 9\n"), "36:16: definition.parameters[1].minimum: the minimum is above the maximum", ""},
		{"values of no choice", edit("type: choice", "type: string"), "43:7: definition.parameters[3].values: a choice has values", ""},
		{"no expression", edit(`"[a-z]+"`, `"[a-z"`), "31:16: definition.parameters[0].pattern: this is not a regular expression of RE2", ""},
		{"no such parameter", edit("${repository}", "${repo}"), `20:17: definition.environment.REPOSITORY: there is no parameter "repo"; there are: repository, cores, debug, shell`, ""},
		{"tag that is not allowed", edit("purpose: backend", "stage: live"), `23:12: definition.tags.stage: "live" is not one of the values`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, problems := spec.Parse([]byte(c.text))
			if len(problems) == 0 {
				t.Fatal("it was taken")
			}
			for _, p := range problems {
				if strings.HasPrefix(p.String(), c.want) {
					if got := strings.Join(p.Allowed, " "); got != c.allowed && c.allowed != "" {
						t.Errorf("allowed: %s, want %s", got, c.allowed)
					}
					return
				}
			}
			t.Errorf("problems:\n%v\nnone is %q", problems, c.want)
		})
	}
}

func TestAFileThatIsTooLargeIsNotRead(t *testing.T) {
	_, problems := spec.Parse([]byte(strings.Repeat("#", spec.MaxBytes+1)))
	if len(problems) != 1 || !strings.Contains(problems[0].Message, "65537 bytes") {
		t.Fatal(problems)
	}
	if _, problems := spec.Parse([]byte(strings.Repeat("[", 2000) + strings.Repeat("]", 2000))); len(problems) == 0 {
		t.Fatal("taken")
	}
}

func TestParametersAreCompletedAndChecked(t *testing.T) {
	d := parsed(t, whole).Definition
	got, err := d.Resolve(map[string]string{"repository": "forge", "cores": "8"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"repository": "forge", "cores": "8", "debug": "false", "shell": "bash"}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"REPOSITORY": "https://git.example/forge", "SHELL": "${HOME}/bin/sh"}, d.Settings(got)); diff != "" {
		t.Error(diff)
	}
	for given, want := range map[string]string{
		``:                                 "the parameter repository must be given: text with a length of at most 20 that matches [a-z]+",
		`repository=UP`:                    "the parameter repository must be text with a length of at most 20 that matches [a-z]+",
		`repository=x,cores=9`:             "the parameter cores must be a whole number from 1 to 8",
		`repository=x,cores=01`:            "the parameter cores must be a whole number from 1 to 8",
		`repository=x,debug=yes`:           "the parameter debug must be true or false",
		`repository=x,shell=fish`:          "the parameter shell must be one of bash, zsh",
		`repository=x,color=red`:           `there is no parameter "color"; there are: repository, cores, debug, shell`,
		"repository=x\x00":                 "the parameter repository must be text without control characters",
		`repository=aaaaaaaaaaaaaaaaaaaaa`: "the parameter repository must be text with a length of at most 20 that matches [a-z]+",
	} {
		values := map[string]string{}
		for pair := range strings.SplitSeq(given, ",") {
			if k, v, ok := strings.Cut(pair, "="); ok {
				values[k] = v
			}
		}
		if _, err := d.Resolve(values); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", given, err, want)
		}
	}
}

func TestRequiredTags(t *testing.T) {
	d := parsed(t, whole).Definition
	for _, c := range []struct {
		tags map[string]string
		want string
	}{
		{map[string]string{"ticket": "1", "stage": "dev"}, ""},
		{map[string]string{"stage": "dev"}, `the tag "ticket" is required`},
		{map[string]string{"ticket": "1"}, `the tag "stage" is required: one of dev, test`},
		{map[string]string{"ticket": "1", "stage": "live"}, `the tag "stage" must be one of dev, test`},
	} {
		if got := d.MissingTag(c.tags); got != c.want {
			t.Errorf("%v: %q, want %q", c.tags, got, c.want)
		}
	}
}

func TestDiffNamesTheFields(t *testing.T) {
	old := parsed(t, whole).Definition
	now := parsed(t, strings.NewReplacer("max_lifetime_days: 180", "max_lifetime_days: 90", "    - go 1.26\n", "    - go 1.27\n", "    purpose: backend\n", "    purpose: backend\n    new: \"1\"\n").Replace(whole)).Definition
	changes, err := spec.Diff(old, now)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range changes {
		got = append(got, fmt.Sprintf("%s: %s -> %s", c.Field, spec.Text(c.Old), spec.Text(c.New)))
	}
	want := []string{"max_lifetime_days: 180 -> 90", `software: ["go 1.26"] -> ["go 1.27"]`, "tags.new: – -> 1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if changes, err := spec.Diff(old, old); err != nil || len(changes) != 0 {
		t.Error(changes, err)
	}
	if changes, err := spec.Diff(spec.Definition{}, old); err != nil || len(changes) < 10 {
		t.Error("a new definition has all its fields", len(changes), err)
	}
}

// Whatever text stands in a document, written and read again it is the same.
func TestAnyDocumentSurvivesItsFile(t *testing.T) {
	word := rapid.StringOfN(rapid.RuneFrom([]rune("abz 019:#-'\"\\{}[]&*!|>%@`?,~=\n\tä€\u00a0\u2028yesnotru")), 0, 20, -1)
	rapid.Check(t, func(t *rapid.T) {
		d := spec.Document{
			Blueprint: rapid.SampledFrom([]string{"go-dev", "backend/x", "0team/null"}).Draw(t, "blueprint"), Description: word.Draw(t, "description"), Owner: word.Draw(t, "owner"),
			Definition: spec.Definition{
				OperatingSystem: "WINDOWS", License: "INCLUDED", BundleTypes: []string{"STANDARD"}, DefaultBundleType: "STANDARD", RunningMode: "ALWAYS_ON",
				Software:    rapid.SliceOfN(word.Filter(func(s string) bool { return s != "" }), 1, 4).Draw(t, "software"),
				Environment: map[string]string{"A": word.Draw(t, "a"), "Y": word.Draw(t, "y")},
				Parameters:  []spec.Parameter{{Name: "n", Type: "integer", Default: json.Number(fmt.Sprint(rapid.Int64().Draw(t, "n")))}},
			},
		}
		text, err := spec.Format(d)
		if err != nil {
			t.Fatal(err)
		}
		again, problems := spec.Parse(text)
		if len(problems) > 0 {
			t.Fatalf("%v\n%s", problems, text)
		}
		if diff := cmp.Diff(d, again); diff != "" {
			t.Fatalf("%s\n%s", diff, text)
		}
	})
}

// FuzzParse: no text makes the parser panic, and what it takes it takes again as it wrote it, with the same digest.
func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(`{"blueprint":"a","definition":{"operating_system":"W","license":"INCLUDED","bundle_types":["STANDARD"],"default_bundle_type":"STANDARD","running_mode":"ALWAYS_ON"}}`))
	f.Add([]byte("blueprint: a\ndefinition: {<<: {a: 1}, operating_system: !!binary aGk=, x: 2001-01-01, y: .nan, z: 0o17}\n"))
	f.Add([]byte("? [a]\n: &b *b\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, problems := spec.Parse(text)
		if len(problems) > 0 {
			for _, p := range problems {
				if p.Message == "" {
					t.Fatal("a problem without words")
				}
			}
			return
		}
		canonical, digest, err := d.Definition.Canonical()
		if err != nil || len(canonical) > spec.MaxBytes {
			t.Fatal(len(canonical), err)
		}
		written, err := spec.Format(d)
		if err != nil {
			t.Fatal(err)
		}
		if len(written) > spec.MaxBytes {
			return // it was JSON, which is shorter
		}
		again, problems := spec.Parse(written)
		if len(problems) > 0 {
			t.Fatalf("taken, and not taken as it was written: %v\n%s", problems, written)
		}
		if _, same, err := again.Definition.Canonical(); err != nil || same != digest {
			t.Fatalf("the digest changed: %v\n%s", err, written)
		}
	})
}
