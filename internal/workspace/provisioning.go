package workspace

import (
	"context"
	"slices"
	"time"

	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
)

// Provisioning is how long the steps from the request to the first AVAILABLE took, as far as they have been taken.
type Provisioning struct {
	Region     string
	BundleType string
	// Steps in their order; the last may be under way.
	Steps []Step
	Total time.Duration // zero while it is under way
}

// Step is one part of provisioning.
type Step struct {
	Name    string
	Begun   time.Time
	Ended   *time.Time // nil: under way
	Explain string
}

// The steps of provisioning. The first is Forge's own, the second the time until Amazon has accepted the request, with all
// refusals and lost answers, the third Amazon's.
const (
	StepQueue  = "queue"
	StepImage  = "image" // only of those that wait for one
	StepAccept = "accept"
	StepBoot   = "boot"
)

// Provisioning gives the steps that a WorkSpace has taken to its first AVAILABLE.
func (w *WorkSpace) Provisioning() Provisioning {
	p := Provisioning{Region: w.Region, BundleType: w.BundleType}
	end := w.AvailableAt
	if end == nil {
		end = w.TerminatedAt
	}
	bounds := []*time.Time{&w.CreatedAt, w.FirstAskedAt, w.AcceptedAt, end}
	steps := []Step{
		{Name: StepQueue, Explain: "until Amazon was first asked"},
		{Name: StepAccept, Explain: "until Amazon accepted it"},
		{Name: StepBoot, Explain: "until Amazon had it running"},
	}
	if w.ImageSince != nil {
		bounds = slices.Insert(bounds, 1, w.ImageSince)
		steps = slices.Insert(steps, 1, Step{Name: StepImage, Explain: "until there was a bundle of its image"})
	}
	for i, s := range steps {
		if bounds[i] == nil {
			break
		}
		s.Begun, s.Ended = *bounds[i], bounds[i+1]
		if s.Ended == nil {
			s.Ended = end // it ended in this step
		}
		p.Steps = append(p.Steps, s)
	}
	if w.AvailableAt != nil {
		p.Total = w.AvailableAt.Sub(w.CreatedAt)
	}
	return p
}

// Expectation is how long provisioning will take, as far as anybody can know: from what was measured lately in the region,
// or, with too few measurements, what Amazon states.
type Expectation struct {
	Typical time.Duration // half of them took at most so long
	Slow    time.Duration // 95 of 100 took at most so long
	Samples int           // 0: Amazon's statement
}

const (
	samplesWanted = 200 // the latest that count
	samplesNeeded = 5   // with fewer, Amazon's statement is the better one
)

// Amazon's administration guide: "up to 20 minutes", and up to 40 with encrypted volumes.
const (
	statedTypical = 20 * time.Minute
	statedSlow    = 40 * time.Minute
)

// Expect tells how long provisioning takes in a region.
func Expect(ctx context.Context, q postgres.Querier, region string) (Expectation, error) {
	type row struct {
		Samples       int
		Typical, Slow *time.Duration
	}
	m, err := postgres.One[row](ctx, q, `
		SELECT count(*) AS samples, percentile_cont(0.5) WITHIN GROUP (ORDER BY took) AS typical, percentile_cont(0.95) WITHIN GROUP (ORDER BY took) AS slow
		FROM (
			SELECT available_at - created_at AS took
			FROM workspaces
			WHERE region = $1 AND available_at IS NOT NULL
			ORDER BY available_at DESC
			LIMIT $2) lately`, region, samplesWanted)
	if err != nil {
		return Expectation{}, err
	}
	if m.Samples < samplesNeeded {
		return Expectation{Typical: statedTypical, Slow: statedSlow}, nil
	}
	return Expectation{Typical: *m.Typical, Slow: *m.Slow, Samples: m.Samples}, nil
}

// Progress is what is known of WorkSpaces on their way.
type Progress struct {
	expected map[string]Expectation // by region
	holds    []Hold
	images   map[id.WorkSpace]*blueprint.Wait // of those that wait for one
	now      time.Time
}

// ReadProgress reads what is known at an instant for those that are on their way among the given.
func (f *Fleet) ReadProgress(ctx context.Context, q postgres.Querier, found []WorkSpace, now time.Time) (Progress, error) {
	p := Progress{expected: map[string]Expectation{}, images: map[id.WorkSpace]*blueprint.Wait{}, now: now}
	for i := range found {
		w := &found[i]
		if !w.onItsWay() {
			continue
		}
		wait, err := f.waiting(ctx, q, w)
		if err != nil {
			return Progress{}, err
		}
		p.images[w.ID] = wait
		if _, read := p.expected[w.Region]; read {
			continue
		}
		e, err := Expect(ctx, q, w.Region)
		if err != nil {
			return Progress{}, err
		}
		p.expected[w.Region] = e
	}
	if len(p.expected) == 0 {
		return p, nil
	}
	var err error
	p.holds, err = Holds(ctx, q)
	return p, err
}

func (w *WorkSpace) onItsWay() bool {
	return w.State == Pending && w.AvailableAt == nil && w.Desired == WantAvailable
}

// Expected is how long the WorkSpace's way takes from its request, if it is on its way.
func (p Progress) Expected(w *WorkSpace) (Expectation, bool) {
	if !w.onItsWay() {
		return Expectation{}, false
	}
	e, ok := p.expected[w.Region]
	return e.after(p.images[w.ID], w.CreatedAt), ok
}

// Waiting says why the WorkSpace does not go on; empty when it does.
func (p Progress) Waiting(w *WorkSpace) string {
	if !w.onItsWay() {
		return ""
	}
	for i := range p.holds {
		if h := &p.holds[i]; w.ProviderID == nil && h.covers(w) {
			return "nothing can be made in " + w.Region + " since " + h.Since.UTC().Format("2006-01-02 15:04 MST") + ": " + h.Code + ": " + h.Message + ". The operators have been told; it goes on by itself"
		}
	}
	switch wait := p.images[w.ID]; {
	case wait != nil:
		return wait.Say(p.now)
	case w.Replacing:
		return "Amazon failed to make it (" + w.ErrorCode + "); it is cleared away and made again, once"
	case w.Flag == FlagStuck:
		return "it is on its way for far longer than Amazon takes; the operators have been told"
	}
	return ""
}
