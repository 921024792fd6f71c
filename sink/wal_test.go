package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanin/internal/disk"
	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// power is what a disk runs on, until it is cut.
type power struct {
	cut  atomic.Bool
	each func(op disk.Op, path string) // asked to look at each access
}

func (p *power) disk() *disk.Disk {
	return &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
		if p.each != nil {
			p.each(op, path)
		}
		if p.cut.Load() {
			return 0, errCrash
		}
		return 0, nil
	}}
}

// TestOlderLife: frames that an earlier log left in the ring, whose numbers go on
// just where those of this one end, belong to no record.
func TestOlderLife(t *testing.T) {
	path := filepath.Join(t.TempDir(), "all.log")
	for i, lines := range [][]string{{"one", "two", "three"}, {"four"}} {
		var p power
		s := open(t, &Sink{Path: path, Disk: p.disk(), env: environment{walSize: 1 << 20}, Retention: RetentionPolicy{Compress: "none"}})
		src := newSource()
		for _, line := range lines {
			src.send(t, s, line)
			expectSuffix(t, s, line) // the text follows the ack
		}
		p.cut.Store(true)
		s.Close(context.Background())
		if i == 0 { // all of the state but the ring is lost, so numbers begin anew
			if err := os.Remove(filepath.Join(s.State, checkpointName)); err != nil {
				t.Fatal(err)
			}
		}
	}
	expectLines(t, open(t, &Sink{Path: path, env: environment{walSize: 1 << 20}, Retention: RetentionPolicy{Compress: "none"}}), "one", "two", "three", "four")
}

func expectSuffix(t *testing.T, s *Sink, line string) {
	t.Helper()
	waittest.Until(t, "the line "+line, func() bool { return strings.HasSuffix(logText(t, s), line+"\n") })
}

// TestRingWaits: what a checkpoint does not cover yet is not overwritten, so the
// writer waits for it, and everything acknowledged until then is found again.
func TestRingWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "all.log")
	var held atomic.Bool
	release := make(chan struct{})
	p := power{each: func(op disk.Op, path string) {
		if held.Load() && op == disk.OpWrite && filepath.Base(path) == checkpointName {
			<-release
		}
	}}
	const blocks = 16
	var blocked blockedWriter
	s := open(t, &Sink{Path: path, Disk: p.disk(), env: environment{walSize: blocks * blockSize}, Alive: blocked.alive})
	src := newSource()
	src.send(t, s, "first")
	held.Store(true)
	blocked.sink.Store(s)
	var acked atomic.Int64
	done := make(chan struct{})
	go func() { // ends when the disk does
		defer close(done)
		for i := range 4 * blocks {
			if s.Append(context.Background(), src.batch(fmt.Sprint("line ", i))) != nil {
				return
			}
			acked.Add(1)
		}
	}()
	waittest.Until(t, "the writer to wait for the checkpoint", blocked.waits.Load)
	p.cut.Store(true)
	close(release)
	<-done
	s.Close(context.Background())
	if n := acked.Load(); n <= blocks/2 || n >= blocks {
		t.Errorf("%d frames were acknowledged without a checkpoint, in a ring with room for %d", n, blocks)
	}
	s = open(t, &Sink{Path: path, env: environment{walSize: blocks * blockSize}})
	got := bodies(t, s)
	for i := range acked.Load() {
		if int64(len(got)) < i+2 || got[i+1] != fmt.Sprint("line ", i) {
			t.Fatalf("line %d was acknowledged; the log holds %q", i, got)
		}
	}
	if stands := welcomed(s, "a").Streams[0].Offset; stands != int64(len(strings.Join(got, "\n"))+1) {
		t.Errorf("the log holds %q and stands at %d", got, stands)
	}
}

// ring is a write-ahead log alone, with n frames that say their number.
func ring(t *testing.T, n int, syncEach bool) (path string, places []int64) {
	t.Helper()
	dir := t.TempDir()
	f, err := openWAL(nil, dir, 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := &wal{f: f, size: 64 << 10, epoch: 5}
	for i := range n {
		places = append(places, w.head)
		text := []byte{'0' + byte(i), '\n'}
		fr := frame{text: text, records: []record{{lines: 1, length: 2, sum: disk.Checksum(text)}}}
		if err := w.append(&fr); err != nil {
			t.Fatal(err)
		}
		if syncEach {
			if err := w.sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return filepath.Join(dir, walName), places
}

// readRing returns the texts of the frames that are read, and how it ended.
func readRing(t *testing.T, path string) (texts string, err error) {
	t.Helper()
	f, oerr := os.Open(path)
	if oerr != nil {
		t.Fatal(oerr)
	}
	defer f.Close()
	r := &walReader{f: f, path: path, size: 64 << 10, epoch: 5}
	for {
		fr, err := r.next()
		if fr == nil || err != nil {
			return texts, err
		}
		texts += strings.TrimSuffix(string(fr.text), "\n")
	}
}

// TestDamagedFrame: a frame that was durable before a later one was written is
// damaged if it cannot be read; one that was not may be a power cut's work, and
// ends the log.
func TestDamagedFrame(t *testing.T) {
	for _, c := range []struct {
		synced  bool
		at      int
		texts   string
		refused bool
	}{
		{true, 2, "01", true}, {true, 0, "", true}, {true, 4, "0123", false}, {false, 2, "01", false}, {false, 4, "0123", false},
	} {
		path, places := ring(t, 5, c.synced)
		if got, err := readRing(t, path); got != "01234" || err != nil {
			t.Fatalf("whole: %q, %v", got, err)
		}
		flip(t, path, places[c.at]+20)
		got, err := readRing(t, path)
		var d *DamagedError
		if got != c.texts || errors.As(err, &d) != c.refused || err != nil && !c.refused {
			t.Errorf("synced %v, frame %d damaged: read %q, %v", c.synced, c.at, got, err)
		}
		if c.refused && d.Offset != places[c.at] {
			t.Errorf("the damage is said to be at %d, and is at %d", d.Offset, places[c.at])
		}
	}
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 0x5a
	if err := os.WriteFile(path, b, 0o640); err != nil {
		t.Fatal(err)
	}
}

// TestAppendedInBetween: another process appends to the file just between the writer's
// look at it and its own write. Both lines are there, and the ledger knows where.
func TestAppendedInBetween(t *testing.T) {
	path := filepath.Join(t.TempDir(), "all.log")
	var now atomic.Bool
	p := power{each: func(op disk.Op, at string) {
		if op == disk.OpWrite && at == path && now.CompareAndSwap(true, false) {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteString("of another process\n")
				f.Close()
			}
			if err != nil {
				t.Error(err)
			}
		}
	}}
	s := open(t, &Sink{Path: path, Disk: p.disk(), Retention: RetentionPolicy{Compress: "none"}})
	src := newSource()
	src.send(t, s, "one")
	expectLines(t, s, "one")
	now.Store(true)
	src.send(t, s, "two")
	src.send(t, s, "three")
	expectLines(t, s, "one", "two", "three")
	waittest.Until(t, "a notice", func() bool { return strings.Contains(logText(t, s), "fanin: INTERFERENCE") })
	if !strings.Contains(logText(t, s), "\nof another process\n") {
		t.Errorf("the other process's line is gone: %q", logText(t, s))
	}
	s.Close(context.Background())
	r, err := Verify(context.Background(), path, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range r.Problems {
		if !strings.Contains(problem, "no record") && !strings.Contains(problem, "another process") {
			t.Errorf("verify: %s", problem)
		}
	}
	if r.OK() {
		t.Error("verify does not tell of the other process's line")
	}
	t.Log(r.Problems)
}

// TestShortLinesWithLongLabels: the prefixes of many empty lines take more than the
// lines. A frame of them fits into the smallest write-ahead log all the same.
func TestShortLinesWithLongLabels(t *testing.T) {
	for _, format := range []string{"syslog", "json"} {
		s := open(t, &Sink{Sync: syncNone, Format: format, env: environment{walSize: walSizeNone}})
		ended := make(chan error, 1)
		go func() {
			ended <- s.Append(context.Background(), wire.Batch{Input: "tcp", Host: strings.Repeat("h", wire.MaxName),
				Source: strings.Repeat("s", wire.MaxName), Text: bytes.Repeat([]byte{'\n'}, 64<<10)})
		}()
		select {
		case err := <-ended:
			must(t, err)
		case <-time.After(30 * time.Second):
			t.Fatalf("%s: the writer waits for room: %d checkpoints", format, s.counts.checkpoints.Load())
		}
	}
}

// TestLargeFrameAnywhere: a frame of more than half of the smallest write-ahead log finds room wherever the one
// before it ended, and a crash that kept its text from the file does not lose it.
func TestLargeFrameAnywhere(t *testing.T) {
	for before := 1; before <= 7; before++ {
		var stop atomic.Bool
		s := &Sink{Path: filepath.Join(t.TempDir(), "all.log"), Format: "json"}
		s.Disk = &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
			if stop.Load() && op == disk.OpWrite && path == s.Path {
				return 0, errCrash
			}
			return 0, nil
		}}
		open(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), waittest.Limit)
		for range before {
			must(t, s.Append(ctx, wire.Batch{Text: append(bytes.Repeat([]byte{'x'}, 1<<20-1), '\n')}))
		}
		must(t, s.do(ctx, func(*writer) error { stop.Store(true); return nil }))
		s.Append(ctx, wire.Batch{Text: append(bytes.Repeat([]byte{1}, 1<<20-1), '\n')}) // perhaps the crash is faster
		cancel()
		<-s.Failed()
		s.Close(context.Background())
		s = open(t, &Sink{Path: s.Path, Format: "json"})
		if lines := strings.Count(logText(t, s), "\n"); lines != before+1 {
			t.Errorf("%d lines after %d and a large one", lines, before)
		}
	}
}

// TestManyOpens: streams that begin at once, with names as long as they may be, do not
// make a frame larger than the smallest write-ahead log.
func TestManyOpens(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone, env: environment{walSize: walSizeNone}})
	var ready, appends sync.WaitGroup
	err := s.do(t.Context(), func(*writer) error { // the writer is busy until all have begun
		ready.Add(8000)
		for i := range 8000 {
			appends.Go(func() {
				name := strings.Repeat("n", wire.MaxName)
				ready.Done()
				err := s.Append(context.Background(), wire.Batch{Op: wire.OpOpen, Stream: wire.StreamID{byte(i), byte(i >> 8), 1},
					Epoch: 1, Agent: name, Host: name, Source: name, Control: wire.Control{Identity: make([]byte, wire.MaxIdentity)}})
				if err != nil {
					t.Error(err)
				}
			})
		}
		ready.Wait()
		return nil
	})
	must(t, err)
	ended := make(chan struct{})
	go func() { appends.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatalf("the writer waits for room: %d checkpoints", s.counts.checkpoints.Load())
	}
}
