// Package blueprint keeps what a team agrees a workstation should be: named templates with numbered versions that never change.
package blueprint

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint/spec"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres"
)

// What can go wrong with blueprints. One that is not yours does not exist for you (Requirement 2.4).
var (
	ErrNotFound = fault.New(fault.NotFound, "BLUEPRINT_NOT_FOUND", "there is no such blueprint or version for your team",
		fault.Suggest("list what your team may use with `forge blueprints`"))
	ErrNameTaken = fault.New(fault.Conflict, "BLUEPRINT_EXISTS", "the team has a blueprint with that name")
	ErrInvalid   = fault.New(fault.Invalid, "BLUEPRINT_INVALID", "the blueprint's definition is not valid")
	ErrBundle    = fault.New(fault.Invalid, "BUNDLE_NOT_IN_BLUEPRINT", "the blueprint does not offer that bundle type",
		fault.Suggest("choose one of the blueprint's bundle types"))
	ErrOperatingSystem = fault.New(fault.Invalid, "OPERATING_SYSTEM_NOT_IN_BLUEPRINT", "the blueprint is for another operating system")

	nameRule = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)
)

// Definition is what a version says.
type Definition = spec.Definition

func validate(d Definition) error {
	switch {
	case d.OperatingSystem == "" || d.License == "":
		return ErrInvalid.Sayf("operating_system and license must be given")
	case len(d.BundleTypes) == 0 || !slices.Contains(d.BundleTypes, d.DefaultBundleType):
		return ErrInvalid.Sayf("default_bundle_type must be one of bundle_types")
	case d.RunningMode != "AUTO_STOP" && d.RunningMode != "ALWAYS_ON":
		return ErrInvalid.Sayf("running_mode must be AUTO_STOP or ALWAYS_ON")
	case d.RunningMode == "AUTO_STOP" && (d.AutoStopTimeoutMinutes <= 0 || d.AutoStopTimeoutMinutes%60 != 0):
		return ErrInvalid.Sayf("auto_stop_timeout_minutes must be a multiple of 60")
	case d.MaxLifetimeDays < 0 || d.MaxLifetimeDays > 3650:
		return ErrInvalid.Sayf("max_lifetime_days must be between 1 and 3650")
	}
	for _, b := range d.BundleTypes {
		if !slices.Contains(policy.Bundles, b) {
			return ErrInvalid.Sayf("%q is not a bundle type; the bundle types are %s", b, strings.Join(policy.Bundles, ", "))
		}
	}
	return nil
}

// Blueprint is a name with its versions; a public one has no team.
type Blueprint struct {
	ID            id.Blueprint
	TeamID        *id.Team
	TeamName      *string
	Name          string
	Description   string
	ActiveVersion int
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

// Version is one immutable version.
type Version struct {
	ID         id.BlueprintVersion
	Number     int
	Digest     string
	CreatedAt  time.Time
	Definition Definition
}

// Create makes a blueprint with its first version; a nil team makes it public.
func Create(ctx context.Context, tx *audit.Tx, team *id.Team, name, description string, d Definition) (Blueprint, error) {
	if !nameRule.MatchString(name) {
		return Blueprint{}, ErrInvalid.Sayf("a blueprint's name is 1 to 63 lower-case letters, digits and hyphens")
	}
	b := Blueprint{ID: id.New[id.Blueprint](), TeamID: team, Name: name, Description: description, ActiveVersion: 1, CreatedAt: tx.Now, UpdatedAt: tx.Now}
	_, err := tx.Exec(ctx, `
		INSERT INTO blueprints (id, team_id, name, description, active_version, created_by, created_at, updated_at)
		VALUES ($1, $2, $3, $4, 0, $5, $6, $6)`, b.ID, team, name, description, tx.Actor.ID(), tx.Now)
	if postgres.Violates(err, "blueprints_team_name_uq") {
		return Blueprint{}, ErrNameTaken
	}
	if err != nil {
		return Blueprint{}, err
	}
	_, err = AddVersion(ctx, tx, b.ID, d)
	return b, err
}

// AddVersion adds the next version and makes it the active one. Versions before it stay as they are (Requirement 2.3).
func AddVersion(ctx context.Context, tx *audit.Tx, blueprint id.Blueprint, d Definition) (Version, error) {
	if err := validate(d); err != nil {
		return Version{}, err
	}
	canonical, err := json.Marshal(d)
	if err != nil {
		return Version{}, err
	}
	digest := sha256.Sum256(canonical)
	v := Version{ID: id.New[id.BlueprintVersion](), Digest: hex.EncodeToString(digest[:]), CreatedAt: tx.Now, Definition: d}
	// The blueprint's row is the lock that keeps version numbers dense. It is taken by itself, because a statement that
	// waits for a row does not see the versions that came meanwhile.
	if _, err = tx.Exec(ctx, `SELECT FROM blueprints WHERE id = $1 FOR NO KEY UPDATE`, blueprint); err != nil {
		return v, err
	}
	err = tx.QueryRow(ctx, `
		UPDATE blueprints
		SET active_version = (SELECT coalesce(max(number), 0) + 1 FROM blueprint_versions WHERE blueprint_id = $1), updated_at = $2
		WHERE id = $1
		RETURNING active_version`, blueprint, tx.Now).Scan(&v.Number)
	if errors.Is(err, pgx.ErrNoRows) {
		return v, ErrNotFound
	}
	if err != nil {
		return v, err
	}
	if _, err = tx.Exec(ctx, `
		INSERT INTO blueprint_versions (id, blueprint_id, number, definition, digest, created_by, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`, v.ID, blueprint, v.Number, string(canonical), v.Digest, tx.Actor.ID(), tx.Now); err != nil {
		return v, err
	}
	tx.Record(audit.Event{Action: "blueprint.publish", ResourceType: "blueprint", ResourceID: string(blueprint), Details: map[string]any{
		"version": v.Number, "digest": v.Digest,
	}})
	return v, nil
}

const columns = `
	b.id, b.team_id, t.name AS team_name, b.name, b.description, b.active_version, b.created_at, b.updated_at
FROM blueprints b LEFT JOIN teams t ON t.id = b.team_id`

// visible narrows to what the actor may launch from: the own team's and public ones, or all for an admin.
func visible(a actor.Actor) (all bool, team id.Team) {
	return policy.ReachOf(a, policy.BlueprintRead) == policy.Any, a.Team
}

// Listed is a blueprint with its active version.
type Listed struct {
	Blueprint
	Version Version
}

// List lists, by id, what the actor may use (Requirement 2.5).
func List(ctx context.Context, q postgres.Querier, a actor.Actor, after string, limit int) ([]Listed, error) {
	all, team := visible(a)
	found, err := postgres.Many[Blueprint](ctx, q, `SELECT`+columns+`
		WHERE ($1 OR b.team_id IS NULL OR b.team_id = $2) AND b.id > $3
		ORDER BY b.id
		LIMIT $4`, all, team, after, limit)
	if err != nil {
		return nil, err
	}
	out := make([]Listed, len(found))
	for i, b := range found {
		v, err := version(ctx, q, b.ID, b.ActiveVersion)
		if err != nil {
			return nil, err
		}
		out[i] = Listed{b, v}
	}
	return out, nil
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
	teamName, bare, qualified := strings.Cut(name, "/")
	if !qualified {
		teamName, bare = "", name
	}
	all, team := visible(a)
	b, err := postgres.One[Blueprint](ctx, q, `SELECT`+columns+`
		WHERE (b.id = $1 OR b.name = $2 AND CASE WHEN $3 = '' THEN b.team_id IS NULL OR b.team_id = $5 ELSE t.name = $3 END)
		  AND ($4 OR b.team_id IS NULL OR b.team_id = $5)
		ORDER BY b.team_id NULLS LAST
		LIMIT 1`, name, bare, teamName, all, team)
	if errors.Is(err, pgx.ErrNoRows) {
		return b, Version{}, ErrNotFound.Sayf("there is no blueprint %q for your team", name)
	}
	if err != nil {
		return b, Version{}, err
	}
	if want == 0 {
		want = b.ActiveVersion
	}
	v, err := version(ctx, q, b.ID, want)
	return b, v, err
}

func resolveVersion(ctx context.Context, q postgres.Querier, a actor.Actor, versionID string) (Blueprint, Version, error) {
	all, team := visible(a)
	var number int
	var blueprint id.Blueprint
	err := q.QueryRow(ctx, `SELECT blueprint_id, number FROM blueprint_versions WHERE id = $1`, versionID).Scan(&blueprint, &number)
	if errors.Is(err, pgx.ErrNoRows) {
		return Blueprint{}, Version{}, ErrNotFound
	}
	if err != nil {
		return Blueprint{}, Version{}, err
	}
	b, err := postgres.One[Blueprint](ctx, q, `SELECT`+columns+`
		WHERE b.id = $1 AND ($2 OR b.team_id IS NULL OR b.team_id = $3)`, blueprint, all, team)
	if errors.Is(err, pgx.ErrNoRows) {
		return b, Version{}, ErrNotFound
	}
	if err != nil {
		return b, Version{}, err
	}
	v, err := version(ctx, q, b.ID, number)
	return b, v, err
}

func version(ctx context.Context, q postgres.Querier, blueprint id.Blueprint, number int) (Version, error) {
	var v Version
	var definition string
	err := q.QueryRow(ctx, `
		SELECT id, number, digest, created_at, definition
		FROM blueprint_versions
		WHERE blueprint_id = $1 AND number = $2`, blueprint, number).Scan(&v.ID, &v.Number, &v.Digest, &v.CreatedAt, &definition)
	if errors.Is(err, pgx.ErrNoRows) {
		return v, ErrNotFound.Sayf("the blueprint has no version %d", number)
	}
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal([]byte(definition), &v.Definition); err != nil {
		return v, fmt.Errorf("blueprint version %s does not decode: %w", v.ID, err)
	}
	return v, nil
}

// DefinitionOf is the definition of a version, whoever may see it.
func DefinitionOf(ctx context.Context, q postgres.Querier, versionID id.BlueprintVersion) (d Definition, err error) {
	var text string
	if err := q.QueryRow(ctx, `SELECT definition FROM blueprint_versions WHERE id = $1`, versionID).Scan(&text); err != nil {
		return d, err
	}
	return d, json.Unmarshal([]byte(text), &d)
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
