//go:build linux

package pgembed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A holder writes its pid right after it has the lock; one who is refused waits so long to read it.
const (
	pidPatience = 200 * time.Millisecond
	pidInterval = 10 * time.Millisecond
)

// lockTries is how often the directory may be removed under us before something else must be wrong with it.
const lockTries = 100

// acquire makes dir when it is missing and takes the lock in it, which ends with this process at the latest: Go opens
// files close-on-exec, so the server does not inherit it.
func acquire(ctx context.Context, dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	for range lockTries {
		if err := makeDataDir(dir); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
		if errors.Is(err, os.ErrNotExist) {
			continue // an ephemeral server removed the directory between our two steps
		}
		if err != nil {
			return nil, err
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			pid := holder(ctx, f)
			_ = f.Close()
			return nil, &InUseError{DataDir: dir, PID: pid}
		}
		if err == nil && !names(path, f) {
			_ = f.Close()
			continue // that ephemeral server again: we locked a file that no one else will find
		}
		if err == nil {
			err = writePID(f)
		}
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		return f, nil
	}
	return nil, fmt.Errorf("%s keeps disappearing", path)
}

func makeDataDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	fi, err := os.Stat(dir)
	if err == nil && !fi.IsDir() {
		err = fmt.Errorf("%s is not a directory", dir)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil // gone again; opening the lock will tell
	}
	return err
}

// names tells whether path is still the name of f.
func names(path string, f *os.File) bool {
	there, err := os.Stat(path)
	if err != nil {
		return false
	}
	here, err := f.Stat()
	return err == nil && os.SameFile(there, here)
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// holder reads who has the lock, 0 when that cannot be told. A pid that no process has is a killed holder's, about to
// be overwritten by the present one.
func holder(ctx context.Context, f *os.File) int {
	tick := time.NewTicker(pidInterval)
	defer tick.Stop()
	end := time.NewTimer(pidPatience)
	defer end.Stop()
	for {
		text, _ := io.ReadAll(io.NewSectionReader(f, 0, 32))
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err == nil && pid > 0 && !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return pid
		}
		select {
		case <-tick.C:
		case <-end.C:
			return 0
		case <-ctx.Done():
			return 0
		}
	}
}
