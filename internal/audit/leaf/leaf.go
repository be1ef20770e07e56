package leaf

import "time"

// The limits of the format.
const (
	// MaxLeaf is the most bytes a leaf may have; the log's tiles keep its length in 16 bits.
	MaxLeaf = 65535
	// MaxString is the most bytes a string or byte slice in details may have before "$trunc" stands for it.
	MaxString = 4096
	// MaxText is the most bytes a fixed text, a log's name or a writer's name may have.
	MaxText = 200
	// MaxAction is the most bytes an action may have.
	MaxAction = 100
	// MaxPII is the most commitments one entry may carry.
	MaxPII = 32

	// maxNesting is how deep the callers' objects and arrays may stand, the leaf itself being 1 and details 2. A marker
	// adds at most two more, which makes the eight of the format.
	maxNesting = 6
	// maxExact is the first whole number that a reader with IEEE doubles may get wrong.
	maxExact = 1 << 53
)

// Entry is one entry of the audit log.
//
// Decode(e.Encode()) gives e back after this normalisation: Time in UTC and whole microseconds, rounded down; fixed
// texts through [Text]; an empty Details or PII is nil. Within Details: every integer is an int64, or a uint64 when only
// that can hold it; a string that is not UTF-8 is a []byte; named string types are string; a nil or typed map or slice
// is a map[string]any, []any or []byte; what was too large or too deep is a [Truncated].
type Entry struct {
	// ID is a UUID of version 7, in lower case with hyphens.
	ID string
	// Time is when it happened, in the years 1970 to 9999.
	Time time.Time
	// Log is the origin of the log: it keeps an entry of one installation from passing as another's. Printable ASCII
	// without space, quote, backslash and plus.
	Log   string
	Actor Actor
	// Action is dotted lower-case words, such as "workspace.create".
	Action   string
	Resource Resource
	Result   Result
	// Code is the code of the fault, when there is one.
	Code string
	// Interface is where the actor came in, such as "api" or "worker": 1 to 32 of a-z, 0-9, "_" and "-".
	Interface string
	// RequestID is the request, when there was one.
	RequestID string
	// Details is what the action wants remembered. Values are nil, bool, string and named strings, integers, []byte,
	// []any, []string, map[string]any, map[string]string and Truncated. There are no floats: pass a decimal as a
	// string.
	Details map[string]any
	// Truncated stands for Details when they were too large for a leaf. Decode sets it; both together are an error.
	Truncated *Truncated
	// PII is what was known about people, each as a commitment, by field: 1 to 32 of a-z, 0-9 and "_".
	PII    map[string]Commitment
	Writer Writer
}

// Actor is who acted: a person, the system itself or a stranger. ID is never empty.
type Actor struct {
	Type string // User, System or Anonymous
	ID   string
	Role string // empty unless a person acted
}

// The types of actor.
const (
	User      = "user"
	System    = "system"
	Anonymous = "anonymous"
)

// Resource is what was acted on. Type is never empty; ID is, when there is no such thing yet.
type Resource struct {
	Type string
	ID   string
}

// Result is how it ended.
type Result string

// The results.
const (
	Success Result = "success"
	Refused Result = "refused"
	Failed  Result = "failed"
)

// Writer is the process that wrote the entry, and the number it gave it: each boot counts its entries, and a gap is a
// transaction that was rolled back. ID and Boot are printable ASCII without space, quote and backslash.
type Writer struct {
	ID   string
	Boot string
	Seq  uint64
}

// Truncated stands for a value that was left out: the length and SHA-256 of its canonical encoding.
type Truncated struct {
	Len    int64
	SHA256 [32]byte
}

func validActor(s string) bool { return s == User || s == System || s == Anonymous }

func validResult(r Result) bool { return r == Success || r == Refused || r == Failed }

// validID tells whether s is a UUID of version 7 and the variant of RFC 9562, in lower case with hyphens.
func validID(s string) bool {
	if len(s) != 36 || s[14] != '7' || s[19] != '8' && s[19] != '9' && s[19] != 'a' && s[19] != 'b' {
		return false
	}
	for i := range len(s) {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if s[i] != '-' {
				return false
			}
		} else if !isHex(s[i]) {
			return false
		}
	}
	return true
}

// validAction tells whether s is two or more lower-case words with dots between them.
func validAction(s string) bool {
	if len(s) > MaxAction {
		return false
	}
	dots, start := 0, true
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z':
			start = false
		case !start && ('0' <= c && c <= '9' || c == '_'):
		case !start && c == '.':
			dots++
			start = true
		default:
			return false
		}
	}
	return dots > 0 && !start
}

func validInterface(s string) bool {
	return len(s) >= 1 && len(s) <= 32 && every(s, func(c byte) bool { return lowerOrDigit(c) || c == '_' || c == '-' })
}

func validField(s string) bool {
	return len(s) >= 1 && len(s) <= 32 && every(s, func(c byte) bool { return lowerOrDigit(c) || c == '_' })
}

func validWriter(s string) bool {
	return len(s) >= 1 && len(s) <= MaxText && every(s, func(c byte) bool { return c != ' ' && plain(c) })
}

// validLog asks what signed notes ask of a name, and that it is ASCII.
func validLog(s string) bool {
	return validWriter(s) && every(s, func(c byte) bool { return c != '+' })
}

func validTime(t time.Time) bool { return t.Year() >= 1970 && t.Year() <= 9999 }

func (t Truncated) valid() bool { return t.Len >= 1 && t.Len < maxExact }

func isHex(c byte) bool { return 'a' <= c && c <= 'f' || '0' <= c && c <= '9' }

func lowerOrDigit(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// plain tells whether c is printable ASCII that JSON writes as it is.
func plain(c byte) bool { return ' ' <= c && c <= '~' && c != '"' && c != '\\' }

func every(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}
