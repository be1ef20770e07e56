package api

import "time"

// Blueprint is what a team agrees a workstation should be: a name with numbered versions. What is told of operating system,
// bundles, mode and times is that of the active version, or of the latest where none has been promoted yet.
type Blueprint struct {
	ID                     string            `json:"id" example:"bp_01jd8x5qf8e2x9v7m3k4n5p6q7"`
	Ref                    string            `json:"ref" example:"backend/go-dev" doc:"How to name it when launching"`
	Name                   string            `json:"name"`
	TeamID                 string            `json:"team_id,omitempty" doc:"Empty: public"`
	Description            string            `json:"description"`
	Owner                  string            `json:"owner"`
	Labels                 map[string]string `json:"labels"`
	ActiveVersion          int               `json:"active_version" doc:"What a name without a version means; 0: none has been promoted yet"`
	LatestVersion          int               `json:"latest_version"`
	VersionID              string            `json:"version_id,omitempty"`
	Status                 string            `json:"status,omitempty" enum:"draft,published,deprecated,archived"`
	Digest                 string            `json:"digest,omitempty" doc:"SHA-256 of the canonical definition"`
	OperatingSystem        string            `json:"operating_system,omitempty"`
	BundleTypes            []string          `json:"bundle_types" nullable:"false"`
	DefaultBundleType      string            `json:"default_bundle_type,omitempty"`
	RunningMode            string            `json:"running_mode,omitempty"`
	AutoStopTimeoutMinutes int               `json:"auto_stop_timeout_minutes,omitempty"`
	MaxLifetimeDays        int               `json:"max_lifetime_days,omitempty"`
	Software               []string          `json:"software" nullable:"false"`
	CreatedAt              time.Time         `json:"created_at"`
	UpdatedAt              time.Time         `json:"updated_at"`
}

// BlueprintList is a page of blueprints.
type BlueprintList struct {
	Items      []Blueprint `json:"items" nullable:"false"`
	NextCursor string      `json:"next_cursor,omitempty"`
}

// BlueprintCreate makes a blueprint; with a definition its first version, which is a draft.
type BlueprintCreate struct {
	Blueprint   string            `json:"blueprint" minLength:"1" maxLength:"130" example:"backend/go-dev" doc:"team/name, or name for a public one"`
	Description string            `json:"description,omitempty" maxLength:"500"`
	Owner       string            `json:"owner,omitempty" maxLength:"100" doc:"Who answers for it"`
	Labels      map[string]string `json:"labels,omitempty" maxProperties:"20"`
	Definition  map[string]any    `json:"definition,omitempty" doc:"See /api/v1/schemas/blueprint.json"`
}

// BlueprintUpdate changes what is not under version. Fields that are left out stay.
type BlueprintUpdate struct {
	Description *string           `json:"description,omitempty" maxLength:"500"`
	Owner       *string           `json:"owner,omitempty" maxLength:"100"`
	Labels      map[string]string `json:"labels,omitempty" maxProperties:"20" doc:"Replaces all labels"`
}

// BlueprintSource is where a version was written.
type BlueprintSource struct {
	Repository string `json:"repository,omitempty" maxLength:"500"`
	Commit     string `json:"commit,omitempty" maxLength:"64" pattern:"^([0-9a-f]{7,64})?$"`
	Author     string `json:"author,omitempty" maxLength:"200"`
	Path       string `json:"path,omitempty" maxLength:"500"`
}

// BlueprintVersion is one version. Its definition never changes; its status goes from draft to published, deprecated and
// archived.
type BlueprintVersion struct {
	ID           string          `json:"id" example:"bpv_01jd8x5qf8e2x9v7m3k4n5p6q7"`
	Blueprint    string          `json:"blueprint" example:"backend/go-dev"`
	Number       int             `json:"number"`
	Status       string          `json:"status" enum:"draft,published,deprecated,archived"`
	StatusReason string          `json:"status_reason,omitempty"`
	StatusBy     string          `json:"status_by"`
	StatusAt     time.Time       `json:"status_at"`
	Active       bool            `json:"active"`
	Digest       string          `json:"digest" doc:"SHA-256 of the canonical definition"`
	Source       BlueprintSource `json:"source"`
	CreatedBy    string          `json:"created_by"`
	CreatedAt    time.Time       `json:"created_at"`
	Definition   map[string]any  `json:"definition"`
	Canonical    string          `json:"canonical,omitempty" doc:"The bytes that the digest is of; not in lists"`
}

// BlueprintVersionList is a page of versions, the newest first.
type BlueprintVersionList struct {
	Items      []BlueprintVersion `json:"items" nullable:"false"`
	NextCursor string             `json:"next_cursor,omitempty"`
}

// BlueprintVersionCreate adds a version. The same definition as that of the latest version makes none.
type BlueprintVersionCreate struct {
	Definition            map[string]any  `json:"definition" doc:"See /api/v1/schemas/blueprint.json"`
	Source                BlueprintSource `json:"source,omitempty"`
	ExpectedLatestVersion *int            `json:"expected_latest_version,omitempty" minimum:"0" doc:"Refused with 409 if there is a later one that you have not seen"`
	Publish               bool            `json:"publish,omitempty"`
	Promote               bool            `json:"promote,omitempty" doc:"Publishes it too"`
	Reason                string          `json:"reason,omitempty" maxLength:"500"`
}

// BlueprintStep names the version that a status or promotion is for.
type BlueprintStep struct {
	Version int    `json:"version" minimum:"1"`
	Reason  string `json:"reason,omitempty" maxLength:"500"`
}

// BlueprintRollback takes the last promotion back.
type BlueprintRollback struct {
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

// BlueprintEvent is one step in the life of a blueprint.
type BlueprintEvent struct {
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Number int       `json:"version"`
	What   string    `json:"what" enum:"draft,published,deprecated,archived,promote,rollback"`
	Reason string    `json:"reason,omitempty"`
}

// BlueprintHistory is the latest steps, the newest first.
type BlueprintHistory struct {
	Items []BlueprintEvent `json:"items" nullable:"false"`
}

// BlueprintFile is a file as it was written: YAML or JSON.
type BlueprintFile struct {
	Path                  string `json:"path" minLength:"1" maxLength:"500" doc:"Named where something is wrong"`
	Text                  string `json:"text" maxLength:"65536"`
	ExpectedLatestVersion *int   `json:"expected_latest_version,omitempty" minimum:"0" doc:"Refused with 409 if there is a later one that you have not seen"`
}

// BlueprintPush brings blueprints to what files say, all or none.
type BlueprintPush struct {
	Files   []BlueprintFile `json:"files" minItems:"1" maxItems:"100" nullable:"false"`
	Source  BlueprintSource `json:"source,omitempty"`
	Publish bool            `json:"publish,omitempty"`
	Promote bool            `json:"promote,omitempty" doc:"Publishes them too"`
	Reason  string          `json:"reason,omitempty" maxLength:"500"`
}

// BlueprintChange is one field that differs from that of the version before.
type BlueprintChange struct {
	Field string `json:"field" example:"max_lifetime_days"`
	Old   string `json:"old,omitempty" doc:"Text, or JSON; empty: there is none"`
	New   string `json:"new,omitempty"`
}

// BlueprintPushed is what became of a file.
type BlueprintPushed struct {
	Path      string            `json:"path"`
	Blueprint string            `json:"blueprint"`
	Outcome   string            `json:"outcome" enum:"created,version,updated,unchanged" doc:"created: a new blueprint; version: a new version; updated: published, promoted or described anew"`
	Version   int               `json:"version" doc:"The latest now"`
	Status    string            `json:"status" enum:"draft,published,deprecated,archived"`
	Active    int               `json:"active_version"`
	Digest    string            `json:"digest"`
	Changes   []BlueprintChange `json:"changes" nullable:"false"`
}

// BlueprintPushResult is what became of the files, in their order.
type BlueprintPushResult struct {
	Items  []BlueprintPushed `json:"items" nullable:"false"`
	DryRun bool              `json:"dry_run" doc:"True: nothing was changed"`
}

// FleetVersion is how many live WorkSpaces are on a version.
type FleetVersion struct {
	Version    int    `json:"version"`
	Status     string `json:"status" enum:"draft,published,deprecated,archived"`
	Workspaces int    `json:"workspaces"`
}

// FleetChange is what an upgrade to a version would mean for those WorkSpaces for which it means the same.
type FleetChange struct {
	What            string `json:"what" enum:"settings,migrate,refused" doc:"settings: nothing is lost; migrate: the root volume is made anew; refused: it cannot be"`
	Reason          string `json:"reason" doc:"What differs, or why it cannot be"`
	Workspaces      int    `json:"workspaces"`
	EstimatedBefore Money  `json:"estimated_monthly_before" doc:"At their real use of the last 28 days"`
	EstimatedAfter  Money  `json:"estimated_monthly_after"`
}

// FleetRefusal is a WorkSpace that could not be upgraded.
type FleetRefusal struct {
	WorkspaceID string `json:"workspace_id"`
	Name        string `json:"name"`
	UserID      string `json:"user_id"`
	Code        string `json:"code"`
	Reason      string `json:"reason"`
}

// FleetPlan tells, before a promotion, who is on which version and what an upgrade would mean and cost. It changes nothing.
type FleetPlan struct {
	Blueprint           string         `json:"blueprint"`
	Version             int            `json:"version"`
	Workspaces          int            `json:"workspaces" doc:"Live ones of the blueprint"`
	Users               int            `json:"users"`
	Versions            []FleetVersion `json:"versions" nullable:"false"`
	Changes             []FleetChange  `json:"changes" nullable:"false"`
	Refused             []FleetRefusal `json:"refused" nullable:"false" doc:"The first hundred"`
	RefusedCount        int            `json:"refused_count"`
	EstimatedBefore     Money          `json:"estimated_monthly_before"`
	EstimatedAfter      Money          `json:"estimated_monthly_after"`
	EstimatedDifference Money          `json:"estimated_monthly_difference"`
	Assumption          string         `json:"assumption"`
}

// BlueprintFilePlan is what pushing a file would do, and what an upgrade to it would mean then.
type BlueprintFilePlan struct {
	Pushed BlueprintPushed `json:"pushed"`
	Fleet  FleetPlan       `json:"fleet"`
}

// BlueprintFilePlans is a plan for each file, in their order.
type BlueprintFilePlans struct {
	Items []BlueprintFilePlan `json:"items" nullable:"false"`
}
