package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// ErrNotThere is what a store answers for what it does not have.
var ErrNotThere = errors.New("it is not in the store")

// ErrLocked says that the store keeps an object, whoever asks.
var ErrLocked = errors.New("the store has it locked")

// Object is what a store says of one of its objects.
type Object struct {
	// Version tells writings of one name apart; empty in a store that has none.
	Version string
	// LockedUntil is until when nobody can remove it, the zero time for an object without a lock.
	LockedUntil time.Time
	// Compliance says that the lock cannot be ended early by anybody.
	Compliance bool
	// Hold says that a legal hold is on it.
	Hold bool
}

// Store keeps archives.
type Store interface {
	// Name says where it is, for people.
	Name() string
	// Locks says whether the store itself keeps objects from being removed.
	Locks() bool
	// Put stores a file of so many bytes, locked until then; the zero time is no lock. It returns the version. To put the
	// same again is no error.
	Put(ctx context.Context, name string, body io.ReadSeeker, size int64, until time.Time) (version string, err error)
	// Open reads a version; the empty one is the newest.
	Open(ctx context.Context, name, version string) (io.ReadCloser, error)
	// Stat tells of the newest version: ErrNotThere when that says that it was removed.
	Stat(ctx context.Context, name string) (Object, error)
	// Hold puts a legal hold on a version, or takes it away. A store without locks does nothing.
	Hold(ctx context.Context, name, version string, on bool) error
	// Remove removes a version: ErrLocked when the store does not let it go.
	Remove(ctx context.Context, name, version string) error
}

// Dir is a store in a directory. It keeps nobody from removing files: put it where only archiving may write.
type Dir string

var fileName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$`)

func (d Dir) path(name string) (string, error) {
	if !fileName.MatchString(name) {
		return "", fmt.Errorf("%w: %q is no name of an archive file", ErrNotThere, name)
	}
	return filepath.Join(string(d), filepath.FromSlash(name)), nil
}

// Name is the directory.
func (d Dir) Name() string { return string(d) }

// Locks is false.
func (Dir) Locks() bool { return false }

// Put writes the file whole or not at all, read-only.
func (d Dir) Put(_ context.Context, name string, body io.ReadSeeker, _ int64, _ time.Time) (string, error) {
	path, err := d.path(name)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".coming-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it is gone when all went well
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, sum), body)
	if err := errors.Join(err, f.Chmod(0o440), f.Sync(), f.Close()); err != nil {
		return "", err
	}
	err = os.Link(f.Name(), path)
	if errors.Is(err, os.ErrExist) {
		return "", same(path, sum.Sum(nil))
	}
	return "", err
}

// same is an error unless the file has that hash.
func same(path string, sum []byte) error {
	f, err := os.Open(path) //nolint:gosec // a name that was checked
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	have := sha256.New()
	if _, err := io.Copy(have, f); err != nil {
		return err
	}
	if string(have.Sum(nil)) != string(sum) {
		return fmt.Errorf("%s is there with another content", path)
	}
	return nil
}

// Open reads a file.
func (d Dir) Open(_ context.Context, name, _ string) (io.ReadCloser, error) {
	path, err := d.path(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path) //nolint:gosec // a name that was checked
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotThere
	}
	return f, err
}

// Stat tells whether it is there.
func (d Dir) Stat(_ context.Context, name string) (Object, error) {
	path, err := d.path(name)
	if err != nil {
		return Object{}, err
	}
	_, err = os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		err = ErrNotThere
	}
	return Object{}, err
}

// Hold does nothing.
func (Dir) Hold(context.Context, string, string, bool) error { return nil }

// Remove removes a file.
func (d Dir) Remove(_ context.Context, name, _ string) error {
	path, err := d.path(name)
	if err != nil {
		return err
	}
	err = os.Remove(path)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return err
}
