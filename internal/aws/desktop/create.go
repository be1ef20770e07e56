package desktop

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/workspace"
)

// Create asks for one WorkSpace on the bundle that is named, or on Amazon's for the compute type and operating system, with the
// protocol WSP and no other, and returns its id. Amazon has no token that would make the request harmless to repeat; what does is that
// a user has one WorkSpace in a directory, and that answers Exists.
func (p *Provider) Create(ctx context.Context, spec workspace.CreateSpec) (string, error) {
	r := p.region(spec.Region)
	bundleID, age := spec.BundleID, time.Duration(0)
	if bundleID == "" {
		var err error
		if bundleID, age, err = p.bundle(ctx, r, spec.ComputeType, spec.OperatingSystem); err != nil {
			return "", err
		}
	}
	var providerID string
	err := p.call(ctx, r, "CreateWorkspaces", func(c *workspaces.Client) error {
		out, err := c.CreateWorkspaces(ctx, &workspaces.CreateWorkspacesInput{Workspaces: []types.WorkspaceRequest{p.request(spec, bundleID)}})
		if err != nil {
			return err
		}
		providerID, err = settled(out, spec)
		return err
	})
	if err != nil {
		return "", createFailed(ctx, err, r, age)
	}
	return providerID, nil
}

func (p *Provider) request(spec workspace.CreateSpec, bundleID string) types.WorkspaceRequest {
	properties := &types.WorkspaceProperties{
		ComputeTypeName: types.Compute(spec.ComputeType),
		RunningMode:     types.RunningMode(spec.RunningMode),
		Protocols:       []types.Protocol{types.ProtocolWsp},
	}
	// Amazon refuses a timeout with any other mode.
	if properties.RunningMode == types.RunningModeAutoStop && spec.AutoStopMinutes > 0 {
		properties.RunningModeAutoStopTimeoutInMinutes = aws.Int32(int32(spec.AutoStopMinutes))
	}
	return types.WorkspaceRequest{
		BundleId:            aws.String(bundleID),
		DirectoryId:         aws.String(spec.DirectoryID),
		UserName:            aws.String(spec.DirectoryUser),
		WorkspaceProperties: properties,
		Tags:                p.tagsOf(spec),
	}
}

// tagsOf are the caller's tags and ours, and where they meet, ours.
func (p *Provider) tagsOf(spec workspace.CreateSpec) []types.Tag {
	all := p.wanted(spec.Intent, spec.Tags)
	all[tagAttempt] = strconv.Itoa(spec.Attempt)
	return wireTags(all)
}

// settled finds in an answer what became of the request. An answer that does not tell leaves it open.
func settled(out *workspaces.CreateWorkspacesOutput, spec workspace.CreateSpec) (string, error) {
	ours := func(directory, user *string) bool {
		return aws.ToString(directory) == spec.DirectoryID && strings.EqualFold(aws.ToString(user), spec.DirectoryUser)
	}
	for i := range out.PendingRequests {
		w := &out.PendingRequests[i]
		if ours(w.DirectoryId, w.UserName) && aws.ToString(w.WorkspaceId) != "" {
			return *w.WorkspaceId, nil
		}
	}
	for _, f := range out.FailedRequests {
		if f.WorkspaceRequest == nil || ours(f.WorkspaceRequest.DirectoryId, f.WorkspaceRequest.UserName) {
			// It was refused for certain, so with a code that is not known there is nothing to look for. Somebody has to
			// read it, and until then it is asked for again.
			return "", &refusal{code: aws.ToString(f.ErrorCode), message: aws.ToString(f.ErrorMessage), unknown: workspace.Blocked}
		}
	}
	return "", refused(workspace.Ambiguous, codeUnclear, "Amazon's answer says nothing of the WorkSpace that was asked for")
}

// createFailed gives refusals the meaning that they have for a create alone.
func createFailed(ctx context.Context, err error, r *region, age time.Duration) error {
	var pe *workspace.ProviderError
	if !errors.As(err, &pe) {
		return err
	}
	switch {
	case pe.Code == "ResourceNotFound.Bundle" && age >= bundlesDoubted:
		// Withdrawn since the list was read: the next attempt chooses from a new one.
		r.bundles.forget(ctx)
		pe.Class = workspace.NotNow
	case pe.Class == workspace.Gone:
		// Something that the WorkSpace is to stand on is missing.
		pe.Class = workspace.Blocked
	}
	return err
}
