package emulator_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

// TestTheDocumentIsComplete compares docs/emulator.md with what there is: a new operation, fault, action or route
// needs a row there.
func TestTheDocumentIsComplete(t *testing.T) {
	content, err := os.ReadFile("../../../docs/emulator.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(content)
	section := func(from, to string) string {
		_, rest, found := strings.Cut(doc, "\n"+from+"\n")
		part, _, ended := strings.Cut(rest, "\n"+to+"\n")
		if !found || !ended {
			t.Fatalf("there is no %q before %q", from, to)
		}
		return part
	}
	cells := func(text, cell string) []string {
		found := []string{}
		for _, m := range regexp.MustCompile(`(?m)^\| ([^|]+) \|`).FindAllStringSubmatch(text, -1) {
			for _, name := range regexp.MustCompile(cell).FindAllStringSubmatch(m[1], -1) {
				found = append(found, name[1])
			}
		}
		slices.Sort(found)
		return found
	}
	routes := newBench(t).emu.Routes()
	slices.Sort(routes)
	for _, c := range []struct {
		what       string
		have, want []string
	}{
		{"operations", cells(section("### Operations", "### Where it differs"), `^([A-Z]\w+)$`), emulator.Operations()},
		{"faults", cells(section("### The way there and back", "## Limits"), "`(\\w+)`"), emulator.FaultKinds()},
		{"actions", cells(section("### Actions", "## Faults"), "`(\\w+)`"), emulator.Actions()},
		{"routes", cells(section("## The admin API", "### Actions"), "`([A-Z]+ /\\S+)`"), routes},
	} {
		if !slices.Equal(c.have, c.want) {
			t.Errorf("%s in docs/emulator.md:\n%v\nthere are:\n%v", c.what, c.have, c.want)
		}
	}
	for _, kind := range emulator.FaultKinds() {
		if !strings.Contains(doc, `-d '{"kind":"`+kind+`"`) {
			t.Errorf("docs/emulator.md has no example of %s", kind)
		}
	}
}

// TestTheExamplesOfFaultsWork orders every fault as the document does.
func TestTheExamplesOfFaultsWork(t *testing.T) {
	content, err := os.ReadFile("../../../docs/emulator.md")
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	examples := regexp.MustCompile(`/_emu/faults -d '([^']+)'`).FindAllStringSubmatch(string(content), -1)
	if len(examples) < len(emulator.FaultKinds()) {
		t.Fatalf("%d examples", len(examples))
	}
	for _, example := range examples {
		b.post("/_emu/faults", example[1])
	}
	if got := len(b.faults()); got != len(examples) {
		t.Errorf("%d of %d are in force", got, len(examples))
	}
}
