package verify

import (
	"errors"
	"fmt"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

// ParseWitness reads the public key of a witness (C2SP tlog-cosignature: "name+hash+base64").
func ParseWitness(text string) (note.Verifier, error) {
	v, err := torchwood.NewCosignatureVerifier(text)
	if err != nil {
		return nil, fmt.Errorf("%q is no public key of a witness: %w", text, err)
	}
	return v, nil
}

// CosignedAt is the instant in a witness's signature.
func CosignedAt(s note.Signature) (time.Time, error) {
	at, err := torchwood.CosignatureTimestamp(s)
	return time.Unix(at, 0).UTC(), err
}

// witnessed wants the signature of each of the witnesses on a checkpoint, and keeps the latest of their times.
func (r *Report) witnessed(c Checkpoint, by []note.Verifier) {
	for _, w := range by {
		r.Made(Signature)
		n, err := note.Open([]byte(c.Text), note.VerifierList(w))
		var unsigned *note.UnverifiedNoteError
		if errors.As(err, &unsigned) {
			r.Fail(Signature, -1, "", "the witness %s has not signed the checkpoint over %d entries", w.Name(), c.Size)
			continue
		}
		if err != nil {
			r.Fail(Signature, -1, "", "the witness %s: %v", w.Name(), err)
			continue
		}
		at, err := CosignedAt(n.Sigs[0])
		if err != nil {
			r.Fail(Signature, -1, "", "the witness %s: %v", w.Name(), err)
			continue
		}
		r.Note("%s had seen the log up to here at %s: what is in it was there by then.", w.Name(), at.Format(time.RFC3339))
		if at.After(r.Witnessed) {
			r.Witnessed = at
		}
	}
}

// notLater looks whether an entry claims to be younger than the witness's signature that covers it.
func (r *Report) notLater(index int64, id string, at time.Time) {
	if !r.Witnessed.IsZero() && at.After(r.Witnessed.Add(Skew)) {
		r.Fail(Times, index, id, "it says %s, and a witness had seen it at %s", at.UTC().Format(time.RFC3339), r.Witnessed.Format(time.RFC3339))
	}
}
