package emulator

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// adminWorkspace is a WorkSpace as the admin API shows it: everything there is, and what comes next.
type adminWorkspace struct {
	ID           string            `json:"id"`
	Region       string            `json:"region"`
	DirectoryID  string            `json:"directory_id"`
	User         string            `json:"user"`
	BundleID     string            `json:"bundle_id"`
	ImageID      string            `json:"image_id,omitempty"` // what its root volume is made of
	State        string            `json:"state"`
	Since        time.Time         `json:"since"`
	Next         string            `json:"next,omitempty"` // the state that follows if nobody does anything
	NextAt       time.Time         `json:"next_at,omitzero"`
	ErrorCode    string            `json:"error_code,omitempty"`
	ErrorMessage string            `json:"error_message,omitempty"`
	RunningMode  string            `json:"running_mode"`
	AutoStop     int               `json:"auto_stop_minutes,omitempty"`
	Compute      string            `json:"compute"`
	Protocol     string            `json:"protocol"`
	RootGiB      int               `json:"root_gib"`
	UserGiB      int               `json:"user_gib"`
	Connected    bool              `json:"connected"`
	Created      time.Time         `json:"created"`
	Visible      time.Time         `json:"visible"` // when Describe operations begin to return it
	Changing     string            `json:"changing,omitempty"`
	ChangedAt    time.Time         `json:"changed_at,omitzero"` // when Changing will be in effect
	Tags         map[string]string `json:"tags"`
	Marks        []mark            `json:"marks,omitempty"` // what faults do to its further course
}

func (w *workspace) admin(now time.Time) adminWorkspace {
	out := adminWorkspace{
		ID: w.ID, Region: w.Region, DirectoryID: w.DirectoryID, User: w.User, BundleID: w.BundleID, ImageID: w.ImageID,
		State: w.State, Since: w.Since, ErrorCode: w.ErrorCode, ErrorMessage: w.ErrorText,
		RunningMode: w.RunningMode, AutoStop: w.AutoStop,
		Compute: w.Compute, Protocol: w.Protocol, RootGiB: w.RootGiB, UserGiB: w.UserGiB,
		Connected: w.online(now), Created: w.Created, Visible: w.Visible, Tags: w.Tags, Marks: w.Marks,
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

// outsideAction is something that happens to a WorkSpace without its manager's doing: a user's client connects
// and disconnects, somebody uses the console, or Amazon does something. It is recorded when it is done.
type outsideAction struct {
	about string
	takes string // the members of actionInput it knows
	do    func(e *Emulator, w *workspace, in actionInput, now time.Time) error
}

// actionInput is what is to be said of an action.
type actionInput struct {
	Code        string `json:"code,omitempty"`
	Message     string `json:"message,omitempty"`
	RunningMode string `json:"running_mode,omitempty"`
	AutoStop    *int   `json:"auto_stop_minutes,omitempty"`
	Compute     string `json:"compute,omitempty"`
	RootGiB     *int   `json:"root_gib,omitempty"`
	UserGiB     *int   `json:"user_gib,omitempty"`
	Protocol    string `json:"protocol,omitempty"`
}

const (
	whySick     = "code message"
	whatChanges = "running_mode auto_stop_minutes compute root_gib user_gib protocol"
)

// outsideActions follow the rules of Amazon's operations where there is one.
var outsideActions = map[string]outsideAction{
	"connect":    {"the user logs in, which starts an AutoStop WorkSpace", "", byChange((*workspace).connect)},
	"disconnect": {"the user's client goes away", "", byChange((*workspace).disconnect)},
	"start":      {"somebody starts it", "", byChange((*workspace).start)},
	"stop":       {"somebody stops it", "", byChange((*workspace).stop)},
	"reboot":     {"somebody reboots it", "", byChange((*workspace).reboot)},
	"terminate":  {"somebody terminates it", "", byChange((*workspace).terminate)},
	"modify":     {"somebody modifies it: {running_mode, auto_stop_minutes}, {compute}, {root_gib}, {user_gib} or {protocol}", whatChanges, modifyOutside},
	"unhealthy":  {"Amazon finds it UNHEALTHY: {code, message}", whySick, sicken(stateUnhealthy)},
	"impaired":   {"Amazon finds it IMPAIRED: {code, message}", whySick, sicken(stateImpaired)},
	"error":      {"it falls into ERROR: {code, message}", whySick, sicken(stateError)},
	"suspend":    {"Amazon suspends it", "", byChange((*workspace).suspend)},
	"heal":       {"it is AVAILABLE again after UNHEALTHY, IMPAIRED, ERROR or SUSPENDED", "", byChange((*workspace).heal)},
	"release":    {"it is no longer stuck in a state by a fault", "", byChange((*workspace).release)},
}

// byChange makes an action of a change.
func byChange(do change) func(*Emulator, *workspace, actionInput, time.Time) error {
	return func(e *Emulator, w *workspace, _ actionInput, now time.Time) error {
		if no := do(w, now); no != nil {
			return conflict(no.message)
		}
		return e.commit(w)
	}
}

func sicken(state string) func(*Emulator, *workspace, actionInput, time.Time) error {
	return func(e *Emulator, w *workspace, in actionInput, now time.Time) error {
		if no := w.fail(state, in.Code, in.Message, now); no != nil {
			return conflict(no.message)
		}
		return e.commit(w)
	}
}

func modifyOutside(e *Emulator, w *workspace, in actionInput, now time.Time) error {
	asked := &propertiesInput{
		RunningMode: in.RunningMode, RunningModeAutoStopTimeoutInMinutes: in.AutoStop, ComputeTypeName: in.Compute,
		RootVolumeSizeGib: in.RootGiB, UserVolumeSizeGib: in.UserGiB,
	}
	if in.Protocol != "" {
		asked.Protocols = []string{in.Protocol}
	}
	input := struct {
		WorkspaceId         string
		WorkspaceProperties *propertiesInput
	}{w.ID, asked}
	if err := asAmazonWould("ModifyWorkspaceProperties", input); err != nil {
		return err
	}
	_, err := modifyProperties(e, &call{region: w.Region, at: now}, modifyInput{WorkspaceId: w.ID, WorkspaceProperties: asked})
	return refused(err)
}

// asAmazonWould checks an input by the model of the operation it is for.
func asAmazonWould(operation string, in any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	_, err = parse(operations[operation].input, body)
	if no := (*apiError)(nil); errors.As(err, &no) {
		return bad("%s", no.Message)
	}
	return err
}

// refused makes a conflict of what Amazon would answer.
func refused(err error) error {
	if no := (*apiError)(nil); errors.As(err, &no) {
		return conflict(no.Type + ": " + no.Message)
	}
	return err
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

func (w *workspace) suspend(now time.Time) *refusal {
	if w.State != stateAvailable && w.State != stateStopped {
		return w.wrongState("suspended")
	}
	w.enter(stateSuspended, now)
	return nil
}

// heal leaves alone what is suspended while an image is made of it or it is migrated.
func (w *workspace) heal(now time.Time) *refusal {
	if !w.ill() && (w.State != stateSuspended || w.Next != "") {
		return w.wrongState("healed")
	}
	w.enter(stateAvailable, now)
	return nil
}

func (w *workspace) release(now time.Time) *refusal {
	if w.marked("stuck_state") == nil {
		return &refusal{"", "The WorkSpace is not stuck."}
	}
	w.lift(ofKind("stuck_state"), now)
	return nil
}

func (e *Emulator) adminWorkspaces(r *http.Request) (any, error) {
	q := r.URL.Query()
	is := func(name, value string) bool { return q.Get(name) == "" || q.Get(name) == value }
	out := struct {
		Workspaces []adminWorkspace `json:"workspaces"`
	}{[]adminWorkspace{}}
	err := e.look(func(now time.Time) {
		for _, o := range e.world.order {
			v := o.at(now)
			if v.State != stateAbsent && (q.Get("user") == "" || strings.EqualFold(q.Get("user"), v.User)) &&
				is("directory", v.DirectoryID) && (is("region", regionOf(v.Region)) || is("region", v.Region)) &&
				is("state", v.State) && (q.Get("connected") != "true" || v.online(now)) {
				out.Workspaces = append(out.Workspaces, v.admin(now))
			}
		}
	})
	return out, err
}

func (e *Emulator) adminWorkspace(r *http.Request) (any, error) {
	id := r.PathValue("id")
	var out any
	err := e.look(func(now time.Time) {
		if v, ok := e.world.find("", id, now); ok {
			out = v.admin(now)
		}
	})
	if err == nil && out == nil {
		err = noWorkspace(id)
	}
	return out, err
}

func (e *Emulator) adminAct(r *http.Request) (any, error) {
	return e.act(r, func(time.Time) (string, error) { return r.PathValue("id"), nil })
}

// adminActOnUser does it to the one WorkSpace that a user has.
func (e *Emulator) adminActOnUser(r *http.Request) (any, error) {
	user, directory := r.PathValue("user"), r.URL.Query().Get("directory")
	return e.act(r, func(now time.Time) (string, error) {
		var ids []string
		for _, o := range e.world.order {
			if v := o.at(now); v.State != stateAbsent && strings.EqualFold(v.User, user) && (directory == "" || directory == v.DirectoryID) {
				ids = append(ids, v.ID)
			}
		}
		switch len(ids) {
		case 0:
			return "", none("user %q has no WorkSpace", user)
		case 1:
			return ids[0], nil
		}
		return "", conflict("user " + user + " has several WorkSpaces; say which with ?directory=")
	})
}

func (e *Emulator) act(r *http.Request, on func(now time.Time) (string, error)) (any, error) {
	name := r.PathValue("action")
	action, ok := outsideActions[name]
	if !ok {
		return nil, none("there is no action %q", name)
	}
	var in actionInput
	if err := readBody(r, &in); err != nil {
		return nil, err
	}
	for member := range plain(in) {
		if !slices.Contains(strings.Fields(action.takes), member) {
			return nil, bad("%s means nothing to %s", member, name)
		}
	}
	return e.changeOutside(on, func(w *workspace, now time.Time) error { return action.do(e, w, in, now) })
}

// changeOutside does something to a WorkSpace, which must record it, and shows what has become of it.
func (e *Emulator) changeOutside(on func(now time.Time) (string, error), do func(w *workspace, now time.Time) error) (any, error) {
	var out any
	err := e.alter(func(now time.Time) error {
		id, err := on(now)
		if err != nil {
			return err
		}
		w, ok := e.world.find("", id, now)
		if !ok {
			return noWorkspace(id)
		}
		w.Speed = e.speed
		if err := do(&w, now); err != nil {
			return err
		}
		w, _ = e.world.find("", id, now)
		out = w.admin(now)
		return nil
	})
	return out, err
}

func (e *Emulator) adminSetTags(r *http.Request) (any, error) {
	var in struct {
		Tags map[string]string `json:"tags"`
	}
	if err := readBody(r, &in); err != nil {
		return nil, err
	}
	if in.Tags == nil {
		return nil, bad("tags are required; DELETE loses them")
	}
	return e.giveTags(r.PathValue("id"), in.Tags)
}

func (e *Emulator) adminLoseTags(r *http.Request) (any, error) {
	return e.giveTags(r.PathValue("id"), nil)
}

func (e *Emulator) giveTags(id string, tags map[string]string) (any, error) {
	if len(tags) > 0 {
		if err := asAmazonWould("CreateTags", createTagsInput{ResourceId: id, Tags: wireTags(tags)}); err != nil {
			return nil, err
		}
		if err := refused(checkTags(wireTags(tags))); err != nil {
			return nil, err
		}
	}
	return e.changeOutside(func(time.Time) (string, error) { return id, nil }, func(w *workspace, _ time.Time) error {
		w.Tags = maps.Clone(tags)
		return e.commit(w)
	})
}

// What somebody else's WorkSpace is made of when nothing else is said.
const (
	strangersBundle = "wsb-v26vg2847"
	strangersPCoIP  = "wsb-svytzjdyc"
)

// adminCreate makes a WorkSpace that its manager knows nothing of, by Amazon's rules.
func (e *Emulator) adminCreate(r *http.Request) (any, error) {
	var in struct {
		User        string            `json:"user"`
		Directory   string            `json:"directory"`
		Bundle      string            `json:"bundle"`
		Protocol    string            `json:"protocol"`
		RunningMode string            `json:"running_mode"`
		AutoStop    *int              `json:"auto_stop_minutes"`
		Tags        map[string]string `json:"tags"`
	}
	if err := readBody(r, &in); err != nil {
		return nil, err
	}
	asked := &propertiesInput{RunningMode: in.RunningMode, RunningModeAutoStopTimeoutInMinutes: in.AutoStop}
	if in.Protocol != "" {
		asked.Protocols = []string{in.Protocol}
	}
	if in.Bundle == "" {
		in.Bundle = strangersBundle
		if in.Protocol == "PCOIP" {
			in.Bundle = strangersPCoIP
		}
	}
	input := createInput{[]createItem{{DirectoryId: in.Directory, UserName: in.User, BundleId: in.Bundle, WorkspaceProperties: asked, Tags: wireTags(in.Tags)}}}
	if err := asAmazonWould("CreateWorkspaces", input); err != nil {
		return nil, err
	}
	var out any
	err := e.alter(func(now time.Time) error {
		d, ok := e.world.directories[in.Directory]
		if !ok {
			return none("there is no directory %q", in.Directory)
		}
		answer, err := createWorkspaces(e, &call{region: d.Region, at: now}, input)
		if err != nil {
			return refused(err)
		}
		for _, failed := range list(plain(answer)["FailedRequests"]) {
			return conflict(text(failed, "ErrorCode") + ": " + text(failed, "ErrorMessage"))
		}
		for _, made := range list(plain(answer)["PendingRequests"]) {
			w, _ := e.world.find("", text(made, "WorkspaceId"), now)
			out = w.admin(now)
		}
		return nil
	})
	return out, err
}
