package api

import "time"

// Finding is one thing that Amazon has otherwise than Forge wants it.
type Finding struct {
	ID            string         `json:"id"`
	Kind          string         `json:"kind" enum:"FOREIGN,ORPHAN,DUPLICATE,LOST_TAGS,TERMINATED_OUTSIDE,STARTED_OUTSIDE,MODE_CHANGED,SIZE_CHANGED,VOLUMES_CHANGED"`
	Region        string         `json:"region"`
	DirectoryID   string         `json:"directory_id"`
	ProviderID    string         `json:"provider_id" doc:"Amazon's id"`
	WorkspaceID   string         `json:"workspace_id,omitempty" doc:"Empty: no WorkSpace of Forge's has to do with it"`
	WorkspaceName string         `json:"workspace_name,omitempty"`
	UserName      string         `json:"user_name,omitempty" doc:"Whose it is, in the directory"`
	FirstSeenAt   time.Time      `json:"first_seen_at"`
	LastSeenAt    time.Time      `json:"last_seen_at" doc:"When the last complete sweep began that showed it"`
	ResolvedAt    *time.Time     `json:"resolved_at,omitempty"`
	Resolution    string         `json:"resolution,omitempty" doc:"Why it is so no more"`
	MonthlyCost   *Money         `json:"monthly_cost,omitempty" doc:"What it costs a month, or by how much a month costs more; absent: not known, or nothing"`
	Details       map[string]any `json:"details" doc:"How it is otherwise: from and to, what the tags say, whether the cost is an estimate"`
	Advice        string         `json:"advice" doc:"What to do about it"`
}

// Sweep is the latest look at everything in a directory.
type Sweep struct {
	Region      string     `json:"region"`
	DirectoryID string     `json:"directory_id"`
	DueAt       time.Time  `json:"due_at" doc:"When the next one begins, or the one that is under way was to begin"`
	Running     bool       `json:"running"`
	BegunAt     *time.Time `json:"begun_at,omitempty"`
	EndedAt     *time.Time `json:"ended_at,omitempty" doc:"When the last one ended"`
	Complete    bool       `json:"complete" doc:"The last one that ended has shown everything; nothing is concluded from another"`
	Error       string     `json:"error,omitempty" doc:"Why it has not, or what could not be read nevertheless"`
	Pages       int        `json:"pages" doc:"Of the latest one, like seen"`
	Seen        int        `json:"seen" doc:"WorkSpaces"`
	CompletedAt *time.Time `json:"completed_at,omitempty" doc:"When the last complete one ended"`
}

// FindingList is a page of findings, oldest first, with what all that are open cost and how sure that is.
type FindingList struct {
	Items       []Finding `json:"items" nullable:"false"`
	NextCursor  string    `json:"next_cursor,omitempty"`
	MonthlyCost Money     `json:"monthly_cost" doc:"Of all open findings that the filter leaves, on every page, as far as it is known"`
	Sweeps      []Sweep   `json:"sweeps" nullable:"false" doc:"A directory each"`
}

// SweepRequest asks for directories to be looked at now.
type SweepRequest struct {
	Region string `json:"region,omitempty" maxLength:"64" doc:"Empty: all"`
}

// SweepList is the directories that are due.
type SweepList struct {
	Items []Sweep `json:"items" nullable:"false"`
}
