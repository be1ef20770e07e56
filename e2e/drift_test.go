package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/app"
	"github.com/robco-forge/forge/internal/aws/emulator"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/workspace"
)

func TestEveryKindOfDriftIsFoundAtOnceAndNothingIsConcludedFromASweepThatBreaks(t *testing.T) {
	allDrift(t, 600)
}

// plot is what a WorkSpace in the test is there for. Of each fifty, one has each of the first plots and the others none.
type plot int

const (
	tagsLost plot = iota
	tagsTaken
	terminatedOutside
	startedOutside
	modeChanged
	sizeChanged
	volumesChanged
	stoppedOutside
	orphanByTags
	orphanByID
	foreign
	otherInstallation
	duplicate
	notTakenOverYet
	sizeChanging
	newAndMissing
	terminatingAndMissing
	tagsOfUserLost
	ordinary
)

// drifter is one WorkSpace of the test: a row, or what Amazon has, or both.
type drifter struct {
	plot       plot
	user       string
	intent     id.WorkSpace
	providerID string
}

type driftRig struct {
	*rig
	sweeps *workspace.Drift
	forge  *app.Forge
	people []app.Credential
	all    []drifter
}

// allDrift has n WorkSpaces with every kind of drift among them looked at by sweeps that break and by sweeps that do not.
func allDrift(t *testing.T, n int) {
	t.Helper()
	began := time.Now()
	r := &driftRig{rig: newRig(t, 600, func(c *emulator.Config) { c.Quota = 2 * n })}
	var err error
	if r.forge, err = app.New(t.Context(), r.server(rigConfig{DatabaseURL: r.pg.AppURL, AWS: r.aws, Speed: 1, Rate: 10_000})); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.forge.Close)
	if r.people, err = r.forge.Seed(t.Context(), filepath.Join(r.dir, "credentials.json")); err != nil {
		t.Fatal(err)
	}
	r.sweeps = &workspace.Drift{Fleet: r.forge.Fleet, Log: r.forge.Log, Clock: clock.System, Slog: slog.New(slog.DiscardHandler), Tags: n / 2}
	r.populate(n)
	t.Logf("%d WorkSpaces, %d to a plot, after %s", n, len(r.with(tagsLost)), time.Since(began).Round(time.Millisecond))

	pages := (n - len(r.with(terminatedOutside, newAndMissing, terminatingAndMissing)) + 24) / 25
	for _, fault := range []map[string]any{
		{"kind": "http500", "nth": pages / 2},
		{"kind": "expire_token", "nth": pages / 3},
		{"kind": "truncate_body", "nth": pages - 1},
		{"kind": "access_denied", "nth": 1},
	} {
		fault["op"] = "DescribeWorkspaces"
		r.admin(http.MethodPost, "/_emu/faults", fault, &struct{}{})
		r.concludesNothing(fault["kind"])
	}
	// A quarter of what is there is not what the rows have: as if another account's were shown.
	r.exec(`UPDATE workspaces SET provider_id = 'x' || provider_id WHERE terminated_at IS NULL AND right(directory_user, 1)::integer % 4 = 1`)
	r.concludesNothing("much is missing")
	r.concludesNothing("still")
	r.exec(`UPDATE workspaces SET provider_id = ltrim(provider_id, 'x') WHERE provider_id LIKE 'x%'`)
	var told int
	r.scan(`SELECT count(*) FROM notifications WHERE kind = 'drift.doubt'`, &told)
	if told != 1 { // there is one admin
		t.Errorf("the admin was told %d times that much is missing at once", told)
	}

	// Somebody else takes the directory over in the middle, and the process ends in the middle.
	r.midway(func(func()) { r.exec(`UPDATE drift_sweeps SET lease_token = 'lease_other'`) })
	var token string
	r.scan(`SELECT lease_token FROM drift_sweeps`, &token)
	if token != "lease_other" || len(r.open()) > 0 {
		t.Errorf("who had lost the lease %q went on", token)
	}
	r.exec(`UPDATE drift_sweeps SET lease_token = NULL, lease_until = NULL`)
	r.midway(func(end func()) { end() })
	if one := r.latest(); one.Complete || one.DueAt.After(time.Now()) || !strings.HasPrefix(one.Error, "interrupted") || one.LeaseUntil != nil || len(r.open()) > 0 {
		t.Errorf("the process ended: %+v", one)
	}

	// The lease of one that died keeps everybody away until it is over, and then one of two goes on.
	r.exec(`UPDATE drift_sweeps SET due_at = now(), lease_token = 'lease_dead', lease_until = now() + interval '1 minute'`)
	if n := r.round(); n != 0 {
		t.Error("a directory that is leased was taken")
	}
	r.exec(`UPDATE drift_sweeps SET lease_until = now()`)
	// One that is there is left out of an answer that is complete otherwise.
	leftOut := r.all[49]
	r.admin(http.MethodPost, "/_emu/faults", map[string]any{"kind": "omit_from_page", "op": "DescribeWorkspaces", "workspace": leftOut.providerID}, &struct{}{})
	mark := int64(0)
	if before := r.requestsSince(0); len(before) > 0 {
		mark = before[len(before)-1].Seq
	}
	var took atomic.Int64
	var both sync.WaitGroup
	began = time.Now()
	for range 2 {
		both.Go(func() { took.Add(int64(r.round())) })
	}
	both.Wait()
	if took.Load() != 1 {
		t.Errorf("%d of two replicas were at one directory", took.Load())
	}
	one := r.latest()
	if !one.Complete || one.Error != "" || one.Pages < pages {
		t.Errorf("%+v", one)
	}
	t.Logf("a complete sweep: %d pages, %d WorkSpaces, %s", one.Pages, one.Seen, time.Since(began).Round(time.Millisecond))
	r.onlyDescribed(mark)

	// Half of the tags have had their turn; all else is known.
	want := map[string][]string{
		"TERMINATED_OUTSIDE": sorted(append(r.with(terminatedOutside), leftOut.providerID)), "STARTED_OUTSIDE": r.with(startedOutside), "MODE_CHANGED": r.with(modeChanged),
		"SIZE_CHANGED": r.with(sizeChanged), "VOLUMES_CHANGED": r.with(volumesChanged), "ORPHAN": r.with(orphanByTags, orphanByID),
		"FOREIGN": r.with(foreign, otherInstallation), "DUPLICATE": r.with(duplicate),
	}
	open := r.open()
	first := open["LOST_TAGS"]
	delete(open, "LOST_TAGS")
	if d := cmp.Diff(want, open); d != "" {
		t.Errorf("after one complete sweep:\n%s", d)
	}
	looks := append(r.owners(terminatedOutside, startedOutside, modeChanged, sizeChanged, volumesChanged, stoppedOutside, notTakenOverYet), string(leftOut.intent))
	retagged := r.ownersOf(first, r.with(tagsTaken))
	if d := cmp.Diff(sorted(append(looks, retagged...)), r.due()); d != "" {
		t.Errorf("due after one complete sweep:\n%s", d)
	}
	r.sweep()
	want["TERMINATED_OUTSIDE"] = r.with(terminatedOutside)
	want["LOST_TAGS"] = sorted(slices.Concat(r.with(tagsLost, tagsTaken, tagsOfUserLost)))
	if d := cmp.Diff(want, r.open()); d != "" {
		t.Errorf("after two complete sweeps:\n%s", d)
	}
	if len(first) == 0 || len(first) == len(want["LOST_TAGS"]) {
		t.Errorf("%d of %d lost tags were found in the first sweep, which reads half of them", len(first), len(want["LOST_TAGS"]))
	}
	r.table()
	r.overAPI(len(want["FOREIGN"]))
	r.repair()

	r.sweep()
	r.sweep()
	if d := cmp.Diff(map[string][]string{
		"STARTED_OUTSIDE": want["STARTED_OUTSIDE"], "FOREIGN": r.with(otherInstallation), "ORPHAN": want["ORPHAN"], "DUPLICATE": want["DUPLICATE"],
		"LOST_TAGS": r.with(tagsTaken),
	}, r.open()); d != "" {
		t.Errorf("after the repair:\n%s", d)
	}
	each := len(r.with(tagsLost))
	if d := cmp.Diff(map[string]int{
		"TERMINATED_OUTSIDE confirmed": each, "TERMINATED_OUTSIDE seen again": 1, "MODE_CHANGED changed back": each, "SIZE_CHANGED adopted": each, "VOLUMES_CHANGED adopted": each,
		"LOST_TAGS repaired": 2 * each, "FOREIGN not shown any more": each,
	}, r.resolved()); d != "" {
		t.Errorf("resolved:\n%s", d)
	}
	r.table()
	r.recorded()
	r.untouched()
}

// concludesNothing checks that a sweep does not.
func (r *driftRig) concludesNothing(because any) {
	r.t.Helper()
	r.sweep()
	one := r.latest()
	if one.Complete || one.Error == "" || one.CompletedAt != nil || one.DueAt.Before(time.Now()) {
		r.t.Errorf("%v: %+v", because, one)
	}
	if open := r.open(); len(open) > 0 {
		r.t.Errorf("%v: %d kinds of drift were concluded", because, len(open))
	}
	if due := r.due(); len(due) > 0 {
		r.t.Errorf("%v: %d rows were made due", because, len(due))
	}
	r.t.Logf("%-15s %3d pages, %4d WorkSpaces, nothing concluded: %.90s", because, one.Pages, one.Seen, one.Error)
}

// midway does something in the middle of a sweep, which may be to end it, and waits for the sweep's end.
func (r *driftRig) midway(do func(end func())) {
	r.t.Helper()
	r.exec(`UPDATE drift_sweeps SET due_at = now(), pages = 0`)
	r.admin(http.MethodPost, "/_emu/faults", map[string]any{"kind": "delay", "op": "DescribeWorkspaces", "nth": 5, "delay_ms": 1000}, &struct{}{})
	ctx, cancel := context.WithCancel(actor.With(r.t.Context(), actor.System("drift")))
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := r.sweeps.Round(ctx)
		ended <- err
	}()
	eventually(r.t, "the sweep is in the middle", func() bool { return r.latest().Pages >= 4 })
	do(cancel)
	if err := <-ended; err != nil {
		r.t.Error(err)
	}
}

// populate makes the WorkSpaces and their rows, and then the drift between them.
func (r *driftRig) populate(n int) {
	r.t.Helper()
	var items []types.WorkspaceRequest
	for i := range n {
		d := drifter{plot: min(plot(i%50), ordinary), user: fmt.Sprintf("u%05d", i), intent: id.New[id.WorkSpace]()}
		r.all = append(r.all, d)
	}
	for i, d := range r.all {
		tags := map[string]string{"forge:workspace-id": string(d.intent), "forge:origin": rigOrigin, "ticket": "FORGE-1"}
		switch d.plot {
		case foreign:
			tags = map[string]string{"owner": "somebody"}
		case otherInstallation:
			tags["forge:origin"] = "forge.other/audit"
		case duplicate: // of the ordinary one at the end of its fifty
			tags["forge:workspace-id"] = string(r.all[i-i%50+49].intent)
		default:
		}
		in := types.WorkspaceRequest{
			BundleId: aws.String("wsb-v26vg2847"), DirectoryId: aws.String(rigDirectory), UserName: aws.String(d.user),
			WorkspaceProperties: &types.WorkspaceProperties{RunningMode: types.RunningModeAutoStop, RunningModeAutoStopTimeoutInMinutes: aws.Int32(60)},
		}
		for k, v := range tags {
			in.Tags = append(in.Tags, types.Tag{Key: aws.String(k), Value: aws.String(v)})
		}
		items = append(items, in)
	}
	// An answer that was lost is asked for again by the SDK, and then the user has one: what counts is what is there.
	var refused []types.FailedCreateWorkspaceRequest
	for batch := range slices.Chunk(items, 25) {
		out, err := r.amazon().CreateWorkspaces(r.t.Context(), &workspaces.CreateWorkspacesInput{Workspaces: batch})
		if err != nil {
			r.t.Fatal(err)
		}
		refused = append(refused, out.FailedRequests...)
	}
	made := map[string]string{}
	all := workspaces.NewDescribeWorkspacesPaginator(r.amazon(), &workspaces.DescribeWorkspacesInput{})
	for all.HasMorePages() {
		page, err := all.NextPage(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		for _, w := range page.Workspaces {
			made[*w.UserName] = *w.WorkspaceId
		}
	}
	for _, f := range refused {
		if made[*f.WorkspaceRequest.UserName] == "" {
			r.t.Fatalf("%s: %s: %s", *f.WorkspaceRequest.UserName, aws.ToString(f.ErrorCode), aws.ToString(f.ErrorMessage))
		}
	}
	for i := range r.all {
		r.all[i].providerID = made[r.all[i].user]
	}
	r.insert()
	r.passes(5 * time.Minute) // they boot, and may be changed
	for _, d := range r.all {
		at := "/_emu/workspaces/" + d.providerID
		switch d.plot {
		case tagsLost:
			r.admin(http.MethodDelete, at+"/tags", nil, &struct{}{})
		case tagsTaken:
			r.admin(http.MethodPut, at+"/tags", map[string]any{"tags": map[string]string{"forge:workspace-id": "none"}}, &struct{}{})
		case tagsOfUserLost:
			r.admin(http.MethodPut, at+"/tags", map[string]any{"tags": map[string]string{"forge:workspace-id": string(d.intent), "forge:origin": rigOrigin}}, &struct{}{})
		case terminatedOutside, newAndMissing, terminatingAndMissing:
			r.admin(http.MethodPost, at+"/terminate", nil, &struct{}{})
		case stoppedOutside:
			r.admin(http.MethodPost, at+"/stop", nil, &struct{}{})
		case modeChanged:
			r.admin(http.MethodPost, at+"/modify", map[string]any{"running_mode": "ALWAYS_ON"}, &struct{}{})
		case sizeChanged, sizeChanging:
			r.admin(http.MethodPost, at+"/modify", map[string]any{"compute": "POWER"}, &struct{}{})
		case volumesChanged:
			r.admin(http.MethodPost, at+"/modify", map[string]any{"user_gib": 100}, &struct{}{})
		default:
		}
	}
	r.passes(5 * time.Minute)
}

// insert makes the rows as they were before anything drifted, two hours old and due tomorrow.
func (r *driftRig) insert() {
	r.t.Helper()
	var batch pgx.Batch
	for _, d := range r.all {
		provider, state, desired, change, changeTo, accepted := &d.providerID, "AVAILABLE", "AVAILABLE", "", "", 2*time.Hour
		ended := false
		switch d.plot {
		case foreign, otherInstallation, duplicate:
			continue
		case startedOutside:
			state, desired = "STOPPED", "STOPPED"
		case orphanByTags:
			state, desired, provider, ended = "FAILED", "TERMINATED", nil, true
		case orphanByID:
			state, desired, ended = "TERMINATED", "TERMINATED", true
		case notTakenOverYet:
			state, provider = "PENDING", nil
		case sizeChanging:
			change, changeTo = "bundle_type", "POWER"
		case newAndMissing:
			accepted = 0
		case terminatingAndMissing:
			state, desired = "TERMINATING", "TERMINATED"
		default:
		}
		batch.Queue(`
			INSERT INTO workspaces (id, name, user_id, team_id, cost_centre, blueprint_version_id, service_type, bundle_type, operating_system, license,
			                        running_mode, region, directory_id, directory_user, root_gib, user_gib, auto_stop_timeout_minutes, tags, desired, state,
			                        state_reason, provider_id, observed_at, change, change_to, version, next_due_at, created_at, updated_at, state_since,
			                        accepted_at, available_at, terminated_at)
			SELECT $1, $1, u.id, u.team_id, 'cc', v.id, 'WORKSPACES_PERSONAL', 'STANDARD', 'WINDOWS', 'INCLUDED',
			       'AUTO_STOP', $2, $3, $4, 80, 50, 60, '{"ticket": "FORGE-1"}', $5, $6,
			       'seeded', $7, t.at, $8, $9, 1, CASE WHEN NOT $11 THEN now() + interval '1 day' END, t.at, t.at, t.at,
			       now() - $10::interval, t.at, CASE WHEN $11 THEN t.at END
			FROM (SELECT now() - interval '2 hours' AS at) t, (SELECT id, team_id FROM users WHERE user_name = 'ada') u, (SELECT id FROM blueprint_versions LIMIT 1) v`,
			d.intent, rigRegion, rigDirectory, d.user, desired, state, provider, change, changeTo, accepted, ended)
	}
	if err := r.db.SendBatch(r.t.Context(), &batch).Close(); err != nil {
		r.t.Fatal(err)
	}
}

// repair does what people and the reconciler do about the drift.
func (r *driftRig) repair() {
	r.t.Helper()
	for _, d := range r.all {
		switch d.plot {
		case tagsLost, tagsOfUserLost:
			var again bool
			r.scan(`SELECT retag FROM workspaces WHERE id = $1`, &again, d.intent)
			if !again {
				r.t.Errorf("%s is not to be tagged again", d.intent)
			}
			if err := r.forge.Fleet.Provider.Tag(r.t.Context(), rigRegion, d.providerID, d.intent, map[string]string{"ticket": "FORGE-1"}); err != nil {
				r.t.Error(err)
			}
		case modeChanged: // somebody changes it back
			r.admin(http.MethodPost, "/_emu/workspaces/"+d.providerID+"/modify", map[string]any{"running_mode": "AUTO_STOP"}, &struct{}{})
		case sizeChanged: // Forge takes it over, and the volumes
			r.exec(`UPDATE workspaces SET bundle_type = 'POWER' WHERE id = $1`, d.intent)
		case volumesChanged:
			r.exec(`UPDATE workspaces SET user_gib = 100 WHERE id = $1`, d.intent)
		case foreign: // its owner ends it
			r.admin(http.MethodPost, "/_emu/workspaces/"+d.providerID+"/terminate", nil, &struct{}{})
		default:
		}
	}
	r.passes(5 * time.Minute)
	// The reconciler's own looks decide about what is missing.
	r.exec(`UPDATE workspaces SET next_due_at = now() + interval '1 day' WHERE next_due_at IS NOT NULL`)
	r.exec(`UPDATE workspaces SET next_due_at = now() WHERE provider_id = ANY($1)`, r.with(terminatedOutside))
	fleet := *r.forge.Fleet
	fleet.Speed = r.speed
	reconciler := &workspace.Reconciler{Fleet: &fleet, Log: r.forge.Log, Clock: clock.System, Slog: slog.New(slog.DiscardHandler)}
	eventually(r.t, "what was terminated outside has ended", func() bool {
		if _, err := reconciler.Round(actor.With(r.t.Context(), actor.System("reconcile"))); err != nil {
			r.t.Fatal(err)
		}
		var left int
		r.scan(`SELECT count(*) FROM workspaces WHERE provider_id = ANY($1) AND terminated_at IS NULL`, &left, r.with(terminatedOutside))
		return left == 0
	})
}

// overAPI asks for a sweep and reads the list as those may who may, and as somebody who may not.
func (r *driftRig) overAPI(strangers int) {
	r.t.Helper()
	url, stop := r.serve(false)
	defer stop()
	get := func(user, path string) (int, client.FindingList) {
		raw := r.http(user, http.MethodGet, url+path, "")
		var list client.FindingList
		if err := json.Unmarshal([]byte(raw.body), &list); err != nil {
			r.t.Fatal(err)
		}
		return raw.status, list
	}
	if status, _ := get("ada", "/api/v1/drift"); status != http.StatusForbidden {
		r.t.Errorf("an engineer reads drift: %d", status)
	}
	for _, user := range []string{"admin", "auditor"} {
		var found []client.Finding
		for cursor := ""; ; {
			status, page := get(user, "/api/v1/drift?kind=FOREIGN&limit=10"+cursor)
			if status != http.StatusOK || len(page.Sweeps) != 1 || !page.Sweeps[0].Complete {
				r.t.Fatalf("%s: %d %+v", user, status, page)
			}
			found = append(found, page.Items...)
			if page.NextCursor == nil {
				// STANDARD with AUTO_STOP is 9.75 a month.
				if want := fmt.Sprintf("%d.%02d0000", strangers*975/100, strangers*975%100); page.MonthlyCost.Amount != want {
					r.t.Errorf("%d strangers cost %s a month, not %s", strangers, page.MonthlyCost.Amount, want)
				}
				break
			}
			cursor = "&cursor=" + *page.NextCursor
		}
		if len(found) != strangers || found[0].UserName == nil || found[0].Advice == "" || found[0].Details["estimate"] != true {
			r.t.Errorf("%s: %d of %d, %+v", user, len(found), strangers, found[0])
		}
	}
	if a := r.http("auditor", http.MethodPost, url+"/api/v1/drift/sweeps", "{}"); a.status != http.StatusForbidden {
		r.t.Errorf("an auditor has directories looked at: %d", a.status)
	}
	if a := r.http("admin", http.MethodPost, url+"/api/v1/drift/sweeps", `{"region":"mars-1"}`); a.status != http.StatusUnprocessableEntity || a.code(r.t) != "REGION_NOT_CONFIGURED" {
		r.t.Errorf("%d %s", a.status, a.body)
	}
	if a := r.http("admin", http.MethodPost, url+"/api/v1/drift/sweeps", `{}`); a.status != http.StatusAccepted {
		r.t.Errorf("%d %s", a.status, a.body)
	}
	if one := r.latest(); one.DueAt.After(time.Now()) {
		r.t.Errorf("the directory is due at %s", one.DueAt)
	}
}

// http asks as a demo user.
func (r *driftRig) http(user, method, url, body string) answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for _, c := range r.people {
		if c.User == user {
			req.Header.Set("Authorization", "Bearer "+c.Token)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header.Get("Content-Type"), string(b), resp.Header}
}

// with are Amazon's ids of the WorkSpaces of some plots.
func (r *driftRig) with(plots ...plot) []string {
	var ids []string
	for _, d := range r.all {
		if slices.Contains(plots, d.plot) {
			ids = append(ids, d.providerID)
		}
	}
	return sorted(ids)
}

// owners are the ids of the rows of some plots.
func (r *driftRig) owners(plots ...plot) []string {
	var ids []string
	for _, d := range r.all {
		if slices.Contains(plots, d.plot) {
			ids = append(ids, string(d.intent))
		}
	}
	return ids
}

// ownersOf are the rows of some of Amazon's ids, but for others.
func (r *driftRig) ownersOf(providerIDs, but []string) []string {
	var ids []string
	for _, d := range r.all {
		if slices.Contains(providerIDs, d.providerID) && !slices.Contains(but, d.providerID) {
			ids = append(ids, string(d.intent))
		}
	}
	return ids
}

func sorted(ids []string) []string {
	slices.Sort(ids)
	return ids
}

// passes has time pass at Amazon, where all but timeouts goes 600 times faster.
func (r *driftRig) passes(d time.Duration) {
	r.t.Helper()
	r.admin(http.MethodPost, "/_emu/clock", map[string]any{"advance_ms": d.Milliseconds()}, &struct{}{})
}

// round looks at a directory that is due.
func (r *driftRig) round() int {
	r.t.Helper()
	n, err := r.sweeps.Round(actor.With(r.t.Context(), actor.System("drift")))
	if err != nil {
		r.t.Error(err)
	}
	return n
}

// sweep looks at the directory now.
func (r *driftRig) sweep() {
	r.t.Helper()
	r.exec(`UPDATE drift_sweeps SET due_at = now()`)
	if n := r.round(); n != 1 {
		r.t.Errorf("%d directories were looked at", n)
	}
}

func (r *driftRig) latest() workspace.Sweep {
	r.t.Helper()
	all, err := workspace.Sweeps(r.t.Context(), r.forge.Pool)
	if err != nil || len(all) != 1 {
		r.t.Fatalf("%v %+v", err, all)
	}
	return all[0]
}

func (r *driftRig) exec(sql string, args ...any) {
	r.t.Helper()
	if _, err := r.db.Exec(r.t.Context(), sql, args...); err != nil {
		r.t.Fatal(err)
	}
}

func (r *driftRig) scan(sql string, into any, args ...any) {
	r.t.Helper()
	if err := r.db.QueryRow(r.t.Context(), sql, args...).Scan(into); err != nil {
		r.t.Fatal(err)
	}
}

// open are Amazon's ids of what the open findings are about, by kind.
func (r *driftRig) open() map[string][]string {
	r.t.Helper()
	open := map[string][]string{}
	for _, line := range r.lines(`SELECT kind || ' ' || provider_id FROM drift_findings WHERE resolved_at IS NULL ORDER BY provider_id`) {
		kind, providerID, _ := strings.Cut(line, " ")
		open[kind] = append(open[kind], providerID)
	}
	return open
}

// resolved counts what was found and is so no more, by kind and why.
func (r *driftRig) resolved() map[string]int {
	r.t.Helper()
	over := map[string]int{}
	for _, line := range r.lines(`SELECT kind || ' ' || resolution FROM drift_findings WHERE resolved_at IS NOT NULL`) {
		over[line]++
	}
	return over
}

// lines are the rows of a query that has one column of text.
func (r *driftRig) lines(sql string) []string {
	r.t.Helper()
	rows, err := r.db.Query(r.t.Context(), sql)
	if err != nil {
		r.t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		r.t.Fatal(err)
	}
	return found
}

// due are the rows that are to be looked at now.
func (r *driftRig) due() []string {
	r.t.Helper()
	return r.lines(`SELECT id FROM workspaces WHERE next_due_at <= now() ORDER BY id COLLATE "C"`)
}

// table logs what is open and what is over, by kind.
func (r *driftRig) table() {
	r.t.Helper()
	lines := r.lines(`
		SELECT format('%-20s %5s open %5s over %12s USD a month', kind, count(*) FILTER (WHERE resolved_at IS NULL), count(resolved_at),
		              coalesce((sum(monthly_micros) FILTER (WHERE resolved_at IS NULL) / 1000000)::numeric(12, 2)::text, '-'))
		FROM drift_findings
		GROUP BY kind
		ORDER BY kind`)
	r.t.Logf("findings:\n  %s", strings.Join(lines, "\n  "))
}

type requestSeen struct {
	Seq int64
	Op  string
}

func (r *driftRig) requestsSince(seq int64) []requestSeen {
	r.t.Helper()
	var seen struct{ Requests []requestSeen }
	r.admin(http.MethodGet, fmt.Sprintf("/_emu/requests?since=%d", seq), nil, &seen)
	return seen.Requests
}

// onlyDescribed checks that Amazon was only looked at.
func (r *driftRig) onlyDescribed(mark int64) {
	r.t.Helper()
	calls := map[string]int{}
	for _, q := range r.requestsSince(mark) {
		calls[q.Op]++
	}
	r.t.Logf("calls: %v", calls)
	for op := range calls {
		if op != "DescribeWorkspaces" && op != "DescribeTags" {
			r.t.Errorf("a sweep called %s", op)
		}
	}
}

// recorded checks that each finding is in the audit log when it was found and when it was resolved, without a person's
// name, and that the admin was told of each that costs what nobody has admitted.
func (r *driftRig) recorded() {
	r.t.Helper()
	var differs []string
	r.scan(`
		SELECT coalesce(array_agg(what), '{}')
		FROM (
			SELECT 'not found ' || id AS what FROM drift_findings f
			WHERE (SELECT count(*) FROM audit_logs a WHERE a.action_type = 'drift.found' AND a.resource_id = f.id) <> 1
			UNION ALL
			SELECT 'not resolved ' || id FROM drift_findings f
			WHERE (SELECT count(*) FROM audit_logs a WHERE a.action_type = 'drift.resolved' AND a.resource_id = f.id) <> (f.resolved_at IS NOT NULL)::integer
			UNION ALL
			SELECT 'told ' || f.id FROM drift_findings f
			WHERE (SELECT count(*) FROM notifications n, jsonb_array_elements(n.payload->'findings') x WHERE n.kind = 'drift.found' AND x->>'id' = f.id)
			      <> (f.kind IN ('FOREIGN', 'ORPHAN', 'DUPLICATE'))::integer
			UNION ALL
			SELECT 'named ' || a.resource_id FROM audit_logs a
			WHERE a.action_type LIKE 'drift.%' AND convert_from(a.leaf, 'UTF8') ~ 'u[0-9]{5}'
			LIMIT 5) d`, &differs)
	if len(differs) > 0 {
		r.t.Errorf("%v", differs)
	}
}

// untouched checks that Amazon has everything that nobody outside has ended, and that nothing but tags was changed.
func (r *driftRig) untouched() {
	r.t.Helper()
	has := map[string]string{}
	for _, d := range r.desktops() {
		has[d.ID] = d.State
	}
	for _, d := range r.all {
		want := "AVAILABLE"
		switch d.plot {
		case terminatedOutside, newAndMissing, terminatingAndMissing, foreign:
			want = ""
		case stoppedOutside:
			want = "STOPPED"
		default:
		}
		if has[d.providerID] != want {
			r.t.Errorf("%s, plot %d, is %q, not %q", d.providerID, d.plot, has[d.providerID], want)
		}
	}
}
