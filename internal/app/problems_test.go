package app

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/internal/fault"
)

// TestGoldenProblems keeps docs/problems.md, the public list of every problem, as the code has it.
func TestGoldenProblems(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Problems\n\nEvery error of the API, the command line and the portal. Codes and meanings are stable.\n\n")
	b.WriteString("| code | status | what it says | what to do |\n|---|---|---|---|\n")
	for _, f := range fault.Declared() {
		fmt.Fprintf(&b, "| `%s` | %d | %s | %s |\n", f.Code, f.Kind.Status(), f.Message, f.Suggestion)
	}
	const path = "../../docs/problems.md"
	if os.Getenv("UPDATE_GOLDEN") == "1" {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil { //nolint:gosec // a public document
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(have), b.String()); d != "" {
		t.Fatalf("docs/problems.md is stale; run make gen:\n%s", d)
	}
}
