package audit

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/audit/verify"
)

// writerKeys derives the keys of writers, and remembers them. It is for one goroutine.
type writerKeys struct {
	master [32]byte
	known  map[[2]string][]byte
}

func newWriterKeys(master [32]byte) writerKeys {
	return writerKeys{master, map[[2]string][]byte{}}
}

func (k *writerKeys) of(w leaf.Writer) []byte {
	name := [2]string{w.ID, w.Boot}
	if key, ok := k.known[name]; ok {
		return key
	}
	if len(k.known) >= 1000 {
		clear(k.known)
	}
	key := leaf.WriterKey(k.master[:], w.ID, w.Boot)
	k.known[name] = key
	return key
}

// objection says why a row is not as a writer of the log made it, or nothing.
func (k *writerKeys) objection(r *entryRow, origin string) string {
	_, what := k.verdict(r, origin)
	return what
}

// verdict is the objection, and the check that finds it.
func (k *writerKeys) verdict(r *entryRow, origin string) (verify.Check, string) {
	e, err := leaf.Decode(r.Leaf)
	if err != nil {
		return verify.Content, err.Error()
	}
	if e.Log != origin {
		return verify.Content, fmt.Sprintf("it is of the log %q", e.Log)
	}
	if !leaf.VerifyMAC(k.of(e.Writer), r.Leaf, r.Mac) {
		return verify.Codes, "its code is not the writer's"
	}
	return verify.Content, differs(r, &e)
}

// differs names the first column that does not say what the leaf says, or nothing.
func differs(r *entryRow, e *leaf.Entry) string {
	if !r.Timestamp.Equal(e.Time) {
		return "the column timestamp is not the leaf's"
	}
	if r.ID.String() != e.ID {
		return "the column id is not the leaf's"
	}
	for _, c := range []struct{ name, column, leaf string }{
		{"user_id", r.UserID, e.Actor.ID},
		{"actor_type", r.ActorType, e.Actor.Type},
		{"action_type", r.ActionType, e.Action},
		{"resource_type", r.ResourceType, e.Resource.Type},
		{"resource_id", r.ResourceID, e.Resource.ID},
		{"result", r.Result, string(e.Result)},
		{"code", r.Code, e.Code},
		{"interface", r.Interface, e.Interface},
		{"request_id", r.RequestID, e.RequestID},
	} {
		if !sameText(c.column, c.leaf) {
			return "the column " + c.name + " is not the leaf's"
		}
	}
	return ""
}

// sameText compares a column with the text of a leaf. They are made from one text in two ways: the column has no NUL and
// up to a thousand bytes, the leaf two hundred and then a hash of the whole.
func sameText(column, text string) bool {
	if plainText(column) == plainText(text) || leaf.Text(column) == text {
		return true
	}
	const cut = "$sha256:"
	at := len(text) - len(cut) - 64
	return at >= 0 && text[at:at+len(cut)] == cut && len(column) > at && strings.HasPrefix(plainText(column), plainText(text[:at]))
}

var replaced = regexp.MustCompile("(\\x00|\uFFFD)+")

// plainText makes what cannot be kept one sign, however many there were.
func plainText(s string) string {
	if !strings.ContainsAny(s, "\x00\uFFFD") {
		return s
	}
	return replaced.ReplaceAllString(s, "\uFFFD")
}
