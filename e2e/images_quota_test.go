package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/blueprint/spec"
	"github.com/robco-forge/forge/internal/id"
)

// gallery gives images that somebody has made in the first region, all of the golden WorkSpace.
func (s *studio) gallery(n int) []string {
	s.t.Helper()
	c := s.in(rigRegion)
	first, err := c.CreateWorkspaceImage(s.t.Context(), &workspaces.CreateWorkspaceImageInput{
		Name: aws.String("gallery-0"), Description: aws.String("of somebody"), WorkspaceId: &s.golden,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.clock.Advance(45 * time.Minute)
	ids := []string{*first.ImageId}
	for len(ids) < n {
		out, err := c.CopyWorkspaceImage(s.t.Context(), &workspaces.CopyWorkspaceImageInput{
			Name: aws.String(fmt.Sprintf("gallery-%d", len(ids))), SourceImageId: first.ImageId, SourceRegion: aws.String(rigRegion),
		})
		if err != nil {
			s.t.Fatal(err)
		}
		ids = append(ids, *out.ImageId)
	}
	s.clock.Advance(45 * time.Minute)
	return ids
}

// foreign makes bundles that are not Forge's.
func (s *studio) foreign(image string, n int) []string {
	s.t.Helper()
	ids := make([]string, n)
	for i := range ids {
		out, err := s.in(rigRegion).CreateWorkspaceBundle(s.t.Context(), &workspaces.CreateWorkspaceBundleInput{
			BundleName: aws.String(fmt.Sprintf("somebodys-%d", i)), BundleDescription: aws.String("not ours"), ImageId: &image,
			ComputeType: &types.ComputeType{Name: types.ComputeStandard}, UserStorage: &types.UserStorage{Capacity: aws.String("50")},
		})
		if err != nil {
			s.t.Fatal(err)
		}
		ids[i] = *out.WorkspaceBundle.BundleId
	}
	return ids
}

func (s *studio) bundleIDs(region string) []string {
	s.t.Helper()
	_, bundles := s.own(region)
	ids := make([]string, len(bundles))
	for i, b := range bundles {
		ids[i] = *b.BundleId
	}
	return ids
}

// TestSixtyVersionsLaunchUnderAQuotaOfFiftyBundles needs sixty bundles where there is room for forty-five: what nobody is on makes
// room, and what somebody is on, or what is not Forge's, stays.
func TestSixtyVersionsLaunchUnderAQuotaOfFiftyBundles(t *testing.T) {
	const versions, atOnce, strangers = 60, 12, 5
	s := newStudio(t)
	images := s.gallery(versions / 2)
	foreign := s.foreign(images[0], strangers)
	users := s.users("sixty", versions)
	sizes := []string{"STANDARD", "PERFORMANCE"}
	var staying []string
	for batch := 0; batch < versions; batch += atOnce {
		made := make([]string, atOnce)
		for i := range made {
			n := batch + i
			name := fmt.Sprintf("sixty-%d", n)
			s.publish(name, &spec.Image{Images: map[string]string{rigRegion: images[n/2]}}, sizes[n%2])
			made[i] = s.launch(users[n], client.WorkspaceCreate{Blueprint: name, Region: ptr(rigRegion)}).Id
		}
		s.until(fmt.Sprintf("the %d from the %dth on run", atOnce, batch), time.Minute, func() bool {
			return !slices.ContainsFunc(made, func(ws string) bool { return s.state(ws) != "AVAILABLE" })
		})
		for i, ws := range made[1:] {
			end(t, s.as(users[batch+1+i]), ws)
		}
		s.until("all but one are gone", time.Minute, func() bool {
			return !slices.ContainsFunc(made[1:], func(ws string) bool { return s.state(ws) != "TERMINATED" })
		})
		staying = append(staying, made[0])
	}
	have := s.bundleIDs(rigRegion)
	if len(have) > blueprint.BundleQuota {
		t.Errorf("there are %d bundles", len(have))
	}
	for _, bundle := range foreign {
		if !slices.Contains(have, bundle) {
			t.Errorf("%s is gone, which Forge did not make", bundle)
		}
	}
	for _, ws := range staying {
		var bundle string
		if err := s.db.QueryRow(t.Context(), `SELECT bundle_id FROM workspaces WHERE id = $1`, ws).Scan(&bundle); err != nil || !slices.Contains(have, bundle) {
			t.Errorf("%s is on %q, which is gone: %v", ws, bundle, err)
		}
	}
	var deleted int
	if err := s.db.QueryRow(t.Context(), `SELECT count(*) FROM audit_logs WHERE action_type = 'bundle.give_up'`).Scan(&deleted); err != nil || deleted < versions+strangers-blueprint.BundleQuota {
		t.Errorf("%d bundles made room, %v", deleted, err)
	}
}

// end terminates a WorkSpace.
func end(t *testing.T, c *client.ClientWithResponses, ws string) {
	t.Helper()
	out, err := c.TerminateWorkspaceWithResponse(t.Context(), ws, nil)
	if err != nil || out.StatusCode() != 202 {
		t.Fatalf("terminate %s: %v %s", ws, err, out.Body)
	}
}

// TestWhatIsUsedIsNeverCollected has launches come and go for twice as many bundles as there is room for, while several loops make and
// delete them and time flies past their leases: a bundle that a launch was given is there until the launch lets go of it.
func TestWhatIsUsedIsNeverCollected(t *testing.T) {
	const launchers, loops, rounds, room = 4, 3, 12, 5
	s := newStudio(t)
	images := s.gallery(2)
	foreign := s.foreign(images[0], blueprint.BundleQuota-room)
	sizes := []string{"STANDARD", "PERFORMANCE", "POWER", "POWERPRO", "GRAPHICS_G4DN"}
	var versions []id.BlueprintVersion
	for i, image := range images {
		versions = append(versions, s.publish(fmt.Sprintf("used-%d", i), &spec.Image{Images: map[string]string{rigRegion: image}}, sizes...))
	}
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	var running, launching sync.WaitGroup
	for range loops {
		running.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.images.Round(actor.With(t.Context(), actor.System("images"))); err != nil {
					t.Errorf("round: %v", err)
					return
				}
				s.clock.Advance(3 * time.Second)
			}
		})
	}
	there := func(bundle string) bool {
		out, err := s.in(rigRegion).DescribeWorkspaceBundles(ctx, &workspaces.DescribeWorkspaceBundlesInput{BundleIds: []string{bundle}})
		return err == nil && len(out.Bundles) == 1 && out.Bundles[0].State == types.WorkspaceBundleStateAvailable
	}
	for l := range launchers {
		launching.Go(func() {
			random := rand.New(rand.NewPCG(20261123, uint64(l))) //nolint:gosec // repeatable on purpose
			for round := range rounds {
				n := blueprint.Need{Version: versions[random.IntN(2)], Region: rigRegion, ComputeType: sizes[random.IntN(len(sizes))], WorkSpace: id.New[id.WorkSpace]()}
				var got blueprint.Supply
				for got.BundleID == "" {
					var err error
					if got, err = s.images.Bundle(ctx, s.forge.Pool, n); err != nil {
						t.Errorf("launcher %d, round %d: %v; waiting for %+v", l, round, err, got.Waiting)
						return
					}
				}
				// As long as others need to make and delete a few.
				for range 1 + random.IntN(20) {
					if !there(got.BundleID) {
						t.Errorf("launcher %d, round %d: %s is gone, though it is used", l, round, got.BundleID)
						return
					}
				}
				if err := s.images.Release(ctx, s.forge.Pool, n.WorkSpace); err != nil {
					t.Errorf("launcher %d: %v", l, err)
					return
				}
			}
		})
	}
	launching.Wait()
	stop()
	running.Wait()
	have := s.bundleIDs(rigRegion)
	for _, bundle := range foreign {
		if !slices.Contains(have, bundle) {
			t.Errorf("%s is gone, which Forge did not make", bundle)
		}
	}
	var remade int
	if err := s.db.QueryRow(t.Context(), `SELECT coalesce(sum(generation - 1), 0)::int FROM aws_bundles`).Scan(&remade); err != nil || remade == 0 {
		t.Errorf("no bundle had to make room and be made again: %v", err)
	}
	t.Logf("%d launches on %d bundles with room for %d; bundles were made again %d times", launchers*rounds, len(images)*len(sizes), room, remade)
}
