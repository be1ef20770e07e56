package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/policy"
)

var errAddress = fault.New(fault.Invalid, "ADDRESS_INVALID", "that is neither an address nor a network",
	fault.Suggest("give one like 198.51.100.7, 2001:db8::7 or 198.51.100.0/24"))

func (s *Server) auditRoutes() {
	const tag = "Audit"
	route(s, http.MethodGet, "/audit/entries", "list-audit-entries", "Search the audit log, newest first", tag, http.StatusOK, s.listAudit)
	route(s, http.MethodGet, "/audit/entries/export", "export-audit-entries", "The entries that a search finds, as a stream", tag, http.StatusOK, s.exportAudit, func(op *huma.Operation) {
		text := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
		op.Responses = map[string]*huma.Response{"200": {Description: "The entries, newest first, in the form that was asked for", Content: map[string]*huma.MediaType{
			"text/csv": text, "application/x-ndjson": text,
		}}}
	})
}

// AuditFilter narrows a search of the audit log.
type AuditFilter struct {
	User         string    `query:"user" maxLength:"64" doc:"By id or user name"`
	Action       string    `query:"action" maxLength:"100"`
	ResourceType string    `query:"resource_type" maxLength:"100"`
	ResourceID   string    `query:"resource_id" maxLength:"100"`
	Result       string    `query:"result" enum:"success,refused,failed"`
	Interface    string    `query:"interface" maxLength:"20" doc:"api, cli, portal, worker or admin"`
	Address      string    `query:"address" maxLength:"50" doc:"An address, or a network like 198.51.100.0/24"`
	From         time.Time `query:"from"`
	To           time.Time `query:"to"`
}

// filter is what is asked for, of somebody who may ask; and what the log says was asked for. Addresses are personal data,
// which the log of the search does not keep.
func (f AuditFilter) filter(ctx context.Context, s *Server) (audit.Filter, map[string]any, error) {
	if err := s.mayReadLog(ctx); err != nil {
		return audit.Filter{}, nil, err
	}
	out := audit.Filter{
		UserID: f.User, ActionType: f.Action, ResourceType: f.ResourceType, ResourceID: f.ResourceID, Result: f.Result, Interface: f.Interface, From: f.From, To: f.To,
	}
	if f.Address != "" {
		var err error
		if out.Address, err = netip.ParsePrefix(f.Address); err != nil {
			var one netip.Addr
			if one, err = netip.ParseAddr(f.Address); err != nil || one.Zone() != "" {
				return out, nil, errAddress
			}
			out.Address = netip.PrefixFrom(one.Unmap(), one.Unmap().BitLen())
		}
	}
	if u, err := people.FindUser(ctx, s.audit.Pool(), f.User); f.User != "" && err == nil {
		out.UserID = string(u.ID)
	} else if err != nil && !errors.Is(err, people.ErrUserNotFound) && !errors.Is(err, pgx.ErrNoRows) {
		return out, nil, err
	}
	details := map[string]any{
		"user": out.UserID, "action": out.ActionType, "resource_type": out.ResourceType, "resource_id": out.ResourceID, "result": out.Result,
		"interface": out.Interface, "by_address": f.Address != "",
	}
	for name, at := range map[string]time.Time{"from": f.From, "to": f.To} {
		if !at.IsZero() {
			details[name] = at.UTC().Format(time.RFC3339)
		}
	}
	return out, details, nil
}

func (s *Server) listAudit(ctx context.Context, in *struct {
	Page
	AuditFilter
},
) (*struct{ Body api.AuditEntryList }, error) {
	after, err := in.after("audit")
	if err != nil {
		return nil, err
	}
	f, details, err := in.filter(ctx, s)
	if err != nil {
		return nil, err
	}
	f.Limit = in.Limit + 1
	if after != "" {
		if f.Before, f.BeforeID, err = auditCursor(after); err != nil {
			return nil, err
		}
	}
	found, err := audit.Search(ctx, s.audit.Pool(), f)
	if err != nil {
		return nil, err
	}
	archived, err := audit.Unsearched(ctx, s.audit.Pool(), f.From, f.To)
	if err != nil {
		return nil, err
	}
	// The reading of the log is in the log, and says what was looked for.
	details["returned"] = min(len(found), in.Limit)
	if err := s.audit.Note(ctx, audit.Event{Action: string(policy.AuditRead), ResourceType: "audit", Details: details}); err != nil {
		return nil, err
	}
	found, next := cut(found, in.Limit, "audit", func(e audit.Entry) string { return e.Timestamp.UTC().Format(time.RFC3339Nano) + " " + e.ID.String() })
	return &struct{ Body api.AuditEntryList }{api.AuditEntryList{Items: mapped(found, entryView), NextCursor: next, ArchivedMonths: archived}}, nil
}

// exportStep is how long a page of an export may take to be read and to be taken by who asked for it.
const exportStep = time.Minute

func (s *Server) exportAudit(ctx context.Context, in *struct {
	AuditFilter
	Format string `query:"format" enum:"csv,jsonl,ocsf" default:"jsonl" doc:"ocsf is API Activity (6003) of the Open Cybersecurity Schema Framework 1.3, a line of JSON each"`
},
) (*streamed, error) {
	f, details, err := in.filter(ctx, s)
	if err != nil {
		return nil, err
	}
	if now := s.audit.Clock()(); f.To.IsZero() || f.To.After(now) {
		f.To = now
	}
	archived, err := audit.Unsearched(ctx, s.audit.Pool(), f.From, f.To)
	if err != nil {
		return nil, err
	}
	details["what"], details["format"] = "export", in.Format
	if err := s.audit.Note(ctx, audit.Event{Action: string(policy.AuditRead), ResourceType: "audit", Details: details}); err != nil {
		return nil, err
	}
	form := audit.Format(in.Format)
	name := map[audit.Format]string{audit.CSV: "csv", audit.JSONLines: "jsonl", audit.OCSF: "ocsf.jsonl"}[form]
	return &streamed{
		ContentType: form.ContentType(), ArchivedMonths: strings.Join(archived, ","), Disposition: fmt.Sprintf(`attachment; filename="audit-%s.%s"`, f.To.UTC().Format("2006-01-02"), name),
		Body: func(c huma.Context) {
			_, w := humago.Unwrap(c)
			// It may take hours: whoever takes it page by page is waited for, and no page may take long.
			long, page := context.WithoutCancel(ctx), http.NewResponseController(w)
			err := audit.Export(long, s.audit.Pool(), f, form, c.BodyWriter(), func(int64) error {
				return errors.Join(page.Flush(), page.SetWriteDeadline(time.Now().Add(exportStep)))
			})
			if err != nil {
				_ = s.problem(ctx, err) // logged
				cutOff(c)
			}
		},
	}, nil
}

// streamed is an answer that is written as it is made.
type streamed struct {
	ContentType    string `header:"Content-Type"`
	Disposition    string `header:"Content-Disposition"`
	ArchivedMonths string `header:"Audit-Archived-Months" doc:"Months of the period, like 2026-01, that are archived and not in it; commas between them"`
	Body           func(huma.Context)
}
