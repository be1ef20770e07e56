package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/policy"
)

func (s *Server) auditEraseRoutes() {
	route(s, http.MethodPost, "/audit/subjects/{id}/erase", "erase-audit-subject", "Erase what the audit log knows of a person; proofs stay valid", "Audit", http.StatusOK, s.eraseSubject)
}

func (s *Server) eraseSubject(ctx context.Context, in *struct {
	IDPath
	Once
	Body api.AuditErase
},
) (*Answer[api.AuditErased], error) {
	return once(ctx, s, in.Once, intent(policy.AuditErase, "person", in.ID), in.Body, all, func(tx *audit.Tx) (api.AuditErased, string, error) {
		if err := policy.Require(tx.Actor, policy.AuditErase, "", ""); err != nil {
			return api.AuditErased{}, "", err
		}
		// Somebody whom the users do not have may be in the log all the same: a stranger, or a part of the system.
		subject, names := in.ID, []string(nil)
		u, err := people.FindUser(ctx, tx, in.ID)
		switch {
		case err == nil:
			subject, names = string(u.ID), []string{u.UserName, u.DisplayName, u.Email}
		case !errors.Is(err, people.ErrUserNotFound):
			return api.AuditErased{}, "", err
		}
		e, err := s.audit.EraseSubject(ctx, tx, subject, in.Body.Reason, names...)
		return api.AuditErased{Subject: e.Subject, Entries: e.Entries, At: e.At}, "", err
	})
}
