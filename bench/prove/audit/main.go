// Command audit measures what the audit log's machinery costs: changes recorded by it beside pgbench inserting the same rows
// into the same tables, how far the tree is behind, and whether that grows while a transaction stays open for long.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/migrate"
	"github.com/robco-forge/forge/internal/postgres/pgembed"
)

const (
	origin = "proof.forge/audit"
	// treePoll is how often a server looks for what was committed.
	treePoll = 250 * time.Millisecond
	subjects = 64
)

type options struct {
	rounds     int
	round      time.Duration
	soak       time.Duration
	open       time.Duration
	soakRate   int
	skipRatios bool
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each measurement, one beside the other")
	flag.DurationVar(&o.round, "round", 10*time.Second, "length of a round")
	flag.DurationVar(&o.soak, "soak", 10*time.Minute, "length of the soak; 0 is none")
	flag.DurationVar(&o.open, "open", 5*time.Minute, "how long a transaction stays open during the soak")
	flag.IntVar(&o.soakRate, "soak-rate", 200, "changes a second during the soak")
	flag.BoolVar(&o.skipRatios, "skip-ratios", false, "the soak only")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "audit:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "forge-audit-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	server, err := pgembed.Start(ctx, pgembed.Options{DataDir: filepath.Join(dir, "pg"), Settings: map[string]string{
		"max_connections": "200", "shared_buffers": "1GB", "max_wal_size": "8GB",
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop(context.WithoutCancel(ctx))) }()
	fmt.Println("PostgreSQL with fsync on, one server, a database each; both clients run beside it and over its socket")
	if !o.skipRatios {
		if err := ratios(ctx, server, dir, o); err != nil {
			return err
		}
	}
	if o.soak > 0 {
		return soak(ctx, server, o)
	}
	return nil
}

// database is an installation's, with nothing in it but its tables.
type database struct {
	pool *pgxpool.Pool
	url  string
	log  *audit.Log
	tree *audit.Sequencer

	mu     sync.Mutex
	delays []time.Duration
	size   int64
}

func newDatabase(ctx context.Context, server *pgembed.Server, name string) (_ *database, err error) {
	admin, err := pgxpool.New(ctx, server.URL("postgres", "postgres"))
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	if _, err := admin.Exec(ctx, `CREATE DATABASE `+name); err != nil {
		return nil, err
	}
	d := &database{url: server.URL(name, "postgres")}
	m, err := migrate.Open(ctx, d.url, migrate.Options{})
	if err != nil {
		return nil, err
	}
	_, err = m.Up(ctx, 0)
	if err := errors.Join(err, m.Close()); err != nil {
		return nil, err
	}
	// The application's role, as in an installation: its rights are checked with every statement.
	if _, err := admin.Exec(ctx, `ALTER ROLE `+name+`_app LOGIN`); err != nil {
		return nil, err
	}
	d.url = server.URL(name, name+"_app")
	if d.pool, err = postgres.Open(ctx, d.url, 80); err != nil {
		return nil, err
	}
	keys := audit.Keys{Writer: [32]byte{1}, Personal: [32]byte{2}, Signing: [][32]byte{{3}}}
	silent := slog.New(slog.DiscardHandler)
	if d.log, err = audit.NewLog(audit.Config{Pool: d.pool, Clock: time.Now, Origin: origin, Writer: "proof", Keys: keys, Logger: silent}); err != nil {
		return nil, err
	}
	signers, err := keys.Signers(origin)
	if err != nil {
		return nil, err
	}
	d.tree, err = audit.NewSequencer(audit.SequencerConfig{
		Pool: d.pool, Clock: time.Now, Origin: origin, Name: "proof", Keys: keys, Signers: signers, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Observe: func(o audit.Observation) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.delays, d.size = append(d.delays, o.Delays...), o.Signed
		},
	})
	return d, err
}

// sequence follows what is committed as a server does, until ctx ends.
func (d *database) sequence(ctx context.Context) error {
	tick := time.NewTicker(treePoll)
	defer tick.Stop()
	for {
		n, err := d.tree.Round(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case n == audit.SequenceBatch:
			continue // as a server does: there may be more
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// taken are the delays since it was last asked.
func (d *database) taken() ([]time.Duration, int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.delays
	d.delays = nil
	slices.Sort(out)
	return out, d.size
}

func somebody(n int) actor.Actor {
	return actor.Actor{
		Type: actor.TypeUser, User: id.User("usr_proof" + strconv.Itoa(n)), Name: "proof" + strconv.Itoa(n), Email: "proof@example.com", Role: actor.Engineer,
		Interface: "cli", RequestID: "req_01jd3z8k5s9q7r6t4v2w", SourceIP: "198.51.100.7", UserAgent: "forge/1.0 (linux; amd64)",
	}
}

// change records one change that changes nothing else.
func (d *database) change(ctx context.Context, who int, fn func(*audit.Tx) error) error {
	return d.log.Change(actor.With(ctx, somebody(who)), audit.Intent{Action: "workspace.start", ResourceType: "workspace", ResourceID: "ws_proof"}, func(tx *audit.Tx) error {
		tx.Record(audit.Event{Action: "workspace.start", ResourceType: "workspace", ResourceID: "ws_01jd3z8k5s9q7r6t4v2w" + strconv.Itoa(who), Details: map[string]any{
			"from": "STOPPED", "to": "STARTING", "version": 7, "reason": "user",
		}})
		if fn != nil {
			return fn(tx)
		}
		return nil
	})
}

// changes makes changes, so many writers at once, and says how many a second it were.
func (d *database) changes(ctx context.Context, writers int, length time.Duration) (float64, error) { // not money: a rate
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var n atomic.Int64
	errs := make([]error, writers)
	began := time.Now()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := d.change(ctx, w%subjects, nil); err != nil {
					if ctx.Err() == nil {
						errs[w] = err
					}
					return
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(n.Load()) / time.Since(began).Seconds(), errors.Join(errs...) // not money: a rate
}

// script inserts the rows that a change writes: of the same sizes, with as many different users.
func script(ctx context.Context, d *database, dir string) (string, error) {
	var leaf, sealed int
	if err := d.pool.QueryRow(ctx, `SELECT round(avg(octet_length(leaf)))::int, (SELECT round(avg(octet_length(sealed)))::int FROM audit_personal_data) FROM audit_logs`).Scan(&leaf, &sealed); err != nil {
		return "", err
	}
	fmt.Printf("a change writes a leaf of %d bytes and %d bytes of sealed personal data\n", leaf, sealed)
	path := filepath.Join(dir, "rows.sql")
	return path, os.WriteFile(path, fmt.Appendf(nil, `BEGIN;
INSERT INTO audit_logs (timestamp, id, user_id, actor_type, action_type, resource_type, resource_id, result, code, interface, request_id, source_ip, user_agent, leaf, mac) VALUES (clock_timestamp(), gen_random_uuid(), 'usr_proof' || :client_id::int, 'user', 'workspace.start', 'workspace', 'ws_01jd3z8k5s9q7r6t4v2w' || :client_id::int, 'success', '', 'cli', 'req_01jd3z8k5s9q7r6t4v2w', '198.51.100.7', 'forge/1.0 (linux; amd64)', decode(repeat('ab', %d), 'hex'), decode(repeat('cd', 32), 'hex'));
INSERT INTO audit_personal_data (entry_id, timestamp, subject_id, key_generation, sealed) VALUES (gen_random_uuid(), clock_timestamp(), 'usr_proof' || :client_id::int, 1, decode(repeat('ef', %d), 'hex'));
COMMIT;
`, leaf, sealed), 0o600)
}

var tps = regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)

// pgbench runs the script, so many clients at once, and says how many transactions a second it were.
func pgbench(ctx context.Context, url, script string, clients int, length time.Duration) (float64, error) { // not money: a rate
	bin, _, err := pgembed.FindBinaries()
	if err != nil {
		return 0, err
	}
	out, err := exec.CommandContext(ctx, filepath.Join(bin, "pgbench"), "-n", "-M", "prepared", "-c", strconv.Itoa(clients), "-j", "2",
		"-T", strconv.Itoa(int(length.Seconds())), "-f", script, url).CombinedOutput()
	m := tps.FindSubmatch(out)
	if err != nil || m == nil {
		return 0, fmt.Errorf("pgbench: %w: %s", err, out)
	}
	return strconv.ParseFloat(string(m[1]), 64) // not money: a rate
}

func ratios(ctx context.Context, server *pgembed.Server, dir string, o options) error {
	bare, err := newDatabase(ctx, server, "bare")
	if err != nil {
		return err
	}
	defer bare.pool.Close()
	ours, err := newDatabase(ctx, server, "audited")
	if err != nil {
		return err
	}
	defer ours.pool.Close()
	for w := range subjects {
		if err := ours.change(ctx, w, nil); err != nil {
			return err
		}
	}
	rows, err := script(ctx, ours, dir)
	if err != nil {
		return err
	}
	following, stop := context.WithCancel(ctx)
	followed := make(chan error, 1)
	defer stop()
	fmt.Printf("\n%-8s %-8s %14s %14s %8s   %s\n", "WRITERS", "ROUND", "CHANGES/S", "PGBENCH/S", "RATIO", "MERGE DELAY OF THE ROUND: P50, P99, LONGEST (from the entry's instant to the checkpoint that covers it)")
	go func() { followed <- ours.sequence(following) }()
	for _, writers := range []int{16, 64} {
		var all []float64 // not money: ratios
		for r := range o.rounds {
			ours.taken()
			mine, err := ours.changes(ctx, writers, o.round)
			if err != nil {
				return err
			}
			if err := ours.caughtUp(ctx); err != nil {
				return err
			}
			theirs, err := pgbench(ctx, bare.url, rows, writers, o.round)
			if err != nil {
				return err
			}
			delays, _ := ours.taken()
			all = append(all, mine/theirs)
			fmt.Printf("%-8d %-8d %14.0f %14.0f %8.2f   %s\n", writers, r+1, mine, theirs, mine/theirs, quantiles(delays))
		}
		slices.Sort(all)
		fmt.Printf("%-8d %-8s %14s %14s %8.2f\n", writers, "median", "", "", all[len(all)/2])
	}
	stop()
	if err := <-followed; err != nil {
		return err
	}
	ours.tree.Close(ctx)
	var entries, inTree, quarantined int64
	err = ours.pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM audit_logs), (SELECT size FROM audit_tree), (SELECT count(*) FROM audit_quarantine)`).Scan(&entries, &inTree, &quarantined)
	fmt.Printf("entries %d, in the tree %d, in quarantine %d\n", entries, inTree, quarantined)
	if err == nil && (entries != inTree || quarantined > 0) {
		err = errors.New("the tree is not what was committed")
	}
	return err
}

// caughtUp waits until every entry is signed.
func (d *database) caughtUp(ctx context.Context) error {
	var entries int64
	if err := d.pool.QueryRow(ctx, `SELECT count(*) FROM audit_logs`).Scan(&entries); err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for {
		d.mu.Lock()
		done := d.size >= entries
		d.mu.Unlock()
		if done {
			return nil
		}
		if time.Since(began) > 2*time.Minute {
			return errors.New("the tree has not come up with what was committed in two minutes")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func quantiles(sorted []time.Duration) string {
	if len(sorted) == 0 {
		return "none"
	}
	at := func(percent int) time.Duration {
		return sorted[min(len(sorted)-1, len(sorted)*percent/100)].Round(time.Millisecond)
	}
	return fmt.Sprintf("%8s %8s %8s", at(50), at(99), sorted[len(sorted)-1].Round(time.Millisecond))
}

// soak changes things at a steady rate, for long, with a transaction in it that stays open.
func soak(ctx context.Context, server *pgembed.Server, o options) error {
	d, err := newDatabase(ctx, server, "soak")
	if err != nil {
		return err
	}
	defer d.pool.Close()
	defer d.tree.Close(context.WithoutCancel(ctx)) // it keeps a connection
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	followed := make(chan error, 1)
	go func() { followed <- d.sequence(ctx) }()
	fmt.Printf("\nSOAK of %s at %d changes a second; after a fifth of it a change begins that stays open for %s\n", o.soak, o.soakRate, o.open)
	fmt.Printf("%-8s %10s %10s %8s   %s\n", "MINUTE", "COMMITTED", "SIGNED", "BEHIND", "MERGE DELAY: P50, P99, LONGEST")

	var committed atomic.Int64
	var failed atomic.Pointer[error]
	one := func(fn func(*audit.Tx) error, who int) {
		if err := d.change(ctx, who, fn); err != nil && ctx.Err() == nil {
			failed.Store(&err)
			return
		}
		committed.Add(1)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if !wait(ctx, o.soak/5) {
			return
		}
		one(func(tx *audit.Tx) error {
			// It has written before it dawdles, so that it has a number, and it dawdles awake.
			if _, err := tx.Exec(ctx, `SELECT pg_current_xact_id()`); err != nil {
				return err
			}
			for until := time.Now().Add(o.open); time.Now().Before(until); {
				if !wait(ctx, time.Second) {
					return ctx.Err()
				}
				if _, err := tx.Exec(ctx, `SELECT 1`); err != nil {
					return err
				}
			}
			return nil
		}, 0)
	})
	end := time.After(o.soak)
	pace := time.NewTicker(time.Second / time.Duration(o.soakRate))
	defer pace.Stop()
	minute := time.NewTicker(min(time.Minute, o.soak/5))
	defer minute.Stop()
	var worst int64
	for n, i := 1, 0; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-followed:
			return err
		case <-pace.C:
			i++
			wg.Go(func() { one(nil, i%subjects) })
		case <-minute.C:
			delays, signed := d.taken()
			behind := committed.Load() - signed
			worst = max(worst, behind)
			fmt.Printf("%-8d %10d %10d %8d   %s\n", n, committed.Load(), signed, behind, quantiles(delays))
			n++
		case <-end:
			wg.Wait()
			if err := failed.Load(); err != nil {
				return *err
			}
			if err := d.caughtUp(ctx); err != nil {
				return err
			}
			delays, signed := d.taken()
			fmt.Printf("%-8s %10d %10d %8d   %s\n", "end", committed.Load(), signed, committed.Load()-signed, quantiles(delays))
			if worst > int64(10*o.soakRate) {
				return fmt.Errorf("%d entries were behind, more than of ten seconds", worst)
			}
			return nil
		}
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
