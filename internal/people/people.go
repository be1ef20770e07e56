// Package people knows who works here: users, teams, projects, and the tokens that they sign in with.
package people

import (
	"context"
	"errors"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
)

// What can go wrong with people.
var (
	ErrUserNotFound    = fault.New(fault.NotFound, "USER_NOT_FOUND", "there is no such user, or it is not yours to see")
	ErrTeamNotFound    = fault.New(fault.NotFound, "TEAM_NOT_FOUND", "there is no such team, or it is not yours to see")
	ErrProjectNotFound = fault.New(fault.NotFound, "PROJECT_NOT_FOUND", "there is no such project, or it is not yours to see")
	ErrNameTaken       = fault.New(fault.Conflict, "NAME_TAKEN", "that name is in use", fault.Suggest("choose another name"))
	ErrInvalidName     = fault.New(fault.Invalid, "NAME_INVALID", "a name is 1 to 63 lower-case letters, digits and hyphens, beginning with a letter",
		fault.Suggest("choose another name"))
	ErrInvalidRole     = fault.New(fault.Invalid, "ROLE_INVALID", "there is no such role", fault.Suggest("use engineer, contractor, team_lead, finance, auditor or admin"))
	ErrExpiryRequired  = fault.New(fault.Invalid, "CREDENTIAL_EXPIRY_REQUIRED", "a contractor's access must end on a date", fault.Suggest("give credential_expires_at"))
	ErrExpiryInPast    = fault.New(fault.Invalid, "EXPIRY_IN_PAST", "the expiry is not in the future", fault.Suggest("give a later time"))
	ErrDeactivated     = fault.New(fault.Conflict, "DEACTIVATED", "it is deactivated already or belongs to something that is")
	ErrTeamInUse       = fault.New(fault.Conflict, "TEAM_IN_USE", "the team still has active users or projects", fault.Suggest("deactivate or move them first"))
	ErrDeactivateSelf  = fault.New(fault.Conflict, "DEACTIVATE_SELF", "nobody deactivates their own account", fault.Suggest("ask another admin"))
	errNoTeamGiven     = fault.New(fault.Invalid, "TEAM_REQUIRED", "a team must be named", fault.Suggest("give the id or the name of a team"))
	nameRule           = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)
	userNameRule       = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	errInvalidUserName = fault.New(fault.Invalid, "USER_NAME_INVALID", "a user name is that of the directory: 1 to 63 lower-case letters, digits, dots, hyphens and underscores")
)

// User is a person. UserName is the name in the directory that WorkSpaces are made for.
type User struct {
	ID                  id.User
	UserName            string
	DisplayName         string
	Email               string
	TeamID              id.Team
	TeamName            string
	Role                actor.Role
	CredentialExpiresAt *time.Time
	CreatedAt           time.Time
	DeactivatedAt       *time.Time
	Version             int64
}

const userColumns = `
	u.id, u.user_name, u.display_name, u.email, u.team_id, t.name AS team_name, u.role, u.credential_expires_at,
	u.created_at, u.deactivated_at, u.version`

// NewUser is what makes a user.
type NewUser struct {
	UserName, DisplayName, Email string
	Team                         string // id or name
	Role                         actor.Role
	CredentialExpiresAt          *time.Time
}

// CreateUser adds a person (Requirement 8: contractors only with an end).
func CreateUser(ctx context.Context, tx *audit.Tx, n NewUser) (User, error) {
	team, err := FindTeam(ctx, tx, n.Team)
	if err != nil {
		return User{}, err
	}
	switch {
	case !userNameRule.MatchString(n.UserName), id.Is[id.User](n.UserName): // a name that is an id would be found for another's
		return User{}, errInvalidUserName
	case !validRole(n.Role):
		return User{}, ErrInvalidRole
	case n.Role == actor.Contractor && n.CredentialExpiresAt == nil:
		return User{}, ErrExpiryRequired
	case n.CredentialExpiresAt != nil && !n.CredentialExpiresAt.After(tx.Now):
		return User{}, ErrExpiryInPast
	case team.DeactivatedAt != nil:
		return User{}, ErrDeactivated.Sayf("the team %s is deactivated", team.Name)
	}
	if err := stayOpen(ctx, tx, team); err != nil {
		return User{}, err
	}
	u := User{
		ID: id.New[id.User](), UserName: n.UserName, DisplayName: n.DisplayName, Email: n.Email, TeamID: team.ID, TeamName: team.Name,
		Role: n.Role, CredentialExpiresAt: micro(n.CredentialExpiresAt), CreatedAt: tx.Now, Version: 1,
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO users (id, user_name, display_name, email, team_id, role, credential_expires_at, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)`,
		u.ID, u.UserName, u.DisplayName, u.Email, u.TeamID, u.Role, u.CredentialExpiresAt, tx.Now)
	if postgres.Violates(err, "users_user_name_uq") || postgres.Violates(err, "users_email_uq") {
		return User{}, ErrNameTaken.Sayf("a user with that user name or e-mail address exists")
	}
	if err != nil {
		return User{}, err
	}
	tx.Record(audit.Event{Action: "user.create", ResourceType: "user", ResourceID: string(u.ID), Details: map[string]any{
		"role": string(u.Role), "team_id": string(u.TeamID),
	}})
	return u, nil
}

func micro(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	m := t.UTC().Truncate(time.Microsecond)
	return &m
}

func validRole(r actor.Role) bool {
	for _, known := range actor.Roles() {
		if r == known {
			return true
		}
	}
	return false
}

// Page is where a list continues: behind the id After, at most Limit items.
type Page struct {
	After string
	Limit int
}

// only is the condition that the column has the value, none for the empty value, and the arguments of a list: behind what
// and how many, then the value.
func (p Page) only(column, value string) (condition string, args []any) {
	args = []any{p.After, p.Limit}
	if value == "" {
		return "", args
	}
	return " AND " + column + " = $3", append(args, value)
}

// Users lists people by id; of one team, or of all for the empty team.
func Users(ctx context.Context, q postgres.Querier, team id.Team, p Page) ([]User, error) {
	only, args := p.only("u.team_id", string(team))
	return postgres.Many[User](ctx, q, `
		SELECT`+userColumns+`
		FROM users u JOIN teams t ON t.id = u.team_id
		WHERE u.id > $1`+only+`
		ORDER BY u.id
		LIMIT $2`, args...)
}

// FindUser is the user with the id or the user name.
func FindUser(ctx context.Context, q postgres.Querier, idOrName string) (User, error) {
	u, err := postgres.One[User](ctx, q, `
		SELECT`+userColumns+`
		FROM users u JOIN teams t ON t.id = u.team_id
		WHERE u.id = $1 OR u.user_name = $1`, idOrName)
	if errors.Is(err, pgx.ErrNoRows) {
		return u, ErrUserNotFound
	}
	return u, err
}

// LeadOf is the active lead of the team who has been there longest; ErrUserNotFound when there is none.
func LeadOf(ctx context.Context, q postgres.Querier, team id.Team) (User, error) {
	u, err := postgres.One[User](ctx, q, `
		SELECT`+userColumns+`
		FROM users u JOIN teams t ON t.id = u.team_id
		WHERE u.team_id = $1 AND u.role = 'team_lead' AND u.deactivated_at IS NULL
		ORDER BY u.id
		LIMIT 1`, team)
	if errors.Is(err, pgx.ErrNoRows) {
		return u, ErrUserNotFound
	}
	return u, err
}

// DeactivateUser ends a person's access: every token is revoked with it. What the person owned is handed over by those
// who own it.
func DeactivateUser(ctx context.Context, tx *audit.Tx, user id.User) (User, error) {
	if tx.Actor.User == user {
		return User{}, ErrDeactivateSelf
	}
	tag, err := tx.Exec(ctx, `
		UPDATE users
		SET deactivated_at = $2, updated_at = $2, version = version + 1
		WHERE id = $1 AND deactivated_at IS NULL`, user, tx.Now)
	if err != nil {
		return User{}, err
	}
	u, err := FindUser(ctx, tx, string(user))
	if err != nil {
		return User{}, err
	}
	if tag.RowsAffected() == 0 {
		return User{}, ErrDeactivated.Sayf("%s is deactivated already", u.UserName)
	}
	revoked, err := tx.Exec(ctx, `UPDATE tokens SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL`, user, tx.Now)
	if err != nil {
		return User{}, err
	}
	tx.Record(audit.Event{Action: "user.deactivate", ResourceType: "user", ResourceID: string(user), Details: map[string]any{
		"tokens_revoked": revoked.RowsAffected(),
	}})
	return u, nil
}
