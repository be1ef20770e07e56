//go:build linux

package pgembed

import (
	"io"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	logLimit    = 10 << 20
	logKeep     = 1 << 20 // what stays of a log that reached the limit
	logInterval = time.Minute
	tailBytes   = 4 << 10
	tailLines   = 20
)

// logFile is what the server writes its messages to. The server has it open for appending, so it can be cut underneath.
type logFile struct {
	f *os.File
	// from is where this run's messages begin.
	from int64
}

func openLog(path string) (*logFile, error) {
	// The server's account cannot make names beside it, but a data directory that was there may be someone else's.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	l := &logFile{f: f}
	if err := l.trim(); err != nil {
		_ = f.Close()
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	l.from = fi.Size()
	return l, nil
}

// trim cuts a log above the limit down to its end. A message written in that very moment is lost.
func (l *logFile) trim() error {
	fi, err := l.f.Stat()
	if err != nil || fi.Size() <= logLimit {
		return err
	}
	end, err := io.ReadAll(io.NewSectionReader(l.f, fi.Size()-logKeep, logKeep))
	if err != nil {
		return err
	}
	if err := l.f.Truncate(0); err != nil {
		return err
	}
	_, err = l.f.Write(end)
	return err
}

// trimUntil keeps the log bounded until done is closed.
func (l *logFile) trimUntil(done <-chan struct{}) {
	tick := time.NewTicker(logInterval)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			_ = l.trim() // tried again in a minute
		}
	}
}

// tail is the end of what this run wrote.
func (l *logFile) tail() string {
	fi, err := l.f.Stat()
	if err != nil {
		return ""
	}
	begin := max(l.from, fi.Size()-tailBytes)
	if begin > fi.Size() { // cut meanwhile
		begin = max(0, fi.Size()-tailBytes)
	}
	text, _ := io.ReadAll(io.NewSectionReader(l.f, begin, tailBytes))
	return lastLines(string(text))
}

func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}
