package budget

import (
	"context"
	"time"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/money"
	"github.com/robco-forge/forge/internal/postgres"
)

func (b *Book) Resize(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, fixed, lease money.USD) error {
	return nil
}
func (b *Book) Held(ctx context.Context, q postgres.Querier, ws id.WorkSpace) (fixed, lease, leaseTarget money.USD, err error) {
	return
}
func (b *Book) Move(ctx context.Context, tx *audit.Tx, ws id.WorkSpace, to Payer) error { return nil }
func (b *Book) ClearStop(ctx context.Context, tx *audit.Tx, ws id.WorkSpace) error      { return nil }
func DueStops(ctx context.Context, q postgres.Querier, now time.Time, limit int) ([]id.WorkSpace, error) {
	return nil, nil
}
func StopAt(ctx context.Context, q postgres.Querier, ids []id.WorkSpace) (map[id.WorkSpace]time.Time, error) {
	return nil, nil
}
