package blueprint_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/blueprint/spec"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
	"github.com/robco-forge/forge/internal/price"
)

type room struct {
	*pgtest.DB
	org *pgtest.Org
	log *audit.Log
}

func setUp(t *testing.T) *room {
	t.Helper()
	now := clock.At(time.Date(2026, 11, 15, 12, 0, 0, 0, time.UTC))
	r := &room{DB: pgtest.New(t)}
	r.org, r.log = r.Seed(t, now.Now(), "deny", price.SessionCeil), r.Log(t, now.Now)
	return r
}

func (r *room) try(ctx context.Context, fn func(ctx context.Context, tx *audit.Tx) error) error {
	ctx = actor.With(ctx, r.org.Actor(0, actor.Admin))
	return r.log.Change(ctx, audit.Intent{Action: "blueprint.publish", ResourceType: "blueprint"}, func(tx *audit.Tx) error { return fn(ctx, tx) })
}

// team is one of the seeded teams; nil is the public.
func (r *room) team(i int) *people.Team {
	return &people.Team{ID: r.org.Teams[i], Name: []string{"backend", "data"}[i]}
}

// make makes a blueprint with versions, each promoted after the one before.
func (r *room) make(t *testing.T, team *people.Team, name string, versions int) blueprint.Blueprint {
	t.Helper()
	var b blueprint.Blueprint
	err := r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) (err error) {
		if b, err = blueprint.Create(ctx, tx, team, name, blueprint.About{Description: "for tests"}); err != nil {
			return err
		}
		for n := 1; n <= versions; n++ {
			v, err := blueprint.AddVersion(ctx, tx, &b, definition(fmt.Sprint(n)), blueprint.Source{})
			if err != nil {
				return err
			}
			if _, _, err := blueprint.Promote(ctx, tx, &b, v.Number, ""); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func definition(software string) blueprint.Definition {
	return blueprint.Definition{
		OperatingSystem: "WINDOWS", License: "INCLUDED", BundleTypes: []string{"STANDARD", "POWER"}, DefaultBundleType: "STANDARD",
		RunningMode: price.AutoStop, AutoStopTimeoutMinutes: 60, Software: []string{software},
	}
}

func TestWhatAReferenceMeans(t *testing.T) {
	r := setUp(t)
	backend, data := r.team(0), r.team(1)
	public, publicOnly := r.make(t, nil, "shell", 3), r.make(t, nil, "public-only", 1)
	mine, theirs, theirShell := r.make(t, backend, "shell", 2), r.make(t, data, "notebooks", 2), r.make(t, data, "shell", 1)
	engineer, admin := r.org.Actor(0, actor.Engineer), r.org.Actor(0, actor.Admin)
	versionOf := func(b blueprint.Blueprint, number int) string {
		return pgtest.Value[string](t, r.DB, `SELECT id FROM blueprint_versions WHERE blueprint_id = $1 AND number = $2`, b.ID, number)
	}
	for _, c := range []struct {
		who    actor.Actor
		ref    string
		want   id.Blueprint // empty: not found
		number int
	}{
		{engineer, "shell", mine.ID, 2}, // the own team's before the public one
		{engineer, "shell@1", mine.ID, 1},
		{engineer, "backend/shell", mine.ID, 2},
		{engineer, "backend/shell@2", mine.ID, 2},
		{engineer, "public-only", publicOnly.ID, 1},
		{engineer, string(public.ID), public.ID, 3},
		{engineer, string(public.ID) + "@2", public.ID, 2},
		{engineer, string(mine.ID), mine.ID, 2},
		{engineer, versionOf(mine, 1), mine.ID, 1},
		{engineer, versionOf(public, 2), public.ID, 2},
		{r.org.Actor(1, actor.Engineer), "shell", theirShell.ID, 1},
		{r.org.Actor(1, actor.Contractor), "data/notebooks@1", theirs.ID, 1},
		{admin, "data/notebooks", theirs.ID, 2},
		{admin, string(theirs.ID) + "@1", theirs.ID, 1},
		{admin, versionOf(theirs, 2), theirs.ID, 2},
		{admin, "shell", mine.ID, 2},
		{admin, "notebooks", "", 0}, // a bare name is the own team's or public, for anyone

		{engineer, "data/notebooks", "", 0},
		{engineer, "data/shell", "", 0},
		{engineer, "notebooks", "", 0},
		{engineer, string(theirs.ID), "", 0},
		{engineer, string(theirs.ID) + "@1", "", 0},
		{engineer, versionOf(theirs, 1), "", 0},
		{engineer, string(id.New[id.BlueprintVersion]()), "", 0},
		{engineer, "nowhere/shell", "", 0},
		{engineer, "shell@3", "", 0},
		{engineer, "shell@0", "", 0},
		{engineer, "shell@-1", "", 0},
		{engineer, "shell@", "", 0},
		{engineer, "shell@one", "", 0},
		{engineer, "shell@1@2", "", 0},
		{engineer, "shell@99999999999", "", 0},
		{engineer, "shell@99999999999999999999", "", 0},
		{engineer, "", "", 0},
		{engineer, "/", "", 0},
		{engineer, "@", "", 0},
		{engineer, "%", "", 0},
		{actor.Actor{Type: actor.TypeAnonymous}, "backend/shell", "", 0},
	} {
		b, v, err := blueprint.Resolve(t.Context(), r.Pool, c.who, c.ref)
		if c.want == "" {
			if !errors.Is(err, blueprint.ErrNotFound) {
				t.Errorf("%s of %s: %+v, %v", c.ref, c.who.Name, b, err)
			}
			continue
		}
		if err != nil || b.ID != c.want || v.Number != c.number || v.Definition.Software[0] != fmt.Sprint(c.number) {
			t.Errorf("%s of %s is %s@%d (%v), want %s@%d", c.ref, c.who.Name, b.Ref(), v.Number, err, c.want, c.number)
		}
	}
	listed, err := blueprint.List(t.Context(), r.Pool, engineer, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	var refs []string
	for _, l := range listed {
		refs = append(refs, l.Ref())
	}
	slices.Sort(refs)
	if want := []string{"backend/shell", "public-only", "seeded", "shell"}; !slices.Equal(refs, want) {
		t.Errorf("the engineer sees %v, want %v", refs, want)
	}
	versions := []id.BlueprintVersion{id.BlueprintVersion(versionOf(theirs, 2)), id.BlueprintVersion(versionOf(public, 1))}
	names, err := blueprint.Refs(t.Context(), r.Pool, versions)
	if err != nil || names[versions[0]] != "data/notebooks@2" || names[versions[1]] != "shell@1" {
		t.Errorf("the references are %v, %v", names, err)
	}
}

func TestANameIsTakenOncePerTeam(t *testing.T) {
	r := setUp(t)
	r.make(t, nil, "shell", 1)
	r.make(t, r.team(0), "shell", 1)
	for _, team := range []*people.Team{nil, r.team(0)} {
		err := r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error {
			_, err := blueprint.Create(ctx, tx, team, "shell", blueprint.About{})
			return err
		})
		if !errors.Is(err, blueprint.ErrNameTaken) {
			t.Errorf("a second shell: %v", err)
		}
	}
}

func TestADefinitionThatIsNotValidIsRefused(t *testing.T) {
	r := setUp(t)
	b := r.make(t, nil, "shell", 1)
	for name, change := range map[string]func(*blueprint.Definition){
		"no system":     func(d *blueprint.Definition) { d.OperatingSystem = "" },
		"no bundles":    func(d *blueprint.Definition) { d.BundleTypes = nil },
		"other default": func(d *blueprint.Definition) { d.DefaultBundleType = "POWERPRO" },
		"other bundle":  func(d *blueprint.Definition) { d.BundleTypes = append(d.BundleTypes, "VALUE") },
		"no mode":       func(d *blueprint.Definition) { d.RunningMode = "" },
		"half an hour":  func(d *blueprint.Definition) { d.AutoStopTimeoutMinutes = 30 },
		"too long":      func(d *blueprint.Definition) { d.MaxLifetimeDays = 3651 },
	} {
		d := definition("1")
		change(&d)
		err := r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error {
			_, err := blueprint.AddVersion(ctx, tx, &b, d, blueprint.Source{})
			return err
		})
		if !errors.Is(err, blueprint.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whoever may choose a bundle type must find it in the schema of files, and the other way round.
func TestTheSchemaHasTheBundleTypesOfThePolicy(t *testing.T) {
	var schema struct {
		Defs struct {
			BundleType struct{ Enum []string } `json:"bundle_type"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(spec.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(schema.Defs.BundleType.Enum, policy.Bundles) {
		t.Errorf("the schema has %v, the policy %v", schema.Defs.BundleType.Enum, policy.Bundles)
	}
}
