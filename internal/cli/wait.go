package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
)

// waiting is what the flags say about staying until it is done.
type waiting struct {
	wanted  bool
	timeout time.Duration
}

func (w *waiting) flags(c *cobra.Command) {
	c.Flags().BoolVar(&w.wanted, "wait", false, "stay until it is done")
	c.Flags().DurationVar(&w.timeout, "wait-timeout", 45*time.Minute, "how long to stay")
}

// A WorkSpace is asked after often at first, when people look, and less often later.
const (
	pollSoon  = time.Second
	pollLater = 5 * time.Second
	soon      = time.Minute
)

// wait stays until the WorkSpace is in the target state, or cannot come to it, or the time is over. It returns the last
// that was seen, and its JSON unless that is still the first.
func (s *session) wait(ws client.Workspace, target string, timeout time.Duration) (client.Workspace, json.RawMessage, error) {
	started, seen, held, told := s.now(), "", "", false
	var raw json.RawMessage
	unsure := false
	defer s.progressDone()
	for {
		if usual := expected(ws); usual != "" && !told {
			s.note("Expected: %s.", printable(usual))
			told = true
		}
		if why := waitingFor(ws); why != "" && why != held {
			s.progressDone()
			s.note("Waiting: %s.", printable(why))
			held = why
		}
		if string(ws.State) != seen && !s.errTTY {
			s.note("%s", progress(ws))
			seen = string(ws.State)
		}
		if done, err := settled(ws, target); done {
			return ws, raw, err
		}
		elapsed := s.now().Sub(started)
		if elapsed >= timeout {
			return ws, raw, hint{fmt.Errorf("%s is still %s after %s; it goes on without us", ws.Id, ws.State, timeout), "`forge describe " + ws.Id + "`"}
		}
		if err := s.untilNextPoll(ws, started, min(pollAfter(elapsed), timeout-elapsed)); err != nil {
			return ws, raw, hint{fmt.Errorf("interrupted; what happens to %s goes on without us: %w", ws.Id, err), "`forge describe " + ws.Id + "`"}
		}
		next, body, err := s.workspace(ws.Id)
		switch {
		case err == nil:
			ws, raw, unsure = next, body, false
		case s.ctx.Err() != nil:
			continue // the next pause says so
		case !passing(err):
			return ws, raw, err
		case !unsure:
			unsure = true
			s.progressDone()
			s.note("The server does not answer (%s); still trying.", printable(err.Error()))
		}
	}
}

func pollAfter(elapsed time.Duration) time.Duration {
	if elapsed < soon {
		return pollSoon
	}
	return pollLater
}

// untilNextPoll waits; on a terminal the seconds go on.
func (s *session) untilNextPoll(ws client.Workspace, started time.Time, d time.Duration) error {
	for d > 0 {
		step := d
		if s.errTTY {
			step = min(d, time.Second)
			_, _ = fmt.Fprintf(s.Err, "\r\x1b[K%s  %s", clip(progress(ws), 60), s.now().Sub(started).Round(time.Second)) // nobody left to be told
		}
		if err := s.pause(s.ctx, step); err != nil {
			return err
		}
		d -= step
	}
	return nil
}

// progressDone takes the live line away.
func (s *session) progressDone() {
	if s.errTTY {
		_, _ = fmt.Fprint(s.Err, "\r\x1b[K") // nobody left to be told
	}
}

// progress is a WorkSpace in one line.
func progress(ws client.Workspace) string {
	line := printable(ws.Id) + "  " + printable(string(ws.State))
	if ws.StateReason != "" {
		line += "  " + printable(ws.StateReason)
	}
	return line
}

// waitingFor is why a WorkSpace on its way does not go on; empty when it does.
func waitingFor(ws client.Workspace) string {
	if ws.Provisioning == nil || ws.Provisioning.Waiting == nil {
		return ""
	}
	return *ws.Provisioning.Waiting
}

func clip(s string, width int) string {
	if r := []rune(s); len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return s
}

// targetDone is for what has no state to come to: it is over when nothing is under way any more.
const targetDone = ""

// settled tells whether waiting is over, and whether it was in vain.
func settled(ws client.Workspace, target string) (bool, error) {
	if target == targetDone {
		resting := ws.State == "AVAILABLE" || ws.State == "STOPPED" || ws.State == "IMPAIRED" || ws.State == "TERMINATED"
		if !resting || ws.UnderWay != nil && *ws.UnderWay != "" || ws.Change != nil {
			return false, nil
		}
		if ws.ErrorCode != nil && *ws.ErrorCode != "" {
			message := ""
			if ws.ErrorMessage != nil {
				message = *ws.ErrorMessage
			}
			return true, hint{fmt.Errorf("%s: %s: %s", ws.Id, *ws.ErrorCode, message), "`forge events " + ws.Id + "`"}
		}
		return true, nil
	}
	if string(ws.State) == target {
		return true, nil
	}
	// What is on its way out may well have failed before.
	if target == "TERMINATED" && ws.Desired == "TERMINATED" {
		return false, nil
	}
	reason := ""
	for _, part := range []*string{ws.ErrorCode, ws.ErrorMessage} {
		if part != nil && *part != "" {
			reason += ": " + *part
		}
	}
	if reason == "" && ws.StateReason != "" {
		reason = ": " + ws.StateReason
	}
	try := "`forge events " + ws.Id + "`"
	switch ws.State {
	case "FAILED", "TERMINATED", "CONFLICT":
		return true, hint{fmt.Errorf("%s is %s%s", ws.Id, ws.State, reason), try}
	default:
	}
	if ws.Desired != "" && string(ws.Desired) != target {
		return true, hint{fmt.Errorf("%s is to be %s now, not %s%s", ws.Id, ws.Desired, target, reason), try}
	}
	return false, nil
}

// passing tells whether an error may be gone at the next poll.
func passing(err error) bool {
	if refused, ok := errors.AsType[*APIError](err); ok {
		return refused.Status >= http.StatusInternalServerError || refused.Status == http.StatusTooManyRequests
	}
	_, ok := errors.AsType[unreached](err)
	return ok
}
