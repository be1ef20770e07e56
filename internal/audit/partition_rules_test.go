package audit

import (
	"strings"
	"testing"
	"time"
)

// What PostgreSQL itself does not let happen, or only by hand: the rule alone.
func TestBoundsThatAreNotMonthsOneAfterAnotherAreSaid(t *testing.T) {
	at := func(s string) *time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return &v
	}
	past := Partition{Name: "p", To: at("2026-01-01T00:00:00Z")}
	january := Partition{Name: "jan", From: at("2026-01-01T00:00:00Z"), To: at("2026-02-01T00:00:00Z")}
	february := Partition{Name: "feb", From: at("2026-02-01T00:00:00Z"), To: at("2026-03-01T00:00:00Z")}
	future := Partition{Name: "f", From: at("2026-03-01T00:00:00Z")}
	for name, c := range map[string]struct {
		parts []Partition
		want  []string
	}{
		"in order":       {[]Partition{past, january, february, future}, nil},
		"no past":        {[]Partition{january, february, future}, []string{"before 2026-01-01 00:00:00Z"}},
		"no future":      {[]Partition{past, january, february}, []string{"from 2026-03-01 00:00:00Z"}},
		"a gap":          {[]Partition{past, january, future}, []string{"from 2026-02-01 00:00:00Z to 2026-03-01 00:00:00Z"}},
		"nothing at all": {nil, []string{"at any time"}},
		"an overlap": {
			[]Partition{past, january, {Name: "x", From: at("2026-01-15T00:00:00Z"), To: at("2026-03-01T00:00:00Z")}, future},
			[]string{"x is no whole month", "x begins before jan ends"},
		},
		"twice the future": {[]Partition{past, january, february, future, {Name: "g", From: at("2026-05-01T00:00:00Z")}}, []string{"g begins before f ends"}},
		"midnight in Berlin": {[]Partition{
			past,
			{Name: "x", From: at("2026-01-01T00:00:00Z"), To: at("2026-01-31T23:00:00Z")},
			{Name: "y", From: at("2026-01-31T23:00:00Z"), To: at("2026-03-01T00:00:00Z")},
			future,
		}, []string{"x is no whole month", "y is no whole month"}},
		"two months in one": {[]Partition{past, {Name: "x", From: january.From, To: february.To}, future}, []string{"x is no whole month"}},
	} {
		var h Health
		for i := range c.parts {
			c.parts[i].Kind = kindOf(&c.parts[i])
		}
		h.bounds("t", c.parts)
		var have []string
		for _, p := range h.Problems {
			have = append(have, p.What)
			if p.Do == "" {
				t.Errorf("%s: nothing to do about %q", name, p.What)
			}
		}
		if len(have) != len(c.want) {
			t.Errorf("%s: %q, want %q", name, have, c.want)
			continue
		}
		for i := range have {
			if !strings.Contains(have[i], c.want[i]) {
				t.Errorf("%s: %q, want %q", name, have[i], c.want[i])
			}
		}
	}
}
