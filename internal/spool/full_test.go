package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fanin/internal/disk"
	"fanin/internal/disk/disktest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// onDisk is how many bytes the segments in a directory have.
func onDisk(t *testing.T, dir string) (n int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), suffix) {
			n += fi.Size()
		}
	}
	return n
}

// TestBlock: a full spool keeps its bound and lets its source wait, and then loses nothing.
func TestBlock(t *testing.T) {
	m := collector()
	settings := quick(t.TempDir())
	settings.MaxBytes = 64 << 10
	s := open(t, settings)
	filled, begun := make(chan struct{}), time.Now().Truncate(time.Microsecond)
	go func() { // ends when all lines are taken
		defer close(filled)
		fill(t, s, 0, 10_000)
	}()
	waittest.Until(t, "the spool to be full", func() bool { return s.Status().Full })
	if n := onDisk(t, s.Dir); n > settings.MaxBytes || n < settings.MaxBytes/2 {
		t.Errorf("the spool has %d bytes", n)
	}
	if st := s.Status(); st.Oldest.Before(begun) || st.Oldest.After(time.Now()) || st.Behind < settings.MaxBytes/2 {
		t.Errorf("the status is %+v", st)
	}
	waiting, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Append(waiting, []byte("x\n"), ""); !errors.Is(err, context.Canceled) {
		t.Errorf("a line more: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context(), m) }() // ends with the spool
	s.meet(m)
	<-filled
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	checkText(t, m, numbered(0, 10_000))
	checkClean(t, s, m)
	if st := s.Status(); st.Full || st.Behind > 0 || !st.Oldest.IsZero() {
		t.Errorf("the status is %+v", st)
	}
}

// TestDropOldest: a full spool drops its oldest lines, counts each of them, and says so in the
// log at their place, also when a process ended in between. What was begun is kept.
func TestDropOldest(t *testing.T) {
	m := collector()
	settings := quick(t.TempDir())
	settings.MaxBytes, settings.WhenFull = 64<<10, DropOldest
	const lines, rounds = 8000, 3
	dropped := uint64(0)
	for i := range rounds {
		s := open(t, settings)
		fill(t, s, i*lines, (i+1)*lines)
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := onDisk(t, s.Dir); n > settings.MaxBytes {
			t.Errorf("the spool has %d bytes", n)
		}
		dropped += s.Counts()["spool_dropped_lines"]
	}
	s := open(t, settings)
	drain(t, s, m)
	_, reasons := skipped(m)
	said, kept := 0, 0
	for _, r := range reasons {
		var lines, bytes int
		if _, err := fmt.Sscanf(r, "the spool was full: dropped %d lines, %d bytes", &lines, &bytes); err != nil {
			t.Errorf("%q: %v", r, err)
		}
		said += lines
	}
	last := -1
	for line := range strings.Lines(text(m)) {
		var n int
		if _, err := fmt.Sscanf(line, "line %d\n", &n); err != nil || n <= last {
			t.Fatalf("%q behind line %d: %v", line, last, err)
		}
		last, kept = n, kept+1
	}
	if kept+said != rounds*lines || uint64(said) != dropped || last != rounds*lines-1 || kept == 0 {
		t.Errorf("%d lines are kept, and %d dropped, of which the log knows %d, of %d; the last is %d",
			kept, dropped, said, rounds*lines, last)
	}
	if len(reasons) != 2 { // the second process does not touch the first segment, which may have been sent
		t.Errorf("%d gaps", len(reasons))
	}
	checkClean(t, s, m)
}

// TestDropWhileSending: what the collector has a part of is not dropped, so the counts are
// exact.
func TestDropWhileSending(t *testing.T) {
	m := collector()
	settings := quick(t.TempDir())
	settings.MaxBytes, settings.WhenFull, settings.BatchBytes = 64<<10, DropOldest, 2<<10
	s := open(t, settings)
	const lines = 20_000
	allowed := make(chan struct{}, lines) // one batch for each 200 lines, and then all
	m.Before = func(context.Context, wire.Batch) error {
		<-allowed
		return nil
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context(), m) }() // ends with the spool
	s.meet(m)
	for i := 0; i < lines; i += 200 {
		fill(t, s, i, i+200)
		allowed <- struct{}{}
	}
	close(allowed)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	kept := strings.Count(text(m), "\n")
	if c := s.Counts(); c["spool_dropped_lines"] == 0 || kept+int(c["spool_dropped_lines"]) != lines {
		t.Errorf("%d lines are kept of %d: %v", kept, lines, c)
	}
	checkClean(t, s, m)
}

// TestFullDisk: while the disk is full, nothing is taken, and nothing is lost; a write that
// got through in part is repeated. With drop_oldest, room is made.
func TestFullDisk(t *testing.T) {
	for _, policy := range []Policy{Block, DropOldest} {
		m := collector()
		var full atomic.Bool
		settings := quick(t.TempDir())
		settings.WhenFull = policy
		settings.Disk = &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
			if full.Load() && (op == disk.OpWrite || op == disk.OpOpen && strings.HasSuffix(path, suffix)) {
				return 7, syscall.ENOSPC
			}
			return 0, nil
		}}
		s := open(t, settings)
		fill(t, s, 0, 1000)
		if err := s.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		full.Store(true)
		filled := make(chan struct{})
		go func() { // ends when all lines are taken
			defer close(filled)
			fill(t, s, 1000, 3000)
		}()
		waittest.Until(t, "the trouble", func() bool { return strings.Contains(s.Status().Trouble, "no space left") })
		if err := s.Sync(canceled()); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("a sync: %v", err)
		}
		full.Store(false)
		<-filled
		drain(t, s, m)
		if s.Status().Trouble != "" {
			t.Errorf("the trouble is %s", s.Status().Trouble)
		}
		dropped := s.Counts()["spool_dropped_lines"]
		if n := strings.Count(text(m), "\n"); n+int(dropped) != 3000 || policy == Block && dropped > 0 {
			t.Errorf("%s: %d lines are kept, %d dropped", policy, n, dropped)
		}
		checkClean(t, s, m)
	}
}

// TestFullAtStop: lines that cannot be written before a stop are reported as lost, at once.
func TestFullAtStop(t *testing.T) {
	settings := quick(t.TempDir())
	settings.Disk = &disk.Disk{Fault: func(op disk.Op, _ string) (int, error) {
		if op == disk.OpWrite {
			return 0, syscall.ENOSPC
		}
		return 0, nil
	}}
	s := open(t, settings)
	fill(t, s, 0, 10)
	waittest.Until(t, "the trouble", func() bool { return s.Status().Trouble != "" })
	if err := s.Close(canceled()); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("%v", err)
	}
	if err := s.Append(t.Context(), []byte("x\n"), ""); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.Dir, "*")); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

// TestFailedSync: after a sync that failed, the same bytes are written again.
func TestFailedSync(t *testing.T) {
	m := collector()
	d := disktest.New(t)
	settings := quick(filepath.Join(d.Dir, "spool"))
	settings.Disk = d.Under
	s := open(t, settings)
	fill(t, s, 0, 10)
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.FailSync(1, name(1))
	fill(t, s, 10, 20)
	if err := s.Sync(t.Context()); err != nil || !d.Failed() {
		t.Fatal(err, d.Failed())
	}
	d.Stop()
	s.Close(canceled())
	d.Cut(0)
	drain(t, open(t, settings), m)
	checkText(t, m, numbered(0, 20))
}

// TestDirectoryRemoved: lines that were taken into files that are gone are sent all the same,
// while the process runs; the directory is made again.
func TestDirectoryRemoved(t *testing.T) {
	m := collector()
	s := open(t, quick(filepath.Join(t.TempDir(), "spool")))
	fill(t, s, 0, 1000)
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.Dir); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 1000, 2000)
	drain(t, s, m)
	checkText(t, m, numbered(0, 2000))
	checkClean(t, s, m)
}

// endless is a line of this many bytes, and its end.
type endless struct{ left int64 }

func (e *endless) Read(b []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), e.left))
	for i := range b[:n] {
		b[i] = 'x'
	}
	if e.left -= int64(n); e.left == 0 {
		b[n-1] = '\n'
	}
	return n, nil
}

// counting is a collector that only counts: bytes and lines, and the marks of parts.
type counting struct{ bytes, lines, parts int }

func (c *counting) Append(_ context.Context, b wire.Batch) error {
	c.bytes += len(b.Text)
	c.lines += bytes.Count(b.Text, []byte{'\n'})
	c.parts += bytes.Count(b.Text, []byte(wire.SplitMark+"\n"))
	return nil
}

// TestHugeLine: a line of 1 GiB takes a few MiB of memory, and all of it comes.
func TestHugeLine(t *testing.T) {
	size := int64(1 << 30)
	if testing.Short() {
		size = 128 << 20
	}
	settings := quick(disktest.TempDir(t))
	settings.SegmentBytes, settings.SyncBytes, settings.MaxBytes = 0, 0, 64<<20
	s := open(t, settings)
	var got counting
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context(), &got) }() // ends with the spool
	s.Welcome(wire.Welcome{Log: wire.NewStreamID()}, wire.MaxText)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if err := s.NewInput("").Read(t.Context(), &endless{left: size}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	marks := got.parts * len(wire.SplitMark+"\n"+wire.SplitGoesOn)
	if got.bytes-marks != int(size) || got.lines != got.parts+1 || got.parts < int(size/wire.MaxLine) {
		t.Errorf("%+v of %d bytes", got, size)
	}
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 48<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}
