package report

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"math/big"
	"strings"
	"time"

	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/price"
	"github.com/robco-forge/forge/internal/spreadsheet"
)

// provider is who runs, sells and bills WorkSpaces.
const provider = "Amazon Web Services"

// charge is what one usage cost in the month under one attribution, or one correction of it.
type charge struct {
	UsageID, WorkspaceID, Name, ProviderID   string
	UserID, TeamID, Team, ProjectID, Project string
	CostCentre, BlueprintID                  string
	BundleType, Region                       string
	Tags                                     map[string]string
	Kind                                     string
	Item                                     price.Item
	PriceRegion, ComputeType                 string
	OperatingSystem, License, Sku            string
	RateMicros, TotalMicros                  money.USD
	Corrects                                 string
	Late                                     bool
	Begins, Ends                             time.Time
	Microseconds                             int64
}

// charges are the charges in the order of their usages.
func (r *Report) charges(ctx context.Context, each func(*charge) error) error {
	rows, err := r.q.Query(ctx, `
		WITH c AS (
		  SELECT x.usage_id, x.attribution_id, x.price_id, x.workspace_id, x.user_id, x.team_id, coalesce(x.project_id, '') AS project_id, x.cost_centre,
		         coalesce(x.corrects, '') AS corrects, x.late, date_trunc('month', x.period_start, 'UTC') AS month,
		         min(x.period_start) AS begins, max(x.period_end) AS ends, sum(x.total_cost_micros)::bigint AS total_micros,
		         (sum(extract(epoch FROM x.period_end - x.period_start)) * 1000000)::bigint AS microseconds
		  FROM `+r.covered()+` x
		  GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
		), n AS (SELECT * FROM `+r.names()+` n)
		SELECT c.usage_id, c.workspace_id, coalesce(w.name, '') AS name, coalesce(w.provider_id, '') AS provider_id, c.user_id, c.team_id,
		       coalesce(t.name, '') AS team, c.project_id, coalesce(p.name, '') AS project, c.cost_centre, a.blueprint_id, a.bundle_type, a.region, a.tags,
		       u.kind, s.item, s.region AS price_region, s.compute_type, s.operating_system, s.license, s.sku, u.rate_micros, c.total_micros, c.corrects, c.late,
		       c.begins, c.ends, c.microseconds
		FROM c
		JOIN usage u ON u.id = c.usage_id
		JOIN prices s ON s.id = c.price_id
		JOIN cost_attributions a ON a.id = c.attribution_id
		LEFT JOIN n w ON w.id = c.workspace_id
		LEFT JOIN n t ON t.id = c.team_id
		LEFT JOIN n p ON p.id = c.project_id
		ORDER BY c.usage_id COLLATE "C", c.begins, c.corrects COLLATE "C", c.attribution_id, c.price_id, c.late, c.month`, r.args()...)
	return forEach(rows, err, each)
}

// sku is Amazon's id of the price, or where the price book has none, everything that the price is found by.
func (c *charge) sku() string {
	if c.Sku != "" {
		return c.Sku
	}
	return strings.Join([]string{c.PriceRegion, c.ComputeType, c.OperatingSystem, c.License, string(c.Item)}, ":")
}

// hours are a length of time in hours, so exactly that a microsecond is not nothing.
func hours(microseconds int64) string { return decimal(big.NewRat(microseconds, 3_600_000_000), 12) }

// decimal is a number without zeros at its end, rounded to so many decimals.
func decimal(r *big.Rat, digits int) string {
	text := r.FloatString(digits)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	if text == "-0" {
		return "0"
	}
	return text
}

// quantity is how many units of its price a charge comes to. So many decimals that it times the price is the cost.
func (c *charge) quantity() string {
	if c.RateMicros == 0 {
		if c.Kind == running {
			return hours(c.Microseconds)
		}
		return "1"
	}
	return decimal(big.NewRat(int64(c.TotalMicros), int64(c.RateMicros)), 12)
}

// consumes tells whether the charge is for time that no other row has.
func (c *charge) consumes() bool { return c.Kind == running && c.Corrects == "" }

// running is the kind of usage that is billed by the hour; all else is a monthly fee.
const running = "running"

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// focus are the columns of FOCUS 1.2 that apply to WorkSpaces: all that are mandatory or recommended, and the conditional ones
// but those about commitments, reservations and other currencies. Behind them are ours.
var focus = []struct {
	name string
	cell func(*Report, *charge) string
}{
	{"AvailabilityZone", func(*Report, *charge) string { return "" }},
	{"BilledCost", func(_ *Report, c *charge) string { return c.TotalMicros.String() }},
	{"BillingAccountId", func(r *Report, _ *charge) string { return spreadsheet.Cell(r.Organisation) }},
	{"BillingAccountName", func(r *Report, _ *charge) string { return spreadsheet.Cell(r.Organisation) }},
	{"BillingAccountType", func(*Report, *charge) string { return "Organisation" }},
	{"BillingCurrency", func(*Report, *charge) string { return money.Currency }},
	{"BillingPeriodEnd", func(r *Report, _ *charge) string { return instant(r.End()) }},
	{"BillingPeriodStart", func(r *Report, _ *charge) string { return instant(r.Month) }},
	{"ChargeCategory", func(_ *Report, c *charge) string {
		if c.Kind == running {
			return "Usage"
		}
		return "Purchase"
	}},
	{"ChargeClass", func(_ *Report, c *charge) string {
		if c.Late { // what corrects a fee of the same month is, to FOCUS, no correction
			return "Correction"
		}
		return ""
	}},
	{"ChargeDescription", func(_ *Report, c *charge) string {
		text := map[string]string{"fixed_month": "monthly fee", running: "running time", "storage": "monthly fee for volumes beyond the bundle's", "transfer": "data transfer"}[c.Kind]
		if c.Corrects != "" {
			text = "correction of a " + text
		}
		return spreadsheet.Cell(c.BundleType + " WorkSpace in " + c.Region + ": " + text)
	}},
	{"ChargeFrequency", func(_ *Report, c *charge) string {
		if c.Kind == running {
			return "Usage-Based"
		}
		return "Recurring"
	}},
	{"ChargePeriodEnd", func(_ *Report, c *charge) string { return instant(c.Ends) }},
	{"ChargePeriodStart", func(_ *Report, c *charge) string { return instant(c.Begins) }},
	{"ConsumedQuantity", func(_ *Report, c *charge) string {
		if c.consumes() {
			return hours(c.Microseconds)
		}
		return ""
	}},
	{"ConsumedUnit", func(_ *Report, c *charge) string {
		if c.consumes() {
			return "Hours"
		}
		return ""
	}},
	{"ContractedCost", func(_ *Report, c *charge) string { return c.TotalMicros.String() }},
	{"ContractedUnitPrice", func(_ *Report, c *charge) string { return c.RateMicros.String() }},
	{"EffectiveCost", func(_ *Report, c *charge) string { return c.TotalMicros.String() }},
	{"InvoiceId", func(*Report, *charge) string { return "" }},
	{"InvoiceIssuerName", func(*Report, *charge) string { return provider }},
	{"ListCost", func(_ *Report, c *charge) string { return c.TotalMicros.String() }},
	{"ListUnitPrice", func(_ *Report, c *charge) string { return c.RateMicros.String() }},
	{"PricingCategory", func(*Report, *charge) string { return "Standard" }},
	{"PricingQuantity", func(_ *Report, c *charge) string { return c.quantity() }},
	{"PricingUnit", func(_ *Report, c *charge) string {
		if c.Kind == running {
			return "Hours"
		}
		return "Months"
	}},
	{"ProviderName", func(*Report, *charge) string { return provider }},
	{"PublisherName", func(*Report, *charge) string { return provider }},
	{"RegionId", func(_ *Report, c *charge) string { return spreadsheet.Cell(c.Region) }},
	{"RegionName", func(_ *Report, c *charge) string { return spreadsheet.Cell(c.Region) }},
	{"ResourceId", func(_ *Report, c *charge) string {
		if c.ProviderID != "" {
			return spreadsheet.Cell(c.ProviderID)
		}
		return c.WorkspaceID
	}},
	{"ResourceName", func(_ *Report, c *charge) string { return spreadsheet.Cell(c.Name) }},
	{"ResourceType", func(*Report, *charge) string { return "WorkSpace" }},
	{"ServiceCategory", func(*Report, *charge) string { return "Compute" }},
	{"ServiceName", func(*Report, *charge) string { return "Amazon WorkSpaces" }},
	{"ServiceSubcategory", func(*Report, *charge) string { return "End User Computing" }},
	{"SkuId", func(_ *Report, c *charge) string { return spreadsheet.Cell(c.sku()) }},
	{"SkuMeter", func(_ *Report, c *charge) string {
		return map[string]string{"fixed_month": "Monthly Fee", running: "Running Time", "storage": "Volume Storage", "transfer": "Data Transfer"}[c.Kind]
	}},
	{"SkuPriceDetails", func(_ *Report, c *charge) string {
		return object(map[string]string{
			"x_ComputeType": c.ComputeType, "x_OperatingSystem": c.OperatingSystem, "x_License": c.License, "x_Item": string(c.Item),
		})
	}},
	{"SkuPriceId", func(_ *Report, c *charge) string { return spreadsheet.Cell(c.sku()) }},
	{"SubAccountId", func(_ *Report, c *charge) string { return c.TeamID }},
	{"SubAccountName", func(_ *Report, c *charge) string { return spreadsheet.Cell(c.Team) }},
	{"SubAccountType", func(*Report, *charge) string { return "Team" }},
	{"Tags", func(_ *Report, c *charge) string { return object(c.Tags) }},
	{"x_forge_blueprint_id", func(_ *Report, c *charge) string { return c.BlueprintID }},
	{"x_forge_corrects", func(_ *Report, c *charge) string { return c.Corrects }},
	{"x_forge_cost_centre", func(_ *Report, c *charge) string { return spreadsheet.Cell(c.CostCentre) }},
	{"x_forge_project_id", func(_ *Report, c *charge) string { return c.ProjectID }},
	{"x_forge_project_name", func(_ *Report, c *charge) string { return spreadsheet.Cell(c.Project) }},
	{"x_forge_status", func(r *Report, _ *charge) string { return r.status() }},
	{"x_forge_usage_id", func(_ *Report, c *charge) string { return c.UsageID }},
	{"x_forge_user_id", func(_ *Report, c *charge) string { return c.UserID }},
	{"x_forge_workspace_id", func(_ *Report, c *charge) string { return c.WorkspaceID }},
}

// object is a JSON object of texts, its keys in order.
func object(values map[string]string) string {
	if len(values) == 0 {
		return "{}"
	}
	text, _ := json.Marshal(values) //nolint:errchkjson // texts always can be
	return string(text)
}

// writeFOCUS writes the FinOps Open Cost and Usage Specification 1.2 as CSV. A null is an empty cell.
func (r *Report) writeFOCUS(ctx context.Context, w io.Writer) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	cells := make([]string, len(focus))
	for i, column := range focus {
		cells[i] = column.name
	}
	if err := out.Write(cells); err != nil {
		return err
	}
	if err := r.charges(ctx, func(c *charge) error {
		for i, column := range focus {
			cells[i] = column.cell(r, c)
		}
		return out.Write(cells)
	}); err != nil {
		return err
	}
	out.Flush()
	return out.Error()
}
