package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
)

var monthRule = regexp.MustCompile(`^[0-9]{4}-(0[1-9]|1[0-2])$`)

var reportForms = []string{"pdf", "csv", "json", "focus"}

// monthOf checks the flag --month.
func monthOf(month string) error {
	if !monthRule.MatchString(month) {
		return UsageError{Err: fmt.Errorf("--month is a month like 2026-11, not %q", month)}
	}
	return nil
}

func (e *env) costsReportCommand() *cobra.Command {
	var month, form, by, out string
	c := &cobra.Command{
		Use: "report", Short: "What a month cost, for showback and chargeback",
		Long: `Shows what a month (UTC's) cost, of settled records only. Until the month is closed the report is
provisional; after that it is the same for ever, byte by byte, and what is recorded for the month
later is in the report of the next one. Data transfer is not metered and in no figure.

With --format it is written as a file: pdf to print, csv for a spreadsheet, json (its SHA-256 is
what a month is closed with), or focus, the FinOps Open Cost and Usage Specification 1.2. --by
has only the rows of team, project, cost_centre, bundle or workspace.`,
		Example: `  forge costs report --month 2026-11
  forge costs report --month 2026-11 --by cost_centre -o csv
  forge costs report --month 2026-11 --format pdf --out november.pdf
  forge costs report --month 2026-11 --format json | sha256sum
  forge costs report --month 2026-11 --format focus > november.focus.csv`,
	}
	c.Flags().StringVar(&month, "month", "", "the month, such as 2026-11")
	c.Flags().StringVar(&form, "format", "", "write it as "+strings.Join(reportForms, ", "))
	c.Flags().StringVar(&by, "by", "", "only these rows (team, unless --format is given)")
	c.Flags().StringVar(&out, "out", "", "write to this file instead of the standard output")
	return e.remote(c, func(s *session, _ []string) error {
		if err := monthOf(month); err != nil {
			return err
		}
		by = strings.ReplaceAll(by, "-", "_")
		if by != "" && !slices.Contains([]string{"team", "project", "cost_centre", "bundle", "workspace"}, by) {
			return UsageError{Err: fmt.Errorf("--by is team, project, cost_centre, bundle or workspace, not %q", by)}
		}
		switch {
		case form == "" && out != "":
			return UsageError{Err: errors.New("--out needs --format: " + strings.Join(reportForms, ", "))}
		case form == "":
			return s.showReport(month, by)
		case !slices.Contains(reportForms, form):
			return UsageError{Err: fmt.Errorf("--format is one of %s, not %q", strings.Join(reportForms, ", "), form)}
		case form == "focus" && by != "":
			return UsageError{Err: errors.New("a FOCUS export has a row for each charge: leave --by out")}
		case form == "pdf" && out == "" && s.outTTY:
			return UsageError{Err: errors.New("a PDF is not for a terminal: say --out FILE, or redirect the output")}
		}
		return s.saveReport(month, form, by, out)
	})
}

// reportParams are those of a request; what is empty is left out.
func reportParams(form, by string) *client.GetCostReportParams {
	p := &client.GetCostReportParams{}
	if form != "" {
		f := client.GetCostReportParamsFormat(form)
		p.Format = &f
	}
	if by != "" {
		b := client.GetCostReportParamsGroupBy(by)
		p.GroupBy = &b
	}
	return p
}

// showReport prints the rows of one kind.
func (s *session) showReport(month, by string) error {
	if by == "" {
		by = "team"
	}
	r, err := s.api.GetCostReportWithResponse(s.ctx, month, reportParams("", by))
	if err != nil {
		return err
	}
	doc, err := decode[client.CostReport](r.Body)
	if err != nil {
		return err
	}
	t := &table{
		head: []string{strings.ToUpper(by), "NAME", "MONTHLY FEES USD", "HOURS USD", "VOLUMES USD", "CORRECTIONS USD", "EARLIER MONTHS USD", "TOTAL USD"},
		none: "Nothing is settled for " + month + ".",
	}
	for _, groups := range []*[]client.CostReportGroup{doc.Teams, doc.Projects, doc.CostCentres, doc.Bundles} {
		if groups == nil {
			continue
		}
		for _, g := range *groups {
			t.row(words(g.Key), wordsOf(g.Name), dollars(g.MonthlyFee), dollars(g.Running), dollars(g.Storage), dollars(g.Corrections), dollars(g.EarlierMonths), dollars(g.Total))
		}
	}
	if doc.Workspaces != nil {
		for _, w := range *doc.Workspaces {
			t.row(words(w.WorkspaceId), words(w.Name), dollars(w.MonthlyFee), dollars(w.Running), dollars(w.Storage), dollars(w.Corrections), dollars(w.EarlierMonths), dollars(w.Total))
		}
	}
	t.foot = fmt.Sprintf("Total: %s USD, of %s", dollars(doc.Total.Total).display(), doc.Month)
	if doc.Status == "closed" {
		t.foot += ", closed " + instant(doc.AsOf).show
	} else {
		t.foot += ", provisional as of " + instant(doc.AsOf).show
	}
	if slices.Contains(doc.NotMetered, "data_transfer") {
		t.foot += "; data transfer is not metered"
	}
	return s.emit(r.Body, t)
}

// saveReport writes a report as it comes: to the file, which is there only when it is whole, or to the standard output.
func (s *session) saveReport(month, form, by, out string) error {
	resp, err := s.api.GetCostReport(s.ctx, month, reportParams(form, by))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == "" {
		return copied(s.Out, resp)
	}
	if err := wholeFile(out, func(f *os.File) error { return copied(f, resp) }); err != nil {
		return err
	}
	state := "provisional: the month is not closed"
	if hash := resp.Header.Get("Cost-Report-Hash"); hash != "" {
		state = "closed, SHA-256 of the whole report as JSON: " + hash
	}
	s.note("wrote %s (%s)", out, state)
	return nil
}

func copied(w io.Writer, resp *http.Response) error {
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("the report broke off and is not complete: %w", err)
	}
	return nil
}

func (e *env) costsCloseCommand() *cobra.Command {
	var month string
	c := &cobra.Command{
		Use: "close", Short: "Make the report of a month final",
		Long: `Closes a month: its report never changes from then on, and its hash goes into the audit log. It is
refused while anything of the month is not settled, and until the months before are closed. What
is recorded for the month later is in the report of the next one. To close it again changes nothing.`,
		Example: "  forge costs close --month 2026-11\n  forge costs close --month 2026-11 -o json | jq -r .hash",
	}
	c.Flags().StringVar(&month, "month", "", "the month, such as 2026-11")
	return e.remote(c, func(s *session, _ []string) error {
		if err := monthOf(month); err != nil {
			return err
		}
		r, err := s.api.CloseCostMonthWithResponse(s.ctx, month)
		if err != nil {
			return err
		}
		m, err := decode[client.CostMonth](r.Body)
		if err != nil {
			return err
		}
		t := pairs()
		t.pair("Month", words(m.Month))
		t.pair("Closed", instant(m.ClosedAt))
		t.pair("Total USD", dollars(m.Total))
		t.pair("Records", count(m.Records))
		t.pair("SHA-256 of the report as JSON", words(m.Hash))
		return s.emit(r.Body, t)
	})
}
