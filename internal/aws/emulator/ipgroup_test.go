package emulator_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/google/go-cmp/cmp"
)

func rule(addresses string) types.IpRuleItem { return types.IpRuleItem{IpRule: &addresses} }

func (b *bench) ipGroup(name string, rules ...types.IpRuleItem) string {
	return *must(b.client().CreateIpGroup(b.t.Context(), &workspaces.CreateIpGroupInput{GroupName: &name, UserRules: rules})).GroupId
}

// rules gives those of a group as text, nil if there is no such group.
func (b *bench) rules(id string) []string {
	out := must(b.client().DescribeIpGroups(b.t.Context(), &workspaces.DescribeIpGroupsInput{GroupIds: []string{id}}))
	if len(out.Result) == 0 {
		return nil
	}
	all := []string{}
	for _, r := range out.Result[0].UserRules {
		all = append(all, *r.IpRule+aws.ToString(r.RuleDesc))
	}
	return all
}

func TestTheRulesOfAnIPGroup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	b := newBench(t, stateFile(path))
	api := b.client()
	id := b.ipGroup("office", types.IpRuleItem{IpRule: aws.String("203.0.113.0/24"), RuleDesc: aws.String(" first floor")})
	want := func(b *bench, rules ...string) {
		t.Helper()
		if diff := cmp.Diff(rules, b.rules(id)); diff != "" {
			t.Error(diff)
		}
	}
	want(b, "203.0.113.0/24 first floor")
	authorize := func(rules ...types.IpRuleItem) error {
		_, err := api.AuthorizeIpRules(t.Context(), &workspaces.AuthorizeIpRulesInput{GroupId: &id, UserRules: rules})
		return err
	}
	if err := authorize(rule("198.51.100.7/32"), rule("198.51.100.8")); err != nil {
		t.Fatal(err)
	}
	want(b, "203.0.113.0/24 first floor", "198.51.100.7/32", "198.51.100.8")
	wantError[*types.InvalidParameterValuesException](t, "a rule that is there", authorize(rule("198.51.100.8")))
	wantError[*types.InvalidParameterValuesException](t, "no range", authorize(rule("everybody")))
	wantError[*types.InvalidParameterValuesException](t, "no rule", authorize(types.IpRuleItem{}))
	var many []types.IpRuleItem
	for i := range 8 {
		many = append(many, rule(fmt.Sprintf("192.0.2.%d", i)))
	}
	wantError[*types.ResourceLimitExceededException](t, "eleven rules", authorize(many...))
	want(b, "203.0.113.0/24 first floor", "198.51.100.7/32", "198.51.100.8")

	revoke := func(rules ...string) error {
		_, err := api.RevokeIpRules(t.Context(), &workspaces.RevokeIpRulesInput{GroupId: &id, UserRules: rules})
		return err
	}
	wantError[*types.InvalidParameterValuesException](t, "a rule that is not there", revoke("198.51.100.7/32", "10.0.0.0/8"))
	if err := revoke("203.0.113.0/24", "198.51.100.8"); err != nil {
		t.Fatal(err)
	}
	want(b, "198.51.100.7/32")
	must(api.UpdateRulesOfIpGroup(t.Context(), &workspaces.UpdateRulesOfIpGroupInput{GroupId: &id, UserRules: many}))
	want(b, "192.0.2.0", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.7")
	must(api.UpdateRulesOfIpGroup(t.Context(), &workspaces.UpdateRulesOfIpGroupInput{GroupId: &id, UserRules: []types.IpRuleItem{rule("10.0.0.0/8")}}))
	b.emu.Crash()
	want(newBench(t, stateFile(path)), "10.0.0.0/8")
}

func TestIPGroupsOfADirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	b := newBench(t, stateFile(path))
	api := b.client()
	one, two := b.ipGroup("one"), b.ipGroup("two")
	associate := func(ids ...string) error {
		_, err := api.AssociateIpGroups(t.Context(), &workspaces.AssociateIpGroupsInput{DirectoryId: aws.String(directory), GroupIds: ids})
		return err
	}
	want := func(ids ...string) {
		t.Helper()
		if diff := cmp.Diff(ids, b.directory(directory).IpGroupIds); diff != "" {
			t.Error(diff)
		}
	}
	if err := associate(one); err != nil {
		t.Fatal(err)
	}
	if err := associate(one, two); err != nil {
		t.Fatal("again:", err)
	}
	want(one, two)
	e := wantError[*types.ResourceNotFoundException](t, "no such group", associate("wsipg-000000000"))
	if aws.ToString(e.ResourceId) != "wsipg-000000000" {
		t.Errorf("%+v", e)
	}
	var many []string
	for i := range 24 {
		many = append(many, b.ipGroup(fmt.Sprint(i)))
	}
	wantError[*types.ResourceLimitExceededException](t, "26 groups", associate(many...))
	want(one, two)

	_, err := api.DeleteIpGroup(t.Context(), &workspaces.DeleteIpGroupInput{GroupId: &one})
	wantError[*types.ResourceAssociatedException](t, "delete while associated", err)
	must(api.DisassociateIpGroups(t.Context(), &workspaces.DisassociateIpGroupsInput{DirectoryId: aws.String(directory), GroupIds: []string{one, many[0]}}))
	want(two)
	must(api.DeleteIpGroup(t.Context(), &workspaces.DeleteIpGroupInput{GroupId: &one}))
	_, err = api.DeleteIpGroup(t.Context(), &workspaces.DeleteIpGroupInput{GroupId: &one})
	wantError[*types.ResourceNotFoundException](t, "delete again", err)

	// Who is deregistered uses no groups.
	must(api.DeregisterWorkspaceDirectory(t.Context(), &workspaces.DeregisterWorkspaceDirectoryInput{DirectoryId: aws.String(directory)}))
	wantError[*types.InvalidResourceStateException](t, "associate while deregistering", associate(many[0]))
	must(api.DeleteIpGroup(t.Context(), &workspaces.DeleteIpGroupInput{GroupId: &two}))
	b.emu.Crash()
	again := newBench(t, stateFile(path))
	if again.rules(one) != nil || again.rules(two) != nil || again.rules(many[0]) == nil {
		t.Error("what was deleted is there again, or the other way round")
	}
}

func TestARegionHasAHundredIPGroupsAtMost(t *testing.T) {
	b := newBench(t)
	create := func(name string) error {
		_, err := b.client().CreateIpGroup(t.Context(), &workspaces.CreateIpGroupInput{GroupName: &name})
		return err
	}
	wantError[*types.InvalidParameterValuesException](t, "no name", create(""))
	var want []string
	for i := range 100 {
		want = append(want, b.ipGroup(fmt.Sprint(i)))
	}
	wantError[*types.ResourceAlreadyExistsException](t, "the same name", create("0"))
	wantError[*types.ResourceLimitExceededException](t, "101", create("100"))
	must(b.client(inRegion("eu-west-1")).CreateIpGroup(t.Context(), &workspaces.CreateIpGroupInput{GroupName: aws.String("0")}))

	var got []string
	sizes := []int32{25, 7} // the size of a page may change on the way
	for token := (*string)(nil); ; {
		out := must(b.client().DescribeIpGroups(t.Context(), &workspaces.DescribeIpGroupsInput{NextToken: token, MaxResults: &sizes[len(got)%2]}))
		for _, g := range out.Result {
			got = append(got, *g.GroupId)
		}
		if token = out.NextToken; token == nil {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
