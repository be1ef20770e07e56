package emulator

import (
	"slices"
	"strconv"
	"time"
)

type rebuildInput struct{ RebuildWorkspaceRequests []item }

// rebuildWorkspaces takes one WorkSpace per call, although it has the form of a batch.
func rebuildWorkspaces(e *Emulator, c *call, in rebuildInput) (any, error) {
	return e.changeEach(c, in.RebuildWorkspaceRequests, func(w *workspace, now time.Time) *refusal {
		b, _ := e.world.bundle(w.Region, w.BundleID)
		return w.rebuild(b, now)
	})
}

// rebuild makes the root volume anew of what is the bundle's image by now, which need not be the one it was
// made of, and the user volume of its last snapshot.
func (w *workspace) rebuild(b *bundle, now time.Time) *refusal {
	if !slices.Contains([]string{stateAvailable, stateError, stateUnhealthy, stateStopped, stateRebooting}, w.State) {
		return w.wrongState("rebuilt")
	}
	if w.Change != nil {
		return &refusal{codeInProgress, "The specified WorkSpace cannot be rebuilt while it is being modified."}
	}
	if w.UserSnapshotAt.IsZero() {
		return &refusal{codeNoSnapshot, "There is no snapshot of the user volume of the specified WorkSpace."}
	}
	w.ImageID, w.System = b.ImageID, b.System
	old := w.IP
	for try := 0; w.IP == old; try++ {
		w.IP = address(w.ID, old, strconv.Itoa(try))
	}
	w.enter(stateRebuilding, now)
	return nil
}

type restoreInput struct{ WorkspaceId string }

// restoreWorkspace makes both volumes of their last common snapshot.
func restoreWorkspace(e *Emulator, c *call, in restoreInput) (any, error) {
	w, ok := e.world.find(c.region, in.WorkspaceId, c.at)
	if !ok {
		return nil, notFound(in.WorkspaceId)
	}
	switch {
	case !slices.Contains([]string{stateAvailable, stateError, stateUnhealthy, stateStopped}, w.State):
		return nil, notSupported("The WorkSpace cannot be restored in the state " + w.State + ".")
	case w.Change != nil:
		return nil, notSupported("The WorkSpace cannot be restored while it is being modified.")
	case w.RootSnapshotAt.IsZero():
		return nil, notSupported("There are no snapshots of both volumes of the WorkSpace.")
	}
	w.Speed = e.speed
	w.enter(stateRestoring, c.at)
	if err := e.commit(&w); err != nil {
		return nil, err
	}
	return nothing{}, nil
}
