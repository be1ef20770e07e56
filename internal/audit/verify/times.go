package verify

import (
	"time"

	"github.com/robco-forge/forge/internal/audit/leaf"
)

// Skew is how far the time of an entry may be from those around it: clocks differ by seconds, and a transaction that
// takes an hour does not exist.
const Skew = time.Hour

// clockWatch follows the time as entries tell it. One far ahead is believed when the next entry confirms it: nothing
// happened in between.
type clockWatch struct {
	latest time.Time
	ahead  *leaf.Entry
	at     int64
}

func (c *clockWatch) see(r *Report, index int64, e *leaf.Entry) {
	const form = time.RFC3339
	if c.ahead != nil {
		if e.Time.Before(c.ahead.Time.Add(-Skew)) {
			r.Fail(Times, c.at, c.ahead.ID, "it says %s, and the entry behind it %s", c.ahead.Time.Format(form), e.Time.Format(form))
		} else {
			c.latest = c.ahead.Time
		}
		c.ahead = nil
	}
	switch {
	case c.latest.IsZero():
		c.latest = e.Time
	case e.Time.Before(c.latest.Add(-Skew)):
		r.Fail(Times, index, e.ID, "it says %s, and came into the log behind an entry of %s", e.Time.Format(form), c.latest.Format(form))
	case e.Time.After(c.latest.Add(Skew)):
		c.ahead, c.at = e, index
	case e.Time.After(c.latest):
		c.latest = e.Time
	}
}

// end leaves the last entry unjudged when it was far ahead: nothing came after it.
func (c *clockWatch) end(r *Report) {
	if c.ahead != nil {
		r.Note("The last entry is more than an hour later than the one before it; whether that is right, the next one will show.")
		c.latest = c.ahead.Time
	}
	r.Newest = c.latest
}
