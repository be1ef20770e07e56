package e2e

import "context"

func (y *year) report(ctx context.Context) {
	y.t.Logf("%d instants, %d sessions, refusals %v; %s", y.instants, y.sessions, y.refusals, y.profile())
}
