package verify

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/robco-forge/forge/internal/audit/leaf"
)

// MaxProof bounds a proof: a leaf, a checkpoint, and the hashes of a tree as deep as there can be.
const MaxProof = 256 << 10

// Proof shows that an entry is in a log (C2SP tlog-proof).
type Proof struct {
	Index  int64
	Hashes tlog.RecordProof
	// Checkpoint is what it is shown to be in.
	Checkpoint string
	// Leaf is the entry's bytes; nil when the proof does not bring them.
	Leaf []byte
}

// ProofHead is how a proof begins.
const ProofHead = "c2sp.org/tlog-proof@v1\n"

// Text is the proof as it is written.
func (p Proof) Text() string {
	var b strings.Builder
	b.WriteString(ProofHead)
	if p.Leaf != nil {
		b.WriteString("extra " + base64.StdEncoding.EncodeToString(p.Leaf) + "\n")
	}
	fmt.Fprintf(&b, "index %d\n", p.Index)
	for _, h := range p.Hashes {
		b.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
	}
	b.WriteString("\n" + p.Checkpoint)
	return b.String()
}

var errProof = errors.New("not a proof of C2SP tlog-proof")

// ParseProof reads a proof and trusts what it says.
func ParseProof(text string) (p Proof, err error) {
	rest, ok := strings.CutPrefix(text, ProofHead)
	if !ok {
		return p, errProof
	}
	head, checkpoint, ok := strings.Cut(rest, "\n\n")
	if !ok {
		return p, errProof
	}
	p.Checkpoint = checkpoint
	lines := strings.Split(head, "\n")
	if extra, ok := strings.CutPrefix(lines[0], "extra "); ok {
		if p.Leaf, err = base64.StdEncoding.Strict().DecodeString(extra); err != nil {
			return p, errProof
		}
		lines = lines[1:]
	}
	if len(lines) == 0 {
		return p, errProof
	}
	index, ok := strings.CutPrefix(lines[0], "index ")
	if !ok {
		return p, errProof
	}
	if p.Index, err = strconv.ParseInt(index, 10, 64); err != nil || p.Index < 0 || strconv.FormatInt(p.Index, 10) != index {
		return p, errProof
	}
	for _, line := range lines[1:] {
		h, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(h) != tlog.HashSize {
			return p, errProof
		}
		p.Hashes = append(p.Hashes, tlog.Hash(h))
	}
	return p, nil
}

// CheckProof verifies a proof that brings its leaf. Each is given the entry when everything about it is right; so is
// whether it was.
func CheckProof(r *Report, text string, k Keys) (p Proof, e leaf.Entry, ok bool) {
	r.Made(Signature, Leaves, Content)
	p, err := ParseProof(text)
	if err != nil {
		r.Fail(Leaves, -1, "", "%v", err)
		return p, e, false
	}
	e, decoding := leaf.Decode(p.Leaf)
	c, ok := r.open("the checkpoint of the proof", p.Index, e.ID, p.Checkpoint, k)
	if !ok {
		return p, e, false
	}
	if err := tlog.CheckRecord(p.Hashes, c.Size, c.Root, p.Index, tlog.RecordHash(p.Leaf)); err != nil {
		r.Fail(Leaves, p.Index, e.ID, "the proof does not lead from the entry to the signed root: %v", err)
		if !r.Off(Leaves) {
			return p, e, false
		}
	}
	if decoding != nil {
		r.Fail(Content, p.Index, "", "%v", decoding)
		return p, e, false
	}
	if e.Log != c.Origin {
		r.Fail(Content, p.Index, e.ID, "it is an entry of the log %q", e.Log)
	}
	r.Entries++
	return p, e, true
}

// Receipt verifies a proof that somebody kept, alone: that its entry was in the log that was signed. Given pinned checkpoints
// of the same size, they must agree.
func Receipt(r *Report, text string, o Options) {
	r.Made(Receipts)
	p, e, ok := CheckProof(r, text, o.Keys)
	if !ok {
		if !r.failed[Receipts] && !r.OK() {
			r.Fail(Receipts, p.Index, e.ID, "this is no proof that the entry is in the log")
		}
		return
	}
	r.First, r.Behind, r.Newest = p.Index, p.Index+1, e.Time
	if c, err := ParseCheckpoint(p.Checkpoint); err == nil {
		r.Origin, r.Size = c.Origin, c.Size
		r.witnessed(c, o.Witnesses)
		r.compare(c, o)
	}
	r.Note("The entry: %s by %s %s on %s %s at %s.", e.Action, e.Actor.Type, e.Actor.ID, e.Resource.Type, e.Resource.ID, e.Time.Format(time.RFC3339Nano))
}

// compare compares a checkpoint with pinned ones of the same size: with the hashes of single entries there is no way to others.
func (r *Report) compare(c Checkpoint, o Options) {
	for _, text := range o.Pinned {
		pinned, err := OpenCheckpoint(text, o.Keys)
		switch {
		case err != nil:
			r.Fail(Signature, -1, "", "a pinned checkpoint: %v", err)
		case pinned.Size == c.Size && pinned.Root != c.Root:
			r.Fail(History, -1, "", "two different logs of %d entries were signed", c.Size)
		case pinned.Size == c.Size:
			r.Made(History)
		default:
			r.Note("The pinned checkpoint over %d entries cannot be compared with one over %d without the hashes between, which a bundle of a period has.", pinned.Size, c.Size)
		}
	}
	if len(o.Pinned) > 0 {
		r.Skip(History, "the checkpoints that were given are of other sizes")
	}
}
