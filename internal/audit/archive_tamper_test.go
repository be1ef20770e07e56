package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/archive"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

// files are the stored files of a month, of a kind: "entries", "manifest" or "personal".
func (e *era) files(t *testing.T, month int, kind string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(string(e.store.(archive.Dir)), e.named(month), kind+"-*"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no %s of %s: %v", kind, e.named(month), err)
	}
	return found
}

// overwrite changes a stored file as whoever has the machine can.
func overwrite(t *testing.T, path string, change func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(path), os.WriteFile(path, change(b), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// rewrite is an archive file of the entries of another, changed, and what a manifest says of it.
func rewrite(t *testing.T, path string, change func(index int64, leaf []byte) (int64, []byte)) (b []byte, f archive.File) {
	t.Helper()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close() //nolint:errcheck // it was only read
	r, err := archive.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out bytes.Buffer
	w, err := archive.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	for {
		index, leaf, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if index, leaf = change(index, leaf); leaf == nil {
			continue
		}
		if err := w.Add(index, leaf); err != nil {
			t.Fatal(err)
		}
	}
	f, err = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), f
}

// forge makes another archive of a month, signs it with keys, and has the database name it.
func (e *era) forge(t *testing.T, month int, keys audit.Keys, change func(m *archive.Manifest, entries string)) {
	t.Helper()
	path := e.files(t, month, "manifest")[0]
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	public, err := e.Keys.PublicKeys(pgtest.Origin)
	if err != nil {
		t.Fatal(err)
	}
	own, err := note.NewVerifier(strings.TrimSpace(public))
	if err != nil {
		t.Fatal(err)
	}
	m, err := archive.Open(text, note.VerifierList(own))
	if err != nil {
		t.Fatal(err)
	}
	change(&m, e.files(t, month, "entries")[0])
	signers, err := keys.Signers(pgtest.Origin)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := m.Sign(signers...)
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, path, func([]byte) []byte { return []byte(forged) })
	e.Super(t, `SET session_replication_role = replica`, fmt.Sprintf(`UPDATE audit_archives SET manifest_sha256 = '%s' WHERE month = '%s'`, archive.Hash([]byte(forged)), e.month(month).Format(time.RFC3339)))
}

// swap exchanges the content of two files.
func swap(t *testing.T, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	var y []byte
	overwrite(t, b, func(old []byte) []byte { y = old; return x })
	overwrite(t, a, func([]byte) []byte { return y })
}

func TestTamperingWithArchivesIsFound(t *testing.T) { //nolint:tparallel // the cases are parallel, on copies of one database
	first := newEra(t, 3, archive.Dir(t.TempDir()))
	first.run(t)
	first.stamp(t, first.today)
	a := first.archivist(t)
	if err := a.Drop(operator, first.month(0), false); err != nil {
		t.Fatal(err)
	}
	first.settle(t, a)
	first.Super(t, fewerMonths)
	base := func(t *testing.T) *era {
		t.Helper()
		db := first.Copy(t)
		db.Super(t, `UPDATE audit_tree SET cluster = (SELECT system_identifier FROM pg_control_system()) || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())`)
		e := *first
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(string(first.store.(archive.Dir)))); err != nil {
			t.Fatal(err)
		}
		e.store = archive.Dir(dir)
		e.scene = &scene{room: &room{db, db.Log(t, clock.At(e.today).Now)}}
		return &e
	}
	month := func(e *era, i int) string { return "'" + e.month(i).Format(time.RFC3339) + "'" }
	other := audit.Keys{Signing: [][32]byte{{9}}}
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, e *era)
		check  verify.Check
		also   []verify.Check
	}{
		{"T0 untouched archives", func(*testing.T, *era) {}, "", nil},
		{"T32 a byte of an archive is flipped", func(t *testing.T, e *era) {
			overwrite(t, e.files(t, 1, "entries")[0], func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, verify.Archives, nil},
		{"T32 an archive is cut off", func(t *testing.T, e *era) {
			overwrite(t, e.files(t, 1, "entries")[0], func(b []byte) []byte { return b[:len(b)/2] })
		}, verify.Archives, nil},
		{"T32 something is put behind an archive", func(t *testing.T, e *era) {
			overwrite(t, e.files(t, 1, "entries")[0], func(b []byte) []byte { return append(b, 0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7) })
		}, verify.Archives, nil},
		{"T32 the archives of two months are exchanged", func(t *testing.T, e *era) {
			swap(t, e.files(t, 1, "entries")[0], e.files(t, 2, "entries")[0])
		}, verify.Archives, nil},
		{"T32 the manifests of two months are exchanged", func(t *testing.T, e *era) {
			swap(t, e.files(t, 1, "manifest")[0], e.files(t, 2, "manifest")[0])
		}, verify.Archives, nil},
		{"T32 what was archived of persons is exchanged", func(t *testing.T, e *era) {
			swap(t, e.files(t, 1, "personal")[0], e.files(t, 2, "personal")[0])
		}, verify.Archives, nil},
		{"T32 an archive of a dropped month is changed", func(t *testing.T, e *era) {
			overwrite(t, e.files(t, 0, "entries")[0], func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, verify.Archives, []verify.Check{verify.Coverage, verify.Leaves, verify.Content}},
		{"T33 an archive is removed", func(t *testing.T, e *era) {
			if err := os.Remove(e.files(t, 1, "entries")[0]); err != nil {
				t.Fatal(err)
			}
		}, verify.Archives, nil},
		{"T33 a manifest is removed", func(t *testing.T, e *era) {
			if err := os.Remove(e.files(t, 2, "manifest")[0]); err != nil {
				t.Fatal(err)
			}
		}, verify.Archives, nil},
		{"a manifest is edited", func(t *testing.T, e *era) {
			overwrite(t, e.files(t, 1, "manifest")[0], func(b []byte) []byte { return bytes.Replace(b, []byte(`"entries": 130`), []byte(`"entries": 131`), 1) })
		}, verify.Archives, nil},
		{"a manifest is signed by another", func(t *testing.T, e *era) {
			e.forge(t, 1, other, func(*archive.Manifest, string) {})
		}, verify.Archives, nil},
		{"an entry is left out of an archive, and the manifest is signed anew with the log's key", func(t *testing.T, e *era) {
			e.forge(t, 1, e.Keys, func(m *archive.Manifest, path string) {
				b, f := rewrite(t, path, func(i int64, leaf []byte) (int64, []byte) {
					if i == m.Files[0].First+7 {
						return i, nil
					}
					return i, leaf
				})
				overwrite(t, path, func([]byte) []byte { return b })
				f.Name = m.Files[0].Name
				m.Files[0] = f
			})
		}, verify.Archives, nil},
		{"an entry of an archive is changed, and the manifest is signed anew with the log's key", func(t *testing.T, e *era) {
			e.forge(t, 1, e.Keys, func(m *archive.Manifest, path string) {
				b, f := rewrite(t, path, func(i int64, leaf []byte) (int64, []byte) {
					if i == m.Files[0].First+7 {
						leaf = bytes.Replace(leaf, []byte("usr_someone"), []byte("usr_nobody1"), 1)
						leaf = bytes.Replace(leaf, []byte("usr_other"), []byte("usr_nobod"), 1)
					}
					return i, leaf
				})
				overwrite(t, path, func([]byte) []byte { return b })
				f.Name = m.Files[0].Name
				m.Files[0] = f
			})
		}, verify.Archives, nil},
		{"a manifest leaves its chain", func(t *testing.T, e *era) {
			e.forge(t, 1, e.Keys, func(m *archive.Manifest, _ string) { m.Previous = "" })
		}, verify.Archives, nil},
		{"T27 and T30 a detached month is dropped early, past the function", func(t *testing.T, e *era) {
			e.Super(t, `DROP TABLE audit_parts.audit_logs_`+e.month(1).Format("2006_01"))
		}, verify.Archives, nil},
		{"T30 a detached month is dropped early, and called dropped", func(t *testing.T, e *era) {
			e.Super(t, `SET session_replication_role = replica`, `DROP TABLE audit_parts.audit_logs_`+e.month(1).Format("2006_01"),
				`UPDATE audit_archives SET state = 'dropped', dropped_at = now() WHERE month = `+month(e, 1))
		}, verify.Archives, nil},
		{"T27 a month is dropped early under clocks that are ahead, and recorded", func(t *testing.T, e *era) {
			if err := e.log.Note(actor.With(t.Context(), actor.System("archive")), audit.Event{Action: "audit.archive.drop", ResourceType: "audit_month", ResourceID: e.named(2), Details: map[string]any{
				"manifest": pgtest.Value[string](t, e.DB, `SELECT manifest_sha256 FROM audit_archives WHERE month = `+month(e, 2)), "entries": perMonth,
			}}); err != nil {
				t.Fatal(err)
			}
			e.sequenceUp(t)
			e.Super(t, `SET session_replication_role = replica`, `DROP TABLE audit_parts.audit_logs_`+e.month(2).Format("2006_01"), `DROP TABLE audit_parts.audit_personal_data_`+e.month(2).Format("2006_01"),
				`UPDATE audit_archives SET state = 'dropped', dropped_at = now() + interval '7 years' WHERE month = `+month(e, 2),
				fmt.Sprintf(`INSERT INTO audit_cosignatures SELECT min(size), 'witness.forged', '%s', now() + interval '7 years' FROM audit_checkpoints`, strings.Replace(e.witness.line(e.newestNote(t), e.today.AddDate(7, 0, 0)), stampName, "witness.forged", 1)))
		}, verify.Archives, nil},
		{"what is known of an archived month is removed", func(t *testing.T, e *era) {
			e.Super(t, `SET session_replication_role = replica`, `DELETE FROM audit_archives WHERE month = `+month(e, 1))
		}, verify.Archives, []verify.Check{verify.Coverage, verify.Schema}},
		{"an attached month is called detached", func(t *testing.T, e *era) {
			e.Super(t, `SET session_replication_role = replica`, `UPDATE audit_archives SET state = 'detached' WHERE month = (SELECT max(month) FROM audit_archives)`)
		}, verify.Archives, nil},
		{"an entry is removed from a detached month", func(t *testing.T, e *era) {
			e.Super(t, `DELETE FROM audit_parts.audit_logs_`+e.month(1).Format("2006_01")+` WHERE id = (SELECT min(id::text)::uuid FROM audit_parts.audit_logs_`+e.month(1).Format("2006_01")+`)`)
		}, verify.Coverage, nil},
		{"an entry of a detached month is changed", func(t *testing.T, e *era) {
			e.Super(t, `UPDATE audit_parts.audit_logs_`+e.month(1).Format("2006_01")+` SET user_id = 'usr_x' WHERE id = (SELECT min(id::text)::uuid FROM audit_parts.audit_logs_`+e.month(1).Format("2006_01")+`)`)
		}, verify.Content, nil},
		{"T31 a month is half detached", func(t *testing.T, e *era) {
			// Of those that are attached, the one from which nothing is archived away.
			e.Super(t, `UPDATE pg_inherits SET inhdetachpending = true WHERE inhrelid = 'audit_parts.audit_logs_2026_11'::regclass`)
		}, verify.Schema, []verify.Check{verify.Coverage, verify.Archives}},
		{"T19 the function that drops is another", super2(`CREATE OR REPLACE FUNCTION audit_drop_refusal(which timestamptz) RETURNS text LANGUAGE sql STABLE AS 'SELECT NULL::text'`), verify.Schema, nil},
		{"T19 the guard of the archives is switched off", super2(`ALTER TABLE audit_archives DISABLE TRIGGER audit_archives_guard`), verify.Schema, nil},
		{"T19 the application may remove legal holds", super2(`GRANT DELETE ON audit_holds TO forge_template_app`), verify.Schema, nil},
		{"T19 a trigger of another takes the place of the guard", super2(
			`CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'`,
			`DROP TRIGGER audit_holds_guard ON audit_holds`, `CREATE TRIGGER audit_holds_guard BEFORE UPDATE ON audit_holds FOR EACH ROW EXECUTE FUNCTION nothing()`,
		), verify.Schema, nil},
		{"T19 the application may change a detached month", func(t *testing.T, e *era) {
			e.Super(t, `GRANT UPDATE ON audit_parts.audit_logs_`+e.month(1).Format("2006_01")+` TO forge_template_app`)
		}, verify.Schema, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := base(t)
			c.damage(t, e)
			r := e.verify(t, e.store)
			if c.check == "" {
				ok(t, r)
				if !slices.Contains(r.Passed(), verify.Archives) {
					t.Error("archives were not looked at")
				}
				return
			}
			for _, f := range r.Failed() {
				if f != c.check && !slices.Contains(c.also, f) {
					t.Errorf("found by %s, too", f)
				}
			}
			if !slices.Contains(r.Failed(), c.check) || t.Failed() {
				t.Fatalf("want %s:\n%s", c.check, r.Text())
			}
			// Without the check the case is missed, or found by those alone that are named.
			for _, f := range e.verify(t, e.store, c.check).Failed() {
				if !slices.Contains(c.also, f) {
					t.Errorf("without %s it is found by %s", c.check, f)
				}
			}
		})
	}
}

func super2(statements ...string) func(*testing.T, *era) {
	return func(t *testing.T, e *era) { t.Helper(); e.Super(t, statements...) }
}

// Each lock by itself keeps a month, and all of them open at seven years.
func TestAMonthIsDroppedAfterSevenYearsAndNotBefore(t *testing.T) {
	e := newEra(t, 2, archive.Dir(t.TempDir()))
	e.run(t)
	over := e.month(1).AddDate(7, 0, 0) // of the first month
	drop := func() error { return e.archivist(t).Drop(operator, e.month(0), false) }
	direct := func(i int) error { // past the program, with the application's rights, and with an entry that records it
		return e.log.Change(operator, audit.Intent{Action: "audit.archive.drop", ResourceType: "audit_month", ResourceID: e.named(i)}, func(tx *audit.Tx) error {
			tx.Record(audit.Event{Action: "audit.archive.drop", ResourceType: "audit_month", ResourceID: e.named(i)})
			_, err := tx.Exec(context.Background(), `SELECT audit_drop_month($1)`, e.month(i))
			return err
		})
	}
	refused := func(what, why string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %q", what, err, why)
		}
		if got := e.states(t); strings.Contains(got, "dropped") {
			t.Fatalf("%s: %s", what, got)
		}
	}
	e.restamp(t, over.AddDate(0, -1, 0))
	refused("at six years and eleven months", "its seven years end", drop())
	refused("at six years and eleven months, by the function", "its seven years end", direct(0))
	e.restamp(t, over.Add(-time.Second))
	refused("a second before", "no witness has signed later", drop())
	e.Exec(t, `DELETE FROM audit_cosignatures`)
	refused("without a witness", "no witness has signed", drop())
	e.stamp(t, e.today.AddDate(7, 0, 0))
	refused("with the clock of a witness ahead", "its seven years end", direct(1))
	e.restamp(t, over)
	refused("a month that is younger", "its seven years end", direct(1))

	// A signature that only claims a time.
	e.Exec(t, `DELETE FROM audit_cosignatures`)
	line := e.witness.line(e.newestNote(t), over.AddDate(0, -6, 0))
	if _, err := e.Pool.Exec(t.Context(), `INSERT INTO audit_cosignatures SELECT max(size), $1, $2, $3 FROM audit_checkpoints`, stampName, line, over); err != nil {
		t.Fatal(err)
	}
	refused("a column that says another time than the signature", "no witness has signed later", direct(0))
	e.Exec(t, `DELETE FROM audit_cosignatures`)
	forger := stamps{key: e.witness.key}
	forger.key = append([]byte(nil), forger.key...)
	forger.key[3] ^= 1
	if _, err := e.Pool.Exec(t.Context(), `INSERT INTO audit_cosignatures SELECT max(size), $1, $2, $3 FROM audit_checkpoints`, stampName, forger.line(e.newestNote(t), over), over); err != nil {
		t.Fatal(err)
	}
	refused("a signature that is not the witness's", "no witness whose key was given", drop())

	e.restamp(t, over)
	a := e.archivist(t)
	hold, err := a.AddHold(operator, e.month(0), e.month(5), "case 4711")
	if err != nil {
		t.Fatal(err)
	}
	refused("under a legal hold", "case 4711", drop())
	refused("under a legal hold, by the function", "case 4711", direct(0))
	for what, sql := range map[string]string{
		"dropping the table":            `DROP TABLE audit_parts.audit_logs_` + e.month(0).Format("2006_01"),
		"emptying the table":            `TRUNCATE audit_parts.audit_logs_` + e.month(0).Format("2006_01"),
		"deleting from the table":       `DELETE FROM audit_parts.audit_logs_` + e.month(0).Format("2006_01"),
		"detaching a month":             `ALTER TABLE audit_logs DETACH PARTITION audit_parts.audit_logs_2026_11`,
		"removing the archive's row":    `DELETE FROM audit_archives`,
		"removing a hold":               `DELETE FROM audit_holds`,
		"calling it dropped":            `UPDATE audit_archives SET state = 'dropped'`,
		"calling it attached":           `UPDATE audit_archives SET state = 'verified' WHERE state = 'detached'`,
		"unlocking it":                  `UPDATE audit_archives SET state = state, locked_until = now() - interval '9 years'`,
		"naming another archive":        `UPDATE audit_archives SET manifest_sha256 = 'x'`,
		"changing a hold":               `UPDATE audit_holds SET first_month = first_month + interval '1 year'`,
		"releasing a hold, unrecorded":  `UPDATE audit_holds SET released_at = now(), released_by = 'x'`,
		"replacing the function":        `CREATE OR REPLACE FUNCTION audit_drop_refusal(which timestamptz) RETURNS text LANGUAGE sql AS 'SELECT NULL::text'`,
		"dropping it without an entry":  `SELECT audit_drop_month('` + e.month(0).Format(time.RFC3339) + `')`,
		"sealing another, unrecorded":   `INSERT INTO audit_archives (month, state, entries, size, sealed_at) VALUES ('2019-01-01 00:00:00+00', 'sealed', 0, 1, now())`,
		"a month that begins elsewhere": `INSERT INTO audit_archives (month, state, entries, size, sealed_at) VALUES ('2019-01-02 00:00:00+00', 'sealed', 0, 1, now())`,
	} {
		if _, err := e.Pool.Exec(t.Context(), sql); err == nil {
			t.Errorf("%s is allowed to the application", what)
		}
	}
	if err := a.ReleaseHold(operator, hold, "closed"); err != nil {
		t.Fatal(err)
	}
	if err := a.ReleaseHold(operator, hold, "again"); err == nil {
		t.Error("a hold was released twice")
	}
	// Now the function alone would let it go, and who calls it must record it.
	if _, err := e.Pool.Exec(t.Context(), `SELECT audit_drop_month($1)`, e.month(0)); err == nil || !strings.Contains(err.Error(), "without an entry") {
		t.Errorf("dropped without an entry: %v", err)
	}
	if err := a.Drop(operator, e.month(0), true); err != nil {
		t.Fatal(err)
	}
	e.settle(t, a)
	if got := e.states(t); got != "dropped detached" {
		t.Error(got)
	}
	if left, err := filepath.Glob(filepath.Join(string(e.store.(archive.Dir)), e.named(0), "*")); err != nil || len(left) != 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
	ok(t, e.verify(t, nil))
	r := e.verify(t, e.store)
	ok(t, r)
	if !strings.Contains(r.Text(), "only their hashes are left") {
		t.Errorf("what is gone for good is not said:\n%s", r.Text())
	}
	if _, err := e.proof(t, 0, false); err != nil {
		t.Error(err)
	}
}

// T31: an interrupted detaching is ended at the next run.
func TestAHalfDetachedMonthIsFinishedAtTheNextRun(t *testing.T) {
	e := newEra(t, 2, archive.Dir(t.TempDir()))
	a := e.archivist(t)
	if _, err := a.Run(operator, false); err != nil {
		t.Fatal(err)
	}
	if got := e.states(t); got != "verified verified" {
		t.Fatal(got)
	}
	part := `audit_parts.audit_logs_` + e.month(0).Format("2006_01")
	e.Super(t, `UPDATE pg_inherits SET inhdetachpending = true WHERE inhrelid = '`+part+`'::regclass`)
	if _, err := a.Run(operator, true); err != nil {
		t.Fatal(err)
	}
	e.settle(t, a)
	if got := e.states(t); got != "detached detached" && got != "droppable detached" {
		t.Error(got)
	}
	ok(t, e.verify(t, e.store))
	e.Super(t, `UPDATE pg_inherits SET inhdetachpending = true WHERE inhrelid = 'audit_parts.audit_logs_2026_11'::regclass`)
	if _, err := a.Run(operator, true); err == nil || !strings.Contains(err.Error(), "somebody began to detach") {
		t.Errorf("another's detaching was finished: %v", err)
	}
}

// A person who is erased is erased in detached months too, and in what is brought back.
func TestAPersonIsErasedFromArchivedMonths(t *testing.T) {
	e := newEra(t, 2, archive.Dir(t.TempDir()))
	e.run(t)
	e.stamp(t, e.today)
	a := e.archivist(t)
	if err := a.Drop(operator, e.month(0), false); err != nil {
		t.Fatal(err)
	}
	done, err := e.erase(t, a.Log, "request 1")
	if want := pgtest.Value[int64](t, e.DB, `SELECT count(*) FROM audit_parts.audit_logs_`+e.month(1).Format("2006_01")+` WHERE user_id = 'usr_someone'`); err != nil || done.Entries != want || want == 0 {
		t.Fatalf("%+v, want %d entries: %v", done, want, err)
	}
	if n := pgtest.Value[int](t, e.DB, `SELECT count(*) FROM audit_parts.audit_logs_`+e.month(1).Format("2006_01")+` WHERE user_id = 'usr_someone' AND source_ip IS NOT NULL`); n != 0 {
		t.Errorf("%d entries of a detached month show where the person came from", n)
	}
	for i := range 2 {
		if _, err := a.Restore(operator, e.month(i), time.Hour, false); err != nil {
			t.Fatal(err)
		}
	}
	e.settle(t, a)
	if n := e.clear(t, "usr_someone"); n != 0 {
		t.Errorf("%d entries show where the person came from", n)
	}
	if n := e.clear(t, "usr_other"); n == 0 {
		t.Error("another's are gone")
	}
	ok(t, e.verify(t, e.store))
}

// What is known of persons may be removed from the store: the month comes back without it.
func TestAMonthComesBackWithoutWhatWasKnownOfPersons(t *testing.T) {
	e := newEra(t, 2, archive.Dir(t.TempDir()))
	e.run(t)
	e.stamp(t, e.today)
	a := e.archivist(t)
	if err := a.Drop(operator, e.month(0), false); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(e.files(t, 0, "personal")[0]); err != nil {
		t.Fatal(err)
	}
	back, err := a.Restore(operator, e.month(0), time.Hour, false)
	if err != nil || back.Entries != perMonth {
		t.Fatal(back, err)
	}
	e.settle(t, a)
	ok(t, e.verify(t, e.store))
	e.Super(t, `SET session_replication_role = replica`, `DELETE FROM audit_personal_data WHERE timestamp > now() - interval '1 year'`,
		`DELETE FROM audit_parts.audit_personal_data_`+e.month(1).Format("2006_01"))
	if r := e.verify(t, e.store); !slices.Equal(r.Failed(), []verify.Check{verify.Erasures}) {
		t.Error(r.Text())
	}
}

// Any number of replicas archive, one at a time.
func TestReplicasArchiveOneAtATime(t *testing.T) {
	e := newEra(t, 1, archive.Dir(t.TempDir()))
	e.sequenceUp(t)
	var wg sync.WaitGroup
	results := make(chan error, 4)
	logs := make([]*audit.Archivist, 4)
	for i := range logs {
		a := e.archivist(t)
		a.Log = e.DB.Log(t, clock.At(e.today).Now) // the application's rights are enough
		logs[i] = a
		wg.Go(func() {
			_, err := a.Run(operator, false)
			results <- err
		})
	}
	wg.Wait()
	close(results)
	worked := 0
	for err := range results {
		if err == nil {
			worked++
		} else if !errors.Is(err, audit.ErrArchiving) {
			t.Error(err)
		}
	}
	if worked == 0 {
		t.Error("nobody archived")
	}
	if got := e.states(t); got != "verified" {
		t.Error(got)
	}
	for _, a := range logs {
		e.settle(t, a)
	}
	ok(t, e.verify(t, e.store))
}
