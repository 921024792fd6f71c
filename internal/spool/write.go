package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"fanin/internal/disk"
	"fanin/internal/retry"
	"fanin/internal/wire"
)

// writer is what only the writer's goroutine uses.
type writer struct {
	s      *Spool
	live   *segment  // that is appended to; nil: the next block begins one
	made   bool      // live is in the list: it was synced once
	synced time.Time // when the last sync was
	spare  []byte    // the memory of the block before
}

// write is the life of the writer: block after block is written and synced.
func (s *Spool) write() {
	w := writer{s: s}
	defer w.end()
	for {
		block, lines, more := w.next()
		if len(block) > 0 && !w.store(block, lines) || !more {
			return
		}
		w.spare = block[:0]
	}
}

// end seals the live segment.
func (w *writer) end() {
	w.seal()
	w.s.mu.Lock()
	w.s.ended = true
	w.s.signalLocked()
	w.s.mu.Unlock()
	close(w.s.written)
}

// Pauses after the disk failed.
const (
	firstRetry   = 10 * time.Millisecond
	longestRetry = time.Second
)

// next waits until a block is due, and takes it. A block is due when it is full, when
// something waits for it, or SyncEvery after the last one. So the first line after a pause is
// synced at once, and many are together.
func (w *writer) next() (block []byte, lines int64, more bool) {
	s := w.s
	for {
		s.mu.Lock()
		if s.full && !s.closing {
			s.mu.Unlock()
			w.makeRoom()
			s.mu.Lock()
		}
		q := &s.queue
		wait := s.SyncEvery - time.Since(w.synced)
		if s.closed || len(q.records) > 0 && (q.hurry || s.closing || wait <= 0) {
			block, lines = q.records, q.lines
			q.records, q.lines, q.writing, q.hurry = w.spare[:0], 0, len(block), false
			more = !s.closed
			s.signalLocked()
			s.mu.Unlock()
			return block, lines, more
		}
		pending, full := len(q.records) > 0, s.full
		s.mu.Unlock()
		var due <-chan time.Time
		if pending {
			due = time.After(wait)
		} else if full {
			due = time.After(longestRetry)
		}
		select {
		case <-s.kick:
		case <-due:
		}
	}
}

// store writes and syncs a block, and tries until it succeeds; false: the spool was closed
// before it did.
func (w *writer) store(block []byte, lines int64) bool {
	backoff := retry.Backoff{Min: firstRetry, Max: longestRetry}
	for {
		err := w.try(block)
		if err == nil {
			w.stored(len(block), lines, int64(binary.LittleEndian.Uint64(block[8:])))
			return true
		}
		w.failed(err)
		if disk.IsFull(err) {
			if w.s.WhenFull == DropOldest && w.drop() {
				continue
			}
			w.release()
		}
		if !w.pause(backoff.Next()) {
			return false
		}
	}
}

// pause waits; false: the spool was closed.
func (w *writer) pause(d time.Duration) bool {
	for end := time.After(d); ; {
		w.s.mu.Lock()
		closed := w.s.closed
		w.s.mu.Unlock()
		if closed {
			return false
		}
		select {
		case <-w.s.kick:
		case <-end:
			return true
		}
	}
}

// failed notes why a block could not be written, and reports it.
func (w *writer) failed(err error) {
	w.s.mu.Lock()
	w.s.unwrote = err.Error()
	w.s.signalLocked()
	w.s.mu.Unlock()
	w.s.limited.Error("write", "cannot write to the spool, so its source is not read; check its directory and its "+
		"disk; trying again", "dir", w.s.Dir, "err", err)
}

// stored notes that a block is synced, whose first line arrived at first.
func (w *writer) stored(n int, lines, first int64) {
	s, g := w.s, w.live
	w.synced = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unwrote != "" {
		s.unwrote = ""
		s.Log.Info("lines can be written to the spool again", "dir", s.Dir)
	}
	g.size = max(g.size, firstByte) + int64(n)
	g.lines += lines
	if !w.made {
		w.made, g.first = true, first
		s.segments = append(s.segments, g)
	}
	s.queue.writing = 0
	s.queue.synced += int64(n)
	s.signalLocked()
}

// try writes a block behind the live segment's last one, once. It may be repeated: each time
// it writes the same bytes at the same place, as it must after a failed sync.
func (w *writer) try(block []byte) error {
	if g := w.live; g != nil && w.made && (g.size+int64(len(block)) > w.s.SegmentBytes || !g.file.InPlace()) {
		w.seal()
	}
	if w.live == nil {
		if err := w.create(); err != nil {
			return err
		}
	}
	g := w.live
	at := max(g.size, firstByte)
	if !w.made {
		if _, err := g.file.WriteAt(g.header.append(nil), 0); err != nil {
			return err
		}
	}
	block[18] |= flagFirst
	setSums(&g.stream, at, block)
	if _, err := g.file.WriteAt(block, at); err != nil {
		return err
	}
	if err := g.file.Sync(); err != nil {
		return err
	}
	if !w.made {
		return w.s.Disk.SyncDir(w.s.Dir)
	}
	return nil
}

// create creates the next segment. It is in the list once its first block is synced.
func (w *writer) create() error {
	s := w.s
	for {
		s.last++
		path := filepath.Join(s.Dir, name(s.last))
		f, err := s.Disk.Open(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		switch {
		case errors.Is(err, fs.ErrExist):
			continue
		case errors.Is(err, fs.ErrNotExist): // the directory was removed
			s.last--
			if err := s.Disk.MkdirAll(s.Dir, 0o700); err != nil {
				return fmt.Errorf("make the directory of the spool again: %w", err)
			}
			continue
		case err != nil:
			s.last--
			return err
		}
		w.made = false
		w.live = &segment{path: path, file: f,
			header: header{stream: wire.NewStreamID(), spool: s.id, number: s.last, agent: s.Agent}}
		return f.HaveMode(0o600)
	}
}

// release seals the live segment while the disk is full and it is the only one: when all of it is
// acknowledged, it can be removed then, which may be what makes room. Of the block that could not
// be written nothing may stay in it: the block goes into the next segment.
func (w *writer) release() {
	w.s.mu.Lock()
	only := len(w.s.segments) == 1 && w.s.segments[0] == w.live
	w.s.mu.Unlock()
	if g := w.live; only && g.file.Truncate(g.size) == nil && g.file.Sync() == nil {
		w.seal()
	}
}

// seal ends the live segment. One that was never synced is removed.
func (w *writer) seal() {
	g := w.live
	if w.live = nil; g == nil {
		return
	}
	if !w.made {
		w.s.remove(g)
		return
	}
	g.file.WriteAt(endRecord(&g.stream, g.size), g.size) // without it, a damaged end counts as torn
	w.s.mu.Lock()
	g.sealed = true
	w.s.signalLocked()
	w.s.mu.Unlock()
}

// makeRoom is called while the spool is full. The live segment is sealed, so that all there is
// can be removed.
func (w *writer) makeRoom() {
	if w.live != nil && w.made {
		w.seal()
	}
	if w.s.WhenFull == DropOldest && w.drop() {
		w.s.mu.Lock()
		w.s.full = false
		w.s.signalLocked()
		w.s.mu.Unlock()
	}
}

// drop drops the oldest segment of which nothing was sent; false: there is none. A gap takes
// its place, and that of a gap before it. The gap is skipped in the log, and counts exactly:
// the file is replaced at once, and no lines of it were ever sent.
func (w *writer) drop() bool {
	s := w.s
	s.mu.Lock()
	i := slices.IndexFunc(s.segments, func(g *segment) bool { return g.sealed && !g.begun && g.gap == nil })
	if i < 0 {
		s.mu.Unlock()
		return false
	}
	g := s.segments[i]
	var before *segment
	if i > 0 && s.segments[i-1].gap != nil && !s.segments[i-1].begun {
		before = s.segments[i-1]
		before.busy = true
	}
	g.busy = true
	s.mu.Unlock()
	err := w.replaceByGap(g, before)
	s.mu.Lock()
	defer s.mu.Unlock()
	g.busy = false
	if before != nil {
		before.busy = false
	}
	if err != nil {
		s.unwrote = err.Error()
		return false
	}
	s.signalLocked()
	if before != nil {
		s.segments = slices.DeleteFunc(s.segments, func(x *segment) bool { return x == before })
	}
	return true
}

// replaceByGap replaces a segment's file by one with a gap, which counts that of the segment
// before, too, and removes that.
func (w *writer) replaceByGap(g, before *segment) error {
	s := w.s
	dropped := gap{first: g.number, lines: g.lines, bytes: g.size - firstByte}
	if dropped.lines < 0 {
		dropped.lines = s.countLines(g)
	}
	sum := dropped
	if before != nil {
		sum = gap{before.gap.first, sum.lines + before.gap.lines, sum.bytes + before.gap.bytes}
	}
	r := record{kind: kindGap, time: time.Now().UnixMicro(), text: sum.append(nil)}
	records := r.append(nil)
	setSums(&g.stream, firstByte, records)
	b := append(g.header.append(nil), records...)
	err := s.Disk.WriteFile(g.path, b, 0o600)
	if disk.IsFull(err) { // what is dropped makes room for it
		if err = s.Disk.Remove(g.path); err == nil {
			err = s.Disk.WriteFile(g.path, b, 0o600)
		}
	}
	if err != nil {
		s.Disk.Remove(unfinished(g.path)) // else the next start does
		return err
	}
	s.counts.droppedLines.Add(uint64(dropped.lines))
	s.counts.droppedBytes.Add(uint64(dropped.bytes))
	s.limited.Warn("drop", "the spool is full: its oldest lines that were not sent are dropped; "+
		"raise agent.spool.max_bytes, or set when_full = \"block\"", "dir", s.Dir, "lines", dropped.lines,
		"bytes", dropped.bytes, "dropped_lines_so_far", s.counts.droppedLines.Load())
	if before != nil {
		s.remove(before)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.file != nil {
		g.file.Close()
	}
	g.file, g.gap, g.lines, g.size = nil, &sum, 0, int64(len(b))
	return nil
}
