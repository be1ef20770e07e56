package e2e

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/postgres"
)

// verified is what verify-bundle says of a file.
func verified(t *testing.T, path string, flags ...string) (passed []verify.Check, report string, err error) {
	t.Helper()
	keyText, _ := longLog(t)
	key := filepath.Join(t.TempDir(), "log.vkey")
	if err := os.WriteFile(key, []byte(keyText), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _, err := forgeCLI(t, "http://nobody.invalid", "", append([]string{"audit", "verify-bundle", path, "--key", key, "-o", "json"}, flags...)...)
	var r struct {
		Passed []verify.Check `json:"passed"`
	}
	if jsonErr := json.Unmarshal([]byte(out), &r); jsonErr != nil {
		t.Fatalf("%v: %s (%v)", jsonErr, out, err)
	}
	return r.Passed, out, err
}

func TestABundleShowsWhoItWasToWhomeverMayKnow(t *testing.T) {
	longLog(t)
	// The reading of the log is in the log, and by somebody.
	r, err := as(t, "auditor").ListAuditEntriesWithResponse(t.Context(), &client.ListAuditEntriesParams{User: ptr("auditor"), Action: ptr("audit.read"), Limit: ptr(int64(1))})
	if err == nil && r.JSON200 != nil && len(r.JSON200.Items) == 0 {
		r, err = as(t, "auditor").ListAuditEntriesWithResponse(t.Context(), &client.ListAuditEntriesParams{User: ptr("auditor"), Limit: ptr(int64(1))})
	}
	if err != nil || r.JSON200 == nil || len(r.JSON200.Items) != 1 {
		t.Fatalf("%v %s", err, r.Body)
	}
	eventually(t, "it is signed", func() bool {
		return patiently(t, "/api/v1/audit/entries/"+r.JSON200.Items[0].Id+"/proof").status == http.StatusOK
	})
	for name, args := range map[string][]string{
		"a period":    {"--from", "2020-01-01"},
		"an action":   {"--action", "audit.read"},
		"an address":  {"--address", "127.0.0.1"},
		"a network":   {"--address", "127.0.0.0/8", "--result", "success"},
		"nothing yet": {"--user", "usr_nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			p, path := bundled(t, append([]string{"--with-personal-data"}, args...)...)
			passed, report, err := verified(t, path)
			if err != nil || !slices.Contains(passed, verify.Erasures) {
				t.Fatalf("%v\n%s", err, report)
			}
			if name != "nothing yet" && !bytes.Contains(p[verify.OpeningsFile], []byte(`"value":"127.0.0.1"`)) {
				t.Errorf("no address is in it: %.300s", p[verify.OpeningsFile])
			}
			if bare, _ := bundled(t, args...); bare[verify.OpeningsFile] != nil || bytes.Contains(bare.leaves(t), []byte("127.0.0.1")) {
				t.Error("what is known of persons is in a bundle without it")
			}
		})
	}
	if r := ask(t, "GET", "/api/v1/audit/log/openings?index=1,2,3", token(t, "brian"), nil); r.status != http.StatusForbidden {
		t.Errorf("an engineer is shown what is known of others: %d %s", r.status, r.body)
	}
	if _, notes, err := forgeCLI(t, forge.API, token(t, "auditor"), "audit", "export", "--format", "csv", "--with-personal-data"); err == nil || !strings.Contains(err.Error(), "--format bundle") {
		t.Errorf("%v %s", err, notes)
	}
}

// leaves are the entries that are in it, one after the other.
func (p pages) leaves(t *testing.T) []byte {
	t.Helper()
	var b []byte
	for name, data := range p {
		switch {
		case strings.HasPrefix(name, "tile/entries/"):
			b = append(b, data...)
		case strings.HasPrefix(name, verify.ProofsDir):
			proof, err := verify.ParseProof(string(data))
			if err != nil {
				t.Fatal(err)
			}
			b = append(b, proof.Leaf...)
		}
	}
	return b
}

func TestAProofThatSomebodyKeptIsComparedWithABundle(t *testing.T) {
	longLog(t)
	r, err := as(t, "auditor").ListAuditEntriesWithResponse(t.Context(), &client.ListAuditEntriesParams{Action: ptr(picked), Limit: ptr(int64(2))})
	if err != nil || r.JSON200 == nil || len(r.JSON200.Items) != 2 {
		t.Fatalf("%v %s", err, r.Body)
	}
	var flags []string
	for i, e := range r.JSON200.Items {
		path := filepath.Join(t.TempDir(), fmt.Sprint(i, ".tlog-proof"))
		if err := os.WriteFile(path, []byte(patiently(t, "/api/v1/audit/entries/"+e.Id+"/proof?leaf=true").body), 0o600); err != nil {
			t.Fatal(err)
		}
		flags = append(flags, "--proof", path)
	}
	_, path := bundled(t, "--from", "2020-01-01")
	passed, report, err := verified(t, path, flags...)
	if err != nil || !slices.Contains(passed, verify.Receipts) || strings.Contains(report, "does not belong") {
		t.Errorf("%v\n%s", err, report)
	}
}

func TestABundleUnderACheckpointThatAWitnessHasSigned(t *testing.T) {
	_, c := longLog(t)
	w, err := torchwood.NewCosignatureSigner("witness.test/bundles", ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "x.zip")
	if _, notes, err := forgeCLI(t, forge.API, token(t, "auditor"), "audit", "export", "--format", "bundle", "--from", "2020-01-01", "--witnessed", "--out", out); err == nil || !strings.Contains(err.Error(), "no witness has signed") {
		t.Errorf("%v %s", err, notes)
	}
	body, _, _ := strings.Cut(c.Text, "\n\n")
	cosigned, err := note.Sign(&note.Note{Text: body + "\n"}, w)
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(cosigned), "\n\n")
	pool, err := postgres.Open(t.Context(), forge.DatabaseURL, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.Exec(t.Context(), `INSERT INTO audit_cosignatures (size, witness, line, cosigned_at) VALUES ($1, $2, $3, now())`, c.Size, w.Name(), line); err != nil {
		t.Fatal(err)
	}
	_, path := bundled(t, "--from", "2020-01-01", "--witnessed", "--with-personal-data")
	passed, report, err := verified(t, path, "--witness-key", w.Verifier().String(), "--max-age", "10m")
	if err != nil || !slices.Contains(passed, verify.Freshness) || !strings.Contains(report, `"witnessed"`) || !strings.Contains(report, fmt.Sprintf(`"size": %d`, c.Size)) {
		t.Errorf("%v\n%s", err, report)
	}
	other, err := torchwood.NewCosignatureSigner("witness.test/bundles", ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	if _, report, err = verified(t, path, "--witness-key", other.Verifier().String()); err == nil || !strings.Contains(report, "has not signed the checkpoint") {
		t.Errorf("%v\n%s", err, report)
	}
	if _, _, err = forgeCLI(t, "http://nobody.invalid", "", "audit", "verify-bundle", path, "--key", path, "--witness-key", "x"); err == nil {
		t.Error("a witness's key that is none was taken")
	}
}

func TestAServerTellsWhenItsLogWasLastVerified(t *testing.T) {
	longLog(t)
	if r := ask(t, "GET", "/metrics", "", nil); !strings.Contains(r.body, "\nforge_audit_verify_age_seconds ") {
		t.Error("the metrics do not say when the log was verified")
	}
	if r := ask(t, "GET", "/readyz", "", nil); r.status != http.StatusOK || !strings.Contains(r.body, "audit_verified") {
		t.Errorf("%d %s", r.status, r.body)
	}
}
