// This file is the architecture diagram: which package may import which, and what no source file may contain.
// It reads every Go file of the repository, whatever its build tags.
package internal_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	root   = ".."
	module = "github.com/robco-forge/forge/"
)

// ranks is the diagram. A package may import packages of strictly lower rank. A new package gets a line here; an entry
// that ends in /... stands for everything below it.
var ranks = map[string]int{
	// Entry points: they wire, and nothing imports them.
	"cmd/forge": 10,
	"e2e/...":   10,
	"bench/...": 10,
	"internal":  10, // this test

	"internal/app": 9, // composition
	"internal/cli": 9, // a client; see only

	// Edges translate and never import each other.
	"internal/httpapi":       8,
	"internal/worker":        8,
	"internal/portal":        8,
	"internal/aws/desktop":   8,
	"internal/aws/apps":      8,
	"internal/aws/pricelist": 8,
	"client":                 8, // the other end of the wire: the domain has no business with it

	// The domain: usage and permission flow down.
	"internal/workspace":        7,
	"internal/report":           7,
	"internal/cost":             6,
	"internal/blueprint":        6,
	"internal/blueprint/spec":   1, // the form alone, for the command line too
	"internal/budget":           5,
	"internal/people":           5,
	"internal/audit":            4,
	"internal/notify":           4,
	"internal/postgres/pgtest":  5, // makes audit logs
	"internal/postgres/migrate": 4,
	"internal/postgres/catalog": 2,
	"internal/postgres":         3,
	"internal/price":            3,
	"internal/policy":           3,
	"internal/actor":            2,

	// The vocabulary, the wire, and what stands on its own.
	"internal/fault":            1,
	"internal/id":               1,
	"internal/money":            1,
	"internal/clock":            1,
	"internal/schedule":         1,
	"api":                       1,
	"internal/aws/emulator":     1,
	"internal/audit/leaf":       1,
	"internal/audit/verify":     1,
	"internal/audit/witness":    2,
	"internal/audit/archive":    2,
	"internal/spreadsheet":      1,
	"internal/postgres/pgembed": 1,
}

// only narrows a package further than its rank does: it imports these packages of ours and no others.
var only = map[string][]string{
	// The command line talks to the server like anyone, and checks an audit log with the server switched off.
	"internal/cli": {"api", "client", "internal/audit/verify", "internal/audit/leaf", "internal/blueprint/spec"},
	// Generated from the API's description, which says everything it needs.
	"client": {},
}

// exceptions are the imports that the ranks forbid and that are right nevertheless, each with its reason.
var exceptions = map[edge]string{
	{"internal/audit/verify", "internal/audit/leaf"}: "whoever verifies a log must read the encoding of its leaves",
	{"internal/notify", "internal/audit"}:            "a message to a person is written in the change that it tells of",
}

// testsMayImport is what a test may import besides its own package and those of its rank or lower.
var testsMayImport = []string{
	"internal/app", // a whole Forge
	"internal/aws/emulator",
	"internal/postgres/pgembed",
	"internal/postgres/pgtest",
}

// pure packages reach for nothing outside: what they compute can be replayed.
var pure = map[string][]string{
	"internal/price":    impure,
	"internal/schedule": impure,
	"internal/policy":   impure,
}

// impure also forbids what is below each name.
var impure = []string{"database/sql", "github.com/jackc/pgx", "net", "os"}

// vague are names that say nothing of what a package is about.
var vague = []string{"util", "utils", "common", "models", "interfaces", "mocks", "helpers", "pkg"}

// exact packages hold money: no floating point in them, unless the line says `// not money` and what it is instead.
var exact = []string{"api", "internal/budget", "internal/cost", "internal/money", "internal/price", "internal/report"}

type edge struct{ from, to string }

// rankOf finds the package in the table.
func rankOf(pkg string) (int, bool) {
	if r, ok := ranks[pkg]; ok {
		return r, true
	}
	for dir := pkg; dir != "."; dir = path.Dir(dir) {
		if r, ok := ranks[dir+"/..."]; ok {
			return r, true
		}
	}
	return 0, false
}

// objection says why a file of package from must not import path, or nothing.
func objection(from, imported string, inTest bool) string {
	if !inTest {
		for _, banned := range pure[from] {
			if imported == banned || strings.HasPrefix(imported, banned+"/") {
				return fmt.Sprintf("%s is pure and must not import %s", from, imported)
			}
		}
	}
	to, ours := strings.CutPrefix(imported, module)
	if !ours {
		return ""
	}
	fromRank, known := rankOf(from)
	if !known {
		return from + " has no rank: give it one in internal/layout_test.go"
	}
	toRank, known := rankOf(to)
	if !known {
		return to + " has no rank: give it one in internal/layout_test.go"
	}
	_, excepted := exceptions[edge{from, to}]
	if inTest {
		if from == to || toRank <= fromRank || excepted || slices.Contains(testsMayImport, to) {
			return ""
		}
		return fmt.Sprintf("a test of %s (rank %d) must not import %s (rank %d): test it where both are in reach", from, fromRank, to, toRank)
	}
	if allowed, narrow := only[from]; narrow && !slices.Contains(allowed, to) {
		return fmt.Sprintf("%s must not import %s: of ours it may import only %v", from, to, allowed)
	}
	if toRank >= fromRank && !excepted {
		return fmt.Sprintf("%s (rank %d) must not import %s (rank %d): imports point to strictly lower ranks", from, fromRank, to, toRank)
	}
	return ""
}

func TestImportsPointDown(t *testing.T) {
	used := map[edge]bool{}
	for _, f := range goFiles(t) {
		for _, spec := range f.ast.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			used[edge{f.pkg, strings.TrimPrefix(imported, module)}] = true
			if why := objection(f.pkg, imported, f.test); why != "" {
				t.Errorf("%s: %s", f.at(spec.Pos()), why)
			}
		}
	}
	for e := range exceptions {
		if !used[e] && exists(e.from) && exists(e.to) {
			t.Errorf("the exception for %s importing %s is used by nobody: remove it", e.from, e.to)
		}
	}
}

// A checker that has never refused anything proves nothing.
func TestTheImportRulesRefuseWhatTheyShould(t *testing.T) {
	const test, code = true, false
	for _, c := range []struct {
		from, imported string
		inTest, ok     bool
	}{
		{"internal/budget", module + "internal/audit", code, true},
		{"internal/budget", module + "internal/cost", code, false},    // up
		{"internal/budget", module + "internal/people", code, false},  // sideways
		{"internal/httpapi", module + "internal/worker", code, false}, // edge to edge
		{"internal/workspace", module + "internal/aws/desktop", code, false},
		{"internal/workspace", module + "client", code, false},
		{"internal/worker", module + "internal/app", code, false},
		{"internal/fault", module + "internal/id", code, false},
		{"internal/audit/verify", module + "internal/audit/leaf", code, true}, // excepted
		{"internal/audit/leaf", module + "internal/audit/verify", code, false},
		{"internal/cli", module + "client", code, true},
		{"internal/cli", module + "internal/workspace", code, false}, // lower, but not its business
		{"client", module + "api", code, false},
		{"cmd/forge", module + "internal/cli", code, true},
		{"internal/app", module + "internal/cli", code, false},
		{"e2e/journeys", module + "internal/app", code, true},
		{"internal/nowhere", module + "internal/id", code, false}, // unknown
		{"internal/cost", module + "internal/nowhere", code, false},
		{"internal/cost", "github.com/jackc/pgx/v5", code, true},
		{"internal/price", "github.com/jackc/pgx/v5", code, false},
		{"internal/price", "net/http", code, false},
		{"internal/policy", "os", code, false},
		{"internal/price", "os", test, true},
		{"internal/postgres", module + "internal/postgres/pgtest", test, true},
		{"internal/postgres", module + "internal/postgres/pgtest", code, false},
		{"internal/cost", module + "internal/blueprint", test, true}, // same rank, in a test
		{"internal/cost", module + "internal/workspace", test, false},
		{"internal/cost", module + "internal/app", test, true},
	} {
		if why := objection(c.from, c.imported, c.inTest); (why == "") != c.ok {
			t.Errorf("%s imports %s (in a test: %v): objection %q, want none: %v", c.from, c.imported, c.inTest, why, c.ok)
		}
	}
}

func TestEveryPackageIsKnownAndSaysWhatItIs(t *testing.T) {
	docs := map[string]string{}
	for _, f := range goFiles(t) {
		if _, known := rankOf(f.pkg); !known {
			t.Errorf("%s: package %s has no rank: give it one in internal/layout_test.go", f.name, f.pkg)
		}
		for _, word := range append(strings.Split(f.pkg, "/"), f.ast.Name.Name) {
			if slices.Contains(vague, word) {
				t.Errorf("%s: %q says nothing about what the package is for", f.name, word)
			}
		}
		if f.test || ast.IsGenerated(f.ast) {
			continue
		}
		doc := docs[f.pkg]
		if f.ast.Doc != nil {
			doc = f.ast.Doc.Text()
		}
		docs[f.pkg] = doc
	}
	for _, pkg := range slices.Sorted(maps.Keys(docs)) {
		opening := "Package " + path.Base(pkg) + " "
		if strings.HasPrefix(pkg, "cmd/") {
			opening = "Command " + path.Base(pkg) + " "
		}
		if strings.HasPrefix(pkg, "bench/") && docs[pkg] != "" {
			continue // programs and packages alike
		}
		if !strings.HasPrefix(docs[pkg], opening) {
			t.Errorf("%s: wants a package comment that begins %q and says in one sentence what it is", pkg, opening)
		}
	}
}

func TestMoneyIsNeverAFloat(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test || !slices.Contains(exact, f.pkg) {
			continue
		}
		for _, at := range floats(f) {
			t.Errorf("%s: floating point; count in money.USD or integers, or end the line with `// not money: …`", at)
		}
	}
}

// floats lists where a file uses floating point without saying that it is not money.
func floats(f *goFile) []string {
	excused := map[int]bool{}
	for _, group := range f.ast.Comments {
		for _, c := range group.List {
			if strings.HasPrefix(c.Text, "// not money: ") {
				excused[f.fset.Position(c.Pos()).Line] = true
			}
		}
	}
	var found []string
	ast.Inspect(f.ast, func(n ast.Node) bool {
		name, ok := n.(*ast.Ident)
		if ok && (name.Name == "float32" || name.Name == "float64") && !excused[f.fset.Position(name.Pos()).Line] {
			found = append(found, f.at(name.Pos()))
		}
		return true
	})
	return found
}

func TestNoTestSkipsOrSleeps(t *testing.T) {
	for _, f := range goFiles(t) {
		if !f.test && f.pkg != "internal/postgres/pgtest" {
			continue
		}
		for _, complaint := range evasions(f) {
			t.Error(complaint)
		}
	}
}

// evasions lists the calls by which a test avoids its work: skipping, and sleeping instead of waiting for something.
// To discard an input through rapid's own T is fine, and so is sleeping in a synctest bubble, where it takes no time.
func evasions(f *goFile) []string {
	var found []string
	var stack []ast.Node
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if n == nil {
			stack = stack[:len(stack)-1]
			return true
		}
		stack = append(stack, n)
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		switch sel.Sel.Name {
		case "Skip", "Skipf", "SkipNow":
			if typ := paramType(stack, x.Name); strings.Contains(typ, "testing.") {
				found = append(found, f.at(sel.Pos())+": a test that cannot run fails; it does not skip")
			}
		case "Sleep":
			if x.Name == "time" && !inBubble(stack) {
				found = append(found, f.at(sel.Pos())+": a test waits for what it needs, or moves its clock; it does not sleep")
			}
		}
		return true
	})
	return found
}

// paramType is the type, as written, of the named parameter of the innermost function on the stack that has one.
func paramType(stack []ast.Node, name string) string {
	for _, n := range slices.Backward(stack) {
		var params *ast.FieldList
		switch fn := n.(type) {
		case *ast.FuncLit:
			params = fn.Type.Params
		case *ast.FuncDecl:
			params = fn.Type.Params
		default:
			continue
		}
		for _, field := range params.List {
			for _, p := range field.Names {
				if p.Name == name {
					return typeText(field.Type)
				}
			}
		}
	}
	return ""
}

func typeText(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeText(e.X)
	case *ast.SelectorExpr:
		return typeText(e.X) + "." + e.Sel.Name
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// inBubble tells whether a call of synctest encloses the innermost node.
func inBubble(stack []ast.Node) bool {
	return slices.ContainsFunc(stack, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		return ok && strings.HasPrefix(typeText(call.Fun), "synctest.")
	})
}

func TestTheSourceRulesRefuseWhatTheyShould(t *testing.T) {
	const head = "package x_test\nimport (\"testing\"; \"testing/synctest\"; \"time\"; \"pgregory.net/rapid\")\n"
	for _, c := range []struct {
		source            string
		evasions, noFloat int
	}{
		{"func TestA(t *testing.T) { t.Skip() }", 1, 0},
		{"func helper(tb testing.TB) { tb.Skipf(\"\") }", 1, 0},
		{"func TestA(t *testing.T) { t.Run(\"\", func(t *testing.T) { t.SkipNow() }) }", 1, 0},
		{"func TestA(t *testing.T) { rapid.Check(t, func(t *rapid.T) { t.Skip() }) }", 0, 0},
		{"func TestA(t *testing.T) { time.Sleep(1) }", 1, 0},
		{"func TestA(t *testing.T) { synctest.Test(t, func(t *testing.T) { time.Sleep(1) }) }", 0, 0},
		{"var price float64", 0, 1},
		{"var price = float32(1) // money, surely", 0, 1},
		{"var hours float64 // not money: hours", 0, 0},
	} {
		f := parse(t, "internal/price/x_test.go", []byte(head+c.source))
		if got := len(evasions(f)); got != c.evasions {
			t.Errorf("%s: %d evasions, want %d", c.source, got, c.evasions)
		}
		if got := len(floats(f)); got != c.noFloat {
			t.Errorf("%s: %d floats, want %d", c.source, got, c.noFloat)
		}
	}
	for text, want := range map[string]bool{
		"// TO" + "DO: later":       true,
		"-- FIX" + "ME":             true,
		"context.TO" + "DO()":       true,
		"mastodon, TODOS":           false,
		"see .lib" + "rary/x":       true,
		"the docs.lib" + "rary":     false,
		"cp .." + "/shared/x .":     true,
		"cat /work/" + "shared/x":   true,
		"read sha" + "red/design/a": true,
		"a shared design":           false,
	} {
		if got := looseEnd("x.go", text) != ""; got != want {
			t.Errorf("%q is refused: %v, want %v", text, got, want)
		}
	}
}

// The words are put together here so that this file does not contain them.
var (
	unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)
	elsewhere  = regexp.MustCompile(`(^|[^\w)\]])\.lib` + `rary\b|/work/` + `shared|\.\./shared` + `\b|\bshared/` + `design`)
)

// looseEnd finds, in one line of the named file, work left for later or a path that exists only on its author's machine.
func looseEnd(name, line string) string {
	if m := elsewhere.FindString(line); m != "" {
		return fmt.Sprintf("%q is a place outside this repository", strings.TrimSpace(m))
	}
	if !slices.Contains([]string{".go", ".sql", ".sh", ".md", ".yml", ".yaml", ".mod", ""}, path.Ext(name)) {
		return "" // assets that others wrote
	}
	if m := unfinished.FindString(line); m != "" {
		return fmt.Sprintf("%q: finish it, or open an issue and say nothing here", m)
	}
	return ""
}

func TestNoLooseEnds(t *testing.T) {
	for _, name := range files(t) {
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 4<<20 {
			continue
		}
		b, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if !utf8.Valid(b) || slices.Contains(b, 0) {
			continue // binary
		}
		n := 0
		for line := range strings.Lines(string(b)) {
			n++
			if why := looseEnd(name, line); why != "" {
				t.Errorf("%s:%d: %s", name, n, why)
			}
		}
	}
}

// goFile is one Go file of the repository; name and pkg are relative to its root.
type goFile struct {
	name, pkg string
	test      bool
	fset      *token.FileSet
	ast       *ast.File
}

func (f *goFile) at(pos token.Pos) string {
	return fmt.Sprintf("%s:%d", f.name, f.fset.Position(pos).Line)
}

func parse(t *testing.T, name string, source []byte) *goFile {
	t.Helper()
	f := &goFile{name: name, pkg: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), fset: token.NewFileSet()}
	var err error
	if f.ast, err = parser.ParseFile(f.fset, name, source, parser.ParseComments|parser.SkipObjectResolution); err != nil {
		t.Fatal(err)
	}
	return f
}

// goFiles are all Go files of the module.
func goFiles(t *testing.T) []*goFile {
	t.Helper()
	var all []*goFile
	for _, name := range files(t) {
		if path.Ext(name) != ".go" || strings.HasPrefix(name, "tools/") || strings.Contains("/"+name, "/testdata/") {
			continue // another module; samples
		}
		b, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, parse(t, name, b))
	}
	if len(all) == 0 {
		t.Fatal("found no Go files: is this test where it belongs?")
	}
	return all
}

// files are the files of the repository, relative to its root with slashes, without what git does not keep.
func files(t *testing.T) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(strings.TrimPrefix(name, root), string(filepath.Separator)))
		switch {
		case slices.Contains([]string{".git", ".forge", "bin", "node_modules"}, d.Name()):
			if d.IsDir() {
				return filepath.SkipDir
			}
		case d.Type().IsRegular():
			names = append(names, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func exists(pkg string) bool {
	_, err := os.Stat(filepath.Join(root, filepath.FromSlash(pkg)))
	return err == nil
}
