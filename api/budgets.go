package api

import "time"

// BudgetRequestCreate asks for more of a budget.
type BudgetRequestCreate struct {
	Scope   string     `json:"scope,omitempty" enum:"ORGANISATION,TEAM,PROJECT,USER" doc:"Left out with scope_id: your own budget"`
	ScopeID string     `json:"scope_id,omitempty" maxLength:"64" doc:"Id or name"`
	Amount  string     `json:"amount" minLength:"1" maxLength:"24" example:"50.00" doc:"How much more, in USD"`
	Reason  string     `json:"reason" minLength:"1" maxLength:"2000" doc:"At most 500 characters"`
	Until   *time.Time `json:"until,omitempty" doc:"A loan until then, which goes back by itself; left out: for good"`
}

// BudgetRequestApprove grants a request, or something else than was asked for.
type BudgetRequestApprove struct {
	Amount  string     `json:"amount,omitempty" maxLength:"24" doc:"How much more, in USD; what was asked for when left out"`
	Until   *time.Time `json:"until,omitempty" doc:"A loan until then; what was asked for when left out"`
	Forever bool       `json:"forever,omitempty" doc:"For good, although a loan was asked for"`
	Note    string     `json:"note,omitempty" maxLength:"2000" doc:"For who has asked; at most 500 characters"`
}

// BudgetRequestDecline refuses a request.
type BudgetRequestDecline struct {
	Note string `json:"note,omitempty" maxLength:"2000" doc:"For who has asked; at most 500 characters"`
}

// BudgetRequest is somebody's wish that a budget be larger.
type BudgetRequest struct {
	ID          string     `json:"id" example:"brq_01jd8x5qf8e2x9v7m3k4n5p6q7"`
	BudgetID    string     `json:"budget_id"`
	Scope       string     `json:"scope" enum:"ORGANISATION,TEAM,PROJECT,USER"`
	ScopeID     string     `json:"scope_id"`
	Name        string     `json:"name,omitempty" doc:"Of whom the budget is"`
	BudgetLimit Money      `json:"budget_limit" doc:"The budget's limit now"`
	AskedBy     string     `json:"asked_by"`
	AskedByName string     `json:"asked_by_name,omitempty"`
	Amount      Money      `json:"amount" doc:"How much more was asked for"`
	AskedUntil  *time.Time `json:"asked_until,omitempty"`
	Reason      string     `json:"reason"`
	State       string     `json:"state" enum:"PENDING,APPROVED,LENT,RETURNED,DECLINED,WITHDRAWN,EXPIRED" doc:"LENT: granted until a time; RETURNED: that time has come. EXPIRED: nobody decided while it was for"`
	Granted     *Money     `json:"granted,omitempty"`
	Until       *time.Time `json:"until,omitempty" doc:"Until when it is lent"`
	DecidedBy   string     `json:"decided_by,omitempty"`
	DecidedName string     `json:"decided_by_name,omitempty"`
	DecidedAt   *time.Time `json:"decided_at,omitempty"`
	Note        string     `json:"note,omitempty"`
	ReturnedAt  *time.Time `json:"returned_at,omitempty"`
	CreatedAt   time.Time  `json:"created_at"`
}

// BudgetRequestList is a page of requests.
type BudgetRequestList struct {
	Items      []BudgetRequest `json:"items" nullable:"false"`
	NextCursor string          `json:"next_cursor,omitempty"`
}

// BudgetEntry is one movement of a budget's balance; the amounts are what it changed.
type BudgetEntry struct {
	Number      int64     `json:"number"`
	PeriodStart time.Time `json:"period_start"`
	Version     int64     `json:"version" doc:"Of the balance, after it"`
	At          time.Time `json:"at"`
	Kind        string    `json:"kind" enum:"open,limit,hold,renew,resize,release,charge,carry"`
	WorkspaceID string    `json:"workspace_id,omitempty"`
	Limit       Money     `json:"limit"`
	Settled     Money     `json:"settled"`
	Held        Money     `json:"held"`
	Overrun     Money     `json:"overrun"`
	Reason      string    `json:"reason,omitempty"`
}

// BudgetEntryList is a page of movements, the newest first.
type BudgetEntryList struct {
	Items      []BudgetEntry `json:"items" nullable:"false"`
	NextCursor string        `json:"next_cursor,omitempty"`
}

// BudgetVersion is what a budget was from a time on.
type BudgetVersion struct {
	Version         int64     `json:"version"`
	At              time.Time `json:"at"`
	SetBy           string    `json:"set_by"`
	SetByName       string    `json:"set_by_name,omitempty"`
	Cause           string    `json:"cause" enum:"set,request,loan,loan_ended,template,ended"`
	RequestID       string    `json:"request_id,omitempty"`
	Amount          Money     `json:"amount"`
	Lent            Money     `json:"lent" doc:"For a time, on top of the amount"`
	Period          string    `json:"period"`
	FirstMonth      string    `json:"first_month"`
	LastMonth       string    `json:"last_month,omitempty"`
	WarningPercents []int     `json:"warning_percents" nullable:"false"`
	Enforcement     string    `json:"enforcement"`
}

// BudgetVersionList is a page of a budget's history, the newest first.
type BudgetVersionList struct {
	Items      []BudgetVersion `json:"items" nullable:"false"`
	NextCursor string          `json:"next_cursor,omitempty"`
}

// BudgetDifference is where the books do not agree with themselves.
type BudgetDifference struct {
	BudgetID    string    `json:"budget_id"`
	Scope       string    `json:"scope"`
	ScopeID     string    `json:"scope_id"`
	PeriodStart time.Time `json:"period_start"`
	What        string    `json:"what" enum:"limit,settled,held,overrun,balance_version,entries,beyond_limit,holds,definition" doc:"The first four, balance_version and entries: from the entries. beyond_limit: overrun is not what lies beyond the limit; holds: what is held is not what WorkSpaces hold; definition: the limit is not what the budget was set to"`
	Stored      string    `json:"stored"`
	Rebuilt     string    `json:"rebuilt"`
}

// BudgetAudit is whether the balances are what their entries say.
type BudgetAudit struct {
	Budgets     int64              `json:"budgets"`
	Periods     int64              `json:"periods"`
	Entries     int64              `json:"entries"`
	Differences []BudgetDifference `json:"differences" nullable:"false" doc:"At most 1000"`
}

// BudgetCheck asks what a WorkSpace would do to the budgets.
type BudgetCheck struct {
	WorkspaceCreate
	Hours *int64 `json:"hours,omitempty" minimum:"0" maximum:"8784" doc:"How long it is to run until the end of the month"`
}

// BudgetRaise is how much more a budget needs, and who can grant it.
type BudgetRaise struct {
	BudgetID  string   `json:"budget_id"`
	Scope     string   `json:"scope"`
	ScopeID   string   `json:"scope_id"`
	By        Money    `json:"by"`
	GrantedBy []string `json:"granted_by" nullable:"false" doc:"Roles; team_lead is that of the team, within its limit"`
}

// BudgetChange is a change that would turn the verdict to admitted.
type BudgetChange struct {
	Kind        string        `json:"kind" enum:"running_mode,bundle,hours,raise,set_budget"`
	Text        string        `json:"text"`
	BundleType  string        `json:"bundle_type,omitempty"`
	RunningMode string        `json:"running_mode,omitempty"`
	Hours       *int64        `json:"hours,omitempty" doc:"At most so long"`
	Raises      []BudgetRaise `json:"raises,omitempty" doc:"All of them are needed"`
}

// BudgetHeadroom is what one budget has left before the request.
type BudgetHeadroom struct {
	BudgetID    string `json:"budget_id"`
	Scope       string `json:"scope"`
	ScopeID     string `json:"scope_id"`
	Name        string `json:"name,omitempty"`
	Enforcement string `json:"enforcement"`
	Limit       Money  `json:"limit"`
	Settled     Money  `json:"settled"`
	Held        Money  `json:"held"`
	Available   Money  `json:"available"`
	Missing     Money  `json:"missing" doc:"How much more it would take; zero: none"`
}

// BudgetRefusal is why it would be refused: word by word what the real request would be told.
type BudgetRefusal struct {
	Code            string         `json:"code"`
	Detail          string         `json:"detail"`
	SuggestedAction string         `json:"suggested_action,omitempty"`
	Details         map[string]any `json:"details,omitempty"`
}

// BudgetVerdict is what a WorkSpace would do to the budgets. Nothing was reserved.
type BudgetVerdict struct {
	Verdict  string           `json:"verdict" enum:"admitted,runs_out,refused" doc:"runs_out: it would be admitted, and the money does not last for the hours"`
	Estimate Estimate         `json:"estimate"`
	Budgets  []BudgetHeadroom `json:"budgets" nullable:"false"`
	Expected *Money           `json:"expected,omitempty" doc:"What it costs until the end of the month, with the hours given"`
	Hours    *int64           `json:"hours,omitempty" doc:"How many running hours the budgets have room for"`
	Refusal  *BudgetRefusal   `json:"refusal,omitempty"`
	Changes  []BudgetChange   `json:"changes" nullable:"false" doc:"What would turn the verdict, the smallest first"`
}

// BudgetTemplateSet makes or changes the budget of everybody who has none of their own.
type BudgetTemplateSet struct {
	Role            string `json:"role,omitempty" enum:"engineer,contractor,team_lead,finance,auditor,admin" doc:"Of which role; any when left out"`
	Team            string `json:"team,omitempty" maxLength:"64" doc:"Of which team, by id or name; any when left out"`
	Amount          string `json:"amount" minLength:"1" maxLength:"24" example:"400.00" doc:"USD a period for each of them; zero admits nothing"`
	Period          string `json:"period,omitempty" enum:"MONTHLY,QUARTERLY,YEARLY" doc:"MONTHLY when left out"`
	WarningPercents []int  `json:"warning_percents,omitempty" maxItems:"10" doc:"From 1 to 99; 80 when left out" nullable:"false"`
	Enforcement     string `json:"enforcement,omitempty" enum:"block,block_and_stop,warn"`
	AcceptOverrun   bool   `json:"accept_overrun,omitempty" doc:"Allow an amount below what is spent or reserved already under a budget that follows it"`
}

// BudgetTemplate is the budget of everybody who has none of their own. Of several, the one that says most counts: team and
// role, team, role, all.
type BudgetTemplate struct {
	ID              string    `json:"id" example:"btp_01jd8x5qf8e2x9v7m3k4n5p6q7"`
	Role            string    `json:"role,omitempty"`
	TeamID          string    `json:"team_id,omitempty"`
	TeamName        string    `json:"team_name,omitempty"`
	Amount          Money     `json:"amount"`
	Period          string    `json:"period"`
	WarningPercents []int     `json:"warning_percents" nullable:"false"`
	Enforcement     string    `json:"enforcement"`
	Budgets         int64     `json:"budgets" doc:"How many follow it: those that nobody has set since"`
	UpdatedAt       time.Time `json:"updated_at"`
	Version         int64     `json:"version"`
}

// BudgetTemplateList is all templates, those first that say most.
type BudgetTemplateList struct {
	Items []BudgetTemplate `json:"items" nullable:"false"`
}

// BudgetTemplateEnded says which template counts no more.
type BudgetTemplateEnded struct {
	ID string `json:"id"`
}
