package emulator

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// What Amazon grants an account in a Region: calls per second, and how many at once.
const (
	amazonRate  = 2
	amazonBurst = 5
)

// bucketsKept bounds the callers that are remembered; the fullest, who lose nothing, are forgotten first.
const bucketsKept = 10_000

// throttle grants calls per access key and Region, as Amazon does per account and Region. It is safe for
// concurrent use.
type throttle struct {
	mu      sync.Mutex
	rate    float64 // calls per second; 0 grants everything
	burst   int
	buckets map[caller]*allowance
}

type caller struct{ accessKey, place string }

// allowance holds the calls that may be made at once.
type allowance struct {
	tokens           float64
	at               time.Time // when tokens was counted
	granted, refused int64
}

func newThrottle(rate float64, burst int) (*throttle, error) {
	t := &throttle{buckets: map[caller]*allowance{}}
	return t, t.set(rate, burst)
}

// set changes what is granted from now on. A burst of 0 is Amazon's.
func (t *throttle) set(rate float64, burst int) error {
	if !(rate >= 0) || math.IsInf(rate, 0) {
		return fmt.Errorf("API rate %v is not a number of calls per second", rate)
	}
	if burst < 0 {
		return fmt.Errorf("API burst %d is negative", burst)
	}
	if burst == 0 {
		burst = amazonBurst
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rate, t.burst = rate, burst
	return nil
}

// grant counts a call and reports whether it may be made.
func (t *throttle) grant(who caller, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rate == 0 {
		return true
	}
	b, ok := t.buckets[who]
	if !ok {
		t.makeRoom(now)
		b = &allowance{tokens: float64(t.burst), at: now}
		t.buckets[who] = b
	}
	b.tokens, b.at = t.tokens(b, now), now
	if b.tokens < 1 {
		b.refused++
		return false
	}
	b.tokens--
	b.granted++
	return true
}

func (t *throttle) tokens(b *allowance, now time.Time) float64 {
	passed := max(0, now.Sub(b.at).Seconds())
	return min(float64(t.burst), b.tokens+passed*t.rate)
}

func (t *throttle) makeRoom(now time.Time) {
	if len(t.buckets) < bucketsKept {
		return
	}
	var fullest caller
	most := -1.0
	for who, b := range t.buckets {
		if n := t.tokens(b, now); n > most {
			fullest, most = who, n
		}
	}
	delete(t.buckets, fullest)
}

// adminThrottle is the throttle as the admin API shows it.
type adminThrottle struct {
	Rate    float64       `json:"rate"` // calls per second; 0 is off
	Burst   int           `json:"burst"`
	Callers []adminCaller `json:"callers"` // since the start, or the last reset
}

type adminCaller struct {
	AccessKey string `json:"access_key"`
	Region    string `json:"region"`
	Granted   int64  `json:"granted"`
	Refused   int64  `json:"refused"`
}

func (t *throttle) show() adminThrottle {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := adminThrottle{Rate: t.rate, Burst: t.burst, Callers: []adminCaller{}}
	for who, b := range t.buckets {
		out.Callers = append(out.Callers, adminCaller{who.accessKey, regionOf(who.place), b.granted, b.refused})
	}
	slices.SortFunc(out.Callers, func(a, b adminCaller) int {
		return strings.Compare(a.AccessKey+" "+a.Region, b.AccessKey+" "+b.Region)
	})
	return out
}

// forget starts everybody anew.
func (t *throttle) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.buckets)
}

// callerOf is who a request is from, as far as its signature says.
func callerOf(r *http.Request) caller {
	who := caller{place: placeFrom(r)}
	if m := credential.FindStringSubmatch(r.Header.Get("Authorization")); m != nil {
		who.accessKey = m[1]
	}
	return who
}
