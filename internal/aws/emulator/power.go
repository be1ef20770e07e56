package emulator

import (
	"slices"
	"time"
)

// An operation on power takes up to 25 WorkSpaces and settles each by itself: it answers HTTP 200 with the
// ones it refused, even when that is all of them.

type item struct{ WorkspaceId string }

type (
	startInput     struct{ StartWorkspaceRequests []item }
	stopInput      struct{ StopWorkspaceRequests []item }
	rebootInput    struct{ RebootWorkspaceRequests []item }
	terminateInput struct{ TerminateWorkspaceRequests []item }
)

func startWorkspaces(e *Emulator, c *call, in startInput) (any, error) {
	return e.changeEach(c, in.StartWorkspaceRequests, (*workspace).start)
}

func stopWorkspaces(e *Emulator, c *call, in stopInput) (any, error) {
	return e.changeEach(c, in.StopWorkspaceRequests, (*workspace).stop)
}

func rebootWorkspaces(e *Emulator, c *call, in rebootInput) (any, error) {
	return e.changeEach(c, in.RebootWorkspaceRequests, (*workspace).reboot)
}

func terminateWorkspaces(e *Emulator, c *call, in terminateInput) (any, error) {
	return e.changeEach(c, in.TerminateWorkspaceRequests, (*workspace).terminate)
}

// change does something to a WorkSpace as it is at now, or says why not and leaves it alone.
type change func(w *workspace, now time.Time) *refusal

func (e *Emulator) changeEach(c *call, items []item, do change) (any, error) {
	out := struct{ FailedRequests []failedChange }{[]failedChange{}}
	changed := map[string]*workspace{} // an id may be given twice; the second finds what the first did
	var records []record
	for _, i := range items {
		w, ok := changed[i.WorkspaceId]
		if !ok {
			v, exists := e.world.find(c.region, i.WorkspaceId, c.at)
			if !exists {
				out.FailedRequests = append(out.FailedRequests,
					failedChange{i.WorkspaceId, codeNoWorkspace, "The specified WorkSpace could not be found."})
				continue
			}
			w = &v
		}
		w.Speed = e.speed
		no := e.faults.refuses(c, w)
		if no == nil {
			no = do(w, c.at)
		}
		if no != nil {
			out.FailedRequests = append(out.FailedRequests, failedChange{i.WorkspaceId, no.code, no.message})
			continue
		}
		if !ok {
			changed[w.ID] = w
			records = append(records, w)
		}
	}
	if err := e.commit(records...); err != nil {
		return nil, err
	}
	return out, nil
}

func (w *workspace) start(now time.Time) *refusal {
	if w.RunningMode == alwaysOn {
		return &refusal{codeInvalidMode, "The specified WorkSpace does not have the running mode AutoStop or Manual."}
	}
	if w.State != stateStopped {
		return w.wrongState("started")
	}
	if w.Change.ofVolume() {
		return &refusal{codeInProgress, "The specified WorkSpace cannot be started while its volumes are being modified."}
	}
	w.enter(stateStarting, now)
	return nil
}

func (w *workspace) stop(now time.Time) *refusal {
	if w.RunningMode == alwaysOn {
		return &refusal{codeInvalidMode, "The specified WorkSpace does not have the running mode AutoStop or Manual."}
	}
	if !slices.Contains([]string{stateAvailable, stateImpaired, stateUnhealthy, stateError}, w.State) {
		return w.wrongState("stopped")
	}
	w.enter(stateStopping, now)
	return nil
}

func (w *workspace) reboot(now time.Time) *refusal {
	stuck := w.State == stateRebooting && !now.Before(w.Since.Add(pace(rebootStuck, w.Speed)))
	if w.State != stateAvailable && w.State != stateUnhealthy && !stuck {
		return w.wrongState("rebooted")
	}
	w.enter(stateRebooting, now)
	return nil
}

func (w *workspace) terminate(now time.Time) *refusal {
	switch w.State {
	case stateSuspended:
		return w.wrongState("terminated")
	case stateTerminating, stateTerminated:
		return nil // on its way already
	}
	if w.State == statePending && w.MigratedFrom != "" {
		return &refusal{codeInProgress, "The specified WorkSpace cannot be terminated while it is being migrated to."}
	}
	w.enter(stateTerminating, now)
	return nil
}

type modifyStateInput struct{ WorkspaceId, WorkspaceState string }

// modifyState takes a WorkSpace into an administrator's maintenance and out of it. In it nothing is started,
// stopped, rebooted, rebuilt or restored, nobody logs in, and it does not stop by itself.
func modifyState(e *Emulator, c *call, in modifyStateInput) (any, error) {
	w, ok := e.world.find(c.region, in.WorkspaceId, c.at)
	if !ok {
		return nil, notFound(in.WorkspaceId)
	}
	from := map[string]string{stateAdmin: stateAvailable, stateAvailable: stateAdmin}[in.WorkspaceState]
	if w.State != from {
		return nil, invalidState("The WorkSpace cannot be made " + in.WorkspaceState + " in the state " + w.State + ".")
	}
	w.Speed = e.speed
	w.enter(in.WorkspaceState, c.at)
	if err := e.commit(&w); err != nil {
		return nil, err
	}
	return nothing{}, nil
}

func (w *workspace) wrongState(what string) *refusal {
	return &refusal{codeInvalidState, "The specified WorkSpace cannot be " + what + " in the state " + w.State + "."}
}
