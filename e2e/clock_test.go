package e2e

import (
	"testing"
	"time"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/aws/emulator"
	"github.com/robco-forge/forge/internal/clock"
)

// TestForgeAndAmazonShareOneClock lets Amazon work at its real speed, in time that passes only when the test says so.
func TestForgeAndAmazonShareOneClock(t *testing.T) {
	virtual := clock.At(time.Now().Truncate(time.Hour))
	r := newRig(t, 1, func(c *emulator.Config) { c.Now = virtual.Now })
	r.clock = virtual.Now
	url, stop := r.serve(true)
	defer stop()
	user := r.users("v", 1)[0]
	c, err := client.NewClientWithResponses(url, client.WithRequestEditorFn(bearer(user.Token)))
	if err != nil {
		t.Fatal(err)
	}
	w := launch(t, c, client.WorkspaceCreate{Blueprint: "go-dev"})
	eventually(t, "Amazon has accepted it", func() bool { return show(t, c, w.Id).ProviderId != nil })
	eventually(t, "it is AVAILABLE", func() bool {
		virtual.Advance(30 * time.Second) // a tenth of a second for us
		return show(t, c, w.Id).State == "AVAILABLE"
	})
	w = show(t, c, w.Id)
	if took := w.AvailableAt.Sub(w.CreatedAt); took < 12*time.Minute || took > 20*time.Minute {
		t.Errorf("it took %s; Amazon takes 12 to 18 minutes, and is looked at every half", took)
	}
	if toDate := amount(t, w.CostToDate); toDate == 0 {
		t.Error("it costs nothing")
	}
	before := amount(t, w.CostToDate)
	virtual.Advance(3 * time.Hour)
	if after := amount(t, show(t, c, w.Id).CostToDate); after-before != 3*300_000 {
		t.Errorf("three hours cost %s", after-before)
	}
}
