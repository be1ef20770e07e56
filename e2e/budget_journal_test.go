package e2e

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
)

// balanceName is one budget's balance in one period.
type balanceName struct {
	Scope, ScopeID, Period string
}

// balanceSeen is a balance as an entry has left it.
type balanceSeen struct {
	limit, settled, held, overrun money.USD
	entry                         entryOf
}

func (b balanceSeen) room() money.USD { return b.limit - b.settled - b.held }

// entryOf is one movement.
type entryOf struct {
	BudgetID, Scope, ScopeID, Enforcement, Kind, Reason, WS string
	Percent                                                 int
	Period, At                                              time.Time
	Version                                                 int64
	Limit, Settled, Held, Overrun                           money.USD
}

// journal is every balance at every version: version n is at n-1.
type journal map[balanceName][]balanceSeen

// readJournal makes every balance from its entries, and fails for whatever is not as it must be after any of them: a version
// that is missing, what lies beyond the limit without being overrun with a cause, and at the end another balance than is stored.
func (r *rig) readJournal() journal {
	r.t.Helper()
	ctx := r.t.Context()
	tx, err := r.db.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		r.t.Fatal(err)
	}
	defer tx.Rollback(ctx) //nolint:errcheck // it only reads
	entries, err := postgres.Many[entryOf](ctx, tx, `
		SELECT e.budget_id, b.scope, b.scope_id, b.enforcement, b.warning_percents[1] AS percent, e.kind, e.reason, coalesce(e.workspace_id, '') AS ws,
		       e.period_start AS period, e.at, e.balance_version AS version, e.limit_delta_micros AS "limit", e.settled_delta_micros AS settled,
		       e.held_delta_micros AS held, e.overrun_delta_micros AS overrun
		FROM budget_entries e JOIN user_budgets b ON b.id = e.budget_id
		ORDER BY e.budget_id, e.period_start, e.balance_version`)
	if err != nil {
		r.t.Fatal(err)
	}
	j := journal{}
	for _, e := range entries {
		name := balanceName{e.Scope, e.ScopeID, e.Period.UTC().Format(time.RFC3339)}
		var was balanceSeen
		if n := len(j[name]); n > 0 {
			was = j[name][n-1]
		}
		is := balanceSeen{was.limit + e.Limit, was.settled + e.Settled, was.held + e.Held, was.overrun + e.Overrun, e}
		switch {
		case e.Version != int64(len(j[name]))+1:
			r.t.Fatalf("%v: version %d comes after %d", name, e.Version, len(j[name]))
		case is.held < 0 || is.limit < 0 || is.overrun != max(0, -is.room()):
			r.t.Errorf("%v: after %+v it is %+v", name, e, is)
		case e.Overrun > 0 && (e.Reason == "" || !mayPass(e)):
			r.t.Errorf("%v: passed its limit without an outside cause: %+v", name, e)
		}
		j[name] = append(j[name], is)
	}
	stored, err := postgres.Many[struct {
		Scope, ScopeID                string
		Period                        time.Time
		Limit, Settled, Held, Overrun money.USD
		Version                       int64
		Holds                         money.USD
		Newest                        bool
	}](ctx, tx, `
		SELECT b.scope, b.scope_id, p.period_start AS period, p.limit_micros AS "limit", p.settled_micros AS settled, p.held_micros AS held,
		       p.overrun_micros AS overrun, p.version,
		       (SELECT coalesce(sum(fixed_micros + lease_micros), 0)::bigint FROM budget_holds h WHERE CASE b.scope
		          WHEN 'USER' THEN h.user_id = b.scope_id WHEN 'TEAM' THEN h.team_id = b.scope_id WHEN 'PROJECT' THEN h.project_id = b.scope_id ELSE true END) AS holds,
		       NOT EXISTS (SELECT FROM budget_periods q WHERE q.budget_id = p.budget_id AND q.period_start > p.period_start) AS newest
		FROM budget_periods p JOIN user_budgets b ON b.id = p.budget_id`)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range stored {
		name := balanceName{s.Scope, s.ScopeID, s.Period.UTC().Format(time.RFC3339)}
		if len(j[name]) == 0 {
			r.t.Errorf("%v has no entries", name)
			continue
		}
		last := j[name][len(j[name])-1]
		if last.limit != s.Limit || last.settled != s.Settled || last.held != s.Held || last.overrun != s.Overrun || s.Version != int64(len(j[name])) {
			r.t.Errorf("%v is stored as %+v, and its entries make %+v", name, s, last)
		}
		if s.Newest && s.Held != s.Holds || !s.Newest && s.Held != 0 {
			r.t.Errorf("%v: %s are held, and the holds are %s", name, s.Held, s.Holds)
		}
	}
	if len(stored) != len(j) {
		r.t.Errorf("%d balances are stored, and there are entries of %d", len(stored), len(j))
	}
	return j
}

// mayPass tells whether a movement may take a balance beyond its limit: a charge, because Amazon bills it; a limit that was
// set below what is committed; a period that begins with what is held; and anything in a budget that only warns.
func mayPass(e entryOf) bool {
	return slices.Contains([]string{"charge", "limit", "open"}, e.Kind) || e.Enforcement == "warn"
}

// verdictSeen is what the audit log says of a request for a WorkSpace.
type verdictSeen struct {
	request, user, ws, code string
	admitted                bool
	amount                  money.USD
	saw                     map[balanceName]int64
}

// readVerdicts reads every verdict about a launch.
func (r *rig) readVerdicts() []verdictSeen {
	r.t.Helper()
	rows, err := r.db.Query(r.t.Context(), `
		SELECT leaf FROM audit_logs WHERE action_type = 'workspace.create' AND (result = 'success' OR code LIKE 'BUDGET%') ORDER BY timestamp`)
	if err != nil {
		r.t.Fatal(err)
	}
	leaves, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		r.t.Fatal(err)
	}
	var all []verdictSeen
	for _, l := range leaves {
		e, err := leaf.Decode(l)
		if err != nil {
			r.t.Fatal(err)
		}
		v := verdictSeen{request: e.RequestID, user: e.Actor.ID, ws: e.Resource.ID, code: e.Code, admitted: e.Result == leaf.Success, saw: map[balanceName]int64{}}
		if v.admitted {
			_, err = fmt.Sscan(fmt.Sprint(e.Details["held_micros"]), &v.amount)
		} else {
			v.amount, err = money.Parse(fmt.Sprint(e.Details["required"]))
		}
		if err != nil {
			r.t.Fatalf("%s says no amount: %v", l, err)
		}
		balances, _ := e.Details["balances"].([]any)
		for _, b := range balances {
			of, _ := b.(map[string]any)
			version, _ := of["balance_version"].(int64)
			v.saw[balanceName{fmt.Sprint(of["scope"]), fmt.Sprint(of["scope_id"]), fmt.Sprint(of["period_start"])}] = version
		}
		all = append(all, v)
	}
	return all
}

// replay judges every verdict again on the balances that it saw: who was admitted had room in every budget that refuses and
// holds what was asked in all of them from the next version on, and who was refused had none in one of them. So nobody could
// have been admitted besides at the version at which they were refused.
func (r *rig) replay(j journal, all []verdictSeen) (admitted, refused int) {
	r.t.Helper()
	for _, v := range all {
		if len(v.saw) == 0 {
			r.t.Errorf("%+v has seen no balance", v)
		}
		var short []string
		for name, version := range v.saw {
			if version < 1 || version > int64(len(j[name])) {
				r.t.Errorf("%s saw version %d of %v, which never was", v.request, version, name)
				continue
			}
			was := j[name][version-1]
			if was.entry.Enforcement != "warn" && was.room() < v.amount {
				short = append(short, fmt.Sprintf("%s %s has %s", name.Scope, name.ScopeID, was.room()))
			}
			if !v.admitted {
				continue
			}
			if version == int64(len(j[name])) {
				r.t.Errorf("%s was admitted, and %v has no entry of it", v.request, name)
				continue
			}
			if e := j[name][version].entry; e.Kind != "hold" || e.WS != v.ws || e.Held != v.amount {
				r.t.Errorf("%s was admitted with %s on version %d of %v, and the next entry is %+v", v.request, v.amount, version, name, e)
			}
		}
		switch {
		case v.admitted && len(short) > 0:
			r.t.Errorf("%s was admitted with %s, and %s", v.request, v.amount, strings.Join(short, ", "))
		case !v.admitted && len(short) == 0:
			r.t.Errorf("%s was refused %s, and every budget had room for it: %+v", v.request, v.amount, v)
		case v.admitted:
			admitted++
		default:
			refused++
		}
	}
	return admitted, refused
}
