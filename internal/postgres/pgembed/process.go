//go:build linux

package pgembed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	readyInterval = 5 * time.Millisecond
	goneInterval  = 20 * time.Millisecond
	// gonePatience bounds the wait for the server of a killed process, which is shutting down.
	gonePatience = 30 * time.Second
	// quitPatience is above the 5 s that a postmaster gives its children before it kills them.
	quitPatience = 10 * time.Second
)

// command prepares a program of the server's. It runs in a group of its own, out of reach of the terminal's Ctrl-C, and
// gets the signal dying when this process ends. Of our environment, which may hold secrets and PG* variables, it sees
// only what finding shared libraries takes.
func (p place) command(program string, args []string, dir string, dying syscall.Signal) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = dir // ours may be closed to the account
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C", "TZ=UTC"}
	if libs := os.Getenv("LD_LIBRARY_PATH"); libs != "" {
		cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+libs)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: dying}
	if p.who.drop {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: p.who.uid, Gid: p.who.gid}
	}
	return cmd
}

// process is a child being waited for.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // how it ended; to be read after done
}

// launch starts cmd with its output going to out.
func launch(cmd *exec.Cmd, out io.Writer) (*process, error) {
	cmd.Stdout, cmd.Stderr = out, out
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel sends Pdeathsig when the thread that started the child ends, and Go ends threads as it likes
		// unless a goroutine is locked to them.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
		close(p.done)
	}()
	return p, <-started
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// killGroup ends the child and the children that share its group at once.
func (p *process) killGroup() {
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(-p.pid(), syscall.SIGKILL) // can fail only because it has ended
	}
}

// interrupt asks for a fast shutdown: sessions are cut, what was committed is kept, the next start needs no recovery.
// When ctx ends it comes to quit, and the error says so.
func (p *process) interrupt(ctx context.Context) error {
	p.signal(syscall.SIGINT)
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		p.quit()
		return fmt.Errorf("postgres did not shut down in time and was stopped at once: %w", context.Cause(ctx))
	}
}

// quit asks for an immediate shutdown, after which the next start recovers from the log, and waits until it has ended.
func (p *process) quit() {
	p.signal(syscall.SIGQUIT)
	patience := time.NewTimer(quitPatience)
	defer patience.Stop()
	select {
	case <-p.done:
	case <-patience.C:
		p.signal(syscall.SIGKILL)
		<-p.done
	}
}

func (p *process) signal(sig os.Signal) {
	_ = p.cmd.Process.Signal(sig) // fails only when it has ended, which the caller waits for
}

// ready waits until the server accepts connections, or has ended. It reads what the server writes of itself: to connect
// would be to ask whoever listens on the socket, which need not be our child.
func (p *process) ready(ctx context.Context, pidfile string) error {
	tick := time.NewTicker(readyInterval)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return fmt.Errorf("postgres ended before it was ready: %w", p.exit())
		case <-ctx.Done():
			return fmt.Errorf("postgres was not ready yet: %w", context.Cause(ctx))
		case <-tick.C:
			if text, err := os.ReadFile(pidfile); err == nil && saysReady(string(text), p.pid()) {
				return nil
			}
		}
	}
}

// saysReady reads postmaster.pid: the pid is in line 1, the state in line 8.
func saysReady(text string, pid int) bool {
	lines := strings.Split(text, "\n")
	return len(lines) >= 8 && strings.TrimSpace(lines[0]) == strconv.Itoa(pid) && strings.TrimSpace(lines[7]) == "ready"
}

// exit is how it ended, as an error even when that was in peace.
func (p *process) exit() error {
	if p.err != nil {
		return p.err
	}
	return errors.New(p.cmd.ProcessState.String())
}

// serverOn returns a process of a PostgreSQL that works in pgdata, 0 when there is none. It asks the kernel where
// processes named postgres are, as a pid in a file may by now be someone else's, and a server process that outlived its
// postmaster is in no file. A zombie is nowhere.
func serverOn(pgdata string) (int, error) {
	at, err := os.Stat(pgdata)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, proc := range procs {
		pid, err := strconv.Atoi(proc.Name())
		if err != nil {
			continue
		}
		cwd, err := os.Stat(filepath.Join("/proc", proc.Name(), "cwd"))
		if err != nil || !os.SameFile(at, cwd) {
			continue // ended meanwhile, another user's, or elsewhere
		}
		comm, err := os.ReadFile(filepath.Join("/proc", proc.Name(), "comm"))
		if err == nil && strings.HasPrefix(string(comm), "postgres") {
			return pid, nil
		}
	}
	return 0, nil
}

// awaitGone waits until no server works in pgdata; waiting, when not nil, hears of the first one seen.
func awaitGone(ctx context.Context, pgdata string, waiting func(pid int)) error {
	ctx, cancel := context.WithTimeout(ctx, gonePatience)
	defer cancel()
	tick := time.NewTicker(goneInterval)
	defer tick.Stop()
	for {
		pid, err := serverOn(pgdata)
		if err != nil || pid == 0 {
			return err
		}
		if waiting != nil {
			waiting(pid)
			waiting = nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL process %d, which was not started here, still works in %s: %w", pid, pgdata, ctx.Err())
		}
	}
}
