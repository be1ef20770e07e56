package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/robco-forge/forge/internal/audit"
	"github.com/robco-forge/forge/internal/aws/emulator"
	"github.com/robco-forge/forge/internal/postgres/pgembed"
	"github.com/robco-forge/forge/internal/workspace"
)

// The demo's place in the emulated Amazon.
const (
	devRegion    = "us-east-1"
	devDirectory = "d-9067000001"
	devOrigin    = "forge.local/audit"
)

// DevOptions are what `forge dev` can be told.
type DevOptions struct {
	Listen    string
	AWSListen string
	DataDir   string
	Ephemeral bool
	AWSSpeed  float64 // not money: a factor
	Version   string
	Logger    *slog.Logger
	// Ready is called once everything answers.
	Ready func(DevInfo) error
}

// DevInfo is where a development Forge can be reached, and as whom.
type DevInfo struct {
	API         string       `json:"api"`
	AWS         string       `json:"aws"`
	DatabaseURL string       `json:"database_url"`
	Users       []Credential `json:"users"`
	KeysDir     string       `json:"-"`
}

// Credential is a demo user's token.
type Credential struct {
	User  string `json:"user"`
	Role  string `json:"role"`
	Team  string `json:"team"`
	Token string `json:"token"`
}

// Embedded is a private PostgreSQL with a database for Forge, its owner and its application's role.
type Embedded struct {
	*pgembed.Server
	AppURL, OwnerURL string
}

const (
	devDatabase = "forge"
	devOwner    = "forge_owner"
	devApp      = "forge_app" // named by the migration after the database
)

// StartEmbedded starts the private PostgreSQL below dir and migrates its database.
func StartEmbedded(ctx context.Context, dir string, ephemeral bool, version string, log *slog.Logger) (*Embedded, error) {
	pg, err := pgembed.Start(ctx, pgembed.Options{DataDir: filepath.Join(dir, "postgres"), Ephemeral: ephemeral, Logger: log})
	var inUse *pgembed.InUseError
	if errors.As(err, &inUse) {
		return nil, fmt.Errorf("another Forge (process %d) is running on %s; use it, end it, or choose another --data-dir", inUse.PID, dir)
	}
	if err != nil {
		return nil, err
	}
	e := &Embedded{Server: pg, AppURL: pg.URL(devDatabase, devApp), OwnerURL: pg.URL(devDatabase, devOwner)}
	if err := e.prepare(ctx, version, log); err != nil {
		return nil, errors.Join(err, stopWithin(pg.Stop))
	}
	return e, nil
}

// stopWithin ends something with a bound of its own.
func stopWithin(stop func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	return stop(ctx)
}

func (e *Embedded) prepare(ctx context.Context, version string, log *slog.Logger) error {
	c, err := pgx.Connect(ctx, e.URL("postgres", "postgres"))
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost with it
	for _, step := range []struct{ there, make string }{
		{`SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = '` + devOwner + `')`, `CREATE ROLE ` + devOwner + ` LOGIN CREATEROLE`},
		{`SELECT EXISTS (SELECT FROM pg_database WHERE datname = '` + devDatabase + `')`, `CREATE DATABASE ` + devDatabase + ` OWNER ` + devOwner},
	} {
		var there bool
		if err := c.QueryRow(ctx, step.there).Scan(&there); err != nil {
			return err
		}
		if !there {
			if _, err := c.Exec(ctx, step.make); err != nil {
				return err
			}
		}
	}
	if err := Migrate(ctx, e.OwnerURL, version, log); err != nil {
		return err
	}
	_, err = c.Exec(ctx, `ALTER ROLE `+devApp+` LOGIN`)
	return err
}

// Dev runs a whole Forge on this machine until ctx ends: a private PostgreSQL, an emulated Amazon, the API and the
// workers, with a demo organisation in it.
func Dev(ctx context.Context, o DevOptions) (err error) {
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return err
	}
	if o.Ephemeral {
		if dir, err = os.MkdirTemp("", "forge-dev-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // as below
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the server's own user must pass through; what is secret below is closed
		return err
	}
	pg, err := StartEmbedded(ctx, dir, o.Ephemeral, o.Version, o.Logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopWithin(pg.Stop)) }()

	awsURL, stopAWS, err := startEmulator(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopAWS()) }()

	keyDir := filepath.Join(dir, "keys")
	if err := audit.GenerateKeys(keyDir); err != nil {
		return err
	}
	keys, err := audit.LoadKeys(keyDir)
	if err != nil {
		return err
	}
	f, err := New(ctx, Config{
		DatabaseURL: pg.AppURL, MigrateURL: pg.OwnerURL, MaxConns: 40, Keys: keys, AuditOrigin: devOrigin, AWSEndpoint: awsURL, AWSRate: 100, AWSSpeed: int(o.AWSSpeed),
		Directories: []workspace.Directory{{Region: devRegion, ID: devDirectory}}, Workers: true, API: true, Version: o.Version, Logger: o.Logger,
	})
	if err != nil {
		return err
	}
	defer f.Close()
	users, err := f.Seed(ctx, filepath.Join(dir, "credentials.json"))
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("cannot listen (choose another with --listen, or port 0 for a free one): %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-pg.Done():
			cancel(fmt.Errorf("PostgreSQL ended by itself: %w", pg.Err()))
		case <-ctx.Done():
		}
	}()
	served := make(chan error, 1)
	go func() { served <- f.Serve(ctx, l) }()
	if err := o.Ready(DevInfo{API: "http://" + l.Addr().String(), AWS: awsURL, DatabaseURL: pg.AppURL, Users: users, KeysDir: keyDir}); err != nil {
		cancel(err)
	}
	err = <-served
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = errors.Join(cause, err)
	}
	return err
}

func startEmulator(ctx context.Context, o DevOptions, dir string) (url string, stop func() error, err error) {
	if err := os.MkdirAll(filepath.Join(dir, "aws"), 0o700); err != nil {
		return "", nil, err
	}
	var names []string
	for _, u := range demoUsers() {
		names = append(names, u.name)
	}
	emu, err := emulator.New(emulator.Config{
		StateFile: filepath.Join(dir, "aws", "state.jsonl"), Speed: o.AWSSpeed, Logger: o.Logger,
		Directories: []emulator.Directory{{ID: devDirectory, Region: devRegion, Name: "corp.example.com", Users: names, SubnetIDs: []string{"subnet-0a1b2c3d", "subnet-1b2c3d4e"}}},
	})
	if err != nil {
		return "", nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.AWSListen)
	if err != nil {
		return "", nil, errors.Join(err, emu.Close())
	}
	server := &http.Server{Handler: emu, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			o.Logger.Error("the emulated Amazon stopped", "error", err)
		}
	}()
	return "http://" + l.Addr().String(), func() error {
		return errors.Join(stopWithin(server.Shutdown), emu.Close())
	}, nil
}

// readCredentials reads the demo's tokens; none where the file is not there.
func readCredentials(path string) ([]Credential, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // our own data directory
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var users []Credential
	err = json.Unmarshal(raw, &users)
	return users, err
}

// WriteSecret writes v as JSON for the owner's eyes only, whole or not at all.
func WriteSecret(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	tmp := path + "." + rand.Text()[:8]
	if err := os.WriteFile(tmp, append(raw, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
