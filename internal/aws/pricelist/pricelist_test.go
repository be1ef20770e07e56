package pricelist_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/internal/aws/pricelist"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/price"
)

func file(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func read(t testing.TB, raw []byte, region string) price.Offer {
	t.Helper()
	o, err := pricelist.Read(bytes.NewReader(raw), region)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func texts(lines []price.Price) []string {
	all := make([]string, len(lines))
	for i, p := range lines {
		all[i] = strings.Join([]string{p.Key.Region, p.Key.ComputeType, p.Key.OperatingSystem, p.Key.License, string(p.Key.Item), p.Unit, p.Amount.String(), p.SKU}, " ")
	}
	return all
}

// known are the shipped prices of us-east-1, whose SKUs are public, and what the files have besides.
func known(t testing.TB) []string {
	t.Helper()
	lines, err := price.Default()
	if err != nil {
		t.Fatal(err)
	}
	lines = slices.DeleteFunc(lines, func(p price.Price) bool { return p.Key.Region != "us-east-1" })
	all := append(texts(lines),
		"us-east-1 STANDARD WINDOWS BYOL always_on_month month 31.000000 MADEUPBYOLSTD000",
		"us-east-1 STANDARD WINDOWS BYOL auto_stop_hour hour 0.260000 MADEUPBYOLSTDHR0",
		"us-east-1 STANDARD UBUNTU INCLUDED always_on_month month 31.000000 MADEUPUBUNTUSTD0",
		"us-east-1 STANDARD UBUNTU INCLUDED auto_stop_month month 9.750000 MADEUPUBUNTUSTD1",
		"us-east-1 STANDARD UBUNTU INCLUDED auto_stop_hour hour 0.260000 MADEUPUBUNTUSTD2")
	slices.Sort(all)
	return all
}

func TestAnOfferFileGivesThePricesOfWorkSpacesAndNothingElse(t *testing.T) {
	for _, name := range []string{"offer.json", "offer.csv"} {
		t.Run(name, func(t *testing.T) {
			o := read(t, file(t, name), "us-east-1")
			got := texts(o.Lines)
			slices.Sort(got)
			if diff := cmp.Diff(known(t), got); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
			if !o.Whole || o.Source != "AWS Price List, AmazonWorkSpaces, version 20260618000000" || !o.Published.Equal(time.Date(2026, 6, 18, 0, 0, 0, 0, time.UTC)) {
				t.Errorf("it is from %q, published %s, whole: %t", o.Source, o.Published, o.Whole)
			}
			passed := 0
			for _, p := range o.Passed {
				passed += p.Count
			}
			if o.Products != len(o.Lines)+passed {
				t.Errorf("of %d products %d gave a price and %d did not", o.Products, len(o.Lines), passed)
			}
		})
	}
}

func TestBothFormsOfAnOfferSayTheSame(t *testing.T) {
	for _, region := range []string{"", "us-east-1", "eu-west-1", "ap-south-1"} {
		if diff := cmp.Diff(read(t, file(t, "offer.json"), region), read(t, file(t, "offer.csv"), region)); diff != "" {
			t.Errorf("%q (-json +csv):\n%s", region, diff)
		}
	}
}

func TestAllRegionsOfAnOfferAreTaken(t *testing.T) {
	o := read(t, file(t, "offer.json"), "")
	for _, want := range []string{
		"eu-west-1 STANDARD WINDOWS INCLUDED always_on_month month 37.000000 MADEUPEUSTDMONTH",
		"eu-west-1 STANDARD WINDOWS INCLUDED auto_stop_month month 11.000000 MADEUPEUSTDUSER0",
		"eu-west-1 STANDARD WINDOWS INCLUDED auto_stop_hour hour 0.320000 MADEUPEUSTDUSAGE",
	} {
		if !slices.Contains(texts(o.Lines), want) {
			t.Errorf("%s is missing", want)
		}
	}
}

// Every product that gives no price is reported by its SKU, with the reason.
func TestWhatGivesNoPriceIsNamedWithItsReason(t *testing.T) {
	o := read(t, file(t, "offer.json"), "us-east-1")
	got := map[string]string{}
	notUnderstood := 0
	for _, group := range o.Passed {
		if group.Count != len(group.Products) {
			t.Errorf("%s: %d products, %d of them named", group.Reason, group.Count, len(group.Products))
		}
		for _, p := range group.Products {
			mark := "? "
			if group.Understood {
				mark = ""
			} else {
				notUnderstood++
			}
			got[p.SKU] = mark + group.Reason
		}
	}
	const usage = "? its usage type is not known, or says something else than its other attributes"
	want := map[string]string{
		"MADEUPCORESTD000": "another product family, such as WorkSpaces Core", "MADEUPCORESTD001": "another product family, such as WorkSpaces Core",
		"MADEUPSOFTWARE00": "software that is added to a bundle", "MADEUPOFFICEPLUS": "software that is added to a bundle",
		"MADEUPPOWERVAR00": "volumes other than those that the bundle includes", "MADEUPPOWERVAR01": "volumes other than those that the bundle includes",
		"MADEUPPOOLPOWER0": "WorkSpaces Pools", "MADEUPPOOLSTOPPD": "WorkSpaces Pools", "MADEUPFREETRIAL0": "no charge", "MADEUPRESERVED00": "not sold on demand",
		"MADEUPEUSTDMONTH": "another region", "MADEUPEUSTDUSER0": "another region", "MADEUPEUSTDUSAGE": "another region",
		"ZMADEUPSAMEPRICE": "another product has the same price for the same thing",
		"MADEUPNOREGION00": "? it does not say which region it is of", "MADEUPBUNDLE0000": "? its bundle is no compute type that is known",
		"MADEUPSYSTEM0000": "? its operating system is not known", "MADEUPLICENSE000": "? its licence is not known for its operating system",
		"MADEUPRESOURCE00": "? its resource type is not known", "MADEUPMODE000000": "? its running mode is not known", "MADEUPUNIT000000": "? its unit is not that of its running mode",
		"MADEUPUSAGE00000": usage, "MADEUPUSAGEBYOL0": usage, "MADEUPVOLUMES000": "? its volumes are not understood",
		"MADEUPTOOFINE000": "? it does not have one price in USD", "MADEUPTIERS00000": "? it does not have one price in USD",
		"MADEUPTWOPRICES0": "? another product has a different price for the same thing", "MADEUPTWOPRICES1": "? another product has a different price for the same thing",
	}
	if _, same := got["N8H42DT5ZWBZY36X"]; same { // of two with the same price the first SKU stays
		t.Error("the known SKU gave way to a made-up one")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if o.NotUnderstood() != notUnderstood || notUnderstood == 0 {
		t.Errorf("%d are not understood, %d are named", o.NotUnderstood(), notUnderstood)
	}
}

func TestAListOfForgesOwnOnlyAddsAndChanges(t *testing.T) {
	const own = "\xef\xbb\xbfregion,compute_type,operating_system,license,item,unit,amount,sku\n" +
		"us-east-1,STANDARD,WINDOWS,INCLUDED,user_gb_month,gb_month,0.10,\neu-west-1,STANDARD,WINDOWS,INCLUDED,user_gb_month,gb_month,0.11,\n"
	o := read(t, []byte(own), "us-east-1")
	if o.Whole || o.Products != 2 || len(o.Passed) != 1 || !slices.Equal(texts(o.Lines), []string{"us-east-1 STANDARD WINDOWS INCLUDED user_gb_month gb_month 0.100000 "}) {
		t.Errorf("got %+v", o)
	}
}

func TestWhatIsNoPriceListIsRefusedWithTheReason(t *testing.T) {
	offer := string(file(t, "offer.json"))
	sheet := string(file(t, "offer.csv"))
	head, _, _ := strings.Cut(sheet, `"Version"`)
	for name, c := range map[string]struct{ text, says string }{
		"nothing":                 {"", "empty"},
		"a web page":              {"<html>Welcome to the hotel</html>", "that is not a price list"},
		"another service":         {strings.Replace(offer, `"offerCode": "AmazonWorkSpaces"`, `"offerCode": "AmazonWorkSpacesInstances"`, 1), `"AmazonWorkSpacesInstances"`},
		"another service, as CSV": {strings.Replace(sheet, `"OfferCode","AmazonWorkSpaces"`, `"OfferCode","AmazonEC2"`, 1), `"AmazonEC2"`},
		"no service":              {`{"products":{},"terms":{}}`, `is of ""`},
		"cut off":                 {offer[:len(offer)/2], "ends too early"},
		"cut off within a name":   {`{"offerCode":"Amaz`, "ends too early"},
		"two files in one":        {offer + offer, "goes on after its end"},
		"a list of products":      {`{"offerCode":"AmazonWorkSpaces","products":[]}`, "something else than an object"},
		"a number for a text":     {`{"offerCode":7}`, "a number at byte"},
		"an attribute is a list":  {`{"offerCode":"AmazonWorkSpaces","products":{"A":{"sku":"A","attributes":{"bundle":[]}}}}`, "a array at byte"},
		"a SKU with another name": {`{"offerCode":"AmazonWorkSpaces","products":{"A":{"sku":"B"}}}`, "under another SKU"},
		"a product twice":         {`{"offerCode":"AmazonWorkSpaces","products":{"A":{"sku":"A","productFamily":"x"},"A":{"sku":"A","productFamily":"x"}}}`, "twice"},
		"a SKU of nothing":        {`{"offerCode":"AmazonWorkSpaces","products":{"":{"sku":""}}}`, "without a proper SKU"},
		"an endless attribute":    {`{"offerCode":"AmazonWorkSpaces","products":{"A":{"sku":"A","attributes":{"bundle":"` + strings.Repeat("x", 1000) + `"}}}}`, "more than 512"},
		"no date":                 {`{"offerCode":"AmazonWorkSpaces","publicationDate":"yesterday"}`, "publication"},
		"no version":              {`{"offerCode":"AmazonWorkSpaces","version":"\u0000"}`, "version"},
		"blanks without end":      {"{" + strings.Repeat(" ", 100_000), "more than 65536 bytes"},
		"a text without end":      {`{"offerCode":"` + strings.Repeat(`\"`, 100_000), "more than 65536 bytes"},
		"a number without end":    {`{"x":` + strings.Repeat("1", 100_000), "more than 65536 bytes"},
		"a tower":                 {`{"x":` + strings.Repeat("[", 100), "nested more than 64 times"},
		"a product without end":   {`{"products":{"A":{"attributes":{` + strings.Repeat(`"a":"b",`, 300_000), "a product of more than"},
		"a line without end":      {sheet + strings.Repeat(",", 100_000), "a line of more than"},
		"a quotation over lines":  {sheet + "\"A\nB\"\n", "within a quotation"},
		"not JSON":                {`{"offerCode": AmazonWorkSpaces}`, "no JSON"},
		"CSV cut off":             {head, "ends too early"},
		"CSV without columns":     {strings.Replace(sheet, `"TermType"`, `"Sort"`, 1), "no column termtype"},
		"CSV with a short row":    {sheet + "\"A\",\"B\"\n", "has 2 columns, not 25"},
		"CSV with a stray quote":  {sheet + "A\"B\"\n", "line 58"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pricelist.Read(strings.NewReader(c.text), "")
			if !errors.Is(err, price.ErrList) || !strings.Contains(fault.From(err).Message, c.says) {
				t.Errorf("got %v, which does not say %q", err, c.says)
			}
		})
	}
}

// failing is a transport that breaks after some bytes.
type failing struct{ text *strings.Reader }

var errBroken = errors.New("the line broke")

func (f failing) Read(p []byte) (int, error) {
	if n, err := f.text.Read(p); err == nil {
		return n, nil
	}
	return 0, errBroken
}

func TestABrokenLineIsNotAWrongFile(t *testing.T) {
	for _, name := range []string{"offer.json", "offer.csv"} {
		text := string(file(t, name))
		for _, at := range []int{0, 10, 2000, len(text) - 20} {
			if _, err := pricelist.Read(failing{strings.NewReader(text[:at])}, ""); !errors.Is(err, errBroken) {
				t.Errorf("%s, after %d bytes: %v", name, at, err)
			}
		}
	}
}

// again is a text that does not end.
type again struct {
	text string
	at   int
}

func (a *again) Read(p []byte) (int, error) {
	n := copy(p, a.text[a.at:])
	a.at = (a.at + n) % len(a.text)
	return n, nil
}

// watched calls look every now and then while it is read.
type watched struct {
	io.Reader
	look func()
	n    int
}

func (w *watched) Read(p []byte) (int, error) {
	if w.n++; w.n%1000 == 0 {
		w.look()
	}
	return w.Reader.Read(p)
}

// What is of no use is passed over and not kept: 32 MiB of it cost a few.
func TestTheMemoryIsThatOfTheProductsNotOfTheFile(t *testing.T) {
	part := `{"a":[1,2,{"b":"` + strings.Repeat("x", 1000) + `"}]},`
	var now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&now)
	before, peak := now.HeapAlloc, uint64(0)
	o, err := pricelist.Read(&watched{look: func() {
		runtime.ReadMemStats(&now)
		peak = max(peak, now.HeapAlloc-min(now.HeapAlloc, before))
	}, Reader: io.MultiReader(
		strings.NewReader(`{"unknown":[`), io.LimitReader(&again{text: part}, int64(len(part))<<15),
		strings.NewReader(`{}],"offerCode":"AmazonWorkSpaces","products":{},"terms":{}}`),
	)}, "")
	if err != nil || o.Products != 0 {
		t.Fatalf("%v %+v", err, o)
	}
	if peak == 0 || peak > 16<<20 {
		t.Errorf("reading 32 MiB took %d MiB", peak>>20)
	}
}

func FuzzRead(f *testing.F) {
	// Small ones: the fuzzer spends its time on making large ones smaller.
	f.Add([]byte(`{"offerCode":"AmazonWorkSpaces","version":"1","publicationDate":"2026-06-18T00:00:00Z","products":{"A":{"sku":"A","productFamily":"Enterprise Applications",`+
		`"attributes":{"regionCode":"us-east-1","bundle":"Value","operatingSystem":"Windows","license":"Included","runningMode":"AlwaysOn","storage":"Root:80 GB,User:10 GB",`+
		`"resourceType":"Hardware","usagetype":"AW-HW-1"}}},"terms":{"OnDemand":{"A":{"A.B":{"priceDimensions":{"A.B.C":{"unit":"Month","beginRange":"0","endRange":"Inf","pricePerUnit":{"USD":"25.0000000000"}}}}}}}}`), "us-east-1")
	f.Add([]byte("\"FormatVersion\",\"v1.0\"\nDisclaimer,\nPublication Date,2026-06-18T00:00:00Z\nVersion,1\nOfferCode,AmazonWorkSpaces\n"+
		"SKU,OfferTermCode,TermType,StartingRange,EndingRange,Unit,PricePerUnit,Currency,Product Family,Bundle,License,operatingSystem,Running Mode,Storage,Resource Type,usageType,Region Code\n"+
		"A,B,OnDemand,0,Inf,hour,0.22,USD,Enterprise Applications,Value,Included,Windows,AutoStop,\"Root:80 GB,User:10 GB\",Hardware,AW-HW-1-AutoStop-Usage,us-east-1\n"), "")
	f.Add([]byte(price.CSVHeader()+"\nus-east-1,STANDARD,WINDOWS,INCLUDED,auto_stop_hour,hour,0.3,SKU\n"), "")
	f.Add([]byte(`{"offerCode":"AmazonWorkSpaces","terms":{"OnDemand":{"A":{"A.B":{"priceDimensions":{"C":{"unit":"Month","pricePerUnit":{"USD":"1"}}}}}}},"products":{}}`), "")
	f.Fuzz(func(t *testing.T, raw []byte, region string) {
		o, err := pricelist.Read(bytes.NewReader(raw), region)
		if err != nil {
			if !errors.Is(err, price.ErrList) {
				t.Fatalf("the error is no answer: %v", err)
			}
			return
		}
		seen := map[price.Key]bool{}
		for _, p := range o.Lines {
			if why := p.Objection(); why != "" || seen[p.Key] || region != "" && p.Key.Region != region {
				t.Fatalf("took %+v: %s", p, why)
			}
			seen[p.Key] = true
		}
		passed := 0
		for _, p := range o.Passed {
			passed += p.Count
		}
		if o.Products != len(o.Lines)+passed {
			t.Fatalf("of %d products %d gave a price and %d did not", o.Products, len(o.Lines), passed)
		}
	})
}
