package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/robco-forge/forge/api"
	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint"
	"github.com/robco-forge/forge/internal/blueprint/spec"
	"github.com/robco-forge/forge/internal/id"
	"github.com/robco-forge/forge/internal/policy"
	"github.com/robco-forge/forge/internal/postgres"
	"github.com/robco-forge/forge/internal/workspace"
)

func (s *Server) blueprintRoutes() {
	const tag = "Blueprints"
	route(s, http.MethodGet, "/blueprints", "list-blueprints", "What your team may launch from", tag, http.StatusOK, s.listBlueprints)
	route(s, http.MethodPost, "/blueprints", "create-blueprint", "Make a blueprint", tag, http.StatusCreated, s.createBlueprint)
	route(s, http.MethodPost, "/blueprints/validate", "validate-blueprints", "Check files, and change nothing", tag, http.StatusOK, s.validateBlueprints)
	route(s, http.MethodPost, "/blueprints/push", "push-blueprints", "Bring blueprints to what files say", tag, http.StatusOK, s.pushBlueprints)
	route(s, http.MethodPost, "/blueprints/plan", "plan-blueprints", "What pushing files would do, and an upgrade mean then; changes nothing", tag, http.StatusOK, s.planFiles)
	route(s, http.MethodGet, "/blueprints/{id}", "get-blueprint", "Show a blueprint", tag, http.StatusOK, s.getBlueprint)
	route(s, http.MethodPatch, "/blueprints/{id}", "update-blueprint", "Change what is not under version", tag, http.StatusOK, s.updateBlueprint)
	route(s, http.MethodGet, "/blueprints/{id}/versions", "list-blueprint-versions", "Versions, the newest first", tag, http.StatusOK, s.listVersions)
	route(s, http.MethodPost, "/blueprints/{id}/versions", "create-blueprint-version", "Add a version", tag, http.StatusOK, s.createVersion)
	route(s, http.MethodGet, "/blueprints/{id}/versions/{number}", "get-blueprint-version", "Show a version", tag, http.StatusOK, s.getVersion)
	route(s, http.MethodGet, "/blueprints/{id}/history", "get-blueprint-history", "Which version got which status, and was active when", tag, http.StatusOK, s.blueprintHistory)
	route(s, http.MethodGet, "/blueprints/{id}/plan", "plan-blueprint", "Who would be affected by an upgrade, and what it would cost", tag, http.StatusOK, s.planBlueprint)
	route(s, http.MethodPost, "/blueprints/{id}/promote", "promote-blueprint", "Make a version the active one", tag, http.StatusOK, s.promoteBlueprint)
	route(s, http.MethodPost, "/blueprints/{id}/rollback", "rollback-blueprint", "Make the version before the active one again", tag, http.StatusOK, s.rollbackBlueprint)
	for _, step := range []struct {
		name, summary string
		to            blueprint.Status
	}{
		{"publish", "Let a draft be launched", blueprint.Published},
		{"deprecate", "Warn whoever launches a version", blueprint.Deprecated},
		{"archive", "Let a version be launched no more", blueprint.Archived},
	} {
		route(s, http.MethodPost, "/blueprints/{id}/"+step.name, step.name+"-blueprint", step.summary, tag, http.StatusOK,
			func(ctx context.Context, in *stepInput) (*Answer[api.BlueprintVersion], error) {
				return s.advanceBlueprint(ctx, in, "blueprint."+step.name, step.to)
			})
	}
}

// BlueprintPath is the address of a blueprint.
type BlueprintPath struct {
	ID string `path:"id" maxLength:"130" doc:"Id, team/name with the slash as %2F, or name: the own team's, then a public one"`
}

type stepInput struct {
	BlueprintPath
	Once
	Body api.BlueprintStep
}

// refusedBlueprint records that somebody asked for a blueprint that is not there for them.
func (s *Server) refusedBlueprint(ctx context.Context, ref string, err error) error {
	if errors.Is(err, blueprint.ErrNotFound) {
		return s.audit.NoteRefusal(ctx, intent(policy.BlueprintRead, "blueprint", ref), err)
	}
	return err
}

func (s *Server) findBlueprint(ctx context.Context, ref string) (blueprint.Blueprint, error) {
	b, err := blueprint.Find(ctx, s.audit.Pool(), actor.From(ctx), ref)
	return b, s.refusedBlueprint(ctx, ref, err)
}

func (s *Server) listBlueprints(ctx context.Context, in *struct{ Page }) (*struct{ Body api.BlueprintList }, error) {
	after, err := in.after("blueprints")
	if err != nil {
		return nil, err
	}
	a := actor.From(ctx)
	if policy.ReachOf(a, policy.BlueprintRead) == policy.None {
		return nil, s.refused(ctx, policy.BlueprintRead)
	}
	found, err := blueprint.List(ctx, s.audit.Pool(), a, after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	found, next := cut(found, in.Limit, "blueprints", func(b blueprint.Blueprint) string { return string(b.ID) })
	out := api.BlueprintList{Items: []api.Blueprint{}, NextCursor: next}
	for _, b := range found {
		v, err := blueprintView(ctx, s.audit.Pool(), b)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, v)
	}
	return &struct{ Body api.BlueprintList }{out}, nil
}

// blueprintView shows a blueprint with its active version, or its latest.
func blueprintView(ctx context.Context, q postgres.Querier, b blueprint.Blueprint) (api.Blueprint, error) {
	v := api.Blueprint{
		ID: string(b.ID), Ref: b.Ref(), Name: b.Name, Description: b.Description, Owner: b.Owner, Labels: b.Labels, ActiveVersion: b.ActiveVersion,
		LatestVersion: b.LatestVersion, BundleTypes: []string{}, Software: []string{}, CreatedAt: b.CreatedAt, UpdatedAt: b.UpdatedAt,
	}
	if b.TeamID != nil {
		v.TeamID = string(*b.TeamID)
	}
	number := b.ActiveVersion
	if number == 0 {
		number = b.LatestVersion
	}
	if number == 0 {
		return v, nil
	}
	version, err := blueprint.VersionOf(ctx, q, b.ID, number)
	if err != nil {
		return v, err
	}
	d := version.Definition
	v.VersionID, v.Status, v.Digest = string(version.ID), string(version.Status), version.Digest
	v.OperatingSystem, v.BundleTypes, v.DefaultBundleType, v.RunningMode = d.OperatingSystem, d.BundleTypes, d.DefaultBundleType, d.RunningMode
	v.AutoStopTimeoutMinutes, v.MaxLifetimeDays, v.Software = d.AutoStopTimeoutMinutes, d.MaxLifetimeDays, append([]string{}, d.Software...)
	return v, nil
}

func versionView(b blueprint.Blueprint, v blueprint.Version) api.BlueprintVersion {
	out := api.BlueprintVersion{
		ID: string(v.ID), Blueprint: b.Ref(), Number: v.Number, Status: string(v.Status), StatusReason: v.StatusReason, StatusBy: v.StatusBy, StatusAt: v.StatusAt,
		Active: v.Number == b.ActiveVersion, Digest: v.Digest, Source: api.BlueprintSource(v.Source), CreatedBy: v.CreatedBy, CreatedAt: v.CreatedAt,
		Definition: map[string]any{},
	}
	if err := json.Unmarshal([]byte(v.Canonical), &out.Definition); err != nil {
		panic(err) // it was decoded when it was read
	}
	return out
}

func sourceOf(s api.BlueprintSource) blueprint.Source { return blueprint.Source(s) }

// document reads a definition that came as JSON, as if it were a file.
func document(ref string, definition map[string]any) (string, error) {
	text, err := json.Marshal(map[string]any{"blueprint": ref, "definition": definition})
	return string(text), err
}

func (s *Server) createBlueprint(ctx context.Context, in *struct {
	Once
	Body api.BlueprintCreate
},
) (*Answer[api.Blueprint], error) {
	b := in.Body
	return once(ctx, s, in.Once, audit.Intent{Action: "blueprint.create", ResourceType: "blueprint", ResourceID: b.Blueprint}, b, all, func(tx *audit.Tx) (api.Blueprint, string, error) {
		made, err := blueprint.CreateNamed(ctx, tx, b.Blueprint, blueprint.About{Description: b.Description, Owner: b.Owner, Labels: b.Labels})
		if err != nil {
			return api.Blueprint{}, "", err
		}
		if b.Definition != nil {
			if _, err := s.addVersion(ctx, tx, &made, api.BlueprintVersionCreate{Definition: b.Definition}); err != nil {
				return api.Blueprint{}, "", err
			}
		}
		v, err := blueprintView(ctx, tx, made)
		return v, "", err
	})
}

func (s *Server) getBlueprint(ctx context.Context, in *BlueprintPath) (*struct{ Body api.Blueprint }, error) {
	b, err := s.findBlueprint(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	v, err := blueprintView(ctx, s.audit.Pool(), b)
	return &struct{ Body api.Blueprint }{v}, err
}

// changeBlueprint makes a change of one blueprint, once for a key.
func changeBlueprint[T any](ctx context.Context, s *Server, path BlueprintPath, key Once, action string, request any, fn func(*audit.Tx, *blueprint.Blueprint) (T, error)) (*Answer[T], error) {
	in := audit.Intent{Action: action, ResourceType: "blueprint", ResourceID: path.ID}
	return once(ctx, s, key, in, request, all, func(tx *audit.Tx) (out T, _ string, err error) {
		b, err := blueprint.Change(ctx, tx, path.ID)
		if err != nil {
			return out, "", err
		}
		out, err = fn(tx, &b)
		return out, "", err
	})
}

func (s *Server) updateBlueprint(ctx context.Context, in *struct {
	BlueprintPath
	Once
	Body api.BlueprintUpdate
},
) (*Answer[api.Blueprint], error) {
	return changeBlueprint(ctx, s, in.BlueprintPath, in.Once, "blueprint.update", in.Body, func(tx *audit.Tx, b *blueprint.Blueprint) (api.Blueprint, error) {
		about := blueprint.About{Description: b.Description, Owner: b.Owner, Labels: b.Labels}
		if in.Body.Description != nil {
			about.Description = *in.Body.Description
		}
		if in.Body.Owner != nil {
			about.Owner = *in.Body.Owner
		}
		if in.Body.Labels != nil {
			about.Labels = in.Body.Labels
		}
		changed, err := blueprint.Describe(ctx, tx, b, about)
		if err != nil {
			return api.Blueprint{}, err
		}
		already(tx, changed, "blueprint.update", b)
		return blueprintView(ctx, tx, *b)
	})
}

// already records that what was asked for was so already, which succeeds.
func already(tx *audit.Tx, changed bool, action string, b *blueprint.Blueprint) {
	if !changed {
		tx.Record(audit.Event{Action: action, ResourceType: "blueprint", ResourceID: string(b.ID), Details: map[string]any{"already": true}})
	}
}

func (s *Server) listVersions(ctx context.Context, in *struct {
	BlueprintPath
	Page
},
) (*struct{ Body api.BlueprintVersionList }, error) {
	after, err := in.after("versions")
	if err != nil {
		return nil, err
	}
	before := 0
	if after != "" {
		if before, err = strconv.Atoi(after); err != nil || before < 1 {
			return nil, errCursor
		}
	}
	b, err := s.findBlueprint(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	found, err := blueprint.Versions(ctx, s.audit.Pool(), b.ID, before, in.Limit+1)
	if err != nil {
		return nil, err
	}
	found, next := cut(found, in.Limit, "versions", func(v blueprint.Version) string { return strconv.Itoa(v.Number) })
	return &struct{ Body api.BlueprintVersionList }{api.BlueprintVersionList{
		NextCursor: next, Items: mapped(found, func(v blueprint.Version) api.BlueprintVersion { return versionView(b, v) }),
	}}, nil
}

// addVersion adds a version that came as JSON, by the way of files.
func (s *Server) addVersion(ctx context.Context, tx *audit.Tx, b *blueprint.Blueprint, in api.BlueprintVersionCreate) (blueprint.Pushed, error) {
	text, err := document(b.Ref(), in.Definition)
	if err != nil {
		return blueprint.Pushed{}, err
	}
	p := blueprint.Push{Publish: in.Publish, Promote: in.Promote, Reason: in.Reason, Source: sourceOf(in.Source)}
	return p.Add(ctx, tx, b, blueprint.File{Path: in.Source.Path, Text: text, Latest: in.ExpectedLatestVersion})
}

func (s *Server) createVersion(ctx context.Context, in *struct {
	BlueprintPath
	Once
	Body api.BlueprintVersionCreate
},
) (*Answer[api.BlueprintVersion], error) {
	return changeBlueprint(ctx, s, in.BlueprintPath, in.Once, "blueprint.version", in.Body, func(tx *audit.Tx, b *blueprint.Blueprint) (api.BlueprintVersion, error) {
		p, err := s.addVersion(ctx, tx, b, in.Body)
		if err != nil {
			return api.BlueprintVersion{}, err
		}
		already(tx, p.Changed(), "blueprint.version", b)
		v := versionView(*b, p.Version)
		v.Canonical = p.Version.Canonical
		return v, nil
	})
}

func (s *Server) getVersion(ctx context.Context, in *struct {
	BlueprintPath
	Number int `path:"number" minimum:"1"`
},
) (*struct{ Body api.BlueprintVersion }, error) {
	b, err := s.findBlueprint(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	v, err := blueprint.VersionOf(ctx, s.audit.Pool(), b.ID, in.Number)
	if err != nil {
		return nil, err
	}
	out := versionView(b, v)
	out.Canonical = v.Canonical
	return &struct{ Body api.BlueprintVersion }{out}, nil
}

func (s *Server) blueprintHistory(ctx context.Context, in *struct {
	BlueprintPath
	Limit int `query:"limit" minimum:"1" maximum:"1000" default:"100"`
},
) (*struct{ Body api.BlueprintHistory }, error) {
	b, err := s.findBlueprint(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	events, err := blueprint.History(ctx, s.audit.Pool(), b.ID, in.Limit)
	return &struct{ Body api.BlueprintHistory }{api.BlueprintHistory{Items: mapped(events, func(e blueprint.Event) api.BlueprintEvent { return api.BlueprintEvent(e) })}}, err
}

func (s *Server) promoteBlueprint(ctx context.Context, in *stepInput) (*Answer[api.BlueprintVersion], error) {
	return changeBlueprint(ctx, s, in.BlueprintPath, in.Once, "blueprint.promote", in.Body, func(tx *audit.Tx, b *blueprint.Blueprint) (api.BlueprintVersion, error) {
		v, changed, err := blueprint.Promote(ctx, tx, b, in.Body.Version, in.Body.Reason)
		if err != nil {
			return api.BlueprintVersion{}, err
		}
		already(tx, changed, "blueprint.promote", b)
		return versionView(*b, v), nil
	})
}

func (s *Server) rollbackBlueprint(ctx context.Context, in *struct {
	BlueprintPath
	Once
	Body api.BlueprintRollback
},
) (*Answer[api.BlueprintVersion], error) {
	return changeBlueprint(ctx, s, in.BlueprintPath, in.Once, "blueprint.rollback", in.Body, func(tx *audit.Tx, b *blueprint.Blueprint) (api.BlueprintVersion, error) {
		v, err := blueprint.Rollback(ctx, tx, b, in.Body.Reason)
		if err != nil {
			return api.BlueprintVersion{}, err
		}
		return versionView(*b, v), nil
	})
}

func (s *Server) advanceBlueprint(ctx context.Context, in *stepInput, action string, to blueprint.Status) (*Answer[api.BlueprintVersion], error) {
	return changeBlueprint(ctx, s, in.BlueprintPath, in.Once, action, in.Body, func(tx *audit.Tx, b *blueprint.Blueprint) (api.BlueprintVersion, error) {
		v, changed, err := blueprint.Advance(ctx, tx, b, in.Body.Version, to, in.Body.Reason)
		if err != nil {
			return api.BlueprintVersion{}, err
		}
		already(tx, changed, action, b)
		return versionView(*b, v), nil
	})
}

func filesOf(in []api.BlueprintFile) []blueprint.File {
	return mapped(in, func(f api.BlueprintFile) blueprint.File {
		return blueprint.File{Path: f.Path, Text: f.Text, Latest: f.ExpectedLatestVersion}
	})
}

func (s *Server) validateBlueprints(_ context.Context, in *struct{ Body api.BlueprintPush }) (*struct{ Body api.BlueprintPushResult }, error) {
	docs, err := blueprint.Read(filesOf(in.Body.Files))
	if err != nil {
		return nil, err
	}
	out := api.BlueprintPushResult{Items: []api.BlueprintPushed{}, DryRun: true}
	for i, d := range docs {
		_, digest, err := d.Definition.Canonical()
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, api.BlueprintPushed{Path: in.Body.Files[i].Path, Blueprint: d.Blueprint, Outcome: "unchanged", Status: string(blueprint.Draft), Digest: digest, Changes: []api.BlueprintChange{}})
	}
	return &struct{ Body api.BlueprintPushResult }{out}, nil
}

func (s *Server) pushBlueprints(ctx context.Context, in *struct {
	Once
	DryRun bool `query:"dry_run" doc:"Answer as if, and change nothing"`
	Body   api.BlueprintPush
},
) (*Answer[api.BlueprintPushResult], error) {
	b := in.Body
	push := blueprint.Push{Files: filesOf(b.Files), Publish: b.Publish, Promote: b.Promote, Reason: b.Reason, Source: sourceOf(b.Source)}
	apply := func(tx *audit.Tx) (api.BlueprintPushResult, error) {
		done, err := push.Apply(ctx, tx)
		if err != nil {
			return api.BlueprintPushResult{}, err
		}
		changed := false
		for _, p := range done {
			changed = changed || p.Changed()
		}
		if !changed {
			tx.Record(audit.Event{Action: "blueprint.push", ResourceType: "blueprint", Details: map[string]any{"already": true, "files": len(done)}})
		}
		return api.BlueprintPushResult{Items: mapped(done, pushedView), DryRun: in.DryRun}, nil
	}
	if !in.DryRun {
		return once(ctx, s, in.Once, audit.Intent{Action: "blueprint.push", ResourceType: "blueprint"}, b, all, func(tx *audit.Tx) (api.BlueprintPushResult, string, error) {
			done, err := apply(tx)
			return done, "", err
		})
	}
	out := &Answer[api.BlueprintPushResult]{}
	err := s.audit.Rehearse(ctx, func(tx *audit.Tx) (err error) {
		out.Body, err = apply(tx)
		return err
	})
	return out, err
}

func pushedView(p blueprint.Pushed) api.BlueprintPushed {
	out := api.BlueprintPushed{
		Path: p.Path, Blueprint: p.Blueprint.Ref(), Outcome: "unchanged", Version: p.Version.Number, Status: string(p.Version.Status),
		Active: p.Blueprint.ActiveVersion, Digest: p.Version.Digest, Changes: mapped(p.Changes, changeOf),
	}
	switch {
	case p.Created:
		out.Outcome = "created"
	case p.Added:
		out.Outcome = "version"
	case p.Changed():
		out.Outcome = "updated"
	}
	return out
}

func changeOf(c spec.Change) api.BlueprintChange {
	out := api.BlueprintChange{Field: c.Field}
	if c.Old != nil {
		out.Old = spec.Text(c.Old)
	}
	if c.New != nil {
		out.New = spec.Text(c.New)
	}
	return out
}

func (s *Server) planBlueprint(ctx context.Context, in *struct {
	BlueprintPath
	Version int `query:"version" minimum:"0" doc:"The latest when left out"`
},
) (*struct{ Body api.FleetPlan }, error) {
	pool := s.audit.Pool()
	b, err := s.findBlueprint(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	var team id.Team
	if b.TeamID != nil {
		team = *b.TeamID
	}
	if err := policy.Require(actor.From(ctx), policy.BlueprintWrite, "", team); err != nil {
		return nil, s.audit.NoteRefusal(ctx, intent(policy.BlueprintWrite, "blueprint", in.ID), err)
	}
	number := in.Version
	if number == 0 {
		number = b.LatestVersion
	}
	v, err := blueprint.VersionOf(ctx, pool, b.ID, number)
	if err != nil {
		return nil, err
	}
	p, err := workspace.Plan(ctx, pool, b, v, s.audit.Clock()())
	if err != nil {
		return nil, err
	}
	if err := s.notePlan(ctx, b, number); err != nil {
		return nil, err
	}
	return &struct{ Body api.FleetPlan }{planView(b, number, p)}, nil
}

// notePlan records who read what others cost.
func (s *Server) notePlan(ctx context.Context, b blueprint.Blueprint, number int) error {
	return s.audit.Note(ctx, audit.Event{Action: "blueprint.plan", ResourceType: "blueprint", ResourceID: string(b.ID), Details: map[string]any{"version": number}})
}

func (s *Server) planFiles(ctx context.Context, in *struct{ Body api.BlueprintPush }) (*struct{ Body api.BlueprintFilePlans }, error) {
	out := api.BlueprintFilePlans{Items: []api.BlueprintFilePlan{}}
	var done []blueprint.Pushed
	err := s.audit.Rehearse(ctx, func(tx *audit.Tx) (err error) {
		if done, err = (blueprint.Push{Files: filesOf(in.Body.Files)}).Apply(ctx, tx); err != nil {
			return err
		}
		for _, p := range done {
			plan, err := workspace.Plan(ctx, tx, p.Blueprint, p.Version, tx.Now)
			if err != nil {
				return err
			}
			out.Items = append(out.Items, api.BlueprintFilePlan{Pushed: pushedView(p), Fleet: planView(p.Blueprint, p.Version.Number, plan)})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, p := range done {
		if p.Created {
			continue
		}
		if err := s.notePlan(ctx, p.Blueprint, p.Version.Number); err != nil {
			return nil, err
		}
	}
	return &struct{ Body api.BlueprintFilePlans }{out}, nil
}

func planView(b blueprint.Blueprint, number int, p workspace.FleetPlan) api.FleetPlan {
	return api.FleetPlan{
		Blueprint: b.Ref(), Version: number, Workspaces: p.WorkSpaces, Users: p.Users, RefusedCount: p.RefusedCount, Assumption: workspace.PlanAssumption,
		Versions: mapped(p.Versions, func(v workspace.FleetVersion) api.FleetVersion {
			return api.FleetVersion{Version: v.Number, Status: string(v.Status), Workspaces: v.WorkSpaces}
		}),
		Changes: mapped(p.Changes, func(c workspace.FleetChange) api.FleetChange {
			return api.FleetChange{What: c.What, Reason: c.Reason, Workspaces: c.WorkSpaces, EstimatedBefore: usd(c.EstimatedBefore), EstimatedAfter: usd(c.EstimatedAfter)}
		}),
		Refused: mapped(p.Refused, func(r workspace.FleetRefusal) api.FleetRefusal {
			return api.FleetRefusal{WorkspaceID: string(r.WorkSpace.ID), Name: r.WorkSpace.Name, UserID: string(r.WorkSpace.UserID), Code: r.Code, Reason: r.Reason}
		}),
		EstimatedBefore: usd(p.EstimatedBefore), EstimatedAfter: usd(p.EstimatedAfter), EstimatedDifference: usd(p.EstimatedAfter - p.EstimatedBefore),
	}
}
