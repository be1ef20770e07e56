package desktop

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/internal/workspace"
)

func TestConnectionsAreTold(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	made, other := b.create(spec("alice")), b.create(spec("bob"))
	ids := []string{made, other, "ws-000000000"}
	connections := func() map[string]workspace.Connection {
		t.Helper()
		told, err := b.Connections(ctx, home, ids)
		if err != nil {
			t.Fatal(err)
		}
		return told
	}
	want := func(state string, last time.Time) {
		t.Helper()
		c, ok := connections()[made]
		if age := b.clock().Sub(c.CheckedAt); !ok || c.State != state || age < 0 || age > 5*time.Minute {
			t.Errorf("%t, %s, checked %s ago; want %s", ok, c.State, age, state)
		}
		if last.IsZero() != (c.LastAt == nil) || c.LastAt != nil && !c.LastAt.Equal(last) {
			t.Errorf("last at %v, want %v", c.LastAt, last)
		}
	}
	if told := connections(); len(told) != 0 {
		t.Errorf("before they run: %+v", told)
	}
	b.pass(30 * time.Minute)
	if told := connections(); len(told) != 2 {
		t.Errorf("told of %+v", told)
	}
	want("DISCONNECTED", time.Time{})
	b.admin(http.MethodPost, "/_emu/workspaces/"+made+"/connect", "", nil)
	want("CONNECTED", b.clock())
	b.pass(3 * time.Hour)
	b.admin(http.MethodPost, "/_emu/workspaces/"+made+"/disconnect", "", nil)
	left := b.clock()
	want("DISCONNECTED", left)
	b.until(home, made, "STOPPED")
	want("UNKNOWN", left)

	b.fail("DescribeWorkspacesConnectionStatus", "status_missing", 1)
	if told := connections(); len(told) != 1 {
		t.Errorf("told of %+v, and one is missing", told)
	}
	if err := one(b.Terminate(ctx, home, []string{other})); err != nil {
		t.Fatal(err)
	}
	b.pass(time.Hour)
	if told := connections(); len(told) != 1 || told[made].State != "UNKNOWN" {
		t.Errorf("told of %+v", told)
	}
}

func TestConnectionsOfNobodyOrOfTooManyAreNotAskedFor(t *testing.T) {
	b := newBench(t)
	if told, err := b.Connections(t.Context(), home, nil); err != nil || len(told) != 0 {
		t.Errorf("%v, %v", told, err)
	}
	var ids []string
	for i := range 26 {
		ids = append(ids, fmt.Sprintf("ws-0000000%02d", i))
	}
	_, err := b.Connections(t.Context(), home, ids)
	wantCode(t, err, workspace.Rejected, codeTooMany)
	if got := b.sent("DescribeWorkspacesConnectionStatus"); len(got) != 0 {
		t.Errorf("sent %v", got)
	}
	if told, err := b.Connections(t.Context(), home, ids[:25]); err != nil || len(told) != 0 {
		t.Errorf("%v, %v", told, err)
	}
}

// inPages answers a question page by page: the first, then those of the tokens.
func inPages(first string, byToken map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // and there is no answer
		}
		for token, page := range byToken {
			if strings.Contains(string(body), fmt.Sprintf(`"NextToken":%q`, token)) {
				says(http.StatusOK, page)(w, r)
				return
			}
		}
		says(http.StatusOK, first)(w, r)
	}
}

func TestConnectionsAreReadPageByPageAndInWordsThatAreKnown(t *testing.T) {
	const first = `{"WorkspacesConnectionStatus":[
		{"WorkspaceId":"ws-000000001","ConnectionState":"CONNECTED","ConnectionStateCheckTimestamp":1772442000,"LastKnownUserConnectionTimestamp":1772441940.5},
		{"WorkspaceId":"ws-000000002","ConnectionState":"CONNECTED"},
		{"WorkspaceId":"ws-000000003","ConnectionState":"ASLEEP","ConnectionStateCheckTimestamp":1772442000}],"NextToken":"a"}`
	p, requests := answering(t, inPages(first, map[string]string{
		"a": `{"NextToken":"b"}`,
		"b": `{"WorkspacesConnectionStatus":[{"WorkspaceId":"ws-000000004","ConnectionState":"DISCONNECTED","ConnectionStateCheckTimestamp":1772442000},
			{"WorkspaceId":"ws-000000005","ConnectionStateCheckTimestamp":1772442000}]}`,
	}))
	told, err := p.Connections(t.Context(), home, []string{"ws-000000001"})
	if err != nil {
		t.Fatal(err)
	}
	checked, last := time.Unix(1772442000, 0).UTC(), time.UnixMilli(1772441940500).UTC()
	want := map[string]workspace.Connection{
		"ws-000000001": {State: "CONNECTED", CheckedAt: checked, LastAt: &last},
		"ws-000000002": {State: "UNKNOWN"},
		"ws-000000003": {State: "UNKNOWN", CheckedAt: checked},
		"ws-000000004": {State: "DISCONNECTED", CheckedAt: checked},
		"ws-000000005": {State: "UNKNOWN", CheckedAt: checked},
	}
	if d := cmp.Diff(want, told); d != "" || requests.Load() != 3 {
		t.Errorf("%d requests: %s", requests.Load(), d)
	}
	p, _ = answering(t, says(http.StatusOK, `{"NextToken":"again"}`))
	_, err = p.Connections(t.Context(), home, []string{"ws-000000001"})
	wantClass(t, err, workspace.Ambiguous)
	p, _ = answering(t, inPages(first, map[string]string{"a": `{"WorkspacesConnectionStatus":[`}))
	told, err = p.Connections(t.Context(), home, []string{"ws-000000001"})
	wantClass(t, err, workspace.Ambiguous)
	if told != nil {
		t.Errorf("half of an answer: %+v", told)
	}
}

func TestTheNewestSnapshotsAreTold(t *testing.T) {
	for answer, want := range map[string]workspace.Snapshots{
		`{}`: {},
		`{"RebuildSnapshots":[{"SnapshotTime":1772442000},{"SnapshotTime":1772445600},{},{"SnapshotTime":1772438400}],"RestoreSnapshots":[]}`: {
			RebuildAt: time.Unix(1772445600, 0).UTC(),
		},
		`{"RebuildSnapshots":[{"SnapshotTime":1772445600}],"RestoreSnapshots":[{"SnapshotTime":1772442000.25}]}`: {
			RebuildAt: time.Unix(1772445600, 0).UTC(), RestoreAt: time.UnixMilli(1772442000250).UTC(),
		},
	} {
		p, _ := answering(t, says(http.StatusOK, answer))
		got, err := p.Snapshots(t.Context(), home, "ws-000000001")
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", answer, got, err)
		}
	}
}
