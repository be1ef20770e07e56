package verify

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Check is one of the things that are checked, by its number in docs/audit.md.
type Check string

// The checks.
const (
	Signature  Check = "V1"
	History    Check = "V2"
	Tiles      Check = "V3"
	Leaves     Check = "V4"
	Coverage   Check = "V5"
	Content    Check = "V6"
	Codes      Check = "V7"
	Heartbeats Check = "V8"
	Times      Check = "V9"
	Orphans    Check = "V10"
	Schema     Check = "V11"
	Archives   Check = "V12"
	Erasures   Check = "V13"
	Receipts   Check = "V14"
	Freshness  Check = "V15"
)

// Checks are all of them, in order.
func Checks() []Check {
	return []Check{Signature, History, Tiles, Leaves, Coverage, Content, Codes, Heartbeats, Times, Orphans, Schema, Archives, Erasures, Receipts, Freshness}
}

var means = map[Check][2]string{
	Signature:  {"the checkpoint is signed by a key that you trust", "Somebody other than the log's owner made this checkpoint, or changed it afterwards."},
	History:    {"the log continues every checkpoint that was known before", "The past was rewritten, or the log was set back, since that checkpoint was made."},
	Tiles:      {"the hashes of the tree lead to the signed root", "Hashes of the tree were changed or are damaged."},
	Leaves:     {"every entry hashes to its place in the tree", "This entry is not the one that was signed: it was changed, or exchanged for another."},
	Coverage:   {"every place in the log has its entry, and no entry is there twice", "An entry was removed, hidden or put in twice."},
	Content:    {"entries are in their one form, of this log, and copies of them say the same", "What is shown of this entry, or where, is not what was recorded."},
	Codes:      {"every entry has the code of the writer that it names", "Somebody without the writers' key made or changed this entry."},
	Heartbeats: {"what writers said they had written is there", "An entry that a server had committed is missing or was changed before it came into the tree."},
	Times:      {"times agree with the order of the log", "The entry claims another time than that at which it came into the log; a clock was wrong, or it was backdated."},
	Orphans:    {"every committed entry came into the tree", "An entry stands in the table and not in the tree: its transaction number was changed, or the sequencer does not run."},
	Schema:     {"the database's protection is as it should be", "Rights, triggers or partitions were changed so that the log could be altered."},
	Archives:   {"archived months are what their manifests say", "An archive file was changed or exchanged."},
	Erasures:   {"what is known of persons is there unless its erasure was recorded", "Personal data behind an entry was removed without a record, or exchanged."},
	Receipts:   {"what callers were told is in the log", "An entry that a caller has a receipt for is not in the log."},
	Freshness:  {"the checkpoint is recent", "You may be looking at an old state of the log: what came later is hidden."},
}

// Title says what holds when the check passes.
func (c Check) Title() string { return means[c][0] }

// Meaning says in plain words what it means when the check fails.
func (c Check) Meaning() string { return means[c][1] }

// Failure is something that does not hold.
type Failure struct {
	Check Check `json:"check"`
	// Index is the entry's place in the log, -1 when it is not about one.
	Index int64 `json:"index"`
	// Entry is the entry's id, where it is known.
	Entry string `json:"entry,omitempty"`
	// What is what was found; Meaning what that means.
	What    string `json:"what"`
	Meaning string `json:"meaning"`
}

func (f Failure) String() string {
	var at []string
	if f.Index >= 0 {
		at = append(at, fmt.Sprintf("entry %d", f.Index))
	}
	if f.Entry != "" {
		at = append(at, f.Entry)
	}
	where := strings.Join(at, ", ")
	if where != "" {
		where += ": "
	}
	return fmt.Sprintf("%s %s%s", f.Check, where, f.What)
}

// maxFailures is how many failures a report lists; the others are counted.
const maxFailures = 1000

// Report is what a verification found.
type Report struct {
	Origin string `json:"origin"`
	// Size is how many entries the checkpoint covers; First and Behind which of them were looked at, and Entries how many
	// were there.
	Size    int64 `json:"size"`
	First   int64 `json:"first"`
	Behind  int64 `json:"behind"`
	Entries int64 `json:"entries"`
	// Newest is the latest time that an entry says.
	Newest time.Time `json:"newest,omitzero"`
	// Witnessed is the latest time at which a trusted witness signed the checkpoint.
	Witnessed time.Time `json:"witnessed,omitzero"`
	Failures  []Failure `json:"failures"`
	// Omitted is how many further failures there were.
	Omitted int `json:"omitted"`
	// Unchecked are the checks that this verification could not make, with the reason.
	Unchecked map[Check]string `json:"unchecked"`
	// Notes are what a reader must know to judge the result.
	Notes []string `json:"notes"`

	made, failed, off map[Check]bool
}

// NewReport is an empty one, in which no check has been made.
func NewReport() *Report {
	return &Report{Failures: []Failure{}, Unchecked: map[Check]string{}, Notes: []string{}, made: map[Check]bool{}, failed: map[Check]bool{}}
}

// Without switches checks off. It is for tests, which prove that each finds what no other does.
func (r *Report) Without(checks ...Check) *Report {
	r.off = map[Check]bool{}
	for _, c := range checks {
		r.off[c] = true
	}
	return r
}

// Made says that checks are being made.
func (r *Report) Made(checks ...Check) {
	for _, c := range checks {
		r.made[c] = true
		delete(r.Unchecked, c)
	}
}

// Off says whether a test has switched the check off.
func (r *Report) Off(c Check) bool { return r.off[c] }

// Fail adds a failure; index is -1 and entry empty where it is not about one.
func (r *Report) Fail(c Check, index int64, entry, format string, args ...any) {
	if r.off[c] {
		return
	}
	r.made[c], r.failed[c] = true, true
	if len(r.Failures) >= maxFailures {
		r.Omitted++
		return
	}
	r.Failures = append(r.Failures, Failure{c, index, entry, fmt.Sprintf(format, args...), c.Meaning()})
}

// Skip says why a check was not made, unless it was.
func (r *Report) Skip(c Check, why string) {
	if !r.made[c] && r.Unchecked[c] == "" {
		r.Unchecked[c] = why
	}
}

// unmade takes back that a check is being made.
func (r *Report) unmade(c Check, why string) {
	delete(r.made, c)
	r.Unchecked[c] = why
}

// Note adds a remark.
func (r *Report) Note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// Passed are the checks that were made and found nothing.
func (r *Report) Passed() []Check {
	passed := []Check{}
	for _, c := range Checks() {
		if r.made[c] && !r.failed[c] && r.Unchecked[c] == "" {
			passed = append(passed, c)
		}
	}
	return passed
}

// Failed are the checks that found something.
func (r *Report) Failed() []Check { return slices.Sorted(maps.Keys(r.failed)) }

// OK says that nothing failed.
func (r *Report) OK() bool { return len(r.Failures) == 0 }

// MarshalJSON adds what follows from the rest.
func (r *Report) MarshalJSON() ([]byte, error) {
	type plain Report
	return json.Marshal(struct {
		OK     bool    `json:"ok"`
		Passed []Check `json:"passed"`
		*plain
	}{r.OK(), r.Passed(), (*plain)(r)})
}

// Text is the report for a reader.
func (r *Report) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "log        %s\nsigned     %d entries\nlooked at  %d entries, from %d up to and without %d\n", r.Origin, r.Size, r.Entries, r.First, r.Behind)
	if !r.Newest.IsZero() {
		fmt.Fprintf(&b, "newest     %s\n", r.Newest.Format(time.RFC3339))
	}
	if !r.Witnessed.IsZero() {
		fmt.Fprintf(&b, "witnessed  %s\n", r.Witnessed.Format(time.RFC3339))
	}
	b.WriteString("\n")
	for _, c := range Checks() {
		verdict := "ok  "
		switch {
		case r.failed[c]:
			verdict = "FAIL"
		case r.Unchecked[c] != "":
			verdict = "-   "
		case !r.made[c]:
			continue
		}
		fmt.Fprintf(&b, "%-4s %s %s", c, verdict, c.Title())
		if why := r.Unchecked[c]; why != "" && !r.failed[c] {
			fmt.Fprintf(&b, ": not checked, %s", why)
		}
		b.WriteString("\n")
	}
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "\n%s\n     %s\n", f, f.Meaning)
	}
	if r.Omitted > 0 {
		fmt.Fprintf(&b, "\nand %d failures more\n", r.Omitted)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "\nNote: %s\n", n)
	}
	if r.OK() {
		b.WriteString("\nNothing was found wrong.\n")
	} else {
		n, s := len(r.Failures)+r.Omitted, "S"
		if n == 1 {
			s = ""
		}
		fmt.Fprintf(&b, "\n%d FAILURE%s: this log is not what was signed and recorded.\n", n, s)
	}
	return b.String()
}
