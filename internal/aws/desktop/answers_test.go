package desktop

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"

	"github.com/robco-forge/forge/internal/workspace"
)

// answering is a provider of a server that answers as it is told; it counts requests.
func answering(t *testing.T, answer http.HandlerFunc) (*Provider, *atomic.Int32) {
	t.Helper()
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return New(configFor(server)), &requests
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func saysType(status int, code string) http.HandlerFunc {
	return says(status, fmt.Sprintf(`{"__type":%q,"message":"because"}`, code))
}

func TestAnswersOfAWriteHaveTheirClassesAndAreNotAskedForAgain(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		class  workspace.Class
		times  int32
	}{
		"HTML 200":      {says(200, "<html>Welcome to the hotel</html>"), workspace.Ambiguous, 1},
		"HTML 502":      {says(502, "<html>Bad gateway</html>"), workspace.Ambiguous, 1},
		"HTML 403":      {says(403, "<html>Forbidden</html>"), workspace.Ambiguous, 1},
		"HTML 429":      {says(429, "<html>Slowly</html>"), workspace.Throttled, 1},
		"cut off":       {says(200, `{"FailedRequests":[`), workspace.Ambiguous, 1},
		"500":           {saysType(500, "InternalFailure"), workspace.Ambiguous, 1},
		"503":           {saysType(503, "ServiceUnavailable"), workspace.Ambiguous, 1},
		"504 rejecting": {saysType(504, "ValidationException"), workspace.Ambiguous, 1},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, workspace.Ambiguous, 1},
		"quota of another service": {saysType(400, "LimitExceededException"), workspace.Ambiguous, 1},
		"unknown":                  {saysType(400, "PhaseOfTheMoonException"), workspace.Ambiguous, 1},
		"in progress":              {saysType(400, "OperationInProgressException"), workspace.NotNow, 1},
		"state":                    {saysType(400, "com.amazonaws.workspaces#InvalidResourceStateException"), workspace.NotNow, 1},
		"unavailable":              {saysType(400, "ResourceUnavailableException"), workspace.NotNow, 1},
		"denied":                   {saysType(400, "AccessDeniedException"), workspace.Blocked, 1},
		"role":                     {saysType(400, "WorkspacesDefaultRoleNotFoundException"), workspace.Blocked, 1},
		"network":                  {saysType(400, "UnsupportedNetworkConfigurationException"), workspace.Blocked, 1},
		"credentials":              {saysType(400, "UnrecognizedClientException"), workspace.Blocked, 1},
		"expired":                  {saysType(400, "ExpiredTokenException"), workspace.Blocked, 1},
		"validation":               {saysType(400, "ValidationException"), workspace.Rejected, 1},
		"parameters":               {saysType(400, "InvalidParameterValuesException"), workspace.Rejected, 1},
		"not found":                {saysType(400, "ResourceNotFoundException"), workspace.Gone, 1},
		"throttled":                {saysType(400, "ThrottlingException"), workspace.Throttled, 3},
		"throttled with a 503":     {saysType(503, "SlowDown"), workspace.Throttled, 3},
		"item, throttled":          {says(200, `{"FailedRequests":[{"ErrorCode":"Throttling"}]}`), workspace.Throttled, 1},
		"item, unknown":            {says(200, `{"FailedRequests":[{"ErrorCode":"PhaseOfTheMoon"}]}`), workspace.Ambiguous, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p, requests := answering(t, c.answer)
			wantClass(t, one(p.Stop(t.Context(), home, []string{"ws-000000000"})), c.class)
			if got := requests.Load(); got != c.times {
				t.Errorf("sent %d times, want %d", got, c.times)
			}
		})
	}
}

func TestAnswersOfACreateAreReadForTheOneThatWasAskedFor(t *testing.T) {
	const bundles = `{"Bundles":[{"BundleId":"wsb-000000001","Name":"Standard with Windows","ComputeType":{"Name":"STANDARD"}}]}`
	pending := func(directory, user, made string) string {
		return fmt.Sprintf(`{"PendingRequests":[{"DirectoryId":%q,"UserName":%q,"WorkspaceId":%q}]}`, directory, user, made)
	}
	failed := func(code string) string {
		return fmt.Sprintf(`{"FailedRequests":[{"ErrorCode":%q,"ErrorMessage":"because","WorkspaceRequest":{"DirectoryId":%q,"UserName":"ALICE","BundleId":"wsb-000000001"}}]}`, code, directory)
	}
	for name, c := range map[string]struct {
		status int
		answer string
		class  workspace.Class // of the error, unless the id comes
		made   string
	}{
		"ours, in other case":  {200, pending(directory, "Alice", "ws-000000001"), 0, "ws-000000001"},
		"another user's":       {200, pending(directory, "bob", "ws-000000001"), workspace.Ambiguous, ""},
		"another directory's":  {200, pending(elsewhere, "alice", "ws-000000001"), workspace.Ambiguous, ""},
		"without an id":        {200, pending(directory, "alice", ""), workspace.Ambiguous, ""},
		"nothing":              {200, `{}`, workspace.Ambiguous, ""},
		"configuration":        {200, failed("InvalidUserConfiguration.Workspace"), workspace.Rejected, ""},
		"timeout not its mode": {200, failed("AutoStopTimeoutIsNotApplicableForAnAlwaysOnWorkspace"), workspace.Rejected, ""},
		"some other existence": {200, failed("ResourceExists.Computer"), workspace.Exists, ""},
		"some other absence":   {200, failed("ResourceNotFound.KmsKey"), workspace.Blocked, ""},
		"bundle, just read":    {200, failed("ResourceNotFound.Bundle"), workspace.Rejected, ""},
		"unknown":              {200, failed("PhaseOfTheMoon"), workspace.Blocked, ""},
		"internal":             {200, failed("InternalFailure"), workspace.Ambiguous, ""},
		"not found":            {400, `{"__type":"ResourceNotFoundException","message":"because"}`, workspace.Blocked, ""},
		"limit":                {400, `{"__type":"ResourceLimitExceededException","message":"because"}`, workspace.Blocked, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := answering(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".DescribeWorkspaceBundles") {
					says(200, bundles)(w, r)
					return
				}
				says(c.status, c.answer)(w, r)
			})
			made, err := p.Create(t.Context(), spec("alice"))
			if c.made != "" {
				if err != nil || made != c.made {
					t.Errorf("made %q: %v", made, err)
				}
				return
			}
			pe := wantClass(t, err, c.class)
			if pe.Class == workspace.Rejected && pe.Message != "because" {
				t.Errorf("message %q", pe.Message)
			}
		})
	}
}

func TestPagesAreReadUntilThereIsNoToken(t *testing.T) {
	const one = `{"Workspaces":[{"WorkspaceId":"ws-00000000%c","State":"AVAILABLE"}]%s}`
	p, _ := answering(t, func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, 1000)
		n, _ := r.Body.Read(body)
		asked := string(body[:n])
		switch {
		case strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".DescribeTags"):
			says(200, `{"TagList":[]}`)(w, r)
		case strings.Contains(asked, `"NextToken":"b"`):
			says(200, fmt.Sprintf(one, '2', ""))(w, r)
		case strings.Contains(asked, `"NextToken":"a"`):
			says(200, `{"Workspaces":[],"NextToken":"b"}`)(w, r)
		default:
			says(200, fmt.Sprintf(one, '1', `,"NextToken":"a"`))(w, r)
		}
	})
	found, err := p.Find(t.Context(), home, directory, "alice")
	if err != nil || len(found) != 2 || found[0].ProviderID != "ws-000000001" || found[1].ProviderID != "ws-000000002" {
		t.Errorf("found %v: %v", found, err)
	}
}

func TestAListWithoutAnEndIsGivenUp(t *testing.T) {
	p, requests := answering(t, says(200, `{"Workspaces":[],"NextToken":"again"}`))
	_, err := p.Find(t.Context(), home, directory, "alice")
	wantClass(t, err, workspace.Ambiguous)
	if got := requests.Load(); got != 2 {
		t.Errorf("%d requests", got)
	}
}

func TestAWorkSpaceWhoseTagsCannotBeFoundIsNeitherOursNorAStranger(t *testing.T) {
	p, _ := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".DescribeTags") {
			saysType(400, "ResourceNotFoundException")(w, r)
			return
		}
		says(200, `{"Workspaces":[{"WorkspaceId":"ws-000000001","State":"TERMINATED"}]}`)(w, r)
	})
	if found, err := p.Find(t.Context(), home, directory, "alice"); err != nil || len(found) != 0 {
		t.Errorf("found %v: %v", found, err)
	}
}

func TestOneBundleIsChosenOfMany(t *testing.T) {
	bundle := func(id, name, compute string) types.WorkspaceBundle {
		return types.WorkspaceBundle{
			BundleId: aws.String(id), Name: aws.String(name), ComputeType: &types.ComputeType{Name: types.Compute(compute)},
		}
	}
	all := []types.WorkspaceBundle{
		bundle("pcoip", "A Standard with Windows 10 (PCoIP)", "STANDARD"),
		bundle("silent", "B Standard with Windows 10", "STANDARD"),
		bundle("office", "C Standard with Windows 10 and Office 2019 (WSP)", "STANDARD"),
		bundle("late", "E Standard with Windows 10 (WSP)", "STANDARD"),
		bundle("second", "D Standard with Windows 10 (WSP)", "STANDARD"),
		bundle("first", "D Standard with Windows 10 (WSP)", "STANDARD"),
		bundle("power", "Power with Windows 10 (DCV)", "POWER"),
		bundle("silentValue", "Value with Windows 10", "VALUE"),
		bundle("onlyPCoIP", "PowerPro with Windows 10 (PCoIP)", "POWERPRO"),
		bundle("al2023", "Standard with Amazon Linux 2023 (WSP)", "STANDARD"),
		bundle("al2", "Standard with Amazon Linux 2 (WSP)", "STANDARD"),
		bundle("rhel", "Standard with Red Hat Enterprise Linux 8", "STANDARD"),
		bundle("rocky", "Standard with Rocky Linux 8", "STANDARD"),
		bundle("ubuntu", "Standard with Ubuntu 22.04", "STANDARD"),
		{BundleId: aws.String("nothing")},
	}
	described := bundle("described", "Performance", "PERFORMANCE")
	described.Description = aws.String("Windows 10 (Server 2022 based), DCV")
	standby := bundle("standby", "A Performance with Windows 10 (WSP)", "PERFORMANCE")
	standby.BundleType = types.BundleTypeStandby
	broken := bundle("broken", "A Performance with Windows 10 (WSP)", "PERFORMANCE")
	broken.State = types.WorkspaceBundleStateError
	all = append(all, described, standby, broken)

	for _, c := range []struct{ compute, system, want string }{
		{"STANDARD", "WINDOWS", "first"},
		{"POWER", "WINDOWS", "power"},
		{"VALUE", "WINDOWS", "silentValue"},
		{"POWERPRO", "WINDOWS", ""},
		{"PERFORMANCE", "WINDOWS", "described"},
		{"STANDARD", "AMAZON_LINUX_2", "al2"},
		{"STANDARD", "RHEL", "rhel"},
		{"STANDARD", "ROCKY", "rocky"},
		{"STANDARD", "UBUNTU", "ubuntu"},
		{"POWER", "UBUNTU", ""},
		{"STANDARD", "", ""},
	} {
		if got, ok := choose(all, c.compute, c.system); got != c.want || ok != (c.want != "") {
			t.Errorf("%s with %s: %q, want %q", c.compute, c.system, got, c.want)
		}
	}
}
