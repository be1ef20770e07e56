// Package actor says who is acting: a person with a role, or one of the system's own hands.
package actor

import (
	"context"

	"github.com/robco-forge/forge/internal/id"
)

// Role is what a person may do, as the policy table reads it.
type Role string

// The roles (Requirement 8).
const (
	Engineer   Role = "engineer"
	Contractor Role = "contractor"
	TeamLead   Role = "team_lead"
	Finance    Role = "finance"
	Auditor    Role = "auditor"
	Admin      Role = "admin"
)

// Roles lists every role.
func Roles() []Role { return []Role{Engineer, Contractor, TeamLead, Finance, Auditor, Admin} }

// Type tells people, the system and strangers apart.
type Type string

// The types of actor.
const (
	TypeUser      Type = "user"
	TypeSystem    Type = "system"
	TypeAnonymous Type = "anonymous"
)

// Actor is who acts, through which interface, from where. Roles are read from the database at each request, so an
// Actor is good for one request only.
type Actor struct {
	Type Type
	// User is the person; empty for the system and for strangers.
	User id.User
	// Name is the directory user name of a person, or the system's part, such as "system:reconcile".
	Name    string
	Email   string
	Role    Role
	Team    id.Team
	TokenID id.Token

	Interface string // "api", "cli", "portal", "worker", "admin"
	RequestID string
	SourceIP  string // personal data
	UserAgent string // personal data
}

// ID is how the audit log names the actor.
func (a Actor) ID() string {
	if a.Type == TypeUser {
		return string(a.User)
	}
	return a.Name
}

// System is one of Forge's own hands; part is such as "reconcile", "settle", "idle-policy".
func System(part string) Actor {
	return Actor{Type: TypeSystem, Name: "system:" + part, Interface: "worker"}
}

// Operator is someone with a shell on the server: the database's owner, or first-time set-up.
func Operator(part string) Actor {
	return Actor{Type: TypeSystem, Name: "operator:" + part, Interface: "admin"}
}

type key struct{}

// With puts the actor into the context.
func With(ctx context.Context, a Actor) context.Context { return context.WithValue(ctx, key{}, a) }

// From is the actor of the context; without one, a stranger who may do nothing.
func From(ctx context.Context) Actor {
	if a, ok := ctx.Value(key{}).(Actor); ok {
		return a
	}
	return Actor{Type: TypeAnonymous, Name: "anonymous", Interface: "api"}
}
