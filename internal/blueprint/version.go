package blueprint

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint/spec"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
)

// What can go wrong with versions.
var (
	ErrNoActive = fault.New(fault.Conflict, "BLUEPRINT_NOT_PROMOTED", "no version of the blueprint has been promoted yet",
		fault.Suggest("promote one with `forge blueprint promote NAME@VERSION`, or name a published version"))
	ErrNotLaunchable = fault.New(fault.Conflict, "BLUEPRINT_VERSION_NOT_LAUNCHABLE", "this version of the blueprint cannot be launched",
		fault.Suggest("leave the version out for the active one, or see `forge blueprint versions NAME`"))
	ErrStatus = fault.New(fault.Conflict, "BLUEPRINT_STATUS_CONFLICT", "the status of a version does not allow this",
		fault.Suggest("see `forge blueprint versions NAME`"))
	ErrChanged = fault.New(fault.Conflict, "BLUEPRINT_CHANGED", "somebody else has added a version meanwhile",
		fault.Suggest("look at it with `forge blueprint diff`, then push again"))
	ErrNothingBefore = fault.New(fault.Conflict, "BLUEPRINT_NO_EARLIER_VERSION", "no version was active before this one",
		fault.Suggest("promote another version with `forge blueprint promote NAME@VERSION`"))
)

// Status is where a version is in its life. It only goes forward.
type Status string

// The statuses. A draft and what is archived cannot be launched; what is deprecated can, with a warning.
const (
	Draft      Status = "draft"
	Published  Status = "published"
	Deprecated Status = "deprecated"
	Archived   Status = "archived"
)

// ordinal is the place in the order of statuses, which is part of the rows' key: each status is reached once at most.
func (s Status) ordinal() int {
	switch s {
	case Draft:
		return 0
	case Published:
		return 1
	case Deprecated:
		return 2
	case Archived:
		return 3
	}
	return -1
}

// Launchable tells whether WorkSpaces can be made of a version with this status.
func (s Status) Launchable() bool { return s == Published || s == Deprecated }

// Source is where a version was written.
type Source struct {
	Repository string `json:"repository,omitempty"`
	Commit     string `json:"commit,omitempty"`
	Author     string `json:"author,omitempty"`
	Path       string `json:"path,omitempty"`
}

// Version is one immutable version and the status that it has now.
type Version struct {
	ID           id.BlueprintVersion
	BlueprintID  id.Blueprint
	Number       int
	Digest       string // SHA-256 of the canonical definition, in hexadecimal
	Canonical    string
	Source       Source
	CreatedBy    string
	CreatedAt    time.Time
	Status       Status
	StatusReason string
	StatusBy     string
	StatusAt     time.Time
	Definition   Definition `db:"-"`
}

const versionColumns = `
	v.id, v.blueprint_id, v.number, v.digest, v.definition AS canonical, v.source, v.created_by, v.created_at,
	s.status, s.reason AS status_reason, s.set_by AS status_by, s.set_at AS status_at
FROM blueprint_versions v CROSS JOIN LATERAL (
	SELECT status, reason, set_by, set_at
	FROM blueprint_statuses
	WHERE version_id = v.id
	ORDER BY ordinal DESC
	LIMIT 1) s`

// read decodes what is kept as text.
func (v *Version) read() error {
	d, err := spec.Decode([]byte(v.Canonical))
	if err != nil {
		return fmt.Errorf("blueprint version %s does not decode: %w", v.ID, err)
	}
	v.Definition = d
	return nil
}

// VersionOf is a version of a blueprint by number, whoever may see it.
func VersionOf(ctx context.Context, q postgres.Querier, blueprint id.Blueprint, number int) (Version, error) {
	v, err := postgres.One[Version](ctx, q, `SELECT`+versionColumns+`
		WHERE v.blueprint_id = $1 AND v.number = $2`, blueprint, number)
	if errors.Is(err, pgx.ErrNoRows) {
		return v, ErrNotFound.Sayf("the blueprint has no version %d", number)
	}
	if err != nil {
		return v, err
	}
	return v, v.read()
}

// ByID are versions by id, whoever may see them.
func ByID(ctx context.Context, q postgres.Querier, ids []id.BlueprintVersion) (map[id.BlueprintVersion]Version, error) {
	found, err := postgres.Many[Version](ctx, q, `SELECT`+versionColumns+` WHERE v.id = ANY($1)`, ids)
	if err != nil {
		return nil, err
	}
	all := make(map[id.BlueprintVersion]Version, len(found))
	for _, v := range found {
		if err := v.read(); err != nil {
			return nil, err
		}
		all[v.ID] = v
	}
	return all, nil
}

// DefinitionOf is the definition of a version, whoever may see it.
func DefinitionOf(ctx context.Context, q postgres.Querier, version id.BlueprintVersion) (Definition, error) {
	var text string
	if err := q.QueryRow(ctx, `SELECT definition FROM blueprint_versions WHERE id = $1`, version).Scan(&text); err != nil {
		return Definition{}, err
	}
	return spec.Decode([]byte(text))
}

// Versions lists a blueprint's versions, the newest first, those before a number if it is not 0.
func Versions(ctx context.Context, q postgres.Querier, blueprint id.Blueprint, before, limit int) ([]Version, error) {
	found, err := postgres.Many[Version](ctx, q, `SELECT`+versionColumns+`
		WHERE v.blueprint_id = $1 AND ($2 = 0 OR v.number < $2)
		ORDER BY v.number DESC
		LIMIT $3`, blueprint, before, limit)
	if err != nil {
		return nil, err
	}
	for i := range found {
		if err := found[i].read(); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// AddVersion adds the next version, as a draft. Versions before it stay as they are (Requirement 2.3). The blueprint is
// locked by Change, or of this transaction, which keeps the numbers dense.
func AddVersion(ctx context.Context, tx *audit.Tx, b *Blueprint, d Definition, from Source) (Version, error) {
	if wrong := spec.Check(d); len(wrong) > 0 {
		return Version{}, problems(wrong)
	}
	canonical, digest, err := d.Canonical()
	if err != nil {
		return Version{}, err
	}
	v := Version{
		ID: id.New[id.BlueprintVersion](), BlueprintID: b.ID, Number: b.LatestVersion + 1, Digest: digest, Canonical: string(canonical), Source: from,
		CreatedBy: tx.Actor.ID(), CreatedAt: tx.Now, Definition: d,
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO blueprint_versions (id, blueprint_id, number, definition, digest, source, created_by, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, v.ID, b.ID, v.Number, v.Canonical, v.Digest, v.Source, v.CreatedBy, tx.Now); err != nil {
		return v, err
	}
	b.LatestVersion = v.Number
	if err := touch(ctx, tx, b); err != nil {
		return v, err
	}
	tx.Record(audit.Event{Action: "blueprint.version", ResourceType: "blueprint", ResourceID: string(b.ID), Details: map[string]any{
		"version": v.Number, "version_id": string(v.ID), "digest": v.Digest, "commit": from.Commit, "repository": from.Repository,
	}})
	return v, setStatus(ctx, tx, &v, Draft, "")
}

func touch(ctx context.Context, tx *audit.Tx, b *Blueprint) error {
	b.UpdatedAt = tx.Now
	_, err := tx.Exec(ctx, `UPDATE blueprints SET active_version = $2, updated_at = $3 WHERE id = $1`, b.ID, b.ActiveVersion, tx.Now)
	return err
}

func setStatus(ctx context.Context, tx *audit.Tx, v *Version, to Status, reason string) error {
	v.Status, v.StatusReason, v.StatusBy, v.StatusAt = to, reason, tx.Actor.ID(), tx.Now
	_, err := tx.Exec(ctx, `
		INSERT INTO blueprint_statuses (version_id, ordinal, status, reason, set_by, set_at)
		VALUES ($1, $2, $3, $4, $5, $6)`, v.ID, to.ordinal(), to, reason, v.StatusBy, tx.Now)
	return err
}

// actions are the names of the steps in the audit log.
var actions = map[Status]string{Published: "blueprint.publish", Deprecated: "blueprint.deprecate", Archived: "blueprint.archive"}

// Advance takes a version of a blueprint that is locked by Change to a later status. It tells whether that was new: what is
// there already stays. The active version cannot be archived.
func Advance(ctx context.Context, tx *audit.Tx, b *Blueprint, number int, to Status, reason string) (Version, bool, error) {
	v, err := VersionOf(ctx, tx, b.ID, number)
	if err != nil || v.Status == to {
		return v, false, err
	}
	switch {
	case to.ordinal() < v.Status.ordinal():
		return v, false, ErrStatus.Sayf("%s@%d is %s; it cannot become %s again", b.Ref(), number, v.Status, to).
			Suggestf("add a new version with the same definition").Detail("status", string(v.Status))
	case to == Deprecated && v.Status == Draft:
		return v, false, ErrStatus.Sayf("%s@%d is a draft; nobody uses it yet", b.Ref(), number).Suggestf("archive it instead").Detail("status", string(v.Status))
	case to == Archived && b.ActiveVersion == number:
		return v, false, ErrStatus.Sayf("%s@%d is the active version", b.Ref(), number).Suggestf("promote another version first").Detail("status", string(v.Status))
	}
	if err := setStatus(ctx, tx, &v, to, reason); err != nil {
		return v, false, err
	}
	tx.Record(audit.Event{Action: actions[to], ResourceType: "blueprint", ResourceID: string(b.ID), Details: map[string]any{
		"version": number, "version_id": string(v.ID), "digest": v.Digest, "reason": reason,
	}})
	return v, true, touch(ctx, tx, b)
}

// Target is the version that something is to be brought to, or made of: by number, or the active one for 0. It must be
// launchable.
func Target(ctx context.Context, q postgres.Querier, b Blueprint, number int) (Version, error) {
	if number == 0 {
		number = b.ActiveVersion
	}
	if number == 0 {
		return Version{}, ErrNoActive.Sayf("no version of %s has been promoted yet", b.Ref()).Detail("latest_version", b.LatestVersion)
	}
	v, err := VersionOf(ctx, q, b.ID, number)
	if err == nil && !v.Status.Launchable() {
		err = ErrNotLaunchable.Sayf("%s@%d is %s", b.Ref(), v.Number, statusWords[v.Status]).
			Detail("status", string(v.Status)).Detail("active_version", b.ActiveVersion)
	}
	return v, err
}

// Usable is Resolve for making a WorkSpace: drafts and archived versions are refused, and what should be known about the
// version is in the warnings.
func Usable(ctx context.Context, tx *audit.Tx, ref string) (Blueprint, Version, []string, error) {
	b, v, err := Resolve(ctx, tx, tx.Actor, ref)
	if err == nil {
		v, err = Target(ctx, tx, b, v.Number)
	}
	if err != nil {
		return b, v, nil, err
	}
	if v.Status != Deprecated {
		return b, v, nil, nil
	}
	warning := fmt.Sprintf("%s@%d is deprecated", b.Ref(), v.Number)
	if v.StatusReason != "" {
		warning += ": " + v.StatusReason
	}
	if b.ActiveVersion != v.Number && b.ActiveVersion != 0 {
		warning += fmt.Sprintf("; the active version is %d", b.ActiveVersion)
	}
	return b, v, []string{warning}, nil
}

var statusWords = map[Status]string{Draft: "a draft, which is not published yet", Archived: "archived"}
