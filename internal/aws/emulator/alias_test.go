package emulator_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

func TestAConnectionAliasIsSharedAndAssociated(t *testing.T) {
	const theirs = "d-96670a1b2c"
	path := filepath.Join(t.TempDir(), "state")
	b := newBench(t, stateFile(path), func(c *emulator.Config) {
		c.Directories = append(c.Directories, emulator.Directory{ID: theirs, Account: otherAccount})
	})
	us, them, ctx := b.client(), b.client(withKey(otherAccount)), t.Context()
	create := func(api *workspaces.Client, name string) (*workspaces.CreateConnectionAliasOutput, error) {
		return api.CreateConnectionAlias(ctx, &workspaces.CreateConnectionAliasInput{ConnectionString: &name, Tags: []types.Tag{tag("a", "b")}})
	}
	id := must(create(us, "desktop.example.com")).AliasId
	for name, api := range map[string]*workspaces.Client{"we again": us, "they": them} {
		_, err := create(api, "desktop.example.com")
		wantError[*types.ResourceAlreadyExistsException](t, name, err)
	}
	must(create(b.client(inRegion("eu-west-1")), "desktop.example.com")) // what it fails over to
	if got := b.tags(*id); got["a"] != "b" {
		t.Errorf("tags %v", got)
	}
	associate := func(api *workspaces.Client, directory string) (*workspaces.AssociateConnectionAliasOutput, error) {
		return api.AssociateConnectionAlias(ctx, &workspaces.AssociateConnectionAliasInput{AliasId: id, ResourceId: &directory})
	}
	disassociate := func(api *workspaces.Client) error {
		_, err := api.DisassociateConnectionAlias(ctx, &workspaces.DisassociateConnectionAliasInput{AliasId: id})
		return err
	}
	share := func(account string, allow bool) error {
		_, err := us.UpdateConnectionAliasPermission(ctx, &workspaces.UpdateConnectionAliasPermissionInput{
			AliasId: id, ConnectionAliasPermission: &types.ConnectionAliasPermission{SharedAccountId: &account, AllowAssociation: &allow},
		})
		return err
	}
	remove := func() error {
		_, err := us.DeleteConnectionAlias(ctx, &workspaces.DeleteConnectionAliasInput{AliasId: id})
		return err
	}
	want := func(api *workspaces.Client, status types.AssociationStatus, account, directory string) {
		t.Helper()
		all := must(api.DescribeConnectionAliases(ctx, &workspaces.DescribeConnectionAliasesInput{AliasIds: []string{*id}})).ConnectionAliases
		if len(all) != 1 || all[0].State != types.ConnectionAliasStateCreated || *all[0].OwnerAccountId != "123456789012" || len(all[0].Associations) != 1 {
			t.Fatalf("%+v", all)
		}
		if a := all[0].Associations[0]; a.AssociationStatus != status || aws.ToString(a.AssociatedAccountId) != account || aws.ToString(a.ResourceId) != directory {
			t.Errorf("%+v", a)
		}
	}
	want(us, types.AssociationStatusNotAssociated, "", "")
	if got := must(them.DescribeConnectionAliases(ctx, &workspaces.DescribeConnectionAliasesInput{})).ConnectionAliases; len(got) != 0 {
		t.Errorf("they see %+v", got)
	}

	wantError[*types.InvalidResourceStateException](t, "disassociate what is not", disassociate(us))
	if out := must(associate(us, directory)); *out.ConnectionIdentifier == "" {
		t.Error("no identifier")
	}
	want(us, types.AssociationStatusAssociatedWithOwnerAccount, "123456789012", directory)
	_, err := associate(us, directory)
	wantError[*types.ResourceAssociatedException](t, "associated twice", err)
	wantError[*types.ResourceAssociatedException](t, "deleted in use", remove())
	if err := disassociate(us); err != nil {
		t.Fatal(err)
	}

	_, err = associate(them, theirs)
	wantError[*types.ResourceNotFoundException](t, "not shared", err)
	wantError[*types.InvalidParameterValuesException](t, "shared with ourselves", share("123456789012", true))
	if err := share(otherAccount, true); err != nil {
		t.Fatal(err)
	}
	wantError[*types.ResourceLimitExceededException](t, "shared with two", share("444455556666", true))
	_, err = associate(them, directory)
	wantError[*types.ResourceNotFoundException](t, "with our directory", err)
	must(associate(them, theirs))
	want(them, types.AssociationStatusAssociatedWithSharedAccount, otherAccount, theirs)
	wantError[*types.InvalidResourceStateException](t, "we end theirs", disassociate(us))
	wantError[*types.ResourceAssociatedException](t, "unshared in use", share(otherAccount, false))
	permissions := func(api *workspaces.Client) (*workspaces.DescribeConnectionAliasPermissionsOutput, error) {
		return api.DescribeConnectionAliasPermissions(ctx, &workspaces.DescribeConnectionAliasPermissionsInput{AliasId: id})
	}
	if got := must(permissions(us)).ConnectionAliasPermissions; len(got) != 1 || *got[0].SharedAccountId != otherAccount || !*got[0].AllowAssociation {
		t.Errorf("%+v", got)
	}
	_, err = permissions(them)
	wantError[*types.ResourceNotFoundException](t, "they ask", err)

	before := b.emu.State()
	b.emu.Crash()
	again := newBench(t, stateFile(path))
	if string(again.emu.State()) != string(before) {
		t.Errorf("a restart made of\n%s\n%s", before, again.emu.State())
	}
	us, them = again.client(), again.client(withKey(otherAccount))
	if err := disassociate(them); err != nil {
		t.Fatal(err)
	}
	if err := share(otherAccount, false); err != nil {
		t.Fatal(err)
	}
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	wantError[*types.ResourceNotFoundException](t, "deleted twice", remove())
}

func TestARegionHasTwentyConnectionAliasesAtMost(t *testing.T) {
	b := newBench(t)
	for i := range 21 {
		_, err := b.client().CreateConnectionAlias(t.Context(), &workspaces.CreateConnectionAliasInput{ConnectionString: aws.String(fmt.Sprintf("d%d.example.com", i))})
		if i < 20 && err != nil {
			t.Fatal(err)
		}
		if i == 20 {
			wantError[*types.ResourceLimitExceededException](t, "21", err)
		}
	}
}
