package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Change is one field that differs between two definitions. Old or New is nil where there is none.
type Change struct {
	Field string
	Old   any
	New   any
}

// Diff lists the fields that differ, in the order of their names. Lists are compared whole. The zero Definition has no
// fields.
func Diff(old, now Definition) ([]Change, error) {
	was, err := fields(old)
	if err != nil {
		return nil, err
	}
	is, err := fields(now)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for k := range was {
		names[k] = true
	}
	for k := range is {
		names[k] = true
	}
	var all []Change
	for _, k := range slices.Sorted(maps.Keys(names)) {
		a, err := json.Marshal(was[k])
		if err != nil {
			return nil, err
		}
		b, err := json.Marshal(is[k])
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(a, b) {
			all = append(all, Change{Field: k, Old: was[k], New: is[k]})
		}
	}
	return all, nil
}

// fields are the leaves of a definition by their paths; a list that is not empty is a leaf.
func fields(d Definition) (map[string]any, error) {
	text, _, err := d.Canonical()
	if err != nil {
		return nil, err
	}
	from := json.NewDecoder(bytes.NewReader(text))
	from.UseNumber()
	var tree map[string]any
	if err := from.Decode(&tree); err != nil {
		return nil, err
	}
	all := map[string]any{}
	if d.License == "" && d.OperatingSystem == "" && d.BundleTypes == nil {
		return all, nil // no definition at all
	}
	var walk func(prefix string, v any)
	walk = func(prefix string, v any) {
		m, ok := v.(map[string]any)
		if !ok {
			all[prefix] = v
			return
		}
		for k, v := range m {
			walk(prefix+"."+k, v)
		}
	}
	for k, v := range tree {
		walk(k, v)
	}
	return all, nil
}

// Text is a value of a change for people.
func Text(v any) string {
	if v == nil {
		return "–"
	}
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
