package workspace

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/budget"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
)

// The kinds of what an upgrade means for a WorkSpace.
const (
	ChangeSettings = "settings" // nothing on it is lost
	ChangeMigrate  = "migrate"  // its root volume is made anew
	ChangeRefused  = "refused"
)

const (
	// planPast is what of the past is taken for the use of a month.
	planPast = 28 * 24 * time.Hour
	// planMonth is the month that the plan's money is for.
	planMonth = 30 * 24 * time.Hour
	// refusalsShown bounds the list of what would be refused.
	refusalsShown = 100
)

// PlanAssumption says what the plan's money goes by.
const PlanAssumption = "a month of 30 days at today's prices, used as in the last 28 days"

// FleetPlan is who is on which version of a blueprint, and what an upgrade of all to one version would mean and cost.
type FleetPlan struct {
	WorkSpaces      int
	Users           int
	Versions        []FleetVersion
	Changes         []FleetChange
	Refused         []FleetRefusal // the first of them
	RefusedCount    int
	EstimatedBefore money.USD
	EstimatedAfter  money.USD
}

// FleetVersion counts the live WorkSpaces on a version.
type FleetVersion struct {
	Number     int
	Status     blueprint.Status
	WorkSpaces int
}

// FleetChange counts the WorkSpaces for which an upgrade means the same.
type FleetChange struct {
	What            string
	Reason          string
	WorkSpaces      int
	EstimatedBefore money.USD
	EstimatedAfter  money.USD
}

// FleetRefusal is a WorkSpace that could not be upgraded.
type FleetRefusal struct {
	WorkSpace *WorkSpace
	Code      string
	Reason    string
}

// Plan tells what an upgrade of a blueprint's live WorkSpaces to a version would mean. It changes nothing, and the upgrade
// itself decides anew.
func Plan(ctx context.Context, q postgres.Querier, b blueprint.Blueprint, to blueprint.Version, now time.Time) (FleetPlan, error) {
	var p FleetPlan
	fleet, err := fleetOf(ctx, q, b.ID)
	if err != nil {
		return p, err
	}
	byVersion := map[id.BlueprintVersion]int{}
	users := map[id.User]bool{}
	ids := make([]id.WorkSpace, len(fleet))
	for i := range fleet {
		byVersion[fleet[i].BlueprintVersionID]++
		users[fleet[i].UserID] = true
		ids[i] = fleet[i].ID
	}
	versions, err := blueprint.ByID(ctx, q, slices.Collect(maps.Keys(byVersion)))
	if err != nil {
		return p, err
	}
	for _, v := range versions {
		p.Versions = append(p.Versions, FleetVersion{v.Number, v.Status, byVersion[v.ID]})
	}
	slices.SortFunc(p.Versions, func(a, b FleetVersion) int { return b.Number - a.Number })
	p.WorkSpaces, p.Users = len(fleet), len(users)
	book, err := cost.BookAt(ctx, q, now)
	if err != nil {
		return p, err
	}
	room, err := budget.ReadRoom(ctx, q, now)
	if err != nil {
		return p, err
	}
	ran, err := cost.RunningSeconds(ctx, q, ids, now.Add(-planPast), now)
	if err != nil {
		return p, err
	}
	sums := map[[2]string]*FleetChange{}
	for i := range fleet {
		w := &fleet[i]
		if w.BlueprintVersionID == to.ID {
			continue
		}
		c, err := planned(w, versions[w.BlueprintVersionID].Definition, to, book, room, ran[w.ID], now)
		if err != nil {
			return p, err
		}
		p.add(w, c, sums)
	}
	for _, key := range slices.SortedFunc(maps.Keys(sums), func(a, b [2]string) int { return strings.Compare(a[0]+a[1], b[0]+b[1]) }) {
		p.Changes = append(p.Changes, *sums[key])
	}
	return p, nil
}

// meant is what an upgrade means for one WorkSpace.
type meant struct {
	what, reason, code string
	before, after      money.USD
}

func (p *FleetPlan) add(w *FleetMember, c meant, sums map[[2]string]*FleetChange) {
	key := [2]string{c.what, c.reason}
	if sums[key] == nil {
		sums[key] = &FleetChange{What: c.what, Reason: c.reason}
	}
	s := sums[key]
	s.WorkSpaces++
	s.EstimatedBefore, s.EstimatedAfter = s.EstimatedBefore+c.before, s.EstimatedAfter+c.after
	p.EstimatedBefore, p.EstimatedAfter = p.EstimatedBefore+c.before, p.EstimatedAfter+c.after
	if c.what != ChangeRefused {
		return
	}
	p.RefusedCount++
	if len(p.Refused) < refusalsShown {
		p.Refused = append(p.Refused, FleetRefusal{&w.WorkSpace, c.code, c.reason})
	}
}

// planned tells what following means for one WorkSpace. What is refused costs what it does.
func planned(w *FleetMember, from blueprint.Definition, to blueprint.Version, book *price.Book, room *budget.Room, seconds int64, now time.Time) (meant, error) {
	before, held, err := usual(book, w.spec(), seconds, now)
	if err != nil {
		return meant{what: ChangeRefused, code: codeOf(err), reason: messageOf(err)}, ignoreFault(err)
	}
	refused := func(err error) (meant, error) {
		return meant{what: ChangeRefused, code: codeOf(err), reason: messageOf(err), before: before, after: before}, ignoreFault(err)
	}
	step, err := w.towards(to.ID, from, to.Definition, w.Role)
	if err != nil {
		return refused(err)
	}
	after, needs, err := usual(book, step.becomes().spec(), seconds, now)
	if err != nil {
		return refused(err)
	}
	if short, missing := room.Take(w.payer(), needs-held); missing > 0 {
		return refused(budget.ErrExceeded.Sayf("the %s budget has no room for it", strings.ToLower(string(short))))
	}
	c := meant{what: ChangeSettings, before: before, after: after}
	why := slices.Sorted(maps.Keys(step.changed))
	if step.lost {
		c.what = ChangeMigrate
		if step.to.BundleType != w.BundleType {
			why = append(why, "bundle_type")
		}
		if step.to.OperatingSystem != w.OperatingSystem {
			why = append(why, "operating_system")
		}
		if imageOf(from, w.Region, w.BundleType) != imageOf(to.Definition, w.Region, step.to.BundleType) || to.Definition.Image != nil && to.Definition.Image.Golden != nil {
			why = append(why, "image")
		}
	}
	if c.reason = strings.Join(why, ", "); c.reason == "" {
		c.reason = "nothing but the version"
	}
	return c, nil
}

// usual is what a month costs with as much use as there was, and what must be reserved for it.
func usual(book *price.Book, s price.Spec, seconds int64, now time.Time) (month, held money.USD, err error) {
	e, err := book.Estimate(s, now)
	if err != nil {
		return 0, 0, err
	}
	use := e.Hourly.Share(seconds*int64(planMonth/time.Hour), int64(time.Hour/time.Second)*int64(planPast/time.Hour))
	return e.MonthlyFee + use, e.Hold(), nil
}

func codeOf(err error) string {
	if f := (*fault.Fault)(nil); errors.As(err, &f) {
		return f.Code
	}
	return ""
}

func messageOf(err error) string {
	if f := (*fault.Fault)(nil); errors.As(err, &f) {
		return f.Message
	}
	return err.Error()
}

// ignoreFault keeps what is not an answer.
func ignoreFault(err error) error {
	if f := (*fault.Fault)(nil); errors.As(err, &f) && f.Kind != fault.Internal {
		return nil
	}
	return err
}

// FleetMember is a WorkSpace with its owner's role.
type FleetMember struct {
	WorkSpace
	Role actor.Role
}

// fleetOf reads the live WorkSpaces of a blueprint, by id: what following is decided by, and nothing else.
func fleetOf(ctx context.Context, q postgres.Querier, b id.Blueprint) ([]FleetMember, error) {
	rows, err := q.Query(ctx, `
		SELECT w.id, w.name, w.user_id, w.team_id, w.project_id, w.blueprint_version_id, w.bundle_type, w.operating_system, w.license, w.running_mode,
		       w.region, w.root_gib, w.user_gib, w.auto_stop_timeout_minutes, w.extended_minutes, w.max_lifetime_days, w.schedule, w.tags, w.parameters, u.role
		FROM workspaces w JOIN users u ON u.id = w.user_id
		WHERE w.terminated_at IS NULL
		  AND w.blueprint_version_id = ANY(ARRAY(SELECT v.id FROM blueprint_versions v WHERE v.blueprint_id = $1))
		ORDER BY w.id`, b)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByNameLax[FleetMember])
}
