package api

import "time"

// AuditErase is why a person is erased from the audit log.
type AuditErase struct {
	Reason string `json:"reason" minLength:"1" maxLength:"200" doc:"The legal basis; without the person's name or address: it stays for ever"`
}

// AuditErased is what an erasure took.
type AuditErased struct {
	Subject string    `json:"subject"`
	Entries int64     `json:"entries" doc:"Entries that no longer show where the person came from"`
	At      time.Time `json:"at"`
}
