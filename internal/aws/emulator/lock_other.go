//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package emulator

import (
	"errors"
	"io"
)

// errLocked is what lockFile says when somebody else has the lock.
var errLocked = errors.New("locked by another process")

// lockFile refuses: without a lock that dies with its process, two emulators could share one state file.
func lockFile(string) (io.Closer, error) {
	return nil, errors.New("keeping state in a file is not supported on this platform; use memory only")
}

func syncDir(string) error { return nil }
