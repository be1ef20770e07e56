package api

import "time"

// SimulatedDeed is something that a policy would do.
type SimulatedDeed struct {
	WorkspaceID string    `json:"workspace_id"`
	Name        string    `json:"name"`
	UserID      string    `json:"user_id"`
	TeamID      string    `json:"team_id"`
	Policy      string    `json:"policy"`
	Action      string    `json:"action" enum:"notice,flag,stop,start,terminate"`
	At          time.Time `json:"at"`
}

// PolicyCount is how often a policy would act.
type PolicyCount struct {
	Policy          string `json:"policy"`
	Notices         int    `json:"notices"`
	Flags           int    `json:"flags"`
	Stops           int    `json:"stops"`
	Starts          int    `json:"starts"`
	Terminations    int    `json:"terminations"`
	EstimatedSaving Money  `json:"estimated_saving" doc:"By its terminations; by the assumption"`
}

// Simulation is what the rules about time would do in the coming days.
type Simulation struct {
	From             time.Time       `json:"from"`
	To               time.Time       `json:"to"`
	Assumption       string          `json:"assumption" doc:"What users are taken to do; the money is an estimate for that"`
	Workspaces       int             `json:"workspaces" doc:"How many were gone through"`
	Policies         []PolicyCount   `json:"policies" nullable:"false"`
	Deeds            []SimulatedDeed `json:"deeds" nullable:"false" doc:"The soonest thousand"`
	Truncated        bool            `json:"truncated" doc:"There are more deeds; the counts have all"`
	EstimatedWithout Money           `json:"estimated_without" doc:"What the days would cost if the policies did nothing"`
	EstimatedWith    Money           `json:"estimated_with"`
	EstimatedSaving  Money           `json:"estimated_saving"`
}
