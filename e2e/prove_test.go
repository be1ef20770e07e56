//go:build prove

package e2e

import (
	"fmt"
	"testing"
	"time"
)

// TestProveFoundation is the whole evidence for crashes: twenty kills at random moments, twenty different users.
func TestProveFoundation(t *testing.T) { crash(t, 20, 20261122) }

// TestProveBoundaries kills at every boundary around a create, one after the other.
func TestProveBoundaries(t *testing.T) { boundariesAroundCreate(t, 1) }

// TestProveChaos is the storm with 200 people, twenty times, each with a seed of its own.
func TestProveChaos(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed %d", seed+1), func(t *testing.T) { chaos(t, chaosConfig{users: 200, lasts: 30 * time.Second, seed: seed + 1}) })
	}
}

// TestProveDrift has every kind of drift at once on 5,000 WorkSpaces, with sweeps that break.
func TestProveDrift(t *testing.T) { allDrift(t, 5000) }

// TestProveContest is the whole evidence for people and policies that act at once: a thousand rounds.
func TestProveContest(t *testing.T) { contest(t, 1000, 20261123) }

// TestProveImages kills at every boundary between a version's first need and its bundles in two regions.
func TestProveImages(t *testing.T) { boundariesAroundImages(t, 1) }
