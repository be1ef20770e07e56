//go:build linux

package pgembed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestARestartKeepsWhatWasCommitted(t *testing.T) {
	dir := filepath.Join(room(t), "new", "data")
	log, told := logged()
	s := start(t, Options{DataDir: dir, Logger: log})
	mustExecute(t, s, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (42)")
	stop(t, s)
	if err := s.Err(); err != nil {
		t.Errorf("after Stop, Err is %v", err)
	}
	select {
	case <-s.Done():
	default:
		t.Error("after Stop, Done is open")
	}
	stop(t, s) // again does nothing

	s = start(t, Options{DataDir: dir, Logger: log})
	if got := answer(t, s, "SELECT n::text FROM kept"); got != "42" {
		t.Errorf("kept %s", got)
	}
	fi, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode().Perm()&0o007 != 0 {
		t.Errorf("the data directory is open to others: %v", fi.Mode())
	}
	t.Log(told)
}

func TestTheServerIsSetUpForUs(t *testing.T) {
	s := start(t, Options{DataDir: filepath.Join(room(t), "data"), Settings: map[string]string{"work_mem": "5MB", "Jit": "on"}})
	got := map[string]string{}
	want := map[string]string{
		"listen_addresses": "", "max_connections": "200", "shared_buffers": "128MB", "TimeZone": "UTC", "fsync": "on",
		"synchronous_commit": "on", "full_page_writes": "on", "data_checksums": "on", "server_encoding": "UTF8",
		"lc_collate": "C", "work_mem": "5MB", "jit": "on",
	}
	for name := range want {
		got[name] = answer(t, s, "SELECT coalesce(current_setting('"+name+"', true), 'C')")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if group, err := syscall.Getpgid(s.process.pid()); err != nil || group != s.process.pid() {
		t.Errorf("postgres is in process group %d (%v), want its own", group, err)
	}
	fi, err := os.Stat(s.sockets)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode().Perm() != 0o700 {
		t.Errorf("the socket's directory has mode %v", fi.Mode())
	}
}

func TestSettingsThatOpenTheServerAreRefused(t *testing.T) {
	for _, name := range []string{"listen_addresses", "PORT", "hba_file", "a=b", ""} {
		dir := filepath.Join(room(t), "data")
		if s, err := Start(t.Context(), Options{DataDir: dir, Settings: map[string]string{name: "*"}}); err == nil {
			stop(t, s)
			t.Errorf("%q was accepted", name)
		}
		if exists(dir) {
			t.Errorf("%q: the data directory was made all the same", name)
		}
	}
}

func TestAFailedStartShowsTheEndOfTheLog(t *testing.T) {
	dir := filepath.Join(room(t), "data")
	_, err := Start(t.Context(), Options{DataDir: dir, Settings: map[string]string{"shared_buffers": "plenty"}})
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "shared_buffers": "plenty"`) {
		t.Fatalf("got %v", err)
	}
	start(t, Options{DataDir: dir}) // and stands in nobody's way
}

func TestAnEphemeralServerLeavesNothing(t *testing.T) {
	base := room(t)
	dir := filepath.Join(base, "data")
	s := start(t, Options{DataDir: dir, Ephemeral: true})
	for _, name := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		if got := answer(t, s, "SELECT current_setting('"+name+"')"); got != "off" {
			t.Errorf("%s is %s", name, got)
		}
	}
	stop(t, s)
	if left := entries(t, base); len(left) > 0 {
		t.Errorf("left %v", left)
	}

	t.Run("in a directory of its own choice", func(t *testing.T) {
		t.Setenv("TMPDIR", base)
		s := start(t, Options{Ephemeral: true})
		mustExecute(t, s, "SELECT 1")
		stop(t, s)
		if left := entries(t, base); len(left) > 0 {
			t.Errorf("left %v", left)
		}
	})
	t.Run("but what others put there", func(t *testing.T) {
		s := start(t, Options{DataDir: dir, Ephemeral: true})
		if err := os.WriteFile(filepath.Join(dir, "thesis"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		stop(t, s)
		if diff := cmp.Diff([]string{"thesis"}, entries(t, dir)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestADurableDatabaseIsNeverRunAsEphemeral(t *testing.T) {
	dir := filepath.Join(room(t), "data")
	s := start(t, Options{DataDir: dir})
	mustExecute(t, s, "CREATE TABLE kept AS SELECT 42 AS n")
	stop(t, s)
	before := entries(t, dir)
	if s, err := Start(t.Context(), Options{DataDir: dir, Ephemeral: true}); err == nil {
		stop(t, s)
		t.Fatal("it started")
	}
	if diff := cmp.Diff(before, entries(t, dir)); diff != "" {
		t.Error(diff)
	}
	s = start(t, Options{DataDir: dir})
	if got := answer(t, s, "SELECT n::text FROM kept"); got != "42" {
		t.Errorf("kept %s", got)
	}
}

func TestADurableServerNeedsADirectory(t *testing.T) {
	if _, err := Start(t.Context(), Options{}); err == nil {
		t.Fatal("it started")
	}
}

func TestADirectoryInUseIsRefusedWithThePidOfItsHolder(t *testing.T) {
	base := room(t)
	dir := filepath.Join(base, "data")
	s := start(t, Options{DataDir: dir})
	refused := func(path string, pid int) {
		t.Helper()
		_, err := Start(t.Context(), Options{DataDir: path})
		var inUse *InUseError
		if !errors.Is(err, ErrInUse) || !errors.As(err, &inUse) || inUse.PID != pid || !strings.Contains(err.Error(), fmt.Sprint(pid)) {
			t.Errorf("got %v, want ErrInUse by %d", err, pid)
		}
	}
	refused(dir, os.Getpid())
	link := filepath.Join(base, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	refused(link, os.Getpid())
	mustExecute(t, s, "SELECT 1") // undisturbed
	stop(t, s)

	other, _ := holdElsewhere(t, dir, false)
	refused(dir, other.Process.Pid)
}

func TestOfConcurrentStartsOneWins(t *testing.T) {
	for _, ephemeral := range []bool{false, true} {
		dir := filepath.Join(room(t), "data")
		var (
			wg      sync.WaitGroup
			mu      sync.Mutex
			servers []*Server
		)
		for range 5 {
			wg.Go(func() {
				s, err := Start(t.Context(), Options{DataDir: dir, Ephemeral: ephemeral})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					servers = append(servers, s)
				case !errors.Is(err, ErrInUse):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(servers) != 1 {
			t.Errorf("%d servers", len(servers))
		}
		for _, s := range servers {
			mustExecute(t, s, "SELECT 1")
			stop(t, s)
		}
	}
}

func TestServersInDifferentDirectoriesStartTogether(t *testing.T) {
	base := room(t)
	var wg sync.WaitGroup
	servers := make([]*Server, 2)
	for i := range servers {
		wg.Go(func() {
			s, err := Start(t.Context(), Options{DataDir: filepath.Join(base, fmt.Sprint(i)), Ephemeral: true})
			if err != nil {
				t.Error(err)
				return
			}
			servers[i] = s
		})
	}
	wg.Wait()
	for _, s := range servers {
		if s != nil {
			mustExecute(t, s, "SELECT 1")
			stop(t, s)
		}
	}
}

func TestTheServerOfAKilledProcessEndsAndKeepsItsData(t *testing.T) {
	dir := filepath.Join(room(t), "data")
	holder, postmaster := holdElsewhere(t, dir, false)
	killAndReap(t, holder)
	eventually(t, "postgres ended", func() bool { return !alive(postmaster) })
	if exists(filepath.Join(dir, pgdataName, "postmaster.pid")) {
		t.Error("it did not shut down in order")
	}
	s := start(t, Options{DataDir: dir})
	if got := answer(t, s, "SELECT n::text FROM kept"); got != "42" {
		t.Errorf("kept %s", got)
	}
}

func TestAStartRightAfterAKillWaitsForTheOldServer(t *testing.T) {
	dir := filepath.Join(room(t), "data")
	holder, postmaster := holdElsewhere(t, dir, false)
	// A stopped postmaster cannot shut down until it is told to go on, which is when the wait is seen.
	if err := syscall.Kill(postmaster, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	killAndReap(t, holder)
	seen := make(chan struct{})
	var once sync.Once
	log := logger(func(message string) {
		if strings.Contains(message, "waiting for the previous") {
			once.Do(func() { close(seen) })
		}
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-seen:
		case <-t.Context().Done():
		}
		_ = syscall.Kill(postmaster, syscall.SIGCONT)
	})
	s := start(t, Options{DataDir: dir, Logger: log})
	wg.Wait()
	if got := answer(t, s, "SELECT n::text FROM kept"); got != "42" {
		t.Errorf("kept %s", got)
	}
}

func TestAfterEverythingWasKilledTheNextStartRecovers(t *testing.T) {
	dir := filepath.Join(room(t), "data")
	holder, postmaster := holdElsewhere(t, dir, false)
	if err := syscall.Kill(postmaster, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killAndReap(t, holder)
	if !exists(filepath.Join(dir, pgdataName, "postmaster.pid")) {
		t.Fatal("no postmaster.pid was left")
	}
	s := start(t, Options{DataDir: dir})
	if got := answer(t, s, "SELECT n::text FROM kept"); got != "42" {
		t.Errorf("kept %s", got)
	}
}

func TestAPidThatIsNowSomeoneElsesBlocksNothing(t *testing.T) {
	dir := filepath.Join(room(t), "data")
	s := start(t, Options{DataDir: dir})
	text, err := os.ReadFile(s.pidfile())
	if err != nil {
		t.Fatal(err)
	}
	stop(t, s)
	_, rest, _ := strings.Cut(string(text), "\n")
	stale := fmt.Sprintf("%d\n%s", sleeper(t), rest)
	for _, path := range []string{s.pidfile(), filepath.Join(dir, socketName, ".s.PGSQL.5432.lock")} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := s.who.own(filepath.Dir(path)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(stale), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.who.own(path); err != nil {
			t.Fatal(err)
		}
	}
	mustExecute(t, start(t, Options{DataDir: dir}), "SELECT 1")
}

func TestWhatAKilledEphemeralServerLeftIsThrownAway(t *testing.T) {
	base := room(t)
	dir := filepath.Join(base, "data")
	holder, _ := holdElsewhere(t, dir, true)
	killAndReap(t, holder)
	if s, err := Start(t.Context(), Options{DataDir: dir}); err == nil {
		stop(t, s)
		t.Fatal("it was taken for a durable one")
	}
	s := start(t, Options{DataDir: dir, Ephemeral: true})
	if got := answer(t, s, "SELECT count(*)::text FROM pg_tables WHERE tablename = 'kept'"); got != "0" {
		t.Error("the old data is there")
	}
	stop(t, s)
	if left := entries(t, base); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

func TestAServerThatEndsByItselfSaysSo(t *testing.T) {
	dir := filepath.Join(room(t), "data")
	s := start(t, Options{DataDir: dir})
	if err := s.Err(); err != nil {
		t.Errorf("while it runs, Err is %v", err)
	}
	if err := syscall.Kill(s.process.pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("got %v", err)
	}
	stop(t, s)
	mustExecute(t, start(t, Options{DataDir: dir}), "SELECT 1")
}

func TestStopIsImmediateWhenItsTimeIsUp(t *testing.T) {
	dir := filepath.Join(room(t), "data")
	s, err := Start(t.Context(), Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	mustExecute(t, s, "CREATE TABLE kept AS SELECT 42 AS n")
	// A stopped postmaster hears nothing, so the end of the context comes first.
	postmaster := s.process.pid()
	if err := syscall.Kill(postmaster, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		eventually(t, "SIGQUIT was sent", func() bool { return pending(postmaster, syscall.SIGQUIT) })
		_ = syscall.Kill(postmaster, syscall.SIGCONT)
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	wg.Wait()
	if left := processesNaming(t, dir); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	again := start(t, Options{DataDir: dir})
	if got := answer(t, again, "SELECT n::text FROM kept"); got != "42" {
		t.Errorf("kept %s", got)
	}
}

// pending tells whether sig waits to be delivered to a process.
func pending(pid int, sig syscall.Signal) bool {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(status), "ShdPnd:")
	var mask uint64
	_, _ = fmt.Sscanf(rest, "%x", &mask)
	return mask&(1<<(sig-1)) != 0
}

func TestACancelledStartLeavesNoProcess(t *testing.T) {
	dir := filepath.Join(room(t), "data")
	// From before initdb to after the server is ready, wherever that falls on this machine.
	var failed, started int
	for wait := time.Millisecond; wait < 30*time.Second && started < 2; wait = wait*3/2 + time.Millisecond {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		s, err := Start(ctx, Options{DataDir: dir})
		cancel()
		if err == nil {
			started++
			mustExecute(t, s, "SELECT 1") // the end of ctx is not the server's
			stop(t, s)
		} else {
			failed++
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("after %v: %v", wait, err)
			}
		}
		if left := processesNaming(t, dir); len(left) > 0 {
			t.Fatalf("after %v: left %v", wait, left)
		}
	}
	t.Logf("%d cancelled", failed)
	fresh, err := filepath.Glob(filepath.Join(dir, freshPattern))
	if err != nil || len(fresh) > 0 {
		t.Errorf("left %v %v", fresh, err)
	}
}

func TestAStartCancelledBeforePostgresIsReadyLeavesNoProcess(t *testing.T) {
	dir := filepath.Join(room(t), "data")
	stop(t, start(t, Options{DataDir: dir}))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		eventually(t, "postgres began", func() bool { return len(processesNaming(t, filepath.Join(dir, pgdataName))) > 0 })
	})
	s, err := Start(ctx, Options{DataDir: dir})
	wg.Wait()
	if err == nil { // it was quicker than the look at it
		stop(t, s)
	}
	if left := processesNaming(t, dir); len(left) > 0 {
		t.Fatalf("left %v", left)
	}
	mustExecute(t, start(t, Options{DataDir: dir}), "SELECT 1")
}

func TestAKilledInitialisationIsDoneAgain(t *testing.T) {
	dir := filepath.Join(room(t), "data")
	half := filepath.Join(dir, "pgdata.new-123", "base")
	if err := os.MkdirAll(half, 0o700); err != nil {
		t.Fatal(err)
	}
	mustExecute(t, start(t, Options{DataDir: dir}), "SELECT 1")
	if exists(filepath.Dir(half)) {
		t.Error("the half-made cluster is still there")
	}
}

func TestAClusterOfAnotherMajorVersionIsRefused(t *testing.T) {
	dir := filepath.Join(room(t), "data")
	stop(t, start(t, Options{DataDir: dir}))
	if err := os.WriteFile(filepath.Join(dir, pgdataName, "PG_VERSION"), []byte("11\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, version, err := FindBinaries()
	if err != nil {
		t.Fatal(err)
	}
	_, err = Start(t.Context(), Options{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), "made by PostgreSQL 11") || !strings.Contains(err.Error(), fmt.Sprintf("only PostgreSQL %d", version)) {
		t.Errorf("got %v", err)
	}
}
