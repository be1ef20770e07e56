package workspace

import (
	"slices"
	"time"
)

const (
	week = 7 * 24 * time.Hour
	// patternTime is how much of the past is taken for the pattern of the future, at most: whole weeks, so that its days are
	// the same ones. It is less than what makes a WorkSpace stale: what is used is never that.
	patternTime = 4 * week
)

// stretch is a time during which a WorkSpace ran.
type stretch struct{ from, until time.Time }

// used leaves those stretches in which somebody used it. What ran after it was stopped and left unused was Amazon's monthly
// maintenance, as far as anybody knows: see read.
func (w *WorkSpace) used(ran []stretch) []stretch {
	return slices.DeleteFunc(ran, func(r stretch) bool { return w.StoppedAt != nil && !r.from.Before(*w.StoppedAt) })
}

// pattern is when somebody uses a WorkSpace: what it did in some weeks, again and again. Without turns it is never.
type pattern struct {
	turns []turn        // in their order within every
	every time.Duration // whole weeks
}

// turn is when, after the beginning of its weeks, somebody wants it to run, or leaves it.
type turn struct {
	after time.Duration
	on    bool
}

// patternOf makes a pattern of what has run lately, in its order. What is younger than four weeks has fewer.
func patternOf(ran []stretch, created, now time.Time) pattern {
	p := pattern{every: patternTime}
	for p.every > week && !created.Before(now.Add(week-p.every)) {
		p.every -= week
	}
	begin := now.Add(-p.every)
	for _, r := range ran {
		from, until := later(r.from, begin).Sub(begin), r.until.Sub(begin)
		if until <= from {
			continue
		}
		if last := len(p.turns) - 1; last >= 0 && p.turns[last].after >= from {
			p.turns = p.turns[:last] // it ran on: only what it cost was changed
		}
		// Whoever has it run for days comes back the next day when it was stopped meanwhile.
		for at := from; at < until; at += 24 * time.Hour {
			p.turns = append(p.turns, turn{at, true})
		}
		p.turns = append(p.turns, turn{until, false})
	}
	// What runs at the end of the weeks and at their beginning runs on from one to the other.
	if last := len(p.turns) - 1; p.runsAtFirst() && p.turns[last].after == p.every {
		p.turns = p.turns[:last]
	}
	return p
}

// runsAtFirst tells whether somebody uses it when its weeks begin.
func (p pattern) runsAtFirst() bool { return len(p.turns) > 0 && p.turns[0].after == 0 }

// next is the first turn strictly after an instant, for a pattern that begins again and again from another on.
func (p pattern) next(begin, after time.Time) (at time.Time, on, found bool) {
	if len(p.turns) == 0 {
		return time.Time{}, false, false
	}
	for weeks := after.Add(-(after.Sub(begin) % p.every)); ; weeks = weeks.Add(p.every) {
		for _, t := range p.turns {
			if at := weeks.Add(t.after); at.After(after) {
				return at, t.on, true
			}
		}
	}
}
