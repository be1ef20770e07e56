package report_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/price"
	"github.com/robco-forge/forge/internal/report"
)

// These are the tables of the FinOps Open Cost and Usage Specification 1.2 (its chapter of columns), not of the program: for each
// column its feature level, whether it may be null, its type, its format, and its allowed values.
const (
	mandatory   = "Mandatory"
	recommended = "Recommended"
	conditional = "Conditional"
)

type focusColumn struct {
	name, level string
	nulls       bool
	kind        string // String, Decimal, Date/Time, JSON
	allowed     []string
}

var focus12 = []focusColumn{
	{"AvailabilityZone", recommended, true, "String", nil},
	{"BilledCost", mandatory, false, "Decimal", nil},
	{"BillingAccountId", mandatory, false, "String", nil},
	{"BillingAccountName", mandatory, true, "String", nil},
	{"BillingAccountType", conditional, true, "String", nil},
	{"BillingCurrency", mandatory, false, "Currency", nil},
	{"BillingPeriodEnd", mandatory, false, "Date/Time", nil},
	{"BillingPeriodStart", mandatory, false, "Date/Time", nil},
	{"CapacityReservationId", conditional, true, "String", nil},
	{"CapacityReservationStatus", conditional, true, "String", []string{"Used", "Unused"}},
	{"ChargeCategory", mandatory, false, "String", []string{"Usage", "Purchase", "Tax", "Credit", "Adjustment"}},
	{"ChargeClass", mandatory, true, "String", []string{"Correction"}},
	{"ChargeDescription", mandatory, true, "String", nil},
	{"ChargeFrequency", recommended, false, "String", []string{"One-Time", "Recurring", "Usage-Based"}},
	{"ChargePeriodEnd", mandatory, false, "Date/Time", nil},
	{"ChargePeriodStart", mandatory, false, "Date/Time", nil},
	{"CommitmentDiscountCategory", conditional, true, "String", []string{"Spend", "Usage"}},
	{"CommitmentDiscountId", conditional, true, "String", nil},
	{"CommitmentDiscountName", conditional, true, "String", nil},
	{"CommitmentDiscountQuantity", conditional, true, "Decimal", nil},
	{"CommitmentDiscountStatus", conditional, true, "String", []string{"Used", "Unused"}},
	{"CommitmentDiscountType", conditional, true, "String", nil},
	{"CommitmentDiscountUnit", conditional, true, "String", nil},
	{"ConsumedQuantity", conditional, true, "Decimal", nil},
	{"ConsumedUnit", conditional, true, "Unit", nil},
	{"ContractedCost", mandatory, false, "Decimal", nil},
	{"ContractedUnitPrice", conditional, true, "Decimal", nil},
	{"EffectiveCost", mandatory, false, "Decimal", nil},
	{"InvoiceId", recommended, true, "String", nil},
	{"InvoiceIssuerName", mandatory, false, "String", nil},
	{"ListCost", mandatory, false, "Decimal", nil},
	{"ListUnitPrice", conditional, true, "Decimal", nil},
	{"PricingCategory", conditional, true, "String", []string{"Standard", "Dynamic", "Committed", "Other"}},
	{"PricingCurrency", conditional, true, "Currency", nil},
	{"PricingCurrencyContractedUnitPrice", conditional, true, "Decimal", nil},
	{"PricingCurrencyEffectiveCost", conditional, true, "Decimal", nil},
	{"PricingCurrencyListUnitPrice", conditional, true, "Decimal", nil},
	{"PricingQuantity", mandatory, true, "Decimal", nil},
	{"PricingUnit", mandatory, true, "Unit", nil},
	{"ProviderName", mandatory, false, "String", nil},
	{"PublisherName", mandatory, false, "String", nil},
	{"RegionId", conditional, true, "String", nil},
	{"RegionName", conditional, true, "String", nil},
	{"ResourceId", conditional, true, "String", nil},
	{"ResourceName", conditional, true, "String", nil},
	{"ResourceType", conditional, true, "String", nil},
	{"ServiceCategory", mandatory, false, "String", []string{
		"AI and Machine Learning", "Analytics", "Business Applications", "Compute", "Databases", "Developer Tools", "Multicloud", "Identity", "Integration",
		"Internet of Things", "Management and Governance", "Media", "Migration", "Mobile", "Networking", "Security", "Storage", "Web", "Other",
	}},
	{"ServiceName", mandatory, false, "String", nil},
	// Those of the category Compute.
	{"ServiceSubcategory", recommended, false, "String", []string{"Containers", "End User Computing", "Quantum Compute", "Serverless Compute", "Virtual Machines", "Other (Compute)"}},
	{"SkuId", conditional, true, "String", nil},
	{"SkuMeter", conditional, true, "String", nil},
	{"SkuPriceDetails", conditional, true, "JSON", nil},
	{"SkuPriceId", conditional, true, "String", nil},
	{"SubAccountId", conditional, true, "String", nil},
	{"SubAccountName", conditional, true, "String", nil},
	{"SubAccountType", conditional, true, "String", nil},
	{"Tags", conditional, true, "JSON", nil},
}

var (
	focusNumber = regexp.MustCompile(`^-?[0-9]{1,20}(\.[0-9]{1,18})?(E[+-]?[0-9]+)?$`)
	focusTime   = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z$`)
	focusOwn    = regexp.MustCompile(`^x_[A-Za-z0-9_]+$`)
	focusUnits  = []string{"Hours", "Months", "GB", "GB-Hours", "GB-Months"} // those of its unit format that can be meant here
)

// faults is what is wrong with an export, by the tables and the rules between columns.
func faults(b []byte) []string {
	var found []string
	bad := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	rows, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	if err != nil || len(rows) == 0 {
		return []string{fmt.Sprint("not a CSV: ", err)}
	}
	head := rows[0]
	for i, name := range head {
		known := slices.ContainsFunc(focus12, func(c focusColumn) bool { return c.name == name })
		if !known && !focusOwn.MatchString(name) || slices.Index(head, name) != i {
			bad("there is no column %s in FOCUS, or it is there twice", name)
		}
	}
	for _, c := range focus12 {
		if c.level == mandatory && !slices.Contains(head, c.name) {
			bad("the column %s is missing", c.name)
		}
	}
	for n, row := range rows[1:] {
		of := func(name string) string {
			if i := slices.Index(head, name); i >= 0 {
				return row[i]
			}
			return ""
		}
		rule := func(ok bool, what string) {
			if !ok {
				bad("row %d: %s: %v", n+1, what, row)
			}
		}
		for _, c := range focus12 {
			i := slices.Index(head, c.name)
			if i < 0 {
				continue
			}
			v := row[i]
			if v == "" {
				rule(c.nulls, c.name+" is null")
				continue
			}
			switch c.kind {
			case "Decimal":
				rule(focusNumber.MatchString(v), c.name+" is no number")
			case "Date/Time":
				_, err := time.Parse(time.RFC3339Nano, v)
				rule(err == nil && focusTime.MatchString(v), c.name+" is no instant of UTC")
			case "Currency":
				rule(regexp.MustCompile(`^[A-Z]{3}$`).MatchString(v), c.name+" is no currency of ISO 4217")
			case "Unit":
				rule(slices.Contains(focusUnits, v), c.name+" is no unit")
			case "JSON":
				var values map[string]any
				rule(json.Unmarshal([]byte(v), &values) == nil, c.name+" is no object of keys and values")
				for _, value := range values {
					_, nested := value.(map[string]any)
					rule(!nested, c.name+" is nested")
				}
			case "String":
				rule(strings.TrimSpace(v) == v && v != "NULL", c.name+" has space around it, or is NULL in words")
			}
			rule(c.allowed == nil || slices.Contains(c.allowed, v), c.name+" is not an allowed value")
		}
		num := func(name string) *big.Rat {
			r, ok := new(big.Rat).SetString(of(name))
			if !ok {
				return new(big.Rat)
			}
			return r
		}
		category, correction := of("ChargeCategory"), of("ChargeClass") == "Correction"
		billed := category == "Usage" || category == "Purchase"
		rule(!(category == "Purchase" && of("ChargeFrequency") == "Usage-Based"), "a purchase is not usage-based")
		rule(of("ChargePeriodStart") < of("ChargePeriodEnd"), "the charge ends before it begins")
		if !correction {
			rule(of("ChargePeriodStart") >= of("BillingPeriodStart") && of("ChargePeriodStart") < of("BillingPeriodEnd"), "the charge is of another billing period")
		}
		rule((of("SubAccountId") == "") == (of("SubAccountType") == ""), "a sub account has a type, and nothing else has")
		rule(of("SubAccountId") != "" || of("SubAccountName") == "", "a name without a sub account")
		rule((of("RegionId") == "") == (of("RegionName") == ""), "a region has an id and a name")
		rule(of("ResourceId") != "" || of("ResourceName") == "", "a name without a resource")
		rule(of("ResourceId") == "" || of("ResourceType") != "", "a resource has a type")
		rule((of("PricingQuantity") == "") == (of("PricingUnit") == ""), "a quantity has a unit")
		rule((of("ConsumedQuantity") == "") == (of("ConsumedUnit") == ""), "a consumed quantity has a unit")
		if billed && !correction {
			for _, name := range []string{"PricingQuantity", "PricingUnit", "PricingCategory", "ListUnitPrice", "ContractedUnitPrice", "SkuId", "SkuPriceId"} {
				rule(of(name) != "", name+" of a charge is null")
			}
			for unit, cost := range map[string]string{"ListUnitPrice": "ListCost", "ContractedUnitPrice": "ContractedCost"} {
				rule(num(unit).Sign() >= 0, unit+" is negative")
				off := new(big.Rat).Sub(new(big.Rat).Mul(num("PricingQuantity"), num(unit)), num(cost))
				rule(off.Abs(off).Cmp(big.NewRat(1, 2_000_000)) <= 0, unit+" times PricingQuantity is not "+cost)
			}
		}
		if category == "Usage" && !correction {
			rule(num("ConsumedQuantity").Sign() > 0, "usage consumes nothing")
		}
		rule(category == "Usage" || of("ConsumedQuantity") == "", "what is no usage consumes something")
		rule(of("SkuId") != "" || of("SkuMeter") == "" && of("SkuPriceDetails") == "", "a meter or details without a SKU")
	}
	return found
}

func TestTheFOCUSExportIsValid(t *testing.T) {
	r := november(t)
	// Volumes beyond the bundle's, hours by the second of the length of a microsecond, and a month with what was late.
	four := r.add(t, 0, "", price.AutoStop, "Größer")
	four.Spec.UserGiB, four.Spec.RootGiB, four.Tags = 150, 80, nil
	r.clock.Set(at("2026-12-01 00:45"))
	r.do(t, "2026-12-01 00:45", bookWithVolumes)
	four.begin(t, "2026-12-01 00:50")
	r.Exec(t, `UPDATE usage SET opened_at = '2026-11-30 23:59:59.999999Z', settled_until = '2026-11-30 23:59:59.999999Z' WHERE workspace_id = $1 AND kind = 'running'`, four.Workspace)
	r.settle(t, "2026-12-02 00:00")
	r.closed(t, "2026-11")
	r.late(t, "fixed_month", -2_500_000)
	r.late(t, "running", 600_000)
	classes := map[string]int{}
	for _, m := range []string{"2026-11", "2026-12"} {
		b := r.written(t, m, report.Scope{}, report.FOCUS, "")
		for _, f := range faults(b) {
			t.Errorf("%s: %s", m, f)
		}
		rows, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		sum, cost := new(big.Rat), slices.Index(rows[0], "BilledCost")
		for _, row := range rows[1:] {
			c, _ := new(big.Rat).SetString(row[cost])
			sum.Add(sum, c)
			classes[row[slices.Index(rows[0], "ChargeClass")]]++
			classes[row[slices.Index(rows[0], "SkuMeter")]]++
		}
		if total := r.open(t, m, report.Scope{}).Total.Total.String(); sum.FloatString(6) != total {
			t.Errorf("%s: the charges come to %s, the report to %s", m, sum.FloatString(6), total)
		}
	}
	for _, kind := range []string{"", "Correction", "Monthly Fee", "Running Time", "Volume Storage"} {
		if classes[kind] == 0 {
			t.Errorf("no row is %q: %v", kind, classes)
		}
	}
}

// A validator that has never refused anything proves nothing.
func TestTheFOCUSValidatorRefusesWhatItShould(t *testing.T) {
	r := november(t)
	r.settle(t, "2026-12-01 00:50")
	good := r.written(t, "2026-11", report.Scope{}, report.FOCUS, "")
	rows, err := csv.NewReader(bytes.NewReader(good)).ReadAll()
	if err != nil || len(faults(good)) > 0 {
		t.Fatal(err, faults(good))
	}
	for name, value := range map[string]string{
		"BilledCost": "1,5", "BillingAccountId": "", "BillingCurrency": "usd", "BillingPeriodEnd": "2026-12-01 00:00:00", "ChargeCategory": "Fee", "ChargeClass": "Regular",
		"ChargeFrequency": "Usage-Based", "ChargePeriodStart": "2026-10-01T00:00:00Z", "ContractedCost": "9.7", "ListUnitPrice": "-9.75", "PricingQuantity": "", "PricingUnit": "Fortnights",
		"ServiceCategory": "Desktops", "ServiceSubcategory": "", "SkuPriceId": "", "SubAccountType": "", "RegionName": "", "Tags": "env=dev", "ConsumedQuantity": "1", "ProviderName": "NULL",
	} {
		var b bytes.Buffer
		w := csv.NewWriter(&b)
		for i, row := range rows {
			row = slices.Clone(row)
			if i == 1 {
				row[slices.Index(rows[0], name)] = value
			}
			_ = w.Write(row)
		}
		w.Flush()
		if len(faults(b.Bytes())) == 0 {
			t.Errorf("%s %q is valid", name, value)
		}
	}
	if len(faults(bytes.Replace(good, []byte("BilledCost"), []byte("Cost"), 1))) == 0 {
		t.Error("a mandatory column may be missing")
	}
}
