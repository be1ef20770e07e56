package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
)

var driftKinds = []string{"FOREIGN", "ORPHAN", "DUPLICATE", "LOST_TAGS", "TERMINATED_OUTSIDE", "STARTED_OUTSIDE", "MODE_CHANGED", "SIZE_CHANGED", "VOLUMES_CHANGED"}

func (e *env) driftCommand() *cobra.Command {
	var kind, region string
	var resolved bool
	var limit int
	c := &cobra.Command{
		Use: "drift", Short: "What Amazon has otherwise than Forge wants it",
		Long: `Shows what the sweeps of all directories have found, and what it costs a month. A sweep that was
not complete concludes nothing, and nothing is ever terminated because a sweep did not show it.

  FOREIGN             nobody at Forge made it: CloudTrail (CreateWorkspaces) says who did. Forge
                      never touches it; its owner keeps it or terminates it
  ORPHAN              Forge made it, and its WorkSpace has ended: save what is needed, then
                      terminate it at Amazon
  DUPLICATE           Forge made it, and its WorkSpace has another one: find out which is used, and
                      terminate the other at Amazon
  LOST_TAGS           its tags are not those that Forge gave it, which sets them again. Where they
                      say that it is somebody else's, settle whose it is
  TERMINATED_OUTSIDE  it is gone, or going, and nobody asked Forge: wait until Forge has looked three
                      times; CloudTrail (TerminateWorkspaces) says who did it
  STARTED_OUTSIDE     it runs, and is wanted stopped: its idle timeout stops it, or forge stop
  MODE_CHANGED        it has another running mode, which Forge takes over and charges for: change it
                      back if it was not meant
  SIZE_CHANGED        the same with its bundle type
  VOLUMES_CHANGED     the same with its volumes, which cannot be made smaller again

A cost with ~ is an estimate: Amazon does not tell the operating system of what is not ours.
Admins and auditors only.`,
		Example: `  forge drift
  forge drift --kind FOREIGN --region us-east-1 -o csv > foreign.csv
  forge drift --all -o json | jq '.[] | select(.resolution == "adopted")'
  forge drift sweep --wait && forge drift`,
	}
	c.Flags().StringVar(&kind, "kind", "", "only of this kind")
	c.Flags().StringVar(&region, "region", "", "only in this region, like us-east-1")
	c.Flags().BoolVar(&resolved, "all", false, "those that are resolved, too")
	limitFlag(c, &limit)
	e.remote(c, func(s *session, _ []string) error {
		p := client.ListDriftParams{Region: given(region)}
		if kind != "" {
			k := client.ListDriftParamsKind(strings.ReplaceAll(strings.ToUpper(kind), "-", "_"))
			if !slices.Contains(driftKinds, string(k)) {
				return UsageError{Err: fmt.Errorf("--kind is one of %s, not %q", strings.Join(driftKinds, ", "), kind)}
			}
			p.Kind = &k
		}
		if resolved {
			p.All = &resolved
		}
		var last []byte
		found, err := fetch[client.Finding](limit, func(cursor *string, size *int64) ([]byte, error) {
			p.Cursor, p.Limit = cursor, size
			r, err := s.api.ListDriftWithResponse(s.ctx, &p)
			if err != nil {
				return nil, err
			}
			last = r.Body
			return r.Body, nil
		})
		if err != nil {
			return err
		}
		whole, err := decode[client.FindingList](last)
		if err != nil {
			return err
		}
		t := findingTable(found.items, resolved)
		t.foot = driftFoot(whole)
		t.none = "No drift.\n" + t.foot
		return emitList(s, found, t)
	})
	c.AddCommand(e.driftSweepCommand())
	return c
}

func findingTable(found []client.Finding, resolved bool) *table {
	t := &table{head: []string{"KIND", "WORKSPACE", "AMAZON'S ID", "USER", "REGION", "MONTHLY USD", "SINCE", "WHAT TO DO"}}
	if resolved {
		t.head = append(t.head, "RESOLVED", "BECAUSE")
	}
	for _, f := range found {
		cost := cell{}
		if f.MonthlyCost != nil {
			cost = dollars(*f.MonthlyCost)
			if f.Details["estimate"] == true {
				cost.show = "~" + cost.show
			}
		}
		row := []cell{words(string(f.Kind)), wordsOf(f.WorkspaceId), words(f.ProviderId), wordsOf(f.UserName), words(f.Region), cost, instant(f.FirstSeenAt), words(f.Advice)}
		if resolved {
			row = append(row, instantOf(f.ResolvedAt), wordsOf(f.Resolution))
		}
		t.row(row...)
	}
	return t
}

// driftFoot says what is open costs, and how old that knowledge is.
func driftFoot(all client.FindingList) string {
	lines := []string{fmt.Sprintf("What is open costs %s USD a month, as far as that is known.", dollars(all.MonthlyCost).display())}
	for _, w := range all.Sweeps {
		line := printable(w.Region) + " " + printable(w.DirectoryId) + ": "
		if w.CompletedAt == nil {
			line += "never seen as a whole"
		} else {
			line += "seen as a whole at " + instant(*w.CompletedAt).show
		}
		switch {
		case w.Running:
			line += fmt.Sprintf("; a sweep is under way (%d WorkSpaces so far)", w.Seen)
		case w.EndedAt != nil && !w.Complete:
			line += "; the last sweep was not complete: " + printable(text(w.Error))
		case text(w.Error) != "":
			line += "; " + printable(text(w.Error))
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (e *env) driftSweepCommand() *cobra.Command {
	var region string
	var w waiting
	c := &cobra.Command{
		Use: "sweep", Short: "Look at everything in the directories now",
		Long: `Has Forge look at everything in its directories now instead of when it is due, which is every six
hours. It takes turns that nobody else wants: at Amazon's pace, a minute for every 3,000 WorkSpaces
and one more for every 120 whose tags are read. --wait stays until all are done (exit 0) or one was
not complete (exit 1). Admins only.`,
		Example: "  forge drift sweep --wait\n  forge drift sweep --region eu-west-1",
	}
	c.Flags().StringVar(&region, "region", "", "only this region's directories")
	w.flags(c)
	return e.remote(c, func(s *session, _ []string) error {
		key := newKey()
		r, err := s.api.SweepDriftWithResponse(s.ctx, &client.SweepDriftParams{IdempotencyKey: &key}, client.SweepRequest{Region: given(region)})
		if err != nil {
			return err
		}
		due, err := decode[client.SweepList](r.Body)
		if err != nil {
			return err
		}
		if !w.wanted {
			return s.emitSweeps(due.Items)
		}
		ended, err := s.swept(due.Items, w.timeout)
		if err != nil {
			return err
		}
		if err := s.emitSweeps(ended); err != nil {
			return err
		}
		var short []error
		for _, one := range ended {
			if !one.Complete {
				short = append(short, fmt.Errorf("%s %s was not seen as a whole, and nothing was concluded: %s", one.Region, one.DirectoryId, text(one.Error)))
			}
		}
		if len(short) > 0 {
			return hint{errors.Join(short...), "it is tried again by itself; `forge drift` says how that ends"}
		}
		return nil
	})
}

func (s *session) emitSweeps(all []client.Sweep) error {
	t := &table{head: []string{"REGION", "DIRECTORY", "DUE", "ENDED", "COMPLETE", "WORKSPACES", "ERROR"}}
	for _, w := range all {
		t.row(words(w.Region), words(w.DirectoryId), instant(w.DueAt), instantOf(w.EndedAt), words(fmt.Sprint(w.Complete)), count(w.Seen), wordsOf(w.Error))
	}
	return s.emitValue(all, t)
}

// swept stays until every directory has been looked at since it was asked for, and returns how that ended.
func (s *session) swept(asked []client.Sweep, timeout time.Duration) ([]client.Sweep, error) {
	const try = "`forge drift` says how it ends"
	started, one := s.now(), int64(1)
	for {
		r, err := s.api.ListDriftWithResponse(s.ctx, &client.ListDriftParams{Limit: &one})
		if err != nil && !passing(err) {
			return nil, err
		}
		if err == nil {
			all, err := decode[client.FindingList](r.Body)
			if err != nil {
				return nil, err
			}
			if ended := endedOf(asked, all.Sweeps); len(ended) == len(asked) {
				return ended, nil
			}
		}
		elapsed := s.now().Sub(started)
		if elapsed >= timeout {
			return nil, hint{fmt.Errorf("not every directory was seen after %s; it goes on without us", timeout), try}
		}
		if err := s.pause(s.ctx, min(pollAfter(elapsed), timeout-elapsed)); err != nil {
			return nil, hint{fmt.Errorf("interrupted; it goes on without us: %w", err), try}
		}
	}
}

// endedOf are the sweeps of those that were asked for that have begun and ended since.
func endedOf(asked, now []client.Sweep) []client.Sweep {
	var ended []client.Sweep
	for _, a := range asked {
		for _, w := range now {
			if w.Region == a.Region && w.DirectoryId == a.DirectoryId && !w.Running &&
				w.BegunAt != nil && !w.BegunAt.Before(a.DueAt) && w.EndedAt != nil && !w.EndedAt.Before(*w.BegunAt) {
				ended = append(ended, w)
			}
		}
	}
	return ended
}
