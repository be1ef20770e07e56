package desktop

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/internal/workspace"
)

// crowd makes WorkSpaces in the directory abroad, and gives their ids in the order in which Amazon shows them.
func (b *bench) crowd(n int) []string {
	b.t.Helper()
	var made []string
	for i := range n {
		providerID, err := b.Create(b.t.Context(), alwaysAbroad(fmt.Sprintf("user%02d", i)))
		if err != nil {
			b.t.Fatal(err)
		}
		made = append(made, providerID)
	}
	b.pass(time.Hour)
	return made
}

// swept is what a sweep shows, as the ids of its pages. after is called after each.
func (b *bench) swept(p *Provider, after func(page int) error) ([][]string, error) {
	var shown [][]string
	err := p.Sweep(workspace.AsSweep(b.t.Context()), abroad, elsewhere, func(page []workspace.Observation) error {
		var ids []string
		for _, o := range page {
			ids = append(ids, o.ProviderID)
		}
		shown = append(shown, ids)
		return after(len(shown))
	})
	return shown, err
}

func nothing(int) error { return nil }

func TestASweepShowsEverythingInADirectory(t *testing.T) {
	b := newBench(t)
	b.create(spec("alice")) // elsewhere
	made := b.crowd(60)
	shown, err := b.swept(b.Provider, nothing)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([][]string{made[:25], made[25:50], made[50:]}, shown); d != "" {
		t.Error(d)
	}
	err = b.Sweep(t.Context(), abroad, elsewhere, func(page []workspace.Observation) error {
		want := workspace.Observation{
			ProviderID: page[0].ProviderID, State: "AVAILABLE", DirectoryID: elsewhere, User: page[0].User, RunningMode: "ALWAYS_ON",
			ComputeType: "STANDARD", BundleID: page[0].BundleID, RootGiB: 80, UserGiB: 50, Protocol: "WSP",
		}
		if d := cmp.Diff(want, page[0]); d != "" {
			t.Error(d)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if asked := len(b.sent("DescribeTags")); asked != 0 {
		t.Errorf("asked for tags %d times", asked)
	}
}

func TestASweepOfNothingEnds(t *testing.T) {
	b := newBench(t)
	shown, err := b.swept(b.Provider, nothing)
	if err != nil || len(slices.Concat(shown...)) != 0 {
		t.Errorf("shown %v, %v", shown, err)
	}
	err = b.Sweep(t.Context(), home, "d-0000000000", func(page []workspace.Observation) error {
		if len(page) != 0 {
			t.Errorf("shown %+v of a directory that is not there", page)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestASweepPassesEachOnOnceAndGoesOnAfterAnEmptyPage(t *testing.T) {
	b := newBench(t)
	made := b.crowd(30)
	for _, kinds := range [][]string{{"duplicate_on_page"}, {"duplicate_on_page", "duplicate_on_page"}, {"empty_page_with_token"}} {
		for _, kind := range kinds {
			b.fail("DescribeWorkspaces", kind, 1)
		}
		shown, err := b.swept(b.Provider, nothing)
		if err != nil {
			t.Fatal(kinds, err)
		}
		if d := cmp.Diff(made, slices.Concat(shown...)); d != "" {
			t.Errorf("%v: %s", kinds, d)
		}
	}
}

func TestASweepEndsWithTheErrorOfAPage(t *testing.T) {
	b := newBench(t)
	made := b.crowd(30)
	for kind, class := range map[string]workspace.Class{
		"http500": workspace.Ambiguous, "throttle": workspace.Throttled, "expire_token": workspace.Rejected, "drop_response_after_apply": workspace.Ambiguous,
		"html_body": workspace.Ambiguous, "truncate_body": workspace.Ambiguous, "access_denied": workspace.Blocked,
	} {
		t.Run(kind, func(t *testing.T) {
			p := New(b.config) // its circuit is closed
			shown, err := b.swept(p, func(page int) error {
				if page == 1 {
					b.fail("DescribeWorkspaces", kind, maxAttempts)
				}
				return nil
			})
			wantClass(t, err, class)
			if d := cmp.Diff([][]string{made[:25]}, shown); d != "" {
				t.Error(d)
			}
			b.admin(http.MethodDelete, "/_emu/faults", "", nil)
		})
	}
}

func TestASweepEndsWhenItsCallerHasEnough(t *testing.T) {
	b := newBench(t)
	b.crowd(30)
	enough := errors.New("enough")
	before := len(b.sent("DescribeWorkspaces"))
	shown, err := b.swept(b.Provider, func(int) error { return enough })
	if err != enough || len(shown) != 1 || len(b.sent("DescribeWorkspaces")) != before+1 {
		t.Errorf("%d pages, %d requests, %v", len(shown), len(b.sent("DescribeWorkspaces"))-before, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	pages := 0
	err = b.Sweep(ctx, abroad, elsewhere, func([]workspace.Observation) error { pages++; cancel(); return nil })
	if err == nil || pages != 1 {
		t.Errorf("%d pages after it was given up: %v", pages, err)
	}
}

func TestASweepInACircleIsGivenUp(t *testing.T) {
	page := func(n int, next string) string {
		return fmt.Sprintf(`{"Workspaces":[{"WorkspaceId":"ws-00000000%d"}],"NextToken":%q}`, n, next)
	}
	for name, tokens := range map[string]map[string]string{
		"of one":   {"a": page(2, "a")},
		"of three": {"a": page(2, "b"), "b": page(3, "c"), "c": page(4, "a")},
	} {
		t.Run(name, func(t *testing.T) {
			p, requests := answering(t, inPages(page(1, "a"), tokens))
			shown := 0
			err := p.Sweep(t.Context(), home, directory, func(page []workspace.Observation) error { shown += len(page); return nil })
			wantClass(t, err, workspace.Ambiguous)
			if want := 1 + len(tokens); shown != want || int(requests.Load()) != want {
				t.Errorf("shown %d in %d requests, want %d", shown, requests.Load(), want)
			}
		})
	}
}
