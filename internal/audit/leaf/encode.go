package leaf

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"
)

// timeLayout is the one form of a time. Formatting cuts further digits, it does not round.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// Encode gives the leaf. Its errors are mistakes of the program, each an [*Error] with an Offset of -1.
func (e Entry) Encode() ([]byte, error) {
	b, err := e.AppendEncode(make([]byte, 0, 1024))
	if cap(b) > 2*MaxLeaf {
		b = bytes.Clone(b) // let go of what huge details needed
	}
	return b, err
}

// AppendEncode appends the leaf to dst. On an error it returns dst as it was, and the error.
func (e Entry) AppendEncode(dst []byte) ([]byte, error) {
	if err := e.check(); err != nil {
		return dst, err
	}
	start := len(dst)
	b := e.appendHead(dst)
	if len(e.Details) > 0 || e.Truncated != nil {
		b = append(b, `,"details":`...)
	}
	from := len(b)
	switch {
	case e.Truncated != nil:
		b = appendTruncated(b, *e.Truncated)
	case len(e.Details) > 0:
		var err error
		if b, err = appendObject(b, e.Details, 2, maxNesting); err != nil {
			return dst, under("details", err)
		}
	}
	to := len(b)
	b = e.appendTail(b)
	if len(b)-start > MaxLeaf {
		// Only details can be that large: everything else is bounded far below.
		t, err := Truncate(e.Details)
		if err != nil {
			return dst, under("details", err)
		}
		tail := bytes.Clone(b[to:])
		b = append(appendTruncated(b[:from], t), tail...)
	}
	return b, nil
}

// check looks at what the program alone decides. What comes from outside has no rules to break.
func (e Entry) check() error {
	for _, c := range [...]struct {
		ok   bool
		rule Rule
		path string
	}{
		{validAction(e.Action), Value, "action"},
		{validActor(e.Actor.Type), Value, "actor.type"},
		{e.Actor.ID != "", Value, "actor.id"},
		{validID(e.ID), BadID, "id"},
		{validInterface(e.Interface), Value, "interface"},
		{validLog(e.Log), Value, "log"},
		{len(e.PII) <= MaxPII, TooLong, "pii"},
		{e.Resource.Type != "", Value, "resource.type"},
		{validResult(e.Result), Value, "result"},
		{validTime(e.Time.UTC()), BadTime, "ts"},
		{validWriter(e.Writer.Boot), Value, "w.b"},
		{validWriter(e.Writer.ID), Value, "w.id"},
		{e.Truncated == nil || len(e.Details) == 0 && e.Truncated.valid(), Marker, "details"},
	} {
		if !c.ok {
			return broken(c.rule, c.path)
		}
	}
	for field := range e.PII {
		if !validField(field) {
			return broken(KeyForm, "pii")
		}
	}
	return nil
}

// appendHead writes what stands before details.
func (e Entry) appendHead(b []byte) []byte {
	b = append(b, `{"action":`...)
	b = appendString(b, e.Action)
	b = append(b, `,"actor":{"id":`...)
	b = appendString(b, Text(e.Actor.ID))
	if e.Actor.Role != "" {
		b = append(b, `,"role":`...)
		b = appendString(b, Text(e.Actor.Role))
	}
	b = append(b, `,"type":`...)
	b = appendString(b, e.Actor.Type)
	b = append(b, '}')
	if e.Code != "" {
		b = append(b, `,"code":`...)
		b = appendString(b, Text(e.Code))
	}
	return b
}

// appendTail writes what stands after details.
func (e Entry) appendTail(b []byte) []byte {
	b = append(b, `,"id":`...)
	b = appendString(b, e.ID)
	b = append(b, `,"interface":`...)
	b = appendString(b, e.Interface)
	b = append(b, `,"log":`...)
	b = appendString(b, e.Log)
	b = appendPII(b, e.PII)
	if e.RequestID != "" {
		b = append(b, `,"req":`...)
		b = appendString(b, Text(e.RequestID))
	}
	b = append(b, `,"resource":{"id":`...)
	b = appendString(b, Text(e.Resource.ID))
	b = append(b, `,"type":`...)
	b = appendString(b, Text(e.Resource.Type))
	b = append(b, `},"result":`...)
	b = appendString(b, string(e.Result))
	b = append(b, `,"ts":"`...)
	b = e.Time.UTC().AppendFormat(b, timeLayout)
	b = append(b, `","v":1,"w":{"b":`...)
	b = appendString(b, e.Writer.Boot)
	b = append(b, `,"id":`...)
	b = appendString(b, e.Writer.ID)
	b = append(b, `,"n":"`...)
	b = strconv.AppendUint(b, e.Writer.Seq, 10)
	return append(b, `"}}`...)
}

// commitmentMark is the version of a commitment.
const commitmentMark = "c1:"

func appendPII(b []byte, pii map[string]Commitment) []byte {
	if len(pii) == 0 {
		return b
	}
	var few [4]string
	fields := few[:0]
	for field := range pii {
		fields = append(fields, field)
	}
	slices.Sort(fields)
	b = append(b, `,"pii":{`...)
	for i, field := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, field)
		b = append(b, `:"`+commitmentMark...)
		c := pii[field]
		b = base64.StdEncoding.AppendEncode(b, c[:])
		b = append(b, '"')
	}
	return append(b, '}')
}

// appendTruncated writes the marker of a value that was left out.
func appendTruncated(b []byte, t Truncated) []byte {
	b = append(b, `{"$trunc":{"len":`...)
	b = strconv.AppendInt(b, t.Len, 10)
	b = append(b, `,"sha256":"`...)
	b = hex.AppendEncode(b, t.SHA256[:])
	return append(b, `"}}`...)
}

// truncated is what stands for a canonical encoding.
func truncated(canonical []byte) Truncated {
	return Truncated{Len: int64(len(canonical)), SHA256: sha256.Sum256(canonical)}
}

// parseTime reads the one form of a time.
func parseTime(s string) (time.Time, bool) {
	t, err := time.Parse(timeLayout, s)
	if err != nil || !validTime(t) || t.Format(timeLayout) != s {
		return time.Time{}, false
	}
	return t, true
}

// parseBase64 reads standard base64 in its one form: the decoder of the library skips line ends and loose bits.
func parseBase64(s string) ([]byte, bool) {
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil || base64.StdEncoding.EncodeToString(raw) != s {
		return nil, false
	}
	return raw, true
}

// parseUint reads a decimal in its one form.
func parseUint(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && strconv.FormatUint(n, 10) == s
}

// parseBig reads an integer that needs the "$int" marker, in its one form.
func parseBig(s string) (any, bool) {
	if digits, negative := strings.CutPrefix(s, "-"); negative {
		n, err := strconv.ParseInt(s, 10, 64)
		return n, err == nil && n <= -maxExact && digits[0] != '0'
	}
	n, ok := parseUint(s)
	if n < 1<<63 {
		return int64(n), ok && n >= maxExact
	}
	return n, ok
}
