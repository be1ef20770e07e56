package pricelist

import (
	"io"

	"github.com/robco-forge/forge/internal/price"
)

const (
	// maxRun bounds what a decoder must hold at once: a text, a number, blanks, a line of a CSV. Amazon's longest is its
	// disclaimer.
	maxRun = 64 << 10
	// maxDepth bounds how deep objects are within each other. Amazon's are 7 deep.
	maxDepth = 64
	// maxValue bounds one product, or its terms, in bytes, but for what the buffers have read ahead.
	maxValue = 1 << 20
)

// jsonBounds passes JSON on as long as no decoder can be made to hold more of it than it should.
type jsonBounds struct {
	r                io.Reader
	quoted, escaped  bool
	run, depth, left int
	counts           bool  // whether left does
	broken           error // a decoder that looks ahead asks again
}

func (b *jsonBounds) Read(p []byte) (int, error) {
	if b.broken != nil {
		return 0, b.broken
	}
	n, err := b.r.Read(p)
	if b.counts {
		if b.left -= n; b.left < 0 {
			b.broken = price.ErrList.Sayf("the offer file has a product of more than %d bytes", maxValue)
			return 0, b.broken
		}
	}
	for _, c := range p[:n] {
		b.run++
		switch {
		case b.escaped:
			b.escaped = false
		case b.quoted:
			b.escaped, b.quoted = c == '\\', c != '"'
		case c == '"':
			b.quoted, b.run = true, 0
		case c == '{', c == '[':
			b.depth, b.run = b.depth+1, 0
		case c == '}', c == ']':
			b.depth, b.run = b.depth-1, 0
		case c == ',', c == ':':
			b.run = 0
		}
		if b.run > maxRun || b.depth > maxDepth {
			b.broken = price.ErrList.Sayf("the offer file has a text of more than %d bytes, or is nested more than %d times", maxRun, maxDepth)
			return 0, b.broken
		}
	}
	return n, err
}

// csvBounds passes CSV on as long as its rows are lines, and short.
type csvBounds struct {
	r      io.Reader
	quoted bool
	run    int
}

func (b *csvBounds) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	for _, c := range p[:n] {
		b.run++
		switch c {
		case '"':
			b.quoted = !b.quoted
		case '\n':
			if b.quoted {
				return 0, price.ErrList.Sayf("the price list has a line that ends within a quotation")
			}
			b.run = 0
		}
		if b.run > maxRun {
			return 0, price.ErrList.Sayf("the price list has a line of more than %d bytes", maxRun)
		}
	}
	return n, err
}
