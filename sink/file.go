package sink

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"fanin/internal/disk"
)

// file is the live file of the log. Only whole frames are appended to it, each
// after it was committed, so readers see nothing that could vanish again.
type file struct {
	f          *disk.File // O_APPEND, so that a truncation by another process makes no hole
	generation uint64
	inode      uint64
	size       int64 // where our next byte belongs
	published  int64 // how much of it readers of the log may read
	reserved   int64 // room is found up to here
	opened     time.Time
}

// reserveStep is how far ahead room is reserved: what was committed must not
// meet a full disk on its way into the file.
const reserveStep = 16 << 20

// openFile opens the log's path for appending, and creates it if needed. Whatever the
// umask is, and whatever made the file, it gets the log's mode: the log is made to be
// read. The caller decides what the size of an existing file means.
func (s *Sink) openFile() (*file, error) {
	f, err := s.Disk.Open(s.Path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, s.Modes.File)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open %s: %w", s.Path, err)
	}
	if err := f.HaveMode(s.Modes.File); err != nil {
		s.Log.Warn("cannot set the log's mode; the file keeps the one it has",
			"path", s.Path, "mode", fi.Mode().Perm(), "want", s.Modes.File.Perm(), "err", err)
	}
	return &file{f: f, inode: disk.Inode(fi), size: fi.Size(), reserved: fi.Size(), opened: time.Now()}, nil
}

// reserve reserves room for n more bytes. If there is none, disk.IsFull holds for the error.
func (f *file) reserve(n int64) error {
	need := f.size + n
	if need <= f.reserved {
		return nil
	}
	err := f.f.Reserve(f.reserved, need+reserveStep)
	if err == nil {
		f.reserved = need + reserveStep
		return nil
	}
	if err = f.f.Reserve(f.reserved, need); err == nil {
		f.reserved = need
	}
	return err
}

// append writes p at the end and returns how much of it is written. shift is the
// distance of the last byte from its place: > 0 if another process appended before,
// < 0 if it truncated.
func (f *file) append(p []byte) (n int, shift int64, err error) {
	n, err = f.f.Write(p)
	f.size += int64(n)
	at, serr := f.f.Seek(0, io.SeekCurrent) // after an O_APPEND write: where that ended
	if n > 0 && serr == nil {
		shift = at - f.size
	}
	return n, shift, err
}

// interference names what another process did to the file, "" when it is as we left it.
func (f *file) interference(path string) string {
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "deleted or moved away"
	}
	if err == nil && disk.Inode(fi) != f.inode {
		return "replaced by another file"
	}
	own, err := f.f.Stat()
	switch {
	case err != nil:
		return ""
	case own.Size() < f.size:
		return "truncated"
	case own.Size() > f.size:
		return "appended to"
	}
	return ""
}

// deleted reports whether the file has no name any more, so that nothing can open it.
func (f *file) deleted() bool {
	fi, err := f.f.Stat()
	return err == nil && disk.Links(fi) == 0
}

// release frees the room that was reserved and not used. The size stays.
func (f *file) release() {
	if fi, err := f.f.Stat(); err == nil && f.reserved > f.size && fi.Size() == f.size {
		f.f.Truncate(f.size) // only returns blocks; failing costs nothing but them
	}
}
