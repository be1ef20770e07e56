package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/google/go-cmp/cmp"
)

// TestGoldenEmulatorHelp keeps the help of the emulator, which is a product of its own.
func TestGoldenEmulatorHelp(t *testing.T) {
	var b strings.Builder
	c := root()
	c.SetOut(&b)
	c.SetArgs([]string{"aws-emulator", "--help"})
	if err := c.Execute(); err != nil {
		t.Fatal(err)
	}
	const path = "testdata/help-aws-emulator.txt"
	if os.Getenv("UPDATE_GOLDEN") == "1" {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(have), b.String()); d != "" {
		t.Fatalf("the help has changed; look at it, then run make gen:\n%s", d)
	}
}

// emulated runs the command until the test ends, and gives its address and what it logs. stop ends it earlier.
func emulated(t *testing.T, args ...string) (address string, log *strings.Builder, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	log = &strings.Builder{}
	c := root()
	c.SetOut(in)
	c.SetErr(log)
	c.SetArgs(append([]string{"aws-emulator", "--listen", "127.0.0.1:0"}, args...))
	ended := make(chan error, 1)
	go func() {
		err := c.ExecuteContext(ctx)
		in.CloseWithError(err)
		ended <- err
	}()
	line := make([]byte, 1000)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	address = regexp.MustCompile(`http://\S+`).FindString(string(line[:n]))
	if address == "" {
		t.Fatalf("no address in %q", line[:n])
	}
	stop = func() error {
		cancel()
		err := <-ended
		ended <- err
		return err
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return address, log, stop
}

func clientOf(address, region string) *workspaces.Client {
	return workspaces.New(workspaces.Options{
		Region: region, BaseEndpoint: aws.String(address), Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
	})
}

func TestTheEmulatorServesWhatItsFlagsSay(t *testing.T) {
	state := filepath.Join(t.TempDir(), "aws.jsonl")
	args := []string{
		"--state", state, "--directory", "us-east-1=d-926722edaf", "--directory", "eu-west-1=d-93671a2b3c",
		"--users", "ada,grace", "--quota", "1", "--log-requests",
	}
	address, log, stop := emulated(t, args...)
	create := func(address, region, directory, user string) string {
		out, err := clientOf(address, region).CreateWorkspaces(t.Context(), &workspaces.CreateWorkspacesInput{Workspaces: []types.WorkspaceRequest{
			{DirectoryId: &directory, UserName: &user, BundleId: aws.String("wsb-v26vg2847")},
		}})
		switch {
		case err != nil:
			return err.Error()
		case len(out.FailedRequests) > 0:
			return *out.FailedRequests[0].ErrorCode
		}
		return ""
	}
	for _, c := range []struct{ region, directory, user, want string }{
		{"us-east-1", "d-926722edaf", "mallory", "ResourceNotFound.User"},
		{"us-east-1", "d-926722edaf", "ada", ""},
		{"us-east-1", "d-926722edaf", "grace", "ResourceLimitExceeded"},
		{"eu-west-1", "d-93671a2b3c", "grace", ""},
	} {
		if got := create(address, c.region, c.directory, c.user); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("create %s in %s: %s, want %s", c.user, c.region, got, c.want)
		}
	}
	throttled := 0
	for range 8 {
		if _, err := clientOf(address, "us-east-1").DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{}); err != nil {
			throttled++
		}
	}
	if throttled == 0 {
		t.Error("8 calls after 3 were all granted; Amazon grants 5 at once and 2 a second")
	}
	if err := stop(); err != nil {
		t.Errorf("end: %v", err)
	}
	if !strings.Contains(log.String(), "operation=CreateWorkspaces") {
		t.Errorf("no request in the log: %s", log)
	}

	address, _, _ = emulated(t, append(args, "--api-rate", "0")...)
	for range 20 {
		if _, err := clientOf(address, "us-east-1").DescribeWorkspaces(t.Context(), &workspaces.DescribeWorkspacesInput{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := create(address, "us-east-1", "d-926722edaf", "ada"); got == "" {
		t.Error("the state was not kept")
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"/_emu/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var health struct{ Status string }
	if err := json.NewDecoder(res.Body).Decode(&health); err != nil || health.Status != "ok" {
		t.Errorf("%v %+v", err, health)
	}
}

func TestFlagsOfTheEmulatorThatMakeNoSense(t *testing.T) {
	for says, args := range map[string][]string{
		"REGION=d-id":     {"--directory", "d-926722edaf"},
		"--quota":         {"--quota", "0"},
		"--api-burst":     {"--api-burst", "0"},
		"API rate":        {"--api-rate", "-1"},
		"speed":           {"--speed", "-1"},
		"is not like":     {"--directory", "us-east-1=d-1"},
		"1 to 63":         {"--users", strings.Repeat("x", 64)},
		"unknown command": {"here"},
		"cannot move":     {"--directory", "us-east-1=d-926722edaf", "--directory", "eu-west-1=d-926722edaf"},
		"listen tcp":      {"--listen", "127.0.0.1:no-port"},
	} {
		c := root()
		c.SetArgs(append([]string{"aws-emulator"}, args...))
		err := c.ExecuteContext(t.Context())
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: %v, want %q", args, err, says)
		}
	}
}
