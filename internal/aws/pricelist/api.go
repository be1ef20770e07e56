package pricelist

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/pricing"
	"github.com/aws/aws-sdk-go-v2/service/pricing/types"

	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/price"
)

// ErrUnavailable says that the Price List's API did not give the prices.
var ErrUnavailable = fault.New(fault.Unavailable, "PRICE_LIST_UNAVAILABLE", "Amazon's Price List API does not answer, or does not let this server ask it",
	fault.Suggest("allow the server pricing:GetProducts, or import an offer file: docs/prices.md says where to get one"))

const (
	// home is a region that has the API: only few do, and each has the prices of all.
	home = "us-east-1"
	// pageSize is the most that Amazon gives at once, maxPages many times what a region needs.
	pageSize, maxPages = 100, 500
	// maxProduct bounds one product with its terms, in bytes.
	maxProduct = 64 << 10
)

// API asks Amazon's Price List API.
type API struct{ client *pricing.Client }

// NewAPI makes a client with the credentials of a configuration. The endpoint is Amazon's own if empty.
func NewAPI(cfg aws.Config, endpoint string) *API {
	return &API{pricing.NewFromConfig(cfg, func(o *pricing.Options) {
		o.Region = home
		o.HTTPClient = ownBody{o.HTTPClient}
		if endpoint != "" {
			o.BaseEndpoint = aws.String(endpoint)
		}
	})}
}

// ownBody sends a copy of each request's body. The SDK closes the body that it gave as soon as the answer begins, and where
// the transport is not done with it by then it breaks the connection, and a long answer with it.
type ownBody struct{ pricing.HTTPClient }

// Do sends the request.
func (c ownBody) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return c.HTTPClient.Do(r)
}

// Fetch reads the prices of a region. It is price.ErrList if what comes is not a price list, ErrUnavailable if nothing does.
func (a *API) Fetch(ctx context.Context, region string) (price.Offer, error) {
	if !price.IsRegion(region) {
		return price.Offer{}, price.ErrList.Sayf("%q is not a region", region).Suggestf("give one like us-east-1")
	}
	c := newCatalogue()
	c.code = service
	match := func(field, value string) types.Filter {
		return types.Filter{Type: types.FilterTypeTermMatch, Field: aws.String(field), Value: aws.String(value)}
	}
	in := &pricing.GetProductsInput{
		ServiceCode: aws.String(service), MaxResults: aws.Int32(pageSize), FormatVersion: aws.String("aws_v1"),
		Filters: []types.Filter{match("regionCode", region), match("productFamily", "Enterprise Applications")},
	}
	for range maxPages {
		out, err := a.client.GetProducts(ctx, in)
		if err != nil {
			return price.Offer{}, ErrUnavailable.Because(err)
		}
		for _, text := range out.PriceList {
			if err := c.readListed(text); err != nil {
				return price.Offer{}, err
			}
		}
		if out.NextToken == nil || *out.NextToken == "" {
			return c.fetched(region)
		}
		if in.NextToken != nil && *in.NextToken == *out.NextToken {
			break
		}
		in.NextToken = out.NextToken
	}
	return price.Offer{}, ErrUnavailable.Because(errors.New("the list of products does not end"))
}

// fetched makes an offer of what came; nothing is no offer.
func (c *catalogue) fetched(region string) (price.Offer, error) {
	if len(c.products) == 0 {
		return price.Offer{}, price.ErrList.Sayf("Amazon lists no prices of WorkSpaces for %s", region).
			Suggestf("check the region: WorkSpaces are not sold in all of them")
	}
	return c.offer(region)
}

// readListed reads one product with its terms.
func (c *catalogue) readListed(text string) error {
	if len(text) > maxProduct {
		return price.ErrList.Sayf("a product of the Price List has more than %d bytes", maxProduct)
	}
	var listed struct {
		Product         described
		ServiceCode     string
		Version         string
		PublicationDate string
		Terms           map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal([]byte(text), &listed); err != nil {
		return badJSON(err)
	}
	if listed.ServiceCode != service {
		return price.ErrList.Sayf("the Price List answers with %q, not with %s", listed.ServiceCode, service)
	}
	c.version, c.published = max(c.version, listed.Version), max(c.published, listed.PublicationDate)
	p, err := c.of(listed.Product.SKU)
	if err != nil {
		return err
	}
	if err := listed.Product.describe(p); err != nil {
		return err
	}
	for kind, terms := range listed.Terms {
		if kind != "OnDemand" {
			p.otherwise = true
			continue
		}
		for _, raw := range terms {
			var t term
			if err := json.Unmarshal(raw, &t); err != nil {
				return badJSON(err)
			}
			if err := t.charge(p); err != nil {
				return err
			}
		}
	}
	return nil
}
