package archive

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// Bucket is a store in a bucket of S3, or of what speaks like it. The bucket has versions and object lock switched on.
type Bucket struct {
	client *s3.Client
	name   string
	prefix string
	locks  bool
}

// OpenBucket opens a bucket; prefix is put before every name. It looks whether the bucket has object lock.
func OpenBucket(ctx context.Context, client *s3.Client, name, prefix string) (*Bucket, error) {
	b := &Bucket{client: client, name: name, prefix: strings.Trim(prefix, "/")}
	if b.prefix != "" {
		b.prefix += "/"
	}
	c, err := client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &name})
	var api smithy.APIError
	switch {
	case err == nil:
		b.locks = c.ObjectLockConfiguration != nil && c.ObjectLockConfiguration.ObjectLockEnabled == types.ObjectLockEnabledEnabled
	case errors.As(err, &api) && (api.ErrorCode() == "ObjectLockConfigurationNotFoundError" || api.ErrorCode() == "NotImplemented"):
	default:
		return nil, fmt.Errorf("the bucket %s: %w", name, err)
	}
	return b, nil
}

// Name is the bucket's.
func (b *Bucket) Name() string { return "s3://" + b.name + "/" + b.prefix }

// Locks is whether the bucket has object lock.
func (b *Bucket) Locks() bool { return b.locks }

func (b *Bucket) key(name string) *string { return aws.String(b.prefix + name) }

func version(v string) *string {
	if v == "" {
		return nil
	}
	return &v
}

// Put stores an object, in compliance mode if it is to be locked: then nobody can remove it before that.
func (b *Bucket) Put(ctx context.Context, name string, body io.ReadSeeker, size int64, until time.Time) (string, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, body); err != nil {
		return "", err
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	in := &s3.PutObjectInput{
		Bucket: &b.name, Key: b.key(name), Body: body, ContentLength: &size,
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum.Sum(nil))),
	}
	if b.locks && !until.IsZero() {
		in.ObjectLockMode, in.ObjectLockRetainUntilDate = types.ObjectLockModeCompliance, &until
	}
	out, err := b.client.PutObject(ctx, in)
	if err != nil {
		return "", fmt.Errorf("storing %s: %w", name, err)
	}
	return aws.ToString(out.VersionId), nil
}

// Open reads a version.
func (b *Bucket) Open(ctx context.Context, name, v string) (io.ReadCloser, error) {
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: b.key(name), VersionId: version(v)})
	if err != nil {
		return nil, b.named(name, err)
	}
	return out.Body, nil
}

// named is an error with what it is about, ErrNotThere where that is it.
func (b *Bucket) named(name string, err error) error {
	var r *awshttp.ResponseError
	if errors.As(err, &r) && (r.HTTPStatusCode() == http.StatusNotFound || r.HTTPStatusCode() == http.StatusMethodNotAllowed) { // the latter for a delete marker
		return ErrNotThere
	}
	var api smithy.APIError
	if errors.As(err, &api) && (api.ErrorCode() == "NoSuchKey" || api.ErrorCode() == "NoSuchVersion" || api.ErrorCode() == "NotFound") {
		return ErrNotThere
	}
	return fmt.Errorf("%s%s: %w", b.Name(), name, err)
}

// First is the newest version of the first name, in the order of their bytes, that begins so; ErrNotThere without one.
// hidden says that a delete marker is on it.
func (b *Bucket) First(ctx context.Context, prefix string) (name, v string, hidden bool, err error) {
	out, err := b.client.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &b.name, Prefix: b.key(prefix), MaxKeys: aws.Int32(1)})
	switch {
	case err != nil:
		return "", "", false, b.named(prefix, err)
	case len(out.DeleteMarkers) > 0:
		return strings.TrimPrefix(aws.ToString(out.DeleteMarkers[0].Key), b.prefix), "", true, nil
	case len(out.Versions) > 0:
		return strings.TrimPrefix(aws.ToString(out.Versions[0].Key), b.prefix), aws.ToString(out.Versions[0].VersionId), false, nil
	}
	return "", "", false, ErrNotThere
}

// Stat tells of the newest version and its lock.
func (b *Bucket) Stat(ctx context.Context, name string) (Object, error) {
	h, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.name, Key: b.key(name)})
	if err != nil {
		return Object{}, b.named(name, err)
	}
	o := Object{Version: aws.ToString(h.VersionId)}
	if !b.locks {
		return o, nil
	}
	// Asked for by itself: what the answer to HEAD says depends on rights.
	r, err := b.client.GetObjectRetention(ctx, &s3.GetObjectRetentionInput{Bucket: &b.name, Key: b.key(name), VersionId: version(o.Version)})
	if err != nil && !unlocked(err) {
		return o, b.named(name, err)
	}
	if err == nil && r.Retention != nil {
		o.LockedUntil, o.Compliance = aws.ToTime(r.Retention.RetainUntilDate), r.Retention.Mode == types.ObjectLockRetentionModeCompliance
	}
	l, err := b.client.GetObjectLegalHold(ctx, &s3.GetObjectLegalHoldInput{Bucket: &b.name, Key: b.key(name), VersionId: version(o.Version)})
	if err != nil && !unlocked(err) {
		return o, b.named(name, err)
	}
	o.Hold = err == nil && l.LegalHold != nil && l.LegalHold.Status == types.ObjectLockLegalHoldStatusOn
	return o, nil
}

func unlocked(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && (api.ErrorCode() == "NoSuchObjectLockConfiguration" || api.ErrorCode() == "ObjectLockConfigurationNotFoundError")
}

// Hold puts a legal hold on a version, or takes it away.
func (b *Bucket) Hold(ctx context.Context, name, v string, on bool) error {
	if !b.locks {
		return nil
	}
	status := types.ObjectLockLegalHoldStatusOff
	if on {
		status = types.ObjectLockLegalHoldStatusOn
	}
	_, err := b.client.PutObjectLegalHold(ctx, &s3.PutObjectLegalHoldInput{
		Bucket: &b.name, Key: b.key(name), VersionId: version(v), LegalHold: &types.ObjectLockLegalHold{Status: status},
	})
	if err != nil {
		return b.named(name, err)
	}
	return nil
}

// Remove removes a version for good.
func (b *Bucket) Remove(ctx context.Context, name, v string) error {
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: b.key(name), VersionId: version(v)})
	var api smithy.APIError
	if errors.As(err, &api) && (api.ErrorCode() == "AccessDenied" || api.ErrorCode() == "ObjectLocked" || api.ErrorCode() == "InvalidRequest") {
		return fmt.Errorf("%w: %s%s: %s", ErrLocked, b.Name(), name, api.ErrorMessage())
	}
	if err != nil {
		err = b.named(name, err)
	}
	if errors.Is(err, ErrNotThere) {
		return nil
	}
	return err
}
