package emulator_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/aws/smithy-go"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

func TestEveryAnswerCarriesARequestIDAndTheRealDate(t *testing.T) {
	b := newBench(t) // whose clock stands in March
	ids := map[string]bool{}
	for _, op := range []string{"DescribeWorkspaces", "NoSuchOperation"} {
		_, _, header := b.send(op, "{}")
		if got := header.Get("Content-Type"); got != "application/x-amz-json-1.1" {
			t.Errorf("%s: Content-Type %q", op, got)
		}
		id := header.Get("x-amzn-RequestId")
		if len(id) != 36 || ids[id] {
			t.Errorf("%s: request id %q is not a new UUID", op, id)
		}
		ids[id] = true
		date, err := http.ParseTime(header.Get("Date"))
		if err != nil || time.Since(date).Abs() > time.Minute {
			t.Errorf("%s: Date %q is not now", op, header.Get("Date"))
		}
	}
}

func TestARequestThatMakesNoSenseIsRefusedInAmazonsWords(t *testing.T) {
	b := newBench(t)
	many := strings.TrimSuffix(strings.Repeat(`{"WorkspaceId":"ws-123456789"},`, 26), ",")
	create := func(members string) string {
		return `{"Workspaces":[{"DirectoryId":"d-926722edaf","UserName":"alice","BundleId":"wsb-v26vg2847",` + members + `}]}`
	}
	for name, c := range map[string]struct {
		op, body   string
		wantType   string
		wantPhrase string
	}{
		"unknown operation":  {"NoSuchOperation", "{}", "UnknownOperationException", ""},
		"no JSON":            {"DescribeWorkspaces", "{", "SerializationException", ""},
		"two JSON values":    {"DescribeWorkspaces", "{} {}", "SerializationException", ""},
		"a list at the top":  {"DescribeWorkspaces", "[]", "SerializationException", ""},
		"null at the top":    {"DescribeWorkspaces", "null", "SerializationException", ""},
		"number for text":    {"DescribeWorkspaces", `{"DirectoryId":7}`, "SerializationException", ""},
		"text for a list":    {"DescribeWorkspaces", `{"WorkspaceIds":"ws-123456789"}`, "SerializationException", ""},
		"fraction":           {"DescribeWorkspaces", `{"Limit":1.5}`, "SerializationException", ""},
		"too big an integer": {"DescribeWorkspaces", `{"Limit":99999999999}`, "SerializationException", ""},
		"text for a boolean": {"CreateWorkspaces", create(`"RootVolumeEncryptionEnabled":"yes"`), "SerializationException", ""},
		"limit too large": {
			"DescribeWorkspaces", `{"Limit":26}`, "ValidationException",
			"1 validation error detected: Value '26' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 25",
		},
		"limit too small": {
			"DescribeWorkspaces", `{"Limit":0}`, "ValidationException",
			"Value '0' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1",
		},
		"required is missing": {
			"CreateWorkspaces", `{}`, "ValidationException",
			"1 validation error detected: Value null at 'workspaces' failed to satisfy constraint: Member must not be null",
		},
		"null is missing": {"CreateWorkspaces", `{"Workspaces":null}`, "ValidationException", "Value null at 'workspaces'"},
		"null in a list":  {"CreateWorkspaces", `{"Workspaces":[null]}`, "ValidationException", "Value null at 'workspaces.1.member'"},
		"empty list":      {"CreateWorkspaces", `{"Workspaces":[]}`, "ValidationException", "Member must have length greater than or equal to 1"},
		"26 of 25":        {"StopWorkspaces", `{"StopWorkspaceRequests":[` + many + `]}`, "ValidationException", "at 'stopWorkspaceRequests' failed to satisfy constraint: Member must have length less than or equal to 25"},
		"required in an item": {
			"TerminateWorkspaces", `{"TerminateWorkspaceRequests":[{}]}`, "ValidationException",
			"Value null at 'terminateWorkspaceRequests.1.member.workspaceId'",
		},
		"pattern": {
			"CreateWorkspaces", `{"Workspaces":[{"DirectoryId":"d-926722edaf","UserName":"alice","BundleId":"gold"}]}`, "ValidationException",
			"1 validation error detected: Value 'gold' at 'workspaces.1.member.bundleId' failed to satisfy constraint: Member must satisfy regular expression pattern: ^wsb-[0-9a-z]{8,63}$",
		},
		"pattern with a line end": {"DescribeWorkspaces", `{"WorkspaceIds":["ws-123456789\n"]}`, "ValidationException", "workspaceIds.1.member"},
		"two at once":             {"CreateWorkspaces", `{"Workspaces":[{"DirectoryId":"d-926722edaf","UserName":""}]}`, "ValidationException", "2 validation errors detected: "},
		"long name":               {"CreateWorkspaces", `{"Workspaces":[{"DirectoryId":"d-926722edaf","UserName":"` + strings.Repeat("ü", 64) + `","BundleId":"wsb-v26vg2847"}]}`, "ValidationException", "Member must have length less than or equal to 63"},
		"enum": {
			"CreateWorkspaces", create(`"WorkspaceProperties":{"RunningMode":"SOMETIMES"}`), "ValidationException",
			"Value 'SOMETIMES' at 'workspaces.1.member.workspaceProperties.runningMode' failed to satisfy constraint: Member must satisfy enum value set: [AUTO_STOP, ALWAYS_ON, MANUAL]",
		},
		"enum in a list": {"CreateWorkspaces", create(`"WorkspaceProperties":{"Protocols":["RDP"]}`), "ValidationException", "workspaceProperties.protocols.1.member"},
		"tag key":        {"CreateTags", `{"ResourceId":"ws-123456789","Tags":[{"Key":""}]}`, "ValidationException", "tags.1.member.key"},
		"tag value":      {"CreateTags", `{"ResourceId":"ws-123456789","Tags":[{"Key":"k","Value":"` + strings.Repeat("v", 256) + `"}]}`, "ValidationException", "tags.1.member.value"},
		"too many tags":  {"CreateWorkspaces", create(`"Tags":[` + tagsJSON(51) + `]`), "InvalidParameterValuesException", "50 tags"},
		"reserved tag":   {"CreateWorkspaces", create(`"Tags":[{"Key":"aws:x"}]`), "InvalidParameterValuesException", "reserved"},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer, _ := b.send(c.op, c.body)
			message, _ := answer["message"].(string)
			if status != http.StatusBadRequest || answer["__type"] != c.wantType || !strings.Contains(message, c.wantPhrase) {
				t.Errorf("got %d %v: %q\nwant 400 %s: …%s…", status, answer["__type"], message, c.wantType, c.wantPhrase)
			}
		})
	}
	if got := b.adminAll(); len(got) != 0 {
		t.Errorf("refused requests made %v", got)
	}
}

func tagsJSON(n int) string {
	var tags []string
	for i := range n {
		tags = append(tags, `{"Key":"k`+strings.Repeat("x", i)+`","Value":"v"}`)
	}
	return strings.Join(tags, ",")
}

func TestWhatIsNotARequestOfTheAPIIsAnUnknownOperation(t *testing.T) {
	b := newBench(t)
	for name, change := range map[string]func(*http.Request){
		"GET":                func(r *http.Request) { r.Method = http.MethodGet },
		"other path":         func(r *http.Request) { r.URL.Path = "/workspaces" },
		"other content type": func(r *http.Request) { r.Header.Set("Content-Type", "application/json") },
		"other service":      func(r *http.Request) { r.Header.Set("X-Amz-Target", "EC2.DescribeWorkspaces") },
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.server.URL+"/", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		r.Header.Set("X-Amz-Target", "WorkspacesService.DescribeWorkspaces")
		change(r)
		res, err := b.server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: status %d", name, res.StatusCode)
		}
	}
}

func TestABodyOfMoreThanAMebibyteIsRefused(t *testing.T) {
	b := newBench(t)
	status, answer, _ := b.send("DescribeWorkspaces", `{"X":"`+strings.Repeat("x", 1<<20)+`"}`)
	if status != http.StatusRequestEntityTooLarge || answer["__type"] != "RequestEntityTooLargeException" {
		t.Errorf("got %d %v", status, answer)
	}
}

func TestUnknownMembersAndNullsAreIgnored(t *testing.T) {
	b := newBench(t)
	for _, body := range []string{``, `{}`, `{"Later":{"x":[1]},"workspaceIds":"other case","Limit":null}`} {
		if status, answer, _ := b.send("DescribeWorkspaces", body); status != http.StatusOK {
			t.Errorf("%q: got %d %v", body, status, answer)
		}
	}
}

func TestAnswersHaveNoNullsAndTimesAreNumbers(t *testing.T) {
	b := newBench(t)
	id := b.available(request("alice"))
	b.clock.advance(1234567 * time.Microsecond)
	_, answer, _ := b.send("DescribeWorkspacesConnectionStatus", `{"WorkspaceIds":["`+id+`"]}`)
	status := answer["WorkspacesConnectionStatus"].([]any)[0].(map[string]any)
	checked, ok := status["ConnectionStateCheckTimestamp"].(float64)
	if at := time.UnixMilli(int64(checked*1000 + 0.5)); !ok || b.clock.Now().Sub(at) > 5*time.Minute || at.After(b.clock.Now()) {
		t.Errorf("checked at %v", status["ConnectionStateCheckTimestamp"])
	}
	if last, there := status["LastKnownUserConnectionTimestamp"]; there {
		t.Errorf("nobody ever connected, but the last time is %v", last)
	}
	_, answer, _ = b.send("DescribeWorkspaces", `{}`)
	w := answer["Workspaces"].([]any)[0].(map[string]any)
	if states, ok := w["ModificationStates"].([]any); !ok || len(states) != 0 {
		t.Errorf("ModificationStates are %v, want them there and empty", w["ModificationStates"])
	}
	if _, there := answer["NextToken"]; there {
		t.Error("the last page has a NextToken")
	}
	for name, value := range w {
		if value == nil {
			t.Errorf("%s is null", name)
		}
	}
}

func TestTheSDKSeesItsOwnErrorTypes(t *testing.T) {
	b := newBench(t, func(c *emulator.Config) { c.Quota = 1 })
	id := b.one(request("alice"))

	_, err := b.client().CreateWorkspaces(t.Context(), &workspaces.CreateWorkspacesInput{Workspaces: []types.WorkspaceRequest{request("bob")}})
	if e := (*types.ResourceLimitExceededException)(nil); !errors.As(err, &e) {
		t.Errorf("over quota: %v", err)
	}
	_, err = b.client().DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{UserName: aws.String("alice")})
	if e := (*types.InvalidParameterValuesException)(nil); !errors.As(err, &e) || e.ErrorMessage() == "" {
		t.Errorf("user without directory: %v", err)
	}
	_, err = b.client().DescribeTags(t.Context(), &workspaces.DescribeTagsInput{ResourceId: aws.String("ws-000000000")})
	if e := (*types.ResourceNotFoundException)(nil); !errors.As(err, &e) || aws.ToString(e.ResourceId) != "ws-000000000" {
		t.Errorf("tags of nothing: %v", err)
	}
	_, err = b.client().ModifyWorkspaceProperties(t.Context(), &workspaces.ModifyWorkspacePropertiesInput{
		WorkspaceId: &id, WorkspaceProperties: &types.WorkspaceProperties{RunningMode: types.RunningModeAlwaysOn},
	})
	if e := (*types.InvalidResourceStateException)(nil); !errors.As(err, &e) {
		t.Errorf("modify while pending: %v", err)
	}
	_, err = b.client().ListAccountLinks(t.Context(), &workspaces.ListAccountLinksInput{})
	if e := smithy.APIError(nil); !errors.As(err, &e) || e.ErrorCode() != "UnknownOperationException" {
		t.Errorf("operation that is not emulated: %v", err)
	}
	_, err = b.client().DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{WorkspaceIds: []string{"nonsense"}})
	if e := smithy.APIError(nil); !errors.As(err, &e) || e.ErrorCode() != "ValidationException" {
		t.Errorf("malformed id: %v", err)
	}
}

func TestAClosedEmulatorIsUnavailable(t *testing.T) {
	b := newBench(t)
	if err := b.emu.Close(); err != nil {
		t.Fatal(err)
	}
	if status, answer, _ := b.send("DescribeWorkspaces", "{}"); status != http.StatusServiceUnavailable || answer["__type"] != "ServiceUnavailable" {
		t.Errorf("got %d %v", status, answer)
	}
	if err := b.emu.AddUsers(directory, "erin"); err == nil {
		t.Error("a closed emulator took a user")
	}
}
