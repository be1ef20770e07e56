package cost_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
	"github.com/robco-forge/forge/internal/price"
)

// list is an offer of a CSV of Forge's own.
func list(t testing.TB, lines ...string) price.Offer {
	t.Helper()
	all, err := price.ReadCSV(strings.NewReader(price.CSVHeader() + "\n" + strings.Join(lines, "\n") + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return price.Offer{Source: "test", Lines: all, Products: len(all)}
}

const dearer = "us-east-1,STANDARD,WINDOWS,INCLUDED,auto_stop_hour,hour,0.36,NEW"

func (r *room) importAs(ctx context.Context, who actor.Actor, in cost.Import) (made cost.Imported, err error) {
	err = r.log.Change(actor.With(ctx, who), audit.Intent{Action: string(policy.PriceImport), ResourceType: "price_book"}, func(tx *audit.Tx) error {
		made, err = cost.ImportOffer(ctx, tx, in)
		return err
	})
	return made, err
}

func (r *room) hourly(t *testing.T, when string) string {
	t.Helper()
	b, err := cost.BookAt(t.Context(), r.Pool, at(when))
	if err != nil {
		t.Fatal(err)
	}
	rates, err := b.RatesOf(pgtest.Spec(price.AutoStop))
	if err != nil {
		t.Fatal(err)
	}
	return rates.Hour.Amount.String()
}

func TestABookIsInForceFromItsInstantOn(t *testing.T) {
	r := setUp(t, at("2026-11-10 12:00"), price.ClockHour)
	made, err := r.importAs(t.Context(), r.org.Actor(0, actor.Finance), cost.Import{Offer: list(t, dearer), Source: "contract", From: at("2026-12-01 00:00")})
	if err != nil {
		t.Fatal(err)
	}
	// Everything else goes on, and so does what an hour is.
	if made.Carried != 19 || len(made.Book.Lines()) != 20 || made.Book.HourRule != price.ClockHour || made.Before.ID != r.org.Book || made.Book.Source != "test: contract" {
		t.Errorf("made %+v with %d prices, %d carried", made.Book, len(made.Book.Lines()), made.Carried)
	}
	for when, want := range map[string]string{"2026-11-10 12:00": "0.300000", "2026-11-30 23:59": "0.300000", "2026-12-01 00:00": "0.360000", "2027-06-01 00:00": "0.360000"} {
		if got := r.hourly(t, when); got != want {
			t.Errorf("an hour at %s costs %s, want %s", when, got, want)
		}
	}
	// One for an earlier instant does not outlast it.
	cheaper := strings.Replace(dearer, "0.36", "0.28", 1)
	if _, err := r.importAs(t.Context(), r.org.Actor(0, actor.Admin), cost.Import{Offer: list(t, cheaper), Rule: price.Second}); err != nil {
		t.Fatal(err)
	}
	for when, want := range map[string]string{"2026-11-10 12:00": "0.280000", "2026-12-01 00:00": "0.360000"} {
		if got := r.hourly(t, when); got != want {
			t.Errorf("after the second import an hour at %s costs %s, want %s", when, got, want)
		}
	}
	books, err := cost.Books(t.Context(), r.Pool, at("2026-11-10 12:00"), 0, 10)
	if err != nil || len(books) != 3 {
		t.Fatalf("%d books: %v", len(books), err)
	}
	if b := books[0]; !b.InForce || b.HourRule != price.Second || b.Lines != 20 || books[1].InForce || books[2].InForce || !books[1].EffectiveFrom.Equal(at("2026-12-01 00:00")) {
		t.Errorf("the books are %+v", books)
	}
	if rest, err := cost.Books(t.Context(), r.Pool, at("2026-12-01 00:00"), books[0].ID, 1); err != nil || len(rest) != 1 || rest[0].ID != books[1].ID || !rest[0].InForce {
		t.Errorf("behind the first: %+v, %v", rest, err)
	}
}

func TestWhoMayImportPricesAndThatItIsOnRecord(t *testing.T) {
	r := setUp(t, at("2026-11-10 12:00"), price.SessionCeil)
	for _, role := range actor.Roles() {
		_, err := r.importAs(t.Context(), r.org.Actor(0, role), cost.Import{Offer: list(t, dearer), Digest: "abc"})
		if may := role == actor.Finance || role == actor.Admin; may != (err == nil) || !may && !errors.Is(err, policy.ErrForbidden) {
			t.Errorf("%s: %v", role, err)
		}
	}
	if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM price_books`); n != 3 {
		t.Errorf("there are %d books", n)
	}
	if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM audit_logs WHERE action_type = 'price_book.import' AND result = 'success'`); n != 2 {
		t.Errorf("%d imports are on record", n)
	}
	if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM audit_logs WHERE action_type = 'price.import' AND result = 'refused' AND code = 'FORBIDDEN'`); n != 4 {
		t.Errorf("%d refusals are on record", n)
	}
}

func TestWhatCannotBecomeABookIsRefused(t *testing.T) {
	r := setUp(t, at("2026-11-10 12:00"), price.SessionCeil)
	broken := list(t, dearer)
	broken.Lines[0].Amount = 0
	for name, c := range map[string]struct {
		in   cost.Import
		want *fault.Fault
	}{
		"nothing":          {cost.Import{Offer: price.Offer{Products: 7}}, price.ErrList},
		"no price":         {cost.Import{Offer: broken}, price.ErrList},
		"in the past":      {cost.Import{Offer: list(t, dearer), From: at("2026-11-10 11:59")}, cost.ErrEffective},
		"in a dozen years": {cost.Import{Offer: list(t, dearer), From: at("2038-11-10 12:00")}, cost.ErrEffective},
	} {
		if _, err := r.importAs(t.Context(), r.org.Actor(0, actor.Admin), c.in); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := pgtest.Value[int](t, r.DB, `SELECT count(*) FROM price_books`); n != 1 {
		t.Errorf("there are %d books", n)
	}
	for _, name := range []string{"", "0", "-1", "7", "latest", "99999999999999999999"} {
		if _, err := cost.FindBook(t.Context(), r.Pool, name, at("2026-11-10 12:00")); !errors.Is(err, cost.ErrNoSuchBook) {
			t.Errorf("the book %q: %v", name, err)
		}
	}
	if b, err := cost.FindBook(t.Context(), r.Pool, "current", at("2026-11-10 12:00")); err != nil || b.ID != r.org.Book {
		t.Errorf("the current book: %v", err)
	}
}

func TestTheApplicationCannotChangeABook(t *testing.T) {
	r := setUp(t, at("2026-11-10 12:00"), price.SessionCeil)
	for _, sql := range []string{
		`UPDATE prices SET amount_micros = 1`, `DELETE FROM prices`, `UPDATE price_books SET effective_from = now()`, `DELETE FROM price_books`,
	} {
		if _, err := r.Pool.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// Each import goes on from the one before: none of many at once is lost.
func TestImportsAtOnceBuildOnEachOther(t *testing.T) {
	r := setUp(t, at("2026-11-10 12:00"), price.SessionCeil)
	const n = 8
	var offers [n]price.Offer
	for i := range offers {
		offers[i] = list(t, fmt.Sprintf("ap-south-%d,STANDARD,WINDOWS,INCLUDED,always_on_month,month,%d,", i+1, 30+i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for i := range offers {
		wg.Go(func() {
			if _, err := r.importAs(ctx, r.org.Actor(0, actor.Finance), cost.Import{Offer: offers[i]}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	b, err := cost.BookAt(t.Context(), r.Pool, at("2026-11-10 12:00"))
	if err != nil || len(b.Lines()) != 20+n {
		t.Errorf("the last book has %d prices: %v", len(b.Lines()), err)
	}
}
