package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
)

func (e *env) pricesCommand() *cobra.Command {
	return parent(
		&cobra.Command{
			Use: "prices", Short: "What WorkSpaces cost, and since when",
			Long: `Prices are in books. A book takes effect at an instant and is never changed: a later one follows it.
What has been charged keeps the price that it was charged by.`,
			Example: "  forge prices list\n  forge prices show current --region us-east-1\n  forge prices break-even --bundle STANDARD --region us-east-1 --days-left 10",
		},
		e.pricesImportCommand(), e.pricesListCommand(), e.pricesShowCommand(), e.pricesDiffCommand(), e.pricesBreakEvenCommand(),
	)
}

// maxPriceList is the largest price list that the server takes, in bytes.
const maxPriceList = 64 << 20

func (e *env) pricesImportCommand() *cobra.Command {
	var region, from, source, rule string
	var aws, dry, alone, accept bool
	c := &cobra.Command{
		Use: "import FILE|--aws", Short: "Make a price book", Args: cobra.MaximumNArgs(1),
		Long: `Makes a price book of a file, or of Amazon's present prices of a region (--aws), which the server asks
for. A FILE is an offer file of AmazonWorkSpaces from the AWS Price List, as JSON or CSV, or a CSV of
Forge's own; - is the standard input.

An offer file replaces the fees and rates of its regions; a CSV of Forge's own only adds and changes
what it names. Everything else goes on from the book before, unless --alone. What is not understood
gives no price and is shown. It also shows which prices change, and whose monthly cost moves: an
estimate for the hours of the last 28 days. --dry-run shows all of it and changes nothing.

An import that would leave a live WorkSpace without a price is refused. Finance and admins only.`,
		Example: `  forge prices import offer.json --region us-east-1 --dry-run
  forge prices import --aws --region eu-west-1 --effective-from 2026-12-01
  forge prices import ours.csv --source "contract 2027" --effective-from 2027-01-01`,
	}
	f := c.Flags()
	f.BoolVar(&aws, "aws", false, "have the server ask Amazon; needs --region")
	f.StringVar(&region, "region", "", "only this region's prices, like us-east-1")
	f.StringVar(&from, "effective-from", "", "a day (UTC) or an instant from which it is in force (now)")
	f.BoolVar(&dry, "dry-run", false, "show what would come of it, and change nothing")
	f.StringVar(&source, "source", "", "what to add to the book's source")
	f.StringVar(&rule, "hour-rule", "", "what is billed as an hour: session_ceil, clock_hour or second (as in the book before)")
	f.BoolVar(&alone, "alone", false, "let nothing of the book before go on")
	f.BoolVar(&accept, "accept-unpriced", false, "allow live WorkSpaces to be left without a price")
	return e.remote(c, func(s *session, args []string) error {
		if aws == (len(args) == 1) {
			return UsageError{Err: errors.New("give either a file or --aws")}
		}
		if aws && region == "" {
			return UsageError{Err: errors.New("--aws needs --region")}
		}
		switch rule {
		case "", "session_ceil", "clock_hour", "second":
		default:
			return UsageError{Err: fmt.Errorf("--hour-rule is session_ceil, clock_hour or second, not %q", rule)}
		}
		at, err := day("--effective-from", from, time.UTC)
		if err != nil {
			return err
		}
		key := newKey()
		var raw []byte
		if aws {
			ask := client.PriceFetch{Region: region, EffectiveFrom: at, Source: given(source), Alone: &alone, AcceptUnpriced: &accept}
			if rule != "" {
				r := client.PriceFetchHourRule(rule)
				ask.HourRule = &r
			}
			r, err := s.api.ImportAwsPricesWithResponse(s.ctx, &client.ImportAwsPricesParams{DryRun: &dry, IdempotencyKey: &key}, ask)
			if err != nil {
				return err
			}
			raw = r.Body
		} else {
			list, err := s.readFile(args[0])
			if err != nil {
				return err
			}
			p := client.ImportPricesParams{
				DryRun: &dry, Region: given(region), EffectiveFrom: at, Source: given(source), Alone: &alone, AcceptUnpriced: &accept, IdempotencyKey: &key,
			}
			if rule != "" {
				r := client.ImportPricesParamsHourRule(rule)
				p.HourRule = &r
			}
			r, err := s.api.ImportPricesWithBodyWithResponse(s.ctx, &p, "application/octet-stream", bytes.NewReader(list))
			if err != nil {
				return err
			}
			raw = r.Body
		}
		done, err := decode[client.PriceImport](raw)
		if err != nil {
			return err
		}
		return s.emitImport(raw, done)
	})
}

// readFile reads a price list, which may be sent more than once and is therefore kept.
func (s *session) readFile(name string) ([]byte, error) {
	in := s.In
	if name != "-" {
		f, err := os.Open(name) //nolint:gosec // the user names it
		if err != nil {
			return nil, UsageError{Err: err}
		}
		defer f.Close() //nolint:errcheck // it was only read
		in = f
	}
	list, err := io.ReadAll(io.LimitReader(in, maxPriceList+1))
	if err != nil {
		return nil, fmt.Errorf("reading the price list: %w", err)
	}
	if len(list) > maxPriceList {
		return nil, hint{fmt.Errorf("the price list is larger than %d MiB", maxPriceList>>20), "take the offer file of one region"}
	}
	return list, nil
}

// emitImport shows what an import made. For people that is what changes, whose cost moves, and what was not understood; as
// CSV it is the prices that change.
func (s *session) emitImport(raw json.RawMessage, done client.PriceImport) error {
	t := changeTable(done.Changes)
	t.none = "No price changes.\n"
	t.foot = importFoot(done)
	t.none += t.foot
	return s.emit(raw, t)
}

func importFoot(done client.PriceImport) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if done.ChangesTruncated {
		line("%d prices change; the first %d are shown.", done.Changed, len(done.Changes))
	}
	line("%d products: %d prices of WorkSpaces, %d not understood. %d prices go on from the book before.", done.Products, done.Prices, done.NotUnderstood, done.Carried)
	for _, p := range done.Passed {
		if p.Understood {
			line("  %d passed over: %s", p.Count, printable(p.Reason))
			continue
		}
		line("  %d NOT UNDERSTOOD: %s", p.Count, printable(p.Reason))
		for i, product := range p.Products {
			if i == 10 {
				line("      and %d more (-o json names up to 500)", p.Count-int64(i))
				break
			}
			line("      %s  %s", printable(product.Sku), printable(product.Description))
		}
	}
	m := done.Moves
	line("A month of %d live WorkSpaces: %s -> %s USD (estimate: %s).", m.Workspaces, dollars(m.EstimatedBefore).display(), dollars(m.EstimatedAfter).display(), printable(m.Assumption))
	for _, team := range m.Teams {
		line("  team %s, %d WorkSpaces: %s -> %s USD", printable(team.Name), team.Workspaces, dollars(team.EstimatedBefore).display(), dollars(team.EstimatedAfter).display())
	}
	for i, w := range m.Items {
		if i == 20 {
			line("    and more (-o json names up to 200)")
			break
		}
		line("    %s %s: %s -> %s", printable(w.WorkspaceId), printable(w.Name), maybeDollars(w.EstimatedBefore), maybeDollars(w.EstimatedAfter))
	}
	if m.Lost > 0 {
		line("%d WorkSpaces would be left WITHOUT A PRICE.", m.Lost)
	}
	if m.Unknown > 0 {
		line("%d WorkSpaces have no price in either book.", m.Unknown)
	}
	book := fmt.Sprintf("from %s on, hours by %s", instant(done.Book.EffectiveFrom).show, done.Book.HourRule)
	switch {
	case text(done.WouldBeRefused) != "":
		line("Dry run: it would be refused: %s.", printable(text(done.WouldBeRefused)))
	case done.DryRun:
		line("Dry run: nothing was changed. It would be in force %s.", book)
	default:
		line("Price book %d is in force %s.", done.Book.Id, book)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func maybeDollars(m *client.Money) string {
	if m == nil {
		return "no price"
	}
	return dollars(*m).display()
}

func dollarsOf(m *client.Money) cell {
	if m == nil {
		return cell{}
	}
	return dollars(*m)
}

func changeTable(changes []client.PriceChange) *table {
	t := &table{head: []string{"REGION", "BUNDLE", "OS", "LICENSE", "ITEM", "BEFORE USD", "AFTER USD"}, none: "No differences."}
	for _, d := range changes {
		t.row(words(d.Region), words(d.BundleType), words(d.OperatingSystem), words(d.License), words(d.Item), dollarsOf(d.Before), dollarsOf(d.After))
	}
	return t
}

func (e *env) pricesListCommand() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: "list", Short: "Price books, the newest first",
		Long:    "Shows all price books: where they are from and since when they are in force.",
		Example: "  forge prices list\n  forge prices list -o json | jq '.[] | select(.in_force)'",
	}
	limitFlag(c, &limit)
	return e.remote(c, func(s *session, _ []string) error {
		found, err := fetch[client.PriceBook](limit, func(cursor *string, size *int64) ([]byte, error) {
			r, err := s.api.ListPriceBooksWithResponse(s.ctx, &client.ListPriceBooksParams{Cursor: cursor, Limit: size})
			if err != nil {
				return nil, err
			}
			return r.Body, nil
		})
		if err != nil {
			return err
		}
		t := &table{head: []string{"BOOK", "EFFECTIVE FROM", "IN FORCE", "PRICES", "HOURS", "IMPORTED", "SOURCE"}, none: "No price books."}
		for _, b := range found.items {
			t.row(count(b.Id), instant(b.EffectiveFrom), words(strconv.FormatBool(b.InForce)), count(b.Lines), words(string(b.HourRule)), instant(b.ImportedAt), words(b.Source))
		}
		return emitList(s, found, t)
	})
}

// which are the flags that narrow prices.
type which struct{ region, bundle, system, license string }

func (w *which) flags(c *cobra.Command) {
	c.Flags().StringVar(&w.region, "region", "", "only this region, like us-east-1")
	c.Flags().StringVar(&w.bundle, "bundle", "", "only this bundle type, like STANDARD")
	c.Flags().StringVar(&w.system, "operating-system", "", "only this operating system, like WINDOWS")
	c.Flags().StringVar(&w.license, "license", "", "only this license, INCLUDED or BYOL")
}

// upper is a word of Amazon's as it is written, or nothing.
func upper(s string) *string { return given(strings.ToUpper(s)) }

func (e *env) pricesShowCommand() *cobra.Command {
	var limit int
	var w which
	c := &cobra.Command{
		Use: "show BOOK", Short: "The prices of a book", Args: cobra.ExactArgs(1),
		Long: `Shows the prices of a book, by its number; "current" is the one in force. Monthly fees are for the volumes
that the bundle includes. As CSV it is what forge prices import takes.`,
		Example: "  forge prices show current --region us-east-1\n  forge prices show 3 -o csv > prices.csv",
	}
	w.flags(c)
	limitFlag(c, &limit)
	return e.remote(c, func(s *session, args []string) error {
		var last []byte
		found, err := fetch[client.Price](limit, func(cursor *string, size *int64) ([]byte, error) {
			r, err := s.api.GetPriceBookWithResponse(s.ctx, args[0], &client.GetPriceBookParams{
				Cursor: cursor, Limit: size, Region: given(w.region), BundleType: upper(w.bundle), OperatingSystem: upper(w.system), License: upper(w.license),
			})
			if err != nil {
				return nil, err
			}
			last = r.Body
			return r.Body, nil
		})
		if err != nil {
			return err
		}
		whole, err := decode[client.PriceLines](last)
		if err != nil {
			return err
		}
		t := &table{head: []string{"region", "compute_type", "operating_system", "license", "item", "unit", "amount", "sku"}}
		if s.format == "table" {
			t.head = []string{"REGION", "BUNDLE", "OS", "LICENSE", "ITEM", "UNIT", "USD", "SKU"}
		}
		for _, p := range found.items {
			t.row(words(p.Region), words(p.BundleType), words(p.OperatingSystem), words(p.License), words(p.Item), words(string(p.Unit)), dollars(p.Amount), wordsOf(p.Sku))
		}
		b := whole.Book
		t.foot = fmt.Sprintf("Price book %d, in force from %s on, hours by %s.\nSource: %s", b.Id, instant(b.EffectiveFrom).show, b.HourRule, printable(b.Source))
		t.none = "No prices.\n" + t.foot
		return emitList(s, found, t)
	})
}

func (e *env) pricesDiffCommand() *cobra.Command {
	var limit int
	var w which
	c := &cobra.Command{
		Use: "diff A [B]", Short: "What differs between two price books", Args: cobra.RangeArgs(1, 2),
		Long:    "Shows which prices are not the same in the books A and B, by their numbers. B is the one in force when left out.",
		Example: "  forge prices diff 1\n  forge prices diff 3 4 --region us-east-1",
	}
	w.flags(c)
	limitFlag(c, &limit)
	return e.remote(c, func(s *session, args []string) error {
		to := "current"
		if len(args) == 2 {
			to = args[1]
		}
		found, err := fetch[client.PriceChange](limit, func(cursor *string, size *int64) ([]byte, error) {
			r, err := s.api.DiffPriceBooksWithResponse(s.ctx, &client.DiffPriceBooksParams{
				From: args[0], To: &to, Cursor: cursor, Limit: size, Region: given(w.region), BundleType: upper(w.bundle), OperatingSystem: upper(w.system), License: upper(w.license),
			})
			if err != nil {
				return nil, err
			}
			return r.Body, nil
		})
		if err != nil {
			return err
		}
		return emitList(s, found, changeTable(found.items))
	})
}

func (e *env) pricesBreakEvenCommand() *cobra.Command {
	var w which
	var book string
	var days int64
	c := &cobra.Command{
		Use: "break-even", Short: "From how much use on ALWAYS_ON is cheaper than AUTO_STOP",
		Long: `Shows for each kind of WorkSpace from how many hours on ALWAYS_ON is cheaper, computed from the prices in
force and never a rule of thumb:

  A MONTH      hours of running in a whole month above which ALWAYS_ON is the cheaper mode
  REST         hours of running still to come this month above which it pays to switch from AUTO_STOP
               to ALWAYS_ON now: what the month has cost so far is paid either way

--days-left shows the rest as if so many days of this month were left. For a bundle and a region it is
Windows with its license included, unless said otherwise.`,
		Example: "  forge prices break-even --region us-east-1\n  forge prices break-even --bundle STANDARD --region us-east-1 --days-left 10",
	}
	w.flags(c)
	c.Flags().StringVar(&book, "book", "current", "the number of a price book")
	c.Flags().Int64Var(&days, "days-left", 0, "as if so many days of this month were left (as many as are)")
	return e.remote(c, func(s *session, _ []string) error {
		p := client.BreakEvenParams{Book: &book, Region: given(w.region), BundleType: upper(w.bundle), OperatingSystem: upper(w.system), License: upper(w.license)}
		if c.Flags().Changed("days-left") {
			if days < 1 || days > 31 {
				return UsageError{Err: errors.New("--days-left is 1 to 31")}
			}
			p.DaysLeft = &days
		}
		r, err := s.api.BreakEvenWithResponse(s.ctx, &p)
		if err != nil {
			return err
		}
		all, err := decode[client.BreakEvenList](r.Body)
		if err != nil {
			return err
		}
		t := &table{
			head: []string{"REGION", "BUNDLE", "OS", "LICENSE", "ALWAYS_ON USD", "AUTO_STOP USD", "HOUR USD", "A MONTH", "REST", "NO PRICE FOR"}, none: "No such prices.",
			foot: fmt.Sprintf("With %s of %d days left of the month. Price book %d: %s", tenths(all.SecondsLeft, 24*3600), all.DaysInMonth, all.Book.Id, printable(all.Book.Source)),
		}
		for _, b := range all.Items {
			t.row(words(b.Region), words(b.BundleType), words(b.OperatingSystem), words(b.License), dollarsOf(b.AlwaysOnMonth), dollarsOf(b.AutoStopMonth), dollarsOf(b.AutoStopHour),
				hours(b.MonthSeconds), hours(b.RestSeconds), words(strings.Join(b.Missing, " ")))
		}
		return s.emit(r.Body, t)
	})
}

// hours shows seconds as hours; a spreadsheet gets the hours to the second.
func hours(seconds *int64) cell {
	if seconds == nil {
		return cell{}
	}
	return cell{text: tenths(*seconds, int64(time.Hour/time.Second)), show: tenths(*seconds, int64(time.Hour/time.Second)) + " h", number: true}
}

// tenths is n in units, to one decimal, halves up.
func tenths(n, unit int64) string {
	t := (n*20 + unit) / (2 * unit)
	return fmt.Sprintf("%d.%d", t/10, t%10)
}
