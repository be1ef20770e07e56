package emulator

import (
	"time"
)

type describeConnectionsInput struct {
	WorkspaceIds []string
	NextToken    string
}

type wireConnection struct {
	WorkspaceId                      string
	ConnectionState                  string
	ConnectionStateCheckTimestamp    wireTime
	LastKnownUserConnectionTimestamp *wireTime `json:",omitempty"`
}

// describeConnections leaves out WorkSpaces that have never run, those that ended in ERROR instead among them: nothing has
// checked on them yet.
func describeConnections(e *Emulator, c *call, in describeConnectionsInput) (any, error) {
	found := e.visible(c, func(w *workspace) bool { return anyOrIn(in.WorkspaceIds, w.ID) })
	kept := found[:0]
	for _, w := range found {
		if w.checkedOn() {
			kept = append(kept, w)
		}
	}
	found, next, err := page(c, kept, func(w workspace) int64 { return w.Seq }, 0, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := struct {
		WorkspacesConnectionStatus []wireConnection
		NextToken                  string `json:",omitempty"`
	}{make([]wireConnection, 0, len(found)), next}
	for i := range found {
		out.WorkspacesConnectionStatus = append(out.WorkspacesConnectionStatus, found[i].connection(c.at))
	}
	return out, nil
}

// checkedOn reports whether anything is known of the user's connection. w must be as of now.
func (w *workspace) checkedOn() bool { return !w.AvailableAt.IsZero() }

// connection is what Amazon knows of the user's connection. w must be as of now.
func (w *workspace) connection(now time.Time) wireConnection {
	checked := w.checked(now)
	out := wireConnection{
		WorkspaceId:                   w.ID,
		ConnectionState:               "UNKNOWN", // nobody can be asked while it is not running
		ConnectionStateCheckTimestamp: wireTime(checked),
	}
	last := w.DisconnectedAt
	switch {
	case w.online(now):
		out.ConnectionState = "CONNECTED"
		last = checked
	case w.State == stateAvailable, w.State == stateStopping:
		out.ConnectionState = "DISCONNECTED"
	}
	if !last.IsZero() {
		out.LastKnownUserConnectionTimestamp = (*wireTime)(&last)
	}
	return out
}

// checked is when the connection was last looked at: every five minutes, and when it last changed, so that
// what is reported was true at that time.
func (w *workspace) checked(now time.Time) time.Time {
	every := pace(connectionCheck, w.Speed)
	at := now
	if every > 0 {
		at = now.Add(-(now.Sub(w.Created) % every))
	}
	for _, changed := range []time.Time{w.Since, w.ConnectedAt, w.DisconnectedAt} {
		if changed.After(at) && !changed.After(now) {
			at = changed
		}
	}
	return at
}
