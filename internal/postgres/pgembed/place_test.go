//go:build linux

package pgembed

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// logger calls heard with every message.
func logger(heard func(string)) *slog.Logger {
	return slog.New(slog.NewTextHandler(writer(func(b []byte) { heard(string(b)) }), nil))
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

var _ io.Writer = writer(nil)

func TestALongPathGetsAShortSocket(t *testing.T) {
	dir := filepath.Join(room(t), strings.Repeat("long", 40), "data")
	s := start(t, Options{DataDir: dir})
	mustExecute(t, s, "SELECT 1")
	if !fits(s.sockets) {
		t.Errorf("the socket is in %s", s.sockets)
	}
	if target, err := os.Readlink(filepath.Join(dir, socketName)); err != nil || target != s.sockets {
		t.Errorf("the data directory points to %q (%v), want %s", target, err, s.sockets)
	}
	stop(t, s)
	if exists(s.sockets) {
		t.Errorf("%s was left", s.sockets)
	}
	mustExecute(t, start(t, Options{DataDir: dir}), "SELECT 1")
}

func TestADirectoryMayHaveAnyName(t *testing.T) {
	for _, name := range []string{`a b+c&d=e%41 qu"o'te [glob]* Größe`, "com,ma"} {
		t.Run(name, func(t *testing.T) {
			s := start(t, Options{DataDir: filepath.Join(room(t), name), Ephemeral: true})
			mustExecute(t, s, "SELECT 1")
			if psql, err := exec.LookPath("psql"); err == nil { // libpq reads URLs in its own way
				out, err := exec.Command(psql, "-XAtc", "SELECT 1", s.URL("postgres", "")).CombinedOutput()
				if err != nil {
					t.Errorf("psql %s: %v: %s", s.URL("postgres", ""), err, out)
				}
			}
		})
	}
}

func TestAShortSocketDirectoryOfSomeoneElsesIsNotUsed(t *testing.T) {
	needRoot(t)
	base := room(t)
	who, err := serviceAccount()
	if err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(base, "theirs")
	if err := os.Mkdir(theirs, 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(base, "link")
	mine := filepath.Join(base, "mine")
	if err := who.mkdir(mine); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(mine, link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{theirs, link} {
		if who.holds(dir) == nil {
			t.Errorf("%s is trusted", dir)
		}
	}
	if err := who.holds(mine); err != nil {
		t.Error(err)
	}
}

// closedParent is a data directory that only root can reach, with a place of the test's for what is moved away.
func closedParent(t *testing.T) (parent, dir, state string) {
	t.Helper()
	needRoot(t)
	base := room(t)
	was := stateDir
	stateDir = filepath.Join(base, "state")
	t.Cleanup(func() { stateDir = was })
	parent = filepath.Join(base, "closed")
	if err := os.Mkdir(parent, 0o700); err != nil {
		t.Fatal(err)
	}
	return parent, filepath.Join(parent, "data"), stateDir
}

func TestAClosedParentMovesTheDatabase(t *testing.T) {
	parent, dir, state := closedParent(t)
	log, told := logged()
	s := start(t, Options{DataDir: dir, Logger: log})
	mustExecute(t, s, "CREATE TABLE kept AS SELECT 42 AS n")
	if s.home != filepath.Join(state, hash(dir)) {
		t.Errorf("the database is in %s", s.home)
	}
	if !strings.Contains(told.String(), s.home) || !strings.Contains(told.String(), parent) {
		t.Errorf("the log does not say so: %s", told)
	}
	stop(t, s)
	kept := func(name string) {
		t.Run(name, func(t *testing.T) {
			s := start(t, Options{DataDir: dir})
			if got := answer(t, s, "SELECT n::text FROM kept"); got != "42" {
				t.Errorf("kept %s", got)
			}
		})
	}
	kept("found again")
	if err := os.Chmod(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	kept("found again when the parent was opened")
	if err := os.Chmod(parent, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	kept("found again when the data directory was removed")

	t.Run("missed when it is gone", func(t *testing.T) {
		if err := os.Rename(state, state+".away"); err != nil {
			t.Fatal(err)
		}
		if s, err := Start(t.Context(), Options{DataDir: dir}); err == nil {
			stop(t, s)
			t.Error("an empty one was made in its place")
		}
	})
}

func TestAClosedParentMovesAnEphemeralDatabaseToTheTemporaryDirectory(t *testing.T) {
	parent, dir, state := closedParent(t)
	temp := room(t)
	t.Setenv("TMPDIR", temp)
	s := start(t, Options{DataDir: dir, Ephemeral: true})
	mustExecute(t, s, "SELECT 1")
	if filepath.Dir(s.home) != temp {
		t.Errorf("the database is in %s", s.home)
	}
	stop(t, s)

	holder, _ := holdElsewhere(t, dir, true)
	killAndReap(t, holder)
	stop(t, start(t, Options{DataDir: dir, Ephemeral: true}))
	if diff := cmp.Diff([][]string{{}, {}}, [][]string{entries(t, temp), entries(t, parent)}); diff != "" || exists(state) {
		t.Error(diff, exists(state))
	}
}

func TestADatabaseBehindAParentThatWasClosedLaterIsNotReplaced(t *testing.T) {
	parent, dir, state := closedParent(t)
	if err := os.Chmod(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	stop(t, start(t, Options{DataDir: dir}))
	if err := os.Chmod(parent, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Options{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), parent+" (mode 0700) is closed to") || exists(state) {
		t.Errorf("got %v", err)
	}
}

func TestADirectoryThatRootMadeForUsIsOpenedToTheServer(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(room(t), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if s := start(t, Options{DataDir: dir}); s.home != dir {
		t.Errorf("the database is in %s", s.home)
	}
}

func TestRootWithoutAUserPostgresRunsItAsNobody(t *testing.T) {
	needRoot(t)
	was := serviceUsers
	t.Cleanup(func() { serviceUsers = was })
	serviceUsers = []string{"no-such-user", "nobody"}
	dir := filepath.Join(room(t), "data")
	s := start(t, Options{DataDir: dir})
	if s.who.String() != "nobody" {
		t.Errorf("it runs as %s", s.who)
	}
	stop(t, s)
	serviceUsers = was // the user postgres is made later
	if s := start(t, Options{DataDir: dir}); s.who.String() != "nobody" {
		t.Errorf("the cluster of nobody runs as %s", s.who)
	}
	serviceUsers = []string{"no-such-user"}
	if _, err := Start(t.Context(), Options{DataDir: filepath.Join(room(t), "data")}); err == nil || !strings.Contains(err.Error(), "no-such-user") {
		t.Errorf("with no user: %v", err)
	}
}

// TestAsAnOrdinaryUser runs the tests that say nothing about root once more as nobody.
func TestAsAnOrdinaryUser(t *testing.T) {
	needRoot(t)
	nobody := account{uid: 65534, gid: 65534, drop: true}
	home := room(t)
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(home, "pgembed.test") // the original is in a directory of root's
	if err := os.WriteFile(copied, program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := nobody.own(home); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, copied, "-test.v", "-test.run", "^("+strings.Join([]string{
		"TestARestartKeepsWhatWasCommitted",
		"TestAnEphemeralServerLeavesNothing",
		"TestADirectoryInUseIsRefusedWithThePidOfItsHolder",
		"TestTheServerOfAKilledProcessEndsAndKeepsItsData",
		"TestAStartRightAfterAKillWaitsForTheOldServer",
		"TestAfterEverythingWasKilledTheNextStartRecovers",
		"TestAPidThatIsNowSomeoneElsesBlocksNothing",
		"TestALongPathGetsAShortSocket",
	}, "|")+")$")
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "TMPDIR="+home, "HOME="+home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody.uid, Gid: nobody.gid}}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if err != nil || strings.Count(out.String(), "\n--- PASS") != 8 {
		t.Errorf("%v\n%s", err, out.String())
	}
}
