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
	Why         string    `json:"why"`
}

// PolicyCount is how often a policy would act.
type PolicyCount struct {
	Policy          string `json:"policy"`
	Notices         int    `json:"notices"`
	Flags           int    `json:"flags"`
	Stops           int    `json:"stops"`
	Starts          int    `json:"starts"`
	Terminations    int    `json:"terminations"`
	EstimatedSaving Money  `json:"estimated_saving" doc:"Negative where its starts cost more than its stops save"`
}

// TeamCount is how often the policies would act on a team's WorkSpaces.
type TeamCount struct {
	TeamID           string `json:"team_id"`
	Name             string `json:"name,omitempty"`
	Workspaces       int    `json:"workspaces"`
	Notices          int    `json:"notices"`
	Flags            int    `json:"flags"`
	Stops            int    `json:"stops"`
	Starts           int    `json:"starts"`
	Terminations     int    `json:"terminations"`
	EstimatedWithout Money  `json:"estimated_without"`
	EstimatedWith    Money  `json:"estimated_with"`
	EstimatedSaving  Money  `json:"estimated_saving"`
}

// Simulation is what the rules about time would do in the coming days.
type Simulation struct {
	From             time.Time       `json:"from"`
	To               time.Time       `json:"to"`
	Estimate         bool            `json:"estimate" doc:"Always true: the money is what the assumption comes to"`
	Assumption       string          `json:"assumption" doc:"What users are taken to do"`
	Workspaces       int             `json:"workspaces" doc:"How many were gone through"`
	Unpriced         int             `json:"unpriced" doc:"Those that the price book has no price for: they cost nothing here"`
	Policies         []PolicyCount   `json:"policies" nullable:"false"`
	Teams            []TeamCount     `json:"teams" nullable:"false" doc:"Those that would save most first"`
	Deeds            []SimulatedDeed `json:"deeds" nullable:"false" doc:"A thousand at the most: terminations first, the soonest first"`
	Truncated        bool            `json:"truncated" doc:"There are more deeds; the counts have all"`
	EstimatedWithout Money           `json:"estimated_without" doc:"What the days would cost if the policies did nothing"`
	EstimatedWith    Money           `json:"estimated_with"`
	EstimatedSaving  Money           `json:"estimated_saving"`
}
