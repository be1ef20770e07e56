package desktop

import (
	"context"
	"errors"
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
	// maxTags is how many tags Amazon takes on a WorkSpace; its own do not count.
	maxTags = 50
)

// amazons and forges tell who sets a tag, where it is not a user. Amazon reserves its prefix in any case.
func amazons(key string) bool { return strings.HasPrefix(strings.ToLower(key), "aws:") }
func forges(key string) bool  { return strings.HasPrefix(strings.ToLower(key), "forge:") }

// wanted are the tags of an intent and its user; a user has no say in ours and Amazon's.
func (p *Provider) wanted(intent id.WorkSpace, tags map[string]string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, tags)
	maps.DeleteFunc(all, func(key, _ string) bool { return amazons(key) || forges(key) })
	all[tagWorkSpace] = string(intent)
	all[tagOrigin] = p.cfg.Origin
	return all
}

// wireTags are tags as Amazon takes them, in order.
func wireTags(all map[string]string) []types.Tag {
	tags := make([]types.Tag, 0, len(all))
	for _, key := range slices.Sorted(maps.Keys(all)) {
		tags = append(tags, types.Tag{Key: aws.String(key), Value: aws.String(all[key])})
	}
	return tags
}

// Tag looks at a WorkSpace's tags and sends what differs. What is to go goes first, to make room; what Forge or Amazon has
// set besides stays. More than Amazon takes are refused before anything is sent.
func (p *Provider) Tag(ctx context.Context, region, providerID string, intent id.WorkSpace, tags map[string]string) error {
	r := p.region(region)
	there, err := p.tags(ctx, r, providerID)
	if err != nil {
		return err
	}
	missing, stay := p.wanted(intent, tags), 0
	var away []string
	for key, value := range there {
		want, ok := missing[key]
		switch {
		case ok && want == value:
			delete(missing, key)
			stay++
		case !ok && !amazons(key) && !forges(key):
			away = append(away, key)
		case !ok && !amazons(key):
			stay++
		}
	}
	if n := stay + len(missing); n > maxTags {
		return refused(workspace.Rejected, codeTooManyTags, fmt.Sprintf("a WorkSpace has %d tags at most, and these would be %d", maxTags, n))
	}
	if len(away) > 0 {
		slices.Sort(away)
		err := p.call(ctx, r, "DeleteTags", func(c *workspaces.Client) error {
			_, err := c.DeleteTags(ctx, &workspaces.DeleteTagsInput{ResourceId: aws.String(providerID), TagKeys: away})
			return err
		})
		if err != nil {
			return err
		}
	}
	if len(missing) == 0 {
		return nil
	}
	err = p.call(ctx, r, "CreateTags", func(c *workspaces.Client) error {
		_, err := c.CreateTags(ctx, &workspaces.CreateTagsInput{ResourceId: aws.String(providerID), Tags: wireTags(missing)})
		return err
	})
	// Somebody has added tags since. It is the limit of this WorkSpace's tags, not the quota of a region.
	var pe *workspace.ProviderError
	if errors.As(err, &pe) && strings.HasPrefix(pe.Code, "ResourceLimitExceeded") {
		pe.Class, pe.Extent = workspace.Rejected, workspace.OneOnly
	}
	return err
}

// Marks tells whose a WorkSpace is by its tags.
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
