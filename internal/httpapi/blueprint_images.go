package httpapi

import (
	"context"
	"net/http"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/blueprint"
)

func (s *Server) blueprintImageRoutes() {
	route(s, http.MethodGet, "/blueprints/{id}/versions/{number}/images", "list-blueprint-images", "What a version is launched from in each region, and how far it is", "Blueprints",
		http.StatusOK, s.listImages)
}

func (s *Server) listImages(ctx context.Context, in *struct {
	BlueprintPath
	Number int `path:"number" minimum:"1"`
},
) (*struct{ Body api.BlueprintImageList }, error) {
	b, err := s.findBlueprint(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	v, err := blueprint.VersionOf(ctx, s.audit.Pool(), b.ID, in.Number)
	if err != nil {
		return nil, err
	}
	found, err := s.fleet.Images.Of(ctx, s.audit.Pool(), v)
	if err != nil {
		return nil, err
	}
	return &struct{ Body api.BlueprintImageList }{api.BlueprintImageList{Items: mapped(found, func(i blueprint.ImageState) api.BlueprintImage {
		return api.BlueprintImage{
			Region: i.Region, Kind: i.Kind, Source: i.Source, ID: i.ID, ComputeType: i.ComputeType, State: i.State, ErrorCode: i.ErrorCode, ErrorMessage: i.ErrorMessage,
			Attempts: i.Attempts, WantedAt: i.WantedAt, BegunAt: i.BegunAt, EndedAt: i.EndedAt, ReadyAt: i.Until, LastUsedAt: i.LastUsedAt, Uses: i.Uses,
		}
	})}}, nil
}
