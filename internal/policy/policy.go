// Package policy is the table of who may do what. It is pure: a role and an action in, a reach out.
package policy

import (
	"slices"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
)

// The refusals of the table.
var (
	ErrForbidden = fault.New(fault.Forbidden, "FORBIDDEN", "your role does not allow this",
		fault.Suggest("ask your team lead or an admin"))
	ErrBundleNotAllowed = fault.New(fault.Forbidden, "BUNDLE_NOT_ALLOWED", "your role may not use this bundle type",
		fault.Suggest("choose one of the allowed bundle types"))
)

// Action is one thing that can be done; it is also the action's name in the audit log.
type Action string

// The actions.
const (
	WorkspaceCreate  Action = "workspace.create"
	WorkspaceRead    Action = "workspace.read"
	WorkspaceUpdate  Action = "workspace.update"
	WorkspaceOperate Action = "workspace.operate" // start, stop, terminate
	// WorkspaceExtendLife is to let a WorkSpace live longer than its blueprint says.
	WorkspaceExtendLife Action = "workspace.extend_lifetime"
	// WorkspaceAdopt is to make one that Forge did not make Forge's.
	WorkspaceAdopt Action = "workspace.adopt"
	PolicyRead     Action = "policy.read"   // what is paused
	PolicyManage   Action = "policy.manage" // pause and resume
	PolicySimulate Action = "policy.simulate"
	UserRead       Action = "user.read"
	UserManage     Action = "user.manage"
	TeamRead       Action = "team.read"
	TeamManage     Action = "team.manage"
	ProjectRead    Action = "project.read"
	ProjectManage  Action = "project.manage"
	TokenManage    Action = "token.manage"
	BlueprintRead  Action = "blueprint.read"
	// BlueprintWrite is to add versions and to promote them; of a public one for those whose reach is everything.
	BlueprintWrite Action = "blueprint.write"
	// BlueprintUpgrade is to bring the WorkSpaces of a blueprint to another version.
	BlueprintUpgrade Action = "blueprint.upgrade"
	CostRead         Action = "cost.read"
	CostClose        Action = "cost.close" // a month
	PriceRead        Action = "price.read"
	PriceImport      Action = "price.import"
	BudgetRead       Action = "budget.read"
	BudgetSet        Action = "budget.set"
	// BudgetRequest is to ask for more; granting it is BudgetSet.
	BudgetRequest Action = "budget.request"
	// BudgetAudit is to have the balances compared with their entries.
	BudgetAudit Action = "budget.audit"
	AuditRead   Action = "audit.read"
	// AuditErase is to erase what the audit log knows of a person.
	AuditErase       Action = "audit.subject.erase"
	DriftRead        Action = "drift.read"
	DriftSweep       Action = "drift.sweep"
	NotificationRead Action = "notification.read"
	// NotificationManage is to send messages again, and a test.
	NotificationManage Action = "notification.manage"
)

// Reach is how far a role's right to an action goes.
type Reach int

// The reaches, each within the next.
const (
	None Reach = iota
	Own
	Team
	Any
)

// table has a row per action. What is not in it is not allowed.
var table = map[Action]map[actor.Role]Reach{
	WorkspaceCreate:     {actor.Engineer: Own, actor.Contractor: Own, actor.TeamLead: Own, actor.Admin: Own},
	WorkspaceRead:       {actor.Engineer: Own, actor.Contractor: Own, actor.TeamLead: Team, actor.Admin: Any},
	WorkspaceUpdate:     {actor.Engineer: Own, actor.Contractor: Own, actor.TeamLead: Team, actor.Admin: Any},
	WorkspaceOperate:    {actor.Engineer: Own, actor.Contractor: Own, actor.TeamLead: Team, actor.Admin: Any},
	WorkspaceExtendLife: {actor.TeamLead: Team, actor.Admin: Any},
	WorkspaceAdopt:      {actor.Admin: Any},
	PolicyRead:          {actor.Engineer: Any, actor.Contractor: Any, actor.TeamLead: Any, actor.Finance: Any, actor.Auditor: Any, actor.Admin: Any},
	PolicyManage:        {actor.Admin: Any},
	PolicySimulate:      {actor.TeamLead: Team, actor.Finance: Any, actor.Admin: Any},
	UserRead:            {actor.Engineer: Own, actor.Contractor: Own, actor.TeamLead: Team, actor.Finance: Any, actor.Admin: Any},
	UserManage:          {actor.Admin: Any},
	TeamRead:            {actor.Engineer: Team, actor.Contractor: Team, actor.TeamLead: Team, actor.Finance: Any, actor.Admin: Any},
	TeamManage:          {actor.Admin: Any},
	ProjectRead:         {actor.Engineer: Team, actor.Contractor: Team, actor.TeamLead: Team, actor.Finance: Any, actor.Admin: Any},
	ProjectManage:       {actor.TeamLead: Team, actor.Admin: Any},
	TokenManage:         {actor.Engineer: Own, actor.Contractor: Own, actor.TeamLead: Own, actor.Finance: Own, actor.Auditor: Own, actor.Admin: Any},
	BlueprintRead:       {actor.Engineer: Team, actor.Contractor: Team, actor.TeamLead: Team, actor.Finance: Team, actor.Auditor: Team, actor.Admin: Any},
	BlueprintWrite:      {actor.TeamLead: Team, actor.Admin: Any},
	BlueprintUpgrade:    {actor.TeamLead: Team, actor.Admin: Any},
	CostRead:            {actor.Engineer: Own, actor.Contractor: Own, actor.TeamLead: Team, actor.Finance: Any, actor.Admin: Any},
	CostClose:           {actor.Finance: Any, actor.Admin: Any},
	PriceRead:           {actor.Engineer: Any, actor.Contractor: Any, actor.TeamLead: Any, actor.Finance: Any, actor.Auditor: Any, actor.Admin: Any},
	PriceImport:         {actor.Finance: Any, actor.Admin: Any},
	BudgetRead:          {actor.Engineer: Own, actor.Contractor: Own, actor.TeamLead: Team, actor.Finance: Any, actor.Admin: Any},
	BudgetRequest:       {actor.Engineer: Own, actor.Contractor: Own, actor.TeamLead: Team, actor.Admin: Own},
	BudgetAudit:         {actor.Finance: Any, actor.Auditor: Any, actor.Admin: Any},
	BudgetSet:           {actor.TeamLead: Team, actor.Finance: Any, actor.Admin: Any},
	AuditRead:           {actor.Auditor: Any, actor.Admin: Any},
	AuditErase:          {actor.Admin: Any},
	DriftRead:           {actor.Auditor: Any, actor.Admin: Any},
	DriftSweep:          {actor.Admin: Any},
	NotificationRead:    {actor.Admin: Any},
	NotificationManage:  {actor.Admin: Any},
}

// Actions lists every action of the table.
func Actions() []Action {
	var all []Action
	for a := range table {
		all = append(all, a)
	}
	slices.Sort(all)
	return all
}

// ReachOf is how far the actor's right goes. The system's own hands reach everything; strangers nothing.
func ReachOf(a actor.Actor, action Action) Reach {
	switch a.Type {
	case actor.TypeSystem:
		return Any
	case actor.TypeUser:
		return table[action][a.Role]
	case actor.TypeAnonymous:
	}
	return None
}

// Allows tells whether the actor may do the action to something of the given owner and team.
func Allows(a actor.Actor, action Action, owner id.User, team id.Team) bool {
	switch ReachOf(a, action) {
	case Any:
		return true
	case Team:
		return team != "" && team == a.Team || owner != "" && owner == a.User
	case Own:
		return owner != "" && owner == a.User
	case None:
	}
	return false
}

// Require is Allows as an error: ErrForbidden naming the action.
func Require(a actor.Actor, action Action, owner id.User, team id.Team) error {
	if Allows(a, action, owner, team) {
		return nil
	}
	return ErrForbidden.Detail("action", string(action)).Detail("role", string(a.Role))
}

// Bundles are the bundle types that engineers choose from (Requirement 1.6), smallest first.
var Bundles = []string{"STANDARD", "PERFORMANCE", "POWER", "POWERPRO", "GRAPHICS_G4DN", "GRAPHICSPRO_G4DN"}

// BundlesOf are the bundle types that a role may use: contractors the two smallest, GRAPHICSPRO_G4DN only leads and admins.
func BundlesOf(r actor.Role) []string {
	switch r {
	case actor.Contractor:
		return Bundles[:2]
	case actor.Engineer:
		return Bundles[:5]
	case actor.TeamLead, actor.Admin:
		return Bundles
	case actor.Finance, actor.Auditor:
	}
	return nil
}

// RequireBundle refuses a bundle type that the actor's role may not use, naming those that it may.
func RequireBundle(a actor.Actor, bundle string) error {
	allowed := BundlesOf(a.Role)
	if slices.Contains(allowed, bundle) {
		return nil
	}
	return ErrBundleNotAllowed.Sayf("the role %s may not use %s", a.Role, bundle).
		Suggestf("choose one of %v, or ask your team lead", allowed).
		Detail("bundle_type", bundle).Detail("allowed_bundle_types", allowed)
}
