//go:build prove

package plans_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/robco-forge/forge/bench/plans"
	"github.com/robco-forge/forge/internal/audit"
)

// TestProveSearch fills an audit log of two years, and shows by which index and in what time each filter of a search is
// answered, and how much memory an export of all of it takes.
func TestProveSearch(t *testing.T) {
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt)
	defer stop()
	begun := time.Now()
	p := &prover{out: os.Stdout, progress: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%8s  %s\n", time.Since(begun).Round(time.Second), fmt.Sprintf(format, args...))
	}}
	p.parts = []func(context.Context) error{p.sizes, p.searches, p.exports}
	if err := p.run(ctx, *dataDir, plans.Sizes{WorkSpaces: 20_000, CostRecords: 10_000, AuditLogs: *auditLogs}); err != nil {
		t.Fatal(err)
	}
}

// searches is the table of the audit log's queries; not one may be answered otherwise than intended.
func (p *prover) searches(ctx context.Context) error {
	p.queries = slices.DeleteFunc(p.queries, func(q plans.Query) bool { return !strings.HasPrefix(q.Name, "audit: ") })
	return p.table(ctx)
}

// sink counts the lines that come, and notes the memory of this process now and then.
type sink struct {
	lines, bytes int64
	most         int
	looked       time.Time
}

func (s *sink) Write(b []byte) (int, error) {
	s.lines += int64(bytes.Count(b, []byte{'\n'}))
	s.bytes += int64(len(b))
	if time.Since(s.looked) > 200*time.Millisecond {
		s.looked = time.Now()
		kib, err := resident()
		if err != nil {
			return 0, err
		}
		s.most = max(s.most, kib)
	}
	return len(b), nil
}

var vmRSS = regexp.MustCompile(`VmRSS:\s+([0-9]+) kB`)

// resident is the memory of this process, in KiB.
func resident() (int, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(vmRSS.FindSubmatch(status)[1]))
}

// exports writes a month and then everything: more entries must not take more memory.
func (p *prover) exports(ctx context.Context) error {
	p.say("\nExports: the memory of the process while they run, looked at five times a second")
	rows := [][]string{{"EXPORT", "ENTRIES", "MIB", "TOOK", "ENTRIES/S", "RESIDENT, BEFORE", "MOST"}}
	var month int
	for _, e := range []struct {
		name string
		f    audit.Filter
		form audit.Format
	}{
		{"a month, JSON Lines", audit.Filter{From: plans.Now.AddDate(0, -1, 0), To: plans.Now}, audit.JSONLines},
		{"all, JSON Lines", audit.Filter{}, audit.JSONLines},
		{"all, CSV", audit.Filter{}, audit.CSV},
		{"all, OCSF", audit.Filter{}, audit.OCSF},
	} {
		p.progress("exporting: %s", e.name)
		before, err := resident()
		if err != nil {
			return err
		}
		out, begun := &sink{}, time.Now()
		if err := audit.Export(ctx, p.bench.Pool, e.f, e.form, out, func(int64) error { return ctx.Err() }); err != nil {
			return err
		}
		took := time.Since(begun)
		rows = append(rows, []string{
			e.name, fmt.Sprint(out.lines), fmt.Sprint(out.bytes >> 20), took.Round(time.Second).String(), fmt.Sprintf("%.0f", float64(out.lines)/took.Seconds()), // not money: a rate
			fmt.Sprintf("%d MiB", before>>10), fmt.Sprintf("%d MiB", out.most>>10),
		})
		if month == 0 {
			month = out.most
		} else if out.most > month+64<<10 {
			return fmt.Errorf("%s took %d MiB, and a month %d", e.name, out.most>>10, month>>10)
		}
	}
	return p.lines(rows)
}
