//go:build linux

package pgembed

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeServer makes a directory with programs that say they are of the given version.
func fakeServer(t *testing.T, dir string, version int) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"postgres", "initdb"} {
		text := fmt.Sprintf("#!/bin/sh\necho '%s (PostgreSQL) %d.4 (Debian %d.4-1)'\n", name, version, version)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// bareMachine has no PostgreSQL until the test puts one there.
func bareMachine(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	was := debianBins
	debianBins = filepath.Join(root, "lib", "*", "bin")
	t.Cleanup(func() { debianBins = was })
	t.Setenv("PATH", filepath.Join(root, "path"))
	t.Setenv(binEnv, "")
	return root
}

func TestTheMachinesOwnServerIsFound(t *testing.T) {
	dir, version, err := FindBinaries()
	if err != nil || version < MinVersion {
		t.Fatal(dir, version, err)
	}
	t.Log(dir, version)
}

func TestTheNewestOfDebiansServersIsTaken(t *testing.T) {
	root := bareMachine(t)
	fakeServer(t, filepath.Join(root, "lib", "9", "bin"), 9)
	older := fakeServer(t, filepath.Join(root, "lib", "16", "bin"), 16)
	newest := fakeServer(t, filepath.Join(root, "lib", "100", "bin"), 100)
	if dir, version, err := FindBinaries(); dir != newest || version != 100 || err != nil {
		t.Error(dir, version, err)
	}
	if b, err := findBinaries(16); b.dir != older || err != nil {
		t.Errorf("for a cluster of 16: %v %v", b, err)
	}
}

func TestPgConfigComesBeforeDebiansServersAndThePathAfter(t *testing.T) {
	root := bareMachine(t)
	real := fakeServer(t, filepath.Join(root, "elsewhere"), 17)
	path := filepath.Join(root, "path")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(real, "postgres"), filepath.Join(path, "postgres")); err != nil {
		t.Fatal(err)
	}
	if dir, version, err := FindBinaries(); dir != real || version != 17 || err != nil {
		t.Error("on the PATH:", dir, version, err)
	}
	debian := fakeServer(t, filepath.Join(root, "lib", "16", "bin"), 16)
	if dir, _, err := FindBinaries(); dir != debian || err != nil {
		t.Error("with Debian's:", dir, err)
	}
	config := fakeServer(t, filepath.Join(root, "config"), 15)
	if err := os.WriteFile(filepath.Join(path, "pg_config"), []byte("#!/bin/sh\necho "+config+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if dir, _, err := FindBinaries(); dir != config || err != nil {
		t.Error("with pg_config:", dir, err)
	}
}

func TestWhenThereIsNoServerTheErrorSaysWhatToInstall(t *testing.T) {
	root := bareMachine(t)
	_, _, err := FindBinaries()
	if err == nil || !strings.Contains(err.Error(), "apt-get install -y postgresql") {
		t.Errorf("got %v", err)
	}
	fakeServer(t, filepath.Join(root, "lib", "13", "bin"), 13)
	_, _, err = FindBinaries()
	if err == nil || !strings.Contains(err.Error(), "found only PostgreSQL 13") {
		t.Errorf("with an old one: %v", err)
	}
}

func TestTheDirectoryThatWasNamedIsTheOnlyOneLookedAt(t *testing.T) {
	empty := t.TempDir()
	t.Setenv(binEnv, empty)
	_, _, err := FindBinaries()
	if err == nil || !strings.Contains(err.Error(), binEnv) || !strings.Contains(err.Error(), empty) {
		t.Errorf("got %v", err)
	}
	if _, err := Start(t.Context(), Options{DataDir: filepath.Join(room(t), "data")}); err == nil || !strings.Contains(err.Error(), empty) {
		t.Errorf("Start: %v", err)
	}
	t.Setenv(binEnv, fakeServer(t, filepath.Join(empty, "old"), 14))
	if _, _, err := FindBinaries(); err == nil || !strings.Contains(err.Error(), "PostgreSQL 14, 15 or later is needed") {
		t.Errorf("an old one: %v", err)
	}
}

func TestProgramsThatTheServersUserCannotReachAreNamed(t *testing.T) {
	needRoot(t)
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv(binEnv, fakeServer(t, filepath.Join(closed, "bin"), 15))
	_, err := Start(t.Context(), Options{DataDir: filepath.Join(room(t), "data")})
	if err == nil || !strings.Contains(err.Error(), "is closed to") {
		t.Errorf("got %v", err)
	}
}
