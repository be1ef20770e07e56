package workspace

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
)

// Drift looks at everything in every directory now and then, and finds what Amazon has otherwise than Forge wants it. Any
// number may run, in any number of processes; a directory is looked at by one at a time.
//
// A sweep of 100,000 WorkSpaces is 4,000 calls and takes an hour when others want turns, too. It is not resumed: one that
// breaks, or whose process ends, has concluded nothing and is begun anew. Who is at it renews its lease with every page.
type Drift struct {
	Fleet *Fleet
	Log   *audit.Log
	Clock clock.Clock
	Slog  *slog.Logger
	// Every is how often a directory is looked at; 0 is every six hours, and more often where the provider is faster than Amazon.
	Every time.Duration
	// Tags is how many WorkSpaces with a row have their tags read in a sweep, each a call; they take turns. 0 is 500.
	Tags int
}

const (
	sweepEvery = 6 * time.Hour
	sweepAgain = 10 * time.Minute // after one that was not complete
	sweepLeast = time.Minute
	sweepLease = 5 * time.Minute
	sweepTags  = 500
	// ownersPage is how many rows are read at once, and findingsBatch how many findings are written in one change.
	ownersPage    = 500
	findingsBatch = 100
	// maxSweepError bounds what is kept of an error, in bytes.
	maxSweepError = 500
)

// sweep is one sweep under way.
type sweep struct {
	claimedSweep
	t     times
	began time.Time
	pages int
	// shown is what was shown, by id, and owned that of it which live rows have.
	shown map[string]*glimpse
	owned map[string]bool
	book  *price.Book // nil: nothing has a price
	// open are the findings that were open before; confirmed tells, by their ids, of which it is known whether they are so still.
	open      map[findingKey]*Finding
	confirmed map[string]bool
	found     []*Finding
	resolved  []*Finding
	look      []id.WorkSpace
	short     string // what could not be read although everything was shown
}

type claimedSweep struct {
	Region      string
	DirectoryID string
	LeaseToken  string
	TagsAfter   string
	CompletedAt *time.Time
}

type findingKey struct {
	providerID string
	kind       DriftKind
}

// Round looks at one directory that is due, and returns how many it took.
func (d *Drift) Round(ctx context.Context) (int, error) {
	s, err := d.claim(ctx)
	if err != nil || s == nil {
		return 0, err
	}
	err = d.see(AsSweep(ctx), s)
	if err == nil {
		err = d.conclude(AsSweep(ctx), s)
	}
	return 1, d.end(ctx, s, err)
}

// claim takes the directory that has been due the longest, or nil. Those that others are at are passed over, as are those
// that are not configured any more. A directory is due as soon as it is configured.
func (d *Drift) claim(ctx context.Context) (*sweep, error) {
	var regions, ids []string
	for _, dir := range d.Fleet.Directories {
		regions, ids = append(regions, dir.Region), append(ids, dir.ID)
	}
	now := d.Clock()
	if _, err := d.Log.Pool().Exec(ctx, `
		INSERT INTO drift_sweeps (region, directory_id, due_at)
		SELECT c.region, c.directory_id, $3
		FROM unnest($1::text[], $2::text[]) AS c (region, directory_id)
		WHERE NOT EXISTS (SELECT FROM drift_sweeps s WHERE s.region = c.region AND s.directory_id = c.directory_id)
		ON CONFLICT DO NOTHING`, regions, ids, now); err != nil {
		return nil, err
	}
	claimed, err := postgres.Many[claimedSweep](ctx, d.Log.Pool(), `
		UPDATE drift_sweeps
		SET lease_token = $3, lease_until = $4, begun_at = $5, pages = 0, seen = 0
		WHERE (region, directory_id) = (
			SELECT s.region, s.directory_id
			FROM drift_sweeps s
			JOIN unnest($1::text[], $2::text[]) AS c (region, directory_id) USING (region, directory_id)
			WHERE s.due_at <= $5 AND (s.lease_until IS NULL OR s.lease_until <= $5)
			ORDER BY s.due_at
			LIMIT 1
			FOR UPDATE OF s SKIP LOCKED)
		RETURNING region, directory_id, lease_token, tags_after, completed_at`, regions, ids, "lease_"+id.Unique(), now.Add(sweepLease), now)
	if err != nil || len(claimed) == 0 {
		return nil, err
	}
	return &sweep{
		claimedSweep: claimed[0], t: timesAt(d.Fleet.Speed), began: now, shown: map[string]*glimpse{}, owned: map[string]bool{},
		open: map[findingKey]*Finding{}, confirmed: map[string]bool{},
	}, nil
}

// keep renews the lease. Who has lost it leaves everything to who has it now.
func (d *Drift) keep(ctx context.Context, s *sweep) error {
	tag, err := d.Log.Pool().Exec(ctx, `
		UPDATE drift_sweeps
		SET lease_until = $4, pages = $5, seen = $6
		WHERE region = $1 AND directory_id = $2 AND lease_token = $3`,
		s.Region, s.DirectoryID, s.LeaseToken, d.Clock().Add(sweepLease), s.pages, len(s.shown))
	if err == nil && tag.RowsAffected() == 0 {
		return errLost
	}
	return err
}

// see reads everything. What is kept of a page is as old as the question for it.
func (d *Drift) see(ctx context.Context, s *sweep) error {
	asked := d.Clock()
	return d.Fleet.Provider.Sweep(ctx, s.Region, s.DirectoryID, func(page []Observation) error {
		for i := range page {
			o := &page[i]
			s.shown[o.ProviderID] = &glimpse{
				state: o.State, mode: o.RunningMode, compute: o.ComputeType, user: strings.ToLower(o.User), root: o.RootGiB, data: o.UserGiB, since: asked,
			}
		}
		s.pages++
		asked = d.Clock()
		return d.keep(ctx, s)
	})
}

// end gives the directory back with how its sweep ended, and says when the next one is due. One that was asked for while
// this one was under way is due at once, as is one that was interrupted because the process ends.
func (d *Drift) end(ctx context.Context, s *sweep, cause error) error {
	interrupted := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if errors.Is(cause, errLost) {
		d.Slog.WarnContext(ctx, "a sweep was left to another replica", "region", s.Region, "directory", s.DirectoryID)
		return nil
	}
	now, text := d.Clock(), s.short
	next := now.Add(d.every())
	if cause != nil {
		text = cause.Error()
	}
	switch {
	case interrupted && cause != nil:
		next, text = now, "interrupted: the process ended"
	case text != "":
		next = now.Add(min(d.every(), d.scaled(sweepAgain)))
	}
	if text != "" {
		d.Slog.WarnContext(ctx, "a sweep is not complete", "region", s.Region, "directory", s.DirectoryID, "pages", s.pages, "seen", len(s.shown), "error", text)
	}
	_, err := d.Log.Pool().Exec(ctx, `
		UPDATE drift_sweeps
		SET lease_token = NULL, lease_until = NULL, ended_at = $4, complete = $5, error = $6, pages = $7, seen = $8, tags_after = $9,
		    completed_at = CASE WHEN $5 THEN $4 ELSE completed_at END, due_at = CASE WHEN due_at > begun_at THEN due_at ELSE $10 END
		WHERE region = $1 AND directory_id = $2 AND lease_token = $3`,
		s.Region, s.DirectoryID, s.LeaseToken, now, cause == nil, strings.ToValidUTF8(text[:min(len(text), maxSweepError)], ""), s.pages, len(s.shown), s.TagsAfter, next)
	return err
}

func (d *Drift) every() time.Duration {
	if d.Every > 0 {
		return d.Every
	}
	return d.scaled(sweepEvery)
}

func (d *Drift) scaled(real time.Duration) time.Duration {
	return max(real/time.Duration(max(d.Fleet.Speed, 1)), sweepLeast)
}
