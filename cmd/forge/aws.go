package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/internal/app"
	"github.com/robco-forge/forge/internal/aws/desktop"
	"github.com/robco-forge/forge/internal/cli"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/workspace"
)

// awsFlags say in which directories WorkSpaces are made. The server has them, and what checks its configuration.
type awsFlags struct {
	file        string
	directories []string
}

func (a *awsFlags) register(c *cobra.Command) {
	f := c.Flags()
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

func awsCommand() *cobra.Command {
	c := &cobra.Command{Use: "aws", Short: "What Forge needs of Amazon, and whether it is so"}
	c.AddCommand(awsCheckCommand(), awsPolicyCommand())
	return c
}

// errMustFix makes the program end with 1.
var errMustFix = errors.New("something must be put right before Forge can work as it should")

func awsCheckCommand() *cobra.Command {
	var a awsFlags
	var endpoint, output string
	var want desktop.Wanted
	c := &cobra.Command{
		Use: "check", Short: "Look at Amazon's side of the configured directories", Args: cobra.NoArgs,
		Long: `Looks at every directory that the server's flags or variables name: whether WorkSpaces can be
made in it, and whether anything is set so that Forge's budgets and records would be wrong. It
only reads, needs no database, and prints the command that puts each thing right.

It ends with 0 when nothing must be put right, with 1 when something must, with 2 when it was
not told what to look at. Its calls count towards Amazon's limit of two a second like any other.`,
		Example: `  forge aws check --aws-directory us-east-1=d-9067012345
  forge aws check --aws-directories /etc/forge/directories.yaml -o json | jq -r '.findings[].command // empty'
  FORGE_AWS_DIRECTORIES=/etc/forge/directories.yaml forge aws check --compute-type POWER --operating-system UBUNTU`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fromEnvironment(cmd, nil); err != nil {
				return err
			}
			directories, err := a.resolve()
			switch {
			case err != nil:
				return cli.UsageError{Err: err}
			case len(directories) == 0:
				return cli.UsageError{Err: errNoDirectory}
			case output != "table" && output != "json":
				return cli.UsageError{Err: fmt.Errorf("--output is table or json, not %q", output)}
			}
			log, err := logger(cmd.ErrOrStderr(), "text", slog.LevelError)
			if err != nil {
				return err
			}
			aws, err := desktop.LoadAWS(cmd.Context(), endpoint)
			if err != nil {
				return err
			}
			p := desktop.New(desktop.Config{Endpoint: endpoint, AWS: aws, Logger: log})
			found, err := p.Check(cmd.Context(), directories, want)
			if err != nil {
				return err
			}
			if err := printFindings(cmd.OutOrStdout(), output, found); err != nil {
				return err
			}
			if slices.ContainsFunc(found, func(f desktop.Finding) bool { return f.Severity == desktop.Must }) {
				return errMustFix
			}
			return nil
		},
	}
	a.register(c)
	f := c.Flags()
	f.StringVar(&endpoint, "aws-endpoint", "", "another address than Amazon's, such as an emulator's")
	f.StringVarP(&output, "output", "o", "table", "table or json")
	f.StringSliceVar(&want.ComputeTypes, "compute-type", policy.Bundles, "compute types of which Amazon must have a bundle")
	f.StringSliceVar(&want.OperatingSystems, "operating-system", []string{"WINDOWS"}, "operating systems of the blueprints: WINDOWS, AMAZON_LINUX_2, UBUNTU, RHEL, ROCKY")
	return c
}

// printFindings writes JSON, or a table of what there is and below it what to do about each.
func printFindings(to io.Writer, format string, found []desktop.Finding) error {
	if format == "json" {
		e := json.NewEncoder(to)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(map[string]any{"findings": append([]desktop.Finding{}, found...)})
	}
	styles := map[desktop.Severity]lipgloss.Style{
		desktop.Must: lipgloss.NewStyle().Foreground(lipgloss.Red), desktop.Should: lipgloss.NewStyle().Foreground(lipgloss.Yellow), desktop.Info: lipgloss.NewStyle().Faint(true),
	}
	t := table.New().Border(lipgloss.HiddenBorder()).BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).BorderHeader(false).BorderColumn(false).
		Headers("", "SEVERITY", "REGION", "DIRECTORY", "WHAT").
		StyleFunc(func(row, column int) lipgloss.Style {
			s := lipgloss.NewStyle()
			if row >= 0 && column < 2 {
				s = styles[found[row].Severity]
			}
			return s.PaddingRight(2)
		})
	var todo strings.Builder
	acts := 0
	for i, f := range found {
		t.Row(strconv.Itoa(i+1), string(f.Severity), cmp.Or(f.Region, "-"), cmp.Or(f.DirectoryID, "-"), f.What)
		if f.Severity == desktop.Info {
			continue
		}
		acts++
		fmt.Fprintf(&todo, "\n%d  %s\n", i+1, f.Why)
		if f.Command != "" {
			fmt.Fprintf(&todo, "   %s\n", f.Command)
		}
	}
	if acts == 0 {
		todo.WriteString("\n" + lipgloss.NewStyle().Foreground(lipgloss.Green).Render("Nothing to do.") + "\n")
	}
	var lines strings.Builder
	for line := range strings.Lines(t.Render() + "\n") {
		lines.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	_, err := lipgloss.Fprint(to, lines.String(), todo.String())
	return err
}

func awsPolicyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "policy", Short: "Print the least IAM policy that Forge works with", Args: cobra.NoArgs,
		Long: `Prints an IAM policy that allows what Forge calls and nothing else: the first statement is the
server's, the second that of forge aws check alone.`,
		Example: `  forge aws policy > policy.json
  aws iam create-policy --policy-name forge --policy-document file://policy.json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := desktop.Policy()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(b)
			return err
		},
	}
}
