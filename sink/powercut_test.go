package sink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"fanin/internal/disk"
	"fanin/internal/disk/disktest"
	"fanin/internal/waittest"
)

// TestMovedAwayThenPowerCut: the file lost its unsynced end to a power cut and was
// moved away before the next start. What the frames hold is written into it where
// it is now, and survives another cut: the checkpoint syncs another file by then.
func TestMovedAwayThenPowerCut(t *testing.T) {
	l := newLife(t, "moved away", syncCommit, true)
	s, err := l.start()
	if err != nil {
		t.Fatal(err)
	}
	l.work(s, 3) // no checkpoint comes in between
	l.crash(s, 0)
	if err := os.Rename(s.Path, s.Path+".1"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if s, err = l.start(); err != nil {
			t.Fatal(err)
		}
		l.crash(s, 0)
	}
	if s, err = l.start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	var want []string
	for i := range 3 {
		want = append(want, l.line(i))
	}
	expectLines(t, s, want...)
}

// TestCheckpointFreesItsOwn: what was committed while a checkpoint was being written
// is not covered by it, and stays in the ring until the next one is durable.
func TestCheckpointFreesItsOwn(t *testing.T) {
	l := newLife(t, "a checkpoint under way", syncCommit, true)
	var blocked blockedWriter
	l.alive = blocked.alive
	s, err := l.start()
	if err != nil {
		t.Fatal(err)
	}
	blocked.sink.Store(s)
	l.work(s, 1)
	if err := s.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	writing, goOn := make(chan struct{}, 10), make(chan struct{})
	l.disk.Each(func(op disk.Op, path string) {
		if op == disk.OpWrite && filepath.Base(path) == checkpointName {
			writing <- struct{}{}
			<-goOn
		}
	})
	send := func() error {
		before := l.src.text
		b := l.src.batch("a line")
		l.sent = l.src.text
		err := s.Append(context.Background(), b)
		if err != nil {
			l.src.text = before
			return err
		}
		return nil
	}
	for range s.env.walSize/blockSize - 1 { // more than half, which begins a checkpoint, and not all
		if err := send(); err != nil {
			t.Fatal(err)
		}
	}
	<-writing
	before := s.counts.checkpoints.Load()
	goOn <- struct{}{}
	waittest.Until(t, "the checkpoint", func() bool { return s.counts.checkpoints.Load() > before })
	done := make(chan struct{})
	go func() { // ends when the disk has stopped
		defer close(done)
		for send() == nil {
		}
	}()
	<-writing
	blocked.waits.Store(false)
	waittest.Until(t, "the ring to be full", blocked.waits.Load)
	l.disk.Stop()
	close(goOn)
	<-done
	l.crash(s, 0)
	l.disk.Each(nil)
	if s, err = l.start(); err != nil {
		t.Fatal(err)
	}
	l.meet(s)
	l.hold(s)
}

// stopAt has the disk stop at the n-th access of this kind to a file whose name
// begins so, counted from the first write of a table on.
func (l *life) stopAt(op disk.Op, name string, n int64) {
	var began atomic.Bool
	var count atomic.Int64
	l.disk.Each(func(o disk.Op, path string) {
		if o == disk.OpWrite && strings.HasPrefix(filepath.Base(path), "table-") {
			began.Store(true)
		}
		if began.Load() && o == op && strings.HasPrefix(filepath.Base(path), name) && count.Add(1) == n {
			l.disk.Stop()
		}
	})
}

// TestCutAfterKill: a process is killed between a write and its sync, or the sync
// fails, and the power is cut while the next start is under way. What that start
// read back was in the page cache only; it was made durable before anything was
// built on it.
func TestCutAfterKill(t *testing.T) {
	for seed := range uint64(60) {
		for _, fails := range []bool{false, true} {
			if seed <= disktest.Losses { // there is no more to tear
				l := newLife(t, fmt.Sprintf("a frame, it fails %v, seed %d", fails, seed), syncCommit, true)
				// Its text is in the file, and no checkpoint tells of it.
				l.cutAfter(walName, fails, disk.OpWrite, "table-", seed)
			}
			l := newLife(t, fmt.Sprintf("a slot, it fails %v, seed %d", fails, seed), syncCommit, true)
			// The next slot goes over the one before.
			l.cutAfter(checkpointName, fails, disk.OpSync, checkpointName, seed)
		}
	}
}

// cutAfter ends the process at a sync of the file so called, and cuts the power at
// an access of the next one.
func (l *life) cutAfter(ends string, fails bool, op disk.Op, name string, seed uint64) {
	l.Helper()
	defer l.disk.Remove()
	if l.mayFail = fails; fails {
		l.disk.FailSync(4, ends) // the first one is of its zeros
	} else {
		l.stopAt(disk.OpSync, ends, 3)
	}
	s, err := l.start()
	if err == nil {
		l.incarnation = s.Welcome("a").Incarnation
		l.work(s, 9)
		s.Close(context.Background())
	}
	if l.disk.Failed() != fails || l.disk.Stopped() == fails {
		l.fail("the process did not end: nothing was tested")
	}
	l.disk.Each(nil)
	l.disk.Kill()
	l.stopAt(op, name, 1)
	if s, err = l.start(); err == nil {
		s.Close(context.Background())
	}
	if !l.disk.Stopped() {
		l.fail("the disk has not stopped: nothing was tested")
	}
	l.disk.Each(nil)
	l.disk.Cut(seed)
	l.mayFail = false
	if s, err = l.start(); err != nil {
		l.fail("%v", err)
	}
	l.meet(s)
	l.work(s, 1)
	l.hold(s)
}

// TestCutAfterFailedSync: a sync fails, after which the system takes for written
// what is not. The process ends, the next one starts, and the power is cut: the
// start has written all again that it relies on.
func TestCutAfterFailedSync(t *testing.T) {
	for n := int64(1); ; n++ {
		for _, apart := range []bool{false, true} {
			l := newLife(t, fmt.Sprintf("sync %d, state apart %v", n, apart), syncCommit, true)
			l.apart, l.mayFail = apart, true
			l.disk.FailSync(n, "")
			s, err := l.start()
			if err == nil {
				l.incarnation = s.Welcome("a").Incarnation
				l.work(s, 7)
				s.Close(context.Background())
			}
			if !l.disk.Failed() {
				return
			}
			l.disk.Kill()
			l.mayFail = false
			if s, err = l.start(); err != nil {
				l.fail("%v", err)
			}
			l.meet(s)
			l.crash(s, 0)
			if s, err = l.start(); err != nil {
				l.fail("%v", err)
			}
			l.meet(s)
			l.work(s, 6)
			l.idle(s)
			l.hold(s)
			l.disk.Remove()
		}
	}
}

// TestWrittenAgainOnce: while the collector was down, the file was deleted, or cut
// shorter than it was at the checkpoint. What the frames hold begins the next file.
// A crash while that start is under way does not have them written twice.
func TestWrittenAgainOnce(t *testing.T) {
	for what, do := range map[string]func(path string) error{"deleted": os.Remove, "truncated": func(path string) error { return os.Truncate(path, 0) }} {
		for n, ended := int64(1), false; !ended; n++ {
			for seed := range uint64(2) {
				l := newLife(t, fmt.Sprintf("%s, access %d, seed %d", what, n, seed), syncCommit, true)
				ended = l.writtenAgain(do, n, seed)
			}
		}
	}
}

// durable makes durable what others did to a file.
func (l *life) durable(path string) {
	l.Helper()
	err := l.disk.Under.SyncDir(filepath.Dir(path))
	f, oerr := l.disk.Under.Open(path, os.O_RDWR, 0)
	if oerr == nil {
		err = errors.Join(err, f.Sync())
		f.Close()
	}
	if err != nil {
		l.fail("%v", err)
	}
}

func (l *life) writtenAgain(do func(path string) error, n int64, seed uint64) (ended bool) {
	defer l.disk.Remove()
	s, err := l.start()
	if err != nil {
		l.fail("%v", err)
	}
	l.work(s, 2)
	if err := s.Checkpoint(context.Background()); err != nil {
		l.fail("checkpoint: %v", err)
	}
	before := len(l.src.text)
	l.work(s, 3) // no checkpoint comes in between
	l.crash(s, 1)
	if err := do(s.Path); err != nil {
		l.fail("%v", err)
	}
	l.durable(s.Path)
	l.disk.StopAt(n, 0)
	s, _ = l.start()
	ended = !l.disk.Stopped()
	l.crash(s, seed)
	if s, err = l.start(); err != nil {
		l.fail("%v", err)
	}
	defer s.Close(context.Background())
	if err := s.Checkpoint(context.Background()); err != nil {
		l.fail("checkpoint: %v", err)
	}
	if got, want := strings.Join(bodies(l.T, s), "\n")+"\n", string(l.src.text[before:]); got != want {
		l.fail("the log holds %.100q, want %.100q", got, want)
	}
	return ended
}

// TestStateMadeAgainIsDurable: a state directory that is made again while the log is
// open is durable in the one above it before anything is acknowledged.
func TestStateMadeAgainIsDurable(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	var ops []string
	s := open(t, &Sink{Path: filepath.Join(dir, "log", "all.log"), State: filepath.Join(dir, "lib", "state"), Retention: RetentionPolicy{Compress: "none"},
		Disk: &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			ops = append(ops, fmt.Sprint(op, " ", filepath.Base(path)))
			return 0, nil
		}}})
	src := newSource()
	src.send(t, s, "one")
	expectLines(t, s, "one")
	mu.Lock()
	ops = nil
	mu.Unlock()
	if err := os.RemoveAll(s.State); err != nil {
		t.Fatal(err)
	}
	src.send(t, s, "two")
	mu.Lock()
	defer mu.Unlock()
	made := slices.Index(ops, "mkdir state")
	if made < 0 || made+1 == len(ops) || ops[made+1] != "sync lib" {
		t.Errorf("%q", ops)
	}
}
