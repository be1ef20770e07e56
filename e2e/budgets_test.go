package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	openapi_types "github.com/oapi-codegen/runtime/types"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/cli"
)

// coffers is a team of a test's own, with a lead and an engineer, and their budgets.
type coffers struct{ team, engineer, lead, eng, boss string }

func newCoffers(t *testing.T, name, teams, engineers string) coffers {
	t.Helper()
	admin := as(t, "admin")
	made, err := admin.CreateTeamWithResponse(t.Context(), &client.CreateTeamParams{}, client.TeamCreate{Name: name, CostCentre: "cc-" + name})
	if err != nil || made.JSON201 == nil {
		t.Fatalf("team: %v %s", err, made.Body)
	}
	c := coffers{team: name, eng: name + "-eng", boss: name + "-lead"}
	for user, role := range map[string]client.UserCreateRole{c.eng: "engineer", c.boss: "team_lead"} {
		u, err := admin.CreateUserWithResponse(t.Context(), &client.CreateUserParams{}, client.UserCreate{
			UserName: user, DisplayName: user, Email: openapi_types.Email(user + "@example.com"), Role: role, Team: name,
		})
		if err != nil || u.JSON201 == nil {
			t.Fatalf("user: %v %s", err, u.Body)
		}
		tok, err := admin.CreateTokenWithResponse(t.Context(), &client.CreateTokenParams{}, client.TokenCreate{Name: "t", User: &user})
		if err != nil || tok.JSON201 == nil {
			t.Fatalf("token: %v %s", err, tok.Body)
		}
		if role == "engineer" {
			c.engineer = *tok.JSON201.Secret
		} else {
			c.lead = *tok.JSON201.Secret
		}
	}
	c.cli(t, token(t, "finance"), "budgets", "set", "TEAM", name, teams)
	c.cli(t, token(t, "finance"), "budgets", "set", "USER", c.eng, engineers)
	return c
}

// cli runs the command line, which must succeed, and returns what it printed.
func (c coffers) cli(t *testing.T, secret string, args ...string) string {
	t.Helper()
	out, notes, err := forgeCLI(t, forge.API, secret, args...)
	if err != nil {
		t.Fatalf("forge %s: %v\n%s", strings.Join(args, " "), err, notes)
	}
	return out
}

func TestAnEngineerAsksTheirLeadGrantsAndEverythingIsOnRecord(t *testing.T) {
	c := newCoffers(t, "coffers", "1000", "20")
	finance := token(t, "finance")
	var asked client.BudgetRequest
	out := c.cli(t, c.engineer, "budgets", "request", "30", "--reason", "load tests", "--until", time.Now().AddDate(0, 0, 9).UTC().Format(time.DateOnly), "-o", "json")
	if err := json.Unmarshal([]byte(out), &asked); err != nil || asked.State != "PENDING" || asked.Amount.Amount != "30.000000" || asked.BudgetLimit.Amount != "20.000000" {
		t.Fatalf("asked: %v %s", err, out)
	}
	if out := c.cli(t, c.lead, "budgets", "requests", "--state", "pending"); !strings.Contains(out, asked.Id) || !strings.Contains(out, "load tests") {
		t.Errorf("the lead does not see it:\n%s", out)
	}
	if out := c.cli(t, token(t, "sophie"), "budgets", "requests", "-o", "json"); strings.Contains(out, asked.Id) {
		t.Errorf("a stranger sees it:\n%s", out)
	}
	for who, secret := range map[string]string{"its author": c.engineer, "another team's lead": token(t, "lead-data"), "an auditor": token(t, "auditor")} {
		if _, _, err := forgeCLI(t, forge.API, secret, "budgets", "approve", asked.Id); err == nil {
			t.Errorf("%s approves it", who)
		}
	}
	if _, _, err := forgeCLI(t, forge.API, c.lead, "budgets", "approve", asked.Id, "--amount", "981"); cli.ExitCode(err) != 3 {
		t.Errorf("a lead gives more than the team has: %v", err)
	}
	if out := c.cli(t, c.lead, "budgets", "approve", asked.Id, "--amount", "25.50", "--note", "should do"); !strings.Contains(out, "LENT") || !strings.Contains(out, "25.50") {
		t.Errorf("approved:\n%s", out)
	}
	if _, _, err := forgeCLI(t, forge.API, finance, "budgets", "decline", asked.Id); cli.ExitCode(err) != 1 || !strings.Contains(err.Error(), "lent already") {
		t.Errorf("declined after it: %v", err)
	}
	var shown client.Budget
	if out := c.cli(t, c.engineer, "budgets", "show", "USER/"+c.eng, "-o", "json"); json.Unmarshal([]byte(out), &shown) != nil || shown.Limit.Amount != "45.500000" || shown.Lent.Amount != "25.500000" {
		t.Errorf("shown:\n%s", out)
	}
	if out := c.cli(t, c.lead, "budgets", "history", shown.Id, "-o", "csv"); !strings.Contains(out, c.boss+",loan,20.000000,25.500000") || !strings.Contains(out, "finance,set,20.000000,0.000000") {
		t.Errorf("history:\n%s", out)
	}
	if out := c.cli(t, c.lead, "budgets", "show", shown.Id, "--entries", "-o", "csv"); !strings.Contains(out, ",limit,25.500000,") || !strings.Contains(out, ",open,20.000000,") {
		t.Errorf("entries:\n%s", out)
	}
	if _, _, err := forgeCLI(t, forge.API, token(t, "sophie"), "budgets", "show", shown.Id); err == nil || !strings.Contains(err.Error(), "no such budget") {
		t.Errorf("a stranger sees the budget: %v", err)
	}
	if out := c.cli(t, token(t, "auditor"), "audit", "list", "--limit", "100", "-o", "json"); !strings.Contains(out, `"budget.approve"`) || !strings.Contains(out, `"budget.request"`) {
		t.Error("it is not in the audit log")
	}
	second := c.cli(t, c.engineer, "budgets", "request", "1", "--reason", "x", "-o", "json")
	if err := json.Unmarshal([]byte(second), &asked); err != nil {
		t.Fatal(err)
	}
	if out := c.cli(t, c.engineer, "budgets", "withdraw", asked.Id); !strings.Contains(out, "WITHDRAWN") {
		t.Errorf("withdrawn:\n%s", out)
	}
	// Pages go on where the one before has ended.
	numbers := map[int64]bool{}
	for cursor := ""; ; {
		r := ask(t, "GET", "/api/v1/budgets/"+shown.Id+"/entries?limit=1&cursor="+cursor, c.engineer, nil)
		var page client.BudgetEntryList
		if err := json.Unmarshal([]byte(r.body), &page); err != nil || r.status != 200 || len(page.Items) != 1 || numbers[page.Items[0].Number] {
			t.Fatalf("%d %s", r.status, r.body)
		}
		numbers[page.Items[0].Number] = true
		if page.NextCursor == nil {
			break
		}
		cursor = *page.NextCursor
	}
	if len(numbers) != 3 { // opened, set, lent
		t.Errorf("%d entries", len(numbers))
	}
}

// refusal is what of a 402 people and programs see.
type refusal struct {
	Code, Detail, Suggested string
	Details                 any
}

func TestARefusalForMoneyIsTheSameEverywhere(t *testing.T) {
	c := newCoffers(t, "parity", "1000", "1")
	const body = `{"blueprint":"go-dev","bundle_type":"PERFORMANCE"}`
	problem := func(r answer) refusal {
		t.Helper()
		var p client.Problem
		if err := json.Unmarshal([]byte(r.body), &p); err != nil || r.status != http.StatusPaymentRequired || p.SuggestedAction == nil || p.Details == nil {
			t.Fatalf("%v %d %s", err, r.status, r.body)
		}
		return refusal{p.Code, p.Detail, *p.SuggestedAction, *p.Details}
	}
	launch := []string{"launch", "--blueprint", "go-dev", "--bundle", "PERFORMANCE"}
	typed := func(args ...string) refusal {
		t.Helper()
		_, _, err := forgeCLI(t, forge.API, c.engineer, args...)
		refused, ok := errors.AsType[*cli.APIError](err)
		if !ok || cli.ExitCode(err) != 4 || refused.Problem.SuggestedAction == nil || refused.Problem.Details == nil {
			t.Fatalf("forge %v: %v", args, err)
		}
		var printed bytes.Buffer
		cli.PrintError(&printed, err)
		for _, said := range []string{refused.Problem.Detail, *refused.Problem.SuggestedAction} {
			if !strings.Contains(printed.String(), said) {
				t.Errorf("forge %v does not print %q:\n%s", args, said, printed.String())
			}
		}
		return refusal{refused.Problem.Code, refused.Problem.Detail, *refused.Problem.SuggestedAction, *refused.Problem.Details}
	}
	request := func() refusal {
		t.Helper()
		return problem(ask(t, "POST", "/api/v1/workspaces", c.engineer, strings.NewReader(body)))
	}
	for how, get := range map[string]func() refusal{
		"the dry run": func() refusal {
			return problem(ask(t, "POST", "/api/v1/workspaces?dry_run=true", c.engineer, strings.NewReader(body)))
		},
		"forge launch":        func() refusal { return typed(launch...) },
		"forge launch --dry":  func() refusal { return typed(append(launch, "--dry-run")...) },
		"forge budgets check": func() refusal { return typed("budgets", "check", "--blueprint", "go-dev", "--bundle", "PERFORMANCE") },
	} {
		// The fee is for the rest of the month, to the second: what is said between two different answers is not compared.
		for {
			before, got := request(), get()
			if !reflect.DeepEqual(before, request()) {
				continue
			}
			if before.Code != "BUDGET_EXCEEDED" || !reflect.DeepEqual(got, before) {
				t.Errorf("%s says %+v, the request %+v", how, got, before)
			}
			break
		}
	}
	// What the check says would help does help, and no less does.
	r := ask(t, "POST", "/api/v1/budgets/check", c.engineer, strings.NewReader(body))
	var v client.BudgetVerdict
	if err := json.Unmarshal([]byte(r.body), &v); err != nil || v.Verdict != "refused" || v.Refusal == nil || len(v.Changes) == 0 {
		t.Fatalf("%v %s", err, r.body)
	}
	last := v.Changes[len(v.Changes)-1]
	if last.Kind != "raise" || last.Raises == nil || len(*last.Raises) != 1 || (*last.Raises)[0].Scope != "USER" || (*last.Raises)[0].GrantedBy[0] != "team_lead" {
		t.Fatalf("changes: %s", r.body)
	}
	enough := amount(t, (*last.Raises)[0].By) + 1_000_000
	c.cli(t, token(t, "finance"), "budgets", "set", "USER", c.eng, (enough - 1000).String()) // the fee has become less since
	problem(ask(t, "POST", "/api/v1/workspaces?dry_run=true", c.engineer, strings.NewReader(body)))
	c.cli(t, token(t, "finance"), "budgets", "set", "USER", c.eng, enough.String())
	if out := c.cli(t, c.engineer, "budgets", "check", "--blueprint", "go-dev", "--bundle", "PERFORMANCE"); !strings.Contains(out, "admitted") {
		t.Errorf("checked:\n%s", out)
	}
	if out := c.cli(t, c.engineer, "budgets", "check", "--blueprint", "go-dev", "--bundle", "PERFORMANCE", "--hours", "200"); !strings.Contains(out, "runs_out") || !strings.Contains(out, "at most") {
		t.Errorf("checked for 200 hours:\n%s", out)
	}
	var dry, real client.WorkspaceAdmitted
	for _, into := range []struct {
		path string
		body *client.WorkspaceAdmitted
	}{{"/api/v1/workspaces?dry_run=true", &dry}, {"/api/v1/workspaces", &real}} {
		r := ask(t, "POST", into.path, c.engineer, strings.NewReader(body))
		if err := json.Unmarshal([]byte(r.body), into.body); err != nil || r.status != http.StatusAccepted {
			t.Fatalf("%v %d %s", err, r.status, r.body)
		}
	}
	own := func(all []client.BudgetEffect) []client.BudgetEffect { // the organisation's moves with everybody
		return all[1:]
	}
	if dry.Estimate.Reserved != real.Estimate.Reserved || !reflect.DeepEqual(own(dry.Budgets), own(real.Budgets)) || len(own(real.Budgets)) != 2 {
		t.Errorf("the dry run said %+v, the real one %+v", dry.Budgets, real.Budgets)
	}
}

func TestABadAmountHasItsOwnAnswerAndChangesNothing(t *testing.T) {
	c := newCoffers(t, "amounts", "100", "50")
	finance := token(t, "finance")
	entries := func() string {
		t.Helper()
		return c.cli(t, finance, "budgets", "show", "TEAM/amounts", "--entries", "-o", "csv") + c.cli(t, finance, "budgets", "history", "TEAM/amounts", "-o", "csv")
	}
	before := entries()
	for name, b := range map[string]struct {
		path, body string
		status     int
		code       string
	}{
		"negative":             {"TEAM/amounts", `{"amount":"-1"}`, 422, "AMOUNT_NEGATIVE"},
		"not a number":         {"TEAM/amounts", `{"amount":"NaN"}`, 422, "AMOUNT_INVALID"},
		"infinite":             {"TEAM/amounts", `{"amount":"Infinity"}`, 422, "AMOUNT_INVALID"},
		"1e400":                {"TEAM/amounts", `{"amount":"1e400"}`, 422, "AMOUNT_INVALID"},
		"1e400, a number":      {"TEAM/amounts", `{"amount":1e400}`, 400, "REQUEST_MALFORMED"},
		"a number":             {"TEAM/amounts", `{"amount":400}`, 422, "VALIDATION_FAILED"},
		"empty":                {"TEAM/amounts", `{"amount":""}`, 422, "VALIDATION_FAILED"},
		"none":                 {"TEAM/amounts", `{}`, 422, "VALIDATION_FAILED"},
		"7 decimals":           {"TEAM/amounts", `{"amount":"1.1234567"}`, 422, "AMOUNT_TOO_FINE"},
		"13 digits":            {"TEAM/amounts", `{"amount":"1000000000000"}`, 422, "AMOUNT_TOO_LARGE"},
		"another currency":     {"TEAM/amounts", `{"amount":"400","currency":"EUR"}`, 422, "CURRENCY_UNSUPPORTED"},
		"a currency beside it": {"TEAM/amounts", `{"amount":"400 EUR"}`, 422, "CURRENCY_UNSUPPORTED"},
		"a sign of a currency": {"TEAM/amounts", `{"amount":"€400"}`, 422, "CURRENCY_UNSUPPORTED"},
		"no scope":             {"/amounts", `{"amount":"1"}`, 405, "METHOD_NOT_ALLOWED"},
		"no scope id":          {"TEAM/", `{"amount":"1"}`, 404, "ROUTE_NOT_FOUND"},
		"another scope":        {"FLEET/amounts", `{"amount":"1"}`, 422, "VALIDATION_FAILED"},
		"nobody's scope":       {"TEAM/nobody", `{"amount":"1"}`, 404, "TEAM_NOT_FOUND"},
		"a threshold of 0":     {"TEAM/amounts", `{"amount":"1","warning_percents":[0]}`, 422, "WARNING_INVALID"},
		"a threshold of 100":   {"TEAM/amounts", `{"amount":"1","warning_percents":[80,100]}`, 422, "WARNING_INVALID"},
		"another period":       {"TEAM/amounts", `{"amount":"1","period":"WEEKLY"}`, 422, "VALIDATION_FAILED"},
		"a span of no months":  {"TEAM/amounts", `{"amount":"1","period":"CUSTOM"}`, 422, "PERIOD_INVALID"},
		"half a span":          {"TEAM/amounts", `{"amount":"1","period":"CUSTOM","first_month":"2199-01"}`, 422, "PERIOD_INVALID"},
		"end before start":     {"TEAM/amounts", `{"amount":"1","period":"CUSTOM","first_month":"2199-02","last_month":"2199-01"}`, 422, "PERIOD_INVALID"},
		"no month":             {"TEAM/amounts", `{"amount":"1","period":"CUSTOM","first_month":"2199-13","last_month":"2199-14"}`, 422, "PERIOD_INVALID"},
		"a span that is over":  {"TEAM/amounts", `{"amount":"1","period":"CUSTOM","first_month":"2020-01","last_month":"2020-02"}`, 422, "PERIOD_PAST"},
		"overlapping period":   {"TEAM/amounts", `{"amount":"1","period":"CUSTOM","first_month":"2199-01","last_month":"2199-02"}`, 409, "BUDGET_OVERLAPS"},
		"months of a month":    {"TEAM/amounts", `{"amount":"1","period":"MONTHLY","first_month":"2199-01"}`, 422, "PERIOD_INVALID"},
		"another enforcement":  {"TEAM/amounts", `{"amount":"1","enforcement":"pray"}`, 422, "VALIDATION_FAILED"},
		"of an organisation":   {"ORGANISATION/other", `{"amount":"1"}`, 422, "SCOPE_INVALID"},
		"a field that is not":  {"TEAM/amounts", `{"amount":"1","amounts":"2"}`, 422, "VALIDATION_FAILED"},
		"not even an object":   {"TEAM/amounts", `"400"`, 422, "VALIDATION_FAILED"},
		"not even JSON":        {"TEAM/amounts", `{"amount":NaN}`, 400, "REQUEST_MALFORMED"},
	} {
		if r := ask(t, "PUT", "/api/v1/budgets/"+b.path, finance, strings.NewReader(b.body)); r.status != b.status || r.code(t) != b.code {
			t.Errorf("%s: %d %s, want %d %s", name, r.status, r.body, b.status, b.code)
		}
	}
	for name, b := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"nothing":         {`{"amount":"0","reason":"x"}`, 422, "BUDGET_REQUEST_NOTHING"},
		"less":            {`{"amount":"-5","reason":"x"}`, 422, "AMOUNT_NEGATIVE"},
		"too fine":        {`{"amount":"0.0000001","reason":"x"}`, 422, "AMOUNT_TOO_FINE"},
		"no reason":       {`{"amount":"5","reason":"  "}`, 422, "BUDGET_REASON_INVALID"},
		"a long reason":   {`{"amount":"5","reason":"` + strings.Repeat("x", 501) + `"}`, 422, "BUDGET_REASON_INVALID"},
		"until yesterday": {`{"amount":"5","reason":"x","until":"2020-01-01T00:00:00Z"}`, 422, "BUDGET_UNTIL_INVALID"},
		"half a scope":    {`{"amount":"5","reason":"x","scope":"USER"}`, 404, "USER_NOT_FOUND"},
		"the team's":      {`{"amount":"5","reason":"x","scope":"TEAM","scope_id":"amounts"}`, 403, "FORBIDDEN"},
		"too much of all": {`{"amount":"999999999999","reason":"x"}`, 422, "AMOUNT_INVALID"},
	} {
		if r := ask(t, "POST", "/api/v1/budgets/requests", c.engineer, strings.NewReader(b.body)); r.status != b.status || r.code(t) != b.code {
			t.Errorf("a request for %s: %d %s, want %d %s", name, r.status, r.body, b.status, b.code)
		}
	}
	if after := entries(); after != before {
		t.Errorf("something was written:\n%s\nbefore:\n%s", after, before)
	}
	// Zero is legal and admits nothing; below what is reserved needs a word.
	launched := ask(t, "POST", "/api/v1/workspaces", c.engineer, strings.NewReader(`{"blueprint":"go-dev","bundle_type":"STANDARD"}`))
	if launched.status != http.StatusAccepted {
		t.Fatalf("%d %s", launched.status, launched.body)
	}
	if r := ask(t, "PUT", "/api/v1/budgets/TEAM/amounts", finance, strings.NewReader(`{"amount":"0.01"}`)); r.status != 409 || r.code(t) != "BUDGET_BELOW_COMMITTED" {
		t.Errorf("below what is committed: %d %s", r.status, r.body)
	}
	if r := ask(t, "PUT", "/api/v1/budgets/USER/"+c.boss, finance, strings.NewReader(`{"amount":"0"}`)); r.status != 200 {
		t.Errorf("zero: %d %s", r.status, r.body)
	}
	if r := ask(t, "POST", "/api/v1/workspaces", c.lead, strings.NewReader(`{"blueprint":"go-dev","bundle_type":"STANDARD"}`)); r.status != 402 || r.code(t) != "BUDGET_EXCEEDED" {
		t.Errorf("with zero: %d %s", r.status, r.body)
	}
	if out := c.cli(t, finance, "budgets", "audit"); out != "" {
		t.Errorf("the books differ:\n%s", out)
	}
}
