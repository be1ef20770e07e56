package archive

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// manifestHead is the first line of a signed manifest: no checkpoint begins with it, so that the same key may sign both.
const manifestHead = "forge audit archive v1"

// MaxManifest is the most bytes of a manifest.
const MaxManifest = 16 << 20

// File is a file of a manifest.
type File struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
	// Entries is how many records it has, the places of the first and the last between First and Last.
	Entries int64 `json:"entries"`
	First   int64 `json:"first"`
	Last    int64 `json:"last"`
}

// Manifest is what an archive of a month says of itself.
type Manifest struct {
	// Log is the origin of the log, Month like "2026-01".
	Log   string    `json:"log"`
	Month string    `json:"month"`
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	// Entries is how many there are, and Ranges their places, first and last: entries of the months beside it lie between.
	Entries int64      `json:"entries"`
	Ranges  [][2]int64 `json:"ranges"`
	Files   []File     `json:"files"`
	// Personal are the files of what is known of persons. They are no evidence and may be gone.
	Personal []File `json:"personal,omitempty"`
	// Checkpoint covers all of it, with the signatures of the witnesses that had seen it.
	Checkpoint string `json:"checkpoint"`
	// Previous is the SHA-256 of the manifest of the month before; empty for the first.
	Previous string `json:"previous,omitempty"`
}

// Sign is the manifest as it is stored.
func (m *Manifest) Sign(signers ...note.Signer) (string, error) {
	body, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return "", err
	}
	signed, err := note.Sign(&note.Note{Text: manifestHead + "\n" + string(body) + "\n"}, signers...)
	return string(signed), err
}

// ErrManifest says that a manifest is not what the log's owner signed.
var ErrManifest = errors.New("the manifest is not as it was signed")

// Open reads a manifest that a trusted key has signed.
func Open(text []byte, trusted note.Verifiers) (Manifest, error) {
	var m Manifest
	n, err := note.Open(text, trusted)
	if err != nil {
		return m, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	head, body, _ := strings.Cut(n.Text, "\n")
	if head != manifestHead {
		return m, fmt.Errorf("%w: it is no manifest", ErrManifest)
	}
	d := json.NewDecoder(strings.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	return m, nil
}

// Hash is the SHA-256 of a stored manifest, in hexadecimal.
func Hash(text []byte) string { return fmt.Sprintf("%x", sha256.Sum256(text)) }

// The kinds of files.
const (
	KindEntries  = "entries"
	KindManifest = "manifest"
	KindPersonal = "personal"
)

// IsPersonal says that a file of that name is of what is known of persons: it has no lock.
func IsPersonal(name string) bool { return strings.Contains(name, "/"+KindPersonal+"-") }

// Name is where a file of a month goes: its content is in its name, so that nothing is ever written over.
func Name(month, kind, sha, ending string) string {
	return month + "/" + kind + "-" + sha[:16] + ending
}
