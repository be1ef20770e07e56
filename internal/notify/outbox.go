package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
)

const (
	planBatch = 100
	// attemptWithin is how long one attempt may take. The lease outlasts it, so that nobody else sends the same meanwhile.
	attemptWithin = 15 * time.Second
	leaseFor      = 20 * time.Second

	firstPause   = 5 * time.Second
	longestPause = 10 * time.Minute

	// GiveUpAfter is how long a message is tried by default.
	GiveUpAfter = 72 * time.Hour
	longestNote = 500
)

// The channels.
const (
	Email   = "email"
	Webhook = "webhook"
	Slack   = "slack"
)

// State is how far a delivery has come.
type State string

// The states of a delivery. A dead one is not tried any more until somebody replays it.
const (
	Waiting State = "WAITING"
	Sent    State = "SENT"
	Dead    State = "DEAD"
)

// Sender brings the messages of the outbox to people. Any number of them may work on one database: each delivery is made
// by one at a time, in order within its target, again and again until it succeeds or its time is over. After a crash
// between sending and marking it is sent again, under the same key.
type Sender struct {
	Pool     *pgxpool.Pool
	Log      *audit.Log
	Clock    clock.Clock
	Slog     *slog.Logger
	Channels *Channels
	// Names are the names of users, teams, projects and WorkSpaces, for texts.
	Names func(ctx context.Context, q postgres.Querier, ids []string) (map[string]string, error)
	// Observe hears of every attempt; nil is nobody.
	Observe func(channel, outcome string)
}

// letter is a message as a channel gets it.
type letter struct {
	key           string // the same for every attempt
	kind          string
	at            time.Time
	user          id.User
	team          id.Team
	address       string // of an e-mail
	url           string // of Slack
	subject, text string
	payload       json.RawMessage
}

// refusal is an answer that trying again does not change.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// Round writes down the deliveries of new messages, and attempts one that is due. It returns 0 when there was nothing.
func (s *Sender) Round(ctx context.Context) (int, error) {
	planned, err := s.plan(ctx)
	if err != nil {
		return 0, err
	}
	d, err := s.claim(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		return planned, nil
	}
	if err != nil {
		return planned, err
	}
	return planned + 1, s.attempt(ctx, d)
}

type message struct {
	ID       string
	EventKey string
	UserID   *id.User
	TeamID   *id.Team
	TeamName *string
}

// plan writes a delivery for each channel and target of the messages that have none yet. One replica does at a time, so that
// what was written into the outbox first is sent first.
func (s *Sender) plan(ctx context.Context) (planned int, err error) {
	err = postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		planned = 0
		var mine bool
		if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock(hashtextextended('forge notifications', 0))`).Scan(&mine); err != nil || !mine {
			return err
		}
		found, err := postgres.Many[message](ctx, tx, `
			SELECT n.id, coalesce(n.event_key, n.dedupe_key) AS event_key, n.user_id, n.team_id, t.name AS team_name
			FROM (SELECT * FROM notifications WHERE sent_at IS NULL ORDER BY created_at LIMIT $1) n LEFT JOIN teams t ON t.id = n.team_id
			ORDER BY n.created_at, n.id`, planBatch)
		if err != nil || len(found) == 0 {
			return err
		}
		now := s.Clock()
		for _, m := range found {
			to, err := s.targets(ctx, tx, m)
			if err != nil {
				return err
			}
			for _, t := range to {
				if _, err := tx.Exec(ctx, `
					INSERT INTO notification_deliveries (id, notification_id, event_key, channel, target, due_at, give_up_at, created_at)
					VALUES ($1, $2, $3, $4, $5, $6, $7, $6)
					ON CONFLICT (event_key, channel, target) DO NOTHING`,
					"dlv_"+id.Unique(), m.ID, m.EventKey, t.channel, t.name, now, now.Add(s.Channels.giveUpAfter)); err != nil {
					return err
				}
			}
			if _, err := tx.Exec(ctx, `UPDATE notifications SET sent_at = $2 WHERE id = $1`, m.ID, now); err != nil {
				return err
			}
		}
		planned = len(found)
		return nil
	})
	return planned, err
}

type target struct{ channel, name string }

// targets are whom a message is for: the person, or the leads of the team, by e-mail; whoever listens for the organisation;
// and who listens for the team.
func (s *Sender) targets(ctx context.Context, q postgres.Querier, m message) ([]target, error) {
	var to []target
	if s.Channels.email != nil {
		people, err := postgres.Many[struct{ ID string }](ctx, q, `
			SELECT id
			FROM users
			WHERE deactivated_at IS NULL AND (id = $1 OR team_id = $2 AND role = 'team_lead')
			ORDER BY id`, m.UserID, m.TeamID)
		if err != nil {
			return nil, err
		}
		for _, p := range people {
			to = append(to, target{Email, p.ID})
		}
	}
	if s.Channels.webhook != nil {
		to = append(to, target{Webhook, ""})
	}
	if s.Channels.slackURL != "" {
		to = append(to, target{Slack, ""})
	}
	if m.TeamID != nil && m.TeamName != nil && s.Channels.teamSlack[*m.TeamName] != "" {
		to = append(to, target{Slack, string(*m.TeamID)})
	}
	return to, nil
}

// delivery is one that this process has leased.
type delivery struct {
	ID             string
	NotificationID string
	Channel        string
	Target         string
	Attempts       int
	GiveUpAt       time.Time
	LeaseToken     string
}

// claim leases the delivery that has been due for the longest among the first of each target; pgx.ErrNoRows if none is. While
// one is on its way, or waits to be tried again, those behind it to the same target wait, too.
func (s *Sender) claim(ctx context.Context) (delivery, error) {
	now := s.Clock()
	return postgres.One[delivery](ctx, s.Pool, `
		UPDATE notification_deliveries
		SET lease_until = $1::timestamptz + $2::interval, lease_token = $3
		WHERE id = (
		  SELECT d.id
		  FROM notification_deliveries d
		  WHERE d.state = 'WAITING' AND d.due_at <= $1 AND (d.lease_until IS NULL OR d.lease_until <= $1) AND d.channel = ANY($4)
		    AND NOT EXISTS (
		      SELECT
		      FROM notification_deliveries e
		      WHERE e.state = 'WAITING' AND e.channel = d.channel AND e.target = d.target AND e.number < d.number)
		  ORDER BY d.due_at, d.number
		  LIMIT 1
		  FOR UPDATE SKIP LOCKED)
		RETURNING id, notification_id, channel, target, attempts, give_up_at, lease_token`,
		now, leaseFor, id.Unique(), s.Channels.configured())
}

// attempt sends a delivery and writes down how that went.
func (s *Sender) attempt(ctx context.Context, d delivery) error {
	err := s.send(ctx, d)
	now := s.Clock()
	outcome := "sent"
	var no refusal
	switch {
	case err == nil:
		err = s.mark(ctx, s.Pool, d, Sent, now, now, "")
	case errors.As(err, &no) || !now.Before(d.GiveUpAt):
		outcome = "dead"
		err = s.bury(ctx, d, now, note(err))
	default:
		outcome = "failed"
		s.Slog.WarnContext(ctx, "a message could not be sent", "delivery", d.ID, "channel", d.Channel, "attempts", d.Attempts+1, "error", note(err))
		err = s.mark(ctx, s.Pool, d, Waiting, now, later(now, d, err), note(err))
	}
	if s.Observe != nil {
		s.Observe(d.Channel, outcome)
	}
	if errors.Is(err, errLost) {
		return nil
	}
	return err
}

// errLost says that the lease was lost: how the delivery goes on is its new holder's to say.
var errLost = errors.New("the lease of the delivery was lost")

// mark writes down how an attempt ended, if the lease is still held.
func (s *Sender) mark(ctx context.Context, q postgres.Querier, d delivery, to State, now, due time.Time, why string) error {
	var ended *time.Time
	if to != Waiting {
		ended = &now
	}
	var marked string
	err := q.QueryRow(ctx, `
		UPDATE notification_deliveries
		SET state = $3, attempts = attempts + 1, due_at = $4, ended_at = $5, last_error = $6, lease_until = NULL, lease_token = NULL
		WHERE id = $1 AND lease_token = $2
		RETURNING id`, d.ID, d.LeaseToken, to, due, ended, why).Scan(&marked)
	if errors.Is(err, pgx.ErrNoRows) {
		return errLost
	}
	return err
}

// bury ends a delivery that is not tried any more, on record.
func (s *Sender) bury(ctx context.Context, d delivery, now time.Time, why string) error {
	s.Slog.ErrorContext(ctx, "a message is not tried any more; forge notifications replay sends it again", "delivery", d.ID, "channel", d.Channel, "attempts", d.Attempts+1, "error", why)
	return s.Log.Change(ctx, audit.Intent{Action: "notification.dead", ResourceType: "notification", ResourceID: d.ID}, func(tx *audit.Tx) error {
		tx.Record(audit.Event{Action: "notification.dead", ResourceType: "notification", ResourceID: d.ID, Details: map[string]any{
			"message": d.NotificationID, "channel": d.Channel, "attempts": d.Attempts + 1,
		}})
		return s.mark(ctx, tx, d, Dead, now, now, why)
	})
}

// later is when a failed delivery is tried again: twice as long after each failure, up to ten minutes, a random part of that
// so that many do not come at once; not before the receiver said, if that is not later than the longest pause.
func later(now time.Time, d delivery, err error) time.Time {
	pause := min(firstPause<<min(d.Attempts, 10), longestPause)
	pause = pause/2 + rand.N(pause/2) //nolint:gosec // it spreads load, and hides nothing
	var busy busyError
	if errors.As(err, &busy) {
		pause = max(pause, min(busy.wait, longestPause))
	}
	return now.Add(pause).Truncate(time.Microsecond)
}

// note is what is kept of an error: of bounded length, on one line, without addresses, which may be secret.
func note(err error) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(err.Error(), "?")), " ")
	if len(text) > longestNote {
		text = strings.ToValidUTF8(text[:longestNote], "") + "…"
	}
	return strings.ReplaceAll(text, "\x00", "")
}

// send makes one attempt.
func (s *Sender) send(ctx context.Context, d delivery) error {
	l, err := s.write(ctx, d)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, attemptWithin)
	defer cancel()
	switch d.Channel {
	case Email:
		return s.Channels.email.send(ctx, l)
	case Webhook:
		return s.Channels.webhook.send(ctx, l)
	case Slack:
		return s.Channels.slack(ctx, l)
	}
	return refusal{fmt.Errorf("there is no channel %q", d.Channel)}
}

// write makes the letter of a delivery, as the world is now.
func (s *Sender) write(ctx context.Context, d delivery) (letter, error) {
	m, err := postgres.One[struct {
		Kind      string
		UserID    *id.User
		TeamID    *id.Team
		Payload   []byte
		CreatedAt time.Time
	}](ctx, s.Pool, `SELECT kind, user_id, team_id, payload, created_at FROM notifications WHERE id = $1`, d.NotificationID)
	if err != nil {
		return letter{}, err
	}
	l := letter{key: d.NotificationID, kind: m.Kind, at: m.CreatedAt.UTC(), payload: m.Payload}
	if m.UserID != nil {
		l.user = *m.UserID
	}
	if m.TeamID != nil {
		l.team = *m.TeamID
	}
	switch {
	case d.Channel == Email:
		var gone bool
		if err := s.Pool.QueryRow(ctx, `SELECT email, deactivated_at IS NOT NULL FROM users WHERE id = $1`, d.Target).Scan(&l.address, &gone); err != nil {
			return letter{}, err
		}
		if gone {
			return letter{}, refusal{errors.New("whom it is for is deactivated")}
		}
	case d.Channel == Slack && d.Target != "":
		var team string
		if err := s.Pool.QueryRow(ctx, `SELECT name FROM teams WHERE id = $1`, d.Target).Scan(&team); err != nil {
			return letter{}, err
		}
		if l.url = s.Channels.teamSlack[team]; l.url == "" {
			return letter{}, refusal{errors.New("the team has no Slack channel any more")}
		}
	case d.Channel == Slack:
		l.url = s.Channels.slackURL
	}
	l.subject, l.text, err = s.Text(ctx, m.Kind, m.Payload)
	return l, err
}

// Text is the subject and the body of a message, with the names of what it tells of.
func (s *Sender) Text(ctx context.Context, kind string, payload []byte) (subject, body string, err error) {
	data := map[string]any{}
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.UseNumber()
	if err := decoder.Decode(&data); err != nil {
		return "", "", err
	}
	var ids []string
	for _, key := range []string{"scope_id", "workspace_id", "user_id", "asked_by", "decided_by"} {
		if v, ok := data[key].(string); ok {
			ids = append(ids, v)
		}
	}
	names, err := s.Names(ctx, s.Pool, ids)
	if err != nil {
		return "", "", err
	}
	return render(kind, data, names)
}

// Configured are the channels that messages go over here, for showing.
func (s *Sender) Configured() []string {
	all := s.Channels.configured()
	slices.Sort(all)
	return all
}
