package verify

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// Tiles are of 256 hashes (C2SP tlog-tiles).
const (
	TileHeight = 8
	TileWidth  = 1 << TileHeight
)

// The most bytes that files of a log have, for whoever reads them from somewhere that may lie.
const (
	MaxCheckpoint = 64 << 10
	MaxTile       = TileWidth * tlog.HashSize
	MaxEntries    = TileWidth * (2 + 65535)
)

// ErrNotThere is what a source answers for what it does not have.
var ErrNotThere = errors.New("it is not there")

// Source is a log to look at. It answers ErrNotThere for what it does not have; any other error ends the verification.
type Source interface {
	// Checkpoint is the newest signed checkpoint.
	Checkpoint() (string, error)
	// Tile is the hashes of a tile.
	Tile(t tlog.Tile) ([]byte, error)
	// Leaves are the leaves of an entry bundle: those of the tile of level 0.
	Leaves(t tlog.Tile) ([]Leaf, error)
}

// Leaf is what a source has at a place of the log.
type Leaf struct {
	// Raw is nil when the entry is missing.
	Raw []byte
	// ID is the entry's, from a source that knows which one it should be.
	ID string
}

// Files is a source of files in the layout of C2SP tlog-tiles: "checkpoint", "tile/0/000", "tile/entries/x001/234.p/5".
// The function reads one, of at most so many bytes.
type Files func(path string, limit int) ([]byte, error)

// Checkpoint reads it.
func (f Files) Checkpoint() (string, error) {
	b, err := f("checkpoint", MaxCheckpoint)
	return string(b), err
}

// Tile reads a tile.
func (f Files) Tile(t tlog.Tile) ([]byte, error) { return f(TilePath(t, false), MaxTile) }

// Leaves reads an entry bundle.
func (f Files) Leaves(t tlog.Tile) ([]Leaf, error) {
	b, err := f(TilePath(t, true), MaxEntries)
	if err != nil {
		return nil, err
	}
	return SplitBundle(b)
}

// TilePath is the path of a tile, or of its leaves.
func TilePath(t tlog.Tile, leaves bool) string {
	if leaves {
		t.L = -1
	}
	path := strings.TrimPrefix(t.Path(), fmt.Sprintf("tile/%d/", t.H))
	if rest, ok := strings.CutPrefix(path, "data/"); ok {
		path = "entries/" + rest
	}
	return "tile/" + path
}

// errCut and errFull say that a bundle does not have the form of one.
var (
	errCut  = errors.New("it does not end with an entry")
	errFull = fmt.Errorf("%w: it goes on behind the 256 that it may have", errCut)
)

// SplitBundle takes an entry bundle apart: each leaf behind its length in two bytes, big end first.
func SplitBundle(b []byte) ([]Leaf, error) {
	var leaves []Leaf
	for len(b) > 0 {
		if len(leaves) == TileWidth {
			return leaves, errFull
		}
		if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b)) {
			return leaves, errCut
		}
		n := 2 + int(binary.BigEndian.Uint16(b))
		leaves = append(leaves, Leaf{Raw: b[2:n]})
		b = b[n:]
	}
	return leaves, nil
}

// tileReader is tlog.TileReader over a source. It remembers as many tiles as two levels of a walk need.
type tileReader struct {
	src   Source
	cache map[tlog.Tile][]byte
	// broken is what the source failed with, other than that something is not there.
	broken error
}

const cachedTiles = 256

func newTileReader(src Source) *tileReader {
	return &tileReader{src: src, cache: map[tlog.Tile][]byte{}}
}

// Height is that of the tiles.
func (r *tileReader) Height() int { return TileHeight }

// SaveTiles hears which tiles lead to the root.
func (r *tileReader) SaveTiles(tiles []tlog.Tile, data [][]byte) {
	for i, t := range tiles {
		if len(r.cache) >= cachedTiles {
			clear(r.cache)
		}
		r.cache[t] = data[i]
	}
}

// ReadTiles reads tiles.
func (r *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, t := range tiles {
		if data, ok := r.cache[t]; ok {
			out[i] = data
			continue
		}
		data, err := r.src.Tile(t)
		if err != nil && !errors.Is(err, ErrNotThere) {
			r.broken = err
		}
		if err == nil && len(data) != t.W*tlog.HashSize {
			err = fmt.Errorf("it has %d bytes, not the %d of %d hashes", len(data), t.W*tlog.HashSize, t.W)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", TilePath(t, false), err)
		}
		out[i] = data
	}
	return out, nil
}
