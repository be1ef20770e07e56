package emulator

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"
)

// answerPage is the answer of a Describe operation while faults change it.
type answerPage struct {
	c       *call
	members map[string]any
	list    string // the member that holds the items
}

// listed are the members that hold WorkSpaces or something of theirs, by operation.
var listed = map[string]string{
	"DescribeWorkspaces":                 "Workspaces",
	"DescribeWorkspacesConnectionStatus": "WorkspacesConnectionStatus",
}

func (p *answerPage) items() []any { return list(p.members[p.list]) }

// list is a value of plain's that is a list, or none.
func list(value any) []any {
	items, _ := value.([]any)
	return items
}

// text is a member of a structure of plain's, "" if it is not a text.
func text(value any, member string) string {
	members, _ := value.(map[string]any)
	s, _ := members[member].(string)
	return s
}

// shaped gives the answer as faults want it.
func (e *Emulator) shaped(c *call, op operation, answer any) any {
	repeats := e.faults.repeats(c)
	lags := c.op == "DescribeTags" && e.tagsLag(c)
	if repeats == nil && !lags && !e.faults.any(func(f *fault) bool { return faultKinds[f.Kind].stage == shaping && f.concerns(c.op, c.region) }) {
		return answer
	}
	p := &answerPage{c: c, members: plain(answer), list: listed[c.op]}
	if repeats != nil {
		p.members[repeats.member] = slices.Insert(p.items(), 0, repeats.item)
	}
	if lags {
		p.members["TagList"] = []any{}
	}
	for _, do := range shapes {
		if do.paged && !op.paged() {
			continue
		}
		e.shape(p, do)
	}
	return p.members
}

// plain is an answer as maps and lists, as it would be read from JSON.
func plain(answer any) map[string]any {
	b, err := json.Marshal(answer)
	if err != nil {
		panic("emulator: answer cannot be encoded: " + err.Error())
	}
	in := json.NewDecoder(bytes.NewReader(b))
	in.UseNumber()
	var members map[string]any
	if err := in.Decode(&members); err != nil {
		panic("emulator: answer is no structure: " + err.Error())
	}
	return members
}

// paged reports whether the operation's answer comes in pages.
func (o operation) paged() bool {
	return slices.ContainsFunc(o.input.members, func(m shapeMember) bool { return m.name == "NextToken" })
}

// shaper is what faults of a kind do to a page. One that strikes items gets the place of the item; the others
// have none.
type shaper struct {
	kind  string
	paged bool // strikes the page and not an item
	do    func(e *Emulator, p *answerPage, f *fault, at int)
}

var shapes = []shaper{
	{"status_stale", false, func(_ *Emulator, p *answerPage, f *fault, _ int) {
		for i, item := range p.items() {
			if then, ok := f.stale[idOf(item)]; ok {
				p.items()[i] = then
			}
		}
	}},
	{"omit_from_page", false, omit},
	{"status_missing", false, omit},
	{"duplicate_on_page", false, func(e *Emulator, p *answerPage, _ *fault, at int) {
		item := p.items()[at]
		if token := text(p.members, "NextToken"); token != "" {
			e.faults.repeat(token, repeat{p.list, item})
			return
		}
		p.members[p.list] = append(p.items(), item)
	}},
	{"empty_page_with_token", true, func(_ *Emulator, p *answerPage, _ *fault, _ int) {
		for name, value := range p.members {
			if _, ok := value.([]any); ok {
				p.members[name] = []any{}
			}
		}
		token := text(p.c.input, "NextToken")
		if token == "" {
			token = p.c.sealToken(0)
		}
		p.members["NextToken"] = token // of this page, which comes next
	}},
}

func omit(_ *Emulator, p *answerPage, _ *fault, at int) {
	p.members[p.list] = slices.Delete(p.items(), at, at+1)
}

func idOf(item any) string { return text(item, "WorkspaceId") }

// shape lets a fault of the kind strike the page, if one does, and with it every one that is there until it is cleared:
// two that each mean another WorkSpace both strike a page that has both.
func (e *Emulator) shape(p *answerPage, by shaper) {
	struck := map[*fault]bool{}
	for {
		subjects := e.subjectsOn(p)
		meant := func(f *fault) int {
			return slices.IndexFunc(subjects, func(s subject) bool { return f.meets(s) && (f.stale == nil || f.stale[s.workspace] != nil) })
		}
		f := e.faults.take(func(f *fault) bool {
			if f.Kind != by.kind || !f.concerns(p.c.op, p.c.region) || len(struck) > 0 && (struck[f] || !f.lasting()) {
				return false
			}
			return (by.paged && f.matches(p.c)) || (!by.paged && meant(f) >= 0)
		})
		if f == nil {
			return
		}
		by.do(e, p, f, meant(f))
		p.c.struck = append(p.c.struck, f.mention())
		if struck[f] = true; by.paged {
			return
		}
	}
}

// subjectsOn are those of the items of a page, in order.
func (e *Emulator) subjectsOn(p *answerPage) []subject {
	e.mu.RLock()
	defer e.mu.RUnlock()
	subjects := make([]subject, 0, len(p.items()))
	for _, item := range p.items() {
		s := subject{workspace: idOf(item)}
		if w, ok := e.world.workspaces[s.workspace]; ok {
			s = w.subject()
		}
		subjects = append(subjects, s)
	}
	return subjects
}

// repeatsKept bounds the items that wait for their page to be asked for.
const repeatsKept = 100

func (fs *faults) repeat(token string, r repeat) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.again == nil || len(fs.again) >= repeatsKept {
		fs.again = map[string]repeat{}
	}
	fs.again[token] = r
}

// repeats gives the item that is to be shown on the page asked for once more, nil if none is.
func (fs *faults) repeats(c *call) *repeat {
	token := text(c.input, "NextToken")
	fs.mu.Lock()
	defer fs.mu.Unlock()
	r, ok := fs.again[token]
	if !ok {
		return nil
	}
	delete(fs.again, token)
	return &r
}

// tagsLag reports whether the tags that are asked for are not to be seen yet.
func (e *Emulator) tagsLag(c *call) bool {
	id := text(c.input, "ResourceId")
	e.mu.RLock()
	defer e.mu.RUnlock()
	w, ok := e.world.workspaces[id]
	if !ok {
		return false
	}
	m := w.marked("tags_lag")
	return m != nil && c.at.Before(m.Until)
}

// inSending counts the request for the faults of a kind that change how its answer goes out, and gives by how
// much one does.
func (fs *faults) inSending(c *call, kind string) time.Duration {
	f := fs.take(func(f *fault) bool { return f.Kind == kind && f.matches(c) })
	if f == nil {
		return 0
	}
	c.struck = append(c.struck, f.mention())
	return f.delay()
}

// statuses are the connections of the WorkSpaces an order means, as they are told now. The caller holds e.mu.
func (e *Emulator) statuses(o order, now time.Time) map[string]any {
	told := map[string]any{}
	for _, w := range e.world.order {
		v := w.at(now)
		if (o.Region == "" || o.Region == regionOf(w.Region) || o.Region == w.Region) && o.meets(w.subject()) && v.visible(now) && v.checkedOn() {
			told[w.ID] = plain(v.connection(now))
		}
	}
	return told
}
