//go:build linux

package pgembed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Server is a running PostgreSQL that belongs to this process: when the process ends, even killed, the server shuts
// down by itself.
type Server struct {
	place
	ephemeral bool
	lock      *os.File
	log       *logFile
	sockets   string
	process   *process
	trimming  sync.WaitGroup
	stopping  atomic.Bool
	stopOnce  sync.Once
	stopErr   error
	done      chan struct{}
	err       error // to be read after done
}

// Start finds the programs, initialises the cluster when there is none, starts postgres and waits until it is ready.
// When ctx ends before that, no process is left. After it, ctx means nothing to the server.
//
// It returns an ErrInUse when another live process holds the data directory. One that was killed does not: its server
// is waited for, up to 30 seconds. Run by root, the server runs as the owner of the cluster, for a new one the user
// postgres, else nobody; when that user cannot reach the data directory, the cluster goes to /var/lib/forge (an
// ephemeral one to the temporary directory) and the log says so.
func Start(ctx context.Context, o Options) (_ *Server, err error) {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	begun := time.Now()
	all, err := settings(o)
	if err != nil {
		return nil, fmt.Errorf("embedded PostgreSQL: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("embedded PostgreSQL: %w", context.Cause(ctx))
	}
	dir, err := dataDir(o)
	if err != nil {
		return nil, fmt.Errorf("embedded PostgreSQL: %w", err)
	}
	s := &Server{ephemeral: o.Ephemeral, done: make(chan struct{})}
	s.place = place{dir: dir, home: dir}
	defer func() {
		if err != nil {
			err = fmt.Errorf("embedded PostgreSQL: %w", errors.Join(err, s.release()))
		}
	}()
	if s.lock, err = acquire(ctx, dir); err != nil {
		return nil, err
	}
	if s.place, err = settle(s.dir, o.Ephemeral, log); err != nil {
		return nil, err
	}
	if err := s.clearPrevious(ctx, log); err != nil {
		return nil, err
	}
	bin, err := s.binariesFor()
	if err != nil {
		return nil, err
	}
	fresh := !exists(s.pgdata())
	if fresh {
		if err := s.initialise(ctx, bin, o.Ephemeral); err != nil {
			return nil, err
		}
	}
	if s.home != s.dir {
		if err := writePointer(s.dir, s.home); err != nil {
			return nil, err
		}
	}
	if err := s.run(ctx, bin, all); err != nil {
		return nil, err
	}
	log.Info("PostgreSQL is ready", "version", bin.version, "data_dir", s.dir, "socket", s.sockets, "as", s.who.String(),
		"new", fresh, "took", time.Since(begun).Round(time.Millisecond))
	return s, nil
}

// dataDir is the one path of the data directory by which it is known, whatever links lead to it.
func dataDir(o Options) (string, error) {
	if o.DataDir == "" {
		if !o.Ephemeral {
			return "", errors.New("a durable database needs a data directory")
		}
		return os.MkdirTemp("", "forge-pg-")
	}
	if strings.ContainsAny(o.DataDir, "\n\x00") { // postmaster.pid and the pointer are read by line
		return "", fmt.Errorf("%q cannot be a data directory", o.DataDir)
	}
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return "", err
	}
	if err := makeDataDir(dir); err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, os.ErrNotExist) {
		return dir, nil // an ephemeral server removed it just now; there is no link in its place
	}
	return real, err
}

// clearPrevious waits for a server whose process was killed, and removes what it left that would stop ours. PostgreSQL
// itself would take any live process with the pid in these files for the old server; we hold the lock and have looked.
func (s *Server) clearPrevious(ctx context.Context, log *slog.Logger) error {
	if !exists(s.pgdata()) {
		return nil
	}
	err := awaitGone(ctx, s.pgdata(), func(pid int) {
		log.Info("waiting for the previous PostgreSQL to shut down", "pid", pid)
	})
	if err != nil {
		return err
	}
	if err := os.Remove(s.pidfile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if s.ephemeral { // it was run without fsync and its owner is gone
		return os.RemoveAll(s.pgdata())
	}
	return nil
}

// run starts the server and waits until it is ready.
func (s *Server) run(ctx context.Context, bin binaries, all map[string]string) error {
	var err error
	if s.sockets, err = s.socketDir(); err != nil {
		return err
	}
	for _, name := range []string{".s.PGSQL." + port, ".s.PGSQL." + port + ".lock"} {
		if err := os.Remove(filepath.Join(s.sockets, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if s.log, err = openLog(filepath.Join(s.dir, logName)); err != nil {
		return err
	}
	// Killed ourselves, we want the fast shutdown.
	cmd := s.command(bin.path("postgres"), serverArgs(s.pgdata(), s.sockets, all), s.pgdata(), syscall.SIGINT)
	p, err := launch(cmd, s.log.f)
	if err != nil {
		return err
	}
	if err := p.ready(ctx, s.pidfile()); err != nil {
		p.quit()
		if tail := s.log.tail(); tail != "" && ctx.Err() == nil {
			err = fmt.Errorf("%w; its log ends:\n%s", err, tail)
		}
		return err
	}
	s.process = p
	s.trimming.Go(func() { s.log.trimUntil(p.done) })
	go func() {
		<-p.done
		if !s.stopping.Load() {
			s.err = fmt.Errorf("postgres ended by itself: %w; its log ends:\n%s", p.exit(), s.log.tail())
		}
		close(s.done)
	}()
	return nil
}

// URL is the address of database as user, for pgx and libpq alike. Both are postgres when empty.
func (s *Server) URL(database, user string) string { return socketURL(s.sockets, database, user) }

// Done is closed when postgres has ended, by itself or by Stop.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err is why postgres ended by itself; nil while it runs and after Stop.
func (s *Server) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Stop shuts postgres down fast, cutting its sessions, and waits until it has ended; when ctx ends first it is stopped
// at once, which the next Start has to recover from, and the error says so. An ephemeral server's files are removed.
// Further calls wait for the first and return what it returned.
func (s *Server) Stop(ctx context.Context) error {
	s.stopOnce.Do(func() {
		s.stopping.Store(true)
		err := s.process.interrupt(ctx)
		<-s.done
		s.trimming.Wait()
		if err = errors.Join(err, s.release()); err != nil {
			s.stopErr = fmt.Errorf("embedded PostgreSQL: %w", err)
		}
	})
	return s.stopErr
}

// orphanPatience bounds the wait for processes whose postmaster was killed, before their files are removed.
const orphanPatience = 5 * time.Second

// release gives up what Start took, as far as it got, the lock last.
func (s *Server) release() error {
	if s.lock == nil {
		return nil
	}
	defer func() { _ = s.lock.Close() }() // closing is what unlocks, and cannot fail
	var errs []error
	remove := func(err error) {
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if s.log != nil {
		_ = s.log.f.Close()
	}
	if s.sockets != "" {
		remove(os.RemoveAll(s.sockets))
		remove(os.RemoveAll(filepath.Join(s.home, socketName)))
	}
	if !s.ephemeral {
		return errors.Join(errs...)
	}
	if exists(s.throwaway()) { // else it is a durable cluster, which Start refused
		ctx, cancel := context.WithTimeout(context.Background(), orphanPatience)
		defer cancel()
		_ = awaitGone(ctx, s.pgdata(), nil) // they have lost their files one way or the other
		s.sweep()
		for _, name := range []string{pgdataName, logName, movedName, throwawayName} {
			remove(os.RemoveAll(filepath.Join(s.home, name)))
			remove(os.RemoveAll(filepath.Join(s.dir, name)))
		}
		if s.home != s.dir {
			remove(os.Remove(s.home))
		}
	}
	if !exists(s.pgdata()) {
		remove(os.Remove(filepath.Join(s.dir, lockName)))
		_ = os.Remove(s.dir) // stays when it holds anything that is not ours
	}
	return errors.Join(errs...)
}
