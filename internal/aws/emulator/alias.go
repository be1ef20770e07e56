package emulator

import (
	"cmp"
	"fmt"
	"slices"
)

// aliasQuota is how many connection aliases an account may have in a Region.
const aliasQuota = 20

// connectionAlias is a domain name that clients are sent by, to the directory that is associated with it where
// they are. It is the account's in one Region; another account may be let associate its own directory with it.
// How long Amazon takes over any of this is not known, so it is done at once.
type connectionAlias struct {
	Seq         int64             `json:"seq"`
	ID          string            `json:"id"`
	Region      string            `json:"region"` // with the account, see placeOf
	Name        string            `json:"name"`   // fully qualified
	SharedWith  string            `json:"shared_with,omitempty"`
	DirectoryID string            `json:"directory_id,omitempty"` // of the account or the other one; "" none
	UsedBy      string            `json:"used_by,omitempty"`      // whose directory it is
	Tags        map[string]string `json:"tags,omitempty"`
	Deleted     bool              `json:"deleted,omitempty"` // the last line about it
}

func (*connectionAlias) kind() string  { return "alias" }
func (a *connectionAlias) key() string { return a.ID }

// usable reports whether the call's account may associate the alias: it is its own, or shared with it.
func (a *connectionAlias) usable(c *call) bool {
	return a.Region == c.region || (a.SharedWith == c.account() && regionOf(a.Region) == regionOf(c.region))
}

// usableAlias finds an alias the call's account may associate.
func (w *world) usableAlias(c *call, id string) (*connectionAlias, error) {
	a, ok := w.aliases[id]
	if !ok || !a.usable(c) {
		return nil, notFound(id)
	}
	return a, nil
}

// ownAlias finds an alias of the call's account.
func (w *world) ownAlias(c *call, id string) (*connectionAlias, error) {
	a, ok := w.aliases[id]
	if !ok || a.Region != c.region {
		return nil, notFound(id)
	}
	return a, nil
}

func taggedAlias(w *world, c *call, id string) (tagged, bool) {
	found, err := w.ownAlias(c, id)
	if err != nil {
		return tagged{}, false
	}
	a := *found
	return tagged{a.Tags, func(tags map[string]string) record { a.Tags = tags; return &a }}, true
}

type createAliasInput struct {
	ConnectionString string
	Tags             []wireTag
}

// createAlias takes a name the account has in no alias of the Region, and another account in none at all.
func createAlias(e *Emulator, c *call, in createAliasInput) (any, error) {
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	own := 0
	for _, a := range e.world.aliases {
		if a.Name == in.ConnectionString && (a.Region == c.region || accountOf(a.Region) != c.account()) {
			return nil, alreadyExists("A connection alias with the specified connection string exists already.")
		}
		if a.Region == c.region {
			own++
		}
	}
	if own >= aliasQuota {
		return nil, limitExceeded()
	}
	a := &connectionAlias{
		Seq: e.world.seq + 1, ID: e.newID("wsca-"), Region: c.region, Name: in.ConnectionString, Tags: tagMap(in.Tags),
	}
	if err := e.commit(a); err != nil {
		return nil, err
	}
	return struct{ AliasId string }{a.ID}, nil
}

type describeAliasesInput struct {
	AliasIds   []string
	ResourceId string
	Limit      int
	NextToken  string
}

type wireAlias struct {
	ConnectionString string
	AliasId          string
	State            string
	OwnerAccountId   string
	Associations     []wireAliasAssociation
}

type wireAliasAssociation struct {
	AssociationStatus    string
	AssociatedAccountId  string `json:",omitempty"`
	ResourceId           string `json:",omitempty"`
	ConnectionIdentifier string `json:",omitempty"`
}

func (a *connectionAlias) wire() wireAlias {
	used := wireAliasAssociation{AssociationStatus: "NOT_ASSOCIATED"}
	if a.DirectoryID != "" {
		used = wireAliasAssociation{"ASSOCIATED_WITH_OWNER_ACCOUNT", a.UsedBy, a.DirectoryID, a.identifier()}
		if a.UsedBy != accountOf(a.Region) {
			used.AssociationStatus = "ASSOCIATED_WITH_SHARED_ACCOUNT"
		}
	}
	return wireAlias{a.Name, a.ID, "CREATED", accountOf(a.Region), []wireAliasAssociation{used}}
}

// identifier is what the DNS of the alias must say for the directory that is associated.
func (a *connectionAlias) identifier() string { return fmt.Sprintf("%016x", hash(a.ID, a.DirectoryID)) }

// describeAliases returns the account's aliases and those shared with it, oldest first.
func describeAliases(e *Emulator, c *call, in describeAliasesInput) (any, error) {
	var found []*connectionAlias
	for _, a := range e.world.aliases {
		if a.usable(c) && anyOrIn(in.AliasIds, a.ID) && (in.ResourceId == "" || in.ResourceId == a.DirectoryID) {
			found = append(found, a)
		}
	}
	slices.SortFunc(found, func(a, b *connectionAlias) int { return cmp.Compare(a.Seq, b.Seq) })
	found, next, err := page(c, found, func(a *connectionAlias) int64 { return a.Seq }, in.Limit, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := struct {
		ConnectionAliases []wireAlias
		NextToken         string `json:",omitempty"`
	}{make([]wireAlias, 0, len(found)), next}
	for _, a := range found {
		out.ConnectionAliases = append(out.ConnectionAliases, a.wire())
	}
	return out, nil
}

type associateAliasInput struct{ AliasId, ResourceId string }

// associateAlias binds an alias to a directory; each has one of the other at most.
func associateAlias(e *Emulator, c *call, in associateAliasInput) (any, error) {
	found, err := e.world.usableAlias(c, in.AliasId)
	if err != nil {
		return nil, err
	}
	d, ok := e.world.directory(c, in.ResourceId)
	if !ok {
		return nil, notFound(in.ResourceId)
	}
	if state := d.state(c.at); state != directoryRegistered {
		return nil, invalidState("The specified directory is in the state " + state + ".")
	}
	for _, a := range e.world.aliases {
		if (a == found && a.DirectoryID != "") || a.DirectoryID == d.ID {
			return nil, associated("The connection alias or the directory is associated already.")
		}
	}
	a := *found
	a.DirectoryID, a.UsedBy = d.ID, c.account()
	if err := e.commit(&a); err != nil {
		return nil, err
	}
	return struct{ ConnectionIdentifier string }{a.identifier()}, nil
}

type aliasInput struct{ AliasId string }

// disassociateAlias is for the account whose directory it is.
func disassociateAlias(e *Emulator, c *call, in aliasInput) (any, error) {
	found, err := e.world.usableAlias(c, in.AliasId)
	if err != nil {
		return nil, err
	}
	if found.UsedBy != c.account() {
		return nil, invalidState("The specified connection alias is not associated with a directory of the account.")
	}
	a := *found
	a.DirectoryID, a.UsedBy = "", ""
	return nothing{}, e.commit(&a)
}

type aliasPermission struct {
	SharedAccountId  string
	AllowAssociation bool
}

type updateAliasPermissionInput struct {
	AliasId                   string
	ConnectionAliasPermission aliasPermission
}

// updateAliasPermission shares an alias with one other account, or no longer. Either is no error when it is so
// already.
func updateAliasPermission(e *Emulator, c *call, in updateAliasPermissionInput) (any, error) {
	found, err := e.world.ownAlias(c, in.AliasId)
	if err != nil {
		return nil, err
	}
	asked := in.ConnectionAliasPermission
	switch {
	case asked.SharedAccountId == c.account():
		return nil, invalidParameters("A connection alias cannot be shared with the account that owns it.")
	case asked.AllowAssociation && found.SharedWith != "" && found.SharedWith != asked.SharedAccountId:
		return nil, limitExceeded()
	case !asked.AllowAssociation && found.UsedBy == asked.SharedAccountId:
		return nil, associated("The specified connection alias is associated with a directory of that account.")
	}
	a := *found
	switch {
	case asked.AllowAssociation:
		a.SharedWith = asked.SharedAccountId
	case a.SharedWith == asked.SharedAccountId:
		a.SharedWith = ""
	}
	return nothing{}, e.commit(&a)
}

type describeAliasPermissionsInput struct {
	AliasId    string
	NextToken  string
	MaxResults int
}

func describeAliasPermissions(e *Emulator, c *call, in describeAliasPermissionsInput) (any, error) {
	a, err := e.world.ownAlias(c, in.AliasId)
	if err != nil {
		return nil, err
	}
	shared := []aliasPermission{}
	if a.SharedWith != "" {
		shared = append(shared, aliasPermission{a.SharedWith, true})
	}
	shared, _, err = page(c, shared, func(aliasPermission) int64 { return a.Seq }, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return struct {
		AliasId                    string
		ConnectionAliasPermissions []aliasPermission
	}{a.ID, shared}, nil
}

// deleteAlias takes one that nobody uses and that is not shared.
func deleteAlias(e *Emulator, c *call, in aliasInput) (any, error) {
	found, err := e.world.ownAlias(c, in.AliasId)
	if err != nil {
		return nil, err
	}
	if found.DirectoryID != "" || found.SharedWith != "" {
		return nil, associated("The specified connection alias is associated with a directory or shared with an account.")
	}
	return nothing{}, e.commit(&connectionAlias{Seq: found.Seq, ID: found.ID, Region: found.Region, Deleted: true})
}
