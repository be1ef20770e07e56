package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/cli"
	"github.com/robco-forge/forge/internal/people"
)

func blueprintFile(ref, software string) string {
	return fmt.Sprintf(`blueprint: %s
description: for tests
definition:
  operating_system: WINDOWS
  license: INCLUDED
  bundle_types: [STANDARD, PERFORMANCE]
  default_bundle_type: STANDARD
  running_mode: AUTO_STOP
  auto_stop_timeout_minutes: 60
  software:
    - %s
`, ref, software)
}

// holder is somebody with a role in a team.
type holder struct {
	role  actor.Role
	team  string
	token string
}

// everybody makes somebody of each role in each of two teams.
func (r *rig) everybody() []holder {
	r.t.Helper()
	ctx := actor.With(r.t.Context(), actor.Operator("rig"))
	var all []holder
	err := r.forge.Log.Change(ctx, audit.Intent{Action: "rig.users", ResourceType: "user"}, func(tx *audit.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE organisation SET budget_default = 'allow'`); err != nil {
			return err
		}
		for _, team := range []string{"backend", "data"} {
			for _, role := range actor.Roles() {
				name := "matrix-" + team + "-" + strings.ReplaceAll(string(role), "_", "-")
				n := people.NewUser{UserName: name, DisplayName: name, Email: name + "@example.com", Team: team, Role: role}
				if role == actor.Contractor {
					end := tx.Now.Add(300 * 24 * time.Hour)
					n.CredentialExpiresAt = &end
				}
				u, err := people.CreateUser(ctx, tx, n)
				if err != nil {
					return err
				}
				_, secret, err := people.CreateToken(ctx, tx, u, "matrix", 24*time.Hour)
				if err != nil {
					return err
				}
				all = append(all, holder{role, team, secret})
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return append(all, holder{role: "nobody"})
}

// blueprints makes blueprints with an archived, a deprecated, a published and an active version.
func (r *rig) blueprints(refs ...string) {
	r.t.Helper()
	ctx := actor.With(r.t.Context(), actor.Operator("rig"))
	err := r.forge.Log.Change(ctx, audit.Intent{Action: "rig.blueprints", ResourceType: "blueprint"}, func(tx *audit.Tx) error {
		for _, ref := range refs {
			for n := 1; n <= 4; n++ {
				p := blueprint.Push{Files: []blueprint.File{{Path: ref, Text: blueprintFile(ref, fmt.Sprint("go 1.", n))}}, Promote: true}
				if _, err := p.Apply(ctx, tx); err != nil {
					return err
				}
			}
			b, err := blueprint.Change(ctx, tx, ref)
			if err != nil {
				return err
			}
			if _, _, err := blueprint.Advance(ctx, tx, &b, 1, blueprint.Archived, ""); err != nil {
				return err
			}
			if _, _, err := blueprint.Advance(ctx, tx, &b, 2, blueprint.Deprecated, "old"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// send is ask at another server than the common one.
func send(t testing.TB, api, method, path, secret, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, api+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header.Get("Content-Type"), string(b), resp.Header}
}

// Every role of the blueprint's team, of another, and nobody, does everything that can be done to a private and to a public
// blueprint.
func TestWhoMayDoWhatToABlueprint(t *testing.T) {
	r := newRig(t, 600)
	everybody := r.everybody()
	r.blueprints("backend/private", "common")
	api, stop := r.serve(false)
	defer stop()
	admin := ""
	for _, p := range everybody {
		if p.role == actor.Admin {
			admin = p.token
		}
	}
	const (
		read   = "read"
		write  = "write"
		launch = "launch"
		free   = "free"
	)
	pushOf := func(ref, software string) string {
		body, err := json.Marshal(map[string]any{"files": []map[string]any{{"path": "x.yaml", "text": blueprintFile(ref, software)}}})
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	const definition = `{"operating_system":"WINDOWS","license":"INCLUDED","bundle_types":["STANDARD"],"default_bundle_type":"STANDARD","running_mode":"ALWAYS_ON"}`
	actions := []struct {
		name, needs, method, path string
		body                      func(ref string) string
	}{
		{"show", read, "GET", "/blueprints/{ref}", nil},
		{"versions", read, "GET", "/blueprints/{ref}/versions", nil},
		{"version", read, "GET", "/blueprints/{ref}/versions/1", nil},
		{"history", read, "GET", "/blueprints/{ref}/history", nil},
		{"launch the active version", launch, "POST", "/workspaces?dry_run=true", func(ref string) string { return `{"blueprint":"` + ref + `"}` }},
		{"launch a version", launch, "POST", "/workspaces?dry_run=true", func(ref string) string { return `{"blueprint":"` + ref + `@2"}` }},
		{"plan", write, "GET", "/blueprints/{ref}/plan?version=3", nil},
		{"plan a file", write, "POST", "/blueprints/plan", func(ref string) string { return pushOf(ref, "planned") }},
		{"push", write, "POST", "/blueprints/push?dry_run=true", func(ref string) string { return pushOf(ref, "pushed") }},
		{"push what is there", write, "POST", "/blueprints/push", func(ref string) string { return pushOf(ref, "go 1.4") }},
		{"push a new one", write, "POST", "/blueprints/push?dry_run=true", func(ref string) string { return pushOf(ref+"-new", "pushed") }},
		{"add a version", write, "POST", "/blueprints/{ref}/versions", func(string) string { return `{"definition":` + definition + `}` }},
		{"describe", write, "PATCH", "/blueprints/{ref}", func(string) string { return `{"owner":"somebody"}` }},
		{"publish", write, "POST", "/blueprints/{ref}/publish", func(string) string { return `{"version":3}` }},
		{"deprecate", write, "POST", "/blueprints/{ref}/deprecate", func(string) string { return `{"version":2}` }},
		{"archive", write, "POST", "/blueprints/{ref}/archive", func(string) string { return `{"version":1}` }},
		{"roll back", write, "POST", "/blueprints/{ref}/rollback", func(string) string { return `{}` }},
		{"promote", write, "POST", "/blueprints/{ref}/promote", func(string) string { return `{"version":4}` }},
		{"validate", free, "POST", "/blueprints/validate", func(ref string) string { return pushOf(ref, "x") }},
	}
	// What must be answered, by the words of the rules alone.
	want := func(p holder, ref, needs string) int {
		private := strings.HasPrefix(ref, "backend/")
		switch {
		case p.role == "nobody":
			return http.StatusUnauthorized
		case needs == free:
			return http.StatusOK
		case needs == launch && (p.role == actor.Finance || p.role == actor.Auditor):
			return http.StatusForbidden
		case private && p.team != "backend" && p.role != actor.Admin:
			return http.StatusNotFound
		case needs == launch:
			return http.StatusAccepted
		case needs == write && p.role != actor.Admin && (!private || p.role != actor.TeamLead):
			return http.StatusForbidden
		}
		return http.StatusOK
	}
	// What a request id or a name in an answer is does not tell anybody that a blueprint exists.
	names := regexp.MustCompile(`req_[0-9a-z]+|private|secret|common|backend`)
	asked := 0
	for _, ref := range []string{"backend/private", "common"} {
		for _, p := range everybody {
			for _, a := range actions {
				do := func(ref string) answer {
					body := ""
					if a.body != nil {
						body = a.body(ref)
					}
					asked++
					return send(t, api, a.method, strings.ReplaceAll(a.path, "{ref}", url.PathEscape(ref)), p.token, body)
				}
				got := do(ref)
				if got.status != want(p, ref, a.needs) {
					t.Errorf("%s of %s: %s %s: %d %s, want %d", p.role, p.team, a.name, ref, got.status, got.body, want(p, ref, a.needs))
				}
				if got.status >= 400 {
					got.code(t)
				}
				if got.status == http.StatusNotFound {
					// A blueprint that does not exist, of a team that does and of one that does not.
					for _, absent := range []string{"backend/secret", "secret/secret"} {
						if none := do(absent); none.status != got.status || names.ReplaceAllString(none.body, "X") != names.ReplaceAllString(got.body, "X") {
							t.Errorf("%s of %s: %s: %s is told from one that does not exist:\n%s\n%s", p.role, p.team, a.name, ref, got.body, none.body)
						}
					}
				}
				if a.name == "roll back" && got.status == http.StatusOK {
					if again := send(t, api, "POST", "/blueprints/"+url.PathEscape(ref)+"/promote", admin, `{"version":4}`); again.status != http.StatusOK {
						t.Fatal(again.body)
					}
				}
			}
			if p.role == "nobody" {
				continue
			}
			list := send(t, api, "GET", "/blueprints", p.token, "")
			shown := strings.Contains(list.body, `"`+ref+`"`)
			if must := want(p, ref, read) == http.StatusOK; list.status != http.StatusOK || shown != must {
				t.Errorf("%s of %s: the list has %s: %v, want %v", p.role, p.team, ref, shown, must)
			}
		}
	}
	t.Logf("%d requests", asked)
}

// forgeCLI is the command line as a user has it.
func forgeCLI(t *testing.T, api, token string, args ...string) (out, notes string, err error) {
	t.Helper()
	t.Setenv("FORGE_API", api)
	t.Setenv("FORGE_TOKEN", token)
	t.Setenv("FORGE_CONFIG", filepath.Join(t.TempDir(), "config.yaml"))
	var o, e bytes.Buffer
	root := &cobra.Command{Use: "forge", SilenceErrors: true, SilenceUsage: true}
	root.AddGroup(&cobra.Group{ID: "engineers", Title: "x"})
	commands := cli.Commands(cli.IO{In: strings.NewReader(""), Out: &o, Err: &e}, "e2e")
	for _, c := range commands {
		if c.GroupID != "" && !root.ContainsGroup(c.GroupID) {
			root.AddGroup(&cobra.Group{ID: c.GroupID, Title: "x"})
		}
	}
	root.AddCommand(commands...)
	root.SetArgs(args)
	err = root.ExecuteContext(t.Context())
	return o.String(), e.String(), err
}

// A team keeps its blueprints in git, and pushes them.
func TestATeamKeepsItsBlueprintsInGit(t *testing.T) {
	lead := token(t, "lead-backend")
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	git := func(args ...string) string {
		t.Helper()
		c := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=Ada", "-c", "user.email=ada@example.com"}, args...)...) //nolint:gosec // a test
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %s", args, out)
		}
		return strings.TrimSpace(string(out))
	}
	run := func(args ...string) string {
		t.Helper()
		out, notes, err := forgeCLI(t, forge.API, lead, args...)
		if err != nil {
			t.Fatalf("%v: %v\n%s%s", args, err, out, notes)
		}
		return out + notes
	}
	must := func(out string, parts ...string) {
		t.Helper()
		for _, p := range parts {
			if !strings.Contains(out, p) {
				t.Errorf("%q is not in:\n%s", p, out)
			}
		}
	}
	git("init", "-q")
	git("remote", "add", "origin", "https://ada:secret@git.example.com/backend/blueprints.git")
	write("api.yaml", blueprintFile("backend/git-api", "go 1.26"))
	write("web.yaml", blueprintFile("backend/git-web", "node 24"))
	git("add", ".")
	git("commit", "-qm", "blueprints")
	commit := git("rev-parse", "HEAD")

	must(run("blueprint", "validate", dir), "backend/git-api", "backend/git-web")
	must(run("blueprint", "push", dir), "created", "2 of 2 blueprints changed.")
	must(run("blueprint", "show", "backend/git-api", "-o", "json"), commit, "Ada <ada@example.com>", `"https://git.example.com/backend/blueprints.git"`, `"draft"`)
	must(run("blueprint", "push", dir), "unchanged", "0 of 2 blueprints changed.")
	must(run("blueprint", "push", dir, "--promote"), "updated", "2 of 2 blueprints changed.")
	must(run("blueprint", "push", dir, "--promote"), "unchanged", "0 of 2 blueprints changed.")

	// What is exported is what was pushed.
	write("exported.yaml", run("blueprint", "export", "backend/git-api"))
	must(run("blueprint", "diff", filepath.Join(dir, "exported.yaml")), "Nothing differs.")

	write("api.yaml", blueprintFile("backend/git-api", "go 1.27"))
	must(run("blueprint", "diff", filepath.Join(dir, "api.yaml")), "software", `["go 1.26"]`, `["go 1.27"]`)
	must(run("blueprint", "plan", filepath.Join(dir, "api.yaml")), "backend/git-api: version, version 2", "0 WorkSpaces of 0 people")
	out, notes, err := forgeCLI(t, forge.API, lead, "blueprint", "push", filepath.Join(dir, "api.yaml"), "--promote", "--reason", "Go 1.27")
	if err != nil {
		t.Fatal(err)
	}
	must(out, "version", "software")
	must(notes, "not as they are committed")
	must(run("blueprint", "versions", "backend/git-api"), "published")
	must(run("blueprint", "rollback", "backend/git-api", "--reason", "does not boot"), "backend/git-api@1")
	must(run("blueprint", "history", "backend/git-api"), "rollback", "does not boot", "Go 1.27")
	must(run("blueprint", "deprecate", "backend/git-api@2", "--reason", "does not boot"), "deprecated")
	must(run("launch", "--blueprint", "backend/git-api@2", "--dry-run"), "backend/git-api@2 is deprecated: does not boot; the active version is 1")
	must(run("blueprint", "archive", "backend/git-api@2"), "archived")
	if _, _, err := forgeCLI(t, forge.API, lead, "launch", "--blueprint", "backend/git-api@2", "--dry-run"); err == nil || !strings.Contains(err.Error(), "archived") {
		t.Errorf("what is archived: %v", err)
	}
	if _, _, err := forgeCLI(t, forge.API, lead, "blueprint", "rollback", "backend/git-api"); err == nil || !strings.Contains(err.Error(), "no version of backend/git-api was active before 1") {
		t.Errorf("behind the first: %v", err)
	}

	// A file that is wrong is told by line and field, here and by the server.
	wrong := strings.Replace(blueprintFile("backend/git-web", "node 24"), "running_mode: AUTO_STOP", "running_mode: AUTOSTOP", 1)
	write("web.yaml", wrong)
	out, _, err = forgeCLI(t, forge.API, lead, "blueprint", "validate", filepath.Join(dir, "web.yaml"))
	if err == nil || !strings.Contains(out, `"AUTOSTOP" is not one of AUTO_STOP, ALWAYS_ON; did you mean AUTO_STOP?`) || !strings.Contains(out, "8") {
		t.Errorf("%v\n%s", err, out)
	}
	body, err := json.Marshal(map[string]any{"files": []map[string]any{{"path": "web.yaml", "text": wrong}}})
	if err != nil {
		t.Fatal(err)
	}
	refused := ask(t, "POST", "/api/v1/blueprints/push", lead, bytes.NewReader(body))
	if refused.code(t) != "BLUEPRINT_INVALID" {
		t.Error(refused.body)
	}
	must(refused.body, `"path":"web.yaml"`, `"line":8`, `"field":"definition.running_mode"`, `"allowed":["AUTO_STOP","ALWAYS_ON"]`)
	schema := ask(t, "GET", "/api/v1/schemas/blueprint.json", "", nil)
	if schema.status != http.StatusOK || schema.kind != "application/schema+json" || !json.Valid([]byte(schema.body)) {
		t.Errorf("the schema: %d %s", schema.status, schema.kind)
	}
}

// What a WorkSpace is made with is on it: parameters, the environment that they are in, and required tags.
func TestParametersAndRequiredTags(t *testing.T) {
	lead, ada := token(t, "lead-backend"), token(t, "margaret")
	file := blueprintFile("backend/with-parameters", "go 1.26") + `  environment:
    REPOSITORY: https://git.example.com/${repository}
  required_tags:
    - key: ticket
  parameters:
    - {name: repository, type: string, pattern: "[a-z]+"}
    - {name: cores, type: integer, default: 2, minimum: 1, maximum: 8}
`
	path := filepath.Join(t.TempDir(), "p.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _, err := forgeCLI(t, forge.API, lead, "blueprint", "push", path, "--promote"); err != nil {
		t.Fatal(out, err)
	}
	launch := []string{"launch", "--blueprint", "with-parameters", "--dry-run", "-o", "json"}
	for _, c := range []struct {
		flags []string
		want  string
	}{
		{[]string{"--tag", "ticket=1"}, "the parameter repository must be given: text that matches [a-z]+"},
		{[]string{"--param", "repository=forge"}, `the tag "ticket" is required`},
		{[]string{"--tag", "ticket=1", "--param", "repository=forge", "--param", "cores=9"}, "the parameter cores must be a whole number from 1 to 8"},
		{[]string{"--tag", "ticket=1", "--param", "repository=forge", "--param", "disk=9"}, `there is no parameter "disk"; there are: repository, cores`},
	} {
		if _, _, err := forgeCLI(t, forge.API, ada, append(launch, c.flags...)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.flags, err, c.want)
		}
	}
	if out, _, err := forgeCLI(t, forge.API, ada, append(launch, "--tag", "ticket=1", "--param", "repository=forge")...); err != nil {
		t.Errorf("%s %v", out, err)
	}
}
