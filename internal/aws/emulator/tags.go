package emulator

import (
	"fmt"
	"maps"
)

// tagged is something that has tags.
type tagged struct {
	tags map[string]string
	with func(tags map[string]string) record // the same with other tags
}

// taggables find what has tags, by kind: each gives the thing of its kind in the call's place that has the id.
// A kind of resource that is tagged needs a line here.
var taggables = []func(w *world, c *call, id string) (tagged, bool){
	taggedWorkspace,
	taggedDirectory,
	taggedIPGroup,
	taggedBundle,
	taggedImage,
	taggedAlias,
}

// taggable finds what an id of the tag operations means.
func (e *Emulator) taggable(c *call, id string) (tagged, error) {
	for _, find := range taggables {
		if t, ok := find(e.world, c, id); ok {
			return t, nil
		}
	}
	return tagged{}, notFound(id)
}

func taggedWorkspace(w *world, c *call, id string) (tagged, bool) {
	v, ok := w.find(c.region, id, c.at)
	return tagged{v.Tags, func(tags map[string]string) record { v.Tags = tags; return &v }}, ok
}

// changeTags gives the thing a copy of its tags, changed.
func (e *Emulator) changeTags(t tagged, change func(tags map[string]string)) error {
	tags := maps.Clone(t.tags)
	if tags == nil {
		tags = map[string]string{}
	}
	change(tags)
	if len(tags) > maxTags {
		return &apiError{
			Type:    "ResourceLimitExceededException",
			Message: fmt.Sprintf("A resource may have %d tags at most.", maxTags),
		}
	}
	return e.commit(t.with(tags))
}

type createTagsInput struct {
	ResourceId string
	Tags       []wireTag
}

type describeTagsInput struct{ ResourceId string }

type deleteTagsInput struct {
	ResourceId string
	TagKeys    []string
}

// createTags adds tags and replaces the values of those there are.
func createTags(e *Emulator, c *call, in createTagsInput) (any, error) {
	t, err := e.taggable(c, in.ResourceId)
	if err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	return nothing{}, e.changeTags(t, func(tags map[string]string) { maps.Copy(tags, tagMap(in.Tags)) })
}

func describeTags(e *Emulator, c *call, in describeTagsInput) (any, error) {
	t, err := e.taggable(c, in.ResourceId)
	if err != nil {
		return nil, err
	}
	return struct{ TagList []wireTag }{wireTags(t.tags)}, nil
}

// deleteTags removes tags; keys that are not there are no error.
func deleteTags(e *Emulator, c *call, in deleteTagsInput) (any, error) {
	t, err := e.taggable(c, in.ResourceId)
	if err != nil {
		return nil, err
	}
	return nothing{}, e.changeTags(t, func(tags map[string]string) {
		for _, k := range in.TagKeys {
			delete(tags, k)
		}
	})
}
