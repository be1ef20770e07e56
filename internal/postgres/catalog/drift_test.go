package catalog_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/robco-forge/forge/internal/postgres/catalog"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

// superuser reaches the database of c with no rule in the way.
func superuser(t *testing.T, c *pgx.Conn) *pgxpool.Pool {
	t.Helper()
	p, err := pgxpool.New(t.Context(), pgtest.SuperURL(c.Config().Database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// threeMonths have the comment of the index, which a month gets when it is made.
var threeMonths = `COMMENT ON INDEX logs_note_idx IS 'by note';` + twoMonths + monthSQL("2026_03", "2026-03-01 00:00:00+00", "2026-04-01 00:00:00+00")

// more is what base has not: the ways around a protection.
const more = `
CREATE TABLE parts.logs_future (LIKE logs INCLUDING ALL, CONSTRAINT logs_overflow_ck CHECK (at >= '2026-04-01 00:00:00+00'));
ALTER TABLE logs ATTACH PARTITION parts.logs_future FOR VALUES FROM ('2026-04-01 00:00:00+00') TO (MAXVALUE);
ALTER TABLE logs ADD COLUMN one_id bigint;
ALTER TABLE logs ADD CONSTRAINT logs_one_fk FOREIGN KEY (one_id) REFERENCES one (id);
CREATE TABLE kinds (kind text NOT NULL) PARTITION BY LIST (kind);
CREATE TABLE kinds_a PARTITION OF kinds FOR VALUES IN ('a');
CREATE TABLE clocks (
  at timestamptz NOT NULL DEFAULT '2026-01-01 00:00:00+00',
  span interval DEFAULT '1 day 02:00:00',
  share double precision DEFAULT 0.1::double precision,
  bytes bytea DEFAULT '\x00ff',
  no integer GENERATED ALWAYS AS IDENTITY
);
CREATE AGGREGATE total(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0');
CREATE DOMAIN painted AS colour DEFAULT 'red';
CREATE POLICY mine ON two USING (note = 'x');
CREATE RULE quiet AS ON UPDATE TO two DO INSTEAD NOTHING;
CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
COMMENT ON CONSTRAINT logs_one_fk ON logs IS 'why';
`

// Whoever looks for tampering is told where. Each alteration is made by a superuser and undone.
func TestEveryWayAroundAProtectionShows(t *testing.T) {
	c, app := database(t, base+threeMonths+more)
	super := superuser(t, c)
	watch := `CREATE EVENT TRIGGER watch ON ddl_command_end WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION watch();`
	for _, a := range []struct{ first, sql, names string }{
		{"", "ALTER DEFAULT PRIVILEGES FOR ROLE :owner GRANT SELECT ON TABLES TO PUBLIC", "privileges later tables of :owner"},
		{"", "ALTER DEFAULT PRIVILEGES FOR ROLE :owner IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC", "privileges later tables of :owner in public"},
		{"", "ALTER DEFAULT PRIVILEGES FOR ROLE :owner REVOKE ALL ON FUNCTIONS FROM PUBLIC, :owner", "privileges later functions of :owner"},
		{"", "ALTER TABLE logs DISABLE TRIGGER ALL", "trigger public.logs.of logs_one_fk of public.logs on INSERT"},
		{"", "ALTER TABLE parts.logs_2026_02 DISABLE TRIGGER ALL", "trigger parts.logs_MONTH.of logs_one_fk of parts.logs_MONTH on INSERT"},
		{"", "ALTER TABLE parts.logs_past DISABLE TRIGGER ALL", "trigger parts.logs_past.of logs_one_fk of parts.logs_past on UPDATE"},
		{
			"CREATE TABLE three (one_id bigint, CONSTRAINT two_one_fk FOREIGN KEY (one_id) REFERENCES one (id)); ALTER TABLE one DISABLE TRIGGER ALL", "ALTER TABLE one ENABLE TRIGGER ALL; ALTER TABLE two DISABLE TRIGGER ALL",
			"trigger public.one.of two_one_fk of public.three on DELETE",
		},
		{"", "ALTER ROLE :app NOINHERIT", "role :app"},
		{"", "ALTER ROLE :app BYPASSRLS", "role :app"},
		{"", "ALTER ROLE :app SUPERUSER", "role :app"},
		{"", "ALTER ROLE :app CREATEDB", "role :app"},
		{"CREATE ROLE :app_group; GRANT :app_group TO :app", "GRANT pg_write_all_data TO :app_group", "pg_write_all_data"},
		{`CREATE ROLE ":app"; GRANT UPDATE ON one TO ":app"`, "REVOKE UPDATE ON one FROM \":app\"; GRANT UPDATE ON one TO :app", "privileges public.one to :app"},
		{"", `CREATE ROLE "PUBLIC"; GRANT UPDATE ON one TO "PUBLIC"`, `privileges public.one to "PUBLIC"`},
		{"", "ALTER TABLE one OWNER TO :app", "relation public.one"},
		{"", "ALTER FUNCTION stamp() OWNER TO :app", "function public.stamp()"},
		{"", "ALTER SCHEMA parts OWNER TO :app", "schema parts"},
		{"", watch, "event trigger watch"},
		{watch, "ALTER EVENT TRIGGER watch DISABLE", "event trigger watch"},
		{watch, "ALTER EVENT TRIGGER watch ENABLE ALWAYS", "event trigger watch"},
		{watch, "CREATE ROLE :app_boss SUPERUSER; ALTER EVENT TRIGGER watch OWNER TO :app_boss", "event trigger watch"},
		{watch, "COMMENT ON EVENT TRIGGER watch IS 'x'", "comment event trigger watch"},
		{"", "DROP POLICY mine ON two", "policy public.two.mine"},
		{"", "ALTER POLICY mine ON two USING (true)", "policy public.two.mine"},
		{"", "ALTER POLICY mine ON two TO :app", "policy public.two.mine"},
		{"", "ALTER TABLE two FORCE ROW LEVEL SECURITY", "relation public.two"},
		{"", "ALTER TABLE two DISABLE RULE quiet", "rule public.two.quiet"},
		{"", "ALTER TYPE colour ADD VALUE 'blue' BEFORE 'green'", "type public.colour"},
		{"", "ALTER TYPE colour RENAME VALUE 'red' TO 'rot'", "type public.colour"},
		{"", "ALTER DOMAIN painted SET DEFAULT 'green'", "type public.painted"},
		{"", "ALTER SEQUENCE numbers OWNED BY one.size", "relation public.numbers"},
		{"", "ALTER SEQUENCE numbers CACHE 7", "relation public.numbers"},
		{"", "ALTER TABLE clocks ALTER COLUMN no SET INCREMENT BY 2", "column public.clocks.no"},
		{"", "ALTER TABLE kinds DETACH PARTITION kinds_a; ALTER TABLE kinds ATTACH PARTITION kinds_a FOR VALUES IN ('a', 'b')", "relation public.kinds_a"},
		{"", "ALTER VIEW small ALTER COLUMN id SET DEFAULT 3", "column public.small.id"},
		{"", "DROP AGGREGATE total(integer); CREATE AGGREGATE total(integer) (SFUNC = int4mul, STYPE = integer, INITCOND = '0')", "function public.total(integer)"},
		{"", "COMMENT ON SCHEMA parts IS 'x'", "comment schema parts"},
		{"", "COMMENT ON TYPE colour IS 'x'", "comment type public.colour"},
		{"", "COMMENT ON TRIGGER stamp ON one IS 'x'", "comment trigger public.one.stamp"},
		{"", "COMMENT ON POLICY mine ON two IS 'x'", "comment policy public.two.mine"},
		{"", "COMMENT ON RULE quiet ON two IS 'x'", "comment rule public.two.quiet"},
		{"", "COMMENT ON COLUMN one.size IS 'x'", "comment public.one.size"},
		{"", "COMMENT ON FUNCTION stamp() IS 'x'", "comment function public.stamp()"},
		{"", "COMMENT ON CONSTRAINT one_name_ck ON one IS 'x'", "comment constraint public.one.one_name_ck"},
		{"", "CREATE EXTENSION :extension SCHEMA parts", "extension :extension"},
		// Of three months the one that is not like the others is named, also when it is the one that lacks something.
		{"", "ALTER TABLE parts.logs_2026_02 DROP CONSTRAINT logs_month_ck", "(not 2026_02)"},
		{"", "ALTER TABLE parts.logs_2026_02 DROP CONSTRAINT logs_month_ck, ADD CONSTRAINT logs_month_ck CHECK (at IS NOT NULL)", "constraint parts.logs_MONTH.logs_month_ck (only 2026_02)"},
		{"", "ALTER TABLE parts.logs_2026_02 SET LOGGED, SET (fillfactor = 50)", "relation parts.logs_MONTH (only 2026_02)"},
		{"", "CREATE INDEX more_idx ON parts.logs_2026_02 (at, note)", "(only 2026_02)"},
		{"", "COMMENT ON TABLE parts.logs_2026_02 IS 'x'", "comment parts.logs_MONTH"},
		{"", "ALTER TABLE logs DETACH PARTITION parts.logs_2026_02", "relation parts.logs_MONTH (only 2026_02)"},
		{"", "ALTER TABLE logs DETACH PARTITION parts.logs_future", "relation parts.logs_future"},
	} {
		name := func(sql string) string {
			// A role that is literally called :app stays as it is.
			sql = strings.ReplaceAll(sql, `":app"`, `"\app"`)
			sql = strings.NewReplacer(":app", app, ":owner", c.Config().User, ":extension", extension(t, super)).Replace(sql)
			return strings.ReplaceAll(sql, `"\app"`, `":app"`)
		}
		tx, err := super.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		exec := func(sql string) {
			t.Helper()
			if _, err := tx.Exec(t.Context(), name(sql)); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
		exec("SET LOCAL search_path = public; " + a.first)
		before := read(t, tx)
		exec(a.sql)
		after := read(t, tx)
		var said strings.Builder
		for _, d := range catalog.Compare(after, before) {
			said.WriteString(d.String() + "\n")
		}
		if names := strings.ReplaceAll(a.names, ":extension", extension(t, super)); before.Fingerprint() == after.Fingerprint() || !strings.Contains(said.String(), names) {
			t.Errorf("%s: the differences do not name %q:\n%s", a.sql, names, said.String())
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// extension is one that this server has besides PL/pgSQL.
func extension(t *testing.T, from *pgxpool.Pool) string {
	t.Helper()
	var name string
	if err := from.QueryRow(t.Context(), `SELECT quote_ident(min(name)) FROM pg_available_extensions WHERE name IN ('btree_gist', 'pgcrypto', 'pg_trgm', 'dict_int')`).Scan(&name); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestTheCatalogueIsTheSameWhateverTheSessionSays(t *testing.T) {
	c, app := database(t, base+threeMonths+more)
	want := read(t, c)
	run(t, c, `
		SET search_path = parts, public; SET timezone = 'Asia/Kathmandu'; SET datestyle = 'SQL, DMY'; SET intervalstyle = 'sql_standard';
		SET bytea_output = 'escape'; SET extra_float_digits = -15; SET quote_all_identifiers = on; SET default_transaction_isolation = 'serializable';
		CREATE TEMP TABLE pg_class (oid oid); CREATE TEMP TABLE one (id integer)`, app)
	tx, err := c.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range catalog.Compare(read(t, tx), want) {
		t.Errorf("in a transaction: %s", d)
	}
	for setting, kept := range map[string]string{"search_path": "parts, public", "datestyle": "SQL, DMY", "extra_float_digits": "-15"} {
		var now string
		if err := tx.QueryRow(t.Context(), `SELECT current_setting($1)`, setting).Scan(&now); err != nil || now != kept {
			t.Errorf("%s is %q after reading, and was %q: %v", setting, now, kept, err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, d := range catalog.Compare(read(t, c), want) {
		t.Errorf("on the connection: %s", d)
	}
	for _, d := range catalog.Compare(read(t, superuser(t, c)), want) {
		t.Errorf("from a pool: %s", d)
	}
}

// Months come in time, and what is left for the future begins later each time.
func TestWhichMonthsThereAreDoesNotShow(t *testing.T) {
	c, app := database(t, base+threeMonths+more)
	want := read(t, c)
	run(t, c, `ALTER TABLE logs DETACH PARTITION parts.logs_future; DROP TABLE parts.logs_future;`+
		monthSQL("2026_04", "2026-04-01 00:00:00+00", "2026-05-01 00:00:00+00")+`
		CREATE TABLE parts.logs_future (LIKE logs INCLUDING ALL, CONSTRAINT logs_overflow_ck CHECK (at >= '2026-05-01 00:00:00+00'));
		ALTER TABLE logs ATTACH PARTITION parts.logs_future FOR VALUES FROM ('2026-05-01 00:00:00+00') TO (MAXVALUE)`, app)
	for _, d := range catalog.Compare(read(t, c), want) {
		t.Errorf("one more: %s", d)
	}
	run(t, c, `DROP TABLE parts.logs_2026_01, parts.logs_2026_02`, app)
	for _, d := range catalog.Compare(read(t, c), want) {
		t.Errorf("two fewer: %s", d)
	}
}

// Of an extension only that it is there is read, and every object is told from every other.
func TestNamesAreUniqueWithinTheirKindAndDependOnNoObjectNumber(t *testing.T) {
	sql := base + threeMonths + more + `CREATE AGGREGATE last_colour(colour) (SFUNC = painted_last, STYPE = colour);`
	sql = strings.Replace(sql, `CREATE AGGREGATE total`, `CREATE FUNCTION painted_last(colour, colour) RETURNS colour LANGUAGE sql AS 'SELECT $2'; CREATE AGGREGATE total`, 1)
	c, _ := database(t, sql)
	other, _ := database(t, `CREATE TYPE unlike AS ENUM (); DROP TYPE unlike;`+sql)
	want := read(t, c)
	for _, d := range catalog.Compare(read(t, other), want) {
		t.Error(d)
	}
	seen := map[[2]string]bool{}
	for _, o := range want.Objects {
		if seen[[2]string{o.Kind, o.Name}] {
			t.Errorf("two are called %s %s", o.Kind, o.Name)
		}
		seen[[2]string{o.Kind, o.Name}] = true
	}
	if !slices.IsSortedFunc(want.Objects, func(a, b catalog.Object) int {
		return strings.Compare(a.Kind+"\x00"+a.Name, b.Kind+"\x00"+b.Name)
	}) {
		t.Error("the objects are not sorted by kind and name")
	}
}
