package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/app"
	"github.com/robco-forge/forge/internal/aws/emulator"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/workspace"
)

// life is a WorkSpace on a Forge and an Amazon that share a clock, at Amazon's real speed. What the background loops do is
// done whenever time has passed.
type life struct {
	*rig
	t          *testing.T
	clock      *clock.Manual
	url        string
	tokens     map[string]string
	ws         string
	reconciler *workspace.Reconciler
	sweeper    *workspace.Sweeper
}

// pass lets time pass, and has done what is due by then.
func (l *life) pass(d time.Duration) {
	l.t.Helper()
	l.clock.Advance(d)
	ctx := actor.With(l.t.Context(), actor.System("test"))
	for range 20 {
		looked, err := l.reconciler.Round(ctx)
		if err != nil {
			l.t.Fatal(err)
		}
		ruled, err := l.sweeper.Round(ctx)
		if err != nil {
			l.t.Fatal(err)
		}
		if looked+ruled == 0 {
			return
		}
	}
}

// soon lets seconds pass until it is so.
func (l *life) soon(what string, so func() bool) {
	l.t.Helper()
	for range 100 {
		if so() {
			return
		}
		l.pass(5 * time.Second)
	}
	l.t.Fatalf("not soon: %s; history %s", what, strings.Join(l.history(), " "))
}

func newLife(t *testing.T) *life {
	t.Helper()
	virtual := clock.At(time.Now().Truncate(time.Hour))
	r := newRig(t, 1, func(c *emulator.Config) { c.Now, c.HourRule = virtual.Now, emulator.SessionCeil })
	r.clock = virtual.Now
	url, stop := r.serve(false)
	t.Cleanup(stop)
	cfg := r.server(rigConfig{DatabaseURL: r.pg.AppURL, AWS: r.aws, Speed: 1, Rate: 500})
	cfg.Clock = virtual.Now
	f, err := app.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	l := &life{rig: r, t: t, clock: virtual, url: url, tokens: map[string]string{}}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	l.reconciler = &workspace.Reconciler{Fleet: f.Fleet, Log: f.Log, Clock: virtual.Now, Slog: log}
	l.sweeper = &workspace.Sweeper{Fleet: f.Fleet, Log: f.Log, Clock: virtual.Now, Slog: log}
	for _, u := range r.users("life", 1) {
		l.tokens["owner"] = u.Token
	}
	for _, u := range r.people {
		l.tokens[u.User] = u.Token
	}
	return l
}

// ask calls the API as somebody; want is the status, and code that of the problem.
func (l *life) ask(who, method, path string, body any, want int, code string) client.Workspace {
	l.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		l.t.Fatal(err)
	}
	if body == nil {
		raw = nil
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(l.t.Context()), method, l.url+"/api/v1"+path, bytes.NewReader(raw))
	if err != nil {
		l.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+l.tokens[who])
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil {
		l.t.Fatal(err)
	}
	if resp.StatusCode != want || code != "" && !strings.Contains(text.String(), `"`+code+`"`) {
		l.t.Fatalf("%s %s %s: %d %s, want %d %s", method, path, raw, resp.StatusCode, text.String(), want, code)
	}
	var ws client.Workspace
	if want < 300 {
		if err := json.Unmarshal(text.Bytes(), &ws); err != nil {
			l.t.Fatal(err)
		}
	}
	return ws
}

func (l *life) show() client.Workspace {
	l.t.Helper()
	return l.ask("owner", "GET", "/workspaces/"+l.ws, nil, 200, "")
}

func (l *life) do(op string, body any) client.Workspace {
	l.t.Helper()
	return l.ask("owner", "POST", "/workspaces/"+l.ws+"/"+op, body, map[bool]int{true: 200, false: 202}[op == "extend"], "")
}

func (l *life) patch(body map[string]any) client.Workspace {
	l.t.Helper()
	return l.ask("owner", "PATCH", "/workspaces/"+l.ws, body, 200, "")
}

func (l *life) refused(body map[string]any, status int, code string) {
	l.t.Helper()
	l.ask("owner", "PATCH", "/workspaces/"+l.ws, body, status, code)
}

// until lets time pass until it is so.
func (l *life) until(what string, step time.Duration, so func(client.Workspace) bool) client.Workspace {
	l.t.Helper()
	var ws client.Workspace
	defer func() {
		if l.t.Failed() {
			l.t.Logf("%s: it is %s (%s), amazon's %v, history %s", what, ws.State, ws.StateReason, ws.ProviderId, strings.Join(l.history(), " "))
		}
	}()
	for range 300 {
		if ws = l.show(); so(ws) {
			return ws
		}
		l.pass(step)
	}
	l.t.Fatalf("not so: %s; Amazon has %v", what, l.amazons())
	return ws
}

func is(state string) func(client.Workspace) bool {
	return func(w client.Workspace) bool { return string(w.State) == state }
}

// amazons is the WorkSpace as the emulated Amazon has it.
func (l *life) amazons() map[string]any {
	l.t.Helper()
	var out map[string]any
	l.emu("GET", "/_emu/workspaces/"+*l.show().ProviderId, nil, &out)
	return out
}

func (l *life) emu(method, path string, body, out any) {
	l.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		l.t.Fatal(err)
	}
	if body == nil {
		raw = nil
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(l.t.Context()), method, l.aws+path, bytes.NewReader(raw))
	if err != nil {
		l.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil {
		l.t.Fatal(err)
	}
	if resp.StatusCode >= 300 {
		l.t.Fatalf("%s %s: %s", method, path, text.String())
	}
	if out != nil {
		if err := json.Unmarshal(text.Bytes(), out); err != nil {
			l.t.Fatal(err)
		}
	}
}

// history is what happened, as kind:to_state:reason.
func (l *life) history() []string {
	l.t.Helper()
	rows, err := l.db.Query(l.t.Context(), `SELECT kind || ':' || to_state || ':' || reason FROM workspace_events WHERE workspace_id = $1 ORDER BY version`, l.ws)
	if err != nil {
		l.t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		l.t.Fatal(err)
	}
	return all
}

// happened tells that these are in the history, in this order.
func (l *life) happened(want ...string) {
	l.t.Helper()
	all := l.history()
	rest := all
	for _, w := range want {
		i := slices.Index(rest, w)
		if i < 0 {
			l.t.Fatalf("%s is not in the history, or not behind what it follows: %s", w, strings.Join(all, " "))
		}
		rest = rest[i+1:]
	}
}

func (l *life) launch(body map[string]any) client.Workspace {
	l.t.Helper()
	var admitted client.WorkspaceAdmitted
	raw, err := json.Marshal(body)
	if err != nil {
		l.t.Fatal(err)
	}
	c, err := client.NewClientWithResponses(l.url, client.WithRequestEditorFn(bearer(l.tokens["owner"])))
	if err != nil {
		l.t.Fatal(err)
	}
	r, err := c.CreateWorkspaceWithBodyWithResponse(l.t.Context(), &client.CreateWorkspaceParams{}, "application/json", bytes.NewReader(raw))
	if err != nil {
		l.t.Fatal(err)
	}
	if err := json.Unmarshal(r.Body, &admitted); err != nil || r.StatusCode() != http.StatusAccepted {
		l.t.Fatalf("%s: %s", r.Status(), r.Body)
	}
	l.ws = admitted.Workspace.Id
	return l.until("it is AVAILABLE", time.Minute, is("AVAILABLE"))
}

// TestEverythingThatCanBeAskedOfAWorkSpace walks through the operations, each with what Amazon makes one wait for.
func TestEverythingThatCanBeAskedOfAWorkSpace(t *testing.T) {
	l := newLife(t)
	w := l.launch(map[string]any{"blueprint": "go-dev", "bundle_type": "STANDARD", "running_mode": "AUTO_STOP", "auto_stop_timeout_minutes": 120})
	if !slices.Contains(w.AllowedOperations, "reboot") || w.Upcoming == nil || len(*w.Upcoming) == 0 {
		t.Fatalf("allowed %v, upcoming %v", w.AllowedOperations, w.Upcoming)
	}

	// What loses data must be confirmed, and what is there already is no error.
	l.do("reboot", nil)
	l.until("it reboots", 10*time.Second, is("REBOOTING"))
	l.do("reboot", nil)
	l.ask("owner", "POST", "/workspaces/"+l.ws+"/rebuild", map[string]any{"confirm": l.ws}, 409, "STATE_CONFLICT")
	l.until("it has rebooted", time.Minute, is("AVAILABLE"))
	l.ask("owner", "POST", "/workspaces/"+l.ws+"/rebuild", map[string]any{"confirm": "something else"}, 422, "CONFIRMATION_REQUIRED")
	l.happened("reboot:AVAILABLE:user", "observe:REBOOTING:user", "observe:AVAILABLE:provider")

	// Amazon's waits are known beforehand, and what it never does.
	l.refused(map[string]any{"bundle_type": "PERFORMANCE"}, 409, "CHANGE_TOO_SOON")
	l.refused(map[string]any{"root_volume_gib": 60}, 422, "CHANGE_NOT_POSSIBLE")
	l.refused(map[string]any{"bundle_type": "PERFORMANCE", "running_mode": "ALWAYS_ON"}, 422, "CHANGE_NOT_POSSIBLE")
	l.refused(map[string]any{"auto_stop_timeout_minutes": 90}, 422, "AUTO_STOP_TIMEOUT_INVALID")
	l.refused(map[string]any{"schedule": map[string]any{"timezone": "Mars/Olympus", "entries": []any{map[string]any{"action": "start", "at": "08:00", "days": []string{"MON"}}}}}, 422, "SCHEDULE_INVALID")

	// Tags and the timeout are brought to Amazon.
	l.patch(map[string]any{"tags": map[string]string{"ticket": "FORGE-1"}, "auto_stop_timeout_minutes": 180})
	l.soon("Amazon has the tags and the timeout", func() bool {
		a := l.amazons()
		tags, _ := a["tags"].(map[string]any)
		return tags["ticket"] == "FORGE-1" && tags["forge:workspace-id"] == l.ws && a["auto_stop_minutes"] == float64(180) // not money: minutes
	})

	// An extension raises the timeout, and puts it back.
	until := l.do("extend", map[string]any{"hours": 2})
	if until.ExtendedUntil == nil || !until.ExtendedUntil.Equal(l.clock.Now().Add(2*time.Hour)) && until.ExtendedUntil.Sub(l.clock.Now()) < time.Hour {
		t.Fatalf("extended until %v", until.ExtendedUntil)
	}
	l.soon("Amazon has the longer timeout", func() bool { return l.amazons()["auto_stop_minutes"] == float64(300) }) // not money: minutes
	l.emu("POST", "/_emu/workspaces/"+*w.ProviderId+"/connect", nil, nil)                                            // so that it stays
	l.pass(2 * time.Hour)
	l.soon("Amazon has its own timeout again", func() bool { return l.amazons()["auto_stop_minutes"] == float64(180) }) // not money: minutes

	// A larger bundle, once Amazon's wait is over.
	l.pass(5 * time.Hour)
	rehearsed := l.ask("owner", "PATCH", "/workspaces/"+l.ws+"?dry_run=true", map[string]any{"bundle_type": "PERFORMANCE"}, 200, "")
	if rehearsed.Change == nil || amount(t, rehearsed.Change.MonthlyFeeAfter) <= amount(t, rehearsed.Change.MonthlyFeeBefore) || l.show().Change != nil {
		t.Fatalf("rehearsed %+v", rehearsed.Change)
	}
	l.patch(map[string]any{"bundle_type": "PERFORMANCE"})
	l.refused(map[string]any{"running_mode": "ALWAYS_ON"}, 409, "OPERATION_IN_PROGRESS")
	changed := l.until("it is a PERFORMANCE", time.Minute, func(w client.Workspace) bool {
		return w.BundleType == "PERFORMANCE" && w.Change == nil && w.State == "AVAILABLE"
	})
	l.happened("change_begun:AVAILABLE:user", "changed:REBOOTING:user", "observe:AVAILABLE:provider")
	l.refused(map[string]any{"bundle_type": "POWER"}, 409, "CHANGE_TOO_SOON")
	if changed.RootVolumeGib == nil || *changed.RootVolumeGib != 80 {
		t.Errorf("root volume %v", changed.RootVolumeGib)
	}

	// Snapshots exist by now.
	l.do("restore", map[string]any{"confirm": l.ws})
	l.until("it is restored", 5*time.Minute, func(w client.Workspace) bool {
		return w.State == "AVAILABLE" && (w.UnderWay == nil || *w.UnderWay == "")
	})
	l.happened("restore:AVAILABLE:user", "observe:RESTORING:user", "observe:AVAILABLE:provider")
	l.do("image", nil)
	l.until("an image is made", 5*time.Minute, is("SUSPENDED"))
	l.until("the image is made", 5*time.Minute, is("AVAILABLE"))

	// A mode that does not stop.
	l.patch(map[string]any{"running_mode": "ALWAYS_ON"})
	w = l.until("it is ALWAYS_ON", time.Minute, func(w client.Workspace) bool { return w.RunningMode == "ALWAYS_ON" })
	l.ask("owner", "POST", "/workspaces/"+l.ws+"/stop", nil, 409, "ALWAYS_ON_CANNOT_STOP")
	l.ask("owner", "POST", "/workspaces/"+l.ws+"/extend", map[string]any{"hours": 2}, 409, "ALWAYS_ON_NEEDS_NO_EXTENSION")
	exempt := w.Upcoming != nil && slices.ContainsFunc(*w.Upcoming, func(u client.Upcoming) bool { return u.Policy == "idle" && strings.Contains(u.Why, "exempt") })
	if !exempt {
		t.Errorf("what is exempt does not say so: %+v", w.Upcoming)
	}
	l.patch(map[string]any{"running_mode": "AUTO_STOP"})
	l.until("it is AUTO_STOP again", time.Minute, func(w client.Workspace) bool { return w.RunningMode == "AUTO_STOP" })

	// Its schedule stops it, with a notice before.
	at := l.clock.Now().Add(30 * time.Minute).Truncate(time.Minute)
	l.patch(map[string]any{"schedule": map[string]any{"timezone": "UTC", "entries": []any{map[string]any{"action": "stop", "at": at.Format("15:04"), "days": []string{"MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"}}}}})
	l.until("it is stopped", time.Minute, is("STOPPED"))
	l.happened("notice:AVAILABLE:schedule", "stop:AVAILABLE:schedule", "observe:STOPPING:schedule")
	l.ask("owner", "POST", "/workspaces/"+l.ws+"/reboot", nil, 409, "STATE_CONFLICT")

	// A lead may let it live longer than its blueprint says, its owner may not.
	l.refused(map[string]any{"max_lifetime_days": 2000}, 422, "MAX_LIFETIME_INVALID")
	l.ask("lead-backend", "PATCH", "/workspaces/"+l.ws, map[string]any{"max_lifetime_days": 2000}, 200, "")

	l.patch(map[string]any{"no_schedule": true})
	l.ask("owner", "DELETE", "/workspaces/"+l.ws, nil, 202, "")
	l.until("it is gone", time.Minute, is("TERMINATED"))
	l.ask("owner", "POST", "/workspaces/"+l.ws+"/start", nil, 409, "STATE_CONFLICT")
	l.happened("terminate:STOPPED:user", "observe:TERMINATED:user")
}

const day = 24 * time.Hour

// TestWhatHappensByItself lets a WorkSpace be forgotten, kept alive, and come to the end of its lifetime, with a pause in
// between, and another be idle that Amazon's timer misses.
func TestWhatHappensByItself(t *testing.T) {
	l := newLife(t)
	l.launch(map[string]any{"blueprint": "go-dev", "running_mode": "AUTO_STOP", "auto_stop_timeout_minutes": 60, "max_lifetime_days": 90})
	ours := *l.show().ProviderId

	// Nobody comes: Amazon stops it, and after thirty days it is flagged. Being kept alive keeps it from its end.
	w := l.until("Amazon has stopped it", 5*time.Minute, is("STOPPED"))
	l.happened("observe:STOPPED:provider")
	stopped := w.UpdatedAt
	l.patch(map[string]any{"keep_alive": true})
	w = l.until("it is flagged", day/4, func(w client.Workspace) bool { return w.StaleAt != nil })
	if after := w.StaleAt.Sub(stopped); after < 30*day-time.Hour || after > 30*day+day/4+time.Hour {
		t.Errorf("flagged after %s", after)
	}
	for range 10 {
		l.pass(day)
	}
	if w = l.show(); w.State != "STOPPED" {
		t.Fatalf("kept alive, it is %s", w.State)
	}

	// Somebody uses it: it is not forgotten any more.
	l.emu("POST", "/_emu/workspaces/"+ours+"/connect", nil, nil)
	l.pass(10 * time.Minute)
	l.emu("POST", "/_emu/workspaces/"+ours+"/disconnect", nil, nil)
	w = l.until("it is known to have been used", 10*time.Minute, func(w client.Workspace) bool { return w.StaleAt == nil })
	l.happened("flag:STOPPED:stale", "used:AVAILABLE:stale")
	l.patch(map[string]any{"keep_alive": false})
	l.until("it is stopped again", 10*time.Minute, is("STOPPED"))

	// All terminations are paused while its lifetime ends. Then the last notice comes first.
	l.ask("admin", "POST", "/policies/terminations/pause", map[string]any{"reason": "the audit"}, 200, "")
	l.ask("owner", "POST", "/policies/terminations/resume", nil, 403, "FORBIDDEN")
	for l.clock.Now().Before(w.CreatedAt.Add(91 * day)) {
		l.pass(day)
	}
	w = l.show()
	if w.State != "STOPPED" || w.Upcoming == nil || (*w.Upcoming)[0].Paused == nil || *(*w.Upcoming)[0].Paused != "the audit" {
		t.Fatalf("paused, it is %s, upcoming %+v", w.State, w.Upcoming)
	}
	l.ask("admin", "POST", "/policies/terminations/resume", nil, 200, "")
	l.pass(10 * time.Minute)
	if w = l.show(); w.Desired == "TERMINATED" {
		t.Fatal("it ends without its last notice")
	}
	l.happened("notice:STOPPED:lifetime")
	l.until("it is ended", 10*time.Minute, is("TERMINATED"))
	l.happened("notice:STOPPED:lifetime", "terminate:STOPPED:lifetime", "observe:TERMINATED:lifetime")
}

// TestAForgottenWorkSpaceEnds lets one be forgotten to its end, with its notices.
func TestAForgottenWorkSpaceEnds(t *testing.T) {
	l := newLife(t)
	l.launch(map[string]any{"blueprint": "go-dev", "running_mode": "AUTO_STOP", "auto_stop_timeout_minutes": 60})
	stopped := l.until("Amazon has stopped it", 5*time.Minute, is("STOPPED")).UpdatedAt
	for l.clock.Now().Before(stopped.Add(29 * day)) {
		l.pass(day)
	}
	// A month begins after its end in so many days, whatever today is: its fee is saved.
	foreseen, err := workspace.Simulate(t.Context(), l.forge.Pool, workspace.Filter{}, l.clock.Now(), 45, workspace.WhatIf{})
	if err != nil {
		t.Fatal(err)
	}
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if _, err := workspace.Simulate(late, l.forge.Pool, workspace.Filter{}, l.clock.Now(), 45, workspace.WhatIf{}); !errors.Is(err, workspace.ErrTooLarge) {
		t.Errorf("a simulation that takes too long: %v", err)
	}
	w := l.until("it is flagged", day/4, func(w client.Workspace) bool { return w.StaleAt != nil })
	if u := *w.Upcoming; u[0].Policy != "stale" || u[0].At == nil || !u[0].At.Equal(w.StaleAt.Add(7*day)) {
		t.Errorf("upcoming %+v", u)
	}
	l.until("it is ended", day/4, is("TERMINATED"))
	l.happened("flag:STOPPED:stale", "notice:STOPPED:stale", "terminate:STOPPED:stale", "observe:TERMINATED:stale")

	// What was foreseen is what has happened, when time passed in quarters of days.
	rows, err := l.db.Query(t.Context(), `SELECT kind, at FROM workspace_events WHERE workspace_id = $1 AND kind IN ('flag', 'notice', 'terminate') ORDER BY version`, l.ws)
	if err != nil {
		t.Fatal(err)
	}
	type deed struct {
		Kind string
		At   time.Time
	}
	done, err := pgx.CollectRows(rows, pgx.RowToStructByPos[deed])
	if err != nil {
		t.Fatal(err)
	}
	if len(foreseen.Deeds) != len(done) {
		t.Fatalf("foreseen %+v, done %+v", foreseen.Deeds, done)
	}
	slices.SortFunc(foreseen.Deeds, func(a, b workspace.SimulatedDeed) int { return a.At.Compare(b.At) })
	for i, d := range foreseen.Deeds {
		if late := done[i].At.Sub(d.At); d.Action != done[i].Kind || late < 0 || late > day {
			t.Errorf("foreseen %s at %v, done %s at %v", d.Action, d.At, done[i].Kind, done[i].At)
		}
	}
	if saved := foreseen.EstimatedWithout - foreseen.EstimatedWith; saved <= 0 || foreseen.Policies[1].Terminations != 1 || foreseen.Policies[1].EstimatedSaving != saved ||
		len(foreseen.Teams) != 1 || foreseen.Teams[0].Terminations != 1 || foreseen.Teams[0].EstimatedSaving != saved {
		t.Errorf("would save %s: %+v, %+v", saved, foreseen.Policies, foreseen.Teams)
	}
}

// TestAnAdminAdoptsAWorkSpace takes over one that somebody made by hand, and one that is in the place of a request.
func TestAnAdminAdoptsAWorkSpace(t *testing.T) {
	l := newLife(t)
	theirs := func(user string) string {
		var made struct {
			ID string `json:"id"`
		}
		l.emu("POST", "/_emu/workspaces", map[string]any{"user": user, "directory": rigDirectory, "running_mode": "AUTO_STOP", "auto_stop_minutes": 60}, &made)
		return made.ID
	}
	byHand := theirs("ada")
	l.pass(30 * time.Minute)
	adopt := map[string]any{"provider_id": byHand, "region": rigRegion, "blueprint": "go-dev"}
	l.ask("owner", "POST", "/workspaces/adopt", adopt, 403, "FORBIDDEN")
	l.ask("admin", "POST", "/workspaces/adopt", map[string]any{"provider_id": "ws-000000000", "region": rigRegion, "blueprint": "go-dev"}, 404, "PROVIDER_WORKSPACE_NOT_FOUND")
	w := l.ask("admin", "POST", "/workspaces/adopt", adopt, 202, "")
	l.tokens["owner"], l.ws = l.tokens["ada"], w.Id
	l.soon("it is ours", func() bool {
		tags, _ := l.amazons()["tags"].(map[string]any)
		return l.show().State == "AVAILABLE" && tags["forge:workspace-id"] == w.Id
	})
	if got := l.show(); got.UserName != "ada" || amount(t, got.CostToDate) == 0 {
		t.Errorf("adopted: %+v", got)
	}
	l.ask("admin", "POST", "/workspaces/adopt", adopt, 409, "WORKSPACE_MARKED")

	inTheWay := theirs("grace")
	l.pass(30 * time.Minute)
	l.tokens["owner"] = l.tokens["grace"]
	c, err := client.NewClientWithResponses(l.url, client.WithRequestEditorFn(bearer(l.tokens["grace"])))
	if err != nil {
		t.Fatal(err)
	}
	l.ws = launch(t, c, client.WorkspaceCreate{Blueprint: "go-dev"}).Id
	l.until("its place is taken", time.Minute, is("CONFLICT"))
	l.ask("admin", "POST", "/workspaces/adopt", map[string]any{"provider_id": inTheWay, "region": rigRegion}, 202, "")
	w = l.until("it has what was in its place", 10*time.Second, is("AVAILABLE"))
	if w.ProviderId == nil || *w.ProviderId != inTheWay {
		t.Errorf("it has %v, not %s", w.ProviderId, inTheWay)
	}
}
