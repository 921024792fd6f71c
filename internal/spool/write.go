package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
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
	live   *segment    // that is appended to; nil: the next block begins one
	made   bool        // live is in the list: it was synced once
	tail   []byte      // the last bytes of live, as many as a tail hash covers
	synced time.Time   // when the last sync was
	timer  *time.Timer // of the next
}

// write is the life of the writer: block after block is written and synced.
func (s *Spool) write() {
	w := writer{s: s, timer: time.NewTimer(0)}
	defer w.end()
	for {
		b, more := w.next()
		if b.size() > 0 && !w.store(b) || !more {
			return
		}
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

// idle is how long memory is kept while there is no line.
const idle = 10 * time.Second

// next waits until a block is due, and takes it. A block is due when it is full, when
// something waits for it, or SyncEvery after the last one. So the first line after a pause is
// synced at once, and many are together.
func (w *writer) next() (b *block, more bool) {
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
		if s.closed || q.size() > 0 && (q.hurry || s.closing || wait <= 0) {
			b = q.block
			q.block, q.writing, q.hurry = nil, b.size(), false
			q.next = w.place(b.size()) + int64(b.size())
			more = !s.closed
			s.signalLocked()
			s.mu.Unlock()
			return b, more
		}
		switch {
		case q.size() > 0:
		case s.full:
			wait = longestRetry
		case s.queue.recent.isEmpty():
			wait = forever
		default:
			wait = idle
		}
		s.mu.Unlock()
		if w.wait(wait) && wait == idle {
			s.mu.Lock()
			s.queue.recent.clear()
			s.mu.Unlock()
		}
	}
}

const forever = math.MaxInt64

// wait waits for a kick or for so long; it reports whether it was not kicked.
func (w *writer) wait(d time.Duration) bool {
	w.timer.Reset(d)
	select {
	case <-w.s.kick:
		return false
	case <-w.timer.C:
		return true
	}
}

// store writes and syncs a block, and tries until it succeeds; false: the spool was closed
// before it did.
func (w *writer) store(b *block) bool {
	backoff := retry.Backoff{Min: firstRetry, Max: longestRetry}
	for {
		err := w.try(b)
		if err == nil {
			w.stored(b)
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

// stored notes that a block is synced.
func (w *writer) stored(b *block) {
	s, g, n := w.s, w.live, b.size()
	w.synced = time.Now()
	known := b.known()
	w.tail = append(w.tail[:0], known[max(0, len(known)-wire.TailSize):]...)
	first := int64(binary.LittleEndian.Uint64(b.records()[8:]))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unwrote != "" {
		s.unwrote = ""
		s.Log.Info("lines can be written to the spool again", "dir", s.Dir)
	}
	g.size = max(g.size, firstByte) + int64(n)
	g.lines += b.lines
	if !w.made {
		w.made, g.first = true, first
		s.segments = append(s.segments, g)
	}
	s.queue.writing = 0
	s.queue.synced += int64(n)
	s.queue.recent.add(b)
	s.signalLocked()
}

// try writes a block behind the live segment's last one, once. It may be repeated: each time
// it writes the same bytes at the same place, as it must after a failed sync.
func (w *writer) try(b *block) error {
	if w.live != nil && w.made && (w.place(b.size()) == firstByte || !w.live.file.InPlace()) {
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
		w.tail = g.header.append(w.tail[:0])
		if _, err := g.file.WriteAt(w.tail, 0); err != nil {
			return err
		}
	}
	b.follow(g, at, w.tail)
	records := b.records()
	records[18] |= flagFirst
	setSums(&g.stream, at, records)
	write := g.file.WriteAt
	if len(records) >= leastRecent {
		write = g.file.WriteAround
	}
	if _, err := write(records, at); err != nil {
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

// place is where in its segment the next block will be, if nothing fails: where it begins, unless the
// live one has room.
func (w *writer) place(size int) int64 {
	if w.live == nil || w.live.size+int64(size) > w.s.SegmentBytes {
		return firstByte
	}
	return max(w.live.size, firstByte)
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
