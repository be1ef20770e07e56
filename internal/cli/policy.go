package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
)

func (e *env) policySimulateCommand() *cobra.Command {
	days := int64(30)
	var team, user, zone string
	var entries []string
	var lifetime int64
	var ignore bool
	c := &cobra.Command{
		Use: "simulate", Short: "What the policies would do in the coming days, and save",
		Long: `Lets the policies go through the coming days, by the same rules as they act by, and changes nothing. What
ran in the last 28 days is taken to run at the same hours again, and nobody to come back to what did not; the
money is an estimate for that. What is paused does nothing until its pause ends. Leads see their team; finance
and admins everybody.

With --if-max-lifetime-days or --if-schedule it shows what that would do if all WorkSpaces had it from now on.`,
		Example: `  forge policy simulate --days 30
  forge policy simulate --days 90 --team backend -o json
  forge policy simulate --ignore-pauses -o csv > deeds.csv
  forge policy simulate --if-max-lifetime-days 60
  forge policy simulate --if-schedule "stop 19:00 WEEKDAYS" --zone Europe/Berlin`,
	}
	f := c.Flags()
	f.Int64Var(&days, "days", days, "how many, 1 to 365")
	f.StringVar(&team, "team", "", "only this team's, by id or name")
	f.StringVar(&user, "user", "", "only this user's, by id or name")
	f.BoolVar(&ignore, "ignore-pauses", false, "as if nothing were paused")
	f.Int64Var(&lifetime, "if-max-lifetime-days", 0, "as if no WorkSpace had a longer lifetime")
	f.StringArrayVar(&entries, "if-schedule", nil, "as if every AUTO_STOP WorkSpace had this schedule, instead of its own; may be given again")
	f.StringVar(&zone, "zone", "", "the time zone of --if-schedule, like Europe/Berlin")
	return e.remote(c, func(s *session, _ []string) error {
		if (len(entries) > 0) != (zone != "") {
			return UsageError{Err: errors.New("--if-schedule and --zone belong together")}
		}
		p := client.SimulatePoliciesParams{Days: &days, Team: given(team), User: given(user), IfSchedule: given(strings.Join(entries, ";")), Timezone: given(zone)}
		if ignore {
			p.IgnorePauses = &ignore
		}
		if lifetime != 0 {
			p.IfMaxLifetimeDays = &lifetime
		}
		r, err := s.api.SimulatePoliciesWithResponse(s.ctx, &p)
		if err != nil {
			return err
		}
		sim, err := decode[client.Simulation](r.Body)
		if err != nil {
			return err
		}
		if s.format != "table" {
			return s.emit(r.Body, deedsTable(sim))
		}
		tables := []*table{policyCountTable(sim)}
		if len(sim.Teams) > 1 {
			tables = append(tables, teamCountTable(sim))
		}
		if len(sim.Deeds) > 0 {
			tables = append(tables, deedsTable(sim))
		}
		for _, t := range tables {
			if err := s.emit(r.Body, t); err != nil {
				return err
			}
			if _, err := fmt.Fprintln(s.Out); err != nil {
				return err
			}
		}
		_, err = fmt.Fprintln(s.Out, savingLine(sim))
		return err
	})
}

// policyCountTable, teamCountTable and deedsTable are the parts of a simulation for people; a spreadsheet gets the deeds.
func policyCountTable(sim client.Simulation) *table {
	t := &table{head: []string{"POLICY", "NOTICES", "FLAGS", "STOPS", "STARTS", "TERMINATIONS", "SAVES USD (ESTIMATE)"}}
	for _, c := range sim.Policies {
		t.row(words(c.Policy), count(c.Notices), count(c.Flags), count(c.Stops), count(c.Starts), count(c.Terminations), dollars(c.EstimatedSaving))
	}
	t.foot = fmt.Sprintf("%d WorkSpaces, %s to %s.", sim.Workspaces, sim.From.UTC().Format("2006-01-02"), sim.To.UTC().Format("2006-01-02"))
	return t
}

func teamCountTable(sim client.Simulation) *table {
	t := &table{head: []string{"TEAM", "WORKSPACES", "STOPS", "STARTS", "TERMINATIONS", "COSTS USD", "SAVES USD (ESTIMATE)"}}
	for _, c := range sim.Teams {
		name := c.TeamId
		if c.Name != nil {
			name = *c.Name
		}
		t.row(words(name), count(c.Workspaces), count(c.Stops), count(c.Starts), count(c.Terminations), dollars(c.EstimatedWithout), dollars(c.EstimatedSaving))
	}
	return t
}

func deedsTable(sim client.Simulation) *table {
	t := &table{head: []string{"AT", "POLICY", "WILL", "WORKSPACE", "NAME", "WHY"}}
	for _, d := range sim.Deeds {
		t.row(instant(d.At), words(d.Policy), words(string(d.Action)), words(d.WorkspaceId), words(d.Name), words(d.Why))
	}
	if sim.Truncated {
		t.foot = fmt.Sprintf("Of what would be done, %d are shown: terminations first, the soonest first.", len(sim.Deeds))
	}
	return t
}

func savingLine(sim client.Simulation) string {
	line := fmt.Sprintf("Would save (estimate): %s USD of %s.\nThe estimate takes it that %s.", dollars(sim.EstimatedSaving).display(), dollars(sim.EstimatedWithout).display(), printable(sim.Assumption))
	if sim.Unpriced > 0 {
		line += fmt.Sprintf("\n%d WorkSpaces have no price in the price book and count as nothing.", sim.Unpriced)
	}
	return line
}
