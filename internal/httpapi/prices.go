package httpapi

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/cost"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/price"
	"github.com/robco-forge/forge/internal/workspace"
)

const (
	booksPath = "/prices/books"
	// maxPriceList is the largest price list that may be uploaded, in bytes: some times an offer file of all regions.
	maxPriceList = 64 << 20
	// mostChanges is how many prices that change an import names; it counts all.
	mostChanges = 500
)

var errDaysLeft = fault.New(fault.Invalid, "DAYS_LEFT_INVALID", "the month does not have as many days, or both at and days_left are given",
	fault.Suggest("give days_left from 1 to the days of this month, or at"))

// maxBodyOf is the largest body of a request, in bytes.
func maxBodyOf(r *http.Request) int64 {
	if r.Method == http.MethodPost && r.URL.Path == "/api/v1"+booksPath {
		return maxPriceList
	}
	return maxBody
}

func (s *Server) priceRoutes() {
	const tag = "Prices"
	route(s, http.MethodGet, booksPath, "list-price-books", "Price books, the newest first", tag, http.StatusOK, s.listBooks)
	route(s, http.MethodGet, booksPath+"/{book}", "get-price-book", "The prices of a book", tag, http.StatusOK, s.getBook)
	route(s, http.MethodGet, "/prices/diff", "diff-price-books", "What differs between two price books", tag, http.StatusOK, s.diffBooks)
	route(s, http.MethodGet, "/prices/break-even", "break-even", "From how much use on ALWAYS_ON is cheaper", tag, http.StatusOK, s.breakEven)
	route(s, http.MethodPost, booksPath+"/aws", "import-aws-prices", "Make a price book of Amazon's present prices", tag, http.StatusCreated, s.importAWSPrices)
	route(s, http.MethodPost, booksPath, "import-prices", "Make a price book of a price list", tag, http.StatusCreated, s.importPrices, func(op *huma.Operation) {
		text := &huma.Schema{Type: huma.TypeString, Format: "binary", Description: "An offer file of AmazonWorkSpaces from the AWS Price List, as JSON or CSV, or a CSV of Forge's own; at most 64 MiB"}
		op.MaxBodyBytes = maxPriceList
		op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/octet-stream": {Schema: text}, "text/csv": {Schema: text}}}
	})
}

func (s *Server) mayReadPrices(ctx context.Context) error {
	if policy.ReachOf(actor.From(ctx), policy.PriceRead) == policy.None {
		return s.refused(ctx, policy.PriceRead)
	}
	return nil
}

func bookInfoView(b cost.BookInfo) api.PriceBook {
	return api.PriceBook{
		ID: b.ID, Source: b.Source, HourRule: string(b.HourRule), EffectiveFrom: b.EffectiveFrom.UTC(), ImportedAt: b.ImportedAt.UTC(), Lines: b.Lines, InForce: b.InForce,
	}
}

// bookView is what there is to say of a book.
func (s *Server) bookView(ctx context.Context, b *price.Book) (api.PriceBook, error) {
	info, err := cost.AboutBook(ctx, s.audit.Pool(), b.ID, s.audit.Clock()())
	return bookInfoView(info), err
}

func keyView(k price.Key) api.PriceKey {
	return api.PriceKey{Region: k.Region, BundleType: k.ComputeType, OperatingSystem: k.OperatingSystem, License: k.License, Item: string(k.Item)}
}

// usdOf is an amount that may be unknown.
func usdOf(p *price.Price) *api.Money {
	if p == nil {
		return nil
	}
	m := usd(p.Amount)
	return &m
}

func priceChangeView(d price.Difference) api.PriceChange {
	return api.PriceChange{PriceKey: keyView(d.Key), Before: usdOf(d.Before), After: usdOf(d.After)}
}

func (s *Server) listBooks(ctx context.Context, in *struct{ Page }) (*struct{ Body api.PriceBookList }, error) {
	after, err := in.after("price-books")
	if err != nil {
		return nil, err
	}
	var behind int64
	if after != "" {
		if behind, err = strconv.ParseInt(after, 10, 64); err != nil {
			return nil, errCursor
		}
	}
	if err := s.mayReadPrices(ctx); err != nil {
		return nil, err
	}
	found, err := cost.Books(ctx, s.audit.Pool(), s.audit.Clock()(), behind, in.Limit+1)
	if err != nil {
		return nil, err
	}
	found, next := cut(found, in.Limit, "price-books", func(b cost.BookInfo) string { return strconv.FormatInt(b.ID, 10) })
	return &struct{ Body api.PriceBookList }{api.PriceBookList{Items: mapped(found, bookInfoView), NextCursor: next}}, nil
}

// PriceFilter narrows prices.
type PriceFilter struct {
	Region          string `query:"region" maxLength:"64"`
	BundleType      string `query:"bundle_type" maxLength:"64"`
	OperatingSystem string `query:"operating_system" maxLength:"64"`
	License         string `query:"license" maxLength:"64"`
}

func (f PriceFilter) takes(k price.Key) bool {
	return (f.Region == "" || f.Region == k.Region) && (f.BundleType == "" || f.BundleType == k.ComputeType) &&
		(f.OperatingSystem == "" || f.OperatingSystem == k.OperatingSystem) && (f.License == "" || f.License == k.License)
}

// BookPath is the address of a price book.
type BookPath struct {
	Book string `path:"book" maxLength:"20" doc:"Its id, or current"`
}

func (s *Server) getBook(ctx context.Context, in *struct {
	BookPath
	PriceFilter
	Page
},
) (*struct{ Body api.PriceLines }, error) {
	b, err := s.book(ctx, in.Book)
	if err != nil {
		return nil, err
	}
	view, err := s.bookView(ctx, b)
	if err != nil {
		return nil, err
	}
	lines := slices.DeleteFunc(b.Lines(), func(p price.Price) bool { return !in.takes(p.Key) })
	lines, next, err := pageOf(in.Page, "prices-"+strconv.FormatInt(b.ID, 10), lines)
	if err != nil {
		return nil, err
	}
	return &struct{ Body api.PriceLines }{api.PriceLines{Book: view, NextCursor: next, Items: mapped(lines, func(p price.Price) api.Price {
		return api.Price{PriceKey: keyView(p.Key), Unit: p.Unit, Amount: usd(p.Amount), SKU: p.SKU}
	})}}, nil
}

// book finds a price book for who may read prices.
func (s *Server) book(ctx context.Context, name string) (*price.Book, error) {
	if err := s.mayReadPrices(ctx); err != nil {
		return nil, err
	}
	return cost.FindBook(ctx, s.audit.Pool(), name, s.audit.Clock()())
}

// pageOf cuts a page out of a list that does not change.
func pageOf[T any](p Page, list string, all []T) ([]T, string, error) {
	after, err := p.after(list)
	if err != nil {
		return nil, "", err
	}
	at := 0
	if after != "" {
		if at, err = strconv.Atoi(after); err != nil || at < 0 || at > len(all) {
			return nil, "", errCursor
		}
	}
	end := min(at+p.Limit, len(all))
	if end == len(all) {
		return all[at:], "", nil
	}
	return all[at:end], encodeCursor(list, strconv.Itoa(end)), nil
}

func (s *Server) diffBooks(ctx context.Context, in *struct {
	Page
	PriceFilter
	From string `query:"from" required:"true" maxLength:"20" doc:"The id of a book, or current"`
	To   string `query:"to" default:"current" maxLength:"20" doc:"The id of a book, or current"`
},
) (*struct{ Body api.PriceDiff }, error) {
	from, err := s.book(ctx, in.From)
	if err != nil {
		return nil, err
	}
	to, err := s.book(ctx, in.To)
	if err != nil {
		return nil, err
	}
	out := api.PriceDiff{}
	if out.From, err = s.bookView(ctx, from); err != nil {
		return nil, err
	}
	if out.To, err = s.bookView(ctx, to); err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(price.Diff(from, to), func(d price.Difference) bool { return !in.takes(d.Key) })
	all, next, err := pageOf(in.Page, "price-diff-"+strconv.FormatInt(from.ID, 10)+"-"+strconv.FormatInt(to.ID, 10), all)
	if err != nil {
		return nil, err
	}
	out.Items, out.NextCursor = mapped(all, priceChangeView), next
	return &struct{ Body api.PriceDiff }{out}, nil
}

func (s *Server) breakEven(ctx context.Context, in *struct {
	Book string `query:"book" default:"current" maxLength:"20" doc:"Its id, or current"`
	PriceFilter
	DaysLeft int       `query:"days_left" minimum:"0" maximum:"31" doc:"As if so many days of this month were left"`
	At       time.Time `query:"at" doc:"As of this instant; now when left out"`
},
) (*struct{ Body api.BreakEvenList }, error) {
	b, err := s.book(ctx, in.Book)
	if err != nil {
		return nil, err
	}
	at := in.At.UTC()
	if in.At.IsZero() {
		at = s.audit.Clock()()
	}
	if in.DaysLeft > 0 {
		at = clock.StartOfNextMonth(at).AddDate(0, 0, -in.DaysLeft)
		if !in.At.IsZero() || at.Before(clock.StartOfMonth(s.audit.Clock()())) {
			return nil, errDaysLeft
		}
	}
	out := api.BreakEvenList{At: at, SecondsLeft: int64(clock.StartOfNextMonth(at).Sub(at) / time.Second), DaysInMonth: clock.StartOfNextMonth(at).AddDate(0, 0, -1).Day()}
	if out.Book, err = s.bookView(ctx, b); err != nil {
		return nil, err
	}
	if in.Region != "" && in.BundleType != "" { // one thing: what is not known of it is an error
		k := price.Key{Region: in.Region, ComputeType: in.BundleType, OperatingSystem: cmp.Or(in.OperatingSystem, "WINDOWS"), License: cmp.Or(in.License, "INCLUDED")}
		e, err := b.BreakEven(k, at)
		if err != nil {
			return nil, err
		}
		out.Items = []api.BreakEven{breakEvenView(e)}
		return &struct{ Body api.BreakEvenList }{out}, nil
	}
	all := slices.DeleteFunc(b.BreakEvens(at), func(e price.BreakEven) bool { return !in.takes(e.Key) })
	out.Items = mapped(all, breakEvenView)
	return &struct{ Body api.BreakEvenList }{out}, nil
}

func breakEvenView(e price.BreakEven) api.BreakEven {
	v := api.BreakEven{
		Region: e.Key.Region, BundleType: e.Key.ComputeType, OperatingSystem: e.Key.OperatingSystem, License: e.Key.License,
		AlwaysOnMonth: usdOf(e.AlwaysOn), AutoStopMonth: usdOf(e.AutoStop), AutoStopHour: usdOf(e.Hour),
		Missing: mapped(e.Missing(), func(i price.Item) string { return string(i) }),
	}
	if e.Known() {
		month, rest := int64(e.Month/time.Second), int64(e.Rest/time.Second)
		v.MonthSeconds, v.RestSeconds = &month, &rest
	}
	return v
}

var importIntent = audit.Intent{Action: string(policy.PriceImport), ResourceType: "price_book"}

// Upload is a body that is read as it comes.
type Upload struct{ body io.Reader }

// Resolve gets hold of the body, which is sent by somebody who has signed in.
func (u *Upload) Resolve(ctx huma.Context) []error {
	u.body = ctx.BodyReader()
	return nil
}

var _ huma.Resolver = (*Upload)(nil)

func (s *Server) importPrices(ctx context.Context, in *struct {
	Once
	Upload
	DryRun         bool      `query:"dry_run" doc:"Answer as if, and change nothing"`
	Region         string    `query:"region" maxLength:"32" doc:"Only the prices of this region"`
	EffectiveFrom  time.Time `query:"effective_from" doc:"Now when left out"`
	HourRule       string    `query:"hour_rule" enum:"session_ceil,clock_hour,second" doc:"As in the book before when left out"`
	Source         string    `query:"source" maxLength:"200" doc:"What to add to the source"`
	Alone          bool      `query:"alone" doc:"Nothing of the book before goes on"`
	AcceptUnpriced bool      `query:"accept_unpriced" doc:"Live WorkSpaces may be left without a price"`
},
) (*Answer[api.PriceImport], error) {
	if policy.ReachOf(actor.From(ctx), policy.PriceImport) != policy.Any {
		return nil, s.audit.NoteRefusal(ctx, importIntent, policy.Require(actor.From(ctx), policy.PriceImport, "", ""))
	}
	if in.Region != "" && !price.IsRegion(in.Region) {
		return nil, s.audit.NoteRefusal(ctx, importIntent, price.ErrList.Sayf("%q is not a region", in.Region).Suggestf("give one like us-east-1"))
	}
	digest := sha256.New()
	body := io.TeeReader(in.body, digest)
	offer, err := s.cfg.ReadPrices(body, in.Region)
	if err == nil {
		_, err = io.Copy(io.Discard, body) // to the end, for the digest
	}
	if err != nil {
		return nil, s.audit.NoteRefusal(ctx, importIntent, uploadErr(err))
	}
	i := cost.Import{
		Offer: offer, Source: in.Source, Digest: hex.EncodeToString(digest.Sum(nil)), Rule: price.HourRule(in.HourRule), From: in.EffectiveFrom, Alone: in.Alone,
	}
	asked := []any{i.Digest, in.Region, i.Source, i.Rule, i.From, i.Alone, in.AcceptUnpriced}
	return s.importOffer(ctx, in.Once, asked, in.DryRun, in.AcceptUnpriced, i)
}

// uploadErr is why an upload could not be read.
func uploadErr(err error) error {
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return errTooLarge.Sayf("the price list is larger than %d MiB", maxPriceList>>20)
	}
	if _, answer := errors.AsType[*fault.Fault](err); answer {
		return err
	}
	return errMalformed.Sayf("the upload broke off").Because(err)
}

func (s *Server) importAWSPrices(ctx context.Context, in *struct {
	Once
	DryRun bool `query:"dry_run" doc:"Answer as if, and change nothing"`
	Body   api.PriceFetch
},
) (*Answer[api.PriceImport], error) {
	if policy.ReachOf(actor.From(ctx), policy.PriceImport) != policy.Any {
		return nil, s.audit.NoteRefusal(ctx, importIntent, policy.Require(actor.From(ctx), policy.PriceImport, "", ""))
	}
	offer, err := s.cfg.FetchPrices(ctx, in.Body.Region)
	if err != nil {
		return nil, s.audit.NoteRefusal(ctx, importIntent, err)
	}
	i := cost.Import{Offer: offer, Source: in.Body.Source, Rule: price.HourRule(in.Body.HourRule), Alone: in.Body.Alone}
	if in.Body.EffectiveFrom != nil {
		i.From = *in.Body.EffectiveFrom
	}
	return s.importOffer(ctx, in.Once, in.Body, in.DryRun, in.Body.AcceptUnpriced, i)
}

// importOffer makes a book of an offer, or says what would come of that; asked is what the key is for.
func (s *Server) importOffer(ctx context.Context, key Once, asked any, dry, acceptUnpriced bool, in cost.Import) (*Answer[api.PriceImport], error) {
	do := func(tx *audit.Tx) (api.PriceImport, error) {
		made, err := cost.ImportOffer(ctx, tx, in)
		if err != nil {
			return api.PriceImport{}, err
		}
		moves, err := workspace.Reprice(ctx, tx, made.Before, made.Book, tx.Now)
		if err != nil {
			return api.PriceImport{}, err
		}
		refusal := moves.Refuse()
		if acceptUnpriced {
			refusal = nil
		}
		if refusal != nil && !dry {
			return api.PriceImport{}, refusal
		}
		out, err := importView(ctx, tx, in, made, moves)
		if out.DryRun = dry; dry {
			out.Book.ID = 0
		}
		if refusal != nil {
			out.WouldBeRefused = fault.From(refusal).Message
		}
		return out, err
	}
	if dry {
		out := &Answer[api.PriceImport]{}
		err := s.audit.Rehearse(ctx, func(tx *audit.Tx) (err error) {
			out.Body, err = do(tx)
			return err
		})
		return out, err
	}
	return once(ctx, s, key, importIntent, asked, all, func(tx *audit.Tx) (api.PriceImport, string, error) {
		out, err := do(tx)
		return out, "", err
	})
}

func importView(ctx context.Context, tx *audit.Tx, in cost.Import, made cost.Imported, moves workspace.PriceMoves) (api.PriceImport, error) {
	out := api.PriceImport{
		Products: in.Offer.Products, Prices: len(in.Offer.Lines), Carried: made.Carried, NotUnderstood: in.Offer.NotUnderstood(),
		Passed: mapped(in.Offer.Passed, func(p price.Passed) api.PassedProducts {
			return api.PassedProducts{Reason: p.Reason, Understood: p.Understood, Count: p.Count, Products: mapped(p.Products, func(p price.Product) api.PassedProduct {
				return api.PassedProduct{SKU: p.SKU, Description: p.What}
			})}
		}),
	}
	if !in.Offer.Published.IsZero() {
		out.PublishedAt = &in.Offer.Published
	}
	info, err := cost.AboutBook(ctx, tx, made.Book.ID, tx.Now)
	if err != nil {
		return out, err
	}
	out.Book = bookInfoView(info)
	before := price.NewBook(0, "", made.Book.HourRule, time.Time{}, nil)
	if made.Before != nil {
		before = made.Before
		if info, err = cost.AboutBook(ctx, tx, before.ID, tx.Now); err != nil {
			return out, err
		}
		view := bookInfoView(info)
		out.Before = &view
	}
	changes := price.Diff(before, made.Book)
	out.Changed, out.ChangesTruncated = len(changes), len(changes) > mostChanges
	out.Changes = mapped(changes[:min(len(changes), mostChanges)], priceChangeView)
	names, err := people.Names(ctx, tx, mapped(moves.Teams, func(t workspace.TeamMove) string { return string(t.TeamID) }))
	out.Moves = movesView(moves, names)
	return out, err
}

func movesView(m workspace.PriceMoves, names map[string]string) api.PriceMoves {
	known := func(u *money.USD) *api.Money {
		if u == nil {
			return nil
		}
		v := usd(*u)
		return &v
	}
	return api.PriceMoves{
		Assumption: workspace.RepriceAssumption, Workspaces: m.WorkSpaces, Lost: m.Lost, Gained: m.Gained, Unknown: m.Unknown,
		Before: usd(m.Before), After: usd(m.After), Truncated: m.Truncated,
		Teams: mapped(m.Teams, func(t workspace.TeamMove) api.TeamMove {
			return api.TeamMove{TeamID: string(t.TeamID), Name: names[string(t.TeamID)], Workspaces: t.WorkSpaces, Before: usd(t.Before), After: usd(t.After)}
		}),
		Items: mapped(m.Moves, func(w workspace.PriceMove) api.PriceMove {
			return api.PriceMove{WorkspaceID: string(w.WorkspaceID), Name: w.Name, UserID: string(w.UserID), TeamID: string(w.TeamID), Before: known(w.Before), After: known(w.After)}
		}),
	}
}
