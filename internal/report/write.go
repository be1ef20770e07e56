package report

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/spreadsheet"
)

// Format is a form that a report is written in.
type Format string

// The formats.
const (
	JSON  Format = "json"
	CSV   Format = "csv"
	FOCUS Format = "focus"
	PDF   Format = "pdf"
)

// ContentType is its media type.
func (f Format) ContentType() string {
	switch f {
	case JSON:
		return "application/json"
	case CSV, FOCUS:
		return "text/csv; charset=utf-8"
	case PDF:
		return "application/pdf"
	}
	return ""
}

// Extension is what the names of its files end with.
func (f Format) Extension() string {
	if f == FOCUS {
		return "focus.csv"
	}
	return string(f)
}

// Rows refuses to narrow the format to the rows of one dimension, where it cannot be.
func (f Format) Rows(by string) error {
	if f == FOCUS && by != "" {
		return ErrRows
	}
	return nil
}

// Write writes the report. By is the dimension, or Workspaces, whose rows alone are wanted; empty is all of them. A FOCUS
// export cannot be narrowed so. What is written is a function of the report and of by alone.
func (r *Report) Write(ctx context.Context, w io.Writer, f Format, by string) error {
	if err := f.Rows(by); err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 64<<10)
	var err error
	switch f {
	case JSON:
		err = r.writeJSON(ctx, out, by)
	case CSV:
		err = r.writeCSV(ctx, out, by)
	case FOCUS:
		err = r.writeFOCUS(ctx, out)
	case PDF:
		err = r.writePDF(ctx, out, by)
	default:
		err = fmt.Errorf("report: no format %q", f)
	}
	if err != nil {
		return err
	}
	return out.Flush()
}

func wanted(by, rows string) bool { return by == "" || by == rows }

// status is whether the report still changes.
func (r *Report) status() string {
	if r.closed {
		return "closed"
	}
	return "provisional"
}

// notMetered is what Amazon bills and no record has.
func (r *Report) notMetered() []string {
	if r.Total.Transfer == nil {
		return []string{"data_transfer"}
	}
	return []string{}
}

func amount(u money.USD) api.Money { return api.Money{Amount: u.String(), Currency: money.Currency} }

func partsView(p Parts) api.CostParts {
	v := api.CostParts{
		MonthlyFee: amount(p.Fee), Running: amount(p.Running), Storage: amount(p.Storage), Corrections: amount(p.Corrections), EarlierMonths: amount(p.Earlier),
		Total: amount(p.Total), RunningSeconds: p.Seconds,
	}
	if p.Transfer != nil {
		t := amount(*p.Transfer)
		v.DataTransfer = &t
	}
	return v
}

// writeJSON writes the document whose hash closes a month: a change of its form is another version, and must still write
// those before.
func (r *Report) writeJSON(ctx context.Context, w io.Writer, by string) error {
	groups := func(dimension string) []api.CostReportGroup {
		if !wanted(by, dimension) {
			return nil
		}
		var out []api.CostReportGroup
		for _, g := range r.Groups[dimension] {
			out = append(out, api.CostReportGroup{Key: g.Key, Name: g.Name, CostParts: partsView(g.Parts)})
		}
		return out
	}
	head, err := json.Marshal(api.CostReportHead{
		Version: 1, Month: r.Month.Format(monthForm), From: r.Month, To: r.End(), Status: r.status(), AsOf: r.AsOf, TeamID: string(r.Scope.Team),
		UserID: string(r.Scope.User), Records: r.Records, LastRecord: r.Last, NotMetered: r.notMetered(), Total: partsView(r.Total),
		Teams: groups("team"), Projects: groups("project"), CostCentres: groups("cost_centre"), Bundles: groups("bundle"),
	})
	if err != nil {
		return err
	}
	if !wanted(by, Workspaces) {
		_, err := fmt.Fprintf(w, "%s\n", head)
		return err
	}
	if _, err := fmt.Fprintf(w, `%s,"workspaces":[`, head[:len(head)-1]); err != nil {
		return err
	}
	comma := ""
	if err := r.lines(ctx, false, 0, func(l *Line) error {
		line, err := json.Marshal(api.CostReportLine{
			WorkspaceID: l.WorkspaceID, Name: l.Name, ProviderID: l.ProviderID, UserID: l.UserID, TeamID: l.TeamID, Team: l.Team, ProjectID: l.ProjectID,
			Project: l.Project, CostCentre: l.CostCentre, BundleType: l.BundleType, Region: l.Region, CostParts: partsView(l.Parts),
		})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s\n%s", comma, line)
		comma = ","
		return err
	}); err != nil {
		return err
	}
	_, err = io.WriteString(w, "]}\n")
	return err
}

var csvHead = []string{
	"month", "status", "row", "key", "name", "provider_id", "user_id", "team_id", "team", "project_id", "project", "cost_centre", "bundle_type", "region",
	"monthly_fee_usd", "running_usd", "storage_usd", "data_transfer_usd", "corrections_usd", "earlier_months_usd", "total_usd", "running_seconds",
}

// writeCSV writes a table by RFC 4180. The column row says what a row is about: each kind of rows comes to the total.
func (r *Report) writeCSV(ctx context.Context, w io.Writer, by string) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	if err := out.Write(csvHead); err != nil {
		return err
	}
	row := func(texts []string, p Parts) error {
		transfer := "" // unknown
		if p.Transfer != nil {
			transfer = p.Transfer.String()
		}
		cells := []string{r.Month.Format(monthForm), r.status()}
		for _, t := range texts {
			cells = append(cells, spreadsheet.Cell(t))
		}
		return out.Write(append(cells, p.Fee.String(), p.Running.String(), p.Storage.String(), transfer, p.Corrections.String(), p.Earlier.String(),
			p.Total.String(), fmt.Sprint(p.Seconds)))
	}
	texts := func(first ...string) []string { return append(first, make([]string, 12-len(first))...) }
	if err := row(texts("total"), r.Total); err != nil {
		return err
	}
	for _, dimension := range Dimensions {
		if !wanted(by, dimension) {
			continue
		}
		for _, g := range r.Groups[dimension] {
			if err := row(texts(dimension, g.Key, g.Name), g.Parts); err != nil {
				return err
			}
		}
	}
	if wanted(by, Workspaces) {
		if err := r.lines(ctx, false, 0, func(l *Line) error {
			return row([]string{
				Workspaces, l.WorkspaceID, l.Name, l.ProviderID, l.UserID, l.TeamID, l.Team, l.ProjectID, l.Project, l.CostCentre, l.BundleType, l.Region,
			}, l.Parts)
		}); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// label is what a group is called in print.
func (g Group) label(dimension string) string {
	switch {
	case g.Name != "":
		return g.Name
	case g.Key != "":
		return g.Key
	}
	return "(no " + strings.ReplaceAll(dimension, "_", " ") + ")"
}
