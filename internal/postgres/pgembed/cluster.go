//go:build linux

package pgembed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// initialise makes the cluster under another name and gives it its own when it is complete, so that a kill at any
// instant leaves either none or a whole one.
func (p place) initialise(ctx context.Context, bin binaries, ephemeral bool) error {
	p.sweep()
	fresh, err := os.MkdirTemp(p.home, freshPattern)
	if err != nil {
		return err
	}
	defer p.sweep()
	if err := p.who.own(fresh); err != nil {
		return err
	}
	args := []string{"-D", fresh, "-U", superuser, "-A", "trust", "--locale=C", "--encoding=UTF8", "--data-checksums"}
	if ephemeral {
		// A durable cluster must be on disk before it gets its name: a power cut could leave it with empty files.
		args = append(args, "--no-sync")
	}
	var out bytes.Buffer
	// initdb waits for its children's ends, and Wait for the ends of all that hold the output, so nothing outlives it.
	init, err := launch(p.command(bin.path("initdb"), args, fresh, syscall.SIGKILL), &out)
	if err != nil {
		return err
	}
	select {
	case <-init.done:
	case <-ctx.Done():
		init.killGroup()
		<-init.done
		return fmt.Errorf("initdb: %w", context.Cause(ctx))
	}
	if init.err != nil {
		return fmt.Errorf("initdb: %w: %s", init.err, lastLines(out.String()))
	}
	if err := os.Rename(fresh, p.pgdata()); err != nil {
		return err
	}
	return syncDir(p.home)
}

// sweep removes what killed initialisations left. A program still dying may write there, and then the next sweep does.
func (p place) sweep() {
	left, _ := filepath.Glob(filepath.Join(globEscape(p.home), freshPattern)) // fails only on a malformed pattern
	for _, dir := range left {
		_ = os.RemoveAll(dir)
	}
}

func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// clusterVersion is the major version that made the cluster.
func (p place) clusterVersion() (int, error) {
	text, err := os.ReadFile(filepath.Join(p.pgdata(), "PG_VERSION"))
	if err != nil {
		return 0, fmt.Errorf("%s is not a PostgreSQL cluster: %w", p.pgdata(), err)
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("%s is not a PostgreSQL cluster: PG_VERSION holds %q", p.pgdata(), text)
	}
	return version, nil
}

// binariesFor finds the programs for the cluster in p, or any when there is none yet.
func (p place) binariesFor() (binaries, error) {
	want := 0
	if exists(p.pgdata()) {
		var err error
		if want, err = p.clusterVersion(); err != nil {
			return binaries{}, err
		}
	}
	bin, err := findBinaries(want)
	if other := (*versionError)(nil); errors.As(err, &other) {
		other.dataDir = p.dir
	}
	if err != nil {
		return bin, err
	}
	if err := p.who.reach(bin.dir); err != nil {
		return bin, fmt.Errorf("PostgreSQL's programs in %s: %w", bin.dir, err)
	}
	return bin, nil
}

// private are the settings that keep the server reachable by its socket alone, and its state where we look for it.
var private = []string{
	"config_file", "data_directory", "external_pid_file", "hba_file", "ident_file", "listen_addresses", "log_destination",
	"logging_collector", "port", "unix_socket_directories", "unix_socket_group", "unix_socket_permissions",
}

var settingName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_.]*$`)

// settings are the server's, the caller's over ours. They are given on the command line, where ALTER SYSTEM and
// postgresql.conf do not reach them.
func settings(o Options) (map[string]string, error) {
	all := map[string]string{
		"max_connections": "200",
		"shared_buffers":  "128MB",
		"max_wal_size":    "1GB",
		"jit":             "off", // compiling costs more than our short queries take
		"timezone":        "UTC",
		"log_timezone":    "UTC",
		"log_line_prefix": "%m [%p] %q%u@%d ",
		"log_checkpoints": "off",
	}
	if o.Ephemeral {
		maps.Copy(all, map[string]string{
			"fsync":              "off",
			"synchronous_commit": "off",
			"full_page_writes":   "off",
			"wal_level":          "minimal",
			"max_wal_senders":    "0", // which minimal asks for
		})
	}
	for name, value := range o.Settings {
		if !settingName.MatchString(name) {
			return nil, fmt.Errorf("%q is not the name of a server setting", name)
		}
		name = strings.ToLower(name)
		if slices.Contains(private, name) {
			return nil, fmt.Errorf("setting %s cannot be changed: the server is private to this process", name)
		}
		all[name] = value
	}
	maps.Copy(all, map[string]string{
		"listen_addresses":        "",
		"port":                    port,
		"unix_socket_permissions": "0700",
		"logging_collector":       "off",
		"log_destination":         "stderr",
	})
	return all, nil
}

func serverArgs(pgdata, socketDir string, all map[string]string) []string {
	// The list of directories is split at commas, which fits has ruled out, and unquoted like SQL identifiers.
	args := []string{"-D", pgdata, "-c", "unix_socket_directories=\"" + strings.ReplaceAll(socketDir, `"`, `""`) + `"`}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		args = append(args, "-c", name+"="+all[name])
	}
	return args
}
