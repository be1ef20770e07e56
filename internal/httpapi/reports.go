package httpapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/report"
)

// MonthPath is the address of one month.
type MonthPath struct {
	Month string `path:"month" pattern:"^[0-9]{4}-(0[1-9]|1[0-2])$" maxLength:"7" example:"2026-11" doc:"A month of UTC"`
}

func (s *Server) reportRoutes() {
	const tag = "Costs"
	route(s, http.MethodGet, "/costs/reports/{month}", "get-cost-report", "What a month cost, for showback and chargeback", tag, http.StatusOK, s.costReport, s.reportForms)
	route(s, http.MethodPost, "/costs/months/{month}/close", "close-cost-month", "Make the report of a month final", tag, http.StatusOK, s.closeMonth)
}

// reportForms describes the forms of a report, of which huma sees only that they are written.
func (s *Server) reportForms(op *huma.Operation) {
	document := s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.CostReport](), true, "CostReport")
	op.Responses = map[string]*huma.Response{"200": {Description: "The report, in the form that was asked for", Content: map[string]*huma.MediaType{
		"application/json": {Schema: document},
		"text/csv":         {Schema: &huma.Schema{Type: huma.TypeString}},
		"application/pdf":  {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
	}}}
}

// reportAnswer is a report on its way.
type reportAnswer struct {
	ContentType string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Hash        string `header:"Cost-Report-Hash" doc:"SHA-256 of a closed month's whole report as JSON, in hexadecimal"`
	ETag        string `header:"ETag" doc:"Of a closed month's report in this form, which never changes"`
	Body        func(huma.Context)
}

func (s *Server) costReport(ctx context.Context, in *struct {
	MonthPath
	Format  string `query:"format" enum:"json,csv,focus,pdf" default:"json" doc:"focus is the FinOps Open Cost and Usage Specification 1.2 as CSV"`
	GroupBy string `query:"group_by" enum:"team,project,cost_centre,bundle,workspace" doc:"Only these rows; all of them when left out"`
},
) (*reportAnswer, error) {
	month, err := report.ParseMonth(in.Month)
	if err != nil {
		return nil, err
	}
	form := report.Format(in.Format)
	if err := form.Rows(in.GroupBy); err != nil {
		return nil, err
	}
	q, err := CostFilter{TimeZone: "UTC"}.query(ctx, s, s.audit.Clock()())
	if err != nil {
		return nil, err
	}
	r, err := report.Open(ctx, s.audit.Pool(), month, report.Scope{User: q.User, Team: q.Team}, s.audit.Clock()())
	if err != nil {
		return nil, err
	}
	q.From, q.To = r.Month, r.End()
	if err := s.noteCosts(ctx, q, map[string]any{"report": in.Month, "format": in.Format, "group_by": in.GroupBy, "closed": r.Closed()}); err != nil {
		r.Done()
		return nil, err
	}
	out := &reportAnswer{
		ContentType: form.ContentType(), Disposition: fmt.Sprintf(`attachment; filename="costs-%s.%s"`, in.Month, form.Extension()),
		Body: func(c huma.Context) {
			defer r.Done()
			if err := r.Write(ctx, c.BodyWriter(), form, in.GroupBy); err != nil {
				_ = s.problem(ctx, err) // logged
				cutOff(c)
			}
		},
	}
	if r.Hash != nil {
		out.Hash = fmt.Sprintf("%x", r.Hash)
		out.ETag = fmt.Sprintf(`"%x"`, sha256.Sum256(fmt.Appendf(nil, "%x %s %s %s %s", r.Hash, q.User, q.Team, form, in.GroupBy)))
	}
	return out, nil
}

// cutOff ends an answer that has begun and cannot be finished so that nobody takes what there is of it for all of it: nothing
// more is sent, not even that it is the end.
func cutOff(c huma.Context) {
	_, w := humago.Unwrap(c)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Unix(1, 0)) // whoever serves without deadlines is no server of ours
}

func (s *Server) closeMonth(ctx context.Context, in *MonthPath) (*struct{ Body api.CostMonth }, error) {
	month, err := report.ParseMonth(in.Month)
	if err != nil {
		return nil, err
	}
	var c report.Closing
	err = s.audit.Change(ctx, audit.Intent{Action: string(policy.CostClose), ResourceType: "cost_month", ResourceID: in.Month}, func(tx *audit.Tx) (err error) {
		c, err = report.Close(ctx, tx, month)
		return err
	})
	if err != nil && !errors.Is(err, audit.ErrNothing) { // which says that it is closed already
		return nil, err
	}
	return &struct{ Body api.CostMonth }{api.CostMonth{
		Month: in.Month, ClosedAt: c.ClosedAt.UTC(), Records: c.Records, LastRecord: c.LastRecord, Total: usd(c.TotalMicros), Hash: c.Hex(),
	}}, nil
}
