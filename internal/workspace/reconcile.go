package workspace

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/notify"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
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
		found, err := r.describe(r.class(ctx, rows), region, rows)
		if err != nil {
			for _, w := range rows {
				r.told(ctx, w, r.later(ctx, w, err))
			}
			continue
		}
		doubtful := r.doubtful(ctx, region, rows, found)
		asks := map[action][]ask{}
		for _, w := range rows {
			l := look{doubtful: doubtful}
			if o, ok := found[*w.ProviderID]; ok {
				l.found = &o
			}
			if o, ok := found[deref(w.TargetID)]; ok {
				l.target = &o
			}
			now, d, err := r.settle(ctx, w, l)
			r.told(ctx, w, err)
			if err == nil && d.do != rest {
				a := ask{WorkSpace: now, property: d.property}
				if l.found != nil {
					a.bundle = l.found.BundleID
				}
				asks[d.do] = append(asks[d.do], a)
			}
		}
		for act, rows := range asks {
			r.perform(ctx, region, act, rows)
		}
	}
}

// ask is what is to be asked of the provider for one WorkSpace.
type ask struct {
	*WorkSpace
	property Property
	bundle   string // Amazon's, that it has
	target   string // migrate: the id that the answer told
}

// describe looks at claimed WorkSpaces of a region, and at what those become that are being migrated.
func (r *Reconciler) describe(ctx context.Context, region string, rows []*WorkSpace) (map[string]Observation, error) {
	var ids []string
	for _, w := range rows {
		ids = append(ids, *w.ProviderID)
		if w.TargetID != nil {
			ids = append(ids, *w.TargetID)
		}
	}
	all := map[string]Observation{}
	for some := range slices.Chunk(ids, BatchSize) {
		found, err := r.Fleet.Provider.Describe(ctx, region, some)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, found)
	}
	return all, nil
}

// class marks the look at WorkSpaces that are all at rest as one that can wait for what people wait for.
func (r *Reconciler) class(ctx context.Context, rows []*WorkSpace) context.Context {
	for _, w := range rows {
		if w.State != Available && w.State != Stopped || w.Asked != "" || w.Desired == WantTerminated || w.MigrationAskedAt != nil {
			return ctx
		}
	}
	return AsSweep(ctx)
}

// doubtful tells whether more than a fifth of what must be there is missing: then the sight is wrong rather than they gone.
func (r *Reconciler) doubtful(ctx context.Context, region string, rows []*WorkSpace, found map[string]Observation) bool {
	var expected, absent int
	for _, w := range rows {
		if w.State == Terminating || w.Asked == string(terminate) || w.Replacing || w.MigrationAskedAt != nil {
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
		if w, err = r.prepare(ctx, w); err != nil || w == nil {
			return err
		}
	}
	if w.State == Conflict {
		ctx = AsSweep(ctx) // it waits for an operator, not for us
	}
	l, err := r.find(ctx, w)
	if err != nil {
		return r.later(ctx, w, err)
	}
	now, d, err := r.settle(ctx, w, l)
	if err != nil || d.do == rest {
		return err
	}
	if d.do != create {
		r.perform(ctx, w.Region, d.do, []ask{{WorkSpace: now, property: d.property}})
		return nil
	}
	return r.create(ctx, now)
}

// find looks by directory and user.
func (r *Reconciler) find(ctx context.Context, w *WorkSpace) (look, error) {
	p := r.Fleet.Provider
	found, err := p.Find(ctx, w.Region, w.DirectoryID, w.DirectoryUser)
	l := w.recognise(found)
	if l.stranger != nil {
		l.handOver, l.disown = p.HandOver(w.Region, l.stranger.ProviderID, w.ID), p.Disown(w.Region, l.stranger.ProviderID)
	}
	return l, err
}

// recognise tells of what is in the user's place which is whose. There may be two of ours: what has the id, and what is made of
// it by a migration, which is the only way to a second one there and may show before its tags do.
func (w *WorkSpace) recognise(found []Observation) look {
	l := look{confirmed: true}
	for i := range found {
		o := &found[i]
		has, sent := o.ProviderID == deref(w.ProviderID), w.MigrationAskedAt != nil
		switch {
		case sent && !has && (o.ProviderID == deref(w.TargetID) || w.TargetID == nil && (o.Intent == w.ID || !o.Marked)):
			l.target = o
		case (o.Intent == w.ID || sent && has) && (has || l.found == nil):
			l.found = o
		case o.Intent == w.ID:
		default:
			l.stranger = o
		}
	}
	return l
}

// settle writes down what follows from a look, one thing after the other, until there is something to ask of the provider,
// which it returns with the row as it is then, or nothing, and then it has given the row back.
func (r *Reconciler) settle(ctx context.Context, w *WorkSpace, l look) (*WorkSpace, decision, error) {
	nothing := decision{}
	for range steps {
		d := r.times().decide(w, l, r.Clock())
		switch d.do {
		case rest:
			if now := r.Clock(); l.found != nil {
				w.ObservedAt = &now
			}
			return w, nothing, r.rest(ctx, w, d.after)
		case confirm:
			confirmed, err := r.find(ctx, w)
			if err != nil {
				return w, nothing, r.later(ctx, w, err)
			}
			l.confirmed = true
			if confirmed.found != nil {
				l.found = confirmed.found
			}
			if confirmed.target != nil {
				l.target = confirmed.target
			}
		case note:
			now, err := r.note(ctx, w, l)
			if err != nil {
				return w, nothing, err
			}
			if w.ProviderID != nil && deref(now.ProviderID) != *w.ProviderID {
				// What was seen was seen of the one that is gone.
				return now, nothing, r.rest(ctx, now, 0)
			}
			w = now
		case retag:
			return w, d, nil
		case create, replace, start, stop, terminate, modify, reboot, rebuild, restore, image, migrate:
			ok, err := r.mark(ctx, w, d.do)
			if err != nil || !ok {
				var pause time.Duration
				if d.do == migrate { // as many as Amazon takes may be under way
					pause = r.times().most
				}
				return w, nothing, errors.Join(err, r.rest(ctx, w, pause))
			}
			return w, d, nil
		}
	}
	return w, nothing, errors.Join(errors.New("workspace: one look has too many consequences"), r.rest(ctx, w, r.times().most))
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
	before, flagged, was := w.State, w.Flag, *w
	gone := w.ProviderID
	var settings map[string]any
	if d.moved {
		var err error
		if settings, err = r.Fleet.settings(ctx, tx, w, w.Migration.Version); err != nil {
			return err
		}
	}
	d.apply(w, l, tx.Now)
	if err := r.unpriced(ctx, tx, &was, w); err != nil {
		return err
	}
	if d.moved {
		if err := r.Fleet.Meter.Migrate(ctx, tx, w.subject(), w.State.Runs()); err != nil {
			return err
		}
	}
	if err := r.account(ctx, tx, w, before); err != nil {
		return err
	}
	if err := r.resold(ctx, tx, &was, w); err != nil {
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
	kind := "observe"
	switch {
	case d.target != "", d.moved, d.unmoved:
		switch {
		case d.moved:
			kind = "migrated"
		case d.unmoved:
			kind = "migration_failed"
		default:
			kind = "migration_begun"
		}
		maps.Copy(details, was.migrationDetails(cmp.Or(d.target, deref(was.TargetID))))
		maps.Copy(details, settings)
	case d.unsent:
		details["migration"] = "not begun"
	case d.begun:
		kind = "change_begun"
		details["change"], details["to"] = w.Change, w.ChangeTo
	case d.undone:
		kind = "change_failed"
		details["change"], details["to"] = was.Change, was.ChangeTo
	case d.dropped:
		kind = "dropped"
		details["operation"] = was.Asked
	case d.ask != rest:
		kind = string(d.ask)
	}
	for property, change := range was.compare(w) {
		details[property] = change
		if kind == "observe" {
			kind = "changed"
		}
	}
	if err := r.tell(ctx, tx, w, before, flagged); err != nil {
		return err
	}
	if err := r.tellChange(ctx, tx, &was, w, d, kind); err != nil {
		return err
	}
	if err := noteDrift(ctx, tx, &was, w, d.reason); err != nil {
		return err
	}
	w.NextDueAt = &tx.Now
	return save(ctx, tx, w, before, kind, d.reason, details)
}

// compare gives the properties by which the two differ, each with what it was and is. What was not known did not change.
func (w *WorkSpace) compare(now *WorkSpace) map[string]any {
	changes := map[string]any{}
	for property := range spelled {
		if from, to := w.Property(property), now.Property(property); from != to && from != "" {
			changes[property] = map[string]any{"from": from, "to": to}
		}
	}
	return changes
}

// unpriced leaves a size that has no price out of the row: what it costs is never guessed. The operators are told. When
// they have imported a price, it is adopted with the next thing that happens to it.
func (r *Reconciler) unpriced(ctx context.Context, tx *audit.Tx, was, w *WorkSpace) error {
	if w.spec() == was.spec() || w.State.Ended() || len(was.compare(w)) == 0 {
		return nil
	}
	book, err := cost.BookAt(ctx, tx, tx.Now)
	if err == nil {
		_, err = book.RatesOf(w.spec())
	}
	if !errors.Is(err, price.ErrUnknown) {
		return err
	}
	is := w.BundleType
	w.BundleType, w.RunningMode, w.RootGiB, w.UserGiB, w.AutoStopTimeoutMinutes = was.BundleType, was.RunningMode, was.RootGiB, was.UserGiB, was.AutoStopTimeoutMinutes
	w.ErrorCode, w.ErrorMessage = codeNoPrice, "Amazon has it as "+is+", which the price book has no price for; `forge prices` says how to import one"
	return notify.EnqueueAdmins(ctx, tx, notify.Message{
		Key: "workspace.unpriced:" + string(w.ID) + ":" + is, Kind: "workspace.unpriced",
		Payload: map[string]any{"workspace_id": string(w.ID), "name": w.Name, "bundle_type": is, "message": err.Error()},
	})
}

// resold brings the meters and the hold to what is sold now, if that is something else than before.
func (r *Reconciler) resold(ctx context.Context, tx *audit.Tx, was, w *WorkSpace) error {
	if w.AvailableAt == nil || w.State.Ended() || w.spec() == was.spec() && w.Change == was.Change && (w.Migration == nil) == (was.Migration == nil) {
		return nil
	}
	if len(was.compare(w)) > 0 && *w.ProviderID == *was.ProviderID {
		if err := r.Fleet.Meter.Switch(ctx, tx, w.subject(), w.State.Runs()); err != nil {
			return err
		}
	}
	if w.Change != "" || w.Migration != nil {
		return nil // it still holds what the change will cost
	}
	if was.Migration != nil {
		if err := r.Fleet.settleBundle(ctx, tx, w); err != nil {
			return err
		}
	}
	return r.Fleet.fitHold(ctx, tx, w)
}

// tellChange lets the owner know what became of a change or an operation that was asked for, and of one that nobody did.
func (r *Reconciler) tellChange(ctx context.Context, tx *audit.Tx, was, w *WorkSpace, d decision, kind string) error {
	switch kind {
	case "changed", "change_failed", "dropped", "migrated", "migration_failed":
	default:
		return nil
	}
	m := notify.Message{
		Key: "workspace." + kind + ":" + string(w.ID) + ":" + audit.Microdollars(w.Version+1), Kind: "workspace." + kind, User: w.UserID,
		Payload: map[string]any{"workspace_id": string(w.ID), "name": w.Name, "reason": d.reason, "code": d.code, "message": d.message},
	}
	for property, change := range was.compare(w) {
		m.Payload[property] = change
	}
	if err := notify.Enqueue(ctx, tx, m); err != nil || kind != "changed" || d.reason != "drift" {
		return err
	}
	m.Key, m.Event, m.User, m.Team = m.Key+":team", m.Key, "", w.TeamID
	return notify.Enqueue(ctx, tx, m)
}

// tell lets people know of what they must: that something is stuck, speaks the wrong protocol, or came to a bad end.
func (r *Reconciler) tell(ctx context.Context, tx *audit.Tx, w *WorkSpace, before State, flagged string) error {
	var kind string
	switch {
	case w.Flag != "" && w.Flag != flagged:
		kind = "workspace." + map[string]string{FlagStuck: "stuck", FlagProtocol: "protocol", FlagIll: "unhealthy"}[w.Flag]
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
		if f.Images != nil {
			if err := f.Images.Release(ctx, tx, w.ID); err != nil {
				return err
			}
		}
		return f.Budgets.Release(ctx, tx, w.ID, string(w.State))
	case w.State == Terminating && before != Terminating:
		// Amazon bills until it is told: no fee is owed for a month that begins before it is gone.
		return f.Meter.End(ctx, tx, w.ID, tx.Now)
	case w.State.Runs() && !before.Runs():
		if w.AvailableAt == nil {
			w.AvailableAt = &tx.Now
			if r.Provisioned != nil {
				p := w.Provisioning()
				tx.AfterCommit(func() { r.Provisioned(p) })
			}
		}
		if err := f.Meter.Begin(ctx, tx, w.subject()); err != nil {
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
		    migration_asked_at = CASE WHEN $3 = 'migrate' THEN $4 ELSE migration_asked_at END,
		    replacing = replacing OR $3 = 'replace', rebooted_at = CASE WHEN $3 = 'reboot' THEN $4 ELSE rebooted_at END
		WHERE id = $1 AND lease_token = $2 AND version = $5 AND lease_until > $4
		  AND ($3 <> 'migrate' OR (
			SELECT count(*)
			FROM workspaces m
			WHERE m.region = $6 AND m.migration_asked_at IS NOT NULL) < $7)`, w.ID, w.LeaseToken, string(act), now, w.Version, w.Region, maxMigrations)
	return tag.RowsAffected() == 1, err
}

// create asks for a WorkSpace that is not there.
func (r *Reconciler) create(ctx context.Context, w *WorkSpace) error {
	providerID, err := r.Fleet.Provider.Create(ctx, CreateSpec{
		Intent: w.ID, Region: w.Region, DirectoryID: w.DirectoryID, DirectoryUser: w.DirectoryUser, ComputeType: w.BundleType,
		OperatingSystem: w.OperatingSystem, BundleID: deref(w.BundleID), RunningMode: w.RunningMode, AutoStopMinutes: w.spec().AutoStopMinutes, Attempt: w.Attempts + 1, Tags: w.Tags,
	})
	if err != nil {
		return r.refused(ctx, w, create, r.withoutBundle(ctx, w, err))
	}
	if err := r.Fleet.release(ctx, r.Log, w); err != nil {
		r.Slog.WarnContext(ctx, "a hold that has ended could not be removed", "region", w.Region, "error", err)
	}
	return r.accepted(ctx, w, Observation{ProviderID: providerID, State: "PENDING", Intent: w.ID})
}

// perform asks for the same thing for several WorkSpaces of one region.
func (r *Reconciler) perform(ctx context.Context, region string, act action, rows []ask) {
	p := r.Fleet.Provider
	if act == stop {
		rows = r.spare(ctx, region, rows)
	}
	ids := make([]string, len(rows))
	for i, w := range rows {
		ids[i] = *w.ProviderID
	}
	failed, targets := map[string]error{}, map[string]string{}
	one := func(do func(w ask) error) {
		for _, w := range rows {
			failed[*w.ProviderID] = do(w)
		}
	}
	switch act {
	case start:
		failed = p.Start(ctx, region, ids)
	case stop:
		failed = p.Stop(ctx, region, ids)
	case reboot:
		failed = p.Reboot(ctx, region, ids)
	case terminate, replace:
		failed = p.Terminate(ctx, region, ids)
	case modify:
		one(func(w ask) error { return p.Modify(ctx, region, *w.ProviderID, w.property) })
	case rebuild:
		one(func(w ask) error { return p.Rebuild(ctx, region, *w.ProviderID) })
	case restore:
		one(func(w ask) error { return p.Restore(ctx, region, *w.ProviderID) })
	case image:
		one(func(w ask) error {
			_, err := p.Capture(ctx, region, *w.ProviderID, w.imageName(r.Clock()), "captured from the WorkSpace "+w.Name)
			return err
		})
	case migrate:
		one(func(w ask) (err error) {
			targets[*w.ProviderID], err = r.askMigrate(ctx, w)
			return err
		})
	case retag:
		one(func(w ask) error { return p.Tag(ctx, region, *w.ProviderID, w.ID, w.Tags) })
	case rest, note, confirm, create:
	}
	for _, w := range rows {
		w.target = targets[*w.ProviderID]
		r.told(ctx, w.WorkSpace, r.answered(ctx, w, act, failed[*w.ProviderID]))
	}
}

// answered says what follows from the provider's answer.
func (r *Reconciler) answered(ctx context.Context, w ask, act action, err error) error {
	if errors.Is(err, errMigrated) {
		return r.alreadyMigrated(ctx, w.WorkSpace, w.bundle)
	}
	if err != nil {
		return r.refused(ctx, w.WorkSpace, act, err)
	}
	seen := func(state string) error {
		return r.accepted(ctx, w.WorkSpace, Observation{ProviderID: *w.ProviderID, State: state, Intent: w.ID})
	}
	switch act {
	case terminate, replace:
		return seen("TERMINATING")
	case reboot:
		return seen("REBOOTING")
	case rebuild:
		return seen("REBUILDING")
	case restore:
		return seen("RESTORING")
	case image:
		return seen("SUSPENDED")
	case migrate:
		return r.migrationBegun(ctx, w.WorkSpace, w.target)
	case modify:
		if w.property != (Property{AutoStopMinutes: w.property.AutoStopMinutes}) {
			return r.begun(ctx, w.WorkSpace)
		}
	case retag:
		now, err := r.change(ctx, w.WorkSpace, "tag", func(tx *audit.Tx, is *WorkSpace) error {
			is.Retag = !maps.Equal(is.Tags, w.Tags) // they may have been changed meanwhile
			return save(ctx, tx, is, is.State, "tag", "user", nil)
		})
		if err != nil {
			return err
		}
		return r.rest(ctx, now, 0)
	case start, stop, rest, note, confirm, create:
	}
	return r.rest(ctx, w.WorkSpace, r.times().least)
}

// begun writes down that Amazon has accepted a change, and looks again soon.
func (r *Reconciler) begun(ctx context.Context, w *WorkSpace) error {
	now, err := r.change(ctx, w, "change_begun", func(tx *audit.Tx, is *WorkSpace) error {
		if is.Change != w.Change || is.ChangeTo != w.ChangeTo || is.ChangeBegunAt != nil {
			return audit.ErrNothing
		}
		is.beginChange(tx.Now)
		return save(ctx, tx, is, is.State, "change_begun", "user", map[string]any{"change": is.Change, "to": is.ChangeTo})
	})
	if errors.Is(err, audit.ErrNothing) {
		now, err = w, nil
	}
	if err != nil {
		return err
	}
	return r.rest(ctx, now, r.times().least)
}

// imageName is that of the image that is made of a WorkSpace on a day: asking again finds it.
func (w *WorkSpace) imageName(now time.Time) string {
	return "forge-" + string(w.ID) + "-" + now.Format("20060102")
}

// spare leaves out WorkSpaces that are to be stopped for being idle and are not: their users' connections are read again,
// just before the stop, and only a fresh DISCONNECTED counts (fault 25).
func (r *Reconciler) spare(ctx context.Context, region string, rows []ask) []ask {
	var idle []string
	for _, w := range rows {
		if w.WishReason == string(PolicyIdle) {
			idle = append(idle, *w.ProviderID)
		}
	}
	if len(idle) == 0 {
		return rows
	}
	found, err := r.Fleet.Provider.Connections(ctx, region, idle)
	return slices.DeleteFunc(rows, func(w ask) bool {
		if w.WishReason != string(PolicyIdle) {
			return false
		}
		if err != nil {
			r.told(ctx, w.WorkSpace, r.later(ctx, w.WorkSpace, err))
			return true
		}
		c, known := found[*w.ProviderID]
		if known && fresh(c, r.Clock()) {
			return false
		}
		now, err := r.change(ctx, w.WorkSpace, "spare", func(tx *audit.Tx, is *WorkSpace) error {
			if is.Desired != WantStopped || is.WishReason != string(PolicyIdle) {
				return audit.ErrNothing
			}
			is.spare(c, known, tx.Now)
			return save(ctx, tx, is, is.State, "spare", string(PolicyIdle), map[string]any{"connection": is.Connection})
		})
		if errors.Is(err, audit.ErrNothing) {
			now, err = w.WorkSpace, nil
		}
		if err == nil {
			err = r.rest(ctx, now, 0)
		}
		r.told(ctx, w.WorkSpace, err)
		return true
	})
}

// spare lets it run on, for somebody may be connected.
func (w *WorkSpace) spare(c Connection, known bool, now time.Time) {
	w.Desired, w.Asked, w.AskedAt = WantAvailable, "", nil
	w.read(c, known, now)
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
	if handled, err := r.declined(ctx, w, act, pe); handled {
		return err
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
		SET asked_at = CASE WHEN asked = $3 THEN NULL ELSE asked_at END, asked = CASE WHEN asked = 'create' THEN '' ELSE asked END, unclear = $4,
		    migration_asked_at = CASE WHEN $3 = 'migrate' THEN NULL ELSE migration_asked_at END
		WHERE id = $1 AND lease_token = $2 AND (asked = $3 OR $3 = 'migrate')`, w.ID, w.LeaseToken, string(act), unclear); err != nil {
		return errors.Join(cause, err)
	}
	return r.later(ctx, w, cause)
}

// declined ends what the provider will not do: an operation that happens once, or a change of a property. What is wanted
// to be so is asked for again and again instead.
func (r *Reconciler) declined(ctx context.Context, w *WorkSpace, act action, pe *ProviderError) (bool, error) {
	d, ends := w.declined(act, pe)
	if !ends {
		return false, nil
	}
	kind := "dropped"
	if d.undone {
		kind = "change_failed"
	}
	now, err := r.change(ctx, w, kind, func(tx *audit.Tx, is *WorkSpace) error {
		was := *is
		d.to = is.State
		d.dropped = d.dropped && is.Asked == string(act) // or something else has been asked for meanwhile
		if act == migrate {
			is.MigrationAskedAt = nil // it has not begun
		}
		d.apply(is, look{}, tx.Now)
		if err := r.resold(ctx, tx, &was, is); err != nil {
			return err
		}
		if err := r.tellChange(ctx, tx, &was, is, d, kind); err != nil {
			return err
		}
		return save(ctx, tx, is, is.State, kind, d.reason, map[string]any{"operation": string(act), "change": was.Change, "to": was.ChangeTo, "code": pe.Code, "message": pe.Message})
	})
	if err != nil {
		return true, err
	}
	return true, r.rest(ctx, now, 0)
}

// declined tells whether a refusal ends what was asked for, and what follows.
func (w *WorkSpace) declined(act action, pe *ProviderError) (decision, bool) {
	d := decision{reason: "provider", code: pe.Code, message: pe.Message}
	switch {
	case act == image && pe.Class == Exists: // it was made today
		d.dropped = true
	case pe.Class != Rejected:
	case act.once(), act == migrate:
		d.dropped = true
	case act == modify && w.Change != "" && w.ChangeBegunAt == nil:
		d.undone = true
	}
	return d, d.dropped || d.undone
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
