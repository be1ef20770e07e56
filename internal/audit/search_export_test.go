package audit_test

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/fault"
)

var errRefusal = fault.New(fault.Forbidden, "NO", "no")

// entries writes n entries from different people, addresses and interfaces; every third is a refusal.
func (r *room) entries(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		who := actor.Actor{
			Type: actor.TypeUser, User: "usr_a", Email: "a@example.com", Role: actor.Engineer, Interface: []string{"api", "cli", "portal", "admin"}[i%4],
			RequestID: fmt.Sprint("req_", i), SourceIP: fmt.Sprintf("198.51.%d.%d", i%3, i), UserAgent: "=cmd|' /C calc'!A0",
		}
		if i%5 == 0 {
			who = actor.System("sweep")
		}
		if i%7 == 0 {
			who.SourceIP = "2001:db8::1"
		}
		ctx := actor.With(t.Context(), who)
		e := audit.Event{Action: []string{"workspace.create", "workspace.terminate", "audit.read", "budget.set", "auth.sign_in"}[i%5], ResourceType: "workspace", ResourceID: fmt.Sprint("ws_", i), Details: map[string]any{"n": i, "text": "<&>"}}
		if i%3 == 0 {
			if err := r.log.NoteRefusal(ctx, audit.Intent{Action: e.Action, ResourceType: e.ResourceType, ResourceID: e.ResourceID}, errRefusal); !errors.Is(err, errRefusal) {
				t.Fatal(err)
			}
			continue
		}
		if err := r.log.Note(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASearchFindsByWhereAndThroughWhat(t *testing.T) {
	r := setUp(t)
	r.entries(t, 60)
	all, err := audit.Search(t.Context(), r.Pool, audit.Filter{Limit: 100})
	if err != nil || len(all) != 60 {
		t.Fatal(len(all), err)
	}
	net := netip.MustParsePrefix
	for name, c := range map[string]struct {
		f    audit.Filter
		want func(e audit.Entry) bool
	}{
		"an address":           {audit.Filter{Address: net("198.51.1.1/32")}, func(e audit.Entry) bool { return e.SourceIP != nil && *e.SourceIP == "198.51.1.1" }},
		"a network":            {audit.Filter{Address: net("198.51.1.0/24")}, func(e audit.Entry) bool { return e.SourceIP != nil && strings.HasPrefix(*e.SourceIP, "198.51.1.") }},
		"all of IPv4":          {audit.Filter{Address: net("0.0.0.0/0")}, func(e audit.Entry) bool { return e.SourceIP != nil && strings.Contains(*e.SourceIP, ".") }},
		"a host in a network":  {audit.Filter{Address: net("198.51.2.77/24")}, func(e audit.Entry) bool { return e.SourceIP != nil && strings.HasPrefix(*e.SourceIP, "198.51.2.") }},
		"IPv6":                 {audit.Filter{Address: net("2001:db8::/32")}, func(e audit.Entry) bool { return e.SourceIP != nil && *e.SourceIP == "2001:db8::1" }},
		"nobody's":             {audit.Filter{Address: net("203.0.113.0/24")}, func(audit.Entry) bool { return false }},
		"a usual interface":    {audit.Filter{Interface: "cli"}, func(e audit.Entry) bool { return e.Interface == "cli" }},
		"an unusual interface": {audit.Filter{Interface: "admin"}, func(e audit.Entry) bool { return e.Interface == "admin" }},
		"several": {audit.Filter{Interface: "portal", Result: "refused", Address: net("198.51.0.0/16")}, func(e audit.Entry) bool {
			return e.Interface == "portal" && e.Result == "refused" && e.SourceIP != nil && strings.HasPrefix(*e.SourceIP, "198.51.")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c.f.Limit = 100
			found, err := audit.Search(t.Context(), r.Pool, c.f)
			if err != nil {
				t.Fatal(err)
			}
			want := slices.DeleteFunc(slices.Clone(all), func(e audit.Entry) bool { return !c.want(e) })
			if name != "nobody's" && len(want) == 0 {
				t.Fatal("there is none to be found")
			}
			if !reflect.DeepEqual(found, want) && len(found)+len(want) > 0 {
				t.Errorf("found %d, want %d", len(found), len(want))
			}
		})
	}
}

func (r *room) export(t *testing.T, f audit.Filter, form audit.Format) (string, int64) {
	t.Helper()
	var b bytes.Buffer
	var n int64
	if err := audit.Export(t.Context(), r.Pool, f, form, &b, func(so int64) error { n = so; return nil }); err != nil {
		t.Fatal(err)
	}
	return b.String(), n
}

func TestAnExportHasEveryEntryOnceInEveryForm(t *testing.T) {
	r := setUp(t)
	r.entries(t, 40)
	// Pages end in the middle of an instant: all of these have the same.
	r.note(t, 2010)
	all, err := audit.Search(t.Context(), r.Pool, audit.Filter{Limit: 3000})
	if err != nil || len(all) != 2050 {
		t.Fatal(len(all), err)
	}
	text, n := r.export(t, audit.Filter{}, audit.CSV)
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(rows) != 2051 || n != 2050 {
		t.Fatal(len(rows), n, err)
	}
	jsonl, _ := r.export(t, audit.Filter{}, audit.JSONLines)
	lines := bufio.NewScanner(strings.NewReader(jsonl))
	for i, e := range all {
		if rows[i+1][1] != e.ID.String() {
			t.Fatalf("row %d is %s, want %s", i+1, rows[i+1][1], e.ID)
		}
		var l struct {
			ID, Role, Action, Result, Code string
			SourceIP                       string `json:"source_ip"`
			Details                        map[string]any
		}
		if !lines.Scan() {
			t.Fatal("JSON Lines ends early")
		}
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil || l.ID != e.ID.String() || l.Action != e.ActionType || l.Result != e.Result || l.Code != e.Code || l.Role != e.Role {
			t.Fatalf("line %d is %s (%v), want %s", i, lines.Text(), err, e.ID)
		}
	}
	if lines.Scan() {
		t.Error("JSON Lines has more than there is")
	}
	agent := slices.Index(rows[0], "user_agent")
	evil := 0
	for _, row := range rows[1:] {
		if len(row) != len(rows[0]) {
			t.Fatalf("%d cells, want %d", len(row), len(rows[0]))
		}
		for i, cell := range row {
			if cell != "" && strings.ContainsAny(cell[:1], "=+@") {
				t.Fatalf("%s begins like a formula: %q", rows[0][i], cell)
			}
		}
		if row[agent] == "'=cmd|' /C calc'!A0" {
			evil++
		}
	}
	if evil == 0 {
		t.Error("no formula was there to be kept from running")
	}
	// What narrows a search narrows an export, and what comes after its end is not in it.
	narrow, n := r.export(t, audit.Filter{ActionType: "budget.set", To: noon.Add(time.Hour)}, audit.CSV)
	if n != 8 || strings.Count(narrow, "budget.set") != 8 {
		t.Errorf("%d entries:\n%s", n, narrow)
	}
	if empty, n := r.export(t, audit.Filter{ActionType: "nothing"}, audit.CSV); n != 0 || strings.Count(empty, "\n") != 1 {
		t.Errorf("of nothing: %q", empty)
	}
	stop := errors.New("gone")
	if err := audit.Export(t.Context(), r.Pool, audit.Filter{}, audit.CSV, &bytes.Buffer{}, func(int64) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("whoever has gone is written to: %v", err)
	}
}

// ocsfAPIActivity is what https://schema.ocsf.io/1.3.0/classes/api_activity requires of an event, and of the objects in it:
// the attribute, its type, and the values that it may have.
var ocsfAPIActivity = []struct {
	path, kind string
	values     []any
}{
	{"activity_id", "number", []any{0., 1., 2., 3., 4., 99.}},
	{"actor", "object", nil},
	{"actor.user", "object", nil}, // at least one of its attributes is required
	{"actor.user.type_id", "number", []any{0., 1., 2., 3., 4., 99.}},
	{"api", "object", nil},
	{"api.operation", "string", nil},
	{"category_uid", "number", []any{6.}},
	{"class_uid", "number", []any{6003.}},
	{"metadata", "object", nil},
	{"metadata.product", "object", nil},
	{"metadata.product.vendor_name", "string", nil},
	{"metadata.version", "string", []any{"1.3.0"}},
	{"severity_id", "number", []any{0., 1., 2., 3., 4., 5., 6., 99.}},
	{"src_endpoint", "object", nil},
	{"time", "number", nil},
	{"type_uid", "number", []any{600300., 600301., 600302., 600303., 600304., 600399.}},
	{"status_id", "number", []any{0., 1., 2., 99.}},
}

func TestOCSFHasWhatTheSchemaRequires(t *testing.T) {
	r := setUp(t)
	r.entries(t, 40)
	text, _ := r.export(t, audit.Filter{}, audit.OCSF)
	activities, statuses := map[any]int{}, map[any]int{}
	for line := range strings.Lines(text) {
		var event map[string]any
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatal(err)
		}
		at := func(path string) any {
			var v any = event
			for part := range strings.SplitSeq(path, ".") {
				m, _ := v.(map[string]any)
				v = m[part]
			}
			return v
		}
		for _, a := range ocsfAPIActivity {
			v := at(a.path)
			kind := map[reflect.Kind]string{reflect.Float64: "number", reflect.String: "string", reflect.Map: "object"}[reflect.ValueOf(v).Kind()]
			if v == nil || kind != a.kind || v == "" || a.values != nil && !slices.Contains(a.values, v) {
				t.Fatalf("%s is %v (%s) in %s", a.path, v, kind, line)
			}
		}
		if at("type_uid") != 600300.+at("activity_id").(float64) {
			t.Errorf("type %v of activity %v", at("type_uid"), at("activity_id"))
		}
		for _, endpoint := range []string{"ip", "name", "uid", "hostname"} { // at least one is required
			if at("src_endpoint."+endpoint) != nil {
				goto named
			}
		}
		t.Fatalf("the source has no name in %s", line)
	named:
		activities[at("activity_name")]++
		statuses[at("status")]++
	}
	for name, want := range map[string]int{"Create": 8, "Delete": 8, "Read": 8, "Update": 8, "Other": 8} {
		if activities[name] != want {
			t.Errorf("%d entries are %q, want %d", activities[name], name, want)
		}
	}
	if statuses["Failure"] != 14 || statuses["Success"] != 26 {
		t.Errorf("statuses %v", statuses)
	}
}
