package app

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/price"
)

type demoUser struct {
	name string
	role actor.Role
	team string
}

// demoUsers are 24 engineers of one team and 6 of another, and a user of every other role.
func demoUsers() []demoUser {
	const backend = "ada alan barbara brian claude dennis donald edsger frances grace guido hedy james jean john joan karen ken leslie linus lynn margaret niklaus radia"
	const data = "shafi sophie tim tony vint whitfield"
	var all []demoUser
	for _, n := range strings.Fields(backend) {
		all = append(all, demoUser{n, actor.Engineer, "backend"})
	}
	for _, n := range strings.Fields(data) {
		all = append(all, demoUser{n, actor.Engineer, "data"})
	}
	return append(all,
		demoUser{"lead-backend", actor.TeamLead, "backend"}, demoUser{"lead-data", actor.TeamLead, "data"},
		demoUser{"contractor", actor.Contractor, "backend"}, demoUser{"finance", actor.Finance, "data"},
		demoUser{"auditor", actor.Auditor, "data"}, demoUser{"admin", actor.Admin, "backend"})
}

const year = 365 * 24 * time.Hour

// Seed puts the demo organisation in, once, and returns its users' tokens, which it keeps in the file.
func (f *Forge) Seed(ctx context.Context, file string) ([]Credential, error) {
	ctx = actor.With(ctx, actor.Operator("seed"))
	var teams int
	if err := f.Pool.QueryRow(ctx, `SELECT count(*) FROM teams`).Scan(&teams); err != nil {
		return nil, err
	}
	if teams == 0 {
		if err := f.Log.Change(ctx, audit.Intent{Action: "demo.seed", ResourceType: "organisation"}, func(tx *audit.Tx) error {
			return f.seed(ctx, tx)
		}); err != nil {
			return nil, err
		}
	}
	users, err := readCredentials(file)
	if err != nil || users != nil {
		return users, err
	}
	err = f.Log.Change(ctx, audit.Intent{Action: "demo.tokens", ResourceType: "token"}, func(tx *audit.Tx) error {
		users = nil
		for _, d := range demoUsers() {
			u, err := people.FindUser(ctx, tx, d.name)
			if errors.Is(err, people.ErrUserNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			_, secret, err := people.CreateToken(ctx, tx, u, "forge dev", year)
			if err != nil {
				return err
			}
			users = append(users, Credential{d.name, string(d.role), d.team, secret})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return users, WriteSecret(file, users)
}

func (f *Forge) seed(ctx context.Context, tx *audit.Tx) error {
	lines, err := price.Default()
	if err != nil {
		return err
	}
	if _, err := cost.ImportBook(ctx, tx, price.DefaultSource, price.SessionCeil, tx.Now.Add(-year), lines); err != nil {
		return err
	}
	teams := map[string]people.Team{}
	for name, centre := range map[string]string{"backend": "cc-1000", "data": "cc-2000"} {
		if teams[name], err = people.CreateTeam(ctx, tx, name, centre); err != nil {
			return err
		}
	}
	for _, p := range []struct{ name, team, centre string }{{"checkout", "backend", "cc-1100"}, {"search", "backend", "cc-1200"}, {"forecast", "data", "cc-2100"}} {
		if _, err := people.CreateProject(ctx, tx, p.name, teams[p.team], p.centre); err != nil {
			return err
		}
	}
	set := func(scope budget.Scope, scopeID string, amount money.USD) error {
		_, err := f.Budgets.Set(ctx, tx, budget.Setting{Scope: scope, ScopeID: scopeID, Amount: amount})
		return err
	}
	if err := set(budget.Organisation, budget.OrganisationID, 20_000*money.Dollar); err != nil {
		return err
	}
	for _, t := range teams {
		if err := set(budget.Team, string(t.ID), 8_000*money.Dollar); err != nil {
			return err
		}
	}
	for _, d := range demoUsers() {
		n := people.NewUser{
			UserName: d.name, DisplayName: strings.ToUpper(d.name[:1]) + d.name[1:], Email: d.name + "@example.com", Team: d.team, Role: d.role,
		}
		if d.role == actor.Contractor {
			end := tx.Now.Add(year / 2)
			n.CredentialExpiresAt = &end
		}
		u, err := people.CreateUser(ctx, tx, n)
		if err != nil {
			return err
		}
		if err := set(budget.User, string(u.ID), 400*money.Dollar); err != nil {
			return err
		}
	}
	return seedBlueprints(ctx, tx, teams)
}

func seedBlueprints(ctx context.Context, tx *audit.Tx, teams map[string]people.Team) error {
	base := blueprint.Definition{
		OperatingSystem: "WINDOWS", License: "INCLUDED", DefaultBundleType: "STANDARD", RunningMode: price.AutoStop, AutoStopTimeoutMinutes: 60,
		BundleTypes: []string{"STANDARD", "PERFORMANCE", "POWER", "POWERPRO"}, MaxLifetimeDays: 180, Software: []string{"git 2.47", "go 1.26", "vscode 1.95"},
	}
	backend, data := teams["backend"], teams["data"]
	for _, b := range []struct {
		team        *people.Team
		name, about string
		change      func(*blueprint.Definition)
	}{
		{nil, "go-dev", "A Go workstation for everybody", func(*blueprint.Definition) {}},
		{&backend, "services", "Backend services with containers", func(d *blueprint.Definition) { d.Software = append(d.Software, "podman 5.2", "psql 15") }},
		{&data, "notebooks", "Data work with a large or a graphics bundle", func(d *blueprint.Definition) {
			d.BundleTypes = []string{"PERFORMANCE", "POWER", "POWERPRO", "GRAPHICS_G4DN", "GRAPHICSPRO_G4DN"}
			d.DefaultBundleType, d.RunningMode, d.AutoStopTimeoutMinutes = "PERFORMANCE", price.AutoStop, 120
			d.Software = []string{"python 3.13", "jupyter 7"}
		}},
	} {
		d := base
		d.Software = append([]string{}, base.Software...)
		b.change(&d)
		made, err := blueprint.Create(ctx, tx, b.team, b.name, blueprint.About{Description: b.about})
		if err != nil {
			return err
		}
		for _, more := range []string{"", "delta 0.18"} {
			if more != "" {
				d.Software = append(d.Software, more)
			}
			v, err := blueprint.AddVersion(ctx, tx, &made, d, blueprint.Source{})
			if err != nil {
				return err
			}
			if _, _, err := blueprint.Promote(ctx, tx, &made, v.Number, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// Bootstrap makes the first admin of an empty installation, with the default price book, and returns the token's secret.
// It refuses where there are users already.
func (f *Forge) Bootstrap(ctx context.Context, userName, email string) (string, error) {
	ctx = actor.With(ctx, actor.Operator("bootstrap"))
	var secret string
	err := f.Log.Change(ctx, audit.Intent{Action: "admin.bootstrap", ResourceType: "organisation"}, func(tx *audit.Tx) error {
		// Two bootstraps at once wait for each other here.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('forge bootstrap', 0))`); err != nil {
			return err
		}
		var users int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM users`).Scan(&users); err != nil {
			return err
		}
		if users > 0 {
			return errBootstrapped
		}
		team, err := people.CreateTeam(ctx, tx, "operators", "operations")
		if err != nil {
			return err
		}
		u, err := people.CreateUser(ctx, tx, people.NewUser{UserName: userName, DisplayName: userName, Email: email, Team: string(team.ID), Role: actor.Admin})
		if err != nil {
			return err
		}
		lines, err := price.Default()
		if err != nil {
			return err
		}
		if _, err := cost.ImportBook(ctx, tx, price.DefaultSource, price.SessionCeil, tx.Now.Add(-year), lines); err != nil {
			return err
		}
		_, secret, err = people.CreateToken(ctx, tx, u, "bootstrap", 30*24*time.Hour)
		return err
	})
	return secret, err
}
