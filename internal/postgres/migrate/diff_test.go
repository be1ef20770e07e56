package migrate_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/migrate"
)

func scratch(t *testing.T) *migrate.Scratch {
	t.Helper()
	s, err := migrate.OpenScratch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func verify(t *testing.T, s *migrate.Scratch, files []migrate.File, schema string) *migrate.Report {
	t.Helper()
	r, err := migrate.Verify(t.Context(), s, files, schema, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestThisProgramsMigrationsReachItsSchemaUpAndDown(t *testing.T) {
	r := verify(t, scratch(t), embedded(t), postgres.Schema())
	for _, p := range r.Problems {
		t.Error(p)
	}
	if r.Up == "" || r.Up != r.Again || r.Compared != r.Schema {
		t.Errorf("%+v", r)
	}
}

// edit replaces a text of schema.sql that must be there.
func edit(t *testing.T, schema string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if strings.Count(schema, pairs[i]) != 1 {
			t.Fatalf("%q is %d times in schema.sql", pairs[i], strings.Count(schema, pairs[i]))
		}
		schema = strings.Replace(schema, pairs[i], pairs[i+1], 1)
	}
	return schema
}

// drafted is the files with the draft among them, read as the program reads them.
func drafted(t *testing.T, files []migrate.File, d *migrate.Draft) []migrate.File {
	t.Helper()
	more, err := migrate.Load(fstest.MapFS{d.Name: &fstest.MapFile{Data: []byte(d.Text)}})
	if err != nil {
		t.Fatalf("%v\n%s", err, d.Text)
	}
	return slices.Concat(files, more)
}

func TestWithoutADifferenceNothingIsWritten(t *testing.T) {
	d, err := migrate.Diff(t.Context(), scratch(t), embedded(t), postgres.Schema(), "nothing")
	if err != nil || d != nil {
		t.Errorf("%+v %v", d, err)
	}
}

// house is a small schema with the same words as Forge's, for the many cases that need no large one.
const house = `CREATE ROLE :"app" NOLOGIN;
CREATE SCHEMA audit_parts;
CREATE TABLE teams (id text PRIMARY KEY);
CREATE TABLE users (
  id text PRIMARY KEY,
  display_name text NOT NULL,
  email text NOT NULL,
  team_id text NOT NULL,
  deactivated_at timestamptz
);
CREATE INDEX users_team_idx ON users (team_id, id);
CREATE TABLE tokens (
  user_id text NOT NULL,
  name text NOT NULL,
  hash bytea NOT NULL,
  CONSTRAINT tokens_hash_ck CHECK (octet_length(hash) = 32)
);
CREATE INDEX tokens_user_idx ON tokens (user_id);
CREATE TABLE idempotency_keys (key text PRIMARY KEY, created_at timestamptz NOT NULL);
CREATE INDEX idempotency_keys_created_idx ON idempotency_keys (created_at);
CREATE TABLE blueprints (
  description text NOT NULL DEFAULT '',
  active_version integer NOT NULL,
  id text PRIMARY KEY
);
CREATE TABLE workspaces (
  id text PRIMARY KEY,
  state_reason text NOT NULL,
  error_message text NOT NULL DEFAULT '',
  error_code text
);
CREATE TABLE user_budgets (
  enforcement text NOT NULL,
  CONSTRAINT user_budgets_enforcement_ck CHECK (enforcement IN ('block', 'block_and_stop', 'warn'))
);
CREATE TABLE budget_periods (id text);
CREATE TABLE notifications (id text);
CREATE TABLE audit_logs (
  timestamp timestamptz NOT NULL,
  xid xid8 NOT NULL,
  code text,
  user_agent text,
  leaf bytea NOT NULL
) PARTITION BY RANGE (timestamp);
CREATE INDEX audit_logs_xid_idx ON audit_logs (xid);
CREATE TABLE audit_parts.audit_logs_2026_01 PARTITION OF audit_logs FOR VALUES FROM ('2026-01-01 00:00:00+00') TO ('2026-02-01 00:00:00+00');
-- Messages to people ---
-- The application's role ---
GRANT INSERT, UPDATE ON user_budgets, budget_periods, notifications,
  workspaces TO :"app";
GRANT INSERT, UPDATE, DELETE ON idempotency_keys, teams TO :"app";
`

func houseFiles(t *testing.T) []migrate.File {
	t.Helper()
	return load(t, "00001_house.sql", file(strings.TrimSuffix(strings.TrimSpace(house), ";"), `DROP OWNED BY :"app"; DROP ROLE :"app"`))
}

// What can be planned is written so that nobody needs to touch it.
func TestPlainChangesAreWrittenUpAndDown(t *testing.T) {
	s, first := scratch(t), houseFiles(t)
	var together []string
	const enforcement = "user_budgets_enforcement_ck CHECK (enforcement IN ('block', 'block_and_stop', 'warn'))"
	for name, edits := range map[string][]string{
		"a column":                  {"  state_reason text NOT NULL,\n", "  state_reason text NOT NULL,\n  colour text NOT NULL DEFAULT 'grey',\n"},
		"a column in a partition":   {"  user_agent text,\n", "  user_agent text,\n  country text,\n"},
		"a word of a CHECK":         {enforcement, strings.Replace(enforcement, "'warn'", "'warn', 'tell'", 1)},
		"an index":                  {"CREATE INDEX tokens_user_idx", "CREATE INDEX users_display_idx ON users (lower(display_name)) INCLUDE (email) WHERE deactivated_at IS NULL;\nCREATE INDEX tokens_user_idx"},
		"an index of partitions":    {"CREATE INDEX audit_logs_xid_idx ON audit_logs (xid);", "CREATE INDEX audit_logs_xid_idx ON audit_logs (xid);\nCREATE INDEX audit_logs_code_idx ON audit_logs (code);"},
		"another order of an index": {"CREATE INDEX users_team_idx ON users (team_id, id);", "CREATE INDEX users_team_idx ON users (team_id, id DESC);"},
		"an index less":             {"CREATE INDEX users_team_idx ON users (team_id, id);", ""},
		"a column that may be NULL": {"  description text NOT NULL DEFAULT '',\n", "  description text DEFAULT 'none',\n"},
		"a wider type":              {"  active_version integer NOT NULL,", "  active_version bigint NOT NULL,"},
		"a column less":             {"  error_message text NOT NULL DEFAULT '',\n", ""},
		"a table with its rights": {
			"-- Messages to people ---", `CREATE TABLE colours (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  team_id text,
  length integer GENERATED ALWAYS AS (char_length(name)) STORED,
  during tstzrange NOT NULL,
  CONSTRAINT colours_team_fk FOREIGN KEY (team_id) REFERENCES teams (id),
  CONSTRAINT colours_name_ck CHECK (name ~ '^[a-z]+$'),
  CONSTRAINT colours_once_ex EXCLUDE USING gist (during WITH &&)
);
CREATE UNIQUE INDEX colours_name_uq ON colours (name, team_id) NULLS NOT DISTINCT;

-- Messages to people ---`,
			"GRANT INSERT, UPDATE, DELETE ON idempotency_keys,", "GRANT INSERT, UPDATE, DELETE ON colours, idempotency_keys,",
		},
		"a foreign key and a unique constraint": {"  CONSTRAINT tokens_hash_ck", "  CONSTRAINT tokens_name_uq UNIQUE (user_id, name),\n  CONSTRAINT tokens_hash_ck"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := migrate.Diff(t.Context(), s, first, edit(t, house, edits...), "Try: "+name+"!")
			if err != nil {
				t.Fatal(err)
			}
			if d == nil || len(d.Unfinished) > 0 || strings.Contains(d.Text, "unfinished") {
				t.Fatalf("%+v", d)
			}
			drafted(t, first, d)
		})
		if name != "another order of an index" && name != "a column less" { // with others on the same table they are another change
			together = append(together, edits...)
		}
	}
	schema := edit(t, postgres.Schema(), together...)
	d, err := migrate.Diff(t.Context(), s, embedded(t), schema, "all of them")
	if err != nil {
		t.Fatal(err)
	}
	files := drafted(t, embedded(t), d)
	if r := verify(t, s, files, schema); len(r.Problems) > 0 {
		t.Errorf("%s\n%s", strings.Join(r.Problems, "\n"), d.Text)
	}
	if again, err := migrate.Diff(t.Context(), s, files, schema, "again"); err != nil || again != nil {
		t.Errorf("there is still a difference: %+v %v", again, err)
	}
}

// What only a person can know is marked, and nothing runs or passes until it is finished.
func TestWhatAPersonMustDecideIsMarked(t *testing.T) {
	s, first := scratch(t), houseFiles(t)
	for name, c := range map[string]struct {
		edits []string
		says  []string
	}{
		"a renamed column": {[]string{"  display_name text NOT NULL,\n", "  full_name text NOT NULL,\n"}, []string{"ALTER TABLE users RENAME COLUMN display_name TO full_name;", "users.display_name is gone"}},
		"a renamed column with an index, and a right": {
			[]string{"  display_name text NOT NULL,\n", "  full_name text NOT NULL,\n", "CREATE INDEX tokens_user_idx", "CREATE INDEX users_name_idx ON users (lower(full_name));\nCREATE INDEX tokens_user_idx", "GRANT INSERT, UPDATE, DELETE ON idempotency_keys, teams", "GRANT INSERT, UPDATE, DELETE ON idempotency_keys, tokens, teams"},
			[]string{"ALTER TABLE users RENAME COLUMN display_name TO full_name;", "CREATE INDEX users_name_idx", "privileges public.tokens to :app"},
		},
		"a renamed table":    {[]string{"CREATE TABLE idempotency_keys (", "CREATE TABLE kept_answers (", "CREATE INDEX idempotency_keys_created_idx ON idempotency_keys", "CREATE INDEX idempotency_keys_created_idx ON kept_answers", "DELETE ON idempotency_keys,", "DELETE ON kept_answers,"}, []string{"ALTER TABLE idempotency_keys RENAME TO kept_answers;"}},
		"a function":         {[]string{"-- The application's role ---", "CREATE FUNCTION answer() RETURNS integer LANGUAGE sql AS 'SELECT 42';\n\n-- The application's role ---"}, []string{"answer", "42"}},
		"a trigger":          {[]string{"-- The application's role ---", "CREATE TRIGGER same BEFORE UPDATE ON teams FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();\n\n-- The application's role ---"}, []string{"same", "suppress_redundant_updates_trigger"}},
		"a view":             {[]string{"-- The application's role ---", "CREATE VIEW everybody AS SELECT id FROM users;\n\n-- The application's role ---"}, []string{"everybody"}},
		"a right more":       {[]string{"GRANT INSERT, UPDATE, DELETE ON idempotency_keys,", "GRANT DELETE ON users TO :\"app\";\nGRANT INSERT, UPDATE, DELETE ON idempotency_keys,"}, []string{"users", "DELETE"}},
		"a right less":       {[]string{"user_budgets, budget_periods, notifications,", "user_budgets, budget_periods,"}, []string{"notifications", "INSERT"}},
		"plain and not":      {[]string{"  error_message text NOT NULL DEFAULT '',\n", "", "-- The application's role ---", "CREATE VIEW everybody AS SELECT id FROM users;\n\n-- The application's role ---"}, []string{"DROP COLUMN", "everybody"}},
		"a schema":           {[]string{"-- The application's role ---", "CREATE SCHEMA other;\n\n-- The application's role ---"}, []string{"other"}},
		"a row-level policy": {[]string{"-- The application's role ---", "ALTER TABLE teams ENABLE ROW LEVEL SECURITY;\n\n-- The application's role ---"}, []string{"teams"}},
	} {
		t.Run(name, func(t *testing.T) {
			schema := edit(t, house, c.edits...)
			d, err := migrate.Diff(t.Context(), s, first, schema, name)
			if err != nil {
				t.Fatal(err)
			}
			if d == nil || len(d.Unfinished) == 0 {
				t.Fatalf("not marked: %+v", d)
			}
			for _, says := range c.says {
				if !strings.Contains(d.Text, says) {
					t.Errorf("the draft does not say %q:\n%s", says, d.Text)
				}
			}
			files := drafted(t, first, d)
			if r := verify(t, s, files, schema); len(r.Problems) == 0 || !strings.Contains(r.Problems[0], "unfinished") {
				t.Errorf("verify passed: %+v", r.Problems)
			}
			address, err := s.Database(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := open(t, address, files).Up(t.Context(), 0); err == nil {
				t.Error("it was applied")
			}
		})
	}
}

func TestAFinishedRenameKeepsTheDataAndPasses(t *testing.T) {
	s := scratch(t)
	schema := edit(t, postgres.Schema(), "  display_name text NOT NULL,\n", "  full_name text NOT NULL,\n")
	d, err := migrate.Diff(t.Context(), s, embedded(t), schema, "full name")
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for line := range strings.Lines(d.Text) {
		if sql := strings.TrimPrefix(line, "--   "); strings.Contains(sql, "RENAME COLUMN") {
			kept = append(kept, sql)
		} else if !strings.HasPrefix(line, "-- forge: unfinished") {
			kept = append(kept, line)
		}
	}
	d.Text = strings.Join(kept, "")
	if r := verify(t, s, drafted(t, embedded(t), d), schema); len(r.Problems) > 0 {
		t.Errorf("%s\n%s", strings.Join(r.Problems, "\n"), d.Text)
	}
}

// A migration that does not do, or take back, what it says is found.
func TestVerifyFindsWhatDoesNotAgree(t *testing.T) {
	s := scratch(t)
	const base = "CREATE TABLE a (n integer, m integer); CREATE INDEX a_idx ON a (n)"
	const trigger = "CREATE TRIGGER same BEFORE UPDATE ON a FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"
	first := load(t, "00001_a.sql", file(base, "DROP TABLE a"))
	next := func(up, down string) []migrate.File {
		return slices.Concat(first, load(t, "00002_b.sql", file(up, down)))
	}
	const schema = base + ";"
	withIndex := schema + "CREATE INDEX more_idx ON a (m);"
	if r := verify(t, s, next("CREATE INDEX more_idx ON a (m)", "DROP INDEX more_idx"), withIndex); len(r.Problems) > 0 {
		t.Fatal(r.Problems)
	}
	cases := map[string]struct {
		files  []migrate.File
		schema string
		says   string
	}{
		"something more in the migrations": {next("CREATE TABLE more ()", "DROP TABLE more"), schema, "more"},
		"something more in schema.sql":     {first, withIndex, "more_idx"},
		"a way back that leaves something": {next("CREATE INDEX more_idx ON a (m)", "SELECT 1"), withIndex, "does not restore"},
		"a way back that takes too much":   {next("CREATE INDEX more_idx ON a (m)", "DROP INDEX more_idx; DROP INDEX a_idx"), withIndex, "does not restore"},
		"a way back that does not run":     {next("CREATE INDEX more_idx ON a (m)", "DROP INDEX no_idx"), withIndex, "no_idx"},
		"SQL that does not run":            {next("CREATE INDEX more_idx ON nobody (id)", "SELECT 1"), withIndex, "nobody"},
		"a schema that does not run":       {first, schema + "SELEC 1;", "SELEC"},
		"a trigger that is off":            {next(trigger+"; ALTER TABLE a DISABLE TRIGGER same", "DROP TRIGGER same ON a"), schema + trigger + ";", "same"},
		"a right that was not given back":  {next("GRANT SELECT ON a TO PUBLIC", "SELECT 1"), schema + "GRANT SELECT ON a TO PUBLIC;", "does not restore"},
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		c := cases[name]
		t.Run(name, func(t *testing.T) {
			r := verify(t, s, c.files, c.schema)
			if len(r.Problems) == 0 || !strings.Contains(strings.Join(r.Problems, "\n"), c.says) {
				t.Errorf("%q, want something of %q", r.Problems, c.says)
			}
		})
	}
}
