package blueprint

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
)

// The kinds of promotions.
const (
	Promoted   = "promote"
	RolledBack = "rollback"
)

// Promotion is one change of the active version.
type Promotion struct {
	Ordinal int
	Number  int // the version that was active from then on
	Kind    string
	Reason  string
	SetBy   string
	SetAt   time.Time
	// Undoes is the promotion that a rollback took back.
	Undoes *int
}

// Promote makes a version of a blueprint that is locked by Change the active one: a bare name means it from now on. A draft
// is published by it. WorkSpaces that exist stay what they are. It tells whether it was not the active one before.
func Promote(ctx context.Context, tx *audit.Tx, b *Blueprint, number int, reason string) (Version, bool, error) {
	v, err := VersionOf(ctx, tx, b.ID, number)
	if err != nil || b.ActiveVersion == number {
		return v, false, err
	}
	switch v.Status {
	case Draft:
		if v, _, err = Advance(ctx, tx, b, number, Published, reason); err != nil {
			return v, false, err
		}
	case Deprecated, Archived:
		return v, false, ErrStatus.Sayf("%s@%d is %s and cannot be promoted", b.Ref(), number, v.Status).
			Suggestf("add a new version with the same definition").Detail("status", string(v.Status))
	case Published:
	}
	return v, true, activate(ctx, tx, b, v, Promoted, reason, nil)
}

// Rollback takes the last promotion back that has not been taken back yet: the version before it is active again. Asked for
// again, it goes further back.
func Rollback(ctx context.Context, tx *audit.Tx, b *Blueprint, reason string) (Version, error) {
	// A rollback names the promotion it undoes; what is not named stands.
	standing, err := postgres.Many[Promotion](ctx, tx, `
		SELECT ordinal, number, kind, reason, set_by, set_at, undoes
		FROM blueprint_promotions p
		WHERE blueprint_id = $1 AND kind = 'promote'
		  AND NOT EXISTS (SELECT FROM blueprint_promotions u WHERE u.blueprint_id = p.blueprint_id AND u.undoes = p.ordinal)
		ORDER BY ordinal DESC
		LIMIT 2`, b.ID)
	if err != nil {
		return Version{}, err
	}
	if len(standing) < 2 {
		return Version{}, ErrNothingBefore.Sayf("no version of %s was active before %d", b.Ref(), b.ActiveVersion)
	}
	v, err := VersionOf(ctx, tx, b.ID, standing[1].Number)
	if err != nil {
		return v, err
	}
	if !v.Status.Launchable() {
		return v, ErrStatus.Sayf("%s@%d was active before, and is %s now", b.Ref(), v.Number, v.Status).
			Suggestf("promote a published version").Detail("status", string(v.Status))
	}
	return v, activate(ctx, tx, b, v, RolledBack, reason, &standing[0].Ordinal)
}

func activate(ctx context.Context, tx *audit.Tx, b *Blueprint, v Version, kind, reason string, undoes *int) error {
	was := b.ActiveVersion
	b.ActiveVersion = v.Number
	if _, err := tx.Exec(ctx, `
		INSERT INTO blueprint_promotions (blueprint_id, ordinal, number, kind, reason, undoes, set_by, set_at)
		SELECT $1, coalesce(max(ordinal), 0) + 1, $2, $3, $4, $5, $6, $7
		FROM blueprint_promotions
		WHERE blueprint_id = $1`, b.ID, v.Number, kind, reason, undoes, tx.Actor.ID(), tx.Now); err != nil {
		return err
	}
	tx.Record(audit.Event{Action: "blueprint." + kind, ResourceType: "blueprint", ResourceID: string(b.ID), Details: map[string]any{
		"version": v.Number, "version_id": string(v.ID), "digest": v.Digest, "before": was, "reason": reason,
	}})
	return touch(ctx, tx, b)
}

// Event is one step in the life of a blueprint.
type Event struct {
	At     time.Time
	By     string
	Number int
	What   string // a status that a version got, or promote, or rollback
	Reason string
}

// History tells the latest steps in the life of a blueprint, the newest first: which version got which status, and which was
// active when.
func History(ctx context.Context, q postgres.Querier, blueprint id.Blueprint, limit int) ([]Event, error) {
	return postgres.Many[Event](ctx, q, `
		SELECT at, by, number, what, reason
		FROM (
			SELECT s.set_at AS at, s.set_by AS by, v.number, s.status AS what, s.reason, s.ordinal AS within
			FROM blueprint_versions v JOIN blueprint_statuses s ON s.version_id = v.id
			WHERE v.blueprint_id = $1
			UNION ALL
			SELECT set_at, set_by, number, kind, reason, 10 + ordinal
			FROM blueprint_promotions
			WHERE blueprint_id = $1) e
		ORDER BY at DESC, number DESC, within DESC
		LIMIT $2`, blueprint, limit)
}

// ActiveAt is the number of the version that was active at an instant; 0: none.
func ActiveAt(ctx context.Context, q postgres.Querier, blueprint id.Blueprint, at time.Time) (number int, err error) {
	err = q.QueryRow(ctx, `
		SELECT number
		FROM blueprint_promotions
		WHERE blueprint_id = $1 AND set_at <= $2
		ORDER BY ordinal DESC
		LIMIT 1`, blueprint, at).Scan(&number)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return number, err
}
