package cli

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"charm.land/lipgloss/v2"
	grid "charm.land/lipgloss/v2/table"
	"gopkg.in/yaml.v3"

	"github.com/robco-forge/forge/client"
)

var (
	styleBad  = lipgloss.NewStyle().Foreground(lipgloss.Red)
	styleGood = lipgloss.NewStyle().Foreground(lipgloss.Green)
	styleBusy = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	styleDim  = lipgloss.NewStyle().Faint(true)
	styleHead = lipgloss.NewStyle().Bold(true)
)

// paint colours a text, unless the user wants none. What is no terminal drops it later.
func paint(style lipgloss.Style, text string) string {
	if os.Getenv("NO_COLOR") != "" {
		return text
	}
	return style.Render(text)
}

// cell is one value: as it is, and how a person likes to see it.
type cell struct {
	text   string
	show   string // empty: the text
	number bool   // of us, not a text of somebody's
	style  *lipgloss.Style
}

// table is what people and spreadsheets get. One with pairs has two columns, of which the first says what the second is.
type table struct {
	head  []string
	rows  [][]cell
	pairs bool
	foot  string // for people
	none  string // for people, when there are no rows
}

func pairs() *table { return &table{head: []string{"FIELD", "VALUE"}, pairs: true} }

// pair adds a line, unless there is nothing to say.
func (t *table) pair(name string, value cell) {
	if value.text != "" {
		t.rows = append(t.rows, []cell{words(name), value})
	}
}

func (t *table) row(cells ...cell) { t.rows = append(t.rows, cells) }

func words(s string) cell { return cell{text: s} }

func wordsOf(s *string) cell {
	if s == nil {
		return cell{}
	}
	return words(*s)
}

func count(n int64) cell { return cell{text: strconv.FormatInt(n, 10), number: true} }

func percent(n int64) cell {
	return cell{text: strconv.FormatInt(n, 10), show: strconv.FormatInt(n, 10) + "%", number: true}
}

// dollars shows an amount exactly, without the zeros that say nothing.
func dollars(m client.Money) cell {
	show := m.Amount
	if whole, fraction, ok := strings.Cut(m.Amount, "."); ok {
		for len(fraction) > 2 && fraction[len(fraction)-1] == '0' {
			fraction = fraction[:len(fraction)-1]
		}
		show = whole + "." + fraction
	}
	return cell{text: m.Amount, show: show, number: isNumber(m.Amount)}
}

// isNumber tells whether a spreadsheet can make nothing but a number of a text.
func isNumber(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	return digits != "" && strings.Trim(digits, "0123456789.") == "" && strings.Count(digits, ".") <= 1
}

func instant(t time.Time) cell {
	if t.IsZero() {
		return cell{}
	}
	t = t.UTC()
	return cell{text: t.Format(time.RFC3339Nano), show: t.Format("2006-01-02 15:04:05Z")}
}

func instantOf(t *time.Time) cell {
	if t == nil {
		return cell{}
	}
	return instant(*t)
}

func state(s string) cell {
	c := words(s)
	switch client.WorkspaceState(s) {
	case "AVAILABLE":
		c.style = &styleGood
	case "FAILED", "CONFLICT", "IMPAIRED", "SUSPENDED":
		c.style = &styleBad
	case "STOPPED", "TERMINATED":
		c.style = &styleDim
	default:
		c.style = &styleBusy
	}
	return c
}

// emit prints an answer in the format that was asked for.
func (s *session) emit(raw json.RawMessage, t *table) error {
	switch s.format {
	case "json":
		return writeJSON(s.Out, raw)
	case "yaml":
		return writeYAML(s.Out, raw)
	case "csv":
		return writeCSV(s.Out, t)
	}
	if len(t.rows) == 0 && t.none != "" {
		s.note("%s", t.none)
		if t.foot == "" {
			return nil
		}
		_, err := fmt.Fprintln(s.Out, t.foot)
		return err
	}
	if s.outTTY {
		return writeGrid(s.Out, t)
	}
	return writePlain(s.Out, t)
}

// emitValue prints what is not an answer of the API's.
func (s *session) emitValue(v any, t *table) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.emit(raw, t)
}

func writeJSON(w io.Writer, raw json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	// Beyond ASCII there are control characters that JSON lets through and terminals obey. They can only be within
	// strings, where an escape means the same.
	var out strings.Builder
	for _, r := range b.String() {
		if r >= 0x7f && !visible(r) {
			for _, unit := range utf16Of(r) {
				fmt.Fprintf(&out, `\u%04x`, unit)
			}
			continue
		}
		out.WriteRune(r)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func utf16Of(r rune) []uint16 {
	if r < 0x10000 {
		return []uint16{uint16(r)}
	}
	r -= 0x10000
	return []uint16{uint16(0xd800 + r>>10), uint16(0xdc00 + r&0x3ff)}
}

func writeYAML(w io.Writer, raw json.RawMessage) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	node, err := yamlOf(d)
	if err != nil {
		return err
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	return errors.Join(e.Encode(node), e.Close())
}

// yamlOf reads one value and keeps the order of its fields.
func yamlOf(d *json.Decoder) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	scalar := func(tag, value string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value} }
	switch v := token.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		if v == '[' {
			n = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		}
		for d.More() {
			child, err := yamlOf(d) // a key is a value like any other
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		_, err := d.Token()
		return n, err
	case string:
		n := scalar("!!str", v)
		if printable(v) != v {
			n.Style = yaml.DoubleQuotedStyle
		}
		return n, nil
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return scalar("!!float", v.String()), nil
		}
		return scalar("!!int", v.String()), nil
	case bool:
		return scalar("!!bool", strconv.FormatBool(v)), nil
	}
	return scalar("!!null", "null"), nil
}

// writeCSV writes what a spreadsheet opens without running any of it.
func writeCSV(w io.Writer, t *table) error {
	c := csv.NewWriter(w)
	head := make([]string, len(t.head))
	for i, h := range t.head {
		head[i] = strings.ReplaceAll(strings.ToLower(h), " ", "_")
	}
	if err := c.Write(head); err != nil {
		return err
	}
	for _, row := range t.rows {
		record := make([]string, len(row))
		for i, cell := range row {
			record[i] = cell.text
			if !cell.number {
				record[i] = inert(cell.text)
			}
		}
		if err := c.Write(record); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// inert is a text that no spreadsheet takes for a formula.
func inert(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n|＝＋－＠", firstRune(s)) {
		return "'" + s
	}
	return s
}

func firstRune(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}

// display is what a person sees of a cell.
func (c cell) display() string {
	if c.show != "" {
		return printable(c.show)
	}
	if c.text == "" {
		return "-"
	}
	return printable(c.text)
}

func writePlain(w io.Writer, t *table) error {
	b := &bytes.Buffer{}
	tw := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	var lines []string
	if !t.pairs {
		lines = append(lines, strings.Join(t.head, "\t"))
	}
	for _, row := range t.rows {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = c.display()
		}
		if t.pairs {
			cells[0] += ":"
		}
		lines = append(lines, strings.Join(cells, "\t"))
	}
	if _, err := fmt.Fprintln(tw, strings.Join(lines, "\n")); err != nil {
		return err
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if t.foot != "" {
		fmt.Fprintf(b, "\n%s\n", t.foot)
	}
	_, err := b.WriteTo(w)
	return err
}

func writeGrid(w io.Writer, t *table) error {
	// Nothing is cut or wrapped to the width: ids are there to be copied.
	g := grid.New().Border(lipgloss.NormalBorder()).BorderStyle(plain(styleDim)).Wrap(false).
		BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).BorderColumn(false).BorderHeader(!t.pairs)
	if !t.pairs {
		g.Headers(t.head...)
	}
	for _, row := range t.rows {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = c.display()
		}
		g.Row(cells...)
	}
	g.StyleFunc(func(row, col int) lipgloss.Style {
		style := lipgloss.NewStyle()
		switch {
		case row == grid.HeaderRow:
			style = plain(styleHead)
		case t.pairs && col == 0:
			style = plain(styleDim)
		case row >= 0 && row < len(t.rows) && col < len(t.rows[row]):
			c := t.rows[row][col]
			if c.style != nil {
				style = plain(*c.style)
			}
			if c.number && !t.pairs {
				style = style.Align(lipgloss.Right)
			}
		}
		return style.PaddingRight(2)
	})
	text := g.Render()
	if t.foot != "" {
		text += "\n\n" + t.foot
	}
	_, err := lipgloss.Fprintln(w, text)
	return err
}

// plain is the style where colours are wanted.
func plain(style lipgloss.Style) lipgloss.Style {
	if os.Getenv("NO_COLOR") != "" {
		return lipgloss.NewStyle()
	}
	return style
}

// printable escapes what a terminal would obey instead of show, or show in another order.
func printable(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case visible(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}

// visible tells whether a rune only shows itself. Joiners within words and emoji do no harm.
func visible(r rune) bool {
	if r == '\u200c' || r == '\u200d' {
		return true
	}
	return !unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}
