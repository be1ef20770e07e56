package emulator

import (
	"maps"
	"slices"
	"time"
)

// application is a piece of software that Amazon installs on Windows WorkSpaces.
type application struct {
	id       string
	name     string
	license  string
	systems  []string
	computes []string
	family   string // two of one family do not go together
}

var (
	applicationSystems  = []string{"WINDOWS_SERVER_2019", "WINDOWS_SERVER_2022", "WINDOWS_10", "WINDOWS_11"}
	applicationComputes = []string{"STANDARD", "PERFORMANCE", "POWER", "POWERPRO", "GRAPHICS_G4DN", "GRAPHICSPRO_G4DN"}
)

// applications are the same in every Region. Their ids are made up: Amazon's are not published.
var applications = []application{
	{"wsa-0ff1ce0std", "Microsoft Office LTSC Standard 2021", "LICENSED", applicationSystems, applicationComputes, "office"},
	{"wsa-0ff1ce0pro", "Microsoft Office LTSC Professional Plus 2021", "LICENSED", applicationSystems, applicationComputes, "office"},
	{"wsa-0v1s1o0std", "Microsoft Visio LTSC Standard 2021", "LICENSED", applicationSystems, applicationComputes, "visio"},
	{"wsa-0v1s1o0pro", "Microsoft Visio LTSC Professional 2021", "LICENSED", applicationSystems, applicationComputes, "visio"},
	{"wsa-0pr0j0std1", "Microsoft Project Standard 2021", "LICENSED", applicationSystems, applicationComputes, "project"},
	{"wsa-0pr0j0pro1", "Microsoft Project Professional 2021", "LICENSED", applicationSystems, applicationComputes, "project"},
	{"wsa-0v1sualst1", "Microsoft Visual Studio Professional 2022", "LICENSED", applicationSystems, applicationComputes, "visual studio"},
}

func findApplication(id string) (application, error) {
	at := slices.IndexFunc(applications, func(a application) bool { return a.id == id })
	if at < 0 {
		return application{}, notFound(id)
	}
	return applications[at], nil
}

// association is an application on a WorkSpace, or on its way there or off. What state that is in follows
// from the time.
type association struct {
	Created  time.Time `json:"created"`
	Updated  time.Time `json:"updated"`           // it was last asked for, to be installed or removed, or deployed
	Remove   bool      `json:"remove,omitempty"`  // rather than installed
	Deployed time.Time `json:"deployed,omitzero"` // it begins; zero: it waits to be deployed
	Finished time.Time `json:"finished,omitzero"` // it is done
}

// deployingShare is the part of a deployment that passes before anything is installed.
const deployingShare = 10

// state is the state in Amazon's words, and since when.
func (a association) state(now time.Time) (string, time.Time) {
	waiting, queued, working, done := "PENDING_INSTALL", "PENDING_INSTALL_DEPLOYMENT", "INSTALLING", "COMPLETED"
	if a.Remove {
		waiting, queued, working, done = "PENDING_UNINSTALL", "PENDING_UNINSTALL_DEPLOYMENT", "UNINSTALLING", "REMOVED"
	}
	begins := a.Deployed.Add(a.Finished.Sub(a.Deployed) / deployingShare)
	switch {
	case a.Deployed.IsZero():
		return waiting, a.Updated
	case now.Before(begins):
		return queued, a.Updated
	case now.Before(a.Finished):
		return working, begins
	}
	return done, a.Finished
}

// busy reports whether a deployment runs.
func (a association) busy(now time.Time) bool {
	return !a.Deployed.IsZero() && now.Before(a.Finished)
}

// removed reports whether the application is off the WorkSpace.
func (a association) removed(now time.Time) bool {
	return a.Remove && !a.Deployed.IsZero() && !now.Before(a.Finished)
}

type wireAssociation struct {
	WorkspaceId            string
	AssociatedResourceId   string
	AssociatedResourceType string
	Created                wireTime
	LastUpdatedTime        wireTime
	State                  string
}

func (w *workspace) wireAssociation(id string, now time.Time) wireAssociation {
	a := w.Apps[id]
	state, since := a.state(now)
	return wireAssociation{w.ID, id, "APPLICATION", wireTime(a.Created), wireTime(since), state}
}

// associate gives the WorkSpace a copy of its applications with one of them changed. Those that are removed
// are forgotten then.
func (w *workspace) associate(id string, a association, now time.Time) {
	w.Apps = maps.Clone(w.Apps)
	if w.Apps == nil {
		w.Apps = map[string]association{}
	}
	maps.DeleteFunc(w.Apps, func(_ string, old association) bool { return old.removed(now) })
	w.Apps[id] = a
}

type associationInput struct{ WorkspaceId, ApplicationId string }

type associationOutput struct{ Association wireAssociation }

// associateApplication marks an application for installation, which happens when it is deployed.
func associateApplication(e *Emulator, c *call, in associationInput) (any, error) {
	w, app, err := e.findAssociation(c, in)
	if err != nil {
		return nil, err
	}
	if a, ok := w.Apps[app.id]; ok && !a.removed(c.at) && !a.Remove {
		return nil, alreadyExists("The application is associated with the WorkSpace already.")
	}
	switch {
	case w.Apps[app.id].busy(c.at):
		return nil, inUse(app.id)
	case !slices.Contains(app.systems, w.System):
		return nil, &apiError{Type: "OperatingSystemNotCompatibleException", Message: "The application does not support the operating system of the WorkSpace."}
	case !slices.Contains(app.computes, w.Compute):
		return nil, &apiError{Type: "ComputeNotCompatibleException", Message: "The application does not support the compute type of the WorkSpace."}
	}
	for id, other := range w.Apps {
		if rival, err := findApplication(id); err == nil && id != app.id && rival.family == app.family && !other.removed(c.at) {
			return nil, &apiError{Type: "IncompatibleApplicationsException", Message: "The application cannot be installed beside " + rival.name + "."}
		}
	}
	w.associate(app.id, association{Created: c.at, Updated: c.at}, c.at)
	if err := e.commit(&w); err != nil {
		return nil, err
	}
	return associationOutput{w.wireAssociation(app.id, c.at)}, nil
}

// disassociateApplication marks an application for removal, which happens when that is deployed.
func disassociateApplication(e *Emulator, c *call, in associationInput) (any, error) {
	w, app, err := e.findAssociation(c, in)
	if err != nil {
		return nil, err
	}
	a, ok := w.Apps[app.id]
	switch {
	case !ok || a.removed(c.at):
		return nil, notFound(app.id)
	case a.busy(c.at):
		return nil, inUse(app.id)
	}
	w.associate(app.id, association{Created: a.Created, Updated: c.at, Remove: true}, c.at)
	if err := e.commit(&w); err != nil {
		return nil, err
	}
	return associationOutput{w.wireAssociation(app.id, c.at)}, nil
}

func (e *Emulator) findAssociation(c *call, in associationInput) (workspace, application, error) {
	w, ok := e.world.find(c.region, in.WorkspaceId, c.at)
	if !ok {
		return workspace{}, application{}, notFound(in.WorkspaceId)
	}
	app, err := findApplication(in.ApplicationId)
	return w, app, err
}

func inUse(id string) error {
	return &apiError{Type: "ResourceInUseException", Message: "The specified resource is in use.", ResourceID: id}
}

type deployInput struct {
	WorkspaceId string
	Force       bool
}

// deployApplications installs and removes what is marked for it, on a WorkSpace that runs; by force also what
// is installed, again.
func deployApplications(e *Emulator, c *call, in deployInput) (any, error) {
	w, ok := e.world.find(c.region, in.WorkspaceId, c.at)
	if !ok {
		return nil, notFound(in.WorkspaceId)
	}
	if w.State != stateAvailable {
		return nil, notSupported("Applications cannot be deployed to a WorkSpace in the state " + w.State + ".")
	}
	var out struct {
		Deployment struct{ Associations []wireAssociation }
	}
	out.Deployment.Associations = []wireAssociation{}
	for _, id := range slices.Sorted(maps.Keys(w.Apps)) {
		a := w.Apps[id]
		if a.busy(c.at) {
			return nil, inUse(id)
		}
		if a.removed(c.at) || (!a.Deployed.IsZero() && !in.Force) {
			continue
		}
		a.Updated, a.Deployed, a.Finished = c.at, c.at, c.at.Add(deploying.of(w.ID+id, e.speed))
		w.associate(id, a, c.at)
		out.Deployment.Associations = append(out.Deployment.Associations, w.wireAssociation(id, c.at))
	}
	if err := e.commit(&w); err != nil {
		return nil, err
	}
	return out, nil
}

type describeWorkspaceAssociationsInput struct {
	WorkspaceId             string
	AssociatedResourceTypes []string // the only one is APPLICATION
}

func describeWorkspaceAssociations(e *Emulator, c *call, in describeWorkspaceAssociationsInput) (any, error) {
	w, ok := e.world.find(c.region, in.WorkspaceId, c.at)
	if !ok {
		return nil, notFound(in.WorkspaceId)
	}
	out := struct{ Associations []wireAssociation }{[]wireAssociation{}}
	for _, id := range slices.Sorted(maps.Keys(w.Apps)) {
		out.Associations = append(out.Associations, w.wireAssociation(id, c.at))
	}
	return out, nil
}

type describeApplicationAssociationsInput struct {
	ApplicationId           string
	AssociatedResourceTypes []string
	MaxResults              int
	NextToken               string
}

type wireApplicationAssociation struct {
	ApplicationId          string
	AssociatedResourceId   string
	AssociatedResourceType string
	Created                wireTime
	LastUpdatedTime        wireTime
	State                  string
}

// describeApplicationAssociations tells where an application is, WorkSpaces only: no bundle or image has any.
func describeApplicationAssociations(e *Emulator, c *call, in describeApplicationAssociationsInput) (any, error) {
	if _, err := findApplication(in.ApplicationId); err != nil {
		return nil, err
	}
	var found []workspace
	if slices.Contains(in.AssociatedResourceTypes, "WORKSPACE") {
		found = e.visible(c, func(w *workspace) bool {
			_, ok := w.Apps[in.ApplicationId]
			return ok
		})
	}
	found, next, err := page(c, found, func(w workspace) int64 { return w.Seq }, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := struct {
		Associations []wireApplicationAssociation
		NextToken    string `json:",omitempty"`
	}{make([]wireApplicationAssociation, 0, len(found)), next}
	for i := range found {
		a := found[i].wireAssociation(in.ApplicationId, c.at)
		out.Associations = append(out.Associations, wireApplicationAssociation{
			in.ApplicationId, a.WorkspaceId, "WORKSPACE", a.Created, a.LastUpdatedTime, a.State,
		})
	}
	return out, nil
}

type describeApplicationsInput struct {
	ApplicationIds       []string
	ComputeTypeNames     []string
	LicenseType          string
	OperatingSystemNames []string
	Owner                string
	MaxResults           int
	NextToken            string
}

type wireApplication struct {
	ApplicationId                 string
	Created                       wireTime
	Description                   string
	LicenseType                   string
	Name                          string
	Owner                         string
	State                         string
	SupportedComputeTypeNames     []string
	SupportedOperatingSystemNames []string
}

// describeApplications knows Amazon's only: accounts have none of their own.
func describeApplications(_ *Emulator, c *call, in describeApplicationsInput) (any, error) {
	var found []int64
	for i, a := range applications {
		if in.wants(a) {
			found = append(found, int64(i)+1)
		}
	}
	found, next, err := page(c, found, func(i int64) int64 { return i }, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := struct {
		Applications []wireApplication
		NextToken    string `json:",omitempty"`
	}{make([]wireApplication, 0, len(found)), next}
	for _, i := range found {
		a := applications[i-1]
		out.Applications = append(out.Applications, wireApplication{
			a.id, wireTime(published), a.name, a.license, a.name, amazon, imageAvailable, a.computes, a.systems,
		})
	}
	return out, nil
}

func (in describeApplicationsInput) wants(a application) bool {
	some := func(filter, have []string) bool {
		return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool { return slices.Contains(have, f) })
	}
	return anyOrIn(in.ApplicationIds, a.id) && some(in.ComputeTypeNames, a.computes) && some(in.OperatingSystemNames, a.systems) &&
		(in.LicenseType == "" || in.LicenseType == a.license) && (in.Owner == "" || in.Owner == amazon)
}
