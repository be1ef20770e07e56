//go:build linux

package pgembed

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// What lies in a data directory.
const (
	lockName      = "lock"
	logName       = "postgres.log"
	pgdataName    = "pgdata"
	freshPattern  = "pgdata.new-*" // a cluster being initialised
	socketName    = "socket"       // a directory, or a link to it where this one's name would be too long
	movedName     = "moved-to"     // the absolute path of the home, where that is not the data directory
	throwawayName = "ephemeral"    // marks a cluster that was run without fsync
)

// stateDir is where root keeps clusters whose data directory the server cannot reach.
var stateDir = "/var/lib/forge"

// place is where the parts of one server are.
type place struct {
	dir  string // the data directory
	home string // where pgdata and the socket are: dir, unless the server's account cannot get there
	who  account
}

func (p place) pgdata() string    { return filepath.Join(p.home, pgdataName) }
func (p place) pidfile() string   { return filepath.Join(p.pgdata(), "postmaster.pid") }
func (p place) throwaway() string { return filepath.Join(p.home, throwawayName) }

// settle finds the home of the cluster of data directory dir, or chooses it. A cluster that exists is never passed
// over for an empty one because permissions or mounts have changed: that would look like lost data.
func settle(dir string, ephemeral bool, log *slog.Logger) (place, error) {
	p := place{dir: dir, home: dir}
	moved, err := readPointer(dir)
	if err != nil {
		return p, err
	}
	if moved != "" {
		p.home = moved
		if exists(p.pgdata()) {
			return p.existing(ephemeral)
		}
		if err := forget(p, ephemeral); err != nil {
			return p, err
		}
		p.home = dir
	}
	if exists(p.pgdata()) {
		return p.existing(ephemeral)
	}
	if p.who, err = serviceAccount(); err != nil {
		return p, err
	}
	if mayAdmit(dir) {
		if err := p.who.admit(dir); err != nil {
			return p, err
		}
	}
	closed := p.who.reach(dir)
	if closed == nil {
		return p, p.mark(ephemeral)
	}
	if !isClosed(closed) {
		return p, closed
	}
	if p.home, err = newHome(dir, ephemeral, p.who); err != nil {
		return p, fmt.Errorf("%w; and elsewhere: %w", closed, err)
	}
	log.Info("the database lives outside its data directory", "data_dir", dir, "moved_to", p.home, "because", closed.Error())
	if exists(p.pgdata()) { // the data directory was removed and made again, or its first start was killed
		log.Warn("there already was a database for this data directory; it is used", "moved_to", p.home)
		return p.existing(ephemeral)
	}
	if err := p.mark(ephemeral); err != nil {
		return p, err
	}
	if ephemeral { // its home has a random name, so it has to be known before it holds anything
		return p, writePointer(dir, p.home)
	}
	return p, nil
}

// existing takes the cluster as it is.
func (p place) existing(ephemeral bool) (place, error) {
	var err error
	if p.who, err = ownerAccount(p.pgdata()); err != nil {
		return p, err
	}
	err = p.who.reach(p.home)
	if isClosed(err) && mayAdmit(p.home) {
		if err = p.who.admit(p.home); err == nil {
			err = p.who.reach(p.home)
		}
	}
	if err != nil {
		return p, fmt.Errorf("the database in %s cannot be reached: %w", p.home, err)
	}
	switch marked := exists(p.throwaway()); {
	case ephemeral && !marked:
		return p, fmt.Errorf("%s holds a durable database; an ephemeral one needs a directory of its own", p.dir)
	case !ephemeral && marked:
		return p, fmt.Errorf("%s holds an ephemeral database; a durable one needs a directory of its own", p.dir)
	}
	return p, nil
}

// mark notes of which kind the cluster about to be made will be.
func (p place) mark(ephemeral bool) error {
	if ephemeral {
		return os.WriteFile(p.throwaway(), nil, 0o600)
	}
	err := os.Remove(p.throwaway())
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return err
}

// forget drops a pointer to a home without a cluster. Only that of a killed ephemeral server is like that: a durable
// one's is written when the cluster is complete.
func forget(p place, ephemeral bool) error {
	if marked := exists(p.throwaway()); !marked && (!ephemeral || exists(p.home)) {
		return fmt.Errorf("the database of %s was moved to %s and is not there: mount or restore it, or remove %s to begin with an empty one",
			p.dir, p.home, filepath.Join(p.dir, movedName))
	}
	if err := os.RemoveAll(p.home); err != nil {
		return err
	}
	return os.Remove(filepath.Join(p.dir, movedName))
}

// mayAdmit tells whether dir is root's and holds nothing but ours, so that its mode is ours to choose.
func mayAdmit(dir string) bool {
	fi, err := os.Stat(dir)
	if err != nil || fi.Sys().(*syscall.Stat_t).Uid != 0 {
		return false
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return !ours(e.Name()) })
}

func ours(name string) bool {
	fresh, _ := filepath.Match(freshPattern, name) // fails only on a malformed pattern
	return fresh || slices.Contains([]string{lockName, logName, pgdataName, socketName, movedName, throwawayName}, name)
}

func newHome(dir string, ephemeral bool, who account) (string, error) {
	if ephemeral {
		home, err := tempHome(who)
		if err == nil {
			return home, nil
		}
	}
	if err := os.MkdirAll(stateDir, 0o755); err != nil {
		return "", err
	}
	home := filepath.Join(stateDir, hash(dir))
	if err := os.Mkdir(home, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	if err := who.admit(home); err != nil {
		return "", err
	}
	return home, who.reach(home)
}

func tempHome(who account) (string, error) {
	home, err := os.MkdirTemp("", "forge-pg-")
	if err != nil {
		return "", err
	}
	err = who.admit(home)
	if err == nil {
		err = who.reach(home)
	}
	if err != nil {
		_ = os.Remove(home)
		return "", err
	}
	return home, nil
}

// readPointer returns where dir's cluster was moved, or "". It does not believe a pointer that another user may have
// written.
func readPointer(dir string) (string, error) {
	path := filepath.Join(dir, movedName)
	fi, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if !fi.Mode().IsRegular() || int(fi.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
		return "", fmt.Errorf("%s is not a file of this user's", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	home := strings.TrimSuffix(string(text), "\n")
	if !filepath.IsAbs(home) {
		return "", fmt.Errorf("%s does not hold an absolute path", path)
	}
	return home, nil
}

func writePointer(dir, home string) error {
	path := filepath.Join(dir, movedName)
	if was, err := readPointer(dir); err != nil || was == home {
		return err
	}
	if err := os.WriteFile(path+".tmp", []byte(home+"\n"), 0o600); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	return syncDir(dir)
}

// longestSocket is what sockaddr_un.sun_path holds besides the closing zero.
const longestSocket = 107

// socketDir makes the directory of the socket: in the home, or, where the name would be too long, a short one that is
// linked from there.
func (p place) socketDir() (string, error) {
	dir := filepath.Join(p.home, socketName)
	if fits(dir) {
		err := p.who.mkdir(dir)
		if errors.Is(err, os.ErrExist) {
			err = p.who.holds(dir)
		}
		return dir, err
	}
	var errs []error
	for _, base := range shortBases() {
		short := filepath.Join(base, "forge-pg-"+hash(p.home))
		if !fits(short) {
			continue
		}
		err := p.who.mkdir(short)
		if errors.Is(err, os.ErrExist) {
			err = p.who.holds(short) // anyone may make names in a shared directory
		}
		if err == nil {
			err = p.who.reach(short)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		return short, os.Symlink(short, dir)
	}
	return "", fmt.Errorf("no directory for the socket: its name must have at most %d bytes: %w", longestSocket, errors.Join(errs...))
}

func shortBases() []string {
	bases := []string{os.Getenv("XDG_RUNTIME_DIR"), os.TempDir(), "/tmp"}
	if os.Geteuid() == 0 {
		bases = []string{"/run", os.TempDir(), "/tmp"}
	}
	return slices.DeleteFunc(bases, func(b string) bool { return !filepath.IsAbs(b) })
}

// fits tells whether a socket in dir can be named: short enough, and without the comma that separates hosts in a URL.
func fits(dir string) bool {
	return len(filepath.Join(dir, ".s.PGSQL."+port)) <= longestSocket && !strings.Contains(dir, ",")
}

// holds returns nil when dir is a directory of the account's that nobody else can enter.
func (a account) holds(dir string) error {
	fi, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !fi.IsDir() || fi.Sys().(*syscall.Stat_t).Uid != a.uid || fi.Mode().Perm() != 0o700 {
		return fmt.Errorf("%s is not a directory of %s alone", dir, a)
	}
	return nil
}

func hash(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:8])
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }() // the sync has said what there is to say
	return d.Sync()
}
