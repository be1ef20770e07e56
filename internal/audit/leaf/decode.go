package leaf

import (
	"bytes"
	"slices"
	"strings"
)

// Decode reads a leaf. It takes exactly the bytes that Encode gives for some entry and no others, so two leaves that
// decode to the same entry are the same leaf. The error is an [*Error]; errors.Is(err, leaf.KeyOrder) asks for a rule.
func Decode(b []byte) (Entry, error) {
	if len(b) > MaxLeaf {
		return Entry{}, &Error{Rule: TooLarge, Offset: MaxLeaf}
	}
	d := decoder{b: b}
	e, err := d.entry()
	if err != nil {
		return Entry{}, err
	}
	if err := sameAgain(e, b); err != nil {
		return Entry{}, err
	}
	return e, nil
}

// sameAgain is the rule that all others serve: the entry encodes to the bytes it came from. Should a rule be missing
// from the decoder, a wrong leaf is still refused here.
func sameAgain(e Entry, b []byte) error {
	again, err := e.AppendEncode(make([]byte, 0, len(b)))
	if err != nil {
		return &Error{Rule: NotCanonical, Offset: 0}
	}
	if bytes.Equal(again, b) {
		return nil
	}
	at := 0
	for at < len(b) && at < len(again) && b[at] == again[at] {
		at++
	}
	return &Error{Rule: NotCanonical, Offset: at}
}

// decoder reads b from i on; path is where it is.
type decoder struct {
	b    []byte
	i    int
	path []string
}

// member is one member of an object that the format lists.
type member struct {
	name     string
	optional bool
}

var (
	entryMembers = []member{
		{"action", false},
		{"actor", false},
		{"code", true},
		{"details", true},
		{"id", false},
		{"interface", false},
		{"log", false},
		{"pii", true},
		{"req", true},
		{"resource", false},
		{"result", false},
		{"ts", false},
		{"v", false},
		{"w", false},
	}
	actorMembers    = []member{{"id", false}, {"role", true}, {"type", false}}
	resourceMembers = []member{{"id", false}, {"type", false}}
	writerMembers   = []member{{"b", false}, {"id", false}, {"n", false}}
)

func (d *decoder) entry() (e Entry, err error) {
	err = d.listed(entryMembers, func(name string) (err error) {
		switch name {
		case "action":
			e.Action, err = d.word(Value, validAction)
		case "actor":
			err = d.actor(&e.Actor)
		case "code":
			e.Code, err = d.text(false)
		case "details":
			err = d.details(&e)
		case "id":
			e.ID, err = d.word(BadID, validID)
		case "interface":
			e.Interface, err = d.word(Value, validInterface)
		case "log":
			e.Log, err = d.word(Value, validLog)
		case "pii":
			e.PII, err = d.pii()
		case "req":
			e.RequestID, err = d.text(false)
		case "resource":
			err = d.resource(&e.Resource)
		case "result":
			var s string
			s, err = d.word(Value, func(s string) bool { return validResult(Result(s)) })
			e.Result = Result(s)
		case "ts":
			_, err = d.word(BadTime, func(s string) (ok bool) { e.Time, ok = parseTime(s); return ok })
		case "v":
			err = d.version()
		case "w":
			err = d.writer(&e.Writer)
		}
		return err
	})
	if err == nil && d.i < len(d.b) {
		err = d.fail(d.i, Trailing)
	}
	return e, err
}

func (d *decoder) actor(a *Actor) error {
	return d.listed(actorMembers, func(name string) (err error) {
		switch name {
		case "id":
			a.ID, err = d.text(false)
		case "role":
			a.Role, err = d.text(false)
		case "type":
			a.Type, err = d.word(Value, validActor)
		}
		return err
	})
}

func (d *decoder) resource(r *Resource) error {
	return d.listed(resourceMembers, func(name string) (err error) {
		switch name {
		case "id":
			r.ID, err = d.text(true)
		case "type":
			r.Type, err = d.text(false)
		}
		return err
	})
}

func (d *decoder) writer(w *Writer) error {
	return d.listed(writerMembers, func(name string) (err error) {
		switch name {
		case "b":
			w.Boot, err = d.word(Value, validWriter)
		case "id":
			w.ID, err = d.word(Value, validWriter)
		case "n":
			_, err = d.word(Number, func(s string) (ok bool) { w.Seq, ok = parseUint(s); return ok })
		}
		return err
	})
}

func (d *decoder) version() error {
	at := d.i
	n, err := d.number()
	if err == nil && n != 1 {
		err = d.fail(at, Version)
	}
	return err
}

func (d *decoder) pii() (map[string]Commitment, error) {
	at := d.i
	pii := map[string]Commitment{}
	err := d.members(nil, func(field string) error {
		if !validField(field) {
			return d.fail(d.i, KeyForm)
		}
		if len(pii) == MaxPII {
			return d.fail(d.i, TooLong)
		}
		_, err := d.word(Base64, func(s string) bool {
			rest, marked := strings.CutPrefix(s, commitmentMark)
			raw, ok := parseBase64(rest)
			if !marked || !ok || len(raw) != len(Commitment{}) {
				return false
			}
			pii[field] = Commitment(raw)
			return true
		})
		return err
	})
	if err == nil && len(pii) == 0 {
		err = d.fail(at, Empty)
	}
	return pii, err
}

// listed reads an object whose members are listed, calling read for the value of each.
func (d *decoder) listed(members []member, read func(name string) error) error {
	at := d.i
	var seen uint32
	err := d.members(members, func(name string) error {
		seen |= 1 << find(members, name)
		return read(name)
	})
	if err != nil {
		return err
	}
	for i, m := range members {
		if !m.optional && seen&(1<<i) == 0 {
			d.path = append(d.path, m.name)
			return d.fail(at, MissingKey)
		}
	}
	return nil
}

func find(members []member, name string) int {
	return slices.IndexFunc(members, func(m member) bool { return m.name == name })
}

// members reads an object, calling read for the value of each member. A list tells which members there are; without
// one there may be any.
func (d *decoder) members(list []member, read func(name string) error) error {
	if err := d.expect("{"); err != nil {
		return err
	}
	var names []string
	for !d.skip('}') {
		if len(names) > 0 {
			if err := d.expect(","); err != nil {
				return err
			}
		}
		at := d.i
		name, err := d.name()
		if err != nil {
			return err
		}
		d.path = append(d.path, shortName(name))
		if list != nil && find(list, name) < 0 {
			return d.fail(at, UnknownKey)
		}
		if len(names) > 0 && name <= names[len(names)-1] {
			if slices.Contains(names, name) {
				return d.fail(at, DuplicateKey)
			}
			return d.fail(at, KeyOrder)
		}
		names = append(names, name)
		if err := d.expect(":"); err != nil {
			return err
		}
		if err := read(name); err != nil {
			return err
		}
		d.path = d.path[:len(d.path)-1]
	}
	return nil
}

// word reads a string that has to pass a check, and is wrong in the sense of rule when it does not.
func (d *decoder) word(rule Rule, valid func(string) bool) (string, error) {
	at := d.i
	s, err := d.string()
	if err == nil && !valid(s) {
		err = d.fail(at, rule)
	}
	return s, err
}

// text reads a fixed text as Text leaves it.
func (d *decoder) text(mayBeEmpty bool) (string, error) {
	at := d.i
	s, err := d.string()
	switch {
	case err != nil:
	case s == "" && !mayBeEmpty:
		err = d.fail(at, Empty)
	case !validText(s):
		err = d.fail(at, TooLong)
	}
	return s, err
}
