package workspace

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The numbers in decide.go are those of a table for people.
func TestTheTableOfFaultsHasEveryNumberThatDecideNames(t *testing.T) {
	document, err := os.ReadFile("../../docs/aws.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(document), "## Faults and what follows\n")
	if !ok {
		t.Fatal("docs/aws.md has no faults")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	var rows []int
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \| [^|]{10,} \| [^|]{10,} \|$`).FindAllStringSubmatch(table, -1) {
		rows = append(rows, number(t, row[1]))
	}
	for i, row := range rows {
		if row != i+1 {
			t.Fatalf("row %d has the number %d", i+1, row)
		}
	}

	source, err := os.ReadFile("decide.go")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`(?m)^//\t.* \((?:faults )?([\d, -]+)\)$`).FindAllStringSubmatch(string(source), -1)
	if len(named) < 10 {
		t.Fatalf("found %d lines with numbers in decide.go", len(named))
	}
	for _, line := range named {
		for _, n := range regexp.MustCompile(`\d+`).FindAllString(line[1], -1) {
			if !slices.Contains(rows, number(t, n)) {
				t.Errorf("decide.go names fault %s, and docs/aws.md has %d", n, len(rows))
			}
		}
	}
}

func number(t *testing.T, digits string) int {
	t.Helper()
	n, err := strconv.Atoi(digits)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
