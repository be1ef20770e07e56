package workspace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/notify"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
)

// conclude says what follows from having seen everything.
func (d *Drift) conclude(ctx context.Context, s *sweep) error {
	var err error
	if s.book, err = cost.BookAt(ctx, d.Log.Pool(), s.began); err != nil && !errors.Is(err, cost.ErrNoBook) {
		return err
	}
	open, err := postgres.Many[Finding](ctx, d.Log.Pool(), `
		SELECT`+findingColumns+`
		FROM drift_findings f
		WHERE f.region = $1 AND f.directory_id = $2 AND f.resolved_at IS NULL`, s.Region, s.DirectoryID)
	if err != nil {
		return err
	}
	for i := range open {
		s.open[findingKey{open[i].ProviderID, open[i].Kind}] = &open[i]
	}
	for _, step := range []func(context.Context, *sweep) error{d.owners, d.write, d.strangers, d.tags, d.ended, d.write} {
		if err := step(ctx, s); err != nil {
			return err
		}
	}
	var still []string
	for finding, is := range s.confirmed {
		if is {
			still = append(still, finding)
		}
	}
	_, err = d.Log.Pool().Exec(ctx, `UPDATE drift_findings SET last_seen_at = $1 WHERE id = ANY($2)`, s.began, still)
	return err
}

// finds notes a case of drift: a new one, one that has changed, or one that is known and goes on.
func (s *sweep) finds(providerID string, of *owner, v drifted, user string) {
	if v.details == nil {
		v.details = map[string]any{}
	}
	if v.to != "" {
		v.details["from"], v.details["to"] = v.from, v.to
	}
	f := &Finding{
		ID: "drift_" + id.Unique(), Region: s.Region, DirectoryID: s.DirectoryID, ProviderID: providerID, Kind: v.kind,
		FirstSeenAt: s.began, LastSeenAt: s.began, MonthlyMicros: v.monthly, Details: v.details,
	}
	if of != nil {
		f.WorkspaceID = &of.ID
	} else {
		f.Details["user"] = user
	}
	if before := s.open[findingKey{providerID, v.kind}]; before != nil {
		s.confirmed[before.ID] = true
		if before.Details["to"] == f.Details["to"] && before.Details["tags"] == f.Details["tags"] && value(before.WorkspaceID) == value(f.WorkspaceID) {
			return
		}
	}
	s.found = append(s.found, f)
}

// owners compares every live row with what was shown of its WorkSpace.
func (d *Drift) owners(ctx context.Context, s *sweep) error {
	expected, absent, after := 0, 0, ""
	for {
		rows, err := d.page(ctx, s, after, ownersPage)
		if err != nil {
			return err
		}
		for i := range rows {
			o := &rows[i]
			g := s.shown[*o.ProviderID]
			s.owned[*o.ProviderID] = true
			if !o.leaves() && o.old(s.t, s.began) {
				expected++
				if g == nil {
					absent++
				}
			}
			found, look := s.t.compare(o, g, s.Region, s.book, s.began)
			for _, v := range found {
				s.finds(*o.ProviderID, o, v, "")
			}
			if look {
				s.look = append(s.look, o.ID)
			}
		}
		if len(rows) < ownersPage {
			break
		}
		after = rows[len(rows)-1].DirectoryUser
	}
	if absent >= 3 && absent*5 > expected {
		return d.doubt(ctx, s, absent, expected)
	}
	return nil
}

// page reads live rows of the directory that have an id, behind a user.
func (d *Drift) page(ctx context.Context, s *sweep, after string, limit int) ([]owner, error) {
	return postgres.Many[owner](ctx, d.Log.Pool(), `
		SELECT`+ownerColumns+`
		FROM workspaces
		WHERE directory_id = $1 AND directory_user > $2 AND terminated_at IS NULL AND region = $3 AND provider_id IS NOT NULL
		ORDER BY directory_user
		LIMIT $4`, s.DirectoryID, after, s.Region, limit)
}

// doubt says that too much is missing at once to be believed, to admins once until a sweep is believed again.
func (d *Drift) doubt(ctx context.Context, s *sweep, absent, expected int) error {
	doubtful := fmt.Errorf("%d of %d WorkSpaces are missing at once, which is not believed", absent, expected)
	details := map[string]any{"region": s.Region, "directory_id": s.DirectoryID, "missing": absent, "expected": expected}
	in := audit.Intent{Action: "drift.doubt", ResourceType: "drift", ResourceID: s.DirectoryID}
	return errors.Join(doubtful, d.Log.Change(ctx, in, func(tx *audit.Tx) error {
		tx.Record(audit.Event{Action: in.Action, ResourceType: in.ResourceType, ResourceID: in.ResourceID, Details: details})
		return notify.EnqueueAdmins(ctx, tx, notify.Message{
			Key:  in.Action + ":" + s.Region + ":" + s.DirectoryID + ":" + value(s.CompletedAt).UTC().Format(time.RFC3339Nano),
			Kind: in.Action, Payload: details,
		})
	}))
}

// strangers judges what no live row has. That takes a call for each; of those that have a finding already, no more than
// Tags are asked about again, and of the others what was found stands.
func (d *Drift) strangers(ctx context.Context, s *sweep) error {
	var unknown []string
	for providerID, g := range s.shown {
		if !s.owned[providerID] && !g.leaving() {
			unknown = append(unknown, providerID)
		}
	}
	slices.Sort(unknown)
	again := cmp.Or(d.Tags, sweepTags)
	for batch := range slices.Chunk(unknown, BatchSize) {
		had, err := d.ownersOf(ctx, `region = $1 AND provider_id = ANY($2)`, s.Region, batch)
		if err != nil {
			return err
		}
		byID := map[string]*owner{}
		for i := range had {
			byID[*had[i].ProviderID] = &had[i]
		}
		var some []*stranger
		var names []string
		for _, providerID := range batch {
			x := &stranger{providerID: providerID, glimpse: *s.shown[providerID], had: byID[providerID]}
			if x.had == nil {
				known := s.strangerKnown(providerID)
				if known != nil && again <= 0 {
					x.marks = known.marks()
				} else {
					if known != nil {
						again--
					}
					if x.marks, err = d.marks(ctx, s, providerID); isGone(err) {
						continue
					} else if err != nil {
						return d.shortOf(ctx, s, err)
					}
				}
			}
			names = append(names, string(x.marks.Intent))
			some = append(some, x)
		}
		if err := d.relate(ctx, s, some, names); err != nil {
			return err
		}
		for _, x := range some {
			d.judged(s, x)
		}
		if err := d.write(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// shortOf ends reading tags after a failure. What was shown was shown; what could not be read is read the next time.
func (d *Drift) shortOf(ctx context.Context, s *sweep, err error) error {
	if errors.Is(err, errLost) || ctx.Err() != nil {
		return err
	}
	s.short = "tags could not be read: " + err.Error()
	return nil
}

func isGone(err error) bool {
	var pe *ProviderError
	return errors.As(err, &pe) && pe.Class == Gone
}

func (d *Drift) marks(ctx context.Context, s *sweep, providerID string) (Marks, error) {
	if err := d.keep(ctx, s); err != nil {
		return Marks{}, err
	}
	return d.Fleet.Provider.Marks(ctx, s.Region, providerID)
}

// strangerKnown is the open finding about a WorkSpace that no live row has, or nil.
func (s *sweep) strangerKnown(providerID string) *Finding {
	for _, kind := range []DriftKind{Foreign, Orphan, Duplicate} {
		if f := s.open[findingKey{providerID, kind}]; f != nil {
			return f
		}
	}
	return nil
}

// marks are what the tags said when it was found.
func (f *Finding) marks() Marks {
	intent, _ := f.Details["intent"].(string)
	return Marks{Intent: id.WorkSpace(intent), Marked: true}
}

// relate finds the rows that strangers may have to do with.
func (d *Drift) relate(ctx context.Context, s *sweep, some []*stranger, names []string) error {
	var users []string
	for _, x := range some {
		users = append(users, x.user)
	}
	intents, err := d.ownersOf(ctx, `region = $1 AND id = ANY($2)`, s.Region, names)
	if err != nil {
		return err
	}
	places, err := d.ownersOf(ctx, `directory_id = $1 AND directory_user = ANY($2) AND terminated_at IS NULL`, s.DirectoryID, users)
	if err != nil {
		return err
	}
	for _, x := range some {
		for i := range intents {
			if intents[i].ID == x.marks.Intent {
				x.intent = &intents[i]
			}
		}
		for i := range places {
			if places[i].DirectoryUser == x.user {
				x.place = &places[i]
			}
		}
	}
	return nil
}

func (d *Drift) ownersOf(ctx context.Context, where, one string, many []string) ([]owner, error) {
	return postgres.Many[owner](ctx, d.Log.Pool(), `SELECT`+ownerColumns+` FROM workspaces WHERE `+where, one, many)
}

// judged notes what a stranger was judged to be.
func (d *Drift) judged(s *sweep, x *stranger) {
	kind, of, look := s.t.judge(x)
	if look {
		s.look = append(s.look, of.ID)
	}
	if kind == "" {
		return
	}
	v := drifted{kind: kind, details: map[string]any{"state": x.state, "compute_type": x.compute, "running_mode": x.mode}}
	if x.marks.Intent != "" {
		v.details["intent"] = string(x.marks.Intent)
	}
	if of != nil && kind != Foreign {
		v.monthly = monthly(s.book, of.spec(s.Region, x.compute, x.mode))
	} else {
		// What Amazon shows does not tell the operating system; most are Windows.
		v.monthly = monthly(s.book, price.Spec{
			Region: s.Region, ComputeType: x.compute, OperatingSystem: "WINDOWS", License: d.license(s.DirectoryID), RunningMode: x.mode,
		})
		v.details["estimate"] = true
	}
	for _, other := range []DriftKind{Foreign, Orphan, Duplicate} {
		if f := s.open[findingKey{x.providerID, other}]; f != nil && other != kind {
			s.over(f, "now "+string(kind))
		}
	}
	s.finds(x.providerID, of, v, x.user)
}

// license is that of what is made in a directory.
func (d *Drift) license(directory string) string {
	for _, dir := range d.Fleet.Directories {
		if dir.ID == directory {
			return cmp.Or(dir.License, LicenseIncluded)
		}
	}
	return LicenseIncluded
}

// over notes that a finding is so no more.
func (s *sweep) over(f *Finding, why string) {
	f.Resolution = why
	s.resolved = append(s.resolved, f)
	s.confirmed[f.ID] = false
}

// tags reads the tags of some WorkSpaces that have a row: first of those whose tags were wrong, then of those whose turn it
// is. What has lost its tags is tagged again by the reconciler.
func (d *Drift) tags(ctx context.Context, s *sweep) error {
	if s.short != "" {
		return nil
	}
	limit := cmp.Or(d.Tags, sweepTags)
	var wrong []string
	for key, f := range s.open {
		if key.kind == LostTags && f.WorkspaceID != nil && len(wrong) < limit {
			wrong = append(wrong, string(*f.WorkspaceID))
		}
	}
	rows, err := d.ownersOf(ctx, `region = $1 AND id = ANY($2) AND terminated_at IS NULL AND provider_id IS NOT NULL`, s.Region, wrong)
	if err != nil {
		return err
	}
	turn, err := d.page(ctx, s, s.TagsAfter, limit)
	if err != nil {
		return err
	}
	if len(turn) < limit {
		s.TagsAfter = ""
	} else {
		s.TagsAfter = turn[len(turn)-1].DirectoryUser
	}
	var again []id.WorkSpace
	done := map[id.WorkSpace]bool{}
	for _, o := range append(rows, turn...) {
		if done[o.ID] || o.leaves() || !o.old(s.t, s.began) || s.shown[*o.ProviderID] == nil {
			continue
		}
		done[o.ID] = true
		m, err := d.marks(ctx, s, *o.ProviderID)
		if isGone(err) {
			continue
		}
		if err != nil {
			s.TagsAfter = o.DirectoryUser
			if err := d.shortOf(ctx, s, err); err != nil {
				return err
			}
			break
		}
		switch is := o.tagged(m); is {
		case tagsRight:
			if f := s.open[findingKey{*o.ProviderID, LostTags}]; f != nil {
				s.over(f, "repaired")
			}
		case tagsMissing:
			again = append(again, o.ID)
			fallthrough
		default:
			s.finds(*o.ProviderID, &o, drifted{kind: LostTags, details: map[string]any{"tags": is}}, "")
		}
	}
	_, err = d.Log.Pool().Exec(ctx, `UPDATE workspaces SET retag = true WHERE id = ANY($1) AND terminated_at IS NULL`, again)
	s.look = append(s.look, again...)
	return err
}

// ended resolves what was found before and is so no more.
func (d *Drift) ended(ctx context.Context, s *sweep) error {
	var left []*Finding
	for _, f := range s.open {
		if _, known := s.confirmed[f.ID]; !known {
			left = append(left, f)
		}
	}
	for batch := range slices.Chunk(left, findingsBatch) {
		var ids, providerIDs []string
		for _, f := range batch {
			ids, providerIDs = append(ids, string(value(f.WorkspaceID))), append(providerIDs, f.ProviderID)
		}
		named, err := d.ownersOf(ctx, `region = $1 AND id = ANY($2)`, s.Region, ids)
		if err != nil {
			return err
		}
		having, err := d.ownersOf(ctx, `region = $1 AND provider_id = ANY($2)`, s.Region, providerIDs)
		if err != nil {
			return err
		}
		for _, f := range batch {
			var of *owner
			for i := range named {
				if named[i].ID == value(f.WorkspaceID) {
					of = &named[i]
				}
			}
			for i := range having {
				if *having[i].ProviderID == f.ProviderID {
					of = &having[i]
				}
			}
			if why := resolution(f, of, s.shown[f.ProviderID]); why != "" {
				s.over(f, why)
			}
		}
	}
	return nil
}

// write writes what was found and what is over, each batch in one change, and has the reconciler look where it is to.
func (d *Drift) write(ctx context.Context, s *sweep) error {
	for batch := range slices.Chunk(s.found, findingsBatch) {
		if err := d.Log.Change(ctx, d.intent(s, "drift.found"), func(tx *audit.Tx) error { return open(ctx, tx, batch) }); err != nil {
			return err
		}
	}
	for batch := range slices.Chunk(s.resolved, findingsBatch) {
		if err := d.Log.Change(ctx, d.intent(s, "drift.resolved"), func(tx *audit.Tx) error { return resolve(ctx, tx, batch) }); err != nil {
			return err
		}
	}
	for batch := range slices.Chunk(s.look, ownersPage) {
		// One that is being looked at need not be asked for.
		if _, err := d.Log.Pool().Exec(ctx, `
			UPDATE workspaces
			SET next_due_at = $1
			WHERE id = ANY(ARRAY(
				SELECT id
				FROM workspaces
				WHERE id = ANY($2) AND terminated_at IS NULL AND next_due_at > $1 AND lease_token IS NULL
				ORDER BY id
				FOR UPDATE SKIP LOCKED))`, d.Clock(), batch); err != nil {
			return err
		}
		if d.Fleet.Due != nil {
			d.Fleet.Due()
		}
	}
	s.found, s.resolved, s.look = nil, nil, nil
	return nil
}

func (d *Drift) intent(s *sweep, action string) audit.Intent {
	return audit.Intent{Action: action, ResourceType: "drift", ResourceID: s.DirectoryID}
}

// open writes findings down, and tells admins of those that cost what nobody has admitted, all in one message.
func open(ctx context.Context, tx *audit.Tx, found []*Finding) error {
	var told []any
	first := ""
	for _, f := range found {
		var isNew bool
		if err := tx.QueryRow(ctx, `
			INSERT INTO drift_findings (id, region, directory_id, provider_id, workspace_id, kind, first_seen_at, last_seen_at, monthly_micros, details)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
			ON CONFLICT (region, provider_id, kind) WHERE resolved_at IS NULL DO UPDATE
			SET workspace_id = EXCLUDED.workspace_id, last_seen_at = EXCLUDED.last_seen_at, monthly_micros = EXCLUDED.monthly_micros, details = EXCLUDED.details
			RETURNING id, xmax = 0`,
			f.ID, f.Region, f.DirectoryID, f.ProviderID, f.WorkspaceID, f.Kind, f.FirstSeenAt, f.LastSeenAt, f.MonthlyMicros, f.Details).Scan(&f.ID, &isNew); err != nil {
			return err
		}
		action := "drift.found"
		if !isNew {
			action = "drift.changed"
		}
		tx.Record(f.event(action))
		if f.Kind.told() {
			first = cmp.Or(first, f.ID)
			told = append(told, map[string]any{"id": f.ID, "kind": string(f.Kind), "region": f.Region, "directory_id": f.DirectoryID, "provider_id": f.ProviderID})
		}
	}
	if len(told) == 0 {
		return nil
	}
	return notify.EnqueueAdmins(ctx, tx, notify.Message{Key: "drift.found:" + first, Kind: "drift.found", Payload: map[string]any{"findings": told}})
}

// noteDrift writes down what somebody did outside of Forge and the row now follows: the reconciler sees most of it before a
// sweep does. Such a finding is over as it is made.
func noteDrift(ctx context.Context, tx *audit.Tx, was, is *WorkSpace, reason string) error {
	var found []*Finding
	add := func(kind DriftKind, resolution string, details map[string]any) {
		found = append(found, &Finding{
			ID: "drift_" + id.Unique(), Region: was.Region, DirectoryID: was.DirectoryID, ProviderID: deref(was.ProviderID), WorkspaceID: &was.ID, Kind: kind,
			FirstSeenAt: tx.Now, LastSeenAt: tx.Now, Resolution: resolution, Details: details,
		})
	}
	switch reason {
	case reasonGone:
		add(TerminatedOutside, "confirmed", map[string]any{"state": string(was.State)})
	case "drift":
		for property, change := range was.compare(is) {
			kind := map[string]DriftKind{changeBundle: SizeChanged, changeMode: ModeChanged, changeRoot: VolumesChanged, changeUser: VolumesChanged}[property]
			details, ok := change.(map[string]any)
			if !ok || slices.ContainsFunc(found, func(f *Finding) bool { return f.Kind == kind }) {
				continue
			}
			add(kind, "adopted", details)
		}
	}
	if len(found) == 0 {
		return nil
	}
	if reason == "drift" {
		book, err := cost.BookAt(ctx, tx, tx.Now)
		if err != nil {
			return err
		}
		// The meters have been switched, so both have their prices.
		if c, err := book.ChangeCost(was.spec(), is.spec(), tx.Now); err == nil {
			more := c.MonthlyAfter - c.MonthlyBefore
			found[0].MonthlyMicros = &more
		}
	}
	if err := open(ctx, tx, found); err != nil {
		return err
	}
	return resolve(ctx, tx, found)
}

func resolve(ctx context.Context, tx *audit.Tx, over []*Finding) error {
	for _, f := range over {
		if _, err := tx.Exec(ctx, `UPDATE drift_findings SET resolved_at = $2, resolution = $3 WHERE id = $1 AND resolved_at IS NULL`, f.ID, tx.Now, f.Resolution); err != nil {
			return err
		}
		tx.Record(f.event("drift.resolved"))
	}
	return nil
}

// event is the record of a finding; whose WorkSpace it is stays out of it.
func (f *Finding) event(action string) audit.Event {
	details := maps.Clone(f.Details)
	delete(details, "user")
	details["kind"], details["region"], details["directory_id"], details["provider_id"] = string(f.Kind), f.Region, f.DirectoryID, f.ProviderID
	if f.WorkspaceID != nil {
		details["workspace_id"] = string(*f.WorkspaceID)
	}
	if f.MonthlyMicros != nil {
		details["monthly_micros"] = audit.Microdollars(int64(*f.MonthlyMicros))
	}
	if f.Resolution != "" {
		details["resolution"] = f.Resolution
	}
	return audit.Event{Action: action, ResourceType: "drift", ResourceID: f.ID, Details: details}
}
