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
	"github.com/robco-forge/forge/internal/postgres"
)

// Times of the reconciler.
const (
	// LeaseTime is how long a replica may keep a row to itself: what a crash costs at the most.
	LeaseTime = 20 * time.Second
	// callTime bounds all calls to the provider for one row, well within the lease.
	callTime = 12 * time.Second
	// settleTime is how long a create of unknown outcome may stay invisible before it is sent again. Sending again is
	// safe: Amazon refuses a second WorkSpace for the same user and directory.
	settleTime = 15 * time.Second
	// askAgain is how long an accepted start, stop or terminate may show no effect before it is asked again.
	askAgain = time.Minute
	// visibleTime is how long a WorkSpace that never ran may be absent without being gone: a create shows late.
	visibleTime = time.Minute
	// youngTime is how long a new WorkSpace may be missing from answers without meaning anything.
	youngTime = 10 * time.Minute
	// restTime is how often a WorkSpace at rest is looked at.
	restTime = 5 * time.Minute
	// BatchSize is Amazon's limit for one describe.
	BatchSize = 25
	maxMissed = 3
)

// Reconciler brings due WorkSpaces to what is desired of them. Any number may run, in any number of processes.
type Reconciler struct {
	Fleet *Fleet
	Log   *audit.Log
	Clock clock.Clock
	Slog  *slog.Logger
}

// claim takes due rows for LeaseTime. Rows that others work on are passed over. An array is looked up row by row; IN may be
// joined, which in a prepared statement, whose limit is not known, reads the whole table.
func (r *Reconciler) claim(ctx context.Context, limit int) ([]WorkSpace, error) {
	now := r.Clock()
	return postgres.Many[WorkSpace](ctx, r.Log.Pool(), `
		UPDATE workspaces
		SET lease_token = $1, lease_until = $2
		WHERE id = ANY(ARRAY(
			SELECT id
			FROM workspaces
			WHERE next_due_at <= $3 AND (lease_until IS NULL OR lease_until <= $3)
			ORDER BY next_due_at
			LIMIT $4
			FOR UPDATE SKIP LOCKED))
		RETURNING`+columns, "lease_"+id.Unique(), now.Add(LeaseTime), now, limit)
}

// Round takes up to BatchSize due WorkSpaces a step further and returns how many it took.
func (r *Reconciler) Round(ctx context.Context) (int, error) {
	due, err := r.claim(ctx, BatchSize)
	if err != nil || len(due) == 0 {
		return 0, err
	}
	seen := r.describe(ctx, due)
	for i := range due {
		w := &due[i]
		if err := r.one(ctx, w, seen[w.Region]); err != nil {
			r.Slog.WarnContext(ctx, "reconcile", "workspace", w.ID, "state", w.State, "error", err)
		}
	}
	return len(due), nil
}

// sight is what a region showed of the WorkSpaces that were asked for.
type sight struct {
	found map[string]Observation
	err   error
}

func (r *Reconciler) describe(ctx context.Context, due []WorkSpace) map[string]sight {
	ids := map[string][]string{}
	for i := range due {
		if due[i].ProviderID != nil {
			ids[due[i].Region] = append(ids[due[i].Region], *due[i].ProviderID)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	out := map[string]sight{}
	for region, list := range ids {
		found, err := r.Fleet.Provider.Describe(ctx, region, list)
		out[region] = sight{found, err}
	}
	return out
}

// one takes a claimed WorkSpace a step further: look, write down what was seen, ask for what is missing. No transaction
// is open while the provider is called, and every write checks that the lease is still ours.
func (r *Reconciler) one(ctx context.Context, w *WorkSpace, seen sight) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	var obs *Observation
	if w.ProviderID == nil {
		found, err := r.Fleet.Provider.Find(ctx, w.Region, w.DirectoryID, w.DirectoryUser)
		if err != nil {
			return r.later(ctx, w, err)
		}
		var stranger bool
		if obs, stranger = ours(w, found); stranger && obs == nil {
			return r.stranger(ctx, w)
		}
	} else {
		if seen.err != nil {
			return r.later(ctx, w, seen.err)
		}
		if o, ok := seen.found[*w.ProviderID]; ok {
			obs = &o
		}
	}
	w, err := r.see(ctx, w, obs)
	if err != nil || w == nil {
		return err
	}
	return r.ask(ctx, w)
}

// ours picks the WorkSpace with our intent, and tells whether there is one that is not ours.
func ours(w *WorkSpace, found []Observation) (obs *Observation, stranger bool) {
	for i := range found {
		if found[i].Intent == w.ID {
			return &found[i], stranger
		}
		stranger = true
	}
	return nil, stranger
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

// see writes down what was observed, with everything that follows from it, and returns the WorkSpace as it is then.
// A nil observation means that the provider shows nothing.
func (r *Reconciler) see(ctx context.Context, w *WorkSpace, obs *Observation) (*WorkSpace, error) {
	state, reason, changed := r.judge(w, obs)
	if !changed {
		return w, nil
	}
	return r.change(ctx, w, "observe", func(tx *audit.Tx, w *WorkSpace) error {
		// The row may have changed since it was claimed: judge again what it is now.
		state, reason, _ = r.judge(w, obs)
		before := w.State
		if obs != nil {
			w.ProviderID, w.ObservedState, w.ObservedAt, w.Missed = &obs.ProviderID, obs.State, &tx.Now, 0
			if obs.State == "AVAILABLE" {
				w.ErrorCode, w.ErrorMessage = "", ""
			}
			if obs.State == "ERROR" {
				w.ErrorCode, w.ErrorMessage = obs.ErrorCode, obs.ErrorMessage
				if w.AvailableAt == nil {
					w.Desired = WantTerminated
				}
			}
		} else if !state.Ended() {
			w.Missed++
		}
		w.State = state
		if err := r.account(ctx, tx, w, before); err != nil {
			return err
		}
		w.settleAsked(obs)
		w.NextDueAt = &tx.Now
		return save(ctx, tx, w, before, "observe", reason, map[string]any{"observed": w.ObservedState, "provider_id": deref(w.ProviderID)})
	})
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// judge says which state follows from an observation, why, and whether anything is to be written.
func (r *Reconciler) judge(w *WorkSpace, obs *Observation) (state State, reason string, changed bool) {
	now := r.Clock()
	if obs == nil {
		return r.judgeAbsence(w, now)
	}
	state, known := fromAmazon[obs.State]
	if !known {
		r.Slog.Warn("Amazon shows a state that is not known; it is left as it was", "workspace", w.ID, "observed", obs.State)
		state = w.State
	}
	if w.AvailableAt == nil && obs.State == "ERROR" {
		state = Pending // it never ran: it is cleared away and ends as FAILED
	}
	changed = state != w.State || w.ProviderID == nil || obs.State == "ERROR" && w.ErrorCode != obs.ErrorCode || w.Missed > 0 || w.asksDone(obs)
	switch {
	case state == Terminated:
		return w.ended(), "terminated", true
	case w.Asked != "" || w.Desired == WantTerminated:
		reason = "user"
	case state == w.State:
		reason = w.StateReason
	case w.State == Pending || w.State == Starting || w.State == Stopping || w.State == Rebooting:
		reason = "provider"
	default:
		reason = "drift"
	}
	return state, reason, changed
}

// judgeAbsence says what it means that the provider shows nothing: the end if we asked for it; nothing for a while after
// a create; and only after several looks that somebody else has ended it.
func (r *Reconciler) judgeAbsence(w *WorkSpace, now time.Time) (State, string, bool) {
	recent := w.AskedAt != nil && w.Asked == "create" && now.Sub(*w.AskedAt) < settleTime
	switch {
	case w.Desired == WantTerminated && w.ProviderID == nil && !recent:
		return w.ended(), "terminated before it was made", true
	case w.ProviderID == nil:
		return w.State, "", false
	case w.State == Terminating && (w.AvailableAt != nil || now.Sub(w.CreatedAt) >= visibleTime):
		return w.ended(), "terminated", true
	case w.State == Terminating:
		return w.State, "", false
	case w.AskedAt != nil && now.Sub(*w.AskedAt) < youngTime || now.Sub(w.CreatedAt) < youngTime:
		return w.State, "", false
	case w.Missed+1 >= maxMissed:
		return w.ended(), "drift: terminated outside", true
	default:
		return w.State, w.StateReason, true
	}
}

// ended is the state of a WorkSpace that is gone.
func (w *WorkSpace) ended() State {
	if w.AvailableAt == nil && w.ErrorCode != "" {
		return Failed
	}
	return Terminated
}

// asksDone tells whether what was asked for shows its effect.
func (w *WorkSpace) asksDone(obs *Observation) bool {
	switch w.Asked {
	case "create":
		return true
	case "start":
		return obs.State == "STARTING" || obs.State == "AVAILABLE"
	case "stop":
		return obs.State == "STOPPING" || obs.State == "STOPPED"
	case "terminate":
		return obs.State == "TERMINATING" || obs.State == "TERMINATED"
	case "modify":
		return w.AutoStopTimeoutMinutes == nil || obs.AutoStop == *w.AutoStopTimeoutMinutes
	}
	return false
}

func (w *WorkSpace) settleAsked(obs *Observation) {
	if obs != nil && w.asksDone(obs) {
		w.Asked, w.AskedAt = "", nil
	}
}

// account opens and closes meters and holds as the state asks, in the transaction of the state's change.
func (r *Reconciler) account(ctx context.Context, tx *audit.Tx, w *WorkSpace, before State) error {
	f := r.Fleet
	switch {
	case w.State.Ended():
		if err := f.Meter.End(ctx, tx, w.ID); err != nil {
			return err
		}
		return f.Budgets.Release(ctx, tx, w.ID, string(w.State))
	case w.State.Runs() && !before.Runs():
		if w.AvailableAt == nil {
			w.AvailableAt = &tx.Now
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

// stranger notes that somebody else's WorkSpace holds the user's place. It is never adopted and never touched.
func (r *Reconciler) stranger(ctx context.Context, w *WorkSpace) error {
	if w.Desired == WantTerminated {
		now, err := r.see(ctx, w, nil)
		if err != nil {
			return err
		}
		return r.rest(ctx, now, 3*time.Second)
	}
	if w.State != Conflict {
		now, err := r.change(ctx, w, "observe", func(tx *audit.Tx, w *WorkSpace) error {
			before := w.State
			w.State, w.ErrorCode = Conflict, "RESOURCE_NOT_OURS"
			w.ErrorMessage = "the directory already has a WorkSpace of this user that Forge did not make; an operator must remove it or hand it over"
			return save(ctx, tx, w, before, "observe", "provider", nil)
		})
		if err != nil {
			return err
		}
		w = now
	}
	return r.rest(ctx, w, time.Minute)
}

// ask asks the provider for the next step, and leaves word of the asking before it does.
func (r *Reconciler) ask(ctx context.Context, w *WorkSpace) error {
	act := next(w)
	now := r.Clock()
	if act == nothing || w.State.Ended() {
		return r.rest(ctx, w, r.pause(w))
	}
	if w.AskedAt != nil && w.Asked == string(act) {
		wait := askAgain
		if act == create {
			wait = settleTime
		}
		if left := wait - now.Sub(*w.AskedAt); left > 0 {
			return r.rest(ctx, w, min(left, 3*time.Second))
		}
	}
	// Only the holder of the lease, and only if nobody has asked for something else in the meantime, may go on.
	tag, err := r.Log.Pool().Exec(ctx, `
		UPDATE workspaces
		SET asked = $3, asked_at = $4, attempts = attempts + 1
		WHERE id = $1 AND lease_token = $2 AND version = $5 AND lease_until > $4`, w.ID, w.LeaseToken, string(act), now, w.Version)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return r.rest(ctx, w, 0)
	}
	return r.perform(ctx, w, act)
}

func (r *Reconciler) perform(ctx context.Context, w *WorkSpace, act action) error {
	p := r.Fleet.Provider
	var err error
	switch act {
	case create:
		var providerID string
		s := w.spec()
		providerID, err = p.Create(ctx, CreateSpec{
			Intent: w.ID, Region: w.Region, DirectoryID: w.DirectoryID, DirectoryUser: w.DirectoryUser, ComputeType: w.BundleType,
			OperatingSystem: w.OperatingSystem, RunningMode: w.RunningMode, AutoStopMinutes: s.AutoStopMinutes, Attempt: w.Attempts + 1, Tags: w.Tags,
		})
		if err == nil {
			return r.accepted(ctx, w, Observation{ProviderID: providerID, State: "PENDING", Intent: w.ID})
		}
	case start:
		err = p.Start(ctx, w.Region, *w.ProviderID)
	case stop:
		err = p.Stop(ctx, w.Region, *w.ProviderID)
	case terminate:
		err = p.Terminate(ctx, w.Region, *w.ProviderID)
		if err == nil {
			return r.accepted(ctx, w, Observation{ProviderID: *w.ProviderID, State: "TERMINATING", Intent: w.ID})
		}
	case setAutoStop:
		err = p.SetAutoStop(ctx, w.Region, *w.ProviderID, *w.AutoStopTimeoutMinutes)
	case nothing:
	}
	if err != nil {
		return r.refused(ctx, w, act, err)
	}
	return r.rest(ctx, w, 500*time.Millisecond)
}

// accepted writes down what the provider's acceptance says, and looks again soon.
func (r *Reconciler) accepted(ctx context.Context, w *WorkSpace, obs Observation) error {
	now, err := r.see(ctx, w, &obs)
	if err != nil {
		return err
	}
	return r.rest(ctx, now, 500*time.Millisecond)
}

// refused says what follows from a provider's refusal.
func (r *Reconciler) refused(ctx context.Context, w *WorkSpace, act action, cause error) error {
	var pe *ProviderError
	if !errors.As(cause, &pe) {
		return r.later(ctx, w, cause)
	}
	if pe.Class == Rejected && act == create {
		_, err := r.change(ctx, w, "fail", func(tx *audit.Tx, w *WorkSpace) error {
			before := w.State
			w.State, w.ErrorCode, w.ErrorMessage = Failed, pe.Code, pe.Message
			if err := r.account(ctx, tx, w, before); err != nil {
				return err
			}
			return save(ctx, tx, w, before, "fail", "provider", map[string]any{"code": pe.Code})
		})
		return err
	}
	if pe.Class == Blocked && w.ErrorCode != pe.Code {
		now, err := r.change(ctx, w, "block", func(tx *audit.Tx, w *WorkSpace) error {
			w.ErrorCode, w.ErrorMessage = pe.Code, pe.Message
			return save(ctx, tx, w, w.State, "block", "provider", map[string]any{"code": pe.Code})
		})
		if err != nil {
			return err
		}
		w = now
	}
	return r.later(ctx, w, cause)
}

// later puts a WorkSpace off after a call that failed, by what the failure was.
func (r *Reconciler) later(ctx context.Context, w *WorkSpace, cause error) error {
	wait := 3 * time.Second
	var pe *ProviderError
	if errors.As(cause, &pe) {
		switch pe.Class {
		case Throttled:
			wait = time.Second + time.Duration(rand.IntN(4000))*time.Millisecond //nolint:gosec // jitter
		case Blocked:
			wait = 30 * time.Second
		case NotNow, Rejected:
			wait = 5 * time.Second
		case Ambiguous, Exists, Gone:
		}
	}
	return errors.Join(cause, r.rest(ctx, w, wait))
}

// rest gives the lease back and says when to look again. A row that was changed since it was claimed stays due as it is.
func (r *Reconciler) rest(ctx context.Context, w *WorkSpace, pause time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, err := r.Log.Pool().Exec(ctx, `
		UPDATE workspaces
		SET lease_until = NULL, lease_token = NULL,
		    next_due_at = CASE WHEN terminated_at IS NOT NULL THEN NULL WHEN version = $3 THEN $4 ELSE next_due_at END
		WHERE id = $1 AND lease_token = $2`, w.ID, w.LeaseToken, w.Version, r.Clock().Add(pause))
	return err
}

// pause is how long nothing need be looked at: short while something is under way, growing with how long it takes.
func (r *Reconciler) pause(w *WorkSpace) time.Duration {
	if w.State == Available || w.State == Stopped {
		if w.Asked != "" {
			return 2 * time.Second
		}
		return restTime + time.Duration(rand.Int64N(int64(restTime/5))) //nolint:gosec // jitter
	}
	age := r.Clock().Sub(w.UpdatedAt)
	return min(max(age/10, 500*time.Millisecond), 30*time.Second)
}
