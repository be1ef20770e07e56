// Package blueprint keeps what a team agrees a workstation should be: named templates with numbered versions that never change.
package blueprint

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint/spec"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres"
)

// What can go wrong with blueprints. One that is not yours does not exist for you (Requirement 2.4).
var (
	ErrNotFound = fault.New(fault.NotFound, "BLUEPRINT_NOT_FOUND", "there is no such blueprint or version for your team",
		fault.Suggest("list what your team may use with `forge blueprint list`"))
	ErrNameTaken = fault.New(fault.Conflict, "BLUEPRINT_EXISTS", "the team has a blueprint with that name",
		fault.Suggest("add a version to it with `forge blueprint push`, or choose another name"))
	ErrInvalid = fault.New(fault.Invalid, "BLUEPRINT_INVALID", "the blueprint is not valid",
		fault.Suggest("correct what details.problems names, and try with `forge blueprint validate`"))
	ErrBundle = fault.New(fault.Invalid, "BUNDLE_NOT_IN_BLUEPRINT", "the blueprint does not offer that bundle type",
		fault.Suggest("choose one of the blueprint's bundle types"))
	ErrOperatingSystem = fault.New(fault.Invalid, "OPERATING_SYSTEM_NOT_IN_BLUEPRINT", "the blueprint is for another operating system")
	ErrRegion          = fault.New(fault.Invalid, "REGION_NOT_IN_BLUEPRINT", "the blueprint has no bundle of that type in that region",
		fault.Suggest("choose one of the regions and bundle types in details"))
	ErrParameter = fault.New(fault.Invalid, "PARAMETER_INVALID", "a parameter of the blueprint is missing or not allowed",
		fault.Suggest("see the blueprint's parameters with `forge blueprint show NAME`"))
	ErrRequiredTag = fault.New(fault.Invalid, "TAG_REQUIRED", "a tag that the blueprint requires is missing or has a value that is not allowed",
		fault.Suggest("give the tag, as in --tag KEY=VALUE"))

	nameRule = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)
)

type (
	// Definition is what a version says.
	Definition = spec.Definition
	// Image is where its root volume comes from.
	Image = spec.Image
)

// Blueprint is a name with its versions; a public one has no team.
type Blueprint struct {
	ID            id.Blueprint
	TeamID        *id.Team
	TeamName      *string
	Name          string
	Description   string
	Owner         string
	Labels        map[string]string
	ActiveVersion int // 0: none yet
	LatestVersion int // 0: none yet
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

// Ref is how the blueprint is written: "team/name", or "name" for a public one.
func (b Blueprint) Ref() string {
	if b.TeamName == nil {
		return b.Name
	}
	return *b.TeamName + "/" + b.Name
}

func (b Blueprint) team() id.Team {
	if b.TeamID == nil {
		return ""
	}
	return *b.TeamID
}

// About is what of a blueprint may change at any time, because no WorkSpace is made of it.
type About struct {
	Description string
	Owner       string
	Labels      map[string]string
}

// problems is the refusal of what a definition says.
func problems(all []spec.Problem) error {
	more := ""
	if len(all) > 1 {
		more = " (and " + strconv.Itoa(len(all)-1) + " more)"
	}
	return ErrInvalid.Sayf("%s%s", all[0], more).Detail("problems", all)
}

// Create makes a blueprint without versions; a nil team makes it public. Its team's leads may, and admins.
func Create(ctx context.Context, tx *audit.Tx, team *people.Team, name string, about About) (Blueprint, error) {
	b := Blueprint{
		ID: id.New[id.Blueprint](), Name: name, Description: about.Description, Owner: about.Owner, Labels: labels(about.Labels),
		CreatedAt: tx.Now, UpdatedAt: tx.Now,
	}
	if team != nil {
		b.TeamID, b.TeamName = &team.ID, &team.Name
	}
	if err := policy.Require(tx.Actor, policy.BlueprintWrite, "", b.team()); err != nil {
		return b, err
	}
	if !nameRule.MatchString(name) {
		return b, ErrInvalid.Sayf("a blueprint's name is 1 to 63 lower-case letters, digits and hyphens, and begins with a letter")
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO blueprints (id, team_id, name, description, owner, labels, active_version, created_by, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8, $8)`, b.ID, b.TeamID, name, b.Description, b.Owner, b.Labels, tx.Actor.ID(), tx.Now)
	if postgres.Violates(err, "blueprints_team_name_uq") {
		return b, ErrNameTaken.Sayf("there is a blueprint %s already", b.Ref())
	}
	if err != nil {
		return b, err
	}
	tx.Record(audit.Event{Action: "blueprint.create", ResourceType: "blueprint", ResourceID: string(b.ID), Details: map[string]any{"ref": b.Ref()}})
	return b, nil
}

func labels(l map[string]string) map[string]string {
	if l == nil {
		return map[string]string{}
	}
	return l
}

// Describe changes what is not under version. It tells whether anything changed.
func Describe(ctx context.Context, tx *audit.Tx, b *Blueprint, about About) (bool, error) {
	if problem := wrongAbout(about); problem != nil {
		return false, problem
	}
	about.Labels = labels(about.Labels)
	before := map[string]any{}
	after := map[string]any{}
	note := func(field, was, is string) {
		if was != is {
			before[field], after[field] = was, is
		}
	}
	note("description", b.Description, about.Description)
	note("owner", b.Owner, about.Owner)
	note("labels", spec.Text(b.Labels), spec.Text(about.Labels))
	if len(after) == 0 {
		return false, nil
	}
	b.Description, b.Owner, b.Labels, b.UpdatedAt = about.Description, about.Owner, about.Labels, tx.Now
	if _, err := tx.Exec(ctx, `UPDATE blueprints SET description = $2, owner = $3, labels = $4, updated_at = $5 WHERE id = $1`,
		b.ID, b.Description, b.Owner, b.Labels, tx.Now); err != nil {
		return false, err
	}
	tx.Record(audit.Event{Action: "blueprint.update", ResourceType: "blueprint", ResourceID: string(b.ID), Details: map[string]any{"before": before, "after": after}})
	return true, nil
}

// wrongAbout checks by the rules of the file.
func wrongAbout(about About) error {
	ok := Definition{OperatingSystem: "X", License: "INCLUDED", BundleTypes: []string{"STANDARD"}, DefaultBundleType: "STANDARD", RunningMode: "ALWAYS_ON"}
	text, err := spec.Format(spec.Document{Blueprint: "any", Description: about.Description, Owner: about.Owner, Labels: about.Labels, Definition: ok})
	if err != nil {
		return err
	}
	if _, wrong := spec.Parse(text); len(wrong) > 0 {
		for i := range wrong {
			wrong[i].Line, wrong[i].Column = 0, 0
		}
		return problems(wrong)
	}
	return nil
}

const columns = `
	b.id, b.team_id, t.name AS team_name, b.name, b.description, b.owner, b.labels, b.active_version,
	coalesce((SELECT max(number) FROM blueprint_versions v WHERE v.blueprint_id = b.id), 0) AS latest_version, b.created_at, b.updated_at
FROM blueprints b LEFT JOIN teams t ON t.id = b.team_id`

// visible narrows to what the actor may see: public ones and the own team's, all for an admin, none for a stranger.
func visible(a actor.Actor) (public, all bool, team id.Team) {
	reach := policy.ReachOf(a, policy.BlueprintRead)
	if reach < policy.Team {
		return false, false, ""
	}
	return true, reach == policy.Any, a.Team
}

// List lists, by id, what the actor may see (Requirement 2.5).
func List(ctx context.Context, q postgres.Querier, a actor.Actor, after string, limit int) ([]Blueprint, error) {
	public, all, team := visible(a)
	return postgres.Many[Blueprint](ctx, q, `SELECT`+columns+`
		WHERE ($1 OR b.team_id = $2 OR b.team_id IS NULL AND $5) AND b.id > $3
		ORDER BY b.id
		LIMIT $4`, all, team, after, limit, public)
}

// Find finds a blueprint by id, "team/name" or "name": the own team's, then a public one.
func Find(ctx context.Context, q postgres.Querier, a actor.Actor, ref string) (Blueprint, error) {
	teamName, bare, qualified := strings.Cut(ref, "/")
	if !qualified {
		teamName, bare = "", ref
	}
	public, all, team := visible(a)
	b, err := postgres.One[Blueprint](ctx, q, `SELECT`+columns+`
		WHERE (b.id = $1 OR b.name = $2 AND CASE WHEN $3 = '' THEN b.team_id IS NULL OR b.team_id = $5 ELSE t.name = $3 END)
		  AND ($4 OR b.team_id = $5 OR b.team_id IS NULL AND $6)
		ORDER BY b.team_id NULLS LAST
		LIMIT 1`, ref, bare, teamName, all, team, public)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound.Sayf("there is no blueprint %q for your team", ref)
	}
	return b, err
}

// Change finds a blueprint that the actor may change and keeps others from changing it until the transaction ends.
func Change(ctx context.Context, tx *audit.Tx, ref string) (Blueprint, error) {
	b, err := Find(ctx, tx, tx.Actor, ref)
	if err != nil {
		return b, err
	}
	if err := policy.Require(tx.Actor, policy.BlueprintWrite, "", b.team()); err != nil {
		return b, err
	}
	// Taken by itself, because a statement that waits for a row does not see what came meanwhile.
	if _, err := tx.Exec(ctx, `SELECT FROM blueprints WHERE id = $1 FOR NO KEY UPDATE`, b.ID); err != nil {
		return b, err
	}
	return Find(ctx, tx, tx.Actor, string(b.ID))
}

// Resolve finds what a reference means for the actor: a version's id, or a blueprint's id, "team/name" or "name", each
// with "@number" or without for the active version. A bare name means the own team's blueprint, then a public one.
func Resolve(ctx context.Context, q postgres.Querier, a actor.Actor, ref string) (Blueprint, Version, error) {
	if id.Is[id.BlueprintVersion](ref) {
		return resolveVersion(ctx, q, a, ref)
	}
	name, number, pinned := strings.Cut(ref, "@")
	want := 0
	if pinned {
		n, err := strconv.ParseInt(number, 10, 32)
		if err != nil || n < 1 {
			return Blueprint{}, Version{}, ErrNotFound.Sayf("%q is not a version number", number)
		}
		want = int(n)
	}
	b, err := Find(ctx, q, a, name)
	if err != nil {
		return b, Version{}, err
	}
	if want == 0 {
		want = b.ActiveVersion
	}
	if want == 0 {
		return b, Version{}, ErrNoActive.Sayf("no version of %s has been promoted yet", b.Ref()).Detail("latest_version", b.LatestVersion)
	}
	v, err := VersionOf(ctx, q, b.ID, want)
	return b, v, err
}

func resolveVersion(ctx context.Context, q postgres.Querier, a actor.Actor, versionID string) (Blueprint, Version, error) {
	var number int
	var blueprint id.Blueprint
	err := q.QueryRow(ctx, `SELECT blueprint_id, number FROM blueprint_versions WHERE id = $1`, versionID).Scan(&blueprint, &number)
	if errors.Is(err, pgx.ErrNoRows) {
		return Blueprint{}, Version{}, ErrNotFound
	}
	if err != nil {
		return Blueprint{}, Version{}, err
	}
	b, err := Find(ctx, q, a, string(blueprint))
	if errors.Is(err, ErrNotFound) {
		return b, Version{}, ErrNotFound
	}
	if err != nil {
		return b, Version{}, err
	}
	v, err := VersionOf(ctx, q, b.ID, number)
	return b, v, err
}

// Refs are the references ("team/name@3") of versions, for showing.
func Refs(ctx context.Context, q postgres.Querier, versions []id.BlueprintVersion) (map[id.BlueprintVersion]string, error) {
	found, err := postgres.Many[struct {
		ID     id.BlueprintVersion
		Number int
		Name   string
		Team   *string
	}](ctx, q, `
		SELECT v.id, v.number, b.name, t.name AS team
		FROM blueprint_versions v JOIN blueprints b ON b.id = v.blueprint_id LEFT JOIN teams t ON t.id = b.team_id
		WHERE v.id = ANY($1)`, versions)
	if err != nil {
		return nil, err
	}
	refs := make(map[id.BlueprintVersion]string, len(found))
	for _, f := range found {
		refs[f.ID] = Blueprint{Name: f.Name, TeamName: f.Team}.Ref() + "@" + strconv.Itoa(f.Number)
	}
	return refs, nil
}
