package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/blueprint/spec"
)

func (e *env) blueprintCommand() *cobra.Command {
	c := e.blueprintListCommand("blueprint")
	c.Aliases = []string{"blueprints"}
	c.Short = "What can be launched, and writing it"
	c.Long = `A blueprint is what a team agrees a workstation should be. Its versions never change; one of them is active, which
is what its name without a version means. Teams keep blueprints as YAML files in git, and push them.

Without a command it lists what you may use.`
	c.Example = `  forge blueprint list
  forge blueprint validate blueprints/
  forge blueprint plan blueprints/services.yaml
  forge blueprint push blueprints/ --publish
  forge blueprint promote backend/services@4
  forge blueprint rollback backend/services`
	check := c.Args
	c.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usageError(cmd, fmt.Errorf("%s has no command %q", cmd.CommandPath(), args[0]))
		}
		return check(cmd, args)
	}
	c.AddCommand(
		e.blueprintListCommand("list"), e.blueprintShowCommand(), e.blueprintVersionsCommand(), e.blueprintHistoryCommand(),
		e.blueprintValidateCommand(), e.blueprintDiffCommand(), e.blueprintPlanCommand(), e.blueprintPushCommand(), e.blueprintExportCommand(),
		e.blueprintStepCommand("publish", "Let a draft be launched", "Publishes a version. It can be launched by its number then; promote makes it what the name means."),
		e.blueprintStepCommand("promote", "Make a version the active one", "Makes a version what the blueprint's name means. A draft is published by it. WorkSpaces that exist stay as they are."),
		e.blueprintStepCommand("deprecate", "Warn whoever launches a version", "Deprecates a version: it can be launched still, with a warning that has the reason in it."),
		e.blueprintStepCommand("archive", "Let a version be launched no more", "Archives a version: it stays readable for ever and cannot be launched any more. The active version cannot be archived."),
		e.blueprintRollbackCommand(), e.blueprintUpgradeCommand(), e.blueprintUpgradesCommand(), e.blueprintImagesCommand(),
	)
	return c
}

func (e *env) blueprintListCommand(use string) *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: use, Short: "Blueprints that are public or your team's",
		Long:    "Shows the blueprints that are public or your team's. REF is what `forge launch --blueprint` takes; with @VERSION it takes another version than the active one.",
		Example: "  forge blueprint list\n  forge blueprint list -o json | jq -r '.[].ref'",
	}
	limitFlag(c, &limit)
	return e.remote(c, func(s *session, _ []string) error {
		found, err := fetch[client.Blueprint](limit, func(cursor *string, size *int64) ([]byte, error) {
			r, err := s.api.ListBlueprintsWithResponse(s.ctx, &client.ListBlueprintsParams{Cursor: cursor, Limit: size})
			if err != nil {
				return nil, err
			}
			return r.Body, nil
		})
		if err != nil {
			return err
		}
		t := &table{head: []string{"REF", "ACTIVE", "LATEST", "STATUS", "OS", "BUNDLES", "DEFAULT", "MODE", "DESCRIPTION"}, none: "No blueprints."}
		for _, b := range found.items {
			status := ""
			if b.Status != nil {
				status = string(*b.Status)
			}
			t.row(words(b.Ref), versionNumber(b.ActiveVersion), versionNumber(b.LatestVersion), words(status), wordsOf(b.OperatingSystem),
				words(strings.Join(b.BundleTypes, " ")), wordsOf(b.DefaultBundleType), wordsOf(b.RunningMode), words(b.Description))
		}
		return emitList(s, found, t)
	})
}

// versionNumber is a version's number, or that there is none.
func versionNumber(n int64) cell {
	if n == 0 {
		return words("–")
	}
	return count(n)
}

// versioned takes "NAME@VERSION" apart; 0: none was given.
func versioned(ref string) (name string, number int64, err error) {
	name, version, given := strings.Cut(ref, "@")
	if !given {
		return name, 0, nil
	}
	number, err = strconv.ParseInt(version, 10, 32)
	if err != nil || number < 1 {
		return name, 0, UsageError{Err: fmt.Errorf("%q is not a version's number", version)}
	}
	return name, number, nil
}

// version fetches the version that a reference means: the active one, or the latest, when none is given.
func (s *session) version(ref string) (v client.BlueprintVersion, raw []byte, err error) {
	name, number, err := versioned(ref)
	if err != nil {
		return v, nil, err
	}
	if number == 0 {
		r, err := s.api.GetBlueprintWithResponse(s.ctx, name)
		if err != nil {
			return v, nil, err
		}
		b, err := decode[client.Blueprint](r.Body)
		if err != nil {
			return v, nil, err
		}
		if number = b.ActiveVersion; number == 0 {
			number = b.LatestVersion
		}
		if number == 0 {
			return v, nil, hint{fmt.Errorf("%s has no version yet", printable(b.Ref)), "add one with `forge blueprint push FILE`"}
		}
	}
	r, err := s.api.GetBlueprintVersionWithResponse(s.ctx, name, number)
	if err != nil {
		return v, nil, err
	}
	v, err = decode[client.BlueprintVersion](r.Body)
	return v, r.Body, err
}

func (e *env) blueprintShowCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "show NAME[@VERSION]", Short: "What a version says, and where it comes from", Args: cobra.ExactArgs(1),
		Long:    "Shows a version: the active one, or the latest where none has been promoted yet. `forge blueprint export` prints it as a file.",
		Example: "  forge blueprint show backend/services\n  forge blueprint show backend/services@3 -o json | jq .definition",
	}
	return e.remote(c, func(s *session, args []string) error {
		v, raw, err := s.version(args[0])
		if err != nil {
			return err
		}
		t := pairs()
		t.pair("Blueprint", words(v.Blueprint+"@"+strconv.FormatInt(v.Number, 10)))
		status := string(v.Status)
		if v.Active {
			status += ", active"
		}
		t.pair("Status", words(status))
		t.pair("Reason", wordsOf(v.StatusReason))
		t.pair("Since", instant(v.StatusAt))
		t.pair("Digest", words(v.Digest))
		t.pair("Written by", wordsOf(v.Source.Author))
		t.pair("Commit", wordsOf(v.Source.Commit))
		t.pair("Repository", wordsOf(v.Source.Repository))
		t.pair("File", wordsOf(v.Source.Path))
		t.pair("Pushed by", words(v.CreatedBy))
		t.pair("Pushed", instant(v.CreatedAt))
		d, err := definitionOf(v)
		if err != nil {
			return err
		}
		fields, err := spec.Diff(spec.Definition{}, d)
		if err != nil {
			return err
		}
		for _, f := range fields {
			t.pair(f.Field, words(spec.Text(f.New)))
		}
		return s.emit(raw, t)
	})
}

func definitionOf(v client.BlueprintVersion) (spec.Definition, error) {
	text, err := json.Marshal(v.Definition)
	if err != nil {
		return spec.Definition{}, err
	}
	return spec.Decode(text)
}

func (e *env) blueprintVersionsCommand() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: "versions NAME", Short: "All versions, the newest first", Args: cobra.ExactArgs(1),
		Long:    "Shows a blueprint's versions with their status. Every version there ever was stays.",
		Example: "  forge blueprint versions backend/services",
	}
	limitFlag(c, &limit)
	return e.remote(c, func(s *session, args []string) error {
		found, err := fetch[client.BlueprintVersion](limit, func(cursor *string, size *int64) ([]byte, error) {
			r, err := s.api.ListBlueprintVersionsWithResponse(s.ctx, args[0], &client.ListBlueprintVersionsParams{Cursor: cursor, Limit: size})
			if err != nil {
				return nil, err
			}
			return r.Body, nil
		})
		if err != nil {
			return err
		}
		t := &table{head: []string{"VERSION", "STATUS", "ACTIVE", "PUSHED", "AUTHOR", "COMMIT", "DIGEST", "REASON"}, none: "No versions."}
		for _, v := range found.items {
			active := ""
			if v.Active {
				active = "active"
			}
			t.row(count(v.Number), words(string(v.Status)), words(active), instant(v.CreatedAt), wordsOf(v.Source.Author), wordsOf(v.Source.Commit), words(v.Digest[:12]), wordsOf(v.StatusReason))
		}
		return emitList(s, found, t)
	})
}

func (e *env) blueprintHistoryCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "history NAME", Short: "Which version was active when, and why", Args: cobra.ExactArgs(1),
		Long:    "Shows the latest steps in the life of a blueprint, the newest first: every status that a version got, every promotion and rollback.",
		Example: "  forge blueprint history backend/services",
	}
	return e.remote(c, func(s *session, args []string) error {
		r, err := s.api.GetBlueprintHistoryWithResponse(s.ctx, args[0], nil)
		if err != nil {
			return err
		}
		h, err := decode[client.BlueprintHistory](r.Body)
		if err != nil {
			return err
		}
		t := &table{head: []string{"TIME", "VERSION", "WHAT", "BY", "REASON"}, none: "Nothing has happened yet."}
		for _, i := range h.Items {
			t.row(instant(i.At), count(i.Version), words(string(i.What)), words(i.By), wordsOf(i.Reason))
		}
		return s.emit(r.Body, t)
	})
}

// files reads blueprint files: those named, and those that end in .yaml, .yml or .json in directories that are named.
func files(paths []string) ([]client.BlueprintFile, error) {
	var all []client.BlueprintFile
	read := func(path string) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.Size() > spec.MaxBytes {
			return fmt.Errorf("%s has %d bytes; at most %d are taken", path, info.Size(), spec.MaxBytes)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		all = append(all, client.BlueprintFile{Path: filepath.ToSlash(path), Text: string(text)})
		return nil
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			if err := read(path); err != nil {
				return nil, err
			}
			continue
		}
		if err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && p != path && strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
			if !d.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(p)) {
				return read(p)
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	if len(all) == 0 {
		return nil, UsageError{Err: fmt.Errorf("there is no .yaml, .yml or .json file in %s", strings.Join(paths, ", "))}
	}
	return all, nil
}

// errFiles says that files are wrong; what is wrong has been printed.
type errFiles struct{ problems, files int }

func (e errFiles) Error() string {
	return fmt.Sprintf("%d problems in %d files", e.problems, e.files)
}

// located is a problem and the file that it is in.
type located struct {
	Path string `json:"path"`
	spec.Problem
}

// checked reads files and tells what is wrong with them, without a server.
func (s *session) checked(paths []string) ([]client.BlueprintFile, []spec.Document, error) {
	all, err := files(paths)
	if err != nil {
		return nil, nil, err
	}
	docs := make([]spec.Document, len(all))
	wrong, bad := []located{}, 0
	for i, f := range all {
		d, problems := spec.Parse([]byte(f.Text))
		docs[i] = d
		if len(problems) > 0 {
			bad++
		}
		for _, p := range problems {
			wrong = append(wrong, located{f.Path, p})
		}
	}
	if len(wrong) == 0 {
		return all, docs, nil
	}
	t := &table{head: []string{"FILE", "LINE", "COLUMN", "FIELD", "PROBLEM"}}
	for _, w := range wrong {
		t.row(words(w.Path), count(int64(w.Line)), count(int64(w.Column)), words(w.Field), words(w.Message))
	}
	return nil, nil, errors.Join(s.emitValue(wrong, t), hint{errFiles{len(wrong), bad}, "the fields are described by the schema at /api/v1/schemas/blueprint.json of the server"})
}

func (e *env) blueprintValidateCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "validate FILE…", Short: "Check files, without a server", Args: cobra.MinimumNArgs(1),
		Long: `Checks files by the same rules as the server, and names line and field of whatever is wrong. Directories stand for
the .yaml, .yml and .json files in them. It exits with 1 when something is wrong.

For an editor's help, begin a file with
  # yaml-language-server: $schema=https://FORGE/api/v1/schemas/blueprint.json`,
		Example: "  forge blueprint validate blueprints/\n  forge blueprint validate services.yaml -o json",
	}
	return e.local(c, func(s *session, args []string) error {
		all, docs, err := s.checked(args)
		if err != nil {
			return err
		}
		type valid struct {
			Path      string `json:"path"`
			Blueprint string `json:"blueprint"`
			Digest    string `json:"digest"`
		}
		t := &table{head: []string{"FILE", "BLUEPRINT", "DIGEST"}}
		out := make([]valid, len(docs))
		for i, d := range docs {
			_, digest, err := d.Definition.Canonical()
			if err != nil {
				return err
			}
			out[i] = valid{all[i].Path, d.Blueprint, digest}
			t.row(words(all[i].Path), words(d.Blueprint), words(digest[:12]))
		}
		return s.emitValue(out, t)
	})
}

// rehearse asks the server what pushing would do.
func (s *session) rehearse(body client.BlueprintPush) (client.BlueprintPushResult, []byte, error) {
	dry := true
	r, err := s.api.PushBlueprintsWithResponse(s.ctx, &client.PushBlueprintsParams{DryRun: &dry}, body)
	if err != nil {
		return client.BlueprintPushResult{}, nil, err
	}
	out, err := decode[client.BlueprintPushResult](r.Body)
	return out, r.Body, err
}

func (e *env) blueprintDiffCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "diff FILE…", Short: "What differs from the latest versions", Args: cobra.MinimumNArgs(1),
		Long:    "Compares files with the latest version of their blueprints, field by field. Nothing is changed.",
		Example: "  forge blueprint diff blueprints/",
	}
	return e.remote(c, func(s *session, args []string) error {
		all, _, err := s.checked(args)
		if err != nil {
			return err
		}
		out, raw, err := s.rehearse(client.BlueprintPush{Files: all})
		if err != nil {
			return err
		}
		t := &table{head: []string{"BLUEPRINT", "FIELD", "LATEST", "FILE"}, none: "Nothing differs."}
		for _, p := range out.Items {
			changes(t, p)
		}
		return s.emit(raw, t)
	})
}

func changes(t *table, p client.BlueprintPushed) {
	for _, c := range p.Changes {
		t.row(words(p.Blueprint), words(c.Field), wordsOf(c.Old), wordsOf(c.New))
	}
}

func (e *env) blueprintPushCommand() *cobra.Command {
	var publish, promote, dry bool
	var reason string
	var from client.BlueprintSource
	var commit, author, repository string
	c := &cobra.Command{
		Use: "push FILE…", Short: "Bring blueprints to what files say", Args: cobra.MinimumNArgs(1),
		Long: `Compares files with the latest versions: a definition that differs becomes the next version, as a draft; the same
makes none. All files are taken, or none. If somebody else adds a version meanwhile, nothing is done.

The commit, its author and the repository are recorded: those of git where the files are, if they are committed.
In a pipeline that has no git, give them.`,
		Example: `  forge blueprint push blueprints/
  forge blueprint push blueprints/services.yaml --promote --reason "Go 1.27"
  forge blueprint push blueprints/ --publish --commit "$CI_COMMIT_SHA" --author "$CI_COMMIT_AUTHOR"`,
	}
	f := c.Flags()
	f.BoolVar(&publish, "publish", false, "let the new versions be launched")
	f.BoolVar(&promote, "promote", false, "publish them and make them the active ones")
	f.BoolVar(&dry, "dry-run", false, "say what would happen, and change nothing")
	f.StringVar(&reason, "reason", "", "why, for the history")
	f.StringVar(&commit, "commit", "", "the commit that the files are of")
	f.StringVar(&author, "author", "", "who wrote it")
	f.StringVar(&repository, "repository", "", "where it is kept")
	return e.remote(c, func(s *session, args []string) error {
		all, _, err := s.checked(args)
		if err != nil {
			return err
		}
		from = s.gitSource(args)
		for _, flag := range []struct {
			given string
			field **string
		}{{commit, &from.Commit}, {author, &from.Author}, {repository, &from.Repository}} {
			if flag.given != "" {
				*flag.field = &flag.given
			}
		}
		body := client.BlueprintPush{Files: all, Source: &from, Reason: given(reason)}
		if publish {
			body.Publish = &publish
		}
		if promote {
			body.Promote = &promote
		}
		planned, raw, err := s.rehearse(body)
		if err != nil {
			return err
		}
		if !dry {
			// What was compared is what must still be there.
			for i, p := range planned.Items {
				latest := p.Version
				if p.Outcome == client.Version || p.Outcome == client.Created {
					latest--
				}
				body.Files[i].ExpectedLatestVersion = &latest
			}
			key := newKey()
			r, err := s.api.PushBlueprintsWithResponse(s.ctx, &client.PushBlueprintsParams{IdempotencyKey: &key}, body)
			if err != nil {
				return err
			}
			if planned, err = decode[client.BlueprintPushResult](r.Body); err != nil {
				return err
			}
			raw = r.Body
		}
		return s.emit(raw, pushedTable(planned))
	})
}

func pushedTable(out client.BlueprintPushResult) *table {
	t := &table{head: []string{"FILE", "BLUEPRINT", "OUTCOME", "VERSION", "STATUS", "ACTIVE", "CHANGED"}}
	changed := 0
	for _, p := range out.Items {
		var fields []string
		for _, c := range p.Changes {
			fields = append(fields, c.Field)
		}
		if p.Outcome == client.Created {
			fields = nil
		}
		if p.Outcome != client.Unchanged {
			changed++
		}
		t.row(words(p.Path), words(p.Blueprint), words(string(p.Outcome)), count(p.Version), words(string(p.Status)), versionNumber(p.ActiveVersion), words(strings.Join(fields, " ")))
	}
	did := "changed"
	if out.DryRun {
		did = "would change"
	}
	t.foot = fmt.Sprintf("%d of %d blueprints %s.", changed, len(out.Items), did)
	return t
}

// gitSource is the commit that files are of, if they are of one as they are.
func (s *session) gitSource(paths []string) client.BlueprintSource {
	var from client.BlueprintSource
	dir := paths[0]
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		dir = filepath.Dir(dir)
	}
	git := func(args ...string) (string, bool) {
		c := exec.CommandContext(s.ctx, "git", append([]string{"-C", dir}, args...)...) //nolint:gosec // the user's own files
		c.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0")
		out, err := c.Output()
		return strings.TrimSpace(string(out)), err == nil
	}
	head, ok := git("rev-parse", "--verify", "HEAD")
	if !ok {
		return from
	}
	status := []string{"status", "--porcelain", "--"}
	for _, p := range paths {
		whole, err := filepath.Abs(p)
		if err != nil {
			return from
		}
		status = append(status, whole)
	}
	if dirty, ok := git(status...); !ok || dirty != "" {
		s.note("The files are not as they are committed: no commit is recorded.")
		return from
	}
	from.Commit = &head
	if author, ok := git("log", "-1", "--format=%an <%ae>"); ok {
		from.Author = &author
	}
	if remote, ok := git("remote", "get-url", "origin"); ok {
		remote = withoutPassword(remote)
		from.Repository = &remote
	}
	return from
}

// withoutPassword takes credentials out of a repository's address.
func withoutPassword(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		return address
	}
	u.User = nil
	return u.String()
}

func (e *env) blueprintPlanCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "plan FILE…|NAME[@VERSION]", Short: "Who would be affected by an upgrade, and what it would cost", Args: cobra.MinimumNArgs(1),
		Long: `Tells which WorkSpaces are on which version of a blueprint, what an upgrade of all of them to a version would
mean and what it would cost or save in a month at their real use, and which could not be upgraded, and why.
Given files, it first compares them, as push would. Nothing is changed. Leads of the team and admins.`,
		Example: "  forge blueprint plan blueprints/services.yaml\n  forge blueprint plan backend/services@4",
	}
	return e.remote(c, func(s *session, args []string) error {
		if _, err := os.Stat(args[0]); err != nil && len(args) == 1 && filepath.Ext(args[0]) == "" {
			return s.planVersion(args[0])
		}
		all, _, err := s.checked(args)
		if err != nil {
			return err
		}
		r, err := s.api.PlanBlueprintsWithResponse(s.ctx, client.BlueprintPush{Files: all})
		if err != nil {
			return err
		}
		plans, err := decode[client.BlueprintFilePlans](r.Body)
		if err != nil {
			return err
		}
		t := planTable()
		for _, p := range plans.Items {
			t.foot += fmt.Sprintf("%s: %s, version %d\n", printable(p.Pushed.Blueprint), p.Pushed.Outcome, p.Pushed.Version)
			for _, c := range p.Pushed.Changes {
				t.foot += fmt.Sprintf("  %s: %s -> %s\n", printable(c.Field), wordsOf(c.Old).display(), wordsOf(c.New).display())
			}
			planRows(t, p.Fleet)
		}
		t.foot = strings.TrimSuffix(t.foot, "\n")
		return s.emit(r.Body, t)
	})
}

func (s *session) planVersion(ref string) error {
	name, number, err := versioned(ref)
	if err != nil {
		return err
	}
	p := client.PlanBlueprintParams{}
	if number > 0 {
		p.Version = &number
	}
	r, err := s.api.PlanBlueprintWithResponse(s.ctx, name, &p)
	if err != nil {
		return err
	}
	plan, err := decode[client.FleetPlan](r.Body)
	if err != nil {
		return err
	}
	t := planTable()
	planRows(t, plan)
	t.foot = strings.TrimSuffix(t.foot, "\n")
	return s.emit(r.Body, t)
}

func planTable() *table {
	return &table{head: []string{"BLUEPRINT", "WORKSPACES", "AN UPGRADE", "BECAUSE OF", "MONTH NOW USD", "MONTH THEN USD"}, none: "No WorkSpace would be affected."}
}

func planRows(t *table, p client.FleetPlan) {
	ref := p.Blueprint + "@" + strconv.FormatInt(p.Version, 10)
	means := map[client.FleetChangeWhat]string{"settings": "changes settings", "migrate": "makes the root volume anew", "refused": "is not possible"}
	for _, c := range p.Changes {
		t.row(words(ref), count(c.Workspaces), words(means[c.What]), words(c.Reason), dollars(c.EstimatedMonthlyBefore), dollars(c.EstimatedMonthlyAfter))
	}
	var on []string
	for _, v := range p.Versions {
		on = append(on, fmt.Sprintf("%d on version %d (%s)", v.Workspaces, v.Version, v.Status))
	}
	t.foot += fmt.Sprintf("%s: %d WorkSpaces of %d people", printable(ref), p.Workspaces, p.Users)
	if len(on) > 0 {
		t.foot += ": " + strings.Join(on, ", ")
	}
	t.foot += ".\n"
	for _, r := range p.Refused {
		t.foot += fmt.Sprintf("  %s %s: %s\n", printable(r.WorkspaceId), printable(r.Name), printable(r.Reason))
	}
	if more := p.RefusedCount - int64(len(p.Refused)); more > 0 {
		t.foot += fmt.Sprintf("  and %d more that could not be upgraded\n", more)
	}
	t.foot += fmt.Sprintf("A month costs %s USD now and %s then: %s (estimate: %s).\n", dollars(p.EstimatedMonthlyBefore).display(), dollars(p.EstimatedMonthlyAfter).display(),
		dollars(p.EstimatedMonthlyDifference).display(), printable(p.Assumption))
}

func (e *env) blueprintExportCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "export NAME[@VERSION]", Short: "Print a version as a file", Args: cobra.ExactArgs(1),
		Long:    "Prints a version as the YAML file that push takes: the active one, or the latest where none has been promoted yet.",
		Example: "  forge blueprint export backend/services@3 > services.yaml",
	}
	return e.remote(c, func(s *session, args []string) error {
		v, _, err := s.version(args[0])
		if err != nil {
			return err
		}
		name, _, err := versioned(args[0])
		if err != nil {
			return err
		}
		r, err := s.api.GetBlueprintWithResponse(s.ctx, name)
		if err != nil {
			return err
		}
		b, err := decode[client.Blueprint](r.Body)
		if err != nil {
			return err
		}
		d, err := definitionOf(v)
		if err != nil {
			return err
		}
		doc := spec.Document{Blueprint: b.Ref, Description: b.Description, Owner: b.Owner, Labels: b.Labels, Definition: d}
		if s.format == "json" {
			return s.emitValue(doc, nil)
		}
		text, err := spec.Format(doc)
		if err != nil {
			return err
		}
		_, err = s.Out.Write(text)
		return err
	})
}

func (e *env) blueprintStepCommand(name, short, long string) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: name + " NAME@VERSION", Short: short, Args: cobra.ExactArgs(1), Long: long + " Leads of the team and admins.",
		Example: "  forge blueprint " + name + " backend/services@4 --reason \"security update\"",
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return e.remote(c, func(s *session, args []string) error {
		called, number, err := versioned(args[0])
		if err != nil {
			return err
		}
		if number == 0 {
			return UsageError{Err: fmt.Errorf("say which version: %s@VERSION", called)}
		}
		step, key := client.BlueprintStep{Version: number, Reason: given(reason)}, newKey()
		var body []byte
		switch name {
		case "publish":
			r, err := s.api.PublishBlueprintWithResponse(s.ctx, called, &client.PublishBlueprintParams{IdempotencyKey: &key}, step)
			if err != nil {
				return err
			}
			body = r.Body
		case "promote":
			r, err := s.api.PromoteBlueprintWithResponse(s.ctx, called, &client.PromoteBlueprintParams{IdempotencyKey: &key}, step)
			if err != nil {
				return err
			}
			body = r.Body
		case "deprecate":
			r, err := s.api.DeprecateBlueprintWithResponse(s.ctx, called, &client.DeprecateBlueprintParams{IdempotencyKey: &key}, step)
			if err != nil {
				return err
			}
			body = r.Body
		case "archive":
			r, err := s.api.ArchiveBlueprintWithResponse(s.ctx, called, &client.ArchiveBlueprintParams{IdempotencyKey: &key}, step)
			if err != nil {
				return err
			}
			body = r.Body
		}
		return s.stepped(body)
	})
}

func (e *env) blueprintRollbackCommand() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "rollback NAME", Short: "Make the version before the active one again", Args: cobra.ExactArgs(1),
		Long:    "Takes the last promotion back: the version that was active before it is active again. Once more goes further back. WorkSpaces that exist stay as they are. Leads of the team and admins.",
		Example: "  forge blueprint rollback backend/services --reason \"does not boot\"",
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return e.remote(c, func(s *session, args []string) error {
		key := newKey()
		r, err := s.api.RollbackBlueprintWithResponse(s.ctx, args[0], &client.RollbackBlueprintParams{IdempotencyKey: &key}, client.BlueprintRollback{Reason: given(reason)})
		if err != nil {
			return err
		}
		return s.stepped(r.Body)
	})
}

// stepped shows the version that a step was for.
func (s *session) stepped(body []byte) error {
	v, err := decode[client.BlueprintVersion](body)
	if err != nil {
		return err
	}
	t := pairs()
	t.pair("Blueprint", words(v.Blueprint+"@"+strconv.FormatInt(v.Number, 10)))
	t.pair("Status", words(string(v.Status)))
	active := "no"
	if v.Active {
		active = "yes"
	}
	t.pair("Active", words(active))
	t.pair("Digest", words(v.Digest))
	t.pair("Since", instant(v.StatusAt))
	return s.emit(body, t)
}
