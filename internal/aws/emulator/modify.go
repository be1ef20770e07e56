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
		return nil, invalidState("The properties of a WorkSpace cannot be modified in the state " + w.State + ".")
	}
	if w.Change != nil {
		return nil, inProgress("A modification of the WorkSpace is in progress.")
	}
	w.Speed = e.speed
	b, _ := e.world.bundle(w.Region, w.BundleID)
	if err := w.modify(*in.WorkspaceProperties, b, c.at); err != nil {
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

func (w *workspace) modify(asked propertiesInput, b *bundle, now time.Time) error {
	classes := []propertyClass{
		{asked.RunningMode != "" || asked.RunningModeAutoStopTimeoutInMinutes != nil, w.modifyMode},
		{asked.ComputeTypeName != "", w.modifyCompute},
		{asked.RootVolumeSizeGib != nil, w.modifyRoot},
		{asked.UserVolumeSizeGib != nil, w.modifyUser},
		{len(asked.Protocols) > 0, func(asked propertiesInput, now time.Time) error { return w.modifyProtocol(asked, b, now) }},
		{asked.GlobalAccelerator != nil, w.modifyAccelerator},
		{asked.OperatingSystemName != "", cannotModify},
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

// computeFamilies are the compute types one can change between, from the smallest up.
var computeFamilies = [][]string{
	{"VALUE", "STANDARD", "PERFORMANCE", "POWER", "POWERPRO"},
	{"GRAPHICS_G4DN", "GRAPHICSPRO_G4DN"},
}

// modifyCompute moves between the general types, or between the two graphics ones; never across.
func (w *workspace) modifyCompute(asked propertiesInput, now time.Time) error {
	to := asked.ComputeTypeName
	if to == w.Compute {
		return invalidParameters("The WorkSpace has the specified compute type already.")
	}
	var from, target int
	family := slices.IndexFunc(computeFamilies, func(types []string) bool {
		from, target = slices.Index(types, w.Compute), slices.Index(types, to)
		return from >= 0 && target >= 0
	})
	if family < 0 {
		return unsupported("The compute type cannot be changed from " + w.Compute + " to " + to + ".")
	}
	if target < from {
		if w.within(shrinkEvery, w.ComputeDownAt, now) {
			return invalidState("A smaller compute type can be chosen once in 30 days.")
		}
		w.ComputeDownAt = now
	} else {
		if w.within(resizeEvery, w.Created, now) || w.within(resizeEvery, w.ComputeUpAt, now) {
			return invalidState("A larger compute type can be chosen once in 6 hours, for the first time 6 hours after the launch.")
		}
		w.ComputeUpAt = now
	}
	w.begin(modification{Resource: computeType, Text: to}, changingCompute, now)
	return nil
}

// within reports whether less than Amazon's wait has passed since then, which may never have been.
func (w *workspace) within(wait time.Duration, then, now time.Time) bool {
	return !then.IsZero() && now.Before(then.Add(pace(wait, w.Speed)))
}

func unsupported(message string) error {
	return &apiError{Type: "UnsupportedWorkspaceConfigurationException", Message: message}
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
	if w.within(resizeEvery, w.Created, now) || w.within(resizeEvery, w.VolumeAt, now) {
		return invalidState("Volumes can be modified once in 6 hours, for the first time 6 hours after the launch.")
	}
	w.VolumeAt = now
	w.begin(modification{Resource: resource, GiB: to}, changingVolume, now)
	return nil
}

func (w *workspace) modifyProtocol(asked propertiesInput, b *bundle, now time.Time) error {
	if !b.speaks(asked.Protocols) {
		return unsupported("The protocol is not supported by the bundle of the WorkSpace.")
	}
	if asked.Protocols[0] == w.Protocol {
		return invalidParameters("The WorkSpace uses the specified protocol already.")
	}
	w.begin(modification{Resource: protocol, Text: asked.Protocols[0]}, changingProtocol, now)
	return nil
}

// accelerator is how a WorkSpace uses AWS Global Accelerator, in Amazon's words.
type accelerator struct {
	Mode              string
	PreferredProtocol string `json:",omitempty"`
}

func (w *workspace) modifyAccelerator(asked propertiesInput, _ time.Time) error {
	if no := w.accelerate(*asked.GlobalAccelerator); no != nil {
		return unsupported(no.message)
	}
	return nil
}

// accelerate takes effect at once. Amazon accelerates DCV, which it calls WSP here, only.
func (w *workspace) accelerate(a accelerator) *refusal {
	if w.Protocol != "WSP" {
		return &refusal{codeInvalidAccelerator, "Global Accelerator is supported with the protocol WSP only."}
	}
	w.Accelerator = &a
	return nil
}

// ofVolume reports whether a modification, if there is one, makes a volume larger.
func (m *modification) ofVolume() bool {
	return m != nil && (m.Resource == rootVolume || m.Resource == userVolume)
}

func (w *workspace) begin(m modification, takes duration, now time.Time) {
	d := takes.of(w.ID, w.Speed)
	m.Begins, m.Done = now.Add(d/10), now.Add(d)
	w.Change = &m
}
