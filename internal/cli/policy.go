package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
)

func (e *env) policySimulateCommand() *cobra.Command {
	days := int64(30)
	var team, user string
	var ignore bool
	c := &cobra.Command{
		Use: "simulate", Short: "What the policies would do in the coming days, and save",
		Long: `Lets the policies go through the coming days, by the same rules as they act by, and changes nothing. What
ran in the last 28 days is taken to be used as much from now on, and nobody to come back to what did not;
the money is an estimate for that. Leads see their team; finance and admins everybody.`,
		Example: "  forge policy simulate --days 30\n  forge policy simulate --days 90 --team backend -o json",
	}
	c.Flags().Int64Var(&days, "days", days, "how many, 1 to 365")
	c.Flags().StringVar(&team, "team", "", "only this team's, by id or name")
	c.Flags().StringVar(&user, "user", "", "only this user's, by id or name")
	c.Flags().BoolVar(&ignore, "ignore-pauses", false, "as if nothing were paused")
	return e.remote(c, func(s *session, _ []string) error {
		p := client.SimulatePoliciesParams{Days: &days, Team: given(team), User: given(user)}
		if ignore {
			p.IgnorePauses = &ignore
		}
		r, err := s.api.SimulatePoliciesWithResponse(s.ctx, &p)
		if err != nil {
			return err
		}
		sim, err := decode[client.Simulation](r.Body)
		if err != nil {
			return err
		}
		return s.emit(r.Body, simulationTable(sim))
	})
}

func simulationTable(sim client.Simulation) *table {
	t := &table{head: []string{"AT", "POLICY", "WILL", "WORKSPACE", "NAME"}, none: "The policies would do nothing."}
	for _, d := range sim.Deeds {
		t.row(instant(d.At), words(d.Policy), words(string(d.Action)), words(d.WorkspaceId), words(d.Name))
	}
	more := ""
	if sim.Truncated {
		more = " The soonest 1000 are shown."
	}
	t.foot = fmt.Sprintf("%d WorkSpaces, %s to %s.%s\n", sim.Workspaces, sim.From.UTC().Format("2006-01-02"), sim.To.UTC().Format("2006-01-02"), more)
	for _, c := range sim.Policies {
		t.foot += fmt.Sprintf("%-9s %d notices, %d flags, %d stops, %d starts, %d terminations; would save %s USD (estimate)\n",
			c.Policy, c.Notices, c.Flags, c.Stops, c.Starts, c.Terminations, dollars(c.EstimatedSaving).display())
	}
	t.foot += fmt.Sprintf("Would save %s USD of %s (estimate: %s).", dollars(sim.EstimatedSaving).display(), dollars(sim.EstimatedWithout).display(), printable(sim.Assumption))
	return t
}
