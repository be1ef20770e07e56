package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// adminWorkspace is a WorkSpace as the admin API shows it: everything there is, and what comes next.
type adminWorkspace struct {
	ID          string            `json:"id"`
	Region      string            `json:"region"`
	DirectoryID string            `json:"directory_id"`
	User        string            `json:"user"`
	BundleID    string            `json:"bundle_id"`
	ImageID     string            `json:"image_id,omitempty"` // what its root volume is made of
	State       string            `json:"state"`
	Since       time.Time         `json:"since"`
	Next        string            `json:"next,omitempty"` // the state that follows if nobody does anything
	NextAt      time.Time         `json:"next_at,omitzero"`
	RunningMode string            `json:"running_mode"`
	AutoStop    int               `json:"auto_stop_minutes,omitempty"`
	Compute     string            `json:"compute"`
	RootGiB     int               `json:"root_gib"`
	UserGiB     int               `json:"user_gib"`
	Connected   bool              `json:"connected"`
	Created     time.Time         `json:"created"`
	Visible     time.Time         `json:"visible"` // when Describe operations begin to return it
	Changing    string            `json:"changing,omitempty"`
	ChangedAt   time.Time         `json:"changed_at,omitzero"` // when Changing will be in effect
	Tags        map[string]string `json:"tags"`
}

func (w *workspace) admin(now time.Time) adminWorkspace {
	out := adminWorkspace{
		ID: w.ID, Region: w.Region, DirectoryID: w.DirectoryID, User: w.User, BundleID: w.BundleID, ImageID: w.ImageID,
		State: w.State, Since: w.Since, RunningMode: w.RunningMode, AutoStop: w.AutoStop,
		Compute: w.Compute, RootGiB: w.RootGiB, UserGiB: w.UserGiB,
		Connected: w.online(now), Created: w.Created, Visible: w.Visible, Tags: w.Tags,
	}
	out.Next, out.NextAt = w.upcoming()
	if w.Change != nil {
		out.Changing, out.ChangedAt = w.Change.Resource, w.Change.Done
	}
	if out.Tags == nil {
		out.Tags = map[string]string{}
	}
	return out
}

// outsideActions are what happens to a WorkSpace without its manager's doing: a user's client connects and
// disconnects, and somebody uses the console. The rules of Amazon's operations hold.
var outsideActions = map[string]change{
	"connect":    (*workspace).connect,
	"disconnect": (*workspace).disconnect,
	"start":      (*workspace).start,
	"stop":       (*workspace).stop,
	"terminate":  (*workspace).terminate,
}

// connect logs the user in. That starts an AutoStop WorkSpace, and the client waits for it.
func (w *workspace) connect(now time.Time) *refusal {
	switch {
	case w.Connected:
		return nil
	case w.State == stateAvailable:
		w.Connected, w.ConnectedAt = true, now
		return nil
	case w.State == stateStopped && w.RunningMode == autoStop:
		if no := w.start(now); no != nil {
			return no
		}
		w.Connected, w.ConnectedAt = true, w.NextAt
		return nil
	case w.State == stateStarting:
		w.Connected, w.ConnectedAt = true, w.NextAt
		return nil
	}
	return w.wrongState("connected to")
}

func (w *workspace) disconnect(now time.Time) *refusal {
	w.hangUp(now)
	return nil
}

func (e *Emulator) adminRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_emu/workspaces", e.adminWorkspaces)
	mux.HandleFunc("POST /_emu/workspaces/{id}/{action}", e.adminAct)
	mux.HandleFunc("GET /_emu/requests", e.adminRequests)
	mux.HandleFunc("POST /_emu/faults", e.adminAddFault)
	mux.HandleFunc("DELETE /_emu/faults", e.adminClearFaults)
	mux.HandleFunc("/_emu/", func(w http.ResponseWriter, r *http.Request) {
		adminWrite(w, http.StatusNotFound, adminError{"there is no " + r.Method + " " + r.URL.Path})
	})
	// Nothing here asks who is there, so at least no web page may do it through a developer's browser.
	return http.NewCrossOriginProtection().Handler(mux)
}

type adminError struct {
	Error string `json:"error"`
}

func adminWrite(w http.ResponseWriter, status int, answer any) {
	body, err := json.Marshal(answer)
	if err != nil {
		panic("emulator: answer cannot be encoded: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

func (e *Emulator) adminWorkspaces(w http.ResponseWriter, _ *http.Request) {
	e.mu.RLock()
	now := e.now()
	out := struct {
		Workspaces []adminWorkspace `json:"workspaces"`
	}{[]adminWorkspace{}}
	for _, o := range e.world.order {
		if v := o.at(now); v.State != stateAbsent {
			out.Workspaces = append(out.Workspaces, v.admin(now))
		}
	}
	e.mu.RUnlock()
	adminWrite(w, http.StatusOK, out)
}

func (e *Emulator) adminRequests(w http.ResponseWriter, _ *http.Request) {
	adminWrite(w, http.StatusOK, struct {
		Requests []seenRequest `json:"requests"`
	}{e.seen.all()})
}

func (e *Emulator) adminAct(w http.ResponseWriter, r *http.Request) {
	do, ok := outsideActions[r.PathValue("action")]
	if !ok {
		adminWrite(w, http.StatusNotFound, adminError{fmt.Sprintf("there is no action %q", r.PathValue("action"))})
		return
	}
	status, answer := e.act(r.PathValue("id"), do)
	adminWrite(w, status, answer)
}

func (e *Emulator) act(id string, do change) (int, any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	v, ok := e.world.find("", id, now)
	if !ok {
		return http.StatusNotFound, adminError{fmt.Sprintf("there is no WorkSpace %q", id)}
	}
	v.Speed = e.speed
	if no := do(&v, now); no != nil {
		return http.StatusConflict, adminError{no.message}
	}
	if err := e.commit(&v); err != nil {
		e.log.Error("emulator: admin request failed", "workspace", id, "error", err)
		return http.StatusInternalServerError, adminError{"the change could not be written down and was not made"}
	}
	return http.StatusOK, v.admin(now)
}

func (e *Emulator) adminAddFault(w http.ResponseWriter, r *http.Request) {
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	in.DisallowUnknownFields() // a misspelt condition would strike everything
	var f fault
	err := in.Decode(&f)
	if err == nil {
		if _, more := in.Token(); more != io.EOF {
			err = errors.New("one fault at a time")
		}
	}
	if err == nil {
		err = e.faults.add(f)
	}
	if err != nil {
		adminWrite(w, http.StatusBadRequest, adminError{err.Error()})
		return
	}
	e.adminFaults(w)
}

func (e *Emulator) adminClearFaults(w http.ResponseWriter, _ *http.Request) {
	e.faults.clear()
	e.adminFaults(w)
}

// adminFaults answers with the faults that are still to strike.
func (e *Emulator) adminFaults(w http.ResponseWriter) {
	adminWrite(w, http.StatusOK, struct {
		Faults []fault `json:"faults"`
	}{e.faults.list()})
}
