package pricelist

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/robco-forge/forge/internal/price"
)

// readJSON reads a JSON offer file: products, and then the terms at which they are sold.
func readJSON(r io.Reader, region string) (price.Offer, error) {
	bounds, c := &jsonBounds{r: r}, newCatalogue()
	in := &stream{json.NewDecoder(bounds), bounds}
	err := in.object(func(name string) error {
		switch name {
		case "offerCode":
			return in.value(&c.code)
		case "version":
			return in.value(&c.version)
		case "publicationDate":
			return in.value(&c.published)
		case "products":
			return in.object(func(sku string) error { return c.readProduct(in, sku) })
		case "terms":
			return in.object(func(kind string) error {
				return in.object(func(sku string) error { return c.readTerms(in, kind, sku) })
			})
		}
		return in.skip()
	})
	if err == nil {
		err = in.end()
	}
	if err != nil {
		return price.Offer{}, badJSON(err)
	}
	return c.offer(region)
}

// badJSON is what is wrong with the text; what failed beneath it, such as its transport, stays what it is.
func badJSON(err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return price.ErrList.Sayf("the offer file is no JSON: %v, at byte %d", syntax, syntax.Offset)
	}
	if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return price.ErrList.Sayf("the offer file has a %s at byte %d where an offer file has none", kind.Value, kind.Offset)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return price.ErrList.Sayf("the offer file ends too early")
	}
	return err
}

// described is a product as the Price List writes it.
type described struct {
	SKU           string            `json:"sku"`
	ProductFamily string            `json:"productFamily"`
	Attributes    map[string]string `json:"attributes"`
}

// term is a term as the Price List writes it.
type term struct {
	PriceDimensions map[string]struct {
		Unit         string            `json:"unit"`
		BeginRange   string            `json:"beginRange"`
		EndRange     string            `json:"endRange"`
		PricePerUnit map[string]string `json:"pricePerUnit"`
	} `json:"priceDimensions"`
}

func (c *catalogue) readProduct(in *stream, sku string) error {
	var d described
	if err := in.value(&d); err != nil {
		return err
	}
	p, err := c.of(sku)
	if err != nil {
		return err
	}
	return d.describe(p)
}

func (d described) describe(p *product) error {
	if d.SKU != p.sku || p.family != "" {
		return price.ErrList.Sayf("the offer has the product %s twice, or under another SKU", p.sku)
	}
	attributes := make(map[string]string, len(d.Attributes))
	for name, value := range d.Attributes {
		attributes[strings.ToLower(name)] = value
	}
	return p.describe(d.ProductFamily, func(name string) string { return attributes[name] })
}

func (c *catalogue) readTerms(in *stream, kind, sku string) error {
	p, err := c.of(sku)
	if err != nil {
		return err
	}
	return in.object(func(string) error {
		if kind != "OnDemand" {
			p.otherwise = true
			return in.skip()
		}
		var t term
		if err := in.value(&t); err != nil {
			return err
		}
		return t.charge(p)
	})
}

func (t term) charge(p *product) error {
	p.terms++
	for _, code := range slices.Sorted(maps.Keys(t.PriceDimensions)) {
		d := t.PriceDimensions[code]
		if err := p.charge(rate{unit: d.Unit, usd: d.PricePerUnit["USD"], begin: d.BeginRange, end: d.EndRange}); err != nil {
			return err
		}
	}
	return nil
}

// stream reads JSON a value at a time.
type stream struct {
	*json.Decoder
	bounds *jsonBounds
}

// object calls member for each member of an object, which reads the member's value.
func (s *stream) object(member func(name string) error) error {
	t, err := s.Token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return price.ErrList.Sayf("the offer file has something else than an object at byte %d", s.InputOffset())
	}
	for s.More() {
		t, err := s.Token()
		if err != nil {
			return err
		}
		if err := member(fmt.Sprint(t)); err != nil {
			return err
		}
	}
	_, err = s.Token()
	return err
}

// value reads the next value, which is not a large one.
func (s *stream) value(to any) error {
	s.bounds.left, s.bounds.counts = maxValue, true
	defer func() { s.bounds.counts = false }()
	return s.Decode(to)
}

// skip passes over the next value.
func (s *stream) skip() error {
	for depth := 0; ; {
		t, err := s.Token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// end makes sure that nothing follows.
func (s *stream) end() error {
	t, err := s.Token()
	if err == io.EOF { //nolint:errorlint // Token gives it as it is
		return nil
	}
	if err != nil {
		return err
	}
	return price.ErrList.Sayf("the offer file goes on after its end, with %.20q", fmt.Sprint(t))
}
