package desktop

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/robco-forge/forge/internal/workspace"
)

// bare takes away everything that the machine of the test might know of AWS.
func bare(t *testing.T) {
	t.Helper()
	nowhere := filepath.Join(t.TempDir(), "none")
	for name, value := range map[string]string{
		"AWS_CONFIG_FILE": nowhere, "AWS_SHARED_CREDENTIALS_FILE": nowhere, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
		"AWS_DEFAULT_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_CA_BUNDLE",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
	} {
		t.Setenv(name, "")
	}
}

func TestAnEmulatorNeedsNoCredentials(t *testing.T) {
	bare(t)
	for _, endpoint := range []string{"http://127.0.0.1:4566", "http://localhost:4566", "http://[::1]:4566"} {
		cfg, err := LoadAWS(t.Context(), endpoint)
		if err != nil {
			t.Fatal(err)
		}
		found, err := cfg.Credentials.Retrieve(t.Context())
		if err != nil || found.AccessKeyID != "emulator" {
			t.Errorf("%s: %q, %v", endpoint, found.AccessKeyID, err)
		}
	}
	b := newBench(t)
	cfg := b.config
	loaded, err := LoadAWS(t.Context(), cfg.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	cfg.AWS = loaded
	if _, err := New(cfg).Create(t.Context(), spec("alice")); err != nil {
		t.Error(err)
	}
}

func TestCredentialsThatAreConfiguredAreUsed(t *testing.T) {
	bare(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDCONFIGURED")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	for _, endpoint := range []string{"http://127.0.0.1:4566", "https://workspaces.example.com", ""} {
		cfg, err := LoadAWS(t.Context(), endpoint)
		if err != nil {
			t.Fatal(err)
		}
		found, err := cfg.Credentials.Retrieve(t.Context())
		if err != nil || found.AccessKeyID != "AKIDCONFIGURED" {
			t.Errorf("%s: %q, %v", endpoint, found.AccessKeyID, err)
		}
	}
}

func TestWithoutCredentialsNothingIsSent(t *testing.T) {
	bare(t)
	for _, endpoint := range []string{"", "http://10.1.2.3", "http://localhost.example.com"} {
		cfg, err := LoadAWS(t.Context(), endpoint)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cfg.Credentials.Retrieve(t.Context()); err == nil {
			t.Errorf("%q: credentials from nowhere", endpoint)
		}
	}
	b := newBench(t)
	cfg := b.config
	cfg.AWS.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("the vault is shut")
	})
	pe := wantClass(t, one(New(cfg).Stop(t.Context(), home, []string{"ws-000000000"})), workspace.Blocked)
	if pe.Code != codeNoCredentials || len(b.sent("StopWorkspaces")) != 0 {
		t.Errorf("code %s", pe.Code)
	}
}

func TestSettingsThatAreLeftOutAreAmazonsLimits(t *testing.T) {
	p := New(Config{})
	limits, ok := p.cfg.Limiter.(*Local)
	if !ok || limits.PerSecond != 2 || limits.Burst != 5 || p.cfg.Logger != slog.Default() || p.cfg.BreakFor != 15*time.Second {
		t.Errorf("%+v", p.cfg)
	}
}

// The environment must not bring back the SDK's own way of trying again.
func TestTheEnvironmentDoesNotChangeHowOftenARequestIsSent(t *testing.T) {
	bare(t)
	t.Setenv("AWS_MAX_ATTEMPTS", "7")
	t.Setenv("AWS_RETRY_MODE", "adaptive")
	b := newBench(t)
	cfg := b.config
	loaded, err := LoadAWS(t.Context(), cfg.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	loaded.HTTPClient = cfg.AWS.HTTPClient
	cfg.AWS = loaded
	p := New(cfg)
	b.fail("StopWorkspaces", "http500", 7)
	wantClass(t, one(p.Stop(t.Context(), home, []string{"ws-000000000"})), workspace.Ambiguous)
	b.fail("StartWorkspaces", "throttle", 7)
	wantClass(t, one(p.Start(t.Context(), home, []string{"ws-000000000"})), workspace.Throttled)
	if stops, starts := len(b.sent("StopWorkspaces")), len(b.sent("StartWorkspaces")); stops != 1 || starts != 3 {
		t.Errorf("sent %d and %d", stops, starts)
	}
}
