package emulator

import (
	"slices"
	"time"
)

const (
	rootVolume  = "ROOT_VOLUME"
	userVolume  = "USER_VOLUME"
	computeType = "COMPUTE_TYPE"
	protocol    = "PROTOCOL"
)

type modifyInput struct {
	WorkspaceId         string
	WorkspaceProperties *propertiesInput
	DataReplication     string
}

// modifyProperties changes one class of properties: the running mode at once, the others in the background,
// during which ModificationStates tells of them and State does not.
func modifyProperties(e *Emulator, c *call, in modifyInput) (any, error) {
	w, ok := e.world.find(c.region, in.WorkspaceId, c.at)
	if !ok {
		return nil, notFound(in.WorkspaceId)
	}
	if in.DataReplication != "" {
		return nil, invalidParameters("Data replication is not supported.")
	}
	if in.WorkspaceProperties == nil {
		return nil, invalidParameters("No properties to modify were specified.")
	}
	if w.State != stateAvailable && w.State != stateStopped {
		return nil, &apiError{
			Type:    "InvalidResourceStateException",
			Message: "The properties of a WorkSpace cannot be modified in the state " + w.State + ".",
		}
	}
	if w.Change != nil {
		return nil, &apiError{
			Type:    "OperationInProgressException",
			Message: "A modification of the WorkSpace is in progress.",
		}
	}
	w.Speed = e.speed
	if err := w.modify(*in.WorkspaceProperties, c.at); err != nil {
		return nil, err
	}
	if err := e.commit(&w); err != nil {
		return nil, err
	}
	return nothing{}, nil
}

// propertyClass is what one call may change.
type propertyClass struct {
	given bool
	do    func(asked propertiesInput, now time.Time) error
}

func (w *workspace) modify(asked propertiesInput, now time.Time) error {
	classes := []propertyClass{
		{asked.RunningMode != "" || asked.RunningModeAutoStopTimeoutInMinutes != nil, w.modifyMode},
		{asked.ComputeTypeName != "", w.modifyCompute},
		{asked.RootVolumeSizeGib != nil, w.modifyRoot},
		{asked.UserVolumeSizeGib != nil, w.modifyUser},
		{len(asked.Protocols) > 0, w.modifyProtocol},
		{asked.OperatingSystemName != "" || asked.GlobalAccelerator != nil, cannotModify},
	}
	given := slices.DeleteFunc(classes, func(class propertyClass) bool { return !class.given })
	if len(given) != 1 {
		return invalidParameters("Specify one property to modify at a time.")
	}
	return given[0].do(asked, now)
}

func cannotModify(propertiesInput, time.Time) error {
	return invalidParameters("The specified property cannot be modified.")
}

func (w *workspace) modifyMode(asked propertiesInput, now time.Time) error {
	mode, minutes, no := runningMode(w.RunningMode, w.AutoStop, asked)
	if no != nil {
		return invalidParameters(no.message)
	}
	if mode != w.RunningMode || minutes != w.AutoStop {
		w.RunningMode, w.AutoStop, w.ModeAt = mode, minutes, now
	}
	// Amazon does not say what becomes of a stopped WorkSpace that is to be always on. It could not be
	// started by any operation, so it is taken to start by itself.
	if mode == alwaysOn && w.State == stateStopped {
		w.enter(stateStarting, now)
	}
	return nil
}

// modifyCompute moves between the general types, or between the two graphics ones; never across.
func (w *workspace) modifyCompute(asked propertiesInput, now time.Time) error {
	family := func(name string) string {
		switch name {
		case "VALUE", "STANDARD", "PERFORMANCE", "POWER", "POWERPRO":
			return "general"
		case "GRAPHICS_G4DN", "GRAPHICSPRO_G4DN":
			return "graphics"
		}
		return name + " is not emulated"
	}
	to := asked.ComputeTypeName
	if to == w.Compute {
		return invalidParameters("The WorkSpace has the specified compute type already.")
	}
	if family(to) != family(w.Compute) {
		return &apiError{
			Type:    "UnsupportedWorkspaceConfigurationException",
			Message: "The compute type cannot be changed from " + w.Compute + " to " + to + ".",
		}
	}
	w.begin(modification{Resource: computeType, Text: to}, changingCompute, now)
	return nil
}

func (w *workspace) modifyRoot(asked propertiesInput, now time.Time) error {
	return w.grow(rootVolume, w.RootGiB, *asked.RootVolumeSizeGib, w.UserGiB, now)
}

func (w *workspace) modifyUser(asked propertiesInput, now time.Time) error {
	return w.grow(userVolume, w.UserGiB, *asked.UserVolumeSizeGib, w.RootGiB, now)
}

// grow enlarges one volume (GiB) beside the other.
func (w *workspace) grow(resource string, from, to, other int, now time.Time) error {
	if to <= from {
		return invalidParameters("A volume can only be made larger.")
	}
	root, user := to, other
	if resource == userVolume {
		root, user = other, to
	}
	if !computeTypes[w.Compute].allows(root, user) {
		return invalidParameters("The combination of root and user volume sizes is not supported.")
	}
	w.begin(modification{Resource: resource, GiB: to}, changingVolume, now)
	return nil
}

func (w *workspace) modifyProtocol(asked propertiesInput, now time.Time) error {
	b, _ := findBundle(w.BundleID)
	if !b.speaks(asked.Protocols) {
		return &apiError{
			Type:    "UnsupportedWorkspaceConfigurationException",
			Message: "The protocol is not supported by the bundle of the WorkSpace.",
		}
	}
	if asked.Protocols[0] == w.Protocol {
		return invalidParameters("The WorkSpace uses the specified protocol already.")
	}
	w.begin(modification{Resource: protocol, Text: asked.Protocols[0]}, changingProtocol, now)
	return nil
}

func (w *workspace) begin(m modification, takes duration, now time.Time) {
	d := takes.of(w.ID, w.Speed)
	m.Begins, m.Done = now.Add(d/10), now.Add(d)
	w.Change = &m
}
