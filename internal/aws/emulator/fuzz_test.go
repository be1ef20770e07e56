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
