//go:build linux

package pgembed

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestALogThatGrewTooLongIsCutToItsEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte(strings.Repeat("old\n", logLimit/4)+"newest\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.f.Close()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) != logKeep || !strings.HasSuffix(string(text), "old\nnewest\n") {
		t.Errorf("%d bytes are left", len(text))
	}
	if got := l.tail(); got != "" {
		t.Errorf("another run's messages are taken for this one's: %q", got)
	}
	if _, err := l.f.WriteString("FATAL: x\n"); err != nil {
		t.Fatal(err)
	}
	if got := l.tail(); got != "FATAL: x" {
		t.Errorf("the tail is %q", got)
	}
}

func TestReadyIsWhatOurChildSaysOfItself(t *testing.T) {
	file := "17\n/d\n1700000000\n5432\n/s\n\n 12345 1\nready   \n"
	for _, c := range []struct {
		text string
		pid  int
		want bool
	}{
		{file, 17, true},
		{file, 18, false},
		{strings.Replace(file, "ready   ", "starting", 1), 17, false},
		{"17\n/d\n", 17, false},
		{"", 17, false},
	} {
		if got := saysReady(c.text, c.pid); got != c.want {
			t.Errorf("saysReady(%q, %d) = %v", c.text, c.pid, got)
		}
	}
}
