package pricelist

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/robco-forge/forge/internal/price"
)

const (
	// maxProducts bounds an offer: many times what AmazonWorkSpaces has for all regions.
	maxProducts = 100_000
	// maxText bounds an attribute: longer ones than Amazon has.
	maxText = 512
	// maxRates bounds the prices that are kept of one product; one is all that is ever taken.
	maxRates = 4
	// How many products are named for a reason, if they are understood, and if not.
	namedUnderstood, namedOthers = 20, 500
)

var (
	skuRule     = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	versionRule = regexp.MustCompile(`^[A-Za-z0-9._:-]{0,64}$`)
)

// catalogue gathers the products and terms of an offer, in whatever order they come.
type catalogue struct {
	version, published, code string
	products                 map[string]*product
}

func newCatalogue() *catalogue { return &catalogue{products: map[string]*product{}} }

// of is the product of an SKU, which its terms may come before.
func (c *catalogue) of(sku string) (*product, error) {
	if p := c.products[sku]; p != nil {
		return p, nil
	}
	if !skuRule.MatchString(sku) {
		return nil, price.ErrList.Sayf("the offer has a product without a proper SKU")
	}
	if len(c.products) == maxProducts {
		return nil, price.ErrList.Sayf("the offer has more than %d products", maxProducts)
	}
	p := &product{sku: sku}
	c.products[sku] = p
	return p, nil
}

// describe sets what is said of a product. Attributes are named as in a JSON offer file, in lower case.
func (p *product) describe(family string, attribute func(name string) string) error {
	p.family = family
	p.region, p.bundle, p.system, p.license = attribute("regioncode"), attribute("bundle"), attribute("operatingsystem"), attribute("license")
	p.mode, p.storage, p.resource, p.usage = attribute("runningmode"), attribute("storage"), attribute("resourcetype"), attribute("usagetype")
	for _, text := range []string{p.family, p.region, p.bundle, p.system, p.license, p.mode, p.storage, p.resource, p.usage} {
		if len(text) > maxText {
			return price.ErrList.Sayf("the product %s of the offer has an attribute of more than %d characters", p.sku, maxText)
		}
	}
	return nil
}

// charge adds a price of an on-demand term.
func (p *product) charge(r rate) error {
	for _, text := range []string{r.unit, r.usd, r.begin, r.end} {
		if len(text) > maxText {
			return price.ErrList.Sayf("the product %s of the offer has a price of more than %d characters", p.sku, maxText)
		}
	}
	if len(p.rates) < maxRates {
		p.rates = append(p.rates, r)
	}
	return nil
}

// offer makes prices of what was gathered.
func (c *catalogue) offer(region string) (price.Offer, error) {
	if c.code != service {
		return price.Offer{}, price.ErrList.Sayf("the offer is of %q, not of %s", c.code, service)
	}
	if !versionRule.MatchString(c.version) {
		return price.Offer{}, price.ErrList.Sayf("the offer's version is not one")
	}
	o := price.Offer{Source: "AWS Price List, " + service, Whole: true, Products: len(c.products)}
	if c.version != "" {
		o.Source += ", version " + c.version
	}
	if c.published != "" {
		at, err := time.Parse(time.RFC3339, c.published)
		if err != nil {
			return price.Offer{}, price.ErrList.Sayf("the offer's date of publication is not an instant")
		}
		o.Published = at.UTC()
	}
	t := takings{lines: map[price.Key][]price.Price{}, passed: map[reason]*price.Passed{}}
	for _, sku := range slices.Sorted(maps.Keys(c.products)) {
		t.take(c.products[sku], region)
	}
	t.settle(c.products)
	for _, k := range slices.SortedFunc(maps.Keys(t.lines), price.Key.Compare) {
		o.Lines = append(o.Lines, t.lines[k][0])
	}
	for _, p := range t.passed {
		o.Passed = append(o.Passed, *p)
	}
	slices.SortFunc(o.Passed, func(a, b price.Passed) int {
		switch {
		case a.Understood == b.Understood:
			return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason))
		case b.Understood:
			return -1
		}
		return 1
	})
	return o, nil
}

// takings are what was taken and what was passed.
type takings struct {
	lines  map[price.Key][]price.Price
	passed map[reason]*price.Passed
}

func (t *takings) take(p *product, region string) {
	k, why := p.key(region)
	if why == (reason{}) {
		amount, why := p.amount()
		if why == (reason{}) {
			t.lines[k] = append(t.lines[k], price.Price{Key: k, Unit: k.Item.Unit(), Amount: amount, SKU: p.sku})
			return
		}
		t.pass(p, why)
		return
	}
	t.pass(p, why)
}

// settle leaves one price for each thing. Two that differ are none: nobody knows which of them is billed.
func (t *takings) settle(products map[string]*product) {
	for _, k := range slices.SortedFunc(maps.Keys(t.lines), price.Key.Compare) {
		all := t.lines[k]
		differ := slices.ContainsFunc(all, func(p price.Price) bool { return p.Amount != all[0].Amount })
		if differ {
			delete(t.lines, k)
			for _, p := range all {
				t.pass(products[p.SKU], ambiguous)
			}
			continue
		}
		for _, p := range all[1:] {
			t.pass(products[p.SKU], twice)
		}
	}
}

func (t *takings) pass(p *product, why reason) {
	group := t.passed[why]
	if group == nil {
		group = &price.Passed{Reason: why.text, Understood: why.understood}
		t.passed[why] = group
	}
	group.Count++
	most := namedOthers
	if why.understood {
		most = namedUnderstood
	}
	if len(group.Products) < most {
		what := p.name()
		if len(p.rates) > 0 {
			what += fmt.Sprintf(" / %s USD a %s", p.rates[0].usd, p.rates[0].unit)
		}
		group.Products = append(group.Products, price.Product{SKU: p.sku, What: what})
	}
}
