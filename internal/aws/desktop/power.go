package desktop

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/workspace"
)

// Start asks for STOPPED WorkSpaces to be started.
func (p *Provider) Start(ctx context.Context, region string, ids []string) map[string]error {
	return each(ids, func(id string) error { return p.start(ctx, region, id) })
}

// Stop asks for running WorkSpaces to be stopped.
func (p *Provider) Stop(ctx context.Context, region string, ids []string) map[string]error {
	return each(ids, func(id string) error { return p.stop(ctx, region, id) })
}

// Terminate asks for WorkSpaces to be destroyed, with what is on them.
func (p *Provider) Terminate(ctx context.Context, region string, ids []string) map[string]error {
	return each(ids, func(id string) error { return p.terminate(ctx, region, id) })
}

func each(ids []string, do func(string) error) map[string]error {
	failed := map[string]error{}
	for _, id := range ids {
		if err := do(id); err != nil {
			failed[id] = err
		}
	}
	return failed
}

// start asks for a STOPPED WorkSpace to be started.
func (p *Provider) start(ctx context.Context, region, id string) error {
	return p.call(ctx, p.region(region), "StartWorkspaces", func(c *workspaces.Client) error {
		out, err := c.StartWorkspaces(ctx, &workspaces.StartWorkspacesInput{
			StartWorkspaceRequests: []types.StartRequest{{WorkspaceId: aws.String(id)}},
		})
		if err != nil {
			return err
		}
		return itemFailed(out.FailedRequests)
	})
}

// stop asks for a running WorkSpace to be stopped.
func (p *Provider) stop(ctx context.Context, region, id string) error {
	return p.call(ctx, p.region(region), "StopWorkspaces", func(c *workspaces.Client) error {
		out, err := c.StopWorkspaces(ctx, &workspaces.StopWorkspacesInput{
			StopWorkspaceRequests: []types.StopRequest{{WorkspaceId: aws.String(id)}},
		})
		if err != nil {
			return err
		}
		return itemFailed(out.FailedRequests)
	})
}

// terminate asks for a WorkSpace to be destroyed, with what is on it. One that is not there needs no asking.
func (p *Provider) terminate(ctx context.Context, region, id string) error {
	err := p.call(ctx, p.region(region), "TerminateWorkspaces", func(c *workspaces.Client) error {
		out, err := c.TerminateWorkspaces(ctx, &workspaces.TerminateWorkspacesInput{
			TerminateWorkspaceRequests: []types.TerminateRequest{{WorkspaceId: aws.String(id)}},
		})
		if err != nil {
			return err
		}
		return itemFailed(out.FailedRequests)
	})
	if is(err, workspace.Gone) {
		return nil
	}
	return err
}

// SetAutoStop changes after how many minutes without a user a WorkSpace stops by itself. Amazon takes whole hours, and
// only for a WorkSpace whose mode is AUTO_STOP; the mode is not sent along, for that would change what the others cost.
func (p *Provider) SetAutoStop(ctx context.Context, region, id string, minutes int) error {
	return p.call(ctx, p.region(region), "ModifyWorkspaceProperties", func(c *workspaces.Client) error {
		_, err := c.ModifyWorkspaceProperties(ctx, &workspaces.ModifyWorkspacePropertiesInput{
			WorkspaceId:         aws.String(id),
			WorkspaceProperties: &types.WorkspaceProperties{RunningModeAutoStopTimeoutInMinutes: aws.Int32(int32(minutes))},
		})
		return err
	})
}
