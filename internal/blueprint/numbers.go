package blueprint

import (
	"context"

	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/postgres"
)

// Numbers are the versions of a blueprint by their numbers.
func Numbers(ctx context.Context, q postgres.Querier, blueprint id.Blueprint) (map[int]id.BlueprintVersion, error) {
	found, err := postgres.Many[struct {
		ID     id.BlueprintVersion
		Number int
	}](ctx, q, `SELECT id, number FROM blueprint_versions WHERE blueprint_id = $1`, blueprint)
	numbers := make(map[int]id.BlueprintVersion, len(found))
	for _, f := range found {
		numbers[f.Number] = f.ID
	}
	return numbers, err
}
