package emulator

import (
	"fmt"
)

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
	w, ok := e.world.find(c.region, in.ResourceId, c.at)
	if !ok {
		return nil, notFound(in.ResourceId)
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	w = w.withTags(func(tags map[string]string) {
		for _, t := range in.Tags {
			tags[t.Key] = t.Value
		}
	})
	if len(w.Tags) > maxTags {
		return nil, &apiError{
			Type:    "ResourceLimitExceededException",
			Message: fmt.Sprintf("A resource may have %d tags at most.", maxTags),
		}
	}
	if err := e.commit(&w); err != nil {
		return nil, err
	}
	return nothing{}, nil
}

func describeTags(e *Emulator, c *call, in describeTagsInput) (any, error) {
	w, ok := e.world.find(c.region, in.ResourceId, c.at)
	if !ok {
		return nil, notFound(in.ResourceId)
	}
	return struct{ TagList []wireTag }{wireTags(w.Tags)}, nil
}

// deleteTags removes tags; keys that are not there are no error.
func deleteTags(e *Emulator, c *call, in deleteTagsInput) (any, error) {
	w, ok := e.world.find(c.region, in.ResourceId, c.at)
	if !ok {
		return nil, notFound(in.ResourceId)
	}
	w = w.withTags(func(tags map[string]string) {
		for _, k := range in.TagKeys {
			delete(tags, k)
		}
	})
	if err := e.commit(&w); err != nil {
		return nil, err
	}
	return nothing{}, nil
}
