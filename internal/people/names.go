package people

import (
	"context"

	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
)

// Names are the names of the users, teams and projects with the given ids, for showing; other ids have none.
func Names(ctx context.Context, q postgres.Querier, ids []string) (map[string]string, error) {
	found, err := postgres.Many[struct{ ID, Name string }](ctx, q, `
		SELECT id, user_name AS name FROM users WHERE id = ANY($1)
		UNION ALL
		SELECT id, name FROM teams WHERE id = ANY($1)
		UNION ALL
		SELECT id, name FROM projects WHERE id = ANY($1)`, ids)
	names := make(map[string]string, len(found))
	for _, f := range found {
		names[f.ID] = f.Name
	}
	return names, err
}

// Members are the ids of a team's users and projects, those that are deactivated included.
func Members(ctx context.Context, q postgres.Querier, team id.Team) (users, projects []string, err error) {
	found, err := postgres.Many[struct {
		ID   string
		User bool
	}](ctx, q, `
		SELECT id, true AS user FROM users WHERE team_id = $1
		UNION ALL
		SELECT id, false FROM projects WHERE team_id = $1`, team)
	for _, f := range found {
		if f.User {
			users = append(users, f.ID)
		} else {
			projects = append(projects, f.ID)
		}
	}
	return users, projects, err
}
