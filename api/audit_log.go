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

// AuditRange is the places of the entries of a period.
type AuditRange struct {
	First  int64 `json:"first"`
	Behind int64 `json:"behind" doc:"The place behind the last; equal to first when there are none"`
}
