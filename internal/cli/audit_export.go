package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
)

// auditFilter is the flags that narrow a search of the audit log.
type auditFilter struct {
	user, action, kind, id, result, through, address, from, to string
}

func (f *auditFilter) register(c *cobra.Command) {
	c.Flags().StringVar(&f.user, "user", "", "who did it, by id or user name")
	c.Flags().StringVar(&f.action, "action", "", "what was done, like workspace.create")
	c.Flags().StringVar(&f.kind, "resource-type", "", "to what kind of thing")
	c.Flags().StringVar(&f.id, "resource-id", "", "to which thing")
	c.Flags().StringVar(&f.result, "result", "", "success, refused or failed")
	c.Flags().StringVar(&f.through, "interface", "", "through what: api, cli, portal, worker or admin")
	c.Flags().StringVar(&f.address, "address", "", "from where: an address, or a network like 198.51.100.0/24")
	c.Flags().StringVar(&f.from, "from", "", "the first day")
	c.Flags().StringVar(&f.to, "to", "", "the day after the last")
}

func (f *auditFilter) check() error {
	switch f.result {
	case "", "success", "refused", "failed":
		return nil
	}
	return UsageError{Err: fmt.Errorf("--result is success, refused or failed, not %q", f.result)}
}

// search is what a list of entries is asked for.
func (f *auditFilter) search(from, to *time.Time) client.ListAuditEntriesParams {
	return client.ListAuditEntriesParams{
		User: given(f.user), Action: given(f.action), ResourceType: given(f.kind), ResourceId: given(f.id),
		Result: given(client.ListAuditEntriesParamsResult(f.result)), Interface: given(f.through), Address: given(f.address), From: from, To: to,
	}
}

func (e *env) auditExportCommand() *cobra.Command {
	var f auditFilter
	var form, out string
	var w bundleOptions
	c := &cobra.Command{
		Use: "export", Short: "Entries of the audit log as CSV, JSON Lines or OCSF, as many as there are",
		Long: `Writes the entries that match all the flags, newest first, as they come: to --out, which is there only
when it is whole, or to the standard output. It takes no more memory for more entries. OCSF is API
Activity (class 6003) of the Open Cybersecurity Schema Framework, which security tools read. Texts
that a spreadsheet would take for a formula get an apostrophe in front in CSV.

A bundle is evidence: a zip with the entries and what leads from them to the signed root of the log, which
"forge audit verify-bundle" checks without a server. Of a whole period (--from, --to) it shows that nothing was left
out; with other filters, only that what is in it is genuine.`,
		Example: `  forge audit export --from 2026-11-01 --to 2026-12-01 --out november.csv
  forge audit export --user ada --format jsonl | jq -r .action | sort | uniq -c
  forge audit export --result refused --format ocsf --out refused.jsonl
  forge audit export --from 2026-11-01 --to 2026-12-01 --out november.zip
  forge audit export --resource-id ws_01jd8x5qf8e2x9v7m3k4n5p6q7 --with-personal-data --witnessed --out case.zip`,
	}
	f.register(c)
	c.Flags().StringVar(&form, "format", "", "csv, jsonl, ocsf or bundle; when left out, csv for --out x.csv, bundle for --out x.zip, and else jsonl")
	c.Flags().StringVar(&out, "out", "", "file to write; the standard output when left out")
	w.flags(c.Flags())
	return e.remote(c, func(s *session, _ []string) error {
		if err := f.check(); err != nil {
			return err
		}
		if form == "" {
			form = cmp.Or(map[string]string{".csv": "csv", ".zip": "bundle"}[strings.ToLower(filepath.Ext(out))], "jsonl")
		}
		if form == "bundle" {
			return s.bundle(f, out, w)
		}
		if w.given() {
			return UsageError{Err: errors.New("--checkpoint, --with-personal-data and --witnessed go with --format bundle")}
		}
		format := client.ExportAuditEntriesParamsFormat(form)
		switch form {
		case "csv", "jsonl", "ocsf":
		default:
			return UsageError{Err: fmt.Errorf("--format is csv, jsonl, ocsf or bundle, not %q", form)}
		}
		from, to, err := period(f.from, f.to)
		if err != nil {
			return err
		}
		resp, err := s.api.ExportAuditEntries(context.WithValue(s.ctx, takesLong{}, true), &client.ExportAuditEntriesParams{
			User: given(f.user), Action: given(f.action), ResourceType: given(f.kind), ResourceId: given(f.id),
			Result: given(client.ExportAuditEntriesParamsResult(f.result)), Interface: given(f.through), Address: given(f.address), From: from, To: to, Format: &format,
		})
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if months := resp.Header.Get("Audit-Archived-Months"); months != "" {
			s.notSearched(strings.Split(months, ","))
		}
		n, err := s.save(resp, out)
		if err == nil && out != "" {
			s.note("wrote %s (%s)", out, lines(n))
		}
		return err
	})
}

// save writes an answer as it comes: to the file, which is there only when it is whole, or to the standard output. It
// returns how many lines that were.
func (s *session) save(resp *http.Response, out string) (int64, error) {
	to := &counter{s: s, to: s.Out}
	if out == "" {
		_, err := io.Copy(to, resp.Body)
		return to.lines, brokeOff(err)
	}
	err := wholeFile(out, func(f *os.File) error {
		to.to, to.shown = f, s.errTTY
		_, err := io.Copy(to, resp.Body)
		to.done()
		return brokeOff(err)
	})
	return to.lines, err
}

// wholeFile writes the file of --out, which is there only when it is whole.
func wholeFile(out string, write func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(out), ".forge-*") // 0600
	if err != nil {
		return UsageError{Err: fmt.Errorf("--out cannot be written: %w", err)}
	}
	err = errors.Join(write(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), out)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func brokeOff(err error) error {
	if err == nil {
		return nil
	}
	return hint{fmt.Errorf("the export broke off and is not complete: %w", err), "try again, or export a shorter period at a time"}
}

func lines(n int64) string {
	if n == 1 {
		return "1 line"
	}
	return fmt.Sprintf("%d lines", n)
}

// counter counts the lines that pass, and shows them once a second to whoever waits at a terminal.
type counter struct {
	s     *session
	to    io.Writer
	shown bool
	lines int64
	last  time.Time
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.to.Write(b)
	for _, x := range b[:n] {
		if x == '\n' {
			c.lines++
		}
	}
	if now := c.s.now(); c.shown && now.Sub(c.last) >= time.Second {
		c.last = now
		_, _ = fmt.Fprintf(c.s.Err, "\r\x1b[K%s", lines(c.lines)) // nobody left to be told
	}
	return n, err
}

func (c *counter) done() {
	if c.shown {
		c.s.progressDone()
	}
}
