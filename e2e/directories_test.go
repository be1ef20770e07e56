package e2e

import (
	"errors"
	"testing"
	"time"

	"github.com/robco-forge/forge/internal/actor"
	"github.com/robco-forge/forge/internal/app"
	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/people"
	"github.com/robco-forge/forge/internal/workspace"
)

// A request of somebody of the team backend goes to their directory, and one of the same person in another region to the
// one that is there.
func TestTheTeamSaysInWhichDirectoryAWorkSpaceIsMade(t *testing.T) {
	const theirs, abroad = "d-9067000077", "d-9367000078"
	r := newRig(t, 600)
	who := r.users("placed", 1)[0]
	cfg := r.server(rigConfig{DatabaseURL: r.pg.AppURL, AWS: r.aws, Speed: r.speed, Rate: 500})
	cfg.Workers = false
	cfg.Directories = []workspace.Directory{
		{Region: rigRegion, ID: rigDirectory},
		{Region: rigRegion, ID: theirs, Teams: []string{"backend"}},
		{Region: "eu-west-1", ID: abroad},
		{Region: "eu-central-1", ID: "d-9967000079", License: workspace.LicenseBYOL},
	}
	f, err := app.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	a, err := people.SignIn(t.Context(), f.Pool, who.Token, time.Now().UTC())
	if err != nil {
		t.Fatal(err)
	}
	a.Interface = "api"
	request := func(region string) (made workspace.Admitted, err error) {
		err = f.Log.Change(actor.With(t.Context(), a), audit.Intent{Action: "workspace.create", ResourceType: "workspace"}, func(tx *audit.Tx) (err error) {
			made, err = f.Fleet.Request(t.Context(), tx, workspace.Request{Blueprint: "go-dev", Region: region, Name: "in" + region})
			return err
		})
		return made, err
	}
	for region, want := range map[string]string{"": theirs, "eu-west-1": abroad} {
		made, err := request(region)
		if err != nil {
			t.Fatal(err)
		}
		if made.WorkSpace.DirectoryID != want {
			t.Errorf("in region %q it is made in %s, want %s", region, made.WorkSpace.DirectoryID, want)
		}
	}
	if _, err := request("eu-central-1"); !errors.Is(err, workspace.ErrLicense) {
		t.Errorf("where no directory has the licence: %v", err)
	}
	if _, err := request("us-west-2"); !errors.Is(err, workspace.ErrRegion) {
		t.Errorf("where there is no directory: %v", err)
	}
	// The second one in a directory is refused, in whatever region it was asked for.
	if _, err := request(rigRegion); !errors.Is(err, workspace.ErrExists) {
		t.Errorf("where the user has one: %v", err)
	}
}
