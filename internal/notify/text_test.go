package notify_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/notify"
)

// payloads are what each kind of message carries where it is written.
var payloads = map[string]string{
	"budget.warning":               `{"scope": "TEAM", "scope_id": "team_1", "percent": 80, "limit": "400.000000", "settled": "300.000000", "held": "20.000000"}`,
	"budget.exhausted":             `{"scope": "ORGANISATION", "scope_id": "organisation", "percent": 100, "limit": "400.000000", "settled": "380.000000", "held": "20.000000"}`,
	"budget.forecast":              `{"scope": "TEAM", "scope_id": "team_1", "percent": 80, "at": "2026-11-19T00:00:00Z", "used_up_at": "2026-11-27T00:00:00Z", "per_day": "10.000000", "limit": "400.000000", "settled": "280.000000", "held": "20.000000", "period_end": "2026-12-01T00:00:00Z"}`,
	"budget.shortfall":             `{"scope": "TEAM", "scope_id": "team_1", "at": "2026-12-01T00:00:00Z", "fees": "300.000000", "held": "120.000000", "limit": "400.000000", "missing": "20.000000"}`,
	"budget.renewal_refused":       `{"workspace_id": "ws_1"}`,
	"budget.requested":             `{"request_id": "brq_1", "scope": "USER", "scope_id": "usr_1", "asked_by": "usr_1", "amount": "500.000000", "limit": "400.000000", "reason": "a release", "until": "2026-12-01T00:00:00Z"}`,
	"budget.request_approved":      `{"request_id": "brq_1", "scope": "USER", "scope_id": "usr_1", "decided_by": "usr_2", "amount": "450.000000", "limit": "850.000000", "asked": "500.000000", "note": "not more", "until": "2026-12-01T00:00:00Z"}`,
	"budget.request_declined":      `{"request_id": "brq_1", "scope": "USER", "scope_id": "usr_1", "decided_by": "usr_2", "amount": "500.000000"}`,
	"budget.loan_ended":            `{"scope": "USER", "scope_id": "usr_1", "limit": "400.000000", "settled": "380.000000", "held": "40.000000", "overrun": "20.000000"}`,
	"workspace.notice":             `{"workspace_id": "ws_1", "name": "spike", "policy": "lifetime", "will": "terminate", "at": "2026-12-01T00:00:00Z", "notice": 1, "why": "it is 89 of 90 days old", "how_to_delay": "ask your lead"}`,
	"workspace.stale":              `{"workspace_id": "ws_1", "name": "spike", "policy": "stale", "stopped_since": "2026-10-01T00:00:00Z", "ends_at": "2026-12-01T00:00:00Z"}`,
	"workspace.terminating":        `{"workspace_id": "ws_1", "name": "spike", "policy": "lifetime", "age_days": 90}`,
	"workspace.schedule_refused":   `{"workspace_id": "ws_1", "name": "spike", "policy": "schedule", "local": "2026-11-16T08:00", "code": "BUDGET_EXCEEDED"}`,
	"workspace.budget_stop":        `{"workspace_id": "ws_1", "name": "spike", "policy": "budget"}`,
	"workspace.changed":            `{"workspace_id": "ws_1", "name": "spike", "reason": "drift", "code": "", "message": "", "bundle_type": {"from": "STANDARD", "to": "POWER"}}`,
	"workspace.change_failed":      `{"workspace_id": "ws_1", "name": "spike", "reason": "user", "code": "X", "message": "no"}`,
	"workspace.dropped":            `{"workspace_id": "ws_1", "name": "spike", "reason": "user", "code": "X", "message": "no"}`,
	"workspace.migrated":           `{"workspace_id": "ws_1", "name": "spike", "reason": "user", "code": "", "message": ""}`,
	"workspace.migration_failed":   `{"workspace_id": "ws_1", "name": "spike", "reason": "user", "code": "X", "message": "no"}`,
	"workspace.stuck":              `{"workspace_id": "ws_1", "name": "spike", "state": "STARTING", "code": "", "message": "", "provider_id": "ws-1"}`,
	"workspace.protocol":           `{"workspace_id": "ws_1", "name": "spike", "state": "AVAILABLE", "code": "", "message": "", "provider_id": "ws-1"}`,
	"workspace.unhealthy":          `{"workspace_id": "ws_1", "name": "spike", "state": "IMPAIRED", "code": "", "message": "", "provider_id": "ws-1"}`,
	"workspace.conflict":           `{"workspace_id": "ws_1", "name": "spike", "state": "CONFLICT", "code": "X", "message": "two", "provider_id": "ws-1"}`,
	"workspace.failed":             `{"workspace_id": "ws_1", "name": "spike", "state": "FAILED", "code": "X", "message": "no", "provider_id": ""}`,
	"workspace.terminated_outside": `{"workspace_id": "ws_1", "name": "spike", "state": "TERMINATED", "code": "", "message": "", "provider_id": "ws-1"}`,
	"workspace.unpriced":           `{"workspace_id": "ws_1", "name": "spike", "bundle_type": "HUGE", "message": "no price"}`,
	"provider.hold":                `{"region": "us-east-1", "directory_id": "", "code": "X", "message": "no", "workspace_id": "ws_1"}`,
	"drift.found":                  `{"findings": [{"id": "1", "kind": "FOREIGN", "region": "us-east-1", "directory_id": "d-1", "provider_id": "ws-1"}]}`,
	"drift.doubt":                  `{"region": "us-east-1", "directory_id": "d-1", "missing": 1000000, "expected": 1200000}`,
	"blueprint.upgrade":            `{"upgrade": "upg_1", "state": "PAUSED", "reason": "too many failures"}`,
	"image.failed":                 `{"what": "go-dev@3 in us-east-1", "code": "X", "message": "no"}`,
	"image.waits":                  `{"what": "go-dev@3 in us-east-1", "code": "X", "message": "no"}`,
	"bundle.failed":                `{"what": "go-dev@3 in us-east-1", "code": "X", "message": "no"}`,
	"bundle.waits":                 `{"what": "go-dev@3 in us-east-1", "code": "X", "message": "no"}`,
	notify.KindTest:                `{}`,
}

func TestEveryKindIsSaidInFullWithWhatToDo(t *testing.T) {
	h := setUp(t)
	s := h.sender(t, notify.Settings{})
	for kind, payload := range payloads {
		subject, text, err := s.Text(t.Context(), kind, []byte(payload))
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		t.Logf("%s\n\n%s", subject, text)
		if subject == "" || subject == kind || strings.ContainsAny(subject, "\r\n") {
			t.Errorf("%s: the subject is %q", kind, subject)
		}
		if !strings.Contains(text, "What to do: ") {
			t.Errorf("%s does not say what to do:\n%s", kind, text)
		}
		for _, odd := range []string{"–", "<no value>", "map[", "e+0", "{{", "%!"} {
			if strings.Contains(subject+text, odd) {
				t.Errorf("%s has %q:\n%s\n\n%s", kind, odd, subject, text)
			}
		}
		// Whatever a payload lacks, something is said.
		if _, _, err := s.Text(t.Context(), kind, []byte(`{}`)); err != nil && kind != "drift.found" {
			t.Errorf("%s of nothing: %v", kind, err)
		}
	}
	subject, text, err := s.Text(t.Context(), "moon.full", []byte(`{"phase": "full"}`))
	if err != nil || subject != "moon.full" || !strings.Contains(text, `"phase": "full"`) {
		t.Errorf("%q %q %v", subject, text, err)
	}
}

// The kinds that are composed where they are written are in payloads by hand; those that are spelled out are found here.
func TestEveryKindThatIsWrittenHasWords(t *testing.T) {
	spelled := regexp.MustCompile(`Kind: +"([a-z]+\.[a-z_]+)"|(?:cross|s\.notify|im\.tell)\([^"\n]*"([a-z]+\.[a-z_]+)"|kind = "(workspace\.[a-z_]+)"`)
	var found []string
	for _, dir := range []string{"budget", "workspace", "blueprint", "people", "cost"} {
		files, err := filepath.Glob(filepath.Join("..", dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			source, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range spelled.FindAllStringSubmatch(string(source), -1) {
				kind := m[1] + m[2] + m[3]
				found = append(found, kind)
				if payloads[kind] == "" {
					t.Errorf("%s writes %s, which has no words", name, kind)
				}
			}
		}
	}
	for _, kind := range []string{"budget.warning", "drift.found", "workspace.stale", "image.waits", "workspace.conflict"} {
		if !slices.Contains(found, kind) {
			t.Errorf("the search does not find %s any more", kind)
		}
	}
}

func TestSettingsAreCheckedAndTheirSecretsNotRepeated(t *testing.T) {
	for name, c := range map[string]struct {
		settings notify.Settings
		says     string
	}{
		"mail without a sender":        {notify.Settings{SMTPURL: "smtp://mail.example.com"}, "--smtp-from"},
		"a sender without a server":    {notify.Settings{SMTPFrom: "forge@example.com"}, "--smtp-url"},
		"another protocol":             {notify.Settings{SMTPURL: "http://mail.example.com", SMTPFrom: "forge@example.com"}, "smtp://"},
		"a password in the clear":      {notify.Settings{SMTPURL: "smtp://a:hunter2@mail.example.com?tls=none", SMTPFrom: "forge@example.com"}, "unencrypted"},
		"an option that there is not":  {notify.Settings{SMTPURL: "smtp://mail.example.com?tls=maybe", SMTPFrom: "forge@example.com"}, "tls=none"},
		"a port that is none":          {notify.Settings{SMTPURL: "smtp://mail.example.com:0", SMTPFrom: "forge@example.com"}, "port"},
		"a webhook without a secret":   {notify.Settings{WebhookURL: "https://example.com/hook"}, "--webhook-secret"},
		"a secret without a webhook":   {notify.Settings{WebhookSecrets: []string{newSecret}}, "--webhook-url"},
		"a short secret":               {notify.Settings{WebhookURL: "https://example.com/hook", WebhookSecrets: []string{"whsec_aHVudGVyMg=="}}, "24 to 64"},
		"three secrets":                {notify.Settings{WebhookURL: "https://example.com/hook", WebhookSecrets: []string{newSecret, oldSecret, newSecret}}, "two"},
		"a webhook in the clear":       {notify.Settings{WebhookURL: "http://example.com/hunter2", WebhookSecrets: []string{newSecret}}, "https://"},
		"the cloud's metadata":         {notify.Settings{SlackURL: "http://169.254.169.254/hunter2"}, "https://"},
		"Slack with a password":        {notify.Settings{SlackURL: "https://a:hunter2@example.com/"}, "--slack-url"},
		"a team without an address":    {notify.Settings{TeamSlackURLs: []string{"backend"}}, "TEAM=URL"},
		"a team with half an address":  {notify.Settings{TeamSlackURLs: []string{"backend=hooks.slack.com/hunter2"}}, "backend"},
		"hardly any patience":          {notify.Settings{GiveUpAfter: time.Second}, "a minute"},
		"an address that is not one":   {notify.Settings{SMTPURL: "smtp://%zzhunter2", SMTPFrom: "forge@example.com"}, "--smtp-url"},
		"a Slack that is not anything": {notify.Settings{SlackURL: "%zzhunter2"}, "--slack-url"},
	} {
		_, err := c.settings.Open()
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := notify.Settings{
		SMTPURL: "smtps://a:b@mail.example.com", SMTPFrom: "forge@example.com", WebhookURL: "https://example.com/hook", WebhookSecrets: []string{newSecret},
		SlackURL: "https://hooks.slack.com/x", TeamSlackURLs: []string{"backend=http://localhost:1/"},
	}
	if _, err := good.Open(); err != nil {
		t.Error(err)
	}
}
