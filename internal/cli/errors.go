package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"github.com/robco-forge/forge/client"
)

// What a command ends with. Scripts decide by them.
const (
	exitOK         = 0
	exitFailed     = 1
	exitUsage      = 2
	exitDenied     = 3
	exitOverBudget = 4
)

// UsageError is a command line that makes no sense; nothing was done.
type UsageError struct {
	Err     error
	Command string // whose help to read; may be empty
}

func (e UsageError) Error() string { return e.Err.Error() }

// Unwrap is what was wrong.
func (e UsageError) Unwrap() error { return e.Err }

func usageError(c *cobra.Command, err error) error {
	return UsageError{Err: err, Command: c.CommandPath()}
}

// APIError is the server's refusal.
type APIError struct {
	Status  int // of HTTP; a gateway before the server may have said it without a problem
	Problem client.Problem
}

func (e *APIError) Error() string {
	if e.Problem.Detail != "" {
		return e.Problem.Detail
	}
	return strings.TrimSpace(fmt.Sprintf("the server answered %d %s", e.Status, http.StatusText(e.Status)))
}

// hint is an error together with what to do about it.
type hint struct {
	error
	try string
}

func (h hint) Unwrap() error { return h.error }

// ExitCode is what the program ends with: 0 done, 1 failed, 2 used wrongly, 3 denied, 4 over budget.
func ExitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if _, ok := errors.AsType[UsageError](err); ok {
		return exitUsage
	}
	if refused, ok := errors.AsType[*APIError](err); ok {
		switch refused.Status {
		case http.StatusUnauthorized, http.StatusForbidden:
			return exitDenied
		case http.StatusPaymentRequired:
			return exitOverBudget
		}
		return exitFailed
	}
	// The root's own complaints have no type.
	for _, prefix := range []string{"unknown command ", "unknown flag: ", "unknown shorthand flag: ", "required flag(s) "} {
		if strings.HasPrefix(err.Error(), prefix) {
			return exitUsage
		}
	}
	return exitFailed
}

// PrintError says what went wrong and what to do about it, in colour where w is a terminal and NO_COLOR is not set.
func PrintError(w io.Writer, err error) {
	if err == nil {
		return
	}
	var b strings.Builder
	message, try := err.Error(), ""
	if h, ok := errors.AsType[hint](err); ok {
		try = h.try
	}
	if u, ok := errors.AsType[UsageError](err); ok && u.Command != "" {
		try = u.Command + " --help"
	}
	if errors.Is(err, context.Canceled) && message == context.Canceled.Error() {
		message = "interrupted"
	}
	// Joined errors are ours and have lines; a line of the server's is always one line.
	lines := strings.Split(message, "\n")
	refused, ok := errors.AsType[*APIError](err)
	if ok {
		lines = []string{message}
	}
	fmt.Fprintf(&b, "%s %s\n", paint(styleBad, "Error:"), printable(lines[0]))
	for _, line := range lines[1:] {
		fmt.Fprintf(&b, "       %s\n", printable(line))
	}
	if ok {
		p := refused.Problem
		if p.SuggestedAction != nil && *p.SuggestedAction != "" {
			try = *p.SuggestedAction
		} else if try == "" && refused.Status == http.StatusUnauthorized {
			try = "`forge login --token …`"
		}
		printDetails(&b, p.Details)
	}
	if try != "" {
		fmt.Fprintf(&b, "%s %s\n", paint(styleGood, "Try:"), printable(try))
	}
	if ok {
		var facts []string
		if refused.Problem.Code != "" {
			facts = append(facts, "Code: "+printable(refused.Problem.Code))
		}
		if id := refused.Problem.Instance; id != nil && *id != "" {
			facts = append(facts, "Request: "+printable(*id))
		}
		if len(facts) > 0 {
			fmt.Fprintln(&b, paint(styleDim, strings.Join(facts, "   ")))
		}
	}
	_, _ = lipgloss.Fprint(w, b.String()) // nobody left to be told
}

// printDetails shows the facts of a refusal, one a line.
func printDetails(b *strings.Builder, details *map[string]any) {
	if details == nil {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(*details)) {
		list, isList := (*details)[key].([]any)
		if !isList {
			list = []any{(*details)[key]}
		}
		for _, item := range list {
			fmt.Fprintf(b, "  %s: %s\n", printable(key), printable(brief(item)))
		}
	}
}

// brief is a value of JSON on one line.
func brief(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case map[string]any:
		parts := make([]string, 0, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, key+"="+brief(v[key]))
		}
		return strings.Join(parts, " ")
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

// unreached is a request without an answer.
type unreached struct {
	api   string
	cause error
}

func (u unreached) Error() string {
	return fmt.Sprintf("cannot reach the server at %s: %v", u.api, u.cause)
}

func (u unreached) Unwrap() error { return u.cause }

// unreachable says in a person's words why there was no answer.
func unreachable(api string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	cause := err
	if u, ok := errors.AsType[*url.Error](err); ok {
		cause = u.Err
	}
	if sys, ok := errors.AsType[*os.SyscallError](cause); ok {
		cause = sys.Err
	}
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() {
		cause = fmt.Errorf("no answer within %s", requestTimeout)
	}
	return hint{unreached{api, cause}, "see that it runs (`forge dev` runs one on this machine), and that `forge context list` has the right address"}
}
