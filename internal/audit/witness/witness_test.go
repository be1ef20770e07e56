package witness_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/audit/witness"
)

const origin = "forge.example.com/audit"

// tree is a log in memory: its stored hashes, as tlog lays them out.
type tree struct {
	stored []tlog.Hash
	size   int64
	signer note.Signer
	keys   verify.Keys
}

func (l *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = l.stored[x]
	}
	return out, nil
}

func newTree(t *testing.T) *tree {
	t.Helper()
	secret, public, err := note.GenerateKey(nil, origin)
	if err != nil {
		t.Fatal(err)
	}
	l := &tree{}
	if l.signer, err = note.NewSigner(secret); err != nil {
		t.Fatal(err)
	}
	if l.keys, err = verify.ParseKeys(public); err != nil {
		t.Fatal(err)
	}
	return l
}

// grow adds entries; what they say makes two logs differ.
func (l *tree) grow(t *testing.T, n int, says string) {
	t.Helper()
	for range n {
		hashes, err := tlog.StoredHashes(l.size, fmt.Appendf(nil, "%s %d", says, l.size), l)
		if err != nil {
			t.Fatal(err)
		}
		l.stored, l.size = append(l.stored, hashes...), l.size+1
	}
}

func (l *tree) checkpoint(t *testing.T, size int64) string {
	t.Helper()
	root, err := tlog.TreeHash(size, l)
	if err != nil {
		t.Fatal(err)
	}
	text, err := note.Sign(&note.Note{Text: verify.CheckpointText(origin, size, root)}, l.signer)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (l *tree) proof(size int64) func(int64) ([]tlog.Hash, error) {
	return func(old int64) ([]tlog.Hash, error) { return tlog.ProveTree(size, old, l) }
}

// serve is a witness of the log in the directory, and how it is reached.
func serve(t *testing.T, dir string, l *tree) (*witness.Witness, *witness.Peer, string) {
	t.Helper()
	key, err := witness.MakeKey(dir, "witness.example.com")
	if err != nil {
		t.Fatal(err)
	}
	w, err := witness.Open(dir, []verify.Keys{l.keys}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(w.Handler())
	t.Cleanup(func() { s.Close(); _ = w.Close() })
	p, err := witness.ParsePeer(s.URL+"="+key, s.Client())
	if err != nil {
		t.Fatal(err)
	}
	return w, p, s.URL + "/add-checkpoint"
}

func TestAWitnessSignsWhatFollowsAndNothingElse(t *testing.T) {
	l, dir := newTree(t), t.TempDir()
	w, peer, _ := serve(t, dir, l)
	l.grow(t, 5, "a")
	sign := func(l *tree, size, old int64) error {
		c, err := peer.Cosign(t.Context(), l.checkpoint(t, size), size, old, l.proof(size))
		if err != nil {
			return err
		}
		if !strings.HasPrefix(c.Line, "— witness.example.com ") || c.At.IsZero() {
			t.Errorf("cosignature %+v", c)
		}
		return nil
	}
	for _, c := range []struct{ size, old int64 }{{3, 0}, {3, 3}, {5, 3}} {
		if err := sign(l, c.size, c.old); err != nil {
			t.Fatalf("%d after %d: %v", c.size, c.old, err)
		}
	}
	l.grow(t, 700, "a")
	if err := sign(l, 600, 0); err != nil {
		t.Fatalf("a log that has forgotten what the witness saw is told: %v", err)
	}
	// It was set back.
	if err := sign(l, 500, 500); !errors.Is(err, witness.ErrContradiction) {
		t.Errorf("a log that was set back: %v", err)
	}
	// Its past was written anew, and it is as long, or longer.
	other := newTree(t)
	other.signer, other.keys = l.signer, l.keys
	other.grow(t, 705, "b")
	for _, size := range []int64{600, 705} {
		if err := sign(other, size, 600); !errors.Is(err, witness.ErrContradiction) {
			t.Errorf("another log of %d: %v", size, err)
		}
	}
	// A restart forgets nothing.
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_, peer, _ = serve(t, dir, l)
	if err := sign(other, 705, 600); !errors.Is(err, witness.ErrContradiction) {
		t.Errorf("after a restart: %v", err)
	}
	if err := sign(l, 705, 600); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

func TestRequestsThatAWitnessRefuses(t *testing.T) {
	l := newTree(t)
	l.grow(t, 10, "a")
	_, peer, url := serve(t, t.TempDir(), l)
	if _, err := peer.Cosign(t.Context(), l.checkpoint(t, 4), 4, 0, l.proof(4)); err != nil {
		t.Fatal(err)
	}
	proof, err := tlog.ProveTree(9, 4, l)
	if err != nil {
		t.Fatal(err)
	}
	lines := func(hs []tlog.Hash) (text string) {
		for _, h := range hs {
			text += base64.StdEncoding.EncodeToString(h[:]) + "\n"
		}
		return text
	}
	stranger := newTree(t)
	stranger.stored, stranger.size = l.stored, l.size
	elsewhere := strings.Replace(l.checkpoint(t, 9), origin, "elsewhere.example.com", 1)
	wrong := append([]tlog.Hash{}, proof...)
	wrong[0][0] ^= 1
	for name, c := range map[string]struct {
		body   string
		status int
		answer string
	}{
		"empty":                {"", 400, ""},
		"no old":               {"\n" + l.checkpoint(t, 9), 400, ""},
		"a negative size":      {"old -1\n\n" + l.checkpoint(t, 9), 400, ""},
		"a size with a sign":   {"old +4\n\n" + l.checkpoint(t, 9), 400, ""},
		"no empty line":        {"old 4\n" + lines(proof), 400, ""},
		"a hash of 31 bytes":   {"old 4\n" + base64.StdEncoding.EncodeToString(make([]byte, 31)) + "\n\n" + l.checkpoint(t, 9), 400, ""},
		"64 hashes":            {"old 4\n" + lines(make([]tlog.Hash, 64)) + "\n" + l.checkpoint(t, 9), 400, ""},
		"no checkpoint":        {"old 4\n" + lines(proof) + "\n", 400, ""},
		"too long":             {"old 4\n\n" + strings.Repeat("x", 70_000), 400, ""},
		"old above the size":   {"old 10\n\n" + l.checkpoint(t, 9), 400, ""},
		"another log":          {"old 0\n\n" + elsewhere, 404, ""},
		"another key":          {"old 4\n" + lines(proof) + "\n" + stranger.checkpoint(t, 9), 403, ""},
		"unsigned":             {"old 4\n" + lines(proof) + "\n" + strings.SplitAfter(l.checkpoint(t, 9), "\n\n")[0], 403, ""},
		"what it has not seen": {"old 5\n\n" + l.checkpoint(t, 9), 409, "4\n"},
		"from the start again": {"old 0\n\n" + l.checkpoint(t, 9), 409, "4\n"},
		"no proof":             {"old 4\n\n" + l.checkpoint(t, 9), 422, ""},
		"half a proof":         {"old 4\n" + lines(proof[1:]) + "\n" + l.checkpoint(t, 9), 422, ""},
		"a wrong proof":        {"old 4\n" + lines(wrong) + "\n" + l.checkpoint(t, 9), 422, ""},
		"a proof of the same":  {"old 4\n" + lines(proof) + "\n" + l.checkpoint(t, 4), 422, ""},
		"right":                {"old 4\n\n" + l.checkpoint(t, 4), 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			res, err := http.Post(url, "text/plain", bytes.NewReader([]byte(c.body)))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			if err := errors.Join(err, res.Body.Close()); err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != c.status || c.answer != "" && string(body) != c.answer || (c.status == 409) != (res.Header.Get("Content-Type") == "text/x.tlog.size") {
				t.Errorf("%s %s %q, want %d %q", res.Status, res.Header.Get("Content-Type"), body, c.status, c.answer)
			}
		})
	}
}

// Whoever asks at the same time with two different logs gets one of them signed.
func TestOfTwoRequestsAtOnceOneIsSigned(t *testing.T) {
	for round := range 20 {
		a := newTree(t)
		b := newTree(t)
		b.signer, b.keys = a.signer, a.keys
		a.grow(t, 3, "a")
		b.grow(t, 3, "b")
		_, peer, _ := serve(t, t.TempDir(), a)
		errs := make([]error, 2)
		var wg sync.WaitGroup
		for i, l := range []*tree{a, b} {
			text := l.checkpoint(t, 3)
			wg.Go(func() { _, errs[i] = peer.Cosign(context.WithoutCancel(t.Context()), text, 3, 0, l.proof(3)) })
		}
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("round %d: %v", round, errs)
		}
	}
}

func TestAWitnessKeepsItsNameAndItsDirectoryToItself(t *testing.T) {
	l, dir := newTree(t), t.TempDir()
	w, _, _ := serve(t, dir, l)
	if _, err := witness.Open(dir, []verify.Keys{l.keys}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened twice: %v", err)
	}
	if again, err := witness.MakeKey(dir, ""); err != nil || again != w.PublicKey() {
		t.Errorf("the key is %q (%v), not %q", again, err, w.PublicKey())
	}
	if _, err := witness.MakeKey(dir, "other.example.com"); err == nil {
		t.Error("it has taken another name")
	}
	for _, name := range []string{"", "a b", "a+b", "é", "-x"} {
		if _, err := witness.MakeKey(t.TempDir(), name); err == nil {
			t.Errorf("%q is taken as a name", name)
		}
	}
	if _, err := witness.Open(t.TempDir(), nil, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("opened without a key")
	}
	if _, err := witness.Open(dir, []verify.Keys{l.keys, l.keys}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("the same log twice: %v", err)
	}
	// What it has signed cannot be read: it does not begin anew.
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_, peer, _ := serve(t, dir, l)
	l.grow(t, 2, "a")
	if _, err := peer.Cosign(t.Context(), l.checkpoint(t, 1), 1, 0, l.proof(1)); err != nil {
		t.Fatal(err)
	}
	states, err := filepath.Glob(filepath.Join(dir, "*.checkpoint"))
	if err != nil || len(states) != 1 {
		t.Fatal(states, err)
	}
	if err := os.WriteFile(states[0], []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Cosign(t.Context(), l.checkpoint(t, 2), 2, 0, l.proof(2)); err == nil || errors.Is(err, witness.ErrContradiction) {
		t.Errorf("with a broken state: %v", err)
	}
}

func TestAnswersThatALogDoesNotBelieve(t *testing.T) {
	l := newTree(t)
	l.grow(t, 3, "a")
	liar := newTree(t)
	_, honest, _ := serve(t, t.TempDir(), l)
	good, err := honest.Cosign(t.Context(), l.checkpoint(t, 2), 2, 0, l.proof(2))
	if err != nil {
		t.Fatal(err)
	}
	key, err := witness.MakeKey(t.TempDir(), "witness.example.com")
	if err != nil {
		t.Fatal(err)
	}
	forged, err := note.Sign(&note.Note{Text: "x\n"}, liar.signer)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		status        int
		body          string
		contradiction bool
	}{
		"of another witness's key": {200, good.Line, false},
		"nothing":                  {200, "", false},
		"no signature":             {200, "thank you\n", false},
		"of something else":        {200, strings.SplitAfter(string(forged), "\n\n")[1], false},
		"no size":                  {409, "many\n", false},
		"always another size":      {409, "1\n", true},
		"more than there is":       {409, "7\n", true},
		"not there":                {404, "unknown log\n", false},
		"broken":                   {500, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
				out.WriteHeader(c.status)
				_, _ = io.WriteString(out, c.body)
			}))
			defer s.Close()
			p, err := witness.ParsePeer(s.URL+"="+key, s.Client())
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.Cosign(t.Context(), l.checkpoint(t, 3), 3, 0, l.proof(3))
			if err == nil || errors.Is(err, witness.ErrContradiction) != c.contradiction {
				t.Errorf("error %v", err)
			}
		})
	}
	for _, text := range []string{"", "https://w.example.com", "w.example.com=" + key, "ftp://w.example.com=" + key, "https://w.example.com=x+y+z", "=" + key} {
		if _, err := witness.ParsePeer(text, http.DefaultClient); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
