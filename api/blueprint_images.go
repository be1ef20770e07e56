package api

import "time"

// BlueprintImage is an image or a bundle that a version is launched from in a region, and how far it is.
type BlueprintImage struct {
	Region       string     `json:"region" example:"us-east-1"`
	Kind         string     `json:"kind" enum:"given,capture,copy,bundle" doc:"given: the definition names it; capture: made of the golden WorkSpace; copy: of an image of another region; bundle: made of an image"`
	Source       string     `json:"source,omitempty" doc:"What it is made of, by Amazon's id"`
	ID           string     `json:"id,omitempty" doc:"Amazon's id; absent: Amazon has not accepted it yet"`
	ComputeType  string     `json:"compute_type,omitempty" doc:"A bundle's"`
	State        string     `json:"state" enum:"WANTED,MAKING,AVAILABLE,FAILED,DELETING,GONE" doc:"WANTED: Amazon has not accepted it yet. DELETING, GONE: a bundle that nobody needs; it is made again when somebody does"`
	ErrorCode    string     `json:"error_code,omitempty" doc:"Why it failed, or does not go on"`
	ErrorMessage string     `json:"error_message,omitempty"`
	Attempts     int        `json:"attempts" doc:"How often Amazon was asked"`
	WantedAt     *time.Time `json:"wanted_at,omitempty"`
	BegunAt      *time.Time `json:"begun_at,omitempty" doc:"When Amazon accepted it"`
	EndedAt      *time.Time `json:"ended_at,omitempty"`
	ReadyAt      *time.Time `json:"ready_at,omitempty" doc:"When a bundle of it will be there, estimated from the latest in the region, or from Amazon's own words; while it is under way"`
	LastUsedAt   *time.Time `json:"last_used_at,omitempty" doc:"When a bundle was last needed"`
	Uses         int        `json:"uses" doc:"How many WorkSpaces are on the bundle, or wait for it"`
}

// BlueprintImageList is every image and bundle of a version.
type BlueprintImageList struct {
	Items []BlueprintImage `json:"items" nullable:"false"`
}
