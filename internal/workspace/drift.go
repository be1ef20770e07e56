package workspace

import (
	"context"
	"strconv"
	"time"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres"
)

// DriftKind is how Amazon has something otherwise than Forge wants it.
type DriftKind string

// The kinds of drift.
const (
	Foreign           DriftKind = "FOREIGN"            // nobody at Forge made it
	Orphan            DriftKind = "ORPHAN"             // Forge made it, and has ended its WorkSpace
	Duplicate         DriftKind = "DUPLICATE"          // Forge made it, and its WorkSpace has another one
	LostTags          DriftKind = "LOST_TAGS"          // its tags are not those that Forge gave it
	TerminatedOutside DriftKind = "TERMINATED_OUTSIDE" // it is gone, or going, and nobody asked Forge for that
	StartedOutside    DriftKind = "STARTED_OUTSIDE"    // it runs, and is wanted stopped
	ModeChanged       DriftKind = "MODE_CHANGED"       // it has another running mode
	SizeChanged       DriftKind = "SIZE_CHANGED"       // it has another compute type
	VolumesChanged    DriftKind = "VOLUMES_CHANGED"    // its volumes have other sizes
)

// DriftKinds are all of them.
var DriftKinds = []DriftKind{Foreign, Orphan, Duplicate, LostTags, TerminatedOutside, StartedOutside, ModeChanged, SizeChanged, VolumesChanged}

// Advice is what people do about drift of the kind.
func (k DriftKind) Advice() string {
	switch k {
	case Foreign:
		return "find out in CloudTrail who made it (CreateWorkspaces); its owner keeps or terminates it, Forge never touches it"
	case Orphan:
		return "save what is needed from it, then terminate it at Amazon"
	case Duplicate:
		return "find out which of the two is used, then terminate the other at Amazon"
	case LostTags:
		return "nothing, Forge sets them again; where they say that it is somebody else's, settle with them whose it is"
	case TerminatedOutside:
		return "wait until Forge is sure; CloudTrail says who terminated it (TerminateWorkspaces)"
	case StartedOutside:
		return "nothing, its idle timeout stops it; `forge stop` does so now"
	case ModeChanged, SizeChanged, VolumesChanged:
		return "nothing, Forge takes over what Amazon has and charges for that; change it back if it was not meant"
	}
	return ""
}

// told tells whether admins are told of drift of the kind: it costs money that nobody has admitted.
func (k DriftKind) told() bool { return k == Foreign || k == Orphan || k == Duplicate }

// Finding is one case of drift, from the sweep that first showed it to the one after which it was so no more.
type Finding struct {
	ID          string
	Region      string
	DirectoryID string
	ProviderID  string
	WorkspaceID *id.WorkSpace
	Kind        DriftKind
	FirstSeenAt time.Time
	LastSeenAt  time.Time
	ResolvedAt  *time.Time
	Resolution  string
	// MonthlyMicros is what it costs a month, or by how much a month costs more; nil: not known, or nothing.
	MonthlyMicros *money.USD
	// Details say how it is otherwise: from and to, what tags say, whether the cost is an estimate.
	Details map[string]any
}

const findingColumns = `
	f.id, f.region, f.directory_id, f.provider_id, f.workspace_id, f.kind, f.first_seen_at, f.last_seen_at, f.resolved_at, f.resolution,
	f.monthly_micros, f.details`

// ListedFinding is a finding with whose WorkSpace it is about, as far as that is known.
type ListedFinding struct {
	Finding
	Name string
	User string // of the directory
}

// DriftFilter narrows a list of findings; empty fields do not.
type DriftFilter struct {
	Kind   DriftKind
	Region string
	// All takes in what is resolved.
	All   bool
	After string
	Limit int
}

const driftWhere = ` ($1 = '' OR f.kind = $1) AND ($2 = '' OR f.region = $2) AND ($3 OR f.resolved_at IS NULL)`

// Findings lists drift by id, oldest first.
func Findings(ctx context.Context, q postgres.Querier, f DriftFilter) ([]ListedFinding, error) {
	return postgres.Many[ListedFinding](ctx, q, `
		SELECT`+findingColumns+`, coalesce(w.name, '') AS name, coalesce(w.directory_user, f.details->>'user', '') AS user
		FROM drift_findings f
		LEFT JOIN workspaces w ON w.id = f.workspace_id
		WHERE`+driftWhere+` AND f.id > $4
		ORDER BY f.id
		LIMIT $5`, f.Kind, f.Region, f.All, f.After, f.Limit)
}

// DriftCost is what the open findings that the filter leaves cost a month, as far as that is known.
func DriftCost(ctx context.Context, q postgres.Querier, f DriftFilter) (money.USD, error) {
	var sum money.USD
	err := q.QueryRow(ctx, `
		SELECT coalesce(sum(f.monthly_micros), 0)::bigint
		FROM drift_findings f
		WHERE`+driftWhere, f.Kind, f.Region, false).Scan(&sum)
	return sum, err
}

// OpenDrift counts open findings by kind and region.
func OpenDrift(ctx context.Context, q postgres.Querier) ([]DriftCount, error) {
	return postgres.Many[DriftCount](ctx, q, `
		SELECT kind, region, count(*) AS open
		FROM drift_findings
		WHERE resolved_at IS NULL
		GROUP BY kind, region`)
}

// DriftCount is how many findings of a kind are open in a region.
type DriftCount struct {
	Kind   DriftKind
	Region string
	Open   int64
}

// Sweep is the latest look at everything in a directory.
type Sweep struct {
	Region      string
	DirectoryID string
	DueAt       time.Time
	LeaseUntil  *time.Time
	BegunAt     *time.Time
	EndedAt     *time.Time
	// Complete is whether the last one that ended had shown everything; Error is why not, or what is missing nevertheless.
	Complete bool
	Error    string
	Pages    int
	Seen     int
	// CompletedAt is when the last complete one ended.
	CompletedAt *time.Time
}

// Sweeps are the sweeps of all directories that there ever were.
func Sweeps(ctx context.Context, q postgres.Querier) ([]Sweep, error) {
	return postgres.Many[Sweep](ctx, q, `
		SELECT region, directory_id, due_at, lease_until, begun_at, ended_at, complete, error, pages, seen, completed_at
		FROM drift_sweeps
		ORDER BY region, directory_id`)
}

// SweepNow makes the configured directories of a region, or all of them, due to be looked at. One that is being looked at
// is looked at again afterwards.
func (f *Fleet) SweepNow(ctx context.Context, tx *audit.Tx, region string) ([]Sweep, error) {
	if err := policy.Require(tx.Actor, policy.DriftSweep, "", ""); err != nil {
		return nil, err
	}
	var regions, ids []string
	for _, d := range f.Directories {
		if region == "" || d.Region == region {
			regions, ids = append(regions, d.Region), append(ids, d.ID)
		}
	}
	if len(ids) == 0 {
		return nil, ErrRegion.Detail("regions", regionsOf(f.Directories, func(Directory) bool { return true }))
	}
	due, err := postgres.Many[Sweep](ctx, tx, `
		INSERT INTO drift_sweeps (region, directory_id, due_at)
		SELECT region, directory_id, $3
		FROM unnest($1::text[], $2::text[]) AS c (region, directory_id)
		ORDER BY region, directory_id
		ON CONFLICT (region, directory_id) DO UPDATE
		SET due_at = EXCLUDED.due_at
		RETURNING region, directory_id, due_at, lease_until, begun_at, ended_at, complete, error, pages, seen, completed_at`, regions, ids, tx.Now)
	tx.Record(audit.Event{Action: string(policy.DriftSweep), ResourceType: "drift", ResourceID: region, Details: map[string]any{"directories": strconv.Itoa(len(ids))}})
	return due, err
}
