package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
)

var requestStates = []string{"PENDING", "APPROVED", "LENT", "RETURNED", "DECLINED", "WITHDRAWN", "EXPIRED"}

// until reads the end of a loan: a day, which is meant to its beginning in UTC, or an instant.
func until(flag, text string) (*time.Time, error) {
	if text == "" {
		return nil, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return &t, nil
		}
	}
	return nil, UsageError{Err: fmt.Errorf("--%s is a day like 2026-12-01 or an instant like 2026-12-01T18:00:00Z, not %q", flag, text)}
}

func checkAmount(text string) error {
	if !amount.MatchString(text) {
		return UsageError{Err: fmt.Errorf("an amount is US dollars like 400 or 400.00, not %q", text)}
	}
	return nil
}

func budgetScope(text string) (string, error) {
	scope := strings.ToUpper(text)
	if !slices.Contains([]string{"ORGANISATION", "TEAM", "PROJECT", "USER"}, scope) {
		return "", UsageError{Err: fmt.Errorf("a scope is ORGANISATION, TEAM, PROJECT or USER, not %q", text)}
	}
	return scope, nil
}

func (e *env) budgetsRequestCommand() *cobra.Command {
	var reason, end, of string
	c := &cobra.Command{
		Use: "request AMOUNT", Short: "Ask for more of a budget", Args: cobra.ExactArgs(1),
		Long: `Asks for AMOUNT US dollars more: of your own budget, or with --of of another one. With --until it is a
loan, which goes back by itself then. Your team's lead decides within the team's limit, finance decides
everything; nobody decides their own. You are told what became of it.`,
		Example: `  forge budgets request 50 --reason "load tests before the release" --until 2026-12-01
  forge budgets request 500 --reason "two more engineers" --of TEAM/backend`,
	}
	c.Flags().StringVar(&reason, "reason", "", "what it is for (required)")
	c.Flags().StringVar(&end, "until", "", "give it back then: a day like 2026-12-01 (UTC) or an instant; for good when left out")
	c.Flags().StringVar(&of, "of", "", "another budget than yours: SCOPE/ID, like TEAM/backend")
	return e.remote(c, func(s *session, args []string) error {
		if err := checkAmount(args[0]); err != nil {
			return err
		}
		if reason == "" {
			return UsageError{Err: fmt.Errorf("--reason is required")}
		}
		body := client.BudgetRequestCreate{Amount: args[0], Reason: reason}
		if of != "" {
			scope, name, ok := strings.Cut(of, "/")
			if !ok {
				return UsageError{Err: fmt.Errorf("--of is SCOPE/ID, like TEAM/backend, not %q", of)}
			}
			scope, err := budgetScope(scope)
			if err != nil {
				return err
			}
			typed := client.BudgetRequestCreateScope(scope)
			body.Scope, body.ScopeId = &typed, &name
		}
		var err error
		if body.Until, err = until("until", end); err != nil {
			return err
		}
		key := newKey()
		r, err := s.api.CreateBudgetRequestWithResponse(s.ctx, &client.CreateBudgetRequestParams{IdempotencyKey: &key}, body)
		if err != nil {
			return err
		}
		return s.emitRequest(r.Body)
	})
}

func (s *session) emitRequest(body []byte) error {
	r, err := decode[client.BudgetRequest](body)
	if err != nil {
		return err
	}
	t := pairs()
	t.pair("ID", words(r.Id))
	t.pair("State", requestState(string(r.State)))
	t.pair("Budget", words(requestBudget(r)))
	t.pair("Limit USD", dollars(r.BudgetLimit))
	t.pair("Asked by", requestAsker(r))
	t.pair("Asked for USD", dollars(r.Amount))
	t.pair("Asked until", instantOf(r.AskedUntil))
	t.pair("Reason", words(r.Reason))
	t.pair("Granted USD", dollarsOf(r.Granted))
	t.pair("Until", instantOf(r.Until))
	t.pair("Decided by", wordsOf(r.DecidedByName))
	t.pair("Decided", instantOf(r.DecidedAt))
	t.pair("Note", wordsOf(r.Note))
	t.pair("Returned", instantOf(r.ReturnedAt))
	return s.emit(body, t)
}

func requestState(state string) cell {
	c := words(state)
	switch state {
	case "PENDING", "LENT":
		c.style = &styleBusy
	case "APPROVED":
		c.style = &styleGood
	case "DECLINED":
		c.style = &styleBad
	}
	return c
}

func requestBudget(r client.BudgetRequest) string {
	if r.Name != nil {
		return string(r.Scope) + " " + *r.Name
	}
	return string(r.Scope) + " " + r.ScopeId
}

func requestAsker(r client.BudgetRequest) cell {
	if r.AskedByName != nil {
		return words(*r.AskedByName)
	}
	return words(r.AskedBy)
}

func (e *env) budgetsRequestsCommand() *cobra.Command {
	var state string
	var limit int
	c := &cobra.Command{
		Use: "requests", Short: "Who asked for more, and what became of it",
		Long: `Shows the requests that you may see, the newest first: yours, a lead's team's, for finance all.

  PENDING    nobody has decided           LENT      granted until a time
  APPROVED   granted for good             RETURNED  that time has come
  DECLINED   refused                      EXPIRED   nobody decided while it was for
  WITHDRAWN  taken back by who asked`,
		Example: "  forge budgets requests\n  forge budgets requests --state PENDING -o json | jq -r '.[].id'",
	}
	c.Flags().StringVar(&state, "state", "", "only those in this state")
	limitFlag(c, &limit)
	return e.remote(c, func(s *session, _ []string) error {
		p := client.ListBudgetRequestsParams{}
		if state != "" {
			typed := client.ListBudgetRequestsParamsState(strings.ToUpper(state))
			if !slices.Contains(requestStates, string(typed)) {
				return UsageError{Err: fmt.Errorf("--state is one of %s, not %q", strings.Join(requestStates, ", "), state)}
			}
			p.State = &typed
		}
		found, err := fetch[client.BudgetRequest](limit, func(cursor *string, size *int64) ([]byte, error) {
			p.Cursor, p.Limit = cursor, size
			r, err := s.api.ListBudgetRequestsWithResponse(s.ctx, &p)
			if err != nil {
				return nil, err
			}
			return r.Body, nil
		})
		if err != nil {
			return err
		}
		t := &table{head: []string{"ID", "STATE", "BUDGET", "ASKED BY", "ASKED USD", "GRANTED USD", "UNTIL", "CREATED", "REASON"}, none: "No requests."}
		for _, r := range found.items {
			end := r.Until
			if r.State == "PENDING" || r.State == "EXPIRED" {
				end = r.AskedUntil
			}
			t.row(words(r.Id), requestState(string(r.State)), words(requestBudget(r)), requestAsker(r), dollars(r.Amount), dollarsOf(r.Granted),
				instantOf(end), instant(r.CreatedAt), words(r.Reason))
		}
		return emitList(s, found, t)
	})
}

func (e *env) budgetsApproveCommand() *cobra.Command {
	var more, end, note string
	var forever bool
	c := &cobra.Command{
		Use: "approve ID", Short: "Grant a request, or another amount", Args: cobra.ExactArgs(1),
		Long: `Grants what was asked for, or with --amount, --until and --forever something else. Leads grant to their
members up to the team's limit, finance and admins to everybody; nobody decides their own request.`,
		Example: "  forge budgets approve brq_01jd8x5qf8e2x9v7m3k4n5p6q7\n  forge budgets approve brq_01jd8x5qf8e2x9v7m3k4n5p6q7 --amount 25 --note \"half for now\"",
	}
	c.Flags().StringVar(&more, "amount", "", "grant this much more, in USD, instead of what was asked for")
	c.Flags().StringVar(&end, "until", "", "lend it until then: a day like 2026-12-01 (UTC) or an instant")
	c.Flags().BoolVar(&forever, "forever", false, "for good, although a loan was asked for")
	c.Flags().StringVar(&note, "note", "", "a word to who has asked")
	c.MarkFlagsMutuallyExclusive("until", "forever")
	return e.remote(c, func(s *session, args []string) error {
		body := client.BudgetRequestApprove{Amount: given(more), Note: given(note)}
		if more != "" {
			if err := checkAmount(more); err != nil {
				return err
			}
		}
		if forever {
			body.Forever = &forever
		}
		var err error
		if body.Until, err = until("until", end); err != nil {
			return err
		}
		key := newKey()
		r, err := s.api.ApproveBudgetRequestWithResponse(s.ctx, args[0], &client.ApproveBudgetRequestParams{IdempotencyKey: &key}, body)
		if err != nil {
			return err
		}
		return s.emitRequest(r.Body)
	})
}

func (e *env) budgetsDeclineCommand() *cobra.Command {
	var note string
	c := &cobra.Command{
		Use: "decline ID", Short: "Refuse a request", Args: cobra.ExactArgs(1),
		Example: "  forge budgets decline brq_01jd8x5qf8e2x9v7m3k4n5p6q7 --note \"use the shared one\"",
	}
	c.Flags().StringVar(&note, "note", "", "a word to who has asked")
	return e.remote(c, func(s *session, args []string) error {
		key := newKey()
		r, err := s.api.DeclineBudgetRequestWithResponse(s.ctx, args[0], &client.DeclineBudgetRequestParams{IdempotencyKey: &key}, client.BudgetRequestDecline{Note: given(note)})
		if err != nil {
			return err
		}
		return s.emitRequest(r.Body)
	})
}

func (e *env) budgetsWithdrawCommand() *cobra.Command {
	return e.remote(&cobra.Command{
		Use: "withdraw ID", Short: "Take your request back", Args: cobra.ExactArgs(1),
		Example: "  forge budgets withdraw brq_01jd8x5qf8e2x9v7m3k4n5p6q7",
	}, func(s *session, args []string) error {
		key := newKey()
		r, err := s.api.WithdrawBudgetRequestWithResponse(s.ctx, args[0], &client.WithdrawBudgetRequestParams{IdempotencyKey: &key})
		if err != nil {
			return err
		}
		return s.emitRequest(r.Body)
	})
}
