package cli

import (
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
	c.AddCommand(e.budgetsListCommand(), e.budgetsShowCommand(), e.budgetsSetCommand(), e.budgetsHistoryCommand(), e.budgetsAuditCommand(),
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
	var warning int64
	var enforcement string
	var accept bool
	c := &cobra.Command{
		Use: "set SCOPE ID AMOUNT", Short: "Make or change a budget", Args: cobra.ExactArgs(3),
		Long: `Sets what a scope may spend in a month, in USD. SCOPE is ORGANISATION, TEAM, PROJECT or USER,
ID is its id or name ("organisation" for the organisation). Zero admits nothing. It sets all of
the budget: without their flags the warning is at 80 percent and the enforcement is block,
whatever they were before.`,
		Example: `  forge budgets set TEAM backend 400
  forge budgets set ORGANISATION organisation 25000 --warning-percent 90
  forge budgets set USER ada 50 --enforcement block_and_stop --accept-overrun`,
	}
	c.Flags().Int64Var(&warning, "warning-percent", 0, "warn when this much is gone, 1 to 99 (80)")
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
		if c.Flags().Changed("warning-percent") {
			set.WarningPercent = &warning
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
