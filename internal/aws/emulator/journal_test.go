package emulator_test

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/workspaces"
	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/robco-forge/forge/internal/aws/emulator"
)

func TestStateSurvivesACrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	b := newBench(t, stateFile(path))
	alice := b.available(request("alice", func(r *types.WorkspaceRequest) { r.Tags = []types.Tag{tag("a", "1")} }))
	bob := b.available(request("bob"))
	carol := b.one(request("carol", alwaysOn))
	b.stop(alice)
	if _, err := b.client().CreateTags(t.Context(), &workspaces.CreateTagsInput{ResourceId: &alice, Tags: []types.Tag{tag("b", "<&>")}}); err != nil {
		t.Fatal(err)
	}
	b.act(bob, "connect")
	b.terminate(carol)
	if err := b.emu.AddUsers(directory, "erin"); err != nil {
		t.Fatal(err)
	}
	before := b.adminAll()
	b.emu.Crash()

	again := newBench(t, stateFile(path))
	again.clock.set(b.clock.Now())
	if diff := cmp.Diff(before, again.adminAll()); diff != "" {
		t.Fatal(diff)
	}
	again.one(request("erin"))
	// Time goes on where it was, and nobody had to be there.
	again.clock.advance(20 * time.Minute)
	again.wantState(alice, "STOPPED")
	again.wantState(bob, "AVAILABLE")
	again.wantState(carol, "ABSENT")
}

func TestATornLastLineIsPassedOver(t *testing.T) {
	for name, tail := range map[string]string{
		"no line end": `{"kind":"workspace","value":{"seq":99,"id":"ws-9`,
		"zeros":       "\x00\x00\x00\x00\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			b := newBench(t, stateFile(path))
			id := b.one(request("alice"))
			b.emu.Crash()
			appendTo(t, path, tail)
			again := newBench(t, stateFile(path))
			if got := again.adminAll(); len(got) != 1 || got[0].ID != id {
				t.Errorf("%+v", got)
			}
			// What is written after it is not glued to it.
			other := again.one(request("bob"))
			again.emu.Crash()
			if got := newBench(t, stateFile(path)).adminAll(); len(got) != 2 || got[1].ID != other {
				t.Errorf("%+v", got)
			}
		})
	}
}

// A journal of the time before WorkSpaces had images, snapshots and maintenance.
func TestAnOldStateIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	const old = `{"emulator":"workspaces","version":1,"seq":2}
{"kind":"directory","value":{"seq":1,"id":"d-926722edaf","region":"us-east-1","name":"corp.example.com","subnet_ids":["subnet-0aaaaaaaaaaaaaaaa","subnet-0bbbbbbbbbbbbbbbb"]}}
{"kind":"user","value":{"directory_id":"d-926722edaf","name":"alice"}}
{"kind":"workspace","value":{"seq":2,"id":"ws-123456789","region":"us-east-1","directory_id":"d-926722edaf","user":"alice","bundle_id":"wsb-v26vg2847","subnet_id":"subnet-0aaaaaaaaaaaaaaaa","ip":"10.1.2.3","computer":"WSAMZN-00000001","running_mode":"AUTO_STOP","auto_stop":60,"compute":"STANDARD","root_gib":80,"user_gib":50,"protocol":"WSP","system":"WINDOWS_SERVER_2022","created":"2026-03-01T09:00:00Z","visible":"2026-03-01T09:00:05Z","state":"PENDING","since":"2026-03-01T09:00:00Z","next":"AVAILABLE","next_at":"2026-03-01T09:15:00Z","speed":1,"mode_at":"2026-03-01T09:00:00Z"}}
`
	if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, stateFile(path), maintained) // a day later
	const id = "ws-123456789"
	b.wantState(id, "STOPPED")
	if rebuild, restore := b.snapshots(id); !rebuild.Equal(start.Add(-11*time.Hour-30*time.Minute)) || !restore.Equal(rebuild) {
		t.Errorf("snapshots of %v and %v", rebuild, restore)
	}
	wantCode(t, "rebuild", b.rebuild(id), "")
	b.pass(id, "AVAILABLE")
	if b.admin(id).ImageID == "" {
		t.Error("it was rebuilt of no image")
	}
	target, code := b.migrate(id, power)
	wantCode(t, "migrate", code, "")
	b.pass(target, "AVAILABLE")
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAStateThatCannotBeReadIsNotOverwritten(t *testing.T) {
	head := `{"emulator":"workspaces","version":1,"seq":0}` + "\n"
	for name, content := range map[string]string{
		"another file":           "dear diary",
		"another file, in lines": "dear diary\ntoday\n",
		"another version":        `{"emulator":"workspaces","version":2}` + "\n",
		"a bad line in between":  head + "garbage\n" + `{"kind":"user","value":{}}` + "\n",
		"an unknown kind":        head + `{"kind":"spaceship","value":{}}` + "\n",
	} {
		path := filepath.Join(t.TempDir(), "state")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := emulator.New(emulator.Config{StateFile: path}); err == nil {
			t.Errorf("%s: no error", name)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("%s: the file is now %q (%v)", name, got, err)
		}
	}
}

func TestTwoEmulatorsDoNotShareAState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	b := newBench(t, stateFile(path))
	_, err := emulator.New(emulator.Config{StateFile: path})
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("second: %v", err)
	}
	if err := b.emu.Close(); err != nil {
		t.Fatal(err)
	}
	third, err := emulator.New(emulator.Config{StateFile: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := third.Close(); err != nil {
		t.Error(err)
	}
	if err := third.Close(); err != nil {
		t.Error("second close:", err)
	}
}

func TestAStartAddsNewDirectoriesAndUsersAndForgetsTheDead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	b := newBench(t, stateFile(path))
	for range 50 { // a journal with much to forget
		if _, err := b.client().CreateTags(t.Context(), &workspaces.CreateTagsInput{ResourceId: aws.String(b.available(request("alice"))), Tags: []types.Tag{tag("a", "b")}}); err != nil {
			t.Fatal(err)
		}
		id := b.adminAll()[0].ID
		b.terminate(id)
		b.pass(id, "TERMINATED")
		b.pass(id, "ABSENT")
		b.clock.advance(time.Minute)
	}
	bob := b.one(request("bob"))
	if err := b.emu.Close(); err != nil {
		t.Fatal(err)
	}
	before := size(t, path)

	again := newBench(t, stateFile(path), func(c *emulator.Config) {
		c.Now = b.clock.Now
		c.Directories = []emulator.Directory{
			{ID: directory, Name: "renamed.example.com", Users: []string{"ALICE", "zoe"}},
			{ID: "d-aaaaaaaaaa", Users: []string{emulator.AnyUser}},
		}
	})
	again.clock = b.clock
	if after := size(t, path); after > before/10 {
		t.Errorf("%d bytes became %d", before, after)
	}
	if got := again.adminAll(); len(got) != 1 || got[0].ID != bob {
		t.Errorf("%+v", got)
	}
	again.one(request("carol")) // from before
	again.one(request("zoe"))
	again.one(request("Alice"))
	again.one(request("whoever", func(r *types.WorkspaceRequest) { r.DirectoryId = aws.String("d-aaaaaaaaaa") }))
	out, err := again.client().DescribeWorkspaceDirectories(t.Context(), &workspaces.DescribeWorkspaceDirectoriesInput{})
	if err != nil || len(out.Directories) != 2 || *out.Directories[0].DirectoryName != "corp.example.com" {
		t.Errorf("%v %+v", err, out.Directories)
	}
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func TestSettingsThatMakeNoSenseAreRefused(t *testing.T) {
	for name, c := range map[string]emulator.Config{
		"speed":            {Speed: -1},
		"quota":            {Quota: -1},
		"directory":        {Directories: []emulator.Directory{{ID: "corp"}}},
		"user":             {Directories: []emulator.Directory{{ID: directory, Users: []string{""}}}},
		"subnets":          {Directories: []emulator.Directory{{ID: directory, SubnetIDs: []string{"a", "b", "c"}}}},
		"moving directory": {Directories: []emulator.Directory{{ID: directory}, {ID: directory, Region: "eu-west-1"}}},
		"state file":       {StateFile: filepath.Join(t.TempDir(), "no", "such", "directory")},
	} {
		if _, err := emulator.New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestWhatCannotBeWrittenDownIsNotDone(t *testing.T) {
	for name, c := range map[string]struct {
		stuck bool
		later string // what the next change answers
	}{
		"and is taken back":               {false, ""},
		"and nothing more is if it stays": {true, "InternalFailure"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			b := newBench(t, stateFile(path))
			id := b.available(request("alice"))
			b.emu.BreakDisk(1, c.stuck)

			_, err := b.client().CreateWorkspaces(t.Context(), &workspaces.CreateWorkspacesInput{Workspaces: []types.WorkspaceRequest{request("bob")}})
			var api smithy.APIError
			if !errors.As(err, &api) || api.ErrorCode() != "InternalFailure" {
				t.Fatalf("create: %v", err)
			}
			if got := b.adminAll(); len(got) != 1 {
				t.Fatalf("it was done all the same: %+v", got)
			}
			_, err = b.client().StopWorkspaces(t.Context(), &workspaces.StopWorkspacesInput{StopWorkspaceRequests: []types.StopRequest{{WorkspaceId: &id}}})
			switch {
			case c.later == "" && err != nil:
				t.Fatal(err)
			case c.later != "" && (!errors.As(err, &api) || api.ErrorCode() != c.later):
				t.Fatalf("later: %v", err)
			}
			want := b.adminAll()
			b.emu.Crash()
			if c.stuck {
				return // what is in the file then, nobody knows
			}
			again := newBench(t, stateFile(path))
			again.clock.set(b.clock.Now())
			if diff := cmp.Diff(want, again.adminAll()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// serveUntilKilled is the other process of TestNothingAnsweredIsLostToKill9.
func serveUntilKilled(path string) {
	emu, err := emulator.New(emulator.Config{
		StateFile: path, Logger: slog.New(slog.DiscardHandler),
		Directories: []emulator.Directory{{ID: directory, Users: []string{emulator.AnyUser}}},
	})
	if err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	panic(http.Serve(l, emu))
}

func TestNothingAnsweredIsLostToKill9(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	answered := map[string]string{} // id -> user
	var mu sync.Mutex
	for life := range 3 {
		process := exec.CommandContext(t.Context(), os.Args[0])
		process.Env = append(os.Environ(), "EMULATOR_TEST_SERVE="+path)
		process.Stderr = os.Stderr
		out, err := process.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		address, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{}
		client := sdk("http://"+strings.TrimSpace(address), func(o *workspaces.Options) { o.HTTPClient = &http.Client{Transport: transport} })

		enough := make(chan struct{}, 1000)
		var workers sync.WaitGroup
		for worker := range 4 {
			workers.Go(func() {
				for i := 0; ; i++ {
					user := fmt.Sprintf("user-%d-%d-%d", life, worker, i)
					out, err := client.CreateWorkspaces(t.Context(), &workspaces.CreateWorkspacesInput{Workspaces: []types.WorkspaceRequest{request(user)}})
					if err != nil {
						return // killed
					}
					mu.Lock()
					for _, w := range out.PendingRequests {
						answered[*w.WorkspaceId] = user
					}
					mu.Unlock()
					select {
					case enough <- struct{}{}:
					default:
					}
				}
			})
		}
		for range 40 {
			<-enough
		}
		if err := process.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		workers.Wait()
		process.Wait() // says that it was killed
		transport.CloseIdleConnections()
	}
	emu, err := emulator.New(emulator.Config{StateFile: path})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, emu: emu, clock: &clock{now: start}}
	b.serve()
	kept := map[string]string{}
	for _, w := range b.adminAll() {
		kept[w.ID] = w.User
	}
	for id, user := range answered {
		if kept[id] != user {
			t.Errorf("%s of %s is lost", id, user)
		}
	}
	if len(answered) < 100 {
		t.Errorf("only %d were made", len(answered))
	}
}
