package desktop

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/workspace"
)

// The tags by which a WorkSpace is known again. Amazon has no other place for them.
const (
	tagWorkSpace = "forge:workspace-id"
	tagOrigin    = "forge:origin"
	tagAttempt   = "forge:attempt"
	// notForge in place of a WorkSpace's id says that Forge did not make it.
	notForge = "none"
)

// Find lists the WorkSpaces of a user in a directory. Those of this installation have their intent; all others have
// none and are strangers.
//
// WorkSpaces of this installation that are TERMINATING or TERMINATED are left out: one that was is not a stranger to the
// one that is to take its place. Until Amazon has cleared it away, Create answers Exists. Left out as well are those
// whose tags cannot be found, for Amazon is about to show them or about to forget them.
func (p *Provider) Find(ctx context.Context, region, directory, user string) ([]workspace.Observation, error) {
	r := p.region(region)
	shown, err := p.list(ctx, r, workspaces.DescribeWorkspacesInput{DirectoryId: aws.String(directory), UserName: aws.String(user)})
	if err != nil {
		return nil, err
	}
	var found []workspace.Observation
	for i := range shown {
		tags, err := p.tags(ctx, r, aws.ToString(shown[i].WorkspaceId))
		if is(err, workspace.Gone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		o, marks := observation(&shown[i]), p.marks(tags)
		o.Marked, o.Intent = marks.Marked, marks.Intent
		leaving := shown[i].State == types.WorkspaceStateTerminating || shown[i].State == types.WorkspaceStateTerminated
		if leaving && o.Intent != "" {
			continue
		}
		found = append(found, o)
	}
	return found, nil
}

// Describe observes WorkSpaces by id, at most 25. Intents are not read, which would take a call for each: who has an id
// has had the intent.
func (p *Provider) Describe(ctx context.Context, region string, ids []string) (map[string]workspace.Observation, error) {
	if len(ids) > batchSize {
		return nil, refused(workspace.Rejected, codeTooMany, fmt.Sprintf("%d WorkSpaces cannot be described at once", len(ids)))
	}
	found := map[string]workspace.Observation{}
	if len(ids) == 0 {
		return found, nil // Amazon would show everything
	}
	shown, err := p.list(ctx, p.region(region), workspaces.DescribeWorkspacesInput{WorkspaceIds: ids})
	if err != nil {
		return nil, err
	}
	for i := range shown {
		o := observation(&shown[i])
		found[o.ProviderID] = o
	}
	return found, nil
}

// list reads all pages of a question. A page that cannot be had fails it, so that nothing is taken for absent that was
// only not shown.
func (p *Provider) list(ctx context.Context, r *region, in workspaces.DescribeWorkspacesInput) ([]types.Workspace, error) {
	var shown []types.Workspace
	err := pages(func(token *string) (next *string, err error) {
		in.NextToken = token
		err = p.call(ctx, r, "DescribeWorkspaces", func(c *workspaces.Client) error {
			out, err := c.DescribeWorkspaces(ctx, &in)
			if err == nil {
				shown, next = append(shown, out.Workspaces...), out.NextToken
			}
			return err
		})
		return next, err
	})
	return shown, err
}

func (p *Provider) tags(ctx context.Context, r *region, providerID string) (map[string]string, error) {
	tags := map[string]string{}
	err := p.call(ctx, r, "DescribeTags", func(c *workspaces.Client) error {
		out, err := c.DescribeTags(ctx, &workspaces.DescribeTagsInput{ResourceId: aws.String(providerID)})
		if err != nil {
			return err
		}
		for _, t := range out.TagList {
			tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
		return nil
	})
	return tags, err
}

// HandOver is the command by which an operator makes a stranger's WorkSpace the one of an intent.
func (p *Provider) HandOver(region, providerID string, intent id.WorkSpace) string {
	return fmt.Sprintf("aws workspaces create-tags --region %s --resource-id %s --tags Key=%s,Value=%s Key=%s,Value=%s",
		region, providerID, tagWorkSpace, intent, tagOrigin, p.cfg.Origin)
}

// Disown is the command by which an operator says that a stranger's WorkSpace is not ours.
func (p *Provider) Disown(region, providerID string) string {
	return fmt.Sprintf("aws workspaces create-tags --region %s --resource-id %s --tags Key=%s,Value=%s", region, providerID, tagWorkSpace, notForge)
}

// Marks tells whose a WorkSpace is by its tags. Those of another installation have no intent.
func (p *Provider) Marks(ctx context.Context, region, providerID string) (workspace.Marks, error) {
	tags, err := p.tags(ctx, p.region(region), providerID)
	if err != nil {
		return workspace.Marks{}, err
	}
	return p.marks(tags), nil
}

func (p *Provider) marks(tags map[string]string) workspace.Marks {
	m := workspace.Marks{Tags: tags}
	_, m.Marked = tags[tagWorkSpace]
	if origin, ok := tags[tagOrigin]; ok && origin == p.cfg.Origin {
		m.Intent = id.WorkSpace(tags[tagWorkSpace])
	}
	return m
}

// Tag makes the tags of a WorkSpace those of an intent and its user. What Amazon or Forge keeps there besides stays; all
// other tags go. Only what differs is sent.
func (p *Provider) Tag(ctx context.Context, region, providerID string, intent id.WorkSpace, wanted map[string]string) error {
	r := p.region(region)
	have, err := p.tags(ctx, r, providerID)
	if err != nil {
		return err
	}
	all := maps.Clone(wanted)
	if all == nil {
		all = map[string]string{}
	}
	all[tagWorkSpace], all[tagOrigin] = string(intent), p.cfg.Origin
	var remove []string
	for _, key := range slices.Sorted(maps.Keys(have)) {
		_, stays := all[key]
		if lower := strings.ToLower(key); !stays && !strings.HasPrefix(lower, "aws:") && !strings.HasPrefix(lower, "forge:") {
			remove = append(remove, key)
		}
	}
	if len(remove) > 0 { // first, for Amazon has room for fifty
		if err := p.call(ctx, r, "DeleteTags", func(c *workspaces.Client) error {
			_, err := c.DeleteTags(ctx, &workspaces.DeleteTagsInput{ResourceId: &providerID, TagKeys: remove})
			return err
		}); err != nil {
			return err
		}
	}
	var put []types.Tag
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if value, ok := have[key]; !ok || value != all[key] {
			put = append(put, types.Tag{Key: aws.String(key), Value: aws.String(all[key])})
		}
	}
	if len(put) == 0 {
		return nil
	}
	return p.call(ctx, r, "CreateTags", func(c *workspaces.Client) error {
		_, err := c.CreateTags(ctx, &workspaces.CreateTagsInput{ResourceId: &providerID, Tags: put})
		return err
	})
}

// Sweep shows everything in a directory, page by page and each WorkSpace once. An error, of Amazon or of page, ends it: then
// nothing can be concluded from what was not shown.
func (p *Provider) Sweep(ctx context.Context, region, directory string, page func([]workspace.Observation) error) error {
	r := p.region(region)
	in := workspaces.DescribeWorkspacesInput{DirectoryId: aws.String(directory)}
	known := map[string]bool{}
	return pages(func(token *string) (next *string, err error) {
		in.NextToken = token
		var shown []workspace.Observation
		err = p.call(ctx, r, "DescribeWorkspaces", func(c *workspaces.Client) error {
			out, err := c.DescribeWorkspaces(ctx, &in)
			if err != nil {
				return err
			}
			next = out.NextToken
			for i := range out.Workspaces {
				if o := observation(&out.Workspaces[i]); !known[o.ProviderID] {
					known[o.ProviderID] = true
					shown = append(shown, o)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		return next, page(shown)
	})
}

func observation(w *types.Workspace) workspace.Observation {
	o := workspace.Observation{
		ProviderID:   aws.ToString(w.WorkspaceId),
		State:        string(w.State),
		ErrorCode:    aws.ToString(w.ErrorCode),
		ErrorMessage: aws.ToString(w.ErrorMessage),
		DirectoryID:  aws.ToString(w.DirectoryId),
		User:         aws.ToString(w.UserName),
	}
	if has := w.WorkspaceProperties; has != nil {
		if len(has.Protocols) > 0 {
			o.Protocol = string(has.Protocols[0])
		}
		o.RunningMode, o.ComputeType = string(has.RunningMode), string(has.ComputeTypeName)
		o.RootGiB, o.UserGiB = int(aws.ToInt32(has.RootVolumeSizeGib)), int(aws.ToInt32(has.UserVolumeSizeGib))
		if has.RunningMode == types.RunningModeAutoStop {
			o.AutoStop = int(aws.ToInt32(has.RunningModeAutoStopTimeoutInMinutes))
		}
	}
	for _, m := range w.ModificationStates {
		// One that goes on says more than one that has failed, which Amazon keeps showing.
		if failed := m.State == types.ModificationStateEnum("UPDATE_FAILED"); o.Changing == "" || !failed {
			o.Changing, o.ChangeFailed = string(m.Resource), failed
		}
	}
	return o
}
