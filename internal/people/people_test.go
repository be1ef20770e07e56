package people_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
	"github.com/robco-forge/forge/internal/price"
)

type room struct {
	*pgtest.DB
	org   *pgtest.Org
	clock *clock.Manual
	log   *audit.Log
}

func setUp(t *testing.T) *room {
	t.Helper()
	r := &room{DB: pgtest.New(t), clock: clock.At(time.Date(2026, 11, 15, 12, 0, 0, 0, time.UTC))}
	r.org, r.log = r.Seed(t, r.clock.Now(), "deny", price.SessionCeil), r.Log(t, r.clock.Now)
	return r
}

func (r *room) try(ctx context.Context, fn func(ctx context.Context, tx *audit.Tx) error) error {
	ctx = actor.With(ctx, r.org.Actor(0, actor.Admin))
	return r.log.Change(ctx, audit.Intent{Action: "user.create", ResourceType: "user"}, func(tx *audit.Tx) error { return fn(ctx, tx) })
}

func (r *room) do(t *testing.T, fn func(ctx context.Context, tx *audit.Tx) error) {
	t.Helper()
	if err := r.try(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func (r *room) token(t *testing.T, user id.User, lifetime time.Duration) (people.Token, string) {
	t.Helper()
	var token people.Token
	var secret string
	r.do(t, func(ctx context.Context, tx *audit.Tx) error {
		u, err := people.FindUser(ctx, tx, string(user))
		if err != nil {
			return err
		}
		token, secret, err = people.CreateToken(ctx, tx, u, "test", lifetime)
		return err
	})
	return token, secret
}

func (r *room) signIn(t *testing.T, secret string) (actor.Actor, error) {
	t.Helper()
	return people.SignIn(t.Context(), r.Pool, secret, r.clock.Now())
}

func (r *room) refused(t *testing.T, why, secret string) {
	t.Helper()
	a, err := r.signIn(t, secret)
	if !errors.Is(err, people.ErrUnauthenticated) || a != (actor.Actor{}) {
		t.Errorf("%s: %+v, %v", why, a, err)
	}
}

const day = 24 * time.Hour

func TestATokenSignsItsPersonInUntilItEnds(t *testing.T) {
	r := setUp(t)
	engineer := r.org.Users[0][actor.Engineer]
	token, secret := r.token(t, engineer, day)
	a, err := r.signIn(t, secret)
	if err != nil {
		t.Fatal(err)
	}
	want := r.org.Actor(0, actor.Engineer)
	want.Interface, want.TokenID = "", token.ID
	if a != want {
		t.Errorf("signed in is %+v, want %+v", a, want)
	}
	_, lasting := r.token(t, engineer, 300*day)
	flipped := []byte(secret)
	flipped[20] ^= 1
	_, other := r.token(t, r.org.Users[0][actor.Finance], day)
	r.Exec(t, `DELETE FROM tokens WHERE user_id = $1`, r.org.Users[0][actor.Finance])
	for why, text := range map[string]string{
		"unknown": other, "a typing error": string(flipped), "empty": "", "no prefix": strings.TrimPrefix(secret, "forge_"), "cut": secret[:len(secret)-1],
		"longer": secret + "A", "a blank": secret + " ", "upper case": strings.ToUpper(secret), "NUL": secret[:30] + "\x00" + secret[31:], "long": strings.Repeat("a", 1<<20),
		"the hash's own text": "forge_" + strings.Repeat("A", 44),
	} {
		r.refused(t, why, text)
	}
	r.clock.Advance(day - time.Microsecond)
	if _, err := r.signIn(t, secret); err != nil {
		t.Errorf("a microsecond before its end: %v", err)
	}
	r.clock.Advance(time.Microsecond)
	r.refused(t, "expired", secret)

	revoked, short := r.token(t, engineer, day)
	for range 2 {
		r.do(t, func(ctx context.Context, tx *audit.Tx) error { return people.RevokeToken(ctx, tx, revoked) })
	}
	r.refused(t, "revoked", short)
	if _, err := r.signIn(t, lasting); err != nil {
		t.Errorf("revoking one token ended another: %v", err)
	}
	r.do(t, func(ctx context.Context, tx *audit.Tx) error {
		_, err := people.DeactivateUser(ctx, tx, engineer)
		return err
	})
	r.refused(t, "deactivated", lasting)
	// Even where the revocation of the token failed to be written.
	r.Exec(t, `UPDATE tokens SET revoked_at = NULL`)
	r.refused(t, "a token of somebody who is deactivated", lasting)
	err = r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error {
		_, err := people.DeactivateUser(ctx, tx, engineer)
		return err
	})
	if !errors.Is(err, people.ErrDeactivated) {
		t.Errorf("deactivated twice: %v", err)
	}
}

func TestAContractorsAccessEndsOnItsDate(t *testing.T) {
	r := setUp(t)
	contractor := r.org.Users[0][actor.Contractor]
	end := pgtest.Value[time.Time](t, r.DB, `SELECT credential_expires_at FROM users WHERE id = $1`, contractor)
	token, secret := r.token(t, contractor, 366*day)
	if !token.ExpiresAt.Equal(end) {
		t.Errorf("the token ends at %s, the access at %s", token.ExpiresAt, end)
	}
	r.clock.Set(end.Add(-time.Microsecond))
	if _, err := r.signIn(t, secret); err != nil {
		t.Error(err)
	}
	r.clock.Set(end)
	r.Exec(t, `UPDATE tokens SET expires_at = expires_at + interval '1 year'`)
	r.refused(t, "past the end of the access", secret)
}

func TestASecretIsKeptNowhere(t *testing.T) {
	r := setUp(t)
	_, secret := r.token(t, r.org.Users[0][actor.Engineer], day)
	if _, err := r.signIn(t, secret); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"tokens", "audit_logs", "audit_personal_data", "users"} {
		for _, text := range []string{secret, strings.TrimPrefix(secret, "forge_")} {
			if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM `+table+` x WHERE x::text LIKE '%' || $1 || '%'`, text); n != 0 {
				t.Errorf("%s holds the secret", table)
			}
		}
	}
	leaked := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM audit_logs WHERE position(convert_to($1, 'UTF8') IN leaf) > 0`, secret)
	if leaked != 0 {
		t.Error("a leaf holds the secret")
	}
}

func TestLastUseIsWrittenOncePerMinute(t *testing.T) {
	r := setUp(t)
	token, secret := r.token(t, r.org.Users[0][actor.Engineer], day)
	used := func() time.Time {
		t.Helper()
		if _, err := r.signIn(t, secret); err != nil {
			t.Fatal(err)
		}
		return pgtest.Value[time.Time](t, r.DB, `SELECT last_used_at FROM tokens WHERE id = $1`, token.ID).UTC()
	}
	first := r.clock.Now()
	if got := used(); !got.Equal(first) {
		t.Errorf("used at %s", got)
	}
	r.clock.Advance(59 * time.Second)
	if got := used(); !got.Equal(first) {
		t.Errorf("written after 59 s: %s", got)
	}
	r.clock.Advance(2 * time.Second)
	if got := used(); !got.Equal(r.clock.Now()) {
		t.Errorf("not written after a minute: %s", got)
	}
}

func TestATokenLivesAnHourToAYear(t *testing.T) {
	r := setUp(t)
	for _, lifetime := range []time.Duration{0, -day, time.Hour - 1, 366*day + 1} {
		err := r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error {
			u, err := people.FindUser(ctx, tx, string(r.org.Users[0][actor.Engineer]))
			if err != nil {
				return err
			}
			_, _, err = people.CreateToken(ctx, tx, u, "test", lifetime)
			return err
		})
		if !errors.Is(err, people.ErrTokenTooLong) {
			t.Errorf("%s: %v", lifetime, err)
		}
	}
}

func TestWhoCannotBeMade(t *testing.T) {
	r := setUp(t)
	past, future := r.clock.Now(), r.clock.Now().Add(day)
	engineer := string(r.org.Users[0][actor.Engineer])
	r.Exec(t, `UPDATE teams SET deactivated_at = $2 WHERE id = $1`, r.org.Teams[1], past)
	for why, c := range map[string]struct {
		n    people.NewUser
		want error
	}{
		"a name in use":            {people.NewUser{UserName: "backend-engineer", Email: "x@example.com", Team: "backend", Role: actor.Engineer}, people.ErrNameTaken},
		"an address in use":        {people.NewUser{UserName: "x", Email: "Backend-Engineer@EXAMPLE.com", Team: "backend", Role: actor.Engineer}, people.ErrNameTaken},
		"no such role":             {people.NewUser{UserName: "x", Email: "x@example.com", Team: "backend", Role: "root"}, people.ErrInvalidRole},
		"no such team":             {people.NewUser{UserName: "x", Email: "x@example.com", Team: "nowhere", Role: actor.Engineer}, people.ErrTeamNotFound},
		"a team that is closed":    {people.NewUser{UserName: "x", Email: "x@example.com", Team: "data", Role: actor.Engineer}, people.ErrDeactivated},
		"a contractor for ever":    {people.NewUser{UserName: "x", Email: "x@example.com", Team: "backend", Role: actor.Contractor}, people.ErrExpiryRequired},
		"an access that has ended": {people.NewUser{UserName: "x", Email: "x@example.com", Team: "backend", Role: actor.Contractor, CredentialExpiresAt: &past}, people.ErrExpiryInPast},
	} {
		err := r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error { _, err := people.CreateUser(ctx, tx, c.n); return err })
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", why, err, c.want)
		}
	}
	for _, name := range []string{"", "Upper", "a b", "-a", strings.Repeat("a", 64), "a/b", "a\x00", engineer} {
		err := r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error {
			_, err := people.CreateUser(ctx, tx, people.NewUser{UserName: name, Email: "x@example.com", Team: "backend", Role: actor.Engineer})
			return err
		})
		if err == nil {
			t.Errorf("a user named %q was made", name)
		}
	}
	r.do(t, func(ctx context.Context, tx *audit.Tx) error {
		u, err := people.CreateUser(ctx, tx, people.NewUser{
			UserName: "x", Email: "x@example.com", Team: "backend", Role: actor.Contractor, CredentialExpiresAt: &future,
		})
		if err != nil {
			return err
		}
		found, err := people.FindUser(ctx, tx, "x")
		if err == nil && (found.ID != u.ID || found.TeamName != "backend" || !found.CredentialExpiresAt.Equal(future)) {
			t.Errorf("found %+v", found)
		}
		return err
	})
}

func TestTeamsAndProjectsHaveNamesOfTheirOwn(t *testing.T) {
	r := setUp(t)
	for _, c := range []struct {
		team, project string
		want          error
	}{
		{"backend", "", people.ErrNameTaken},
		{"Bad", "", people.ErrInvalidName},
		{"9", "", people.ErrInvalidName},
		{"", "backend-project", people.ErrNameTaken},
		{"", "a_b", people.ErrInvalidName},
		{"ok", "", nil},
		{"", "ok", nil},
	} {
		err := r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error {
			if c.team != "" {
				_, err := people.CreateTeam(ctx, tx, c.team, "cc")
				return err
			}
			team, err := people.FindTeam(ctx, tx, "backend")
			if err != nil {
				return err
			}
			_, err = people.CreateProject(ctx, tx, c.project, team, "cc")
			return err
		})
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	// Of those who ask for one name at once, one gets it.
	errs := make([]error, 8)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			errs[i] = r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error {
				_, err := people.CreateTeam(ctx, tx, "raced", "cc")
				return err
			})
		})
	}
	all.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
		} else if !errors.Is(err, people.ErrNameTaken) {
			t.Error(err)
		}
	}
	if made != 1 {
		t.Errorf("%d teams of one name", made)
	}
}

// Who joins while a team is being closed either comes before, and it stays open, or is refused.
func TestNobodyJoinsATeamThatIsBeingClosed(t *testing.T) {
	for what, join := range map[string]func(ctx context.Context, tx *audit.Tx, team people.Team) error{
		"a user": func(ctx context.Context, tx *audit.Tx, team people.Team) error {
			_, err := people.CreateUser(ctx, tx, people.NewUser{UserName: "late", Email: "late@example.com", Team: string(team.ID), Role: actor.Engineer})
			return err
		},
		"a project": func(ctx context.Context, tx *audit.Tx, team people.Team) error {
			_, err := people.CreateProject(ctx, tx, "late", team, "cc")
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			r := setUp(t)
			var team people.Team
			r.do(t, func(ctx context.Context, tx *audit.Tx) (err error) {
				team, err = people.CreateTeam(ctx, tx, "closing", "cc")
				return err
			})
			joined := make(chan error, 1)
			r.do(t, func(ctx context.Context, tx *audit.Tx) error {
				if _, err := people.DeactivateTeam(ctx, tx, team.ID); err != nil {
					return err
				}
				go func() {
					joined <- r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error { return join(ctx, tx, team) })
				}()
				tick := time.NewTicker(5 * time.Millisecond)
				defer tick.Stop()
				for pgtest.Value[int](t, r.DB, `SELECT count(*) FROM pg_locks WHERE NOT granted`) == 0 {
					<-tick.C
				}
				return nil
			})
			if err := <-joined; !errors.Is(err, people.ErrDeactivated) {
				t.Errorf("joined a closed team: %v", err)
			}
		})
	}
}

func TestATeamIsClosedWhenItIsEmpty(t *testing.T) {
	r := setUp(t)
	closeTeam := func() error {
		return r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error {
			_, err := people.DeactivateTeam(ctx, tx, r.org.Teams[1])
			return err
		})
	}
	if err := closeTeam(); !errors.Is(err, people.ErrTeamInUse) {
		t.Errorf("closed with people in it: %v", err)
	}
	for _, u := range r.org.Users[1] {
		r.do(t, func(ctx context.Context, tx *audit.Tx) error { _, err := people.DeactivateUser(ctx, tx, u); return err })
	}
	if err := closeTeam(); !errors.Is(err, people.ErrTeamInUse) {
		t.Errorf("closed with a project in it: %v", err)
	}
	r.do(t, func(ctx context.Context, tx *audit.Tx) error {
		_, err := people.DeactivateProject(ctx, tx, r.org.Projects[1])
		return err
	})
	if err := closeTeam(); err != nil {
		t.Error(err)
	}
	if err := closeTeam(); !errors.Is(err, people.ErrDeactivated) {
		t.Errorf("closed twice: %v", err)
	}
	admin := r.org.Users[0][actor.Admin]
	err := r.try(t.Context(), func(ctx context.Context, tx *audit.Tx) error {
		_, err := people.DeactivateUser(ctx, tx, admin)
		return err
	})
	if !errors.Is(err, people.ErrDeactivateSelf) {
		t.Errorf("an admin deactivated themselves: %v", err)
	}
}
