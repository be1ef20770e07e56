package desktop

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// operations are those whose input a file makes, which nothing does but to call them.
func operations(f *ast.File) map[string]bool {
	found := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		typ, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if pkg, ok := typ.X.(*ast.Ident); !ok || pkg.Name != "workspaces" {
			return true
		}
		if operation, ok := strings.CutSuffix(typ.Sel.Name, "Input"); ok {
			found[operation] = true
		}
		return true
	})
	return found
}

func TestThePolicyAllowsWhatIsCalledAndNothingElse(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	server, check := map[string]bool{}, map[string]bool{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		into := server
		if strings.HasPrefix(name, "check") {
			into = check
		}
		maps.Copy(into, operations(f))
	}
	maps.DeleteFunc(check, func(operation string, _ bool) bool { return server[operation] })
	if d := cmp.Diff(slices.Sorted(maps.Keys(server)), serverCalls); d != "" {
		t.Errorf("the server calls and the policy has:\n%s", d)
	}
	if d := cmp.Diff(slices.Sorted(maps.Keys(check)), checkCalls); d != "" {
		t.Errorf("the check calls and the policy has:\n%s", d)
	}

	b, err := Policy()
	if err != nil {
		t.Fatal(err)
	}
	var policy struct {
		Version   string
		Statement []struct {
			Sid, Effect, Resource string
			Action                []string
		}
	}
	if err := json.Unmarshal(b, &policy); err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, s := range policy.Statement {
		if s.Effect != "Allow" || s.Resource != "*" || s.Sid == "" {
			t.Errorf("%+v", s)
		}
		actions = append(actions, s.Action...)
	}
	var want []string
	for _, name := range slices.Concat(serverCalls, checkCalls) {
		want = append(want, "workspaces:"+name)
	}
	if d := cmp.Diff(want, actions); d != "" || policy.Version != "2012-10-17" {
		t.Errorf("version %s, actions:\n%s", policy.Version, d)
	}
}

// A reader of sources that finds nothing would agree with an empty policy.
func TestOperationsAreFoundInSources(t *testing.T) {
	const source = `package x
func a(api *workspaces.Client) { api.StopWorkspaces(ctx, &workspaces.StopWorkspacesInput{}) }
func b(in workspaces.DescribeTagsInput) { next(in, workspaces.NewFromConfig, other.NothingInput{}) }`
	f, err := parser.ParseFile(token.NewFileSet(), "x.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"DescribeTags", "StopWorkspaces"}, slices.Sorted(maps.Keys(operations(f)))); d != "" {
		t.Error(d)
	}
}
