package sink

import (
	"os"
	"path/filepath"
	"slices"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// about returns the log's own files, the newest first. Agents on this machine must not
// follow them.
func (s *Sink) about() wire.About {
	a := wire.About{Boot: s.env.boot}
	s.view.mu.RLock()
	generations := s.view.catalog.list()
	s.view.mu.RUnlock()
	for _, g := range slices.Backward(generations) {
		if len(a.Files) == wire.MaxAbout {
			break
		}
		if g.State == stateLive || g.State == statePlain {
			if f, ok := logFile(filepath.Join(filepath.Dir(s.Path), g.Name)); ok {
				a.Files = append(a.Files, f)
			}
		}
	}
	return a
}

// logFile is the file at path as an agent can recognise it: by its numbers, and by
// the bytes before its end.
func logFile(path string) (l wire.LogFile, ok bool) {
	f, err := os.Open(path)
	if err != nil {
		return l, false // renamed meanwhile; the next welcome has its new name
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return l, false
	}
	l = wire.LogFile{Device: disk.Device(fi), Inode: disk.Inode(fi), Point: wire.Point{Offset: fi.Size()}}
	tail := make([]byte, min(l.Offset, wire.TailSize))
	if _, err := f.ReadAt(tail, l.Offset-int64(len(tail))); err != nil {
		return l, false
	}
	l.Tail = wire.TailHash(tail)
	return l, true
}
