package audit

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/audit/leaf"
	"github.com/robco-forge/forge/internal/postgres"
)

// Entry is one record as a reader sees it. Details come from the leaf, which is the evidence.
type Entry struct {
	Timestamp    time.Time
	ID           uuid.UUID
	UserID       string
	ActorType    string
	ActionType   string
	ResourceType string
	ResourceID   string
	Result       string
	Code         string
	Interface    string
	RequestID    string
	SourceIP     *string
	UserAgent    *string
	Leaf         []byte
	Details      map[string]any `db:"-"`
	Role         string         `db:"-"`
	Writer       string         `db:"-"`
	// Erased says that the person was erased: where they came from is known no more.
	Erased bool `db:"-"`
}

// Filter narrows a search; empty fields do not.
type Filter struct {
	UserID       string
	ActionType   string
	ResourceType string
	ResourceID   string
	Result       string
	Interface    string
	// Address is the network that it came from; the zero one is any.
	Address  netip.Prefix
	From, To time.Time
	// Before continues behind the last entry of the page before.
	Before   time.Time
	BeforeID uuid.UUID
	Limit    int
}

// Search returns entries, newest first, in a stable order.
func Search(ctx context.Context, q postgres.Querier, f Filter) ([]Entry, error) {
	var where []string
	var args []any
	add := func(cond string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			cond = strings.Replace(cond, "?", fmt.Sprintf("$%d", len(args)), 1)
		}
		where = append(where, cond)
	}
	for _, is := range []struct{ column, value string }{
		{"user_id", f.UserID},
		{"action_type", f.ActionType},
		{"resource_type", f.ResourceType},
		{"resource_id", f.ResourceID},
		{"result", f.Result},
		{"interface", f.Interface},
	} {
		if is.value != "" {
			add(is.column+" = ?", is.value)
		}
	}
	if f.ActionType == "" {
		add("action_type <> ?", HeartbeatAction) // there are many, and they tell only that nothing is missing
	}
	if f.Result != "" && f.Result != string(leaf.Success) {
		add("result <> 'success'") // what the index of refusals and failures asks for
	}
	if f.Interface != "" && !slices.Contains(usual, f.Interface) {
		add("interface NOT IN ('api', 'cli', 'worker')") // what the index of unusual ones asks for
	}
	if f.Address.IsValid() {
		if f.Address.IsSingleIP() {
			add("source_ip = ?", f.Address.Addr())
		} else { // inet's own order has all of a network between its first address and its last
			add("source_ip >= ? AND source_ip <= ?", f.Address.Masked().Addr(), lastOf(f.Address))
		}
	}
	if !f.From.IsZero() {
		add("timestamp >= ?", f.From)
	}
	if !f.To.IsZero() {
		add("timestamp < ?", f.To)
	}
	if !f.Before.IsZero() {
		add("(timestamp, id) < (?, ?)", f.Before, f.BeforeID)
	}
	sql := `
		SELECT timestamp, id, user_id, actor_type, action_type, resource_type, resource_id, result, code,
		       interface, request_id, host(source_ip) AS source_ip, user_agent, leaf
		FROM audit_logs`
	if len(where) > 0 {
		sql += "\nWHERE " + strings.Join(where, " AND ")
	}
	args = append(args, f.Limit)
	sql += fmt.Sprintf("\nORDER BY timestamp DESC, id DESC\nLIMIT $%d", len(args))
	// How common a value is decides the plan: a rare kind of resource is found by its name, a common one by going back in
	// time. So the plan is made for these values at each search, not once for all.
	entries, err := postgres.Many[Entry](ctx, q, sql, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
	if err != nil {
		return nil, err
	}
	for i := range entries {
		if err := entries[i].decode(); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// usual are the interfaces that most entries come from: going back in time finds them soon.
var usual = []string{"api", "cli", "worker"}

// lastOf is the last address of a network.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// decode fills what only the leaf says.
func (e *Entry) decode() error {
	decoded, err := leaf.Decode(e.Leaf)
	if err != nil {
		return fmt.Errorf("audit: entry %s does not decode: %w", e.ID, err)
	}
	e.Details, e.Role, e.Writer = decoded.Details, decoded.Actor.Role, decoded.Writer.ID
	_, address := decoded.PII["source_ip"]
	_, program := decoded.PII["user_agent"]
	e.Erased = (address || program) && e.SourceIP == nil && e.UserAgent == nil
	if t := decoded.Truncated; t != nil {
		e.Details = map[string]any{"truncated": map[string]any{"len": t.Len, "sha256": hex.EncodeToString(t.SHA256[:])}}
	}
	return nil
}

// Unsearched are the months like "2026-01" whose entries a search of the period does not see, because they were archived and
// have left the tables.
func Unsearched(ctx context.Context, q postgres.Querier, from, to time.Time) ([]string, error) {
	rows, err := q.Query(ctx, `
		SELECT to_char(month, 'YYYY-MM')
		FROM audit_archives
		WHERE state IN ($1, $2) AND ($3::timestamptz IS NULL OR month + interval '1 month' > $3) AND ($4::timestamptz IS NULL OR month < $4)
		ORDER BY month`, string(MonthDetached), string(MonthDropped), given(from), given(to))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func given(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}
