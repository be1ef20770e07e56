package blueprint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/price"
)

// What can be wrong with a version's image.
var (
	ErrImage = fault.New(fault.Conflict, "IMAGE_FAILED", "the image of this version could not be made",
		fault.Suggest("`forge blueprint images` says why; the next launch tries again a quarter of an hour later"))
	ErrImageRegion = fault.New(fault.Invalid, "IMAGE_NOT_IN_REGION", "the version names no bundle for that region and bundle type",
		fault.Suggest("choose a region and bundle type that it names"))
)

// Images brings the root volumes of versions to where WorkSpaces are to be made of them: a version's golden WorkSpace is
// captured once, its image is copied to a region when that first needs it, and a bundle is made of it for each size. Bundles
// are a cache: Amazon allows 50 in a region, and the one that nobody needs and that was not used for the longest makes room.
//
// Every step is a row that is due. Whoever takes it looks at Amazon first, by a name that is derived from the row, and asks for
// what is not there; a process may end at any instruction. Any number of processes may work on one database.
type Images struct {
	Amazon ImageProvider
	Log    *audit.Log
	Clock  clock.Clock
	Slog   *slog.Logger
	// Speed is how many times faster than Amazon the provider works: an emulator's. 0 is 1.
	Speed int
	// Ready is called, in the change that ends it, with the WorkSpaces that have waited for a bundle; nil is nobody.
	Ready func(ctx context.Context, tx *audit.Tx, waiting []id.WorkSpace) error
}

// ImageProvider is the cloud's images and bundles of this account. Implementations never send again what may have had an
// effect, and return an *ImageError.
type ImageProvider interface {
	// Images and Bundles list the account's own in a region, whoever made them. What is absent was not there.
	Images(ctx context.Context, region string) ([]ImageSeen, error)
	Bundles(ctx context.Context, region string) ([]BundleSeen, error)
	// Capture makes an image of a running WorkSpace of the region, which is SUSPENDED meanwhile.
	Capture(ctx context.Context, region, workspace, name, description string) (imageID string, err error)
	// CopyImage copies an image of another region into the region.
	CopyImage(ctx context.Context, region, sourceRegion, image, name, description string) (imageID string, err error)
	DeleteImage(ctx context.Context, region, image string) error
	CreateBundle(ctx context.Context, region string, b BundleSpec) (bundleID string, err error)
	DeleteBundle(ctx context.Context, region, bundle string) error
}

// ImageSeen is an image as Amazon shows it; State is Amazon's word.
type ImageSeen struct {
	ID, Name, State         string
	ErrorCode, ErrorMessage string
}

// BundleSeen is a bundle as Amazon shows it.
type BundleSeen struct{ ID, Name, ImageID, State string }

// BundleSpec is a bundle to be made.
type BundleSpec struct {
	Name, Description, ImageID, ComputeType string
	RootGiB, UserGiB                        int
}

// ImageClass says what a refusal of Amazon's means for the next step.
type ImageClass int

// The classes.
const (
	ImageUnclear ImageClass = iota // it may or may not have happened, or it was not even sent: look again
	ImageNotNow                    // the state of something does not allow it at the moment
	ImageTaken                     // there is one with that name: look for it
	ImageFull                      // the quota
	ImageInUse                     // WorkSpaces are on it
	ImageMissing                   // what it is to be made of, or what is to go, is not there
	ImageBlocked                   // an operator must act first
	ImageNever                     // it will never be done as it is
)

// ImageError is a refusal or a failure.
type ImageError struct {
	Class         ImageClass
	Code, Message string
	Err           error
}

// Error shows the provider's code and message.
func (e *ImageError) Error() string { return e.Code + ": " + e.Message }

// Unwrap gives the cause.
func (e *ImageError) Unwrap() error { return e.Err }

// The states of an image and of a bundle. The last two are a bundle's only.
const (
	Wanted    = "WANTED" // Amazon has not accepted it yet
	Making    = "MAKING"
	Available = "AVAILABLE"
	Failed    = "FAILED"
	Deleting  = "DELETING"
	Gone      = "GONE"
)

// Need is what a WorkSpace is to be made of.
type Need struct {
	Version     id.BlueprintVersion
	Region      string
	ComputeType string
	// WorkSpace keeps the bundle from being deleted until Settle or Release.
	WorkSpace id.WorkSpace
}

// Supply is what there is for a need: Amazon's public bundle, a bundle by its id, or something to wait for.
type Supply struct {
	Public   bool
	BundleID string
	Waiting  *Wait
}

// Wait is why a WorkSpace cannot be made yet, and until when that will last as far as anybody can know.
type Wait struct {
	For     string // in words: "the capture of its image in us-east-1"
	Since   time.Time
	Until   time.Time // an estimate, never in the past
	Problem string    // what keeps it from going on; empty while it does
}

// Minutes is how long it will take from now, at least one.
func (w *Wait) Minutes(now time.Time) int {
	return max(1, int((w.Until.Sub(now)+time.Minute-1)/time.Minute))
}

// Say says it to people.
func (w *Wait) Say(now time.Time) string {
	s := fmt.Sprintf("waiting for image: %s, wanted since %s, about %d minutes", w.For, w.Since.UTC().Format("2006-01-02 15:04 MST"), w.Minutes(now))
	if w.Problem != "" {
		s += "; at the moment it does not go on: " + w.Problem
	}
	return s
}

// Bundle tells which bundle a WorkSpace of a version is made of in a region, and has it made if there is none. A bundle that
// it answers or makes one wait for is kept for the WorkSpace. A refusal is ErrImage or ErrImageRegion: it is for good.
func (im *Images) Bundle(ctx context.Context, db postgres.Executor, n Need) (Supply, error) {
	d, err := DefinitionOf(ctx, db, n.Version)
	if err != nil {
		return Supply{}, err
	}
	switch {
	case d.Image == nil:
		return Supply{Public: true}, nil
	case d.Image.Bundles != nil:
		if bundle := d.Image.Bundles[n.Region][n.ComputeType]; bundle != "" {
			return Supply{BundleID: bundle}, nil
		}
		return Supply{}, ErrImageRegion.Sayf("the version names no bundle for %s in %s", n.ComputeType, n.Region)
	}
	image, wait, err := im.image(ctx, db, n, d, func(want imageRow) (string, *Wait, error) { return im.made(ctx, db, want) })
	if err != nil || wait != nil {
		return Supply{Waiting: wait}, err
	}
	return im.bundle(ctx, db, n, image)
}

// Waiting tells what a WorkSpace still waits for that Bundle has made wait, or nil. It changes nothing.
func (im *Images) Waiting(ctx context.Context, q postgres.Querier, n Need) (*Wait, error) {
	d, err := DefinitionOf(ctx, q, n.Version)
	if err != nil || d.Image == nil || d.Image.Bundles != nil {
		return nil, err
	}
	now := im.Clock()
	image, wait, err := im.image(ctx, q, n, d, func(want imageRow) (string, *Wait, error) {
		is, err := findImage(ctx, q, want)
		if err != nil || is.State == Available {
			return text(is.ImageID), nil, err
		}
		wait, err := im.waits(ctx, q, &is, now)
		return "", wait, err
	})
	if err == nil && wait == nil {
		var b bundleRow
		if b, err = findBundle(ctx, q, n, image); err == nil && b.State != Available {
			wait = im.waitsBundle(&b, now)
		}
	}
	if none(err) {
		return nil, nil // nobody has wanted it yet
	}
	return wait, err
}

// image gives the id of a version's image in a region, or what to wait for. get answers for one that Forge makes.
func (im *Images) image(ctx context.Context, q postgres.Querier, n Need, d Definition, get func(imageRow) (string, *Wait, error)) (string, *Wait, error) {
	from, source := n.Region, d.Image.Images[n.Region]
	switch g := d.Image.Golden; {
	case g != nil:
		captured, wait, err := get(imageRow{Kind: capture, VersionID: &n.Version, Region: g.Region, SourceRegion: g.Region, Source: g.Workspace})
		if err == nil && wait != nil && n.Region != g.Region {
			var took time.Duration
			took, err = im.typical(ctx, q, n.Region, copied)
			wait.Until = wait.Until.Add(took)
		}
		if err != nil || wait != nil {
			return "", wait, err
		}
		from, source = g.Region, captured
	case source == "":
		from = slices.Min(slices.Collect(maps.Keys(d.Image.Images)))
		source = d.Image.Images[from]
	}
	if from == n.Region {
		return source, nil, nil
	}
	return get(imageRow{Kind: copied, Region: n.Region, SourceRegion: from, Source: source})
}

func findImage(ctx context.Context, q postgres.Querier, want imageRow) (imageRow, error) {
	return postgres.One[imageRow](ctx, q, `
		SELECT`+imageColumns+`
		FROM blueprint_images
		WHERE kind = $1 AND (version_id = $2 OR kind = 'copy' AND source = $3 AND region = $4)`, want.Kind, want.VersionID, want.Source, want.Region)
}

func findBundle(ctx context.Context, q postgres.Querier, n Need, image string) (bundleRow, error) {
	root, user, _ := price.Included(n.ComputeType)
	return postgres.One[bundleRow](ctx, q, `
		SELECT`+bundleColumns+`
		FROM aws_bundles
		WHERE region = $1 AND image_id = $2 AND compute_type = $3 AND root_gib = $4 AND user_gib = $5`, n.Region, image, n.ComputeType, root, user)
}

// made gives the id of an image that Forge makes, or what to wait for; what nobody has wanted yet is wanted from now on.
func (im *Images) made(ctx context.Context, db postgres.Executor, want imageRow) (string, *Wait, error) {
	now := im.Clock()
	if _, err := db.Exec(ctx, `
		INSERT INTO blueprint_images (id, kind, version_id, region, source_region, source, state, created_at, wanted_at, next_due_at)
		SELECT $1, $2, $3, $4, $5, $6, 'WANTED', $7, $7, $7
		WHERE NOT EXISTS (SELECT FROM blueprint_images WHERE kind = $2 AND (version_id = $3 OR kind = 'copy' AND source = $6 AND region = $4))
		ON CONFLICT DO NOTHING`, "img_"+id.Unique(), want.Kind, want.VersionID, want.Region, want.SourceRegion, want.Source, now); err != nil {
		return "", nil, err
	}
	is, err := findImage(ctx, db, want)
	if err != nil {
		return "", nil, err
	}
	switch {
	case is.State == Available:
		return *is.ImageID, nil, nil
	case is.State == Failed && now.Sub(*is.EndedAt) < im.scaled(tryAgain):
		return "", nil, ErrImage.Sayf("the %s failed: %s: %s", is.what(), is.ErrorCode, is.ErrorMessage).Detail("error_code", is.ErrorCode)
	case is.State == Failed:
		if _, err := db.Exec(ctx, `
			UPDATE blueprint_images
			SET state = 'WANTED', generation = generation + 1, attempts = 0, image_id = NULL, error_code = '', error_message = '', wanted_at = $3,
			    asked_at = NULL, begun_at = NULL, ended_at = NULL, next_due_at = $3
			WHERE id = $1 AND generation = $2 AND state = 'FAILED'`, is.ID, is.Generation, now); err != nil {
			return "", nil, err
		}
		is.State, is.WantedAt, is.BegunAt, is.ErrorCode, is.ErrorMessage = Wanted, now, nil, "", ""
	}
	wait, err := im.waits(ctx, db, &is, now)
	return "", wait, err
}

// waits says how long an image will take.
func (im *Images) waits(ctx context.Context, q postgres.Querier, i *imageRow, now time.Time) (*Wait, error) {
	took, err := im.typical(ctx, q, i.Region, i.Kind)
	w := &Wait{For: "the " + i.what(), Since: i.WantedAt, Until: now.Add(took), Problem: problem(i.ErrorCode, i.ErrorMessage)}
	if i.BegunAt != nil {
		w.Until = i.BegunAt.Add(took)
	}
	w.Until = w.Until.Add(im.scaled(bundleTakes))
	if least := now.Add(im.scaled(bundleTakes)); w.Until.Before(least) {
		w.Until = least
	}
	return w, err
}

func problem(code, message string) string {
	if code == "" {
		return ""
	}
	return code + ": " + message
}

// stated is Amazon's own word for how long an image takes; it has none for a copy.
const (
	stated        = 45 * time.Minute
	bundleTakes   = time.Minute
	samplesWanted = 20 // the latest that count
	samplesNeeded = 3  // with fewer, Amazon's statement is the better one
)

// typical is how long an image takes in a region, measured on the latest, or else as Amazon says.
func (im *Images) typical(ctx context.Context, q postgres.Querier, region string, kind imageKind) (time.Duration, error) {
	type row struct {
		Samples int
		Took    *time.Duration
	}
	m, err := postgres.One[row](ctx, q, `
		SELECT count(*) AS samples, percentile_cont(0.5) WITHIN GROUP (ORDER BY took) AS took
		FROM (
			SELECT ended_at - begun_at AS took
			FROM blueprint_images
			WHERE region = $1 AND kind = $2 AND state = 'AVAILABLE'
			ORDER BY ended_at DESC
			LIMIT $3) lately`, region, kind, samplesWanted)
	if err != nil || m.Samples < samplesNeeded || m.Took == nil {
		return im.scaled(stated), err
	}
	return *m.Took, nil
}

// bundle gives the bundle of an image for a size, or what to wait for, and keeps it for the WorkSpace. The use is written
// before the state is read: who deletes a bundle holds its row, which the use must wait for, and counts the uses again.
func (im *Images) bundle(ctx context.Context, db postgres.Executor, n Need, image string) (Supply, error) {
	root, user, known := price.Included(n.ComputeType)
	if !known {
		return Supply{}, ErrImageRegion.Sayf("the volumes of %s are not known", n.ComputeType)
	}
	now := im.Clock()
	if _, err := db.Exec(ctx, `
		INSERT INTO aws_bundles (id, region, image_id, compute_type, root_gib, user_gib, versions, state, created_at, wanted_at, last_used_at, next_due_at)
		VALUES ($1, $2, $3, $4, $5, $6, ARRAY[$7::text], 'WANTED', $8, $8, $8, $8)
		ON CONFLICT (region, image_id, compute_type, root_gib, user_gib) DO UPDATE
		SET versions = CASE WHEN $7 = ANY(aws_bundles.versions) THEN aws_bundles.versions ELSE aws_bundles.versions || $7::text END,
		    last_used_at = greatest(aws_bundles.last_used_at, $8)`,
		"bun_"+id.Unique(), n.Region, image, n.ComputeType, root, user, n.Version, now); err != nil {
		return Supply{}, err
	}
	if _, err := db.Exec(ctx, `
		INSERT INTO aws_bundle_uses (workspace_id, bundle, since)
		SELECT $1, id, $7
		FROM aws_bundles
		WHERE region = $2 AND image_id = $3 AND compute_type = $4 AND root_gib = $5 AND user_gib = $6
		ON CONFLICT DO NOTHING`, n.WorkSpace, n.Region, image, n.ComputeType, root, user, now); err != nil {
		return Supply{}, err
	}
	b, err := findBundle(ctx, db, n, image)
	if err != nil {
		return Supply{}, err
	}
	switch {
	case b.State == Available:
		return Supply{BundleID: *b.BundleID}, nil
	case b.State == Failed && now.Sub(*b.EndedAt) < im.scaled(tryAgain):
		return Supply{}, ErrImage.Sayf("the %s failed: %s: %s", b.what(), b.ErrorCode, b.ErrorMessage).Detail("error_code", b.ErrorCode)
	case b.State == Failed, b.State == Gone:
		if _, err := db.Exec(ctx, `
			UPDATE aws_bundles
			SET`+bundleAnew+`
			WHERE id = $1 AND generation = $3 AND state IN ('FAILED', 'GONE')`, b.ID, now, b.Generation); err != nil {
			return Supply{}, err
		}
		b.WantedAt, b.ErrorCode, b.ErrorMessage = now, "", ""
	}
	return Supply{Waiting: im.waitsBundle(&b, now)}, nil
}

func (im *Images) waitsBundle(b *bundleRow, now time.Time) *Wait {
	return &Wait{For: "the " + b.what(), Since: b.WantedAt, Until: now.Add(im.scaled(bundleTakes)), Problem: problem(b.ErrorCode, b.ErrorMessage)}
}

// bundleAnew has a bundle made once more, under another name, wanted from $2 on.
const bundleAnew = `
	state = 'WANTED', generation = generation + 1, attempts = 0, bundle_id = NULL, error_code = '', error_message = '', wanted_at = $2,
	asked_at = NULL, begun_at = NULL, ended_at = NULL, next_due_at = $2`

// Settle says that a WorkSpace is on a bundle of Amazon's id and on no other: what else was kept for it is free.
func (im *Images) Settle(ctx context.Context, db postgres.Executor, ws id.WorkSpace, bundleID string) error {
	return im.free(ctx, db, ws, bundleID)
}

// Release says that a WorkSpace needs no bundle any more.
func (im *Images) Release(ctx context.Context, db postgres.Executor, ws id.WorkSpace) error {
	return im.free(ctx, db, ws, "")
}

// free takes a WorkSpace's uses away but that of one bundle. The bundles are looked at again when they have gone unused for
// long enough.
func (im *Images) free(ctx context.Context, db postgres.Executor, ws id.WorkSpace, but string) error {
	now := im.Clock()
	_, err := db.Exec(ctx, `
		WITH freed AS (
			DELETE FROM aws_bundle_uses u
			USING aws_bundles b
			WHERE u.workspace_id = $1 AND b.id = u.bundle AND b.bundle_id IS DISTINCT FROM nullif($2, '')
			RETURNING u.bundle)
		UPDATE aws_bundles
		SET last_used_at = $3, next_due_at = CASE WHEN state = 'AVAILABLE' THEN $4 ELSE next_due_at END
		WHERE id IN (SELECT bundle FROM freed)`, ws, but, now, now.Add(im.scaled(grace)))
	return err
}

// Lost says that a WorkSpace was refused because its bundle is not there: somebody has deleted it. One that Forge made is looked
// for, and made again; of any other it returns false.
func (im *Images) Lost(ctx context.Context, db postgres.Executor, region, bundleID string) (bool, error) {
	tag, err := db.Exec(ctx, `
		UPDATE aws_bundles
		SET next_due_at = $3, state = 'MAKING'
		WHERE region = $1 AND bundle_id = $2 AND state IN ('AVAILABLE', 'MAKING')`, region, bundleID, im.Clock())
	return err == nil && tag.RowsAffected() > 0, err
}

const (
	// tryAgain is how long a failure is the answer to everyone who asks.
	tryAgain = 15 * time.Minute
	// grace is how long a bundle that nobody needs is kept: making it again would make somebody wait.
	grace = 7 * 24 * time.Hour
)

// scaled is a measure of Amazon's at the provider's speed.
func (im *Images) scaled(real time.Duration) time.Duration {
	return max(real/time.Duration(max(im.Speed, 1)), 100*time.Millisecond)
}

type imageKind string

const (
	capture imageKind = "capture"
	copied  imageKind = "copy"
)

type imageRow struct {
	ID           string
	Kind         imageKind
	VersionID    *id.BlueprintVersion
	Region       string
	SourceRegion string
	Source       string
	State        string
	Generation   int
	ImageID      *string
	ErrorCode    string
	ErrorMessage string
	Attempts     int
	WantedAt     time.Time
	AskedAt      *time.Time
	BegunAt      *time.Time
	EndedAt      *time.Time
	LeaseToken   *string
}

const imageColumns = `
	id, kind, version_id, region, source_region, source, state, generation, image_id, error_code, error_message, attempts, wanted_at, asked_at,
	begun_at, ended_at, lease_token`

// name is the image's at Amazon: unique in the region, and the same whoever asks.
func (i *imageRow) name() string { return fmt.Sprintf("%s%d", i.prefix(), i.Generation) }

func (i *imageRow) prefix() string { return "forge-" + i.ID + "-" }

func (i *imageRow) what() string {
	if i.Kind == capture {
		return fmt.Sprintf("capture of its image from the WorkSpace %s in %s", i.Source, i.Region)
	}
	return fmt.Sprintf("copy of its image %s from %s to %s", i.Source, i.SourceRegion, i.Region)
}

type bundleRow struct {
	ID           string
	Region       string
	ImageID      string
	ComputeType  string
	RootGiB      int
	UserGiB      int
	Versions     []string
	State        string
	Generation   int
	BundleID     *string
	ErrorCode    string
	ErrorMessage string
	Attempts     int
	WantedAt     time.Time
	AskedAt      *time.Time
	BegunAt      *time.Time
	EndedAt      *time.Time
	LastUsedAt   time.Time
	LeaseToken   *string
}

const bundleColumns = `
	id, region, image_id, compute_type, root_gib, user_gib, versions, state, generation, bundle_id, error_code, error_message, attempts, wanted_at,
	asked_at, begun_at, ended_at, last_used_at, lease_token`

func (b *bundleRow) name() string { return fmt.Sprintf("forge-%s-%d", b.ID, b.Generation) }

func (b *bundleRow) what() string {
	return fmt.Sprintf("bundle of its image %s for %s in %s", b.ImageID, b.ComputeType, b.Region)
}

// ImageState is an image that a version needs, or a bundle of it, and how far it is.
type ImageState struct {
	Region       string
	Kind         string // given, capture, copy or bundle
	Source       string // what it is made of, by Amazon's id
	ID           string // Amazon's; empty: not accepted yet
	ComputeType  string // a bundle's
	State        string
	ErrorCode    string
	ErrorMessage string
	Attempts     int
	WantedAt     *time.Time
	BegunAt      *time.Time // when Amazon accepted it
	EndedAt      *time.Time
	Until        *time.Time // an estimate; nil: it is not on its way
	LastUsedAt   *time.Time
	Uses         int // WorkSpaces that are on the bundle, or wait for it
}

// Of lists the images and bundles of a version, in the order in which they are made.
func (im *Images) Of(ctx context.Context, q postgres.Querier, v Version) ([]ImageState, error) {
	if v.Definition.Image == nil {
		return nil, nil
	}
	all := given(v.Definition)
	sources := make([]string, 0, len(all)) // images that copies are made of
	for i := range all {
		sources = append(sources, all[i].ID)
	}
	found, err := postgres.Many[imageRow](ctx, q, `
		SELECT`+imageColumns+`
		FROM blueprint_images
		WHERE version_id = $1 OR kind = 'copy' AND source = ANY(
			$2::text[] || ARRAY(SELECT image_id FROM blueprint_images WHERE version_id = $1 AND image_id IS NOT NULL))
		ORDER BY kind, region`, v.ID, sources)
	if err != nil {
		return nil, err
	}
	now := im.Clock()
	for k := range found {
		i := &found[k]
		s := ImageState{
			Region: i.Region, Kind: string(i.Kind), Source: i.Source, ID: text(i.ImageID), State: i.State, ErrorCode: i.ErrorCode,
			ErrorMessage: i.ErrorMessage, Attempts: i.Attempts, WantedAt: &i.WantedAt, BegunAt: i.BegunAt, EndedAt: i.EndedAt,
		}
		if i.State == Wanted || i.State == Making {
			w, err := im.waits(ctx, q, i, now)
			if err != nil {
				return nil, err
			}
			s.Until = &w.Until
		}
		all = append(all, s)
	}
	bundles, err := im.bundlesOf(ctx, q, v.ID)
	return append(all, bundles...), err
}

func (im *Images) bundlesOf(ctx context.Context, q postgres.Querier, version id.BlueprintVersion) ([]ImageState, error) {
	type row struct {
		bundleRow
		Uses int
	}
	found, err := postgres.Many[row](ctx, q, `
		SELECT`+bundleColumns+`, (SELECT count(*) FROM aws_bundle_uses u WHERE u.bundle = b.id) AS uses
		FROM aws_bundles b
		WHERE $1 = ANY(versions)
		ORDER BY region, compute_type, id`, string(version))
	all := make([]ImageState, len(found))
	for i := range found {
		b := &found[i]
		all[i] = ImageState{
			Region: b.Region, Kind: "bundle", Source: b.ImageID, ID: text(b.BundleID), ComputeType: b.ComputeType, State: b.State, ErrorCode: b.ErrorCode,
			ErrorMessage: b.ErrorMessage, Attempts: b.Attempts, WantedAt: &b.WantedAt, BegunAt: b.BegunAt, EndedAt: b.EndedAt, LastUsedAt: &b.LastUsedAt, Uses: b.Uses,
		}
	}
	return all, err
}

// given are the images and bundles that a definition names.
func given(d Definition) []ImageState {
	var all []ImageState
	for _, region := range slices.Sorted(maps.Keys(d.Image.Images)) {
		all = append(all, ImageState{Region: region, Kind: "given", ID: d.Image.Images[region], State: Available})
	}
	for _, region := range slices.Sorted(maps.Keys(d.Image.Bundles)) {
		for _, size := range slices.Sorted(maps.Keys(d.Image.Bundles[region])) {
			all = append(all, ImageState{Region: region, Kind: "given", ID: d.Image.Bundles[region][size], ComputeType: size, State: Available})
		}
	}
	return all
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// classOf is the class of a provider's error, and what it says.
func classOf(err error) *ImageError {
	var e *ImageError
	if errors.As(err, &e) {
		return e
	}
	return &ImageError{Class: ImageUnclear, Code: "UNCLEAR", Message: cmp.Or(err.Error(), "unclear")}
}

// none tells whether a query found nothing.
func none(err error) bool { return errors.Is(err, pgx.ErrNoRows) }
