package budget

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/notify"
	"github.com/robco-forge/forge/internal/postgres"
)

// The refusals of requests for more.
var (
	ErrRequestNotFound = fault.New(fault.NotFound, "BUDGET_REQUEST_NOT_FOUND", "there is no such request, or it is not yours to see")
	ErrRequestOwn      = fault.New(fault.Forbidden, "BUDGET_REQUEST_OWN", "nobody decides their own request", fault.Suggest("ask another lead, or finance"))
	ErrRequestDecided  = fault.New(fault.Conflict, "BUDGET_REQUEST_DECIDED", "the request is decided already", fault.Suggest("see `forge budgets requests`; ask again if it is needed"))
	ErrRequestExpired  = fault.New(fault.Conflict, "BUDGET_REQUEST_EXPIRED", "the time that the request was for is over", fault.Suggest("ask again with a later end"))
	ErrRequestPending  = fault.New(fault.Conflict, "BUDGET_REQUEST_PENDING", "you have asked for more of this budget already, and it is not decided yet",
		fault.Suggest("withdraw the first request, or wait until it is decided"))
	ErrRequestNothing = fault.New(fault.Invalid, "BUDGET_REQUEST_NOTHING", "a request is for more than nothing", fault.Suggest("say how much more is needed, such as 50.00"))
	ErrReason         = fault.New(fault.Invalid, "BUDGET_REASON_INVALID", "a request needs a reason of at most 500 characters")
	ErrUntil          = fault.New(fault.Invalid, "BUDGET_UNTIL_INVALID", "a loan ends in the future, within two years", fault.Suggest("give a later time, or none to keep it"))
	ErrNotSet         = fault.New(fault.Conflict, "BUDGET_NOT_SET", "there is no such budget that could be raised",
		fault.Suggest("ask your team lead or finance to set one"))
)

// maxReason is how long a reason or a note may be, in characters; maxLoan how far away a loan's end.
const (
	maxReason = 500
	maxLoan   = 2 * 366 * 24 * time.Hour
)

// RequestState is how far a request has come.
type RequestState string

// The states. A loan that is granted is Lent until it is Returned; what is granted for good is Approved.
const (
	Pending   RequestState = "PENDING"
	Approved  RequestState = "APPROVED"
	Lent      RequestState = "LENT"
	Returned  RequestState = "RETURNED"
	Declined  RequestState = "DECLINED"
	Withdrawn RequestState = "WITHDRAWN"
	Expired   RequestState = "EXPIRED"
)

// Request is somebody's wish that a budget be larger, by Asked.
type Request struct {
	ID          id.BudgetRequest
	BudgetID    id.Budget
	Scope       Scope
	ScopeID     string
	AskedBy     id.User
	TeamID      *id.Team
	Asked       money.USD
	AskedUntil  *time.Time
	Reason      string
	State       RequestState
	Granted     *money.USD
	Until       *time.Time
	DecidedBy   *id.User
	DecidedAt   *time.Time
	Note        string
	ReturnedAt  *time.Time
	CreatedAt   time.Time
	BudgetLimit money.USD // of the budget now
}

const requestColumns = `
	r.id, r.budget_id, b.scope, b.scope_id, r.asked_by, r.team_id, r.asked_micros AS asked, r.asked_until, r.reason, r.state,
	r.granted_micros AS granted, r.until, r.decided_by, r.decided_at, r.note, r.returned_at, r.created_at,
	b.amount_micros + b.lent_micros AS budget_limit
FROM budget_requests r JOIN user_budgets b ON b.id = r.budget_id`

// Wish is what a request asks for. Team is the budget's team, whose lead may decide; empty for the organisation.
type Wish struct {
	Scope   Scope
	ScopeID string
	Team    id.Team
	Amount  money.USD
	Reason  string
	Until   *time.Time // nil: for good
}

// Ask writes a request for more and tells those who decide.
func (b *Book) Ask(ctx context.Context, tx *audit.Tx, w Wish) (Request, error) {
	w.Reason = strings.TrimSpace(w.Reason)
	switch {
	case w.Amount == 0:
		return Request{}, ErrRequestNothing
	case w.Amount < 0 || w.Amount > money.Max:
		return Request{}, ErrAmount
	case w.Reason == "" || tooLong(w.Reason):
		return Request{}, ErrReason
	}
	until, err := end(tx.Now, w.Until)
	if err != nil {
		return Request{}, err
	}
	if err := lockDefinitions(ctx, tx, false); err != nil {
		return Request{}, err
	}
	about, err := Find(ctx, tx, w.Scope, w.ScopeID, tx.Now)
	if isNone(err) {
		return Request{}, ErrNotSet
	}
	if err != nil {
		return Request{}, err
	}
	if about.Amount+about.Lent+w.Amount > money.Max {
		return Request{}, ErrAmount
	}
	// One that is over stands in nobody's way, swept or not.
	if _, err := tx.Exec(ctx, `
		UPDATE budget_requests
		SET state = 'EXPIRED'
		WHERE budget_id = $1 AND asked_by = $2 AND state = 'PENDING' AND asked_until <= $3`, about.ID, tx.Actor.User, tx.Now); err != nil {
		return Request{}, err
	}
	request := id.New[id.BudgetRequest]()
	_, err = tx.Exec(ctx, `
		INSERT INTO budget_requests (id, budget_id, asked_by, team_id, asked_micros, asked_until, reason, created_at)
		VALUES ($1, $2, $3, nullif($4, ''), $5, $6, $7, $8)`, request, about.ID, tx.Actor.User, w.Team, w.Amount, until, w.Reason, tx.Now)
	if postgres.Violates(err, "budget_requests_pending_uq") {
		return Request{}, ErrRequestPending
	}
	if err != nil {
		return Request{}, err
	}
	tx.Record(audit.Event{Action: "budget.request", ResourceType: "budget_request", ResourceID: string(request), Details: map[string]any{
		"budget_id": string(about.ID), "amount_micros": audit.Microdollars(int64(w.Amount)), "until": stamp(until),
	}})
	m := notify.Message{Key: "budget.requested:" + string(request), Kind: "budget.requested", Payload: map[string]any{
		"request_id": string(request), "scope": string(w.Scope), "scope_id": w.ScopeID, "asked_by": string(tx.Actor.User),
		"amount": w.Amount.String(), "limit": about.Limit.String(), "reason": w.Reason,
	}}
	if until != nil {
		m.Payload["until"] = stamp(until)
	}
	// A lead decides about their members; what a lead asks for themselves, and every other budget, is finance's.
	if w.Scope == User && tx.Actor.Role != actor.TeamLead {
		m.Team = w.Team
		err = notify.Enqueue(ctx, tx, m)
	} else {
		err = notify.EnqueueRole(ctx, tx, actor.Finance, m)
	}
	if err != nil {
		return Request{}, err
	}
	return FindRequest(ctx, tx, request, tx.Now)
}

func tooLong(text string) bool { return utf8.RuneCountInString(text) > maxReason }

// end is a loan's end, to the microsecond.
func end(now time.Time, until *time.Time) (*time.Time, error) {
	if until == nil {
		return nil, nil
	}
	t := until.UTC().Truncate(time.Microsecond)
	if !t.After(now) || t.Sub(now) > maxLoan {
		return nil, ErrUntil
	}
	return &t, nil
}

func stamp(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// shown is a request as it is at a time: one that nobody has decided in time is over, swept or not.
func (r Request) shown(now time.Time) Request {
	if r.State == Pending && r.AskedUntil != nil && !r.AskedUntil.After(now) {
		r.State = Expired
	}
	return r
}

// FindRequest is one request; ErrRequestNotFound if there is none.
func FindRequest(ctx context.Context, q postgres.Querier, request id.BudgetRequest, now time.Time) (Request, error) {
	r, err := postgres.One[Request](ctx, q, `SELECT`+requestColumns+` WHERE r.id = $1`, request)
	if isNone(err) {
		return r, ErrRequestNotFound
	}
	return r.shown(now), err
}

// RequestFilter is which requests are listed: all, or a team's and one's own.
type RequestFilter struct {
	All    bool
	User   id.User
	Team   id.Team // may be empty
	ID     id.BudgetRequest
	State  RequestState
	Before string // the id of the last one on the page before
	Limit  int
}

// Requests lists requests, the newest first.
func Requests(ctx context.Context, q postgres.Querier, f RequestFilter, now time.Time) ([]Request, error) {
	found, err := postgres.Many[Request](ctx, q, `SELECT`+requestColumns+`
		WHERE ($1 OR r.asked_by = $2 OR b.scope = 'USER' AND b.scope_id = $2 OR r.team_id = nullif($3, ''))
		  AND ($4 = '' OR r.id = $4)
		  AND ($5 = '' OR $5 = CASE WHEN r.state = 'PENDING' AND r.asked_until <= $8 THEN 'EXPIRED' ELSE r.state END)
		  AND ($6 = '' OR r.id < $6)
		ORDER BY r.id DESC
		LIMIT $7`, f.All, f.User, f.Team, f.ID, f.State, f.Before, f.Limit, now)
	for i := range found {
		found[i] = found[i].shown(now)
	}
	return found, err
}

// Decision is what somebody says to a request. A nil Amount or Until is what was asked for; Forever grants it for good
// whatever was asked for.
type Decision struct {
	Amount  *money.USD
	Until   *time.Time
	Forever bool
	Note    string
}

// undecided locks a request that is to be decided.
func undecided(ctx context.Context, tx *audit.Tx, request id.BudgetRequest) (Request, error) {
	if err := lockDefinitions(ctx, tx, false); err != nil {
		return Request{}, err
	}
	r, err := postgres.One[Request](ctx, tx, `SELECT`+requestColumns+` WHERE r.id = $1 FOR UPDATE OF r`, request)
	if isNone(err) {
		return r, ErrRequestNotFound
	}
	if err != nil {
		return r, err
	}
	switch r = r.shown(tx.Now); r.State {
	case Pending:
		return r, nil
	case Expired:
		return r, ErrRequestExpired.Detail("asked_until", stamp(r.AskedUntil))
	case Approved, Lent, Returned, Declined, Withdrawn:
	}
	return r, ErrRequestDecided.Sayf("the request is %s already", strings.ToLower(string(r.State))).Detail("state", string(r.State))
}

// mayDecide says who may: not who asked, not who would get it, and a lead for members only (budget.MayLeadSet).
func mayDecide(ctx context.Context, tx *audit.Tx, r Request, limit money.USD) error {
	if tx.Actor.User == r.AskedBy {
		return ErrRequestOwn
	}
	var team id.Team
	if r.TeamID != nil {
		team = *r.TeamID
	}
	return MayLeadSet(ctx, tx, tx.Actor, Setting{Scope: r.Scope, ScopeID: r.ScopeID, Amount: limit}, team, tx.Now)
}

// Approve grants a request: for good, or as a loan that comes back by itself.
func (b *Book) Approve(ctx context.Context, tx *audit.Tx, request id.BudgetRequest, d Decision) (Request, error) {
	r, err := undecided(ctx, tx, request)
	if err != nil {
		return r, err
	}
	granted, until := r.Asked, r.AskedUntil
	if d.Amount != nil {
		granted = *d.Amount
	}
	switch {
	case granted == 0:
		return r, ErrRequestNothing.Suggestf("decline it instead")
	case granted < 0 || granted > money.Max:
		return r, ErrAmount
	case tooLong(d.Note):
		return r, ErrReason.Sayf("a note has at most %d characters", maxReason)
	}
	if d.Until != nil {
		if until, err = end(tx.Now, d.Until); err != nil {
			return r, err
		}
	}
	if d.Forever {
		until = nil
	}
	about, err := b.define(ctx, tx, string(r.BudgetID))
	if err != nil {
		return r, err
	}
	if !about.until().After(tx.Now) {
		return r, ErrEnded
	}
	amount, lent := about.AmountMicros, about.LentMicros
	if amount+lent+granted > money.Max {
		return r, ErrAmount
	}
	if err := mayDecide(ctx, tx, r, amount+lent+granted); err != nil {
		return r, err
	}
	state, cause := Approved, "request"
	if until != nil {
		state, cause = Lent, "loan"
		lent += granted
	} else {
		amount += granted
	}
	if _, err := b.redefine(ctx, tx, about, amount, lent, cause, request); err != nil {
		return r, err
	}
	if _, err := tx.Exec(ctx, `
		UPDATE budget_requests
		SET state = $2, granted_micros = $3, until = $4, decided_by = $5, decided_at = $6, note = $7
		WHERE id = $1`, request, state, granted, until, tx.Actor.User, tx.Now, d.Note); err != nil {
		return r, err
	}
	tx.Record(audit.Event{Action: "budget.approve", ResourceType: "budget_request", ResourceID: string(request), Details: map[string]any{
		"budget_id": string(r.BudgetID), "asked_micros": audit.Microdollars(int64(r.Asked)), "granted_micros": audit.Microdollars(int64(granted)),
		"limit_micros": audit.Microdollars(int64(amount + lent)), "until": stamp(until),
	}})
	payload := r.payload(tx)
	payload["amount"], payload["limit"] = granted.String(), (amount + lent).String()
	if granted != r.Asked {
		payload["asked"] = r.Asked.String()
	}
	if until != nil {
		payload["until"] = stamp(until)
	}
	if d.Note != "" {
		payload["note"] = d.Note
	}
	if err := notify.Enqueue(ctx, tx, notify.Message{
		Key: "budget.request_approved:" + string(request), Kind: "budget.request_approved", User: r.AskedBy, Payload: payload,
	}); err != nil {
		return r, err
	}
	return FindRequest(ctx, tx, request, tx.Now)
}

func (r Request) payload(tx *audit.Tx) map[string]any {
	return map[string]any{"request_id": string(r.ID), "scope": string(r.Scope), "scope_id": r.ScopeID, "decided_by": string(tx.Actor.User)}
}

// redefine gives a locked budget another amount and other loans, now and in the period that is open.
func (b *Book) redefine(ctx context.Context, tx *audit.Tx, d definition, amount, lent money.USD, cause string, request id.BudgetRequest) (*balance, error) {
	bal, err := b.open(ctx, tx, d) // with the limit before
	if err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, `
		UPDATE user_budgets
		SET amount_micros = $2, lent_micros = $3, updated_at = $4, version = version + 1
		WHERE id = $1`, d.ID, amount, lent, tx.Now); err != nil {
		return nil, err
	}
	if err := keepVersion(ctx, tx, d.ID, cause, request); err != nil || !d.until().After(clock.StartOfMonth(tx.Now)) {
		return bal, err // what is over stays as it was
	}
	return bal, relimit(ctx, tx, bal, amount+lent, cause+" "+string(request))
}

// open is the balance of a locked budget in the present month, or in the nearest in which it counts.
func (b *Book) open(ctx context.Context, tx *audit.Tx, d definition) (*balance, error) {
	month, err := presentMonth(ctx, tx, []string{d.ID})
	if err != nil {
		return nil, err
	}
	balances, err := b.balances(ctx, tx, []definition{d}, d.near(month))
	if err != nil {
		return nil, err
	}
	return balances[0], nil
}

// Decline refuses a request.
func (b *Book) Decline(ctx context.Context, tx *audit.Tx, request id.BudgetRequest, note string) (Request, error) {
	r, err := undecided(ctx, tx, request)
	if err != nil {
		return r, err
	}
	if tooLong(note) {
		return r, ErrReason.Sayf("a note has at most %d characters", maxReason)
	}
	if tx.Actor.User == r.AskedBy {
		return r, ErrRequestOwn
	}
	if _, err := tx.Exec(ctx, `
		UPDATE budget_requests
		SET state = 'DECLINED', decided_by = $2, decided_at = $3, note = $4
		WHERE id = $1`, request, tx.Actor.User, tx.Now, note); err != nil {
		return r, err
	}
	tx.Record(audit.Event{Action: "budget.decline", ResourceType: "budget_request", ResourceID: string(request), Details: map[string]any{
		"budget_id": string(r.BudgetID), "asked_micros": audit.Microdollars(int64(r.Asked)),
	}})
	payload := r.payload(tx)
	payload["amount"] = r.Asked.String()
	if note != "" {
		payload["note"] = note
	}
	if err := notify.Enqueue(ctx, tx, notify.Message{
		Key: "budget.request_declined:" + string(request), Kind: "budget.request_declined", User: r.AskedBy, Payload: payload,
	}); err != nil {
		return r, err
	}
	return FindRequest(ctx, tx, request, tx.Now)
}

// Withdraw takes a request back; only who has asked may.
func (b *Book) Withdraw(ctx context.Context, tx *audit.Tx, request id.BudgetRequest) (Request, error) {
	r, err := undecided(ctx, tx, request)
	if err != nil {
		return r, err
	}
	if r.AskedBy != tx.Actor.User {
		return r, ErrRequestNotFound
	}
	if _, err := tx.Exec(ctx, `UPDATE budget_requests SET state = 'WITHDRAWN' WHERE id = $1`, request); err != nil {
		return r, err
	}
	tx.Record(audit.Event{Action: "budget.withdraw", ResourceType: "budget_request", ResourceID: string(request), Details: map[string]any{
		"budget_id": string(r.BudgetID),
	}})
	return FindRequest(ctx, tx, request, tx.Now)
}

// ReturnLoan ends one loan whose time has come, if there is any, and ends requests that nobody has decided in time. It
// returns how many it ended. Any number of processes may call it: each loan is ended once.
func (b *Book) ReturnLoan(ctx context.Context, tx *audit.Tx) (int, error) {
	if err := lockDefinitions(ctx, tx, false); err != nil {
		return 0, err
	}
	over, err := postgres.Many[struct{ ID id.BudgetRequest }](ctx, tx, `
		UPDATE budget_requests
		SET state = 'EXPIRED'
		WHERE id IN (SELECT id FROM budget_requests WHERE state = 'PENDING' AND asked_until <= $1 ORDER BY asked_until LIMIT 100 FOR UPDATE SKIP LOCKED)
		RETURNING id`, tx.Now)
	if err != nil {
		return 0, err
	}
	for _, r := range over {
		tx.Record(audit.Event{Action: "budget.request_expired", ResourceType: "budget_request", ResourceID: string(r.ID)})
	}
	r, err := postgres.One[Request](ctx, tx, `SELECT`+requestColumns+`
		WHERE r.state = 'LENT' AND r.until <= $1
		ORDER BY r.until, r.id
		LIMIT 1
		FOR UPDATE OF r SKIP LOCKED`, tx.Now)
	if isNone(err) {
		return len(over), nil
	}
	if err != nil {
		return 0, err
	}
	about, err := b.define(ctx, tx, string(r.BudgetID))
	if err != nil {
		return 0, err
	}
	bal, err := b.redefine(ctx, tx, about, about.AmountMicros, about.LentMicros-*r.Granted, "loan_ended", r.ID)
	if err != nil {
		return 0, err
	}
	if _, err := tx.Exec(ctx, `UPDATE budget_requests SET state = 'RETURNED', returned_at = $2 WHERE id = $1`, r.ID, tx.Now); err != nil {
		return 0, err
	}
	tx.Record(audit.Event{Action: "budget.loan_ended", ResourceType: "budget_request", ResourceID: string(r.ID), Details: map[string]any{
		"budget_id": string(r.BudgetID), "returned_micros": audit.Microdollars(int64(*r.Granted)),
		"limit_micros": audit.Microdollars(int64(bal.LimitMicros)), "overrun_micros": audit.Microdollars(int64(bal.OverrunMicros)),
	}})
	payload := map[string]any{
		"scope": string(r.Scope), "scope_id": r.ScopeID, "limit": bal.LimitMicros.String(),
		"settled": bal.SettledMicros.String(), "held": bal.HeldMicros.String(),
	}
	if bal.OverrunMicros > 0 {
		payload["overrun"] = bal.OverrunMicros.String()
	}
	if err := notify.Enqueue(ctx, tx, notify.Message{
		Key: "budget.loan_ended:" + string(r.ID), Kind: "budget.loan_ended", User: r.AskedBy, Payload: payload,
	}); err != nil {
		return 0, err
	}
	if !about.until().After(clock.StartOfMonth(tx.Now)) {
		return len(over) + 1, nil
	}
	return len(over) + 1, crossings(ctx, tx, bal, r.concerned())
}

// concerned is whom a crossing is told to that no WorkSpace has caused.
func (r Request) concerned() Payer {
	p := Payer{User: r.AskedBy}
	if r.Scope == User {
		p.User = id.User(r.ScopeID)
	}
	if r.TeamID != nil {
		p.Team = *r.TeamID
	}
	return p
}
