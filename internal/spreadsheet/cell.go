// Package spreadsheet keeps what people wrote from being run by the program that opens an export.
package spreadsheet

import (
	"regexp"
	"slices"
)

var number = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)

// Cell is a text as a cell that no spreadsheet takes for a formula: one that begins like a formula gets an apostrophe in
// front, unless it is a number.
func Cell(text string) string {
	if text == "" || number.MatchString(text) {
		return text
	}
	first := []rune(text)[0]
	if slices.Contains([]rune("=+-@\t\r\n＝＋－＠"), first) {
		return "'" + text
	}
	return text
}
