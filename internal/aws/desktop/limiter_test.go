package desktop

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/postgres/pgtest"
	"github.com/robco-forge/forge/internal/workspace"
)

// granted is a turn that was given: when it was to be used at the earliest.
type granted struct {
	at    time.Time
	sweep bool
	wait  time.Duration
}

// crowd has people and sweeps take turns from two limiters of one account, as two replicas do, for a while.
func crowd(t *testing.T, s []*Shared, people, sweeps int, lasts time.Duration) []granted {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	var mu sync.Mutex
	var all []granted
	var wg sync.WaitGroup
	for i := range people + sweeps {
		sweep := i >= people
		who := ctx
		if sweep {
			who = workspace.AsSweep(ctx)
		}
		wg.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				if err := s[i%len(s)].Wait(who, "eu-west-1"); err != nil {
					return // the time is over
				}
				mu.Lock()
				all = append(all, granted{at: time.Now(), sweep: sweep, wait: time.Since(began)})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.SortFunc(all, func(a, b granted) int { return a.at.Compare(b.at) })
	return all
}

func TestReplicasTogetherKeepAmazonsLimits(t *testing.T) {
	const perSecond, burst, lasts = 50, 10, 3 * time.Second
	db := pgtest.New(t)
	replicas := []*Shared{
		{DB: db.Pool, Account: "a", PerSecond: perSecond, Burst: burst},
		{DB: db.Pool, Account: "a", PerSecond: perSecond, Burst: burst},
	}
	began := time.Now()
	all := crowd(t, replicas, 12, 3, lasts)
	// A turn may be used later than it was given for, never earlier, so what is counted is all of them up to each.
	for i := range all {
		passed := all[i].at.Sub(began)
		if most := burst + int(passed.Seconds()*perSecond) + 1; i+1 > most {
			t.Fatalf("%d calls within %s, at most %d may go out", i+1, passed, most)
		}
	}
	if least := int(lasts.Seconds() * perSecond * 8 / 10); len(all) < least {
		t.Errorf("%d calls in %s: the limit is not used; want at least %d", len(all), lasts, least)
	}
	var sweeps int
	waits := map[bool][]time.Duration{}
	for _, g := range all {
		if g.sweep {
			sweeps++
		}
		waits[g.sweep] = append(waits[g.sweep], g.wait)
	}
	// People want every turn; one in ten is the sweeps' all the same.
	if share := float64(sweeps) / float64(len(all)); share < 0.05 || share > 0.15 {
		t.Errorf("%d of %d turns were sweeps'", sweeps, len(all))
	}
	p95 := func(d []time.Duration) time.Duration {
		slices.Sort(d)
		return d[len(d)*95/100]
	}
	if people, sweep := p95(waits[false]), p95(waits[true]); people >= sweep {
		t.Errorf("people wait %s, sweeps %s (95 of 100)", people, sweep)
	}
}

func TestASweepTakesWhatNobodyWants(t *testing.T) {
	db := pgtest.New(t)
	s := &Shared{DB: db.Pool, Account: "a", PerSecond: 100, Burst: 5}
	if n := len(crowd(t, []*Shared{s}, 0, 2, time.Second)); n < 50 {
		t.Errorf("%d turns in a second of 100", n)
	}
}

func TestATurnThatComesTooLateIsNotTaken(t *testing.T) {
	db := pgtest.New(t)
	s := &Shared{DB: db.Pool, Account: "a", PerSecond: 1, Burst: 2}
	for range 2 {
		if err := s.Wait(t.Context(), "eu-west-1"); err != nil {
			t.Fatal(err)
		}
	}
	tat := pgtest.Value[int64](t, db, `SELECT tat_us FROM aws_limits`)
	soon, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.Wait(soon, "eu-west-1"); !errors.Is(err, errNoTurn) {
		t.Errorf("%v", err)
	}
	if now := pgtest.Value[int64](t, db, `SELECT tat_us FROM aws_limits`); now != tat {
		t.Error("a turn was kept by somebody who has gone")
	}
	if err := s.Wait(t.Context(), "us-east-1"); err != nil {
		t.Errorf("another region: %v", err)
	}
	other := &Shared{DB: db.Pool, Account: "b", PerSecond: 1, Burst: 2}
	if err := other.Wait(t.Context(), "eu-west-1"); err != nil {
		t.Errorf("another account: %v", err)
	}
}

func TestThrottlingSlowsEverybodyAndPassesOver(t *testing.T) {
	db := pgtest.New(t)
	s := &Shared{DB: db.Pool, Account: "a", PerSecond: 1000, Burst: 5}
	take := func() {
		t.Helper()
		if err := s.Wait(t.Context(), "eu-west-1"); err != nil {
			t.Fatal(err)
		}
	}
	pace := func() int64 { return pgtest.Value[int64](t, db, `SELECT pace_us FROM aws_limits`) }
	take()
	if got := pace(); got != 1000 {
		t.Fatalf("%d us a call", got)
	}
	s.Throttled(t.Context(), "eu-west-1")
	if got := pace(); got != 2000 {
		t.Errorf("after a refusal: %d us a call", got)
	}
	s.Throttled(t.Context(), "eu-west-1")
	if got := pace(); got != 2000 {
		t.Errorf("a refusal of the same second counts again: %d us a call", got)
	}
	for range 10 {
		if _, err := db.Pool.Exec(t.Context(), `UPDATE aws_limits SET throttled_us = 0`); err != nil {
			t.Fatal(err)
		}
		s.Throttled(t.Context(), "eu-west-1")
	}
	if got := pace(); got != slowest*1000 {
		t.Errorf("after many refusals: %d us a call", got)
	}
	for range slowest * recovery {
		take()
	}
	if got := pace(); got != 1000 {
		t.Errorf("after many calls: %d us a call", got)
	}
}

func TestWithoutADatabaseNothingGoesOut(t *testing.T) {
	db := pgtest.New(t)
	b := newBench(t)
	cfg := b.config
	cfg.Limiter = &Shared{DB: db.Pool, Account: "a", PerSecond: 100, Burst: 5}
	db.Pool.Close()
	pe := wantClass(t, one(New(cfg).Stop(t.Context(), home, []string{"ws-000000000"})), workspace.Throttled)
	if pe.Code != codeNoLimit || len(b.sent("StopWorkspaces")) != 0 {
		t.Errorf("%+v, sent %d", pe, len(b.sent("StopWorkspaces")))
	}
}

func TestACircuitOpensTriesAndCloses(t *testing.T) {
	b := newBench(t)
	cfg := b.config
	cfg.BreakFor = 50 * time.Millisecond
	p := New(cfg)
	stop := func(class workspace.Class) *workspace.ProviderError {
		t.Helper()
		return wantClass(t, one(p.Stop(t.Context(), home, []string{"ws-000000000"})), class)
	}
	state := func(want string) {
		t.Helper()
		for _, c := range p.Circuits() {
			if c.Region == home && c.State != want {
				t.Errorf("the circuit is %s, want %s", c.State, want)
			}
		}
	}
	b.fail("StopWorkspaces", "http500", breakAfter-1)
	for range breakAfter - 1 {
		stop(workspace.Ambiguous)
	}
	stop(workspace.Gone) // an answer: the count begins again
	b.fail("StopWorkspaces", "http500", breakAfter+2)
	for range breakAfter {
		stop(workspace.Ambiguous)
	}
	state("open")
	sent := len(b.sent("StopWorkspaces"))
	if pe := stop(workspace.Throttled); pe.Code != codeCircuitOpen || len(b.sent("StopWorkspaces")) != sent {
		t.Errorf("with an open circuit: %+v", pe)
	}
	wantClass(t, one(p.Stop(t.Context(), abroad, []string{"ws-000000000"})), workspace.Ambiguous) // each Region has one of its own, and this was sent
	until(t, "one call tries", func() bool { return len(p.Circuits()) == 2 && p.circuit(home) == "half-open" })
	stop(workspace.Ambiguous)
	state("open")
	until(t, "another tries", func() bool { return p.circuit(home) == "half-open" })
	stop(workspace.Gone)
	state("closed")
}

func (p *Provider) circuit(region string) string {
	for _, c := range p.Circuits() {
		if c.Region == region {
			return c.State
		}
	}
	return ""
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("not within ten seconds: " + what)
		}
	}
}

func TestManyAreAskedForTogetherAndSettledEachByItself(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	made := b.create(spec("alice"))
	other := b.create(spec("bob"))
	failed := b.Terminate(ctx, home, []string{made, "ws-000000000", other})
	if len(failed) != 0 || len(b.sent("TerminateWorkspaces")) != 1 {
		t.Errorf("%v in %d requests", failed, len(b.sent("TerminateWorkspaces")))
	}
	failed = b.Stop(ctx, home, []string{made, "ws-000000000"})
	if len(failed) != 2 {
		t.Errorf("%v", failed)
	}
	wantClass(t, failed[made], workspace.NotNow)
	wantClass(t, failed["ws-000000000"], workspace.Gone)
	if got := len(b.sent("StopWorkspaces")); got != 1 {
		t.Errorf("%d requests for two", got)
	}
}

// One malformed id has Amazon reject the whole request, in which nothing happens.
func TestOneThatIsMalformedDoesNotKeepTheOthersFromBeingAskedFor(t *testing.T) {
	b := newBench(t)
	ids := []string{b.create(spec("alice")), "nonsense", b.create(spec("bob"))}
	failed := b.Terminate(t.Context(), home, ids)
	if len(failed) != 1 {
		t.Fatalf("%v", failed)
	}
	wantClass(t, failed["nonsense"], workspace.Rejected)
	found, err := b.Describe(t.Context(), home, []string{ids[0], ids[2]})
	if err != nil {
		t.Fatal(err)
	}
	for id, o := range found {
		if o.State != "TERMINATING" {
			t.Errorf("%s is %s", id, o.State)
		}
	}
}

func TestMoreThanABatchIsAskedForInSeveral(t *testing.T) {
	b := newBench(t)
	ids := make([]string, 60)
	for i := range ids {
		ids[i] = "ws-00000000" + string(rune('a'+i%26)) + string(rune('a'+i/26))
	}
	if failed := b.Start(t.Context(), home, ids); len(failed) != len(ids) || len(b.sent("StartWorkspaces")) != 3 {
		t.Errorf("%d refused in %d requests", len(failed), len(b.sent("StartWorkspaces")))
	}
}

// never gives nobody a turn.
type never struct{}

func (never) Wait(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

func (never) Throttled(context.Context, string) {}

func TestAWaitThatIsGivenUpHasSentNothing(t *testing.T) {
	b := newBench(t)
	cfg := b.config
	cfg.Limiter = never{}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	pe := wantClass(t, one(New(cfg).Stop(ctx, home, []string{"ws-000000000"})), workspace.Throttled)
	if pe.Code != codeNoTurn || len(b.sent("StopWorkspaces")) != 0 {
		t.Errorf("%+v", pe)
	}
}
