package emulator_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

func asKey(key string) func(*workspaces.Options) {
	return func(o *workspaces.Options) {
		o.Credentials = credentials.NewStaticCredentialsProvider(key, "secret", "")
	}
}

// calls makes n calls and gives how many were not throttled.
func (b *bench) calls(n int, options ...func(*workspaces.Options)) int {
	b.t.Helper()
	granted := 0
	for range n {
		_, err := b.client(options...).DescribeWorkspaces(b.t.Context(), &workspaces.DescribeWorkspacesInput{})
		switch code := apiCode(err); {
		case err == nil:
			granted++
		case code != "ThrottlingException" || statusOf(err) != http.StatusBadRequest:
			b.t.Fatal(err)
		}
	}
	return granted
}

func TestCallsAreGrantedAsAmazonDoes(t *testing.T) {
	b := newBench(t, func(c *emulator.Config) { c.APIRate, c.Speed = 2, 600 })
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 5}, {0, 0}, {499 * time.Millisecond, 0}, {time.Millisecond, 1}, {time.Second, 2}, {time.Hour, 5}} {
		b.clock.advance(step.after)
		if got := b.calls(8); got != step.want {
			t.Errorf("after %v %d calls, want %d", step.after, got, step.want)
		}
	}
	if got := b.calls(6, asKey("AKIDOTHER")); got != 5 {
		t.Errorf("another key: %d", got)
	}
	if got := b.calls(6, inRegion("eu-west-1")); got != 5 {
		t.Errorf("another Region: %d", got)
	}
	// The clock that is put ahead is not the one that calls are counted by.
	b.call(http.MethodPost, "/_emu/clock", map[string]any{"advance_ms": 3_600_000}, http.StatusOK, nil)
	if got := b.calls(1); got != 0 {
		t.Errorf("by turning the clock: %d", got)
	}
	var seen struct {
		Rate    float64
		Burst   int
		Callers []struct {
			AccessKey        string `json:"access_key"`
			Region           string
			Granted, Refused int
		}
	}
	b.call(http.MethodGet, "/_emu/throttle", nil, http.StatusOK, &seen)
	if seen.Rate != 2 || seen.Burst != 5 || len(seen.Callers) != 3 || seen.Callers[1].Region != "us-east-1" ||
		seen.Callers[1].Granted != 13 || seen.Callers[1].Refused != 36 {
		t.Errorf("%+v", seen)
	}
}

func throttles(t *testing.T, b *bench) {
	if got := b.calls(20); got != 20 {
		t.Errorf("%d of 20 without a limit", got)
	}
	b.call(http.MethodPut, "/_emu/throttle", map[string]any{"rate": 1, "burst": 2}, http.StatusOK, nil)
	if got := b.calls(4); got != 2 {
		t.Errorf("%d, want 2", got)
	}
	b.call(http.MethodPut, "/_emu/throttle", map[string]any{"rate": 0}, http.StatusOK, nil)
	if got := b.calls(20); got != 20 {
		t.Errorf("%d of 20 when off", got)
	}
	b.wantProblem(http.MethodPut, "/_emu/throttle", map[string]any{"rate": -1}, http.StatusBadRequest, "rate")
	b.wantProblem(http.MethodPut, "/_emu/throttle", map[string]any{"rate": 1, "burst": -1}, http.StatusBadRequest, "burst")
	b.wantProblem(http.MethodPut, "/_emu/throttle", map[string]any{"burst": 1}, http.StatusBadRequest, "required")
}

func TestALimitThatMakesNoSenseIsRefused(t *testing.T) {
	for _, c := range []emulator.Config{{APIRate: -1}, {APIRate: 1, APIBurst: -1}} {
		if _, err := emulator.New(c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}
