package emulator

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"
)

const maxTags = 50

type createInput struct {
	Workspaces []createItem
}

// createItem is one WorkSpace that is asked for. A failed one is sent back as it came.
type createItem struct {
	DirectoryId                 string
	UserName                    string
	BundleId                    string
	VolumeEncryptionKey         string           `json:",omitempty"`
	UserVolumeEncryptionEnabled *bool            `json:",omitempty"`
	RootVolumeEncryptionEnabled *bool            `json:",omitempty"`
	WorkspaceProperties         *propertiesInput `json:",omitempty"`
	Tags                        []wireTag        `json:",omitempty"`
	WorkspaceName               string           `json:",omitempty"`
	Ipv6Address                 string           `json:",omitempty"`
}

// propertiesInput is what may be asked of a WorkSpace; nil and "" are what was not asked.
type propertiesInput struct {
	RunningMode                         string       `json:",omitempty"`
	RunningModeAutoStopTimeoutInMinutes *int         `json:",omitempty"`
	RootVolumeSizeGib                   *int         `json:",omitempty"`
	UserVolumeSizeGib                   *int         `json:",omitempty"`
	ComputeTypeName                     string       `json:",omitempty"`
	Protocols                           []string     `json:",omitempty"`
	OperatingSystemName                 string       `json:",omitempty"`
	GlobalAccelerator                   *accelerator `json:",omitempty"`
}

type failedCreate struct {
	WorkspaceRequest createItem
	ErrorCode        string
	ErrorMessage     string
}

// createWorkspaces has no client token, as at Amazon: what makes a repeated call harmless is that a user
// has one WorkSpace per directory.
func createWorkspaces(e *Emulator, c *call, in createInput) (any, error) {
	e.world.forget(c.at)
	taken := map[string]bool{} // users who have a WorkSpace, by userKey
	live := 0
	for _, o := range e.world.order {
		if o.Region != c.region {
			continue
		}
		v := o.at(c.at)
		taken[userKey(v.DirectoryID, v.User)] = true
		if v.State != stateAbsent {
			live++
		}
	}

	out := struct {
		FailedRequests  []failedCreate
		PendingRequests []wireWorkspace
	}{[]failedCreate{}, []wireWorkspace{}}
	var made []record
	for _, item := range in.Workspaces {
		if err := checkTags(item.Tags); err != nil {
			return nil, err
		}
		w, no := e.newWorkspace(c, item)
		key := userKey(item.DirectoryId, item.UserName)
		if no == nil && taken[key] {
			no = &refusal{codeExists, "A WorkSpace already exists for the specified user."}
		}
		if no == nil {
			no = e.faults.refuses(c, w)
		}
		if no != nil {
			out.FailedRequests = append(out.FailedRequests, failedCreate{item, no.code, no.message})
			continue
		}
		taken[key] = true
		w.Seq = e.world.seq + int64(len(made)) + 1
		made = append(made, w)
		out.PendingRequests = append(out.PendingRequests, w.wire())
	}
	if len(made) > 0 && (live+len(made) > e.quota || e.faults.quotaOver(c, live+len(made))) {
		return nil, limitExceeded()
	}
	if err := e.commit(made...); err != nil {
		return nil, err
	}
	return out, nil
}

// newWorkspace is what an item asks for, without its number, or why it cannot be had.
func (e *Emulator) newWorkspace(c *call, item createItem) (*workspace, *refusal) {
	d, no := e.world.openDirectory(c, item.DirectoryId)
	if no != nil {
		return nil, no
	}
	if !e.world.hasUser(d.ID, item.UserName) {
		return nil, &refusal{codeNoUser, "The specified user could not be found in the directory."}
	}
	b, ok := e.world.bundle(c.region, item.BundleId)
	if !ok {
		return nil, &refusal{codeNoBundle, "The specified bundle could not be found in the specified region."}
	}
	if !b.available(c.at) {
		return nil, &refusal{codeBundleUnavailable, "The specified bundle is not available."}
	}
	encryptUser, encryptRoot := isTrue(item.UserVolumeEncryptionEnabled), isTrue(item.RootVolumeEncryptionEnabled)
	if (encryptUser || encryptRoot) != (item.VolumeEncryptionKey != "") {
		return nil, &refusal{codeInvalidEncryption, "A volume encryption key and the volumes to encrypt must be given together."}
	}

	w := e.blankWorkspace(c, d)
	w.User, w.Name = item.UserName, item.WorkspaceName
	w.EncryptionKey, w.EncryptUser, w.EncryptRoot = item.VolumeEncryptionKey, encryptUser, encryptRoot
	w.Tags = tagMap(item.Tags)
	if no := w.configure(b, item.WorkspaceProperties); no != nil {
		return nil, no
	}
	w.enter(statePending, c.at)
	return w, nil
}

// blankWorkspace is a new one in a directory, before anything is said of what it is to be.
func (e *Emulator) blankWorkspace(c *call, d *directory) *workspace {
	id := e.newID("ws-")
	w := &workspace{
		ID: id, Region: c.region, DirectoryID: d.ID,
		SubnetID: d.SubnetIDs[hash(id, "subnet")%uint64(len(d.SubnetIDs))],
		IP:       address(id),
		Computer: fmt.Sprintf("WSAMZN-%08X", uint32(hash(id, "name"))),
		Created:  c.at,
		Visible:  c.at.Add(pace(time.Duration(fraction(id, "visible")*float64(visibilityLag)), e.speed)),
		ModeAt:   c.at,
		Speed:    e.speed,
	}
	if e.maintains(d) {
		w.Maintained = c.at
	}
	return w
}

// address is a private one, the same for the same words.
func address(words ...string) string {
	return fmt.Sprintf("10.%d.%d.%d", 1+hash(append(words, "ip")...)%250, hash(append(words, "net")...)%256, 4+hash(append(words, "host")...)%250)
}

// configure sets what the bundle brings and the request changes.
func (w *workspace) configure(b *bundle, asked *propertiesInput) *refusal {
	w.BundleID, w.ImageID = b.ID, b.ImageID
	w.RunningMode, w.Compute, w.System, w.Protocol = alwaysOn, b.Compute, b.System, b.Protocol
	w.RootGiB, w.UserGiB = b.RootGiB, b.UserGiB
	if asked == nil {
		return nil
	}
	mode, minutes, no := runningMode(alwaysOn, 0, *asked)
	if no != nil {
		return no
	}
	w.RunningMode, w.AutoStop = mode, minutes
	if asked.ComputeTypeName != "" && asked.ComputeTypeName != b.Compute {
		return &refusal{codeInvalidCompute, "The compute type is not the one of the bundle."}
	}
	if asked.OperatingSystemName != "" && asked.OperatingSystemName != b.System {
		return &refusal{codeInvalidSystem, "The operating system is not the one of the bundle."}
	}
	if asked.RootVolumeSizeGib != nil {
		w.RootGiB = *asked.RootVolumeSizeGib
	}
	if asked.UserVolumeSizeGib != nil {
		w.UserGiB = *asked.UserVolumeSizeGib
	}
	if !computeTypes[b.Compute].allows(w.RootGiB, w.UserGiB) {
		return &refusal{codeInvalidVolume, "The combination of root and user volume sizes is not supported."}
	}
	if len(asked.Protocols) > 0 {
		if !b.speaks(asked.Protocols) {
			return &refusal{codeInvalidProtocol, "The protocol is not supported by the bundle."}
		}
		w.Protocol = asked.Protocols[0]
	}
	if asked.GlobalAccelerator != nil {
		return w.accelerate(*asked.GlobalAccelerator)
	}
	return nil
}

// runningMode is the mode and the timeout (minutes) that a request makes of those there are. Amazon takes
// timeouts of whole hours, and only with AUTO_STOP.
func runningMode(mode string, minutes int, asked propertiesInput) (string, int, *refusal) {
	if asked.RunningMode != "" {
		mode = asked.RunningMode
	}
	timeout := asked.RunningModeAutoStopTimeoutInMinutes
	if mode != autoStop {
		switch {
		case timeout == nil:
			return mode, 0, nil
		case mode == manual:
			return "", 0, &refusal{codeTimeoutManual, "RunningModeAutoStopTimeoutInMinutes is not applicable for WorkSpace with running mode set to MANUAL."}
		}
		return "", 0, &refusal{codeTimeoutAlwaysOn, "RunningModeAutoStopTimeoutInMinutes is not applicable for WorkSpace with running mode set to ALWAYS_ON."}
	}
	if timeout != nil {
		minutes = *timeout
	}
	if minutes == 0 && timeout == nil {
		minutes = 60
	}
	// Amazon's console offers up to two days; the API's own bound is not known.
	if minutes <= 0 || minutes%60 != 0 || minutes > 48*60 {
		return "", 0, &refusal{codeInvalidTimeout, "RunningModeAutoStopTimeoutInMinutes must be a multiple of 60, from 60 to 2880."}
	}
	return mode, minutes, nil
}

// allows reports whether volumes may have these sizes (GiB). Small roots come with three sizes of user
// volume; from 175 GiB on both are free, up to 2000.
func (h hardware) allows(root, user int) bool {
	if root < h.leastRootGiB || user < h.leastUserGiB {
		return false
	}
	switch root {
	case 80:
		return user == 10 || user == 50 || user == 100
	case 100:
		return h.leastRootGiB == 100 && user >= 100 && user <= 2000
	}
	return root >= 175 && root <= 2000 && user >= 100 && user <= 2000
}

// speaks reports whether a WorkSpace of the bundle can use just these protocols: one of PCoIP can use
// either, one of WSP that only.
func (b *bundle) speaks(protocols []string) bool {
	return len(protocols) == 1 && (b.Protocol == "PCOIP" || protocols[0] == b.Protocol)
}

// checkTags refuses what Amazon refuses of tags beyond their lengths.
func checkTags(tags []wireTag) error {
	if len(tags) > maxTags {
		return invalidParameters(fmt.Sprintf("A resource may have %d tags at most.", maxTags))
	}
	seen := map[string]bool{}
	for _, t := range tags {
		if strings.HasPrefix(strings.ToLower(t.Key), "aws:") {
			return invalidParameters("Tag keys that start with aws: are reserved.")
		}
		if seen[t.Key] {
			return invalidParameters("A tag key is given twice.")
		}
		seen[t.Key] = true
	}
	return nil
}

// newID makes an id that nothing has had, in the form of Amazon's: the prefix and nine letters and digits.
func (e *Emulator) newID(prefix string) string {
	const letters = "0123456789bcdfghjklmnpqrstvwxyz" // 31; no vowels, so no words
	for {
		b := make([]byte, 9)
		rand.Read(b) // never fails
		for i := range b {
			b[i] = letters[int(b[i])%len(letters)]
		}
		id := prefix + string(b)
		if !e.world.has(id) {
			return id
		}
	}
}

// tagMap is tags as they are stored; none are nil.
func tagMap(tags []wireTag) map[string]string {
	if len(tags) == 0 {
		return nil
	}
	m := map[string]string{}
	for _, t := range tags {
		m[t.Key] = t.Value
	}
	return m
}

func isTrue(b *bool) bool { return b != nil && *b }
