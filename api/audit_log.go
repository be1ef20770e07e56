package api

// AuditFeed is a stretch of the audit log in the order of its tree: each entry once, without a gap.
type AuditFeed struct {
	Items []AuditFeedEntry `json:"items" nullable:"false"`
	// After is what to ask for next.
	After int64 `json:"after" doc:"Give it as after to go on; -1 before the first entry"`
}

// AuditFeedEntry is an entry with its place in the log and its exact bytes.
type AuditFeedEntry struct {
	Index int64      `json:"index"`
	Leaf  []byte     `json:"leaf" doc:"The evidence itself, in base64"`
	Entry AuditEntry `json:"entry"`
}

// AuditOpenings are what the commitments of entries are to.
type AuditOpenings struct {
	Items []AuditOpening `json:"items" nullable:"false"`
}

// AuditOpening is what was known of the person of an entry. Fields are by the names of the entry's commitments; there are none
// when the person was erased, or what was known left the database with its month.
type AuditOpening struct {
	Index    int64                       `json:"index"`
	Entry    string                      `json:"entry"`
	Fields   map[string]AuditOpenedField `json:"fields"`
	Erased   bool                        `json:"erased"`
	Archived bool                        `json:"archived"`
}

// AuditOpenedField shows that a commitment, HMAC-SHA-256 under the salt over the field's name, a NUL and the value, is to this
// value.
type AuditOpenedField struct {
	Salt  []byte `json:"salt"`
	Value string `json:"value"`
}

// AuditRange is the places of the entries of a period.
type AuditRange struct {
	First  int64 `json:"first"`
	Behind int64 `json:"behind" doc:"The place behind the last; equal to first when there are none"`
}
