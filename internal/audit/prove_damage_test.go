package audit_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

// resign is a checkpoint with the signatures of others in place of its own.
func resign(t *testing.T, text string, signers ...note.Signer) string {
	t.Helper()
	body, _, _ := strings.Cut(text, "\n\n")
	signed, err := note.Sign(&note.Note{Text: body + "\n"}, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return string(signed)
}

// signs is a checkpoint that the log's own key signs.
func (s *scene) signs(t *testing.T, size int64, root []byte) string {
	t.Helper()
	signers, err := s.Keys.Signers(pgtest.Origin)
	if err != nil {
		t.Fatal(err)
	}
	return resign(t, verify.CheckpointText(pgtest.Origin, size, tlog.Hash(root))+"\n", signers...)
}

func (s *scene) replaceNote(t *testing.T, text string) {
	t.Helper()
	s.Super(t, `UPDATE audit_checkpoints SET note = '`+text+`' WHERE size = (SELECT max(size) FROM audit_checkpoints)`)
}

// writeAt has an entry written under another clock, and one after it under the right one.
func (s *scene) writeAt(t *testing.T, at time.Time) {
	t.Helper()
	(&room{s.DB, s.DB.Log(t, clock.At(at).Now)}).note(t, 1)
	s.note(t, 1)
	s.sequence(t)
}

// leaves are those of the tree, in order.
func (s *scene) leaves(t *testing.T) [][]byte {
	t.Helper()
	rows, err := postgres.Many[struct{ Leaf []byte }](t.Context(), s.Owner, `
		WITH at AS (
			SELECT b.n * 256 + o.i AS i, o.id, o.ts FROM audit_bundles b, unnest(b.ids, b.timestamps) WITH ORDINALITY o (id, ts, i)
			UNION ALL
			SELECT t.size / 256 * 256 + o.i, o.id, o.ts FROM audit_tree t, unnest(t.tail_ids, t.tail_timestamps) WITH ORDINALITY o (id, ts, i)
		)
		SELECT a.leaf FROM at JOIN audit_logs a ON a.timestamp = at.ts AND a.id = at.id ORDER BY at.i`)
	if err != nil {
		t.Fatal(err)
	}
	out := make([][]byte, len(rows))
	for i, r := range rows {
		out[i] = r.Leaf
	}
	return out
}

// hashes are those of a tree over leaves, as tlog stores them.
type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = h[x]
	}
	return out, nil
}

func hashesOf(t *testing.T, leaves [][]byte) hashes {
	t.Helper()
	var h hashes
	for i, l := range leaves {
		add, err := tlog.StoredHashes(int64(i), l, h)
		if err != nil {
			t.Fatal(err)
		}
		h = append(h, add...)
	}
	return h
}

// edges are the tiles that are not full, from the leaves up, as a literal.
func edges(t *testing.T, h hashes, size int64) string {
	t.Helper()
	var out []string
	for level := 0; size>>(8*level) > 0; level++ {
		n := size >> (8 * level)
		data := []byte{}
		if w := int(n % 256); w > 0 {
			var err error
			if data, err = tlog.ReadTileData(tlog.Tile{H: 8, L: level, N: n / 256, W: w}, h); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, fmt.Sprintf(`'\x%x'::bytea`, data))
	}
	return `ARRAY[` + strings.Join(out, ", ") + `]`
}

// rebuildTree changes a leaf and computes everything above it anew.
func rebuildTree(t *testing.T, s *scene) {
	t.Helper()
	all := s.leaves(t)
	all[7] = []byte(strings.Replace(string(all[7]), `"details":{"i":7}`, `"details":{"i":8}`, 1))
	h := hashesOf(t, all)
	data, err := tlog.ReadTileData(tlog.Tile{H: 8, L: 0, N: 0, W: 256}, h)
	if err != nil {
		t.Fatal(err)
	}
	s.Super(t,
		fmt.Sprintf(`UPDATE audit_logs SET leaf = '\x%x' WHERE %s`, all[7], at(7)),
		fmt.Sprintf(`UPDATE audit_tiles SET hashes = '\x%x' WHERE level = 0 AND n = 0`, data),
		`UPDATE audit_tree SET edges = `+edges(t, h, int64(len(all))))
}

// shrinkTo makes the log what it was when it had so many entries, between 257 and 511: a backup is restored.
func shrinkTo(t *testing.T, s *scene, size int64) {
	t.Helper()
	h := hashesOf(t, s.leaves(t)[:size])
	s.Super(t,
		`DELETE FROM audit_checkpoints WHERE size > `+fmt.Sprint(size),
		fmt.Sprintf(`DELETE FROM audit_logs WHERE id IN (SELECT unnest(ids[%d:]) FROM audit_bundles WHERE n = 1 UNION ALL SELECT unnest(tail_ids) FROM audit_tree)`, size-255),
		fmt.Sprintf(`UPDATE audit_tree SET size = %d, edges = %s, tail_ids = (SELECT ids[:%d] FROM audit_bundles WHERE n = 1),
			tail_timestamps = (SELECT timestamps[:%[3]d] FROM audit_bundles WHERE n = 1)`, size, edges(t, h, size), size-256),
		`DELETE FROM audit_bundles WHERE n = 1`,
		`DELETE FROM audit_tiles WHERE n = 1`)
}

// changeWithKey changes an entry that is not in the tree yet, and gives it the code that its writer would.
func changeWithKey(t *testing.T, s *scene) {
	t.Helper()
	raw := pgtest.Value[[]byte](t, s.DB, `SELECT leaf FROM audit_logs WHERE `+notInTree)
	e, err := leaf.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	e.Details = map[string]any{"i": 99}
	raw, err = e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	mac := leaf.MAC(leaf.WriterKey(s.Keys.Writer[:], e.Writer.ID, e.Writer.Boot), raw)
	s.Super(t, fmt.Sprintf(`UPDATE audit_logs SET leaf = '\x%x', mac = '\x%x' WHERE id = '%s'`, raw, mac, e.ID))
}

// exchangeMonths attaches November as December and December as November, with times to fit.
func exchangeMonths(t *testing.T, s *scene) {
	t.Helper()
	s.Super(t,
		`ALTER TABLE audit_logs DETACH PARTITION audit_parts.audit_logs_2026_11`,
		`ALTER TABLE audit_logs DETACH PARTITION audit_parts.audit_logs_2026_12`,
		`ALTER TABLE audit_parts.audit_logs_2026_11 DROP CONSTRAINT audit_month_ck`,
		`ALTER TABLE audit_parts.audit_logs_2026_12 DROP CONSTRAINT audit_month_ck`,
		`UPDATE audit_parts.audit_logs_2026_11 SET timestamp = timestamp + interval '30 days'`,
		`ALTER TABLE audit_logs ATTACH PARTITION audit_parts.audit_logs_2026_11 FOR VALUES FROM ('2026-12-01 00:00:00+00') TO ('2027-01-01 00:00:00+00')`,
		`ALTER TABLE audit_logs ATTACH PARTITION audit_parts.audit_logs_2026_12 FOR VALUES FROM ('2026-11-01 00:00:00+00') TO ('2026-12-01 00:00:00+00')`)
}

// forgeOpening seals other personal data with an entry, under the right key.
func forgeOpening(t *testing.T, s *scene) {
	t.Helper()
	entry := pgtest.Value[uuid.UUID](t, s.DB, `SELECT id FROM audit_logs WHERE `+at(7))
	subject := pgtest.Value[string](t, s.DB, `SELECT subject_id FROM audit_personal_data WHERE entry_id = $1`, entry)
	wrapped := pgtest.Value[[]byte](t, s.DB, `SELECT wrapped_key FROM audit_subject_keys WHERE subject_id = $1`, subject)
	sealed, err := audit.Reseal(s.Keys, subject, wrapped, entry, map[string]string{"email": "other@example.com", "source_ip": "192.0.2.7", "user_agent": "forge/1.0"})
	if err != nil {
		t.Fatal(err)
	}
	s.Super(t, fmt.Sprintf(`UPDATE audit_personal_data SET sealed = '\x%x' WHERE entry_id = '%s'`, sealed, entry))
}
