package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/audit/archive"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/audit/witness"
)

// Pins is where signed checkpoints are kept outside the database: whoever sets the database back cannot set them back
// too.
type Pins interface {
	// Latest is the newest checkpoint; empty when there is none.
	Latest(ctx context.Context) (string, error)
	Save(ctx context.Context, signed string) error
}

// PinDir keeps the newest checkpoint in a file of a directory, and one of each hour beside it.
type PinDir string

const newestPin = "checkpoint"

// Latest reads the newest.
func (d PinDir) Latest(context.Context) (string, error) {
	text, err := os.ReadFile(filepath.Join(string(d), newestPin))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

// Save replaces the newest: with either the old or the new one whole, whenever the machine ends.
func (d PinDir) Save(_ context.Context, signed string) error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return err
	}
	hour := filepath.Join(string(d), newestPin+"-"+time.Now().UTC().Format("2006-01-02T15"))
	if _, err := os.Stat(hour); errors.Is(err, os.ErrNotExist) {
		if err := witness.ReplaceFile(hour, signed); err != nil {
			return err
		}
	}
	return witness.ReplaceFile(filepath.Join(string(d), newestPin), signed)
}

// PinBucket keeps checkpoints in a bucket of S3, each under a name of its own, and locked where the bucket has locks. Make it
// with NewPinBucket.
type PinBucket struct {
	bucket *archive.Bucket

	mu   sync.Mutex
	next time.Time
}

const (
	// pinEvery is how often a checkpoint is stored in a bucket, where every one costs.
	pinEvery = 30 * time.Second
	// pinTime is how long storing may take: nothing is sequenced meanwhile.
	pinTime = 5 * time.Second
	// pinLock is how long a stored checkpoint is locked. A newer one holds what an older one does.
	pinLock = 30 * 24 * time.Hour
)

// ErrPins says that somebody has been at the pinned checkpoints.
var ErrPins = errors.New("audit: the pinned checkpoints are not as they were written")

// NewPinBucket keeps checkpoints in the bucket.
func NewPinBucket(b *archive.Bucket) *PinBucket { return &PinBucket{bucket: b} }

// pinName sorts the longest log first, as a bucket lists names in their order and from the start.
func pinName(size int64) string {
	return fmt.Sprintf("%s-%019d-%d", newestPin, math.MaxInt64-size, size)
}

// Latest reads the newest.
func (p *PinBucket) Latest(ctx context.Context) (string, error) {
	name, version, hidden, err := p.bucket.First(ctx, newestPin+"-")
	if errors.Is(err, archive.ErrNotThere) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if hidden {
		return "", fmt.Errorf("%w: a delete marker is on the newest, %s%s", ErrPins, p.bucket.Name(), name)
	}
	body, err := p.bucket.Open(ctx, name, version)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(body, verify.MaxCheckpoint))
	if err := errors.Join(err, body.Close()); err != nil {
		return "", err
	}
	c, err := verify.ParseCheckpoint(string(text))
	if err != nil || pinName(c.Size) != name {
		return "", errors.Join(fmt.Errorf("%w: %s%s is none, or of another size", ErrPins, p.bucket.Name(), name), err)
	}
	return string(text), nil
}

// Save stores the checkpoint, unless one was stored just before.
func (p *PinBucket) Save(ctx context.Context, signed string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Before(p.next) {
		return nil
	}
	p.next = now.Add(pinEvery) // if it fails as well: a bucket that does not answer must not be waited for at every checkpoint
	c, err := verify.ParseCheckpoint(signed)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pinTime)
	defer cancel()
	_, err = p.bucket.Put(ctx, pinName(c.Size), strings.NewReader(signed), int64(len(signed)), now.Add(pinLock))
	return err
}

// checkPins compares the tree with the newest pinned checkpoint.
func (s *Sequencer) checkPins(ctx context.Context) error {
	if s.cfg.Pins == nil {
		return nil
	}
	text, err := s.cfg.Pins.Latest(ctx)
	if err != nil || text == "" {
		return err
	}
	pinned, err := verify.ParseCheckpoint(text)
	if err != nil {
		return fmt.Errorf("the pinned checkpoint: %w", err)
	}
	return s.fenced(ctx, func(tx pgx.Tx, t *treeState) error {
		if pinned.Origin != s.cfg.Origin || pinned.Size > t.Size {
			return fmt.Errorf("%w: pinned is a checkpoint of %q over %d entries, and the tree of %q has %d; was an old backup restored?", ErrFork, pinned.Origin, pinned.Size, s.cfg.Origin, t.Size)
		}
		root, err := newTiles(ctx, tx, t).root(pinned.Size)
		if err == nil && root != pinned.Root {
			err = fmt.Errorf("%w: the pinned checkpoint over %d entries has another root", ErrFork, pinned.Size)
		}
		return err
	})
}
