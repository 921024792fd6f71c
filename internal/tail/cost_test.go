//go:build !windows

package tail

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// processorTime is what this process has used of it.
func processorTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestNewFilesCost: what thousands of new files cost grows with their number, not
// with its square. It takes a few tenths of a second, and took ten.
func TestNewFilesCost(t *testing.T) {
	r := newRig(t)
	r.change = func(t *Tailer) { t.Poll = 20 * time.Millisecond }
	r.append("first.log", "first\n").run().expect("first")
	const files = 2000
	began := processorTime(t)
	for i := range files {
		// Two lines: the first is the same in all, so each begins like each.
		r.append(fmt.Sprintf("app%d.log", i), fmt.Sprintf("a line that all of these files begin with, whatever they go on with\n%d\n", i))
	}
	r.drained(files + 1)
	if took := processorTime(t) - began; took > 4*slowness*time.Second {
		t.Errorf("%d new files took %v of a processor", files, took)
	}
}

// TestIdleFilesCost: idle files below wildcards cost next to nothing.
func TestIdleFilesCost(t *testing.T) {
	r := newRig(t)
	r.change = func(t *Tailer) {
		t.Tables[0].Paths, t.Poll = []string{filepath.Join(r.dir, "*/*/a.log")}, 10*time.Millisecond
	}
	const files = 1000
	for i := range files {
		tree(t, r.dir, fmt.Sprintf("h%d/%d/a.log", i/20, i%20))
	}
	r.run().drained(files)
	began, since := processorTime(t), time.Now()
	r.polled(150)
	if used, passed := processorTime(t)-began, time.Since(since); used > slowness*passed/10 {
		t.Errorf("%d idle files took %v of a processor in %v", files, used, passed)
	}
}

// TestTruncationsCost: thousands of files that are truncated at once look for
// their copies together.
func TestTruncationsCost(t *testing.T) {
	r := newRig(t)
	r.change = func(t *Tailer) { t.Poll = 50 * time.Millisecond }
	const files = 2000
	var want strings.Builder
	for i := range files {
		text := fmt.Sprintf("old-%d-which-is-longer\n", i)
		want.WriteString(text)
		r.append(fmt.Sprintf("app%d.log", i), text)
	}
	r.run().drained(files)
	began := processorTime(t)
	for i := range files {
		text := fmt.Sprintf("new-%d\n", i)
		want.WriteString(text)
		if err := os.Truncate(r.path(fmt.Sprintf("app%d.log", i)), 0); err != nil {
			t.Fatal(err)
		}
		r.append(fmt.Sprintf("app%d.log", i), text)
	}
	r.drained(files).expectSet(want.String())
	if took := processorTime(t) - began; took > 4*slowness*time.Second {
		t.Errorf("%d files that were truncated took %v of a processor", files, took)
	}
}
