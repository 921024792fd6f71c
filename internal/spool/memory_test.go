package spool

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// TestFromMemory: a sender that keeps up reads no file, and yet what it sends has the hashes of
// the bytes on the disk, at each place where a batch ends or may be divided.
func TestFromMemory(t *testing.T) {
	m := collector()
	var reads atomic.Int64
	settings := quick(t.TempDir())
	settings.SegmentBytes, settings.BatchBytes, settings.SyncEvery = 1<<20, 300<<10, time.Hour
	settings.Disk = &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
		if op == disk.OpRead && strings.HasSuffix(path, suffix) {
			reads.Add(1)
		}
		return 0, nil
	}}
	places := 0
	m.Before = func(_ context.Context, b wire.Batch) error {
		if len(b.Text) == 0 {
			return nil
		}
		names, _ := filepath.Glob(filepath.Join(settings.Dir, "*"+suffix))
		file, err := os.ReadFile(names[0])
		if err != nil {
			return err
		}
		for _, c := range append(b.Cuts, wire.Cut{End: b.End, After: b.After}) {
			places++
			if want := wire.TailHash(file[:c.End]); c.After != want {
				t.Errorf("the hash at %d is %x, want %x", c.End, c.After, want)
			}
		}
		return nil
	}
	s := open(t, settings)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context(), m) }() // ends with the spool
	s.meet(m)
	var want bytes.Buffer
	for i := range 9 {
		block := bytes.Repeat(fmt.Appendf(nil, "line of block %d\n", i), 30_000)
		if i == 0 { // the first line is synced at once, alone: a small block is read from its file
			block = block[:bytes.IndexByte(block, '\n')+1]
		}
		want.Write(block)
		if err := s.Append(t.Context(), block, ""); err != nil {
			t.Fatal(err)
		}
		if err := s.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := m.Until(t.Context(), func() bool { return len(text(m)) == want.Len() }); err != nil {
			t.Fatal(err)
		}
	}
	if n := reads.Load(); n > 1 {
		t.Errorf("%d reads", n)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if text(m) != want.String() || places < 16 {
		t.Errorf("the text differs, or there are few places: %d", places)
	}
	checkClean(t, s, m)
}
