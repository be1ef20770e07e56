package api

import "time"

// UpgradeCreate asks for an upgrade of the live WorkSpaces of a blueprint.
type UpgradeCreate struct {
	ToVersion      int    `json:"to_version,omitempty" minimum:"1" maximum:"1000000" doc:"The active version when left out"`
	FromVersions   []int  `json:"from_versions,omitempty" maxItems:"1000" doc:"Only WorkSpaces of these versions; of any other than the target when left out"`
	CanaryPercent  int    `json:"canary_percent,omitempty" minimum:"1" maximum:"100" default:"10" doc:"How many of them go first; at least one"`
	BatchSize      int    `json:"batch_size,omitempty" minimum:"1" maximum:"25" default:"10" doc:"How many of a batch, and how many at once"`
	CanaryFailures int    `json:"canary_failures,omitempty" minimum:"0" maximum:"20000" doc:"How many of the canary may fail; one more pauses the upgrade"`
	BatchFailures  int    `json:"batch_failures,omitempty" minimum:"0" maximum:"20000" doc:"How many of any later batch may fail"`
	Confirm        string `json:"confirm,omitempty" maxLength:"130" doc:"The blueprint's name or id: required where WorkSpaces are migrated, which loses data"`
}

// UpgradeResume lets an upgrade go on.
type UpgradeResume struct {
	Retry bool `json:"retry,omitempty" doc:"Take once more what failed or was skipped"`
}

// Upgrade brings the live WorkSpaces of a blueprint to one of its versions, a canary first and then batch after batch.
type Upgrade struct {
	ID             string         `json:"id" example:"upg_01jd8x5qf8e2x9v7m3k4n5p6q7"`
	BlueprintID    string         `json:"blueprint_id"`
	To             string         `json:"to" example:"backend/go-dev@4"`
	State          string         `json:"state" enum:"RUNNING,PAUSED,ABORTED,DONE" doc:"PAUSED and ABORTED begin nothing; what they have begun goes on to its end"`
	Reason         string         `json:"reason,omitempty" doc:"Why it is paused or aborted"`
	CanaryPercent  int            `json:"canary_percent"`
	BatchSize      int            `json:"batch_size"`
	CanaryFailures int            `json:"canary_failures"`
	BatchFailures  int            `json:"batch_failures"`
	CreatedBy      string         `json:"created_by"`
	CreatedAt      time.Time      `json:"created_at"`
	UpdatedAt      time.Time      `json:"updated_at"`
	FinishedAt     *time.Time     `json:"finished_at,omitempty"`
	Progress       []UpgradeBatch `json:"progress" nullable:"false" doc:"What there is of each batch; batch 0 is the canary"`
	Items          []UpgradeItem  `json:"items,omitempty" doc:"Its WorkSpaces in their order; not in lists"`
	NextCursor     string         `json:"next_cursor,omitempty" doc:"For more items"`
	DryRun         bool           `json:"dry_run,omitempty"`
}

// UpgradeBatch counts the WorkSpaces of a batch by their states.
type UpgradeBatch struct {
	Batch    int `json:"batch"`
	Waiting  int `json:"waiting"`
	UnderWay int `json:"under_way"`
	Done     int `json:"done"`
	Failed   int `json:"failed"`
	Skipped  int `json:"skipped"`
}

// UpgradeItem is one WorkSpace of an upgrade.
type UpgradeItem struct {
	WorkspaceID   string     `json:"workspace_id"`
	WorkspaceName string     `json:"workspace_name"`
	Batch         int        `json:"batch"`
	From          string     `json:"from" example:"backend/go-dev@3"`
	Migrates      bool       `json:"migrates" doc:"It was to be migrated when the upgrade was asked for; otherwise only its settings change"`
	State         string     `json:"state" enum:"WAITING,UNDER_WAY,DONE,FAILED,SKIPPED"`
	Code          string     `json:"code,omitempty" doc:"Why it failed, was skipped or waits"`
	Message       string     `json:"message,omitempty"`
	BegunAt       *time.Time `json:"begun_at,omitempty"`
	FinishedAt    *time.Time `json:"finished_at,omitempty"`
}

// UpgradeList is a page of upgrades, the newest first.
type UpgradeList struct {
	Items      []Upgrade `json:"items" nullable:"false"`
	NextCursor string    `json:"next_cursor,omitempty"`
}

// WorkspaceMigrate asks for a WorkSpace to be migrated to another bundle.
type WorkspaceMigrate struct {
	Confirm    string `json:"confirm" maxLength:"64" doc:"The WorkSpace's name or id: what is on its root volume is lost, and its user volume comes back from its last snapshot"`
	Blueprint  string `json:"blueprint,omitempty" maxLength:"130" doc:"Another version of its blueprint, such as backend/go-dev@4; its own when left out"`
	BundleType string `json:"bundle_type,omitempty" maxLength:"64" doc:"The one that it has when left out, if the version offers it"`
}
