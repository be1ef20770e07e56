package emulator

import (
	"errors"
	"math"
	"sync/atomic"
	"time"
)

// clockOffset is how far the emulator's clock is ahead of Config.Now, in nanoseconds.
type clockOffset struct {
	Ahead int64 `json:"ahead"`
}

func (*clockOffset) kind() string { return "clock" }
func (*clockOffset) key() string  { return "clock" }

// offset is read by requests while it is changed.
type offset struct{ ahead atomic.Int64 }

func (o *offset) duration() time.Duration { return time.Duration(o.ahead.Load()) }

// errClock is why a clock is not set.
var errClock = errors.New("the clock can only go forward, and 100 years at most")

// mostAhead keeps times within what JSON and nanoseconds can say.
const mostAhead = 100 * 366 * 24 * time.Hour

// turn moves the clock forward and remembers it. The caller holds e.mu for writing.
func (e *Emulator) turn(by time.Duration) error {
	ahead := e.world.clock.duration()
	if by < 0 || ahead > math.MaxInt64-by || ahead+by > mostAhead {
		return errClock
	}
	return e.store(&clockOffset{Ahead: int64(ahead + by)})
}
