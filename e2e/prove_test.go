//go:build prove

package e2e

import "testing"

// TestProveFoundation is the whole evidence for crashes: twenty kills at random moments, twenty different users.
func TestProveFoundation(t *testing.T) { crash(t, 20, 20261122) }

// TestProveBoundaries kills at every boundary around a create, one after the other.
func TestProveBoundaries(t *testing.T) { boundariesAroundCreate(t, 1) }
