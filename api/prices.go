package api

import "time"

// PriceBook is what WorkSpaces cost from an instant on. A book is never changed; another one follows it.
type PriceBook struct {
	ID            int64     `json:"id" doc:"0 in a dry run"`
	Source        string    `json:"source"`
	HourRule      string    `json:"hour_rule" enum:"session_ceil,clock_hour,second" doc:"What is billed as an hour: each session rounded up; the UTC clock hours that it touches; to the second"`
	EffectiveFrom time.Time `json:"effective_from"`
	ImportedAt    time.Time `json:"imported_at"`
	Lines         int       `json:"lines"`
	InForce       bool      `json:"in_force" doc:"Whether it prices what begins now"`
}

// PriceBookList is a page of price books, the newest first.
type PriceBookList struct {
	Items      []PriceBook `json:"items" nullable:"false"`
	NextCursor string      `json:"next_cursor,omitempty"`
}

// PriceKey is what a price depends on.
type PriceKey struct {
	Region          string `json:"region"`
	BundleType      string `json:"bundle_type"`
	OperatingSystem string `json:"operating_system"`
	License         string `json:"license"`
	Item            string `json:"item" doc:"always_on_month and auto_stop_month are monthly fees for the volumes that the bundle includes, root_gb_month and user_gb_month are for each GiB beyond"`
}

// Price is one line of a price book.
type Price struct {
	PriceKey
	Unit   string `json:"unit" enum:"month,hour,gb_month,gb"`
	Amount Money  `json:"amount"`
	SKU    string `json:"sku,omitempty" doc:"Amazon's name of what is sold"`
}

// PriceLines is a page of a price book.
type PriceLines struct {
	Book       PriceBook `json:"book"`
	Items      []Price   `json:"items" nullable:"false"`
	NextCursor string    `json:"next_cursor,omitempty"`
}

// PriceChange is a price that differs between two books.
type PriceChange struct {
	PriceKey
	Before *Money `json:"before,omitempty" doc:"Absent: the first book has none"`
	After  *Money `json:"after,omitempty" doc:"Absent: the second book has none"`
}

// PriceDiff is a page of what differs between two books.
type PriceDiff struct {
	From       PriceBook     `json:"from"`
	To         PriceBook     `json:"to"`
	Items      []PriceChange `json:"items" nullable:"false"`
	NextCursor string        `json:"next_cursor,omitempty"`
}

// PassedProducts are products of a price list that gave no price, all for one reason.
type PassedProducts struct {
	Reason     string          `json:"reason"`
	Understood bool            `json:"understood" doc:"false: nobody knows what it is, and its price is not guessed"`
	Count      int             `json:"count"`
	Products   []PassedProduct `json:"products" nullable:"false" doc:"The first of them"`
}

// PassedProduct is a product of a price list that gave no price.
type PassedProduct struct {
	SKU         string `json:"sku"`
	Description string `json:"description"`
}

// PriceMove is a WorkSpace whose monthly cost differs between two price books.
type PriceMove struct {
	WorkspaceID string `json:"workspace_id"`
	Name        string `json:"name"`
	UserID      string `json:"user_id"`
	TeamID      string `json:"team_id"`
	Before      *Money `json:"estimated_before,omitempty" doc:"Absent: it has no price"`
	After       *Money `json:"estimated_after,omitempty" doc:"Absent: it has no price"`
}

// TeamMove is what a team's WorkSpaces cost a month by two price books.
type TeamMove struct {
	TeamID     string `json:"team_id"`
	Name       string `json:"name"`
	Workspaces int    `json:"workspaces"`
	Before     Money  `json:"estimated_before"`
	After      Money  `json:"estimated_after"`
}

// PriceMoves says whose monthly cost moves.
type PriceMoves struct {
	Assumption string      `json:"assumption" doc:"What the estimates are for"`
	Workspaces int         `json:"workspaces" doc:"All that are live"`
	Lost       int         `json:"lost" doc:"Those that would be left without a price"`
	Gained     int         `json:"gained" doc:"Those that get their first price"`
	Unknown    int         `json:"unknown" doc:"Those that have no price in either book"`
	Before     Money       `json:"estimated_before" doc:"A month of all that have a price in both books"`
	After      Money       `json:"estimated_after"`
	Teams      []TeamMove  `json:"teams" nullable:"false" doc:"Those that something moves for"`
	Items      []PriceMove `json:"items" nullable:"false" doc:"The largest moves"`
	Truncated  bool        `json:"truncated" doc:"More WorkSpaces move than are named"`
}

// PriceImport is what an import made, or would make.
type PriceImport struct {
	DryRun           bool             `json:"dry_run"`
	Book             PriceBook        `json:"book"`
	Before           *PriceBook       `json:"before,omitempty" doc:"The book that would have been in force otherwise"`
	PublishedAt      *time.Time       `json:"published_at,omitempty" doc:"When Amazon published the list"`
	Products         int              `json:"products" doc:"How many the list has"`
	Prices           int              `json:"prices" doc:"How many of them are prices of WorkSpaces"`
	Carried          int              `json:"carried" doc:"Prices of the book before that the list does not speak of, which go on"`
	NotUnderstood    int              `json:"not_understood" doc:"Products that nobody knows what to make of"`
	Passed           []PassedProducts `json:"passed" nullable:"false"`
	Changed          int              `json:"changed" doc:"How many prices differ between both books"`
	Changes          []PriceChange    `json:"changes" nullable:"false" doc:"The first of them"`
	ChangesTruncated bool             `json:"changes_truncated"`
	Moves            PriceMoves       `json:"moves"`
	WouldBeRefused   string           `json:"would_be_refused,omitempty" doc:"Why an import that is no dry run would be refused"`
}

// PriceFetch asks for Amazon's present prices of a region.
type PriceFetch struct {
	Region         string     `json:"region" maxLength:"32" example:"us-east-1"`
	EffectiveFrom  *time.Time `json:"effective_from,omitempty" doc:"Absent: now"`
	HourRule       string     `json:"hour_rule,omitempty" enum:"session_ceil,clock_hour,second" doc:"Absent: as in the book before"`
	Source         string     `json:"source,omitempty" maxLength:"200" doc:"What to add to the source"`
	Alone          bool       `json:"alone,omitempty" doc:"Nothing of the book before goes on"`
	AcceptUnpriced bool       `json:"accept_unpriced,omitempty" doc:"Live WorkSpaces may be left without a price"`
}

// BreakEven says from how much running time on ALWAYS_ON is cheaper than AUTO_STOP.
type BreakEven struct {
	Region          string   `json:"region"`
	BundleType      string   `json:"bundle_type"`
	OperatingSystem string   `json:"operating_system"`
	License         string   `json:"license"`
	AlwaysOnMonth   *Money   `json:"always_on_month,omitempty"`
	AutoStopMonth   *Money   `json:"auto_stop_month,omitempty"`
	AutoStopHour    *Money   `json:"auto_stop_hour,omitempty"`
	MonthSeconds    *int64   `json:"month_seconds,omitempty" doc:"The running time of a whole month above which ALWAYS_ON is cheaper"`
	RestSeconds     *int64   `json:"rest_seconds,omitempty" doc:"The running time still to come this month above which it pays to switch to ALWAYS_ON now"`
	Missing         []string `json:"missing" nullable:"false" doc:"Prices that are not known, without which there is no break-even"`
}

// BreakEvenList is the break-evens of a price book at an instant.
type BreakEvenList struct {
	Book        PriceBook   `json:"book"`
	At          time.Time   `json:"at"`
	SecondsLeft int64       `json:"seconds_left" doc:"Of the month"`
	DaysInMonth int         `json:"days_in_month"`
	Items       []BreakEven `json:"items" nullable:"false"`
}
