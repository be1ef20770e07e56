package policy_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/policy"
)

// matrix is the whole table written a second time, by hand: o own, t team, a any, - none,
// in the order engineer, contractor, team_lead, finance, auditor, admin.
var matrix = map[policy.Action]string{
	policy.WorkspaceCreate: "ooo--o", policy.WorkspaceRead: "oot--a", policy.WorkspaceUpdate: "oot--a", policy.WorkspaceOperate: "oot--a",
	policy.UserRead: "oota-a", policy.UserManage: "-----a", policy.TeamRead: "ttta-a", policy.TeamManage: "-----a",
	policy.ProjectRead: "ttta-a", policy.ProjectManage: "--t--a", policy.TokenManage: "oooooa", policy.BlueprintRead: "ttttta", policy.BlueprintWrite: "--t--a", policy.BlueprintUpgrade: "--t--a",
	policy.CostRead: "oota-a", policy.BudgetRead: "oota-a", policy.BudgetSet: "--ta-a", policy.BudgetRequest: "oot--o", policy.BudgetAudit: "---aaa", policy.AuditRead: "----aa", policy.AuditErase: "-----a",
	policy.WorkspaceExtendLife: "--t--a", policy.WorkspaceAdopt: "-----a", policy.PolicyRead: "aaaaaa", policy.PolicyManage: "-----a", policy.PolicySimulate: "--ta-a",
	policy.DriftRead: "----aa", policy.DriftSweep: "-----a",
	policy.PriceRead: "aaaaaa", policy.PriceImport: "---a-a", policy.CostClose: "---a-a",
	policy.NotificationRead: "-----a", policy.NotificationManage: "-----a",
}

func TestTheTableIsExactlyTheMatrix(t *testing.T) {
	if len(policy.Actions()) != len(matrix) {
		t.Fatalf("%d actions in the table, %d in the matrix", len(policy.Actions()), len(matrix))
	}
	for action, row := range matrix {
		for i, role := range actor.Roles() {
			me := actor.Actor{Type: actor.TypeUser, User: "usr_me", Team: "team_mine", Role: role}
			reach := map[byte]int{'-': 0, 'o': 1, 't': 2, 'a': 3}[row[i]]
			for _, c := range []struct {
				owner id.User
				team  id.Team
				need  int
			}{{"usr_me", "team_mine", 1}, {"usr_mate", "team_mine", 2}, {"usr_else", "team_else", 3}, {"", "", 3}} {
				if got, want := policy.Allows(me, action, c.owner, c.team), reach >= c.need; got != want {
					t.Errorf("%s %s on %s/%s: %v, want %v", role, action, c.owner, c.team, got, want)
				}
			}
		}
	}
}

func TestStrangersMayDoNothing(t *testing.T) {
	for _, a := range policy.Actions() {
		if policy.Allows(actor.Actor{Type: actor.TypeAnonymous, Role: actor.Admin}, a, "", "") {
			t.Errorf("a stranger may %s", a)
		}
	}
}

func TestARefusedBundleNamesTheAllowedOnes(t *testing.T) {
	c := actor.Actor{Type: actor.TypeUser, Role: actor.Contractor}
	err := policy.RequireBundle(c, "POWER")
	if !errors.Is(err, policy.ErrBundleNotAllowed) {
		t.Fatalf("got %v", err)
	}
	if allowed, _ := fault.From(err).Details["allowed_bundle_types"].([]string); !slices.Equal(allowed, []string{"STANDARD", "PERFORMANCE"}) {
		t.Fatalf("allowed: %v", allowed)
	}
	if policy.RequireBundle(c, "PERFORMANCE") != nil {
		t.Error("a contractor may use PERFORMANCE")
	}
	if policy.RequireBundle(actor.Actor{Type: actor.TypeUser, Role: actor.Engineer}, "GRAPHICSPRO_G4DN") == nil {
		t.Error("an engineer may not use GRAPHICSPRO_G4DN")
	}
	if policy.RequireBundle(actor.Actor{Type: actor.TypeUser, Role: actor.TeamLead}, "GRAPHICSPRO_G4DN") != nil {
		t.Error("a lead may use GRAPHICSPRO_G4DN")
	}
}
