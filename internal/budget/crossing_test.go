package budget_test

import (
	"testing"

	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

// A limit that was raised has armed the warning again, though it is set back to what it was.
func TestALimitThatIsRaisedAndSetBackIsCrossedAgain(t *testing.T) {
	r := setUp(t, "deny")
	team := string(r.org.Teams[0])
	r.set(t, budget.Team, team, 10*money.Dollar)
	r.mustHold(t, id.New[id.WorkSpace](), r.payer(), 8*money.Dollar, 0)
	r.set(t, budget.Team, team, 20*money.Dollar)
	r.set(t, budget.Team, team, 10*money.Dollar)
	r.mustHold(t, id.New[id.WorkSpace](), r.payer(), money.Dollar, 0)
	events := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM audit_logs WHERE action_type = 'budget.warning'`)
	told := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM notifications WHERE kind = 'budget.warning' AND team_id = $1`, team)
	if events != 2 || told != 2 {
		t.Errorf("recorded %d times and told %d times, want both twice", events, told)
	}
}
