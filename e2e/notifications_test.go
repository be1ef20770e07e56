package e2e

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/app"
	"github.com/robco-forge/forge/internal/notify"
)

func TestWhatHappensReachesTheWebhookAndWhatDoesNotIsSeenAndSentAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, 600)
	secret := []byte("a secret that the receiver has")
	type event struct {
		ID, Type, Text string
		Data           map[string]any
	}
	var mu sync.Mutex
	var events []event
	broken := true
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			t.Error(err)
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(q.Header.Get("webhook-id") + "." + q.Header.Get("webhook-timestamp") + "." + string(body)))
		if q.Header.Get("webhook-signature") != "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
			t.Errorf("a wrong signature: %v", q.Header)
		}
		mu.Lock()
		defer mu.Unlock()
		if broken {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		var e event
		if err := json.Unmarshal(body, &e); err != nil || e.ID != q.Header.Get("webhook-id") {
			t.Errorf("%s: %v", body, err)
		}
		events = append(events, e)
	}))
	t.Cleanup(receiver.Close)

	cfg := r.server(rigConfig{DatabaseURL: r.pg.AppURL, AWS: r.aws, Speed: r.speed, Rate: 500})
	cfg.Notify = notify.Settings{WebhookURL: receiver.URL, WebhookSecrets: []string{"whsec_" + base64.StdEncoding.EncodeToString(secret)}}
	url := serving(t, cfg)
	as := func(user string) *client.ClientWithResponses {
		for _, p := range r.people {
			if p.User == user {
				c, err := client.NewClientWithResponses(url, client.WithRequestEditorFn(bearer(p.Token)))
				if err != nil {
					t.Fatal(err)
				}
				return c
			}
		}
		t.Fatalf("no user %s", user)
		return nil
	}
	admin := as("admin")

	sent, err := admin.TestNotificationsWithResponse(t.Context(), &client.TestNotificationsParams{})
	if err != nil || sent.JSON202 == nil || len(sent.JSON202.Channels) != 1 {
		t.Fatalf("%s, %v", sent.Body, err)
	}
	var dead client.Notification
	eventually(t, "a refused message is dead", func() bool {
		state := client.ListNotificationsParamsState("DEAD")
		l, err := admin.ListNotificationsWithResponse(t.Context(), &client.ListNotificationsParams{State: &state})
		if err != nil || l.JSON200 == nil || len(l.JSON200.Items) != 1 {
			return false
		}
		dead = l.JSON200.Items[0]
		return true
	})
	if dead.MessageId != sent.JSON202.MessageId || dead.LastError == nil || !strings.Contains(*dead.LastError, "422") {
		t.Errorf("%+v", dead)
	}
	if ready := fetched(t, url+"/readyz"); !strings.Contains(ready, "1 over webhook were given up") || !strings.Contains(ready, `"ready":true`) {
		t.Error(ready)
	}
	if metrics := fetched(t, url+"/metrics"); !strings.Contains(metrics, `forge_notifications_dead{channel="webhook"} 1`) ||
		!strings.Contains(metrics, `forge_notification_attempts_total{channel="webhook",outcome="dead"} 1`) {
		t.Error("the metrics do not show it")
	}

	mu.Lock()
	broken = false
	mu.Unlock()
	for _, user := range []string{"ada", "finance", "lead-backend", "auditor"} {
		c := as(user)
		l, err1 := c.ListNotificationsWithResponse(t.Context(), nil)
		g, err2 := c.GetNotificationWithResponse(t.Context(), dead.Id)
		p, err3 := c.ReplayNotificationWithResponse(t.Context(), dead.Id, nil)
		s, err4 := c.TestNotificationsWithResponse(t.Context(), nil)
		if err1 != nil || err2 != nil || err3 != nil || err4 != nil {
			t.Fatal(err1, err2, err3, err4)
		}
		if l.StatusCode() != 403 || g.StatusCode() != 403 || p.StatusCode() != 403 || s.StatusCode() != 403 {
			t.Errorf("%s: %d %d %d %d", user, l.StatusCode(), g.StatusCode(), p.StatusCode(), s.StatusCode())
		}
	}
	again, err := admin.ReplayNotificationWithResponse(t.Context(), dead.Id, nil)
	if err != nil || again.StatusCode() != http.StatusAccepted {
		t.Fatalf("%s, %v", again.Body, err)
	}
	eventually(t, "what was replayed arrives", func() bool {
		n, err := admin.GetNotificationWithResponse(t.Context(), dead.Id)
		return err == nil && n.JSON200 != nil && n.JSON200.State == "SENT" && n.JSON200.Text != nil && strings.Contains(*n.JSON200.Text, "It did.")
	})
	if n, err := admin.GetNotificationWithResponse(t.Context(), "dlv_nothing"); err != nil || n.StatusCode() != http.StatusNotFound {
		t.Errorf("%d, %v", n.StatusCode(), err)
	}

	// A launch that takes more than a hundredth of a budget tells of it, where that is the warning threshold.
	for _, scope := range [][2]string{{"ORGANISATION", "organisation"}, {"TEAM", "backend"}, {"USER", "ada"}} {
		set := client.BudgetSet{Amount: "100000"}
		if scope[0] == "USER" {
			set = client.BudgetSet{Amount: "100", WarningPercents: &[]int64{1}}
		}
		if b, err := as("finance").SetBudgetWithResponse(t.Context(), client.SetBudgetParamsScope(scope[0]), scope[1], nil, set); err != nil || b.StatusCode() != 200 {
			t.Fatalf("%s, %v", b.Body, err)
		}
	}
	made, err := as("ada").CreateWorkspaceWithResponse(t.Context(), nil, client.WorkspaceCreate{Blueprint: "go-dev"})
	if err != nil || made.StatusCode() != http.StatusAccepted {
		t.Fatalf("%s, %v", made.Body, err)
	}
	eventually(t, "the warning arrives", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range events {
			if e.Type == "budget.warning" && e.Data["limit"] == "100.000000" && strings.Contains(e.Text, "forge budgets request") {
				return true
			}
		}
		return false
	})
}

// serving runs a server of the configuration until the test ends.
func serving(t *testing.T, cfg app.Config) (url string) {
	t.Helper()
	f, err := app.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- f.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("the server did not drain: %v", err)
		}
		f.Close()
	})
	return "http://" + l.Addr().String()
}

func fetched(t *testing.T, url string) string {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
