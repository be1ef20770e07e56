package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
)

// emitList prints a list: for programs the server's own objects in one array.
func emitList[T any](s *session, l list[T], t *table) error {
	raw, err := l.json()
	if err != nil {
		return err
	}
	return s.emit(raw, t)
}

// limitFlag bounds a list.
func limitFlag(c *cobra.Command, limit *int) {
	c.Flags().IntVar(limit, "limit", 0, "at most this many; 0 for all")
	c.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if *limit < 0 {
			return usageError(cmd, errors.New("--limit must not be negative"))
		}
		return nil
	}
}

// given is a flag's value, or nothing.
func given[T ~string](s T) *T {
	if s == "" {
		return nil
	}
	return &s
}

func (e *env) auditCommand() *cobra.Command {
	return parent(&cobra.Command{
		Use: "audit", Short: "The audit log",
		Long:    "The audit log holds every change and every refusal. Auditors read all of it.",
		Example: "  forge audit list --user ada --result refused\n  forge audit export --from 2026-11-01 --format csv --out audit.csv",
	}, e.auditListCommand(), e.auditExportCommand(), e.auditVerifyBundleCommand(), e.auditEraseCommand())
}

func (e *env) auditListCommand() *cobra.Command {
	var f auditFilter
	var limit int
	c := &cobra.Command{
		Use: "list", Short: "Entries of the audit log, newest first",
		Long: `Shows the entries that match all the flags; all pages of them unless --limit says less. Dates are
days (UTC) or RFC 3339 instants; the period ends before --to.`,
		Example: `  forge audit list --limit 20
  forge audit list --user ada --result refused --from 2026-11-01
  forge audit list --address 198.51.100.0/24
  forge audit list --resource-id ws_01jd8x5qf8e2x9v7m3k4n5p6q7 -o csv > audit.csv`,
	}
	f.register(c)
	limitFlag(c, &limit)
	return e.remote(c, func(s *session, _ []string) error {
		if err := f.check(); err != nil {
			return err
		}
		from, to, err := period(f.from, f.to)
		if err != nil {
			return err
		}
		found, err := s.searchAudit(limit, f.search(from, to))
		if err != nil {
			return err
		}
		t := &table{head: []string{"TIME", "USER", "ACTION", "RESOURCE TYPE", "RESOURCE ID", "RESULT", "CODE", "INTERFACE", "ID"}, none: "No entries."}
		for _, a := range found.items {
			outcome := words(string(a.Result))
			switch a.Result {
			case "refused":
				outcome.style = &styleBusy
			case "failed":
				outcome.style = &styleBad
			default:
			}
			t.row(instant(a.Timestamp), words(a.UserId), words(a.Action), words(a.ResourceType), words(a.ResourceId), outcome, wordsOf(a.Code), words(a.Interface), words(a.Id))
		}
		return emitList(s, found, t)
	})
}

// searchAudit searches the audit log, and says of which months it does not.
func (s *session) searchAudit(limit int, p client.ListAuditEntriesParams) (list[client.AuditEntry], error) {
	var archived []string
	found, err := fetch[client.AuditEntry](limit, func(cursor *string, size *int64) ([]byte, error) {
		p.Cursor, p.Limit = cursor, size
		r, err := s.api.ListAuditEntriesWithResponse(s.ctx, &p)
		if err != nil {
			return nil, err
		}
		if r.JSON200 != nil && r.JSON200.ArchivedMonths != nil {
			archived = *r.JSON200.ArchivedMonths
		}
		return r.Body, nil
	})
	s.notSearched(archived)
	return found, err
}

// notSearched says which months were not searched.
func (s *session) notSearched(archived []string) {
	switch n := len(archived); n {
	case 0:
	case 1:
		s.note("%s is archived and was not searched; to search it: forge audit archive restore %[1]s", archived[0])
	default:
		s.note("%d months, %s to %s, are archived and were not searched; to search one: forge audit archive restore MONTH", n, archived[0], archived[n-1])
	}
}
