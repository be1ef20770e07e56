package emulator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// record is one thing the state is made of and one line of the journal. A record is never changed once it
// is installed; a changed copy takes its place. So a reader may keep what it found after letting go of the lock.
type record interface {
	kind() string
	key() string
}

// recordKinds makes an empty record of each kind to read a journal line into. A new kind of record needs
// an entry here and a case in world.install.
var recordKinds = map[string]func() record{
	"directory": func() record { return new(directory) },
	"user":      func() record { return new(directoryUser) },
	"ip_group":  func() record { return new(ipGroup) },
	"alias":     func() record { return new(connectionAlias) },
	"workspace": func() record { return new(workspace) },
	"clock":     func() record { return new(clockOffset) },
	"bundle":    func() record { return new(bundle) },
	"image":     func() record { return new(image) },
	"together":  func() record { return new(together) },
	"history":   func() record { return new(history) },
	"load":      func() record { return new(load) },
	"prices":    func() record { return new(priceBook) },
}

// together are records that are true all at once or, whatever a crash cuts off, not at all: one line.
type together []record

func (together) kind() string { return "together" }
func (together) key() string  { return "" }

// MarshalJSON writes them as lines of a journal.
func (t together) MarshalJSON() ([]byte, error) {
	lines := make([]journalLine, 0, len(t))
	for _, r := range t {
		value, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		lines = append(lines, journalLine{Kind: r.kind(), Value: value})
	}
	return json.Marshal(lines)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (t *together) UnmarshalJSON(b []byte) error {
	var lines []journalLine
	if err := json.Unmarshal(b, &lines); err != nil {
		return err
	}
	for _, l := range lines {
		r, err := readRecord(l.Kind, l.Value)
		if err != nil {
			return err
		}
		*t = append(*t, r)
	}
	return nil
}

// world is everything that exists, in every account and Region.
type world struct {
	directories map[string]*directory
	users       map[string]*directoryUser // by userKey
	bundles     map[string]*bundle        // the account's own
	images      map[string]*image
	ipGroups    map[string]*ipGroup
	aliases     map[string]*connectionAlias
	workspaces  map[string]*workspace
	order       []*workspace // those in workspaces, oldest first
	seq         int64        // the highest number given out
	clock       *offset

	histories map[string]*history // by WorkSpace, also of those that are gone
	loads     map[string]*load    // by WorkSpace
	prices    *priceBook          // nil: the default
}

func newWorld() *world {
	return &world{
		directories: map[string]*directory{},
		users:       map[string]*directoryUser{},
		bundles:     map[string]*bundle{},
		images:      map[string]*image{},
		ipGroups:    map[string]*ipGroup{},
		aliases:     map[string]*connectionAlias{},
		workspaces:  map[string]*workspace{},
		clock:       &offset{},
		histories:   map[string]*history{},
		loads:       map[string]*load{},
	}
}

// load takes one line of the journal.
func (w *world) load(kind string, value json.RawMessage) error {
	r, err := readRecord(kind, value)
	if err != nil {
		return err
	}
	w.install(r)
	return nil
}

func readRecord(kind string, value json.RawMessage) (record, error) {
	blank, ok := recordKinds[kind]
	if !ok {
		return nil, fmt.Errorf("unknown kind of record %q", kind)
	}
	r := blank()
	if err := json.Unmarshal(value, r); err != nil {
		return nil, fmt.Errorf("record of kind %s: %w", kind, err)
	}
	return r, nil
}

// install makes r what is known under its key.
func (w *world) install(r record) {
	switch r := r.(type) {
	case *directory:
		w.directories[r.ID] = r
		w.seq = max(w.seq, r.Seq)
	case *directoryUser:
		w.users[r.key()] = r
	case *clockOffset:
		w.clock.ahead.Store(r.Ahead)
	case *ipGroup:
		w.ipGroups[r.ID] = r
		if r.Deleted {
			delete(w.ipGroups, r.ID)
		}
		w.seq = max(w.seq, r.Seq)
	case *connectionAlias:
		w.aliases[r.ID] = r
		if r.Deleted {
			delete(w.aliases, r.ID)
		}
		w.seq = max(w.seq, r.Seq)
	case *workspace:
		at, known := slices.BinarySearchFunc(w.order, r.Seq, func(o *workspace, seq int64) int { return cmp.Compare(o.Seq, seq) })
		if known {
			w.order[at] = r
		} else {
			w.order = slices.Insert(w.order, at, r)
		}
		w.remember(w.workspaces[r.ID], r)
		w.workspaces[r.ID] = r
		w.seq = max(w.seq, r.Seq)
	case *together:
		for _, one := range *r {
			w.install(one)
		}
	case *bundle:
		w.bundles[r.ID] = r
		if r.Deleted {
			delete(w.bundles, r.ID)
		}
		w.seq = max(w.seq, r.Seq)
	case *image:
		w.images[r.ID] = r
		if r.Deleted {
			delete(w.images, r.ID)
		}
		w.seq = max(w.seq, r.Seq)
	case *history:
		w.histories[r.ID] = r
	case *load:
		w.loads[r.ID] = r
	case *priceBook:
		w.prices = r
	default:
		panic(fmt.Sprintf("emulator: record of kind %s is not installed anywhere", r.kind()))
	}
}

// forget drops the WorkSpaces that are gone and whose users are free again. Nothing tells them from ones
// that never were, so this needs no line in the journal.
func (w *world) forget(now time.Time) {
	w.order = slices.DeleteFunc(w.order, func(o *workspace) bool {
		v := o.at(now)
		if !v.released(now) {
			return false
		}
		w.bury(o, v.Since)
		delete(w.workspaces, o.ID)
		return true
	})
	w.forgetHistories(now)
}

// records is the whole state, directories first, in a stable order.
func (w *world) records() []record {
	var all []record
	if ahead := w.clock.ahead.Load(); ahead != 0 {
		all = append(all, &clockOffset{Ahead: ahead})
	}
	for _, d := range w.sortedDirectories() {
		all = append(all, d)
	}
	users := make([]*directoryUser, 0, len(w.users))
	for _, u := range w.users {
		users = append(users, u)
	}
	slices.SortFunc(users, func(a, b *directoryUser) int { return strings.Compare(a.key(), b.key()) })
	for _, u := range users {
		all = append(all, u)
	}
	for _, id := range slices.Sorted(maps.Keys(w.images)) {
		all = append(all, w.images[id])
	}
	for _, id := range slices.Sorted(maps.Keys(w.bundles)) {
		all = append(all, w.bundles[id])
	}
	for _, id := range slices.Sorted(maps.Keys(w.ipGroups)) {
		all = append(all, w.ipGroups[id])
	}
	for _, id := range slices.Sorted(maps.Keys(w.aliases)) {
		all = append(all, w.aliases[id])
	}
	for _, o := range w.order {
		all = append(all, o)
	}
	return append(all, w.historyRecords()...)
}

// has reports whether something has the id.
func (w *world) has(id string) bool {
	return w.workspaces[id] != nil || w.ipGroups[id] != nil || w.aliases[id] != nil || w.directories[id] != nil ||
		w.bundles[id] != nil || amazonBundles[id] != nil || w.images[id] != nil || amazonsImage(id)
}

func (w *world) sortedDirectories() []*directory {
	all := make([]*directory, 0, len(w.directories))
	for _, d := range w.directories {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b *directory) int { return cmp.Compare(a.Seq, b.Seq) })
	return all
}

// find gives the WorkSpace as it is at now, if it exists in region. A region of "" means any.
func (w *world) find(region, id string, now time.Time) (workspace, bool) {
	o, ok := w.workspaces[id]
	if !ok || (region != "" && o.Region != region) {
		return workspace{}, false
	}
	v := o.at(now)
	return v, v.State != stateAbsent
}

// hasUser reports whether name may be given a WorkSpace in the directory.
func (w *world) hasUser(directoryID, name string) bool {
	if u, ok := w.users[userKey(directoryID, name)]; ok {
		return !u.Removed
	}
	anybody, ok := w.users[userKey(directoryID, AnyUser)]
	return ok && !anybody.Removed
}

// merge gives the records that make d, as configured, known; those already there are left as they are.
func (w *world) merge(d Directory) ([]record, error) {
	if d.Region == "" {
		d.Region = defaultRegion
	}
	if !model.shape("DirectoryId").matches(d.ID) {
		return nil, fmt.Errorf("directory id %q is not like d-926722edaf", d.ID)
	}
	if d.Account != "" && !accountID.MatchString(d.Account) {
		return nil, fmt.Errorf("directory %s: account %q is not twelve digits", d.ID, d.Account)
	}
	place := placeOf(cmp.Or(d.Account, account), d.Region)
	if len(d.SubnetIDs) > 2 {
		return nil, fmt.Errorf("directory %s has %d subnets; Amazon takes two", d.ID, len(d.SubnetIDs))
	}
	var records []record
	known, ok := w.directories[d.ID]
	switch {
	case !ok:
		known = newDirectory(d, place, w.seq+1)
		records = append(records, known)
	case known.Region != place:
		return nil, fmt.Errorf("directory %s is in %s and cannot move to %s", d.ID, known.Region, place)
	}
	users, err := w.newUsers(known, d.Users)
	if err != nil {
		return nil, err
	}
	return append(records, users...), nil
}
