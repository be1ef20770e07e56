package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	atlas "ariga.io/atlas/sql/migrate"
	atlaspg "ariga.io/atlas/sql/postgres"
	"ariga.io/atlas/sql/schema"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/robco-forge/forge/internal/postgres/catalog"
)

// Draft is a migration that Diff has written.
type Draft struct {
	Name string `json:"name"`
	Text string `json:"-"`
	// Unfinished says what a person must still decide or write.
	Unfinished []string `json:"unfinished"`
	// Warnings say what is planned and deserves a look.
	Warnings []string `json:"warnings"`
}

// errSame says that there is no difference.
var errSame = errors.New("same")

// Diff writes the migration that brings a database from what the files make to schema.sql, with the way back. It
// returns nil when there is no difference. What cannot be planned safely, or only a person knows, becomes a marked
// block: functions, triggers, views, privileges of what is there already, and renames. The plan is tried before it is
// written: up and down again, on a scratch database.
func Diff(ctx context.Context, s *Scratch, files []File, schemaSQL, description string) (*Draft, error) {
	p := &planner{scratch: s, files: files}
	if err := p.open(ctx, schemaSQL); err != nil {
		return nil, err
	}
	err := p.plan(ctx)
	if err == nil {
		err = p.rest(ctx)
	}
	err = errors.Join(err, p.have.Close(), p.want.Close())
	if errors.Is(err, errSame) {
		return nil, nil //nolint:nilnil // documented: no difference
	}
	if err != nil {
		return nil, err
	}
	return p.draft(description), nil
}

type planner struct {
	scratch          *Scratch
	files            []File
	haveURL, wantURL string
	have, want       *sql.DB
	before           catalog.Catalog

	changes    []*atlas.Change
	grants     []string // on tables that are new
	renames    []rename
	unfinished []string
	first      [2][]string // marked blocks of renames: before the rest of Up, and of Down where it is a column's
	last       []string    // after the rest of Down: a table's, which the rest calls by its new name
	blocks     [2][]string // marked blocks of Up and Down
	warnings   []string
	breaking   bool // for programs that know only the schema before
}

// rename is a column or a table that went while another like it came.
type rename struct {
	what     string // for people
	table    bool   // not a column
	up, down string // as a rename
	drop     []*atlas.Change
}

func (p *planner) open(ctx context.Context, schemaSQL string) (err error) {
	if p.haveURL, err = p.scratch.migrated(ctx, p.files); err != nil {
		return err
	}
	if p.wantURL, err = p.scratch.load(ctx, schemaSQL); err != nil {
		return err
	}
	if p.before, err = Read(ctx, p.haveURL, RiverSchema); err != nil {
		return err
	}
	for url, db := range map[string]**sql.DB{p.haveURL: &p.have, p.wantURL: &p.want} {
		cfg, err := pgx.ParseConfig(url)
		if err != nil {
			return err
		}
		*db = stdlib.OpenDB(*cfg)
	}
	return nil
}

// migrated is a database with the files applied.
func (s *Scratch) migrated(ctx context.Context, files []File) (address string, err error) {
	if address, err = s.Database(ctx); err != nil {
		return "", err
	}
	m, err := Open(ctx, address, Options{Files: files})
	if err != nil {
		return "", err
	}
	_, err = m.Up(ctx, 0)
	return address, errors.Join(err, m.Close())
}

// plan asks for the differences of tables, columns, constraints and indexes and for the SQL that makes them up.
func (p *planner) plan(ctx context.Context) error {
	driver, err := atlaspg.Open(p.have)
	if err != nil {
		return err
	}
	from, err := inspect(ctx, p.have)
	if err != nil {
		return err
	}
	to, err := inspect(ctx, p.want)
	if err != nil {
		return err
	}
	changes, err := driver.SchemaDiff(from, to, schema.DiffNormalized())
	if err != nil {
		return err
	}
	sql := func(changes ...schema.Change) ([]*atlas.Change, error) {
		if len(changes) == 0 {
			return nil, nil
		}
		plan, err := driver.PlanChanges(ctx, "diff", changes, func(o *atlas.PlanOptions) {
			o.SchemaQualifier, o.Indent = new(string), "  " // unqualified names
		})
		if err != nil {
			return nil, err
		}
		return plan.Changes, nil
	}
	changes, err = p.takeRenames(changes, sql)
	if err != nil {
		return err
	}
	p.look(changes)
	if p.changes, err = sql(changes...); err != nil {
		return err
	}
	if err := p.grantsOnNew(ctx, changes); err != nil {
		return err
	}
	return p.unquote(ctx)
}

func inspect(ctx context.Context, db *sql.DB) (*schema.Schema, error) {
	driver, err := atlaspg.Open(db)
	if err != nil {
		return nil, err
	}
	return driver.InspectSchema(ctx, "public", &schema.InspectOptions{Mode: schema.InspectSchemas | schema.InspectTables, Exclude: []string{table}})
}

// takeRenames takes those changes out that may be renames: only a person knows.
func (p *planner) takeRenames(changes []schema.Change, sql func(...schema.Change) ([]*atlas.Change, error)) ([]schema.Change, error) {
	var kept []schema.Change
	var dropped []*schema.DropTable
	for _, c := range changes {
		if d, ok := c.(*schema.DropTable); ok {
			dropped = append(dropped, d)
		}
	}
	taken := map[*schema.Table]bool{}
	for _, c := range changes {
		if a, ok := c.(*schema.AddTable); ok {
			for _, d := range dropped {
				if !taken[d.T] && columnNames(a.T) == columnNames(d.T) {
					both, err := sql(a, d)
					if err != nil {
						return nil, err
					}
					p.renames = append(p.renames, rename{
						table: true,
						what:  fmt.Sprintf("table %s is gone and table %s with the same columns is new", d.T.Name, a.T.Name),
						up:    fmt.Sprintf("ALTER TABLE %s RENAME TO %s", quote(d.T.Name), quote(a.T.Name)),
						down:  fmt.Sprintf("ALTER TABLE %s RENAME TO %s", quote(a.T.Name), quote(d.T.Name)), drop: both,
					})
					taken[d.T], taken[a.T] = true, true
					break
				}
			}
		}
	}
	for _, c := range changes {
		switch c := c.(type) {
		case *schema.AddTable:
			if !taken[c.T] {
				kept = append(kept, c)
			}
		case *schema.DropTable:
			if !taken[c.T] {
				kept = append(kept, c)
			}
		case *schema.ModifyTable:
			rest, err := p.takeColumns(c, sql)
			if err != nil {
				return nil, err
			}
			if len(rest) > 0 {
				kept = append(kept, &schema.ModifyTable{T: c.T, Changes: rest})
			}
		default:
			kept = append(kept, c)
		}
	}
	return kept, nil
}

func (p *planner) takeColumns(m *schema.ModifyTable, sql func(...schema.Change) ([]*atlas.Change, error)) ([]schema.Change, error) {
	taken := map[schema.Change]bool{}
	for _, c := range m.Changes {
		d, ok := c.(*schema.DropColumn)
		if !ok {
			continue
		}
		for _, c := range m.Changes {
			a, ok := c.(*schema.AddColumn)
			if !ok || taken[a] || a.C.Type.Raw != d.C.Type.Raw || a.C.Type.Null != d.C.Type.Null {
				continue
			}
			both, err := sql(&schema.ModifyTable{T: m.T, Changes: []schema.Change{a, d}})
			if err != nil {
				return nil, err
			}
			p.renames = append(p.renames, rename{
				what: fmt.Sprintf("column %s.%s is gone and %s of the same type is new", m.T.Name, d.C.Name, a.C.Name),
				up:   fmt.Sprintf("ALTER TABLE %s RENAME COLUMN %s TO %s", quote(m.T.Name), quote(d.C.Name), quote(a.C.Name)),
				down: fmt.Sprintf("ALTER TABLE %s RENAME COLUMN %s TO %s", quote(m.T.Name), quote(a.C.Name), quote(d.C.Name)), drop: both,
			})
			taken[a], taken[d] = true, true
			break
		}
	}
	return slices.DeleteFunc(slices.Clone(m.Changes), func(c schema.Change) bool { return taken[c] }), nil
}

func columnNames(t *schema.Table) string {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = c.Name + " " + c.Type.Raw
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

var plain = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// quote quotes a name where it must be; reserved words are left to PostgreSQL's complaint when the plan is tried.
func quote(name string) string {
	if plain.MatchString(name) {
		return name
	}
	return pgx.Identifier{name}.Sanitize()
}

// look finds what deserves a warning, and what older programs cannot live with.
func (p *planner) look(changes []schema.Change) {
	warn := func(format string, args ...any) { p.warnings = append(p.warnings, fmt.Sprintf(format, args...)) }
	for _, c := range changes {
		switch c := c.(type) {
		case *schema.DropTable:
			p.breaking = true
			warn("drops table %s with what is in it", c.T.Name)
		case *schema.ModifyTable:
			for _, x := range c.Changes {
				switch x := x.(type) {
				case *schema.DropColumn:
					p.breaking = true
					warn("drops column %s.%s with what is in it", c.T.Name, x.C.Name)
				case *schema.ModifyColumn:
					if x.Change.Is(schema.ChangeType) {
						p.breaking = true
						warn("changes the type of %s.%s from %s to %s, which rewrites the table", c.T.Name, x.From.Name, x.From.Type.Raw, x.To.Type.Raw)
					}
				case *schema.AddColumn:
					if !x.C.Type.Null && x.C.Default == nil && !generated(x.C) {
						p.breaking = true
						warn("adds column %s.%s NOT NULL without a default: that fails on a table with rows", c.T.Name, x.C.Name)
					}
				case *schema.AddIndex:
					warn("builds index %s on %s, which keeps writers waiting; on a large table put CREATE INDEX CONCURRENTLY into a migration of its own (-- +goose NO TRANSACTION)", x.I.Name, c.T.Name)
				}
			}
		}
	}
}

// generated tells whether the column fills itself.
func generated(c *schema.Column) bool {
	return slices.ContainsFunc(c.Attrs, func(a schema.Attr) bool {
		switch a.(type) {
		case *schema.GeneratedExpr, *atlaspg.Identity:
			return true
		}
		return false
	})
}

// quoted matches texts, which stay as they are, and quoted names.
var quoted = regexp.MustCompile(`'(?:[^']|'')*'|"[a-z_][a-z0-9_]*"`)

// unquote takes the quotes off names that PostgreSQL does not ask them for: people read these files.
func (p *planner) unquote(ctx context.Context) error {
	all := slices.Clone(p.changes)
	for _, r := range p.renames {
		all = append(all, r.drop...)
	}
	for _, c := range all {
		if err := unquoted(ctx, p.want, &c.Cmd); err != nil {
			return err
		}
		back, err := c.ReverseStmts()
		if err != nil {
			return err
		}
		for i := range back {
			if err := unquoted(ctx, p.want, &back[i]); err != nil {
				return err
			}
		}
		c.Reverse = back
	}
	return nil
}

func unquoted(ctx context.Context, db *sql.DB, statement *string) error {
	var failed error
	*statement = quoted.ReplaceAllStringFunc(*statement, func(name string) string {
		if name[0] == '\'' {
			return name
		}
		var bare string
		if err := db.QueryRowContext(ctx, `SELECT quote_ident($1)`, strings.Trim(name, `"`)).Scan(&bare); err != nil {
			failed = errors.Join(failed, err)
		}
		return bare
	})
	return failed
}

// grantsOnNew are the rights on tables that this migration makes: nobody had others before, so they need no decision.
func (p *planner) grantsOnNew(ctx context.Context, changes []schema.Change) error {
	for _, c := range changes {
		a, ok := c.(*schema.AddTable)
		if !ok {
			continue
		}
		rows, err := p.want.QueryContext(ctx, `
			SELECT format('GRANT %s ON %s TO %s', string_agg(x.privilege_type, ', ' ORDER BY x.privilege_type), quote_ident($1),
			  CASE WHEN x.grantee = 0 THEN 'PUBLIC' WHEN r.rolname = current_database() || '_app' THEN $2 ELSE quote_ident(r.rolname) END)
			FROM pg_class c CROSS JOIN aclexplode(c.relacl) x LEFT JOIN pg_roles r ON r.oid = x.grantee
			WHERE c.oid = to_regclass(quote_ident($1)) AND x.grantee <> c.relowner
			GROUP BY x.grantee, r.rolname
			ORDER BY 1`, a.T.Name, appVariable)
		if err != nil {
			return err
		}
		grants, err := texts(rows)
		if err != nil {
			return err
		}
		p.grants = append(p.grants, grants...)
	}
	return nil
}

// rest tries the plan and marks what it leaves open.
func (p *planner) rest(ctx context.Context) error {
	up := func(tx *sql.Tx) error {
		for _, r := range p.renames { // as if they were renames, so that what else is left shows
			if err := p.exec(ctx, tx, []string{r.up}); err != nil {
				return err
			}
		}
		if err := p.exec(ctx, tx, commands(p.changes)); err != nil {
			return err
		}
		return p.exec(ctx, tx, p.grants)
	}
	if err := inTx(ctx, p.have, up); err != nil {
		p.mark(0, "the statements above do not run as they are: "+oneLine(err.Error()))
		p.mark(1, "the statements above have not been tried, because those of Up do not run")
		return p.render()
	}
	after, err := Read(ctx, p.haveURL, RiverSchema)
	if err != nil {
		return err
	}
	want, err := Read(ctx, p.wantURL, RiverSchema)
	if err != nil {
		return err
	}
	left := catalog.Compare(after, want)
	if len(left) == 0 && len(p.changes) == 0 && len(p.renames) == 0 {
		return errSame
	}
	for _, d := range left {
		p.mark(0, "write the statement for this: "+d.String())
		p.mark(1, "write the statement that takes this back: "+d.String())
	}
	down := func(tx *sql.Tx) error {
		back, err := reverse(p.changes)
		if err != nil {
			return err
		}
		for _, r := range p.renames {
			if r.table {
				back = append(back, r.down)
			} else {
				back = append([]string{r.down}, back...)
			}
		}
		return p.exec(ctx, tx, back)
	}
	if err := inTx(ctx, p.have, down); err != nil {
		p.mark(1, "the statements above do not run as they are: "+oneLine(err.Error()))
		return p.render()
	}
	restored, err := Read(ctx, p.haveURL, RiverSchema)
	if err != nil {
		return err
	}
	for _, d := range catalog.Compare(restored, p.before) {
		p.mark(1, "write the statement for this: "+d.String())
	}
	return p.render()
}

func (p *planner) exec(ctx context.Context, tx *sql.Tx, statements []string) error {
	var app string
	if err := tx.QueryRowContext(ctx, appRoleQuery).Scan(&app); err != nil {
		return err
	}
	for _, s := range statements {
		if _, err := tx.ExecContext(ctx, Statement{SQL: s}.For(app)); err != nil {
			return fmt.Errorf("%s: %w", oneLine(s), err)
		}
	}
	return nil
}

func commands(changes []*atlas.Change) []string {
	out := make([]string, len(changes))
	for i, c := range changes {
		out[i] = c.Cmd
	}
	return out
}

// reverse is the way back, last change first.
func reverse(changes []*atlas.Change) ([]string, error) {
	var out []string
	for _, c := range slices.Backward(changes) {
		back, err := c.ReverseStmts()
		if err != nil {
			return nil, err
		}
		out = append(out, back...)
	}
	return out, nil
}

// mark adds a block that a person must finish to a direction (0 up, 1 down).
func (p *planner) mark(direction int, what string) {
	p.blocks[direction] = append(p.blocks[direction], block(what))
	if direction == 0 {
		p.unfinished = append(p.unfinished, oneLine(strings.SplitN(what, "\n", 2)[0]))
	}
}

func block(what string) string {
	lines := strings.Split(strings.TrimSpace(what), "\n")
	for i := range lines {
		lines[i] = "-- " + strings.TrimRight(lines[i], " ")
	}
	lines[0] = unfinishedMark + ": " + strings.TrimPrefix(lines[0], "-- ")
	return strings.Join(lines, "\n")
}

// render makes the blocks of the renames.
func (p *planner) render() error {
	for _, r := range p.renames {
		p.unfinished = append(p.unfinished, r.what)
		back, err := reverse(r.drop)
		if err != nil {
			return err
		}
		for direction, way := range [2]struct {
			rename string
			drop   []string
		}{{r.up, commands(r.drop)}, {r.down, back}} {
			text := r.what + ". Keep one of the two, without the comment signs:\nthe same under another name:\n  " + way.rename +
				";\nsomething else, which loses what was in the old:\n  " + strings.Join(way.drop, ";\n  ") + ";"
			if direction == 1 && r.table {
				p.last = append(p.last, block(text))
			} else {
				p.first[direction] = append(p.first[direction], block(text))
			}
		}
	}
	return nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

var notName = regexp.MustCompile(`[^a-z0-9]+`)

// FileName is the name of the next migration after files.
func FileName(files []File, description string) (string, error) {
	name := strings.Trim(notName.ReplaceAllString(strings.ToLower(description), "_"), "_")
	if name == "" || len(name) > 80 {
		return "", errors.New("a migration needs a name of letters and digits, at most 80 of them, such as \"add colour to workspaces\"")
	}
	next := int64(1)
	if n := len(files); n > 0 {
		next = files[n-1].Version + 1
	}
	return fmt.Sprintf("%05d_%s.sql", next, name), nil
}

func (p *planner) draft(description string) *Draft {
	name, err := FileName(p.files, description)
	if err != nil {
		name, _ = FileName(p.files, "change") //nolint:errcheck // a fixed name
	}
	oldest := compatible(p.files)
	if p.breaking || len(p.renames) > 0 {
		oldest, _ = nameVersion(name) //nolint:errcheck // we have just made it
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s%d\n\n-- %s\n\n-- +goose Up\n", oldestMark, oldest, oneLine(description))
	writeBlocks(&b, p.first[0])
	for _, c := range p.changes {
		b.WriteString(c.Cmd + ";\n")
	}
	for _, g := range p.grants {
		b.WriteString(g + ";\n")
	}
	writeBlocks(&b, p.blocks[0])
	b.WriteString("\n-- +goose Down\n")
	writeBlocks(&b, p.first[1])
	back, err := reverse(p.changes)
	if err != nil {
		p.mark(1, err.Error())
	}
	for _, s := range back {
		b.WriteString(s + ";\n")
	}
	writeBlocks(&b, p.blocks[1])
	writeBlocks(&b, p.last)
	return &Draft{Name: name, Text: b.String(), Unfinished: append([]string{}, p.unfinished...), Warnings: append([]string{}, p.warnings...)}
}

func writeBlocks(b *strings.Builder, blocks []string) {
	if len(blocks) > 0 {
		b.WriteString("-- A person must finish what follows: write the statements, and delete the lines that begin with \"" + unfinishedMark + "\".\n")
	}
	for _, block := range blocks {
		b.WriteString(block + "\n")
	}
}

// compatible is the oldest program that can serve on what the files make.
func compatible(files []File) int64 {
	oldest := int64(1)
	for i := range files {
		oldest = max(oldest, files[i].OldestBinary)
	}
	return oldest
}

// Template is a migration for a person to write.
func Template(files []File, description string) (*Draft, error) {
	name, err := FileName(files, description)
	if err != nil {
		return nil, err
	}
	what := oneLine(description)
	return &Draft{Name: name, Unfinished: []string{what}, Text: fmt.Sprintf(`%s%d

-- %s

-- +goose Up
%s: write the statements, then delete this line

-- +goose Down
%s: write the statements that take it back, then delete this line
`, oldestMark, compatible(files), what, unfinishedMark, unfinishedMark)}, nil
}
