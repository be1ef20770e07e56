package desktop

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/workspace"
)

// Limiter says when a call of Amazon's API may go out.
type Limiter interface {
	// Wait returns when one may, in the Region, or with an error when its turn would come too late; then nothing is sent.
	// What workspace.IsSweep is true of waits for everything else.
	Wait(ctx context.Context, region string) error
	// Throttled tells that Amazon has refused one for going too fast.
	Throttled(ctx context.Context, region string)
}

var (
	// errNoTurn says that the turn would come after the deadline. Nothing was sent.
	errNoTurn = errors.New("desktop: too many calls are waiting for their turn")
	// errNoLimit says that nobody can tell whose turn it is. Nothing was sent.
	errNoLimit = errors.New("desktop: the calls cannot be counted")
)

// Local is a limiter of one process. Forge uses it only where there is no database.
type Local struct {
	PerSecond float64
	Burst     int

	mu      sync.Mutex
	regions map[string]*rate.Limiter
}

// Wait waits for a turn in the Region.
func (l *Local) Wait(ctx context.Context, region string) error {
	l.mu.Lock()
	if l.regions == nil {
		l.regions = map[string]*rate.Limiter{}
	}
	limiter, ok := l.regions[region]
	if !ok {
		limiter = rate.NewLimiter(rate.Limit(l.PerSecond), l.Burst)
		l.regions[region] = limiter
	}
	l.mu.Unlock()
	if err := limiter.Wait(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return errNoTurn
	}
	return nil
}

// Throttled changes nothing: who else uses the account is not known here.
func (*Local) Throttled(context.Context, string) {}

// BurstAt is how many calls may go out at once at a pace: Amazon's burst in proportion, less one, for what is counted here
// and what arrives there differ by what the network delays.
func BurstAt(perSecond float64) int { return max(1, int(perSecond*AmazonBurst/AmazonRate)-1) }

// Shared is a limiter that all replicas share through the database. Amazon counts calls for an account and Region, so there
// is one row for each: the instant at which everything that was promised a turn will have had it. A call takes the turn
// behind that, or, within the burst, at once. The database's clock counts.
//
// What people wait for takes turns as they come. A sweep takes one only when nobody is waiting, or when it has been passed
// over for so long that every tenth turn is its own.
//
// When Amazon throttles nevertheless, because somebody else uses the account, the pace is halved for everybody, down to an
// eighth, and comes back by a twentieth with every call.
type Shared struct {
	DB        postgres.Executor
	Account   string // a name for the account whose limit it is
	PerSecond float64
	Burst     int
	// Waited hears how long each call waited; nil is nobody.
	Waited func(region string, sweep bool, d time.Duration)
}

const (
	// sweepShare is the share of sweeps while people want every turn: one in so many.
	sweepShare = 10
	// slowest is how many times longer than usual the pace becomes at most when Amazon throttles.
	slowest = 8
	// recovery is in how many calls the pace comes back.
	recovery = 20
)

// Wait waits for a turn.
func (s *Shared) Wait(ctx context.Context, region string) error {
	began := time.Now()
	sweep := workspace.IsSweep(ctx)
	for {
		wait, ok, err := s.take(ctx, region, sweep)
		switch {
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("%w: %w", errNoLimit, err)
		case !ok && !sweep:
			return errNoTurn
		case !ok:
			// The next chance of a sweep comes when a turn falls free.
			wait = s.interval()/2 + rand.N(s.interval()) //nolint:gosec // jitter
			if deadline, set := ctx.Deadline(); set && time.Until(deadline) < wait {
				return errNoTurn
			}
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
		if ok {
			if s.Waited != nil {
				s.Waited(region, sweep, time.Since(began))
			}
			return nil
		}
	}
}

func (s *Shared) interval() time.Duration { return time.Duration(float64(time.Second) / s.PerSecond) }

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unbounded is how long a call without a deadline may wait.
const unbounded = 10 * time.Minute

// take takes a turn and says how long it is until then, or takes none because it would come after the deadline, or because
// it is not a sweep's to take.
func (s *Shared) take(ctx context.Context, region string, sweep bool) (wait time.Duration, ok bool, err error) {
	most := unbounded
	if deadline, set := ctx.Deadline(); set {
		most = max(0, time.Until(deadline))
	}
	interval := s.interval()
	type turn struct{ WaitUs int64 }
	// Microseconds since 1970 throughout. clock_timestamp() is read where the row is locked, after any wait for it.
	turns, err := postgres.Many[turn](ctx, s.DB, clocked(`
		INSERT INTO aws_limits AS l (account, region, tat_us, pace_us)
		VALUES ($1, $2, clock_us() + $3::bigint, $3::bigint)
		ON CONFLICT (account, region) DO UPDATE
		SET pace_us = greatest($3::bigint, l.pace_us - $3::bigint / $7::bigint),
		    tat_us = greatest(l.tat_us, clock_us()) + greatest($3::bigint, l.pace_us - $3::bigint / $7::bigint),
		    sweep_tat_us = CASE WHEN $6::boolean THEN greatest(l.sweep_tat_us, clock_us()) + $8::bigint * $3::bigint ELSE l.sweep_tat_us END
		WHERE greatest(l.tat_us, clock_us()) - ($4::bigint - 1) * greatest($3::bigint, l.pace_us - $3::bigint / $7::bigint) - clock_us() <= $5::bigint
		  AND (NOT $6 OR l.tat_us <= clock_us() + $3::bigint OR l.sweep_tat_us <= clock_us())
		RETURNING greatest(0, l.tat_us - $4::bigint * l.pace_us - clock_us()) AS wait_us`),
		s.Account, region, interval.Microseconds(), int64(s.Burst), most.Microseconds(), sweep, int64(recovery), int64(sweepShare))
	if err != nil || len(turns) == 0 {
		return 0, false, err
	}
	return time.Duration(turns[0].WaitUs) * time.Microsecond, true, nil
}

// Throttled halves the pace, once a second at most: what was under way together is refused together.
func (s *Shared) Throttled(ctx context.Context, region string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	// If it cannot be written down, the next refusal is.
	_, _ = s.DB.Exec(ctx, clocked(`
		UPDATE aws_limits
		SET pace_us = least(pace_us * 2, $3::bigint * $4::bigint), tat_us = greatest(tat_us, clock_us()), throttled_us = clock_us()
		WHERE account = $1 AND region = $2 AND throttled_us < clock_us() - 1000000`), s.Account, region, s.interval().Microseconds(), int64(slowest))
}

// clocked puts the database's clock, in microseconds since 1970, into a statement.
func clocked(sql string) string {
	return strings.ReplaceAll(sql, "clock_us()", "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
}
