package price

import (
	"math/big"
	"slices"
	"time"

	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/money"
)

// BreakEven says from how much running time on ALWAYS_ON is the cheaper mode, of one kind of WorkSpace with the volumes
// that its bundle includes.
type BreakEven struct {
	Key Key // without an item
	// The prices; nil where the book has none. Without all three there is no break-even.
	AlwaysOn, AutoStop, Hour *Price
	// Month is the running time of a whole month above which ALWAYS_ON costs less: (A - M) / h.
	Month time.Duration
	// Rest is the running time that is still to come this month above which it pays to switch from AUTO_STOP now: A * r / h,
	// where r is the part of the month that is left. What AUTO_STOP has cost this month is paid either way.
	Rest time.Duration
}

// Known tells whether there is a break-even.
func (b BreakEven) Known() bool {
	return b.AlwaysOn != nil && b.AutoStop != nil && b.Hour != nil && b.Hour.Amount > 0
}

// Missing names the items without a price.
func (b BreakEven) Missing() []Item {
	var all []Item
	for item, p := range map[Item]*Price{AlwaysOnMonth: b.AlwaysOn, AutoStopMonth: b.AutoStop, AutoStopHour: b.Hour} {
		if p == nil {
			all = append(all, item)
		}
	}
	slices.Sort(all)
	return all
}

// BreakEven is that of one kind of WorkSpace at an instant, or ErrUnknown naming the first price that is missing.
func (b *Book) BreakEven(k Key, at time.Time) (BreakEven, error) {
	e := b.breakEven(k, at)
	if missing := e.Missing(); len(missing) > 0 {
		k.Item = missing[0]
		_, err := b.Rate(k)
		return BreakEven{}, err
	}
	return e, nil
}

// BreakEvens are those of every kind of WorkSpace that the book has a monthly fee for, in the order of their keys; those
// that lack a price are among them.
func (b *Book) BreakEvens(at time.Time) []BreakEven {
	var kinds []Key
	for k := range b.prices {
		if k.Item == AlwaysOnMonth || k.Item == AutoStopMonth || k.Item == AutoStopHour {
			k.Item = ""
			kinds = append(kinds, k)
		}
	}
	slices.SortFunc(kinds, Key.Compare)
	kinds = slices.Compact(kinds)
	all := make([]BreakEven, len(kinds))
	for i, k := range kinds {
		all[i] = b.breakEven(k, at)
	}
	return all
}

func (b *Book) breakEven(k Key, at time.Time) BreakEven {
	find := func(item Item) *Price {
		k.Item = item
		if p, ok := b.prices[k]; ok {
			return &p
		}
		return nil
	}
	e := BreakEven{AlwaysOn: find(AlwaysOnMonth), AutoStop: find(AutoStopMonth), Hour: find(AutoStopHour)}
	k.Item = ""
	e.Key = k
	if e.Known() {
		e.Month = hoursFor(e.AlwaysOn.Amount-e.AutoStop.Amount, e.Hour.Amount, 1, 1)
		start, end := clock.StartOfMonth(at), clock.StartOfNextMonth(at)
		e.Rest = hoursFor(e.AlwaysOn.Amount, e.Hour.Amount, end.Sub(at).Microseconds(), end.Sub(start).Microseconds())
	}
	return e
}

// hoursFor is how long runs at an hourly rate for the part num/den of an amount: to the second, halves up, and at most a
// century. It is nothing for an amount below 0.
func hoursFor(amount, hourly money.USD, num, den int64) time.Duration {
	const century = 100 * 365 * 24 * 3600
	if amount <= 0 {
		return 0
	}
	seconds := new(big.Int).Mul(big.NewInt(int64(amount)), big.NewInt(num))
	seconds.Mul(seconds, big.NewInt(2*3600))
	per := new(big.Int).Mul(big.NewInt(int64(hourly)), big.NewInt(den))
	seconds.Add(seconds, per).Quo(seconds, per.Lsh(per, 1))
	if !seconds.IsInt64() || seconds.Int64() > century {
		return century * time.Second
	}
	return time.Duration(seconds.Int64()) * time.Second
}
