package migrate_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/robco-forge/forge/internal/postgres/migrate"
)

func load(t *testing.T, texts ...string) []migrate.File {
	t.Helper()
	dir := fstest.MapFS{}
	for i := 0; i < len(texts); i += 2 {
		dir[texts[i]] = &fstest.MapFile{Data: []byte(texts[i+1])}
	}
	files, err := migrate.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestAFileIsReadAsItIsWritten(t *testing.T) {
	files := load(t, "00001_a.sql", `-- +goose Up
CREATE TABLE a (n integer); -- the first; of two
-- +goose StatementBegin
CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN 'a;b'; END $$;
-- +goose StatementEnd
-- +goose Down
DROP FUNCTION f(); DROP TABLE a;
`, "00002_b.sql", `-- forge: oldest binary 1
-- +goose NO TRANSACTION
-- +goose Up
CREATE INDEX CONCURRENTLY IF NOT EXISTS a_idx ON a (n);
-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS a_idx;
`)
	if len(files) != 2 || len(files[0].Up) != 2 || len(files[0].Down) != 2 || !files[1].NoTransaction {
		t.Fatalf("%+v", files)
	}
	if got := files[0].Up[1].Line; got != 4 {
		t.Errorf("the function is on line %d", got)
	}
	if got := (migrate.Statement{SQL: `GRANT SELECT ON a TO :"app"`}).For(`x"y`); got != `GRANT SELECT ON a TO "x""y"` {
		t.Error(got)
	}
}

func TestAFileThatCannotBeRunIsRefused(t *testing.T) {
	const good = "-- forge: oldest binary 1\n-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 1;\n"
	for name, c := range map[string]struct{ file, text, says string }{
		"a name without a number":    {"colour.sql", good, "00042_what_it_does.sql"},
		"number zero":                {"00000_a.sql", good, "begin with 1"},
		"no way back":                {"00002_a.sql", "-- forge: oldest binary 1\n-- +goose Up\nSELECT 1;\n", "both"},
		"nothing about old programs": {"00002_a.sql", "-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 1;\n", "oldest binary"},
		"a program that is to come":  {"00002_a.sql", strings.Replace(good, "binary 1", "binary 3", 1), "from 1 to its own"},
		"an unknown directive":       {"00002_a.sql", "-- +goose ENVSUB ON\n" + good, "not understood"},
		"two ways up":                {"00002_a.sql", good + "-- +goose Up\nSELECT 2;\n", "one Up, then one Down"},
		"SQL before Up":              {"00002_a.sql", "SELECT 1;\n" + good, "before the first"},
		"an open quote":              {"00002_a.sql", strings.Replace(good, "SELECT 1", "SELECT 'x", 1), "00002_a.sql"},
		"a table outside a transaction": {
			"00002_a.sql", "-- forge: oldest binary 1\n-- +goose NO TRANSACTION\n-- +goose Up\nCREATE TABLE x ();\n-- +goose Down\nDROP TABLE x;\n",
			"run again",
		},
		"an index that fails the second time": {
			"00002_a.sql", "-- forge: oldest binary 1\n-- +goose NO TRANSACTION\n-- +goose Up\nCREATE INDEX CONCURRENTLY x ON y (z);\n-- +goose Down\nDROP INDEX CONCURRENTLY IF EXISTS x;\n",
			"run again",
		},
		"a step of the queue that is not there": {"00002_a.sql", strings.Replace(good, "SELECT 1;", "-- forge: river up 1 99", 1), "not found"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := migrate.Load(fstest.MapFS{c.file: &fstest.MapFile{Data: []byte(c.text)}})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want it to say %q", err, c.says)
			}
		})
	}
	_, err := migrate.Load(fstest.MapFS{"00002_a.sql": &fstest.MapFile{Data: []byte(good)}, "00002_b.sql": &fstest.MapFile{Data: []byte(good)}})
	if err == nil || !strings.Contains(err.Error(), "taken by 00002_a.sql") {
		t.Errorf("one number twice: %v", err)
	}
}

func TestAChecksumCoversWhatTheQueueContributes(t *testing.T) {
	one := load(t, "00002_a.sql", "-- forge: oldest binary 1\n-- +goose Up\n-- forge: river up 1 1\n-- +goose Down\n-- forge: river down 1 1\n")[0]
	two := load(t, "00002_a.sql", "-- forge: oldest binary 1\n-- +goose Up\n-- forge: river up 1 2\n-- +goose Down\n-- forge: river down 2 1\n")[0]
	if one.Checksum == two.Checksum || len(two.Up) <= len(one.Up) || len(one.Checksum) != 64 {
		t.Errorf("%s (%d statements) and %s (%d)", one.Checksum, len(one.Up), two.Checksum, len(two.Up))
	}
}

func TestThisProgramsMigrationsLoad(t *testing.T) {
	files, err := migrate.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	if last := files[len(files)-1]; last.Version != migrate.Newest() {
		t.Errorf("the newest is %d, Newest says %d", last.Version, migrate.Newest())
	}
}

// FuzzLoad: whatever a file holds, it is refused or read, and what was read runs nothing that is not in it.
func FuzzLoad(f *testing.F) {
	f.Add("-- forge: oldest binary 1\n-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 1;\n")
	f.Add("-- +goose NO TRANSACTION\n-- +goose Up\n-- forge: river up 1 5\n-- +goose Down\n$$;\n")
	f.Fuzz(func(t *testing.T, text string) {
		files, err := migrate.Load(fstest.MapFS{"00001_a.sql": &fstest.MapFile{Data: []byte(text)}})
		if err != nil || strings.Contains(text, "river") {
			return
		}
		for _, s := range files[0].Up {
			if !strings.Contains(strings.Join(strings.Fields(text), " "), strings.Join(strings.Fields(s.SQL), " ")) {
				t.Errorf("%q is not in %q", s.SQL, text)
			}
		}
	})
}
