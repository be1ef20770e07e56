package blueprint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/blueprint/spec"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/policy"
)

// MaxFiles is how many files are taken at once.
const MaxFiles = 100

// File is a document as it was written.
type File struct {
	Path string
	Text string
	// Latest is the number of the latest version that its writer knew of, 0 for none; nil: whichever.
	Latest *int
}

// Push says what to do with new versions.
type Push struct {
	Files   []File
	Publish bool
	Promote bool // which publishes too
	Reason  string
	Source  Source
}

// Pushed is what became of a file.
type Pushed struct {
	Path      string
	Blueprint Blueprint
	Version   Version // the latest now
	Created   bool    // the blueprint is new
	Added     bool    // the version is new
	Described bool    // what is not under version changed
	Advanced  bool    // the version was published or promoted
	Changes   []spec.Change
}

// Changed tells whether a file changed anything.
func (p Pushed) Changed() bool { return p.Created || p.Added || p.Described || p.Advanced }

// Read parses files and refuses all of them with everything that is wrong with any.
func Read(files []File) ([]spec.Document, error) {
	if len(files) == 0 || len(files) > MaxFiles {
		return nil, ErrInvalid.Sayf("%d files were given; 1 to %d are taken at once", len(files), MaxFiles)
	}
	type located struct {
		Path string `json:"path"`
		spec.Problem
	}
	var wrong []located
	docs := make([]spec.Document, len(files))
	paths := map[string]string{}
	for i, f := range files {
		d, found := spec.Parse([]byte(f.Text))
		if other, twice := paths[d.Blueprint]; twice && len(found) == 0 {
			found = []spec.Problem{{Field: "blueprint", Message: d.Blueprint + " is in " + other + " too"}}
		}
		paths[d.Blueprint], docs[i] = f.Path, d
		for _, p := range found {
			wrong = append(wrong, located{f.Path, p})
		}
	}
	if len(wrong) == 0 {
		return docs, nil
	}
	said := wrong[0].Path + ": " + wrong[0].Problem.String()
	if len(wrong) > 1 {
		said += fmt.Sprintf(" (and %d more)", len(wrong)-1)
	}
	return nil, ErrInvalid.Sayf("%s", said).Detail("problems", wrong)
}

// Apply brings blueprints to what the files say, all or none: a definition that differs from that of the latest version
// becomes the next one; the same makes none. They are taken in the order of their names, so that two pushes at once wait for
// each other and do not block each other.
func (p Push) Apply(ctx context.Context, tx *audit.Tx) ([]Pushed, error) {
	docs, err := Read(p.Files)
	if err != nil {
		return nil, err
	}
	order := make([]int, len(docs))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return strings.Compare(docs[i].Blueprint, docs[j].Blueprint) })
	out := make([]Pushed, len(docs))
	for _, i := range order {
		if out[i], err = p.apply(ctx, tx, p.Files[i], docs[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (p Push) apply(ctx context.Context, tx *audit.Tx, f File, d spec.Document) (Pushed, error) {
	about := About{Description: d.Description, Owner: d.Owner, Labels: d.Labels}
	var created, described bool
	b, err := written(ctx, tx, d.Blueprint)
	switch {
	case errors.Is(err, ErrNotFound):
		b, err = CreateNamed(ctx, tx, d.Blueprint, about)
		created = true
	case err == nil:
		described, err = Describe(ctx, tx, &b, about)
	}
	if err != nil {
		return Pushed{}, err
	}
	out, err := p.add(ctx, tx, &b, f, d.Definition)
	out.Created, out.Described = created, described
	return out, err
}

// Add is Apply for one blueprint that is locked by Change, and the definition of a file.
func (p Push) Add(ctx context.Context, tx *audit.Tx, b *Blueprint, f File) (Pushed, error) {
	docs, err := Read([]File{f})
	if err != nil {
		return Pushed{}, err
	}
	return p.add(ctx, tx, b, f, docs[0].Definition)
}

func (p Push) add(ctx context.Context, tx *audit.Tx, b *Blueprint, f File, d Definition) (out Pushed, err error) {
	var latest Version
	if b.LatestVersion > 0 {
		if latest, err = VersionOf(ctx, tx, b.ID, b.LatestVersion); err != nil {
			return out, err
		}
	}
	out = Pushed{Path: f.Path, Version: latest}
	if out.Changes, err = spec.Diff(latest.Definition, d); err != nil {
		return out, err
	}
	if len(out.Changes) > 0 {
		if f.Latest != nil && *f.Latest != b.LatestVersion {
			return out, ErrChanged.Sayf("%s is at version %d now, by %s at %s, which you had not seen",
				b.Ref(), latest.Number, latest.CreatedBy, latest.CreatedAt.UTC().Format("2006-01-02 15:04:05 MST")).
				Detail("blueprint", b.Ref()).Detail("latest_version", latest.Number).Detail("created_by", latest.CreatedBy).Detail("expected_latest_version", *f.Latest)
		}
		from := p.Source
		from.Path = f.Path
		if out.Version, err = AddVersion(ctx, tx, b, d, from); err != nil {
			return out, err
		}
		out.Added = true
	}
	if p.Publish || p.Promote {
		out.Advanced, err = p.advance(ctx, tx, b, &out.Version)
	}
	out.Blueprint = *b
	return out, err
}

// written finds the blueprint of a file for changing it. A bare name is the public one's, never the own team's: a file means
// the same whoever pushes it.
func written(ctx context.Context, tx *audit.Tx, ref string) (Blueprint, error) {
	if !strings.Contains(ref, "/") {
		b, err := Find(ctx, tx, tx.Actor, ref)
		if err == nil && b.TeamID != nil {
			var public string
			if err := tx.QueryRow(ctx, `SELECT coalesce((SELECT id FROM blueprints WHERE team_id IS NULL AND name = $1), '')`, ref).Scan(&public); err != nil {
				return b, err
			}
			if public == "" {
				return b, ErrNotFound
			}
			ref = public
		}
	}
	return Change(ctx, tx, ref)
}

// CreateNamed is Create by "team/name", or "name" for a public one. The team may be one that the actor must not learn about.
func CreateNamed(ctx context.Context, tx *audit.Tx, ref string, about About) (Blueprint, error) {
	teamName, name := spec.Document{Blueprint: ref}.Team()
	if teamName == "" {
		return Create(ctx, tx, nil, name, about)
	}
	team, err := people.FindTeam(ctx, tx, teamName)
	if err == nil && !policy.Allows(tx.Actor, policy.BlueprintWrite, "", team.ID) && !policy.Allows(tx.Actor, policy.BlueprintRead, "", team.ID) {
		err = people.ErrTeamNotFound
	}
	if errors.Is(err, people.ErrTeamNotFound) {
		return Blueprint{}, ErrNotFound.Sayf("there is no team %q for you to make a blueprint for", teamName)
	}
	if err != nil {
		return Blueprint{}, err
	}
	return Create(ctx, tx, &team, name, about)
}

func (p Push) advance(ctx context.Context, tx *audit.Tx, b *Blueprint, v *Version) (advanced bool, err error) {
	if p.Promote {
		*v, advanced, err = Promote(ctx, tx, b, v.Number, p.Reason)
		return advanced, err
	}
	if v.Status == Draft {
		*v, advanced, err = Advance(ctx, tx, b, v.Number, Published, p.Reason)
	}
	return advanced, err
}
