// Package id names things: a short prefix that tells what it is, then a time-ordered unique part.
package id

import (
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// The typed ids. Each is text in the database and on the wire.
type (
	// User is "usr_…".
	User string
	// Team is "team_…".
	Team string
	// Project is "prj_…".
	Project string
	// Token is "tok_…"; the id of a credential, not the secret.
	Token string
	// Blueprint is "bp_…".
	Blueprint string
	// BlueprintVersion is "bpv_…".
	BlueprintVersion string
	// Upgrade is "upg_…".
	Upgrade string
	// WorkSpace is "ws_…"; it is also the intent that Amazon's WorkSpace is tagged with.
	WorkSpace string
	// Usage is "use_…".
	Usage string
	// CostRecord is "cost_…".
	CostRecord string
	// Budget is "bud_…".
	Budget string
	// BudgetRequest is "brq_…".
	BudgetRequest string
	// BudgetTemplate is "btp_…".
	BudgetTemplate string
)

// Kind is implemented by every typed id.
type Kind interface {
	~string
	prefix() string
}

func (User) prefix() string             { return "usr_" }
func (Team) prefix() string             { return "team_" }
func (Project) prefix() string          { return "prj_" }
func (Token) prefix() string            { return "tok_" }
func (Blueprint) prefix() string        { return "bp_" }
func (BlueprintVersion) prefix() string { return "bpv_" }
func (Upgrade) prefix() string          { return "upg_" }
func (WorkSpace) prefix() string        { return "ws_" }
func (Usage) prefix() string            { return "use_" }
func (CostRecord) prefix() string       { return "cost_" }
func (Budget) prefix() string           { return "bud_" }
func (BudgetRequest) prefix() string    { return "brq_" }
func (BudgetTemplate) prefix() string   { return "btp_" }

// New makes an id of the kind K: its prefix and a UUIDv7 in Crockford's base 32, lower case.
func New[K Kind]() K {
	var k K
	return K(k.prefix() + Unique())
}

// Is tells whether s looks like an id of the kind K.
func Is[K Kind](s string) bool {
	var k K
	rest, ok := strings.CutPrefix(s, k.prefix())
	return ok && len(rest) == 26 && strings.Trim(rest, alphabet) == ""
}

const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// Unique is 26 characters, ordered by the time they were made.
func Unique() string { return encode(UUID()) }

// UUID is a version 7 UUID. It panics when the system has no randomness to give, as crypto/rand does.
func UUID() [16]byte {
	u, err := uuid.NewV7()
	if err != nil {
		panic(fmt.Sprintf("id: no randomness: %v", err))
	}
	return u
}

// encode writes 128 bits as 26 digits of 5 bits, most significant first, so that text order is byte order.
func encode(u [16]byte) string {
	var out [26]byte
	var acc uint64
	bits := 2 // 26*5 = 130: two zero bits lead
	n := 0
	for _, b := range u {
		acc = acc<<8 | uint64(b)
		bits += 8
		for bits >= 5 {
			bits -= 5
			out[n] = alphabet[acc>>bits&31]
			n++
		}
	}
	return string(out[:])
}
