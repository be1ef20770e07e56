package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/app"
)

// TestChaosLeavesExactlyOneOfEverything is a small part of `make prove-chaos`, with one seed.
func TestChaosLeavesExactlyOneOfEverything(t *testing.T) {
	chaos(t, chaosConfig{users: 40, lasts: 10 * time.Second, seed: 20261123})
}

type chaosConfig struct {
	users int
	lasts time.Duration
	seed  uint64
}

// chaosSpeed is how fast the emulated Amazon is: a WorkSpace takes a second and a half.
const chaosSpeed = 600

// storm is one run: people who ask for WorkSpaces, start, stop and end them, while Amazon fails in every way the emulator
// knows, things are changed outside, and one of two servers is killed every few seconds.
type storm struct {
	*rig
	cfg   chaosConfig
	users []*person

	mu        sync.Mutex
	servers   [2]*serverProcess
	strangers map[string]string // Amazon's id -> user: not made by Forge
	outside   map[string]bool   // Amazon's ids that were terminated outside
	untagged  map[string]bool   // Amazon's ids whose tags were taken away
	struck    map[string]int    // faults by kind
	kills     int
}

type person struct {
	app.Credential
	random *rand.Rand
	id     string // the WorkSpace asked for last
	key    int
	asked  []string
}

func chaos(t *testing.T, cfg chaosConfig) {
	t.Helper()
	t.Logf("seed %d: %d users, %s of faults", cfg.seed, cfg.users, cfg.lasts)
	s := &storm{rig: newRig(t, chaosSpeed), cfg: cfg, strangers: map[string]string{}, outside: map[string]bool{}, untagged: map[string]bool{}, struck: map[string]int{}}
	for i, c := range s.rig.users("c", cfg.users) {
		s.users = append(s.users, &person{Credential: c, random: rand.New(rand.NewPCG(cfg.seed, uint64(i)))}) //nolint:gosec // repeatable on purpose
	}
	for i := range s.servers {
		s.servers[i] = s.spawn(rigConfig{Rate: 300, Twice: 0.05})
	}
	t.Cleanup(func() {
		for _, p := range s.servers {
			p.kill()
		}
	})
	random := rand.New(rand.NewPCG(cfg.seed, 1<<32)) //nolint:gosec // repeatable on purpose
	s.makeStrangers(random, cfg.users/20)

	calm, cancel := context.WithTimeout(t.Context(), cfg.lasts)
	defer cancel()
	var wg sync.WaitGroup
	for _, p := range s.users {
		wg.Go(func() { s.live(calm, p) })
	}
	wg.Go(func() { s.trouble(calm, rand.New(rand.NewPCG(cfg.seed, 2<<32))) }) //nolint:gosec // repeatable on purpose
	wg.Go(func() { s.meddle(calm, rand.New(rand.NewPCG(cfg.seed, 3<<32))) })  //nolint:gosec // repeatable on purpose
	wg.Go(func() { s.murder(calm, rand.New(rand.NewPCG(cfg.seed, 4<<32))) })  //nolint:gosec // repeatable on purpose
	wg.Wait()

	s.clear()
	began := time.Now()
	for _, p := range s.users {
		wg.Go(func() { s.decideFinally(p) })
	}
	wg.Wait()
	s.comesToRest()
	t.Logf("at rest %s after the last fault; %d kills; faults that struck: %v", time.Since(began).Round(time.Millisecond), s.kills, s.struck)
	s.verify()
}

// admin calls the emulator's admin API.
func (r *rig) admin(method, path string, body, answer any) {
	r.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(r.t.Context()), method, r.aws+path, bytes.NewReader(raw))
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Errorf("%s %s: %v", method, path, err)
		return
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 && answer != nil {
		r.t.Errorf("%s %s: %s %s %v", method, path, resp.Status, got, err)
		return
	}
	if answer != nil {
		if err := json.Unmarshal(got, answer); err != nil {
			r.t.Errorf("%s %s: %v in %s", method, path, err, got)
		}
	}
}

// desktopSeen is a WorkSpace as the emulator knows it.
type desktopSeen struct {
	ID    string            `json:"id"`
	User  string            `json:"user"`
	State string            `json:"state"`
	Tags  map[string]string `json:"tags"`
	// What it is sold as.
	Compute  string `json:"compute"`
	Mode     string `json:"running_mode"`
	AutoStop int    `json:"auto_stop_minutes"`
	UserGiB  int    `json:"user_gib"`
}

// sold is what it is sold as, in one line.
func (d desktopSeen) sold() string {
	return fmt.Sprintf("%s %s %d min, %d GiB", d.Compute, d.Mode, d.AutoStop, d.UserGiB)
}

func (r *rig) desktops() []desktopSeen {
	r.t.Helper()
	var out struct {
		Workspaces []desktopSeen `json:"workspaces"`
	}
	r.admin(http.MethodGet, "/_emu/workspaces", nil, &out)
	return out.Workspaces
}

func (r *rig) amazon() *workspaces.Client {
	return workspaces.New(workspaces.Options{Region: rigRegion, BaseEndpoint: &r.aws, Credentials: credentials.NewStaticCredentialsProvider("AKIA", "secret", "")})
}

// makeStrangers gives some users WorkSpaces that Forge has not made.
func (s *storm) makeStrangers(random *rand.Rand, n int) {
	bundles, err := s.amazon().DescribeWorkspaceBundles(s.t.Context(), &workspaces.DescribeWorkspaceBundlesInput{Owner: aws.String("AMAZON")})
	if err != nil {
		s.t.Fatal(err)
	}
	for range n {
		user := s.users[random.IntN(len(s.users))].User
		made, err := s.amazon().CreateWorkspaces(s.t.Context(), &workspaces.CreateWorkspacesInput{Workspaces: []types.WorkspaceRequest{{
			BundleId: bundles.Bundles[0].BundleId, DirectoryId: aws.String(rigDirectory), UserName: &user,
		}}})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, p := range made.PendingRequests {
			s.strangers[*p.WorkspaceId] = user
		}
	}
}

// live is what a person does while it storms: ask for a WorkSpace, use it, end it, ask for another.
func (s *storm) live(ctx context.Context, p *person) {
	for {
		wait := time.NewTimer(time.Duration(p.random.IntN(1500)) * time.Millisecond)
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		}
		switch n := p.random.IntN(16); {
		case p.id == "":
			s.request(ctx, p)
		case n < 3:
			s.call(ctx, p, http.MethodPost, "/"+p.id+"/stop", nil)
		case n < 6:
			s.call(ctx, p, http.MethodPost, "/"+p.id+"/start", nil)
		case n < 7:
			s.call(ctx, p, http.MethodDelete, "/"+p.id, nil)
		case n < 9:
			op := []string{"reboot", "rebuild", "restore", "image"}[p.random.IntN(4)]
			s.call(ctx, p, http.MethodPost, "/"+p.id+"/"+op, []byte(`{"confirm":"`+p.id+`"}`))
		case n < 10:
			s.call(ctx, p, http.MethodPost, "/"+p.id+"/extend", []byte(`{"hours":3}`))
		case n < 13:
			change := []string{
				`{"running_mode":"ALWAYS_ON"}`, `{"running_mode":"AUTO_STOP"}`, `{"running_mode":"AUTO_STOP"}`, `{"bundle_type":"PERFORMANCE"}`, `{"bundle_type":"STANDARD"}`,
				`{"user_volume_gib":100}`, `{"tags":{"storm":"yes"}}`, `{"tags":{}}`, `{"auto_stop_timeout_minutes":120}`, `{"auto_stop_timeout_minutes":60}`,
			}
			s.call(ctx, p, http.MethodPatch, "/"+p.id, []byte(change[p.random.IntN(len(change))]))
		default:
			s.call(ctx, p, http.MethodGet, "/"+p.id, nil)
		}
	}
}

// request asks for a WorkSpace, again and again with the same key until it is answered.
func (s *storm) request(ctx context.Context, p *person) {
	p.key++
	key := fmt.Sprintf("%s-%d", p.User, p.key)
	// Once it is asked it is asked to the end: the next request is a new one only if this one came to nothing.
	for {
		status, body := s.call(ctx, p, http.MethodPost, "", []byte(`{"blueprint":"go-dev"}`), key)
		switch {
		case status == http.StatusAccepted:
			var a client.WorkspaceAdmitted
			if err := json.Unmarshal(body, &a); err != nil {
				s.t.Errorf("%s: %v", body, err)
				return
			}
			p.id = a.Workspace.Id
			p.asked = append(p.asked, p.id)
			return
		case status >= 400 && status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout:
			return
		}
	}
}

// call sends a request to a server that lives, and returns what it answers; 0 is no answer.
func (s *storm) call(ctx context.Context, p *person, method, path string, body []byte, key ...string) (int, []byte) {
	s.mu.Lock()
	server := s.servers[p.random.IntN(2)]
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, server.url+"/api/v1/workspaces"+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil
	}
	r.Header.Set("Authorization", "Bearer "+p.Token)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, k := range key {
		r.Header.Set("Idempotency-Key", k)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil
	}
	if resp.StatusCode == http.StatusInternalServerError {
		s.t.Errorf("%s %s: %s", method, path, got)
	}
	if path != "" && method == http.MethodGet && resp.StatusCode == http.StatusOK {
		var w client.Workspace
		if json.Unmarshal(got, &w) == nil && w.TerminatedAt != nil {
			p.id = "" // it ended; the next is a new one
		}
	}
	return resp.StatusCode, got
}

// faultOrder is an order to the emulator, as its admin API takes it.
type faultOrder map[string]any

// trouble orders faults of every kind, a few a second.
func (s *storm) trouble(ctx context.Context, random *rand.Rand) {
	items := []string{"CreateWorkspaces", "CreateWorkspaces", "StartWorkspaces", "StopWorkspaces", "TerminateWorkspaces", "TerminateWorkspaces", "RebootWorkspaces", "RebuildWorkspaces"}
	writes := append([]string{"RestoreWorkspace", "ModifyWorkspaceProperties", "ModifyWorkspaceProperties", "CreateTags", "CreateWorkspaceImage"}, items...)
	any := append([]string{"DescribeWorkspaces", "DescribeTags"}, writes...)
	one := func(of []string) string { return of[random.IntN(len(of))] }
	user := func() string { return s.users[random.IntN(len(s.users))].User }
	millis := func(most int) int { return 1 + random.IntN(most) }
	kinds := []func() faultOrder{
		func() faultOrder { return faultOrder{"kind": "drop_response_after_apply", "op": one(writes)} },
		func() faultOrder {
			return faultOrder{"kind": "drop_response_after_apply", "op": "CreateWorkspaces", "count": 3}
		},
		func() faultOrder { return faultOrder{"kind": "drop_before_apply", "op": one(any)} },
		func() faultOrder { return faultOrder{"kind": "http500", "op": one(any)} },
		func() faultOrder { return faultOrder{"kind": "http503", "op": one(any)} },
		func() faultOrder { return faultOrder{"kind": "http500_after_apply", "op": one(writes)} },
		func() faultOrder { return faultOrder{"kind": "html_body", "op": one(writes)} },
		func() faultOrder { return faultOrder{"kind": "truncate_body", "op": one(any)} },
		func() faultOrder { return faultOrder{"kind": "throttle", "op": one(any), "count": 5} },
		func() faultOrder { return faultOrder{"kind": "delay", "op": one(any), "delay_ms": millis(1500)} },
		func() faultOrder {
			return faultOrder{"kind": "fail_item", "op": one(items), "code": one([]string{"OperationInProgress.WorkSpace", "ResourceUnavailable.WorkSpace", "SomethingNew.WorkSpace"}), "message": "chaos"}
		},
		func() faultOrder {
			return faultOrder{"kind": "fail_batch", "op": "CreateWorkspaces", "code": "ResourceLimitExceededException", "message": "chaos"}
		},
		func() faultOrder {
			return faultOrder{"kind": "fail_batch", "op": one(any), "code": one([]string{"OperationInProgressException", "ResourceUnavailableException"}), "message": "chaos"}
		},
		func() faultOrder { return faultOrder{"kind": "access_denied", "op": one(any), "count": 2} },
		func() faultOrder {
			return faultOrder{"kind": "stuck_state", "state": one([]string{"PENDING", "STARTING", "STOPPING", "TERMINATING"}), "user": user()}
		},
		func() faultOrder {
			return faultOrder{"kind": "to_error", "user": user(), "code": "InternalError", "message": "chaos"}
		},
		func() faultOrder {
			return faultOrder{"kind": "unhealthy_after", "user": user(), "delay_ms": millis(1000)}
		},
		func() faultOrder {
			return faultOrder{"kind": "describe_lag", "op": "CreateWorkspaces", "delay_ms": millis(300), "count": 3}
		},
		func() faultOrder {
			return faultOrder{"kind": "omit_from_page", "op": "DescribeWorkspaces", "user": user()}
		},
		func() faultOrder { return faultOrder{"kind": "duplicate_on_page", "op": "DescribeWorkspaces"} },
		func() faultOrder { return faultOrder{"kind": "empty_page_with_token", "op": "DescribeWorkspaces"} },
		func() faultOrder { return faultOrder{"kind": "expire_token", "op": "DescribeWorkspaces"} },
		func() faultOrder { return faultOrder{"kind": "tags_lost", "op": "CreateWorkspaces", "user": user()} },
		func() faultOrder {
			return faultOrder{"kind": "tags_lag", "op": "CreateWorkspaces", "delay_ms": millis(400)}
		},
		func() faultOrder { return faultOrder{"kind": "clock_skew", "delay_ms": 60_000} },
	}
	tick := time.NewTicker(60 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		order := kinds[random.IntN(len(kinds))]()
		s.admin(http.MethodPost, "/_emu/faults", order, &struct{}{})
		times, many := order["count"].(int)
		if !many {
			times = 1
		}
		kind, _ := order["kind"].(string)
		s.mu.Lock()
		s.struck[kind] += times // less those that are left over in the end
		s.mu.Unlock()
	}
}

// meddle changes things outside: a console's user stops, starts, terminates, and takes tags away.
func (s *storm) meddle(ctx context.Context, random *rand.Rand) {
	tick := time.NewTicker(400 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		all := s.desktops()
		if len(all) == 0 {
			continue
		}
		d := all[random.IntN(len(all))]
		s.mu.Lock()
		_, foreign := s.strangers[d.ID]
		s.mu.Unlock()
		if foreign {
			continue
		}
		switch n := random.IntN(10); {
		case n < 4:
			s.admin(http.MethodPost, "/_emu/workspaces/"+d.ID+"/stop", nil, nil)
		case n < 8:
			s.admin(http.MethodPost, "/_emu/workspaces/"+d.ID+"/start", nil, nil)
		case n < 9:
			s.mu.Lock()
			s.outside[d.ID] = true
			s.mu.Unlock()
			s.admin(http.MethodPost, "/_emu/workspaces/"+d.ID+"/terminate", nil, nil)
		default:
			s.mu.Lock()
			s.untagged[d.ID] = true
			s.mu.Unlock()
			_, _ = s.amazon().DeleteTags(ctx, &workspaces.DeleteTagsInput{ResourceId: &d.ID, TagKeys: slices.Collect(maps.Keys(d.Tags))}) // a fault may strike it
		}
	}
}

// murder kills one of the two servers every few seconds and starts another in its place.
func (s *storm) murder(ctx context.Context, random *rand.Rand) {
	for {
		wait := time.NewTimer(time.Second + time.Duration(random.IntN(3000))*time.Millisecond)
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		}
		i := random.IntN(2)
		s.mu.Lock()
		p := s.servers[i]
		s.mu.Unlock()
		p.kill()
		fresh := s.spawn(rigConfig{Rate: 300, Twice: 0.05})
		s.mu.Lock()
		s.servers[i] = fresh
		s.kills++
		s.mu.Unlock()
	}
}

// clear ends the storm: no faults any more, what is stuck is let go, Amazon's counts are taken.
func (s *storm) clear() {
	var in struct {
		Faults []struct {
			Kind          string `json:"kind"`
			Count, Struck int
		} `json:"faults"`
	}
	s.admin(http.MethodGet, "/_emu/faults", nil, &in)
	for _, f := range in.Faults {
		s.struck[f.Kind] -= max(1, f.Count) - f.Struck
	}
	s.admin(http.MethodDelete, "/_emu/faults", nil, nil)
	for _, d := range s.desktops() {
		s.admin(http.MethodPost, "/_emu/workspaces/"+d.ID+"/release", nil, nil)
	}
}

// decideFinally has a person want one thing for good.
func (s *storm) decideFinally(p *person) {
	wish := p.random.IntN(10)
	patience := time.Now().Add(20 * time.Second) // some wait for the operator, who comes afterwards
	for time.Now().Before(patience) {
		if p.id == "" {
			s.request(s.t.Context(), p)
		}
		var status int
		switch {
		case p.id == "":
			return // refused for good
		case wish < 5:
			status, _ = s.call(s.t.Context(), p, http.MethodPost, "/"+p.id+"/start", nil)
		case wish < 7:
			status, _ = s.call(s.t.Context(), p, http.MethodPost, "/"+p.id+"/stop", nil)
		default:
			status, _ = s.call(s.t.Context(), p, http.MethodDelete, "/"+p.id, nil)
		}
		switch {
		case status == http.StatusConflict && wish < 7:
			// It has ended meanwhile, or is about to; then this person asks for another.
			s.call(s.t.Context(), p, http.MethodGet, "/"+p.id, nil)
			wait := time.NewTimer(50 * time.Millisecond)
			<-wait.C
		case status != 0 && status < 500 && status != http.StatusTooManyRequests:
			return
		}
	}
}

var handOver = regexp.MustCompile(`--resource-id (ws-\S+) --tags Key=(\S+),Value=(\S+) Key=(\S+),Value=(\S+)`)

var disown = regexp.MustCompile(`they say so: .*--resource-id (ws-\S+) --tags Key=(\S+),Value=(\S+)`)

// comesToRest waits until nothing is under way. Meanwhile it is the operator: a WorkSpace of Forge's that lost its tags
// before Forge had its id is handed over with the command that the message gives; a stranger's stays.
func (s *storm) comesToRest() {
	s.t.Helper()
	type row struct {
		ID, State, Desired, Asked, Message string
	}
	var busy []row
	deadline := time.NewTimer(3 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for calm := 0; calm < 6; {
		select {
		case <-deadline.C:
			for _, b := range busy {
				s.t.Errorf("not at rest: %+v", b)
				s.history(b.ID)
			}
			s.t.Fatalf("%d WorkSpaces have not come to rest in 3 minutes", len(busy))
		case <-tick.C:
		}
		rows, err := s.db.Query(s.t.Context(), `SELECT id, state, desired, asked || change || CASE WHEN retag THEN 'tag' ELSE '' END, error_message FROM workspaces WHERE terminated_at IS NULL`)
		if err != nil {
			s.t.Fatal(err)
		}
		all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
		if err != nil {
			s.t.Fatal(err)
		}
		seen := map[string]desktopSeen{}
		for _, d := range s.desktops() {
			seen[d.ID] = d
		}
		busy = nil
		for _, r := range all {
			if r.State == "CONFLICT" {
				if m := handOver.FindStringSubmatch(r.Message); m == nil {
					s.t.Fatalf("%s does not say how to hand it over: %s", r.ID, r.Message)
				} else if _, foreign := s.strangers[m[1]]; foreign {
					if r.Desired != "TERMINATED" {
						continue
					}
					if m := disown.FindStringSubmatch(r.Message); m != nil {
						_, _ = s.amazon().CreateTags(s.t.Context(), &workspaces.CreateTagsInput{ResourceId: &m[1], Tags: []types.Tag{{Key: &m[2], Value: &m[3]}}}) // asked again if it fails
					}
				} else if m[3] != r.ID {
					s.t.Fatalf("%s would be handed over as %s", r.ID, m[3])
				} else if _, there := seen[m[1]]; there {
					_, _ = s.amazon().CreateTags(s.t.Context(), &workspaces.CreateTagsInput{ResourceId: &m[1], Tags: []types.Tag{{Key: &m[2], Value: &m[3]}, {Key: &m[4], Value: &m[5]}}}) // it may just have gone
				}
			}
			still := r.State == "AVAILABLE" || r.State == "STOPPED" || r.State == "IMPAIRED"
			if !still || r.Asked != "" || r.Desired == "TERMINATED" {
				busy = append(busy, r)
			}
		}
		if calm++; len(busy) > 0 || !s.agreed(seen) {
			calm = 0
		}
	}
}

// agreed tells whether every row shows the state that Amazon has; at rest it is looked at every few seconds.
func (s *storm) agreed(seen map[string]desktopSeen) bool {
	s.t.Helper()
	for _, w := range s.rows() {
		if w.ended || w.provider == "" {
			continue
		}
		if d, ok := seen[w.provider]; !ok || shownAs(d.State) != w.state || d.sold() != w.sold {
			return false
		}
	}
	return true
}

func shownAs(amazon string) string {
	if amazon == "UNHEALTHY" || amazon == "ERROR" {
		return "IMPAIRED"
	}
	return amazon
}

type rowSeen struct {
	id, user, state, desired, provider, code string
	sold                                     string
	ended                                    bool
	version                                  int64
	replaced                                 int
}

func (r *rig) rows() []rowSeen {
	r.t.Helper()
	rows, err := r.db.Query(r.t.Context(), `
		SELECT id, directory_user, state, desired, coalesce(provider_id, ''), error_code, terminated_at IS NOT NULL, version, replaced,
		       format('%s %s %s min, %s GiB', bundle_type, running_mode, greatest(coalesce(auto_stop_timeout_minutes, 0), coalesce(extended_minutes, 0)), user_gib)
		FROM workspaces
		ORDER BY id`)
	if err != nil {
		r.t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, func(c pgx.CollectableRow) (w rowSeen, err error) {
		return w, c.Scan(&w.id, &w.user, &w.state, &w.desired, &w.provider, &w.code, &w.ended, &w.version, &w.replaced, &w.sold)
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// history logs what happened to a WorkSpace.
func (r *rig) history(id string) {
	r.t.Helper()
	rows, err := r.db.Query(r.t.Context(), `SELECT format('%s %s %s -> %s %s %s %s', version, kind, from_state, to_state, reason, at::time, details) FROM workspace_events WHERE workspace_id = $1 ORDER BY version`, id)
	if err != nil {
		r.t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Logf("%s:\n  %s", id, strings.Join(lines, "\n  "))
}

// verify compares what Forge says with what Amazon has, one to one.
func (s *storm) verify() {
	s.t.Helper()
	fail := func(w rowSeen, format string, args ...any) {
		s.t.Helper()
		s.t.Errorf("%s (%s) "+format, append([]any{w.id, w.user}, args...)...)
		s.history(w.id)
	}
	there := map[string]desktopSeen{}
	byUser := map[string]int{}
	for _, d := range s.desktops() {
		if d.State == "TERMINATING" || d.State == "TERMINATED" {
			continue // on its way out; nobody's any more
		}
		there[d.ID] = d
		if byUser[d.User]++; byUser[d.User] > 1 {
			s.t.Errorf("%s has %d WorkSpaces at Amazon", d.User, byUser[d.User])
		}
	}
	rows := s.rows()
	claimed := map[string]string{}
	counts := map[string]int{}
	for _, w := range rows {
		counts[w.state]++
		if _, foreign := s.strangers[w.provider]; foreign {
			fail(w, "has adopted the stranger's %s", w.provider)
		}
		if w.ended {
			// What was wanted may have ended by an outside hand, or failed as it was told to, and for no other cause.
			if w.state == "TERMINATED" && w.desired != "TERMINATED" && !s.outside[w.provider] {
				fail(w, "ended and should live")
			}
			if w.state == "FAILED" && !slices.Contains([]string{"InternalError", "PROVISIONING_STUCK", "RESOURCE_NOT_OURS"}, w.code) && w.desired != "TERMINATED" {
				fail(w, "failed with %s", w.code)
			}
			continue
		}
		if w.state == "CONFLICT" {
			continue
		}
		if by, twice := claimed[w.provider]; twice {
			fail(w, "and %s are both %s", by, w.provider)
		}
		claimed[w.provider] = w.id
		d, ok := there[w.provider]
		if !ok {
			fail(w, "is %s and Amazon has no %s", w.state, w.provider)
			continue
		}
		if !strings.EqualFold(d.User, w.user) || shownAs(d.State) != w.state {
			fail(w, "is %s, Amazon's %s of %s is %s", w.state, d.ID, d.User, d.State)
		}
		if d.sold() != w.sold {
			fail(w, "is %s, Amazon's %s is %s", w.sold, d.ID, d.sold())
		}
		if tag := d.Tags["forge:workspace-id"]; tag != w.id && !(tag == "" && s.mayLackTags(d.ID)) {
			fail(w, "Amazon's is tagged %q", tag)
		}
	}
	for id, d := range there {
		_, foreign := s.strangers[id]
		if claimed[id] == "" && !foreign {
			s.t.Errorf("%s of %s at Amazon (%s, %v) belongs to no row", id, d.User, d.State, d.Tags)
			for _, w := range rows {
				if w.user == d.User {
					s.history(w.id)
				}
			}
		}
	}
	for id, user := range s.strangers {
		if _, ok := there[id]; !ok {
			s.t.Errorf("the stranger's %s of %s is gone", id, user)
		}
	}
	s.t.Logf("%d rows: %v; %d WorkSpaces at Amazon, %d of them strangers", len(rows), counts, len(there), len(s.strangers))
	s.books()
}

func (s *storm) mayLackTags(id string) bool { return s.untagged[id] || s.struck["tags_lost"] > 0 }

// books checks the money and the record: each query must find nothing.
func (s *storm) books() {
	s.t.Helper()
	for what, query := range map[string]string{
		"live without a hold":                `SELECT w.id FROM workspaces w WHERE terminated_at IS NULL AND NOT EXISTS (SELECT FROM budget_holds h WHERE h.workspace_id = w.id)`,
		"ended with a hold":                  `SELECT w.id FROM workspaces w JOIN budget_holds h ON h.workspace_id = w.id WHERE terminated_at IS NOT NULL`,
		"runs without a meter":               `SELECT w.id FROM workspaces w WHERE state IN ('AVAILABLE', 'IMPAIRED') AND running_mode = 'AUTO_STOP' AND NOT EXISTS (SELECT FROM usage u WHERE u.workspace_id = w.id AND kind = 'running' AND closed_at IS NULL)`,
		"rests with a running meter":         `SELECT w.id FROM workspaces w JOIN usage u ON u.workspace_id = w.id AND kind = 'running' AND closed_at IS NULL WHERE state NOT IN ('AVAILABLE', 'IMPAIRED') OR running_mode = 'ALWAYS_ON'`,
		"ended with an open meter":           `SELECT w.id FROM workspaces w JOIN usage u ON u.workspace_id = w.id AND closed_at IS NULL WHERE terminated_at IS NOT NULL`,
		"ran without a monthly fee":          `SELECT w.id FROM workspaces w WHERE available_at IS NOT NULL AND (SELECT count(*) FROM usage u WHERE u.workspace_id = w.id AND kind = 'fixed_month') = 0`,
		"two prices at once":                 `SELECT w.id FROM workspaces w WHERE (SELECT count(*) FROM usage u WHERE u.workspace_id = w.id AND kind = 'fixed_month' AND closed_at IS NULL) > 1`,
		"charged as something else":          `SELECT w.id FROM workspaces w JOIN usage u ON u.workspace_id = w.id AND u.kind = 'fixed_month' AND u.closed_at IS NULL JOIN prices p ON p.id = u.price_id WHERE p.compute_type <> w.bundle_type`,
		"reserves for a change that is over": `SELECT w.id FROM workspaces w JOIN budget_holds h ON h.workspace_id = w.id WHERE w.change = '' AND w.available_at IS NOT NULL AND h.fixed_micros <> 0`,
		"never ran and has a meter":          `SELECT w.id FROM workspaces w JOIN usage u ON u.workspace_id = w.id WHERE available_at IS NULL`,
		"running meters overlap":             `SELECT a.workspace_id FROM usage a JOIN usage b ON a.workspace_id = b.workspace_id AND a.kind = b.kind AND a.id < b.id AND tstzrange(a.opened_at, a.closed_at) && tstzrange(b.opened_at, b.closed_at)`,
		"versions with gaps":                 `SELECT w.id FROM workspaces w WHERE version <> (SELECT count(*) FROM workspace_events e WHERE e.workspace_id = w.id) OR version <> (SELECT max(version) FROM workspace_events e WHERE e.workspace_id = w.id)`,
		"events that do not join":            `SELECT workspace_id FROM (SELECT workspace_id, version, from_state, lag(to_state) OVER (PARTITION BY workspace_id ORDER BY version) AS before FROM workspace_events) e WHERE before <> from_state`,
		"last event is another state":        `SELECT w.id FROM workspaces w JOIN workspace_events e ON e.workspace_id = w.id AND e.version = w.version WHERE e.to_state <> w.state`,
		"a transition without its audit entry": `SELECT e.workspace_id FROM workspace_events e WHERE NOT EXISTS (
			SELECT FROM audit_logs a WHERE a.resource_id = e.workspace_id AND a.resource_type = 'workspace' AND a.action_type = 'workspace.' || e.kind
			AND convert_from(a.leaf, 'UTF8') LIKE '%"version":' || e.version || '%')`,
		"holds that are not what the budgets hold": `SELECT b.id FROM user_budgets b JOIN budget_periods p ON p.budget_id = b.id AND now() >= p.period_start AND now() < p.period_end
			WHERE p.held_micros <> (SELECT coalesce(sum(fixed_micros + lease_micros), 0) FROM budget_holds h
				WHERE CASE b.scope WHEN 'USER' THEN h.user_id = b.scope_id WHEN 'TEAM' THEN h.team_id = b.scope_id WHEN 'PROJECT' THEN h.project_id = b.scope_id ELSE true END)`,
		"entries that do not make the balances": `SELECT p.budget_id FROM budget_periods p WHERE ROW (settled_micros, held_micros, overrun_micros) IS DISTINCT FROM (
			SELECT ROW (sum(settled_delta_micros)::bigint, sum(held_delta_micros)::bigint, sum(overrun_delta_micros)::bigint) FROM budget_entries e WHERE e.budget_id = p.budget_id AND e.period_start = p.period_start)`,
		"leased for ever":      `SELECT id FROM workspaces WHERE lease_token IS NOT NULL AND lease_until < now() - interval '1 minute'`,
		"live and never due":   `SELECT id FROM workspaces WHERE terminated_at IS NULL AND next_due_at IS NULL`,
		"ended and due":        `SELECT id FROM workspaces WHERE terminated_at IS NOT NULL AND next_due_at IS NOT NULL`,
		"a hold of the region": `SELECT region || ' ' || code FROM provider_holds`,
	} {
		rows, err := s.db.Query(s.t.Context(), query)
		if err != nil {
			s.t.Fatalf("%s: %v", what, err)
		}
		found, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			s.t.Fatalf("%s: %v", what, err)
		}
		for i, id := range found {
			s.t.Errorf("%s: %s", what, id)
			if i < 3 {
				s.history(id)
			}
		}
	}
}
