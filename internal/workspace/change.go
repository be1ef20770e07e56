package workspace

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
	"github.com/robco-forge/forge/internal/schedule"
)

// The properties that Amazon changes, one at a time.
const (
	changeBundle = "bundle_type"
	changeMode   = "running_mode"
	changeRoot   = "root_gib"
	changeUser   = "user_gib"
)

// Patch is what can be changed; nil fields stay. Of BundleType, RunningMode, RootGiB and UserGiB one may be given: those
// are Amazon's to change, one at a time.
type Patch struct {
	Name                   *string
	Tags                   map[string]string
	AutoStopTimeoutMinutes *int
	MaxLifetimeDays        *int
	KeepAlive              *bool
	Schedule               *schedule.Schedule
	NoSchedule             bool    // takes the schedule away
	Project                *string // by id or name; empty: none
	BundleType             *string
	RunningMode            *string
	RootGiB                *int
	UserGiB                *int
}

// Update changes a WorkSpace. What is Amazon's to change is brought there by the reconciler.
func (f *Fleet) Update(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, p Patch, ifVersion *int64) (*WorkSpace, error) {
	w, err := mine(ctx, tx, ws, policy.WorkspaceUpdate, ifVersion)
	if err != nil {
		return nil, err
	}
	if err := w.allow(OpUpdate); err != nil {
		return nil, err
	}
	u := &update{Fleet: f, tx: tx, w: w, changed: map[string]any{}}
	for _, change := range []func(context.Context, Patch) error{u.name, u.tags, u.lifetime, u.keepAlive, u.schedule, u.project, u.idle, u.sold} {
		if err := change(ctx, p); err != nil {
			return nil, err
		}
	}
	if len(u.changed) == 0 {
		unchanged(tx, w, "update")
		return w, nil
	}
	err = save(ctx, tx, w, w.State, "update", "user", u.changed)
	if postgres.Violates(err, "workspaces_owner_name_uq") {
		return nil, ErrNameTaken
	}
	return w, err
}

// update is one change of several things.
type update struct {
	*Fleet
	tx      *audit.Tx
	w       *WorkSpace
	changed map[string]any
}

func (u *update) note(what string, from, to any) {
	u.changed[what] = map[string]any{"from": from, "to": to}
}

// due has the reconciler bring it to Amazon.
func (u *update) due() {
	u.w.NextDueAt = &u.tx.Now
	u.poke(u.tx)
}

func (u *update) name(_ context.Context, p Patch) error {
	if p.Name == nil || *p.Name == u.w.Name {
		return nil
	}
	if !nameRule.MatchString(*p.Name) {
		return ErrName
	}
	u.note("name", u.w.Name, *p.Name)
	u.w.Name = *p.Name
	return nil
}

func (u *update) tags(ctx context.Context, p Patch) error {
	if p.Tags == nil || maps.Equal(p.Tags, u.w.Tags) {
		return nil
	}
	if err := checkTags(p.Tags); err != nil {
		return err
	}
	d, err := blueprint.DefinitionOf(ctx, u.tx, u.w.BlueprintVersionID)
	if err != nil {
		return err
	}
	if err := requireTags(d, p.Tags); err != nil {
		return err
	}
	u.note("tags", u.w.Tags, p.Tags)
	u.w.Tags, u.w.Retag = p.Tags, true
	u.due()
	return u.Meter.Relabel(ctx, u.tx, u.w.subject())
}

// lifetime is for its owner to shorten, within what the blueprint allows to lengthen again, and for a lead to extend.
func (u *update) lifetime(ctx context.Context, p Patch) error {
	w := u.w
	if p.MaxLifetimeDays == nil || w.MaxLifetimeDays != nil && *p.MaxLifetimeDays == *w.MaxLifetimeDays {
		return nil
	}
	most := 3650
	if !policy.Allows(u.tx.Actor, policy.WorkspaceExtendLife, w.UserID, w.TeamID) {
		d, err := blueprint.DefinitionOf(ctx, u.tx, w.BlueprintVersionID)
		if err != nil {
			return err
		}
		if d.MaxLifetimeDays > 0 {
			most = d.MaxLifetimeDays
		}
		if w.MaxLifetimeDays != nil {
			most = max(most, *w.MaxLifetimeDays) // what a lead has given may be shortened step by step
			if d.MaxLifetimeDays == 0 {
				most = 3650
			}
		}
	}
	if *p.MaxLifetimeDays < 1 || *p.MaxLifetimeDays > most {
		return ErrLifetime.Suggestf("use 1 to %d days, or ask your team lead, who can extend it", most).Detail("most", most)
	}
	from := any(nil)
	if w.MaxLifetimeDays != nil {
		from = *w.MaxLifetimeDays
	}
	u.note("max_lifetime_days", from, *p.MaxLifetimeDays)
	w.MaxLifetimeDays = p.MaxLifetimeDays
	return nil
}

func (u *update) keepAlive(_ context.Context, p Patch) error {
	if p.KeepAlive == nil || *p.KeepAlive == u.w.KeepAlive {
		return nil
	}
	u.note("keep_alive", u.w.KeepAlive, *p.KeepAlive)
	u.w.KeepAlive = *p.KeepAlive
	return nil
}

func (u *update) schedule(_ context.Context, p Patch) error {
	w := u.w
	if p.NoSchedule && w.Schedule != nil {
		u.note("schedule", w.Schedule.String(), "")
		w.Schedule, w.ScheduledThrough = nil, nil
		delete(w.Notices, string(PolicySchedule))
		return nil
	}
	if p.Schedule == nil {
		return nil
	}
	mode := w.RunningMode
	if p.RunningMode != nil {
		mode = *p.RunningMode
	}
	s, err := checkSchedule(p.Schedule, mode)
	if err != nil {
		return err
	}
	from := ""
	if w.Schedule != nil {
		from = w.Schedule.String()
	}
	if from == s.String() {
		return nil
	}
	u.note("schedule", from, s.String())
	w.Schedule, w.ScheduledThrough = s, &u.tx.Now
	return nil
}

// checkSchedule brings a schedule into its normal form, or says what is wrong with it.
func checkSchedule(s *schedule.Schedule, mode string) (*schedule.Schedule, error) {
	if err := s.Check(); err != nil {
		return nil, ErrSchedule.Sayf("%v", err)
	}
	stops := slices.ContainsFunc(s.Entries, func(e schedule.Entry) bool { return e.Action == schedule.Stop })
	if stops && mode == price.AlwaysOn {
		return nil, ErrSchedule.Sayf("an ALWAYS_ON WorkSpace cannot be stopped, so its schedule can only start it").Suggestf("use running_mode AUTO_STOP")
	}
	normal := s.Normal()
	return &normal, nil
}

// project changes who pays: what was charged stays where it was, and what is reserved moves.
func (u *update) project(ctx context.Context, p Patch) error {
	w := u.w
	if p.Project == nil {
		return nil
	}
	before := w.payer()
	was := w.CostCentre
	if *p.Project == "" {
		team, err := people.FindTeam(ctx, u.tx, string(w.TeamID))
		if err != nil {
			return err
		}
		w.ProjectID, w.CostCentre = nil, team.CostCentre
	} else {
		project, err := people.FindProject(ctx, u.tx, *p.Project)
		if err != nil || project.TeamID != w.TeamID {
			return cmpErr(err, people.ErrProjectNotFound)
		}
		if project.DeactivatedAt != nil {
			return ErrNoProject
		}
		w.ProjectID, w.CostCentre = &project.ID, project.CostCentre
	}
	if w.payer() == before && w.CostCentre == was {
		return nil
	}
	if w.AvailableAt != nil {
		if err := u.Meter.Switch(ctx, u.tx, w.subject(), w.State.Runs()); err != nil {
			return err
		}
	}
	if err := u.Budgets.Move(ctx, u.tx, w.ID, w.payer()); err != nil {
		return err
	}
	u.note("project_id", string(before.Project), string(w.payer().Project))
	return nil
}

// idle sets the idle timeout; the tail that is reserved goes with it.
func (u *update) idle(ctx context.Context, p Patch) error {
	w := u.w
	if p.AutoStopTimeoutMinutes == nil || w.AutoStopTimeoutMinutes != nil && *w.AutoStopTimeoutMinutes == *p.AutoStopTimeoutMinutes {
		return nil
	}
	before := w.AutoStopTimeoutMinutes
	if err := setIdle(w, p.AutoStopTimeoutMinutes); err != nil {
		return err
	}
	if err := u.reserve(ctx, u.tx, w); err != nil {
		return err
	}
	u.note("auto_stop_timeout_minutes", *before, *w.AutoStopTimeoutMinutes)
	u.due()
	return nil
}

// sold changes what Amazon sells it as: one property at a time.
func (u *update) sold(ctx context.Context, p Patch) error {
	wanted := map[string]string{}
	for property, value := range map[string]*string{changeBundle: p.BundleType, changeMode: p.RunningMode, changeRoot: decimal(p.RootGiB), changeUser: decimal(p.UserGiB)} {
		if value != nil && (*value != u.w.Property(property) || u.w.Change == property) {
			wanted[property] = *value
		}
	}
	switch len(wanted) {
	case 0:
		return nil
	case 1:
	default:
		return ErrChange.Sayf("Amazon changes one of bundle, running mode and volumes at a time, not %s", strings.Join(slices.Sorted(maps.Keys(wanted)), " and ")).
			Suggestf("ask for one, and for the next when it is done")
	}
	for property, to := range wanted {
		return u.change(ctx, property, to)
	}
	return nil
}

func decimal(n *int) *string {
	if n == nil {
		return nil
	}
	s := strconv.Itoa(*n)
	return &s
}

func (u *update) change(ctx context.Context, property, to string) error {
	w := u.w
	if w.Change == property && w.ChangeTo == to {
		return nil // it is under way
	}
	if err := w.mayChange(); err != nil {
		return err
	}
	if err := u.possible(ctx, property, to); err != nil {
		return err
	}
	if err := u.times().tooSoon(w, property, to, u.tx.Now); err != nil {
		return err
	}
	u.note(property, w.Property(property), to)
	w.askChange(property, to, u.tx.Now)
	if err := u.reserve(ctx, u.tx, w); err != nil {
		return err
	}
	u.due()
	return nil
}

// mayChange refuses a change that the state or something that is under way does not allow.
func (w *WorkSpace) mayChange() error {
	if err := w.allow(OpChange); err != nil {
		return err
	}
	if w.Change != "" || w.Asked != "" && w.Asked != string(modify) || w.MigrationAskedAt != nil {
		return w.busy("another change")
	}
	return nil
}

func (w *WorkSpace) askChange(property, to string, now time.Time) {
	w.Change, w.ChangeTo, w.ChangeAskedAt, w.ChangeBegunAt, w.ErrorCode, w.ErrorMessage = property, to, &now, nil, "", ""
}

func (f *Fleet) times() times { return timesAt(f.Speed) }

// computeFamilies are the compute types that Amazon changes into one another, from the smallest up (its administration
// guide, "Modify a WorkSpace"). Any other change is a migration.
var computeFamilies = [][]string{
	{"VALUE", "STANDARD", "PERFORMANCE", "POWER", "POWERPRO", "GENERALPURPOSE_4XLARGE", "GENERALPURPOSE_8XLARGE"},
	{"GRAPHICS_G4DN", "GRAPHICSPRO_G4DN"},
}

// rankOf orders the compute types of a family; -1 is not known.
func rankOf(compute string) int {
	for _, family := range computeFamilies {
		if i := slices.Index(family, compute); i >= 0 {
			return i
		}
	}
	return -1
}

// possible refuses what Amazon, the blueprint or the role does not allow.
func (u *update) possible(ctx context.Context, property, to string) error {
	w := u.w
	switch property {
	case changeBundle:
		if err := policy.RequireBundle(u.tx.Actor, to); err != nil {
			return err
		}
		d, err := blueprint.DefinitionOf(ctx, u.tx, w.BlueprintVersionID)
		if err != nil {
			return err
		}
		if !slices.Contains(d.BundleTypes, to) {
			return blueprint.ErrBundle.Sayf("its blueprint does not offer %s", to).Detail("bundle_types", d.BundleTypes)
		}
		family := slices.IndexFunc(computeFamilies, func(f []string) bool { return slices.Contains(f, w.BundleType) })
		if family < 0 || !slices.Contains(computeFamilies[family], to) {
			return ErrChange.Sayf("Amazon does not change %s into %s: it would migrate the WorkSpace, which gives it a new id, loses its root volume and brings the user volume back from its last snapshot", w.BundleType, to).
				Suggestf("save what you need and ask for that with `forge upgrade --bundle %s`, or launch a new one", to).Detail("from", w.BundleType).Detail("to", to)
		}
		root, user := w.volumes()
		if !volumesFit(to, root, user) {
			return ErrChange.Sayf("%s does not come with volumes of %d and %d GiB", to, root, user)
		}
	case changeMode:
		if to != price.AutoStop && to != price.AlwaysOn {
			return ErrChange.Sayf("a running mode is AUTO_STOP or ALWAYS_ON, not %q", to)
		}
		if to == price.AlwaysOn && w.Schedule != nil {
			if _, err := checkSchedule(w.Schedule, to); err != nil {
				return ErrChange.Sayf("an ALWAYS_ON WorkSpace cannot be stopped, and its schedule stops it").Suggestf("take the schedule away first: forge update --no-schedule")
			}
		}
	case changeRoot, changeUser:
		return w.growable(property, to)
	}
	return nil
}

// volumes are its sizes in GiB, or where they have not been seen those of the least that Amazon sells.
func (w *WorkSpace) volumes() (root, user int) {
	root, user = 80, 10
	if w.RootGiB != nil {
		root = *w.RootGiB
	}
	if w.UserGiB != nil {
		user = *w.UserGiB
	}
	return root, user
}

// volumesFit tells whether Amazon sells a compute type with volumes of these sizes in GiB (its administration guide,
// "Modify a WorkSpace": three pairs, or anything from 175 and 100 on).
func volumesFit(compute string, root, user int) bool {
	large := root >= 175 && root <= 2000 && user >= 100 && user <= 2000
	switch {
	case strings.HasPrefix(compute, "GENERALPURPOSE"):
		return large
	case strings.HasPrefix(compute, "GRAPHICS"):
		return large || root >= 100 && user >= 100 && root <= 2000 && user <= 2000
	}
	return large || root == 80 && (user == 10 || user == 50 || user == 100)
}

// growable refuses a size that a volume cannot have: they only grow.
func (w *WorkSpace) growable(property, to string) error {
	root, user := w.volumes()
	size, err := strconv.Atoi(to)
	if err != nil {
		return ErrChange
	}
	is, what := root, "root volume"
	if property == changeUser {
		is, what = user, "user volume"
	}
	if size <= is {
		return ErrChange.Sayf("the %s has %d GiB, and Amazon only lets a volume grow", what, is).Detail("size", is)
	}
	if property == changeRoot {
		root = size
	} else {
		user = size
	}
	if volumesFit(w.BundleType, root, user) {
		return nil
	}
	return ErrChange.Sayf("Amazon does not sell a root volume of %d GiB with a user volume of %d", root, user).
		Suggestf("with 80 GiB of root the user volume is 10, 50 or 100; anything else has a root of 175 to 2000 and a user volume of 100 to 2000 (enlarge the user volume to 100 first)")
}

// tooSoon refuses a change for which Amazon makes one wait still, and says until when: six hours after the creation and
// after the last enlargement, thirty days after the last reduction, six hours between two changes of a volume (its
// administration guide, "Modify a WorkSpace").
func (t times) tooSoon(w *WorkSpace, property, to string, now time.Time) error {
	var until time.Time
	var rule string
	wait := func(since *time.Time, d time.Duration, why string) {
		if since == nil {
			return
		}
		if end := since.Add(d); end.After(now) && end.After(until) {
			until, rule = end, why
		}
	}
	switch {
	case property == changeBundle && rankOf(to) < rankOf(w.BundleType):
		wait(w.ReducedAt, t.shrink, "a bundle can be made smaller once in 30 days")
	case property == changeBundle:
		wait(w.AcceptedAt, t.resize, "a bundle can be made larger 6 hours after the launch")
		wait(w.EnlargedAt, t.resize, "a bundle can be made larger once in 6 hours")
	case property == changeRoot || property == changeUser:
		wait(w.AcceptedAt, t.resize, "a volume can grow 6 hours after the launch")
		wait(w.GrownAt, t.resize, "a volume can grow once in 6 hours")
	}
	if until.IsZero() {
		return nil
	}
	return ErrTooSoon.Sayf("Amazon's rule: %s", rule).Suggestf("ask again after %s", until.UTC().Format("2006-01-02 15:04 MST")).
		Detail("possible_at", until.UTC().Format(time.RFC3339))
}

// Wanted is what it will be sold as when the change that is under way is done.
func (w *WorkSpace) wantedSpec() price.Spec {
	to := *w
	if n, err := strconv.Atoi(w.ChangeTo); err == nil {
		switch w.Change {
		case changeRoot:
			to.RootGiB = &n
		case changeUser:
			to.UserGiB = &n
		}
	}
	if w.Migration != nil {
		to.BundleType, to.OperatingSystem = w.Migration.BundleType, w.Migration.OperatingSystem
	}
	switch w.Change {
	case changeBundle:
		to.BundleType = w.ChangeTo
	case changeMode:
		to.RunningMode = w.ChangeTo
		if w.ChangeTo == price.AlwaysOn {
			to.AutoStopTimeoutMinutes, to.ExtendedMinutes = nil, nil
		} else if to.AutoStopTimeoutMinutes == nil {
			minutes := modeMinutes(w.ChangeTo)
			to.AutoStopTimeoutMinutes = &minutes
		}
	}
	return to.spec()
}

func (w *WorkSpace) subject() cost.Subject {
	s := cost.Subject{Workspace: w.ID, Payer: w.payer(), CostCentre: w.CostCentre, Spec: w.spec(), BlueprintVersion: w.BlueprintVersionID, Tags: w.Tags}
	if w.AcceptedAt != nil {
		s.Since = *w.AcceptedAt
	}
	return s
}

// ChangeCost is what the change that is under way, or asked for, costs.
func (w *WorkSpace) ChangeCost(ctx context.Context, q postgres.Querier, now time.Time) (price.Change, error) {
	book, err := cost.BookAt(ctx, q, now)
	if err != nil {
		return price.Change{}, err
	}
	from, to := w.spec(), w.wantedSpec()
	if from.RunningMode == price.AutoStop {
		paid, err := cost.AlwaysOnUntil(ctx, q, w.ID, now)
		if err != nil {
			return price.Change{}, err
		}
		if paid.After(now) { // this month is, whatever it is switched to
			from.RunningMode = price.AlwaysOn
		}
	}
	return book.ChangeCost(from, to, now)
}

// reserve holds what a WorkSpace will cost when what is wanted of it is so: until it is, the dearer of the two. It refuses
// what the budgets have no room for.
func (f *Fleet) reserve(ctx context.Context, tx *audit.Tx, w *WorkSpace) error {
	c, err := w.ChangeCost(ctx, tx, tx.Now)
	if err != nil {
		return err
	}
	fixed, lease := c.Hold()
	if w.Change != "" || w.Migration != nil {
		lease = max(lease, c.LeaseBefore)
	}
	have, _, _, err := f.Budgets.Held(ctx, tx, w.ID)
	if err != nil {
		return err
	}
	if w.AvailableAt == nil {
		fixed = max(fixed, have) // the first fee has not posted
	}
	return f.Budgets.Resize(ctx, tx, w.ID, fixed, lease)
}

// fitHold makes what is reserved fit what is sold now. It refuses nothing: it is so already.
func (f *Fleet) fitHold(ctx context.Context, tx *audit.Tx, w *WorkSpace) error {
	err := f.reserve(ctx, tx, w)
	if errors.Is(err, budget.ErrExceeded) {
		return nil
	}
	return err
}

// Extend lets a WorkSpace be idle for longer, until the given hours are over; then its own timeout holds again. What is
// reserved for its idle tail grows meanwhile.
func (f *Fleet) Extend(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, hours int, ifVersion *int64) (*WorkSpace, error) {
	w, err := mine(ctx, tx, ws, policy.WorkspaceOperate, ifVersion)
	if err != nil {
		return nil, err
	}
	if err := w.allow(OpExtend); err != nil {
		return nil, err
	}
	if hours < 1 || hours > 24 {
		return nil, ErrHours
	}
	if !w.extend(hours, tx.Now) {
		unchanged(tx, w, "extend")
		return w, nil
	}
	if err := f.reserve(ctx, tx, w); err != nil {
		return nil, err
	}
	f.poke(tx)
	return w, save(ctx, tx, w, w.State, "extend", "user", map[string]any{"until": w.ExtendedUntil.Format(time.RFC3339), "timeout_minutes": *w.ExtendedMinutes})
}

// extend puts the extension onto the row, and tells whether it is longer than what there was.
func (w *WorkSpace) extend(hours int, now time.Time) bool {
	until := now.Add(time.Duration(hours) * time.Hour)
	if w.ExtendedUntil != nil && !until.After(*w.ExtendedUntil) {
		return false
	}
	// Its user may have gone a whole timeout ago.
	minutes := min((hours*60+*w.AutoStopTimeoutMinutes+59)/60*60, maxIdleMinutes)
	w.ExtendedUntil, w.ExtendedMinutes, w.NextDueAt = &until, &minutes, &now
	return true
}
