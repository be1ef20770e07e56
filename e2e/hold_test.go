package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/robco-forge/forge/client"
)

// TestAQuotaStopsTheRegionTellsTheOperatorsAndGoesOnByItself has room for one WorkSpace at Amazon and two people.
func TestAQuotaStopsTheRegionTellsTheOperatorsAndGoesOnByItself(t *testing.T) {
	r := newRig(t, 600)
	url, stop := r.serve(true)
	defer stop()
	r.admin(http.MethodPut, "/_emu/quota", map[string]any{"quota": 1}, &struct{}{})
	users := r.users("q", 3)
	sign := func(i int) *client.ClientWithResponses {
		t.Helper()
		c, err := client.NewClientWithResponses(url, client.WithRequestEditorFn(bearer(users[i].Token)))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := launch(t, sign(0), client.WorkspaceCreate{Blueprint: "go-dev"})
	reaches(t, sign(0), first.Id, "AVAILABLE")

	second := launch(t, sign(1), client.WorkspaceCreate{Blueprint: "go-dev"})
	waiting := func(i int, id string) string {
		w := show(t, sign(i), id)
		if w.State != "PENDING" || w.Provisioning == nil || w.Provisioning.Waiting == nil {
			return ""
		}
		return *w.Provisioning.Waiting
	}
	eventually(t, "the second is told why it waits", func() bool {
		return strings.Contains(waiting(1, second.Id), "ResourceLimitExceeded")
	})
	third := launch(t, sign(2), client.WorkspaceCreate{Blueprint: "go-dev"})
	eventually(t, "the third as well", func() bool { return waiting(2, third.Id) != "" })
	get := func(path string) string {
		t.Helper()
		saved := forge
		defer func() { forge = saved }()
		forge.API = url
		return ask(t, http.MethodGet, path, "", nil).body
	}
	if body := get("/readyz"); !strings.Contains(body, `"ready":true`) || !strings.Contains(body, "nothing can be made in us-east-1") {
		t.Errorf("/readyz: %s", body)
	}
	if body := get("/metrics"); !strings.Contains(body, `forge_provider_hold{code="ResourceLimitExceededException",directory="",region="us-east-1"} 1`) {
		t.Error("the hold is not in the metrics")
	}
	var admins, told, entries int
	if err := r.db.QueryRow(t.Context(), `
		SELECT (SELECT count(*) FROM users WHERE role = 'admin'), (SELECT count(*) FROM notifications WHERE kind = 'provider.hold'),
		       (SELECT count(*) FROM audit_logs WHERE action_type = 'provider.hold')`).Scan(&admins, &told, &entries); err != nil {
		t.Fatal(err)
	}
	if admins == 0 || told != admins || entries == 0 {
		t.Errorf("%d admins, %d messages, %d audit entries", admins, told, entries)
	}
	// What is there can be used and ended while nothing can be made.
	if a, err := sign(0).StopWorkspaceWithResponse(t.Context(), first.Id, &client.StopWorkspaceParams{}); err != nil || a.JSON202 == nil {
		t.Fatalf("%v %s", err, a.Body)
	}
	reaches(t, sign(0), first.Id, "STOPPED")

	r.admin(http.MethodPut, "/_emu/quota", map[string]any{"quota": 10}, &struct{}{})
	reaches(t, sign(1), second.Id, "AVAILABLE")
	w := reaches(t, sign(2), third.Id, "AVAILABLE")
	var holds, released int
	if err := r.db.QueryRow(t.Context(), `
		SELECT (SELECT count(*) FROM provider_holds), (SELECT count(*) FROM audit_logs WHERE action_type = 'provider.release')`).Scan(&holds, &released); err != nil {
		t.Fatal(err)
	}
	if holds != 0 || released != 1 {
		t.Errorf("%d holds are left, %d were released", holds, released)
	}
	if body := get("/readyz"); strings.Contains(body, "nothing can be made") {
		t.Errorf("/readyz still: %s", body)
	}

	// The way of each is told by its steps, and counted.
	names := []string{}
	for _, s := range w.Provisioning.Steps {
		names = append(names, string(s.Name))
		if s.EndedAt == nil || s.EndedAt.Before(s.BegunAt) {
			t.Errorf("step %+v", s)
		}
	}
	if strings.Join(names, " ") != "queue accept boot" || w.Provisioning.Expected != nil || w.Provisioning.Waiting != nil {
		t.Errorf("provisioning: %+v", w.Provisioning)
	}
	if body := get("/metrics"); !strings.Contains(body, `forge_provisioning_seconds_count{region="us-east-1",step="boot"} 3`) {
		t.Error("provisioning is not measured")
	}
}

// TestTheWayToAvailableIsForetoldFromWhatWasMeasured shows Amazon's statement first, and measurements once there are enough.
func TestTheWayToAvailableIsForetoldFromWhatWasMeasured(t *testing.T) {
	r := newRig(t, 600)
	url, stop := r.serve(true)
	defer stop()
	users := r.users("m", 6)
	var ids []string
	for i, u := range users {
		c, err := client.NewClientWithResponses(url, client.WithRequestEditorFn(bearer(u.Token)))
		if err != nil {
			t.Fatal(err)
		}
		w := launch(t, c, client.WorkspaceCreate{Blueprint: "go-dev"})
		e := w.Provisioning.Expected
		switch {
		case e == nil:
			t.Fatalf("nothing is foretold: %+v", w.Provisioning)
		case i < 5 && (e.Basis != "stated" || e.TypicalSeconds != 20*60 || e.SlowSeconds != 40*60 || e.Samples != 0):
			t.Errorf("with %d measured: %+v", i, e)
		case i == 5 && (e.Basis != "measured" || e.Samples != 5 || e.SlowSeconds < e.TypicalSeconds || e.SlowSeconds > 60):
			t.Errorf("with five measured: %+v", e)
		}
		reaches(t, c, w.Id, "AVAILABLE")
		ids = append(ids, w.Id)
	}
	if len(ids) != len(users) {
		t.Errorf("%d of %d", len(ids), len(users))
	}
}
