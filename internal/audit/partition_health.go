package audit

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/postgres"
)

// Fewer months ahead than these are worth a warning, and critical: somebody has to act before writes go to the overflow
// partition.
const (
	fewMonths     = 6
	tooFewMonths  = 2
	overflowCount = 10_000 // rows are counted up to here
)

// Severity is how bad a problem is. One that is critical makes writes fail, or is about to make them go where they
// should not.
type Severity string

// Severities.
const (
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// PartitionProblem is something wrong with the partitions, in words, and what to do about it.
type PartitionProblem struct {
	Severity Severity `json:"severity"`
	Table    string   `json:"table"`
	What     string   `json:"what"`
	Do       string   `json:"do"`
}

// Overflow is what an overflow partition holds.
type Overflow struct {
	Table     string `json:"table"`
	Partition string `json:"partition"`
	// Rows is exact, unless there are more than were counted.
	Rows int64 `json:"rows"`
	More bool  `json:"more"`
}

// Health is the state of the partitions.
type Health struct {
	// MonthsAhead is how many months after the present one take writes, without a gap, by table.
	MonthsAhead map[string]int     `json:"months_ahead"`
	Overflow    []Overflow         `json:"overflow"`
	Problems    []PartitionProblem `json:"problems"`

	// archived are the months that were taken out: nothing is to be written there.
	archived map[time.Time]bool
}

// Critical tells whether a problem is critical.
func (h *Health) Critical() bool {
	for _, p := range h.Problems {
		if p.Severity == Critical {
			return true
		}
	}
	return false
}

// Summary is every problem in one line; empty when there is none.
func (h *Health) Summary() string {
	said := make([]string, len(h.Problems))
	for i, p := range h.Problems {
		said[i] = fmt.Sprintf("%s: %s", p.Table, p.What)
	}
	return strings.Join(said, "; ")
}

// CheckPartitions looks at the partitions as of now.
func CheckPartitions(ctx context.Context, q postgres.Querier, now time.Time) (*Health, error) {
	parts, err := listPartitions(ctx, q, false)
	if err != nil {
		return nil, err
	}
	var rows []Overflow
	for _, p := range parts {
		if p.Kind != KindPast && p.Kind != KindFuture || p.Detaching {
			continue
		}
		// Through the table, since the application sees no partition by itself; the bound leads to this one alone.
		where, bound := `timestamp < $1`, p.To
		if p.Kind == KindFuture {
			where, bound = `timestamp >= $1`, p.From
		}
		o := Overflow{Table: p.Table, Partition: p.Name}
		if err := q.QueryRow(ctx, `SELECT count(*) FROM (SELECT FROM `+p.Table+` WHERE `+where+` LIMIT $2) AS seen`, *bound, overflowCount+1).Scan(&o.Rows); err != nil {
			return nil, fmt.Errorf("counting what is in %s: %w", p.Name, err)
		}
		if o.Rows > overflowCount {
			o.Rows, o.More = overflowCount, true
		}
		rows = append(rows, o)
	}
	archived, err := archivedMonths(ctx, q)
	if err != nil {
		return nil, err
	}
	gone := map[time.Time]bool{}
	for i := range archived {
		gone[archived[i].Month] = archived[i].gone()
	}
	return judge(parts, rows, gone, now), nil
}

// judge says what is wrong with partitions that come by table and time; archived months are not missed.
func judge(parts []Partition, rows []Overflow, archived map[time.Time]bool, now time.Time) *Health {
	h := &Health{MonthsAhead: map[string]int{}, Overflow: append([]Overflow{}, rows...), Problems: []PartitionProblem{}, archived: archived}
	tables := map[string][]Partition{}
	for _, p := range parts {
		tables[p.Table] = append(tables[p.Table], p)
	}
	for _, table := range PartitionedTables() {
		h.bounds(table, tables[table])
		h.ahead(table, tables[table], now)
	}
	for _, o := range rows {
		if o.Rows > 0 {
			h.overflowing(o)
		}
	}
	return h
}

func (h *Health) add(s Severity, table, do, what string, args ...any) {
	h.Problems = append(h.Problems, PartitionProblem{Severity: s, Table: table, What: fmt.Sprintf(what, args...), Do: do})
}

// bounds looks for what no partition takes, what two take, and partitions that are not as they should be.
func (h *Health) bounds(table string, parts []Partition) {
	var end *time.Time // of what was looked at; nil: nothing was, or it has no end
	for i, p := range parts {
		switch p.Kind {
		case KindDefault:
			h.add(Critical, table, fmt.Sprintf("move its rows into their months and drop it: ALTER TABLE %s DETACH PARTITION audit_parts.%s", table, p.Name),
				"%s is a DEFAULT partition: every month that is attached reads all of it while writers wait", p.Name)
			continue
		case KindOdd:
			h.add(Warning, table, "detach it, move its rows into whole months, and drop it", "%s is no whole month of UTC: %s", p.Name, p.span())
		case KindMonth, KindPast, KindFuture:
		}
		if p.Detaching {
			h.add(Critical, table, fmt.Sprintf("as the owner: ALTER TABLE %s DETACH PARTITION audit_parts.%s FINALIZE, then ALTER TABLE %[1]s ATTACH PARTITION audit_parts.%[2]s FOR VALUES %[3]s", table, p.Name, p.sqlBounds()),
				"%s is half detached: writes %s fail", p.Name, p.span())
		}
		switch {
		case i == 0 && p.From != nil:
			h.gap(table, "before "+day(*p.From))
		case i > 0 && p.From != nil && end != nil && p.From.After(*end) && h.allArchived(*end, *p.From):
		case i > 0 && p.From != nil && end != nil && p.From.After(*end):
			h.gap(table, "from "+day(*end)+" to "+day(*p.From))
		case i > 0 && (p.From == nil || end == nil || p.From.Before(*end)):
			h.add(Critical, table, "detach one of them, and move its rows into the other", "%s begins before %s ends", p.Name, parts[i-1].Name)
		}
		end = p.To
		if last := i == len(parts)-1 || parts[i+1].Kind == KindDefault; last && p.To != nil {
			h.gap(table, "from "+day(*p.To))
		}
	}
	if len(parts) == 0 {
		h.gap(table, "at any time")
	}
}

// allArchived says that every month from one instant up to another was taken out.
func (h *Health) allArchived(from, to time.Time) bool {
	for m := from; m.Before(to); m = m.AddDate(0, 1, 0) {
		if !h.archived[m] {
			return false
		}
	}
	return from.Equal(clock.StartOfMonth(from))
}

func (h *Health) gap(table, when string) {
	h.add(Critical, table, "attach again what was detached; for a month that was dropped: forge audit partitions create", "no partition takes writes %s: they fail", when)
}

// ahead counts the months after the present one.
func (h *Health) ahead(table string, parts []Partition, now time.Time) {
	there := map[time.Time]bool{}
	for _, p := range parts {
		if p.Kind == KindMonth && !p.Detaching {
			there[*p.From] = true
		}
	}
	present := clock.StartOfMonth(now)
	n := 0
	for there[present.AddDate(0, n+1, 0)] {
		n++
	}
	const do = "forge audit partitions create; if that fails, its message says why"
	switch {
	case !there[present]:
		n = 0
		h.add(Critical, table, do, "the present month, %s, has no partition", present.Format("2006-01"))
	case n < tooFewMonths:
		h.add(Critical, table, do, "only %d months are made ahead", n)
	case n < fewMonths:
		h.add(Warning, table, do, "only %d months are made ahead", n)
	}
	h.MonthsAhead[table] = n
}

func (h *Health) overflowing(o Overflow) {
	count := fmt.Sprint(o.Rows)
	if o.More {
		count = "more than " + count
	}
	do := "forge audit partitions create moves them into their months; what is beyond those was written under a clock that is ahead, and is safe where it is"
	if strings.HasSuffix(o.Partition, "_past") {
		do = "they were written under a clock that was behind, and are safe where they are; see that the servers' clocks are right"
	}
	h.add(Warning, o.Table, do, "%s has %s rows", o.Partition, count)
}

func day(t time.Time) string { return t.Format("2006-01-02 15:04:05Z07:00") }

// span is what a partition takes, in words.
func (p *Partition) span() string {
	switch {
	case p.From == nil:
		return "before " + day(*p.To)
	case p.To == nil:
		return "from " + day(*p.From)
	}
	return "from " + day(*p.From) + " to " + day(*p.To)
}

func (p *Partition) sqlBounds() string {
	from, to := "MINVALUE", "MAXVALUE"
	if p.From != nil {
		from = "'" + day(*p.From) + "'"
	}
	if p.To != nil {
		to = "'" + day(*p.To) + "'"
	}
	return "FROM (" + from + ") TO (" + to + ")"
}
