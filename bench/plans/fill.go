// Package plans fills a database the size of a large organisation's and checks by which index every hot query is answered.
package plans

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/price"
)

// Sizes are how many rows the big tables get; the others follow from the WorkSpaces.
type Sizes struct {
	WorkSpaces, CostRecords, AuditLogs int
}

// The two years that the data is about. They are fixed, so that every run fills the same rows; the audit log has a
// partition for each of their months.
var (
	Begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	Now   = time.Date(2027, 12, 31, 11, 30, 0, 0, time.UTC)
)

const (
	origin = "bench.forge/audit"
	region = "us-east-1"
	// ageOfKeys is after how long an idempotency key is forgotten.
	ageOfKeys = 24 * time.Hour
)

// person is a user, or a row of another small table.
type person struct {
	id, name string
	team     int
}

type desktop struct {
	unique  string // the id without its prefix
	user    int
	project string // empty for most
	state   string
	created time.Time
	ended   time.Time // zero while it lives
}

func (d *desktop) id() string { return "ws_" + d.unique }

// A WorkSpace's usages are named after it.
func (d *desktop) fee() string     { return "use_" + d.unique[:25] + "f" }
func (d *desktop) running() string { return "use_" + d.unique[:25] + "r" }
func (d *desktop) opened() time.Time {
	return d.created.Add(5 * time.Minute)
}

// world is who there is and what they have: the same for the same sizes.
type world struct {
	Sizes
	rng      *rand.Rand
	teams    []person
	users    []person
	projects []person
	versions []person
	desktops []desktop
}

func between(most, n, least int) int { return max(least, min(most, n)) }

func newWorld(s Sizes) *world {
	w := &world{Sizes: s, rng: rand.New(rand.NewPCG(13, 2027))}
	nUsers := between(10_000, s.WorkSpaces/50, 100)
	nTeams := between(500, nUsers/20, 10)
	for i := range nTeams {
		w.teams = append(w.teams, person{id: w.id("team_", Begin), name: fmt.Sprintf("team-%03d", i), team: i})
	}
	for i := range nUsers {
		team := w.skewed(nTeams, 1.5)
		if i < nTeams {
			team = i // nobody's team is empty
		}
		w.users = append(w.users, person{id: w.id("usr_", Begin), name: fmt.Sprintf("user-%05d", i), team: team})
	}
	for i := range 3 * nTeams {
		w.projects = append(w.projects, person{id: w.id("prj_", Begin), name: fmt.Sprintf("project-%04d", i), team: i % nTeams})
	}
	for i := range 4 * (nTeams + 10) {
		w.versions = append(w.versions, person{id: w.id("bpv_", Begin), name: w.id("bp_", Begin), team: i})
	}
	return w
}

// skewed is a number below n, small ones more often the larger the power.
func (w *world) skewed(n int, power float64) int {
	return int(float64(n) * math.Pow(w.rng.Float64(), power))
}

func (w *world) uuid(at time.Time) uuid.UUID {
	ms, a, b := uint64(at.UnixMilli()), w.rng.Uint64(), w.rng.Uint64()
	var u uuid.UUID
	for i := range 6 {
		u[i] = byte(ms >> (40 - 8*i))
	}
	for i := range 10 {
		u[6+i] = byte(a >> (8 * (i % 8)) & 0xff)
	}
	u[14], u[15] = byte(b), byte(b>>8)
	u[6], u[8] = u[6]&0x0f|0x70, u[8]&0x3f|0x80
	return u
}

var crockford = []byte("0123456789abcdefghjkmnpqrstvwxyz")

// unique is the 26 digits of package id, at an instant of ours.
func (w *world) unique(at time.Time) string {
	u := w.uuid(at)
	var out [26]byte
	var acc uint64
	bits, n := 2, 0
	for _, b := range u {
		acc = acc<<8 | uint64(b)
		for bits += 8; bits >= 5; n++ {
			bits -= 5
			out[n] = crockford[acc>>bits&31]
		}
	}
	return string(out[:])
}

func (w *world) id(prefix string, at time.Time) string { return prefix + w.unique(at) }

// at is the instant of the i-th of n things that are spread evenly over the two years.
func at(i, n int, end time.Time) time.Time {
	return Begin.Add(time.Duration(float64(end.Sub(Begin)) * float64(i) / float64(n))).Truncate(time.Microsecond)
}

// secret is the token of the user: well-formed, and known.
func secret(user int) string {
	raw := sha256.Sum256(fmt.Appendf(nil, "bench token of user %d", user))
	c := crc32.ChecksumIEEE(raw[:30])
	return "forge_" + base64.RawURLEncoding.EncodeToString(append(raw[:30:30], byte(c>>16), byte(c>>8), byte(c)))
}

// filler writes a world into a database.
type filler struct {
	*world
	conn     *pgx.Conn
	progress func(format string, args ...any)
	price    int64
}

// big are the tables whose further indexes and foreign keys are taken away while they are filled, and made again after.
var big = []string{"workspaces", "workspace_events", "usage", "cost_records", "cost_hours", "cost_days", "budget_holds", "budget_periods", "audit_logs"}

// Fill writes an organisation of the sizes into an empty migrated database, as the owner of its tables: the same rows for
// the same sizes. A few people have most WorkSpaces, most WorkSpaces have ended, and everything is spread over two years.
// progress may be nil.
func Fill(ctx context.Context, conn *pgx.Conn, s Sizes, progress func(format string, args ...any)) error {
	if progress == nil {
		progress = func(string, ...any) {}
	}
	f := &filler{world: newWorld(s), conn: conn, progress: progress}
	if err := f.people(ctx); err != nil {
		return err
	}
	restore, err := strip(ctx, conn)
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{f.workspaces, f.events, f.attributions, f.usage, f.costs, f.sums, f.budgets, f.holds, f.audit} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	for _, sql := range restore {
		progress("%s", sql)
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	progress("VACUUM (ANALYZE)")
	_, err = conn.Exec(ctx, `VACUUM (ANALYZE)`)
	return err
}

// strip takes away what slows filling down and returns the statements that make it again, word for word.
func strip(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, err := conn.Query(ctx, `
		SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname),
		       format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
		FROM pg_constraint
		WHERE contype = 'f' AND conrelid = ANY($1::text[]::regclass[])
		UNION ALL
		SELECT format('DROP INDEX %s', i.indexrelid::regclass), replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ')
		FROM pg_index i
		WHERE i.indrelid = ANY($1::text[]::regclass[]) AND NOT i.indisprimary`, big)
	if err != nil {
		return nil, err
	}
	type pair struct{ Drop, Make string }
	pairs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[pair])
	if err != nil {
		return nil, err
	}
	var restore []string
	for _, p := range pairs {
		if _, err := conn.Exec(ctx, p.Drop); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Drop, err)
		}
		restore = append(restore, p.Make)
	}
	return restore, nil
}

// copyRows writes n rows, or as many as next has: it returns nil behind the last.
func (f *filler) copyRows(ctx context.Context, table string, columns []string, next func() []any) error {
	begun := time.Now()
	n, err := f.conn.CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromFunc(func() ([]any, error) { return next(), nil }))
	if err != nil {
		return fmt.Errorf("filling %s: %w", table, err)
	}
	f.progress("%-18s %9d rows in %s", table, n, time.Since(begun).Round(time.Millisecond))
	return nil
}

// each makes a source of n rows.
func each(n int, row func(i int) []any) func() []any {
	i := -1
	return func() []any {
		if i++; i >= n {
			return nil
		}
		return row(i)
	}
}

func (f *filler) people(ctx context.Context) error {
	lines, err := price.Default()
	if err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, f.conn, func(raw pgx.Tx) error {
		tx := &audit.Tx{Tx: raw, Now: Begin, Actor: actor.Operator("bench")}
		if _, err := cost.ImportBook(ctx, tx, "bench", price.SessionCeil, Begin, lines); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO organisation (audit_origin, audit_keys_check, budget_default, created_at)
			VALUES ($1, '\x00', 'allow', $2)`, origin, Begin); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT min(id) FROM prices WHERE item = 'auto_stop_hour'`).Scan(&f.price)
	})
	if err != nil {
		return err
	}
	if err := f.copyRows(ctx, "teams", []string{"id", "name", "cost_centre", "created_at", "updated_at"}, each(len(f.teams), func(i int) []any {
		return []any{f.teams[i].id, f.teams[i].name, fmt.Sprintf("cc-%d", i), Begin, Begin}
	})); err != nil {
		return err
	}
	if err := f.copyRows(ctx, "users", []string{"id", "user_name", "display_name", "email", "team_id", "role", "created_at", "updated_at"}, each(len(f.users), func(i int) []any {
		u := f.users[i]
		role := "engineer"
		if i < len(f.teams) {
			role = "team_lead"
		}
		return []any{u.id, u.name, u.name, u.name + "@example.com", f.teams[u.team].id, role, Begin, Begin}
	})); err != nil {
		return err
	}
	if err := f.copyRows(ctx, "projects", []string{"id", "name", "team_id", "cost_centre", "created_at", "updated_at"}, each(len(f.projects), func(i int) []any {
		p := f.projects[i]
		return []any{p.id, p.name, f.teams[p.team].id, fmt.Sprintf("cc-%d", p.team), Begin, Begin}
	})); err != nil {
		return err
	}
	// Three tokens each, of which two have ended.
	if err := f.copyRows(ctx, "tokens", []string{"id", "user_id", "name", "hash", "created_at", "expires_at", "revoked_at"}, each(3*len(f.users), func(i int) []any {
		hash, expires, revoked := sha256.Sum256([]byte(secret(i/3))), Now.AddDate(0, 6, 0), any(nil)
		if i%3 != 0 {
			hash, expires, revoked = sha256.Sum256(fmt.Append(nil, i)), Begin.AddDate(0, 6, 0), Begin
		}
		return []any{f.id("tok_", Begin), f.users[i/3].id, "laptop", hash[:], Begin, expires, revoked}
	})); err != nil {
		return err
	}
	if err := f.blueprints(ctx); err != nil {
		return err
	}
	answers := between(50_000, f.WorkSpaces/20, 1000)
	if err := f.copyRows(ctx, "idempotency_keys", []string{"actor_id", "key", "request_hash", "response", "created_at"}, each(answers, func(i int) []any {
		age := time.Duration(float64(ageOfKeys+10*time.Minute) * float64(i) / float64(answers))
		return []any{f.users[f.skewed(len(f.users), 1.5)].id, f.unique(Now), []byte{1}, []byte("{}"), Now.Add(-age)}
	})); err != nil {
		return err
	}
	messages := f.WorkSpaces / 10
	return f.copyRows(ctx, "notifications", []string{"id", "dedupe_key", "kind", "user_id", "payload", "created_at", "sent_at"}, each(messages, func(i int) []any {
		made := at(i, messages, Now)
		sent := any(made.Add(time.Second))
		if i >= messages-20 {
			sent = nil
		}
		return []any{f.id("msg_", made), fmt.Sprintf("bench:%d", i), "budget.warning", f.users[f.skewed(len(f.users), 1.5)].id, "{}", made, sent}
	}))
}

// blueprints gives every team one and the public ten, with four versions each.
func (f *filler) blueprints(ctx context.Context) error {
	const definition = `{"operating_system":"WINDOWS","license":"INCLUDED","bundle_types":["STANDARD"],"default_bundle_type":"STANDARD","running_mode":"ALWAYS_ON"}`
	digest := sha256.Sum256([]byte(definition))
	if err := f.copyRows(ctx, "blueprints", []string{"id", "team_id", "name", "active_version", "created_by", "created_at", "updated_at"}, each(len(f.versions)/4, func(i int) []any {
		team := any(nil)
		if i < len(f.teams) {
			team = f.teams[i].id
		}
		return []any{f.versions[4*i].name, team, fmt.Sprintf("blueprint-%d", i), 4, "bench", Begin, Begin}
	})); err != nil {
		return err
	}
	if err := f.copyRows(ctx, "blueprint_versions", []string{"id", "blueprint_id", "number", "definition", "digest", "created_by", "created_at"}, each(len(f.versions), func(i int) []any {
		return []any{f.versions[i].id, f.versions[i/4*4].name, i%4 + 1, definition, hex.EncodeToString(digest[:]), "bench", Begin}
	})); err != nil {
		return err
	}
	if err := f.copyRows(ctx, "blueprint_statuses", []string{"version_id", "ordinal", "status", "set_by", "set_at"}, each(2*len(f.versions), func(i int) []any {
		return []any{f.versions[i/2].id, i % 2, []string{"draft", "published"}[i%2], "bench", Begin}
	})); err != nil {
		return err
	}
	return f.copyRows(ctx, "blueprint_promotions", []string{"blueprint_id", "ordinal", "number", "kind", "set_by", "set_at"}, each(len(f.versions), func(i int) []any {
		return []any{f.versions[i/4*4].name, i%4 + 1, i%4 + 1, "promote", "bench", Begin}
	}))
}

// states of what lives, as often as they are seen.
var states = []string{
	"AVAILABLE", "AVAILABLE", "AVAILABLE", "AVAILABLE", "AVAILABLE", "AVAILABLE", "AVAILABLE", "AVAILABLE", "AVAILABLE",
	"STOPPED", "STOPPED", "STOPPED", "STOPPED", "STOPPED", "STOPPED", "STOPPED", "STOPPED", "STARTING", "STOPPING", "IMPAIRED",
}

// workspaces are spread evenly over the time up to half a day ago. One in twenty-five lives: most of the newest, few of the
// older, hardly any of the first year's.
func (f *filler) workspaces(ctx context.Context) error {
	n := f.WorkSpaces
	f.desktops = make([]desktop, n)
	projects := make([][]string, len(f.teams))
	for _, p := range f.projects {
		projects[p.team] = append(projects[p.team], p.id)
	}
	return f.copyRows(ctx, "workspaces", []string{
		"id", "name", "user_id", "team_id", "project_id", "cost_centre", "blueprint_version_id", "service_type", "bundle_type",
		"operating_system", "license", "running_mode", "region", "directory_id", "directory_user", "auto_stop_timeout_minutes",
		"max_lifetime_days", "tags", "desired", "state", "state_reason", "provider_id", "version", "next_due_at", "lease_until", "created_at",
		"updated_at", "state_since", "available_at", "terminated_at", "rule_due_at",
	}, each(n, func(i int) []any {
		d := &f.desktops[i]
		d.created = at(i, n, Now.Add(-12*time.Hour))
		d.unique, d.user, d.state = f.unique(d.created), f.skewed(len(f.users), 1.5), "TERMINATED"
		u := f.users[d.user]
		if f.rng.IntN(5) < 2 {
			d.project = projects[u.team][f.rng.IntN(3)]
		}
		updated := d.created.Add(time.Duration(f.rng.Int64N(int64(40 * 24 * time.Hour)))).Truncate(time.Microsecond)
		if updated.After(Now) {
			updated = Now.Add(-time.Minute)
		}
		var due, leased, available, ended, lifetime, rule any
		if f.rng.IntN(1000) < alive(i, n) {
			d.state = states[f.rng.IntN(len(states))]
			// Every two-hundredth is due; a tenth of those is somebody's at the moment.
			due = Now.Add(time.Duration(f.rng.Int64N(int64(5 * time.Minute)))).Truncate(time.Microsecond)
			if f.rng.IntN(200) == 0 {
				due = Now.Add(-time.Duration(f.rng.Int64N(int64(time.Minute)))).Truncate(time.Microsecond)
				if f.rng.IntN(10) == 0 {
					leased = Now.Add(10 * time.Second)
				}
			}
			// Every third has something ahead within two months; of those, every three-hundredth is due.
			if i%3 == 0 {
				rule = Now.Add(time.Duration(1+i%60) * 24 * time.Hour)
				if i%900 == 0 {
					rule = Now.Add(-time.Duration(i%60) * time.Second)
				}
			}
		} else {
			if f.rng.IntN(100) == 0 {
				d.state = "FAILED"
			}
			d.ended, ended = updated, updated
		}
		if d.state != "FAILED" {
			available = d.opened()
		}
		// A third may live for a while only; of what lives, one in five hundred of those is over its time.
		if f.rng.IntN(3) == 0 {
			age := int(Now.Sub(d.created).Hours()/24) + 1 + f.rng.IntN(300)
			if f.rng.IntN(500) == 0 {
				age = max(1, age-301)
			}
			lifetime = age
		}
		desired := "TERMINATED"
		if d.ended.IsZero() {
			desired = "AVAILABLE"
			if d.state == "STOPPED" || d.state == "STOPPING" {
				desired = "STOPPED"
			}
		}
		return []any{
			d.id(), fmt.Sprintf("desk-%d", i), u.id, f.teams[u.team].id, text(d.project), fmt.Sprintf("cc-%d", u.team), f.versions[f.skewed(len(f.versions), 2)].id,
			"WORKSPACES_PERSONAL", "STANDARD", "WINDOWS", "INCLUDED", "AUTO_STOP", region, fmt.Sprintf("d-%d", i), u.name, 60,
			lifetime, "{}", desired, d.state, "user", "ws-" + d.unique, 5, due, leased, d.created,
			updated, updated, available, ended, rule,
		}
	}))
}

// alive is how many in a thousand still live of those who came as the i-th of n.
func alive(i, n int) int {
	switch {
	case i < n/100*60:
		return 2
	case i < n/100*97:
		return 40
	}
	return 800
}

// text is nil for the empty text.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// events are five of each of the newest WorkSpaces.
func (f *filler) events(ctx context.Context) error {
	return f.copyRows(ctx, "workspace_events", []string{
		"workspace_id", "version", "at", "actor_id", "kind", "from_state", "to_state", "reason", "details",
	}, each(f.WorkSpaces/4, func(i int) []any {
		d := &f.desktops[f.WorkSpaces-1-i/5]
		return []any{d.id(), i%5 + 1, d.created, f.users[d.user].id, "observe", "PENDING", d.state, "user", "{}"}
	}))
}

// attributions are one of each WorkSpace, numbered as those are from 1. Two in three have a tag.
func (f *filler) attributions(ctx context.Context) error {
	_, err := f.conn.Exec(ctx, `
		INSERT INTO cost_attributions (id, digest, workspace_id, user_id, team_id, project_id, cost_centre, blueprint_id, blueprint_version_id,
		                               bundle_type, region, tags)
		OVERRIDING SYSTEM VALUE
		SELECT n + 1, sha256(convert_to(w.id, 'UTF8')), w.id, w.user_id, w.team_id, w.project_id, w.cost_centre, v.blueprint_id, v.id,
		       w.bundle_type, w.region, CASE n % 3 WHEN 0 THEN '{}' ELSE jsonb_build_object('env', (ARRAY['dev', 'test'])[n % 3]) END
		FROM (SELECT *, substr(name, 6)::bigint AS n FROM workspaces) w JOIN blueprint_versions v ON v.id = w.blueprint_version_id
		ORDER BY n`)
	if err != nil {
		return err
	}
	_, err = f.conn.Exec(ctx, `SELECT setval(pg_get_serial_sequence('cost_attributions', 'id'), $1)`, f.WorkSpaces)
	return err
}

// sums are those of the records.
func (f *filler) sums(ctx context.Context) error {
	begun := time.Now()
	err := pgx.BeginFunc(ctx, f.conn, func(tx pgx.Tx) error { return cost.Rebuild(ctx, tx) })
	f.progress("%-18s in %s", "the costs' sums", time.Since(begun).Round(time.Millisecond))
	return err
}

// usage is the fee and the running time of every WorkSpace. One in thirty of what runs is due.
func (f *filler) usage(ctx context.Context) error {
	hour := Now.Truncate(time.Hour)
	return f.copyRows(ctx, "usage", []string{
		"id", "workspace_id", "kind", "opened_at", "closed_at", "price_id", "rate_micros", "hour_rule", "user_id", "team_id", "project_id",
		"cost_centre", "settled_until", "settled_micros", "due_at", "attribution_id",
	}, each(2*f.WorkSpaces, func(i int) []any {
		d := &f.desktops[i/2]
		u := f.users[d.user]
		id, kind, rate := d.fee(), "fixed_month", int64(9_750_000)
		settled := clock.StartOfNextMonth(Now)
		due := settled
		if i%2 == 1 {
			id, kind, rate = d.running(), "running", 300_000
			settled = hour
			if f.rng.IntN(30) == 0 {
				settled = hour.Add(-time.Hour)
			}
			due = settled.Add(time.Hour)
		}
		var closed, again any = nil, due
		switch {
		case !d.ended.IsZero():
			closed, again, settled = later(d.ended, d.opened()), nil, later(d.ended, d.opened())
		case kind == "running" && d.state != "AVAILABLE" && d.state != "IMPAIRED":
			closed, again, settled = d.opened().Add(time.Hour), nil, d.opened().Add(time.Hour)
		}
		return []any{
			id, d.id(), kind, d.opened(), closed, f.price, rate, "session_ceil", u.id, f.teams[u.team].id, text(d.project),
			fmt.Sprintf("cc-%d", u.team), settled, int64(1_000_000), again, i/2 + 1,
		}
	}))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// costs writes the records of a block of WorkSpaces in turn: first every one's first, then every one's second. So those of one
// stand far apart in the table, as they do in real life.
func (f *filler) costs(ctx context.Context) error {
	n, total := f.WorkSpaces, f.CostRecords
	block := max(20, n/500) // a day and a half of them
	first, round, in := 0, 0, -1
	next := func() (j, slice int) {
		for {
			if in++; in == block || first+in == n {
				in, round = 0, round+1
				if round > total/n {
					first, round = first+block, 0
				}
				if first >= n {
					return -1, 0
				}
			}
			j := first + in
			if round < (j+1)*total/n-j*total/n {
				return j, round
			}
		}
	}
	return f.copyRows(ctx, "cost_records", []string{
		"id", "usage_id", "workspace_id", "user_id", "team_id", "project_id", "cost_centre", "price_id", "compute_cost_micros",
		"period_start", "period_end", "recorded_at", "attribution_id",
	}, func() []any {
		j, slice := next()
		if j < 0 {
			return nil
		}
		d := &f.desktops[j]
		u := f.users[d.user]
		usage, from := d.running(), d.opened().Truncate(time.Hour).Add(time.Duration(slice)*time.Hour)
		to := from.Add(time.Hour)
		recorded := to.Add(time.Duration(f.rng.IntN(5000)) * time.Millisecond)
		if slice == 0 {
			usage, from, to, recorded = d.fee(), d.opened(), clock.StartOfNextMonth(d.opened()), d.opened()
		}
		return []any{
			f.id("cost_", recorded), usage, d.id(), u.id, f.teams[u.team].id, text(d.project), fmt.Sprintf("cc-%d", u.team), f.price,
			int64(100_000 + f.rng.IntN(1_000_000)), from, to, recorded, j + 1,
		}
	})
}

// budgets gives everything one, with a year of balances.
func (f *filler) budgets(ctx context.Context) error {
	const months, plenty = 12, int64(1_000_000_000_000_000)
	type scope struct {
		scope budget.Scope
		id    string
	}
	all := []scope{{budget.Organisation, budget.OrganisationID}}
	for _, t := range f.teams {
		all = append(all, scope{budget.Team, t.id})
	}
	for _, p := range f.projects {
		all = append(all, scope{budget.Project, p.id})
	}
	for _, u := range f.users {
		all = append(all, scope{budget.User, u.id})
	}
	ids := make([]string, len(all))
	if err := f.copyRows(ctx, "user_budgets", []string{
		"id", "scope", "scope_id", "amount_micros", "period", "valid_from", "warning_percents", "enforcement", "created_at", "updated_at",
	}, each(len(all), func(i int) []any {
		ids[i] = f.id("bud_", Begin)
		return []any{ids[i], string(all[i].scope), all[i].id, plenty, "MONTHLY", clock.StartOfMonth(Begin), []int{80}, "block", Begin, Begin}
	})); err != nil {
		return err
	}
	return f.copyRows(ctx, "budget_periods", []string{
		"budget_id", "period_start", "period_end", "limit_micros", "settled_micros", "held_micros",
	}, each(months*len(all), func(i int) []any {
		month := clock.StartOfMonth(Now).AddDate(0, i/len(all)-months+1, 0)
		return []any{ids[i%len(all)], month, month.AddDate(0, 1, 0), plenty, plenty / 4, plenty / 4}
	}))
}

func (f *filler) holds(ctx context.Context) error {
	i := -1
	return f.copyRows(ctx, "budget_holds", []string{
		"workspace_id", "user_id", "team_id", "project_id", "fixed_micros", "lease_micros", "lease_target_micros", "held_at", "stop_at",
	}, func() []any {
		for i++; i < len(f.desktops); i++ {
			if d := &f.desktops[i]; d.ended.IsZero() {
				u := f.users[d.user]
				var stop any
				if i%50 == 0 { // one in fifty runs on what is paid
					stop = Now.Add(time.Duration(i%200-50) * time.Minute)
				}
				return []any{d.id(), u.id, f.teams[u.team].id, text(d.project), int64(0), int64(600_000), int64(600_000), d.created, stop}
			}
		}
		return nil
	})
}

// deed is a kind of audit entry, with how many in ten thousand are of it.
type deed struct {
	action, resource, by string
	share                int
}

var deeds = []deed{
	{"workspace.observe", "workspace", "system:reconcile", 4500},
	{"cost.settle", "cost", "system:settle", 1400},
	{"workspace.start", "workspace", "", 900},
	{"workspace.stop", "workspace", "", 900},
	{"workspace.create", "workspace", "", 700},
	{"workspace.terminate", "workspace", "", 600},
	{"cost.read", "cost", "", 300},
	{"budget.warning", "budget", "system:settle", 300},
	{"token.create", "token", "", 200},
	{"audit.read", "audit", "", 100},
	{"user.create", "user", "", 60},
	{"blueprint.publish", "blueprint", "", 30},
	{"project.create", "project", "", 10},
}

// rareEvery is how seldom a price book is imported: the kind of entry that hardly any is of.
func rareEvery(n int) int { return max(1, n/5) }

// audit spreads the entries evenly over the two years. Three in a hundred are refusals and one in a thousand a failure.
func (f *filler) audit(ctx context.Context) error {
	n := f.AuditLogs
	var kinds []deed
	for _, d := range deeds {
		for range d.share / 10 {
			kinds = append(kinds, d)
		}
	}
	details := map[string]any{"version": 7, "from_state": "STOPPED", "to_state": "STARTING", "reason": "user"}
	var mac [32]byte
	buffer := make([]byte, 0, 2048)
	return f.copyRows(ctx, "audit_logs", []string{
		"timestamp", "id", "user_id", "actor_type", "action_type", "resource_type", "resource_id", "result", "code", "interface", "request_id",
		"leaf", "mac",
	}, each(n, func(i int) []any {
		when := at(i, n, Now)
		d := kinds[f.rng.IntN(len(kinds))]
		if i%rareEvery(n) == rareEvery(n)/2 {
			d = deed{action: "price_book.import", resource: "price_book"}
		}
		who, typ, role, iface := d.by, leaf.System, "", "worker"
		if who == "" {
			who, typ, role, iface = f.users[f.skewed(len(f.users), 1.5)].id, leaf.User, "engineer", "api"
		}
		resource := ""
		switch d.resource {
		case "workspace":
			resource = f.desktops[max(0, i*f.WorkSpaces/n-f.rng.IntN(f.WorkSpaces/50+1))].id()
		case "cost", "audit":
		default:
			resource = d.resource + "_" + f.users[f.skewed(len(f.users), 1)].id
		}
		result, code := leaf.Success, ""
		switch k := f.rng.IntN(1000); {
		case k == 0:
			result, code = leaf.Failed, "INTERNAL"
		case k <= 30:
			result, code = leaf.Refused, "FORBIDDEN"
		}
		id := f.uuid(when)
		b, err := leaf.Entry{
			ID: id.String(), Time: when, Log: origin, Actor: leaf.Actor{Type: typ, ID: who, Role: role}, Action: d.action,
			Resource: leaf.Resource{Type: d.resource, ID: resource}, Result: result, Code: code, Interface: iface, RequestID: "req_bench",
			Details: details, Writer: leaf.Writer{ID: "bench", Boot: "bench", Seq: uint64(i)},
		}.AppendEncode(buffer[:0])
		if err != nil {
			panic("bench: a leaf does not encode: " + err.Error())
		}
		for k := range mac {
			if k%8 == 0 {
				v := f.rng.Uint64()
				for s := range 8 {
					mac[k+s] = byte(v >> (8 * s) & 0xff)
				}
			}
		}
		return []any{when, id, who, typ, d.action, d.resource, resource, string(result), code, iface, "req_bench", b, mac[:]}
	}))
}
