package emulator

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"
)

//go:embed model/workspaces.json
var modelJSON []byte

// model is Amazon's service model: which operations there are, and what their inputs must look like.
var model = readModel()

type serviceModel struct {
	Operations map[string]struct {
		Input  modelRef
		Errors []modelRef
	}
	Shapes map[string]modelShape

	mu    sync.Mutex
	built map[string]*shape
}

type modelRef struct{ Shape string }

// modelShape is a shape as the model has it. A bound that is not given is nil.
type modelShape struct {
	Type     string
	Members  map[string]modelRef
	Required []string
	Member   modelRef // of a list its items
	Key      modelRef // of a map
	Value    modelRef
	Min, Max *int
	Pattern  string
	Enum     []string
}

func readModel() *serviceModel {
	m := &serviceModel{built: map[string]*shape{}}
	if err := json.Unmarshal(modelJSON, m); err != nil {
		panic("emulator: service model: " + err.Error())
	}
	return m
}

// input is the shape of an operation's input. An operation that takes none has an empty structure.
func (m *serviceModel) input(operation string) *shape {
	op, ok := m.Operations[operation]
	if !ok {
		panic("emulator: the service model has no operation " + operation)
	}
	if op.Input.Shape == "" {
		return &shape{kind: "structure"}
	}
	return m.shape(op.Input.Shape)
}

// shape builds a shape of the model, once.
func (m *serviceModel) shape(name string) *shape {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.build(name)
}

func (m *serviceModel) build(name string) *shape {
	if s, ok := m.built[name]; ok {
		return s
	}
	given, ok := m.Shapes[name]
	if !ok {
		panic("emulator: the service model has no shape " + name)
	}
	s := &shape{kind: given.Type, max: unbounded, enum: given.Enum}
	m.built[name] = s // before its members: a shape may hold itself
	if given.Type == "integer" {
		s.min = -unbounded - 1
	}
	if given.Min != nil {
		s.min = *given.Min
	}
	if given.Max != nil {
		s.max = *given.Max
	}
	if given.Pattern != "" {
		s.pattern, s.shown = regexp.MustCompile(splitRepeats(given.Pattern)), given.Pattern
	}
	switch given.Type {
	case "structure":
		for _, member := range slices.Sorted(maps.Keys(given.Members)) {
			s.members = append(s.members, shapeMember{
				name: member, shape: m.build(given.Members[member].Shape), required: slices.Contains(given.Required, member),
			})
		}
	case "list":
		s.item = m.build(given.Member.Shape)
	case "map":
		s.key, s.item = m.build(given.Key.Shape), m.build(given.Value.Shape)
	case "string", "integer", "boolean", "blob", "timestamp":
	default:
		panic(fmt.Sprintf("emulator: shape %s of the service model is a %s", name, given.Type))
	}
	return s
}

// longRepeat is a repetition of a character class beyond what Go's regular expressions count.
var longRepeat = regexp.MustCompile(`(\[[^\]]+\])\{0,1023\}`)

func splitRepeats(pattern string) string {
	return longRepeat.ReplaceAllString(pattern, "$1{0,1000}$1{0,23}")
}
