package spool

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fanin/internal/disk"
	"fanin/internal/waittest"
)

// TestFillsTheDisk: where the spool itself fills the disk, what was acknowledged makes room, also
// if that is in the segment that is written.
func TestFillsTheDisk(t *testing.T) {
	m := collector()
	settings := quick(filepath.Join(t.TempDir(), "spool"))
	settings.SegmentBytes = 1 << 20
	const room = 32 << 10
	settings.Disk = &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
		if op == disk.OpWrite && strings.HasSuffix(path, suffix) && onDisk(t, settings.Dir) > room {
			return 7, syscall.ENOSPC
		}
		return 0, nil
	}}
	s := open(t, settings)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context(), m) }() // ends with the spool
	s.meet(m)
	const lines = 10_000
	filled := make(chan struct{})
	go func() { // ends when all lines are taken
		defer close(filled)
		for i := 0; i < lines; i += 100 {
			if err := s.Append(t.Context(), []byte(numbered(i, i+100)), ""); err != nil {
				return
			}
			if err := s.Sync(t.Context()); err != nil {
				return
			}
		}
	}()
	waittest.Until(t, "all lines to be taken", func() bool {
		select {
		case <-filled:
			return true
		default:
			return false
		}
	})
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	checkText(t, m, numbered(0, lines))
	checkClean(t, s, m)
}
