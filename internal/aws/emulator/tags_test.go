package emulator_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/google/go-cmp/cmp"
)

func tag(key, value string) types.Tag { return types.Tag{Key: &key, Value: &value} }

func (b *bench) tags(id string) map[string]string {
	b.t.Helper()
	out, err := b.client().DescribeTags(b.t.Context(), &workspaces.DescribeTagsInput{ResourceId: &id})
	if err != nil {
		b.t.Fatal(err)
	}
	got := map[string]string{}
	for _, t := range out.TagList {
		got[*t.Key] = *t.Value
	}
	return got
}

func TestTagsAreAddedReplacedAndDeleted(t *testing.T) {
	b := newBench(t)
	id := b.one(request("alice", func(r *types.WorkspaceRequest) { r.Tags = []types.Tag{tag("forge:desktop-id", "42"), tag("empty", "")} }))
	_, err := b.client().CreateTags(t.Context(), &workspaces.CreateTagsInput{ResourceId: &id, Tags: []types.Tag{tag("forge:desktop-id", "43"), tag("team", "blue")}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"forge:desktop-id": "43", "empty": "", "team": "blue"}, b.tags(id)); diff != "" {
		t.Error(diff)
	}
	_, err = b.client().DeleteTags(t.Context(), &workspaces.DeleteTagsInput{ResourceId: &id, TagKeys: []string{"team", "never there"}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"forge:desktop-id": "43", "empty": ""}
	if diff := cmp.Diff(want, b.tags(id)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, b.admin(id).Tags); diff != "" {
		t.Error(diff)
	}
}

func TestAResourceHasFiftyTagsAtMost(t *testing.T) {
	b := newBench(t)
	id := b.one(request("alice"))
	var fifty []types.Tag
	for i := range 50 {
		fifty = append(fifty, tag(fmt.Sprint(i), "x"))
	}
	if _, err := b.client().CreateTags(t.Context(), &workspaces.CreateTagsInput{ResourceId: &id, Tags: fifty}); err != nil {
		t.Fatal(err)
	}
	_, err := b.client().CreateTags(t.Context(), &workspaces.CreateTagsInput{ResourceId: &id, Tags: []types.Tag{tag("one more", "x")}})
	if e := (*types.ResourceLimitExceededException)(nil); !errors.As(err, &e) {
		t.Errorf("51: %v", err)
	}
	if got := len(b.tags(id)); got != 50 {
		t.Errorf("%d tags", got)
	}
	for name, tags := range map[string][]types.Tag{"twice": {tag("a", "1"), tag("a", "2")}, "reserved": {tag("aws:a", "1")}} {
		_, err := b.client().CreateTags(t.Context(), &workspaces.CreateTagsInput{ResourceId: &id, Tags: tags})
		if e := (*types.InvalidParameterValuesException)(nil); !errors.As(err, &e) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTagsOfNothingAreNotFound(t *testing.T) {
	b := newBench(t)
	none := aws.String("ws-000000000")
	_, err := b.client().CreateTags(t.Context(), &workspaces.CreateTagsInput{ResourceId: none, Tags: []types.Tag{tag("a", "b")}})
	if e := (*types.ResourceNotFoundException)(nil); !errors.As(err, &e) {
		t.Errorf("create: %v", err)
	}
	_, err = b.client().DeleteTags(t.Context(), &workspaces.DeleteTagsInput{ResourceId: none, TagKeys: []string{"a"}})
	if e := (*types.ResourceNotFoundException)(nil); !errors.As(err, &e) {
		t.Errorf("delete: %v", err)
	}
}

// Every kind of resource that has tags.
func TestWhatHasTags(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	b := newBench(t, stateFile(path))
	for kind, id := range map[string]string{
		"WorkSpace": b.one(request("alice")),
		"directory": directory,
		"IP group":  b.ipGroup("office"),
	} {
		if got := b.tags(id); len(got) != 0 {
			t.Errorf("%s: tags before: %v", kind, got)
		}
		must(b.client().CreateTags(t.Context(), &workspaces.CreateTagsInput{ResourceId: &id, Tags: []types.Tag{tag("kind", kind), tag("x", "y")}}))
		must(b.client().DeleteTags(t.Context(), &workspaces.DeleteTagsInput{ResourceId: &id, TagKeys: []string{"x"}}))
		if diff := cmp.Diff(map[string]string{"kind": kind}, b.tags(id)); diff != "" {
			t.Errorf("%s: %s", kind, diff)
		}
	}
	tagged := must(b.client().CreateIpGroup(t.Context(), &workspaces.CreateIpGroupInput{GroupName: aws.String("born with tags"), Tags: []types.Tag{tag("a", "b")}})).GroupId
	before := b.emu.State()
	b.emu.Crash()
	again := newBench(t, stateFile(path))
	if diff := cmp.Diff(string(before), string(again.emu.State())); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"a": "b"}, again.tags(*tagged)); diff != "" {
		t.Error(diff)
	}
}
