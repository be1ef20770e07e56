package desktop

import (
	"context"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/workspace"
)

// sends a request for several WorkSpaces, and returns the items of it that failed.
type sends func(c *workspaces.Client, ids []string) ([]types.FailedWorkspaceChangeRequest, error)

// Start asks for STOPPED WorkSpaces to be started.
func (p *Provider) Start(ctx context.Context, region string, ids []string) map[string]error {
	return p.each(ctx, region, "StartWorkspaces", ids, func(c *workspaces.Client, ids []string) ([]types.FailedWorkspaceChangeRequest, error) {
		in := &workspaces.StartWorkspacesInput{}
		for _, id := range ids {
			in.StartWorkspaceRequests = append(in.StartWorkspaceRequests, types.StartRequest{WorkspaceId: &id})
		}
		out, err := c.StartWorkspaces(ctx, in)
		if err != nil {
			return nil, err
		}
		return out.FailedRequests, nil
	})
}

// Stop asks for running WorkSpaces to be stopped.
func (p *Provider) Stop(ctx context.Context, region string, ids []string) map[string]error {
	return p.each(ctx, region, "StopWorkspaces", ids, func(c *workspaces.Client, ids []string) ([]types.FailedWorkspaceChangeRequest, error) {
		in := &workspaces.StopWorkspacesInput{}
		for _, id := range ids {
			in.StopWorkspaceRequests = append(in.StopWorkspaceRequests, types.StopRequest{WorkspaceId: &id})
		}
		out, err := c.StopWorkspaces(ctx, in)
		if err != nil {
			return nil, err
		}
		return out.FailedRequests, nil
	})
}

// Reboot asks for running WorkSpaces to be rebooted, and for those whose reboot has not come to an end in 20 minutes.
func (p *Provider) Reboot(ctx context.Context, region string, ids []string) map[string]error {
	return p.each(ctx, region, "RebootWorkspaces", ids, func(c *workspaces.Client, ids []string) ([]types.FailedWorkspaceChangeRequest, error) {
		in := &workspaces.RebootWorkspacesInput{}
		for _, id := range ids {
			in.RebootWorkspaceRequests = append(in.RebootWorkspaceRequests, types.RebootRequest{WorkspaceId: &id})
		}
		out, err := c.RebootWorkspaces(ctx, in)
		if err != nil {
			return nil, err
		}
		return out.FailedRequests, nil
	})
}

// Terminate asks for WorkSpaces to be destroyed, with what is on them. One that is not there needs no asking.
func (p *Provider) Terminate(ctx context.Context, region string, ids []string) map[string]error {
	failed := p.each(ctx, region, "TerminateWorkspaces", ids, func(c *workspaces.Client, ids []string) ([]types.FailedWorkspaceChangeRequest, error) {
		in := &workspaces.TerminateWorkspacesInput{}
		for _, id := range ids {
			in.TerminateWorkspaceRequests = append(in.TerminateWorkspaceRequests, types.TerminateRequest{WorkspaceId: &id})
		}
		out, err := c.TerminateWorkspaces(ctx, in)
		if err != nil {
			return nil, err
		}
		return out.FailedRequests, nil
	})
	maps.DeleteFunc(failed, func(_ string, err error) bool { return is(err, workspace.Gone) })
	return failed
}

// each asks for the same for several WorkSpaces, batch by batch, and returns those that it was refused for, or that nobody
// knows about, with why. Amazon settles each item by itself, but rejects the whole of a request for one item that is
// malformed; then nothing has happened, and each half is asked for by itself until that one is alone.
func (p *Provider) each(ctx context.Context, region, operation string, ids []string, send sends) map[string]error {
	failed := map[string]error{}
	for batch := range slices.Chunk(ids, batchSize) {
		p.halves(ctx, p.region(region), operation, batch, send, failed)
	}
	return failed
}

func (p *Provider) halves(ctx context.Context, r *region, operation string, ids []string, send sends, failed map[string]error) {
	var items []types.FailedWorkspaceChangeRequest
	err := p.call(ctx, r, operation, func(c *workspaces.Client) (err error) {
		items, err = send(c, ids)
		return err
	})
	switch {
	case err != nil && len(ids) > 1 && is(err, workspace.Rejected):
		p.halves(ctx, r, operation, ids[:len(ids)/2], send, failed)
		p.halves(ctx, r, operation, ids[len(ids)/2:], send, failed)
	case err != nil:
		for _, id := range ids {
			failed[id] = err
		}
	}
	for i := range items {
		item := &refusal{code: aws.ToString(items[i].ErrorCode), message: aws.ToString(items[i].ErrorMessage), unknown: workspace.Ambiguous}
		why := p.classified(ctx, r, operation, item)
		switch id := aws.ToString(items[i].WorkspaceId); {
		case slices.Contains(ids, id):
			failed[id] = why
		default: // it does not say which
			for _, id := range ids {
				failed[id] = why
			}
		}
	}
}
