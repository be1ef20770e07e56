package desktop

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/workspace"
)

// Images is the account's own images and bundles: what stands behind blueprint.ImageProvider. Its calls share the limits and the
// breakers of the provider.
type Images struct{ Provider *Provider }

var _ blueprint.ImageProvider = Images{}

// Images lists the account's own images in a region.
func (m Images) Images(ctx context.Context, region string) ([]blueprint.ImageSeen, error) {
	r := m.Provider.region(region)
	var all []blueprint.ImageSeen
	err := pages(func(token *string) (next *string, err error) {
		err = m.Provider.call(ctx, r, "DescribeWorkspaceImages", func(c *workspaces.Client) error {
			out, err := c.DescribeWorkspaceImages(ctx, &workspaces.DescribeWorkspaceImagesInput{ImageType: types.ImageTypeOwned, NextToken: token})
			if err != nil {
				return err
			}
			next = out.NextToken
			for i := range out.Images {
				all = append(all, imageSeen(&out.Images[i]))
			}
			return nil
		})
		return next, err
	})
	return all, imageError(err)
}

func imageSeen(i *types.WorkspaceImage) blueprint.ImageSeen {
	seen := blueprint.ImageSeen{
		ID: aws.ToString(i.ImageId), Name: aws.ToString(i.Name), State: string(i.State),
		ErrorCode: aws.ToString(i.ErrorCode), ErrorMessage: aws.ToString(i.ErrorMessage),
	}
	var details []string
	for _, d := range i.ErrorDetails {
		if seen.ErrorCode == "" {
			seen.ErrorCode = string(d.ErrorCode)
		}
		details = append(details, string(d.ErrorCode)+": "+aws.ToString(d.ErrorMessage))
	}
	// Amazon may find several things wrong, and its message is of one.
	if len(details) > 1 || seen.ErrorMessage == "" {
		seen.ErrorMessage = strings.Join(details, "; ")
	}
	if seen.State == string(types.WorkspaceImageStateError) && seen.ErrorCode == "" {
		seen.ErrorCode, seen.ErrorMessage = "IMAGE_FAILED", "Amazon could not make it, and does not say why"
	}
	return seen
}

// Bundles lists the account's own bundles in a region.
func (m Images) Bundles(ctx context.Context, region string) ([]blueprint.BundleSeen, error) {
	r := m.Provider.region(region)
	var all []blueprint.BundleSeen
	err := pages(func(token *string) (next *string, err error) {
		err = m.Provider.call(ctx, r, "DescribeWorkspaceBundles", func(c *workspaces.Client) error {
			out, err := c.DescribeWorkspaceBundles(ctx, &workspaces.DescribeWorkspaceBundlesInput{NextToken: token})
			if err != nil {
				return err
			}
			next = out.NextToken
			for i := range out.Bundles {
				b := &out.Bundles[i]
				all = append(all, blueprint.BundleSeen{ID: aws.ToString(b.BundleId), Name: aws.ToString(b.Name), ImageID: aws.ToString(b.ImageId), State: string(b.State)})
			}
			return nil
		})
		return next, err
	})
	return all, imageError(err)
}

// Capture asks for an image of a WorkSpace that is AVAILABLE and not encrypted.
func (m Images) Capture(ctx context.Context, region, workspace, name, description string) (string, error) {
	id, err := m.Provider.Capture(ctx, region, workspace, name, description)
	return id, imageError(err)
}

// CopyImage asks for a copy. Amazon's copy is a pull: it is called in the region that is to have it.
func (m Images) CopyImage(ctx context.Context, region, sourceRegion, image, name, description string) (string, error) {
	var id string
	err := m.Provider.call(ctx, m.Provider.region(region), "CopyWorkspaceImage", func(c *workspaces.Client) error {
		out, err := c.CopyWorkspaceImage(ctx, &workspaces.CopyWorkspaceImageInput{
			Name: aws.String(name), Description: aws.String(description), SourceImageId: aws.String(image), SourceRegion: aws.String(sourceRegion),
			Tags: wireTags(map[string]string{tagOrigin: m.Provider.cfg.Origin}),
		})
		if err != nil {
			return err
		}
		if id = aws.ToString(out.ImageId); id == "" {
			return refused(workspace.Ambiguous, codeUnclear, "Amazon's answer says nothing of the image that was asked for")
		}
		return nil
	})
	return id, imageError(err)
}

// DeleteImage deletes an image. That there is none is no error to Amazon.
func (m Images) DeleteImage(ctx context.Context, region, image string) error {
	return imageError(m.Provider.call(ctx, m.Provider.region(region), "DeleteWorkspaceImage", func(c *workspaces.Client) error {
		_, err := c.DeleteWorkspaceImage(ctx, &workspaces.DeleteWorkspaceImageInput{ImageId: aws.String(image)})
		return err
	}))
}

// CreateBundle asks for a bundle. Its name is what makes the request harmless to repeat.
func (m Images) CreateBundle(ctx context.Context, region string, b blueprint.BundleSpec) (string, error) {
	var id string
	err := m.Provider.call(ctx, m.Provider.region(region), "CreateWorkspaceBundle", func(c *workspaces.Client) error {
		out, err := c.CreateWorkspaceBundle(ctx, &workspaces.CreateWorkspaceBundleInput{
			BundleName: aws.String(b.Name), BundleDescription: aws.String(b.Description), ImageId: aws.String(b.ImageID),
			ComputeType: &types.ComputeType{Name: types.Compute(b.ComputeType)},
			RootStorage: &types.RootStorage{Capacity: aws.String(strconv.Itoa(b.RootGiB))},
			UserStorage: &types.UserStorage{Capacity: aws.String(strconv.Itoa(b.UserGiB))},
			Tags:        wireTags(map[string]string{tagOrigin: m.Provider.cfg.Origin}),
		})
		if err != nil {
			return err
		}
		if out.WorkspaceBundle == nil || aws.ToString(out.WorkspaceBundle.BundleId) == "" {
			return refused(workspace.Ambiguous, codeUnclear, "Amazon's answer says nothing of the bundle that was asked for")
		}
		id = *out.WorkspaceBundle.BundleId
		return nil
	})
	return id, imageError(err)
}

// DeleteBundle deletes a bundle. Amazon refuses while WorkSpaces are on it.
func (m Images) DeleteBundle(ctx context.Context, region, bundle string) error {
	return imageError(m.Provider.call(ctx, m.Provider.region(region), "DeleteWorkspaceBundle", func(c *workspaces.Client) error {
		_, err := c.DeleteWorkspaceBundle(ctx, &workspaces.DeleteWorkspaceBundleInput{BundleId: aws.String(bundle)})
		return err
	}))
}

// imageError gives a failure the meaning that it has for images.
func imageError(err error) error {
	if err == nil {
		return nil
	}
	var pe *workspace.ProviderError
	if !errors.As(err, &pe) {
		return &blueprint.ImageError{Class: blueprint.ImageUnclear, Code: codeUnclear, Message: err.Error(), Err: err}
	}
	out := &blueprint.ImageError{Class: blueprint.ImageUnclear, Code: pe.Code, Message: pe.Message, Err: err}
	switch code := strings.TrimSuffix(pe.Code, "Exception"); pe.Class {
	case workspace.Ambiguous, workspace.Throttled:
	case workspace.NotNow:
		out.Class = blueprint.ImageNotNow
		if code == "ResourceAssociated" {
			out.Class = blueprint.ImageInUse
		}
	case workspace.Exists:
		out.Class = blueprint.ImageTaken
	case workspace.Rejected:
		out.Class = blueprint.ImageNever
	case workspace.Blocked:
		out.Class = blueprint.ImageBlocked
		if code == "ResourceLimitExceeded" {
			out.Class = blueprint.ImageFull
		}
	case workspace.Gone:
		out.Class = blueprint.ImageMissing
	}
	return out
}
