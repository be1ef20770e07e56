package emulator

import "errors"

// Crash lets go of the files as the kernel does of a killed process, and of nothing else.
func (e *Emulator) Crash() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.journal.close()
}

// brokenDisk is a disk that writes and then cannot sync, and perhaps cannot truncate.
type brokenDisk struct {
	file
	syncs int // how many fail
	stuck bool
}

var errDisk = errors.New("disk: input/output error")

func (d *brokenDisk) Sync() error {
	if d.syncs > 0 {
		d.syncs--
		return errDisk
	}
	return d.file.Sync()
}

func (d *brokenDisk) Truncate(size int64) error {
	if d.stuck {
		return errDisk
	}
	return d.file.Truncate(size)
}

// BreakDisk makes the next syncs fail; if stuck, what was written cannot be taken back either.
func (e *Emulator) BreakDisk(syncs int, stuck bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.journal.f = &brokenDisk{file: e.journal.f, syncs: syncs, stuck: stuck}
}
