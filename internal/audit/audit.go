// Package audit makes every change one transaction with its record: nothing changes unrecorded, nothing is recorded twice.
package audit

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/clock"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
)

// ErrBusy is what contention looks like from outside, once the retries are used up.
var ErrBusy = fault.New(fault.Unavailable, "TRY_AGAIN", "the database is busy or was just restarted; nothing was changed",
	fault.Suggest("repeat the request in a few seconds"))

// ErrNothing is what a change returns that found nothing to do: it is rolled back, nothing is recorded, and Change returns
// it.
var ErrNothing = errors.New("audit: nothing to change")

// errUnrecorded is a programming error: a change that recorded nothing must not commit.
var errUnrecorded = errors.New("audit: the change recorded no event")

// Log is where changes happen. It is safe for concurrent use.
type Log struct {
	pool     *pgxpool.Pool
	now      clock.Clock
	origin   string
	writer   string
	boot     string
	key      []byte // of this writer in this boot
	public   string // keys, one on a line
	beats    *heartbeats
	subjects *subjectKeys
	log      *slog.Logger
}

// Config is what a Log needs. Origin names the log for ever: it is in every leaf, so that an entry of one installation
// cannot be shown as another's.
type Config struct {
	Pool   *pgxpool.Pool
	Clock  clock.Clock
	Origin string
	Writer string
	Keys   Keys
	Logger *slog.Logger
}

// NewLog makes the log of one process. Each gets a boot epoch of its own, and with it a key of its own.
func NewLog(c Config) (*Log, error) {
	if c.Origin == "" || c.Writer == "" {
		return nil, errors.New("audit: origin and writer must be named")
	}
	var epoch [8]byte
	if _, err := rand.Read(epoch[:]); err != nil {
		return nil, fmt.Errorf("audit: boot epoch: %w", err)
	}
	l := &Log{
		pool: c.Pool, now: c.Clock, origin: c.Origin, writer: c.Writer, log: c.Logger,
		boot: c.Clock().Format("20060102T150405Z-") + hex.EncodeToString(epoch[:]),
	}
	l.key = leaf.WriterKey(c.Keys.Writer[:], l.writer, l.boot)
	public, err := c.Keys.PublicKeys(c.Origin)
	if err != nil {
		return nil, err
	}
	l.public = public
	l.beats = newHeartbeats()
	l.subjects = newSubjectKeys(c.Pool, c.Keys.Personal, c.Clock)
	return l, nil
}

// Intent is what an actor set out to do: the record of it if it is refused.
type Intent struct {
	Action       string
	ResourceType string
	ResourceID   string
}

// Event is one thing that happened. Details must not hold personal data or secrets: they cannot be erased.
type Event struct {
	Action       string
	ResourceType string
	ResourceID   string
	Details      map[string]any
}

// Tx is a change under way: one transaction, one actor, one instant.
type Tx struct {
	pgx.Tx
	// Now is the instant of the whole change.
	Now time.Time
	// Actor is who makes it.
	Actor  actor.Actor
	events []Event
	after  []func()
}

// Record adds an event to the change; it commits with it.
func (tx *Tx) Record(e Event) { tx.events = append(tx.events, e) }

// AfterCommit has fn called once the change is durable. It is for pokes: what must happen is a row.
func (tx *Tx) AfterCommit(fn func()) { tx.after = append(tx.after, fn) }

// Change runs fn as one recorded transaction. If fn returns a fault the transaction is rolled back and the refusal of the
// intent is recorded in a transaction of its own. Contention is retried, so fn must have no effects beyond tx; it must
// record at least one event.
func (l *Log) Change(ctx context.Context, in Intent, fn func(*Tx) error) error {
	who := actor.From(ctx)
	now := l.now()
	subject, err := l.subjectOf(ctx, who)
	if err != nil {
		return Public(err)
	}
	// A refusal is recorded on the same connection: in a rush, a second one is had too late.
	conn, err := l.pool.Acquire(ctx)
	if err != nil {
		return l.refuse(ctx, nil, in, who, err)
	}
	defer conn.Release()
	var done *Tx
	var sent sending
	err = postgres.InTxEnding(ctx, conn, func(raw pgx.Tx) (*pgx.Batch, error) {
		l.beats.end(&sent, errRolledBack)
		tx := &Tx{Tx: raw, Now: now, Actor: who}
		if err := fn(tx); err != nil {
			return nil, err
		}
		if len(tx.events) == 0 {
			return nil, errUnrecorded
		}
		entries := make([]entry, len(tx.events))
		for i, e := range tx.events {
			entries[i] = entry{Event: e, result: leaf.Success}
		}
		done = tx
		return l.rows(now, who, subject, entries, &sent)
	})
	l.beats.end(&sent, err)
	if errors.Is(err, ErrNothing) {
		return ErrNothing
	}
	if err != nil {
		return l.refuse(ctx, conn, in, who, err)
	}
	conn.Release()
	for _, fn := range done.after {
		fn()
	}
	return nil
}

// errDryRun rolls a rehearsed change back.
var errDryRun = errors.New("audit: dry run")

// Rehearse runs fn exactly as Change would and takes everything back, the record included.
func (l *Log) Rehearse(ctx context.Context, fn func(*Tx) error) error {
	err := postgres.InTx(ctx, l.pool, func(raw pgx.Tx) error {
		if err := fn(&Tx{Tx: raw, Now: l.now(), Actor: actor.From(ctx)}); err != nil {
			return err
		}
		return errDryRun
	})
	if errors.Is(err, errDryRun) {
		return nil
	}
	return Public(err)
}

// Note records something that changed nothing: a sensitive read, a sign-in that failed.
func (l *Log) Note(ctx context.Context, e Event) error {
	return Public(l.note(ctx, l.pool, actor.From(ctx), entry{Event: e, result: leaf.Success}))
}

// NoteRefusal records that the intent of the context's actor was refused with err, and returns err.
func (l *Log) NoteRefusal(ctx context.Context, in Intent, err error) error {
	return l.refuse(ctx, nil, in, actor.From(ctx), err)
}

// refuse records the refusal, and gives back the error that the caller sees. The record must not depend on the patience
// of the one who was refused, so it is written even when the request is cancelled; if it cannot be written, that is the
// error. It is written through conn, if there is one and a cancelled request has not closed it.
func (l *Log) refuse(ctx context.Context, conn *pgxpool.Conn, in Intent, who actor.Actor, cause error) error {
	cause = Public(cause)
	f := fault.From(cause)
	if f.Kind == fault.Unavailable || f.Kind == fault.RateLimited {
		return cause
	}
	details, err := plain(f.Details)
	if err != nil {
		return fmt.Errorf("recording a refusal (%w): %w", cause, err)
	}
	e := entry{Event: Event{Action: in.Action, ResourceType: in.ResourceType, ResourceID: in.ResourceID, Details: details}, code: f.Code, result: leaf.Refused}
	if f.Kind == fault.Internal {
		e.result = leaf.Failed
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	var db postgres.Sender = l.pool
	switch {
	case conn == nil:
	case conn.Conn().IsClosed():
		conn.Release()
	default:
		db = conn
	}
	if err := l.note(ctx, db, who, e); err != nil {
		return Public(fmt.Errorf("recording a refusal (%v): %w", cause, err)) //nolint:errorlint // nobody is to take it for a verdict
	}
	return cause
}

// plain makes a fault's details, which may be any JSON, into what a leaf takes: whole numbers, and text for any other.
func plain(details map[string]any) (map[string]any, error) {
	if len(details) == 0 {
		return nil, nil
	}
	raw, err := json.Marshal(details)
	if err != nil {
		return nil, err
	}
	var out map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		return nil, err
	}
	return numbers(out).(map[string]any), nil
}

func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = numbers(e)
		}
	case []any:
		for i, e := range v {
			v[i] = numbers(e)
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		return v.String()
	}
	return v
}

func (l *Log) note(ctx context.Context, db postgres.Sender, who actor.Actor, e entry) error {
	subject, err := l.subjectOf(ctx, who)
	if err != nil {
		return err
	}
	now := l.now()
	var sent sending
	err = postgres.Together(ctx, db, func() (*pgx.Batch, error) {
		l.beats.end(&sent, errRolledBack)
		return l.rows(now, who, subject, []entry{e}, &sent)
	})
	l.beats.end(&sent, err)
	return err
}

// Public turns contention and lost connections into ErrBusy, text that cannot be kept into a refusal, and leaves faults as
// they are.
func Public(err error) error {
	if err == nil {
		return nil
	}
	var f *fault.Fault
	if errors.As(err, &f) {
		return err
	}
	if postgres.IsInvalidText(err) {
		return postgres.ErrText.Because(err)
	}
	if postgres.IsTransient(err) || errors.Is(err, context.DeadlineExceeded) {
		return ErrBusy.Because(err)
	}
	return err
}

type entry struct {
	Event
	result leaf.Result
	code   string
}

// rows are the leaves and their sealed personal data, which are sent together with the commit.
func (l *Log) rows(now time.Time, who actor.Actor, subject subjectKey, entries []entry, sent *sending) (*pgx.Batch, error) {
	batch := &pgx.Batch{}
	for _, e := range entries {
		uid := uuid.UUID(id.UUID())
		personal, commitments, err := seal(subject, uid, who)
		if err != nil {
			return nil, err
		}
		key := pgtype.UUID{Bytes: uid, Valid: true} // which goes as it is, and not as text
		number := l.beats.begin(sent, uid, now)
		bytes, err := leaf.Entry{
			ID: uid.String(), Time: now, Log: l.origin,
			Actor:  leaf.Actor{Type: string(who.Type), ID: who.ID(), Role: string(who.Role)},
			Action: e.Action, Resource: leaf.Resource{Type: e.ResourceType, ID: e.ResourceID},
			Result: e.result, Code: e.code, Interface: who.Interface, RequestID: who.RequestID,
			Details: e.Details, PII: commitments,
			Writer: leaf.Writer{ID: l.writer, Boot: l.boot, Seq: number},
		}.Encode()
		if err != nil {
			return nil, fmt.Errorf("audit: encoding %s: %w", e.Action, err)
		}
		sent.hashed(leaf.Hash(bytes))
		mac := leaf.MAC(l.key, bytes)
		var ip *netip.Addr
		if addr, err := netip.ParseAddr(who.SourceIP); err == nil {
			ip = &addr
		}
		batch.Queue(`
			INSERT INTO audit_logs (timestamp, id, user_id, actor_type, action_type, resource_type, resource_id, result, code,
			                        interface, request_id, source_ip, user_agent, leaf, mac)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
			now, key, column(who.ID()), string(who.Type), e.Action, e.ResourceType, column(e.ResourceID), string(e.result), e.code,
			who.Interface, column(who.RequestID), ip, nullable(column(who.UserAgent)), bytes, mac[:])
		if personal != nil {
			batch.Queue(`
				INSERT INTO audit_personal_data (entry_id, timestamp, subject_id, key_generation, sealed)
				VALUES ($1, $2, $3, $4, $5)`, key, now, subject.id, subject.generation, personal)
		}
	}
	sent.complete = true
	return batch, nil
}

// Origin is the log's name, in every leaf.
func (l *Log) Origin() string { return l.origin }

// PublicKeys are what verifies the log, one on a line, the present one first.
func (l *Log) PublicKeys() string { return l.public }

// Clock is the log's clock: the one of every change.
func (l *Log) Clock() clock.Clock { return l.now }

// Pool is the database that the log writes to, for reading beside a change.
func (l *Log) Pool() *pgxpool.Pool { return l.pool }

func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Microdollars is how an amount is written into details: a decimal integer as text, since leaves have no large numbers.
func Microdollars(n int64) string { return strconv.FormatInt(n, 10) }
