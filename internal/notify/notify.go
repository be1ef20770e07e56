// Package notify holds the messages that people are to get: rows written with what they tell of, sent afterwards.
package notify

import (
	"cmp"
	"context"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
)

// Message is for a person, or for the leads of a team. Key names what it tells of, so that it is told once.
type Message struct {
	Key string
	// Event names what several messages tell of, each to somebody else: who listens to everything gets one of them. Empty: Key.
	Event   string
	Kind    string
	User    id.User
	Team    id.Team
	Payload map[string]any
}

// Enqueue writes the message into the outbox with the change that it tells of. A second message with the same key is
// not written.
func Enqueue(ctx context.Context, tx *audit.Tx, m Message) error {
	payload := m.Payload
	if payload == nil {
		payload = map[string]any{}
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO notifications (id, dedupe_key, event_key, kind, user_id, team_id, payload, created_at)
		VALUES ($1, $2, $3, $4, nullif($5, ''), nullif($6, ''), $7, $8)
		ON CONFLICT (dedupe_key) DO NOTHING`,
		"msg_"+id.Unique(), m.Key, cmp.Or(m.Event, m.Key), m.Kind, m.User, m.Team, payload, tx.Now)
	return err
}

// EnqueueAdmins writes the message for every admin there is, each told once.
func EnqueueAdmins(ctx context.Context, tx *audit.Tx, m Message) error {
	return EnqueueRole(ctx, tx, actor.Admin, m)
}

// EnqueueRole writes the message for everybody who has the role, each told once.
func EnqueueRole(ctx context.Context, tx *audit.Tx, role actor.Role, m Message) error {
	all, err := postgres.Many[struct{ ID id.User }](ctx, tx, `SELECT id FROM users WHERE role = $1 AND deactivated_at IS NULL ORDER BY id`, role)
	if err != nil {
		return err
	}
	for _, u := range all {
		if u.ID == m.User {
			continue // the message is theirs already
		}
		one := m
		one.Key, one.Event, one.User, one.Team = m.Key+":"+string(u.ID), cmp.Or(m.Event, m.Key), u.ID, ""
		if err := Enqueue(ctx, tx, one); err != nil {
			return err
		}
	}
	return nil
}
