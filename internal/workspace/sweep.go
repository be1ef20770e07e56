package workspace

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/notify"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
)

const (
	// ruleBatch is how many due WorkSpaces one round takes.
	ruleBatch = 100
	// ruleLease is how long they are not found by others: what a crash costs at the most.
	ruleLease = time.Minute
	// pausedFor is how soon what is paused is looked at again.
	pausedFor = 5 * time.Minute
)

// Sweeper does what the rules about time say, when it is due. Any number may run, in any number of processes: a row is
// found by one of them, and what is to be done is decided again on it under its lock.
type Sweeper struct {
	Fleet *Fleet
	Log   *audit.Log
	Clock clock.Clock
	Slog  *slog.Logger
}

// Round does what is due of up to ruleBatch WorkSpaces, and returns how many it took.
func (s *Sweeper) Round(ctx context.Context) (int, error) {
	pauses, err := ReadPauses(ctx, s.Log.Pool(), s.Clock())
	if err != nil {
		return 0, err
	}
	stopped, err := s.budgetStops(ctx, pauses)
	if err != nil {
		return 0, err
	}
	due, err := s.claim(ctx)
	if err != nil {
		return 0, err
	}
	readings := s.readings(ctx, due, pauses)
	for i := range due {
		w := &due[i]
		if err := s.follow(ctx, w.ID, pauses, readings); err != nil {
			s.Slog.WarnContext(ctx, "rules about time", "workspace", w.ID, "error", err) // its lease ends, and it is due again
		}
	}
	return len(due) + stopped, nil
}

// claim finds what is due by its index, and keeps it from others for the lease, which no index has: so that is all it writes.
func (s *Sweeper) claim(ctx context.Context) ([]WorkSpace, error) {
	now := s.Clock()
	return postgres.Many[WorkSpace](ctx, s.Log.Pool(), `
		UPDATE workspaces
		SET rule_lease_until = $1
		WHERE id = ANY(ARRAY(
			SELECT id
			FROM workspaces
			WHERE rule_due_at <= $2 AND (rule_lease_until IS NULL OR rule_lease_until <= $2)
			ORDER BY rule_due_at
			LIMIT $3
			FOR UPDATE SKIP LOCKED))
		RETURNING`+columns, now.Add(ruleLease), now, ruleBatch)
}

// reading is what the provider said of a connection, and whether it said anything.
type reading struct {
	Connection
	known bool
}

// readings asks for the connections that a rule wants to know, many in one call. What could not be asked is not known.
func (s *Sweeper) readings(ctx context.Context, due []WorkSpace, pauses Pauses) map[id.WorkSpace]reading {
	now := s.Clock()
	wanted := map[string][]*WorkSpace{}
	for i := range due {
		w := &due[i]
		if w.ProviderID != nil && slices.ContainsFunc(w.rules(now), func(c coming) bool {
			return !c.next.at.After(now) && c.next.wantsReading() && pauses.why(c.next.policy, c.next.do, now) == ""
		}) {
			wanted[w.Region] = append(wanted[w.Region], w)
		}
	}
	all := map[id.WorkSpace]reading{}
	for region, rows := range wanted {
		for batch := range slices.Chunk(rows, BatchSize) {
			ids := make([]string, len(batch))
			for i, w := range batch {
				ids[i] = *w.ProviderID
			}
			calls, cancel := context.WithTimeout(AsSweep(ctx), callTime)
			found, err := s.Fleet.Provider.Connections(calls, region, ids)
			cancel()
			if err != nil {
				s.Slog.WarnContext(ctx, "connections could not be read; nobody is taken for idle", "region", region, "error", err)
			}
			for _, w := range batch {
				c, known := found[*w.ProviderID]
				all[w.ID] = reading{c, known}
			}
		}
	}
	return all
}

// wantsReading tells whether the step needs to know who is connected, as of now.
func (s step) wantsReading() bool {
	return s.do == doCheck || s.policy == PolicyStale && (s.do == doFlag || s.do == doTerminate)
}

// follow does everything that is due of one WorkSpace, in the precedence of the policies. One thing at a time happens to
// it: once it is to be stopped, started or ended, the others wait for what comes of that.
func (s *Sweeper) follow(ctx context.Context, ws id.WorkSpace, pauses Pauses, readings map[id.WorkSpace]reading) error {
	var left *WorkSpace // nothing happened to it, but more is known
	in := audit.Intent{Action: "workspace.rule", ResourceType: "workspace", ResourceID: string(ws)}
	err := s.Log.Change(ctx, in, func(tx *audit.Tx) error {
		left = nil
		w, err := get(ctx, tx, ws, "FOR UPDATE")
		if err != nil {
			return err
		}
		version := w.Version
		due := w.due(pauses, tx.Now)
		r, read := readings[ws]
		if read {
			if err := s.know(ctx, tx, w, r); err != nil {
				return err
			}
		}
		for _, d := range due {
			if d.wantsReading() && !read {
				continue // it became due since
			}
			if err := s.act(ctx, tx, w, d, r); err != nil {
				return err
			}
			if d.do.effect() && w.Version != version {
				break
			}
		}
		if w.Version == version {
			left = w
			return audit.ErrNothing
		}
		return nil
	})
	if left != nil && errors.Is(err, audit.ErrNothing) {
		return s.keep(ctx, left, pauses)
	}
	return err
}

// due are the steps that are due and not paused, in the precedence of their policies.
func (w *WorkSpace) due(pauses Pauses, now time.Time) (due []step) {
	for _, c := range w.rules(now) {
		if !c.next.at.After(now) && pauses.why(c.next.policy, c.next.do, now) == "" {
			due = append(due, c.next)
		}
	}
	return due
}

// know brings a reading onto the row. That a WorkSpace which was thought forgotten has been used is an event.
func (s *Sweeper) know(ctx context.Context, tx *audit.Tx, w *WorkSpace, r reading) error {
	flagged, since := w.StaleAt != nil, w.StoppedAt
	w.read(r.Connection, r.known, tx.Now)
	if w.StoppedAt != nil && w.StoppedAt != since {
		// It has been stopped since its user went, and Amazon may have maintained it in between.
		if err := tx.QueryRow(ctx, `
			SELECT coalesce(min(at), $3)
			FROM workspace_events
			WHERE workspace_id = $1 AND at > $2 AND to_state = 'STOPPED' AND from_state <> 'STOPPED'`,
			w.ID, w.LastConnectedAt, w.StoppedAt).Scan(w.StoppedAt); err != nil {
			return err
		}
	}
	if flagged && w.StaleAt == nil {
		return save(ctx, tx, w, w.State, "used", string(PolicyStale), map[string]any{"last_connected_at": w.LastConnectedAt.UTC().Format(time.RFC3339)})
	}
	return nil
}

// keep writes down what is known, and when the rules next have something to do, where nothing has happened. A row that was
// changed meanwhile has that from the change.
func (s *Sweeper) keep(ctx context.Context, w *WorkSpace, pauses Pauses) error {
	now := s.Clock()
	var next *time.Time
	for _, c := range w.rules(now) {
		at := c.next.at
		if pauses.why(c.next.policy, c.next.do, now) != "" {
			at = later(at, now.Add(pausedFor))
		}
		if next == nil || at.Before(*next) {
			next = &at
		}
	}
	w.RuleDueAt = next
	_, err := s.Log.Pool().Exec(ctx, `
		UPDATE workspaces
		SET connection = @connection, connection_checked_at = @connection_checked_at, last_connected_at = @last_connected_at,
		    stopped_at = @stopped_at, scheduled_through = @scheduled_through, notices = @notices, rule_due_at = @rule_due_at, rule_lease_until = NULL
		WHERE id = @id AND version = @version`, w.named())
	return err
}

// act does one step, if it is still right after what was read.
func (s *Sweeper) act(ctx context.Context, tx *audit.Tx, w *WorkSpace, d step, r reading) error {
	if !w.still(d, r, tx.Now) {
		return nil
	}
	switch d.do {
	case doNotice:
		return s.give(ctx, tx, w, d)
	case doFlag:
		w.StaleAt = &tx.Now
		end := tx.Now.Add(staleGrace)
		details := map[string]any{"stopped_since": w.StoppedAt.UTC().Format(time.RFC3339)}
		if !w.KeepAlive {
			details["ends_at"] = end.UTC().Format(time.RFC3339)
		}
		return errors.Join(s.notify(ctx, tx, w, d, "workspace.stale", details), save(ctx, tx, w, w.State, "flag", string(PolicyStale), details))
	case doTerminate:
		details := map[string]any{"age_days": int(tx.Now.Sub(w.CreatedAt).Hours() / 24)}
		return errors.Join(s.notify(ctx, tx, w, d, "workspace.terminating", details), s.Fleet.terminate(ctx, tx, w, string(d.policy), details))
	case doRestore:
		w.ExtendedUntil, w.ExtendedMinutes, w.NextDueAt = nil, nil, &tx.Now
		s.Fleet.poke(tx)
		return errors.Join(s.Fleet.fitHold(ctx, tx, w), save(ctx, tx, w, w.State, "extension_over", string(PolicyIdle), nil))
	case doCheck:
		return s.Fleet.stop(ctx, tx, w, string(PolicyIdle), map[string]any{"idle_minutes": int(tx.Now.Sub(w.idleSince()).Minutes())})
	case doStop, doStart:
		return s.scheduled(ctx, tx, w, d)
	}
	return nil
}

// still tells whether a step is right, after what was read. An occurrence of the schedule is followed by that already.
func (w *WorkSpace) still(d step, r reading, now time.Time) bool {
	switch d.do {
	case doFlag:
		return r.known && r.covers(w.StateSince) && w.StoppedAt != nil && now.Sub(*w.StoppedAt) >= staleAfter
	case doTerminate:
		return d.policy != PolicyStale || r.known && r.covers(w.StateSince) && w.StaleAt != nil && !w.KeepAlive && !now.Before(w.StaleAt.Add(staleGrace))
	case doCheck:
		return d.policy == PolicyIdle && r.known && fresh(r.Connection, now) && w.State == Available && !w.stopping() && w.Asked == "" &&
			now.Sub(w.idleSince()) >= time.Duration(w.timeout(now))*time.Minute+idleGrace
	case doStop:
		w.ScheduledThrough = &d.occurs.At
		return w.RunningMode != price.AlwaysOn && (!w.stopping() || w.Asked != "" && w.WishReason == string(PolicyIdle)) && w.State != Stopped && w.State != Stopping
	case doStart:
		w.ScheduledThrough = &d.occurs.At
		runs := w.State != Stopped && w.State != Stopping && w.Asked != string(stop) // also where its user has logged in to what was to be stopped
		return !w.starting() && !runs
	case doNotice, doRestore:
	}
	return true
}

// give tells the owner and the team's lead what is going to happen.
func (s *Sweeper) give(ctx context.Context, tx *audit.Tx, w *WorkSpace, d step) error {
	w.notice(d, tx.Now)
	details := map[string]any{"policy": string(d.policy), "will": string(d.then), "at": d.of.UTC().Format(time.RFC3339), "notice": d.nth}
	return errors.Join(s.notify(ctx, tx, w, d, "workspace.notice", details), save(ctx, tx, w, w.State, "notice", string(d.policy), details))
}

func (w *WorkSpace) notice(d step, now time.Time) {
	if w.Notices == nil {
		w.Notices = map[string]Notice{}
	}
	w.Notices[string(d.policy)] = Notice{For: d.of, Step: d.nth, At: now}
}

// notify writes the message for the owner, and where something ends for the lead of the team as well.
func (s *Sweeper) notify(ctx context.Context, tx *audit.Tx, w *WorkSpace, d step, kind string, details map[string]any) error {
	payload := map[string]any{"workspace_id": string(w.ID), "name": w.Name, "policy": string(d.policy)}
	for k, v := range details {
		payload[k] = v
	}
	for _, c := range w.rules(tx.Now) {
		if u, ok := w.told(c, tx.Now); ok && c.effect.policy == d.policy {
			payload["why"], payload["how_to_delay"] = u.Why, u.Delay
		}
	}
	m := notify.Message{Key: kind + ":" + string(w.ID) + ":" + audit.Microdollars(w.Version+1), Kind: kind, User: w.UserID, Payload: payload}
	if err := notify.Enqueue(ctx, tx, m); err != nil || d.policy == PolicySchedule {
		return err
	}
	m.Key, m.Event, m.User, m.Team = m.Key+":team", m.Key, "", w.TeamID
	return notify.Enqueue(ctx, tx, m)
}

// scheduled follows one occurrence of the schedule. A start that the budgets have no room for is not made, and told.
func (s *Sweeper) scheduled(ctx context.Context, tx *audit.Tx, w *WorkSpace, d step) error {
	details := map[string]any{"local": d.occurs.Local}
	if d.do == doStop {
		return s.Fleet.stop(ctx, tx, w, string(PolicySchedule), details)
	}
	err := s.Fleet.start(ctx, tx, w, string(PolicySchedule))
	if errors.Is(err, budget.ErrExceeded) {
		details["code"] = budget.ErrExceeded.Code
		return errors.Join(s.notify(ctx, tx, w, d, "workspace.schedule_refused", details), save(ctx, tx, w, w.State, "schedule_refused", string(PolicyBudget), details))
	}
	return err
}

// budgetStops stops what runs on a lease that a budget has not renewed, at the end of what is paid.
func (s *Sweeper) budgetStops(ctx context.Context, pauses Pauses) (int, error) {
	now := s.Clock()
	if pauses.why(PolicyBudget, doStop, now) != "" {
		return 0, nil
	}
	due, err := budget.DueStops(ctx, s.Log.Pool(), now, ruleBatch)
	if err != nil {
		return 0, err
	}
	for _, ws := range due {
		in := audit.Intent{Action: "workspace.stop", ResourceType: "workspace", ResourceID: string(ws)}
		err := s.Log.Change(ctx, in, func(tx *audit.Tx) error {
			w, err := get(ctx, tx, ws, "FOR UPDATE")
			if err != nil {
				return err
			}
			at, err := budget.StopAt(ctx, tx, []id.WorkSpace{ws})
			if err != nil {
				return err
			}
			if stop, ok := at[ws]; !ok || stop.After(tx.Now) {
				return audit.ErrNothing // renewed, or done by another
			}
			if slices.ContainsFunc(w.due(pauses, tx.Now), func(d step) bool { return d.do == doTerminate && d.policy == PolicyLifetime }) {
				return audit.ErrNothing // it ends in this round
			}
			if err := s.Fleet.Budgets.Renew(ctx, tx, ws); err == nil { // there is room again
				tx.Record(audit.Event{Action: "budget.renewed", ResourceType: "workspace", ResourceID: string(ws)})
				return nil
			} else if errors.Is(err, budget.ErrMonthOpens) {
				return audit.ErrNothing // in a moment it is known
			} else if !errors.Is(err, budget.ErrExceeded) {
				return err
			}
			if err := s.Fleet.Budgets.ClearStop(ctx, tx, ws); err != nil {
				return err
			}
			if w.RunningMode == price.AlwaysOn || w.Desired != WantAvailable || w.stopping() || w.State == Stopped || w.State == Stopping {
				tx.Record(audit.Event{Action: "workspace.stop", ResourceType: "workspace", ResourceID: string(ws), Details: map[string]any{"already": true, "reason": string(PolicyBudget)}})
				return nil
			}
			d := step{policy: PolicyBudget, do: doStop}
			return errors.Join(s.notify(ctx, tx, w, d, "workspace.budget_stop", nil), s.Fleet.stop(ctx, tx, w, string(PolicyBudget), nil))
		})
		if err != nil && !errors.Is(err, audit.ErrNothing) {
			return 0, err
		}
	}
	return len(due), nil
}
