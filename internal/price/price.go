// Package price is the arithmetic that turns use into money. It is pure: no clock, no database, no network.
package price

import (
	"slices"
	"time"

	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/money"
)

// ErrUnknown is the refusal to guess: nothing runs at a price that nobody knows.
var ErrUnknown = fault.New(fault.Invalid, "PRICE_UNKNOWN", "the price book has no price for this combination",
	fault.Suggest("choose a combination with a price, or have finance or an admin import one: `forge prices import`"))

// Item is what a price is for.
type Item string

// The items of a price book.
const (
	AlwaysOnMonth Item = "always_on_month"
	AutoStopMonth Item = "auto_stop_month"
	AutoStopHour  Item = "auto_stop_hour"
	RootGBMonth   Item = "root_gb_month"
	UserGBMonth   Item = "user_gb_month"
	TransferGB    Item = "transfer_gb"
)

// Running modes, in Amazon's words.
const (
	AlwaysOn = "ALWAYS_ON"
	AutoStop = "AUTO_STOP"
)

// HourRule decides what an hour of running is, because Amazon's public word on it is not certain.
type HourRule string

// The hour rules: each session rounded up; UTC clock hours touched; to the second.
const (
	SessionCeil HourRule = "session_ceil"
	ClockHour   HourRule = "clock_hour"
	Second      HourRule = "second"
)

// Key is what a price depends on.
type Key struct {
	Region          string
	ComputeType     string
	OperatingSystem string
	License         string
	Item            Item
}

// Price is one line of a price book.
type Price struct {
	ID     int64
	Key    Key
	Unit   string
	Amount money.USD
	SKU    string
}

// Book is one price book: what was true from EffectiveFrom on.
type Book struct {
	ID            int64
	Source        string
	HourRule      HourRule
	EffectiveFrom time.Time
	prices        map[Key]Price
}

// NewBook makes a book of its lines.
func NewBook(id int64, source string, rule HourRule, from time.Time, lines []Price) *Book {
	b := &Book{ID: id, Source: source, HourRule: rule, EffectiveFrom: from, prices: make(map[Key]Price, len(lines))}
	for _, p := range lines {
		b.prices[p.Key] = p
	}
	return b
}

// Lines are the book's prices in a stable order.
func (b *Book) Lines() []Price {
	lines := make([]Price, 0, len(b.prices))
	for _, p := range b.prices {
		lines = append(lines, p)
	}
	slices.SortFunc(lines, func(x, y Price) int { return x.Key.Compare(y.Key) })
	return lines
}

// Rate is the price of one item, or ErrUnknown.
func (b *Book) Rate(k Key) (Price, error) {
	p, ok := b.prices[k]
	if !ok {
		return Price{}, ErrUnknown.
			Sayf("the price book has no %s price for %s with %s in %s", k.Item, k.ComputeType, k.OperatingSystem, k.Region).
			Detail("region", k.Region).Detail("bundle_type", k.ComputeType).
			Detail("operating_system", k.OperatingSystem).Detail("license", k.License).Detail("item", string(k.Item))
	}
	return p, nil
}

// Spec is what a WorkSpace's cost depends on.
type Spec struct {
	Region          string
	ComputeType     string
	OperatingSystem string
	License         string
	RunningMode     string
	// AutoStopMinutes is the idle timeout of an AUTO_STOP WorkSpace, in minutes; its tail is billed.
	AutoStopMinutes int
	// RootGiB and UserGiB are the sizes of its volumes. 0 is not known, and taken for what its compute type includes.
	RootGiB, UserGiB int
}

// Rates are the prices that apply to a WorkSpace. Hour is nil for ALWAYS_ON.
type Rates struct {
	Month Price
	// Storage is the monthly fee for all that the volumes have beyond what is included; nil when that is nothing. Its
	// amount is the sum for both volumes, its id and key those of the root volume's price per GiB if that is larger, else
	// of the user volume's.
	Storage *Price
	Hour    *Price
	Rule    HourRule
}

// Fee is the whole monthly fee.
func (r Rates) Fee() money.USD {
	if r.Storage == nil {
		return r.Month.Amount
	}
	return r.Month.Amount + r.Storage.Amount
}

// sameFee reports whether the same monthly fee, of the same prices, is due for both.
func (r Rates) sameFee(o Rates) bool {
	return r.Month == o.Month && (r.Storage == nil) == (o.Storage == nil) && (r.Storage == nil || *r.Storage == *o.Storage)
}

// RatesOf finds the prices of a WorkSpace, or ErrUnknown naming the one that is missing.
func (b *Book) RatesOf(s Spec) (Rates, error) {
	key := Key{Region: s.Region, ComputeType: s.ComputeType, OperatingSystem: s.OperatingSystem, License: s.License}
	storage, err := b.Storage(key, s.RootGiB, s.UserGiB)
	if err != nil {
		return Rates{}, err
	}
	r := Rates{Storage: storage, Rule: b.HourRule}
	if s.RunningMode == AlwaysOn {
		key.Item = AlwaysOnMonth
		r.Month, err = b.Rate(key)
		return r, err
	}
	key.Item = AutoStopMonth
	if r.Month, err = b.Rate(key); err != nil {
		return r, err
	}
	key.Item = AutoStopHour
	hour, err := b.Rate(key)
	r.Hour = &hour
	return r, err
}

// Estimate is what a WorkSpace will cost, as far as that can be said before it runs.
type Estimate struct {
	// MonthlyFee is the fixed fee of a whole month; FirstFee the prorated one of the month it begins in.
	MonthlyFee, FirstFee money.USD
	// Hourly is the rate while running; zero for ALWAYS_ON.
	Hourly money.USD
	// Lease is the running time reserved ahead, in money; LeaseHours in hours.
	Lease      money.USD
	LeaseHours int64
	// BreakEvenMinutes is the running time a month above which ALWAYS_ON is cheaper; zero when one of the prices is unknown.
	BreakEvenMinutes int64
}

// Hold is what a budget must have free for the WorkSpace to be admitted: the fee that will post and one lease.
func (e Estimate) Hold() money.USD { return e.FirstFee + e.Lease }

// Estimate prices a WorkSpace that would begin at now.
func (b *Book) Estimate(s Spec, now time.Time) (Estimate, error) {
	r, err := b.RatesOf(s)
	if err != nil {
		return Estimate{}, err
	}
	e := Estimate{MonthlyFee: r.Fee(), FirstFee: MonthShare(r.Fee(), now)}
	if r.Hour != nil {
		e.Hourly, e.Lease, e.LeaseHours = r.Hour.Amount, r.lease(s), LeaseHours(s.AutoStopMinutes)
		always, err := b.Rate(Key{s.Region, s.ComputeType, s.OperatingSystem, s.License, AlwaysOnMonth})
		if err == nil && e.Hourly > 0 {
			e.BreakEvenMinutes = int64((always.Amount - r.Month.Amount).Share(60, int64(e.Hourly)))
		}
	}
	return e, nil
}

// LeaseHours is the running time that one start commits to at the least: an hour of use and the idle tail behind it,
// and one more because under the clock-hour rule a session touches one hour more than it lasts. The hold must cover the
// dearer rule whatever the book says.
func LeaseHours(autoStopMinutes int) int64 { return 2 + int64(autoStopMinutes+59)/60 }

// lease is the running time reserved ahead, in money; nothing for ALWAYS_ON.
func (r Rates) lease(s Spec) money.USD {
	if r.Hour == nil {
		return 0
	}
	return r.Hour.Amount.Times(LeaseHours(s.AutoStopMinutes))
}

// MonthShare is the part of a monthly fee from the instant to the end of its month: Amazon prorates the first month
// from creation. From the first instant of a month it is the whole fee.
func MonthShare(fee money.USD, from time.Time) money.USD {
	return MonthPart(fee, from, clock.StartOfNextMonth(from))
}

// MonthPart is the part of a monthly fee from one instant until another, at most the end of the month of the first.
func MonthPart(fee money.USD, from, until time.Time) money.USD {
	start, end := clock.StartOfMonth(from), clock.StartOfNextMonth(from)
	return fee.Share(until.Sub(from).Microseconds(), end.Sub(start).Microseconds())
}

// FeeParts is MonthPart for the fee of the bundle and that of what the volumes have beyond it. Amazon's bill has one line
// for both: it is rounded once, and what the bundle's own part leaves of it is the storage's.
func FeeParts(month, storage money.USD, from, until time.Time) (forMonth, forStorage money.USD) {
	forMonth = MonthPart(month, from, until)
	return forMonth, MonthPart(month+storage, from, until) - forMonth
}

// NextHour is the first instant from t on at which what ran from opened until t has nothing to pay for under the rule:
// the end of the hour that has begun. What runs on under other terms is charged by those from there.
func NextHour(rule HourRule, opened, t time.Time) time.Time {
	if !t.After(opened) {
		return opened
	}
	switch rule {
	case SessionCeil:
		return opened.Add((t.Sub(opened) + time.Hour - time.Microsecond).Truncate(time.Hour))
	case ClockHour:
		return t.Add(time.Hour - time.Microsecond).Truncate(time.Hour)
	case Second:
		return t
	}
	panic("price: no such hour rule: " + string(rule))
}

// PaidUntil is how long what has run since opened, and costs the hourly rate (not 0), may run until it has cost amount
// in total; a century at most.
func PaidUntil(rule HourRule, hourly money.USD, opened time.Time, amount money.USD) time.Time {
	const century = 100 * 365 * 24
	const hour = int64(time.Hour / time.Microsecond)
	hours := min(int64(amount/hourly), century)
	switch rule {
	case SessionCeil:
		return opened.Add(time.Duration(hours) * time.Hour)
	case ClockHour:
		if hours == 0 {
			return opened
		}
		return opened.Truncate(time.Hour).Add(time.Duration(hours) * time.Hour)
	case Second:
		rest := int64((amount % hourly).Share(hour, int64(hourly)))
		return opened.Add(time.Duration(hours*hour+rest) * time.Microsecond)
	}
	panic("price: no such hour rule: " + string(rule))
}

// Running is what running from opened until at costs in total under the rule. Settled slices are differences of this
// total, so however time is cut, the parts add up to it: rounding happens here once.
func Running(rule HourRule, hourly money.USD, opened, at time.Time) money.USD {
	if !at.After(opened) {
		return 0
	}
	const hour = int64(time.Hour / time.Microsecond)
	switch rule {
	case SessionCeil:
		return hourly.Times((at.Sub(opened).Microseconds() + hour - 1) / hour)
	case ClockHour:
		last := at.Add(-time.Microsecond).Truncate(time.Hour)
		return hourly.Times(int64(last.Sub(opened.Truncate(time.Hour))/time.Hour) + 1)
	case Second:
		return hourly.Share(at.Sub(opened).Microseconds(), hour)
	}
	panic("price: no such hour rule: " + string(rule))
}
