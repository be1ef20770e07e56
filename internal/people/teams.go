package people

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
)

// Team is a group of people with one lead or more and a cost centre that pays by default.
type Team struct {
	ID            id.Team
	Name          string
	CostCentre    string
	CreatedAt     time.Time
	DeactivatedAt *time.Time
	Version       int64
}

const teamColumns = ` id, name, cost_centre, created_at, deactivated_at, version`

// CreateTeam adds a team.
func CreateTeam(ctx context.Context, tx *audit.Tx, name, costCentre string) (Team, error) {
	if !nameRule.MatchString(name) {
		return Team{}, ErrInvalidName
	}
	t := Team{ID: id.New[id.Team](), Name: name, CostCentre: costCentre, CreatedAt: tx.Now, Version: 1}
	_, err := tx.Exec(ctx, `
		INSERT INTO teams (id, name, cost_centre, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $4)`, t.ID, t.Name, t.CostCentre, tx.Now)
	if postgres.Violates(err, "teams_name_uq") {
		return Team{}, ErrNameTaken.Sayf("a team named %q exists", name)
	}
	if err != nil {
		return Team{}, err
	}
	tx.Record(audit.Event{Action: "team.create", ResourceType: "team", ResourceID: string(t.ID), Details: map[string]any{
		"name": name, "cost_centre": costCentre,
	}})
	return t, nil
}

// FindTeam is the team with the id or the name.
func FindTeam(ctx context.Context, q postgres.Querier, idOrName string) (Team, error) {
	if idOrName == "" {
		return Team{}, errNoTeamGiven
	}
	t, err := postgres.One[Team](ctx, q, `SELECT`+teamColumns+` FROM teams WHERE id = $1 OR name = $1`, idOrName)
	if errors.Is(err, pgx.ErrNoRows) {
		return t, ErrTeamNotFound
	}
	return t, err
}

// Teams lists teams by id; one of them only when only is not empty.
func Teams(ctx context.Context, q postgres.Querier, only id.Team, p Page) ([]Team, error) {
	condition, args := p.only("id", string(only))
	return postgres.Many[Team](ctx, q, `
		SELECT`+teamColumns+`
		FROM teams
		WHERE id > $1`+condition+`
		ORDER BY id
		LIMIT $2`, args...)
}

// DeactivateTeam closes a team that has nobody and nothing active left.
func DeactivateTeam(ctx context.Context, tx *audit.Tx, team id.Team) (Team, error) {
	// The row is locked first, so that nobody joins between the look and the change.
	t, err := postgres.One[Team](ctx, tx, `SELECT`+teamColumns+` FROM teams WHERE id = $1 FOR UPDATE`, team)
	if errors.Is(err, pgx.ErrNoRows) {
		return t, ErrTeamNotFound
	}
	if err != nil {
		return t, err
	}
	if t.DeactivatedAt != nil {
		return t, ErrDeactivated.Sayf("the team %s is deactivated already", t.Name)
	}
	var inUse bool
	err = tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM users WHERE team_id = $1 AND deactivated_at IS NULL)
		    OR EXISTS (SELECT FROM projects WHERE team_id = $1 AND deactivated_at IS NULL)`, team).Scan(&inUse)
	if err != nil {
		return t, err
	}
	if inUse {
		return t, ErrTeamInUse
	}
	_, err = tx.Exec(ctx, `UPDATE teams SET deactivated_at = $2, updated_at = $2, version = version + 1 WHERE id = $1`, team, tx.Now)
	if err != nil {
		return t, err
	}
	t.DeactivatedAt, t.Version = &tx.Now, t.Version+1
	tx.Record(audit.Event{Action: "team.deactivate", ResourceType: "team", ResourceID: string(team)})
	return t, nil
}

// stayOpen keeps the team from being closed until the transaction ends, or finds that it is closed.
func stayOpen(ctx context.Context, tx *audit.Tx, team Team) error {
	var open bool
	err := tx.QueryRow(ctx, `SELECT deactivated_at IS NULL FROM teams WHERE id = $1 FOR SHARE`, team.ID).Scan(&open)
	if err == nil && !open {
		return ErrDeactivated.Sayf("the team %s is deactivated", team.Name)
	}
	return err
}

// Project is work of one team that names who pays: CostCentre.
type Project struct {
	ID            id.Project
	Name          string
	TeamID        id.Team
	TeamName      string
	CostCentre    string
	CreatedAt     time.Time
	DeactivatedAt *time.Time
	Version       int64
}

const projectColumns = `
	p.id, p.name, p.team_id, t.name AS team_name, p.cost_centre, p.created_at, p.deactivated_at, p.version`

// CreateProject adds a project to a team.
func CreateProject(ctx context.Context, tx *audit.Tx, name string, team Team, costCentre string) (Project, error) {
	if !nameRule.MatchString(name) {
		return Project{}, ErrInvalidName
	}
	if team.DeactivatedAt != nil {
		return Project{}, ErrDeactivated.Sayf("the team %s is deactivated", team.Name)
	}
	if err := stayOpen(ctx, tx, team); err != nil {
		return Project{}, err
	}
	p := Project{ID: id.New[id.Project](), Name: name, TeamID: team.ID, TeamName: team.Name, CostCentre: costCentre, CreatedAt: tx.Now, Version: 1}
	_, err := tx.Exec(ctx, `
		INSERT INTO projects (id, name, team_id, cost_centre, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $5)`, p.ID, p.Name, p.TeamID, p.CostCentre, tx.Now)
	if postgres.Violates(err, "projects_name_uq") {
		return Project{}, ErrNameTaken.Sayf("a project named %q exists", name)
	}
	if err != nil {
		return Project{}, err
	}
	tx.Record(audit.Event{Action: "project.create", ResourceType: "project", ResourceID: string(p.ID), Details: map[string]any{
		"name": name, "team_id": string(team.ID), "cost_centre": costCentre,
	}})
	return p, nil
}

// FindProject is the project with the id or the name.
func FindProject(ctx context.Context, q postgres.Querier, idOrName string) (Project, error) {
	p, err := postgres.One[Project](ctx, q, `
		SELECT`+projectColumns+`
		FROM projects p JOIN teams t ON t.id = p.team_id
		WHERE p.id = $1 OR p.name = $1`, idOrName)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, ErrProjectNotFound
	}
	return p, err
}

// Projects lists projects by id; of one team, or of all for the empty team.
func Projects(ctx context.Context, q postgres.Querier, team id.Team, p Page) ([]Project, error) {
	only, args := p.only("p.team_id", string(team))
	return postgres.Many[Project](ctx, q, `
		SELECT`+projectColumns+`
		FROM projects p JOIN teams t ON t.id = p.team_id
		WHERE p.id > $1`+only+`
		ORDER BY p.id
		LIMIT $2`, args...)
}

// DeactivateProject ends a project for new WorkSpaces; what runs goes on and is still charged to it.
func DeactivateProject(ctx context.Context, tx *audit.Tx, project id.Project) (Project, error) {
	tag, err := tx.Exec(ctx, `
		UPDATE projects
		SET deactivated_at = $2, updated_at = $2, version = version + 1
		WHERE id = $1 AND deactivated_at IS NULL`, project, tx.Now)
	if err != nil {
		return Project{}, err
	}
	p, err := FindProject(ctx, tx, string(project))
	if err != nil {
		return p, err
	}
	if tag.RowsAffected() == 0 {
		return p, ErrDeactivated.Sayf("the project %s is deactivated already", p.Name)
	}
	tx.Record(audit.Event{Action: "project.deactivate", ResourceType: "project", ResourceID: string(project)})
	return p, nil
}
