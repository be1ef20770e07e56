//go:build linux

package pgembed

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// holdEnv makes the test binary a process that runs a server in the directory it names, until it is killed.
const holdEnv = "PGEMBED_TEST_HOLD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdEnv); dir != "" {
		hold(dir, os.Getenv(holdEnv+"_EPHEMERAL") != "")
	}
	goleak.VerifyTestMain(m)
}

// hold starts a server, commits a row, says who it is and waits for its end.
func hold(dir string, ephemeral bool) {
	ctx := context.Background()
	s, err := Start(ctx, Options{DataDir: dir, Ephemeral: ephemeral})
	if err == nil {
		err = execute(ctx, s, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (42)")
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println("postmaster", s.process.pid())
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// holdElsewhere is a process that runs a server, and the pid of its postmaster.
func holdElsewhere(t *testing.T, dir string, ephemeral bool) (*exec.Cmd, int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdEnv+"="+dir)
	if ephemeral {
		cmd.Env = append(cmd.Env, holdEnv+"_EPHEMERAL=1")
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if _, err := cmd.StdinPipe(); err != nil { // kept open: its end is the holder's
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	pid, isPID := strings.CutPrefix(strings.TrimSpace(line), "postmaster ")
	if err != nil || !isPID {
		t.Fatalf("the holder says %q (%v) %s", line, err, stderr.String())
	}
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	return cmd, n
}

func killAndReap(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // "signal: killed"
}

// room is a directory that anyone may search; t.TempDir is not one.
func room(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgembed-test-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// A server whose parent was killed is on its way out, and may write until it is.
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for err := os.RemoveAll(dir); err != nil; err = os.RemoveAll(dir) {
			select {
			case <-ctx.Done():
				t.Error(err)
				return
			case <-tick.C:
			}
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// start starts a server that is stopped at the end of the test, if not earlier.
func start(t *testing.T, o Options) *Server {
	t.Helper()
	begun := time.Now()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("started in %v", time.Since(begun).Round(time.Millisecond))
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

func execute(ctx context.Context, s *Server, statements ...string) error {
	conn, err := pgx.Connect(ctx, s.URL("", ""))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

func mustExecute(t *testing.T, s *Server, statements ...string) {
	t.Helper()
	if err := execute(t.Context(), s, statements...); err != nil {
		t.Fatal(err)
	}
}

func answer(t *testing.T, s *Server, query string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL("postgres", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var text string
	if err := conn.QueryRow(t.Context(), query).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

// eventually waits for something that another process does.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(30 * time.Second)
	defer end.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatalf("30 s later still not: %s", what)
		}
	}
}

// processesNaming are those with dir in their command line. A zombie has none.
func processesNaming(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil && bytes.Contains(text, []byte(dir)) {
			found = append(found, file+": "+strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return found
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test becomes another user, which only root can: run the tests as root")
	}
}

// logged is a logger and what it was told.
func logged() (*slog.Logger, *bytes.Buffer) {
	var out bytes.Buffer
	return slog.New(slog.NewTextHandler(&out, nil)), &out
}

func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// sleeper is a live process of the account that servers here run as.
func sleeper(t *testing.T) int {
	t.Helper()
	who, err := serviceAccount()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "600")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if who.drop {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: who.uid, Gid: who.gid}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}
