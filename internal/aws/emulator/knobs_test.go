package emulator_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/aws/smithy-go"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

// knobs shows of every kind of fault what it does and that it ends.
var knobs = map[string]func(*testing.T, *bench){
	"drop_before_apply":         dropped(0),
	"drop_response_after_apply": dropped(1),
	"http500":                   answered("http500", "InternalFailure", http.StatusInternalServerError, 0),
	"http500_after_apply":       answered("http500_after_apply", "InternalFailure", http.StatusInternalServerError, 1),
	"http503":                   answered("http503", "ServiceUnavailable", http.StatusServiceUnavailable, 0),
	"throttle":                  answered("throttle", "ThrottlingException", http.StatusBadRequest, 0),
	"access_denied":             answered("access_denied", "AccessDeniedException", http.StatusBadRequest, 0),
	"html_body":                 garbled("html_body"),
	"truncate_body":             garbled("truncate_body"),
	"fail_batch":                failsBatch,
	"fail_item":                 failsItem,
	"delay":                     delays,
	"clock_skew":                skews,
	"omit_from_page":            omits,
	"duplicate_on_page":         duplicates,
	"empty_page_with_token":     emptiesPage,
	"expire_token":              expiresToken,
	"status_missing":            losesStatus,
	"status_stale":              keepsStatus,
	"stuck_state":               sticks,
	"to_error":                  endsInError,
	"unhealthy_after":           falls,
	"describe_lag":              hides,
	"tags_lost":                 losesTags,
	"tags_lag":                  hidesTags,
	"autostop_fails":            forgetsToStop,
	"modify_update_failed":      failsModification,
	"migrate_silent_fail":       failsMigration,
	"image_fails":               failsImage,
	"quota":                     limits,
}

func TestEveryFaultDoesWhatItSaysAndEnds(t *testing.T) {
	for _, kind := range emulator.FaultKinds() {
		do, ok := knobs[kind]
		if !ok {
			t.Errorf("%s has no test", kind)
			continue
		}
		t.Run(kind, func(t *testing.T) {
			b := newBench(t)
			do(t, b)
			if left := b.faults(); len(left) != 0 {
				t.Errorf("still in force: %+v", left)
			}
		})
	}
}

// apiCode is the code of an error in the form of Amazon's, "" if it is of another kind or none.
func apiCode(err error) string {
	e := smithy.APIError(nil)
	if !errors.As(err, &e) {
		return ""
	}
	return e.ErrorCode()
}

func statusOf(err error) int {
	e := (*awshttp.ResponseError)(nil)
	if !errors.As(err, &e) {
		return 0
	}
	return e.HTTPStatusCode()
}

// made checks how many WorkSpaces there are, and that another request is answered as it should be.
func (b *bench) made(want int) {
	b.t.Helper()
	if got := b.adminAll(); len(got) != want {
		b.t.Errorf("%d were made, want %d", len(got), want)
	}
	b.one(request("dave"))
}

func dropped(applied int) func(*testing.T, *bench) {
	kind := []string{"drop_before_apply", "drop_response_after_apply"}[applied]
	return func(t *testing.T, b *bench) {
		b.fault(fault{Kind: kind, Op: "CreateWorkspaces"})
		_, err := b.client().CreateWorkspaces(t.Context(), createFor("alice"))
		if err == nil || apiCode(err) != "" || statusOf(err) != 0 {
			t.Errorf("want a broken connection, got %v", err)
		}
		b.made(applied)
	}
}

func answered(kind, code string, status, applied int) func(*testing.T, *bench) {
	return func(t *testing.T, b *bench) {
		b.fault(fault{Kind: kind, Op: "CreateWorkspaces"})
		_, err := b.client().CreateWorkspaces(t.Context(), createFor("alice"))
		if apiCode(err) != code || statusOf(err) != status {
			t.Errorf("%d %v", statusOf(err), err)
		}
		b.made(applied)
	}
}

// garbled is an answer nobody can read; what was asked for has happened.
func garbled(kind string) func(*testing.T, *bench) {
	return func(t *testing.T, b *bench) {
		b.fault(fault{Kind: kind, Op: "CreateWorkspaces"})
		_, err := b.client().CreateWorkspaces(t.Context(), createFor("alice"))
		broken := (*smithy.DeserializationError)(nil)
		if !errors.As(err, &broken) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("want an answer that cannot be read, got %v", err)
		}
		if kind == "html_body" && statusOf(err) != http.StatusBadGateway {
			t.Errorf("status %d", statusOf(err))
		}
		b.made(1)
	}
}

func failsBatch(t *testing.T, b *bench) {
	b.fault(fault{Kind: "fail_batch", Op: "CreateWorkspaces", Code: "ResourceLimitExceededException", Message: "enough"})
	_, err := b.client().CreateWorkspaces(t.Context(), createFor("alice"))
	if e := (*types.ResourceLimitExceededException)(nil); !errors.As(err, &e) || e.ErrorMessage() != "enough" {
		t.Errorf("%v", err)
	}
	b.made(0)
}

func failsItem(t *testing.T, b *bench) {
	b.fault(fault{Kind: "fail_item", User: "Bob", Code: "InternalError.Item", Message: "no"})
	out := b.create(request("alice", alwaysOn), request("bob", alwaysOn), request("carol", alwaysOn))
	if len(out.PendingRequests) != 2 || len(out.FailedRequests) != 1 || *out.FailedRequests[0].ErrorCode != "InternalError.Item" ||
		*out.FailedRequests[0].WorkspaceRequest.UserName != "bob" {
		t.Fatalf("%+v", out)
	}
	bob := b.one(request("bob"))
	alice, carol := *out.PendingRequests[0].WorkspaceId, *out.PendingRequests[1].WorkspaceId
	b.clock.advance(time.Hour)
	for _, op := range []struct {
		name string
		do   func(...string) ([]types.FailedWorkspaceChangeRequest, error)
	}{
		{"RebootWorkspaces", func(ids ...string) ([]types.FailedWorkspaceChangeRequest, error) {
			in := &workspaces.RebootWorkspacesInput{}
			for _, id := range ids {
				in.RebootWorkspaceRequests = append(in.RebootWorkspaceRequests, types.RebootRequest{WorkspaceId: &id})
			}
			out, err := b.client().RebootWorkspaces(t.Context(), in)
			if err != nil {
				return nil, err
			}
			return out.FailedRequests, nil
		}},
		{"TerminateWorkspaces", func(ids ...string) ([]types.FailedWorkspaceChangeRequest, error) {
			in := &workspaces.TerminateWorkspacesInput{}
			for _, id := range ids {
				in.TerminateWorkspaceRequests = append(in.TerminateWorkspaceRequests, types.TerminateRequest{WorkspaceId: &id})
			}
			out, err := b.client().TerminateWorkspaces(t.Context(), in)
			if err != nil {
				return nil, err
			}
			return out.FailedRequests, nil
		}},
	} {
		b.fault(fault{Kind: "fail_item", Op: op.name, Workspace: alice, Code: "Nope"})
		failed, err := op.do(alice, carol)
		if err != nil || len(failed) != 1 || *failed[0].ErrorCode != "Nope" || *failed[0].WorkspaceId != alice {
			t.Errorf("%s: %v %+v", op.name, err, failed)
		}
	}
	b.wantState(alice, "AVAILABLE")
	b.wantState(carol, "TERMINATING")
	b.fault(fault{Kind: "fail_item", Op: "RebuildWorkspaces", Code: "Nope"})
	for _, want := range []string{"Nope", ""} {
		out, err := b.client().RebuildWorkspaces(t.Context(), &workspaces.RebuildWorkspacesInput{
			RebuildWorkspaceRequests: []types.RebuildRequest{{WorkspaceId: &alice}},
		})
		wantCode(t, "rebuild", b.refused(alice, out.FailedRequests, err), want)
	}
	for _, c := range []struct {
		op, then string
		do       func(string) string
	}{{"StopWorkspaces", "STOPPED", b.stop}, {"StartWorkspaces", "AVAILABLE", b.start}} {
		b.fault(fault{Kind: "fail_item", Op: c.op, Code: "Nope"})
		wantCode(t, c.op, c.do(bob), "Nope")
		wantCode(t, c.op+" again", c.do(bob), "")
		b.pass(bob, c.then)
	}
}

func delays(t *testing.T, b *bench) {
	b.fault(fault{Kind: "delay", Op: "DescribeWorkspaces", DelayMS: 50})
	before := time.Now()
	if _, err := b.client().DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(before); took < 50*time.Millisecond {
		t.Errorf("took %v", took)
	}
	if seen := b.requests(); seen[0].Outcome != "ok" || len(seen[0].Faults) != 1 || seen[0].Faults[0].Kind != "delay" {
		t.Errorf("%+v", seen)
	}
}

func skews(t *testing.T, b *bench) {
	b.fault(fault{Kind: "clock_skew", DelayMS: -600_000})
	for _, want := range []time.Duration{-10 * time.Minute, 0} {
		out, err := b.client().DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{})
		if err != nil {
			t.Fatal(err)
		}
		at, _ := awsmiddleware.GetServerTime(out.ResultMetadata)
		if off := time.Until(at) - want; off.Abs() > 5*time.Second {
			t.Errorf("off by %v of %v", off, want)
		}
	}
}

// ids of all WorkSpaces, page by page.
func (b *bench) pages(limit int32) [][]string {
	b.t.Helper()
	var all [][]string
	in := &workspaces.DescribeWorkspacesInput{Limit: aws.Int32(limit)}
	for {
		out, err := b.client().DescribeWorkspaces(b.t.Context(), in)
		if err != nil {
			b.t.Fatal(err)
		}
		ids := []string{}
		for _, w := range out.Workspaces {
			ids = append(ids, *w.WorkspaceId)
		}
		all = append(all, ids)
		if in.NextToken = out.NextToken; in.NextToken == nil {
			return all
		}
	}
}

func (b *bench) three() []string {
	b.t.Helper()
	ids := []string{b.one(request("alice")), b.one(request("bob")), b.one(request("carol"))}
	b.clock.advance(time.Minute)
	return ids
}

func wantPages(t *testing.T, what string, got [][]string, want ...[]string) {
	t.Helper()
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func omits(t *testing.T, b *bench) {
	ids := b.three()
	b.fault(fault{Kind: "omit_from_page", User: "bob", Count: 2})
	for range 2 {
		wantPages(t, "without bob's", b.pages(2), []string{ids[0]}, []string{ids[2]})
	}
	wantPages(t, "used up", b.pages(2), ids[:2], ids[2:])
}

func duplicates(t *testing.T, b *bench) {
	ids := b.three()
	b.fault(fault{Kind: "duplicate_on_page", Workspace: ids[1]})
	wantPages(t, "on the next page, too", b.pages(2), ids[:2], ids[1:])
	wantPages(t, "used up", b.pages(2), ids[:2], ids[2:])
	b.fault(fault{Kind: "duplicate_on_page", User: "carol"})
	wantPages(t, "twice on the last", b.pages(2), ids[:2], []string{ids[2], ids[2]})
}

func emptiesPage(t *testing.T, b *bench) {
	ids := b.three()
	b.fault(fault{Kind: "empty_page_with_token"})
	wantPages(t, "the first", b.pages(2), []string{}, ids[:2], ids[2:])
	b.fault(fault{Kind: "empty_page_with_token", Nth: 2})
	wantPages(t, "the second", b.pages(2), ids[:2], []string{}, ids[2:])
	wantPages(t, "used up", b.pages(2), ids[:2], ids[2:])
}

func expiresToken(t *testing.T, b *bench) {
	b.three()
	b.fault(fault{Kind: "expire_token"})
	in := &workspaces.DescribeWorkspacesInput{Limit: aws.Int32(2)}
	out, err := b.client().DescribeWorkspaces(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	in.NextToken = out.NextToken
	if _, err := b.client().DescribeWorkspaces(t.Context(), in); apiCode(err) != "InvalidParameterValuesException" {
		t.Errorf("%v", err)
	}
	if _, err := b.client().DescribeWorkspaces(t.Context(), in); err != nil {
		t.Errorf("used up: %v", err)
	}
}

func (b *bench) statuses() map[string]string {
	b.t.Helper()
	out, err := b.client().DescribeWorkspacesConnectionStatus(b.t.Context(), &workspaces.DescribeWorkspacesConnectionStatusInput{})
	if err != nil {
		b.t.Fatal(err)
	}
	all := map[string]string{}
	for _, s := range out.WorkspacesConnectionStatus {
		all[*s.WorkspaceId] = string(s.ConnectionState)
	}
	return all
}

func losesStatus(t *testing.T, b *bench) {
	alice, bob := b.available(request("alice")), b.available(request("bob"))
	b.fault(fault{Kind: "status_missing", User: "alice"})
	if got := b.statuses(); got[alice] != "" || got[bob] == "" {
		t.Errorf("%v", got)
	}
	if got := b.statuses(); got[alice] == "" {
		t.Errorf("used up: %v", got)
	}
	both := []string{b.fault(fault{Kind: "status_missing", User: "alice", Count: -1}), b.fault(fault{Kind: "status_missing", User: "bob", Count: -1})}
	for range 2 {
		if got := b.statuses(); len(got) > 0 {
			t.Errorf("both are to be left out: %v", got)
		}
	}
	for _, id := range both {
		b.call(http.MethodDelete, "/_emu/faults/"+id, nil, http.StatusOK, nil)
	}
}

func keepsStatus(t *testing.T, b *bench) {
	alice, bob := b.available(request("alice", alwaysOn)), b.available(request("bob", alwaysOn))
	id := b.fault(fault{Kind: "status_stale", User: "alice", Count: -1})
	b.act(alice, "connect")
	b.act(bob, "connect")
	b.clock.advance(time.Hour)
	for range 2 {
		if got := b.statuses(); got[alice] != "DISCONNECTED" || got[bob] != "CONNECTED" {
			t.Errorf("%v", got)
		}
	}
	b.call(http.MethodDelete, "/_emu/faults/"+id, nil, http.StatusOK, nil)
	if got := b.statuses(); got[alice] != "CONNECTED" {
		t.Errorf("cleared: %v", got)
	}
}

func forgetsToStop(t *testing.T, b *bench) {
	b.fault(fault{Kind: "autostop_fails", User: "alice"})
	alice, bob := b.available(request("alice")), b.available(request("bob"))
	b.clock.advance(2 * time.Hour)
	if a, s := b.describe(alice).State, b.describe(bob).State; a != types.WorkspaceStateAvailable || s != types.WorkspaceStateStopped {
		t.Errorf("%s %s", a, s)
	}
}

func sticks(t *testing.T, b *bench) {
	b.fault(fault{Kind: "stuck_state", User: "alice", State: "PENDING"})
	id := b.one(request("alice"))
	b.available(request("bob"))
	b.clock.advance(24 * time.Hour)
	b.wantState(id, "PENDING")
	b.act(id, "release")
	b.wantState(id, "AVAILABLE")
	b.call(http.MethodPost, "/_emu/workspaces/"+id+"/release", nil, http.StatusConflict, nil)

	// Nobody asked for the stop; it is found stuck all the same, and so is what follows a request.
	of := b.fault(fault{Kind: "stuck_state", Workspace: id, State: "STOPPING"})
	b.clock.advance(2 * time.Hour)
	b.wantState(id, "STOPPING")
	b.clock.advance(24 * time.Hour)
	if got := string(b.describe(id).State); got != "STOPPING" {
		t.Errorf("%s", got)
	}
	b.call(http.MethodDelete, "/_emu/faults/"+of, nil, http.StatusOK, nil)
	b.wantState(id, "STOPPED")
	for _, state := range []string{"STARTING", "REBOOTING"} {
		b.fault(fault{Kind: "stuck_state", State: state})
		if state == "STARTING" {
			wantCode(t, state, b.start(id), "")
		} else {
			wantCode(t, state, b.reboot(id), "")
		}
		b.clock.advance(12 * time.Hour)
		b.wantState(id, state)
		b.call(http.MethodDelete, "/_emu/faults", nil, http.StatusOK, nil)
		b.wantState(id, "AVAILABLE")
	}
	// A reboot that does not end is ended by another.
	b.fault(fault{Kind: "stuck_state", State: "REBOOTING"})
	wantCode(t, "reboot", b.reboot(id), "")
	b.clock.advance(30 * time.Minute)
	b.wantState(id, "REBOOTING")
	wantCode(t, "reboot again", b.reboot(id), "")
	b.pass(id, "AVAILABLE")

	b.fault(fault{Kind: "stuck_state", State: "STARTING", Op: "StartWorkspaces"})
	wantCode(t, "stop", b.stop(id), "")
	b.pass(id, "STOPPED")
	b.act(id, "start") // not by the operation
	b.pass(id, "AVAILABLE")
	b.call(http.MethodDelete, "/_emu/faults", nil, http.StatusOK, nil)
}

func endsInError(t *testing.T, b *bench) {
	b.fault(fault{Kind: "to_error", User: "alice", Code: "DOMAIN_JOIN", Message: "cannot join"})
	id := b.one(request("alice"))
	b.pass(id, "ERROR")
	if w := b.describe(id); aws.ToString(w.ErrorCode) != "DOMAIN_JOIN" || aws.ToString(w.ErrorMessage) != "cannot join" {
		t.Errorf("%+v", w)
	}
	b.act(id, "heal")
	if w := b.describe(id); w.State != types.WorkspaceStateAvailable || w.ErrorCode != nil {
		t.Errorf("%+v", w)
	}
	b.available(request("bob"))
}

func falls(t *testing.T, b *bench) {
	b.fault(fault{Kind: "unhealthy_after", User: "alice", DelayMS: 60_000})
	id := b.available(request("alice"))
	if took := b.pass(id, "UNHEALTHY"); took != time.Minute {
		t.Errorf("took %v", took)
	}
	wantCode(t, "reboot", b.reboot(id), "")
	b.pass(id, "AVAILABLE")
	b.pass(id, "STOPPING") // once only
}

func hides(t *testing.T, b *bench) {
	b.fault(fault{Kind: "describe_lag", DelayMS: 300_000})
	id, other := b.one(request("alice")), b.one(request("bob"))
	b.clock.advance(5*time.Minute - 1)
	if b.describe(id) != nil || b.describe(other) == nil {
		t.Error("the wrong one is seen")
	}
	b.clock.advance(1)
	if b.describe(id) == nil {
		t.Error("still hidden")
	}
}

func tagged(r *types.WorkspaceRequest) {
	r.Tags = []types.Tag{{Key: aws.String("intent"), Value: aws.String("i-1")}}
}

func (b *bench) tagsOf(id string) int {
	b.t.Helper()
	out, err := b.client().DescribeTags(b.t.Context(), &workspaces.DescribeTagsInput{ResourceId: &id})
	if err != nil {
		b.t.Fatal(err)
	}
	return len(out.TagList)
}

func losesTags(t *testing.T, b *bench) {
	b.fault(fault{Kind: "tags_lost"})
	plain, lost, kept := b.one(request("alice")), b.one(request("bob", tagged)), b.one(request("carol", tagged))
	if b.tagsOf(plain) != 0 || b.tagsOf(lost) != 0 || b.tagsOf(kept) != 1 {
		t.Errorf("%d %d %d", b.tagsOf(plain), b.tagsOf(lost), b.tagsOf(kept))
	}
}

func hidesTags(t *testing.T, b *bench) {
	b.fault(fault{Kind: "tags_lag", DelayMS: 60_000})
	late, seen := b.one(request("alice", tagged)), b.one(request("bob", tagged))
	b.clock.advance(time.Minute - 1)
	if b.tagsOf(late) != 0 || b.tagsOf(seen) != 1 {
		t.Errorf("%d %d", b.tagsOf(late), b.tagsOf(seen))
	}
	b.clock.advance(1)
	if b.tagsOf(late) != 1 {
		t.Error("still hidden")
	}
}

func failsModification(t *testing.T, b *bench) {
	id := b.available(request("alice", alwaysOn))
	b.clock.advance(24 * time.Hour)
	b.fault(fault{Kind: "modify_update_failed", User: "alice"})
	grow := &workspaces.ModifyWorkspacePropertiesInput{
		WorkspaceId: &id, WorkspaceProperties: &types.WorkspaceProperties{ComputeTypeName: types.ComputePower},
	}
	for _, want := range []struct{ state, compute string }{{"UPDATE_FAILED", "STANDARD"}, {"", "POWER"}} {
		if _, err := b.client().ModifyWorkspaceProperties(t.Context(), grow); err != nil {
			t.Fatal(err)
		}
		if w := b.describe(id); len(w.ModificationStates) != 1 || w.ModificationStates[0].State != types.ModificationStateEnumUpdateInitiated {
			t.Errorf("%+v", w.ModificationStates)
		}
		b.clock.advance(24 * time.Hour)
		w := b.describe(id)
		if string(w.WorkspaceProperties.ComputeTypeName) != want.compute {
			t.Errorf("compute type %s", w.WorkspaceProperties.ComputeTypeName)
		}
		if (want.state == "") != (len(w.ModificationStates) == 0) || (want.state != "" && string(w.ModificationStates[0].State) != want.state) {
			t.Errorf("%+v, want %s", w.ModificationStates, want.state)
		}
	}
}

func failsMigration(t *testing.T, b *bench) {
	id := b.available(request("alice", alwaysOn))
	b.clock.advance(13 * time.Hour)
	b.fault(fault{Kind: "migrate_silent_fail", Op: "MigrateWorkspace"})
	target, code := b.migrate(id, power)
	wantCode(t, "migrate", code, "")
	b.clock.advance(2 * time.Hour)
	if got := b.describe(id); b.describe(target) != nil || *got.BundleId != standard || got.State != types.WorkspaceStateAvailable {
		t.Errorf("%+v", got)
	}
	target, _ = b.migrate(id, power)
	b.clock.advance(2 * time.Hour)
	if got := b.describe(target); got == nil || *got.BundleId != power {
		t.Errorf("used up: %+v", got)
	}
}

func limits(t *testing.T, b *bench) {
	b.one(request("alice"))
	b.fault(fault{Kind: "quota", Limit: aws.Int(1), Region: "us-east-1"})
	_, err := b.client().CreateWorkspaces(t.Context(), createFor("bob"))
	if e := (*types.ResourceLimitExceededException)(nil); !errors.As(err, &e) {
		t.Errorf("%v", err)
	}
	b.one(request("bob"))
}

func TestAFaultStrikesTheNthTime(t *testing.T) {
	b := newBench(t)
	b.fault(fault{Kind: "http503", Op: "DescribeWorkspaces", Nth: 3})
	b.fault(fault{Kind: "throttle", Op: "DescribeWorkspaces", Nth: 4})
	var got []string
	for range 5 {
		_, err := b.client().DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{})
		got = append(got, apiCode(err))
	}
	if want := "[  ServiceUnavailable ThrottlingException ]"; fmt.Sprint(got) != want {
		t.Errorf("%q", got)
	}
}

func TestChanceIsTheSameForTheSameSeed(t *testing.T) {
	draws := func(seed uint64) string {
		b := newBench(t)
		b.fault(fault{Kind: "throttle", Probability: 0.3, Seed: seed, Count: -1})
		var got strings.Builder
		for range 50 {
			_, err := b.client().DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{})
			got.WriteByte("-X"[len(apiCode(err))&1])
		}
		if f := b.faults()[0]; f.Matched != 50 || f.Struck != strings.Count(got.String(), "X") || f.Struck < 5 || f.Struck > 30 {
			t.Errorf("%+v", f)
		}
		return got.String()
	}
	first := draws(7)
	if again := draws(7); again != first {
		t.Errorf("%s, then %s", first, again)
	}
	if other := draws(8); other == first {
		t.Errorf("%s for another seed, too", other)
	}
}

func TestConditionsMustAllBeTrueOfOne(t *testing.T) {
	b := newBench(t)
	b.fault(fault{Kind: "throttle", User: "alice", Directory: elsewhere, Region: "eu-west-1", Count: -1})
	out := b.create(request("alice"))
	if len(out.PendingRequests) != 1 {
		t.Fatalf("%+v", out)
	}
	there := request("alice", func(r *types.WorkspaceRequest) { r.DirectoryId = aws.String(elsewhere) })
	_, err := b.client(inRegion("eu-west-1")).CreateWorkspaces(t.Context(), &workspaces.CreateWorkspacesInput{Workspaces: []types.WorkspaceRequest{there}})
	wantCode(t, "create there", apiCode(err), "ThrottlingException")
	there.UserName = aws.String("bob")
	_, err = b.client(inRegion("eu-west-1")).CreateWorkspaces(t.Context(), &workspaces.CreateWorkspacesInput{Workspaces: []types.WorkspaceRequest{there}})
	wantCode(t, "create bob's there", apiCode(err), "")
}

func TestWhatAFaultDoesToAWorkSpaceOutlivesTheEmulator(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.jsonl")
	b := newBench(t, stateFile(path))
	for kind, user := range map[string]string{"stuck_state": "alice", "to_error": "bob", "unhealthy_after": "carol"} {
		f := fault{Kind: kind, User: user}
		switch kind {
		case "stuck_state":
			f.State = "PENDING"
		case "to_error":
			f.Code = "DOMAIN_JOIN"
		default:
			f.DelayMS = 1000
		}
		b.fault(f)
	}
	alice, bob, carol := b.one(request("alice")), b.one(request("bob")), b.one(request("carol"))
	b.emu.Crash()
	clock := b.clock
	b = newBench(t, stateFile(path), func(c *emulator.Config) { c.Now = clock.Now })
	b.clock = clock
	if left := b.faults(); len(left) != 0 {
		t.Errorf("orders outlived it: %+v", left)
	}
	clock.advance(59 * time.Minute)
	b.wantState(alice, "PENDING")
	b.wantState(bob, "ERROR")
	b.wantState(carol, "UNHEALTHY")
	b.call(http.MethodDelete, "/_emu/faults", nil, http.StatusOK, nil)
	b.wantState(alice, "AVAILABLE")
}

// TestFaultsAndRequestsMayComeAtOnce is for the race detector, and for locks taken in the wrong order.
func TestFaultsAndRequestsMayComeAtOnce(t *testing.T) {
	b := newBench(t, func(c *emulator.Config) { c.APIRate, c.APIBurst = 1000, 1000 })
	var workers sync.WaitGroup
	for n := range 4 {
		workers.Go(func() {
			user := []string{"alice", "bob", "carol", "dave"}[n]
			for range 10 {
				b.fault(fault{Kind: "stuck_state", State: "PENDING", User: user})
				b.fault(fault{Kind: "omit_from_page"})
				b.fault(fault{Kind: "fail_item", Code: "Nope", User: user, Probability: 0.5})
				if _, err := b.client().CreateWorkspaces(t.Context(), createFor(user)); err != nil {
					t.Error(err)
				}
				b.pages(2)
				b.statuses()
				b.clock.advance(time.Minute)
				b.call(http.MethodPost, "/_emu/clock", map[string]any{"advance_ms": 1}, http.StatusOK, nil)
				b.adminAll()
				if n == 0 {
					b.call(http.MethodPost, "/_emu/reset", nil, http.StatusOK, nil)
				}
			}
		})
	}
	workers.Wait()
	b.call(http.MethodPost, "/_emu/reset", nil, http.StatusOK, nil)
	b.one(request("alice"))
}
