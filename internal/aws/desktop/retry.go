package desktop

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"

	"github.com/robco-forge/forge/internal/workspace"
)

const (
	maxAttempts = 3
	// firstDelay is the most that is waited before the second attempt; it doubles for each further one.
	firstDelay = 500 * time.Millisecond
)

// retryer sends again only what Amazon has throttled, and makes every attempt wait for its turn. The SDK's own would
// also send again after a dropped connection or an HTTP 500, and CreateWorkspaces has no token to make that harmless.
type retryer struct {
	limiter Limiter
	region  string
}

var _ aws.RetryerV2 = retryer{}

func (r retryer) IsErrorRetryable(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && classOf(api.ErrorCode(), workspace.Ambiguous) == workspace.Throttled
}

func (retryer) MaxAttempts() int { return maxAttempts }

// RetryDelay is anywhere up to a bound: clients that were throttled together must not come back together.
func (retryer) RetryDelay(attempt int, _ error) (time.Duration, error) {
	most := firstDelay << min(max(attempt-1, 0), maxAttempts)
	return rand.N(most), nil //nolint:gosec // jitter
}

// GetAttemptToken is called before each attempt.
func (r retryer) GetAttemptToken(ctx context.Context) (func(error) error, error) {
	if err := r.limiter.Wait(ctx, r.region); errors.Is(err, errNoLimit) {
		return nil, err
	} else if err != nil {
		return nil, errNoTurn // also when the wait was given up: nothing was sent
	}
	return release, nil
}

// GetRetryToken is called before another attempt, which only a throttled one has.
func (r retryer) GetRetryToken(ctx context.Context, _ error) (func(error) error, error) {
	r.limiter.Throttled(ctx, r.region)
	return release, nil
}

func (retryer) GetInitialToken() func(error) error { return release }

func release(error) error { return nil }
