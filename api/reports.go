package api

import "time"

// CostParts is a cost of a month by what it is for.
type CostParts struct {
	MonthlyFee     Money  `json:"monthly_fee"`
	Running        Money  `json:"running" doc:"Hours"`
	Storage        Money  `json:"storage" doc:"Volumes beyond the bundle's"`
	DataTransfer   *Money `json:"data_transfer,omitempty" doc:"Absent: it is not metered"`
	Corrections    Money  `json:"corrections" doc:"Of fees of this month"`
	EarlierMonths  Money  `json:"earlier_months" doc:"What was recorded for earlier months after they were closed"`
	Total          Money  `json:"total"`
	RunningSeconds int64  `json:"running_seconds"`
}

// CostReportGroup is what a team, a project, a cost centre or a bundle type cost in a month.
type CostReportGroup struct {
	Key  string `json:"key" doc:"An id, a cost centre or a bundle type; empty: none"`
	Name string `json:"name,omitempty"`
	CostParts
}

// CostReportLine is what a WorkSpace cost in a month, for one payer.
type CostReportLine struct {
	WorkspaceID string `json:"workspace_id"`
	Name        string `json:"name"`
	ProviderID  string `json:"provider_id,omitempty" doc:"Its id at Amazon"`
	UserID      string `json:"user_id"`
	TeamID      string `json:"team_id"`
	Team        string `json:"team"`
	ProjectID   string `json:"project_id,omitempty"`
	Project     string `json:"project,omitempty"`
	CostCentre  string `json:"cost_centre"`
	BundleType  string `json:"bundle_type"`
	Region      string `json:"region"`
	CostParts
}

// CostReportHead is a month's report without its WorkSpaces.
type CostReportHead struct {
	Version     int               `json:"version" doc:"Of the form of this document"`
	Month       string            `json:"month" example:"2026-11"`
	From        time.Time         `json:"from"`
	To          time.Time         `json:"to"`
	Status      string            `json:"status" enum:"provisional,closed" doc:"A provisional report still changes; a closed one never"`
	AsOf        time.Time         `json:"as_of"`
	TeamID      string            `json:"team_id,omitempty" doc:"Only this team's"`
	UserID      string            `json:"user_id,omitempty" doc:"Only this person's"`
	Records     int64             `json:"records" doc:"How many cost records it is made of"`
	LastRecord  string            `json:"last_record,omitempty" doc:"The newest of them"`
	NotMetered  []string          `json:"not_metered" nullable:"false" doc:"What costs money at Amazon and is in no figure"`
	Total       CostParts         `json:"total"`
	Teams       []CostReportGroup `json:"teams,omitempty" nullable:"false" doc:"Dearest first"`
	Projects    []CostReportGroup `json:"projects,omitempty" nullable:"false"`
	CostCentres []CostReportGroup `json:"cost_centres,omitempty" nullable:"false"`
	Bundles     []CostReportGroup `json:"bundles,omitempty" nullable:"false"`
}

// CostReport is what a month cost, of settled records only.
type CostReport struct {
	CostReportHead
	Workspaces []CostReportLine `json:"workspaces,omitempty" nullable:"false"`
}

// CostMonth is a month whose report is final.
type CostMonth struct {
	Month      string    `json:"month" example:"2026-11"`
	ClosedAt   time.Time `json:"closed_at"`
	Records    int64     `json:"records"`
	LastRecord string    `json:"last_record,omitempty"`
	Total      Money     `json:"total"`
	Hash       string    `json:"hash" doc:"SHA-256 of the whole report as JSON, in hexadecimal"`
}
