package price

import (
	"cmp"
	"slices"
	"time"
)

// Offer is what was read from a price list.
type Offer struct {
	// Source says where it is from, for people.
	Source string
	// Published is when Amazon published it; zero where that is not said.
	Published time.Time
	Lines     []Price
	// Whole says that the list names every price that there is for its regions and items, so that one which it does not
	// name has gone. Otherwise it only changes and adds.
	Whole bool
	// Products is how many products were looked at; Passed are those that gave no price, by reason.
	Products int
	Passed   []Passed
}

// Passed are products that gave no price, all for one reason.
type Passed struct {
	Reason string
	// Understood is false where nobody knows what the product is: its price is not guessed, and somebody should look.
	Understood bool
	Count      int
	// Products names the first of them.
	Products []Product
}

// Product is one product of Amazon's, with what is said of it.
type Product struct {
	SKU, What string
}

// NotUnderstood counts the products that nobody knows what to make of.
func (o *Offer) NotUnderstood() int {
	n := 0
	for _, p := range o.Passed {
		if !p.Understood {
			n += p.Count
		}
	}
	return n
}

// Over are the lines of a book that is made of the offer on top of an earlier one, and how many of them are the earlier
// one's: everything that the offer does not speak of goes on. A nil book has nothing to carry over.
func (o *Offer) Over(base *Book) (lines []Price, carried int) {
	type part struct {
		region string
		item   Item
	}
	named, covered := map[Key]bool{}, map[part]bool{}
	for _, p := range o.Lines {
		named[p.Key] = true
		covered[part{p.Key.Region, p.Key.Item}] = o.Whole
	}
	lines = slices.Clone(o.Lines)
	if base == nil {
		return lines, 0
	}
	for _, p := range base.Lines() {
		if !named[p.Key] && !covered[part{p.Key.Region, p.Key.Item}] {
			lines = append(lines, p)
			carried++
		}
	}
	return lines, carried
}

// Difference is one price that is not the same in two books; what is nil is not in that book.
type Difference struct {
	Key           Key
	Before, After *Price
}

// Diff lists where the amounts of two books differ, in the order of their keys.
func Diff(before, after *Book) []Difference {
	var all []Difference
	for k, p := range before.prices {
		q, ok := after.prices[k]
		switch {
		case !ok:
			all = append(all, Difference{Key: k, Before: &p})
		case p.Amount != q.Amount:
			all = append(all, Difference{Key: k, Before: &p, After: &q})
		}
	}
	for k, q := range after.prices {
		if _, ok := before.prices[k]; !ok {
			all = append(all, Difference{Key: k, After: &q})
		}
	}
	slices.SortFunc(all, func(x, y Difference) int { return x.Key.Compare(y.Key) })
	return all
}

// Compare orders keys by region, compute type, operating system, license and item.
func (k Key) Compare(o Key) int {
	return cmp.Or(
		cmp.Compare(k.Region, o.Region), cmp.Compare(k.ComputeType, o.ComputeType), cmp.Compare(k.OperatingSystem, o.OperatingSystem),
		cmp.Compare(k.License, o.License), cmp.Compare(k.Item, o.Item))
}
