package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/internal/workspace"
)

func TestDirectoriesAreReadFromAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "directories.yaml")
	const text = `# where WorkSpaces are made
directories:
  - region: us-east-1
    id: d-9067012345
    subnet_ids: [subnet-0a1b2c3d, subnet-0123456789abcdef0]
    teams:
      - backend
      - "42"
  - {region: eu-west-1, id: wsd-abcdefgh1, license: BYOL}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ReadDirectories(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []workspace.Directory{
		{Region: "us-east-1", ID: "d-9067012345", SubnetIDs: []string{"subnet-0a1b2c3d", "subnet-0123456789abcdef0"}, Teams: []string{"backend", "42"}},
		{Region: "eu-west-1", ID: "wsd-abcdefgh1", License: "BYOL"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := ReadDirectories(path + ".not"); err == nil {
		t.Error("a file that is not there is read")
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("#", maxDirectoriesFile+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadDirectories(path); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a file that has no end: %v", err)
	}
}

func TestTheExampleInTheDocumentCanBeRead(t *testing.T) {
	b, err := os.ReadFile("../../docs/aws.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "```yaml\n")
	text, _, _ = strings.Cut(text, "```\n")
	found, err := parseDirectories([]byte(text))
	if err != nil || len(found) != 3 || found[2].License != workspace.LicenseBYOL {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestAWrongFileOfDirectoriesIsRefusedWithTheLine(t *testing.T) {
	const good = "directories:\n  - region: us-east-1\n    id: d-9067012345\n"
	for name, c := range map[string]struct {
		text string
		says []string
	}{
		"nothing":           {"", []string{"nothing in it"}},
		"only comments":     {"# later\n", []string{"nothing in it"}},
		"no directories":    {"directories: []\n", []string{"no directories"}},
		"not YAML":          {"directories: [\n", []string{"not YAML"}},
		"two documents":     {good + "---\n" + good, []string{"more than one document"}},
		"a list":            {"- region: us-east-1\n", []string{"line 1: here are names"}},
		"no list":           {"directories: d-9067012345\n", []string{"line 1: here is a list"}},
		"null":              {"directories:\n", []string{"line 1: here is a list"}},
		"word for mapping":  {"directories:\n  - d-9067012345\n", []string{"line 2: here are names"}},
		"unknown on top":    {good + "directory: 1\n", []string{`line 4: "directory" is not known here`}},
		"unknown":           {good + "    subnets: [subnet-0a1b2c3d]\n    team: x\n", []string{`line 4: "subnets" is not known`, `line 5: "team" is not known`}},
		"twice":             {good + "    id: d-9067012346\n", []string{`line 4: "id" is here twice`}},
		"list for word":     {good + "    license: [BYOL]\n", []string{"line 4: here is one word"}},
		"empty word":        {good + "    license:\n", []string{"line 4: here is one word"}},
		"alias":             {"directories:\n  - &a\n    region: us-east-1\n    id: d-9067012345\n  - *a\n", []string{"line 5: here are names"}},
		"word for list":     {good + "    teams: backend\n", []string{"line 4: here is a list"}},
		"deep list":         {good + "    teams: [[backend]]\n", []string{"line 4: here is one word"}},
		"id missing":        {"directories:\n  - region: us-east-1\n", []string{"line 2: ", "not the id of a directory"}},
		"several are wrong": {good + "  - region: mars\n    id: d-9067012346\n  - region: us-east-1\n    id: d-9067012345\n", []string{`line 4: "mars" is not a region`, "line 6: the directory d-9067012345 is configured twice"}},
		"default of two":    {good + "    teams: [a]\n  - region: us-east-1\n    id: d-9067012346\n    teams: [b, a]\n", []string{"line 5: the team a has two default directories"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseDirectories([]byte(c.text))
			if err == nil {
				t.Fatal("it is not refused")
			}
			for _, says := range c.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("%q does not say %q", err, says)
				}
			}
		})
	}
}

func FuzzDirectories(f *testing.F) {
	f.Add([]byte("directories:\n  - region: us-east-1\n    id: d-9067012345\n    teams: [a, &b c, *b]\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		found, err := parseDirectories(b)
		if err != nil {
			return
		}
		for i, d := range found {
			if err := d.Wrong(found[:i]); err != nil {
				t.Errorf("%+v: %v", d, err)
			}
		}
	})
}
