package people

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash/crc32"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
)

// Sign-in says no in the same words whatever was wrong with the token, but for an access that has ended on its date.
var (
	ErrUnauthenticated = fault.New(fault.Unauthenticated, "UNAUTHENTICATED", "no valid token was given",
		fault.Suggest("sign in with `forge login --token`, or send the header Authorization: Bearer forge_…"))
	ErrTokenNotFound = fault.New(fault.NotFound, "TOKEN_NOT_FOUND", "there is no such token, or it is not yours")
	ErrTokenTooLong  = fault.New(fault.Invalid, "TOKEN_LIFETIME_INVALID", "a token lives between one hour and one year",
		fault.Suggest("ask for a lifetime within that, within your own access"))
)

const (
	tokenPrefix      = "forge_"
	shortestTokenAge = time.Hour
	longestTokenAge  = 366 * 24 * time.Hour
	// lastUsedGrain is how exact last_used_at is: a row is not rewritten at every request.
	lastUsedGrain = time.Minute
)

// Token is a credential without its secret.
type Token struct {
	ID         id.Token
	UserID     id.User
	Name       string
	CreatedAt  time.Time
	ExpiresAt  time.Time
	LastUsedAt *time.Time
	RevokedAt  *time.Time
}

const tokenColumns = ` id, user_id, name, created_at, expires_at, last_used_at, revoked_at`

// CreateToken makes a token for the user and returns its secret, which is shown once and kept only as a hash. A
// contractor's token ends with the contractor's access.
func CreateToken(ctx context.Context, tx *audit.Tx, user User, name string, lifetime time.Duration) (Token, string, error) {
	if lifetime < shortestTokenAge || lifetime > longestTokenAge {
		return Token{}, "", ErrTokenTooLong
	}
	if user.DeactivatedAt != nil {
		return Token{}, "", ErrDeactivated.Sayf("%s is deactivated", user.UserName)
	}
	expires := tx.Now.Add(lifetime)
	if end := user.CredentialExpiresAt; end != nil && end.Before(expires) {
		expires = *end
	}
	secret, err := newSecret()
	if err != nil {
		return Token{}, "", err
	}
	t := Token{ID: id.New[id.Token](), UserID: user.ID, Name: name, CreatedAt: tx.Now, ExpiresAt: expires}
	_, err = tx.Exec(ctx, `
		INSERT INTO tokens (id, user_id, name, hash, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6)`, t.ID, t.UserID, t.Name, hash(secret), t.CreatedAt, t.ExpiresAt)
	if err != nil {
		return Token{}, "", err
	}
	tx.Record(audit.Event{Action: "token.create", ResourceType: "token", ResourceID: string(t.ID), Details: map[string]any{
		"user_id": string(user.ID), "expires_at": expires.Format(time.RFC3339),
	}})
	return t, secret, nil
}

// newSecret is 240 random bits behind a prefix that scanners know, with a checksum that tells a typing error from a
// token that is not ours without asking the database.
func newSecret() (string, error) {
	var raw [30]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", err
	}
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(append(raw[:], checksum(raw[:])...)), nil
}

func checksum(raw []byte) []byte {
	c := crc32.ChecksumIEEE(raw)
	return []byte{byte(c >> 16), byte(c >> 8), byte(c)}
}

func hash(secret string) []byte {
	h := sha256.Sum256([]byte(secret))
	return h[:]
}

func wellFormed(secret string) bool {
	text, ok := strings.CutPrefix(secret, tokenPrefix)
	if !ok || len(text) != 44 {
		return false
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	return err == nil && string(raw[30:]) == string(checksum(raw[:30]))
}

// SignIn is the one way from a token to an actor: the person as the database knows them now. It returns
// ErrUnauthenticated for a token that is unknown, expired or revoked, or whose person is deactivated or past their end.
func SignIn(ctx context.Context, db postgres.Executor, secret string, now time.Time) (actor.Actor, error) {
	if !wellFormed(secret) {
		return actor.Actor{}, ErrUnauthenticated
	}
	a := actor.Actor{Type: actor.TypeUser}
	var lastUsed *time.Time
	err := db.QueryRow(ctx, `
		SELECT k.id, k.last_used_at, u.id, u.user_name, u.email, u.role, u.team_id
		FROM tokens k JOIN users u ON u.id = k.user_id
		WHERE k.hash = $1 AND k.revoked_at IS NULL AND k.expires_at > $2
		  AND u.deactivated_at IS NULL AND (u.credential_expires_at IS NULL OR u.credential_expires_at > $2)`,
		hash(secret), now).Scan(&a.TokenID, &lastUsed, &a.User, &a.Name, &a.Email, &a.Role, &a.Team)
	if errors.Is(err, pgx.ErrNoRows) {
		return actor.Actor{}, ErrUnauthenticated
	}
	if err != nil {
		return actor.Actor{}, err
	}
	if lastUsed == nil || now.Sub(*lastUsed) >= lastUsedGrain {
		_, err = db.Exec(ctx, `
			UPDATE tokens
			SET last_used_at = $2
			WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $3)`, a.TokenID, now, now.Add(-lastUsedGrain))
	}
	return a, err
}

// Tokens lists a user's tokens by id, those that have ended included.
func Tokens(ctx context.Context, q postgres.Querier, user id.User, p Page) ([]Token, error) {
	return postgres.Many[Token](ctx, q, `
		SELECT`+tokenColumns+`
		FROM tokens
		WHERE user_id = $1 AND id > $2
		ORDER BY id
		LIMIT $3`, user, p.After, p.Limit)
}

// FindToken is the token with the id.
func FindToken(ctx context.Context, q postgres.Querier, token string) (Token, error) {
	t, err := postgres.One[Token](ctx, q, `SELECT`+tokenColumns+` FROM tokens WHERE id = $1`, token)
	if errors.Is(err, pgx.ErrNoRows) {
		return t, ErrTokenNotFound
	}
	return t, err
}

// RevokeToken ends a token now. Revoking twice is no error.
func RevokeToken(ctx context.Context, tx *audit.Tx, t Token) error {
	_, err := tx.Exec(ctx, `UPDATE tokens SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1`, t.ID, tx.Now)
	if err != nil {
		return err
	}
	tx.Record(audit.Event{Action: "token.revoke", ResourceType: "token", ResourceID: string(t.ID), Details: map[string]any{
		"user_id": string(t.UserID),
	}})
	return nil
}
