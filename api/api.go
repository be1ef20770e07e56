// Package api is the wire: what requests and answers look like, and nothing that they do.
package api

import "time"

// Money is an exact amount: a decimal string with six decimals.
type Money struct {
	Amount   string `json:"amount" example:"12.345600" doc:"Decimal with six decimals"`
	Currency string `json:"currency" enum:"USD"`
}

// WorkspaceCreate asks for a WorkSpace. Fields that are left out follow the blueprint.
type WorkspaceCreate struct {
	Blueprint              string            `json:"blueprint" minLength:"1" maxLength:"200" example:"backend/go-dev" doc:"A blueprint: name, team/name, either with @version, or an id"`
	BundleType             string            `json:"bundle_type,omitempty" enum:"STANDARD,PERFORMANCE,POWER,POWERPRO,GRAPHICS_G4DN,GRAPHICSPRO_G4DN" doc:"Size; the blueprint's default when left out"`
	OperatingSystem        string            `json:"operating_system,omitempty" maxLength:"64" example:"WINDOWS"`
	ServiceType            string            `json:"service_type,omitempty" enum:"WORKSPACES_PERSONAL,WORKSPACES_APPLICATIONS"`
	RunningMode            string            `json:"running_mode,omitempty" enum:"AUTO_STOP,ALWAYS_ON"`
	Region                 string            `json:"region,omitempty" maxLength:"32" example:"us-east-1"`
	Project                string            `json:"project,omitempty" maxLength:"64" doc:"A project of your team, by id or name; its cost centre pays"`
	Name                   string            `json:"name,omitempty" maxLength:"63"`
	Tags                   map[string]string `json:"tags,omitempty" maxProperties:"40"`
	Parameters             map[string]string `json:"parameters,omitempty" maxProperties:"32" doc:"Of the blueprint, as text"`
	AutoStopTimeoutMinutes *int              `json:"auto_stop_timeout_minutes,omitempty" doc:"Idle timeout in steps of 60 minutes; AUTO_STOP only"`
	MaxLifetimeDays        *int              `json:"max_lifetime_days,omitempty"`
	KeepAlive              bool              `json:"keep_alive,omitempty" doc:"Do not end it for being unused"`
	Schedule               *Schedule         `json:"schedule,omitempty"`
}

// Schedule starts and stops a WorkSpace by the clock on the wall of a time zone. A local time that does not exist on a day,
// because clocks are put forward, is the next minute that does; one that occurs twice is the first.
type Schedule struct {
	Timezone string          `json:"timezone" minLength:"1" maxLength:"64" example:"Europe/Berlin" doc:"IANA name"`
	Entries  []ScheduleEntry `json:"entries" minItems:"1" maxItems:"28" nullable:"false"`
}

// ScheduleEntry is one time of day on some weekdays.
type ScheduleEntry struct {
	Action string   `json:"action" enum:"start,stop"`
	At     string   `json:"at" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$" example:"08:00"`
	Days   []string `json:"days" minItems:"1" maxItems:"7" enum:"MON,TUE,WED,THU,FRI,SAT,SUN" nullable:"false"`
}

// WorkspaceUpdate changes a WorkSpace in place. Fields that are left out stay. Of bundle_type, running_mode,
// root_volume_gib and user_volume_gib one may be given: Amazon changes one at a time.
type WorkspaceUpdate struct {
	Name                   *string           `json:"name,omitempty" maxLength:"63"`
	Tags                   map[string]string `json:"tags,omitempty" maxProperties:"40" doc:"Replaces all tags"`
	AutoStopTimeoutMinutes *int              `json:"auto_stop_timeout_minutes,omitempty"`
	MaxLifetimeDays        *int              `json:"max_lifetime_days,omitempty" doc:"Beyond the blueprint's: leads and admins"`
	KeepAlive              *bool             `json:"keep_alive,omitempty"`
	Schedule               *Schedule         `json:"schedule,omitempty"`
	NoSchedule             bool              `json:"no_schedule,omitempty" doc:"Takes the schedule away"`
	Project                *string           `json:"project,omitempty" maxLength:"64" doc:"By id or name; empty: none. What was charged stays where it was"`
	BundleType             *string           `json:"bundle_type,omitempty" enum:"STANDARD,PERFORMANCE,POWER,POWERPRO,GRAPHICS_G4DN,GRAPHICSPRO_G4DN"`
	RunningMode            *string           `json:"running_mode,omitempty" enum:"AUTO_STOP,ALWAYS_ON"`
	RootVolumeGiB          *int              `json:"root_volume_gib,omitempty" minimum:"1" maximum:"2000"`
	UserVolumeGiB          *int              `json:"user_volume_gib,omitempty" minimum:"1" maximum:"2000"`
}

// WorkspaceConfirm confirms what loses data.
type WorkspaceConfirm struct {
	Confirm string `json:"confirm" maxLength:"64" doc:"The WorkSpace's name or id"`
}

// WorkspaceExtend lets a WorkSpace be idle for longer.
type WorkspaceExtend struct {
	Hours int `json:"hours" minimum:"1" maximum:"24" doc:"From now on; afterwards its own timeout holds again"`
}

// WorkspaceAdopt makes a WorkSpace that Forge did not make Forge's own.
type WorkspaceAdopt struct {
	ProviderID string `json:"provider_id" pattern:"^ws-[0-9a-z]{8,63}$" example:"ws-8k2jf9x1q" doc:"Amazon's id"`
	Region     string `json:"region" maxLength:"32" example:"us-east-1"`
	Blueprint  string `json:"blueprint,omitempty" maxLength:"200" doc:"What it is from now on an instance of, where its user has not asked for one already"`
}

// WorkspaceChange is a change of what Amazon sells it as, under way or rehearsed.
type WorkspaceChange struct {
	Property         string     `json:"property" enum:"bundle_type,running_mode,root_gib,user_gib"`
	From             string     `json:"from"`
	To               string     `json:"to"`
	AskedAt          *time.Time `json:"asked_at,omitempty"`
	BegunAt          *time.Time `json:"begun_at,omitempty" doc:"When Amazon accepted it"`
	MonthlyFeeBefore Money      `json:"monthly_fee_before"`
	MonthlyFeeAfter  Money      `json:"monthly_fee_after"`
	HourlyBefore     Money      `json:"hourly_before"`
	HourlyAfter      Money      `json:"hourly_after"`
	PostsAtOnce      Money      `json:"posts_at_once" doc:"What this month costs more by it, running time apart; may be negative"`
}

// Upcoming is what will happen to a WorkSpace by itself, or why it will not.
type Upcoming struct {
	Policy string     `json:"policy" enum:"lifetime,stale,budget,schedule,idle"`
	Action string     `json:"action,omitempty" enum:"terminate,stop,start,flag,restore" doc:"flag: its owner is told that it looks forgotten; restore: the extended timeout ends; absent: the policy does not apply"`
	At     *time.Time `json:"at,omitempty" doc:"Absent: it depends on its user"`
	Why    string     `json:"why"`
	Delay  string     `json:"how_to_delay,omitempty"`
	Paused string     `json:"paused,omitempty" doc:"Why an admin keeps it from happening"`
}

// Workspace is a WorkSpace as it is.
type Workspace struct {
	ID                     string            `json:"id" example:"ws_01jd8x5qf8e2x9v7m3k4n5p6q7"`
	Name                   string            `json:"name"`
	UserID                 string            `json:"user_id"`
	UserName               string            `json:"user_name" doc:"The directory user it was made for"`
	TeamID                 string            `json:"team_id"`
	ProjectID              string            `json:"project_id,omitempty"`
	CostCentre             string            `json:"cost_centre"`
	Blueprint              string            `json:"blueprint" example:"backend/go-dev@3"`
	BlueprintVersionID     string            `json:"blueprint_version_id"`
	ServiceType            string            `json:"service_type"`
	BundleType             string            `json:"bundle_type"`
	OperatingSystem        string            `json:"operating_system"`
	RunningMode            string            `json:"running_mode"`
	Region                 string            `json:"region"`
	DirectoryID            string            `json:"directory_id"`
	AutoStopTimeoutMinutes *int              `json:"auto_stop_timeout_minutes,omitempty"`
	MaxLifetimeDays        *int              `json:"max_lifetime_days,omitempty"`
	RootVolumeGiB          *int              `json:"root_volume_gib,omitempty" doc:"As Amazon shows it"`
	UserVolumeGiB          *int              `json:"user_volume_gib,omitempty"`
	KeepAlive              bool              `json:"keep_alive" doc:"It is not ended for being unused"`
	Schedule               *Schedule         `json:"schedule,omitempty"`
	ExtendedUntil          *time.Time        `json:"extended_until,omitempty" doc:"Until then it may be idle for longer"`
	StaleAt                *time.Time        `json:"stale_at,omitempty" doc:"When its owner was told that it looks forgotten"`
	Connection             string            `json:"connection,omitempty" enum:"CONNECTED,DISCONNECTED,UNKNOWN" doc:"When it was last asked about"`
	LastConnectedAt        *time.Time        `json:"last_connected_at,omitempty" doc:"When its user was last known to be connected"`
	UnderWay               string            `json:"under_way,omitempty" doc:"What Amazon is being asked for: start, reboot, …"`
	Change                 *WorkspaceChange  `json:"change,omitempty" doc:"What Amazon is changing"`
	Upcoming               []Upcoming        `json:"upcoming,omitempty" doc:"What will happen by itself, when, why, and how it is put off; not in lists"`
	AllowedOperations      []string          `json:"allowed_operations" nullable:"false" doc:"What may be asked for in its state"`
	Tags                   map[string]string `json:"tags"`
	Parameters             map[string]string `json:"parameters,omitempty" doc:"Of its blueprint; not in lists, as the environment"`
	Environment            map[string]string `json:"environment,omitempty" doc:"The blueprint's settings with the parameters in them"`
	State                  string            `json:"state" enum:"PENDING,AVAILABLE,STARTING,STOPPING,STOPPED,REBOOTING,REBUILDING,RESTORING,UPDATING,IMPAIRED,MAINTENANCE,SUSPENDED,TERMINATING,TERMINATED,FAILED,CONFLICT" doc:"What is seen"`
	StateReason            string            `json:"state_reason"`
	Desired                string            `json:"desired" enum:"AVAILABLE,STOPPED,TERMINATED" doc:"What is wanted"`
	ErrorCode              string            `json:"error_code,omitempty"`
	ErrorMessage           string            `json:"error_message,omitempty"`
	Flag                   string            `json:"flag,omitempty" enum:"STUCK,PROTOCOL,UNHEALTHY" doc:"STUCK: far longer on its way than Amazon takes. PROTOCOL: it speaks PCoIP, which Forge never asks for. UNHEALTHY: it is ill, and a reboot has not helped"`
	Provisioning           *Provisioning     `json:"provisioning,omitempty" doc:"How long the way to the first AVAILABLE took, or takes"`
	ProviderID             string            `json:"provider_id,omitempty" example:"ws-8k2jf9x1q" doc:"Amazon's id"`
	CostToDate             Money             `json:"cost_to_date" doc:"Exact up to this second, at the prices of the price book"`
	Version                int64             `json:"version"`
	CreatedAt              time.Time         `json:"created_at"`
	UpdatedAt              time.Time         `json:"updated_at"`
	AvailableAt            *time.Time        `json:"available_at,omitempty"`
	TerminatedAt           *time.Time        `json:"terminated_at,omitempty"`
}

// Provisioning is the way from the request to the first AVAILABLE.
type Provisioning struct {
	Steps    []ProvisioningStep `json:"steps" nullable:"false"`
	Expected *Expectation       `json:"expected,omitempty" doc:"While it is under way"`
	Waiting  string             `json:"waiting,omitempty" doc:"Why it does not go on, if it does not"`
}

// ProvisioningStep is one part of the way.
type ProvisioningStep struct {
	Name    string     `json:"name" enum:"queue,image,accept,boot" doc:"queue: until Amazon was first asked; image: until there was a bundle of its image, if it had to wait for one; accept: until Amazon accepted it; boot: until it ran"`
	BegunAt time.Time  `json:"begun_at"`
	EndedAt *time.Time `json:"ended_at,omitempty" doc:"Absent: under way"`
	Seconds int64      `json:"seconds" doc:"Up to now while it is under way"`
}

// Expectation is how long the way takes, as far as anybody can know.
type Expectation struct {
	TypicalSeconds int64  `json:"typical_seconds" doc:"Half of them took at most so long"`
	SlowSeconds    int64  `json:"slow_seconds" doc:"95 of 100 took at most so long"`
	Basis          string `json:"basis" enum:"measured,stated" doc:"measured: the latest in the region; stated: Amazon's own words, because too few were measured"`
	Samples        int    `json:"samples" doc:"How many were measured"`
}

// Estimate is what a WorkSpace will cost, as far as it can be said beforehand.
type Estimate struct {
	MonthlyFee       Money `json:"monthly_fee" doc:"The fixed fee of a whole month"`
	FirstFee         Money `json:"first_fee" doc:"The fixed fee of the rest of this month"`
	Hourly           Money `json:"hourly" doc:"While running; zero for ALWAYS_ON"`
	Reserved         Money `json:"reserved" doc:"What is reserved in the budgets: the first fee and one lease of running time"`
	LeaseHours       int64 `json:"lease_hours"`
	BreakEvenMinutes int64 `json:"break_even_minutes,omitempty" doc:"Running time a month above which ALWAYS_ON is cheaper"`
}

// BudgetEffect is what a request did, or would do, to one budget.
type BudgetEffect struct {
	Scope     string `json:"scope"`
	ScopeID   string `json:"scope_id"`
	Limit     Money  `json:"limit"`
	Settled   Money  `json:"settled"`
	Held      Money  `json:"held"`
	Available Money  `json:"available"`
}

// WorkspaceAdmitted is the answer to a request for a WorkSpace.
type WorkspaceAdmitted struct {
	Workspace Workspace      `json:"workspace"`
	Estimate  Estimate       `json:"estimate"`
	Budgets   []BudgetEffect `json:"budgets" nullable:"false"`
	Warnings  []string       `json:"warnings,omitempty" doc:"Such as that the version is deprecated"`
	DryRun    bool           `json:"dry_run" doc:"True: nothing was made or reserved"`
}

// WorkspaceList is a page of WorkSpaces.
type WorkspaceList struct {
	Items      []Workspace `json:"items" nullable:"false"`
	NextCursor string      `json:"next_cursor,omitempty"`
}

// WorkspaceEvent is one thing that happened to a WorkSpace.
type WorkspaceEvent struct {
	Version   int64          `json:"version"`
	At        time.Time      `json:"at"`
	ActorID   string         `json:"actor_id"`
	Kind      string         `json:"kind"`
	FromState string         `json:"from_state"`
	ToState   string         `json:"to_state"`
	Reason    string         `json:"reason"`
	Details   map[string]any `json:"details"`
}

// WorkspaceEventList is a page of events.
type WorkspaceEventList struct {
	Items      []WorkspaceEvent `json:"items" nullable:"false"`
	NextCursor string           `json:"next_cursor,omitempty"`
}

// UserCreate adds a person.
type UserCreate struct {
	UserName            string     `json:"user_name" minLength:"1" maxLength:"63" doc:"The name in the directory"`
	DisplayName         string     `json:"display_name" minLength:"1" maxLength:"200"`
	Email               string     `json:"email" format:"email" maxLength:"254"`
	Team                string     `json:"team" minLength:"1" maxLength:"64" doc:"Id or name"`
	Role                string     `json:"role" enum:"engineer,contractor,team_lead,finance,auditor,admin"`
	CredentialExpiresAt *time.Time `json:"credential_expires_at,omitempty" doc:"When access ends; required for contractors"`
}

// User is a person.
type User struct {
	ID                  string     `json:"id"`
	UserName            string     `json:"user_name"`
	DisplayName         string     `json:"display_name"`
	Email               string     `json:"email"`
	TeamID              string     `json:"team_id"`
	Team                string     `json:"team"`
	Role                string     `json:"role"`
	CredentialExpiresAt *time.Time `json:"credential_expires_at,omitempty"`
	CreatedAt           time.Time  `json:"created_at"`
	DeactivatedAt       *time.Time `json:"deactivated_at,omitempty"`
}

// UserList is a page of users.
type UserList struct {
	Items      []User `json:"items" nullable:"false"`
	NextCursor string `json:"next_cursor,omitempty"`
}

// UserDeactivated says what became of a person's things.
type UserDeactivated struct {
	User       User   `json:"user"`
	HandedOver int    `json:"handed_over" doc:"How many WorkSpaces went to the team's lead"`
	HandedTo   string `json:"handed_to,omitempty" doc:"The lead's user id; empty when the team has no lead"`
}

// Me is who is signed in.
type Me struct {
	User               User     `json:"user"`
	AllowedBundleTypes []string `json:"allowed_bundle_types" nullable:"false"`
}

// TeamCreate adds a team.
type TeamCreate struct {
	Name       string `json:"name" minLength:"1" maxLength:"63"`
	CostCentre string `json:"cost_centre" minLength:"1" maxLength:"63"`
}

// Team is a team.
type Team struct {
	ID            string     `json:"id"`
	Name          string     `json:"name"`
	CostCentre    string     `json:"cost_centre"`
	CreatedAt     time.Time  `json:"created_at"`
	DeactivatedAt *time.Time `json:"deactivated_at,omitempty"`
}

// TeamList is a page of teams.
type TeamList struct {
	Items      []Team `json:"items" nullable:"false"`
	NextCursor string `json:"next_cursor,omitempty"`
}

// ProjectCreate adds a project.
type ProjectCreate struct {
	Name       string `json:"name" minLength:"1" maxLength:"63"`
	Team       string `json:"team" minLength:"1" maxLength:"64" doc:"Id or name"`
	CostCentre string `json:"cost_centre" minLength:"1" maxLength:"63" doc:"Who pays"`
}

// Project is a project.
type Project struct {
	ID            string     `json:"id"`
	Name          string     `json:"name"`
	TeamID        string     `json:"team_id"`
	Team          string     `json:"team"`
	CostCentre    string     `json:"cost_centre"`
	CreatedAt     time.Time  `json:"created_at"`
	DeactivatedAt *time.Time `json:"deactivated_at,omitempty"`
}

// ProjectList is a page of projects.
type ProjectList struct {
	Items      []Project `json:"items" nullable:"false"`
	NextCursor string    `json:"next_cursor,omitempty"`
}

// TokenCreate makes a token.
type TokenCreate struct {
	Name          string `json:"name" minLength:"1" maxLength:"100"`
	LifetimeHours int    `json:"lifetime_hours,omitempty" minimum:"1" maximum:"8784" doc:"720 when left out"`
	User          string `json:"user,omitempty" maxLength:"64" doc:"For whom, by id or name; yourself when left out. Admins only"`
}

// Token is a credential without its secret.
type Token struct {
	ID         string     `json:"id"`
	UserID     string     `json:"user_id"`
	Name       string     `json:"name"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  time.Time  `json:"expires_at"`
	LastUsedAt *time.Time `json:"last_used_at,omitempty"`
	RevokedAt  *time.Time `json:"revoked_at,omitempty"`
}

// TokenCreated is a new token with its secret, which is shown this once and in no repeated answer.
type TokenCreated struct {
	Token  Token  `json:"token"`
	Secret string `json:"secret,omitempty"`
}

// TokenList is a page of tokens.
type TokenList struct {
	Items      []Token `json:"items" nullable:"false"`
	NextCursor string  `json:"next_cursor,omitempty"`
}

// BudgetSet makes or changes a budget.
type BudgetSet struct {
	Amount          string `json:"amount" minLength:"1" maxLength:"24" example:"400.00" doc:"USD a period; zero admits nothing"`
	Currency        string `json:"currency,omitempty" maxLength:"8" example:"USD" doc:"Only USD"`
	Period          string `json:"period,omitempty" enum:"MONTHLY,QUARTERLY,YEARLY,CUSTOM" doc:"As it is when left out, or MONTHLY. Another one ends the budget and makes a new one. Months begin in UTC"`
	FirstMonth      string `json:"first_month,omitempty" maxLength:"7" example:"2027-01" doc:"Of a CUSTOM period"`
	LastMonth       string `json:"last_month,omitempty" maxLength:"7" example:"2027-03" doc:"Of a CUSTOM period; it is part of it"`
	WarningPercents []int  `json:"warning_percents,omitempty" maxItems:"10" doc:"From 1 to 99; 80 when left out" nullable:"false"`
	Enforcement     string `json:"enforcement,omitempty" enum:"block,block_and_stop,warn"`
	AcceptOverrun   bool   `json:"accept_overrun,omitempty" doc:"Allow a limit below what is spent or reserved already"`
}

// Budget is a budget with its balance in the present period, or in the nearest that it has.
type Budget struct {
	ID              string     `json:"id"`
	Scope           string     `json:"scope" enum:"ORGANISATION,TEAM,PROJECT,USER"`
	ScopeID         string     `json:"scope_id"`
	Name            string     `json:"name,omitempty"`
	Amount          Money      `json:"amount" doc:"What it was set to"`
	Lent            Money      `json:"lent" doc:"For a time, on top of the amount"`
	Limit           Money      `json:"limit" doc:"Of this period: both together"`
	WarningPercents []int      `json:"warning_percents" nullable:"false"`
	Enforcement     string     `json:"enforcement"`
	TemplateID      string     `json:"template_id,omitempty" doc:"The template whose amount it follows"`
	Period          string     `json:"period" enum:"MONTHLY,QUARTERLY,YEARLY,CUSTOM"`
	FirstMonth      string     `json:"first_month" example:"2026-11" doc:"The first in which it counts"`
	LastMonth       string     `json:"last_month,omitempty" example:"2027-03" doc:"The last in which it counts; before first_month: it never does"`
	PeriodStart     time.Time  `json:"period_start"`
	PeriodEnd       time.Time  `json:"period_end"`
	Settled         Money      `json:"settled" doc:"Spent"`
	Held            Money      `json:"held" doc:"Reserved for what runs or may start"`
	Available       Money      `json:"available"`
	Overrun         Money      `json:"overrun" doc:"Beyond the limit, by outside causes"`
	ConsumedPercent int64      `json:"consumed_percent" doc:"Spent and reserved, of the limit"`
	WarnedAt        *time.Time `json:"warned_at,omitempty"`
	WarnedPercent   int        `json:"warned_percent,omitempty" doc:"The highest threshold that was told in this period"`
	ExhaustedAt     *time.Time `json:"exhausted_at,omitempty"`
	Version         int64      `json:"version"`
}

// BudgetList is a page of budgets.
type BudgetList struct {
	Items      []Budget `json:"items" nullable:"false"`
	NextCursor string   `json:"next_cursor,omitempty"`
}

// AuditEntry is one record of the audit log.
type AuditEntry struct {
	ID           string         `json:"id"`
	Timestamp    time.Time      `json:"timestamp"`
	UserID       string         `json:"user_id"`
	ActorType    string         `json:"actor_type"`
	Action       string         `json:"action"`
	ResourceType string         `json:"resource_type"`
	ResourceID   string         `json:"resource_id"`
	Result       string         `json:"result" enum:"success,refused,failed"`
	Code         string         `json:"code,omitempty"`
	Interface    string         `json:"interface"`
	RequestID    string         `json:"request_id,omitempty"`
	SourceIP     string         `json:"source_ip,omitempty"`
	UserAgent    string         `json:"user_agent,omitempty"`
	Erased       bool           `json:"erased,omitempty" doc:"The person was erased: where they came from is known no more"`
	Details      map[string]any `json:"details"`
	LeafHash     string         `json:"leaf_hash" doc:"RFC 6962 hash of the entry's canonical bytes"`
}

// AuditEntryList is a page of audit entries, newest first.
type AuditEntryList struct {
	Items          []AuditEntry `json:"items" nullable:"false"`
	NextCursor     string       `json:"next_cursor,omitempty"`
	ArchivedMonths []string     `json:"archived_months,omitempty" doc:"Months of the period, like 2026-01, that are archived and were not searched"`
}
