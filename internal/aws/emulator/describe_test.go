package emulator_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
)

// fill makes n WorkSpaces, a few per call, and gives their ids, oldest first.
func (b *bench) fill(n int) []string {
	b.t.Helper()
	var ids []string
	for len(ids) < n {
		var requests []types.WorkspaceRequest
		for i := range min(20, n-len(ids)) {
			user := fmt.Sprintf("user-%03d", len(ids)+i)
			if err := b.emu.AddUsers(directory, user); err != nil {
				b.t.Fatal(err)
			}
			requests = append(requests, request(user))
		}
		for _, w := range b.create(requests...).PendingRequests {
			ids = append(ids, *w.WorkspaceId)
		}
	}
	return ids
}

func TestPagesHoldEverythingOnceAndInOrder(t *testing.T) {
	b := newBench(t)
	want := b.fill(60)
	b.clock.advance(10 * time.Second)
	for _, limit := range []int32{0, 1, 7, 25} {
		in := &workspaces.DescribeWorkspacesInput{DirectoryId: aws.String(directory)}
		most := 25
		if limit > 0 {
			in.Limit, most = &limit, int(limit)
		}
		var got []string
		for pages := workspaces.NewDescribeWorkspacesPaginator(b.client(), in); pages.HasMorePages(); {
			p, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(p.Workspaces) > most {
				t.Fatalf("limit %d: a page of %d", limit, len(p.Workspaces))
			}
			for _, w := range p.Workspaces {
				got = append(got, *w.WorkspaceId)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("limit %d: got %d of %d, or in another order", limit, len(got), len(want))
		}
	}
}

func TestWhatGoesBetweenTwoPagesHidesNothingElse(t *testing.T) {
	b := newBench(t)
	ids := b.fill(30)
	b.clock.advance(20 * time.Minute)
	first, err := b.client().DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{Limit: aws.Int32(10)})
	if err != nil {
		t.Fatal(err)
	}
	b.terminate(ids[3])
	b.terminate(ids[9]) // the one the token marks
	b.clock.advance(10 * time.Minute)
	second, err := b.client().DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{Limit: aws.Int32(10), NextToken: first.NextToken})
	if err != nil {
		t.Fatal(err)
	}
	if len(second.Workspaces) != 10 || *second.Workspaces[0].WorkspaceId != ids[10] {
		t.Errorf("the second page has %d and begins with %s, want %s", len(second.Workspaces), *second.Workspaces[0].WorkspaceId, ids[10])
	}
}

func TestATokenIsGoodForTheSameQuestionOnly(t *testing.T) {
	b := newBench(t)
	b.fill(30)
	b.clock.advance(10 * time.Second)
	first, err := b.client().DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{DirectoryId: aws.String(directory)})
	if err != nil || first.NextToken == nil {
		t.Fatal(err, first.NextToken)
	}
	token := *first.NextToken
	for name, in := range map[string]*workspaces.DescribeWorkspacesInput{
		"another filter": {NextToken: &token},
		"garbage":        {DirectoryId: aws.String(directory), NextToken: aws.String("garbage")},
		"cut":            {DirectoryId: aws.String(directory), NextToken: aws.String(token[1:])},
		"changed":        {DirectoryId: aws.String(directory), NextToken: aws.String("B" + token[1:])},
	} {
		_, err := b.client().DescribeWorkspaces(t.Context(), in)
		if e := (*types.InvalidParameterValuesException)(nil); !errors.As(err, &e) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = b.client(inRegion("eu-west-1")).DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{DirectoryId: aws.String(directory), NextToken: &token})
	if e := (*types.InvalidParameterValuesException)(nil); !errors.As(err, &e) {
		t.Errorf("another Region: %v", err)
	}
	_, err = b.client().DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{DirectoryId: aws.String(directory), NextToken: &token, Limit: aws.Int32(2)})
	if err != nil {
		t.Errorf("another limit: %v", err)
	}
}

func TestFiltersFind(t *testing.T) {
	b := newBench(t)
	alice := b.available(request("Alice"))
	bob := b.available(request("bob", func(r *types.WorkspaceRequest) { r.BundleId = aws.String(pcoip) }))
	for name, c := range map[string]struct {
		in   workspaces.DescribeWorkspacesInput
		want []string
	}{
		"nothing":               {workspaces.DescribeWorkspacesInput{}, []string{alice, bob}},
		"ids":                   {workspaces.DescribeWorkspacesInput{WorkspaceIds: []string{bob, "ws-000000000", bob}}, []string{bob}},
		"unknown id":            {workspaces.DescribeWorkspacesInput{WorkspaceIds: []string{"ws-000000000"}}, nil},
		"directory":             {workspaces.DescribeWorkspacesInput{DirectoryId: aws.String(directory)}, []string{alice, bob}},
		"unknown directory":     {workspaces.DescribeWorkspacesInput{DirectoryId: aws.String("d-0123456789")}, nil},
		"user in other letters": {workspaces.DescribeWorkspacesInput{DirectoryId: aws.String(directory), UserName: aws.String("aLICE")}, []string{alice}},
		"bundle":                {workspaces.DescribeWorkspacesInput{BundleId: aws.String(pcoip)}, []string{bob}},
	} {
		out, err := b.client().DescribeWorkspaces(t.Context(), &c.in)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, w := range out.Workspaces {
			got = append(got, *w.WorkspaceId)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
	for name, in := range map[string]workspaces.DescribeWorkspacesInput{
		"ids and directory":      {WorkspaceIds: []string{bob}, DirectoryId: aws.String(directory)},
		"directory and bundle":   {DirectoryId: aws.String(directory), BundleId: aws.String(pcoip)},
		"user without directory": {UserName: aws.String("alice")},
		"user and ids":           {UserName: aws.String("alice"), WorkspaceIds: []string{bob}},
	} {
		_, err := b.client().DescribeWorkspaces(t.Context(), &in)
		if e := (*types.InvalidParameterValuesException)(nil); !errors.As(err, &e) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestANewWorkSpaceIsDescribedALittleLater(t *testing.T) {
	b := newBench(t)
	lagged := false
	for _, id := range b.fill(10) {
		w := b.admin(id)
		lag := w.Visible.Sub(w.Created)
		if lag < 0 || lag >= 10*time.Second {
			t.Fatalf("visible after %v", lag)
		}
		lagged = lagged || lag > time.Second
		b.clock.set(w.Visible.Add(-time.Nanosecond))
		if lag > 0 && b.describe(id) != nil {
			t.Error("described too early")
		}
		b.clock.set(w.Visible)
		if b.describe(id) == nil {
			t.Error("not described in time")
		}
		b.clock.set(start)
	}
	if !lagged {
		t.Error("none of ten lagged by a second")
	}
}

func TestConnectionStatus(t *testing.T) {
	b := newBench(t)
	id := b.one(request("alice"))
	status := func() *types.WorkspaceConnectionStatus {
		t.Helper()
		out, err := b.client().DescribeWorkspacesConnectionStatus(t.Context(), &workspaces.DescribeWorkspacesConnectionStatusInput{WorkspaceIds: []string{id, "ws-000000000"}})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.WorkspacesConnectionStatus) == 0 {
			return nil
		}
		s := out.WorkspacesConnectionStatus[0]
		if age := b.clock.Now().Sub(*s.ConnectionStateCheckTimestamp); age < -time.Millisecond || age > 5*time.Minute {
			t.Errorf("checked %v ago", age)
		}
		return &s
	}
	want := func(what string, state types.ConnectionState, last time.Time) {
		t.Helper()
		s := status()
		if s.ConnectionState != state {
			t.Errorf("%s: %s, want %s", what, s.ConnectionState, state)
		}
		got := aws.ToTime(s.LastKnownUserConnectionTimestamp)
		if last.IsZero() != got.IsZero() || got.Sub(last).Abs() > time.Millisecond {
			t.Errorf("%s: last known %v, want %v", what, got, last)
		}
	}
	b.clock.advance(time.Minute)
	if s := status(); s != nil {
		t.Errorf("pending: %+v", s)
	}
	b.pass(id, "AVAILABLE")
	want("never connected", types.ConnectionStateDisconnected, time.Time{})
	b.clock.advance(7 * time.Minute)
	b.act(id, "connect")
	want("connected", types.ConnectionStateConnected, b.clock.Now())
	b.clock.advance(3 * time.Hour)
	if s := status(); s.ConnectionState != types.ConnectionStateConnected || b.clock.Now().Sub(*s.LastKnownUserConnectionTimestamp) > 5*time.Minute {
		t.Errorf("hours later: %+v", s)
	}
	if !b.admin(id).Connected {
		t.Error("the admin API does not know")
	}
	b.act(id, "disconnect")
	left := b.clock.Now()
	want("disconnected", types.ConnectionStateDisconnected, left)
	b.pass(id, "STOPPING")
	want("stopping", types.ConnectionStateDisconnected, left)
	b.pass(id, "STOPPED")
	want("stopped", types.ConnectionStateUnknown, left)

	b.act(id, "connect") // a log-in starts it
	b.wantState(id, "STARTING")
	want("starting", types.ConnectionStateUnknown, left)
	b.pass(id, "AVAILABLE")
	want("started by a log-in", types.ConnectionStateConnected, b.clock.Now())
	b.clock.advance(time.Hour)
	b.stop(id) // throws the user out
	out := b.clock.Now()
	want("stopped under a user", types.ConnectionStateDisconnected, out)
	b.pass(id, "STOPPED")
	want("stopped", types.ConnectionStateUnknown, out)
}

func TestNothingIsKnownOfTheConnectionOfOneThatNeverRan(t *testing.T) {
	b := newBench(t)
	b.fault(fault{Kind: "to_error", User: "alice"})
	id := b.one(request("alice"))
	known := func(id string) int {
		t.Helper()
		out, err := b.client().DescribeWorkspacesConnectionStatus(t.Context(), &workspaces.DescribeWorkspacesConnectionStatusInput{WorkspaceIds: []string{id}})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.WorkspacesConnectionStatus)
	}
	b.pass(id, "ERROR")
	if got := known(id); got != 0 {
		t.Errorf("%d of one that ended in ERROR", got)
	}
	b.act(id, "heal")
	if got := known(id); got != 1 {
		t.Errorf("%d of one that runs", got)
	}
	b.act(id, "error")
	if got := known(id); got != 1 {
		t.Errorf("%d of one that has run", got)
	}
	never := b.one(request("bob"))
	b.clock.advance(time.Minute)
	wantCode(t, "terminate", b.terminate(never), "")
	b.wantState(never, "TERMINATING")
	if got := known(never); got != 0 {
		t.Errorf("%d of one that is terminated before it ran", got)
	}
}

func TestConnectionStatusOfAllComesInPages(t *testing.T) {
	b := newBench(t)
	b.fill(30)
	b.clock.advance(20 * time.Minute)
	var got int
	in := &workspaces.DescribeWorkspacesConnectionStatusInput{}
	for {
		out, err := b.client().DescribeWorkspacesConnectionStatus(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		got += len(out.WorkspacesConnectionStatus)
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	if got != 30 {
		t.Errorf("got %d of 30", got)
	}
}
