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
	limitFlag(c, &limit)
	e.remote(c, func(s *session, _ []string) error {
		found, err := fetch[client.Budget](limit, func(cursor *string, size *int64) ([]byte, error) {
			r, err := s.api.ListBudgetsWithResponse(s.ctx, &client.ListBudgetsParams{Cursor: cursor, Limit: size})
			if err != nil {
				return nil, err
			}
			return r.Body, nil
		})
		if err != nil {
			return err
		}
		t := &table{head: []string{"SCOPE", "ID", "NAME", "LIMIT USD", "SPENT USD", "RESERVED USD", "AVAILABLE USD", "USED PERCENT", "ENFORCEMENT"}, none: "No budgets."}
		for _, b := range found.items {
			used := percent(b.ConsumedPercent)
			if s.outTTY {
				used.show = bar(b.ConsumedPercent)
				used.style = &styleGood
				switch {
				case b.ConsumedPercent >= 100:
					used.style = &styleBad
				case b.ConsumedPercent >= b.WarningPercent:
					used.style = &styleBusy
				}
			}
			t.row(words(string(b.Scope)), words(b.ScopeId), wordsOf(b.Name), dollars(b.Amount), dollars(b.Settled), dollars(b.Held), dollars(b.Available), used, words(b.Enforcement))
		}
		return emitList(s, found, t)
	})
	c.AddCommand(e.budgetsSetCommand())
	return c
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
		scope := client.SetBudgetParamsScope(strings.ToUpper(args[0]))
		switch scope {
		case "ORGANISATION", "TEAM", "PROJECT", "USER":
		default:
			return UsageError{Err: fmt.Errorf("a scope is ORGANISATION, TEAM, PROJECT or USER, not %q", args[0])}
		}
		if !amount.MatchString(args[2]) {
			return UsageError{Err: fmt.Errorf("an amount is US dollars like 400 or 400.00, not %q", args[2])}
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
		r, err := s.api.SetBudgetWithResponse(s.ctx, scope, args[1], &client.SetBudgetParams{}, set)
		if err != nil {
			return err
		}
		b, err := decode[client.Budget](r.Body)
		if err != nil {
			return err
		}
		t := pairs()
		t.pair("Scope", words(string(b.Scope)))
		t.pair("ID", words(b.ScopeId))
		t.pair("Name", wordsOf(b.Name))
		t.pair("Limit USD", dollars(b.Amount))
		t.pair("Spent USD", dollars(b.Settled))
		t.pair("Reserved USD", dollars(b.Held))
		t.pair("Available USD", dollars(b.Available))
		t.pair("Used", percent(b.ConsumedPercent))
		t.pair("Warning at", percent(b.WarningPercent))
		t.pair("Enforcement", words(b.Enforcement))
		return s.emit(r.Body, t)
	})
}
