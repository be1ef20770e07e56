//go:build linux

package pgembed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// serviceUsers are whom root runs the server as, the first that exists: PostgreSQL refuses to be root.
var serviceUsers = []string{"postgres", "nobody"}

// account is whom the server runs as.
type account struct {
	uid, gid uint32
	drop     bool // we are root and become this account
}

func (a account) String() string {
	if u, err := user.LookupId(strconv.Itoa(int(a.uid))); err == nil {
		return u.Username
	}
	return fmt.Sprintf("user %d", a.uid)
}

// ownAccount is this process's, for one that is not root.
func ownAccount() account {
	return account{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}
}

func serviceAccount() (account, error) {
	if os.Geteuid() != 0 {
		return ownAccount(), nil
	}
	for _, name := range serviceUsers {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return account{}, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return account{}, err
		}
		return account{uid: uint32(uid), gid: uint32(gid), drop: true}, nil
	}
	return account{}, fmt.Errorf("PostgreSQL does not run as root and there is no user %s to run it as", strings.Join(serviceUsers, " or "))
}

// ownerAccount is the account a cluster that exists must be run as: its owner.
func ownerAccount(pgdata string) (account, error) {
	fi, err := os.Stat(pgdata)
	if err != nil {
		return account{}, err
	}
	owner := fi.Sys().(*syscall.Stat_t)
	if os.Geteuid() != 0 {
		a := ownAccount()
		if owner.Uid != a.uid {
			return account{}, fmt.Errorf("%s belongs to user %d and this process is user %d: run it as the owner", pgdata, owner.Uid, a.uid)
		}
		return a, nil
	}
	if owner.Uid != 0 {
		return account{uid: owner.Uid, gid: owner.Gid, drop: true}, nil
	}
	// A copy that root made, from a backup say.
	a, err := serviceAccount()
	if err != nil {
		return account{}, err
	}
	return a, filepath.WalkDir(pgdata, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return a.own(path)
	})
}

// own gives path to the account.
func (a account) own(path string) error {
	if !a.drop {
		return nil
	}
	return os.Lchown(path, int(a.uid), int(a.gid))
}

// mkdir makes a directory for the account alone.
func (a account) mkdir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	return a.own(path)
}

// admit lets the account through root's directory, without seeing what else is in it.
func (a account) admit(dir string) error {
	if !a.drop {
		return nil
	}
	if err := os.Lchown(dir, 0, int(a.gid)); err != nil {
		return err
	}
	return os.Chmod(dir, 0o710)
}

// reach returns nil when the account may search dir and every directory above it. It goes by mode bits; an access
// list that says otherwise shows when the server starts.
func (a account) reach(dir string) error {
	if !a.drop {
		return nil
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	for ; ; real = filepath.Dir(real) {
		fi, err := os.Stat(real)
		if err != nil {
			return err
		}
		if !a.maySearch(fi) {
			return &closedError{dir: real, mode: fi.Mode().Perm(), who: a}
		}
		if real == "/" {
			return nil
		}
	}
}

func (a account) maySearch(fi os.FileInfo) bool {
	owner, mode := fi.Sys().(*syscall.Stat_t), fi.Mode().Perm()
	switch {
	case owner.Uid == a.uid:
		return mode&0o100 != 0
	case owner.Gid == a.gid:
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}

// closedError says which directory keeps the account out.
type closedError struct {
	dir  string
	mode os.FileMode
	who  account
}

func (e *closedError) Error() string {
	return fmt.Sprintf("%s (mode %04o) is closed to %s, whom PostgreSQL runs as", e.dir, e.mode, e.who)
}

func isClosed(err error) bool {
	var closed *closedError
	return errors.As(err, &closed)
}
