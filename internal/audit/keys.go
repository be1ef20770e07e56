package audit

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Keys are the secrets of an installation that must not be in its database.
type Keys struct {
	// Writer is the master of the writers' keys: whoever has only the database cannot forge an entry.
	Writer [32]byte
	// Personal wraps the keys of the persons that entries are about.
	Personal [32]byte
}

const (
	writerKeyFile   = "audit-writer.key"
	personalKeyFile = "audit-personal.key"
)

// ErrNoKeys says that the directory has no keys yet.
var ErrNoKeys = errors.New("no audit keys there; run `forge audit key generate --keys-dir DIR` once per installation and give every replica the same directory")

// Check is a fingerprint that tells one installation's keys from another's and gives nothing of them away.
func (k Keys) Check() []byte {
	mac := hmac.New(sha256.New, append(k.Writer[:], k.Personal[:]...))
	mac.Write([]byte("forge audit keys check v1"))
	return mac.Sum(nil)
}

// LoadKeys reads the keys of a directory. It refuses files that others than the owner can read.
func LoadKeys(dir string) (Keys, error) {
	var k Keys
	for file, into := range map[string]*[32]byte{writerKeyFile: &k.Writer, personalKeyFile: &k.Personal} {
		if err := loadKey(filepath.Join(dir, file), into); err != nil {
			return Keys{}, err
		}
	}
	return k, nil
}

func loadKey(path string, into *[32]byte) error {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: %w", path, ErrNoKeys)
	}
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s can be read by others (mode %o); run chmod 600 on it", path, info.Mode().Perm())
	}
	text, err := os.ReadFile(path) //nolint:gosec // the path is the operator's own setting
	if err != nil {
		return err
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(raw) != len(into) {
		return fmt.Errorf("%s does not hold a key of 64 hexadecimal digits", path)
	}
	copy(into[:], raw)
	return nil
}

// GenerateKeys writes new keys into dir, which is made if need be. It never replaces one that is there.
func GenerateKeys(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, file := range []string{writerKeyFile, personalKeyFile} {
		var key [32]byte
		if _, err := rand.Read(key[:]); err != nil {
			return err
		}
		f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator's own setting
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		_, err = f.WriteString(hex.EncodeToString(key[:]) + "\n")
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}
