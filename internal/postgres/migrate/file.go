package migrate

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	atlas "ariga.io/atlas/sql/migrate"
	"github.com/jackc/pgx/v5"
)

// File is one migration: a numbered file in goose's format.
type File struct {
	Version int64
	// Name is the file's name.
	Name string
	// OldestBinary is the newest migration of the oldest program that can serve on this schema.
	OldestBinary int64
	// Checksum is that of the text, with what other libraries contribute to it.
	Checksum string
	// Up and Down are the statements of each direction.
	Up, Down []Statement
	// NoTransaction says that statements run one by one, each its own transaction: CREATE INDEX CONCURRENTLY needs that.
	NoTransaction bool
	// Unfinished names the blocks that `diff` left to a person.
	Unfinished []string
}

// Statement is one statement of a migration.
type Statement struct {
	// SQL may hold :"app", the application's role.
	SQL string
	// Line is where it begins in the file, counted from 1.
	Line int
}

// appVariable stands for the application's role in migrations and in schema.sql; psql reads it the same way.
const appVariable = `:"app"`

// For is the statement for a database whose application's role is app.
func (s Statement) For(app string) string {
	return strings.ReplaceAll(s.SQL, appVariable, pgx.Identifier{app}.Sanitize())
}

// Comments that mean something, besides goose's own.
const (
	oldestMark     = "-- forge: oldest binary "
	unfinishedMark = "-- forge: unfinished"
	riverMark      = "-- forge: river "
)

var fileName = regexp.MustCompile(`^([0-9]{5})_[a-z0-9_]+\.sql$`)

// Load reads every migration of a directory, in order, and refuses what cannot be run: odd names, a number twice, a part
// that is missing.
func Load(dir fs.FS) ([]File, error) {
	names, err := fs.Glob(dir, "*.sql")
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errors.New("there are no migrations")
	}
	slices.Sort(names)
	files := make([]File, 0, len(names))
	var wrong []error
	for _, name := range names {
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, err
		}
		f, err := parse(name, string(text))
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", name, err))
			continue
		}
		if n := len(files); n > 0 && files[n-1].Version >= f.Version {
			wrong = append(wrong, fmt.Errorf("%s: its number is taken by %s", name, files[n-1].Name))
		}
		if f.OldestBinary < 1 || f.OldestBinary > f.Version {
			wrong = append(wrong, fmt.Errorf("%s: %q must name a migration from 1 to its own", name, strings.TrimSpace(oldestMark)))
		}
		files = append(files, f)
	}
	return files, errors.Join(wrong...)
}

// nameVersion is the number that a file's name begins with.
func nameVersion(name string) (int64, error) {
	m := fileName.FindStringSubmatch(path.Base(name))
	if m == nil {
		return 0, fmt.Errorf("a migration is called 00042_what_it_does.sql, in lower case, not %q", name)
	}
	v, err := strconv.ParseInt(m[1], 10, 64)
	if err == nil && v == 0 {
		err = errors.New("numbers begin with 1")
	}
	return v, err
}

func parse(name, text string) (File, error) {
	version, err := nameVersion(name)
	if err != nil {
		return File{}, err
	}
	f := File{Version: version, Name: name}
	if version == 1 {
		f.OldestBinary = 1 // the first was written before there was anything to be compatible with
	}
	sections := map[string]*strings.Builder{"Up": {}, "Down": {}}
	var section *strings.Builder
	var contributed strings.Builder
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, " \t\r\n")
		directive, isGoose := strings.CutPrefix(line, "-- +goose ")
		out := ""
		switch {
		case isGoose && (directive == "Up" || directive == "Down"):
			section = sections[directive]
			if section.Len() > 0 || section == sections["Up"] && sections["Down"].Len() > 0 {
				return f, fmt.Errorf("line %d: one Up, then one Down", n)
			}
			section.WriteString(strings.Repeat("\n", n-1)) // so that a statement's position tells its line
		case isGoose && directive == "NO TRANSACTION":
			f.NoTransaction = true
		case isGoose && (directive == "StatementBegin" || directive == "StatementEnd"): // statements are told apart by their syntax
		case isGoose:
			return f, fmt.Errorf("line %d: %q is not understood; there are Up, Down, NO TRANSACTION, StatementBegin and StatementEnd", n, line)
		case strings.HasPrefix(line, oldestMark):
			if f.OldestBinary, err = strconv.ParseInt(line[len(oldestMark):], 10, 64); err != nil {
				return f, fmt.Errorf("line %d: %w", n, err)
			}
		case strings.HasPrefix(line, unfinishedMark):
			f.Unfinished = append(f.Unfinished, fmt.Sprintf("line %d: %s", n, strings.TrimLeft(line[len(unfinishedMark):], ": ")))
		case strings.HasPrefix(line, riverMark):
			out = line[len("-- "):] + ";" // a statement of its own, replaced below by the library's
		default:
			out = line
		}
		if section != nil {
			section.WriteString(out + "\n")
		} else if out != "" && !strings.HasPrefix(out, "--") {
			return f, fmt.Errorf("line %d: SQL before the first -- +goose Up", n)
		}
	}
	if f.Up, err = statements(sections["Up"].String(), &contributed); err != nil {
		return f, err
	}
	if f.Down, err = statements(sections["Down"].String(), &contributed); err != nil {
		return f, err
	}
	if len(f.Up) == 0 || len(f.Down) == 0 {
		if len(f.Unfinished) == 0 {
			return f, errors.New("both -- +goose Up and -- +goose Down need a statement")
		}
	}
	if f.OldestBinary == 0 {
		return f, fmt.Errorf("the line %q is missing: the number of the newest migration that the oldest program able to serve on this schema knows", oldestMark+"N")
	}
	if f.NoTransaction {
		for _, s := range slices.Concat(f.Up, f.Down) {
			if !repeatable.MatchString(s.SQL) {
				return f, fmt.Errorf("line %d: without a transaction only statements that can be run again are allowed: CREATE INDEX CONCURRENTLY IF NOT EXISTS, DROP INDEX CONCURRENTLY IF EXISTS, REINDEX … CONCURRENTLY, ANALYZE", s.Line)
			}
		}
	}
	sum := sha256.Sum256([]byte(text + contributed.String()))
	f.Checksum = hex.EncodeToString(sum[:])
	return f, nil
}

// repeatable matches what may run without a transaction: after a crash it is run again from the start.
var repeatable = regexp.MustCompile(`(?is)^\s*(CREATE\s+(UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+IF\s+NOT\s+EXISTS|DROP\s+INDEX\s+CONCURRENTLY\s+IF\s+EXISTS|REINDEX\s+.*CONCURRENTLY|ANALYZE)\b`)

// statements splits SQL at the semicolons that end statements, not those in quotes, bodies and comments. What a library
// contributes is written to contributed as well.
func statements(sql string, contributed *strings.Builder) ([]Statement, error) {
	found, err := atlas.Stmts(sql)
	if err != nil {
		return nil, err
	}
	var out []Statement
	for _, s := range found {
		line := 1 + strings.Count(sql[:s.Pos], "\n")
		to, isRiver := strings.CutPrefix("-- "+s.Text, riverMark)
		if !isRiver {
			out = append(out, Statement{SQL: s.Text, Line: line})
			continue
		}
		steps, err := river(strings.TrimSuffix(to, ";"))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		contributed.WriteString(steps)
		theirs, err := atlas.Stmts(steps)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		for _, t := range theirs {
			out = append(out, Statement{SQL: t.Text, Line: line})
		}
	}
	return out, nil
}
