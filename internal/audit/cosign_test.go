package audit_test

import (
	"errors"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"filippo.io/torchwood"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/audit/witness"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

// watched is a witness of the room's log, and how a sequencer reaches it.
func (r *room) watched(t *testing.T, name string) (*witness.Peer, *httptest.Server, note.Verifier) {
	t.Helper()
	public, err := r.Keys.PublicKeys(pgtest.Origin)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := verify.ParseKeys(public)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	key, err := witness.MakeKey(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	w, err := witness.Open(dir, []verify.Keys{keys}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(w.Handler())
	t.Cleanup(func() { s.Close(); _ = w.Close() })
	p, err := witness.ParsePeer(s.URL+"="+key, s.Client())
	if err != nil {
		t.Fatal(err)
	}
	v, err := torchwood.NewCosignatureVerifier(key)
	if err != nil {
		t.Fatal(err)
	}
	return p, s, v
}

func TestWitnessesSignTheLogAndNoticeThatItWasSetBack(t *testing.T) {
	r := setUp(t)
	here, _, key := r.watched(t, "here.example.com")
	away, office, _ := r.watched(t, "away.example.com")
	office.Close()
	both := func(c *audit.SequencerConfig) { c.Witnesses = []*witness.Peer{here, away} }
	s := r.sequencer(t, "one", both)
	if n, err := s.Cosign(t.Context()); n != 0 || err != nil {
		t.Fatalf("who does not lead has %d signatures: %v", n, err)
	}
	r.note(t, 256)
	settle(t, r, s, 256)
	n, err := s.Cosign(t.Context())
	if n != 1 || err != nil {
		t.Fatalf("%d signatures: %v", n, err)
	}
	if n, err := s.Cosign(t.Context()); n != 0 || err != nil {
		t.Fatalf("signed again: %d, %v", n, err)
	}
	text, err := audit.LatestCheckpoint(t.Context(), r.Pool, false)
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := note.Open([]byte(text), note.VerifierList(key)); err != nil || len(opened.Sigs) != 1 || len(opened.UnverifiedSigs) != 1 {
		t.Fatalf("the checkpoint %q: %v", text, err)
	}
	r.note(t, 500)
	settle(t, r, s, 756)
	if n, err := s.Cosign(t.Context()); n != 1 || err != nil {
		t.Fatalf("after more entries: %d, %v", n, err)
	}
	names := []string{"here.example.com", "away.example.com"}
	seen, err := audit.WitnessedBy(t.Context(), r.Pool, names)
	if err != nil || len(seen) != 2 || seen[0].Size != 756 || seen[0].Since != nil || seen[1].Size != 0 || seen[1].Since == nil {
		t.Errorf("witnessed %+v (%v)", seen, err)
	}
	s.Close(t.Context())

	// Whoever has the database and the keys takes the last entries back, together with all that is known of them.
	for _, sql := range []string{
		`DELETE FROM audit_cosignatures WHERE size > 256`,
		`DELETE FROM audit_checkpoints WHERE size > 256`,
		`DELETE FROM audit_logs WHERE id <> ALL (SELECT unnest(ids) FROM audit_bundles WHERE n = 0)`,
		`DELETE FROM audit_bundles WHERE n > 0`,
		`DELETE FROM audit_tiles WHERE n > 0`,
		`UPDATE audit_tree SET size = 256, edges = ARRAY[''::bytea, substring(edges[2] FOR 32)], snapshot = pg_current_snapshot(), tail_ids = '{}', tail_timestamps = '{}'`,
	} {
		r.Exec(t, sql)
	}
	later := r.sequencer(t, "two", both)
	if _, err := later.Round(t.Context()); !errors.Is(err, audit.ErrFork) || !strings.Contains(err.Error(), "here.example.com") {
		t.Fatalf("it is not noticed: %v", err)
	}
	r.note(t, 3)
	if n, err := later.Round(t.Context()); n != 0 || err != nil {
		t.Errorf("it goes on with %d: %v", n, err)
	}
	if signed := pgtest.Value[[]int64](t, r.DB, `SELECT array_agg(size ORDER BY size) FROM audit_checkpoints`); slices.Max(signed) != 256 {
		t.Errorf("it signs %v", signed)
	}
	// Without a witness nobody would know.
	if _, err := r.sequencer(t, "three").Round(t.Context()); err != nil {
		t.Errorf("a log that nobody watched: %v", err)
	}
}

func TestAWitnessThatComesLaterOrWasAwayIsBroughtUp(t *testing.T) {
	r := setUp(t)
	p, _, _ := r.watched(t, "late.example.com")
	s := r.sequencer(t, "one", func(c *audit.SequencerConfig) { c.Witnesses = []*witness.Peer{p} })
	for _, size := range []int64{1, 257, 1000} {
		r.note(t, int(size-pgtest.Value[int64](t, r.DB, `SELECT count(*) FROM audit_logs`)))
		settle(t, r, s, size)
		if n, err := s.Cosign(t.Context()); n > 1 || err != nil {
			t.Fatalf("%d: %d signatures, %v", size, n, err)
		}
	}
	// The log has forgotten what the witness signed.
	r.Exec(t, `DELETE FROM audit_cosignatures`)
	r.note(t, 1)
	settle(t, r, s, 1001)
	if n, err := s.Cosign(t.Context()); n != 1 || err != nil {
		t.Fatalf("%d signatures, %v", n, err)
	}
}
