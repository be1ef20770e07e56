package workspace

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
)

// ErrPriceLost refuses a price book by which live WorkSpaces could not be priced any more.
var ErrPriceLost = fault.New(fault.Conflict, "PRICES_MISSING", "WorkSpaces that are live would be left without a price",
	fault.Suggest("import the missing prices with them; or say accept_unpriced, and those WorkSpaces cannot be started or changed until there are some"))

// RepriceAssumption is what the monthly cost by a price book is an estimate for.
const RepriceAssumption = "a month's fees for what each WorkSpace is now, and as many hours as it ran in the last 28 days, to the second"

// mostMoves is how many WorkSpaces a comparison names; it counts all.
const mostMoves = 200

// PriceMove is a WorkSpace whose monthly cost is not the same by two price books; nil is that the book has no price for it.
type PriceMove struct {
	WorkspaceID   id.WorkSpace
	Name          string
	UserID        id.User
	TeamID        id.Team
	Before, After *money.USD
}

// change is by how much it moves. One that loses its price moves more than any other, and then one that gains one.
func (m PriceMove) change() money.USD {
	switch {
	case m.After == nil:
		return money.Max
	case m.Before == nil:
		return money.Max - 1
	}
	return max(*m.After-*m.Before, *m.Before-*m.After)
}

// TeamMove is what a team's WorkSpaces cost a month by two price books: of those that both have prices for.
type TeamMove struct {
	TeamID        id.Team
	WorkSpaces    int
	Before, After money.USD
}

// PriceMoves says whose monthly cost moves between two price books, by RepriceAssumption.
type PriceMoves struct {
	// WorkSpaces are all that are live. Lost had a price and have none now, Gained the other way round; Unknown have none
	// either way.
	WorkSpaces, Lost, Gained, Unknown int
	// The sums are of those that both books have prices for.
	Before, After money.USD
	// Teams have at least one WorkSpace that moves, dearest change first; so have Moves, of which only some may be named.
	Teams     []TeamMove
	Moves     []PriceMove
	Truncated bool
}

// Refuse is ErrPriceLost if a WorkSpace would lose its price.
func (m *PriceMoves) Refuse() error {
	if m.Lost == 0 {
		return nil
	}
	var lost []string
	for _, w := range m.Moves {
		if w.After == nil && len(lost) < 20 {
			lost = append(lost, string(w.WorkspaceID))
		}
	}
	return ErrPriceLost.Sayf("%d WorkSpaces that are live would be left without a price", m.Lost).Detail("workspaces", lost)
}

// Reprice compares what all live WorkSpaces cost a month by two price books; before may be nil. It reads page by page.
func Reprice(ctx context.Context, q postgres.Querier, before, after *price.Book, now time.Time) (PriceMoves, error) {
	var m PriceMoves
	teams, moved := map[id.Team]*TeamMove{}, map[id.Team]bool{}
	f := Filter{Live: true, Limit: simulatePage}
	for {
		page, err := List(ctx, q, f)
		if err != nil {
			return PriceMoves{}, err
		}
		ids := make([]id.WorkSpace, len(page))
		for i := range page {
			ids[i] = page[i].ID
		}
		ran, err := cost.RunningSeconds(ctx, q, ids, now.Add(-planPast), now)
		if err != nil {
			return PriceMoves{}, err
		}
		for i := range page {
			w := &page[i]
			move := PriceMove{WorkspaceID: w.ID, Name: w.Name, UserID: w.UserID, TeamID: w.TeamID}
			if move.Before, err = w.monthly(before, ran[w.ID]); err != nil {
				return PriceMoves{}, err
			}
			if move.After, err = w.monthly(after, ran[w.ID]); err != nil {
				return PriceMoves{}, err
			}
			if teams[w.TeamID] == nil {
				teams[w.TeamID] = &TeamMove{TeamID: w.TeamID}
			}
			if m.add(move, teams[w.TeamID]) {
				moved[w.TeamID] = true
			}
		}
		if len(page) < simulatePage {
			break
		}
		f.After = string(page[len(page)-1].ID)
	}
	m.cut()
	for _, team := range slices.Sorted(maps.Keys(moved)) {
		m.Teams = append(m.Teams, *teams[team])
	}
	slices.SortStableFunc(m.Teams, func(a, b TeamMove) int {
		return cmp.Compare(max(b.After-b.Before, b.Before-b.After), max(a.After-a.Before, a.Before-a.After))
	})
	return m, nil
}

// add counts one WorkSpace and tells whether it moves.
func (m *PriceMoves) add(w PriceMove, team *TeamMove) bool {
	m.WorkSpaces++
	team.WorkSpaces++
	switch {
	case w.Before == nil && w.After == nil:
		m.Unknown++
		return false
	case w.Before == nil:
		m.Gained++
	case w.After == nil:
		m.Lost++
	default:
		m.Before, m.After = m.Before+*w.Before, m.After+*w.After
		team.Before, team.After = team.Before+*w.Before, team.After+*w.After
		if *w.Before == *w.After {
			return false
		}
	}
	m.Moves = append(m.Moves, w)
	if len(m.Moves) > 10*mostMoves {
		m.cut()
	}
	return true
}

// cut keeps the largest moves; those without a price come first.
func (m *PriceMoves) cut() {
	slices.SortStableFunc(m.Moves, func(a, b PriceMove) int { return cmp.Compare(b.change(), a.change()) })
	if len(m.Moves) > mostMoves {
		m.Moves, m.Truncated = m.Moves[:mostMoves], true
	}
}

// monthly is what the WorkSpace costs a month by a book if it runs for so many seconds; nil if the book has no price.
func (w *WorkSpace) monthly(b *price.Book, ran int64) (*money.USD, error) {
	if b == nil {
		return nil, nil
	}
	rates, err := b.RatesOf(w.spec())
	if errors.Is(err, price.ErrUnknown) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	total := rates.Fee()
	if rates.Hour != nil {
		total += rates.Hour.Amount.Share(ran, int64(time.Hour/time.Second))
	}
	return &total, nil
}
