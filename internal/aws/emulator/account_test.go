package emulator_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

const otherAccount = "111122223333"

func withKey(id string) func(*workspaces.Options) {
	return func(o *workspaces.Options) {
		o.Credentials = credentials.NewStaticCredentialsProvider(id, "secret", "")
	}
}

func TestAccountsDoNotSeeEachOther(t *testing.T) {
	const theirs = "d-96670a1b2c"
	path := filepath.Join(t.TempDir(), "state")
	settings := func(c *emulator.Config) {
		c.StateFile, c.Quota = path, 1
		c.Directories = append(c.Directories, emulator.Directory{ID: theirs, Account: otherAccount, Users: []string{"alice"}})
	}
	b := newBench(t, settings)
	us, them := b.client(), b.client(withKey(otherAccount))
	ours := b.available(request("alice"))
	created := must(them.CreateWorkspaces(t.Context(), &workspaces.CreateWorkspacesInput{Workspaces: []types.WorkspaceRequest{
		request("alice", func(r *types.WorkspaceRequest) { r.DirectoryId = aws.String(theirs) }),
		request("bob"), // in our directory
	}}))
	if len(created.PendingRequests) != 1 || len(created.FailedRequests) != 1 || *created.FailedRequests[0].ErrorCode != "ResourceNotFound.Directory" {
		t.Fatalf("%+v", created) // each has a quota of its own, too
	}
	b.clock.advance(time.Hour)
	group := must(them.CreateIpGroup(t.Context(), &workspaces.CreateIpGroupInput{GroupName: aws.String("office")})).GroupId
	must(us.CreateIpGroup(t.Context(), &workspaces.CreateIpGroupInput{GroupName: aws.String("office")})) // names are each one's own

	seen := func(api *workspaces.Client) (ids []string) {
		for _, w := range must(api.DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{})).Workspaces {
			ids = append(ids, *w.WorkspaceId)
		}
		for _, d := range must(api.DescribeWorkspaceDirectories(t.Context(), &workspaces.DescribeWorkspaceDirectoriesInput{})).Directories {
			ids = append(ids, *d.DirectoryId, *d.IamRoleId)
		}
		return ids
	}
	wantSeen := func(b *bench) {
		t.Helper()
		us, them := b.client(withKey("AKIAIOSFODNN7EXAMPLE")), b.client(withKey(otherAccount))
		if got := seen(us); len(got) != 3 || got[0] != ours || got[1] != directory || got[2] != "arn:aws:iam::123456789012:role/workspaces_DefaultRole" {
			t.Errorf("we see %q", got)
		}
		if got := seen(them); len(got) != 3 || got[1] != theirs || got[2] != "arn:aws:iam::111122223333:role/workspaces_DefaultRole" {
			t.Errorf("they see %q", got)
		}
		if got := seen(b.client(withKey("444455556666"))); len(got) != 0 {
			t.Errorf("a third sees %q", got)
		}
		if got := seen(b.client(withKey("123456789012"))); len(got) != 3 {
			t.Errorf("the default account by name sees %q", got)
		}
	}
	wantSeen(b)

	stopped := must(them.StopWorkspaces(t.Context(), &workspaces.StopWorkspacesInput{StopWorkspaceRequests: []types.StopRequest{{WorkspaceId: &ours}}}))
	if len(stopped.FailedRequests) != 1 || *stopped.FailedRequests[0].ErrorCode != "ResourceNotFound.WorkSpace" {
		t.Errorf("they stop ours: %+v", stopped)
	}
	for _, id := range []string{ours, directory} {
		_, err := them.CreateTags(t.Context(), &workspaces.CreateTagsInput{ResourceId: &id, Tags: []types.Tag{tag("a", "b")}})
		wantError[*types.ResourceNotFoundException](t, "they tag "+id, err)
	}
	_, err := us.DeleteIpGroup(t.Context(), &workspaces.DeleteIpGroupInput{GroupId: group})
	wantError[*types.ResourceNotFoundException](t, "we delete their group", err)
	_, err = them.RegisterWorkspaceDirectory(t.Context(), &workspaces.RegisterWorkspaceDirectoryInput{DirectoryId: aws.String(directory)})
	wantError[*types.ResourceNotFoundException](t, "they register our directory", err)

	b.emu.Crash()
	again := newBench(t, settings)
	again.clock.set(b.clock.Now())
	wantSeen(again)
}

func TestTheAccountItself(t *testing.T) {
	b := newBench(t)
	if got := must(b.client().DescribeAccount(t.Context(), &workspaces.DescribeAccountInput{})); got.DedicatedTenancySupport != "DISABLED" {
		t.Errorf("%+v", got)
	}
	if got := must(b.client().DescribeAccountModifications(t.Context(), &workspaces.DescribeAccountModificationsInput{})); len(got.AccountModifications) != 0 || got.NextToken != nil {
		t.Errorf("%+v", got)
	}
	if status, answer, _ := b.send("DescribeAccountModifications", `{"NextToken":"x"}`); status != 400 || answer["__type"] != "ValidationException" {
		t.Errorf("%d %v", status, answer)
	}
	if _, err := emulator.New(emulator.Config{Directories: []emulator.Directory{{ID: directory, Account: "ours"}}}); err == nil {
		t.Error("an account that is none was taken")
	}
}
