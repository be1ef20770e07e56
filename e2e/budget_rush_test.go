package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/app"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/aws/emulator"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/postgres"
)

// TestARushOverspendsNoBudget is the reduction of `make prove-budgets`.
func TestARushOverspendsNoBudget(t *testing.T) {
	rushOn(t, rushConfig{users: 120, teams: 8, waves: 2, seed: 20261201, speed: chaosSpeed})
}

type rushConfig struct {
	users, teams, waves int
	seed                uint64
	// teamsOnly gives the organisation room for all, and has no budget that only warns.
	teamsOnly bool
	speed     int
}

// rush is many people who ask for WorkSpaces at once, over budgets that overlap and have room for some of them, while
// people give up, limits are changed and one of two servers is killed again and again.
type rush struct {
	*rig
	cfg    rushConfig
	began  time.Time
	people []*rusher
	client *http.Client

	mu      sync.Mutex
	servers [2]*serverProcess
	kills   int
	answers map[string]int
}

// rusher is one of them.
type rusher struct {
	app.Credential
	id, team, project string // ids
	projectName       string
	random            *rand.Rand
	ws                string
	keys              int
	asked             []attempt
	gaveUp            []attempt // without an answer
}

// attempt is one request for a WorkSpace. It may be a repetition: first is when its key was sent for the first time.
type attempt struct {
	first, call, back time.Duration
	key               string
	request, code     string
	status            int
	replayed          bool
	amount            money.USD
}

// between is a random number from low to high.
func between(r *rand.Rand, low, high int) int { return low + r.IntN(high-low+1) }

func rushOn(t *testing.T, cfg rushConfig) {
	t.Helper()
	t.Logf("seed %d: %d people in %d teams, %d waves", cfg.seed, cfg.users, cfg.teams, cfg.waves)
	r := newRush(t, cfg)
	watch, stop := context.WithCancel(t.Context())
	var watcher sync.WaitGroup
	var samples atomic.Int64
	watcher.Go(func() { r.watch(watch, &samples) })
	for wave := range cfg.waves {
		began := time.Now()
		r.wave(wave)
		t.Logf("wave %d took %s", wave+1, time.Since(began).Round(time.Millisecond))
	}
	r.end()
	stop()
	watcher.Wait()
	j, _, admitted, refused := r.check()
	entries, beyond := 0, 0
	for _, versions := range j {
		entries += len(versions)
		for _, v := range versions {
			if v.entry.Overrun > 0 {
				beyond++
			}
		}
	}
	t.Logf("answers: %v; %d kills", r.answers, r.kills)
	t.Logf("%d admitted and %d refused, all of them rightly on the balances that they saw; %d balances rebuilt from %d entries, %d of them beyond a limit with a cause; %d samples",
		admitted, refused, len(j), entries, beyond, samples.Load())
	if admitted == 0 || refused == 0 || r.kills == 0 || samples.Load() == 0 || r.answers["gave up"] == 0 {
		t.Error("there was no rush")
	}
}

func newRush(t *testing.T, cfg rushConfig) *rush {
	t.Helper()
	r := &rush{cfg: cfg, answers: map[string]int{}}
	r.rig = newRig(t, cfg.speed, func(c *emulator.Config) { c.Quota = 100_000 })
	transport := &http.Transport{MaxIdleConns: 2 * cfg.users, MaxIdleConnsPerHost: cfg.users}
	t.Cleanup(transport.CloseIdleConnections)
	r.client = &http.Client{Transport: transport}
	r.enrol()
	for i := range r.servers {
		r.servers[i] = r.spawn(rigConfig{Rate: 300})
	}
	t.Cleanup(r.end)
	r.began = time.Now()
	return r
}

// check compares all that is left when nobody does anything any more.
func (r *rush) check() (j journal, all []verdictSeen, admitted, refused int) {
	r.t.Helper()
	r.quiet()
	j, all = r.readJournal(), r.readVerdicts()
	admitted, refused = r.replay(j, all)
	r.answered(all)
	r.order(all)
	r.refusedByTheDatabase()
	return j, all, admitted, refused
}

// enrol makes the teams with two projects each, the people and the budgets. The limits have room for a part of those who
// are going to ask, now in this scope and now in that.
func (r *rush) enrol() {
	r.t.Helper()
	random := rand.New(rand.NewPCG(r.cfg.seed, 1<<32)) //nolint:gosec // repeatable on purpose
	each := r.cfg.users / r.cfg.teams
	hold := r.usual()
	part := func(n, low, high int) money.USD {
		return hold * money.USD(n*between(random, low, high)) / 100
	}
	ctx := actor.With(r.t.Context(), actor.Operator("rush"))
	for team := range r.cfg.teams {
		err := r.forge.Log.Change(ctx, audit.Intent{Action: "rush.enrol", ResourceType: "team"}, func(tx *audit.Tx) error {
			name := fmt.Sprintf("rush-%02d", team)
			made, err := people.CreateTeam(ctx, tx, name, "cc-rush")
			if err != nil {
				return err
			}
			set := func(s budget.Scope, scopeID string, amount money.USD, e budget.Enforcement) error {
				_, err := r.forge.Budgets.Set(ctx, tx, budget.Setting{Scope: s, ScopeID: scopeID, Amount: amount, Enforcement: e})
				return err
			}
			enforcement := budget.Block
			if team == 1 && !r.cfg.teamsOnly {
				enforcement = budget.Warn
			}
			if err := set(budget.Team, string(made.ID), part(each, 30, 90), enforcement); err != nil {
				return err
			}
			var projects []people.Project
			for _, suffix := range []string{"-a", "-b"} {
				p, err := people.CreateProject(ctx, tx, name+suffix, made, "cc-rush")
				if err != nil {
					return err
				}
				projects = append(projects, p)
				if err := set(budget.Project, string(p.ID), part(each, 10, 60), budget.Block); err != nil {
					return err
				}
			}
			for i := range each {
				p := &rusher{random: rand.New(rand.NewPCG(r.cfg.seed, uint64(len(r.people))))} //nolint:gosec // repeatable on purpose
				user := fmt.Sprintf("rush%02d-%03d", team, i)
				u, err := people.CreateUser(ctx, tx, people.NewUser{UserName: user, DisplayName: user, Email: user + "@example.com", Team: name, Role: actor.Engineer})
				if err != nil {
					return err
				}
				_, secret, err := people.CreateToken(ctx, tx, u, "rush", 24*time.Hour)
				if err != nil {
					return err
				}
				p.Credential, p.id, p.team = app.Credential{User: user, Token: secret}, string(u.ID), string(made.ID)
				if n := random.IntN(3); n < 2 {
					p.project, p.projectName = string(projects[n].ID), projects[n].Name
				}
				// Some have a budget of their own: of nothing, of about one WorkSpace, or of plenty.
				if n := random.IntN(10); n < 4 {
					amount := []money.USD{0, hold * 3 / 4, 2 * hold, 10 * hold}[n]
					if err := set(budget.User, p.id, amount, budget.Block); err != nil {
						return err
					}
				}
				r.people = append(r.people, p)
			}
			share := between(random, 40, 50)
			if r.cfg.teamsOnly {
				share = 1000
			}
			if team == 0 {
				return set(budget.Organisation, budget.OrganisationID, part(r.cfg.users, share, share), budget.Block)
			}
			return nil
		})
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

// usual is what an ordinary WorkSpace holds today.
func (r *rush) usual() money.USD {
	r.t.Helper()
	url, stop := r.serve(false)
	defer stop()
	var a client.WorkspaceAdmitted
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, url+"/api/v1/workspaces?dry_run=true", bytes.NewReader([]byte(`{"blueprint":"go-dev"}`)))
	if err != nil {
		r.t.Fatal(err)
	}
	i := slices.IndexFunc(r.rig.people, func(c app.Credential) bool { return c.User == "ada" })
	req.Header.Set("Authorization", "Bearer "+r.rig.people[i].Token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil || resp.StatusCode != http.StatusAccepted {
		r.t.Fatalf("%s %v", resp.Status, err)
	}
	hold, err := money.Parse(a.Estimate.Reserved.Amount)
	if err != nil || hold == 0 {
		r.t.Fatalf("%v %v", a.Estimate.Reserved, err)
	}
	return hold
}

// wave lets everybody do something at once. In the first they all want a WorkSpace. Later some of those who have one end it,
// some want another, and who was refused asks again, while limits go up and down.
func (r *rush) wave(n int) {
	r.t.Helper()
	calm, cancel := context.WithCancel(r.t.Context())
	var others sync.WaitGroup
	others.Go(func() { r.murder(calm, rand.New(rand.NewPCG(r.cfg.seed, uint64(2+n)<<32))) }) //nolint:gosec // repeatable on purpose
	if n > 0 {
		others.Go(func() { r.limits(calm, rand.New(rand.NewPCG(r.cfg.seed, uint64(200+n)<<32))) }) //nolint:gosec // repeatable on purpose
	}
	r.atOnce(r.people)
	cancel()
	others.Wait()
}

// atOnce lets people do something at once: ask for a WorkSpace or, some of those who have one, end it.
func (r *rush) atOnce(all []*rusher) {
	start := make(chan struct{})
	var rushers sync.WaitGroup
	for _, p := range all {
		rushers.Go(func() {
			<-start
			if p.ws != "" && p.random.IntN(2) == 0 {
				r.terminate(p)
				return
			}
			r.launch(p, len(all))
		})
	}
	close(start)
	rushers.Wait()
}

// launch asks, together with so many, until there is an answer, unless its user loses patience.
func (r *rush) launch(p *rusher, together int) {
	p.keys++
	key := fmt.Sprintf("%s-%d", p.User, p.keys)
	order := map[string]string{"blueprint": "go-dev", "name": key, "bundle_type": []string{"STANDARD", "STANDARD", "PERFORMANCE"}[p.random.IntN(3)]}
	if p.projectName != "" {
		order["project"] = p.projectName
	}
	body, err := json.Marshal(order)
	if err != nil {
		r.t.Error(err)
		return
	}
	// One of six goes away before the answer comes, and half of these never ask again.
	patience := time.Minute
	if p.random.IntN(6) == 0 {
		patience = time.Duration(p.random.IntN([]int{30, 15 * together}[p.random.IntN(2)])) * time.Millisecond
	}
	first := time.Since(r.began)
	for try := 0; ; try++ {
		a, got, ok := r.send(p, http.MethodPost, "", key, body, patience)
		if !ok {
			if patience < time.Minute && p.random.IntN(2) == 0 {
				r.count("gave up")
				p.gaveUp = append(p.gaveUp, attempt{first: first, key: key})
				return
			}
			patience = time.Minute
			if try == 100 {
				r.t.Errorf("%s has no answer", key)
				return
			}
			continue
		}
		a.first, a.key = first, key
		p.asked = append(p.asked, a)
		if a.status == http.StatusAccepted {
			var made client.WorkspaceAdmitted
			if err := json.Unmarshal(got, &made); err != nil {
				r.t.Error(err)
			}
			p.ws = made.Workspace.Id
		}
		return
	}
}

func (r *rush) terminate(p *rusher) {
	for try := 0; try < 100; try++ {
		if a, _, ok := r.send(p, http.MethodDelete, "/"+p.ws, "", nil, time.Minute); ok {
			if a.status == http.StatusAccepted {
				p.ws = ""
			}
			return
		}
	}
	r.t.Errorf("%s has no answer to the end of %s", p.User, p.ws)
}

func (r *rush) count(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[what]++
}

// send sends one request to one of the servers; not ok if no answer came. It fails for an answer that no user is to see.
func (r *rush) send(p *rusher, method, path, key string, body []byte, patience time.Duration) (a attempt, got []byte, ok bool) {
	r.mu.Lock()
	url := r.servers[p.random.IntN(2)].url
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url+"/api/v1/workspaces"+path, bytes.NewReader(body))
	if err != nil {
		r.t.Error(err)
		return a, nil, false
	}
	req.Header.Set("Authorization", "Bearer "+p.Token)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	a.call = time.Since(r.began)
	resp, err := r.client.Do(req)
	if err != nil {
		return a, nil, false
	}
	defer resp.Body.Close()
	if got, err = io.ReadAll(resp.Body); err != nil {
		return a, nil, false
	}
	a.back, a.status, a.request = time.Since(r.began), resp.StatusCode, resp.Header.Get("X-Request-Id")
	a.replayed = resp.Header.Get("Idempotency-Replayed") == "true"
	var said struct {
		Code    string `json:"code"`
		Details struct {
			Required string `json:"required"`
		} `json:"details"`
		Estimate struct {
			Reserved client.Money `json:"reserved"`
		} `json:"estimate"`
	}
	if err := json.Unmarshal(got, &said); err != nil {
		r.t.Errorf("%s %s: %s %s", method, path, resp.Status, got)
	}
	a.code = said.Code
	if amount := said.Details.Required + said.Estimate.Reserved.Amount; amount != "" {
		if a.amount, err = money.Parse(amount); err != nil {
			r.t.Errorf("%s: %v", got, err)
		}
	}
	known := map[int][]string{
		http.StatusAccepted: {""}, http.StatusPaymentRequired: {"BUDGET_EXCEEDED"},
		http.StatusConflict: {"WORKSPACE_EXISTS", "WORKSPACE_ENDED"},
	}
	if !slices.Contains(known[a.status], a.code) {
		r.t.Errorf("%s %s of %s is answered %s %s after %s", method, path, p.User, resp.Status, got, a.back-a.call)
	}
	r.count(fmt.Sprintf("%s %d %s", method, a.status, a.code))
	return a, got, true
}

// murder kills one of the servers again and again, and starts it anew.
func (r *rush) murder(ctx context.Context, random *rand.Rand) {
	for {
		pause := time.NewTimer(time.Duration(between(random, 300, 1500)) * time.Millisecond)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		i := random.IntN(2)
		r.mu.Lock()
		victim := r.servers[i]
		r.kills++
		r.mu.Unlock()
		victim.kill()
		next := r.spawn(rigConfig{Rate: 300})
		r.mu.Lock()
		r.servers[i] = next
		r.mu.Unlock()
	}
}

func (r *rush) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.servers {
		p.kill()
	}
}

// limits sets limits up and down, never below what is committed.
func (r *rush) limits(ctx context.Context, random *rand.Rand) {
	who := actor.With(context.WithoutCancel(ctx), actor.Operator("finance"))
	for ctx.Err() == nil {
		p := r.people[random.IntN(len(r.people))]
		s := budget.Setting{Scope: budget.Team, ScopeID: p.team}
		if p.project != "" && random.IntN(2) == 0 {
			s.Scope, s.ScopeID = budget.Project, p.project
		}
		share := money.USD(between(random, 70, 140))
		err := r.forge.Log.Change(who, audit.Intent{Action: "rush.limit", ResourceType: "budget"}, func(tx *audit.Tx) error {
			b, err := budget.Find(who, tx, s.Scope, s.ScopeID, tx.Now)
			if err != nil {
				return err
			}
			s.Amount, s.Enforcement = b.Amount*share/100, b.Enforcement
			_, err = r.forge.Budgets.Set(who, tx, s)
			return err
		})
		if err != nil && !errors.Is(err, budget.ErrBelowCommitted) {
			r.t.Errorf("a limit cannot be set: %v", err)
		}
		pause := time.NewTimer(50 * time.Millisecond)
		select {
		case <-ctx.Done():
			pause.Stop()
		case <-pause.C:
		}
	}
}

// watch looks at the balances over and over through a connection of its own: whatever is beyond its limit has a cause.
func (r *rush) watch(ctx context.Context, samples *atomic.Int64) {
	db, err := pgx.Connect(ctx, r.pg.OwnerURL)
	if err != nil {
		r.t.Error(err)
		return
	}
	defer db.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost with it
	for ctx.Err() == nil {
		found, err := postgres.Many[struct{ What string }](ctx, db, `
			SELECT format('%s %s: settled %s, held %s, limit %s, overrun %s', b.scope, b.scope_id, p.settled_micros, p.held_micros, p.limit_micros, p.overrun_micros) AS what
			FROM budget_periods p JOIN user_budgets b ON b.id = p.budget_id
			WHERE p.settled_micros + p.held_micros > p.limit_micros
			  AND NOT (p.overrun_micros = p.settled_micros + p.held_micros - p.limit_micros
			           AND EXISTS (SELECT FROM budget_entries e WHERE (e.budget_id, e.period_start) = (p.budget_id, p.period_start) AND e.overrun_delta_micros > 0 AND e.reason <> ''))`)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			r.t.Error(err)
			return
		}
		for _, f := range found {
			r.t.Errorf("overspent: %s", f.What)
		}
		samples.Add(1)
		tick := time.NewTimer(time.Millisecond)
		<-tick.C
	}
}

// quiet waits until the database has done all that the dead asked it for. It fails if any two ever waited for one another,
// or if what somebody gave up is half done.
func (r *rush) quiet() {
	r.t.Helper()
	count := func(sql string) (n int) {
		if err := r.db.QueryRow(r.t.Context(), sql).Scan(&n); err != nil {
			r.t.Fatal(err)
		}
		return n
	}
	r.forge.Pool.Reset()
	eventually(r.t, "nobody uses the database", func() bool {
		return count(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'`) == 0
	})
	if n := count(`SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`); n != 0 {
		r.t.Errorf("there were %d deadlocks", n)
	}
	if n := count(`
		SELECT count(*)
		FROM budget_holds h FULL JOIN (SELECT id FROM workspaces WHERE terminated_at IS NULL) w ON w.id = h.workspace_id
		WHERE h.workspace_id IS NULL OR w.id IS NULL`); n != 0 {
		r.t.Errorf("%d WorkSpaces without a hold, or holds without a WorkSpace", n)
	}
}

// answered compares what people were told with the record.
func (r *rush) answered(verdicts []verdictSeen) {
	r.t.Helper()
	byRequest := map[string]verdictSeen{}
	for _, v := range verdicts {
		byRequest[v.request] = v
	}
	for _, p := range r.people {
		for _, a := range p.asked {
			if a.replayed || a.status == http.StatusConflict {
				continue
			}
			v, ok := byRequest[a.request]
			switch {
			case !ok:
				r.t.Errorf("%s was answered %d, and there is no record of %s", p.User, a.status, a.request)
				continue
			case v.admitted != (a.status == http.StatusAccepted) || v.amount != a.amount || v.user != p.id || v.code != a.code:
				r.t.Errorf("%s was answered %+v, and the record says %+v", p.User, a, v)
			}
			seen := map[string]string{}
			for name := range v.saw {
				seen[name.Scope] = name.ScopeID
			}
			if seen["ORGANISATION"] != budget.OrganisationID || seen["TEAM"] != p.team || seen["PROJECT"] != p.project || seen["USER"] != "" && seen["USER"] != p.id {
				r.t.Errorf("%s of team %s and project %q: the verdict is about %v", p.User, p.team, p.project, v.saw)
			}
		}
	}
}

// order checks that nobody was judged on a balance that was older than an answer which somebody had before they asked.
func (r *rush) order(verdicts []verdictSeen) {
	r.t.Helper()
	byRequest := map[string]verdictSeen{}
	for _, v := range verdicts {
		byRequest[v.request] = v
	}
	type look struct {
		call, back  time.Duration
		saw, leaves int64
		request     string
	}
	all := map[balanceName][]look{}
	for _, p := range r.people {
		for _, a := range p.asked {
			v := byRequest[a.request]
			for name, version := range v.saw {
				l := look{a.call, a.back, version, version, a.request}
				if v.admitted {
					l.leaves++
				}
				all[name] = append(all[name], l)
			}
		}
	}
	for name, looks := range all {
		byBack := slices.Clone(looks)
		slices.SortFunc(looks, func(a, b look) int { return int(a.call - b.call) })
		slices.SortFunc(byBack, func(a, b look) int { return int(a.back - b.back) })
		var known int64
		for _, l := range looks {
			for len(byBack) > 0 && byBack[0].back < l.call {
				known = max(known, byBack[0].leaves)
				byBack = byBack[1:]
			}
			if l.saw < known {
				r.t.Errorf("%s saw version %d of %v, and %d was known before it asked", l.request, l.saw, name, known)
			}
		}
	}
}

// refusedByTheDatabase tries to commit what the program never does.
func (r *rush) refusedByTheDatabase() {
	r.t.Helper()
	for _, set := range []string{`held_micros = limit_micros - settled_micros + overrun_micros + 1`, `settled_micros = limit_micros - held_micros + overrun_micros + 1`, `limit_micros = settled_micros + held_micros - overrun_micros - 1`} {
		_, err := r.forge.Pool.Exec(r.t.Context(), `UPDATE budget_periods SET `+set+` WHERE held_micros > 0 AND settled_micros + held_micros > 0`)
		if !postgres.Violates(err, "budget_periods_not_overspent_ck") {
			r.t.Errorf("%s: %v", set, err)
		}
	}
}
