package app

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/robco-forge/forge/internal/workspace"
)

// maxDirectoriesFile bounds the file of directories, in bytes. Amazon has 50 directories for an account and region at most.
const maxDirectoriesFile = 1 << 20

// ReadDirectories reads the directories that WorkSpaces are made in from a YAML file. What is not understood, or cannot be,
// is refused with its line: a name that is misspelt must not pass for one that is left out.
//
//	directories:
//	  - region: us-east-1
//	    id: d-9067012345
//	    license: INCLUDED                            # or BYOL; INCLUDED when left out
//	    subnet_ids: [subnet-0a1b2c3d, subnet-1b2c3d4e] # for `forge aws check`
//	    teams: [backend]                             # whose default it is
func ReadDirectories(path string) ([]workspace.Directory, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the directories cannot be read: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxDirectoriesFile+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("the directories cannot be read: %w", err)
	}
	if len(b) > maxDirectoriesFile {
		return nil, fmt.Errorf("%s: a file of directories has at most %d bytes", path, maxDirectoriesFile)
	}
	found, err := parseDirectories(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return found, nil
}

func parseDirectories(b []byte) ([]workspace.Directory, error) {
	var document, more yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&document); errors.Is(err, io.EOF) {
		return nil, errors.New("there is nothing in it")
	} else if err != nil {
		return nil, fmt.Errorf("it is not YAML: %w", err)
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one document in it")
	}
	var items []*yaml.Node
	err := members(document.Content[0], map[string]func(*yaml.Node) error{
		"directories": func(n *yaml.Node) (err error) { items, err = list(n); return err },
	})
	if err != nil {
		return nil, err
	}
	var found []workspace.Directory
	var wrong []error
	for _, item := range items {
		one, err := directory(item)
		if err == nil {
			if err = one.Wrong(found); err != nil {
				err = at(item, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
			}
		}
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		found = append(found, one)
	}
	if len(wrong) == 0 && len(found) == 0 {
		wrong = append(wrong, errors.New("there are no directories in it"))
	}
	return found, errors.Join(wrong...)
}

func directory(n *yaml.Node) (d workspace.Directory, err error) {
	err = members(n, map[string]func(*yaml.Node) error{
		"region":     word(&d.Region),
		"id":         word(&d.ID),
		"license":    word(&d.License),
		"subnet_ids": words(&d.SubnetIDs),
		"teams":      words(&d.Teams),
	})
	return d, err
}

// at says what is wrong with a node, and where it is.
func at(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("line %d: %s", n.Line, fmt.Sprintf(format, args...))
}

// members reads a mapping of which every name is known, and none is there twice.
func members(n *yaml.Node, known map[string]func(*yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return at(n, "here are names and values, such as %q", "id: d-9067012345")
	}
	seen := map[string]bool{}
	var wrong []error
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i]
		read, ok := known[name.Value]
		switch {
		case !ok:
			wrong = append(wrong, at(name, "%q is not known here", name.Value))
		case seen[name.Value]:
			wrong = append(wrong, at(name, "%q is here twice", name.Value))
		default:
			seen[name.Value] = true
			wrong = append(wrong, read(n.Content[i+1]))
		}
	}
	return errors.Join(wrong...)
}

func list(n *yaml.Node) ([]*yaml.Node, error) {
	if n.Kind != yaml.SequenceNode {
		return nil, at(n, "here is a list")
	}
	return n.Content, nil
}

func word(into *string) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.ScalarNode || n.Value == "" {
			return at(n, "here is one word")
		}
		*into = n.Value
		return nil
	}
}

func words(into *[]string) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		all, err := list(n)
		if err != nil {
			return err
		}
		*into = make([]string, len(all))
		for i, one := range all {
			if err := word(&(*into)[i])(one); err != nil {
				return err
			}
		}
		return nil
	}
}
