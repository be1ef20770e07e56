package pgembed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// binEnv names the directory of the server's programs; when set, no other is looked at.
const binEnv = "FORGE_PG_BIN"

// debianBins is where Debian and Ubuntu keep the programs of each major version, off the PATH.
var debianBins = "/usr/lib/postgresql/*/bin"

// toolTimeout bounds `postgres --version` and its like, which answer at once or are broken.
const toolTimeout = 10 * time.Second

type binaries struct {
	dir     string
	version int
}

func (b binaries) path(name string) string { return filepath.Join(b.dir, name) }

// FindBinaries looks for postgres and initdb of major version 15 or later: in $FORGE_PG_BIN (and, when that is set,
// nowhere else), where pg_config points, in /usr/lib/postgresql/*/bin newest first, and on the PATH. The error says
// what to install.
func FindBinaries() (dir string, version int, err error) {
	b, err := findBinaries(0)
	return b.dir, b.version, err
}

// findBinaries is FindBinaries for major version want, 0 being any. A machine that has two of them (Debian after an
// upgrade) can so go on running the cluster that the older one made.
func findBinaries(want int) (binaries, error) {
	if dir := os.Getenv(binEnv); dir != "" {
		b, err := inspect(dir)
		switch {
		case err != nil:
			return binaries{}, fmt.Errorf("%s: %w", binEnv, err)
		case b.version < MinVersion:
			return binaries{}, fmt.Errorf("%s: %s is PostgreSQL %d, %d or later is needed", binEnv, dir, b.version, MinVersion)
		case want != 0 && b.version != want:
			return binaries{}, &versionError{want: want, found: []binaries{b}}
		}
		return b, nil
	}
	var found []binaries
	for _, dir := range candidates() {
		b, err := inspect(dir)
		if err != nil {
			continue // pg_config of the client library, say, points to a directory without a server
		}
		if b.version >= MinVersion && (want == 0 || b.version == want) {
			return b, nil
		}
		found = append(found, b)
	}
	if want != 0 && len(found) > 0 {
		return binaries{}, &versionError{want: want, found: found}
	}
	also := ""
	if len(found) > 0 {
		also = " (found only " + describe(found) + ")"
	}
	return binaries{}, fmt.Errorf("no PostgreSQL server %d or later on this machine%s: install it "+
		"(Debian, Ubuntu: apt-get install -y postgresql) or set %s to the directory that holds postgres and initdb", MinVersion, also, binEnv)
}

// versionError says that no program found can read the cluster's files.
type versionError struct {
	want    int
	found   []binaries
	dataDir string
}

func (e *versionError) Error() string {
	return fmt.Sprintf("the cluster in %s was made by PostgreSQL %d and only %s was found: install PostgreSQL %d, or move the data with pg_dump or pg_upgrade",
		e.dataDir, e.want, describe(e.found), e.want)
}

func describe(found []binaries) string {
	var words []string
	for _, b := range found {
		words = append(words, fmt.Sprintf("PostgreSQL %d in %s", b.version, b.dir))
	}
	return strings.Join(words, ", ")
}

func candidates() []string {
	var dirs []string
	add := func(dir string) {
		if dir != "" && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	if out, err := run("pg_config", "--bindir"); err == nil {
		add(strings.TrimSpace(out))
	}
	debian, _ := filepath.Glob(debianBins) // fails only on a malformed pattern
	slices.SortFunc(debian, func(a, b string) int { return majorOf(b) - majorOf(a) })
	for _, dir := range debian {
		add(dir)
	}
	if p, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(p); err == nil {
			p = real // a link into the directory that has initdb beside it
		}
		if p, err = filepath.Abs(p); err == nil {
			add(filepath.Dir(p))
		}
	}
	return dirs
}

// majorOf reads 17 in /usr/lib/postgresql/17/bin: 9 sorts before 10.
func majorOf(bin string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
	return n
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

func inspect(dir string) (binaries, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return binaries{}, err
	}
	for _, name := range []string{"postgres", "initdb"} {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
			return binaries{}, fmt.Errorf("no program %s in %s", name, dir)
		}
	}
	out, err := run(filepath.Join(dir, "postgres"), "--version")
	if err != nil {
		return binaries{}, fmt.Errorf("%s/postgres --version: %w", dir, err)
	}
	m := versionPattern.FindStringSubmatch(out)
	if m == nil {
		return binaries{}, fmt.Errorf("%s/postgres --version says %q", dir, strings.TrimSpace(out))
	}
	version, err := strconv.Atoi(m[1])
	return binaries{dir: dir, version: version}, err
}

func run(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), toolTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && len(exit.Stderr) > 0 {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return string(out), err
}
