// Package witness watches logs for others: it signs a checkpoint with its own key and the time when it follows from the
// one that it signed before, and never two that contradict each other (C2SP tlog-witness). Run by somebody else than the
// log, on another machine, it keeps whoever has the log and its keys from writing its past anew.
package witness

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/robco-forge/forge/internal/audit/verify"
)

const (
	// maxRequest is more than the longest request: 63 hashes and a checkpoint with its signatures.
	maxRequest = 64 << 10
	maxProof   = 63
	sizeType   = "text/x.tlog.size"

	keyFile  = "witness.key"
	lockFile = "lock"
)

// Witness is one, with a directory where it keeps its key and what it has signed.
type Witness struct {
	dir    string
	lock   *os.File
	logs   map[string]verify.Keys // by origin
	signer *torchwood.CosignatureSigner
	log    *slog.Logger

	mu sync.Mutex // a checkpoint at a time
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,200}$`)

// MakeKey makes the key of a witness of that name, if the directory has none, and returns the public key that logs and
// auditors trust it by. The name is like a URL without its scheme.
func MakeKey(dir, name string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path := filepath.Join(dir, keyFile)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if !nameForm.MatchString(name) {
			return "", fmt.Errorf("%q is no name for a witness: letters, digits, dots, dashes and slashes, such as witness.example.com/audit", name)
		}
		seed := make([]byte, ed25519.SeedSize)
		if _, err := rand.Read(seed); err != nil {
			return "", err
		}
		if err := ReplaceFile(path, name+"\n"+base64.StdEncoding.EncodeToString(seed)+"\n"); err != nil {
			return "", err
		}
	}
	s, err := loadKey(path)
	if err != nil {
		return "", err
	}
	if name != "" && s.Name() != name {
		return "", fmt.Errorf("%s is the key of %q; a witness keeps its name for ever", path, s.Name())
	}
	return s.Verifier().String(), nil
}

func loadKey(path string) (*torchwood.CosignatureSigner, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the operator's own setting
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) != 3 || lines[2] != "" {
		return nil, fmt.Errorf("%s is no key of a witness", path)
	}
	seed, err := base64.StdEncoding.Strict().DecodeString(lines[1])
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("%s is no key of a witness", path)
	}
	return torchwood.NewCosignatureSigner(lines[0], ed25519.NewKeyFromSeed(seed))
}

// Open opens the witness of a directory for the logs whose keys are given. No other process can have it open: two could
// sign what contradicts each other.
func Open(dir string, logs []verify.Keys, log *slog.Logger) (_ *Witness, err error) {
	w := &Witness{dir: dir, logs: map[string]verify.Keys{}, log: log}
	for _, k := range logs {
		if _, twice := w.logs[k.Origin]; twice {
			return nil, fmt.Errorf("the keys of the log %q are given twice: put them into one file", k.Origin)
		}
		w.logs[k.Origin] = k
	}
	if w.signer, err = loadKey(filepath.Join(dir, keyFile)); err != nil {
		return nil, fmt.Errorf("the witness's key (forge audit witness key makes one): %w", err)
	}
	if w.lock, err = os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600); err != nil { //nolint:gosec // as above
		return nil, err
	}
	if err := syscall.Flock(int(w.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another process has %s open", dir), w.lock.Close())
	}
	return w, nil
}

// Close lets another process open the directory.
func (w *Witness) Close() error { return w.lock.Close() }

// PublicKey is what trusts this witness.
func (w *Witness) PublicKey() string { return w.signer.Verifier().String() }

// Handler serves POST /add-checkpoint.
func (w *Witness) Handler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("POST /add-checkpoint", w.addCheckpoint)
	return m
}

// refusal is an answer of the protocol.
type refusal struct {
	status int
	why    string
	size   int64 // of 409: what this witness has seen
}

func (r *refusal) Error() string { return r.why }

func (w *Witness) addCheckpoint(out http.ResponseWriter, in *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(out, in.Body, maxRequest))
	if err != nil {
		http.Error(out, "the request is too long, or was cut off", http.StatusBadRequest)
		return
	}
	line, err := w.add(body)
	var no *refusal
	switch {
	case err == nil:
		out.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(out, line)
	case errors.As(err, &no) && no.status == http.StatusConflict:
		out.Header().Set("Content-Type", sizeType)
		out.WriteHeader(no.status)
		_, _ = fmt.Fprintf(out, "%d\n", no.size)
	case errors.As(err, &no):
		http.Error(out, no.why, no.status)
	default:
		w.log.ErrorContext(in.Context(), "witness", "error", err)
		http.Error(out, "the witness could not keep it", http.StatusInternalServerError)
	}
	if no != nil {
		w.log.WarnContext(in.Context(), "witness: refused", "status", no.status, "why", no.why)
	}
}

// request is the parts of a body: "old" and a size, hashes, an empty line, a checkpoint.
func request(body []byte) (old int64, proof []tlog.Hash, checkpoint string, err error) {
	bad := &refusal{status: http.StatusBadRequest, why: `not a request of tlog-witness: "old SIZE", at most 63 hashes, an empty line, and the checkpoint`}
	r := bufio.NewReader(bytes.NewReader(body))
	next := func() (string, bool) {
		line, err := r.ReadString('\n')
		return strings.TrimSuffix(line, "\n"), err == nil
	}
	line, ok := next()
	size, found := strings.CutPrefix(line, "old ")
	if old, err = strconv.ParseInt(size, 10, 64); !ok || !found || err != nil || old < 0 || strconv.FormatInt(old, 10) != size {
		return 0, nil, "", bad
	}
	for {
		line, ok := next()
		if !ok {
			return 0, nil, "", bad
		}
		if line == "" {
			break
		}
		h, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(h) != tlog.HashSize || len(proof) == maxProof {
			return 0, nil, "", bad
		}
		proof = append(proof, tlog.Hash(h))
	}
	rest, err := io.ReadAll(r)
	return old, proof, string(rest), err
}

// add signs the checkpoint of a request, or says why not. What it signs is on the disk before anybody has the signature.
func (w *Witness) add(body []byte) (string, error) {
	old, proof, text, err := request(body)
	if err != nil {
		return "", err
	}
	claimed, err := verify.ParseCheckpoint(text)
	if err != nil {
		return "", &refusal{status: http.StatusBadRequest, why: err.Error()}
	}
	keys, known := w.logs[claimed.Origin]
	if !known {
		return "", &refusal{status: http.StatusNotFound, why: "this witness does not watch the log " + strconv.Quote(claimed.Origin)}
	}
	c, err := verify.OpenCheckpoint(text, keys)
	if err != nil {
		return "", &refusal{status: http.StatusForbidden, why: err.Error()}
	}
	if old > c.Size {
		return "", &refusal{status: http.StatusBadRequest, why: "the old size is larger than the checkpoint's"}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	path := filepath.Join(w.dir, stateFile(c.Origin))
	seen, err := load(path)
	if err != nil {
		return "", err
	}
	switch {
	case seen.Size != old:
		return "", &refusal{status: http.StatusConflict, why: fmt.Sprintf("%d entries were seen, not %d", seen.Size, old), size: seen.Size}
	case old == c.Size && old > 0 && seen.Root != c.Root:
		return "", &refusal{status: http.StatusConflict, why: fmt.Sprintf("two roots for %d entries: the log contradicts itself", old), size: seen.Size}
	case old == 0 || old == c.Size:
		if len(proof) > 0 {
			return "", &refusal{status: http.StatusUnprocessableEntity, why: "there is nothing to prove from nothing, or from the same size"}
		}
	default:
		if err := tlog.CheckTree(proof, c.Size, c.Root, old, seen.Root); err != nil {
			return "", &refusal{status: http.StatusUnprocessableEntity, why: fmt.Sprintf("the proof does not show that %d entries begin with the %d that were seen", c.Size, old)}
		}
	}
	signed, err := note.Sign(&note.Note{Text: verify.CheckpointText(c.Origin, c.Size, c.Root)}, w.signer)
	if err != nil {
		return "", err
	}
	if err := ReplaceFile(path, text); err != nil {
		return "", err
	}
	_, line, _ := strings.Cut(string(signed), "\n\n")
	return line, nil
}

// stateFile is where the newest checkpoint of a log is.
func stateFile(origin string) string {
	sum := sha256.Sum256([]byte(origin))
	return hex.EncodeToString(sum[:16]) + ".checkpoint"
}

// load is the newest checkpoint that was signed; none is of no entries.
func load(path string) (verify.Checkpoint, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the witness's own
	if errors.Is(err, os.ErrNotExist) {
		return verify.Checkpoint{}, nil
	}
	if err != nil {
		return verify.Checkpoint{}, err
	}
	return verify.ParseCheckpoint(string(text))
}

// ReplaceFile gives a file other content: either the old or the new one is there, whole, whenever the machine ends.
func ReplaceFile(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
