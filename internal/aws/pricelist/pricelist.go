// Package pricelist reads the prices of Amazon WorkSpaces from the AWS Price List: its offer files, and its API.
package pricelist

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/robco-forge/forge/internal/price"
)

// service is the code of Amazon WorkSpaces in the Price List. AmazonWorkSpacesInstances is WorkSpaces Core, another service.
const service = "AmazonWorkSpaces"

// Read reads a price list: an offer file, as JSON or as CSV, or a CSV of Forge's own. With a region it takes the prices of
// that region only. What is no price list is price.ErrList. It keeps as much in memory as there are products, not as there
// is of the file; how long that may be is the caller's to say.
func Read(r io.Reader, region string) (price.Offer, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	if mark, err := in.Peek(3); err == nil && bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, _ = in.Discard(len(mark)) // it is in the buffer
	}
	head, err := in.Peek(1 << 10)
	if err != nil && !errors.Is(err, io.EOF) {
		return price.Offer{}, err
	}
	if len(head) == 0 {
		return price.Offer{}, price.ErrList.Sayf("the price list is empty")
	}
	text := strings.TrimLeft(string(head), " \t\r\n")
	switch {
	case strings.HasPrefix(text, "{"):
		return readJSON(in, region)
	case strings.HasPrefix(text, `"FormatVersion"`), strings.HasPrefix(text, "FormatVersion"):
		return readCSV(&csvBounds{r: in}, region)
	case strings.HasPrefix(text, price.CSVHeader()):
		return readOwn(&csvBounds{r: in}, region)
	}
	return price.Offer{}, price.ErrList
}

// readOwn reads a CSV of Forge's own.
func readOwn(r io.Reader, region string) (price.Offer, error) {
	lines, err := price.ReadCSV(r)
	if err != nil {
		return price.Offer{}, err
	}
	o := price.Offer{Source: "a price list (CSV)", Products: len(lines)}
	others := price.Passed{Reason: otherRegion.text, Understood: true}
	for _, p := range lines {
		if region != "" && p.Key.Region != region {
			others.Count++
			continue
		}
		o.Lines = append(o.Lines, p)
	}
	if others.Count > 0 {
		o.Passed = []price.Passed{others}
	}
	return o, nil
}
