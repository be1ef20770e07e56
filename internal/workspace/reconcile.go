package workspace

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/notify"
	"github.com/robco-forge/forge/internal/postgres"
)

const (
	// LeaseTime is how long a replica may keep a row to itself: what a crash costs at the most.
	LeaseTime = 20 * time.Second
	// callTime bounds all calls to the provider for one row, well within the lease.
	callTime = 12 * time.Second
	// BatchSize is Amazon's limit for one describe.
	BatchSize = 25
	// steps bounds what may follow from one look.
	steps = 8
)

// Reconciler brings due WorkSpaces to what is desired of them. Any number may run, in any number of processes.
type Reconciler struct {
	Fleet *Fleet
	Log   *audit.Log
	Clock clock.Clock
	Slog  *slog.Logger
	// Provisioned hears of each WorkSpace that became AVAILABLE for the first time; nil is nobody.
	Provisioned func(Provisioning)
}

// Round takes due WorkSpaces a step further and returns how many it took: up to BatchSize of those that the provider
// knows, which are looked at together, and one that it does not know yet, which is looked for by itself.
func (r *Reconciler) Round(ctx context.Context) (int, error) {
	known, err := r.claim(ctx, `provider_id IS NOT NULL`, BatchSize)
	if err != nil {
		return 0, err
	}
	r.together(ctx, known)
	unknown, err := r.claim(ctx, `provider_id IS NULL`, 1)
	if err != nil {
		return len(known), err
	}
	for i := range unknown {
		r.told(ctx, &unknown[i], r.make(ctx, &unknown[i]))
	}
	return len(known) + len(unknown), nil
}

// claim takes due rows for LeaseTime. Rows that others work on are passed over. An array is looked up row by row; IN may be
// joined, which in a prepared statement, whose limit is not known, reads the whole table.
func (r *Reconciler) claim(ctx context.Context, which string, limit int) ([]WorkSpace, error) {
	now := r.Clock()
	return postgres.Many[WorkSpace](ctx, r.Log.Pool(), `
		UPDATE workspaces
		SET lease_token = $1, lease_until = $2
		WHERE id = ANY(ARRAY(
			SELECT id
			FROM workspaces
			WHERE next_due_at <= $3 AND (lease_until IS NULL OR lease_until <= $3) AND `+which+`
			ORDER BY next_due_at
			LIMIT $4
			FOR UPDATE SKIP LOCKED))
		RETURNING`+columns, "lease_"+id.Unique(), now.Add(LeaseTime), now, limit)
}

// told writes down that a step failed; what is to be done about it is on the row.
func (r *Reconciler) told(ctx context.Context, w *WorkSpace, err error) {
	var pe *ProviderError
	switch {
	case err == nil, errors.Is(err, errLost):
	case errors.As(err, &pe) && pe.Class == Throttled:
		r.Slog.DebugContext(ctx, "reconcile", "workspace", w.ID, "state", w.State, "error", err)
	default:
		r.Slog.WarnContext(ctx, "reconcile", "workspace", w.ID, "state", w.State, "error", err)
	}
}

func (r *Reconciler) times() times { return timesAt(r.Fleet.Speed) }

// together looks at claimed WorkSpaces region by region, and asks for the same thing for many in one call.
func (r *Reconciler) together(ctx context.Context, claimed []WorkSpace) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	regions := map[string][]*WorkSpace{}
	for i := range claimed {
		regions[claimed[i].Region] = append(regions[claimed[i].Region], &claimed[i])
	}
	for region, rows := range regions {
		ids := make([]string, len(rows))
		for i, w := range rows {
			ids[i] = *w.ProviderID
		}
		found, err := r.Fleet.Provider.Describe(r.class(ctx, rows), region, ids)
		if err != nil {
			for _, w := range rows {
				r.told(ctx, w, r.later(ctx, w, err))
			}
			continue
		}
		doubtful := r.doubtful(ctx, region, rows, found)
		asks := map[action][]*WorkSpace{}
		for _, w := range rows {
			l := look{doubtful: doubtful}
			if o, ok := found[*w.ProviderID]; ok {
				l.found = &o
			}
			now, act, err := r.settle(ctx, w, l)
			r.told(ctx, w, err)
			if err == nil && act != rest {
				asks[act] = append(asks[act], now)
			}
		}
		for act, rows := range asks {
			r.perform(ctx, act, rows)
		}
	}
}

// class marks the look at WorkSpaces that are all at rest as one that can wait for what people wait for.
func (r *Reconciler) class(ctx context.Context, rows []*WorkSpace) context.Context {
	for _, w := range rows {
		if w.State != Available && w.State != Stopped || w.Asked != "" || w.Desired == WantTerminated {
			return ctx
		}
	}
	return AsSweep(ctx)
}

// doubtful tells whether more than a fifth of what must be there is missing: then the sight is wrong rather than they gone.
func (r *Reconciler) doubtful(ctx context.Context, region string, rows []*WorkSpace, found map[string]Observation) bool {
	var expected, absent int
	for _, w := range rows {
		if w.State == Terminating || w.Asked == string(terminate) || w.Replacing {
			continue
		}
		expected++
		if _, ok := found[*w.ProviderID]; !ok {
			absent++
		}
	}
	if absent < 3 || absent*5 <= expected {
		return false
	}
	r.Slog.WarnContext(ctx, "many WorkSpaces are missing at once; nothing is concluded from that yet", "region", region, "missing", absent, "of", expected)
	return true
}

// make looks for a WorkSpace that has no id, and asks for it if it is not there.
func (r *Reconciler) make(ctx context.Context, w *WorkSpace) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	if w.Asked == "" && w.Desired != WantTerminated {
		wait, err := r.Fleet.heldFor(ctx, r.Log.Pool(), w, r.Clock())
		if err != nil || wait > 0 {
			return errors.Join(err, r.rest(ctx, w, wait))
		}
	}
	if w.State == Conflict {
		ctx = AsSweep(ctx) // it waits for an operator, not for us
	}
	l, err := r.find(ctx, w)
	if err != nil {
		return r.later(ctx, w, err)
	}
	now, act, err := r.settle(ctx, w, l)
	if err != nil || act == rest {
		return err
	}
	if act != create {
		r.perform(ctx, act, []*WorkSpace{now})
		return nil
	}
	return r.create(ctx, now)
}

// find looks by directory and user.
func (r *Reconciler) find(ctx context.Context, w *WorkSpace) (look, error) {
	found, err := r.Fleet.Provider.Find(ctx, w.Region, w.DirectoryID, w.DirectoryUser)
	l := look{confirmed: true}
	for i := range found {
		if found[i].Intent == w.ID {
			l.found = &found[i]
		} else {
			p := r.Fleet.Provider
			l.stranger, l.handOver, l.disown = &found[i], p.HandOver(w.Region, found[i].ProviderID, w.ID), p.Disown(w.Region, found[i].ProviderID)
		}
	}
	return l, err
}

// settle writes down what follows from a look, one thing after the other, until there is something to ask of the provider,
// which it returns with the row as it is then, or nothing, and then it has given the row back.
func (r *Reconciler) settle(ctx context.Context, w *WorkSpace, l look) (*WorkSpace, action, error) {
	for range steps {
		d := r.times().decide(w, l, r.Clock())
		switch d.do {
		case rest:
			if now := r.Clock(); l.found != nil {
				w.ObservedAt = &now
			}
			return w, rest, r.rest(ctx, w, d.after)
		case confirm:
			confirmed, err := r.find(ctx, w)
			if err != nil {
				return w, rest, r.later(ctx, w, err)
			}
			l.confirmed = true
			if confirmed.found != nil {
				l.found = confirmed.found
			}
		case note:
			now, err := r.note(ctx, w, l)
			if err != nil {
				return w, rest, err
			}
			if w.ProviderID != nil && now.ProviderID == nil {
				// What was seen was seen of the one that is gone.
				return now, rest, r.rest(ctx, now, 0)
			}
			w = now
		case create, replace, start, stop, terminate, setAutoStop:
			ok, err := r.mark(ctx, w, d.do)
			if err != nil || !ok {
				return w, rest, errors.Join(err, r.rest(ctx, w, 0))
			}
			return w, d.do, nil
		}
	}
	return w, rest, errors.Join(errors.New("workspace: one look has too many consequences"), r.rest(ctx, w, r.times().most))
}

// errLost says that the lease has passed to somebody else, who will do what is left.
var errLost = errors.New("workspace: the lease was lost")

// change runs fn on the WorkSpace as it is now, if the lease is still held.
func (r *Reconciler) change(ctx context.Context, claimed *WorkSpace, kind string, fn func(*audit.Tx, *WorkSpace) error) (*WorkSpace, error) {
	var now *WorkSpace
	in := audit.Intent{Action: "workspace." + kind, ResourceType: "workspace", ResourceID: string(claimed.ID)}
	err := r.Log.Change(ctx, in, func(tx *audit.Tx) error {
		w, err := get(ctx, tx, claimed.ID, "FOR UPDATE")
		if err != nil {
			return err
		}
		if w.LeaseToken == nil || *w.LeaseToken != *claimed.LeaseToken {
			return errLost
		}
		now = w
		return fn(tx, w)
	})
	return now, err
}

// note writes down what follows from what was seen, with the meters, the holds and the messages that go with it, and returns
// the WorkSpace as it is then. The row may have changed since it was claimed: what follows is decided again on it as it is.
func (r *Reconciler) note(ctx context.Context, w *WorkSpace, l look) (*WorkSpace, error) {
	now, err := r.change(ctx, w, "observe", func(tx *audit.Tx, w *WorkSpace) error {
		d := r.times().decide(w, l, tx.Now)
		if d.do != note {
			return audit.ErrNothing
		}
		return r.enter(ctx, tx, w, l, d)
	})
	if errors.Is(err, audit.ErrNothing) {
		err = nil
	}
	return now, err
}

// enter brings a decision onto the locked row.
func (r *Reconciler) enter(ctx context.Context, tx *audit.Tx, w *WorkSpace, l look, d decision) error {
	before, flagged := w.State, w.Flag
	gone := w.ProviderID
	d.apply(w, l, tx.Now)
	if err := r.account(ctx, tx, w, before); err != nil {
		return err
	}
	details := map[string]any{"observed": w.ObservedState, "provider_id": deref(w.ProviderID)}
	if d.cleared {
		details["replaced"] = deref(gone)
	}
	if w.Flag != "" && w.Flag != flagged {
		details["flag"] = w.Flag
	}
	if d.code != "" {
		details["code"] = d.code
	}
	if d.missed {
		details["missed"] = w.Missed
	}
	if err := r.tell(ctx, tx, w, before, flagged); err != nil {
		return err
	}
	w.NextDueAt = &tx.Now
	return save(ctx, tx, w, before, "observe", d.reason, details)
}

// tell lets people know of what they must: that something is stuck, speaks the wrong protocol, or came to a bad end.
func (r *Reconciler) tell(ctx context.Context, tx *audit.Tx, w *WorkSpace, before State, flagged string) error {
	var kind string
	switch {
	case w.Flag != "" && w.Flag != flagged:
		kind = "workspace." + map[string]string{FlagStuck: "stuck", FlagProtocol: "protocol"}[w.Flag]
	case w.State != before && w.State == Conflict:
		kind = "workspace.conflict"
	case w.State != before && w.State == Failed:
		kind = "workspace.failed"
	case w.State != before && w.State == Terminated && w.Desired != WantTerminated:
		kind = "workspace.terminated_outside"
	default:
		return nil
	}
	m := notify.Message{
		Key: kind + ":" + string(w.ID) + ":" + audit.Microdollars(w.Version+1), Kind: kind, User: w.UserID,
		Payload: map[string]any{"workspace_id": string(w.ID), "name": w.Name, "state": string(w.State), "code": w.ErrorCode, "message": w.ErrorMessage, "provider_id": deref(w.ProviderID)},
	}
	if err := notify.Enqueue(ctx, tx, m); err != nil {
		return err
	}
	if kind == "workspace.failed" {
		return nil // it is the user's to correct; what operators must correct holds the region back
	}
	return notify.EnqueueAdmins(ctx, tx, m)
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// account opens and closes meters and holds as the state asks, in the transaction of the state's change.
func (r *Reconciler) account(ctx context.Context, tx *audit.Tx, w *WorkSpace, before State) error {
	f := r.Fleet
	switch {
	case w.State.Ended():
		last := tx.Now
		if w.Desired != WantTerminated && w.ObservedAt != nil {
			last = *w.ObservedAt // somebody else ended it, some time after it was last seen
		}
		if err := f.Meter.End(ctx, tx, w.ID, last); err != nil {
			return err
		}
		return f.Budgets.Release(ctx, tx, w.ID, string(w.State))
	case w.State.Runs() && !before.Runs():
		if w.AvailableAt == nil {
			w.AvailableAt = &tx.Now
			if r.Provisioned != nil {
				p := w.Provisioning()
				tx.AfterCommit(func() { r.Provisioned(p) })
			}
		}
		if err := f.Meter.Begin(ctx, tx, cost.Subject{Workspace: w.ID, Payer: w.payer(), CostCentre: w.CostCentre, Spec: w.spec()}); err != nil {
			return err
		}
		return f.Budgets.RenewOrTell(ctx, tx, w.ID)
	case !w.State.Runs() && before.Runs():
		if err := f.Meter.Pause(ctx, tx, w.ID); err != nil {
			return err
		}
		return f.Budgets.RenewOrTell(ctx, tx, w.ID)
	}
	return nil
}

// mark leaves word on the row of what is about to be asked. Only the holder of the lease, and only if nobody has changed
// the row in the meantime, may go on.
func (r *Reconciler) mark(ctx context.Context, w *WorkSpace, act action) (bool, error) {
	now := r.Clock()
	tag, err := r.Log.Pool().Exec(ctx, `
		UPDATE workspaces
		SET asked = $3, asked_at = $4, attempts = attempts + 1, first_asked_at = coalesce(first_asked_at, $4), unclear = unclear OR $3 = 'create',
		    replacing = replacing OR $3 = 'replace'
		WHERE id = $1 AND lease_token = $2 AND version = $5 AND lease_until > $4`, w.ID, w.LeaseToken, string(act), now, w.Version)
	return tag.RowsAffected() == 1, err
}

// create asks for a WorkSpace that is not there.
func (r *Reconciler) create(ctx context.Context, w *WorkSpace) error {
	providerID, err := r.Fleet.Provider.Create(ctx, CreateSpec{
		Intent: w.ID, Region: w.Region, DirectoryID: w.DirectoryID, DirectoryUser: w.DirectoryUser, ComputeType: w.BundleType,
		OperatingSystem: w.OperatingSystem, RunningMode: w.RunningMode, AutoStopMinutes: w.spec().AutoStopMinutes, Attempt: w.Attempts + 1, Tags: w.Tags,
	})
	if err != nil {
		return r.refused(ctx, w, create, err)
	}
	if err := r.Fleet.release(ctx, r.Log, w); err != nil {
		r.Slog.WarnContext(ctx, "a hold that has ended could not be removed", "region", w.Region, "error", err)
	}
	return r.accepted(ctx, w, Observation{ProviderID: providerID, State: "PENDING", Intent: w.ID})
}

// perform asks for the same thing for several WorkSpaces of one region.
func (r *Reconciler) perform(ctx context.Context, act action, rows []*WorkSpace) {
	p, region := r.Fleet.Provider, rows[0].Region
	ids := make([]string, len(rows))
	for i, w := range rows {
		ids[i] = *w.ProviderID
	}
	failed := map[string]error{}
	switch act {
	case start:
		failed = p.Start(ctx, region, ids)
	case stop:
		failed = p.Stop(ctx, region, ids)
	case terminate, replace:
		failed = p.Terminate(ctx, region, ids)
	case setAutoStop:
		for _, w := range rows {
			if w.AutoStopTimeoutMinutes != nil {
				failed[*w.ProviderID] = p.Modify(ctx, region, *w.ProviderID, Property{AutoStopMinutes: *w.AutoStopTimeoutMinutes})
			}
		}
	case rest, note, confirm, create:
	}
	for _, w := range rows {
		err := failed[*w.ProviderID]
		switch {
		case err != nil:
			err = r.refused(ctx, w, act, err)
		case act == terminate || act == replace:
			err = r.accepted(ctx, w, Observation{ProviderID: *w.ProviderID, State: "TERMINATING", Intent: w.ID})
		default:
			err = r.rest(ctx, w, r.times().least)
		}
		r.told(ctx, w, err)
	}
}

// accepted writes down what the provider's acceptance says, and looks again soon.
func (r *Reconciler) accepted(ctx context.Context, w *WorkSpace, obs Observation) error {
	now, err := r.note(ctx, w, look{found: &obs})
	if err != nil {
		return err
	}
	return r.rest(ctx, now, r.times().least)
}

// refused says what follows from a provider's refusal.
func (r *Reconciler) refused(ctx context.Context, w *WorkSpace, act action, cause error) error {
	var pe *ProviderError
	if !errors.As(cause, &pe) || pe.Class == Ambiguous {
		return r.later(ctx, w, cause)
	}
	// That there is one already is no proof that nothing came of it: it may be of an earlier copy of the same request.
	unclear := w.Unclear || act == create && pe.Class == Exists
	switch {
	case pe.Class == Rejected && act == create:
		_, err := r.change(ctx, w, "fail", func(tx *audit.Tx, w *WorkSpace) error {
			before := w.State
			w.ErrorCode, w.ErrorMessage, w.Asked, w.AskedAt, w.Unclear = pe.Code, pe.Message, "", nil, unclear
			if unclear {
				// An earlier one may have been accepted: it is looked for, and cleared away, before this one ends.
				w.Desired, w.NextDueAt = WantTerminated, &tx.Now
				return save(ctx, tx, w, before, "fail", "provider", map[string]any{"code": pe.Code, "unclear": true})
			}
			w.State, w.StateSince = Failed, tx.Now
			if err := r.account(ctx, tx, w, before); err != nil {
				return err
			}
			if err := r.tell(ctx, tx, w, before, w.Flag); err != nil {
				return err
			}
			return save(ctx, tx, w, before, "fail", "provider", map[string]any{"code": pe.Code})
		})
		return errors.Join(err, r.rest(ctx, w, 0))
	case pe.Class == Blocked && act == create && pe.Extent != OneOnly:
		if err := r.Fleet.hold(ctx, r.Log, w, pe); err != nil {
			return errors.Join(cause, err)
		}
	case pe.Class == Blocked && w.ErrorCode != pe.Code:
		now, err := r.change(ctx, w, "block", func(tx *audit.Tx, w *WorkSpace) error {
			w.ErrorCode, w.ErrorMessage = pe.Code, pe.Message
			return save(ctx, tx, w, w.State, "block", "provider", map[string]any{"code": pe.Code})
		})
		if err != nil {
			return err
		}
		w = now
	}
	// Nothing came of it, so there is nothing to wait for before it is asked again.
	if _, err := r.Log.Pool().Exec(ctx, `
		UPDATE workspaces
		SET asked_at = NULL, asked = CASE WHEN asked = 'create' THEN '' ELSE asked END, unclear = $4
		WHERE id = $1 AND lease_token = $2 AND asked = $3`, w.ID, w.LeaseToken, string(act), unclear); err != nil {
		return errors.Join(cause, err)
	}
	return r.later(ctx, w, cause)
}

// later puts a WorkSpace off after a call that failed, by what the failure was.
func (r *Reconciler) later(ctx context.Context, w *WorkSpace, cause error) error {
	t := r.times()
	wait := t.least
	var pe *ProviderError
	if errors.As(cause, &pe) {
		switch pe.Class {
		case Throttled:
			wait = time.Second + rand.N(4*time.Second) //nolint:gosec // jitter
		case Blocked:
			wait = t.most
		case Exists:
			wait = t.glance
		case Rejected:
			wait = t.askAgain // the same request is refused again, unless something changes
		case NotNow, Ambiguous, Gone:
		}
	}
	return errors.Join(cause, r.rest(ctx, w, wait))
}

// rest gives the lease back and says when to look again. A row that was changed since it was claimed stays due as it is.
func (r *Reconciler) rest(ctx context.Context, w *WorkSpace, pause time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	due := r.times().due(r.Clock(), pause)
	_, err := r.Log.Pool().Exec(ctx, `
		UPDATE workspaces
		SET lease_until = NULL, lease_token = NULL, observed_at = greatest(observed_at, $5),
		    next_due_at = CASE WHEN terminated_at IS NOT NULL THEN NULL WHEN version = $3 THEN $4 ELSE next_due_at END
		WHERE id = $1 AND lease_token = $2`, w.ID, w.LeaseToken, w.Version, due, w.ObservedAt)
	return err
}
