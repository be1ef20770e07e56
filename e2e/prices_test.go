package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/app"
	"github.com/robco-forge/forge/internal/aws/emulator"
	"github.com/robco-forge/forge/internal/cli"
	"github.com/robco-forge/forge/internal/clock"
)

const offerFile = "../internal/aws/pricelist/testdata/offer.json"

// priceList answers GetProducts with the products of the offer file, a page for each ten.
func priceList(t testing.TB) http.Handler {
	t.Helper()
	raw, err := os.ReadFile(offerFile)
	if err != nil {
		t.Fatal(err)
	}
	var offer struct {
		Version, PublicationDate string
		Products                 map[string]struct {
			Sku, ProductFamily string
			Attributes         map[string]string
		}
		Terms map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(raw, &offer); err != nil {
		t.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			NextToken string
			Filters   []struct{ Field, Value string }
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		wanted := map[string]string{}
		for _, f := range in.Filters {
			wanted[f.Field] = f.Value
		}
		out := struct {
			FormatVersion string
			PriceList     []string
			NextToken     string `json:",omitempty"`
		}{FormatVersion: "aws_v1", PriceList: []string{}}
		for sku, p := range offer.Products {
			// The first page has the SKUs up to M, the second one the others.
			if p.Attributes["regionCode"] != wanted["regionCode"] || p.ProductFamily != wanted["productFamily"] || (sku < "N") == (in.NextToken != "") {
				continue
			}
			one, err := json.Marshal(map[string]any{
				"product": p, "serviceCode": "AmazonWorkSpaces", "version": offer.Version, "publicationDate": offer.PublicationDate,
				"terms": map[string]any{"OnDemand": offer.Terms["OnDemand"][sku]},
			})
			if err != nil {
				t.Error(err)
			}
			one = bytes.Replace(one, []byte(`"ProductFamily"`), []byte(`"productFamily"`), 1)
			out.PriceList = append(out.PriceList, string(one))
		}
		if in.NextToken == "" {
			out.NextToken = "the rest"
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		if err := json.NewEncoder(w).Encode(out); err != nil {
			t.Error(err)
		}
	})
}

// office is a Forge whose clock is the test's, without workers, and the command line of its people.
type office struct {
	t     *testing.T
	rig   *rig
	url   string
	clock *clock.Manual
}

func newOffice(t *testing.T, now time.Time) *office {
	t.Helper()
	o := &office{t: t, clock: clock.At(now)}
	o.rig = newRig(t, 1, func(c *emulator.Config) { c.Now = o.clock.Now })
	amazon := httptest.NewServer(priceList(t))
	t.Cleanup(amazon.Close)
	cfg := o.rig.server(rigConfig{DatabaseURL: o.rig.pg.AppURL, AWS: o.rig.aws, Speed: 1, Rate: 100})
	cfg.Workers, cfg.Clock, cfg.PricingEndpoint = false, o.clock.Now, amazon.URL
	f, err := app.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- f.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("the server did not drain: %v", err)
		}
		f.Close()
	})
	o.url = "http://" + l.Addr().String()
	return o
}

func (o *office) token(user string) string {
	o.t.Helper()
	for _, p := range o.rig.people {
		if p.User == user {
			return p.Token
		}
	}
	o.t.Fatalf("no demo user %q", user)
	return ""
}

// forge runs a command as a user and returns what it printed.
func (o *office) forge(user string, args ...string) (string, error) {
	o.t.Helper()
	o.t.Setenv("FORGE_API", o.url)
	o.t.Setenv("FORGE_TOKEN", o.token(user))
	o.t.Setenv("FORGE_CONFIG", filepath.Join(o.t.TempDir(), "config.yaml"))
	var out bytes.Buffer
	root := &cobra.Command{Use: "forge", SilenceErrors: true, SilenceUsage: true}
	root.AddGroup(&cobra.Group{ID: "client"})
	root.AddCommand(cli.Commands(cli.IO{In: strings.NewReader(""), Out: &out, Err: &out}, "e2e")...)
	root.SetArgs(args)
	root.SetOut(&out)
	err := root.ExecuteContext(o.t.Context())
	return out.String(), err
}

// says runs a command, which must succeed and print all of the texts.
func (o *office) says(user string, args []string, texts ...string) {
	o.t.Helper()
	out, err := o.forge(user, args...)
	if err != nil {
		o.t.Fatalf("forge %v: %v\n%s", args, err, out)
	}
	for _, text := range texts {
		if !strings.Contains(out, text) {
			o.t.Errorf("forge %v does not say %q:\n%s", args, text, out)
		}
	}
}

// refused runs a command, which must fail with the code.
func (o *office) refused(code, user string, args ...string) {
	o.t.Helper()
	out, err := o.forge(user, args...)
	refusal, ok := err.(*cli.APIError) //nolint:errorlint // it is not wrapped
	if !ok || refusal.Problem.Code != code {
		o.t.Errorf("forge %v: %v, want %s\n%s", args, err, code, out)
	}
}

func (o *office) client(user string) *client.ClientWithResponses {
	o.t.Helper()
	c, err := client.NewClientWithResponses(o.url, client.WithRequestEditorFn(bearer(o.token(user))))
	if err != nil {
		o.t.Fatal(err)
	}
	return c
}

// estimate is the monthly fee and the hourly rate that a request of a STANDARD would have.
func (o *office) estimate(user string) string {
	o.t.Helper()
	r, err := o.client(user).CreateWorkspaceWithResponse(o.t.Context(), &client.CreateWorkspaceParams{DryRun: ptr(true)}, client.WorkspaceCreate{Blueprint: "go-dev"})
	if err != nil {
		o.t.Fatal(err)
	}
	if r.JSON202 == nil {
		return string(r.Body)
	}
	return r.JSON202.Estimate.MonthlyFee.Amount + " " + r.JSON202.Estimate.Hourly.Amount
}

func (o *office) wantEstimate(want string) {
	o.t.Helper()
	if got := o.estimate("grace"); got != want {
		o.t.Errorf("at %s the estimate is %s, want %s", o.clock.Now(), got, want)
	}
}

func (o *office) file(text string) string {
	o.t.Helper()
	name := filepath.Join(o.t.TempDir(), "prices.csv")
	if err := os.WriteFile(name, []byte("region,compute_type,operating_system,license,item,unit,amount,sku\n"+text), 0o600); err != nil {
		o.t.Fatal(err)
	}
	return name
}

func TestAnImportedPriceBookPricesFromItsInstantOn(t *testing.T) {
	o := newOffice(t, time.Date(2026, 11, 10, 12, 0, 0, 0, time.UTC))
	launch(t, o.client("ada"), client.WorkspaceCreate{Blueprint: "go-dev"})
	dearer := o.file("us-east-1,STANDARD,WINDOWS,INCLUDED,auto_stop_month,month,11,DEARER1\nus-east-1,STANDARD,WINDOWS,INCLUDED,auto_stop_hour,hour,0.36,DEARER2\n")
	december := []string{"prices", "import", dearer, "--effective-from", "2026-12-01", "--source", "contract"}

	o.refused("FORBIDDEN", "ada", december...)
	o.says("finance", append(december, "--dry-run"), "auto_stop_hour", "0.36", "team backend, 1 WorkSpaces: 9.75 -> 11.00", "18 prices go on", "nothing was changed")
	o.says("ada", []string{"prices", "list", "-o", "csv"}, "1,2025-11-10T12:00:00Z,true,20,")
	o.wantEstimate("9.750000 0.300000")

	o.says("finance", december, "9.75 -> 11.00", "estimate", "in force from 2026-12-01 00:00:00Z")
	o.says("ada", []string{"prices", "diff", "1", "3"}, "0.30", "0.36", "9.75", "11.00")
	o.says("ada", []string{"prices", "show", "3", "--bundle", "standard", "--region", "us-east-1"}, "DEARER1", "DEARER2", "35.00", "contract")
	o.wantEstimate("9.750000 0.300000")
	o.clock.Set(time.Date(2026, 11, 30, 23, 59, 59, 0, time.UTC))
	o.wantEstimate("9.750000 0.300000")
	o.clock.Set(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC))
	o.wantEstimate("11.000000 0.360000")
	o.says("auditor", []string{"prices", "list"}, "2026-12-01 00:00:00Z  true", "2025-11-10 12:00:00Z  false")
	// (35 - 11) / 0.36 = 66.7 h, and 35 x 10/31 / 0.36 = 31.4 h.
	o.says("contractor", []string{"prices", "break-even", "--bundle", "STANDARD", "--region", "us-east-1", "--days-left", "10"}, "66.7 h", "31.4 h", "10.0 of 31 days")

	// Amazon's own prices, asked for by the server; then from the file, for another region.
	o.clock.Set(time.Date(2026, 12, 2, 0, 0, 0, 0, time.UTC))
	o.says("admin", []string{"prices", "import", "--aws", "--region", "us-east-1"}, "11.00 -> 9.75", "NOT UNDERSTOOD", "MADEUPBUNDLE0000", "3 prices go on")
	o.wantEstimate("9.750000 0.300000")
	o.says("finance", []string{"prices", "import", offerFile, "--region", "eu-west-1"}, "50 products: 3 prices of WorkSpaces", "44 passed over: another region")
	o.says("ada", []string{"prices", "show", "current", "--region", "eu-west-1"}, "MADEUPEUSTDMONTH", "37.00", "version 20260618000000")
	o.wantEstimate("9.750000 0.300000")

	// What would leave a WorkSpace without a price is refused, unless it is wanted; nothing is guessed then.
	value := o.file("us-east-1,VALUE,WINDOWS,INCLUDED,always_on_month,month,25,\n")
	o.says("finance", []string{"prices", "import", value, "--alone", "--dry-run"}, "it would be refused", "1 WorkSpaces would be left WITHOUT A PRICE", "9.75 -> no price")
	o.refused("PRICES_MISSING", "finance", "prices", "import", value, "--alone")
	o.wantEstimate("9.750000 0.300000")
	o.says("finance", []string{"prices", "import", value, "--alone", "--accept-unpriced"}, "Price book")
	if got := o.estimate("grace"); !strings.Contains(got, `"PRICE_UNKNOWN"`) || !strings.Contains(got, "forge prices import") {
		t.Errorf("without a price the estimate is %s", got)
	}
	o.refused("PRICE_UNKNOWN", "grace", "prices", "break-even", "--bundle", "STANDARD", "--region", "us-east-1")

	o.says("auditor", []string{"audit", "list", "--action", "price_book.import", "-o", "json"}, `"sha256"`, `"not_understood"`, `"carried"`)
	imports, err := o.client("auditor").ListAuditEntriesWithResponse(t.Context(), &client.ListAuditEntriesParams{Action: ptr("price_book.import")})
	if err != nil || imports.JSON200 == nil || len(imports.JSON200.Items) != 5 { // with the shipped book
		t.Fatalf("imports on record: %v %s", err, imports.Body)
	}
}

func TestAnImportThatIsRepeatedWithItsKeyIsOne(t *testing.T) {
	o := newOffice(t, time.Date(2026, 11, 10, 12, 0, 0, 0, time.UTC))
	c, key := o.client("finance"), "once"
	raw, err := os.ReadFile(offerFile)
	if err != nil {
		t.Fatal(err)
	}
	var ids []int64
	for range 2 {
		r, err := c.ImportPricesWithBodyWithResponse(t.Context(), &client.ImportPricesParams{IdempotencyKey: &key}, "application/octet-stream", bytes.NewReader(raw))
		if err != nil || r.JSON201 == nil {
			t.Fatalf("import: %v %s", err, r.Body)
		}
		ids = append(ids, r.JSON201.Book.Id)
	}
	if ids[0] != ids[1] || ids[0] == 0 {
		t.Errorf("the books are %v", ids)
	}
	r, err := c.ImportPricesWithBodyWithResponse(t.Context(), &client.ImportPricesParams{IdempotencyKey: &key}, "text/csv", bytes.NewReader(raw[:100]))
	if err != nil || r.StatusCode() != http.StatusUnprocessableEntity {
		t.Errorf("another file with the key: %v %s", err, r.Body)
	}
	list, err := c.ListPriceBooksWithResponse(t.Context(), &client.ListPriceBooksParams{Limit: ptr(int64(1))})
	if err != nil || list.JSON200 == nil || len(list.JSON200.Items) != 1 || list.JSON200.NextCursor == nil {
		t.Fatalf("books: %v %s", err, list.Body)
	}
	rest, err := c.ListPriceBooksWithResponse(t.Context(), &client.ListPriceBooksParams{Cursor: list.JSON200.NextCursor})
	if err != nil || rest.JSON200 == nil || len(rest.JSON200.Items) != 1 || rest.JSON200.NextCursor != nil {
		t.Errorf("the other books: %v %s", err, rest.Body)
	}
}

// members is a list that does not end.
type members struct{ at int }

var member = `,"` + strings.Repeat("x", 4000) + `"`

func (m *members) Read(p []byte) (int, error) {
	n := copy(p, member[m.at:])
	m.at = (m.at + n) % len(member)
	return n, nil
}

func TestUploadsOfPriceListsAreBoundedAndChecked(t *testing.T) {
	o := newOffice(t, time.Date(2026, 11, 10, 12, 0, 0, 0, time.UTC))
	for name, c := range map[string]struct {
		user, query string
		body        io.Reader
		status      int
		code        string
	}{
		"too large":            {"finance", "", io.MultiReader(strings.NewReader(`{"x":[1`), io.LimitReader(&members{}, 65<<20)), 413, "BODY_TOO_LARGE"},
		"too large, nobody's":  {"ada", "", io.LimitReader(&members{}, 65<<20), 403, "FORBIDDEN"},
		"nothing":              {"finance", "", strings.NewReader(""), 422, "PRICE_LIST_INVALID"},
		"a web page":           {"finance", "", strings.NewReader("<html>"), 422, "PRICE_LIST_INVALID"},
		"a region's name":      {"finance", "?region=Ireland", strings.NewReader("{}"), 422, "PRICE_LIST_INVALID"},
		"the past":             {"finance", "?effective_from=2026-11-09T00:00:00Z", strings.NewReader("region,compute_type,operating_system,license,item,unit,amount,sku\nus-east-1,VALUE,WINDOWS,INCLUDED,always_on_month,month,25,\n"), 422, "EFFECTIVE_FROM_INVALID"},
		"an hour of 50 minute": {"finance", "?hour_rule=short", strings.NewReader("{}"), 422, "VALIDATION_FAILED"},
		"a misspelt parameter": {"finance", "?dryrun=true", strings.NewReader("{}"), 422, "VALIDATION_FAILED"},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, o.url+"/api/v1/prices/books"+c.query, c.body)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+o.token(c.user))
			resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
			if err != nil {
				if c.status == 413 || c.status == 403 { // the server hangs up on who goes on sending
					return
				}
				t.Fatal(err)
			}
			defer resp.Body.Close() //nolint:errcheck // it was only read
			var p struct{ Code string }
			if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || resp.StatusCode != c.status || p.Code != c.code {
				t.Errorf("%d %s: %v, want %d %s", resp.StatusCode, p.Code, err, c.status, c.code)
			}
		})
	}
	refusals, err := o.client("auditor").ListAuditEntriesWithResponse(t.Context(), &client.ListAuditEntriesParams{Action: ptr("price.import")})
	if err != nil || refusals.JSON200 == nil {
		t.Fatalf("refusals on record: %v %s", err, refusals.Body)
	}
	codes := map[string]int{}
	for _, e := range refusals.JSON200.Items {
		codes[*e.Code]++
	}
	if codes["PRICE_LIST_INVALID"] < 2 || codes["FORBIDDEN"] != 1 || codes["EFFECTIVE_FROM_INVALID"] != 1 || codes["BODY_TOO_LARGE"] != 1 {
		t.Errorf("on record are %v", codes)
	}
	for _, path := range []string{
		"/prices/books/7", "/prices/books/latest", "/prices/diff?from=7", "/prices/break-even?days_left=31", "/prices/books?cursor=nonsense", "/prices/books/current?cursor=cHJpY2VzLTEKOTk5",
		"/prices/break-even?at=2026-11-10T00:00:00Z&days_left=3",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, o.url+"/api/v1"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+o.token("ada"))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 404 && resp.StatusCode != 422 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
}
