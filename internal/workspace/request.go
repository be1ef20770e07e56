package workspace

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
	"github.com/robco-forge/forge/internal/schedule"
)

// Request is what an engineer asks for. Empty fields follow the blueprint.
type Request struct {
	Blueprint              string
	BundleType             string
	OperatingSystem        string
	ServiceType            string
	RunningMode            string
	Region                 string
	Project                string
	Name                   string
	Tags                   map[string]string
	Parameters             map[string]string
	AutoStopTimeoutMinutes *int
	MaxLifetimeDays        *int
	KeepAlive              bool
	Schedule               *schedule.Schedule
}

// Admitted is a WorkSpace that was requested, with its price and what it did to the budgets.
type Admitted struct {
	WorkSpace *WorkSpace
	Blueprint string
	Warnings  []string // what should be known about the version
	Estimate  price.Estimate
	Effects   []budget.Effect
}

// Request admits a WorkSpace for the acting user: who may, from which blueprint, at which price, within which budgets.
// It is PENDING and due when the change commits (Requirement 1.1). Amazon's rule of one per user and directory is
// checked before the budget, by the constraint.
func (f *Fleet) Request(ctx context.Context, tx *audit.Tx, r Request) (Admitted, error) {
	a := tx.Actor
	if err := policy.Require(a, policy.WorkspaceCreate, a.User, a.Team); err != nil {
		return Admitted{}, err
	}
	if r.ServiceType != "" && r.ServiceType != Personal {
		return Admitted{}, ErrServiceType
	}
	b, v, warnings, err := blueprint.Usable(ctx, tx, r.Blueprint)
	if err != nil {
		return Admitted{}, err
	}
	team, err := people.FindTeam(ctx, tx, string(a.Team))
	if err != nil {
		return Admitted{}, err
	}
	w, err := f.plan(r, b, v.Definition, team.Name)
	if err != nil {
		return Admitted{}, err
	}
	if err := policy.RequireBundle(a, w.BundleType); err != nil {
		return Admitted{}, err
	}
	w.CostCentre = team.CostCentre
	if r.Project != "" {
		p, err := people.FindProject(ctx, tx, r.Project)
		if err != nil || p.TeamID != a.Team {
			return Admitted{}, cmpErr(err, people.ErrProjectNotFound)
		}
		if p.DeactivatedAt != nil {
			return Admitted{}, ErrNoProject
		}
		w.ProjectID, w.CostCentre = &p.ID, p.CostCentre
	}
	if w.Name == "" {
		w.Name = a.Name + "-" + b.Name
	}
	w.ID, w.UserID, w.TeamID, w.DirectoryUser, w.BlueprintVersionID = id.New[id.WorkSpace](), a.User, a.Team, a.Name, v.ID
	w.Desired, w.State, w.Version = WantAvailable, Pending, 1
	w.CreatedAt, w.UpdatedAt, w.StateSince, w.NextDueAt = tx.Now, tx.Now, tx.Now, &tx.Now
	if w.Schedule != nil {
		w.ScheduledThrough = &tx.Now
	}
	w.WishReason, w.RuleDueAt = "user", w.nextRule(tx.Now)

	book, err := cost.BookAt(ctx, tx, tx.Now)
	if err != nil {
		return Admitted{}, err
	}
	estimate, err := book.Estimate(w.spec(), tx.Now)
	if err != nil {
		return Admitted{}, err
	}
	if err := insert(ctx, tx, w); err != nil {
		return Admitted{}, err
	}
	effects, err := f.Budgets.Hold(ctx, tx, w.ID, w.payer(), estimate.FirstFee, estimate.Lease)
	if err != nil { // what was refused is what a check asks about
		return Admitted{WorkSpace: w, Estimate: estimate}, err
	}
	seen := make([]any, len(effects))
	for i, e := range effects {
		seen[i] = map[string]any{
			"scope": string(e.Scope), "scope_id": e.ScopeID, "period_start": e.PeriodStart.UTC().Format(time.RFC3339), "balance_version": e.Version,
		}
	}
	if err := record(ctx, tx, w, "", "create", "requested", map[string]any{
		"blueprint_version_id": string(v.ID), "bundle_type": w.BundleType, "running_mode": w.RunningMode, "region": w.Region,
		"held_micros": audit.Microdollars(int64(estimate.Hold())), "balances": seen,
	}); err != nil {
		return Admitted{}, err
	}
	f.poke(tx)
	return Admitted{WorkSpace: w, Blueprint: b.Ref(), Warnings: warnings, Estimate: estimate, Effects: effects}, nil
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

var nameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// plan completes the request of somebody of a team from its blueprint's definition.
func (f *Fleet) plan(r Request, b blueprint.Blueprint, d blueprint.Definition, team string) (*WorkSpace, error) {
	w := &WorkSpace{
		Name: r.Name, ServiceType: Personal, BundleType: r.BundleType, OperatingSystem: d.OperatingSystem, License: d.License,
		RunningMode: r.RunningMode, KeepAlive: r.KeepAlive, Tags: map[string]string{},
	}
	if w.Name != "" && !nameRule.MatchString(w.Name) {
		return nil, ErrName
	}
	if w.BundleType == "" {
		w.BundleType = d.DefaultBundleType
	}
	if !slices.Contains(d.BundleTypes, w.BundleType) {
		return nil, blueprint.ErrBundle.Sayf("%s does not offer %s", b.Ref(), w.BundleType).Detail("bundle_types", d.BundleTypes)
	}
	if r.OperatingSystem != "" && r.OperatingSystem != d.OperatingSystem {
		return nil, blueprint.ErrOperatingSystem.Sayf("%s is for %s", b.Ref(), d.OperatingSystem)
	}
	if w.RunningMode == "" {
		w.RunningMode = d.RunningMode
	}
	directory, err := place(f.Directories, r.Region, team, d.License)
	if err != nil {
		return nil, err
	}
	w.Region, w.DirectoryID = directory.Region, directory.ID
	if !d.Image.Offers(w.Region, w.BundleType) {
		return nil, blueprint.ErrRegion.Sayf("%s has no bundle for %s in %s", b.Ref(), w.BundleType, w.Region).Detail("bundles", d.Image.Bundles)
	}
	if w.RunningMode == price.AutoStop {
		minutes := d.AutoStopTimeoutMinutes
		if minutes == 0 {
			minutes = 60
		}
		w.AutoStopTimeoutMinutes = &minutes
	}
	if err := setIdle(w, r.AutoStopTimeoutMinutes); err != nil {
		return nil, err
	}
	if d.MaxLifetimeDays > 0 {
		w.MaxLifetimeDays = &d.MaxLifetimeDays
	}
	if err := setLifetime(w, r.MaxLifetimeDays); err != nil {
		return nil, err
	}
	if r.Schedule != nil {
		if w.Schedule, err = checkSchedule(r.Schedule, w.RunningMode); err != nil {
			return nil, err
		}
	}
	if w.Parameters, err = d.Resolve(r.Parameters); err != nil {
		return nil, blueprint.ErrParameter.Sayf("%v", err)
	}
	maps.Copy(w.Tags, d.Tags)
	maps.Copy(w.Tags, r.Tags)
	if err := checkTags(w.Tags); err != nil {
		return nil, err
	}
	return w, requireTags(d, w.Tags)
}

// maxIdleMinutes is the longest idle timeout that Forge sets.
const maxIdleMinutes = 48 * 60

// setIdle sets the idle timeout (Requirement 1.7) to what Amazon can keep; nil leaves it.
func setIdle(w *WorkSpace, minutes *int) error {
	if minutes == nil {
		return nil
	}
	nearest := max(60, (*minutes+30)/60*60)
	if w.RunningMode != price.AutoStop {
		return ErrIdle.Sayf("an ALWAYS_ON WorkSpace has no idle timeout")
	}
	if *minutes <= 0 || *minutes%60 != 0 || *minutes > maxIdleMinutes {
		return ErrIdle.Suggestf("use %d, or running_mode ALWAYS_ON to be exempt", min(nearest, maxIdleMinutes)).Detail("nearest", min(nearest, maxIdleMinutes))
	}
	w.AutoStopTimeoutMinutes = minutes
	return nil
}

// setLifetime sets the maximum lifetime (Requirement 1.9): shorter than the blueprint's is free, longer is not; nil leaves it.
func setLifetime(w *WorkSpace, days *int) error {
	if days == nil {
		return nil
	}
	if *days < 1 || *days > 3650 || w.MaxLifetimeDays != nil && *days > *w.MaxLifetimeDays {
		return ErrLifetime
	}
	w.MaxLifetimeDays = days
	return nil
}

// requireTags refuses tags without those that the blueprint requires.
func requireTags(d blueprint.Definition, tags map[string]string) error {
	if missing := d.MissingTag(tags); missing != "" {
		return blueprint.ErrRequiredTag.Sayf("%s", missing)
	}
	return nil
}

func checkTags(tags map[string]string) error {
	if len(tags) > 40 { // Amazon allows 50; ours are among them
		return ErrTags
	}
	for k, v := range tags {
		lower := strings.ToLower(k)
		if k == "" || len(k) > 127 || len(v) > 255 || strings.HasPrefix(lower, "aws:") || strings.HasPrefix(lower, "forge:") || !tagRule.MatchString(k) || !tagRule.MatchString(v) {
			return ErrTags.Sayf("the tag %q is not valid", k)
		}
	}
	return nil
}

// tagRule is what Amazon allows in tags.
var tagRule = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

func insert(ctx context.Context, tx *audit.Tx, w *WorkSpace) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO workspaces (id, name, user_id, team_id, project_id, cost_centre, blueprint_version_id, service_type, bundle_type,
		                        operating_system, license, running_mode, region, directory_id, directory_user,
		                        auto_stop_timeout_minutes, max_lifetime_days, tags, desired, state, state_reason, version, next_due_at,
		                        created_at, updated_at, state_since, keep_alive, schedule, scheduled_through, rule_due_at, provider_id, accepted_at, retag, available_at, parameters)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, 'requested', $21, $22, $23, $23, $23,
		        $24, $25, $26, $27, $28, $29, $30, $31, $32)`,
		w.ID, w.Name, w.UserID, w.TeamID, w.ProjectID, w.CostCentre, w.BlueprintVersionID, w.ServiceType, w.BundleType,
		w.OperatingSystem, w.License, w.RunningMode, w.Region, w.DirectoryID, w.DirectoryUser,
		w.AutoStopTimeoutMinutes, w.MaxLifetimeDays, w.Tags, w.Desired, w.State, w.Version, w.NextDueAt, w.CreatedAt,
		w.KeepAlive, w.Schedule, w.ScheduledThrough, w.RuleDueAt, w.ProviderID, w.AcceptedAt, w.Retag, w.AvailableAt, w.Parameters)
	if postgres.Violates(err, "workspaces_directory_user_uq") {
		return ErrExists.Detail("region", w.Region)
	}
	if postgres.Violates(err, "workspaces_owner_name_uq") {
		return ErrNameTaken
	}
	if postgres.Violates(err, "workspaces_provider_uq") {
		return ErrAdopted
	}
	return err
}
