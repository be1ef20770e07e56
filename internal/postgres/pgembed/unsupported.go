//go:build !linux

package pgembed

import (
	"context"
	"errors"
)

// errLinux: elsewhere nothing takes the server down when this process is killed.
var errLinux = errors.New("the embedded PostgreSQL runs on Linux only: set DATABASE_URL to a server of your own")

// Server is a running PostgreSQL.
type Server struct{}

// Start fails: see errLinux.
func Start(context.Context, Options) (*Server, error) { return nil, errLinux }

// URL is the address of database as user.
func (s *Server) URL(database, user string) string { return socketURL("", database, user) }

// Stop does nothing.
func (s *Server) Stop(context.Context) error { return nil }

// Done is never closed.
func (s *Server) Done() <-chan struct{} { return nil }

// Err says why there is no server.
func (s *Server) Err() error { return errLinux }
