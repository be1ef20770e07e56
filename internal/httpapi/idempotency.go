package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"regexp"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
)

// Once makes a POST safe to repeat.
type Once struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" doc:"Repeating the request with the same key within 24 hours gives the same answer and changes nothing more"`
}

var keyRule = regexp.MustCompile(`^[\x21-\x7e]{1,255}$`)

// Answer is a response's body with the headers that go with it.
type Answer[T any] struct {
	ETag     string `header:"ETag"`
	Replayed string `header:"Idempotency-Replayed" doc:"true when this is the answer of an earlier request"`
	Body     T
}

// once runs a change and keeps its answer under the request's key, in the change's own transaction. A repeated request
// gets the kept answer; only successes are kept. kept is what of the answer may be kept: never a secret.
func once[T any](ctx context.Context, s *Server, key Once, in audit.Intent, request any, kept func(T) T,
	fn func(*audit.Tx) (T, string, error),
) (*Answer[T], error) {
	out := &Answer[T]{}
	if key.IdempotencyKey == "" {
		err := s.audit.Change(ctx, in, func(tx *audit.Tx) (err error) {
			out.Body, out.ETag, err = fn(tx)
			return err
		})
		return out, err
	}
	if !keyRule.MatchString(key.IdempotencyKey) {
		return nil, errKey
	}
	asked, err := json.Marshal([]any{in, request})
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(asked)
	who := actor.From(ctx)
	err = s.audit.Change(ctx, in, func(tx *audit.Tx) error {
		*out = Answer[T]{}
		// A second request with the key waits here for the first, and then finds its answer or, if it failed, goes on.
		tag, err := tx.Exec(ctx, `
			INSERT INTO idempotency_keys (actor_id, key, request_hash, created_at)
			VALUES ($1, $2, $3, $4)
			ON CONFLICT (actor_id, key) DO NOTHING`, who.ID(), key.IdempotencyKey, digest[:], tx.Now)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return replay(ctx, tx, who, key, digest, out)
		}
		if out.Body, out.ETag, err = fn(tx); err != nil {
			return err
		}
		body, err := json.Marshal(kept(out.Body))
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			UPDATE idempotency_keys
			SET response = $3, etag = $4
			WHERE actor_id = $1 AND key = $2`, who.ID(), key.IdempotencyKey, body, out.ETag)
		return err
	})
	if errors.Is(err, audit.ErrNothing) {
		err = nil
	}
	return out, err
}

func replay[T any](ctx context.Context, tx *audit.Tx, who actor.Actor, key Once, digest [32]byte, out *Answer[T]) error {
	var hash, body []byte
	err := tx.QueryRow(ctx, `SELECT request_hash, response, etag FROM idempotency_keys WHERE actor_id = $1 AND key = $2`,
		who.ID(), key.IdempotencyKey).Scan(&hash, &body, &out.ETag)
	if errors.Is(err, pgx.ErrNoRows) { // swept this very moment
		return audit.ErrBusy
	}
	if err != nil {
		return err
	}
	if string(hash) != string(digest[:]) {
		return errKeyReused
	}
	if err := json.Unmarshal(body, &out.Body); err != nil {
		return err
	}
	out.Replayed = "true"
	return audit.ErrNothing
}

// all keeps an answer whole.
func all[T any](v T) T { return v }
