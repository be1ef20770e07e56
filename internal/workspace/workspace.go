// Package workspace is the fleet: every cloud workstation from the request to its end, brought to what is desired of it.
package workspace

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
	"github.com/robco-forge/forge/internal/schedule"
)

// What can go wrong with a WorkSpace.
var (
	ErrNotFound = fault.New(fault.NotFound, "WORKSPACE_NOT_FOUND", "there is no such WorkSpace, or it is not yours",
		fault.Suggest("list yours with `forge list`"))
	ErrExists = fault.New(fault.Conflict, "WORKSPACE_EXISTS", "you have a WorkSpace in that directory already; Amazon allows one per user and directory",
		fault.Suggest("use it, or terminate it first"))
	ErrNameTaken = fault.New(fault.Conflict, "WORKSPACE_NAME_TAKEN", "you already have a WorkSpace with that name",
		fault.Suggest("pick another name or terminate the old one"))
	ErrServiceType = fault.New(fault.NotSupported, "NOT_YET_SUPPORTED", "WorkSpaces Applications cannot be requested yet",
		fault.Suggest("use service_type WORKSPACES_PERSONAL"))
	ErrRegion = fault.New(fault.Invalid, "REGION_NOT_CONFIGURED", "no directory is configured for that region",
		fault.Suggest("choose one of the configured regions"))
	ErrIdle = fault.New(fault.Invalid, "AUTO_STOP_TIMEOUT_INVALID", "Amazon's idle timeout comes in steps of 60 minutes, and only with AUTO_STOP",
		fault.Suggest("use a multiple of 60, or running_mode ALWAYS_ON to be exempt"))
	ErrLifetime  = fault.New(fault.Invalid, "MAX_LIFETIME_INVALID", "a lifetime is 1 to 3650 days, and at most the blueprint's")
	ErrTags      = fault.New(fault.Invalid, "TAGS_INVALID", "at most 40 tags, keys of 1 to 127 and values of at most 255 characters, and none that begins with aws: or forge:")
	ErrName      = fault.New(fault.Invalid, "WORKSPACE_NAME_INVALID", "a name is 1 to 63 letters, digits, dots, hyphens and underscores")
	ErrAlwaysOn  = fault.New(fault.Conflict, "ALWAYS_ON_CANNOT_STOP", "an ALWAYS_ON WorkSpace cannot be stopped: its month is paid, and Amazon refuses", fault.Suggest("terminate it, or use AUTO_STOP for the next one"))
	ErrState     = fault.New(fault.Conflict, "STATE_CONFLICT", "the WorkSpace's state does not allow that")
	ErrChanged   = fault.New(fault.Conflict, "WORKSPACE_CHANGED", "the WorkSpace was changed in the meantime", fault.Suggest("read it again and repeat with its new ETag"))
	ErrBusy      = fault.New(fault.Conflict, "OPERATION_IN_PROGRESS", "something else is under way", fault.Suggest("wait until it is done: `forge describe` shows how far it is"))
	ErrConfirm   = fault.New(fault.Invalid, "CONFIRMATION_REQUIRED", "this loses data", fault.Suggest("confirm it with the WorkSpace's name"))
	ErrExtend    = fault.New(fault.Conflict, "ALWAYS_ON_NEEDS_NO_EXTENSION", "an ALWAYS_ON WorkSpace does not stop when idle", fault.Suggest("there is nothing to extend"))
	ErrHours     = fault.New(fault.Invalid, "EXTENSION_INVALID", "an extension is 1 to 24 hours")
	ErrChange    = fault.New(fault.Invalid, "CHANGE_NOT_POSSIBLE", "Amazon does not change a WorkSpace like that")
	ErrTooSoon   = fault.New(fault.Conflict, "CHANGE_TOO_SOON", "Amazon makes one wait between two changes")
	ErrSchedule  = fault.New(fault.Invalid, "SCHEDULE_INVALID", "the schedule is not valid", fault.Suggest("see `forge schedule --help` for examples"))
	ErrNoProject = fault.New(fault.Conflict, "PROJECT_INACTIVE", "the project is deactivated")
)

// Personal is the service type that there is: a persistent desktop of one user.
const Personal = "WORKSPACES_PERSONAL"

// WorkSpace is one workstation.
type WorkSpace struct {
	ID                     id.WorkSpace
	Name                   string
	UserID                 id.User
	TeamID                 id.Team
	ProjectID              *id.Project
	CostCentre             string
	BlueprintVersionID     id.BlueprintVersion
	ServiceType            string
	BundleType             string
	OperatingSystem        string
	License                string
	RunningMode            string
	Region                 string
	DirectoryID            string
	DirectoryUser          string
	RootGiB                *int // nil: not seen yet
	UserGiB                *int
	BundleID               *string    // the custom bundle that it is made of; nil: Amazon's public one
	ImageSince             *time.Time // since when it waits, or waited, for its image
	AutoStopTimeoutMinutes *int
	MaxLifetimeDays        *int
	KeepAlive              bool // it is not ended for being unused
	Schedule               *schedule.Schedule
	Tags                   map[string]string
	Parameters             map[string]string // of its blueprint, complete
	Desired                Desired
	WishReason             string // who or what wanted the latest of it: a person, or a policy
	State                  State
	StateReason            string
	ErrorCode              string
	ErrorMessage           string
	ProviderID             *string
	ObservedState          string
	ObservedAt             *time.Time
	Asked                  string
	AskedAt                *time.Time
	Attempts               int
	Missed                 int
	Replaced               int
	Replacing              bool // it failed on its way and is being cleared away, to be made again
	Flag                   string
	Unclear                bool       // a create may have been accepted that nobody knows the answer to
	Retag                  bool       // its tags are to be brought to Amazon
	RebootedAt             *time.Time // when it was last rebooted for being ill

	// A change under way: which property is to become what. Begun is when Amazon accepted it.
	Change        string
	ChangeTo      string
	ChangeAskedAt *time.Time
	ChangeBegunAt *time.Time
	EnlargedAt    *time.Time // the latest changes, which Amazon makes one wait after
	ReducedAt     *time.Time
	GrownAt       *time.Time

	// A migration that is wanted, and from MigrationAskedAt on one that Amazon may be at: until it is known what came of it
	// there may be two WorkSpaces of one, the source with ProviderID and the target.
	Migration        *Migration
	MigrationAskedAt *time.Time
	TargetID         *string // the target's id, once it is known

	// What is known of its user's connection, and what the rules about time go by.
	Connection          string
	ConnectionCheckedAt *time.Time
	LastConnectedAt     *time.Time
	ExtendedUntil       *time.Time
	ExtendedMinutes     *int       // its idle timeout until then
	StoppedAt           *time.Time // since when it has been stopped and not used
	StaleAt             *time.Time // when its owner was told that it looks forgotten
	ScheduledThrough    *time.Time // its schedule has been followed up to here
	Notices             map[string]Notice
	RuleDueAt           *time.Time

	Version      int64
	NextDueAt    *time.Time
	LeaseToken   *string
	CreatedAt    time.Time
	UpdatedAt    time.Time
	StateSince   time.Time
	FirstAskedAt *time.Time
	AcceptedAt   *time.Time
	AvailableAt  *time.Time
	TerminatedAt *time.Time
}

const columns = `
	id, name, user_id, team_id, project_id, cost_centre, blueprint_version_id, service_type, bundle_type, operating_system, license,
	running_mode, region, directory_id, directory_user, root_gib, user_gib, bundle_id, image_since, auto_stop_timeout_minutes, max_lifetime_days, keep_alive, schedule,
	tags, parameters, desired, wish_reason, state, state_reason, error_code, error_message, provider_id, observed_state, observed_at, asked, asked_at, attempts, missed, replaced, replacing, flag,
	unclear, retag, rebooted_at, change, change_to, change_asked_at, change_begun_at, enlarged_at, reduced_at, grown_at,
	migration, migration_asked_at, target_id,
	connection, connection_checked_at, last_connected_at, extended_until, extended_minutes, stopped_at, stale_at, scheduled_through, notices, rule_due_at,
	version, next_due_at, lease_token, created_at, updated_at, state_since, first_asked_at, accepted_at, available_at, terminated_at`

func (w *WorkSpace) spec() price.Spec {
	s := price.Spec{Region: w.Region, ComputeType: w.BundleType, OperatingSystem: w.OperatingSystem, License: w.License, RunningMode: w.RunningMode}
	if w.AutoStopTimeoutMinutes != nil {
		s.AutoStopMinutes = *w.AutoStopTimeoutMinutes
	}
	if w.ExtendedMinutes != nil {
		s.AutoStopMinutes = max(s.AutoStopMinutes, *w.ExtendedMinutes)
	}
	if w.RootGiB != nil {
		s.RootGiB = *w.RootGiB
	}
	if w.UserGiB != nil {
		s.UserGiB = *w.UserGiB
	}
	return s
}

func (w *WorkSpace) payer() budget.Payer {
	p := budget.Payer{User: w.UserID, Team: w.TeamID}
	if w.ProjectID != nil {
		p.Project = *w.ProjectID
	}
	return p
}

// Fleet is all WorkSpaces.
type Fleet struct {
	Provider Provider
	Budgets  *budget.Book
	Meter    *cost.Meter
	// Images makes the bundles of versions that have an image of their own; nil: there are none.
	Images *blueprint.Images
	// Directories by preference; place says which is chosen.
	Directories []Directory
	// Due is called after a commit that made something due now.
	Due func()
	// Speed is how many times faster than Amazon the provider works: an emulator's. 0 is 1.
	Speed int
}

func (f *Fleet) poke(tx *audit.Tx) {
	if f.Due != nil {
		tx.AfterCommit(f.Due)
	}
}

func get(ctx context.Context, q postgres.Querier, ws id.WorkSpace, lock string) (*WorkSpace, error) {
	w, err := postgres.One[WorkSpace](ctx, q, `SELECT`+columns+` FROM workspaces WHERE id = $1 `+lock, ws)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return &w, nil
}

// Get is a WorkSpace that the actor may see; any other does not exist for them.
func Get(ctx context.Context, q postgres.Querier, a actor.Actor, ws id.WorkSpace) (*WorkSpace, error) {
	w, err := get(ctx, q, ws, "")
	if err != nil {
		return nil, err
	}
	if !policy.Allows(a, policy.WorkspaceRead, w.UserID, w.TeamID) {
		return nil, ErrNotFound
	}
	return w, nil
}

// Filter narrows a list; empty fields do not.
type Filter struct {
	User  id.User
	Team  id.Team
	State State
	// Live leaves out what has ended.
	Live  bool
	After string
	Limit int
}

// List lists WorkSpaces by id, oldest first, as far as the filter goes; the caller narrows it to what the reader may see.
func List(ctx context.Context, q postgres.Querier, f Filter) ([]WorkSpace, error) {
	sql := "id > $1"
	args := []any{f.After, f.Limit}
	add := func(cond string, v any) {
		args = append(args, v)
		sql += " AND " + cond + "$" + audit.Microdollars(int64(len(args)))
	}
	if f.User != "" {
		add("user_id = ", f.User)
	}
	if f.Team != "" {
		add("team_id = ", f.Team)
	}
	if f.State != "" {
		add("state = ", f.State)
	}
	// What follows from the state is written out, so that the indexes of what lives serve whatever plan is made.
	if f.State != "" && f.State != Terminated {
		sql += " AND state <> 'TERMINATED'"
	}
	if f.Live || f.State != "" && !f.State.Ended() && (f.User != "" || f.Team != "") {
		sql += " AND terminated_at IS NULL"
	}
	// The page is found in an index alone and its rows fetched afterwards. In one step, a team's page was looked for among
	// everyone's rows: what lives stands far apart in the table, and PostgreSQL thinks that it stands together.
	return postgres.Many[WorkSpace](ctx, q, `
		SELECT`+columns+`
		FROM workspaces
		WHERE id = ANY(ARRAY(SELECT id FROM workspaces WHERE `+sql+` ORDER BY id LIMIT $2))
		ORDER BY id`, args...)
}

// Event is one thing that happened to a WorkSpace; Version numbers them without gaps.
type Event struct {
	WorkspaceID id.WorkSpace
	Version     int64
	At          time.Time
	ActorID     string
	Kind        string
	FromState   string
	ToState     string
	Reason      string
	Details     map[string]any
}

// Events lists what happened to a WorkSpace, oldest first, behind the version after.
func Events(ctx context.Context, q postgres.Querier, ws id.WorkSpace, after int64, limit int) ([]Event, error) {
	return postgres.Many[Event](ctx, q, `
		SELECT workspace_id, version, at, actor_id, kind, from_state, to_state, reason, details
		FROM workspace_events
		WHERE workspace_id = $1 AND version > $2
		ORDER BY version
		LIMIT $3`, ws, after, limit)
}

// save writes a changed WorkSpace with the next version, its event, and its audit record. The row must be locked.
func save(ctx context.Context, tx *audit.Tx, w *WorkSpace, before State, kind, reason string, details map[string]any) error {
	w.next(reason, tx.Now)
	if _, err := tx.Exec(ctx, `
		UPDATE workspaces
		SET blueprint_version_id = @blueprint_version_id, operating_system = @operating_system, license = @license,
		    migration = @migration, migration_asked_at = @migration_asked_at, target_id = @target_id,
		    name = @name, user_id = @user_id, team_id = @team_id, project_id = @project_id, cost_centre = @cost_centre,
		    bundle_type = @bundle_type, running_mode = @running_mode, root_gib = @root_gib, user_gib = @user_gib,
		    bundle_id = @bundle_id, image_since = @image_since,
		    auto_stop_timeout_minutes = @auto_stop_timeout_minutes, max_lifetime_days = @max_lifetime_days, keep_alive = @keep_alive,
		    schedule = @schedule, tags = @tags, parameters = @parameters, desired = @desired, wish_reason = @wish_reason, state = @state, state_reason = @state_reason,
		    error_code = @error_code, error_message = @error_message, provider_id = @provider_id, observed_state = @observed_state,
		    observed_at = @observed_at, asked = @asked, asked_at = @asked_at, attempts = @attempts, missed = @missed, replaced = @replaced,
		    replacing = @replacing, flag = @flag, unclear = @unclear, retag = @retag, rebooted_at = @rebooted_at,
		    change = @change, change_to = @change_to, change_asked_at = @change_asked_at, change_begun_at = @change_begun_at,
		    enlarged_at = @enlarged_at, reduced_at = @reduced_at, grown_at = @grown_at,
		    connection = @connection, connection_checked_at = @connection_checked_at, last_connected_at = @last_connected_at,
		    extended_until = @extended_until, extended_minutes = @extended_minutes, stopped_at = @stopped_at, stale_at = @stale_at,
		    scheduled_through = @scheduled_through, notices = @notices, rule_due_at = @rule_due_at, rule_lease_until = NULL,
		    version = @version, next_due_at = @next_due_at, updated_at = @updated_at, state_since = @state_since,
		    accepted_at = @accepted_at, available_at = @available_at, terminated_at = @terminated_at
		WHERE id = @id`, w.named()); err != nil {
		return err
	}
	return record(ctx, tx, w, before, kind, reason, details)
}

// next brings a changed row to its next version.
func (w *WorkSpace) next(reason string, now time.Time) {
	w.Version++
	w.UpdatedAt = now
	w.StateReason = reason
	if w.Asked != string(migrate) && w.MigrationAskedAt == nil {
		w.Migration = nil // something else has taken its place
	}
	if w.State.Ended() && w.TerminatedAt == nil {
		w.TerminatedAt, w.NextDueAt = &now, nil
	}
	w.RuleDueAt = w.nextRule(now)
}

// named are the row's columns that may change, for a statement that names them.
func (w *WorkSpace) named() pgx.NamedArgs {
	notices := w.Notices
	if notices == nil {
		notices = map[string]Notice{}
	}
	return pgx.NamedArgs{
		"blueprint_version_id": w.BlueprintVersionID, "operating_system": w.OperatingSystem, "license": w.License,
		"migration": w.Migration, "migration_asked_at": w.MigrationAskedAt, "target_id": w.TargetID,
		"id": w.ID, "name": w.Name, "user_id": w.UserID, "team_id": w.TeamID, "project_id": w.ProjectID, "cost_centre": w.CostCentre,
		"bundle_type": w.BundleType, "running_mode": w.RunningMode, "root_gib": w.RootGiB, "user_gib": w.UserGiB,
		"bundle_id": w.BundleID, "image_since": w.ImageSince,
		"auto_stop_timeout_minutes": w.AutoStopTimeoutMinutes, "max_lifetime_days": w.MaxLifetimeDays, "keep_alive": w.KeepAlive,
		"schedule": w.Schedule, "tags": w.Tags, "parameters": w.Parameters, "desired": w.Desired, "wish_reason": w.WishReason, "state": w.State, "state_reason": w.StateReason,
		"error_code": w.ErrorCode, "error_message": w.ErrorMessage, "provider_id": w.ProviderID, "observed_state": w.ObservedState,
		"observed_at": w.ObservedAt, "asked": w.Asked, "asked_at": w.AskedAt, "attempts": w.Attempts, "missed": w.Missed, "replaced": w.Replaced,
		"replacing": w.Replacing, "flag": w.Flag, "unclear": w.Unclear, "retag": w.Retag, "rebooted_at": w.RebootedAt,
		"change": w.Change, "change_to": w.ChangeTo, "change_asked_at": w.ChangeAskedAt, "change_begun_at": w.ChangeBegunAt,
		"enlarged_at": w.EnlargedAt, "reduced_at": w.ReducedAt, "grown_at": w.GrownAt,
		"connection": w.Connection, "connection_checked_at": w.ConnectionCheckedAt, "last_connected_at": w.LastConnectedAt,
		"extended_until": w.ExtendedUntil, "extended_minutes": w.ExtendedMinutes, "stopped_at": w.StoppedAt, "stale_at": w.StaleAt,
		"scheduled_through": w.ScheduledThrough, "notices": notices, "rule_due_at": w.RuleDueAt,
		"version": w.Version, "next_due_at": w.NextDueAt, "updated_at": w.UpdatedAt, "state_since": w.StateSince,
		"accepted_at": w.AcceptedAt, "available_at": w.AvailableAt, "terminated_at": w.TerminatedAt,
	}
}

// record writes the event of the WorkSpace's present version.
func record(ctx context.Context, tx *audit.Tx, w *WorkSpace, before State, kind, reason string, details map[string]any) error {
	if details == nil {
		details = map[string]any{}
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO workspace_events (workspace_id, version, at, actor_id, kind, from_state, to_state, reason, details)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		w.ID, w.Version, tx.Now, tx.Actor.ID(), kind, before, w.State, reason, details); err != nil {
		return err
	}
	logged := map[string]any{"version": w.Version, "from_state": string(before), "to_state": string(w.State), "desired": string(w.Desired), "reason": reason}
	for k, v := range details {
		logged[k] = v
	}
	tx.Record(audit.Event{Action: "workspace." + kind, ResourceType: "workspace", ResourceID: string(w.ID), Details: logged})
	return nil
}

// Names are the names of WorkSpaces, for showing.
func Names(ctx context.Context, q postgres.Querier, ids []string) (map[string]string, error) {
	found, err := postgres.Many[struct{ ID, Name string }](ctx, q, `SELECT id, name FROM workspaces WHERE id = ANY($1)`, ids)
	names := make(map[string]string, len(found))
	for _, f := range found {
		names[f.ID] = f.Name
	}
	return names, err
}
