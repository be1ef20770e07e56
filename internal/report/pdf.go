package report

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"strings"
	"unicode"

	"codeberg.org/go-pdf/fpdf"

	"github.com/robco-forge/forge/internal/money"
)

//go:embed fonts/DejaVuSansCondensed.ttf
var regular []byte

//go:embed fonts/DejaVuSansCondensed-Bold.ttf
var bold []byte

// What a printed report has at most; whatever is left out is said in it, and is in every other format.
const (
	printedGroups = 200 // of each dimension
	printedLines  = 100 // the dearest WorkSpaces
	printedBars   = 12
)

// The page is A4 across; lengths are in millimetres.
const (
	margin    = 15
	width     = 297 - 2*margin
	bottom    = 210 - 18
	rowHeight = 6
	nameWidth = 85
	cellWidth = 26
	barWidth  = 140
)

// page is a report being printed.
type page struct {
	*fpdf.Fpdf
	cents bool // every amount is in whole cents
}

// writePDF prints the report. The same report is the same bytes in one release of Forge.
func (r *Report) writePDF(ctx context.Context, w io.Writer, by string) error {
	p := &page{fpdf.New("L", "mm", "A4", ""), true}
	var dearest []Line
	if wanted(by, Workspaces) {
		if err := r.lines(ctx, true, printedLines+1, func(l *Line) error { dearest = append(dearest, *l); return nil }); err != nil {
			return err
		}
	}
	for _, groups := range r.Groups { // every line is in one, and their amounts are whole only if the lines' are
		for _, g := range groups {
			p.cents = p.cents && g.cents()
		}
	}
	for i := range dearest {
		p.cents = p.cents && dearest[i].cents()
	}
	p.AddUTF8FontFromBytes("sans", "", regular)
	p.AddUTF8FontFromBytes("sans", "B", bold)
	p.SetCatalogSort(true)
	p.SetCreationDate(r.AsOf)
	p.SetModificationDate(r.AsOf)
	p.SetProducer("RobCo Forge", true)
	p.SetTitle("WorkSpace costs of "+r.Month.Format("January 2006"), true)
	p.SetMargins(margin, margin, margin)
	p.SetAutoPageBreak(false, 0)
	p.AliasNbPages("{pages}")
	p.SetFooterFunc(func() {
		p.SetXY(margin, bottom+5)
		p.font("", 7, 110)
		left := "Provisional: the month is open and its figures still change. As of " + stamp(r.AsOf)
		if r.closed {
			left = "Closed " + stamp(r.AsOf)
			if r.Hash != nil {
				left += fmt.Sprintf(". SHA-256 of the whole report as JSON: %x", r.Hash)
			}
		}
		p.CellFormat(width-30, 4, left, "", 0, "L", false, 0, "")
		p.CellFormat(30, 4, fmt.Sprintf("Page %d of {pages}", p.PageNo()), "", 0, "R", false, 0, "")
	})
	p.AddPage()
	p.summary(r)
	if wanted(by, "team") {
		p.chart(r.Groups["team"])
	}
	for _, dimension := range Dimensions {
		if wanted(by, dimension) {
			p.groups(dimension, r.Groups[dimension], r.Total)
		}
	}
	if wanted(by, Workspaces) {
		p.workspaces(dearest)
	}
	return p.Output(w)
}

func (p Parts) cents() bool {
	all := []money.USD{p.Fee, p.Running, p.Storage, p.Corrections, p.Earlier, p.Total}
	if p.Transfer != nil {
		all = append(all, *p.Transfer)
	}
	for _, u := range all {
		if u%(money.Dollar/100) != 0 {
			return false
		}
	}
	return true
}

func (p *page) font(style string, points, grey int) {
	p.SetFont("sans", style, float64(points)) // not money: the size of a font
	p.SetTextColor(grey, grey, grey)
}

// summary is the head of the first page.
func (p *page) summary(r *Report) {
	p.font("B", 18, 20)
	p.CellFormat(width, 10, "WorkSpace costs of "+r.Month.Format("January 2006"), "", 1, "L", false, 0, "")
	p.font("", 9, 80)
	whose := "the whole organisation"
	switch {
	case r.Scope.Team != "":
		whose = "one team"
		if groups := r.Groups["team"]; len(groups) == 1 {
			whose = "the team " + printable(groups[0].label("team"))
		}
	case r.Scope.User != "":
		whose = "one person, " + string(r.Scope.User)
	}
	p.CellFormat(width, 5, p.fit(fmt.Sprintf("Of %s (%s). The month is that of UTC. Settled costs only, %d records, in USD.", whose, r.Organisation, r.Records), width), "", 1, "L", false, 0, "")
	if r.Total.Transfer == nil {
		p.CellFormat(width, 5, "Data transfer is not metered: Amazon bills it, and it is in no figure here.", "", 1, "L", false, 0, "")
	}
	p.Ln(3)
	for _, f := range []struct {
		name   string
		amount money.USD
	}{
		{"Total", r.Total.Total},
		{"Monthly fees", r.Total.Fee},
		{"Hours", r.Total.Running},
		{"Volumes", r.Total.Storage},
		{"Corrections", r.Total.Corrections},
		{"Earlier months", r.Total.Earlier},
	} {
		x, y := p.GetXY()
		p.font("", 8, 110)
		p.CellFormat(44, 4, f.name, "", 2, "L", false, 0, "")
		style := ""
		if f.name == "Total" {
			style = "B"
		}
		p.font(style, 12, 20)
		p.CellFormat(44, 7, p.amount(f.amount), "", 0, "L", false, 0, "")
		p.SetXY(x+44, y)
	}
	p.SetXY(margin, p.GetY()+15)
}

// chart draws a bar for each of the dearest teams, and says what all others cost together.
func (p *page) chart(teams []Group) {
	if len(teams) == 0 {
		return
	}
	var rest money.USD
	for _, g := range teams[min(len(teams), printedBars):] {
		rest += g.Parts.Total
	}
	longest := teams[0].Parts.Total
	p.heading("Cost by team")
	for _, g := range teams[:min(len(teams), printedBars)] {
		x, y := p.GetXY()
		p.font("", 9, 20)
		p.CellFormat(nameWidth, rowHeight, p.fit(printable(g.label("team")), nameWidth-3), "", 0, "L", false, 0, "")
		// In tenths of a millimetre; what is negative has no bar.
		tenths := int64(0)
		if longest > 0 && g.Parts.Total > 0 {
			tenths = max(1, int64(money.USD(barWidth*10).Share(int64(g.Parts.Total), int64(longest))))
		}
		long := float64(tenths) / 10 // not money: millimetres
		p.SetFillColor(43, 108, 176)
		p.Rect(x+nameWidth, y+1, long, rowHeight-2, "F")
		p.SetXY(x+nameWidth+long+2, y)
		p.CellFormat(40, rowHeight, p.amount(g.Parts.Total), "", 0, "L", false, 0, "")
		p.SetXY(margin, y+rowHeight)
	}
	if more := len(teams) - printedBars; more > 0 {
		p.font("", 9, 110)
		p.CellFormat(nameWidth, rowHeight, fmt.Sprintf("%d other teams together", more), "", 0, "L", false, 0, "")
		p.CellFormat(barWidth, rowHeight, p.amount(rest), "", 1, "L", false, 0, "")
	}
	p.Ln(4)
}

func (p *page) heading(text string) {
	p.room(10 + 3*rowHeight)
	p.font("B", 12, 20)
	p.CellFormat(width, 10, text, "", 1, "L", false, 0, "")
}

// room begins another page unless so much is left of this one.
func (p *page) room(height int) {
	if int(p.GetY())+height > bottom {
		p.AddPage()
	}
}

var titles = map[string]string{"team": "Teams", "project": "Projects", "cost_centre": "Cost centres", "bundle": "Bundle types"}

func (p *page) groups(dimension string, groups []Group, total Parts) {
	p.heading(titles[dimension])
	head := func() { p.head(strings.TrimSuffix(titles[dimension], "s")) }
	head()
	var rest Parts
	for i, g := range groups {
		if i >= printedGroups {
			rest.add(g.Parts)
			continue
		}
		p.row(head, printable(g.label(dimension)), g.Parts, "")
	}
	if more := len(groups) - printedGroups; more > 0 {
		p.row(head, fmt.Sprintf("%d more, which the CSV has", more), rest, "")
	}
	p.row(head, "Total", total, "B")
	p.Ln(4)
}

func (p *Parts) add(b Parts) {
	p.Fee, p.Running, p.Storage = p.Fee+b.Fee, p.Running+b.Running, p.Storage+b.Storage
	p.Corrections, p.Earlier, p.Total = p.Corrections+b.Corrections, p.Earlier+b.Earlier, p.Total+b.Total
	if b.Transfer != nil {
		sum := *b.Transfer
		if p.Transfer != nil {
			sum += *p.Transfer
		}
		p.Transfer = &sum
	}
}

func (p *page) workspaces(dearest []Line) {
	title, more := "WorkSpaces", len(dearest) > printedLines
	if more {
		dearest, title = dearest[:printedLines], fmt.Sprintf("The %d dearest WorkSpaces", printedLines)
	}
	p.heading(title)
	head := func() { p.head("WorkSpace, team, bundle type") }
	head()
	for _, l := range dearest {
		name := l.Name
		if name == "" {
			name = l.WorkspaceID
		}
		if name = printable(name); strings.ContainsRune(name, box) {
			name += " " + l.WorkspaceID
		}
		p.row(head, name+" · "+printable(l.Team)+" · "+printable(l.BundleType), l.Parts, "")
	}
	if more {
		p.font("", 8, 110)
		p.CellFormat(width, rowHeight, "The others are in the other formats of this report.", "", 1, "L", false, 0, "")
	}
}

func (p *page) head(name string) {
	p.font("B", 8, 60)
	p.SetFillColor(232, 236, 241)
	p.CellFormat(nameWidth, rowHeight, name, "", 0, "L", true, 0, "")
	for i, text := range []string{"Monthly fees", "Hours", "Volumes", "Data transfer", "Corrections", "Earlier months", "Total"} {
		next := 0
		if i == 6 {
			next = 1
		}
		p.CellFormat(cellWidth, rowHeight, text, "", next, "R", true, 0, "")
	}
}

func (p *page) row(head func(), name string, c Parts, style string) {
	if int(p.GetY())+rowHeight > bottom {
		p.AddPage()
		head()
	}
	p.font(style, 8, 20)
	p.SetDrawColor(215, 220, 226)
	p.CellFormat(nameWidth, rowHeight, p.fit(name, nameWidth-3), "B", 0, "L", false, 0, "")
	transfer := "not metered"
	if c.Transfer != nil {
		transfer = p.amount(*c.Transfer)
	}
	for i, text := range []string{p.amount(c.Fee), p.amount(c.Running), p.amount(c.Storage), transfer, p.amount(c.Corrections), p.amount(c.Earlier), p.amount(c.Total)} {
		next := 0
		if i == 6 {
			next = 1
		}
		for points := 8; points > 4; points-- { // as large as it fits
			p.font(style, points, 20)
			if p.fit(text, cellWidth-2) == text {
				break
			}
		}
		p.CellFormat(cellWidth, rowHeight, text, "B", next, "R", false, 0, "")
	}
}

// amount is an amount as people read it: with cents if all of the report are whole, with all six decimals otherwise.
func (p *page) amount(u money.USD) string {
	whole, frac, _ := strings.Cut(u.String(), ".")
	digits, minus := strings.CutPrefix(whole, "-")
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	if p.cents {
		frac = frac[:2]
	}
	if minus {
		digits = "−" + digits
	}
	return digits + "." + frac
}

// fit is as much of a text as is not wider than so many millimetres.
func (p *page) fit(text string, most int) string {
	fits := func(s string) bool { return int(p.GetStringWidth(s)*100) <= most*100 }
	if fits(text) {
		return text
	}
	runes := []rune(text)
	low, high := 0, len(runes)
	for low < high {
		mid := (low + high + 1) / 2
		if fits(string(runes[:mid]) + "…") {
			low = mid
		} else {
			high = mid - 1
		}
	}
	return string(runes[:low]) + "…"
}

// box stands for a letter that is not printed.
const box = '□'

// printable is a text in the letters that the font has and that are set one after the other: Latin, Greek and Cyrillic. Any
// other is a box. The other formats have it as it is.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c <= unicode.MaxASCII && unicode.IsPrint(c), c >= 0xa0 && c < 0x250, c >= 0x370 && c < 0x530 && unicode.IsLetter(c):
			return c
		case c >= 0x2010 && c <= 0x2027, c == '€', c == '−':
			return c
		case unicode.IsSpace(c):
			return ' '
		case unicode.Is(unicode.Mn, c), unicode.Is(unicode.Cf, c):
			return -1 // it has no width of its own
		}
		return box
	}, text)
}

func stamp(t interface{ Format(layout string) string }) string {
	return t.Format("2006-01-02 15:04:05Z")
}
