package desktop

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/workspace"
)

// setTags makes a WorkSpace's tags what they are to be at first.
func (b *bench) setTags(providerID string, tags map[string]string) {
	b.t.Helper()
	body, err := json.Marshal(map[string]any{"tags": tags})
	if err != nil {
		b.t.Fatal(err)
	}
	b.admin(http.MethodPut, "/_emu/workspaces/"+providerID+"/tags", string(body), nil)
}

func TestAWorkSpacesTagsAreMadeThoseOfItsIntent(t *testing.T) {
	const intent = id.WorkSpace("ws_1")
	ours := map[string]string{tagWorkSpace: "ws_1", tagOrigin: "test-forge"}
	with := func(more ...string) map[string]string {
		all := maps.Clone(ours)
		for i := 0; i < len(more); i += 2 {
			all[more[i]] = more[i+1]
		}
		return all
	}
	for name, c := range map[string]struct {
		there, users, want map[string]string
		deleted            string   // the keys that are to be sent, with commas between
		created            []string // keys
	}{
		"all is as it should be":       {with("team", "a"), map[string]string{"team": "a"}, with("team", "a"), "", nil},
		"none is there":                {map[string]string{}, map[string]string{"team": "a"}, with("team", "a"), "", []string{tagOrigin, tagWorkSpace, "team"}},
		"ours alone":                   {with(), nil, with(), "", nil},
		"ours were changed":            {map[string]string{tagWorkSpace: notForge, tagOrigin: "test-forge"}, nil, with(), "", []string{tagWorkSpace}},
		"another installation's":       {map[string]string{tagWorkSpace: "ws_1", tagOrigin: "theirs"}, nil, with(), "", []string{tagOrigin}},
		"a value is another":           {with("team", "a", "app", "x"), map[string]string{"team": "b", "app": "x"}, with("team", "b", "app", "x"), "", []string{"team"}},
		"a value is gone":              {with("team", "a"), map[string]string{"team": ""}, with("team", ""), "", []string{"team"}},
		"case matters":                 {with("Team", "a"), map[string]string{"team": "a"}, with("team", "a"), "Team", []string{"team"}},
		"others are taken away":        {with("z", "1", "b", "2", "team", "a"), map[string]string{"team": "a"}, with("team", "a"), "b,z", nil},
		"what Forge has set stays":     {with(tagAttempt, "3", "Forge:Note", "x"), nil, with(tagAttempt, "3", "Forge:Note", "x"), "", nil},
		"a user has no say in ours":    {with(tagAttempt, "3"), map[string]string{tagAttempt: "7", tagOrigin: "x", "aws:x": "y"}, with(tagAttempt, "3"), "", nil},
		"both, and room is made first": {with("a", "1"), map[string]string{"b": "2"}, with("b", "2"), "a", []string{"b"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			made := b.create(spec("alice"))
			b.setTags(made, c.there)
			if err := b.Tag(t.Context(), home, made, intent, c.users); err != nil {
				t.Fatal(err)
			}
			got, err := b.Marks(t.Context(), home, made)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(workspace.Marks{Intent: intent, Marked: true, Tags: c.want}, got); d != "" {
				t.Error(d)
			}
			var deleted, created []string
			for _, body := range b.sent("DeleteTags") {
				var in struct{ TagKeys []string }
				if err := json.Unmarshal([]byte(body), &in); err != nil {
					t.Fatal(err)
				}
				deleted = append(deleted, in.TagKeys...)
			}
			for _, body := range b.sent("CreateTags") {
				var in struct{ Tags []struct{ Key string } }
				if err := json.Unmarshal([]byte(body), &in); err != nil {
					t.Fatal(err)
				}
				for _, tag := range in.Tags {
					created = append(created, tag.Key)
				}
			}
			if strings.Join(deleted, ",") != c.deleted || !slices.Equal(created, c.created) {
				t.Errorf("deleted %v, created %v; want %s, %v", deleted, created, c.deleted, c.created)
			}
		})
	}
}

func TestAmazonsOwnTagsStayAndDoNotCount(t *testing.T) {
	there := []string{`{"Key":"aws:cloudformation:stack-name","Value":"x"}`, `{"Key":"AWS:x"}`}
	users := map[string]string{}
	for i := range maxTags - 2 {
		there = append(there, fmt.Sprintf(`{"Key":"stray%d","Value":"x"}`, i))
		users[fmt.Sprintf("wanted%d", i)] = "x"
	}
	var deleted, created struct {
		TagKeys []string
		Tags    []struct{ Key string }
	}
	p, _ := answering(t, func(w http.ResponseWriter, r *http.Request) {
		switch _, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), "."); operation {
		case "DescribeTags":
			says(http.StatusOK, `{"TagList":[`+strings.Join(there, ",")+`]}`)(w, r)
			return
		case "DeleteTags":
			if err := json.NewDecoder(r.Body).Decode(&deleted); err != nil {
				t.Error(err)
			}
		case "CreateTags":
			if err := json.NewDecoder(r.Body).Decode(&created); err != nil {
				t.Error(err)
			}
		}
		says(http.StatusOK, `{}`)(w, r)
	})
	if err := p.Tag(t.Context(), home, "ws-000000001", "ws_1", users); err != nil {
		t.Fatal(err)
	}
	if len(deleted.TagKeys) != maxTags-2 || len(created.Tags) != maxTags || slices.ContainsFunc(deleted.TagKeys, amazons) {
		t.Errorf("%d were deleted, %d created: %v", len(deleted.TagKeys), len(created.Tags), deleted.TagKeys)
	}
}

func TestAWorkSpaceHasFiftyTagsAtMost(t *testing.T) {
	b := newBench(t)
	made := b.create(spec("alice")) // three tags of ours
	users := func(prefix string, n int) map[string]string {
		tags := map[string]string{}
		for i := range n {
			tags[fmt.Sprint(prefix, i)] = "x"
		}
		return tags
	}
	for _, prefix := range []string{"a", "b"} { // the second takes the place of the first
		if err := b.Tag(t.Context(), home, made, "ws_1", users(prefix, 47)); err != nil {
			t.Fatal(err)
		}
	}
	before := len(b.sent("CreateTags")) + len(b.sent("DeleteTags"))
	wantCode(t, b.Tag(t.Context(), home, made, "ws_1", users("c", 48)), workspace.Rejected, codeTooManyTags)
	if after := len(b.sent("CreateTags")) + len(b.sent("DeleteTags")); after != before {
		t.Errorf("%d requests for what cannot be", after-before)
	}
	if got, err := b.Marks(t.Context(), home, made); err != nil || len(got.Tags) != 50 || got.Tags["b46"] != "x" {
		t.Errorf("%d tags, %v", len(got.Tags), err)
	}

	// Somebody else was quicker. That is nothing to stop a region for.
	b.admin(http.MethodPost, "/_emu/faults", `{"kind": "fail_batch", "op": "CreateTags", "code": "ResourceLimitExceededException"}`, nil)
	pe := wantClass(t, b.Tag(t.Context(), home, made, "ws_2", users("b", 47)), workspace.Rejected)
	if pe.Extent != workspace.OneOnly {
		t.Errorf("extent %d", pe.Extent)
	}
}

func TestTagsThatCannotBeReadOrSet(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	made := b.create(spec("alice"))
	wantClass(t, b.Tag(ctx, home, "ws-000000000", "ws_1", nil), workspace.Gone)
	_, err := b.Marks(ctx, home, "ws-000000000")
	wantClass(t, err, workspace.Gone)
	wantClass(t, b.Tag(ctx, home, made, "ws_1", map[string]string{strings.Repeat("k", 128): "v"}), workspace.Rejected)

	// It is done in the end, wherever it broke off.
	for _, operation := range []string{"DescribeTags", "DeleteTags", "CreateTags"} {
		b.setTags(made, map[string]string{"stray": "x"})
		b.fail(operation, "http500", 1)
		wantClass(t, b.Tag(ctx, home, made, "ws_1", map[string]string{"team": "a"}), workspace.Ambiguous)
		if err := b.Tag(ctx, home, made, "ws_1", map[string]string{"team": "a"}); err != nil {
			t.Fatal(err)
		}
		got, err := b.Marks(ctx, home, made)
		if want := map[string]string{tagWorkSpace: "ws_1", tagOrigin: "test-forge", "team": "a"}; err != nil || !maps.Equal(got.Tags, want) {
			t.Errorf("%s: tags %v, %v", operation, got.Tags, err)
		}
	}
}

func TestMarksTellWhoseAWorkSpaceIs(t *testing.T) {
	b := newBench(t)
	made := b.create(spec("alice"))
	for name, c := range map[string]struct {
		tags   map[string]string
		intent id.WorkSpace
		marked bool
	}{
		"ours":               {map[string]string{tagWorkSpace: "ws_1", tagOrigin: "test-forge", "team": "a"}, "ws_1", true},
		"another's":          {map[string]string{tagWorkSpace: "ws_1", tagOrigin: "theirs"}, "", true},
		"disowned":           {map[string]string{tagWorkSpace: notForge}, "", true},
		"without an origin":  {map[string]string{tagWorkSpace: "ws_1"}, "", true},
		"an origin alone":    {map[string]string{tagOrigin: "test-forge"}, "", false},
		"nothing of ours":    {map[string]string{"team": "a"}, "", false},
		"nothing whatsoever": {map[string]string{}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			b.setTags(made, c.tags)
			got, err := b.Marks(t.Context(), home, made)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(workspace.Marks{Intent: c.intent, Marked: c.marked, Tags: c.tags}, got); d != "" {
				t.Error(d)
			}
			b.pass(time.Second)
			if found := b.find("alice"); len(found) != 1 || found[0].Intent != c.intent || found[0].Marked != c.marked {
				t.Errorf("found %+v", found)
			}
		})
	}
}
