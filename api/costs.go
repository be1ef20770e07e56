package api

import "time"

// CostAmount is a cost and what it is for.
type CostAmount struct {
	Compute  Money `json:"compute"`
	Storage  Money `json:"storage"`
	Transfer Money `json:"transfer"`
	Settled  Money `json:"settled" doc:"What of it is in immutable records"`
	Open     Money `json:"open" doc:"What of it is not settled yet, up to this second"`
	Total    Money `json:"total"`
}

// CostPeriod is one group's cost of one period.
type CostPeriod struct {
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	Open  Money     `json:"open"`
	Total Money     `json:"total"`
}

// CostGroup is one group's cost.
type CostGroup struct {
	Key      string `json:"key" doc:"What it is grouped by: an id, a cost centre, a bundle type, a tag's value; empty: none"`
	Name     string `json:"name,omitempty"`
	Untagged bool   `json:"untagged,omitempty" doc:"True: what does not have the tag"`
	CostAmount
	Periods []CostPeriod `json:"periods,omitempty" nullable:"false" doc:"With a granularity: every period of the range, in order"`
}

// CostSummary is the cost of a range by group.
type CostSummary struct {
	From        time.Time   `json:"from"`
	To          time.Time   `json:"to"`
	AsOf        time.Time   `json:"as_of" doc:"The figures are exact for this instant"`
	GroupBy     string      `json:"group_by"`
	Granularity string      `json:"granularity,omitempty"`
	TimeZone    string      `json:"time_zone"`
	Total       Money       `json:"total"`
	Items       []CostGroup `json:"items" nullable:"false" doc:"Dearest first"`
}

// CostRecord is a settled slice of use. It never changes.
type CostRecord struct {
	ID                 string            `json:"id"`
	UsageID            string            `json:"usage_id"`
	Kind               string            `json:"kind" enum:"fixed_month,running,storage,transfer"`
	WorkspaceID        string            `json:"workspace_id"`
	UserID             string            `json:"user_id"`
	TeamID             string            `json:"team_id"`
	ProjectID          string            `json:"project_id,omitempty"`
	CostCentre         string            `json:"cost_centre"`
	BlueprintID        string            `json:"blueprint_id,omitempty"`
	BlueprintVersionID string            `json:"blueprint_version_id,omitempty"`
	BundleType         string            `json:"bundle_type"`
	Region             string            `json:"region"`
	Tags               map[string]string `json:"tags" doc:"As they were"`
	PriceID            int64             `json:"price_id"`
	Item               string            `json:"item" doc:"What the price is for"`
	SKU                string            `json:"sku,omitempty"`
	Rate               Money             `json:"rate"`
	HourRule           string            `json:"hour_rule"`
	Compute            Money             `json:"compute_cost"`
	Storage            Money             `json:"storage_cost"`
	Transfer           Money             `json:"data_transfer_cost"`
	Total              Money             `json:"total_cost"`
	PeriodStart        time.Time         `json:"period_start"`
	PeriodEnd          time.Time         `json:"period_end"`
	RecordedAt         time.Time         `json:"recorded_at"`
	Corrects           string            `json:"corrects,omitempty" doc:"The record that this one corrects"`
}

// CostRecordList is a page of records, newest period first.
type CostRecordList struct {
	Items      []CostRecord `json:"items" nullable:"false"`
	NextCursor string       `json:"next_cursor,omitempty"`
}

// CostPosting is a part of a fact's cost.
type CostPosting struct {
	RecordID    string    `json:"record_id"`
	From        time.Time `json:"from"`
	To          time.Time `json:"to"`
	Amount      Money     `json:"amount"`
	Corrects    string    `json:"corrects,omitempty"`
	Explanation string    `json:"explanation"`
}

// CostFact is something that costs, with everything that its figure is made of.
type CostFact struct {
	UsageID     string            `json:"usage_id"`
	Kind        string            `json:"kind" enum:"fixed_month,running,storage,transfer"`
	From        time.Time         `json:"from"`
	To          *time.Time        `json:"to,omitempty" doc:"Absent: it goes on"`
	UserID      string            `json:"user_id"`
	TeamID      string            `json:"team_id"`
	ProjectID   string            `json:"project_id,omitempty"`
	CostCentre  string            `json:"cost_centre"`
	BundleType  string            `json:"bundle_type"`
	Region      string            `json:"region"`
	Tags        map[string]string `json:"tags"`
	Rate        Money             `json:"rate"`
	Unit        string            `json:"unit"`
	Item        string            `json:"item"`
	SKU         string            `json:"sku,omitempty"`
	PriceBookID int64             `json:"price_book_id"`
	PriceSource string            `json:"price_source"`
	HourRule    string            `json:"hour_rule"`
	Settled     Money             `json:"settled"`
	Open        Money             `json:"open"`
	Total       Money             `json:"total"`
	Explanation string            `json:"explanation" doc:"How the figure comes about"`
	Postings    []CostPosting     `json:"postings,omitempty" nullable:"false" doc:"The records of a monthly fee, and every correction"`
}

// CostTimeline is why a WorkSpace costs what it does, oldest first.
type CostTimeline struct {
	WorkspaceID string     `json:"workspace_id"`
	AsOf        time.Time  `json:"as_of"`
	Total       Money      `json:"total" doc:"Of all of it, on every page"`
	Items       []CostFact `json:"items" nullable:"false"`
	NextCursor  string     `json:"next_cursor,omitempty"`
}

// CostEstimate is what a WorkSpace would cost, by the price book in force.
type CostEstimate struct {
	Estimate
	PriceBookID int64  `json:"price_book_id"`
	HourRule    string `json:"hour_rule"`
	Hours       int    `json:"hours" doc:"Running time a month that the month is for"`
	Month       Money  `json:"month" doc:"A whole month with so many hours"`
}
