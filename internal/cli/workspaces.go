package cli

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
)

// newKey is a fresh idempotency key.
func newKey() string { return "cli-" + rand.Text() }

func (e *env) launchCommand() *cobra.Command {
	var o client.WorkspaceCreate
	var bundle, system, mode, region, project, name string
	var tags, parameters, entries []string
	var zone string
	var timeout, lifetime int64
	var dry, keepAlive bool
	var w waiting
	c := &cobra.Command{
		Use: "launch", Short: "Launch a WorkSpace from a blueprint",
		Long: `Launches a WorkSpace. The server decides whether it is within what you may use and within the
budgets, reserves its cost and begins to make it. --wait stays until it is AVAILABLE (exit 0) or
cannot become so (exit 1); interrupting the wait does not interrupt the launch.

--dry-run shows the decision and the cost, and changes nothing.`,
		Example: `  forge launch --blueprint go-dev --bundle PERFORMANCE --wait
  forge launch --blueprint backend/go-dev@3 --bundle STANDARD --name spike --tag ticket=FORGE-1
  forge launch --blueprint go-dev --bundle POWER --mode ALWAYS_ON --dry-run
  id=$(forge launch --blueprint go-dev --bundle STANDARD -o json | jq -r .workspace.id)`,
	}
	f := c.Flags()
	f.StringVar(&o.Blueprint, "blueprint", "", "what to launch: name, team/name, either with @version, or an id (required)")
	f.StringVar(&bundle, "bundle", "", "size, like STANDARD or PERFORMANCE (the blueprint's default)")
	f.StringVar(&system, "os", "", "operating system (the blueprint's)")
	f.StringVar(&mode, "mode", "", "AUTO_STOP or ALWAYS_ON (the blueprint's)")
	f.StringVar(&region, "region", "", "where, like us-east-1")
	f.StringVar(&project, "project", "", "a project of your team, by id or name; its cost centre pays")
	f.StringVar(&name, "name", "", "what to call it")
	f.StringArrayVar(&tags, "tag", nil, "a tag, key=value; may be given again")
	f.StringArrayVar(&parameters, "param", nil, "a parameter of the blueprint, name=value; may be given again")
	f.Int64Var(&timeout, "timeout-minutes", 0, "stop when idle this long, in steps of 60; AUTO_STOP only")
	f.Int64Var(&lifetime, "lifetime-days", 0, "terminate after this many days")
	f.BoolVar(&keepAlive, "keep-alive", false, "do not end it for being unused")
	f.StringArrayVar(&entries, "schedule", nil, `start or stop by the clock: "start 08:00 MON-FRI"; may be given again`)
	f.StringVar(&zone, "zone", "", "the schedule's time zone, like Europe/Berlin")
	f.BoolVar(&dry, "dry-run", false, "say what would happen, and change nothing")
	w.flags(c)
	return e.remote(c, func(s *session, _ []string) error {
		if (len(entries) > 0) != (zone != "") {
			return UsageError{Err: errors.New("--schedule and --zone belong together")}
		}
		if o.Blueprint == "" {
			return UsageError{Err: errors.New("--blueprint is required")}
		}
		if dry && w.wanted {
			return UsageError{Err: errors.New("--dry-run launches nothing to --wait for")}
		}
		body := o
		body.OperatingSystem, body.Region, body.Project, body.Name = given(system), given(region), given(project), given(name)
		if bundle != "" {
			b := client.WorkspaceCreateBundleType(strings.ToUpper(bundle))
			body.BundleType = &b
		}
		if mode != "" {
			m := client.WorkspaceCreateRunningMode(strings.ToUpper(mode))
			body.RunningMode = &m
		}
		if f.Changed("timeout-minutes") {
			body.AutoStopTimeoutMinutes = &timeout
		}
		if f.Changed("lifetime-days") {
			body.MaxLifetimeDays = &lifetime
		}
		var err error
		if body.Tags, err = parsePairs("tag", tags); err != nil {
			return err
		}
		if body.Parameters, err = parsePairs("param", parameters); err != nil {
			return err
		}
		if body.Schedule, err = parseSchedule(zone, entries); err != nil {
			return err
		}
		if keepAlive {
			body.KeepAlive = &keepAlive
		}
		p := client.CreateWorkspaceParams{}
		if dry {
			p.DryRun = &dry
		}
		key := newKey()
		p.IdempotencyKey = &key
		r, err := s.api.CreateWorkspaceWithResponse(s.ctx, &p, body)
		if err != nil {
			return err
		}
		made, err := decode[client.WorkspaceAdmitted](r.Body)
		if err != nil {
			return err
		}
		if !w.wanted {
			return s.emit(r.Body, admittedTable(made))
		}
		ws, raw, waited := s.wait(made.Workspace, "AVAILABLE", w.timeout)
		whole := json.RawMessage(r.Body)
		if raw != nil {
			if whole, err = replaceField(whole, "workspace", raw); err != nil {
				return err
			}
		}
		return errors.Join(s.emit(whole, workspaceTable(ws)), waited)
	})
}

// replaceField puts a newer value into an answer.
func replaceField(object json.RawMessage, field string, value json.RawMessage) (json.RawMessage, error) {
	fields, err := decode[map[string]json.RawMessage](object)
	if err != nil {
		return nil, err
	}
	fields[field] = value
	return json.Marshal(fields)
}

// parsePairs reads a flag that is given as key=value, again and again.
func parsePairs(flag string, pairs []string) (*map[string]string, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	m := map[string]string{}
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if _, twice := m[key]; !ok || key == "" || twice {
			return nil, UsageError{Err: fmt.Errorf("--%s is key=value, with each key once, not %q", flag, pair)}
		}
		m[key] = value
	}
	return &m, nil
}

func admittedTable(a client.WorkspaceAdmitted) *table {
	t := pairs()
	if !a.DryRun {
		t.pair("ID", words(a.Workspace.Id))
	}
	t.pair("Name", words(a.Workspace.Name))
	if !a.DryRun {
		t.pair("State", state(string(a.Workspace.State)))
	}
	t.pair("Blueprint", words(a.Workspace.Blueprint))
	if a.Warnings != nil {
		for _, warning := range *a.Warnings {
			t.pair("Warning", words(warning))
		}
	}
	t.pair("Bundle", words(a.Workspace.BundleType))
	t.pair("OS", words(a.Workspace.OperatingSystem))
	t.pair("Mode", words(a.Workspace.RunningMode))
	t.pair("Region", words(a.Workspace.Region))
	t.pair("Cost centre", words(a.Workspace.CostCentre))
	t.pair("Monthly fee USD", dollars(a.Estimate.MonthlyFee))
	t.pair("Fee this month USD", dollars(a.Estimate.FirstFee))
	t.pair("Hourly USD", dollars(a.Estimate.Hourly))
	t.pair("Reserved USD", dollars(a.Estimate.Reserved))
	if m := a.Estimate.BreakEvenMinutes; m != nil && *m > 0 {
		c := count(*m)
		c.show = fmt.Sprintf("ALWAYS_ON is cheaper above %d h %02d min a month", *m/60, *m%60)
		t.pair("Break-even minutes", c)
	}
	for _, b := range a.Budgets {
		c := dollars(b.Available)
		c.show += " available of " + dollars(b.Limit).display()
		t.pair("Budget USD "+b.Scope+" "+b.ScopeId, c)
	}
	if a.DryRun {
		t.foot = "A dry run: nothing was launched or reserved."
	} else {
		t.foot = "It is being made. `forge describe " + printable(a.Workspace.Id) + "` shows how far it is."
	}
	return t
}

func workspaceTable(ws client.Workspace) *table {
	t := pairs()
	t.pair("ID", words(ws.Id))
	t.pair("Name", words(ws.Name))
	t.pair("State", state(string(ws.State)))
	t.pair("Reason", words(ws.StateReason))
	if string(ws.Desired) != string(ws.State) {
		t.pair("Wanted", words(string(ws.Desired)))
	}
	t.pair("Error code", wordsOf(ws.ErrorCode))
	t.pair("Error", wordsOf(ws.ErrorMessage))
	if ws.Flag != nil {
		t.pair("Attention", words(flagged[string(*ws.Flag)]))
	}
	provisioning(t, ws)
	t.pair("Cost to date USD", dollars(ws.CostToDate))
	t.pair("Blueprint", words(ws.Blueprint))
	t.pair("Bundle", words(ws.BundleType))
	t.pair("OS", words(ws.OperatingSystem))
	t.pair("Mode", words(ws.RunningMode))
	if ws.AutoStopTimeoutMinutes != nil {
		t.pair("Stops when idle, minutes", count(*ws.AutoStopTimeoutMinutes))
	}
	if ws.MaxLifetimeDays != nil {
		t.pair("Lives at most, days", count(*ws.MaxLifetimeDays))
	}
	lifecycle(t, ws)
	t.pair("Region", words(ws.Region))
	t.pair("Directory", words(ws.DirectoryId))
	t.pair("Amazon's id", wordsOf(ws.ProviderId))
	t.pair("User", words(ws.UserName))
	t.pair("Team", words(ws.TeamId))
	t.pair("Project", wordsOf(ws.ProjectId))
	t.pair("Cost centre", words(ws.CostCentre))
	for _, key := range slices.Sorted(maps.Keys(ws.Tags)) {
		t.pair("Tag "+key, words(ws.Tags[key]))
	}
	settings(t, "Parameter ", ws.Parameters)
	settings(t, "Environment ", ws.Environment)
	t.pair("Created", instant(ws.CreatedAt))
	t.pair("Available", instantOf(ws.AvailableAt))
	t.pair("Terminated", instantOf(ws.TerminatedAt))
	return t
}

func settings(t *table, kind string, all *map[string]string) {
	if all == nil {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(*all)) {
		t.pair(kind+key, words((*all)[key]))
	}
}

// lifecycle shows what is being changed, and what will happen by itself.
func lifecycle(t *table, ws client.Workspace) {
	if ws.RootVolumeGib != nil && ws.UserVolumeGib != nil {
		t.pair("Volumes, GiB", words(fmt.Sprintf("%d root, %d user", *ws.RootVolumeGib, *ws.UserVolumeGib)))
	}
	if ws.KeepAlive {
		t.pair("Kept alive", words("yes"))
	}
	if ws.Schedule != nil {
		for _, e := range ws.Schedule.Entries {
			days := make([]string, len(e.Days))
			for i, d := range e.Days {
				days[i] = string(d)
			}
			t.pair("Schedule", words(fmt.Sprintf("%s %s %s (%s)", e.Action, e.At, strings.Join(days, ","), ws.Schedule.Timezone)))
		}
	}
	t.pair("Extended until", instantOf(ws.ExtendedUntil))
	t.pair("Looks forgotten since", instantOf(ws.StaleAt))
	t.pair("Last connected", instantOf(ws.LastConnectedAt))
	t.pair("Under way", wordsOf(ws.UnderWay))
	if c := ws.Change; c != nil {
		asked := "asked for"
		if c.BegunAt != nil {
			asked = "begun"
		}
		t.pair("Change", words(fmt.Sprintf("%s from %s to %s, %s", c.Property, c.From, c.To, asked)))
		t.pair("Monthly fee USD then", dollars(c.MonthlyFeeAfter))
		t.pair("Hourly USD then", dollars(c.HourlyAfter))
		t.pair("This month costs more by USD", dollars(c.PostsAtOnce))
	}
	if ws.Upcoming == nil {
		return
	}
	for _, u := range *ws.Upcoming {
		if u.Action == nil {
			t.pair("Not "+string(u.Policy), words(u.Why))
			continue
		}
		line := u.Why
		if u.At != nil {
			line = u.At.UTC().Format("2006-01-02 15:04 MST") + ": " + line
		}
		if u.HowToDelay != nil {
			line += ". To put it off: " + *u.HowToDelay
		}
		if u.Paused != nil {
			line += " (PAUSED: " + *u.Paused + ")"
		}
		t.pair("Will "+string(*u.Action), words(line))
	}
}

var flagged = map[string]string{
	"UNHEALTHY": "UNHEALTHY: it is ill, and a reboot has not helped; `forge rebuild` or `forge restore` may, and lose data",

	"STUCK":    "STUCK: on its way for far longer than Amazon takes; the operators have been told",
	"PROTOCOL": "PROTOCOL: it speaks PCoIP, which Forge never asks for; the operators have been told",
}

// provisioning shows how long the way to AVAILABLE takes, or took.
func provisioning(t *table, ws client.Workspace) {
	p := ws.Provisioning
	if p == nil {
		return
	}
	t.pair("Waiting", wordsOf(p.Waiting))
	t.pair("Expected", words(expected(ws)))
	steps := make([]string, 0, len(p.Steps))
	for _, s := range p.Steps {
		step := string(s.Name) + " " + seconds(s.Seconds)
		if s.EndedAt == nil {
			step += " so far"
		}
		steps = append(steps, step)
	}
	t.pair("Provisioning", words(strings.Join(steps, ", ")))
}

// expected says how long the way to AVAILABLE takes as a rule, and where that is known from; empty when it is over.
func expected(ws client.Workspace) string {
	if ws.Provisioning == nil || ws.Provisioning.Expected == nil {
		return ""
	}
	e := ws.Provisioning.Expected
	if e.Basis != "measured" {
		return fmt.Sprintf("up to %s, rarely %s (Amazon's statement; too few were measured)", seconds(e.TypicalSeconds), seconds(e.SlowSeconds))
	}
	return fmt.Sprintf("half within %s, 95 of 100 within %s (measured on the last %d in %s)", seconds(e.TypicalSeconds), seconds(e.SlowSeconds), e.Samples, ws.Region)
}

func seconds(n int64) string { return (time.Duration(n) * time.Second).String() }

func (e *env) listCommand() *cobra.Command {
	var all bool
	var user string
	var limit int
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "WorkSpaces that you may see",
		Long:    "Shows the WorkSpaces that you may see: your own, your team's, or everybody's. Those that ended are left out unless --all is given.",
		Example: "  forge list\n  forge list --user ada --all\n  forge list -o json | jq -r '.[] | select(.state == \"AVAILABLE\") | .id'",
	}
	c.Flags().BoolVar(&all, "all", false, "also those that have ended")
	c.Flags().StringVar(&user, "user", "", "only this user's, by id or name")
	limitFlag(c, &limit)
	return e.remote(c, func(s *session, _ []string) error {
		p := client.ListWorkspacesParams{User: given(user)}
		if all {
			p.All = &all
		}
		found, err := s.workspaces(p, limit)
		if err != nil {
			return err
		}
		t := &table{head: []string{"ID", "NAME", "USER", "STATE", "BUNDLE", "MODE", "REGION", "BLUEPRINT", "COST USD", "CREATED"}, none: "No WorkSpaces."}
		for _, ws := range found.items {
			t.row(words(ws.Id), words(ws.Name), words(ws.UserName), state(string(ws.State)), words(ws.BundleType), words(ws.RunningMode), words(ws.Region), words(ws.Blueprint), dollars(ws.CostToDate), instant(ws.CreatedAt))
		}
		return emitList(s, found, t)
	})
}

func (s *session) workspaces(p client.ListWorkspacesParams, limit int) (list[client.Workspace], error) {
	return fetch[client.Workspace](limit, func(cursor *string, size *int64) ([]byte, error) {
		p.Cursor, p.Limit = cursor, size
		r, err := s.api.ListWorkspacesWithResponse(s.ctx, &p)
		if err != nil {
			return nil, err
		}
		return r.Body, nil
	})
}

var workspaceID = regexp.MustCompile(`^ws_[0-9a-z]{26}$`)

// resolve turns what the user calls a WorkSpace into its id. A name is one of the user's own that are alive.
func (s *session) resolve(called string) (string, error) {
	if workspaceID.MatchString(called) {
		return called, nil
	}
	me, _, err := s.me()
	if err != nil {
		return "", err
	}
	found, err := s.workspaces(client.ListWorkspacesParams{User: &me.User.Id}, 0)
	if err != nil {
		return "", err
	}
	var ids []string
	for _, ws := range found.items {
		if ws.Name == called {
			ids = append(ids, ws.Id)
		}
	}
	switch len(ids) {
	case 0:
		return "", hint{fmt.Errorf("no live WorkSpace of yours is called %q", called), "`forge list`; others' WorkSpaces, and those that ended, go by their id"}
	case 1:
		return ids[0], nil
	}
	return "", hint{fmt.Errorf("%d WorkSpaces are called %q", len(ids), called), "name it by its id: " + strings.Join(ids, ", ")}
}

func (s *session) workspace(id string) (client.Workspace, json.RawMessage, error) {
	r, err := s.api.GetWorkspaceWithResponse(s.ctx, id)
	if err != nil {
		return client.Workspace{}, nil, err
	}
	ws, err := decode[client.Workspace](r.Body)
	return ws, r.Body, err
}

func (e *env) describeCommand() *cobra.Command {
	return e.remote(&cobra.Command{
		Use: "describe ID|NAME", Short: "Everything about a WorkSpace", Args: cobra.ExactArgs(1),
		Long:    "Shows one WorkSpace, by its id or by the name of one of your own that is alive.",
		Example: "  forge describe spike\n  forge describe ws_01jd8x5qf8e2x9v7m3k4n5p6q7 -o yaml",
	}, func(s *session, args []string) error {
		id, err := s.resolve(args[0])
		if err != nil {
			return err
		}
		ws, raw, err := s.workspace(id)
		if err != nil {
			return err
		}
		return s.emit(raw, workspaceTable(ws))
	})
}

func (e *env) eventsCommand() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: "events ID|NAME", Short: "What happened to a WorkSpace", Args: cobra.ExactArgs(1),
		Example: "  forge events spike\n  forge events ws_01jd8x5qf8e2x9v7m3k4n5p6q7 -o json",
	}
	limitFlag(c, &limit)
	return e.remote(c, func(s *session, args []string) error {
		id, err := s.resolve(args[0])
		if err != nil {
			return err
		}
		found, err := fetch[client.WorkspaceEvent](limit, func(cursor *string, size *int64) ([]byte, error) {
			r, err := s.api.ListWorkspaceEventsWithResponse(s.ctx, id, &client.ListWorkspaceEventsParams{Cursor: cursor, Limit: size})
			if err != nil {
				return nil, err
			}
			return r.Body, nil
		})
		if err != nil {
			return err
		}
		t := &table{head: []string{"TIME", "VERSION", "KIND", "FROM", "TO", "REASON", "BY"}, none: "No events."}
		for _, v := range found.items {
			t.row(instant(v.At), count(v.Version), words(v.Kind), words(v.FromState), state(v.ToState), words(v.Reason), words(v.ActorId))
		}
		return emitList(s, found, t)
	})
}

func (e *env) startCommand() *cobra.Command {
	return e.changeCommand(&cobra.Command{
		Use: "start ID|NAME", Short: "Start a stopped WorkSpace",
		Long:    "Starts a WorkSpace. Its running time must fit into the budgets. --wait stays until it is AVAILABLE.",
		Example: "  forge start spike --wait",
	}, "AVAILABLE", nil, func(s *session, id string) ([]byte, error) {
		key := newKey()
		r, err := s.api.StartWorkspaceWithResponse(s.ctx, id, &client.StartWorkspaceParams{IdempotencyKey: &key})
		if err != nil {
			return nil, err
		}
		return r.Body, nil
	})
}

func (e *env) stopCommand() *cobra.Command {
	return e.changeCommand(&cobra.Command{
		Use: "stop ID|NAME", Short: "Stop an AUTO_STOP WorkSpace",
		Long:    "Stops a WorkSpace; what is on its disks stays. --wait stays until it is STOPPED.",
		Example: "  forge stop spike",
	}, "STOPPED", nil, func(s *session, id string) ([]byte, error) {
		key := newKey()
		r, err := s.api.StopWorkspaceWithResponse(s.ctx, id, &client.StopWorkspaceParams{IdempotencyKey: &key})
		if err != nil {
			return nil, err
		}
		return r.Body, nil
	})
}

func (e *env) terminateCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "terminate ID|NAME", Short: "End a WorkSpace and everything on it",
		Long:    "Terminates a WorkSpace. What is on it is lost. It asks first; where nobody can be asked, --yes is required.",
		Example: "  forge terminate spike\n  forge terminate ws_01jd8x5qf8e2x9v7m3k4n5p6q7 --yes --wait",
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return e.changeCommand(c, "TERMINATED", func(s *session, called string) error {
		if yes {
			return nil
		}
		if !s.inTTY {
			return UsageError{Err: errors.New("there is no terminal to ask on: say --yes to terminate")}
		}
		_, _ = fmt.Fprintf(s.Err, "Terminate %s? Everything on it is lost. [y/N] ", printable(called))
		answer, err := bufio.NewReader(s.In).ReadString('\n')
		if a := strings.ToLower(strings.TrimSpace(answer)); err == nil && (a == "y" || a == "yes") {
			return nil
		}
		return errors.New("not terminated")
	}, func(s *session, id string) ([]byte, error) {
		r, err := s.api.TerminateWorkspaceWithResponse(s.ctx, id, &client.TerminateWorkspaceParams{})
		if err != nil {
			return nil, err
		}
		return r.Body, nil
	})
}

// changeCommand makes a command that brings a WorkSpace to a state. Confirm may refuse before anything is sent.
func (e *env) changeCommand(c *cobra.Command, target string, confirm func(s *session, called string) error, change func(s *session, id string) ([]byte, error)) *cobra.Command {
	var w waiting
	c.Args = cobra.ExactArgs(1)
	w.flags(c)
	return e.remote(c, func(s *session, args []string) error {
		if confirm != nil {
			if err := confirm(s, args[0]); err != nil {
				return err
			}
		}
		id, err := s.resolve(args[0])
		if err != nil {
			return err
		}
		body, err := change(s, id)
		if err != nil {
			return err
		}
		ws, err := decode[client.Workspace](body)
		if err != nil {
			return err
		}
		if !w.wanted {
			return s.emit(body, workspaceTable(ws))
		}
		ws, raw, waited := s.wait(ws, target, w.timeout)
		if raw != nil {
			body = raw
		}
		return errors.Join(s.emit(body, workspaceTable(ws)), waited)
	})
}
