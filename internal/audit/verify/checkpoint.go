// Package verify checks an audit log from what it publishes: checkpoints, tiles and leaves. It needs no database and no
// network, and trusts nothing but the keys that it is given.
package verify

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint is how many entries a log has, and the root of the tree over them (C2SP tlog-checkpoint).
type Checkpoint struct {
	Origin string
	Size   int64
	Root   tlog.Hash
	// Text is the whole note, with its signatures.
	Text string
	// SignedBy are the keys, of those that were trusted, whose signatures are on it.
	SignedBy []string
}

// CheckpointText is what is signed.
func CheckpointText(origin string, size int64, root tlog.Hash) string {
	return origin + "\n" + strconv.FormatInt(size, 10) + "\n" + base64.StdEncoding.EncodeToString(root[:]) + "\n"
}

var errCheckpoint = errors.New("not a checkpoint of three lines: origin, size, root")

// ParseCheckpoint reads a signed checkpoint and trusts what it says.
func ParseCheckpoint(text string) (Checkpoint, error) {
	body, _, ok := strings.Cut(text, "\n\n")
	if !ok {
		return Checkpoint{}, errCheckpoint
	}
	c, err := parseBody(body + "\n")
	c.Text = text
	return c, err
}

func parseBody(body string) (c Checkpoint, err error) {
	lines := strings.Split(body, "\n")
	if len(lines) != 4 || lines[3] != "" || lines[0] == "" {
		return c, errCheckpoint
	}
	c.Origin = lines[0]
	if c.Size, err = strconv.ParseInt(lines[1], 10, 64); err != nil || c.Size < 0 || strconv.FormatInt(c.Size, 10) != lines[1] {
		return c, errCheckpoint
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return c, errCheckpoint
	}
	c.Root = tlog.Hash(root)
	return c, nil
}

// OpenCheckpoint reads a checkpoint of the log that a trusted key has signed.
func OpenCheckpoint(text string, trusted Keys) (Checkpoint, error) {
	n, err := note.Open([]byte(text), note.VerifierList(trusted.verifiers...))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("its signature: %w", err)
	}
	c, err := parseBody(n.Text)
	if err != nil {
		return c, err
	}
	if c.Origin != trusted.Origin {
		return c, fmt.Errorf("it is of the log %q, not %q", c.Origin, trusted.Origin)
	}
	c.Text = text
	for _, s := range n.Sigs {
		c.SignedBy = append(c.SignedBy, fmt.Sprintf("%s+%08x", s.Name, s.Hash))
	}
	return c, nil
}

// Keys are the public keys of one log.
type Keys struct {
	Origin    string
	verifiers []note.Verifier
}

// ParseKeys reads public keys in the form of signed notes ("origin+hash+base64"), one on a line; "#" begins a remark. All
// must be of one log.
func ParseKeys(text string) (Keys, error) {
	var k Keys
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		v, err := note.NewVerifier(line)
		if err != nil {
			return k, fmt.Errorf("%q is no public key of a log: %w", line, err)
		}
		if k.Origin != "" && k.Origin != v.Name() {
			return k, fmt.Errorf("the keys are of two logs, %q and %q", k.Origin, v.Name())
		}
		k.Origin = v.Name()
		k.verifiers = append(k.verifiers, v)
	}
	if len(k.verifiers) == 0 {
		return k, errors.New("there is no public key of a log in it")
	}
	return k, nil
}
