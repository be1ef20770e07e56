package emulator

import (
	"cmp"
	"net/netip"
	"slices"
)

// Amazon's quotas of IP access control groups: in a Region, in a directory, and of rules in a group.
const (
	ipGroupQuota          = 100
	ipGroupDirectoryQuota = 25
	ipRuleQuota           = 10
)

// ipGroup says from which addresses clients may connect to the WorkSpaces of the directories it is associated
// with. One without rules lets nobody in.
type ipGroup struct {
	Seq         int64             `json:"seq"`
	ID          string            `json:"id"`
	Region      string            `json:"region"` // with the account, see placeOf
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Rules       []ipRule          `json:"rules,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Deleted     bool              `json:"deleted,omitempty"` // the last line about it
}

func (*ipGroup) kind() string  { return "ip_group" }
func (g *ipGroup) key() string { return g.ID }

// ipRule is a range of addresses, over the wire as Amazon's: with names in lower case.
type ipRule struct {
	Rule        string `json:"ipRule"`
	Description string `json:"ruleDesc,omitempty"`
}

func (w *world) ipGroup(c *call, id string) (*ipGroup, error) {
	g, ok := w.ipGroups[id]
	if !ok || g.Region != c.region {
		return nil, notFound(id)
	}
	return g, nil
}

// ipGroupsOf are those of the call's place, oldest first.
func (w *world) ipGroupsOf(c *call) []*ipGroup {
	var found []*ipGroup
	for _, g := range w.ipGroups {
		if g.Region == c.region {
			found = append(found, g)
		}
	}
	slices.SortFunc(found, func(a, b *ipGroup) int { return cmp.Compare(a.Seq, b.Seq) })
	return found
}

func taggedIPGroup(w *world, c *call, id string) (tagged, bool) {
	found, err := w.ipGroup(c, id)
	if err != nil {
		return tagged{}, false
	}
	g := *found
	return tagged{g.Tags, func(tags map[string]string) record { g.Tags = tags; return &g }}, true
}

// withRules gives a copy of g that has these rules, if a group may.
func (g *ipGroup) withRules(rules []ipRule) (*ipGroup, error) {
	seen := map[string]bool{}
	for _, r := range rules {
		_, notRange := netip.ParsePrefix(r.Rule)
		_, notAddress := netip.ParseAddr(r.Rule)
		if notRange != nil && notAddress != nil {
			return nil, invalidParameters("An IP rule is not a range of addresses in CIDR notation.")
		}
		// Amazon does not say what becomes of a rule that is there twice; refusing it hides no mistake of a client's.
		if seen[r.Rule] {
			return nil, invalidParameters("An IP rule is specified twice, or is in the group already.")
		}
		seen[r.Rule] = true
	}
	if len(rules) > ipRuleQuota {
		return nil, limitExceeded()
	}
	changed := *g
	changed.Rules = rules
	return &changed, nil
}

type createIPGroupInput struct {
	GroupName string
	GroupDesc string
	UserRules []ipRule
	Tags      []wireTag
}

func createIPGroup(e *Emulator, c *call, in createIPGroupInput) (any, error) {
	if in.GroupName == "" {
		return nil, invalidParameters("The name of an IP group must not be empty.")
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	groups := e.world.ipGroupsOf(c)
	if slices.ContainsFunc(groups, func(g *ipGroup) bool { return g.Name == in.GroupName }) {
		return nil, alreadyExists("An IP group with the specified name exists already.")
	}
	if len(groups) >= ipGroupQuota {
		return nil, limitExceeded()
	}
	g, err := (&ipGroup{
		Seq: e.world.seq + 1, ID: e.newID("wsipg-"), Region: c.region,
		Name: in.GroupName, Description: in.GroupDesc, Tags: tagMap(in.Tags),
	}).withRules(in.UserRules)
	if err != nil {
		return nil, err
	}
	if err := e.commit(g); err != nil {
		return nil, err
	}
	return struct{ GroupId string }{g.ID}, nil
}

type describeIPGroupsInput struct {
	GroupIds   []string
	NextToken  string
	MaxResults int
}

type wireIPGroup struct {
	ID          string   `json:"groupId"`
	Name        string   `json:"groupName"`
	Description string   `json:"groupDesc,omitempty"`
	Rules       []ipRule `json:"userRules"`
}

func describeIPGroups(e *Emulator, c *call, in describeIPGroupsInput) (any, error) {
	found := slices.DeleteFunc(e.world.ipGroupsOf(c), func(g *ipGroup) bool { return !anyOrIn(in.GroupIds, g.ID) })
	found, next, err := page(c, found, func(g *ipGroup) int64 { return g.Seq }, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := struct {
		Result    []wireIPGroup
		NextToken string `json:",omitempty"`
	}{make([]wireIPGroup, 0, len(found)), next}
	for _, g := range found {
		out.Result = append(out.Result, wireIPGroup{g.ID, g.Name, g.Description, append([]ipRule{}, g.Rules...)})
	}
	return out, nil
}

type ipRulesInput struct {
	GroupId   string
	UserRules []ipRule
}

func authorizeIPRules(e *Emulator, c *call, in ipRulesInput) (any, error) {
	return e.changeRules(c, in.GroupId, func(rules []ipRule) ([]ipRule, error) {
		return append(slices.Clone(rules), in.UserRules...), nil
	})
}

// updateIPRules replaces the rules.
func updateIPRules(e *Emulator, c *call, in ipRulesInput) (any, error) {
	return e.changeRules(c, in.GroupId, func([]ipRule) ([]ipRule, error) { return in.UserRules, nil })
}

type revokeIPRulesInput struct {
	GroupId   string
	UserRules []string
}

func revokeIPRules(e *Emulator, c *call, in revokeIPRulesInput) (any, error) {
	return e.changeRules(c, in.GroupId, func(rules []ipRule) ([]ipRule, error) {
		for _, gone := range in.UserRules {
			if !slices.ContainsFunc(rules, func(r ipRule) bool { return r.Rule == gone }) {
				return nil, invalidParameters("An IP rule to revoke is not in the group.")
			}
		}
		return slices.DeleteFunc(slices.Clone(rules), func(r ipRule) bool { return slices.Contains(in.UserRules, r.Rule) }), nil
	})
}

func (e *Emulator) changeRules(c *call, id string, change func([]ipRule) ([]ipRule, error)) (any, error) {
	g, err := e.world.ipGroup(c, id)
	if err != nil {
		return nil, err
	}
	rules, err := change(g.Rules)
	if err != nil {
		return nil, err
	}
	if g, err = g.withRules(rules); err != nil {
		return nil, err
	}
	return nothing{}, e.commit(g)
}

type ipGroupsInput struct {
	DirectoryId string
	GroupIds    []string
}

// associateIPGroups adds groups to a directory; those it has already are no error.
func associateIPGroups(e *Emulator, c *call, in ipGroupsInput) (any, error) {
	return e.changeIPGroups(c, in, func(has []string) ([]string, error) {
		for _, id := range in.GroupIds {
			if !slices.Contains(has, id) {
				has = append(has, id)
			}
		}
		if len(has) > ipGroupDirectoryQuota {
			return nil, limitExceeded()
		}
		return has, nil
	})
}

// disassociateIPGroups takes groups from a directory; those it does not have are no error.
func disassociateIPGroups(e *Emulator, c *call, in ipGroupsInput) (any, error) {
	return e.changeIPGroups(c, in, func(has []string) ([]string, error) {
		return slices.DeleteFunc(has, func(id string) bool { return slices.Contains(in.GroupIds, id) }), nil
	})
}

func (e *Emulator) changeIPGroups(c *call, in ipGroupsInput, change func(has []string) ([]string, error)) (any, error) {
	found, ok := e.world.directory(c, in.DirectoryId)
	if !ok {
		return nil, notFound(in.DirectoryId)
	}
	if state := found.state(c.at); state != directoryRegistered {
		return nil, invalidState("The specified directory is in the state " + state + ".")
	}
	for _, id := range in.GroupIds {
		if _, err := e.world.ipGroup(c, id); err != nil {
			return nil, err
		}
	}
	ids, err := change(slices.Clone(found.IPGroups))
	if err != nil {
		return nil, err
	}
	d := *found
	d.IPGroups = ids
	return nothing{}, e.commit(&d)
}

type ipGroupIDInput struct{ GroupId string }

func deleteIPGroup(e *Emulator, c *call, in ipGroupIDInput) (any, error) {
	found, err := e.world.ipGroup(c, in.GroupId)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(e.world.directoriesOf(c), func(d *directory) bool { return slices.Contains(d.IPGroups, found.ID) }) {
		return nil, associated("The specified IP group is associated with a directory.")
	}
	return nothing{}, e.commit(&ipGroup{Seq: found.Seq, ID: found.ID, Region: found.Region, Deleted: true})
}
