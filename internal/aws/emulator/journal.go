package emulator

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// journalVersion is the form of the file. A file of another version is refused rather than guessed at.
const journalVersion = 1

// journalHead is the first line of the file.
type journalHead struct {
	Emulator string `json:"emulator"` // "workspaces"
	Version  int    `json:"version"`
	Seq      int64  `json:"seq"` // the highest number given out, which may belong to something since gone
}

// journalLine is every other line: what one thing is from here on.
type journalLine struct {
	Kind  string          `json:"kind"`
	Value json.RawMessage `json:"value"`
}

// file is what the journal needs of an *os.File; a test puts a failing disk under it.
type file interface {
	io.Writer
	Sync() error
	Truncate(size int64) error
	Close() error
}

// journal keeps the state on disk: every change is appended and synced before it is answered, and the file
// is rewritten in its shortest form at each start. It is not safe for concurrent use.
type journal struct {
	path string
	lock io.Closer
	f    file // opened for appending; nil until the first rewrite
	size int64
	// broken is set once the file may hold something that was not answered and that could not be taken
	// back: from then on nothing more is promised.
	broken error
}

// openJournal takes the lock on path and reads what is there into w. The journal must be rewritten before
// it can be appended to.
func openJournal(path string, w *world) (*journal, error) {
	lock, err := lockFile(path + ".lock")
	if errors.Is(err, errLocked) {
		return nil, fmt.Errorf("state file %s is in use by another emulator", path)
	}
	if err != nil {
		return nil, fmt.Errorf("lock state file: %w", err)
	}
	if err := readJournal(path, w); err != nil {
		return nil, errors.Join(fmt.Errorf("read state file %s: %w", path, err), lock.Close())
	}
	return &journal{path: path, lock: lock}, nil
}

// readJournal passes over a last line that is torn: it belongs to a change that was being written when the
// process died, so nobody was told of it. Anything unreadable before that is an error.
func readJournal(path string, w *world) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read

	in := bufio.NewReaderSize(f, 1<<16)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err == io.EOF && (n > 1 || len(line) == 0) {
			return nil // what is left lacks its line end: torn
		}
		if err != nil && err != io.EOF {
			return err
		}
		if n == 1 {
			err = readHead(line, w)
		} else {
			err = readLine(line, w)
		}
		if err == nil {
			continue
		}
		if _, more := in.Peek(1); more == io.EOF && n > 1 && !json.Valid(line) {
			return nil
		}
		return fmt.Errorf("line %d: %w", n, err)
	}
}

func readHead(line []byte, w *world) error {
	var head journalHead
	if err := json.Unmarshal(line, &head); err != nil || head.Emulator != "workspaces" {
		return errors.New("this is not the state of a WorkSpaces emulator")
	}
	if head.Version != journalVersion {
		return fmt.Errorf("version %d of the state is not known here, only %d", head.Version, journalVersion)
	}
	w.seq = max(w.seq, head.Seq)
	return nil
}

func readLine(line []byte, w *world) error {
	var l journalLine
	if err := json.Unmarshal(line, &l); err != nil {
		return err
	}
	return w.load(l.Kind, l.Value)
}

// rewrite replaces the file by one that holds just records. A crash leaves the old file or the new one.
func (j *journal) rewrite(seq int64, records []record) (err error) {
	head, err := json.Marshal(journalHead{Emulator: "workspaces", Version: journalVersion, Seq: seq})
	if err != nil {
		return err
	}
	body, err := encodeLines(records)
	if err != nil {
		return err
	}
	content := append(append(head, '\n'), body...)

	temp := j.path + ".new"
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("write state file: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	if _, err := f.Write(content); err != nil {
		return fmt.Errorf("write state file: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write state file: %w", err)
	}
	if err := os.Rename(temp, j.path); err != nil {
		return fmt.Errorf("write state file: %w", err)
	}
	if err := syncDir(filepath.Dir(j.path)); err != nil {
		return fmt.Errorf("write state file: %w", err)
	}
	if j.f != nil {
		_ = j.f.Close()
	}
	j.f, j.size, j.broken = f, int64(len(content)), nil
	return nil
}

// append makes records durable. When it fails none of them will be read back; a crash in the middle may
// keep some, of which nobody was told.
func (j *journal) append(records []record) error {
	if j.broken != nil {
		return fmt.Errorf("the journal failed earlier: %w", j.broken)
	}
	lines, err := encodeLines(records)
	if err != nil {
		return err
	}
	_, err = j.f.Write(lines)
	if err == nil {
		err = j.f.Sync()
	}
	if err == nil {
		j.size += int64(len(lines))
		return nil
	}
	// Take back what may have reached the file, or a restart would bring up a change that was refused.
	if undo := errors.Join(j.f.Truncate(j.size), j.f.Sync()); undo != nil {
		j.broken = errors.Join(err, undo)
	}
	return fmt.Errorf("append to journal: %w", err)
}

func encodeLines(records []record) ([]byte, error) {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	for _, r := range records {
		value, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("encode %s %s: %w", r.kind(), r.key(), err)
		}
		if err := out.Encode(journalLine{Kind: r.kind(), Value: value}); err != nil {
			return nil, fmt.Errorf("encode %s %s: %w", r.kind(), r.key(), err)
		}
	}
	return b.Bytes(), nil
}

func (j *journal) close() error {
	var err error
	if j.f != nil {
		err = j.f.Close()
	}
	return errors.Join(err, j.lock.Close())
}
