package witness

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// ErrContradiction says that a witness has seen another log of that name, or more of it than there is: the log was set
// back, or its past was changed.
var ErrContradiction = errors.New("the witness has seen what contradicts the log")

// Peer is a witness that a log shows its checkpoints to.
type Peer struct {
	url  string
	key  *torchwood.CosignatureVerifier
	http *http.Client
}

// ParsePeer reads "URL=KEY": where the witness answers, and its public key ("name+hash+base64").
func ParsePeer(text string, client *http.Client) (*Peer, error) {
	address, key, ok := strings.Cut(text, "=")
	u, err := url.Parse(address)
	if !ok || err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%q is not URL=KEY, such as https://witness.example.com=witness.example.com+0badcafe+BASE64", text)
	}
	v, err := torchwood.NewCosignatureVerifier(key)
	if err != nil {
		return nil, fmt.Errorf("the key of the witness %s: %w", u.Redacted(), err)
	}
	return &Peer{url: strings.TrimSuffix(address, "/") + "/add-checkpoint", key: v, http: client}, nil
}

// Name is the witness's.
func (p *Peer) Name() string { return p.key.Name() }

// Cosignature is a witness's signature, with the instant at which it saw the checkpoint.
type Cosignature struct {
	Line string // as it stands in a signed note, with its end of line
	At   time.Time
}

// Cosign has the witness sign a checkpoint. old is the size that it is thought to have seen; if it has seen another one, it
// is asked again with that. proof proves that the checkpoint's entries begin with so many.
func (p *Peer) Cosign(ctx context.Context, checkpoint string, size, old int64, proof func(old int64) ([]tlog.Hash, error)) (Cosignature, error) {
	for again := false; ; again = true {
		if old > size {
			return Cosignature{}, fmt.Errorf("%w: it has seen %d entries and there are %d", ErrContradiction, old, size)
		}
		var b bytes.Buffer
		fmt.Fprintf(&b, "old %d\n", old)
		if old > 0 && old < size {
			hashes, err := proof(old)
			if err != nil {
				return Cosignature{}, err
			}
			for _, h := range hashes {
				b.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
			}
		}
		b.WriteString("\n" + checkpoint)
		status, body, err := p.post(ctx, b.Bytes())
		if err != nil {
			return Cosignature{}, err
		}
		switch status {
		case http.StatusOK:
			return p.check(checkpoint, body)
		case http.StatusConflict:
			seen, err := strconv.ParseInt(strings.TrimSuffix(body, "\n"), 10, 64)
			if err != nil || seen < 0 {
				return Cosignature{}, fmt.Errorf("it answered 409 and no size: %.100q", body)
			}
			if again || seen == old {
				return Cosignature{}, fmt.Errorf("%w: it has seen another log of %d entries", ErrContradiction, seen)
			}
			old = seen
		case http.StatusUnprocessableEntity:
			return Cosignature{}, fmt.Errorf("%w: %.200s", ErrContradiction, strings.TrimSpace(body))
		default:
			return Cosignature{}, fmt.Errorf("it answered %d: %.200s", status, strings.TrimSpace(body))
		}
	}
}

func (p *Peer) post(ctx context.Context, body []byte) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	res, err := p.http.Do(req)
	if err != nil {
		return 0, "", err
	}
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxRequest))
	return res.StatusCode, string(answer), errors.Join(err, res.Body.Close())
}

// check takes the witness's own signature out of its answer, if it is one of the checkpoint.
func (p *Peer) check(checkpoint, lines string) (Cosignature, error) {
	text, _, _ := strings.Cut(checkpoint, "\n\n")
	n, err := note.Open([]byte(text+"\n\n"+lines), note.VerifierList(p.key))
	if err != nil {
		return Cosignature{}, fmt.Errorf("its signature: %w", err)
	}
	at, err := torchwood.CosignatureTimestamp(n.Sigs[0])
	if err != nil {
		return Cosignature{}, fmt.Errorf("its signature: %w", err)
	}
	return Cosignature{Line: "— " + n.Sigs[0].Name + " " + n.Sigs[0].Base64 + "\n", At: time.Unix(at, 0).UTC()}, nil
}
