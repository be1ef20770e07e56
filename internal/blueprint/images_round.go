package blueprint

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/notify"
	"github.com/robco-forge/forge/internal/postgres"
)

const (
	// imageLease is how long a replica may keep a row to itself: what a crash costs at the most.
	imageLease = 20 * time.Second
	// imageCalls bounds all calls to Amazon for one row, well within the lease.
	imageCalls = 12 * time.Second
	// glance is how soon is looked again after an answer that told nothing, and beat how often at what is under way.
	glance = 5 * time.Second
	beat   = 30 * time.Second
	// shows is how long what Amazon has accepted may be missing from its lists.
	shows = 10 * time.Minute
	// giveUp is how long Amazon may say "not now": a golden WorkSpace that is not running by then is not going to be.
	giveUp = 2 * time.Hour
)

// errImageLost says that the lease has passed to somebody else, who will do what is left.
var errImageLost = errors.New("blueprint: the lease was lost")

// Round takes one image and one bundle that are due a step further, and returns how many it took.
func (im *Images) Round(ctx context.Context) (int, error) {
	images, err := im.claimImage(ctx)
	if err != nil {
		return 0, err
	}
	for k := range images {
		im.told(ctx, images[k].what(), im.bounded(ctx, func(ctx context.Context) error { return im.build(ctx, &images[k]) }))
	}
	bundles, err := im.claimBundle(ctx)
	if err != nil {
		return len(images), err
	}
	for k := range bundles {
		im.told(ctx, bundles[k].what(), im.bounded(ctx, func(ctx context.Context) error { return im.keep(ctx, &bundles[k]) }))
	}
	return len(images) + len(bundles), nil
}

func (im *Images) bounded(ctx context.Context, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, imageCalls)
	defer cancel()
	return step(ctx)
}

// told writes down that a step failed; what is to be done about it is on the row.
func (im *Images) told(ctx context.Context, what string, err error) {
	if err != nil && !errors.Is(err, errImageLost) {
		im.Slog.WarnContext(ctx, "images", "what", what, "error", err)
	}
}

func (im *Images) claimImage(ctx context.Context) ([]imageRow, error) {
	now := im.Clock()
	return postgres.Many[imageRow](ctx, im.Log.Pool(), `
		UPDATE blueprint_images
		SET lease_token = $1, lease_until = $2
		WHERE id = ANY(ARRAY(
			SELECT id
			FROM blueprint_images
			WHERE next_due_at <= $3 AND (lease_until IS NULL OR lease_until <= $3)
			ORDER BY next_due_at
			LIMIT 1
			FOR UPDATE SKIP LOCKED))
		RETURNING`+imageColumns, "lease_"+id.Unique(), now.Add(imageLease), now)
}

// build looks for an image at Amazon and writes down how it is, or asks for it if it is not there.
func (im *Images) build(ctx context.Context, i *imageRow) error {
	shown, err := im.Amazon.Images(ctx, i.Region)
	if err != nil {
		return errors.Join(err, im.restImage(ctx, i, im.scaled(glance)))
	}
	var own *ImageSeen
	for k := range shown {
		switch seen := &shown[k]; {
		case seen.Name == i.name(), strings.HasPrefix(seen.Name, i.prefix()) && seen.State != "ERROR" && own == nil:
			own = seen // of an earlier try it serves as well
		case strings.HasPrefix(seen.Name, i.prefix()) && seen.State == "ERROR":
			im.told(ctx, i.what(), im.Amazon.DeleteImage(ctx, i.Region, seen.ID))
		}
	}
	switch {
	case own != nil && own.State == "AVAILABLE":
		return im.endImage(ctx, i, own.ID, Available, "", "")
	case own != nil && own.State == "ERROR":
		if err := im.endImage(ctx, i, own.ID, Failed, own.ErrorCode, own.ErrorMessage); err != nil {
			return err
		}
		// It counts against the quota. If this is not reached, the next try does it.
		return im.Amazon.DeleteImage(ctx, i.Region, own.ID)
	case own != nil && i.State == Wanted:
		return im.begunImage(ctx, i, own.ID)
	case own == nil && i.State == Wanted:
		return im.askImage(ctx, i)
	case own == nil && im.Clock().Sub(*i.BegunAt) >= im.scaled(shows):
		return im.endImage(ctx, i, text(i.ImageID), Failed, "IMAGE_GONE", "Amazon has begun to make it and does not show it any more")
	}
	return im.restImage(ctx, i, im.scaled(beat))
}

// askImage asks for an image that is not there. Its name keeps Amazon from making it twice.
func (im *Images) askImage(ctx context.Context, i *imageRow) error {
	ok, err := im.markImage(ctx, i)
	if err != nil || !ok {
		return errors.Join(err, im.restImage(ctx, i, im.scaled(glance)))
	}
	var image string
	if i.Kind == capture {
		image, err = im.Amazon.Capture(ctx, i.Region, i.Source, i.name(), "captured from "+i.Source+" for "+string(*i.VersionID))
	} else {
		image, err = im.Amazon.CopyImage(ctx, i.Region, i.SourceRegion, i.Source, i.name(), "copied from "+i.Source+" in "+i.SourceRegion)
	}
	if err == nil {
		return im.begunImage(ctx, i, image)
	}
	why, tooLong := classOf(err), false
	if why.Class == ImageNotNow {
		if tooLong, err = im.tooLong(ctx, i); err != nil {
			return err
		}
	}
	switch {
	case why.Class == ImageNever, why.Class == ImageMissing, tooLong:
		return im.endImage(ctx, i, "", Failed, why.Code, why.Message)
	case why.Class == ImageNotNow, why.Class == ImageFull, why.Class == ImageBlocked, why.Class == ImageInUse:
		return im.hinder(ctx, i, why)
	}
	return errors.Join(why, im.restImage(ctx, i, im.scaled(glance)))
}

// tooLong tells whether Amazon has said "not now" for long enough. Captures from the same WorkSpace take turns: while it is
// another one's, and until then, no time counts.
func (im *Images) tooLong(ctx context.Context, i *imageRow) (bool, error) {
	now := im.Clock()
	since := i.WantedAt
	err := im.Log.Pool().QueryRow(ctx, `
		SELECT greatest($1, max(CASE WHEN state = 'MAKING' THEN $2 ELSE ended_at END))
		FROM blueprint_images
		WHERE kind = $3 AND region = $4 AND source = $5 AND id <> $6 AND state <> 'WANTED'`, since, now, i.Kind, i.Region, i.Source, i.ID).Scan(&since)
	return now.Sub(since) >= im.scaled(giveUp), err
}

// markImage leaves word on the row that Amazon is about to be asked.
func (im *Images) markImage(ctx context.Context, i *imageRow) (bool, error) {
	now := im.Clock()
	tag, err := im.Log.Pool().Exec(ctx, `
		UPDATE blueprint_images
		SET attempts = attempts + 1, asked_at = $3
		WHERE id = $1 AND lease_token = $2 AND lease_until > $3`, i.ID, i.LeaseToken, now)
	return tag.RowsAffected() == 1, err
}

func (im *Images) begunImage(ctx context.Context, i *imageRow, image string) error {
	err := im.changeImage(ctx, i, "begin", func(tx *audit.Tx, is *imageRow) error {
		is.State, is.ImageID, is.BegunAt, is.ErrorCode, is.ErrorMessage = Making, &image, &tx.Now, "", ""
		return nil
	})
	return errors.Join(err, im.restImage(ctx, i, im.scaled(beat)))
}

// endImage writes down that an image is there, or that it will not be.
func (im *Images) endImage(ctx context.Context, i *imageRow, image, state, code, message string) error {
	return im.changeImage(ctx, i, map[string]string{Available: "available", Failed: "fail"}[state], func(tx *audit.Tx, is *imageRow) error {
		is.State, is.EndedAt, is.ErrorCode, is.ErrorMessage = state, &tx.Now, code, message
		if image != "" {
			is.ImageID = &image
		}
		if is.BegunAt == nil && state == Available {
			is.BegunAt = is.AskedAt // the answer was lost
		}
		if state == Failed {
			return im.tell(ctx, tx, "image.failed", is.ID, is.Generation, is.what(), code, message)
		}
		return nil
	})
}

// hinder writes down what keeps an image from being begun, and lets the operators know of it once.
func (im *Images) hinder(ctx context.Context, i *imageRow, why *ImageError) error {
	if i.ErrorCode == why.Code && i.ErrorMessage == why.Message {
		return errors.Join(why, im.restImage(ctx, i, im.scaled(beat)))
	}
	err := im.changeImage(ctx, i, "wait", func(tx *audit.Tx, is *imageRow) error {
		is.ErrorCode, is.ErrorMessage = why.Code, why.Message
		if why.Class == ImageNotNow {
			return nil
		}
		return im.tell(ctx, tx, "image.waits", is.ID, is.Generation, is.what(), why.Code, why.Message)
	})
	return errors.Join(err, im.restImage(ctx, i, im.scaled(beat)))
}

func (im *Images) tell(ctx context.Context, tx *audit.Tx, kind, row string, generation int, what, code, message string) error {
	return notify.EnqueueAdmins(ctx, tx, notify.Message{
		Key: fmt.Sprintf("%s:%s:%d:%s", kind, row, generation, code), Kind: kind,
		Payload: map[string]any{"what": what, "code": code, "message": message},
	})
}

// changeImage changes the row as it is now, if the lease is still held, and records it. An image that has come to its end is not
// due any more.
func (im *Images) changeImage(ctx context.Context, claimed *imageRow, kind string, fn func(*audit.Tx, *imageRow) error) error {
	in := audit.Intent{Action: "image." + kind, ResourceType: "image", ResourceID: claimed.ID}
	return im.Log.Change(ctx, in, func(tx *audit.Tx) error {
		is, err := postgres.One[imageRow](ctx, tx, `SELECT`+imageColumns+` FROM blueprint_images WHERE id = $1 AND lease_token = $2 FOR UPDATE`, claimed.ID, claimed.LeaseToken)
		if none(err) {
			return errImageLost
		}
		if err != nil {
			return err
		}
		if err := fn(tx, &is); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `
			UPDATE blueprint_images
			SET state = $2, image_id = $3, error_code = $4, error_message = $5, begun_at = $6, ended_at = $7,
			    next_due_at = CASE WHEN $2 IN ('AVAILABLE', 'FAILED') THEN NULL ELSE next_due_at END,
			    lease_token = CASE WHEN $2 IN ('AVAILABLE', 'FAILED') THEN NULL ELSE lease_token END,
			    lease_until = CASE WHEN $2 IN ('AVAILABLE', 'FAILED') THEN NULL ELSE lease_until END
			WHERE id = $1`, is.ID, is.State, is.ImageID, is.ErrorCode, is.ErrorMessage, is.BegunAt, is.EndedAt); err != nil {
			return err
		}
		details := map[string]any{
			"kind": string(is.Kind), "region": is.Region, "source": is.Source, "source_region": is.SourceRegion, "state": is.State, "name": is.name(), "image_id": text(is.ImageID),
		}
		if is.VersionID != nil {
			details["blueprint_version_id"] = string(*is.VersionID)
		}
		if is.ErrorCode != "" {
			details["code"] = is.ErrorCode
		}
		tx.Record(audit.Event{Action: in.Action, ResourceType: "image", ResourceID: is.ID, Details: details})
		return nil
	})
}

// restImage gives the lease back and says when to look again.
func (im *Images) restImage(ctx context.Context, i *imageRow, pause time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, err := im.Log.Pool().Exec(ctx, `
		UPDATE blueprint_images
		SET lease_token = NULL, lease_until = NULL, next_due_at = $3
		WHERE id = $1 AND lease_token = $2`, i.ID, i.LeaseToken, im.Clock().Add(pause))
	return err
}

// bundles -------------------------------------------------------------------------------------------------------------

// BundleQuota is how many bundles of its own Amazon lets an account have in a region. It is not raised.
const BundleQuota = 50

func (im *Images) claimBundle(ctx context.Context) ([]bundleRow, error) {
	now := im.Clock()
	return postgres.Many[bundleRow](ctx, im.Log.Pool(), `
		UPDATE aws_bundles
		SET lease_token = $1, lease_until = $2
		WHERE id = ANY(ARRAY(
			SELECT id
			FROM aws_bundles
			WHERE next_due_at <= $3 AND (lease_until IS NULL OR lease_until <= $3)
			ORDER BY next_due_at
			LIMIT 1
			FOR UPDATE SKIP LOCKED))
		RETURNING`+bundleColumns, "lease_"+id.Unique(), now.Add(imageLease), now)
}

// keep brings a bundle to what is wanted of it: there while somebody needs it, gone when nobody has for long.
func (im *Images) keep(ctx context.Context, b *bundleRow) error {
	if b.State == Available {
		return im.collect(ctx, b)
	}
	shown, err := im.Amazon.Bundles(ctx, b.Region)
	if err != nil {
		return errors.Join(err, im.restBundle(ctx, b, im.scaled(glance)))
	}
	var own *BundleSeen
	for k := range shown {
		if shown[k].Name == b.name() {
			own = &shown[k]
		}
	}
	switch {
	case b.State == Deleting && own == nil:
		return im.goneBundle(ctx, b)
	case b.State == Deleting:
		return im.deleteBundle(ctx, b, own.ID)
	case own != nil && own.State == "AVAILABLE":
		return im.endBundle(ctx, b, own.ID, Available, "", "")
	case own != nil && own.State == "ERROR":
		if err := im.endBundle(ctx, b, own.ID, Failed, "BUNDLE_FAILED", "Amazon could not make it, and does not say why"); err != nil {
			return err
		}
		return im.Amazon.DeleteBundle(ctx, b.Region, own.ID)
	case own != nil && b.State == Wanted:
		return im.begunBundle(ctx, b, own.ID)
	case own == nil && b.State == Wanted:
		return im.askBundle(ctx, b, len(shown))
	case own == nil && (b.EndedAt != nil || im.Clock().Sub(*b.BegunAt) >= im.scaled(shows)):
		return im.goneBundle(ctx, b) // somebody has deleted it
	}
	return im.restBundle(ctx, b, im.scaled(glance))
}

// askBundle asks for a bundle that is not there, if somebody still needs it and Amazon has room for one more.
func (im *Images) askBundle(ctx context.Context, b *bundleRow, have int) error {
	var needed bool
	if err := im.Log.Pool().QueryRow(ctx, `SELECT EXISTS (SELECT FROM aws_bundle_uses WHERE bundle = $1)`, b.ID).Scan(&needed); err != nil {
		return err
	}
	if !needed {
		if b.AskedAt != nil && im.Clock().Sub(*b.AskedAt) < im.scaled(shows) {
			return im.restBundle(ctx, b, im.scaled(beat)) // what was asked for may show yet
		}
		return im.goneBundle(ctx, b)
	}
	if have >= BundleQuota {
		return im.makeRoom(ctx, b)
	}
	now := im.Clock()
	tag, err := im.Log.Pool().Exec(ctx, `
		UPDATE aws_bundles
		SET attempts = attempts + 1, asked_at = $3
		WHERE id = $1 AND lease_token = $2 AND lease_until > $3`, b.ID, b.LeaseToken, now)
	if err != nil || tag.RowsAffected() == 0 {
		return errors.Join(err, im.restBundle(ctx, b, im.scaled(glance)))
	}
	bundle, err := im.Amazon.CreateBundle(ctx, b.Region, BundleSpec{
		Name: b.name(), Description: b.ComputeType + " of " + b.ImageID, ImageID: b.ImageID, ComputeType: b.ComputeType, RootGiB: b.RootGiB, UserGiB: b.UserGiB,
	})
	if err == nil {
		return im.begunBundle(ctx, b, bundle)
	}
	switch why := classOf(err); why.Class {
	case ImageFull:
		return im.makeRoom(ctx, b)
	case ImageMissing:
		return errors.Join(im.lostImage(ctx, b), im.endBundle(ctx, b, "", Failed, why.Code, "the image "+b.ImageID+" is not there any more: "+why.Message))
	case ImageNever:
		return im.endBundle(ctx, b, "", Failed, why.Code, why.Message)
	case ImageNotNow, ImageBlocked, ImageInUse:
		return im.hinderBundle(ctx, b, why)
	case ImageUnclear, ImageTaken:
	}
	return errors.Join(err, im.restBundle(ctx, b, im.scaled(glance)))
}

// lostImage has an image that somebody has deleted made again by the next who needs it: a copy of where it was copied from, a
// capture of its golden WorkSpace as that is then.
func (im *Images) lostImage(ctx context.Context, b *bundleRow) error {
	_, err := im.Log.Pool().Exec(ctx, `
		UPDATE blueprint_images
		SET state = 'FAILED', ended_at = $3, error_code = 'IMAGE_GONE', error_message = 'somebody has deleted it'
		WHERE region = $1 AND image_id = $2 AND state = 'AVAILABLE'`, b.Region, b.ImageID, im.Clock())
	return err
}

// makeRoom gives up the bundle of the region that nobody needs and that was not used for the longest, unless as many are on their way
// out as are waited for. What WorkSpaces are on or wait for stays, as does what Forge did not make.
func (im *Images) makeRoom(ctx context.Context, b *bundleRow) error {
	var waiting, leaving int
	if err := im.Log.Pool().QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE state = 'WANTED' AND EXISTS (SELECT FROM aws_bundle_uses u WHERE u.bundle = b.id)), count(*) FILTER (WHERE state = 'DELETING')
		FROM aws_bundles b
		WHERE region = $1 AND state IN ('WANTED', 'DELETING')`, b.Region).Scan(&waiting, &leaving); err != nil {
		return err
	}
	if leaving >= waiting {
		return im.restBundle(ctx, b, im.scaled(glance))
	}
	given, err := im.giveUp(ctx, `
		SELECT id
		FROM aws_bundles b
		WHERE region = $1 AND state = 'AVAILABLE' AND NOT EXISTS (SELECT FROM aws_bundle_uses u WHERE u.bundle = b.id)
		ORDER BY last_used_at, id
		LIMIT 1
		FOR UPDATE SKIP LOCKED`, "room for "+b.name(), b.Region)
	if err != nil || given {
		return errors.Join(err, im.restBundle(ctx, b, im.scaled(glance)))
	}
	return im.hinderBundle(ctx, b, &ImageError{
		Class: ImageFull, Code: "BUNDLE_QUOTA",
		Message: fmt.Sprintf("Amazon allows %d custom bundles in %s, and there is none that Forge made and nobody needs", BundleQuota, b.Region),
	})
}

// collect gives a bundle up that nobody has needed for the time of grace, unless a version needs it that can still be launched.
func (im *Images) collect(ctx context.Context, b *bundleRow) error {
	now := im.Clock()
	if left := im.scaled(grace) - now.Sub(b.LastUsedAt); left > 0 {
		return im.restBundle(ctx, b, left)
	}
	given, err := im.giveUp(ctx, `
		SELECT id
		FROM aws_bundles b
		WHERE id = $1 AND lease_token = $2 AND state = 'AVAILABLE' AND last_used_at <= $3
		  AND NOT EXISTS (SELECT FROM aws_bundle_uses u WHERE u.bundle = b.id)
		  AND NOT EXISTS (`+launchable+` AND v.id = ANY(b.versions))
		FOR UPDATE`, "not needed", b.ID, b.LeaseToken, now.Add(-im.scaled(grace)))
	if err != nil || given {
		return err
	}
	return im.restBundle(ctx, b, im.scaled(grace))
}

// launchable are the versions that WorkSpaces can be made of, or will be when they are published: all but those that are archived.
const launchable = `SELECT FROM blueprint_versions v WHERE NOT EXISTS (SELECT FROM blueprint_statuses s WHERE s.version_id = v.id AND s.status = 'archived')`

// giveUp has the bundle deleted that a query chooses and locks, if nobody needs it. Whoever needs it writes that down first, which
// waits for the lock: a use from before is counted here, and one from after finds it DELETING and waits until it is made anew.
func (im *Images) giveUp(ctx context.Context, choose, why string, args ...any) (bool, error) {
	err := im.Log.Change(ctx, audit.Intent{Action: "bundle.give_up", ResourceType: "bundle"}, func(tx *audit.Tx) error {
		var row string
		err := tx.QueryRow(ctx, choose, args...).Scan(&row)
		if errors.Is(err, pgx.ErrNoRows) {
			return audit.ErrNothing
		}
		if err != nil {
			return err
		}
		// Another statement sees what was committed while the first one waited.
		var bundle, region string
		err = tx.QueryRow(ctx, `
			UPDATE aws_bundles b
			SET state = 'DELETING', wanted_at = $2, asked_at = NULL, error_code = '', error_message = '', next_due_at = $2, lease_token = NULL, lease_until = NULL
			WHERE id = $1 AND NOT EXISTS (SELECT FROM aws_bundle_uses u WHERE u.bundle = b.id)
			RETURNING bundle_id, region`, row, tx.Now).Scan(&bundle, &region)
		if errors.Is(err, pgx.ErrNoRows) {
			return audit.ErrNothing
		}
		tx.Record(audit.Event{Action: "bundle.give_up", ResourceType: "bundle", ResourceID: row, Details: map[string]any{"bundle_id": bundle, "region": region, "why": why}})
		return err
	})
	if errors.Is(err, audit.ErrNothing) {
		return false, nil
	}
	return err == nil, err
}

// deleteBundle asks Amazon to delete a bundle that was given up. If WorkSpaces are on it that Forge knows nothing of, it stays.
func (im *Images) deleteBundle(ctx context.Context, b *bundleRow, bundle string) error {
	now := im.Clock()
	tag, err := im.Log.Pool().Exec(ctx, `
		UPDATE aws_bundles
		SET attempts = attempts + 1, asked_at = $3
		WHERE id = $1 AND lease_token = $2 AND lease_until > $3`, b.ID, b.LeaseToken, now)
	if err != nil || tag.RowsAffected() == 0 {
		return errors.Join(err, im.restBundle(ctx, b, im.scaled(glance)))
	}
	err = im.Amazon.DeleteBundle(ctx, b.Region, bundle)
	if err == nil {
		return im.restBundle(ctx, b, 0) // seen to be gone by the next look
	}
	switch why := classOf(err); why.Class {
	case ImageInUse, ImageNever:
		return im.changeBundle(ctx, b, "keep", func(tx *audit.Tx, is *bundleRow) error {
			is.State, is.BundleID, is.EndedAt, is.LastUsedAt = Available, &bundle, &tx.Now, tx.Now
			is.ErrorCode, is.ErrorMessage = why.Code, "Amazon does not delete it: "+why.Message
			return nil
		})
	case ImageNotNow, ImageBlocked, ImageFull:
		return im.hinderBundle(ctx, b, why)
	case ImageUnclear, ImageTaken, ImageMissing:
	}
	return errors.Join(err, im.restBundle(ctx, b, im.scaled(glance)))
}

// goneBundle writes down that a bundle is not at Amazon. If somebody needs it, it is made anew.
func (im *Images) goneBundle(ctx context.Context, b *bundleRow) error {
	return im.changeBundle(ctx, b, "gone", func(tx *audit.Tx, is *bundleRow) error {
		var needed bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM aws_bundle_uses WHERE bundle = $1)`, is.ID).Scan(&needed); err != nil {
			return err
		}
		is.State, is.EndedAt, is.BundleID, is.ErrorCode, is.ErrorMessage = Gone, &tx.Now, nil, "", ""
		if needed {
			is.State, is.EndedAt, is.BegunAt, is.WantedAt = Wanted, nil, nil, tx.Now
			is.Generation++
		}
		return nil
	})
}

func (im *Images) begunBundle(ctx context.Context, b *bundleRow, bundle string) error {
	return im.changeBundle(ctx, b, "begin", func(tx *audit.Tx, is *bundleRow) error {
		is.State, is.BundleID, is.BegunAt, is.ErrorCode, is.ErrorMessage = Making, &bundle, &tx.Now, "", ""
		return nil
	})
}

func (im *Images) endBundle(ctx context.Context, b *bundleRow, bundle, state, code, message string) error {
	return im.changeBundle(ctx, b, map[string]string{Available: "available", Failed: "fail"}[state], func(tx *audit.Tx, is *bundleRow) error {
		is.State, is.EndedAt, is.ErrorCode, is.ErrorMessage = state, &tx.Now, code, message
		if bundle != "" {
			is.BundleID = &bundle
		}
		if is.BegunAt == nil {
			is.BegunAt = is.AskedAt // the answer was lost
		}
		if state == Failed {
			if err := im.tell(ctx, tx, "bundle.failed", is.ID, is.Generation, is.what(), code, message); err != nil {
				return err
			}
		}
		if im.Ready == nil {
			return nil
		}
		waiting, err := postgres.Many[struct{ WorkspaceID id.WorkSpace }](ctx, tx, `SELECT workspace_id FROM aws_bundle_uses WHERE bundle = $1`, is.ID)
		ids := make([]id.WorkSpace, len(waiting))
		for k, w := range waiting {
			ids[k] = w.WorkspaceID
		}
		if err != nil || len(ids) == 0 {
			return err
		}
		return im.Ready(ctx, tx, ids)
	})
}

func (im *Images) hinderBundle(ctx context.Context, b *bundleRow, why *ImageError) error {
	if b.ErrorCode == why.Code && b.ErrorMessage == why.Message {
		return errors.Join(why, im.restBundle(ctx, b, im.scaled(beat)))
	}
	err := im.changeBundle(ctx, b, "wait", func(tx *audit.Tx, is *bundleRow) error {
		is.ErrorCode, is.ErrorMessage = why.Code, why.Message
		if why.Class == ImageNotNow {
			return nil
		}
		return im.tell(ctx, tx, "bundle.waits", is.ID, is.Generation, is.what(), why.Code, why.Message)
	})
	return err
}

// pauseOf is when a bundle in a state is looked at next; nil is never.
func (im *Images) pauseOf(b *bundleRow, now time.Time) *time.Time {
	var pause time.Duration
	switch {
	case b.State == Failed, b.State == Gone:
		return nil
	case b.State == Available:
		pause = grace
	case b.ErrorCode != "":
		pause = beat
	case b.State == Making:
		pause = glance
	}
	due := now
	if pause > 0 {
		due = now.Add(im.scaled(pause))
	}
	return &due
}

// changeBundle changes the row as it is now, if the lease is still held, gives the lease back, and records it.
func (im *Images) changeBundle(ctx context.Context, claimed *bundleRow, kind string, fn func(*audit.Tx, *bundleRow) error) error {
	in := audit.Intent{Action: "bundle." + kind, ResourceType: "bundle", ResourceID: claimed.ID}
	return im.Log.Change(ctx, in, func(tx *audit.Tx) error {
		is, err := postgres.One[bundleRow](ctx, tx, `SELECT`+bundleColumns+` FROM aws_bundles WHERE id = $1 AND lease_token = $2 FOR UPDATE`, claimed.ID, claimed.LeaseToken)
		if none(err) {
			return errImageLost
		}
		if err != nil {
			return err
		}
		if err := fn(tx, &is); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `
			UPDATE aws_bundles
			SET state = $2, generation = $3, bundle_id = $4, error_code = $5, error_message = $6, wanted_at = $7, begun_at = $8, ended_at = $9, last_used_at = $10,
			    next_due_at = $11, lease_token = NULL, lease_until = NULL
			WHERE id = $1`, is.ID, is.State, is.Generation, is.BundleID, is.ErrorCode, is.ErrorMessage, is.WantedAt, is.BegunAt, is.EndedAt, is.LastUsedAt, im.pauseOf(&is, tx.Now)); err != nil {
			return err
		}
		details := map[string]any{"region": is.Region, "image_id": is.ImageID, "compute_type": is.ComputeType, "state": is.State, "name": is.name(), "bundle_id": text(is.BundleID)}
		if is.ErrorCode != "" {
			details["code"] = is.ErrorCode
		}
		tx.Record(audit.Event{Action: in.Action, ResourceType: "bundle", ResourceID: is.ID, Details: details})
		return nil
	})
}

// restBundle gives the lease back and says when to look again.
func (im *Images) restBundle(ctx context.Context, b *bundleRow, pause time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, err := im.Log.Pool().Exec(ctx, `
		UPDATE aws_bundles
		SET lease_token = NULL, lease_until = NULL, next_due_at = $3
		WHERE id = $1 AND lease_token = $2`, b.ID, b.LeaseToken, im.Clock().Add(pause))
	return err
}
