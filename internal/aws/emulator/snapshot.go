package emulator

import "time"

// snapshot takes the snapshots that were due up to now. The WorkSpace must have been in its state since the
// last time, so that this is called before every change of it. Of one in ill health Amazon snapshots the
// user volume only, as it does not trust the other.
func (w *workspace) snapshot(now time.Time) {
	switch w.State {
	case statePending, stateTerminating, stateTerminated, stateAbsent:
		return
	}
	every := pace(snapshotEvery, w.Speed)
	due := w.UserSnapshotAt.Add(every)
	if w.UserSnapshotAt.IsZero() {
		due = w.Created.Add(pace(firstSnapshot, w.Speed))
		if due.Before(w.Since) {
			due = w.Since // there was nothing to snapshot yet
		}
	}
	if every <= 0 || now.Before(due) {
		return
	}
	w.UserSnapshotAt = now.Add(-(now.Sub(due) % every))
	if !w.ill() {
		w.RootSnapshotAt = w.UserSnapshotAt
	}
}

type describeSnapshotsInput struct{ WorkspaceId string }

type wireSnapshot struct{ SnapshotTime wireTime }

// describeSnapshots tells of the newest ones, as only these are ever used: to rebuild a WorkSpace takes one
// of the user volume, to restore it one of both.
func describeSnapshots(e *Emulator, c *call, in describeSnapshotsInput) (any, error) {
	w, ok := e.world.find(c.region, in.WorkspaceId, c.at)
	if !ok {
		return nil, notFound(in.WorkspaceId)
	}
	out := struct{ RebuildSnapshots, RestoreSnapshots []wireSnapshot }{[]wireSnapshot{}, []wireSnapshot{}}
	if !w.UserSnapshotAt.IsZero() {
		out.RebuildSnapshots = append(out.RebuildSnapshots, wireSnapshot{wireTime(w.UserSnapshotAt)})
	}
	if !w.RootSnapshotAt.IsZero() {
		out.RestoreSnapshots = append(out.RestoreSnapshots, wireSnapshot{wireTime(w.RootSnapshotAt)})
	}
	return out, nil
}
