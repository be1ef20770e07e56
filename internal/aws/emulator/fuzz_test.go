package emulator_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

// FuzzRequest sends anything to every operation: it must not panic, must answer JSON, and must not
// answer that something is wrong inside.
func FuzzRequest(f *testing.F) {
	ops := append(emulator.Operations(), "NoSuchOperation")
	seed := func(op, body string) { f.Add(slices.Index(ops, op), body) }
	for i := range ops {
		f.Add(i, `{}`)
		f.Add(i, `{"NextToken":"AAAAAAAAAAAAAAAAAAAAAA","Limit":1}`)
		f.Add(i, `null`)
	}
	seed("CreateWorkspaces", `{"Workspaces":[{"DirectoryId":"d-926722edaf","UserName":"alice","BundleId":"wsb-v26vg2847","Tags":[{"Key":"a"}],`+
		`"WorkspaceProperties":{"RunningMode":"AUTO_STOP","RunningModeAutoStopTimeoutInMinutes":2147483647,"Protocols":["WSP"],"GlobalAccelerator":{"Mode":"DISABLED"}}}]}`)
	seed("DescribeWorkspaces", `{"WorkspaceIds":["ws-123456789"],"Limit":25}`)
	seed("DescribeWorkspaces", `{"Limit":1e1}`)
	seed("StartWorkspaces", `{"StartWorkspaceRequests":[{}]}`)
	seed("TerminateWorkspaces", `{"TerminateWorkspaceRequests":[{"WorkspaceId":"ws-123456789"}]}`)
	seed("ModifyWorkspaceProperties", `{"WorkspaceId":"ws-123456789","WorkspaceProperties":{"RootVolumeSizeGib":-1}}`)
	seed("CreateTags", "{\"ResourceId\":\"\xff\",\"Tags\":[]}")
	for _, op := range emulator.Operations() { // an input of every member, of which some will be meant for what is there
		for _, c := range checksOf(op, map[string]any{"DirectoryId": directory, "BundleId": standard}) {
			if c.wantType == "" {
				seed(op, encode(f, c.input))
			}
		}
	}
	emu, err := emulator.New(emulator.Config{
		Directories: []emulator.Directory{{ID: directory, Users: []string{emulator.AnyUser}}},
		Logger:      slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, op int, body string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		r.Header.Set("X-Amz-Target", "WorkspacesService."+ops[uint(op)%uint(len(ops))])
		w := httptest.NewRecorder()
		emu.ServeHTTP(w, r)

		var answer map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || !utf8.Valid(w.Body.Bytes()) {
			t.Fatalf("answer %q: %v", w.Body, err)
		}
		name, isError := answer["__type"].(string)
		if called := ops[uint(op)%uint(len(ops))]; !readModel().mayAnswer(called, name) {
			t.Fatalf("%s answers %s, which its model does not have", called, name)
		}
		if isError != (w.Code != http.StatusOK) || w.Code >= http.StatusInternalServerError {
			t.Fatalf("status %d with %s", w.Code, w.Body)
		}
		if isError {
			if _, ok := answer["message"].(string); !ok {
				t.Fatalf("error without a message: %s", w.Body)
			}
		}
	})
}

// FuzzFaultOrder orders anything: it is taken or refused in the one form of the admin API, what is taken can be
// shown, and a request that it may strike is still answered or dropped as it says.
func FuzzFaultOrder(f *testing.F) {
	for _, kind := range emulator.FaultKinds() {
		f.Add(`{"kind":"` + kind + `"}`)
		f.Add(`{"kind":"` + kind + `","delay_ms":1,"count":-1,"op":"DescribeWorkspaces","user":"alice","region":"us-east-1"}`)
		f.Add(`{"kind":"` + kind + `","code":"A.b","message":"m","nth":2}`)
		f.Add(`{"kind":"` + kind + `","state":"PENDING","limit":0,"probability":0.5,"seed":18446744073709551615}`)
	}
	f.Add(`{"kind":"delay","delay_ms":-9223372036854775808}`)
	f.Add(`{"kind":"throttle","probability":1e-400}`)
	f.Add(`{"kind":"throttle"}{"kind":"throttle"}`)
	f.Add("{\"kind\":\"throttle\",\"user\":\"\xff\"}")
	f.Add(`null`)
	emu, err := emulator.New(emulator.Config{
		Directories: []emulator.Directory{{ID: directory, Users: []string{emulator.AnyUser}}},
		Logger:      slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		f.Fatal(err)
	}
	send := func(method, path, op, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		r.Header.Set("X-Amz-Target", "WorkspacesService."+op)
		w := httptest.NewRecorder()
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				panic(p)
			}
		}()
		emu.ServeHTTP(w, r)
		return w
	}
	f.Fuzz(func(t *testing.T, body string) {
		w := send(http.MethodPost, "/_emu/faults", "", body)
		var answer struct {
			ID, Error string
			Faults    []map[string]any
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatalf("answer %q: %v", w.Body, err)
		}
		switch {
		case w.Code == http.StatusOK && answer.ID != "" && len(answer.Faults) == 1 && answer.Faults[0]["id"] == answer.ID:
		case w.Code == http.StatusBadRequest && answer.Error != "":
		default:
			t.Fatalf("status %d with %s", w.Code, w.Body)
		}
		send(http.MethodPost, "/", "CreateWorkspaces", `{"Workspaces":[{"DirectoryId":"d-926722edaf","UserName":"alice","BundleId":"wsb-v26vg2847"}]}`)
		send(http.MethodPost, "/", "DescribeWorkspaces", `{}`)
		if w := send(http.MethodDelete, "/_emu/faults", "", ""); w.Code != http.StatusOK {
			t.Fatalf("clear: status %d with %s", w.Code, w.Body)
		}
	})
}
