package cli

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
)

func (e *env) budgetsCommand() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: "budgets", Short: "Budgets and how much of them is gone",
		Long: `Shows the budgets that you may see. What is spent and what is reserved for WorkSpaces that run
or may start both count; nothing starts that does not fit into every budget it falls under.`,
		Example: "  forge budgets\n  forge budgets -o json | jq '.[] | select(.consumed_percent >= 80)'\n  forge budgets set TEAM backend 400",
	}
	e.listsBudgets(c, &limit)
	c.AddCommand(e.budgetsListCommand(), e.budgetsShowCommand(), e.budgetsSetCommand(), e.budgetsHistoryCommand(), e.budgetsDeleteCommand(), e.budgetsTemplateCommand(), e.budgetsAuditCommand(),
		e.budgetsCheckCommand(), e.budgetsRequestCommand(), e.budgetsRequestsCommand(), e.budgetsApproveCommand(), e.budgetsDeclineCommand(), e.budgetsWithdrawCommand())
	return c
}

func (e *env) budgetsListCommand() *cobra.Command {
	var limit int
	return e.listsBudgets(&cobra.Command{Use: "list", Short: "Budgets and how much of them is gone", Example: "  forge budgets list"}, &limit)
}

// listsBudgets makes a command list budgets, as `forge budgets` itself does.
func (e *env) listsBudgets(c *cobra.Command, limit *int) *cobra.Command {
	limitFlag(c, limit)
	return e.remote(c, func(s *session, _ []string) error {
		found, err := s.budgetsList(*limit)
		if err != nil {
			return err
		}
		t := &table{head: []string{"SCOPE", "ID", "NAME", "LIMIT USD", "SPENT USD", "RESERVED USD", "AVAILABLE USD", "USED PERCENT", "ENFORCEMENT"}, none: "No budgets."}
		for _, b := range found.items {
			t.row(words(string(b.Scope)), words(b.ScopeId), wordsOf(b.Name), dollars(b.Limit), dollars(b.Settled), dollars(b.Held), dollars(b.Available), s.usedCell(b), words(b.Enforcement))
		}
		return emitList(s, found, t)
	})
}

// bar draws a percentage, which may be more than a hundred.
func bar(percent int64) string {
	const width = 20
	full := int(min(max(percent, 0), 100) * width / 100)
	if percent > 0 && full == 0 {
		full = 1
	}
	return fmt.Sprintf("%s%s %3d%%", strings.Repeat("█", full), strings.Repeat("░", width-full), percent)
}

// amount is what the server takes for money; it judges the size itself.
var amount = regexp.MustCompile(`^[0-9]+(\.[0-9]{1,6})?$`)

func (e *env) budgetsSetCommand() *cobra.Command {
	var warnings []int
	var enforcement, period, months string
	var accept bool
	c := &cobra.Command{
		Use: "set SCOPE ID AMOUNT", Short: "Make or change a budget", Args: cobra.ExactArgs(3),
		Long: `Sets what a scope may spend in a period, in USD. SCOPE is ORGANISATION, TEAM, PROJECT or USER,
ID is its id or name ("organisation" for the organisation). Zero admits nothing. It sets all of
the budget: without their flags the warning is at 80 percent and the enforcement is block,
whatever they were before. The period stays as it is, or is a month.

Periods begin and end with months in UTC. Another --period ends the budget that there is with
this month, and makes a new one, which has its loans. --months is for a span that is no month,
quarter or year: the first and the last of its months.`,
		Example: `  forge budgets set TEAM backend 400
  forge budgets set ORGANISATION organisation 25000 --warning-percent 50,80,95
  forge budgets set TEAM backend 1200 --period quarterly
  forge budgets set PROJECT ledger 5000 --months 2027-01..2027-05
  forge budgets set USER ada 50 --enforcement block_and_stop --accept-overrun`,
	}
	c.Flags().IntSliceVar(&warnings, "warning-percent", nil, "warn when this much is gone, 1 to 99; several as 50,80 (80)")
	c.Flags().StringVar(&period, "period", "", "monthly, quarterly or yearly (as it is, or monthly)")
	c.Flags().StringVar(&months, "months", "", "the months that it is for, as FIRST..LAST like 2027-01..2027-03")
	c.Flags().StringVar(&enforcement, "enforcement", "", "block, block_and_stop or warn (block)")
	c.Flags().BoolVar(&accept, "accept-overrun", false, "allow a limit below what is spent or reserved already")
	return e.remote(c, func(s *session, args []string) error {
		scope, err := budgetScope(args[0])
		if err != nil {
			return err
		}
		if err := checkAmount(args[2]); err != nil {
			return err
		}
		set := client.BudgetSet{Amount: args[2]}
		set.WarningPercents = whole(warnings)
		switch {
		case months != "" && period != "":
			return UsageError{Err: errors.New("--period and --months are two ways to say the same")}
		case months != "":
			first, last, ok := strings.Cut(months, "..")
			if !ok {
				return UsageError{Err: fmt.Errorf("--months is FIRST..LAST like 2027-01..2027-03, not %q", months)}
			}
			custom := client.BudgetSetPeriodCUSTOM
			set.Period, set.FirstMonth, set.LastMonth = &custom, &first, &last
		case period != "":
			p := client.BudgetSetPeriod(strings.ToUpper(period))
			set.Period = &p
		}
		if enforcement != "" {
			how := client.BudgetSetEnforcement(enforcement)
			set.Enforcement = &how
		}
		if accept {
			set.AcceptOverrun = &accept
		}
		r, err := s.api.SetBudgetWithResponse(s.ctx, client.SetBudgetParamsScope(scope), args[1], &client.SetBudgetParams{}, set)
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
