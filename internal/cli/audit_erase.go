package cli

import (
	"errors"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
)

func (e *env) auditEraseCommand() *cobra.Command {
	var reason string
	var yes bool
	c := &cobra.Command{
		Use: "erase-subject USER", Short: "Erase what the audit log knows of a person", Args: cobra.ExactArgs(1),
		Long: `Destroys the keys under which the log keeps a person's addresses, programs and e-mail address, and
takes what stands in clear. Entries and their proofs stay valid: they hold the person's id and salted
commitments. It is recorded, with the reason, which therefore must not name the person. What the
person does afterwards is recorded anew. It cannot be undone. Admins only.

USER is an id or user name, or the id of somebody whom Forge no longer has.`,
		Example: "  forge audit erase-subject ada --reason \"GDPR art. 17, request 4711\" --yes",
	}
	c.Flags().StringVar(&reason, "reason", "", "the legal basis, without the person's name (required)")
	c.Flags().BoolVar(&yes, "yes", false, "yes, erase it for ever (required)")
	return e.remote(c, func(s *session, args []string) error {
		if reason == "" {
			return UsageError{Err: errors.New("--reason is required")}
		}
		if !yes {
			return UsageError{Err: errors.New("it cannot be undone: say --yes")}
		}
		key := newKey()
		r, err := s.api.EraseAuditSubjectWithResponse(s.ctx, args[0], &client.EraseAuditSubjectParams{IdempotencyKey: &key}, client.AuditErase{Reason: reason})
		if err != nil {
			return err
		}
		done, err := decode[client.AuditErased](r.Body)
		if err != nil {
			return err
		}
		t := &table{head: []string{"ERASED", "ENTRIES", "AT"}}
		t.row(words(done.Subject), words(strconv.FormatInt(done.Entries, 10)), instant(done.At))
		return s.emit(r.Body, t)
	})
}
