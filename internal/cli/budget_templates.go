package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
)

// whole are the numbers of a flag as the API takes them; nil when it was not given.
func whole(all []int) *[]int64 {
	if len(all) == 0 {
		return nil
	}
	out := make([]int64, len(all))
	for i, n := range all {
		out[i] = int64(n)
	}
	return &out
}

func (e *env) budgetsDeleteCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "delete BUDGET", Short: "Have a budget count no more", Args: cobra.ExactArgs(1),
		Long: `From this month on the budget does not limit anything any more. What was booked under it stays, and can be
shown by its id. Requests for more of it are over. Who has no budget then may have one by a template.`,
		Example: "  forge budgets delete TEAM/backend --yes",
	}
	c.Flags().BoolVar(&yes, "yes", false, "do it")
	return e.remote(c, func(s *session, args []string) error {
		which, err := s.budgetID(args[0])
		if err != nil {
			return err
		}
		if !yes {
			return UsageError{Err: fmt.Errorf("%s would count no more; say --yes if that is what you want", args[0])}
		}
		r, err := s.api.EndBudgetWithResponse(s.ctx, which, &client.EndBudgetParams{})
		if err != nil {
			return err
		}
		b, err := decode[client.Budget](r.Body)
		if err != nil {
			return err
		}
		return s.emit(r.Body, s.budgetTable(b))
	})
}

func (e *env) budgetsTemplateCommand() *cobra.Command {
	c := &cobra.Command{Use: "template", Short: "The budgets of those who have none of their own", Example: "  forge budgets template set 400 --role engineer\n  forge budgets template list"}
	c.AddCommand(e.budgetsTemplateListCommand(), e.budgetsTemplateSetCommand(), e.budgetsTemplateDeleteCommand())
	return c
}

func templatesTable(all []client.BudgetTemplate) *table {
	t := &table{head: []string{"ID", "ROLE", "TEAM", "AMOUNT USD", "PERIOD", "WARNING PERCENT", "ENFORCEMENT", "BUDGETS"}, none: "No templates."}
	for _, v := range all {
		team := wordsOf(v.TeamName)
		if v.TeamName == nil {
			team = wordsOf(v.TeamId)
		}
		t.row(words(v.Id), wordsOf(v.Role), team, dollars(v.Amount), words(v.Period), percents(v.WarningPercents), words(v.Enforcement), count(v.Budgets))
	}
	return t
}

func (e *env) budgetsTemplateListCommand() *cobra.Command {
	return e.remote(&cobra.Command{
		Use: "list", Short: "All templates, those first that say most", Args: cobra.NoArgs,
		Long: `Shows the templates. Of those that are for somebody the first in the list counts: team and role, team, role,
all. BUDGETS is how many follow it: those that nobody has set since.`,
		Example: "  forge budgets template list",
	}, func(s *session, _ []string) error {
		r, err := s.api.ListBudgetTemplatesWithResponse(s.ctx)
		if err != nil {
			return err
		}
		all, err := decode[client.BudgetTemplateList](r.Body)
		if err != nil {
			return err
		}
		return s.emit(r.Body, templatesTable(all.Items))
	})
}

func (e *env) budgetsTemplateSetCommand() *cobra.Command {
	var role, team, period, enforcement string
	var warnings []int
	var accept bool
	c := &cobra.Command{
		Use: "set AMOUNT", Short: "Give everybody of a role or a team a budget", Args: cobra.ExactArgs(1),
		Long: `Everybody whom it is for and who has no budget of their own has one from now on, and so has who comes later.
Changed, it changes all budgets that follow it; one that somebody has set follows none.`,
		Example: `  forge budgets template set 400 --role engineer
  forge budgets template set 250 --role contractor --team backend --warning-percent 50,80
  forge budgets template set 3000 --period yearly`,
	}
	f := c.Flags()
	f.StringVar(&role, "role", "", "of which role; any without it")
	f.StringVar(&team, "team", "", "of which team, by id or name; any without it")
	f.StringVar(&period, "period", "", "monthly, quarterly or yearly (monthly)")
	f.IntSliceVar(&warnings, "warning-percent", nil, "warn when this much is gone, 1 to 99; several as 50,80 (80)")
	f.StringVar(&enforcement, "enforcement", "", "block, block_and_stop or warn (block)")
	f.BoolVar(&accept, "accept-overrun", false, "allow an amount below what is spent or reserved already")
	return e.remote(c, func(s *session, args []string) error {
		if err := checkAmount(args[0]); err != nil {
			return err
		}
		set := client.BudgetTemplateSet{Amount: args[0], WarningPercents: whole(warnings), Team: given(team)}
		if role != "" {
			r := client.BudgetTemplateSetRole(role)
			set.Role = &r
		}
		if period != "" {
			p := client.BudgetTemplateSetPeriod(strings.ToUpper(period))
			set.Period = &p
		}
		if enforcement != "" {
			how := client.BudgetTemplateSetEnforcement(enforcement)
			set.Enforcement = &how
		}
		if accept {
			set.AcceptOverrun = &accept
		}
		r, err := s.api.SetBudgetTemplateWithResponse(s.ctx, set)
		if err != nil {
			return err
		}
		t, err := decode[client.BudgetTemplate](r.Body)
		if err != nil {
			return err
		}
		return s.emit(r.Body, templatesTable([]client.BudgetTemplate{t}))
	})
}

func (e *env) budgetsTemplateDeleteCommand() *cobra.Command {
	return e.remote(&cobra.Command{
		Use: "delete ID", Short: "Have a template count no more", Args: cobra.ExactArgs(1),
		Long:    `Budgets that follow it stay as they are; who comes later has none by it.`,
		Example: "  forge budgets template delete btp_01jd8x5qf8e2x9v7m3k4n5p6q7",
	}, func(s *session, args []string) error {
		r, err := s.api.EndBudgetTemplateWithResponse(s.ctx, args[0])
		if err != nil {
			return err
		}
		t := pairs()
		t.pair("Ended", words(args[0]))
		return s.emit(r.Body, t)
	})
}
