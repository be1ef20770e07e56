package notify_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/notify"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
	"github.com/robco-forge/forge/internal/price"
)

const (
	oldSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	newSecret = "whsec_bm90IHRoZSBvbGQgb25lLCBidXQgYW5vdGhlciE="
)

var noon = time.Date(2026, 11, 15, 12, 0, 0, 0, time.UTC)

// house is a database, a clock, and what is needed to tell people things.
type house struct {
	*pgtest.DB
	org   *pgtest.Org
	clock *clock.Manual
	log   *audit.Log
}

func setUp(t *testing.T) *house {
	t.Helper()
	h := &house{DB: pgtest.New(t), clock: clock.At(noon)}
	h.org = h.Seed(t, noon, "allow", price.SessionCeil)
	h.log = h.Log(t, h.clock.Now)
	return h
}

func (h *house) sender(t *testing.T, s notify.Settings) *notify.Sender {
	t.Helper()
	c, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	return &notify.Sender{
		Pool: h.Pool, Log: h.log, Clock: h.clock.Now, Slog: slog.New(slog.DiscardHandler), Channels: c,
		Names: func(ctx context.Context, q postgres.Querier, ids []string) (map[string]string, error) {
			found, err := postgres.Many[struct{ ID, Name string }](ctx, q, `SELECT id, name FROM teams WHERE id = ANY($1)`, ids)
			names := map[string]string{}
			for _, f := range found {
				names[f.ID] = f.Name
			}
			return names, err
		},
	}
}

func (h *house) change(t *testing.T, who actor.Actor, fn func(ctx context.Context, tx *audit.Tx) error) error {
	t.Helper()
	ctx := actor.With(t.Context(), who)
	return h.log.Change(ctx, audit.Intent{Action: "test.try", ResourceType: "notification"}, func(tx *audit.Tx) error {
		tx.Record(audit.Event{Action: "test.change", ResourceType: "notification"})
		return fn(ctx, tx)
	})
}

func (h *house) enqueue(t *testing.T, messages ...notify.Message) {
	t.Helper()
	if err := h.change(t, actor.System("test"), func(ctx context.Context, tx *audit.Tx) error {
		for _, m := range messages {
			if err := notify.Enqueue(ctx, tx, m); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// work has the sender work until it finds nothing to do.
func work(t *testing.T, s *notify.Sender) {
	t.Helper()
	for {
		n, err := s.Round(actor.With(t.Context(), actor.System("notify")))
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

func (h *house) deliveries(t *testing.T, state notify.State) []notify.Delivery {
	t.Helper()
	all, err := notify.Deliveries(t.Context(), h.Pool, notify.Filter{State: state, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (h *house) warning(n int) []notify.Message {
	event := fmt.Sprintf("budget.warning:bud_%03d", n)
	payload := map[string]any{
		"scope": "TEAM", "scope_id": string(h.org.Teams[0]), "percent": 80, "limit": "400.000000", "settled": "300.000000", "held": "20.000000",
		"period_start": "2026-11-01T00:00:00Z",
	}
	return []notify.Message{
		{Key: event + ":user", Event: event, Kind: "budget.warning", User: h.org.Users[0][actor.Engineer], Payload: payload},
		{Key: event + ":team", Event: event, Kind: "budget.warning", Team: h.org.Teams[0], Payload: payload},
	}
}

// verified is what the specification of Standard Webhooks says a receiver must do; it uses nothing of the sender's.
func verified(secret string, p post, now time.Time) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return err
	}
	var sent int64
	if _, err := fmt.Sscan(p.stamp, &sent); err != nil {
		return err
	}
	if d := now.Sub(time.Unix(sent, 0)); d > 5*time.Minute || d < -5*time.Minute {
		return fmt.Errorf("its timestamp is %s off", d)
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(p.id + "." + p.stamp + "." + p.body))
	want := h.Sum(nil)
	for _, one := range strings.Split(p.signature, " ") {
		version, encoded, _ := strings.Cut(one, ",")
		got, err := base64.StdEncoding.DecodeString(encoded)
		if version == "v1" && err == nil && hmac.Equal(got, want) {
			return nil
		}
	}
	return fmt.Errorf("no signature of %q is right", p.signature)
}

func TestPeopleAreToldByEMailAndTheOrganisationByWebhookAndSlack(t *testing.T) {
	h := setUp(t)
	office := newPostOffice(t, "starttls", "forge", "s3cret/@:")
	hook, slack, team := newReceiver(t), newReceiver(t), newReceiver(t)
	s := h.sender(t, notify.Settings{
		SMTPURL: "smtp://forge:s3cret%2F%40%3A@127.0.0.1:" + office.port, SMTPFrom: "RobCo Forge <forge@example.com>", Roots: office.roots,
		WebhookURL: hook.URL, WebhookSecrets: []string{newSecret, oldSecret}, SlackURL: slack.URL, TeamSlackURLs: []string{"backend=" + team.URL, "data=" + slack.URL},
	})
	h.enqueue(t, h.warning(1)...)
	h.enqueue(t, h.warning(1)...) // the same again is no news
	work(t, s)

	letters := office.got()
	var to []string
	for _, l := range letters {
		to = append(to, l.to)
		if got := l.header.Get("Subject"); got != "The budget of the team backend is 80 percent used" {
			t.Errorf("the subject is %q", got)
		}
		if !strings.Contains(l.body, "400.00 USD") || !strings.Contains(l.body, "What to do") || l.header.Get("From") != `"RobCo Forge" <forge@example.com>` ||
			l.header.Get("Auto-Submitted") != "auto-generated" || !strings.HasPrefix(l.header.Get("Message-ID"), "<msg_") {
			t.Errorf("the letter is %+v", l)
		}
	}
	slices.Sort(to)
	if want := []string{"backend-engineer@example.com", "backend-team_lead@example.com"}; !slices.Equal(to, want) {
		t.Errorf("e-mail went to %v, want %v", to, want)
	}
	if !office.overTLS || office.signedIn != 2 {
		t.Errorf("encrypted %v, signed in %d times", office.overTLS, office.signedIn)
	}

	posts := hook.got()
	if len(posts) != 1 {
		t.Fatalf("the webhook has %d posts of one event", len(posts))
	}
	for _, secret := range []string{oldSecret, newSecret} { // a receiver that has not changed its secret yet, and one that has
		if err := verified(secret, posts[0], time.Now()); err != nil {
			t.Error(err)
		}
	}
	changed := posts[0]
	changed.body = strings.Replace(changed.body, "400", "900", 1)
	if verified(newSecret, changed, time.Now()) == nil {
		t.Error("a changed body has a right signature")
	}
	var event struct {
		ID, Type, Subject string
		Timestamp         time.Time
		Data              map[string]any
	}
	if err := json.Unmarshal([]byte(posts[0].body), &event); err != nil {
		t.Fatal(err)
	}
	if event.ID != posts[0].id || event.Type != "budget.warning" || !event.Timestamp.Equal(noon) || event.Data["limit"] != "400.000000" {
		t.Errorf("the event is %+v", event)
	}
	if len(slack.got()) != 1 || len(team.got()) != 1 || !strings.Contains(team.got()[0].body, `*The budget of the team backend is 80 percent used*`) {
		t.Errorf("slack %v, the team's %v", slack.got(), team.got())
	}
	if left := h.deliveries(t, notify.Waiting); len(left) != 0 {
		t.Errorf("%d deliveries wait", len(left))
	}
}

func TestAReceiverThatWasDownForAnHourGetsEachMessageInOrder(t *testing.T) {
	h := setUp(t)
	hook, office := newReceiver(t), newPostOffice(t, "tls", "", "")
	s := h.sender(t, notify.Settings{
		SMTPURL: "smtps://127.0.0.1:" + office.port, SMTPFrom: "forge@example.com", Roots: office.roots,
		WebhookURL: hook.URL, WebhookSecrets: []string{newSecret},
	})
	hook.answers(failing(http.StatusBadGateway))
	const messages = 30
	for minute := range 60 {
		if minute < messages {
			h.enqueue(t, h.warning(minute)...)
		}
		work(t, s)
		h.clock.Advance(time.Minute)
	}
	if got := len(hook.got()); got != 0 {
		t.Fatalf("%d arrived while it was down", got)
	}
	if n := hook.tried(); n < 5 || n > 30 {
		t.Errorf("it was tried %d times in an hour", n) // one delivery at a time, further and further apart
	}
	if n := len(office.got()); n != 2*messages {
		t.Errorf("%d letters, want %d: another channel waits for none that is down", n, 2*messages)
	}
	hook.answers(nil)
	for range 15 {
		work(t, s)
		h.clock.Advance(time.Minute)
	}
	posts := hook.got()
	keys := map[string]bool{}
	var events []string
	for _, p := range posts {
		if err := verified(newSecret, p, time.Now()); err != nil {
			t.Error(err)
		}
		keys[p.id] = true
		events = append(events, pgtest.Value[string](t, h.DB, `SELECT event_key FROM notifications WHERE id = $1`, p.id))
	}
	if len(posts) != messages || len(keys) != messages || !slices.IsSorted(events) {
		t.Errorf("%d posts with %d keys: %v", len(posts), len(keys), events)
	}
}

func TestTwoReplicasLoseNothingAndKeepTheOrder(t *testing.T) {
	h := setUp(t)
	hook := newReceiver(t)
	hook.answers(func(try int, w http.ResponseWriter) bool {
		if try%7 == 0 {
			w.WriteHeader(http.StatusInternalServerError)
			return false
		}
		return true
	})
	settings := notify.Settings{WebhookURL: hook.URL, WebhookSecrets: []string{newSecret}}
	const messages = 120
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for range 2 {
		s := h.sender(t, settings)
		for range 2 {
			wg.Go(func() {
				for ctx.Err() == nil {
					n, err := s.Round(actor.With(t.Context(), actor.System("notify")))
					if err != nil {
						t.Error(err)
						return
					}
					// What failed waits for its time, which does not come while one is on its way: leases would end.
					if n == 0 && pgtest.Value[int](t, h.DB, `SELECT count(*) FROM notification_deliveries WHERE lease_until IS NOT NULL`) == 0 {
						h.clock.Advance(time.Second)
					}
					if len(hook.got()) >= messages {
						return
					}
				}
			})
		}
	}
	for n := range messages {
		h.enqueue(t, h.warning(n)...)
	}
	wg.Wait()
	var events []string
	seen := map[string]int{}
	for _, p := range hook.got() {
		seen[p.id]++
		events = append(events, pgtest.Value[string](t, h.DB, `SELECT event_key FROM notifications WHERE id = $1`, p.id))
	}
	if len(seen) != messages || len(events) != messages || !slices.IsSorted(events) {
		t.Errorf("%d messages, %d posts, in order: %v", len(seen), len(events), slices.IsSorted(events))
	}
}

func TestACrashBetweenSendingAndMarkingSendsAgainUnderTheSameKey(t *testing.T) {
	h := setUp(t)
	hook := newReceiver(t)
	settings := notify.Settings{WebhookURL: hook.URL, WebhookSecrets: []string{newSecret}}
	ctx, crash := context.WithCancel(actor.With(t.Context(), actor.System("notify")))
	hook.answers(func(try int, _ http.ResponseWriter) bool {
		if try == 1 {
			crash()
		}
		return true
	})
	h.enqueue(t, h.warning(1)...)
	if _, err := h.sender(t, settings).Round(ctx); err == nil {
		t.Fatal("it was to crash")
	}
	second := h.sender(t, settings)
	work(t, second)
	if n := len(hook.got()); n != 1 {
		t.Fatalf("%d posts while the first may still be at it", n)
	}
	h.clock.Advance(21 * time.Second)
	work(t, second)
	posts := hook.got()
	if len(posts) != 2 || posts[0].id != posts[1].id || posts[0].body != posts[1].body {
		t.Errorf("%+v", posts)
	}
}

func TestAfterItsTimeAMessageIsDeadOnRecordAndCanBeReplayed(t *testing.T) {
	h := setUp(t)
	hook := newReceiver(t)
	hook.answers(failing(http.StatusServiceUnavailable))
	s := h.sender(t, notify.Settings{WebhookURL: hook.URL, WebhookSecrets: []string{newSecret}, GiveUpAfter: time.Hour})
	h.enqueue(t, h.warning(1)...)
	for range 80 {
		work(t, s)
		h.clock.Advance(time.Minute)
	}
	dead := h.deliveries(t, notify.Dead)
	if len(dead) != 1 || !strings.Contains(dead[0].LastError, "503") || dead[0].EndedAt == nil || strings.Contains(dead[0].LastError, hook.URL) {
		t.Fatalf("%+v", dead)
	}
	if n := pgtest.Value[int](t, h.DB, `SELECT count(*) FROM audit_logs WHERE action_type = 'notification.dead' AND resource_id = $1`, dead[0].ID); n != 1 {
		t.Errorf("%d entries say that it is dead", n)
	}
	tried := hook.tried()
	work(t, s)
	if hook.tried() != tried {
		t.Error("it is tried though it is dead")
	}
	replay := func(who actor.Actor) error {
		return h.change(t, who, func(ctx context.Context, tx *audit.Tx) error {
			_, err := s.Replay(ctx, tx, dead[0].ID)
			return err
		})
	}
	if err := replay(h.org.Actor(0, actor.Finance)); err == nil {
		t.Error("finance has replayed it")
	}
	if err := replay(h.org.Actor(0, actor.Admin)); err != nil {
		t.Fatal(err)
	}
	hook.answers(nil)
	work(t, s)
	if posts := hook.got(); len(posts) != 1 || posts[0].id != dead[0].NotificationID {
		t.Errorf("%+v", posts)
	}
	if err := h.change(t, h.org.Actor(0, actor.Admin), func(ctx context.Context, tx *audit.Tx) error {
		_, err := s.Replay(ctx, tx, "dlv_nothing")
		return err
	}); err == nil {
		t.Error("what is not there was replayed")
	}
}

func TestWhatIsRefusedForGoodHoldsNobodyUp(t *testing.T) {
	h := setUp(t)
	hook, office := newReceiver(t), newPostOffice(t, "starttls", "", "")
	office.refuse["backend-engineer@example.com"] = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	hook.answers(func(try int, w http.ResponseWriter) bool {
		if try == 1 {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
		return try > 1
	})
	s := h.sender(t, notify.Settings{
		SMTPURL: "smtp://127.0.0.1:" + office.port, SMTPFrom: "forge@example.com", Roots: office.roots, WebhookURL: hook.URL, WebhookSecrets: []string{newSecret},
	})
	h.enqueue(t, append(h.warning(1), h.warning(2)...)...)
	work(t, s)
	dead := map[string]int{}
	for _, d := range h.deliveries(t, notify.Dead) {
		dead[d.Channel+":"+d.Target]++
	}
	want := map[string]int{"webhook:": 1, "email:" + string(h.org.Users[0][actor.Engineer]): 2}
	if fmt.Sprint(dead) != fmt.Sprint(want) || len(hook.got()) != 1 || len(office.got()) != 2 {
		t.Errorf("dead %v, want %v; %d posts, %d letters", dead, want, len(hook.got()), len(office.got()))
	}
}

func TestWhatIsNotForGoodIsTriedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		encryption string
		settings   func(*postOffice) notify.Settings
	}{
		"a server that does not offer STARTTLS gets nothing": {"none", func(o *postOffice) notify.Settings {
			return notify.Settings{SMTPURL: "smtp://127.0.0.1:" + o.port, SMTPFrom: "forge@example.com", Roots: o.roots}
		}},
		"a certificate that nobody vouches for": {"starttls", func(o *postOffice) notify.Settings {
			return notify.Settings{SMTPURL: "smtp://127.0.0.1:" + o.port, SMTPFrom: "forge@example.com", Roots: x509.NewCertPool()}
		}},
		"a wrong password": {"starttls", func(o *postOffice) notify.Settings {
			return notify.Settings{SMTPURL: "smtp://forge:wrong@127.0.0.1:" + o.port, SMTPFrom: "forge@example.com", Roots: o.roots}
		}},
		"a temporary refusal": {"starttls", func(o *postOffice) notify.Settings {
			o.refuse["backend-engineer@example.com"] = &smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 2, 1}, Message: "later"}
			return notify.Settings{SMTPURL: "smtp://127.0.0.1:" + o.port, SMTPFrom: "forge@example.com", Roots: o.roots}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h := setUp(t)
			office := newPostOffice(t, c.encryption, "", "")
			s := h.sender(t, c.settings(office))
			h.enqueue(t, h.warning(1)[0])
			work(t, s)
			waiting := h.deliveries(t, notify.Waiting)
			if len(waiting) != 1 || waiting[0].Attempts != 1 || waiting[0].LastError == "" || !waiting[0].DueAt.After(noon) || len(office.got()) != 0 {
				t.Fatalf("%+v; %d letters", waiting, len(office.got()))
			}
			if strings.Contains(waiting[0].LastError, "wrong@") {
				t.Errorf("the password is in the error: %s", waiting[0].LastError)
			}
		})
	}
}

func TestAServerWithoutTLSIsUsedOnlyWhereThatIsSaid(t *testing.T) {
	h := setUp(t)
	office := newPostOffice(t, "none", "", "")
	s := h.sender(t, notify.Settings{SMTPURL: "smtp://127.0.0.1:" + office.port + "?tls=none", SMTPFrom: "forge@example.com"})
	h.enqueue(t, h.warning(1)[0])
	work(t, s)
	if len(office.got()) != 1 {
		t.Errorf("%d letters", len(office.got()))
	}
}

func TestARedirectIsNotFollowedAndALongAnswerIsNotKept(t *testing.T) {
	h := setUp(t)
	inside, hook := newReceiver(t), newReceiver(t)
	hook.answers(func(_ int, w http.ResponseWriter) bool {
		w.Header().Set("Location", inside.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
		_, _ = w.Write([]byte(strings.Repeat("x\x00\n", 1<<20)))
		return false
	})
	s := h.sender(t, notify.Settings{WebhookURL: hook.URL, WebhookSecrets: []string{newSecret}})
	h.enqueue(t, h.warning(1)[0])
	work(t, s)
	waiting := h.deliveries(t, notify.Waiting)
	if len(waiting) != 1 || len(waiting[0].LastError) > 520 || inside.tried() != 0 {
		t.Errorf("%+v, tried inside %d times", waiting, inside.tried())
	}
}

func TestAReceiverSaysWhenToComeAgain(t *testing.T) {
	h := setUp(t)
	hook := newReceiver(t)
	hook.answers(func(_ int, w http.ResponseWriter) bool {
		w.Header().Set("Retry-After", "300")
		w.WriteHeader(http.StatusTooManyRequests)
		return false
	})
	s := h.sender(t, notify.Settings{WebhookURL: hook.URL, WebhookSecrets: []string{newSecret}})
	h.enqueue(t, h.warning(1)[0])
	work(t, s)
	if w := h.deliveries(t, notify.Waiting); len(w) != 1 || w[0].DueAt.Before(noon.Add(5*time.Minute)) {
		t.Errorf("%+v", w)
	}
}

func TestWhoIsDeactivatedMeanwhileGetsNothing(t *testing.T) {
	h := setUp(t)
	office := newPostOffice(t, "starttls", "", "")
	s := h.sender(t, notify.Settings{SMTPURL: "smtp://127.0.0.1:" + office.port, SMTPFrom: "forge@example.com", Roots: office.roots})
	office.refuse["backend-engineer@example.com"] = &smtp.SMTPError{Code: 450, Message: "later"}
	h.enqueue(t, h.warning(1)[0])
	work(t, s)
	h.Exec(t, `UPDATE users SET deactivated_at = $2 WHERE id = $1`, h.org.Users[0][actor.Engineer], noon)
	h.clock.Advance(time.Hour)
	work(t, s)
	if d := h.deliveries(t, notify.Dead); len(d) != 1 || !strings.Contains(d[0].LastError, "deactivated") {
		t.Errorf("%+v", d)
	}
}

func TestATestReachesWhoAsksOverEveryChannel(t *testing.T) {
	h := setUp(t)
	hook, office := newReceiver(t), newPostOffice(t, "starttls", "", "")
	s := h.sender(t, notify.Settings{
		SMTPURL: "smtp://127.0.0.1:" + office.port, SMTPFrom: "forge@example.com", Roots: office.roots, WebhookURL: hook.URL, WebhookSecrets: []string{newSecret},
	})
	var message string
	if err := h.change(t, h.org.Actor(1, actor.Admin), func(ctx context.Context, tx *audit.Tx) (err error) {
		message, err = notify.Test(ctx, tx)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := h.change(t, h.org.Actor(1, actor.Engineer), func(ctx context.Context, tx *audit.Tx) error {
		_, err := notify.Test(ctx, tx)
		return err
	}); err == nil {
		t.Error("an engineer has sent a test")
	}
	work(t, s)
	if l := office.got(); len(l) != 1 || l[0].to != "data-admin@example.com" {
		t.Errorf("%+v", l)
	}
	found, err := notify.Deliveries(t.Context(), h.Pool, notify.Filter{Message: message, State: notify.Sent, Limit: 10})
	if err != nil || len(found) != 2 || len(hook.got()) != 1 {
		t.Errorf("%+v, %v", found, err)
	}
	if b, err := notify.Backlogs(t.Context(), h.Pool, h.clock.Now()); err != nil || len(b) != 0 {
		t.Errorf("%+v, %v", b, err)
	}
}
