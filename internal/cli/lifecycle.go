package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
)

func (e *env) rebootCommand() *cobra.Command {
	return e.changeCommand(&cobra.Command{
		Use: "reboot ID|NAME", Short: "Reboot a running WorkSpace",
		Long:    "Reboots a WorkSpace. What is open in it is lost, what is on its disks stays. --wait stays until it is done.",
		Example: "  forge reboot spike --wait",
	}, targetDone, nil, func(s *session, id string) ([]byte, error) {
		key := newKey()
		r, err := s.api.RebootWorkspaceWithResponse(s.ctx, id, &client.RebootWorkspaceParams{IdempotencyKey: &key})
		if err != nil {
			return nil, err
		}
		return r.Body, nil
	})
}

func (e *env) imageCommand() *cobra.Command {
	return e.changeCommand(&cobra.Command{
		Use: "image ID|NAME", Short: "Make an image of a running WorkSpace",
		Long: `Makes an image of a WorkSpace, which keeps what is on it beyond its end. It must be AVAILABLE, and
cannot be used for up to 45 minutes meanwhile. There is one image of a WorkSpace for a day.`,
		Example: "  forge start spike --wait && forge image spike --wait",
	}, targetDone, nil, func(s *session, id string) ([]byte, error) {
		key := newKey()
		r, err := s.api.ImageWorkspaceWithResponse(s.ctx, id, &client.ImageWorkspaceParams{IdempotencyKey: &key})
		if err != nil {
			return nil, err
		}
		return r.Body, nil
	})
}

func (e *env) rebuildCommand() *cobra.Command {
	return e.losingCommand(&cobra.Command{
		Use: "rebuild ID|NAME", Short: "Make a WorkSpace's root volume anew; loses data",
		Long: `Makes the root volume anew from the image of its bundle, and brings the user volume back from its last
snapshot, which is up to 12 hours old. Whatever else is on them is lost. It asks for the WorkSpace's
name; where nobody can be asked, --confirm NAME is required.`,
		Example: "  forge rebuild spike\n  forge rebuild ws_01jd8x5qf8e2x9v7m3k4n5p6q7 --confirm spike --wait",
	}, func(s *session, id string, body client.WorkspaceConfirm) ([]byte, error) {
		key := newKey()
		r, err := s.api.RebuildWorkspaceWithResponse(s.ctx, id, &client.RebuildWorkspaceParams{IdempotencyKey: &key}, body)
		if err != nil {
			return nil, err
		}
		return r.Body, nil
	})
}

func (e *env) restoreCommand() *cobra.Command {
	return e.losingCommand(&cobra.Command{
		Use: "restore ID|NAME", Short: "Bring both volumes back to their last snapshots; loses data",
		Long: `Brings both volumes back from their last snapshots, which are up to 12 hours old. Whatever was written
since is lost. It asks for the WorkSpace's name; where nobody can be asked, --confirm NAME is required.`,
		Example: "  forge restore spike\n  forge restore spike --confirm spike --wait",
	}, func(s *session, id string, body client.WorkspaceConfirm) ([]byte, error) {
		key := newKey()
		r, err := s.api.RestoreWorkspaceWithResponse(s.ctx, id, &client.RestoreWorkspaceParams{IdempotencyKey: &key}, body)
		if err != nil {
			return nil, err
		}
		return r.Body, nil
	})
}

// losingCommand makes a command that loses data, for which the WorkSpace's name must be said.
func (e *env) losingCommand(c *cobra.Command, do func(s *session, id string, body client.WorkspaceConfirm) ([]byte, error)) *cobra.Command {
	var said string
	c.Flags().StringVar(&said, "confirm", "", "the WorkSpace's name or id: yes, lose it")
	return e.changeCommand(c, targetDone, func(s *session, called string) error {
		if said != "" {
			return nil
		}
		if !s.inTTY {
			return UsageError{Err: errors.New("there is no terminal to ask on: say --confirm with the WorkSpace's name")}
		}
		_, _ = fmt.Fprintf(s.Err, "%s\nWhat is on %s is lost. Type its name to go on: ", c.Short, printable(called))
		answer, err := bufio.NewReader(s.In).ReadString('\n')
		if said = strings.TrimSpace(answer); err != nil || said == "" {
			return errors.New("nothing was done")
		}
		return nil
	}, func(s *session, id string) ([]byte, error) { return do(s, id, client.WorkspaceConfirm{Confirm: said}) })
}

func (e *env) extendCommand() *cobra.Command {
	hours := int64(4)
	c := &cobra.Command{
		Use: "extend ID|NAME", Short: "Let a WorkSpace be idle for longer",
		Long: `Keeps a WorkSpace from being stopped for being idle, or by its schedule, for some hours from now on.
Then its own timeout holds again. What is reserved in the budgets for its idle time grows meanwhile.`,
		Example: "  forge extend spike\n  forge extend spike --hours 8",
	}
	c.Flags().Int64Var(&hours, "hours", hours, "for how long, 1 to 24")
	return e.changeCommand(c, targetDone, nil, func(s *session, id string) ([]byte, error) {
		key := newKey()
		r, err := s.api.ExtendWorkspaceWithResponse(s.ctx, id, &client.ExtendWorkspaceParams{IdempotencyKey: &key}, client.WorkspaceExtend{Hours: hours})
		if err != nil {
			return nil, err
		}
		return r.Body, nil
	})
}

func (e *env) adoptCommand() *cobra.Command {
	var region, blueprint string
	c := &cobra.Command{
		Use: "adopt AMAZONS-ID", Short: "Make a WorkSpace that Forge did not make Forge's own", Args: cobra.ExactArgs(1),
		Long: `Takes over a WorkSpace that is in one of Forge's directories and has no tags of Forge, for its directory
user. Where that user waits for a WorkSpace whose place it holds (CONFLICT), it becomes that one; else it
becomes a new one from the blueprint. Its cost must fit into the budgets. Admins only.`,
		Example: "  forge drift\n  forge adopt ws-8k2jf9x1q --region us-east-1 --blueprint go-dev",
	}
	c.Flags().StringVar(&region, "region", "", "where it is, like us-east-1 (required)")
	c.Flags().StringVar(&blueprint, "blueprint", "", "what it is from now on an instance of")
	return e.remote(c, func(s *session, args []string) error {
		if region == "" {
			return UsageError{Err: errors.New("--region is required")}
		}
		key := newKey()
		r, err := s.api.AdoptWorkspaceWithResponse(s.ctx, &client.AdoptWorkspaceParams{IdempotencyKey: &key},
			client.WorkspaceAdopt{ProviderId: args[0], Region: region, Blueprint: given(blueprint)})
		if err != nil {
			return err
		}
		ws, err := decode[client.Workspace](r.Body)
		if err != nil {
			return err
		}
		return s.emit(r.Body, workspaceTable(ws))
	})
}

func (e *env) updateCommand() *cobra.Command {
	var name, project, bundle, mode, zone string
	var tags, entries []string
	var timeout, lifetime, root, user int64
	var keepAlive, noSchedule, noTags, dry bool
	var w waiting
	c := &cobra.Command{
		Use: "update ID|NAME", Short: "Change a WorkSpace", Args: cobra.ExactArgs(1),
		Long: `Changes a WorkSpace. Only what is given changes. Of bundle, mode and volumes Amazon changes one at a
time: a bundle takes up to an hour and reboots it, a volume up to two hours; a volume only grows, and
there are waits between changes, which are said when they are in the way. --wait stays until it is done.

--dry-run shows the decision and the cost, and changes nothing.`,
		Example: `  forge update spike --bundle POWER --dry-run
  forge update spike --mode ALWAYS_ON --wait
  forge update spike --timeout-minutes 120 --keep-alive
  forge update spike --schedule "start 08:00 WEEKDAYS" --schedule "stop 18:30 WEEKDAYS" --zone Europe/Berlin
  forge update spike --no-schedule
  forge update ws_01jd8x5qf8e2x9v7m3k4n5p6q7 --lifetime-days 120`,
	}
	f := c.Flags()
	f.StringVar(&name, "name", "", "what to call it")
	f.StringVar(&bundle, "bundle", "", "size, like STANDARD or PERFORMANCE")
	f.StringVar(&mode, "mode", "", "AUTO_STOP or ALWAYS_ON")
	f.Int64Var(&root, "root-gib", 0, "size of the root volume in GiB")
	f.Int64Var(&user, "user-gib", 0, "size of the user volume in GiB")
	f.Int64Var(&timeout, "timeout-minutes", 0, "stop when idle this long, in steps of 60; AUTO_STOP only")
	f.Int64Var(&lifetime, "lifetime-days", 0, "terminate at this age; beyond the blueprint's: leads and admins")
	f.BoolVar(&keepAlive, "keep-alive", false, "do not end it for being unused (--keep-alive=false: do)")
	f.StringArrayVar(&entries, "schedule", nil, `an entry such as "start 08:00 MON-FRI"; replaces the schedule; may be given again`)
	f.StringVar(&zone, "zone", "", "the schedule's time zone, like Europe/Berlin")
	f.BoolVar(&noSchedule, "no-schedule", false, "take the schedule away")
	f.StringVar(&project, "project", "", "a project of its team, by id or name; empty: none")
	f.StringArrayVar(&tags, "tag", nil, "a tag, key=value; replaces all tags; may be given again")
	f.BoolVar(&noTags, "no-tags", false, "take all tags away")
	f.BoolVar(&dry, "dry-run", false, "say what would happen, and change nothing")
	w.flags(c)
	return e.remote(c, func(s *session, args []string) error {
		if dry && w.wanted {
			return UsageError{Err: errors.New("--dry-run changes nothing to --wait for")}
		}
		if (len(entries) > 0) != (zone != "") {
			return UsageError{Err: errors.New("--schedule and --zone belong together")}
		}
		body := client.WorkspaceUpdate{Name: given(name)}
		number := func(flag string, value *int64) *int64 {
			if f.Changed(flag) {
				return value
			}
			return nil
		}
		body.AutoStopTimeoutMinutes, body.MaxLifetimeDays = number("timeout-minutes", &timeout), number("lifetime-days", &lifetime)
		body.RootVolumeGib, body.UserVolumeGib = number("root-gib", &root), number("user-gib", &user)
		if bundle != "" {
			b := client.WorkspaceUpdateBundleType(strings.ToUpper(bundle))
			body.BundleType = &b
		}
		if mode != "" {
			m := client.WorkspaceUpdateRunningMode(strings.ToUpper(mode))
			body.RunningMode = &m
		}
		if f.Changed("keep-alive") {
			body.KeepAlive = &keepAlive
		}
		if f.Changed("project") {
			body.Project = &project
		}
		if noSchedule {
			body.NoSchedule = &noSchedule
		}
		var err error
		if body.Tags, err = parsePairs("tag", tags); err != nil {
			return err
		}
		if noTags {
			body.Tags = &map[string]string{}
		}
		if body.Schedule, err = parseSchedule(zone, entries); err != nil {
			return err
		}
		id, err := s.resolve(args[0])
		if err != nil {
			return err
		}
		p := client.UpdateWorkspaceParams{}
		if dry {
			p.DryRun = &dry
		}
		r, err := s.api.UpdateWorkspaceWithResponse(s.ctx, id, &p, body)
		if err != nil {
			return err
		}
		ws, err := decode[client.Workspace](r.Body)
		if err != nil {
			return err
		}
		t := workspaceTable(ws)
		if dry {
			t.foot = "A dry run: nothing was changed."
		}
		if !w.wanted {
			return s.emit(r.Body, t)
		}
		whole := json.RawMessage(r.Body)
		ws, raw, waited := s.wait(ws, targetDone, w.timeout)
		if raw != nil {
			whole = raw
		}
		return errors.Join(s.emit(whole, workspaceTable(ws)), waited)
	})
}

// parseSchedule reads entries such as "start 08:00 MON-FRI"; the server says what is wrong with times and zones.
func parseSchedule(zone string, entries []string) (*client.Schedule, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	week := []string{"MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"}
	position := func(day string) int {
		for i, d := range week {
			if d == day {
				return i
			}
		}
		return -1
	}
	s := client.Schedule{Timezone: zone}
	for _, entry := range entries {
		words := strings.Fields(entry)
		wrong := UsageError{Err: fmt.Errorf(`--schedule is like "start 08:00 MON-FRI", "stop 18:30 MON,WED" or "stop 22:00 DAILY", not %q`, entry)}
		if len(words) != 3 {
			return nil, wrong
		}
		parsed := client.ScheduleEntry{Action: client.ScheduleEntryAction(strings.ToLower(words[0])), At: words[1]}
		days := strings.NewReplacer("DAILY", "MON-SUN", "WEEKDAYS", "MON-FRI").Replace(strings.ToUpper(words[2]))
		for _, part := range strings.Split(days, ",") {
			from, to, ranged := strings.Cut(part, "-")
			if !ranged {
				to = from
			}
			first, last := position(from), position(to)
			if first < 0 || last < first {
				return nil, wrong
			}
			for _, day := range week[first : last+1] {
				parsed.Days = append(parsed.Days, client.ScheduleEntryDays(day))
			}
		}
		s.Entries = append(s.Entries, parsed)
	}
	return &s, nil
}

func (e *env) policyCommand() *cobra.Command {
	return parent(&cobra.Command{
		Use: "policy", Short: "What happens to WorkSpaces by itself",
		Long: `Shows the policies by which WorkSpaces are stopped, started and ended by themselves, and pauses them:
one of them, all stops, or all terminations. What will happen to one WorkSpace, and how it is put off,
is in ` + "`forge describe`" + `.`,
		Example: "  forge policy list\n  forge policy pause terminations --reason \"audit until Friday\"",
	}, e.policyListCommand(), e.policyPauseCommand(), e.policyResumeCommand(), e.policySimulateCommand())
}

func policyTable(l client.PolicyList) *table {
	t := &table{head: []string{"POLICY", "PAUSED", "WHY", "BY", "SINCE", "UNTIL", "WHAT IT DOES"}}
	for _, p := range l.Items {
		paused := "no"
		if p.Paused {
			paused = "yes"
		}
		t.row(words(string(p.Name)), words(paused), wordsOf(p.Reason), wordsOf(p.PausedBy), instantOf(p.PausedAt), instantOf(p.Until), words(p.Description))
	}
	return t
}

func (s *session) emitPolicies(body []byte) error {
	l, err := decode[client.PolicyList](body)
	if err != nil {
		return err
	}
	return s.emit(body, policyTable(l))
}

func (e *env) policyListCommand() *cobra.Command {
	return e.remote(&cobra.Command{
		Use: "list", Short: "The policies, in their precedence, and what is paused",
		Example: "  forge policy list",
	}, func(s *session, _ []string) error {
		r, err := s.api.ListPoliciesWithResponse(s.ctx)
		if err != nil {
			return err
		}
		return s.emitPolicies(r.Body)
	})
}

func (e *env) policyPauseCommand() *cobra.Command {
	var reason string
	var lasts time.Duration
	c := &cobra.Command{
		Use: "pause lifetime|stale|budget|schedule|idle|stops|terminations", Short: "Keep a policy from acting", Args: cobra.ExactArgs(1),
		Long: `Keeps one policy, all automatic stops or all automatic terminations from happening, with their notices,
until it is resumed. Afterwards what has become due is done; of an end a notice is given an hour before.
Amazon's own idle timer goes on. Admins only; it is on record, and shown to everybody it concerns.`,
		Example: "  forge policy pause terminations --reason \"audit until Friday\"\n  forge policy pause idle --reason \"load test\" --for 6h",
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for those who come after (required)")
	c.Flags().DurationVar(&lasts, "for", 0, "for how long; until it is resumed when left out")
	return e.remote(c, func(s *session, args []string) error {
		if reason == "" {
			return UsageError{Err: errors.New("--reason is required")}
		}
		body := client.PolicyPause{Reason: reason}
		if lasts > 0 {
			until := s.now().Add(lasts)
			body.Until = &until
		}
		r, err := s.api.PausePolicyWithResponse(s.ctx, client.PausePolicyParamsName(args[0]), body)
		if err != nil {
			return err
		}
		return s.emitPolicies(r.Body)
	})
}

func (e *env) policyResumeCommand() *cobra.Command {
	return e.remote(&cobra.Command{
		Use: "resume lifetime|stale|budget|schedule|idle|stops|terminations", Short: "Let a policy act again", Args: cobra.ExactArgs(1),
		Example: "  forge policy resume terminations",
	}, func(s *session, args []string) error {
		r, err := s.api.ResumePolicyWithResponse(s.ctx, client.ResumePolicyParamsName(args[0]))
		if err != nil {
			return err
		}
		return s.emitPolicies(r.Body)
	})
}
