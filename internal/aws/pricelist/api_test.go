package pricelist_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/internal/aws/pricelist"
	"github.com/robco-forge/forge/internal/price"
)

// listing speaks the Price List API's protocol (awsJson1_1): GetProducts, which filters and pages.
type listing struct {
	t        testing.TB
	products []string // each with its terms, as Amazon gives them: JSON within JSON
	calls    int
}

// newListing has the products of the offer file.
func newListing(t testing.TB) *listing {
	t.Helper()
	var offer struct {
		Version         string                                `json:"version"`
		PublicationDate string                                `json:"publicationDate"`
		Products        map[string]json.RawMessage            `json:"products"`
		Terms           map[string]map[string]json.RawMessage `json:"terms"`
	}
	if err := json.Unmarshal(file(t, "offer.json"), &offer); err != nil {
		t.Fatal(err)
	}
	l := &listing{t: t}
	for sku, product := range offer.Products {
		terms := map[string]json.RawMessage{}
		for kind, all := range offer.Terms {
			if all[sku] != nil {
				terms[kind] = all[sku]
			}
		}
		one, err := json.Marshal(map[string]any{
			"product": product, "serviceCode": "AmazonWorkSpaces", "terms": terms, "version": offer.Version, "publicationDate": offer.PublicationDate,
		})
		if err != nil {
			t.Fatal(err)
		}
		l.products = append(l.products, string(one))
	}
	slices.Sort(l.products)
	return l
}

func (l *listing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.calls++
	var in struct {
		ServiceCode, FormatVersion, NextToken string
		MaxResults                            int
		Filters                               []struct{ Type, Field, Value string }
	}
	if r.Header.Get("X-Amz-Target") != "AWSPriceListService.GetProducts" || !strings.Contains(r.Header.Get("Authorization"), "/us-east-1/pricing/aws4_request") {
		l.t.Errorf("asked for %s by %s", r.Header.Get("X-Amz-Target"), r.Header.Get("Authorization"))
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.ServiceCode != "AmazonWorkSpaces" || in.MaxResults < 1 || in.MaxResults > 100 {
		l.t.Errorf("asked %+v: %v", in, err)
	}
	var found []string
	for _, one := range l.products {
		var p struct {
			Product struct {
				ProductFamily string
				Attributes    map[string]string
			}
		}
		if err := json.Unmarshal([]byte(one), &p); err != nil {
			l.t.Error(err)
		}
		if !slices.ContainsFunc(in.Filters, func(f struct{ Type, Field, Value string }) bool {
			value := p.Product.Attributes[f.Field]
			if f.Field == "productFamily" {
				value = p.Product.ProductFamily
			}
			return f.Type != "TERM_MATCH" || value != f.Value
		}) {
			found = append(found, one)
		}
	}
	const page = 7 // smaller than what was asked for, which Amazon may do
	at, _ := strconv.Atoi(strings.TrimPrefix(in.NextToken, "token-"))
	out := map[string]any{"FormatVersion": "aws_v1", "PriceList": found[at:min(at+page, len(found))]}
	if at+page < len(found) {
		out["NextToken"] = fmt.Sprintf("token-%d", at+page)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if err := json.NewEncoder(w).Encode(out); err != nil {
		l.t.Error(err)
	}
}

func asking(t testing.TB, h http.Handler) *pricelist.API {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return pricelist.NewAPI(aws.Config{
		Credentials: credentials.NewStaticCredentialsProvider("AKIA", "secret", ""), RetryMaxAttempts: 1,
	}, server.URL)
}

func TestTheAPIGivesThePricesOfTheOfferFile(t *testing.T) {
	l := newListing(t)
	o, err := asking(t, l).Fetch(t.Context(), "us-east-1")
	if err != nil {
		t.Fatal(err)
	}
	got := texts(o.Lines)
	slices.Sort(got)
	if diff := cmp.Diff(known(t), got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if l.calls < 5 {
		t.Errorf("it took %d calls for %d products", l.calls, o.Products)
	}
	whole := read(t, file(t, "offer.json"), "us-east-1")
	if o.Source != whole.Source || !o.Published.Equal(whole.Published) || !o.Whole || o.NotUnderstood() != whole.NotUnderstood()-1 { // without the one of no region
		t.Errorf("got %q of %s with %d not understood", o.Source, o.Published, o.NotUnderstood())
	}
}

func TestTheAPIsAnswersThatAreNoPricesAreErrors(t *testing.T) {
	says := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // an answer before the question's end may be lost
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   error
	}{
		"denied":          {says(400, `{"__type":"AccessDeniedException","message":"no"}`), pricelist.ErrUnavailable},
		"unknown":         {says(400, `{"__type":"UnknownOperationException"}`), pricelist.ErrUnavailable},
		"down":            {says(503, `<html>`), pricelist.ErrUnavailable},
		"a hotel":         {says(200, `<html>Welcome`), pricelist.ErrUnavailable},
		"without an end":  {says(200, `{"PriceList":[],"NextToken":"again"}`), pricelist.ErrUnavailable},
		"nothing":         {says(200, `{"PriceList":[]}`), price.ErrList},
		"another service": {says(200, `{"PriceList":["{\"serviceCode\":\"AmazonEC2\",\"product\":{\"sku\":\"A\"}}"]}`), price.ErrList},
		"no JSON inside":  {says(200, `{"PriceList":["7"]}`), price.ErrList},
		"too large": {
			says(200, `{"PriceList":["{\"serviceCode\":\"AmazonWorkSpaces\",\"x\":\"`+strings.Repeat("x", 70_000)+`\"}"]}`),
			price.ErrList,
		},
		"terms that are none": {says(200, `{"PriceList":["{\"serviceCode\":\"AmazonWorkSpaces\",\"product\":{\"sku\":\"A\"},\"terms\":{\"OnDemand\":{\"x\":7}}}"]}`), price.ErrList},
		"twice": {says(200, `{"PriceList":["{\"serviceCode\":\"AmazonWorkSpaces\",\"product\":{\"sku\":\"A\",\"productFamily\":\"f\"}}",`+
			`"{\"serviceCode\":\"AmazonWorkSpaces\",\"product\":{\"sku\":\"A\",\"productFamily\":\"f\"}}"]}`), price.ErrList},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := asking(t, c.answer).Fetch(t.Context(), "us-east-1"); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	if _, err := asking(t, says(500, "")).Fetch(t.Context(), "N. Virginia"); !errors.Is(err, price.ErrList) {
		t.Errorf("a place's name: %v", err)
	}
}
