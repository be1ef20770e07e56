package desktop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/robco-forge/forge/internal/workspace"
)

// Severity says how much a finding matters.
type Severity string

// The severities. With a Must, Forge does not do what it is for; a Should is a risk that somebody may want to take; an Info
// is nothing to act on.
const (
	Must   Severity = "must"
	Should Severity = "should"
	Info   Severity = "info"
)

var severities = []Severity{Must, Should, Info}

// Finding is one thing that Check has found.
type Finding struct {
	Severity    Severity `json:"severity"`
	Region      string   `json:"region,omitempty"`       // empty: all of them
	DirectoryID string   `json:"directory_id,omitempty"` // empty: the whole region
	What        string   `json:"what"`
	Why         string   `json:"why"` // why it matters, and what to do where no command does it
	// Command puts it right, in a shell; empty where Amazon has none for that.
	Command string `json:"command,omitempty"`
}

// Wanted says of what there is to be a public bundle in every region: each system on each compute type.
type Wanted struct {
	OperatingSystems, ComputeTypes []string
}

const (
	// clockTolerance is how far from Amazon's a clock may be: signatures are refused beyond.
	clockTolerance = 5 * time.Minute
	// countPages bounds what counting a region's WorkSpaces may cost.
	countPages = 40
)

// Check looks at Amazon's side of every configured directory and says what is not as Forge needs it, the gravest first. It
// only reads. What cannot be read is a finding, too; the error is that ctx ended.
func (p *Provider) Check(ctx context.Context, directories []workspace.Directory, want Wanted) ([]Finding, error) {
	c := &checker{p: p}
	if c.credentials(ctx) {
		var regions []string
		byRegion := map[string][]workspace.Directory{}
		for _, d := range directories {
			if byRegion[d.Region] == nil {
				regions = append(regions, d.Region)
			}
			byRegion[d.Region] = append(byRegion[d.Region], d)
		}
		for _, region := range regions {
			c.inRegion(ctx, p.region(region), byRegion[region], want)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(c.found, func(a, b Finding) int {
		return cmp.Compare(slices.Index(severities, a.Severity), slices.Index(severities, b.Severity))
	})
	return c.found, nil
}

// checker collects findings.
type checker struct {
	p     *Provider
	found []Finding
}

// credentials tells whether there are any to go on with.
func (c *checker) credentials(ctx context.Context) bool {
	err := errors.New("no source of them is configured")
	if c.p.aws.Credentials != nil {
		_, err = c.p.aws.Credentials.Retrieve(ctx)
	}
	if err == nil {
		return true
	}
	c.found = append(c.found, Finding{
		Severity: Must, What: "there are no credentials for Amazon",
		Why: fmt.Sprintf("Nothing can be asked without them. They are looked for where every AWS tool does: environment, shared files, container, instance. %q", err),
	})
	return false
}

func (c *checker) inRegion(ctx context.Context, r *region, configured []workspace.Directory, want Wanted) {
	seen, ok := c.directories(ctx, r, configured)
	if !ok {
		return
	}
	c.tags(ctx, r, configured)
	c.watching(ctx, r)
	c.count(ctx, r, configured)
	c.bundles(ctx, r, want)
	var groups []string
	for _, d := range configured {
		if at, ok := seen[d.ID]; ok {
			groups = append(groups, at.IpGroupIds...)
		}
	}
	empty := c.emptyGroups(ctx, r, groups)
	for _, d := range configured {
		(&directoryCheck{checker: c, configured: d, emptyGroups: empty}).run(seen[d.ID])
	}
}

// add adds a finding about a whole region.
func (c *checker) add(r *region, s Severity, what, why string) {
	c.found = append(c.found, Finding{Severity: s, Region: r.name, What: what, Why: why})
}

// failed turns a read that failed into a finding. Of those that the server does as well, none may fail.
func (c *checker) failed(r *region, s Severity, operation string, err error) {
	var pe *workspace.ProviderError
	errors.As(err, &pe)
	switch {
	case pe == nil:
		c.add(r, s, operation+" failed", err.Error())
	case strings.HasPrefix(pe.Code, "AccessDenied"):
		c.add(r, s, "access is denied to "+operation,
			"The credentials need the IAM action workspaces:"+operation+". `forge aws policy` prints a policy with everything that Forge needs.")
	case pe.Class == workspace.Blocked:
		c.add(r, s, fmt.Sprintf("Amazon refuses the credentials: %s", pe.Code), fmt.Sprintf("Asked for %s, it says: %q", operation, pe.Message))
	default:
		c.add(r, s, operation+" failed: "+pe.Code, fmt.Sprintf("It was: %q. Try again; if it stays, see whether %s is a region in which Amazon has WorkSpaces, and whether its address can be reached.", pe.Message, r.name))
	}
}

// directories reads the configured directories, and Amazon's time on the way. Without them there is nothing to go on with,
// but for the lack of a permission that only this check needs.
func (c *checker) directories(ctx context.Context, r *region, configured []workspace.Directory) (map[string]*types.WorkspaceDirectory, bool) {
	const operation = "DescribeWorkspaceDirectories"
	seen := map[string]*types.WorkspaceDirectory{}
	var off time.Duration
	for batch := range slices.Chunk(configured, batchSize) {
		ids := make([]string, len(batch))
		for i, d := range batch {
			ids[i] = d.ID
		}
		err := pages(func(token *string) (next *string, err error) {
			err = c.p.call(ctx, r, operation, func(api *workspaces.Client) error {
				out, err := api.DescribeWorkspaceDirectories(ctx, &workspaces.DescribeWorkspaceDirectoriesInput{DirectoryIds: ids, NextToken: token})
				if err != nil {
					off = max(off, clockOff(middleware.Metadata{}, err))
					return err
				}
				off = max(off, clockOff(out.ResultMetadata, nil))
				for i := range out.Directories {
					seen[aws.ToString(out.Directories[i].DirectoryId)] = &out.Directories[i]
				}
				next = out.NextToken
				return nil
			})
			return next, err
		})
		if err != nil && !is(err, workspace.Gone) {
			c.clock(r, off)
			c.failed(r, Must, operation, err)
			return nil, false
		}
	}
	c.clock(r, off)
	return seen, true
}

// clockOff is how far this machine's clock is from Amazon's, by the date of an answer; nothing if it has none.
func clockOff(of middleware.Metadata, err error) time.Duration {
	theirs, ok := awsmiddleware.GetServerTime(of)
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.Response != nil {
		date, err := http.ParseTime(answer.Response.Header.Get("Date"))
		theirs, ok = date, err == nil
	}
	if !ok {
		return 0
	}
	return time.Since(theirs).Abs()
}

func (c *checker) clock(r *region, off time.Duration) {
	if off > clockTolerance {
		c.add(r, Must, fmt.Sprintf("this machine's clock is off by %s", off.Round(time.Second)),
			"Amazon refuses what is signed more than five minutes from its own time, and what Forge charges is counted by this clock. Let NTP set it.")
	}
}

// tags tries to read tags, of a directory, since there may be no WorkSpace. That there is no such directory is told by others.
func (c *checker) tags(ctx context.Context, r *region, configured []workspace.Directory) {
	if _, err := c.p.tags(ctx, r, configured[0].ID); err != nil && !is(err, workspace.Gone) {
		c.failed(r, Must, "DescribeTags", err)
	}
}

// watching tries to read what is told of a single WorkSpace, of one that nobody has. That there is none is told by one who
// would have told.
func (c *checker) watching(ctx context.Context, r *region) {
	const nobodys = "ws-000000000"
	_, connections := c.p.Connections(ctx, r.name, []string{nobodys})
	_, snapshots := c.p.Snapshots(ctx, r.name, nobodys)
	for _, read := range []struct {
		operation string
		err       error
	}{{"DescribeWorkspacesConnectionStatus", connections}, {"DescribeWorkspaceSnapshots", snapshots}} {
		if read.err != nil && !is(read.err, workspace.Gone) && !is(read.err, workspace.Rejected) {
			c.failed(r, Must, read.operation, read.err)
		}
	}
}

// count tells how many WorkSpaces there are, which is what Amazon's quota is about.
func (c *checker) count(ctx context.Context, r *region, configured []workspace.Directory) {
	const operation = "DescribeWorkspaces"
	known := map[string]bool{}
	for _, d := range configured {
		known[d.ID] = true
	}
	all, inOurs, asked, more := 0, 0, 0, false
	err := pages(func(token *string) (next *string, err error) {
		err = c.p.call(ctx, r, operation, func(api *workspaces.Client) error {
			out, err := api.DescribeWorkspaces(ctx, &workspaces.DescribeWorkspacesInput{NextToken: token})
			if err != nil {
				return err
			}
			for i := range out.Workspaces {
				all++
				if known[aws.ToString(out.Workspaces[i].DirectoryId)] {
					inOurs++
				}
			}
			next = out.NextToken
			return nil
		})
		if asked++; asked == countPages && aws.ToString(next) != "" {
			more, next = true, nil
		}
		return next, err
	})
	if err != nil {
		c.failed(r, Must, operation, err)
		return
	}
	least := ""
	if more {
		least = "at least "
	}
	c.add(r, Info, fmt.Sprintf("WorkSpaces: %s%d, %d of them in the configured directories", least, all, inOurs),
		"Compare it with the quota, which Amazon sets to 1 for a new account: aws service-quotas list-service-quotas --service-code workspaces --region "+r.name)
}

// bundles looks for the public bundles that requests will need.
func (c *checker) bundles(ctx context.Context, r *region, want Wanted) {
	all, err := c.p.publicBundles(ctx, r)
	if err != nil {
		c.failed(r, Must, "DescribeWorkspaceBundles", err)
		return
	}
	for _, system := range want.OperatingSystems {
		var missing []string
		for _, compute := range want.ComputeTypes {
			if _, ok := choose(all, compute, system); !ok {
				missing = append(missing, compute)
			}
		}
		if len(missing) == 0 {
			continue
		}
		severity, has := Should, "Blueprints that offer them should leave them out for this region: such a request ends as FAILED."
		if len(missing) == len(want.ComputeTypes) {
			severity, has = Must, "Nothing can be made with that operating system here."
		}
		c.add(r, severity, fmt.Sprintf("Amazon has no public bundle with %s for DCV of %s", system, strings.Join(missing, ", ")), has)
	}
}

// emptyGroups tells which of the IP groups have no rules.
func (c *checker) emptyGroups(ctx context.Context, r *region, groups []string) map[string]bool {
	const operation = "DescribeIpGroups"
	empty := map[string]bool{}
	slices.Sort(groups)
	for batch := range slices.Chunk(slices.Compact(groups), batchSize) {
		err := pages(func(token *string) (next *string, err error) {
			err = c.p.call(ctx, r, operation, func(api *workspaces.Client) error {
				out, err := api.DescribeIpGroups(ctx, &workspaces.DescribeIpGroupsInput{GroupIds: batch, NextToken: token})
				if err != nil {
					return err
				}
				for _, g := range out.Result {
					if len(g.UserRules) == 0 {
						empty[aws.ToString(g.GroupId)] = true
					}
				}
				next = out.NextToken
				return nil
			})
			return next, err
		})
		if err != nil {
			c.failed(r, Should, operation, err)
		}
	}
	return empty
}
