package cli

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"

	"github.com/robco-forge/forge/client"
)

func sample() *table {
	t := &table{head: []string{"NAME", "COST USD", "WHEN"}, foot: "the end"}
	t.row(words("=cmd|' /C calc'!A0"), dollars(client.Money{Amount: "-1.500000"}), instant(time.Date(2026, 11, 1, 2, 3, 4, 5000, time.UTC)))
	t.row(words("b\x1b[2J\tc\u202e"), dollars(client.Money{Amount: "12.345600"}), instantOf(nil))
	return t
}

func TestPlainTablesAreAlignedAndHarmless(t *testing.T) {
	var b bytes.Buffer
	if err := writePlain(&b, sample()); err != nil {
		t.Fatal(err)
	}
	want := "NAME                COST USD  WHEN\n" +
		"=cmd|' /C calc'!A0  -1.50     2026-11-01 02:03:04Z\n" +
		"b\\x1b[2J\\tc\\u202e   12.3456   -\n\nthe end\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestTerminalTablesHoldTheSame(t *testing.T) {
	for _, noColour := range []string{"", "1"} {
		t.Setenv("NO_COLOR", noColour)
		var b bytes.Buffer
		if err := writeGrid(&b, sample()); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"NAME", "-1.50", `b\x1b[2J\tc\u202e`, "the end"} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%q is not in\n%s", want, b.String())
			}
		}
		if strings.ContainsRune(b.String(), '\x1b') {
			t.Errorf("what is no terminal got colours: %q", b.String())
		}
	}
	t.Setenv("NO_COLOR", "")
	if !strings.ContainsRune(paint(styleBad, "x"), '\x1b') {
		t.Error("no colours at all")
	}
	t.Setenv("NO_COLOR", "1")
	if paint(styleBad, "x") != "x" {
		t.Error("colours in spite of NO_COLOR")
	}
}

func TestCSVIsSafeToOpen(t *testing.T) {
	var b bytes.Buffer
	if err := writeCSV(&b, sample()); err != nil {
		t.Fatal(err)
	}
	want := "name,cost_usd,when\n'=cmd|' /C calc'!A0,-1.500000,2026-11-01T02:03:04.000005Z\nb\x1b[2J\tc\u202e,12.345600,\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
	for in, want := range map[string]string{"=1": "'=1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\t=1": "'\t=1", "\r=1": "'\r=1", "": "", "a=1": "a=1", "'=1": "'=1"} {
		if got := inert(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	if c := dollars(client.Money{Amount: "-1+cmd"}); c.number {
		t.Error("a formula passed for an amount")
	}
}

func TestNoTextIsAFormulaOrAControlSequence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		if s := printable(text); strings.ContainsFunc(s, func(r rune) bool { return !visible(r) }) {
			t.Fatalf("printable left %q", s)
		}
		var b bytes.Buffer
		if err := writeCSV(&b, &table{head: []string{"X", "Y"}, rows: [][]cell{{words(text), words("")}}}); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&b).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if s := rows[1][0]; s != "" && strings.ContainsRune("=+-@", rune(s[0])) {
			t.Fatalf("a spreadsheet runs %q", s)
		}
	})
}

func TestJSONAndYAMLSayWhatTheServerSaid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := map[string]any{
			"text":   rapid.String().Draw(t, "text"),
			"tricky": rapid.SampledFrom([]string{"true", "1", "null", "1e3", "~", "2026-11-01", "a\nb", "\u009b", "\U000e0001", " x"}).Draw(t, "tricky"),
			"list":   []any{1.5, true, nil, map[string]any{}},
		}
		raw, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		var want, got any
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := writeJSON(&b, raw); err != nil {
			t.Fatal(err)
		}
		if s := b.String(); strings.ContainsFunc(strings.ReplaceAll(s, "\n", ""), func(r rune) bool { return !visible(r) }) {
			t.Fatalf("a terminal obeys %q", s)
		}
		if err := json.Unmarshal(b.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal("JSON:", diff)
		}
		b.Reset()
		if err := writeYAML(&b, raw); err != nil {
			t.Fatal(err)
		}
		got = nil
		if err := yaml.Unmarshal(b.Bytes(), &got); err != nil {
			t.Fatalf("%v in %q", err, b.String())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal("YAML:", diff)
		}
	})
}

func TestYAMLKeepsTheOrderOfTheFields(t *testing.T) {
	var b bytes.Buffer
	if err := writeYAML(&b, json.RawMessage(`[{"z":1,"a":{"k":"v"},"amount":"12.340000"}]`)); err != nil {
		t.Fatal(err)
	}
	if want := "- z: 1\n  a:\n    k: v\n  amount: \"12.340000\"\n"; b.String() != want {
		t.Errorf("wrote %q", b.String())
	}
}

func TestABarIsAsLongAsTheShare(t *testing.T) {
	for percent, want := range map[int64]int{-5: 0, 0: 0, 1: 1, 50: 10, 99: 19, 100: 20, 250: 20} {
		if got := strings.Count(bar(percent), "█"); got != want {
			t.Errorf("%d%%: %d blocks, want %d", percent, got, want)
		}
	}
}
