package desktop

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/workspace"
)

const (
	// bundlesFresh is how long a list of Amazon's bundles is good for. They change a few times a year.
	bundlesFresh = time.Hour
	// bundlesDoubted is how old a list must be for a bundle that Amazon does not know to be the list's fault.
	bundlesDoubted = time.Minute
)

// bundleList is a Region's public bundles as they were last read.
type bundleList struct {
	turn chan struct{} // holds one while somebody reads or uses the list; a channel, so that a wait ends with its context
	all  []types.WorkspaceBundle
	at   time.Time // zero: to be read
}

func newBundleList() *bundleList { return &bundleList{turn: make(chan struct{}, 1)} }

// bundle finds the id of Amazon's bundle for a compute type and an operating system, and the age of the list it is from.
func (p *Provider) bundle(ctx context.Context, r *region, compute, system string) (bundleID string, age time.Duration, err error) {
	l := r.bundles
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return "", 0, refused(workspace.Ambiguous, codeNoAnswer, "the wait for Amazon's bundles was given up")
	}
	if time.Since(l.at) >= bundlesFresh {
		all, err := p.publicBundles(ctx, r)
		switch {
		case err == nil:
			l.all, l.at = all, time.Now()
		case l.all == nil || ctx.Err() != nil:
			return "", 0, notAsked(err)
		default:
			p.cfg.Logger.WarnContext(ctx, "Amazon's bundles cannot be read; those of before are used", "region", r.name, "error", err)
		}
	}
	bundleID, ok := choose(l.all, compute, system)
	if !ok {
		return "", 0, refused(workspace.Rejected, codeNoBundle,
			fmt.Sprintf("Amazon has no bundle of compute type %s with operating system %s in %s", compute, system, r.name))
	}
	return bundleID, time.Since(l.at), nil
}

// forget has the list read again before it is next used.
func (l *bundleList) forget(ctx context.Context) {
	select {
	case l.turn <- struct{}{}:
		l.at = time.Time{}
		<-l.turn
	case <-ctx.Done(): // whoever holds the turn for so long is reading it
	}
}

func (p *Provider) publicBundles(ctx context.Context, r *region) ([]types.WorkspaceBundle, error) {
	var all []types.WorkspaceBundle
	err := pages(func(token *string) (next *string, err error) {
		err = p.call(ctx, r, "DescribeWorkspaceBundles", func(c *workspaces.Client) error {
			out, err := c.DescribeWorkspaceBundles(ctx, &workspaces.DescribeWorkspaceBundlesInput{Owner: aws.String("AMAZON"), NextToken: token})
			if err == nil {
				all, next = append(all, out.Bundles...), out.NextToken
			}
			return err
		})
		return next, err
	})
	return all, err
}

// notAsked keeps the failure of a question from passing for the refusal of what was to be asked for after it.
func notAsked(err error) error {
	if is(err, workspace.Rejected) || is(err, workspace.Gone) {
		return &workspace.ProviderError{Class: workspace.NotNow, Code: codeUnclear, Message: "Amazon's bundles cannot be read", Err: err}
	}
	return err
}

// Bundles say what they are in their names only, such as "Performance with Windows 10 (Server 2022 based) (WSP)".
var (
	systems = map[string]*regexp.Regexp{
		"WINDOWS":        regexp.MustCompile(`(?i)\bwindows\b`),
		"AMAZON_LINUX_2": regexp.MustCompile(`(?i)\bamazon linux 2\b`),
		"UBUNTU":         regexp.MustCompile(`(?i)\bubuntu\b`),
		"RHEL":           regexp.MustCompile(`(?i)\b(rhel|red hat)\b`),
		"ROCKY":          regexp.MustCompile(`(?i)\brocky\b`),
	}
	saysWSP   = regexp.MustCompile(`(?i)\b(wsp|dcv)\b`) // two names of one protocol
	saysPCoIP = regexp.MustCompile(`(?i)\bpcoip\b`)
	// saysExtra marks bundles with software that is charged for every month.
	saysExtra = regexp.MustCompile(`(?i)\b(office|plus)\b`)
)

// choose picks one bundle, always the same of the same ones: those that say they speak WSP before those that say
// nothing, those without further software before those with it, the newest system first, then by name, then by id. None is of PCoIP: Amazon does
// not let a user have both in one directory.
func choose(all []types.WorkspaceBundle, compute, system string) (bundleID string, ok bool) {
	says, known := systems[system]
	if !known {
		return "", false
	}
	fits := func(b types.WorkspaceBundle) bool {
		return b.ComputeType != nil && string(b.ComputeType.Name) == compute && says.MatchString(label(b)) && !saysPCoIP.MatchString(label(b)) &&
			(b.State == "" || b.State == types.WorkspaceBundleStateAvailable) &&
			(b.BundleType == "" || b.BundleType == types.BundleTypeRegular)
	}
	order := func(a, b types.WorkspaceBundle) int {
		return cmp.Or(
			-compareBool(saysWSP.MatchString(label(a)), saysWSP.MatchString(label(b))),
			compareBool(saysExtra.MatchString(label(a)), saysExtra.MatchString(label(b))),
			slices.Compare(numbers(b), numbers(a)), // the newest system
			strings.Compare(aws.ToString(a.Name), aws.ToString(b.Name)),
			strings.Compare(aws.ToString(a.BundleId), aws.ToString(b.BundleId)))
	}
	candidates := slices.DeleteFunc(slices.Clone(all), func(b types.WorkspaceBundle) bool { return !fits(b) })
	if len(candidates) == 0 {
		return "", false
	}
	return aws.ToString(slices.MinFunc(candidates, order).BundleId), true
}

func label(b types.WorkspaceBundle) string {
	return aws.ToString(b.Name) + "\n" + aws.ToString(b.Description)
}

var number = regexp.MustCompile(`\d+`)

// numbers are those in a bundle's name, in their order: the versions of its system.
func numbers(b types.WorkspaceBundle) []int {
	var all []int
	for _, digits := range number.FindAllString(aws.ToString(b.Name), -1) {
		n, err := strconv.Atoi(digits)
		if err != nil {
			continue // longer than any version
		}
		all = append(all, n)
	}
	return all
}

// compareBool orders false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
