package audit

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/robco-forge/forge/internal/audit/witness"
)

// Keys are the secrets of an installation that must not be in its database.
type Keys struct {
	// Writer is the master of the writers' keys: whoever has only the database cannot forge an entry.
	Writer [32]byte
	// Personal wraps the keys of the persons that entries are about.
	Personal [32]byte
	// Signing are the seeds of the Ed25519 keys that sign the log, the present one first. Others are being replaced: they
	// go on signing until nobody trusts them alone any more.
	Signing [][32]byte
}

const (
	writerKeyFile   = "audit-writer.key"
	personalKeyFile = "audit-personal.key"
	signingKeyFile  = "audit-checkpoint.key" // one key on a line
)

// ErrNoKeys says that the directory has no keys yet.
var ErrNoKeys = errors.New("no audit keys there; run `forge audit key generate --keys-dir DIR` once per installation and give every replica the same directory")

// Check is a fingerprint that tells one installation's keys from another's and gives nothing of them away.
func (k Keys) Check() []byte {
	mac := hmac.New(sha256.New, append(k.Writer[:], k.Personal[:]...))
	mac.Write([]byte("forge audit keys check v1"))
	return mac.Sum(nil)
}

// Signers sign as the log of that name. Another implementation of note.Signer may keep its key elsewhere.
func (k Keys) Signers(origin string) ([]note.Signer, error) {
	signers := make([]note.Signer, len(k.Signing))
	for i, seed := range k.Signing {
		public, err := publicKey(origin, seed)
		if err != nil {
			return nil, err
		}
		hash := strings.Split(strings.TrimPrefix(public, origin+"+"), "+")[0]
		secret := append([]byte{1}, seed[:]...) // 1 is Ed25519 (C2SP signed-note)
		signers[i], err = note.NewSigner("PRIVATE+KEY+" + origin + "+" + hash + "+" + base64.StdEncoding.EncodeToString(secret))
		if err != nil {
			return nil, fmt.Errorf("audit signing key: %w", err)
		}
	}
	return signers, nil
}

// PublicKeys are what verifies the log of that name, one on a line, the present one first.
func (k Keys) PublicKeys(origin string) (string, error) {
	var b strings.Builder
	for _, seed := range k.Signing {
		public, err := publicKey(origin, seed)
		if err != nil {
			return "", err
		}
		b.WriteString(public + "\n")
	}
	return b.String(), nil
}

func publicKey(origin string, seed [32]byte) (string, error) {
	key := ed25519.NewKeyFromSeed(seed[:])
	public, err := note.NewEd25519VerifierKey(origin, key.Public().(ed25519.PublicKey))
	if err != nil {
		return "", fmt.Errorf("audit signing key: %w", err)
	}
	return public, nil
}

// LoadKeys reads the keys of a directory. It refuses files that others than the owner can read.
func LoadKeys(dir string) (Keys, error) {
	var k Keys
	for file, into := range map[string]*[32]byte{writerKeyFile: &k.Writer, personalKeyFile: &k.Personal} {
		keys, err := loadKeys(filepath.Join(dir, file))
		if err != nil {
			return Keys{}, err
		}
		if len(keys) != 1 {
			return Keys{}, fmt.Errorf("%s holds %d keys, not one", filepath.Join(dir, file), len(keys))
		}
		*into = keys[0]
	}
	var err error
	k.Signing, err = loadKeys(filepath.Join(dir, signingKeyFile))
	return k, err
}

// loadKeys reads a file of keys: hexadecimal, one on a line.
func loadKeys(path string) ([][32]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", path, ErrNoKeys)
	}
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (mode %o); run chmod 600 on it", path, info.Mode().Perm())
	}
	text, err := os.ReadFile(path) //nolint:gosec // the path is the operator's own setting
	if err != nil {
		return nil, err
	}
	var keys [][32]byte
	for _, line := range strings.Fields(string(text)) {
		raw, err := hex.DecodeString(line)
		if err != nil || len(raw) != 32 {
			return nil, fmt.Errorf("%s does not hold keys of 64 hexadecimal digits", path)
		}
		keys = append(keys, [32]byte(raw))
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s holds no key", path)
	}
	return keys, nil
}

// RotateSigningKey makes a new key the one that signs. The old ones go on signing beside it, so that whoever trusts only
// those can follow; with retire, they end.
func RotateSigningKey(dir string, retire bool) error {
	path := filepath.Join(dir, signingKeyFile)
	keys, err := loadKeys(path)
	if err != nil {
		return err
	}
	if retire {
		keys = keys[:1]
	} else {
		var fresh [32]byte
		if _, err := rand.Read(fresh[:]); err != nil {
			return err
		}
		keys = append([][32]byte{fresh}, keys...)
	}
	var b strings.Builder
	for _, k := range keys {
		b.WriteString(hex.EncodeToString(k[:]) + "\n")
	}
	return witness.ReplaceFile(path, b.String())
}

// GenerateKeys writes new keys into dir, which is made if need be. It never replaces one that is there.
func GenerateKeys(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, file := range []string{writerKeyFile, personalKeyFile, signingKeyFile} {
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
