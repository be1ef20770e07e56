package notify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres"
)

// ErrNotFound says that there is no such delivery.
var ErrNotFound = fault.New(fault.NotFound, "NOTIFICATION_NOT_FOUND", "there is no such notification",
	fault.Suggest("`forge notifications list` shows them"))

// Delivery is a message on its way over one channel to one target.
type Delivery struct {
	ID             string
	Number         int64
	NotificationID string
	Kind           string
	Channel        string
	Target         string // the user of an e-mail, the team of a channel of its own, or empty for the organisation
	State          State
	Attempts       int
	DueAt          time.Time
	GiveUpAt       time.Time
	LastError      string
	CreatedAt      time.Time
	EndedAt        *time.Time
	Payload        []byte
}

const deliveryColumns = `
	d.id, d.number, d.notification_id, n.kind, d.channel, d.target, d.state, d.attempts, d.due_at, d.give_up_at, d.last_error,
	n.created_at, d.ended_at, n.payload
FROM notification_deliveries d JOIN notifications n ON n.id = d.notification_id`

// Filter narrows a list of deliveries. Empty fields do not.
type Filter struct {
	State   State
	Message string
	Before  int64 // a delivery's number
	Limit   int
}

// Deliveries lists deliveries, the newest first.
func Deliveries(ctx context.Context, q postgres.Querier, f Filter) ([]Delivery, error) {
	where, args := "", []any{f.Before, f.Limit}
	if f.State != "" {
		args = append(args, f.State)
		where = " AND d.state = $3"
	}
	if f.Message != "" {
		args = append(args, f.Message)
		where += fmt.Sprintf(" AND d.notification_id = $%d", len(args))
	}
	return postgres.Many[Delivery](ctx, q, `SELECT`+deliveryColumns+`
		WHERE ($1 = 0 OR d.number < $1)`+where+`
		ORDER BY d.number DESC
		LIMIT $2`, args...)
}

// Find is the delivery with the id.
func Find(ctx context.Context, q postgres.Querier, delivery string) (Delivery, error) {
	d, err := postgres.One[Delivery](ctx, q, `SELECT`+deliveryColumns+` WHERE d.id = $1`, delivery)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	return d, err
}

// Replay sends a delivery again, or at once if it waits: under the same key, so that a receiver that has had it can tell.
func (s *Sender) Replay(ctx context.Context, tx *audit.Tx, delivery string) (Delivery, error) {
	if err := policy.Require(tx.Actor, policy.NotificationManage, "", ""); err != nil {
		return Delivery{}, err
	}
	tag, err := tx.Exec(ctx, `
		UPDATE notification_deliveries
		SET state = 'WAITING', attempts = 0, due_at = $2, give_up_at = $3, ended_at = NULL
		WHERE id = $1`, delivery, tx.Now, tx.Now.Add(s.Channels.giveUpAfter))
	if err != nil {
		return Delivery{}, err
	}
	if tag.RowsAffected() == 0 {
		return Delivery{}, ErrNotFound
	}
	tx.Record(audit.Event{Action: "notification.replay", ResourceType: "notification", ResourceID: delivery})
	return Find(ctx, tx, delivery)
}

// Test writes a message to whoever asks, over every channel that there is, and returns its id.
func Test(ctx context.Context, tx *audit.Tx) (message string, err error) {
	if err := policy.Require(tx.Actor, policy.NotificationManage, "", ""); err != nil {
		return "", err
	}
	key := KindTest + ":" + id.Unique()
	if err := Enqueue(ctx, tx, Message{Key: key, Kind: KindTest, User: tx.Actor.User}); err != nil {
		return "", err
	}
	err = tx.QueryRow(ctx, `SELECT id FROM notifications WHERE dedupe_key = $1`, key).Scan(&message)
	tx.Record(audit.Event{Action: KindTest, ResourceType: "notification", ResourceID: message})
	return message, err
}

// Backlog is how many messages wait for a channel and since when, and how many are dead.
type Backlog struct {
	Channel string
	Waiting int64
	Oldest  *time.Time
	Dead    int64
}

// Backlogs are the backlogs of all channels that have one. Dead messages count for a week.
func Backlogs(ctx context.Context, q postgres.Querier, now time.Time) ([]Backlog, error) {
	return postgres.Many[Backlog](ctx, q, `
		SELECT channel, count(*) FILTER (WHERE state = 'WAITING') AS waiting, min(created_at) FILTER (WHERE state = 'WAITING') AS oldest,
		       count(*) FILTER (WHERE state = 'DEAD') AS dead
		FROM notification_deliveries
		WHERE state = 'WAITING' OR state = 'DEAD' AND ended_at > $1
		GROUP BY channel
		ORDER BY channel`, now.AddDate(0, 0, -7))
}
