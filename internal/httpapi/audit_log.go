package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/policy"
)

func (s *Server) auditLogRoutes() {
	const tag = "Audit"
	route(s, http.MethodGet, "/audit/feed", "feed-audit", "Entries in the order of the log, each once", tag, http.StatusOK, s.feedAudit)
	route(s, http.MethodGet, "/audit/entries/{id}/proof", "prove-audit-entry", "Proof that an entry is in the log (C2SP tlog-proof)", tag, http.StatusOK, s.proveEntry)
	route(s, http.MethodGet, "/audit/log/checkpoint", "get-audit-checkpoint", "The newest signed checkpoint (C2SP tlog-checkpoint)", tag, http.StatusOK, s.auditCheckpoint)
	route(s, http.MethodGet, "/audit/log/keys", "get-audit-keys", "The public keys that verify the audit log, one on a line", tag, http.StatusOK, s.auditKeys)
	route(s, http.MethodGet, "/audit/log/openings", "list-audit-openings", "What the commitments of entries are to, by places in the log", tag, http.StatusOK, s.auditOpenings)
	route(s, http.MethodGet, "/audit/log/range", "get-audit-range", "The places of the entries of a period", tag, http.StatusOK, s.auditRange)
	// Its path has slashes in the last part, which OpenAPI has no word for: C2SP tlog-tiles describes it.
	huma.Register(s.api, huma.Operation{
		OperationID: "get-audit-tile", Method: http.MethodGet, Path: "/api/v1/audit/log/tile/{path...}", Hidden: true, DefaultStatus: http.StatusOK,
	}, func(ctx context.Context, in *struct {
		Path string `path:"path" maxLength:"100"`
	},
	) (*raw, error) {
		out, err := s.auditTile(ctx, in.Path)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		return out, nil
	})
}

// raw is an answer that is no JSON.
type raw struct {
	ContentType  string `header:"Content-Type"`
	CacheControl string `header:"Cache-Control"`
	Body         []byte
}

const plainText = "text/plain; charset=utf-8"

func (s *Server) mayReadLog(ctx context.Context) error {
	if policy.ReachOf(actor.From(ctx), policy.AuditRead) != policy.Any {
		return s.refused(ctx, policy.AuditRead)
	}
	return nil
}

// noteRead records that entries were read: the reading of the log is in the log.
func (s *Server) noteRead(ctx context.Context, what string, details map[string]any) error {
	details["what"] = what
	return s.audit.Note(ctx, audit.Event{Action: string(policy.AuditRead), ResourceType: "audit", Details: details})
}

func (s *Server) auditCheckpoint(ctx context.Context, in *struct {
	Witnessed bool `query:"witnessed" doc:"The newest that a witness has signed, which may be half a minute older"`
},
) (*raw, error) {
	if err := s.mayReadLog(ctx); err != nil {
		return nil, err
	}
	text, err := audit.LatestCheckpoint(ctx, s.audit.Pool(), in.Witnessed)
	return &raw{plainText, "no-cache", []byte(text)}, err
}

func (s *Server) auditKeys(ctx context.Context, _ *struct{}) (*raw, error) {
	if err := s.mayReadLog(ctx); err != nil {
		return nil, err
	}
	return &raw{plainText, "no-cache", []byte(s.audit.PublicKeys())}, nil
}

func (s *Server) auditTile(ctx context.Context, path string) (*raw, error) {
	if err := s.mayReadLog(ctx); err != nil {
		return nil, err
	}
	body, err := audit.Tile(ctx, s.audit.Pool(), "tile/"+path)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(path, "entries/") {
		err = s.noteRead(ctx, "tile", map[string]any{"path": path})
	}
	return &raw{"application/octet-stream", "private, max-age=604800, immutable", body}, err
}

func (s *Server) proveEntry(ctx context.Context, in *struct {
	ID   string    `path:"id" maxLength:"64"`
	At   time.Time `query:"at" doc:"The entry's timestamp: needed when its writer's clock was more than an hour off"`
	Size int64     `query:"size" minimum:"0" doc:"The size of the checkpoint to prove it to; 0 is the newest"`
	Leaf bool      `query:"leaf" doc:"Put the entry's exact bytes into the proof, as its extra line"`
},
) (*raw, error) {
	if err := s.mayReadLog(ctx); err != nil {
		return nil, err
	}
	entry, err := uuid.Parse(in.ID)
	if err != nil {
		return nil, audit.ErrNoEntry
	}
	text, err := audit.Proof(ctx, s.audit.Pool(), audit.ProofRequest{Entry: entry, At: in.At, Size: in.Size, Leaf: in.Leaf})
	if err == nil && in.Leaf {
		err = s.noteRead(ctx, "proof", map[string]any{"entry": entry.String()})
	}
	return &raw{plainText, "no-cache", []byte(text)}, err
}

func (s *Server) auditRange(ctx context.Context, in *struct {
	From time.Time `query:"from" required:"true"`
	To   time.Time `query:"to" required:"true"`
},
) (*struct{ Body api.AuditRange }, error) {
	if err := s.mayReadLog(ctx); err != nil {
		return nil, err
	}
	first, behind, err := audit.Range(ctx, s.audit.Pool(), in.From, in.To)
	if err != nil {
		return nil, err
	}
	err = s.noteRead(ctx, "range", map[string]any{"from": in.From.UTC().Format(time.RFC3339), "to": in.To.UTC().Format(time.RFC3339)})
	return &struct{ Body api.AuditRange }{api.AuditRange{First: first, Behind: behind}}, err
}

func (s *Server) auditOpenings(ctx context.Context, in *struct {
	Index []int64 `query:"index" required:"true" minItems:"1" maxItems:"256" doc:"Places of entries in the log"`
},
) (*struct{ Body api.AuditOpenings }, error) {
	if err := s.mayReadLog(ctx); err != nil {
		return nil, err
	}
	found, err := s.audit.Openings(ctx, in.Index)
	if err != nil {
		return nil, err
	}
	out := api.AuditOpenings{Items: mapped(found, func(o verify.Openings) api.AuditOpening {
		fields := make(map[string]api.AuditOpenedField, len(o.Fields))
		for name, f := range o.Fields {
			fields[name] = api.AuditOpenedField{Salt: f.Salt, Value: f.Value}
		}
		return api.AuditOpening{Index: o.Index, Entry: o.Entry, Fields: fields, Erased: o.Erased, Archived: o.Archived}
	})}
	err = s.noteRead(ctx, "openings", map[string]any{"first": slices.Min(in.Index), "last": slices.Max(in.Index), "returned": len(found)})
	return &struct{ Body api.AuditOpenings }{out}, err
}

func (s *Server) feedAudit(ctx context.Context, in *struct {
	After int64 `query:"after" minimum:"-1" default:"-1" doc:"The place of the last entry that you have; -1 for none"`
	Limit int   `query:"limit" minimum:"1" maximum:"1000" default:"256"`
},
) (*struct{ Body api.AuditFeed }, error) {
	if err := s.mayReadLog(ctx); err != nil {
		return nil, err
	}
	found, err := audit.Feed(ctx, s.audit.Pool(), in.After+1, in.Limit)
	if err != nil {
		return nil, err
	}
	out := api.AuditFeed{After: in.After, Items: mapped(found, func(f audit.Fed) api.AuditFeedEntry {
		return api.AuditFeedEntry{Index: f.Index, Leaf: f.Leaf, Entry: entryView(f.Entry)}
	})}
	if len(found) > 0 {
		out.After = found[len(found)-1].Index
	}
	if own := string(actor.From(ctx).User); !slices.ContainsFunc(found, func(f audit.Fed) bool { return f.ActionType != string(policy.AuditRead) || f.UserID != own }) {
		return &struct{ Body api.AuditFeed }{out}, nil // whoever only waits leaves no trace, and does not feed on it
	}
	err = s.noteRead(ctx, "feed", map[string]any{"after": in.After, "returned": len(found)})
	return &struct{ Body api.AuditFeed }{out}, err
}
