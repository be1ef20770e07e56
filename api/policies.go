package api

import "time"

// Policy is a rule by which WorkSpaces are stopped, started or ended by themselves, or all stops or terminations.
type Policy struct {
	Name        string     `json:"name" enum:"lifetime,stale,budget,schedule,idle,stops,terminations"`
	Description string     `json:"description"`
	Paused      bool       `json:"paused"`
	Reason      string     `json:"reason,omitempty"`
	PausedBy    string     `json:"paused_by,omitempty"`
	PausedAt    *time.Time `json:"paused_at,omitempty"`
	Until       *time.Time `json:"until,omitempty" doc:"Absent: until it is resumed"`
}

// PolicyList is all policies, in their precedence, and then the kill-switches over several.
type PolicyList struct {
	Items []Policy `json:"items" nullable:"false"`
}

// PolicyPause keeps a policy from acting.
type PolicyPause struct {
	Reason string     `json:"reason" minLength:"1" maxLength:"200"`
	Until  *time.Time `json:"until,omitempty" doc:"Absent: until it is resumed"`
}
