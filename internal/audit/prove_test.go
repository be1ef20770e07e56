package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

// scene is a log that is tampered with, in a database of its own.
type scene struct {
	*room
	pinned []string
	maxAge time.Duration
}

func (s *scene) prove(t testing.TB, without ...verify.Check) *verify.Report {
	t.Helper()
	r, err := audit.Verify(t.Context(), audit.Proving{
		Pool: s.Pool, Clock: s.log.Clock(), Origin: pgtest.Origin, Keys: s.Keys, Pinned: s.pinned, MaxAge: s.maxAge, Without: without,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// at is a condition that only the row at a place of the tree meets.
func at(index int) string {
	return fmt.Sprintf(`id = (SELECT coalesce((SELECT ids[%d] FROM audit_bundles WHERE n = %d), (SELECT tail_ids[%[1]d] FROM audit_tree)))`, index%256+1, index/256)
}

// newestNote is the newest checkpoint.
func (s *scene) newestNote(t testing.TB) string {
	t.Helper()
	return pgtest.Value[string](t, s.DB, `SELECT note FROM audit_checkpoints ORDER BY size DESC LIMIT 1`)
}

// forged is the bytes and code of an entry made up by whoever has that master key.
func forged(t testing.TB, master []byte, change func(*leaf.Entry)) (raw, mac string) {
	t.Helper()
	e := leaf.Entry{
		ID: "01934000-0000-7000-8000-00000000abcd", Time: noon, Log: pgtest.Origin, Actor: leaf.Actor{Type: leaf.User, ID: "usr_victim"},
		Action: "budget.set", Resource: leaf.Resource{Type: "budget", ID: "b"}, Result: leaf.Success, Interface: "api",
		Writer: leaf.Writer{ID: "test", Boot: "forged", Seq: 1},
	}
	if change != nil {
		change(&e)
	}
	b, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	m := leaf.MAC(leaf.WriterKey(master, e.Writer.ID, e.Writer.Boot), b)
	return fmt.Sprintf(`'\x%x'`, b), fmt.Sprintf(`'\x%x'`, m)
}

// insert puts a row with these bytes into the table; the columns say what forged does.
func insert(raw, mac string) string {
	return `INSERT INTO audit_logs (timestamp, id, user_id, actor_type, action_type, resource_type, resource_id, result, code, interface, request_id, leaf, mac)
		VALUES ('2026-11-15 12:00:00.123456+00', '01934000-0000-7000-8000-00000000abcd', 'usr_victim', 'user', 'budget.set', 'budget', 'b', 'success', '', 'api', '', ` + raw + `, ` + mac + `)`
}

// again copies the row at a place with some columns changed.
func again(index int, set string) string {
	const columns = `timestamp, id, xid, user_id, actor_type, action_type, resource_type, resource_id, result, code, interface, request_id, source_ip, user_agent, leaf, mac`
	name, value, _ := strings.Cut(set, " = ")
	return `INSERT INTO audit_logs (` + columns + `) SELECT ` + strings.Replace(columns, name, value, 1) + ` FROM audit_logs WHERE ` + at(index)
}

// super is damage done by statements of a superuser.
func super(statements ...string) func(*testing.T, *scene) {
	return func(t *testing.T, s *scene) { t.Helper(); s.Super(t, statements...) }
}

// sequence runs the sequencer until it has brought in what there is.
func (s *scene) sequence(t *testing.T) {
	t.Helper()
	q := s.sequencer(t, "tamper")
	for range 3 {
		if _, err := q.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	q.Close(t.Context())
}

// beforeSequencing writes three entries that are not in the tree yet, and a heartbeat over them; then damage is done, and the
// sequencer runs.
func beforeSequencing(damage func(*testing.T, *scene)) func(*testing.T, *scene) {
	return func(t *testing.T, s *scene) {
		t.Helper()
		s.note(t, 3)
		if err := s.log.Heartbeat(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		damage(t, s)
		s.sequence(t)
	}
}

const inTree = `id IN (SELECT unnest(ids) FROM audit_bundles UNION ALL SELECT unnest(tail_ids) FROM audit_tree)`

const notInTree = `id = (SELECT id FROM audit_logs WHERE NOT ` + inTree + `
	AND action_type = 'audit.read' ORDER BY id LIMIT 1)`

// tampering is the table of the ways to tamper with the log, by the numbers of docs/audit.md, and the check that finds
// each. The log has 557 entries or a few more: two full bundles and a tail.
var tampering = []struct {
	name   string
	check  verify.Check
	damage func(t *testing.T, s *scene)
	// also are checks that find it, too.
	also []verify.Check
}{
	{"T1 the actor's column is changed", verify.Content, super(`UPDATE audit_logs SET user_id = 'usr_other' WHERE ` + at(7)), nil},
	{"T1 the action's column is changed", verify.Content, super(`UPDATE audit_logs SET action_type = 'audit.wrote' WHERE ` + at(300)), nil},
	{"T1 the result's column is changed", verify.Content, super(`UPDATE audit_logs SET result = 'refused' WHERE ` + at(540)), nil},
	{"T1 the address's column is changed", verify.Content, super(`UPDATE audit_logs SET source_ip = '203.0.113.9' WHERE ` + at(7)), nil},
	{"T1 the user agent's column is changed", verify.Content, super(`UPDATE audit_logs SET user_agent = 'another' WHERE ` + at(7)), nil},
	{"T2 a bit of a leaf is flipped", verify.Leaves, super(`UPDATE audit_logs SET leaf = set_byte(leaf, 40, get_byte(leaf, 40) # 1) WHERE ` + at(7)), []verify.Check{verify.Content, verify.Codes}},
	{"T3 a leaf is changed and the tree computed anew", verify.Tiles, rebuildTree, []verify.Check{verify.History, verify.Codes}},
	{"T4 a row is removed", verify.Coverage, super(`DELETE FROM audit_logs WHERE ` + at(7)), nil},
	{"T4 the last row is removed", verify.Coverage, super(`DELETE FROM audit_logs WHERE id = (SELECT tail_ids[cardinality(tail_ids)] FROM audit_tree)`), nil},
	{"T5 a row is removed after it came into the tree, before it is signed", verify.Coverage, super(
		`DELETE FROM audit_checkpoints WHERE size = (SELECT max(size) FROM audit_checkpoints)`,
		`DELETE FROM audit_logs WHERE id = (SELECT tail_ids[cardinality(tail_ids)] FROM audit_tree)`,
	), nil},
	{"T6 a row is removed before it comes into the tree", verify.Heartbeats, beforeSequencing(super(`DELETE FROM audit_logs WHERE ` + notInTree)), nil},
	{"T7 a leaf is changed before it comes into the tree", verify.Codes, beforeSequencing(super(
		`UPDATE audit_logs SET leaf = convert_to(replace(convert_from(leaf, 'UTF8'), '"i":1', '"i":7'), 'UTF8') WHERE leaf LIKE '%"i":1}%' AND NOT ` + inTree,
	)), []verify.Check{verify.Heartbeats}},
	{"T8 a leaf is changed before it comes into the tree, by whoever has the writers' key", verify.Heartbeats, beforeSequencing(changeWithKey), nil},
	{"T9 a row is made up", verify.Codes, func(t *testing.T, s *scene) {
		s.Super(t, insert(forged(t, bytes.Repeat([]byte{7}, 32), nil)))
		s.sequence(t)
	}, nil},
	{"T9 a row is made up, and the sequencer does not run", verify.Codes, func(t *testing.T, s *scene) {
		s.Super(t, insert(forged(t, bytes.Repeat([]byte{7}, 32), nil)), `UPDATE audit_logs SET xid = '1' WHERE user_id = 'usr_victim'`)
	}, nil},
	{"T10 an old entry is written again with another time", verify.Coverage, func(t *testing.T, s *scene) {
		s.Super(t, again(7, `timestamp = timestamp + interval '1 day'`))
		s.sequence(t)
	}, nil},
	{"T11 two rows exchange their leaves", verify.Leaves, super(
		`UPDATE audit_logs a SET leaf = b.leaf, mac = b.mac FROM audit_logs b
		 WHERE a.id IN (SELECT unnest(ids[3:4]) FROM audit_bundles WHERE n = 0) AND b.id IN (SELECT unnest(ids[3:4]) FROM audit_bundles WHERE n = 0) AND a.id <> b.id`,
	), []verify.Check{verify.Content, verify.Coverage}},
	{"T11 two places of a bundle are exchanged", verify.Leaves, super(
		`UPDATE audit_bundles SET ids = ids[1:2] || ids[4] || ids[3] || ids[5:256], timestamps = timestamps[1:2] || timestamps[4] || timestamps[3] || timestamps[5:256] WHERE n = 0`,
	), nil},
	{"T12 two bundles are exchanged", verify.Leaves, super(`UPDATE audit_bundles SET n = -5 WHERE n = 0`, `UPDATE audit_bundles SET n = 0 WHERE n = 1`, `UPDATE audit_bundles SET n = 1 WHERE n = -5`), nil},
	{"T12 two tiles are exchanged", verify.Tiles, super(`UPDATE audit_tiles SET n = -5 WHERE n = 0`, `UPDATE audit_tiles SET n = 0 WHERE n = 1`, `UPDATE audit_tiles SET n = 1 WHERE n = -5`), nil},
	{"T13 a row is moved to another month", verify.Content, super(`UPDATE audit_logs SET timestamp = timestamp + interval '40 days' WHERE ` + at(7)), nil},
	{"T14 months are exchanged", verify.Content, exchangeMonths, []verify.Check{verify.Schema}},
	{"T15 a row gets a number of a transaction that is to come", verify.Orphans, beforeSequencing(super(`UPDATE audit_logs SET xid = '9999999999' WHERE ` + notInTree)), []verify.Check{verify.Heartbeats}},
	{"T15 a row gets the number of an old transaction", verify.Orphans, beforeSequencing(super(`UPDATE audit_logs SET xid = '3' WHERE ` + notInTree)), []verify.Check{verify.Heartbeats}},
	{"T16 the tree is told that it has what it has not", verify.Orphans, func(t *testing.T, s *scene) {
		s.note(t, 3)
		s.Super(t, `UPDATE audit_tree SET snapshot = pg_current_snapshot()`)
		s.sequence(t)
	}, nil},
	{"T17 an entry stands in two months", verify.Coverage, super(again(7, `timestamp = timestamp + interval '40 days'`)), nil},
	{"T18 a month is truncated", verify.Coverage, super(`TRUNCATE audit_parts.audit_logs_2026_11`), nil},
	{"T19 the application gets the right to change entries", verify.Schema, super(`GRANT UPDATE ON audit_logs TO forge_template_app`), nil},
	{"T19 the application gets the right to change one column", verify.Schema, super(`GRANT UPDATE (leaf) ON audit_logs TO forge_template_app`), nil},
	{"T19 the application gets the right to empty a month", verify.Schema, super(`GRANT TRUNCATE ON audit_parts.audit_logs_2026_11 TO forge_template_app`), nil},
	{"T19 a trigger swallows entries", verify.Schema, super(
		`CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
		`CREATE TRIGGER swallow BEFORE INSERT ON audit_logs FOR EACH ROW EXECUTE FUNCTION swallow()`,
	), nil},
	{"T19 the trigger that the log has is another's", verify.Schema, super(
		`CREATE OR REPLACE FUNCTION audit_recorded() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM audit_logs WHERE user_id = ''usr_x''; RETURN NULL; END'`,
	), nil},
	{"T19 changes need no entry any more", verify.Schema, super(`ALTER TABLE user_budgets DISABLE TRIGGER user_budgets_recorded`), nil},
	{"T19 every change counts as recorded", verify.Schema, super(
		`CREATE OR REPLACE FUNCTION refuse_unrecorded() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
	), nil},
	{"T19 a rule changes what is done", verify.Schema, super(`CREATE RULE none AS ON INSERT TO audit_checkpoints DO INSTEAD NOTHING`), nil},
	{"T19 a constraint is dropped", verify.Schema, super(`ALTER TABLE audit_checkpoints DROP CONSTRAINT audit_checkpoints_pkey CASCADE`), nil},
	{"T19 the number of the transaction is made up", verify.Schema, super(`ALTER TABLE audit_logs ALTER COLUMN xid SET DEFAULT '3'`), nil},
	{"T19 triggers are switched off for everybody", verify.Schema, func(t *testing.T, s *scene) {
		s.Super(t, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET session_replication_role = replica', current_database()); END $$`)
	}, nil},
	{"T20 a tile is changed", verify.Tiles, super(`UPDATE audit_tiles SET hashes = set_byte(hashes, 500, get_byte(hashes, 500) # 1) WHERE level = 0 AND n = 0`), nil},
	{"T20 a tile is removed", verify.Tiles, super(`DELETE FROM audit_tiles WHERE level = 0 AND n = 1`), nil},
	{"T21 the tree's edge is changed", verify.Tiles, super(`UPDATE audit_tree SET edges[1] = set_byte(edges[1], 5, get_byte(edges[1], 5) # 1)`), nil},
	{"T21 the tree shrinks", verify.History, super(`UPDATE audit_tree SET size = size - 1, edges[1] = substr(edges[1], 1, octet_length(edges[1]) - 32),
		tail_ids = tail_ids[1:cardinality(tail_ids) - 1], tail_timestamps = tail_timestamps[1:cardinality(tail_ids) - 1]`), nil},
	{"T21 the tree claims another size than it has", verify.Tiles, super(`UPDATE audit_tree SET size = size + 256`), nil},
	{"T22 the newest checkpoints are removed", verify.Freshness, func(t *testing.T, s *scene) {
		s.Super(t, `DELETE FROM audit_checkpoints WHERE size > 300`)
		s.log = s.DB.Log(t, clock.At(noon.Add(time.Hour)).Now)
	}, nil},
	{"T22 and T23 an older log than was pinned", verify.History, func(t *testing.T, s *scene) {
		s.pinned = []string{s.newestNote(t)}
		shrinkTo(t, s, 300)
	}, nil},
	{"T23 the log ends long ago", verify.Freshness, func(t *testing.T, s *scene) {
		s.maxAge = 15 * time.Minute
		s.log = s.DB.Log(t, clock.At(noon.Add(time.Hour)).Now)
	}, nil},
	{"T24 another root was signed for a size", verify.History, func(t *testing.T, s *scene) {
		s.pinned = []string{s.signs(t, 300, bytes.Repeat([]byte{1}, 32))}
	}, nil},
	{"T24 another root stands for a size", verify.History, func(t *testing.T, s *scene) {
		n := s.signs(t, 100, bytes.Repeat([]byte{1}, 32))
		s.Super(t, fmt.Sprintf(`INSERT INTO audit_checkpoints VALUES (100, '\x%x', '%s', now()) ON CONFLICT (size) DO UPDATE SET note = EXCLUDED.note, root = EXCLUDED.root`, bytes.Repeat([]byte{1}, 32), n))
	}, nil},
	{"T24 a checkpoint's row says another root than its note", verify.History, super(`UPDATE audit_checkpoints SET root = sha256('x') WHERE size = (SELECT min(size) FROM audit_checkpoints)`), nil},
	{"T26 a checkpoint is signed with another key", verify.Signature, func(t *testing.T, s *scene) {
		other := audit.Keys{Signing: [][32]byte{{9}}}
		signers, err := other.Signers(pgtest.Origin)
		if err != nil {
			t.Fatal(err)
		}
		s.replaceNote(t, resign(t, s.newestNote(t), signers...))
	}, nil},
	{"T26 a checkpoint's size line is edited", verify.Signature, func(t *testing.T, s *scene) {
		s.replaceNote(t, strings.Replace(s.newestNote(t), "\n557\n", "\n556\n", 1))
	}, []verify.Check{verify.History, verify.Tiles, verify.Coverage}},
	{"T28 a writer's clock is two hours behind", verify.Times, func(t *testing.T, s *scene) { s.writeAt(t, noon.Add(-2*time.Hour)) }, nil},
	{"T28 a writer's clock is two hours ahead", verify.Times, func(t *testing.T, s *scene) { s.writeAt(t, noon.Add(2*time.Hour)) }, nil},
	{"T29 an entry is backdated by a year", verify.Times, func(t *testing.T, s *scene) { s.writeAt(t, noon.AddDate(-1, 0, 0)) }, nil},
	{"T30 a month is dropped early", verify.Schema, super(`DROP TABLE audit_parts.audit_logs_2026_11`), []verify.Check{verify.Coverage}},
	{"T31 a month is half detached", verify.Schema, super(`UPDATE pg_inherits SET inhdetachpending = true WHERE inhrelid = 'audit_parts.audit_logs_2026_11'::regclass`), []verify.Check{verify.Coverage}},
	{"T34 what is known of a person is removed", verify.Erasures, super(`DELETE FROM audit_personal_data WHERE entry_` + at(7)), nil},
	{"T34 the key of a person is removed", verify.Erasures, super(`DELETE FROM audit_subject_keys`), nil},
	{"T35 what is known of a person is exchanged", verify.Erasures, forgeOpening, nil},
	{"T42 an entry of another log is put in", verify.Content, func(t *testing.T, s *scene) {
		s.Super(t, insert(forged(t, s.Keys.Writer[:], func(e *leaf.Entry) { e.Log = "staging.forge/audit" })))
		s.sequence(t)
	}, nil},
	{"T47 rows are hidden from readers", verify.Coverage, super(
		`ALTER TABLE audit_logs ENABLE ROW LEVEL SECURITY`,
		`CREATE POLICY hide ON audit_logs USING (result <> 'refused' AND NOT (`+at(7)+`))`,
	), []verify.Check{verify.Schema}},
	{"T52 a restored database has numbers of transactions to come", verify.Orphans, func(t *testing.T, s *scene) {
		s.note(t, 3)
		s.Super(t, `UPDATE audit_logs SET xid = (xid::text::bigint + 1000000000)::text::xid8`)
		s.sequence(t)
	}, nil},
}

func TestTamperingIsFoundByTheCheckThatIsMeantToFindIt(t *testing.T) { //nolint:tparallel // the cases are parallel, on copies of one database
	base := tamperBase(t)
	t.Run("T0 an untouched log", func(t *testing.T) {
		s := base(t)
		s.pinned = []string{s.newestNote(t)}
		r := s.prove(t)
		if !r.OK() || len(r.Notes) != 0 || r.Entries != 557 {
			t.Fatal(r.Text())
		}
		want := slices.DeleteFunc(verify.Checks(), func(c verify.Check) bool { return c == verify.Archives || c == verify.Receipts })
		if !slices.Equal(r.Passed(), want) {
			t.Errorf("passed %v, want %v", r.Passed(), want)
		}
	})
	for _, c := range tampering {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := base(t)
			c.damage(t, s)
			r := s.prove(t)
			var others []verify.Check
			for _, f := range r.Failed() {
				if f != c.check && !slices.Contains(c.also, f) {
					others = append(others, f)
				}
			}
			if !slices.Contains(r.Failed(), c.check) || others != nil {
				t.Fatalf("want %s, found by %v:\n%s", c.check, r.Failed(), r.Text())
			}
			// Without the check the case is missed, or found by those alone that are named.
			r = s.prove(t, c.check)
			for _, f := range r.Failed() {
				if !slices.Contains(c.also, f) {
					t.Errorf("without %s it is found by %s:\n%s", c.check, f, r.Text())
				}
			}
		})
	}
}

// fewerMonths drops the months from June 2027 on: there are so many copies of the database.
const fewerMonths = `
	DO $$
	DECLARE p record;
	BEGIN
	  FOR p IN SELECT * FROM audit_partitions() WHERE lower >= '2027-06-01 00:00:00+00' ORDER BY upper LOOP
	    EXECUTE format('ALTER TABLE public.%I DETACH PARTITION %s', p.parent, p.part::regclass);
	    IF p.upper = 'infinity' THEN
	      EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION %s FOR VALUES FROM (''2027-06-01 00:00:00+00'') TO (MAXVALUE)', p.parent, p.part::regclass);
	    ELSE
	      EXECUTE format('DROP TABLE %s', p.part::regclass);
	    END IF;
	  END LOOP;
	END $$`

// tamperBase makes one log, and gives every case a copy of its database.
func tamperBase(t *testing.T) func(*testing.T) *scene {
	t.Helper()
	r := setUp(t)
	s := r.sequencer(t, "base")
	for _, n := range []int64{100, 300, 556} {
		r.note(t, int(n-pgtest.Value[int64](t, r.DB, `SELECT count(*) FROM audit_logs`)))
		settle(t, r, s, n)
	}
	if err := r.log.Heartbeat(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	settle(t, r, s, 557)
	s.Close(context.Background())
	r.Super(t, fewerMonths)
	return func(t *testing.T) *scene {
		t.Helper()
		db := r.Copy(t)
		db.Super(t, `UPDATE audit_tree SET cluster = (SELECT system_identifier FROM pg_control_system()) || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())`)
		return &scene{room: &room{db, db.Log(t, clock.At(noon).Now)}}
	}
}
