package cli

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
)

// usedCell is how much of a budget is gone: a bar on a terminal.
func (s *session) usedCell(b client.Budget) cell {
	used := percent(b.ConsumedPercent)
	if s.outTTY {
		used.show = bar(b.ConsumedPercent)
		used.style = &styleGood
		switch {
		case b.ConsumedPercent >= 100:
			used.style = &styleBad
		case len(b.WarningPercents) > 0 && b.ConsumedPercent >= b.WarningPercents[0]:
			used.style = &styleBusy
		}
	}
	return used
}

// percents are thresholds.
func percents(all []int64) cell {
	out := make([]string, len(all))
	for i, p := range all {
		out[i] = fmt.Sprintf("%d %%", p)
	}
	return words(strings.Join(out, ", "))
}

// budgetsList is all budgets that one may see.
func (s *session) budgetsList(limit int) (list[client.Budget], error) {
	return fetch[client.Budget](limit, func(cursor *string, size *int64) ([]byte, error) {
		r, err := s.api.ListBudgetsWithResponse(s.ctx, &client.ListBudgetsParams{Cursor: cursor, Limit: size})
		if err != nil {
			return nil, err
		}
		return r.Body, nil
	})
}

// budgetID finds the id of a budget: of an id itself, or of SCOPE/ID with the id or the name of what it is for.
func (s *session) budgetID(text string) (string, error) {
	scope, of, ok := strings.Cut(text, "/")
	if !ok {
		if strings.HasPrefix(text, "bud_") {
			return text, nil
		}
		return "", UsageError{Err: fmt.Errorf("a budget is an id like bud_… or SCOPE/ID like TEAM/backend, not %q", text)}
	}
	scope, err := budgetScope(scope)
	if err != nil {
		return "", err
	}
	all, err := s.budgetsList(0)
	if err != nil {
		return "", err
	}
	for _, b := range all.items {
		if string(b.Scope) == scope && (b.ScopeId == of || b.Name != nil && *b.Name == of) {
			return b.Id, nil
		}
	}
	return "", hint{fmt.Errorf("there is no budget of the %s %s, or it is not yours to see", strings.ToLower(scope), of), "`forge budgets` lists them"}
}

func (s *session) budgetTable(b client.Budget) *table {
	t := pairs()
	t.pair("ID", words(b.Id))
	t.pair("Scope", words(string(b.Scope)))
	t.pair("Scope ID", words(b.ScopeId))
	t.pair("Name", wordsOf(b.Name))
	t.pair("Period", words(string(b.Period)))
	t.pair("Counts from", words(b.FirstMonth))
	t.pair("Counts until", wordsOf(b.LastMonth))
	t.pair("From", instant(b.PeriodStart))
	t.pair("To", instant(b.PeriodEnd))
	t.pair("Amount USD", dollars(b.Amount))
	t.pair("Lent USD", dollars(b.Lent))
	t.pair("Limit USD", dollars(b.Limit))
	t.pair("Spent USD", dollars(b.Settled))
	t.pair("Reserved USD", dollars(b.Held))
	t.pair("Available USD", dollars(b.Available))
	t.pair("Overrun USD", dollars(b.Overrun))
	t.pair("Used", s.usedCell(b))
	t.pair("Warning at", percents(b.WarningPercents))
	t.pair("Warned", instantOf(b.WarnedAt))
	t.pair("Used up", instantOf(b.ExhaustedAt))
	t.pair("Enforcement", words(b.Enforcement))
	t.pair("Follows", wordsOf(b.TemplateId))
	t.pair("Version", count(b.Version))
	return t
}

func (e *env) budgetsShowCommand() *cobra.Command {
	var entries bool
	var limit int
	c := &cobra.Command{
		Use: "show BUDGET", Short: "A budget with its balance, or its movements", Args: cobra.ExactArgs(1),
		Long: `Shows a budget, by its id or as SCOPE/ID. --entries shows every movement of its balance instead, the
newest first: what was reserved, released, charged or changed, and by which WorkSpace.`,
		Example: "  forge budgets show TEAM/backend\n  forge budgets show USER/ada --entries -o csv > ada.csv",
	}
	c.Flags().BoolVar(&entries, "entries", false, "its movements")
	limitFlag(c, &limit)
	return e.remote(c, func(s *session, args []string) error {
		which, err := s.budgetID(args[0])
		if err != nil {
			return err
		}
		if !entries {
			r, err := s.api.GetBudgetWithResponse(s.ctx, which)
			if err != nil {
				return err
			}
			b, err := decode[client.Budget](r.Body)
			if err != nil {
				return err
			}
			return s.emit(r.Body, s.budgetTable(b))
		}
		found, err := fetch[client.BudgetEntry](limit, func(cursor *string, size *int64) ([]byte, error) {
			r, err := s.api.ListBudgetEntriesWithResponse(s.ctx, which, &client.ListBudgetEntriesParams{Cursor: cursor, Limit: size})
			if err != nil {
				return nil, err
			}
			return r.Body, nil
		})
		if err != nil {
			return err
		}
		t := &table{head: []string{"NUMBER", "AT", "KIND", "LIMIT USD", "SPENT USD", "RESERVED USD", "OVERRUN USD", "WORKSPACE", "REASON"}, none: "No movements."}
		for _, m := range found.items {
			t.row(count(m.Number), instant(m.At), words(string(m.Kind)), dollars(m.Limit), dollars(m.Settled), dollars(m.Held), dollars(m.Overrun), wordsOf(m.WorkspaceId), wordsOf(m.Reason))
		}
		return emitList(s, found, t)
	})
}

func (e *env) budgetsHistoryCommand() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: "history BUDGET", Short: "Who set a budget to what", Args: cobra.ExactArgs(1),
		Long:    `Shows what a budget was, the newest first, who made it so, and by which request.`,
		Example: "  forge budgets history TEAM/backend",
	}
	limitFlag(c, &limit)
	return e.remote(c, func(s *session, args []string) error {
		which, err := s.budgetID(args[0])
		if err != nil {
			return err
		}
		found, err := fetch[client.BudgetVersion](limit, func(cursor *string, size *int64) ([]byte, error) {
			r, err := s.api.ListBudgetHistoryWithResponse(s.ctx, which, &client.ListBudgetHistoryParams{Cursor: cursor, Limit: size})
			if err != nil {
				return nil, err
			}
			return r.Body, nil
		})
		if err != nil {
			return err
		}
		t := &table{head: []string{"VERSION", "AT", "BY", "CAUSE", "AMOUNT USD", "LENT USD", "PERIOD", "FROM", "UNTIL", "WARNING PERCENT", "ENFORCEMENT", "REQUEST"}, none: "No history."}
		for _, v := range found.items {
			by := words(v.SetBy)
			if v.SetByName != nil {
				by = words(*v.SetByName)
			}
			t.row(count(v.Version), instant(v.At), by, words(string(v.Cause)), dollars(v.Amount), dollars(v.Lent), words(v.Period), words(v.FirstMonth), wordsOf(v.LastMonth), percents(v.WarningPercents), words(v.Enforcement), wordsOf(v.RequestId))
		}
		return emitList(s, found, t)
	})
}

func (e *env) budgetsAuditCommand() *cobra.Command {
	return e.remote(&cobra.Command{
		Use: "audit", Short: "Whether the balances are what their entries say",
		Long: `Rebuilds every balance from its immutable entries and compares it with the stored one; and compares
what is reserved with what WorkSpaces hold, and limits with what the budgets were set to. It prints each
difference and exits with 1 if there is any. Finance, auditors and admins only.`,
		Example: "  forge budgets audit\n  forge budgets audit -o json",
	}, func(s *session, _ []string) error {
		r, err := s.api.AuditBudgetsWithResponse(s.ctx)
		if err != nil {
			return err
		}
		a, err := decode[client.BudgetAudit](r.Body)
		if err != nil {
			return err
		}
		t := &table{head: []string{"BUDGET", "SCOPE", "SCOPE ID", "PERIOD", "WHAT", "STORED", "REBUILT"}}
		t.none = fmt.Sprintf("No differences: %d budgets, %d periods, %d entries.", a.Budgets, a.Periods, a.Entries)
		for _, d := range a.Differences {
			t.row(words(d.BudgetId), words(d.Scope), words(d.ScopeId), instant(d.PeriodStart), words(string(d.What)), words(d.Stored), words(d.Rebuilt))
		}
		if err := s.emit(r.Body, t); err != nil || len(a.Differences) == 0 {
			return err
		}
		return hint{fmt.Errorf("the books differ in %d places", len(a.Differences)), "see docs/budgets.md, \"When the books differ\""}
	})
}

func (e *env) budgetsCheckCommand() *cobra.Command {
	var o client.BudgetCheck
	var bundle, mode, region, project string
	var parameters, tags []string
	var hours int64
	c := &cobra.Command{
		Use: "check", Short: "Whether the budgets have room for a WorkSpace",
		Long: `Asks what a WorkSpace would do to the budgets, without making it: its price, what each budget has left,
and the verdict. --hours is how long it is to run until the end of the month.

  admitted   it would be launched (exit 0)
  runs_out   it would be launched, and the money does not last for the hours (exit 0)
  refused    with what forge launch would say (exit 4)

What would turn the verdict follows, the smallest change first.`,
		Example: "  forge budgets check --blueprint go-dev --bundle POWER\n  forge budgets check --blueprint go-dev --hours 120 -o json | jq .changes",
	}
	f := c.Flags()
	f.StringVar(&o.Blueprint, "blueprint", "", "what to launch: name, team/name, either with @version, or an id (required)")
	f.StringVar(&bundle, "bundle", "", "size, like STANDARD or PERFORMANCE (the blueprint's default)")
	f.StringVar(&mode, "mode", "", "AUTO_STOP or ALWAYS_ON (the blueprint's)")
	f.StringVar(&region, "region", "", "where, like us-east-1")
	f.StringVar(&project, "project", "", "a project of your team, by id or name; its cost centre pays")
	f.StringArrayVar(&tags, "tag", nil, "a tag, key=value; may be given again")
	f.StringArrayVar(&parameters, "param", nil, "a parameter of the blueprint, name=value; may be given again")
	f.Int64Var(&hours, "hours", 0, "how long it is to run until the end of the month")
	return e.remote(c, func(s *session, _ []string) error {
		if o.Blueprint == "" {
			return UsageError{Err: errors.New("--blueprint is required")}
		}
		body := o
		body.Region, body.Project = given(region), given(project)
		if bundle != "" {
			b := client.BudgetCheckBundleType(strings.ToUpper(bundle))
			body.BundleType = &b
		}
		if mode != "" {
			m := client.BudgetCheckRunningMode(strings.ToUpper(mode))
			body.RunningMode = &m
		}
		if f.Changed("hours") {
			body.Hours = &hours
		}
		var err error
		if body.Tags, err = parsePairs("tag", tags); err != nil {
			return err
		}
		if body.Parameters, err = parsePairs("param", parameters); err != nil {
			return err
		}
		r, err := s.api.CheckBudgetsWithResponse(s.ctx, body)
		if err != nil {
			return err
		}
		v, err := decode[client.BudgetVerdict](r.Body)
		if err != nil {
			return err
		}
		if err := s.emit(r.Body, verdictTable(v)); err != nil || v.Refusal == nil {
			return err
		}
		p := client.Problem{Code: v.Refusal.Code, Detail: v.Refusal.Detail, SuggestedAction: v.Refusal.SuggestedAction, Details: v.Refusal.Details}
		return &APIError{Status: http.StatusPaymentRequired, Problem: p}
	})
}

func verdictTable(v client.BudgetVerdict) *table {
	t := pairs()
	verdict := words(string(v.Verdict))
	switch v.Verdict {
	case "admitted":
		verdict.style = &styleGood
	case "runs_out":
		verdict.style = &styleBusy
	default:
		verdict.style = &styleBad
	}
	t.pair("Verdict", verdict)
	t.pair("Monthly fee USD", dollars(v.Estimate.MonthlyFee))
	t.pair("First fee USD", dollars(v.Estimate.FirstFee))
	t.pair("Hourly USD", dollars(v.Estimate.Hourly))
	t.pair("Reserved USD", dollars(v.Estimate.Reserved))
	t.pair("Expected USD", dollarsOf(v.Expected))
	if v.Hours != nil {
		t.pair("Room for hours", count(*v.Hours))
	}
	for _, b := range v.Budgets {
		name := b.ScopeId
		if b.Name != nil {
			name = *b.Name
		}
		line := fmt.Sprintf("%s USD left of %s", b.Available.Amount, b.Limit.Amount)
		if strings.Trim(b.Missing.Amount, "0.") != "" {
			line += ", " + b.Missing.Amount + " missing"
		}
		t.pair("Budget "+b.Scope+" "+name, words(line))
	}
	for _, c := range v.Changes {
		t.pair("Would help", words(c.Text))
	}
	return t
}
