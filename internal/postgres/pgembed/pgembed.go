// Package pgembed runs a private PostgreSQL for one process: it finds the system's server binaries, keeps a cluster in a
// directory, listens on a unix socket only, and takes the server down when the process ends, however it ends.
package pgembed

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
)

// MinVersion is the oldest PostgreSQL major version that is accepted.
const MinVersion = 15

// Options say where the cluster lives and how it is run.
type Options struct {
	// DataDir holds the cluster (pgdata), its socket, the lock, the log and, where one of them had to live elsewhere,
	// a pointer to it. It is made when missing, closed to other people. Empty only when Ephemeral: a temporary one.
	DataDir string
	// Ephemeral trades durability for speed and removes at Stop everything Start made. What a killed process left
	// behind is thrown away by the next Start. A cluster is ephemeral or durable for life; Start refuses to mix.
	Ephemeral bool
	// Settings are further server settings, by name. Those that keep the server private cannot be set.
	Settings map[string]string
	// Logger hears about starts, waits and relocations. Nil: nobody does.
	Logger *slog.Logger
}

// ErrInUse is what errors.Is finds when another live process (or another Server of this one) holds the data directory.
var ErrInUse = errors.New("the data directory is in use")

// InUseError is the ErrInUse that Start returns.
type InUseError struct {
	DataDir string
	PID     int // the process that holds it; 0 when it could not be told
}

func (e *InUseError) Error() string {
	holder := "another process"
	if e.PID != 0 {
		holder = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("%s is in use by %s; stop that first or choose another data directory", e.DataDir, holder)
}

// Unwrap makes errors.Is(err, ErrInUse) true.
func (e *InUseError) Unwrap() error { return ErrInUse }

// socketURL is the address of database as user through the socket in dir. The port is spelled out because $PGPORT
// would otherwise decide it.
func socketURL(dir, database, user string) string {
	if database == "" {
		database = superuser
	}
	if user == "" {
		user = superuser
	}
	u := url.URL{Scheme: "postgres", User: url.User(user), Path: "/" + database, RawQuery: "host=" + escapeHost(dir) + "&port=" + port}
	return u.String()
}

// escapeHost spares the slashes, for people, and writes a blank as %20, because libpq does not read "+" as one.
func escapeHost(dir string) string {
	return strings.NewReplacer("+", "%20", "%2F", "/").Replace(url.QueryEscape(dir))
}

const (
	superuser = "postgres"
	port      = "5432" // only a part of the socket's name: nothing listens on TCP
)
