package api

import "time"

// Notification is a message to somebody on its way over one channel.
type Notification struct {
	ID            string         `json:"id"`
	MessageID     string         `json:"message_id" doc:"What receivers know it by, whichever attempt brings it: the header webhook-id, and the beginning of an e-mail's Message-ID"`
	Kind          string         `json:"kind"`
	Channel       string         `json:"channel" enum:"email,webhook,slack"`
	Recipient     string         `json:"recipient,omitempty" doc:"Id of the user of an e-mail, or of the team of a channel of its own; empty: the organisation's"`
	RecipientName string         `json:"recipient_name,omitempty"`
	State         string         `json:"state" enum:"WAITING,SENT,DEAD" doc:"DEAD is not tried any more until somebody replays it"`
	Attempts      int            `json:"attempts"`
	LastError     string         `json:"last_error,omitempty"`
	CreatedAt     time.Time      `json:"created_at"`
	DueAt         *time.Time     `json:"due_at,omitempty" doc:"When it is tried next"`
	GiveUpAt      *time.Time     `json:"give_up_at,omitempty" doc:"From when on a failed attempt is the last"`
	EndedAt       *time.Time     `json:"ended_at,omitempty"`
	Subject       string         `json:"subject,omitempty" doc:"Of one notification only, like text and data"`
	Text          string         `json:"text,omitempty"`
	Data          map[string]any `json:"data,omitempty" doc:"What the webhook carries"`
}

// NotificationList is a page of notifications, the newest first.
type NotificationList struct {
	Items      []Notification `json:"items" nullable:"false"`
	NextCursor string         `json:"next_cursor,omitempty"`
	Channels   []string       `json:"channels" nullable:"false" doc:"Those that are configured where this was asked"`
}

// NotificationTest is a message on its way to whoever asked for it.
type NotificationTest struct {
	MessageID string   `json:"message_id"`
	Channels  []string `json:"channels" nullable:"false"`
}
