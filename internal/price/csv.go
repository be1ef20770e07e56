package price

import (
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/robco-forge/forge/internal/money"
)

// DefaultSource says where the shipped prices come from.
const DefaultSource = "default: public AWS price list, listing of 2026-06; import the current one before relying on it"

//go:embed default.csv
var defaultCSV string

// Default is the shipped price book's lines (public SKUs of Amazon WorkSpaces, default volumes, licence included).
func Default() ([]Price, error) { return ReadCSV(strings.NewReader(defaultCSV)) }

var csvHeader = []string{"region", "compute_type", "operating_system", "license", "item", "unit", "amount", "sku"}

// ReadCSV reads price lines with the header region, compute_type, operating_system, license, item, unit, amount, sku.
// Errors name the line.
func ReadCSV(r io.Reader) ([]Price, error) {
	in := csv.NewReader(r)
	header, err := in.Read()
	if err != nil {
		return nil, fmt.Errorf("price list: %w", err)
	}
	if !slices.Equal(header, csvHeader) {
		return nil, fmt.Errorf("price list: the first line must be %s", strings.Join(csvHeader, ","))
	}
	var lines []Price
	seen := map[Key]bool{}
	for {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return nil, fmt.Errorf("price list: %w", err)
		}
		line, _ := in.FieldPos(0)
		p := Price{Key: Key{row[0], row[1], row[2], row[3], Item(row[4])}, Unit: row[5], SKU: row[7]}
		if p.Amount, err = money.Parse(row[6]); err != nil {
			return nil, fmt.Errorf("price list, line %d: %w", line, err)
		}
		if seen[p.Key] {
			return nil, fmt.Errorf("price list, line %d: this price is given twice", line)
		}
		seen[p.Key] = true
		lines = append(lines, p)
	}
}
