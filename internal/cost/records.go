package cost

import (
	"context"
	"fmt"
	"time"

	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
)

// Record is a settled slice of use, with what it was counted under and priced by.
type Record struct {
	ID                 id.CostRecord
	UsageID            id.Usage
	Kind               string
	WorkspaceID        id.WorkSpace
	UserID             id.User
	TeamID             id.Team
	ProjectID          *id.Project
	CostCentre         string
	BlueprintID        id.Blueprint
	BlueprintVersionID id.BlueprintVersion
	BundleType         string
	Region             string
	Tags               map[string]string
	PriceID            int64
	Item               price.Item
	Sku                string
	RateMicros         money.USD
	HourRule           price.HourRule
	ComputeMicros      money.USD
	StorageMicros      money.USD
	TransferMicros     money.USD
	PeriodStart        time.Time
	PeriodEnd          time.Time
	RecordedAt         time.Time
	Corrects           *id.CostRecord
}

// Total is what it comes to.
func (r *Record) Total() money.USD { return r.ComputeMicros + r.StorageMicros + r.TransferMicros }

const recordColumns = `
	t.id, t.usage_id, u.kind, t.workspace_id, t.user_id, t.team_id, t.project_id, t.cost_centre, a.blueprint_id, a.blueprint_version_id,
	a.bundle_type, a.region, a.tags, t.price_id, p.item, p.sku, u.rate_micros, u.hour_rule, t.compute_cost_micros AS compute_micros,
	t.storage_cost_micros AS storage_micros, t.data_transfer_cost_micros AS transfer_micros, t.period_start, t.period_end, t.recorded_at, t.corrects
	FROM cost_records t
	JOIN usage u ON u.id = t.usage_id
	JOIN prices p ON p.id = t.price_id
	JOIN cost_attributions a ON a.id = t.attribution_id`

// Records are up to limit records whose periods begin in the query's range, newest first, behind the one that is named by its
// period's beginning and its id, if any. How the query groups does not matter.
func Records(ctx context.Context, q postgres.Querier, in Query, behind time.Time, last id.CostRecord, limit int) ([]Record, error) {
	for name := range in.Only {
		if err := dimension(name); err != nil {
			return nil, err
		}
	}
	in.GroupBy = "total"
	_, _, conditions, args := (&summary{Query: in}).under("cost_records", true, in.From, in.To, limit)
	if last != "" {
		args = append(args, behind, last)
		conditions += fmt.Sprintf(" AND (t.period_start, t.id) < ($%d, $%d)", len(args)-1, len(args))
	}
	return postgres.Many[Record](ctx, q, `
		SELECT`+recordColumns+`
		WHERE t.period_start >= $1 AND t.period_start < $2`+conditions+`
		ORDER BY t.period_start DESC, t.id DESC
		LIMIT $3`, planned(args)...)
}
