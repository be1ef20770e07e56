package audit

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/clock"
)

// subjectKey is the key that seals what the log knows of one person. Destroying it erases the person from every entry,
// backups included, and leaves the entries as they are.
type subjectKey struct {
	id         string
	generation int
	key        []byte
}

const (
	subjectCacheTime = 5 * time.Minute
	subjectCacheSize = 10_000
)

type subjectKeys struct {
	pool *pgxpool.Pool
	kek  [32]byte
	now  clock.Clock

	mu    sync.Mutex
	known map[string]cachedKey
}

type cachedKey struct {
	subjectKey
	until time.Time
}

func newSubjectKeys(pool *pgxpool.Pool, kek [32]byte, now clock.Clock) *subjectKeys {
	return &subjectKeys{pool: pool, kek: kek, now: now, known: map[string]cachedKey{}}
}

// subjectOf is the key for the actor's personal data; the zero key where there is none to seal.
func (l *Log) subjectOf(ctx context.Context, who actor.Actor) (subjectKey, error) {
	if who.Email == "" && who.SourceIP == "" && who.UserAgent == "" {
		return subjectKey{}, nil
	}
	return l.subjects.of(ctx, who.ID())
}

// of finds or makes the subject's newest key. It runs before the change's transaction, so that two first-time actors
// never wait for each other inside one.
func (s *subjectKeys) of(ctx context.Context, subject string) (subjectKey, error) {
	now := s.now()
	s.mu.Lock()
	c, ok := s.known[subject]
	s.mu.Unlock()
	if ok && now.Before(c.until) {
		return c.subjectKey, nil
	}
	for {
		k, err := s.load(ctx, subject)
		if err == nil {
			s.mu.Lock()
			if len(s.known) >= subjectCacheSize {
				clear(s.known)
			}
			s.known[subject] = cachedKey{k, now.Add(subjectCacheTime)}
			s.mu.Unlock()
			return k, nil
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return subjectKey{}, err
		}
		if err := s.create(ctx, subject, now); err != nil {
			return subjectKey{}, err
		}
	}
}

func (s *subjectKeys) load(ctx context.Context, subject string) (subjectKey, error) {
	k := subjectKey{id: subject}
	var wrapped []byte
	err := s.pool.QueryRow(ctx, `
		SELECT generation, wrapped_key
		FROM audit_subject_keys
		WHERE subject_id = $1 AND erased_at IS NULL
		ORDER BY generation DESC
		LIMIT 1`, subject).Scan(&k.generation, &wrapped)
	if err != nil {
		return k, err
	}
	if k.key, err = open(s.kek[:], wrapped, []byte(subject)); err != nil {
		return k, fmt.Errorf("audit: the personal-data key of %s does not open; is this the keys directory of this database? %w", subject, err)
	}
	return k, nil
}

func (s *subjectKeys) create(ctx context.Context, subject string, now time.Time) error {
	var dek [32]byte
	if _, err := rand.Read(dek[:]); err != nil {
		return err
	}
	wrapped, err := encrypt(s.kek[:], dek[:], []byte(subject))
	if err != nil {
		return err
	}
	_, err = s.pool.Exec(ctx, `
		INSERT INTO audit_subject_keys (subject_id, generation, wrapped_key, created_at)
		SELECT $1, coalesce(max(generation), 0) + 1, $2, $3
		FROM audit_subject_keys
		WHERE subject_id = $1
		HAVING count(*) FILTER (WHERE erased_at IS NULL) = 0
		ON CONFLICT DO NOTHING`, subject, wrapped, now)
	return err
}

// seal makes the commitments to the actor's personal data and the sealed openings of them, bound to the entry.
func seal(k subjectKey, entry uuid.UUID, who actor.Actor) ([]byte, map[string]leaf.Commitment, error) {
	if k.id == "" {
		return nil, nil, nil
	}
	openings, commitments := map[string]verify.Opening{}, map[string]leaf.Commitment{}
	for field, value := range map[string]string{"email": who.Email, "source_ip": who.SourceIP, "user_agent": who.UserAgent} {
		if value == "" {
			continue
		}
		salt := make([]byte, 16)
		if _, err := rand.Read(salt); err != nil {
			return nil, nil, err
		}
		value = column(value)
		openings[field] = verify.Opening{Salt: salt, Value: value}
		commitments[field] = leaf.Commit(salt, field, value)
	}
	plain, err := json.Marshal(openings)
	if err != nil {
		return nil, nil, err
	}
	sealed, err := encrypt(k.key, plain, entry[:])
	return sealed, commitments, err
}

func encrypt(key, plain, bound []byte) ([]byte, error) {
	aead, err := gcm(key)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return aead.Seal(nonce, nonce, plain, bound), nil
}

func open(key, sealed, bound []byte) ([]byte, error) {
	aead, err := gcm(key)
	if err != nil {
		return nil, err
	}
	if len(sealed) < aead.NonceSize() {
		return nil, errors.New("sealed text is too short")
	}
	return aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], bound)
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// column is s as PostgreSQL's text can keep it: valid UTF-8, no NUL, at most 1,000 bytes.
func column(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	const most = 1000
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut]
}
