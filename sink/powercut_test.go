package sink

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"fanin/internal/disk"
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
	s, err := l.start()
	if err != nil {
		t.Fatal(err)
	}
	l.work(s, 1)
	if err := s.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	writing, goOn := make(chan struct{}, 10), make(chan struct{})
	l.disk.Each(func(op disk.Op, path string) {
		if op == disk.OpWrite && filepath.Base(path) == slotName {
			writing <- struct{}{}
			<-goOn
		}
	})
	var acked atomic.Int64
	send := func() error {
		before := l.src.text
		b := l.src.batch("a line")
		l.sent = l.src.text
		err := s.Append(context.Background(), b)
		if err != nil {
			l.src.text = before
			return err
		}
		acked.Add(1)
		return nil
	}
	for range s.walSize/blockSize - 1 { // more than half, which begins a checkpoint, and not all
		if err := send(); err != nil {
			t.Fatal(err)
		}
	}
	<-writing
	before := s.counts.checkpoints.Load()
	goOn <- struct{}{}
	waitFor(t, "the checkpoint", func() bool { return s.counts.checkpoints.Load() > before })
	done := make(chan struct{})
	go func() { // ends when the disk has stopped
		defer close(done)
		for send() == nil {
		}
	}()
	<-writing
	for before := int64(-1); before != acked.Load(); time.Sleep(50 * time.Millisecond) {
		before = acked.Load() // until the ring is full
	}
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
