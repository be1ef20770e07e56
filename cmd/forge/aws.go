package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/internal/app"
	"github.com/robco-forge/forge/internal/workspace"
)

// awsFlags say where Amazon is and what of it is Forge's. The server has them, and what checks its configuration.
type awsFlags struct {
	endpoint, file string
	directories    []string
}

func (a *awsFlags) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&a.endpoint, "aws-endpoint", "", "another address than Amazon's, such as an emulator's")
	f.StringArrayVar(&a.directories, "aws-directory", nil, "REGION=d-id where WorkSpaces are made; repeatable (in the variable: separated by commas), the first is the default")
	f.StringVar(&a.file, "aws-directories", "", "YAML file of further directories, with licences, subnets and the teams whose default they are (docs/aws.md)")
}

var errNoDirectory = errors.New("no directory: give --aws-directory REGION=d-id, or --aws-directories FILE, of where WorkSpaces are made")

// resolve gives the directories of the flags and then those of the file.
func (a *awsFlags) resolve() ([]workspace.Directory, error) {
	var found []workspace.Directory
	var wrong []error
	add := func(flag string, d workspace.Directory) {
		if err := d.Wrong(found); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", flag, err))
			return
		}
		found = append(found, d)
	}
	for _, list := range a.directories {
		for d := range strings.SplitSeq(list, ",") {
			region, id, ok := strings.Cut(d, "=")
			if !ok {
				wrong = append(wrong, fmt.Errorf("--aws-directory is REGION=d-id, not %q", d))
				continue
			}
			add("--aws-directory", workspace.Directory{Region: region, ID: id})
		}
	}
	if a.file != "" {
		read, err := app.ReadDirectories(a.file)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("--aws-directories: %w", err))
		}
		for _, d := range read {
			add("--aws-directories", d)
		}
	}
	return found, errors.Join(wrong...)
}
