package blueprint_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/blueprint/spec"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

// as runs a change as somebody.
func (r *room) as(ctx context.Context, a actor.Actor, fn func(ctx context.Context, tx *audit.Tx) error) error {
	ctx = actor.With(ctx, a)
	return r.log.Change(ctx, audit.Intent{Action: "blueprint.test", ResourceType: "blueprint"}, func(tx *audit.Tx) error { return fn(ctx, tx) })
}

// file writes a definition as a team writes it.
func file(t interface{ Fatal(...any) }, ref, software string) string {
	text, err := spec.Format(spec.Document{Blueprint: ref, Description: "for tests", Definition: definition(software)})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFiftyVersionsStayAsTheyWere(t *testing.T) {
	r := setUp(t)
	lead := r.org.Actor(0, actor.TeamLead)
	var texts []string
	for n := range 50 {
		err := r.as(t.Context(), lead, func(ctx context.Context, tx *audit.Tx) error {
			done, err := blueprint.Push{
				Files: []blueprint.File{{Path: "shell.yaml", Text: file(t, "backend/shell", fmt.Sprint("go 1.", n))}}, Promote: true,
				Source: blueprint.Source{Commit: fmt.Sprintf("%040x", n), Author: "Ada <ada@example.com>"},
			}.Apply(ctx, tx)
			if err == nil && (!done[0].Added || done[0].Version.Number != n+1) {
				err = fmt.Errorf("it became %+v", done[0])
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		canonical, _, err := definition(fmt.Sprint("go 1.", n)).Canonical()
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(canonical))
	}
	b, err := blueprint.Find(t.Context(), r.Pool, lead, "backend/shell")
	if err != nil || b.ActiveVersion != 50 || b.LatestVersion != 50 {
		t.Fatalf("%+v, %v", b, err)
	}
	all, err := blueprint.Versions(t.Context(), r.Pool, b.ID, 0, 100)
	if err != nil || len(all) != 50 {
		t.Fatal(len(all), err)
	}
	for i, v := range all {
		n := 50 - i
		sum := sha256.Sum256([]byte(texts[n-1]))
		if v.Number != n || v.Canonical != texts[n-1] || v.Digest != hex.EncodeToString(sum[:]) || v.Source.Commit != fmt.Sprintf("%040x", n-1) || v.Status != blueprint.Published {
			t.Errorf("version %d is %+v", n, v)
		}
	}
	for who, db := range map[string]interface {
		Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
	}{"the application": r.Pool, "the owner": r.Owner} {
		for _, sql := range []string{
			`UPDATE blueprint_versions SET definition = definition`, `DELETE FROM blueprint_versions`, `TRUNCATE blueprint_versions CASCADE`,
			`UPDATE blueprint_statuses SET reason = 'x'`, `DELETE FROM blueprint_statuses`, `TRUNCATE blueprint_statuses`,
			`UPDATE blueprint_promotions SET number = 1`, `DELETE FROM blueprint_promotions`, `TRUNCATE blueprint_promotions`,
			`DELETE FROM blueprints`,
		} {
			_, err := db.Exec(t.Context(), sql)
			var refused *pgconn.PgError
			want := "42501" // insufficient_privilege
			if who == "the owner" {
				want = "23001" // restrict_violation
			}
			if sql == `DELETE FROM blueprints` && who == "the owner" {
				want = "23503" // foreign_key_violation
			}
			if !errors.As(err, &refused) || refused.Code != want {
				t.Errorf("%s: %s: %v", who, sql, err)
			}
		}
	}
	// Nor does the database keep a version whose digest is not its own, or a status out of its order.
	for _, sql := range []string{
		`INSERT INTO blueprint_versions (id, blueprint_id, number, definition, digest, created_by, created_at) SELECT 'bpv_x', id, 51, '{}', repeat('0', 64), 'x', now() FROM blueprints WHERE name = 'shell'`,
		`INSERT INTO blueprint_statuses (version_id, ordinal, status, set_by, set_at) SELECT version_id, 2, 'published', 'x', now() FROM blueprint_statuses WHERE ordinal = 1 LIMIT 1`,
		`INSERT INTO blueprint_statuses (version_id, ordinal, status, set_by, set_at) SELECT version_id, 1, 'published', 'x', now() FROM blueprint_statuses WHERE ordinal = 1 LIMIT 1`,
	} {
		if _, err := r.Pool.Exec(t.Context(), sql); err == nil {
			t.Errorf("kept: %s", sql)
		}
	}
}

// model is what a blueprint must be after the operations so far.
type model struct {
	versions []modelVersion
	standing []int // promotions that were not taken back, by version
	active   int
	actives  []int // after each promotion and rollback
}

type modelVersion struct {
	digest string
	status blueprint.Status
}

// For any sequence of operations every version ever added stays readable and unchanged, statuses only go forward, and the
// active version is what the history says.
func TestAnySequenceOfOperationsKeepsVersionsAndHistory(t *testing.T) {
	r := setUp(t)
	lead := r.org.Actor(0, actor.TeamLead)
	next := 0
	rapid.Check(t, func(t *rapid.T) {
		next++
		name := fmt.Sprintf("p%d", next)
		var b blueprint.Blueprint
		run := func(fn func(ctx context.Context, tx *audit.Tx) error) error {
			return r.as(context.Background(), lead, fn)
		}
		if err := run(func(ctx context.Context, tx *audit.Tx) (err error) {
			b, err = blueprint.CreateNamed(ctx, tx, "backend/"+name, blueprint.About{})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		var m model
		change := func(fn func(ctx context.Context, tx *audit.Tx, b *blueprint.Blueprint) error) error {
			return run(func(ctx context.Context, tx *audit.Tx) error {
				b, err := blueprint.Change(ctx, tx, string(b.ID))
				if err != nil {
					return err
				}
				if err := fn(ctx, tx, &b); err != nil {
					return err
				}
				tx.Record(audit.Event{Action: "blueprint.test", ResourceType: "blueprint", ResourceID: string(b.ID)})
				return nil
			})
		}
		number := func(t *rapid.T) int { return rapid.IntRange(1, len(m.versions)+1).Draw(t, "number") }
		check := func(t *rapid.T, what string, err error, may bool) {
			if may != (err == nil) {
				t.Fatalf("%s: %v, and it may: %v (%+v)", what, err, may, m)
			}
		}
		ordinal := map[blueprint.Status]int{blueprint.Draft: 0, blueprint.Published: 1, blueprint.Deprecated: 2, blueprint.Archived: 3}
		advance := func(to blueprint.Status) func(*rapid.T) {
			return func(t *rapid.T) {
				n := number(t)
				err := change(func(ctx context.Context, tx *audit.Tx, b *blueprint.Blueprint) error {
					_, _, err := blueprint.Advance(ctx, tx, b, n, to, "")
					return err
				})
				if n > len(m.versions) {
					check(t, string(to), err, false)
					return
				}
				v := &m.versions[n-1]
				may := v.status == to || ordinal[v.status] < ordinal[to] && (to != blueprint.Deprecated || v.status != blueprint.Draft) && (to != blueprint.Archived || m.active != n)
				check(t, string(to), err, may)
				if may {
					v.status = to
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				d := definition(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "software"))
				_, digest, err := d.Canonical()
				if err != nil {
					t.Fatal(err)
				}
				promote := rapid.Bool().Draw(t, "promote")
				var got blueprint.Pushed
				err = change(func(ctx context.Context, tx *audit.Tx, b *blueprint.Blueprint) (err error) {
					got, err = blueprint.Push{Promote: promote}.Add(ctx, tx, b, blueprint.File{Text: file(t, "backend/"+name, d.Software[0])})
					return err
				})
				same := len(m.versions) > 0 && m.versions[len(m.versions)-1].digest == digest
				if same && promote && m.active != len(m.versions) && ordinal[m.versions[len(m.versions)-1].status] > 1 {
					check(t, "promoting what is deprecated", err, false)
					return
				}
				check(t, "push", err, true)
				if got.Added == same {
					t.Fatalf("the same: %v, added: %v", same, got.Added)
				}
				if !same {
					m.versions = append(m.versions, modelVersion{digest, blueprint.Draft})
				}
				if n := len(m.versions); promote && m.active != n {
					m.versions[n-1].status = blueprint.Published
					m.standing, m.active, m.actives = append(m.standing, n), n, append(m.actives, n)
				}
			},
			"promote": func(t *rapid.T) {
				n := number(t)
				err := change(func(ctx context.Context, tx *audit.Tx, b *blueprint.Blueprint) error {
					_, _, err := blueprint.Promote(ctx, tx, b, n, "")
					return err
				})
				may := n <= len(m.versions) && (m.active == n || ordinal[m.versions[n-1].status] < 2)
				check(t, "promote", err, may)
				if may && m.active != n {
					m.versions[n-1].status = blueprint.Published
					m.standing, m.active, m.actives = append(m.standing, n), n, append(m.actives, n)
				}
			},
			"rollback": func(t *rapid.T) {
				err := change(func(ctx context.Context, tx *audit.Tx, b *blueprint.Blueprint) error {
					_, err := blueprint.Rollback(ctx, tx, b, "")
					return err
				})
				last := len(m.standing) - 1
				may := last > 0 && m.versions[m.standing[last-1]-1].status.Launchable()
				check(t, "rollback", err, may)
				if may {
					m.standing = m.standing[:last]
					m.active = m.standing[last-1]
					m.actives = append(m.actives, m.active)
				}
			},
			"publish":   advance(blueprint.Published),
			"deprecate": advance(blueprint.Deprecated),
			"archive":   advance(blueprint.Archived),
			"": func(t *rapid.T) {
				is, err := blueprint.Find(context.Background(), r.Pool, lead, string(b.ID))
				if err != nil || is.ActiveVersion != m.active || is.LatestVersion != len(m.versions) {
					t.Fatalf("it is %+v, %v; want %+v", is, err, m)
				}
				all, err := blueprint.Versions(context.Background(), r.Pool, b.ID, 0, 1000)
				if err != nil || len(all) != len(m.versions) {
					t.Fatal(len(all), err)
				}
				for _, v := range all {
					want := m.versions[v.Number-1]
					_, again, err := v.Definition.Canonical()
					if err != nil || v.Digest != want.digest || again != want.digest || v.Status != want.status {
						t.Fatalf("version %d is %+v, %v, want %+v", v.Number, v, err, want)
					}
				}
				history, err := blueprint.History(context.Background(), r.Pool, b.ID, 1000)
				if err != nil {
					t.Fatal(err)
				}
				var actives []int
				for _, e := range slices.Backward(history) {
					if e.What == blueprint.Promoted || e.What == blueprint.RolledBack {
						actives = append(actives, e.Number)
					}
				}
				slices.Sort(actives)
				want := slices.Sorted(slices.Values(m.actives))
				if !slices.Equal(actives, want) {
					t.Fatalf("history has %v, want %v", actives, want)
				}
				at, err := blueprint.ActiveAt(context.Background(), r.Pool, b.ID, r.log.Clock()())
				if err != nil || at != m.active {
					t.Fatalf("the history's active version is %d, %v, want %d", at, err, m.active)
				}
			},
		})
	})
}

func TestTwoLeadsPublishAtTheSameMoment(t *testing.T) {
	const rounds = 50
	r := setUp(t)
	lead := r.org.Actor(0, actor.TeamLead)
	other := r.org.Actor(0, actor.TeamLead)
	other.User = r.User(t, "backend-second-lead", r.org.Teams[0], actor.TeamLead, r.log.Clock()())
	won := map[id.User]int{}
	for round := range rounds {
		latest := round
		start := make(chan struct{})
		var errs [2]error
		var numbers [2]int
		var both sync.WaitGroup
		for i, who := range []actor.Actor{lead, other} {
			both.Go(func() {
				<-start
				errs[i] = r.as(t.Context(), who, func(ctx context.Context, tx *audit.Tx) error {
					done, err := blueprint.Push{
						Files: []blueprint.File{{Path: "shell.yaml", Text: file(t, "backend/shell", fmt.Sprintf("round %d of lead %d", round, i)), Latest: &latest}}, Publish: true,
					}.Apply(ctx, tx)
					if err == nil {
						numbers[i] = done[0].Version.Number
					}
					return err
				})
			})
		}
		close(start)
		both.Wait()
		winner := 0
		if errs[0] != nil {
			winner = 1
		}
		if errs[winner] != nil || numbers[winner] != round+1 {
			t.Fatalf("round %d: %v, %v; numbers %v", round, errs[0], errs[1], numbers)
		}
		won[[]id.User{lead.User, other.User}[winner]]++
		loser := errs[1-winner]
		taken := round == 0 && errors.Is(loser, blueprint.ErrNameTaken) // both were making the blueprint
		if !taken && (!errors.Is(loser, blueprint.ErrChanged) || !strings.Contains(loser.Error(), fmt.Sprintf("is at version %d now, by %s", round+1, []actor.Actor{lead, other}[winner].ID()))) {
			t.Fatalf("round %d: the loser is told: %v", round, loser)
		}
	}
	numbers := pgtest.Value[[]int32](t, r.DB, `
		SELECT array_agg(v.number ORDER BY v.number) FROM blueprint_versions v JOIN blueprints b ON b.id = v.blueprint_id WHERE b.name = 'shell'`)
	for i, n := range numbers {
		if int(n) != i+1 {
			t.Fatalf("the versions are %v", numbers)
		}
	}
	if len(numbers) != rounds {
		t.Errorf("%d versions of %d rounds", len(numbers), rounds)
	}
	t.Logf("races won: %v", won)
}

// Without saying what they have seen, both are taken, one after the other.
func TestVersionsAddedAtOnceAreNumberedWithoutGaps(t *testing.T) {
	const writers = 16
	r := setUp(t)
	b := r.make(t, nil, "shell", 1)
	start := make(chan struct{})
	errs := make([]error, writers)
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			<-start
			errs[i] = r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error {
				_, err := blueprint.Push{Files: []blueprint.File{{Text: file(t, "shell", fmt.Sprintf("writer %d", i))}}, Promote: true}.Apply(ctx, tx)
				return err
			})
		})
	}
	close(start)
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	numbers := pgtest.Value[[]int32](t, r.DB, `SELECT array_agg(number ORDER BY number) FROM blueprint_versions WHERE blueprint_id = $1`, b.ID)
	want := make([]int32, writers+1)
	for i := range want {
		want[i] = int32(i + 1)
	}
	if !slices.Equal(numbers, want) {
		t.Errorf("the versions are %v", numbers)
	}
	if active := pgtest.Value[int](t, r.DB, `SELECT active_version FROM blueprints WHERE id = $1`, b.ID); active != writers+1 {
		t.Errorf("version %d is active", active)
	}
}

func TestWhatCannotBeLaunched(t *testing.T) {
	r := setUp(t)
	b := r.make(t, r.team(0), "shell", 2)
	lead := r.org.Actor(0, actor.TeamLead)
	use := func(ref string) (warnings []string, err error) {
		err = r.as(t.Context(), lead, func(ctx context.Context, tx *audit.Tx) (err error) {
			tx.Record(audit.Event{Action: "blueprint.test", ResourceType: "blueprint"})
			_, _, warnings, err = blueprint.Usable(ctx, tx, ref)
			return err
		})
		return warnings, err
	}
	step := func(number int, to blueprint.Status, reason string) {
		t.Helper()
		if err := r.as(t.Context(), lead, func(ctx context.Context, tx *audit.Tx) error {
			b, err := blueprint.Change(ctx, tx, string(b.ID))
			if err != nil {
				return err
			}
			_, _, err = blueprint.Advance(ctx, tx, &b, number, to, reason)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if warnings, err := use("shell@1"); err != nil || warnings != nil {
		t.Fatal(warnings, err)
	}
	step(1, blueprint.Deprecated, "its Go is old")
	if warnings, err := use("shell@1"); err != nil || len(warnings) != 1 || warnings[0] != "backend/shell@1 is deprecated: its Go is old; the active version is 2" {
		t.Fatal(warnings, err)
	}
	step(1, blueprint.Archived, "")
	if _, err := use("shell@1"); !errors.Is(err, blueprint.ErrNotLaunchable) {
		t.Fatal(err)
	}
	if err := r.as(t.Context(), lead, func(ctx context.Context, tx *audit.Tx) error {
		_, err := blueprint.Push{Files: []blueprint.File{{Text: file(t, "backend/shell", "3")}, {Text: file(t, "backend/new", "1")}}}.Apply(ctx, tx)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := use("shell@3"); !errors.Is(err, blueprint.ErrNotLaunchable) || !strings.Contains(err.Error(), "backend/shell@3 is a draft") {
		t.Fatal(err)
	}
	if _, err := use("new"); !errors.Is(err, blueprint.ErrNoActive) {
		t.Fatal(err)
	}
}

func TestAPushIsWholeOrNothing(t *testing.T) {
	r := setUp(t)
	lead := r.org.Actor(0, actor.TeamLead)
	push := func(who actor.Actor, files ...blueprint.File) ([]blueprint.Pushed, error) {
		var done []blueprint.Pushed
		err := r.as(t.Context(), who, func(ctx context.Context, tx *audit.Tx) (err error) {
			tx.Record(audit.Event{Action: "blueprint.test", ResourceType: "blueprint"})
			done, err = blueprint.Push{Files: files}.Apply(ctx, tx)
			return err
		})
		return done, err
	}
	count := func() int { return pgtest.Value[int](t, r.DB, `SELECT count(*)::int FROM blueprint_versions`) }
	before := count()
	good := blueprint.File{Path: "a.yaml", Text: file(t, "backend/a", "1")}
	for name, bad := range map[string]blueprint.File{
		"not YAML":         {Path: "b.yaml", Text: "["},
		"twice":            {Path: "b.yaml", Text: file(t, "backend/a", "2")},
		"public":           {Path: "b.yaml", Text: file(t, "seeded", "2")},
		"another's":        {Path: "b.yaml", Text: file(t, "data/b", "2")},
		"no such team":     {Path: "b.yaml", Text: file(t, "nobody/b", "2")},
		"a new public one": {Path: "b.yaml", Text: file(t, "b", "2")},
	} {
		if _, err := push(lead, good, bad); err == nil {
			t.Errorf("%s: taken", name)
		}
		if n := count(); n != before {
			t.Fatalf("%s: %d versions were left", name, n-before)
		}
	}
	_, another := push(lead, blueprint.File{Path: "b.yaml", Text: file(t, "data/b", "2")})
	_, nobody := push(lead, blueprint.File{Path: "b.yaml", Text: file(t, "nobody/b", "2")})
	if another == nil || nobody == nil || strings.ReplaceAll(another.Error(), "data", "nobody") != nobody.Error() {
		t.Errorf("another team is told from none: %v, %v", another, nobody)
	}
	if done, err := push(lead, good); err != nil || !done[0].Created || !done[0].Added {
		t.Fatal(done, err)
	}
	if done, err := push(lead, good); err != nil || done[0].Changed() {
		t.Fatal(done, err)
	}
	again := good
	again.Text = strings.Replace(good.Text, "for tests", "something else", 1)
	if done, err := push(lead, again); err != nil || !done[0].Described || done[0].Added || done[0].Blueprint.Description != "something else" {
		t.Fatal(done, err)
	}
	if _, err := push(r.org.Actor(0, actor.Engineer), again); err == nil {
		t.Error("an engineer pushed")
	}
}
