package cost

import (
	"context"
	"crypto/sha256"
	"encoding/json"

	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
)

// attribution is what a cost is counted under, as that was when it arose. Each is written once and never changed.
type attribution struct {
	WorkspaceID        id.WorkSpace
	UserID             id.User
	TeamID             id.Team
	ProjectID          *id.Project
	CostCentre         string
	BlueprintVersionID id.BlueprintVersion
	BundleType         string
	Region             string
	Tags               map[string]string
}

func attributionOf(s Subject) attribution {
	a := attribution{
		WorkspaceID: s.Workspace, UserID: s.Payer.User, TeamID: s.Payer.Team, CostCentre: s.CostCentre, BlueprintVersionID: s.BlueprintVersion,
		BundleType: s.Spec.ComputeType, Region: s.Spec.Region, Tags: s.Tags,
	}
	if s.Payer.Project != "" {
		a.ProjectID = &s.Payer.Project
	}
	return a
}

// attribute finds the row of an attribution, or writes it.
func attribute(ctx context.Context, q postgres.Executor, a attribution) (int64, error) {
	if a.Tags == nil {
		a.Tags = map[string]string{}
	}
	content, err := json.Marshal(a) // the keys of the tags are in order
	if err != nil {
		return 0, err
	}
	digest := sha256.Sum256(content)
	if _, err := q.Exec(ctx, `
		INSERT INTO cost_attributions (digest, workspace_id, user_id, team_id, project_id, cost_centre, blueprint_id, blueprint_version_id,
		                               bundle_type, region, tags)
		VALUES ($1, $2, $3, $4, $5, $6, coalesce((SELECT blueprint_id FROM blueprint_versions WHERE id = $7), ''), $7, $8, $9, $10)
		ON CONFLICT (digest) DO NOTHING`,
		digest[:], a.WorkspaceID, a.UserID, a.TeamID, a.ProjectID, a.CostCentre, a.BlueprintVersionID, a.BundleType, a.Region, a.Tags); err != nil {
		return 0, err
	}
	var row int64
	err = q.QueryRow(ctx, `SELECT id FROM cost_attributions WHERE digest = $1`, digest[:]).Scan(&row)
	return row, err
}
