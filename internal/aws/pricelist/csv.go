package pricelist

import (
	"encoding/csv"
	"errors"
	"io"
	"strings"
	"unicode"

	"github.com/robco-forge/forge/internal/price"
)

// metadata is how many rows come before the names of the columns.
const metadata = 5

// readCSV reads a CSV offer file: five rows about the file, the names of the columns, and a row for each price of each
// product.
func readCSV(r io.Reader, region string) (price.Offer, error) {
	in, c := csv.NewReader(r), newCatalogue()
	in.FieldsPerRecord, in.ReuseRecord = -1, true
	for range metadata {
		row, err := in.Read()
		if err != nil {
			return price.Offer{}, badCSV(err)
		}
		if len(row) != 2 {
			return price.Offer{}, price.ErrList.Sayf("a CSV offer file begins with %d rows of a name and a value", metadata)
		}
		value := strings.Clone(row[1])
		switch row[0] {
		case "Version":
			c.version = value
		case "Publication Date":
			c.published = value
		case "OfferCode":
			c.code = value
		}
	}
	if c.code != service {
		return price.Offer{}, price.ErrList.Sayf("the offer is of %q, not of %s", c.code, service)
	}
	row, err := in.Read()
	if err != nil {
		return price.Offer{}, badCSV(err)
	}
	columns := map[string]int{}
	for i, name := range row {
		columns[plain(name)] = i
	}
	for _, name := range []string{"sku", "offertermcode", "termtype", "unit", "priceperunit", "currency", "productfamily"} {
		if _, ok := columns[name]; !ok {
			return price.Offer{}, price.ErrList.Sayf("the CSV offer file has no column %s", name)
		}
	}
	width := len(row)
	terms := map[string]string{} // the on-demand term of each SKU
	for {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			return c.offer(region)
		}
		if err != nil {
			return price.Offer{}, badCSV(err)
		}
		if line, _ := in.FieldPos(0); len(row) != width {
			return price.Offer{}, price.ErrList.Sayf("line %d of the CSV offer file has %d columns, not %d", line, len(row), width)
		}
		if err := c.readRow(terms, func(name string) string {
			if i, ok := columns[name]; ok {
				return strings.Clone(row[i])
			}
			return ""
		}); err != nil {
			return price.Offer{}, err
		}
	}
}

// readRow reads the row of one price.
func (c *catalogue) readRow(terms map[string]string, value func(column string) string) error {
	p, err := c.of(value("sku"))
	if err != nil {
		return err
	}
	if p.family == "" {
		if err := p.describe(value("productfamily"), value); err != nil {
			return err
		}
	}
	if value("termtype") != "OnDemand" {
		p.otherwise = true
		return nil
	}
	if code := value("offertermcode"); p.terms == 0 || terms[p.sku] != code {
		p.terms++
		terms[p.sku] = code
	}
	r := rate{unit: value("unit"), begin: value("startingrange"), end: value("endingrange")}
	if value("currency") == "USD" {
		r.usd = value("priceperunit")
	}
	return p.charge(r)
}

// plain is a column's name without what differs between files: "Region Code" is regioncode, as in JSON.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)
}

func badCSV(err error) error {
	if syntax, ok := errors.AsType[*csv.ParseError](err); ok {
		return price.ErrList.Sayf("line %d of the CSV offer file: %v", syntax.Line, syntax.Err)
	}
	if errors.Is(err, io.EOF) {
		return price.ErrList.Sayf("the CSV offer file ends too early")
	}
	return err
}
