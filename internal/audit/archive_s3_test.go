package audit_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/audit/archive"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres/pgtest"
)

// startS3 starts Versity's S3 server (tools/s3) over a directory, and ends it with the test.
func startS3(t *testing.T) *s3.Client {
	t.Helper()
	// The tool's own module; its program stays in Go's cache.
	out, err := exec.CommandContext(t.Context(), "go", "-C", "../../tools/s3", "tool", "-n", "versitygw").Output()
	if err != nil {
		t.Fatalf("building tools/s3: %v", err)
	}
	root := t.TempDir()
	for _, dir := range []string{"buckets", "versions", "meta"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	socket := "@forge-s3-" + id.Unique() // without a file, whose path would have to be short
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, strings.TrimSpace(string(out)), "--port", socket, "--access", "forge", "--secret", "forge-secret", "--quiet", //nolint:gosec // our own tool
		"posix", "--versioning-dir", filepath.Join(root, "versions"), "--sidecar", filepath.Join(root, "meta"), filepath.Join(root, "buckets"))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	dialer := &net.Dialer{}
	client := s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("http://s3.test"), UsePathStyle: true, Credentials: credentials.NewStaticCredentialsProvider("forge", "forge-secret", ""),
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		}}},
		RetryMaxAttempts: 20, // it takes a moment to start
	})
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("worm"), ObjectLockEnabledForBucket: aws.Bool(true)}); err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	return client
}

// recent is a log with one month that is over: the last but one.
func recent(t *testing.T, store archive.Store) *era {
	t.Helper()
	today := time.Now().UTC().Truncate(time.Microsecond)
	e := &era{first: clock.StartOfMonth(today).AddDate(0, -2, 0), months: 1, store: store, today: today, witness: newStamps()}
	db := pgtest.New(t)
	e.scene = &scene{room: &room{db, nil}}
	e.writeMonth(t, e.first)
	e.log = db.Log(t, clock.At(today).Now)
	return e
}

func TestABucketKeepsWhatIsArchived(t *testing.T) {
	client := startS3(t)
	ctx := t.Context()
	store, err := archive.OpenBucket(ctx, client, "worm", "log")
	if err != nil || !store.Locks() {
		t.Fatal("the bucket has no lock, or ", err)
	}
	e := recent(t, store)
	a := e.archivist(t)
	a.Hot = 1
	done, err := a.Run(operator, true)
	if err != nil {
		t.Fatal(err, done)
	}
	e.settle(t, a)
	r := e.verify(t, store)
	ok(t, r)
	if !slices.Contains(r.Passed(), verify.Archives) || len(r.Notes) > 1 {
		t.Error(r.Text())
	}
	objects := pgtest.Value[map[string]string](t, e.DB, `SELECT objects FROM audit_archives WHERE month = $1`, e.first)
	var entries, personal string
	for name := range objects {
		if strings.Contains(name, "entries") {
			entries = name
		}
		if strings.Contains(name, "personal") {
			personal = name
		}
	}

	// The lock holds, whoever asks: the server's own root user here.
	over := e.first.AddDate(7, 1, 0)
	o, err := store.Stat(ctx, entries)
	if err != nil || !o.Compliance || !o.LockedUntil.Equal(over) || o.Version != objects[entries] {
		t.Errorf("%+v %v, want until %s", o, err, over)
	}
	if err := store.Remove(ctx, entries, o.Version); !errors.Is(err, archive.ErrLocked) {
		t.Errorf("removing what is locked: %v", err)
	} else {
		t.Logf("removing it from the bucket: refused: %v", err)
	}
	key := aws.String("log/" + entries)
	if _, err := client.PutObjectRetention(ctx, &s3.PutObjectRetentionInput{
		Bucket: aws.String("worm"), Key: key, VersionId: &o.Version, BypassGovernanceRetention: aws.Bool(true),
		Retention: &types.ObjectLockRetention{Mode: types.ObjectLockRetentionModeCompliance, RetainUntilDate: aws.Time(time.Now().Add(time.Hour))},
	}); err == nil {
		t.Error("a lock was shortened")
	} else {
		t.Logf("shortening the lock: refused: %v", err)
	}
	if err := e.archivist(t).Drop(operator, e.first, true); err == nil {
		t.Error("dropped within its seven years")
	}

	// A legal hold of the database holds in the store.
	hold, err := a.AddHold(operator, e.first, e.first, "case 4711")
	if err != nil {
		t.Fatal(err)
	}
	if o, err := store.Stat(ctx, entries); err != nil || !o.Hold {
		t.Errorf("%+v %v", o, err)
	}
	if err := a.ReleaseHold(operator, hold, "closed"); err != nil {
		t.Fatal(err)
	}
	if o, err := store.Stat(ctx, entries); err != nil || o.Hold {
		t.Errorf("%+v %v", o, err)
	}

	back, err := a.Restore(operator, e.first, time.Hour, true)
	if err != nil || back.Entries != perMonth {
		t.Error(back, err)
	}
	e.settle(t, a)

	found := func(what, why string, without verify.Check) {
		t.Helper()
		r := e.verify(t, store)
		if f := r.Failed(); len(f) != 1 || f[0] != verify.Archives || !strings.Contains(r.Text(), why) {
			t.Errorf("%s: %s", what, r.Text())
		}
		ok(t, e.verify(t, store, without))
	}
	// What is known of persons is not locked, and may go.
	if err := store.Remove(ctx, personal, objects[personal]); err != nil {
		t.Fatal(err)
	}
	ok(t, e.verify(t, store))

	// T33: neither a newer version nor a delete marker hides what was archived.
	put, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("worm"), Key: key, Body: strings.NewReader("nothing")})
	if err != nil {
		t.Fatal(err)
	}
	found("T33 a newer version", "has a newer version", verify.Archives)
	if _, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("worm"), Key: key, VersionId: put.VersionId}); err != nil {
		t.Fatal(err)
	}
	ok(t, e.verify(t, store))
	if _, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("worm"), Key: key}); err != nil {
		t.Fatal(err)
	}
	found("T33 a delete marker", "hidden by a delete marker", verify.Archives)
	if back, err := e.archivist(t).Restore(operator, e.first, time.Hour, true); err != nil || back.Entries != perMonth {
		t.Errorf("what a marker hides is not restored: %v", err)
	}
}

// T33: what was written without a lock, or under one that can be lifted, is found.
func TestALockThatDoesNotHoldIsFound(t *testing.T) {
	client := startS3(t)
	ctx := t.Context()
	store, err := archive.OpenBucket(ctx, client, "worm", "")
	if err != nil {
		t.Fatal(err)
	}
	e := recent(t, governed{store, client})
	a := e.archivist(t)
	if _, err := a.Run(operator, false); err == nil || !errors.Is(err, audit.ErrArchive) || !strings.Contains(err.Error(), "compliance") {
		t.Fatalf("an archive that can be removed was verified: %v", err)
	}
	e.settle(t, a)
	r := e.verify(t, store)
	if f := r.Failed(); len(f) != 1 || f[0] != verify.Archives {
		t.Error(r.Text())
	}
}

// governed is a bucket whose locks whoever has the right can lift.
type governed struct {
	*archive.Bucket
	client *s3.Client
}

func (g governed) Put(ctx context.Context, name string, body io.ReadSeeker, size int64, until time.Time) (string, error) {
	v, err := g.Bucket.Put(ctx, name, body, size, time.Time{})
	if err != nil || until.IsZero() {
		return v, err
	}
	_, err = g.client.PutObjectRetention(ctx, &s3.PutObjectRetentionInput{
		Bucket: aws.String("worm"), Key: &name, VersionId: &v, Retention: &types.ObjectLockRetention{Mode: types.ObjectLockRetentionModeGovernance, RetainUntilDate: &until},
	})
	return v, err
}

func TestPinsInABucketCannotBeSetBack(t *testing.T) {
	client := startS3(t)
	ctx := t.Context()
	bucket, err := archive.OpenBucket(ctx, client, "worm", "pins")
	if err != nil {
		t.Fatal(err)
	}
	latest := func() (string, error) { return audit.NewPinBucket(bucket).Latest(ctx) }
	if text, err := latest(); text != "" || err != nil {
		t.Fatal(text, err)
	}
	checkpoint := func(size int64) string {
		return verify.CheckpointText("a/log", size, tlog.Hash{byte(size)}) + "\n— a/log AAAA\n"
	}
	pin := func(size int64) {
		t.Helper()
		if err := audit.NewPinBucket(bucket).Save(ctx, checkpoint(size)); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int64{9, 1_000_000, 10, 255, 256} {
		pin(size)
	}
	if text, err := latest(); err != nil || text != checkpoint(1_000_000) {
		t.Errorf("the newest is %q, %v", text, err)
	}
	often := audit.NewPinBucket(bucket)
	for size := range int64(5) {
		if err := often.Save(ctx, checkpoint(2_000_000+size)); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := latest(); err != nil || text != checkpoint(2_000_000) {
		t.Errorf("the newest is %q, %v: one is stored of those that come close together", text, err)
	}

	name, version, hidden, err := bucket.First(ctx, "checkpoint-")
	if err != nil || hidden {
		t.Fatal(name, hidden, err)
	}
	if err := bucket.Remove(ctx, name, version); !errors.Is(err, archive.ErrLocked) {
		t.Errorf("removing a pin: %v", err)
	}
	if _, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("worm"), Key: aws.String("pins/" + name)}); err != nil {
		t.Fatal(err)
	}
	if text, err := latest(); !errors.Is(err, audit.ErrPins) || !strings.Contains(err.Error(), name) {
		t.Errorf("the newest is hidden, and it is %q, %v", text, err)
	}

	// One that says another size than its name, or nothing at all.
	pin(3_000_000)
	name, _, _, err = bucket.First(ctx, "checkpoint-")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{checkpoint(10), "", "nothing"} {
		if _, err := bucket.Put(ctx, name, strings.NewReader(text), int64(len(text)), time.Time{}); err != nil {
			t.Fatal(err)
		}
		if got, err := latest(); !errors.Is(err, audit.ErrPins) {
			t.Errorf("%q was put over the newest, and it is %q, %v", text, got, err)
		}
	}
}
