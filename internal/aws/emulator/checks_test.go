package emulator_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

// Every constraint that Amazon's model has of an operation's input is violated once, in a request that is valid
// otherwise: the answer says which it was, and nothing happens. An operation that is new is in it by itself; the
// table in testdata then wants to be written anew (UPDATE_GOLDEN=1).
func TestGoldenEveryOperationChecksItsInput(t *testing.T) {
	refusing := newBench(t)
	id := refusing.available(request("alice"))
	group, err := refusing.client().CreateIpGroup(t.Context(), &workspaces.CreateIpGroupInput{GroupName: aws.String("office")})
	if err != nil {
		t.Fatal(err)
	}
	// What would be carried out here fails just before: it has been found valid.
	accepting := newBench(t)
	accepting.fault(fault{Kind: "http500", Count: 1 << 30})

	known := map[string]any{ // so that a request which got through by mistake would find something to do
		"DirectoryId": directory, "UserName": "bob", "BundleId": standard, "WorkspaceId": id, "IpGroupId": *group.GroupId,
	}
	before, untouched := refusing.emu.State(), accepting.emu.State()
	all := map[string][]inputCheck{}
	for _, op := range emulator.Operations() {
		all[op] = checksOf(op, known)
	}
	t.Run("operations", func(t *testing.T) {
		for op, checks := range all {
			t.Run(op, func(t *testing.T) {
				t.Parallel()
				for _, c := range checks {
					if c.wantType == "" {
						accepting.wantAccepted(t, op, c)
						continue
					}
					refusing.wantRefused(t, op, c)
					if !bytes.Equal(refusing.emu.State(), before) {
						t.Fatalf("%s: refused, but something happened", c.name)
					}
				}
			})
		}
	})
	if !bytes.Equal(accepting.emu.State(), untouched) {
		t.Error("a request that failed before it was carried out did something")
	}
	table := checkTable(all)
	t.Log("\n" + table)
	golden(t, filepath.Join("testdata", "checks.txt"), table)
}

func checksOf(op string, known map[string]any) []inputCheck {
	m := readModel()
	c := &checker{amazonModel: m}
	shape := m.Operations[op].Input.Shape
	if shape == "" {
		return []inputCheck{{kind: "unknown", name: "no input", input: map[string]any{"NoSuchMember": 1}}}
	}
	valid := (&generator{amazonModel: m, known: known}).value(shape)
	c.checks = append(c.checks, inputCheck{name: "the valid input", input: valid})
	c.visit(shape, valid, "", func(v any) any { return v })
	return c.checks
}

// wantAccepted sends a request to an emulator that fails what it finds valid.
func (b *bench) wantAccepted(t *testing.T, op string, c inputCheck) {
	t.Helper()
	status, answer, _ := b.send(op, encode(t, c.input))
	if status != http.StatusInternalServerError || answer["__type"] != "InternalFailure" {
		t.Errorf("%s: got %d %v, want it accepted\n%s", c.name, status, answer, encode(t, c.input))
	}
}

func (b *bench) wantRefused(t *testing.T, op string, c inputCheck) {
	t.Helper()
	status, answer, _ := b.send(op, encode(t, c.input))
	message, _ := answer["message"].(string)
	if status != http.StatusBadRequest || answer["__type"] != c.wantType {
		t.Errorf("%s: got %d %v: %q, want 400 %s", c.name, status, answer["__type"], message, c.wantType)
	}
	for _, want := range c.want {
		if !strings.Contains(message, want) {
			t.Errorf("%s: the message %q lacks %q", c.name, message, want)
		}
	}
}

func encode(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// checkTable counts the checks by operation and kind.
func checkTable(all map[string][]inputCheck) string {
	var b strings.Builder
	b.WriteString("How often the input of each operation was violated, or varied, by what was done to it.\n\n")
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "operation\t%s\ttotal\n", strings.Join(checkKinds, "\t"))
	sums := map[string]int{}
	row := func(name string, count map[string]int) {
		fmt.Fprint(w, name)
		total := 0
		for _, kind := range checkKinds {
			fmt.Fprintf(w, "\t%d", count[kind])
			total += count[kind]
		}
		fmt.Fprintf(w, "\t%d\n", total)
	}
	for _, op := range slices.Sorted(maps.Keys(all)) {
		count := map[string]int{}
		for _, c := range all[op] {
			count[c.kind]++
			sums[c.kind]++
		}
		row(op, count)
	}
	row("all", sums)
	if err := w.Flush(); err != nil {
		panic(err)
	}
	return b.String()
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") == "1" {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // beside the sources, which are as readable
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil { //nolint:gosec // as above
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is stale; UPDATE_GOLDEN=1 writes it anew. It would be:\n%s", path, got)
	}
}

func TestOperationsThatAreNotEmulatedAreUnknown(t *testing.T) {
	b := newBench(t)
	emulated := emulator.Operations()
	for op := range readModel().Operations {
		if slices.Contains(emulated, op) {
			continue
		}
		if status, answer, _ := b.send(op, "{}"); status != http.StatusBadRequest || answer["__type"] != "UnknownOperationException" {
			t.Errorf("%s: got %d %v", op, status, answer)
		}
	}
	for _, op := range emulated {
		if _, ok := readModel().Operations[op]; !ok {
			t.Errorf("Amazon has no %s", op)
		}
	}
}
