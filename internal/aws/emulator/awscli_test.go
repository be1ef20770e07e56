package emulator_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/workspaces/types"
)

// awsStep is one run of Amazon's own program and what must come of it.
type awsStep struct {
	do    func(b *bench, kept map[string]string) // what happens first, nil nothing
	args  string                                 // after `aws workspaces`, without quotes; {name} is what an earlier step kept
	want  string                                 // the output as JSON in its shortest form, "" any; may have {name}, too
	keep  string                                 // name to keep the output under, without the quotes of a string
	older string                                 // what older versions of the program want besides, and newer ones do not know
	// fails is the name of the error it must tell of; want is then in its message.
	fails string
}

func after(d time.Duration) func(*bench, map[string]string) {
	return func(b *bench, _ map[string]string) { b.clock.advance(d) }
}

// awsJourneys are independent of each other: each has an emulator to itself. Starting the program takes half a
// second of a processor, so that a journey is better long than one of many, and no step says the same as another.
var awsJourneys = map[string][]awsStep{
	"directories": {
		{args: "describe-workspace-directories --query Directories[].[DirectoryId,State,Tenancy]", want: `[["d-926722edaf","REGISTERED","SHARED"]]`},
		{
			args:  "register-workspace-directory --directory-id d-90670a1b2c --subnet-ids subnet-0a1b2c3d subnet-1b2c3d4e --tenancy SHARED",
			older: "--no-enable-work-docs",
		},
		{args: "register-workspace-directory --directory-id d-90670a1b2c", older: "--no-enable-work-docs", fails: "ResourceAlreadyExistsException"},
		{do: after(time.Hour), args: "modify-selfservice-permissions --resource-id d-90670a1b2c --selfservice-permissions RebuildWorkspace=ENABLED"},
		{
			args: "describe-workspace-directories --directory-ids d-90670a1b2c --query Directories[].[State,SelfservicePermissions.RebuildWorkspace]",
			want: `[["REGISTERED","ENABLED"]]`,
		},
		{args: "deregister-workspace-directory --directory-id d-90670a1b2c"},
		{do: after(time.Hour), args: "describe-workspace-directories --query length(Directories)", want: `1`},
	},
	"the life of a WorkSpace": {
		{
			args: "create-workspaces --workspaces DirectoryId=d-926722edaf,UserName=alice,BundleId=wsb-v26vg2847,WorkspaceProperties={RunningMode=AUTO_STOP} " +
				"DirectoryId=d-926722edaf,UserName=nobody,BundleId=wsb-v26vg2847 --query [PendingRequests[0].State,FailedRequests[].[WorkspaceRequest.UserName,ErrorCode]]",
			want: `["PENDING",[["nobody","ResourceNotFound.User"]]]`,
		},
		{
			do:   after(time.Hour / 2),
			args: "describe-workspaces --directory-id d-926722edaf --user-name ALICE --query Workspaces[0].WorkspaceId", keep: "id",
		},
		{
			do:   func(b *bench, kept map[string]string) { b.act(kept["id"], "connect") },
			args: "describe-workspaces-connection-status --workspace-ids {id} --query WorkspacesConnectionStatus[].[WorkspaceId,ConnectionState]",
			want: `[["{id}","CONNECTED"]]`,
		},
		{args: "reboot-workspaces --reboot-workspace-requests {id}", want: `{"FailedRequests":[]}`},
		{do: after(time.Hour / 6), args: "stop-workspaces --stop-workspace-requests WorkspaceId={id}", want: `{"FailedRequests":[]}`},
		{do: after(time.Hour / 6), args: "start-workspaces --start-workspace-requests WorkspaceId={id}", want: `{"FailedRequests":[]}`},
		{
			do:   after(time.Hour / 6),
			args: "modify-workspace-properties --workspace-id {id} --workspace-properties RunningMode=ALWAYS_ON",
		},
		{
			args: "describe-workspaces --workspace-ids {id} --query Workspaces[].[State,WorkspaceProperties.RunningMode,ModificationStates]",
			want: `[["AVAILABLE","ALWAYS_ON",[]]]`,
		},
		{
			args: "stop-workspaces --stop-workspace-requests WorkspaceId={id} WorkspaceId=ws-000000000 --query FailedRequests[].ErrorCode",
			want: `["OperationNotSupported.RunningMode","ResourceNotFound.WorkSpace"]`,
		},
		{args: "terminate-workspaces --terminate-workspace-requests {id}", want: `{"FailedRequests":[]}`},
		{do: after(time.Hour / 6), args: "describe-workspaces", want: `{"Workspaces":[]}`},
	},
	"pages": {
		{args: "describe-workspace-bundles --owner AMAZON --query length(Bundles)", want: `28`},
		{do: crowd(30), args: "describe-workspaces --query length(Workspaces)", want: `30`},
		{args: "describe-workspaces --max-items 12 --page-size 5 --query NextToken", keep: "next"},
		{
			args: "describe-workspaces --starting-token {next} --page-size 5 --query Workspaces[].UserName",
			want: `["u12","u13","u14","u15","u16","u17","u18","u19","u20","u21","u22","u23","u24","u25","u26","u27","u28","u29"]`,
		},
		{args: "describe-workspaces --no-paginate --query length(Workspaces)", want: `25`},
	},
	"IP groups and tags": {
		{args: "create-ip-group --group-name office --user-rules ipRule=203.0.113.0/24,ruleDesc=first --tags Key=team,Value=blue --query GroupId", keep: "group"},
		{args: "authorize-ip-rules --group-id {group} --user-rules ipRule=198.51.100.7/32"},
		{args: "revoke-ip-rules --group-id {group} --user-rules 203.0.113.0/24"},
		{args: "associate-ip-groups --directory-id d-926722edaf --group-ids {group}"},
		{
			args: "describe-ip-groups",
			want: `{"Result":[{"groupId":"{group}","groupName":"office","userRules":[{"ipRule":"198.51.100.7/32"}]}]}`,
		},
		{args: "delete-ip-group --group-id {group}", fails: "ResourceAssociatedException"},
		{args: "create-tags --resource-id {group} --tags Key=team,Value=red Key=floor,Value=1"},
		{args: "delete-tags --resource-id {group} --tag-keys floor"},
		{args: "describe-tags --resource-id {group}", want: `{"TagList":[{"Key":"team","Value":"red"}]}`},
	},
	"images and bundles": {
		{do: desktop, args: "create-workspace-image --name golden --description tools --workspace-id {id} --query ImageId", keep: "image"},
		{do: after(time.Hour), args: "describe-workspace-images --image-ids {image} --query Images[].[Name,State]", want: `[["golden","AVAILABLE"]]`},
		{
			args: "create-workspace-bundle --bundle-name forge/go/v1 --bundle-description tools --image-id {image} --compute-type Name=POWER " +
				"--root-storage Capacity=175 --user-storage Capacity=100 --query WorkspaceBundle.BundleId",
			keep: "bundle",
		},
		{do: after(time.Hour), args: "describe-workspace-bundles --query Bundles[].[BundleId,State,ComputeType.Name]", want: `[["{bundle}","AVAILABLE","POWER"]]`},
		{args: "delete-workspace-image --image-id {image}", fails: "ResourceAssociatedException"},
		{do: after(12 * time.Hour), args: "migrate-workspace --source-workspace-id {id} --bundle-id {bundle} --query SourceWorkspaceId", want: `"{id}"`},
		{do: after(2 * time.Hour), args: "describe-workspaces --query Workspaces[].BundleId", want: `["{bundle}"]`},
	},
	"snapshots": {
		{
			do:   desktop,
			args: "modify-workspace-state --workspace-id {id} --workspace-state ADMIN_MAINTENANCE",
		},
		{args: "modify-workspace-state --workspace-id {id} --workspace-state AVAILABLE"},
		{
			do:   after(40 * time.Minute),
			args: "describe-workspace-snapshots --workspace-id {id} --query [length(RebuildSnapshots),length(RestoreSnapshots)]", want: `[1,1]`,
		},
		{args: "rebuild-workspaces --rebuild-workspace-requests {id}", want: `{"FailedRequests":[]}`},
		{do: after(50 * time.Minute), args: "restore-workspace --workspace-id {id}"},
	},
	"errors": {
		{args: "describe-tags --resource-id ws-000000000", fails: "ResourceNotFoundException"},
		{args: "describe-workspaces --user-name alice", fails: "InvalidParameterValuesException"},
		{
			args:  "terminate-workspaces --terminate-workspace-requests nonsense",
			fails: "ValidationException", want: "at 'terminateWorkspaceRequests.1.member.workspaceId' failed to satisfy constraint",
		},
		{args: "list-available-management-cidr-ranges --management-cidr-range-constraint 10.0.0.0/16", fails: "UnknownOperationException"},
	},
}

// desktop makes a WorkSpace that is AVAILABLE and keeps its id.
func desktop(b *bench, kept map[string]string) { kept["id"] = b.available(request("alice")) }

// crowd makes WorkSpaces of users u00, u01 and so on.
func crowd(n int) func(*bench, map[string]string) {
	return func(b *bench, _ map[string]string) {
		for from := 0; from < n; from += 25 {
			var all []types.WorkspaceRequest
			for i := from; i < min(n, from+25); i++ {
				name := fmt.Sprintf("u%02d", i)
				if err := b.emu.AddUsers(directory, name); err != nil {
					b.t.Fatal(err)
				}
				all = append(all, request(name))
			}
			b.create(all...)
		}
		b.clock.advance(time.Minute)
	}
}

func TestTheAWSProgramDrivesTheEmulator(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("aws")
	if err != nil {
		t.Fatal("the aws program is not in PATH: apt-get install -y awscli")
	}
	for name, steps := range awsJourneys {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			kept := map[string]string{}
			for _, s := range steps {
				b.step(program, s, kept)
			}
		})
	}
}

// step takes a step of a journey. What it kept of earlier ones it reads from kept.
func (b *bench) step(program string, s awsStep, kept map[string]string) {
	b.t.Helper()
	if s.do != nil {
		s.do(b, kept)
	}
	args, want := s.args, s.want
	for name, value := range kept {
		args, want = strings.ReplaceAll(args, "{"+name+"}", value), strings.ReplaceAll(want, "{"+name+"}", value)
	}
	stdout, stderr, exit := b.aws(program, strings.Fields(args))
	const misused = 252 // nothing was sent
	if s.older != "" && exit == misused {
		stdout, stderr, exit = b.aws(program, strings.Fields(args+" "+s.older))
	}
	if s.fails != "" {
		// The program's first version ends with 255, the second with 254, when the service says no.
		if (exit != 254 && exit != 255) || !strings.Contains(stderr, "("+s.fails+")") || !strings.Contains(stderr, want) {
			b.t.Fatalf("aws %s: exit code %d, want 254 or 255 and %s … %s\n%s", args, exit, s.fails, want, stderr)
		}
		return
	}
	if exit != 0 {
		b.t.Fatalf("aws %s: exit code %d\n%s", args, exit, stderr)
	}
	if got := shortest(stdout); want != "" && got != want {
		b.t.Fatalf("aws %s:\n got %s\nwant %s", args, got, want)
	}
	if s.keep != "" {
		var value string
		if err := json.Unmarshal([]byte(stdout), &value); err != nil {
			b.t.Fatalf("aws %s: %v in %s", args, err, stdout)
		}
		kept[s.keep] = value
	}
}

// shortest is JSON without its blanks; what is none is left as it is.
func shortest(text string) string {
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		return text
	}
	return b.String()
}

// aws runs the program with nothing of the machine's own configuration.
func (b *bench) aws(program string, args []string) (stdout, stderr string, exit int) {
	b.t.Helper()
	run := exec.CommandContext(b.t.Context(), program, //nolint:gosec // the program is the machine's own, the arguments are above
		append([]string{"--endpoint-url", b.server.URL, "--region", "us-east-1", "--output", "json", "workspaces"}, args...)...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") {
			run.Env = append(run.Env, v)
		}
	}
	run.Env = append(run.Env, "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
	var out, errs bytes.Buffer
	run.Stdout, run.Stderr = &out, &errs
	err := run.Run()
	if ended := (*exec.ExitError)(nil); err != nil && !errors.As(err, &ended) {
		b.t.Fatal(err)
	}
	return out.String(), errs.String(), run.ProcessState.ExitCode()
}
