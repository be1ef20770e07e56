package price

import (
	_ "embed"
	"encoding/csv"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/money"
)

// ErrList says that a price list cannot be read, and where.
var ErrList = fault.New(fault.Invalid, "PRICE_LIST_INVALID", "that is not a price list that Forge can read",
	fault.Suggest("give an offer file of AmazonWorkSpaces from the AWS Price List, JSON or CSV, or a CSV of Forge's own; docs/prices.md has both"))

// DefaultSource says where the shipped prices come from.
const DefaultSource = "default: public AWS price list, listing of 2026-06; import the current one before relying on it"

//go:embed default.csv
var defaultCSV string

// Default is the shipped price book's lines (public SKUs of Amazon WorkSpaces, default volumes, licence included).
func Default() ([]Price, error) { return ReadCSV(strings.NewReader(defaultCSV)) }

var csvHeader = []string{"region", "compute_type", "operating_system", "license", "item", "unit", "amount", "sku"}

// CSVHeader is the first line of a price list of Forge's own.
func CSVHeader() string { return strings.Join(csvHeader, ",") }

// maxLines bounds a price list: several times what Amazon has for all regions.
const maxLines = 100_000

// ReadCSV reads price lines with the header region, compute_type, operating_system, license, item, unit, amount, sku.
// What is wrong is ErrList, naming the line.
func ReadCSV(r io.Reader) ([]Price, error) {
	in := csv.NewReader(r)
	in.ReuseRecord = true
	header, err := in.Read()
	if err != nil {
		return nil, badList(err)
	}
	if !slices.Equal(header, csvHeader) {
		return nil, ErrList.Sayf("the first line of a price list must be %s", CSVHeader())
	}
	var lines []Price
	seen := map[Key]bool{}
	for {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return nil, badList(err)
		}
		line, _ := in.FieldPos(0)
		for i := range row {
			row[i] = strings.Clone(row[i])
		}
		p := Price{Key: Key{row[0], row[1], row[2], row[3], Item(row[4])}, Unit: row[5], SKU: row[7]}
		if p.Amount, err = money.Parse(row[6]); err != nil {
			return nil, ErrList.Sayf("line %d of the price list: the amount is %v", line, err)
		}
		if why := p.Objection(); why != "" {
			return nil, ErrList.Sayf("line %d of the price list: %s", line, why)
		}
		if seen[p.Key] {
			return nil, ErrList.Sayf("line %d of the price list: this price is given twice", line)
		}
		if len(lines) == maxLines {
			return nil, ErrList.Sayf("the price list has more than %d lines", maxLines)
		}
		seen[p.Key] = true
		lines = append(lines, p)
	}
}

// badList is what the csv package finds fault with. It names the line; of what failed beneath it, it says nothing.
func badList(err error) error {
	if syntax, ok := errors.AsType[*csv.ParseError](err); ok {
		return ErrList.Sayf("line %d of the price list: %v", syntax.Line, syntax.Err)
	}
	if errors.Is(err, io.EOF) {
		return ErrList.Sayf("the price list is empty")
	}
	return err
}

// units says what each item is counted in.
var units = map[Item]string{
	AlwaysOnMonth: "month", AutoStopMonth: "month", AutoStopHour: "hour", RootGBMonth: "gb_month", UserGBMonth: "gb_month", TransferGB: "gb",
}

// Unit is what an item is counted in; nothing for what is no item.
func (i Item) Unit() string { return units[i] }

var (
	regionRule = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$`)
	wordRule   = regexp.MustCompile(`^[A-Z0-9_]{1,64}$`)
	skuRule    = regexp.MustCompile(`^[A-Za-z0-9._-]{0,64}$`)
)

// IsRegion tells whether a text has the form of an AWS Region's code.
func IsRegion(s string) bool { return len(s) <= 32 && regionRule.MatchString(s) }

// Objection says what keeps a line out of a book, or nothing. A price of nothing is a placeholder, not a price.
func (p Price) Objection() string {
	switch {
	case !IsRegion(p.Key.Region):
		return "the region must be one like us-east-1"
	case !wordRule.MatchString(p.Key.ComputeType), !wordRule.MatchString(p.Key.OperatingSystem), !wordRule.MatchString(p.Key.License):
		return "compute type, operating system and license are words like GRAPHICS_G4DN, WINDOWS and INCLUDED"
	case p.Key.Item.Unit() == "":
		return "the item is none of always_on_month, auto_stop_month, auto_stop_hour, root_gb_month, user_gb_month and transfer_gb"
	case p.Unit != p.Key.Item.Unit():
		return "the unit of " + string(p.Key.Item) + " is " + p.Key.Item.Unit()
	case p.Amount <= 0:
		return "a price is more than 0"
	case p.Amount > maxPrice:
		return "a price is at most " + maxPrice.String()
	case !skuRule.MatchString(p.SKU):
		return "an SKU has at most 64 letters, digits, dots, hyphens and underscores"
	}
	return ""
}

// maxPrice is far beyond any price there is, and so small that no month of any fleet overflows.
const maxPrice = 1_000_000 * money.Dollar
