package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"fanin/internal/disk"
)

// segment is a file of the spool. What follows path is under Spool.mu, but only the writer
// changes it before the segment is sealed.
type segment struct {
	header
	path string

	file   *disk.File // open; nil: of an earlier process, or dropped
	size   int64      // of the file, as far as it was synced
	lines  int64      // in it; -1: they were not counted
	sealed bool       // nothing is appended any more
	synced bool       // all of it was, so what is no record is damaged, and not torn
	begun  bool       // something of it may have been sent
	busy   bool       // it is being dropped
	first  int64      // when its first line arrived, in microseconds since 1970
	gap    *gap       // in place of its lines, which were dropped; nil: it was not
}

// list finds the segments of earlier processes.
func (s *Spool) list() error {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return fmt.Errorf("list the spool: %w", err)
	}
	for _, e := range entries { // by name, so by number
		if strings.HasPrefix(e.Name(), ".") && strings.HasSuffix(e.Name(), suffix+".new") {
			s.Disk.Remove(filepath.Join(s.Dir, e.Name())) // a later start tries again
		}
		number, err := strconv.ParseUint(strings.TrimSuffix(e.Name(), suffix), 10, 64)
		if err != nil || e.Name() != name(number) || !e.Type().IsRegular() {
			continue
		}
		if err := s.found(filepath.Join(s.Dir, e.Name()), number); err != nil {
			return err
		}
	}
	s.removeCovered()
	if len(s.segments) > 0 {
		s.segments[0].begun = true // an earlier process may have sent something of it
	}
	return nil
}

// unfinished is the name of the file that becomes path when disk.WriteFile has written it.
func unfinished(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
}

// found adds a segment of an earlier process.
func (s *Spool) found(path string, number uint64) error {
	s.last = max(s.last, number)
	f, err := s.Disk.Open(path, os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("open a segment of the spool: %w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	b := make([]byte, firstByte+recordHead+gapSize)
	n, rerr := f.ReadAt(b, 0)
	if err != nil || rerr != nil && rerr != io.EOF {
		return fmt.Errorf("read a segment of the spool: %w", errors.Join(err, rerr))
	}
	g := &segment{path: path, size: fi.Size(), lines: -1, sealed: true}
	if g.header, err = parseHeader(b[:n]); err != nil {
		return s.putAside(g, err)
	}
	if g.agent != s.Agent {
		return &OwnerError{s.Dir, g.agent, s.Agent}
	}
	g.number, s.id = number, g.spool
	if n >= firstByte+recordHead {
		g.first = int64(binary.LittleEndian.Uint64(b[firstByte+8:]))
		r, err := parseRecord(&g.stream, firstByte, b[firstByte:n])
		if err == nil && r.kind == kindGap {
			x := parseGap(r.text)
			g.gap, g.lines = &x, 0
		}
	}
	g.cutEnd(f)
	s.segments = append(s.segments, g)
	return nil
}

// cutEnd finds out whether the segment of an earlier process has its end record.
func (g *segment) cutEnd(f io.ReaderAt) {
	b := make([]byte, endSize)
	at := g.size - endSize
	if n, _ := f.ReadAt(b, max(at, 0)); at < firstByte || n < len(b) {
		return
	}
	if r, err := parseRecord(&g.stream, at, b); err == nil && r.kind == kindEnd {
		g.size, g.synced = at, true
	}
}

// putAside renames a segment of which not even the header can be read. An empty one, or one
// of zeros, was created just before a power cut.
func (s *Spool) putAside(g *segment, why error) error {
	b, err := os.ReadFile(g.path)
	if err == nil && len(b) <= firstByte && len(strings.Trim(string(b), "\x00")) == 0 {
		return s.Disk.Remove(g.path)
	}
	aside := g.path + ".damaged"
	s.counts.damaged.Add(uint64(g.size))
	s.Log.Warn("a segment of the spool has no whole header and was renamed: it was not synced before a power "+
		"cut, so that none of its lines were taken, or it is damaged",
		"path", g.path, "aside", aside, "bytes", g.size, "err", why)
	if err := s.Disk.Rename(g.path, aside); err != nil {
		return fmt.Errorf("rename a damaged segment of the spool: %w", err)
	}
	return nil
}

// removeCovered removes segments that a gap counts already: a process was killed before it
// removed them.
func (s *Spool) removeCovered() {
	for i := len(s.segments) - 1; i >= 0; i-- {
		g := s.segments[i]
		if g.gap == nil {
			continue
		}
		for i > 0 && s.segments[i-1].number >= g.gap.first {
			s.remove(s.segments[i-1])
			s.segments = slices.Delete(s.segments, i-1, i)
			i--
		}
	}
}

// remove removes a segment's file, durably, and reports whether that succeeded.
func (s *Spool) remove(g *segment) bool {
	err := s.Disk.Remove(g.path)
	if errors.Is(err, fs.ErrNotExist) { // the directory, too
		err = nil
	}
	if err != nil {
		s.limited.Error("remove", "cannot remove a segment of the spool; trying again", "path", g.path, "err", err)
		return false
	}
	if g.file != nil {
		go g.file.Close() // ends by itself: the system frees the pages, which can take it some milliseconds
	}
	return true
}

// open returns the segment's file for reading; shut closes it if it must be.
func (s *Spool) open(g *segment) (f *disk.File, shut func(), err error) {
	s.mu.Lock()
	f = g.file
	s.mu.Unlock()
	if f != nil {
		return f, func() {}, nil
	}
	f, err = s.Disk.Open(g.path, os.O_RDONLY, 0)
	if err != nil {
		return nil, nil, err
	}
	return f, func() { f.Close() }, nil
}
