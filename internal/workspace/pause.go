package workspace

import (
	"context"
	"slices"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/fault"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres"
)

// What can be paused besides a single policy.
const (
	AllStops        = "stops"
	AllTerminations = "terminations"
)

// ErrPolicy says that there is no such policy.
var ErrPolicy = fault.New(fault.Invalid, "POLICY_UNKNOWN", "there is no such policy", fault.Suggest("`forge policy list` shows them"))

// ErrReason asks for the reason of a pause.
var ErrReason = fault.New(fault.Invalid, "REASON_REQUIRED", "a pause has a reason, so that the next person knows", fault.Suggest("say why in up to 200 characters"))

// Pause says that something does not happen by itself until an admin lets it.
type Pause struct {
	Target   string // a policy, "stops" or "terminations"
	Reason   string
	PausedBy string
	PausedAt time.Time
	Until    *time.Time // nil: until it is resumed
}

// Pauses are those in force.
type Pauses []Pause

// ReadPauses reads those in force.
func ReadPauses(ctx context.Context, q postgres.Querier, now time.Time) (Pauses, error) {
	return postgres.Many[Pause](ctx, q, `
		SELECT target, reason, paused_by, paused_at, until
		FROM policy_pauses
		WHERE until IS NULL OR until > $1
		ORDER BY target`, now)
}

// why is the reason for which a policy's deed is paused; empty when it is not. What tells of an end is paused with it.
func (p Pauses) why(of Policy, do deed, now time.Time) string {
	if do == doRestore || do == "" {
		return ""
	}
	kind := AllStops
	if of == PolicyLifetime || of == PolicyStale {
		kind = AllTerminations
	}
	for _, pause := range p {
		if pause.Until != nil && !now.Before(*pause.Until) {
			continue
		}
		if pause.Target == string(of) || pause.Target == kind && do != doStart {
			return pause.Reason
		}
	}
	return ""
}

func pausable(target string) bool {
	return target == AllStops || target == AllTerminations || slices.Contains(Policies, Policy(target))
}

// PausePolicy keeps a policy, all stops or all terminations from happening by themselves. Amazon's own idle timer is
// Amazon's, and goes on.
func PausePolicy(ctx context.Context, tx *audit.Tx, target, reason string, until *time.Time) error {
	if err := policy.Require(tx.Actor, policy.PolicyManage, "", ""); err != nil {
		return err
	}
	if !pausable(target) {
		return ErrPolicy
	}
	if reason == "" || len(reason) > 200 {
		return ErrReason
	}
	if until != nil && !until.After(tx.Now) {
		return ErrReason.Sayf("a pause ends in the future").Suggestf("leave the end out, or give a later one")
	}
	if _, err := tx.Exec(ctx, `
		INSERT INTO policy_pauses (target, reason, paused_by, paused_at, until)
		VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (target) DO UPDATE
		SET reason = EXCLUDED.reason, paused_by = EXCLUDED.paused_by, paused_at = EXCLUDED.paused_at, until = EXCLUDED.until`,
		target, reason, tx.Actor.ID(), tx.Now, until); err != nil {
		return err
	}
	details := map[string]any{"reason": reason}
	if until != nil {
		details["until"] = until.UTC().Format(time.RFC3339)
	}
	tx.Record(audit.Event{Action: "policy.pause", ResourceType: "policy", ResourceID: target, Details: details})
	return nil
}

// ResumePolicy lets it happen again. What has become due meanwhile is done within pausedFor; of an end the last notice is
// given first. Resuming what is not paused succeeds.
func ResumePolicy(ctx context.Context, tx *audit.Tx, target string) error {
	if err := policy.Require(tx.Actor, policy.PolicyManage, "", ""); err != nil {
		return err
	}
	if !pausable(target) {
		return ErrPolicy
	}
	tag, err := tx.Exec(ctx, `DELETE FROM policy_pauses WHERE target = $1`, target)
	if err != nil {
		return err
	}
	tx.Record(audit.Event{Action: "policy.resume", ResourceType: "policy", ResourceID: target, Details: map[string]any{"was_paused": tag.RowsAffected() == 1}})
	return nil
}

// CanReadPolicies tells whether the actor may see what is paused.
func CanReadPolicies(a actor.Actor) error { return policy.Require(a, policy.PolicyRead, "", "") }
