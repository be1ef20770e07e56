package audit

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/audit/verify"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/postgres"
)

// Refusals of erasing a person.
var (
	ErrNothingKnown = fault.New(fault.NotFound, "AUDIT_SUBJECT_UNKNOWN", "the audit log knows nothing of that person, or has forgotten it already",
		fault.Suggest("give the id or user name as entries have it; see `forge audit list --user`"))
	ErrEraseReason = fault.New(fault.Invalid, "AUDIT_ERASE_REASON", "the reason of an erasure stays for ever: it must not name the person",
		fault.Suggest("give the legal basis and the number of the request, such as \"GDPR art. 17, request 4711\""))
)

// Erased is what an erasure took.
type Erased struct {
	Subject string
	// Entries is how many entries no longer show whom they were about.
	Entries int64
	// Through is the last generation of the person's keys that is gone.
	Through int
	At      time.Time
}

// EraseSubject erases what the log knows of a person, and records that it did and why. Keys are destroyed, what stands in
// clear beside entries is taken; entries, hashes and proofs stay as they are. What the person does afterwards is known
// under a new key. names are what the reason must not contain.
func (l *Log) EraseSubject(ctx context.Context, tx *Tx, subject, reason string, names ...string) (Erased, error) {
	out := Erased{Subject: subject, At: tx.Now}
	for _, name := range append(names, subject) {
		if utf8.RuneCountInString(name) > 1 && strings.Contains(strings.ToLower(reason), strings.ToLower(name)) || strings.Contains(reason, "@") {
			return out, ErrEraseReason
		}
	}
	// Somebody who was busy for years has many entries.
	if _, err := tx.Exec(ctx, `SET LOCAL statement_timeout = '5min'`); err != nil {
		return out, err
	}
	var through *int
	if err := tx.QueryRow(ctx, `SELECT entries, through FROM audit_erase_subject($1, $2)`, subject, tx.Now).Scan(&out.Entries, &through); err != nil {
		return out, err
	}
	if through == nil {
		return out, ErrNothingKnown
	}
	out.Through = *through
	tx.Record(Event{Action: EraseAction, ResourceType: "person", ResourceID: subject, Details: map[string]any{
		"entries": out.Entries, "through": out.Through, "reason": reason,
	}})
	tx.AfterCommit(func() { l.subjects.forget(subject) })
	return out, nil
}

// lateFor is how long after an erasure entries may still come that were sealed under the erased key: other processes
// remember it for subjectCacheTime, and a transaction takes its time.
const lateFor = time.Hour

// EraseLate finishes erasures: it takes what was written in clear while they ran. It returns how many entries that were.
func (l *Log) EraseLate(ctx context.Context) (int, error) {
	var n int
	err := l.pool.QueryRow(ctx, `
		SELECT coalesce(sum(audit_erase_clear(s.subject_id)), 0)
		FROM (SELECT DISTINCT subject_id FROM audit_subject_keys WHERE erased_at > $1) s`, l.now().Add(-lateFor)).Scan(&n)
	return n, err
}

// forget drops a key that is remembered.
func (s *subjectKeys) forget(subject string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, subject)
}

// recordedErasure is what the log has of a person's erasures.
type recordedErasure struct {
	through int64
	at      time.Time // of the last
}

// erasureOf is what the log has of a person's erasures; through is 0 when there is none.
func (p *prover) erasureOf(subject string) (recordedErasure, error) {
	if e, ok := p.erasures[subject]; ok {
		return e, nil
	}
	var out recordedErasure
	const from = `SELECT leaf FROM %s WHERE action_type = $1 AND resource_id = $2 AND result = 'success'`
	selects := []string{fmt.Sprintf(from, "audit_logs")}
	for month, there := range p.archives.table {
		if there {
			selects = append(selects, fmt.Sprintf(from, "audit_parts."+partOf("audit_logs", month)))
		}
	}
	rows, err := postgres.Many[struct{ Leaf []byte }](p.ctx, p.Pool, strings.Join(selects, ` UNION ALL `), EraseAction, subject)
	if err != nil {
		return out, err
	}
	for _, r := range rows {
		if e, err := leaf.Decode(r.Leaf); err == nil {
			out.add(&e)
		}
	}
	if len(p.erasures) >= subjectCount {
		clear(p.erasures)
	}
	p.erasures[subject] = out
	return out, nil
}

func (r *recordedErasure) add(e *leaf.Entry) {
	if through, ok := e.Details["through"].(int64); ok && through >= r.through {
		r.through, r.at = through, e.Time
	}
}

// erasedRow looks at an entry whose person's key is gone.
func (p *prover) erasedRow(index int64, row *provedRow, e *leaf.Entry) error {
	rec, err := p.erasureOf(*row.SubjectID)
	switch {
	case err != nil:
		return err
	case rec.through < int64(*row.KeyGeneration):
		p.Fail(verify.Erasures, index, e.ID, "what was known of %s is gone, and no erasure was recorded", *row.SubjectID)
	case (row.SourceIP != nil || row.UserAgent != nil) && p.Clock().Sub(rec.at) > lateFor:
		p.Fail(verify.Erasures, index, e.ID, "%s was erased, and its address or program stands beside the entry still", *row.SubjectID)
	}
	return nil
}

// erasure looks whether a recorded erasure was made: of somebody who was known, and to the end.
func (p *prover) erasure(index int64, e *leaf.Entry) error {
	through, _ := e.Details["through"].(int64)
	var known, kept int64
	err := p.Pool.QueryRow(p.ctx, `
		SELECT count(*), count(*) FILTER (WHERE erased_at IS NULL OR wrapped_key <> '')
		FROM audit_subject_keys
		WHERE subject_id = $1 AND generation <= $2`, e.Resource.ID, through).Scan(&known, &kept)
	switch {
	case err != nil:
		return err
	case known == 0 || known != through:
		p.Fail(verify.Erasures, index, e.ID, "it records that %s was erased, of whom the log never knew that", e.Resource.ID)
	case kept > 0:
		p.Fail(verify.Erasures, index, e.ID, "it records that %s was erased, and a key is there still", e.Resource.ID)
	}
	return nil
}
