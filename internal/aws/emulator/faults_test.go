package emulator_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/aws/smithy-go"
)

// retrying is the SDK as it is by default, without the waiting.
func retrying(o *workspaces.Options) {
	o.Retryer = retry.NewStandard(func(s *retry.StandardOptions) {
		s.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
	})
}

func createFor(user string) *workspaces.CreateWorkspacesInput {
	return &workspaces.CreateWorkspacesInput{Workspaces: []types.WorkspaceRequest{request(user)}}
}

func TestALostAnswerIsOfACreateThatHappened(t *testing.T) {
	b := newBench(t)
	b.fault(fault{Op: "CreateWorkspaces", Kind: "drop_response_after_apply"})
	_, err := b.client().CreateWorkspaces(t.Context(), createFor("alice"))
	if e := smithy.APIError(nil); err == nil || errors.As(err, &e) {
		t.Fatalf("want a broken connection, got %v", err)
	}
	if got := b.adminAll(); len(got) != 1 {
		t.Fatalf("%d were made", len(got))
	}
	out := b.create(request("alice"))
	if len(out.FailedRequests) != 1 || *out.FailedRequests[0].ErrorCode != "ResourceExists.WorkSpace" {
		t.Errorf("second call: %+v", out)
	}
}

func TestALostAnswerHitsOneCallOnceThoughTheSDKRetries(t *testing.T) {
	b := newBench(t)
	b.fault(fault{Op: "CreateWorkspaces", Kind: "drop_response_after_apply", Count: 2})
	for _, user := range []string{"alice", "bob"} {
		out, err := b.client(retrying).CreateWorkspaces(t.Context(), createFor(user))
		if err != nil {
			t.Fatal(err)
		}
		// What a client sees that retries creates blindly.
		if len(out.FailedRequests) != 1 || *out.FailedRequests[0].ErrorCode != "ResourceExists.WorkSpace" {
			t.Errorf("%s: %+v", user, out)
		}
	}
	out, err := b.client(retrying).CreateWorkspaces(t.Context(), createFor("carol"))
	if err != nil || len(out.PendingRequests) != 1 {
		t.Errorf("used up: %v %+v", err, out)
	}
	seen := b.requests()
	if len(seen) != 5 {
		t.Fatalf("requests %+v", seen)
	}
	if seen[0].InvocationID == "" || seen[0].InvocationID != seen[1].InvocationID || seen[0].Attempt != 1 || seen[1].Attempt != 2 ||
		seen[0].Outcome != "drop_response_after_apply" || seen[1].Outcome != "ok" || seen[2].InvocationID == seen[0].InvocationID {
		t.Errorf("requests %+v", seen)
	}
}

func TestARequestLostOnTheWayDidNothing(t *testing.T) {
	b := newBench(t)
	b.fault(fault{Op: "CreateWorkspaces", Kind: "drop_before_apply"})
	if _, err := b.client().CreateWorkspaces(t.Context(), createFor("alice")); err == nil {
		t.Fatal("no error")
	}
	if got := b.adminAll(); len(got) != 0 {
		t.Fatalf("%d were made", len(got))
	}
	b.one(request("alice"))
}

func TestThrottlingAndInternalFailures(t *testing.T) {
	b := newBench(t)
	for kind, want := range map[string]string{"throttle": "ThrottlingException", "http500": "InternalFailure"} {
		b.fault(fault{Op: "DescribeWorkspaces", Kind: kind, Count: 2})
		_, err := b.client().DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{})
		if e := smithy.APIError(nil); !errors.As(err, &e) || e.ErrorCode() != want {
			t.Errorf("%s: %v", kind, err)
		}
		if _, err := b.client(retrying).DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{}); err != nil {
			t.Errorf("%s, retried: %v", kind, err)
		}
		if _, err := b.client().DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{}); err != nil {
			t.Errorf("%s, used up: %v", kind, err)
		}
	}
	for _, r := range b.requests() {
		if r.Outcome == "throttle" && r.Op != "DescribeWorkspaces" {
			t.Errorf("%+v", r)
		}
	}
}

func TestAFaultMayBeOneUsers(t *testing.T) {
	b := newBench(t)
	alice, bob := b.available(request("alice")), b.available(request("bob"))
	b.fault(fault{Kind: "throttle", User: "ALICE", Count: 3})
	wantCode(t, "stop bob's", b.stop(bob), "")
	_, err := b.client().StopWorkspaces(t.Context(), &workspaces.StopWorkspacesInput{StopWorkspaceRequests: []types.StopRequest{{WorkspaceId: &alice}}})
	if e := smithy.APIError(nil); !errors.As(err, &e) || e.ErrorCode() != "ThrottlingException" {
		t.Errorf("stop alice's: %v", err)
	}
	_, err = b.client().DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{DirectoryId: aws.String(directory), UserName: aws.String("Alice")})
	if err == nil {
		t.Error("describe alice's: no error")
	}
	if _, err := b.client().CreateWorkspaces(t.Context(), createFor("alice")); err == nil {
		t.Error("create alice's: no error")
	}
	wantCode(t, "used up", b.stop(alice), "")
}

func TestALostAnswerWaitsForARequestThatIsApplied(t *testing.T) {
	b := newBench(t)
	b.fault(fault{Kind: "drop_response_after_apply"})
	_, err := b.client().DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{UserName: aws.String("alice")})
	if e := (*types.InvalidParameterValuesException)(nil); !errors.As(err, &e) {
		t.Errorf("refused: %v", err)
	}
	if _, err := b.client().CreateWorkspaces(t.Context(), createFor("alice")); err == nil {
		t.Error("applied: the answer came")
	}
}

func TestFaultsCanBeTakenBackAndMustMakeSense(t *testing.T) {
	b := newBench(t)
	for _, bad := range []any{
		fault{Kind: "meteorite"},
		fault{Kind: "throttle", Op: "NoSuchOperation"},
		fault{Kind: "throttle", Count: -2},
		map[string]any{"kind": "throttle", "usre": "alice"},
		"text",
	} {
		b.call(http.MethodPost, "/_emu/faults", bad, http.StatusBadRequest, nil)
	}
	var left struct{ Faults []fault }
	b.call(http.MethodPost, "/_emu/faults", fault{Kind: "throttle", Count: 3}, http.StatusOK, &left)
	if len(left.Faults) != 1 || left.Faults[0].Count != 3 {
		t.Errorf("%+v", left)
	}
	b.call(http.MethodDelete, "/_emu/faults", nil, http.StatusOK, &left)
	if len(left.Faults) != 0 {
		t.Errorf("%+v", left)
	}
	b.one(request("alice"))
}
