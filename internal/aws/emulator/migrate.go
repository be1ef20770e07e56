package emulator

import (
	"maps"
	"slices"
)

// maxMigrations is how many migrations may run at once in a Region.
const maxMigrations = 25

type migrateInput struct{ SourceWorkspaceId, BundleId string }

// migrateWorkspace makes a new WorkSpace of another bundle for the same user, with the old one's user volume.
// The old one is SUSPENDED meanwhile and terminated when the new one is available. If that fails, nobody is
// told: the new one disappears and the old one is as it was.
func migrateWorkspace(e *Emulator, c *call, in migrateInput) (any, error) {
	source, ok := e.world.find(c.region, in.SourceWorkspaceId, c.at)
	if !ok {
		return nil, notFound(in.SourceWorkspaceId)
	}
	b, ok := e.world.bundle(c.region, in.BundleId)
	if !ok {
		return nil, notFound(in.BundleId)
	}
	if !b.available(c.at) {
		return nil, unavailable(b.ID)
	}
	source.Speed = e.speed
	if err := e.canMigrate(&source, b, c); err != nil {
		return nil, err
	}

	target := e.blankWorkspace(c, e.world.directories[source.DirectoryID])
	target.Seq = e.world.seq + 1
	target.MigratedFrom = source.ID
	target.User, target.Name, target.Tags = source.User, source.Name, maps.Clone(source.Tags)
	target.EncryptionKey, target.EncryptRoot, target.EncryptUser = source.EncryptionKey, source.EncryptRoot, source.EncryptUser
	if no := target.configure(b, nil); no != nil {
		return nil, invalidParameters(no.message)
	}
	target.RunningMode, target.AutoStop = source.RunningMode, source.AutoStop
	target.keepUserVolume(source.UserGiB)

	before, done := source.State, c.at.Add(migrating.of(target.ID, e.speed))
	source.enter(stateSuspended, c.at)
	target.enter(statePending, c.at)
	source.Next, target.Next = stateTerminating, stateAvailable
	if e.faults.marks(c, "migrate_silent_fail", &source) {
		source.Next, target.Next = before, stateAbsent
	} else {
		source.MigratedTo = target.ID
	}
	source.NextAt, target.NextAt = done, done
	if err := e.commit(&together{&source, target}); err != nil {
		return nil, err
	}
	return struct{ SourceWorkspaceId, TargetWorkspaceId string }{source.ID, target.ID}, nil
}

// canMigrate says why a WorkSpace cannot be migrated to the bundle, nil if it can.
func (e *Emulator) canMigrate(w *workspace, b *bundle, c *call) error {
	running := 0
	for _, o := range e.world.order {
		if v := o.at(c.at); v.Region == c.region && v.MigratedFrom != "" && v.State == statePending {
			running++
			if v.MigratedFrom == w.ID {
				return inProgress("The WorkSpace is being migrated.")
			}
		}
	}
	switch {
	case w.Change != nil:
		return inProgress("A modification of the WorkSpace is in progress.")
	case !slices.Contains([]string{stateAvailable, stateStopped, stateError}, w.State):
		return notSupported("The WorkSpace cannot be migrated in the state " + w.State + ".")
	case w.BundleID == b.ID:
		return invalidParameters("The WorkSpace is of the specified bundle already.")
	case w.within(migrateAge, w.Created, c.at):
		return notSupported("A WorkSpace cannot be migrated in its first 12 hours.")
	case platform(w.System) != platform(b.System):
		return notSupported("The WorkSpace cannot be migrated to an operating system of another kind.")
	case running >= maxMigrations:
		return unavailable(w.ID)
	}
	return nil
}

// keepUserVolume makes room for the user volume there was (GiB), which may be larger than the bundle's and
// need a larger root beside it.
func (w *workspace) keepUserVolume(size int) {
	w.UserGiB = max(w.UserGiB, size)
	if !computeTypes[w.Compute].allows(w.RootGiB, w.UserGiB) {
		w.RootGiB, w.UserGiB = max(w.RootGiB, 175), max(w.UserGiB, 100)
	}
}
