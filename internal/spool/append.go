package spool

import (
	"bytes"
	"context"
	"time"

	"fanin/internal/lines"
	"fanin/internal/wire"
)

// queue is what was appended and is in memory. Under Spool.mu.
type queue struct {
	*block         // for the writer's next sync; nil: nothing was appended
	writing  int   // bytes that the writer is syncing
	appended int64 // bytes of records, ever
	synced   int64
	hurry    bool   // something waits for the next sync
	recent   recent // what was synced
	next     int64  // where in its segment the block will be
}

// Append takes whole lines, each ending in '\n', that arrived now; source is theirs, "" for
// the spool's own. It returns when they are in memory: Sync waits until they are synced. It
// waits while the spool is full, or while so much is not synced that there is no memory; its
// error is ctx's, or ErrClosed. text may be used again when it has returned.
func (s *Spool) Append(ctx context.Context, text []byte, source string) error {
	if lines.FirstLong(text, s.MaxLine) < len(text) {
		text, _ = lines.Split(nil, text, s.MaxLine)
	}
	if source = wire.CleanSource(source); source == s.Source {
		source = ""
	}
	now := time.Now().UnixMicro()
	for len(text) > 0 {
		n := runLength(text)
		r := record{kind: kindLines, time: now, lines: lines.Count(text[:n]), text: text[:n],
			source: []byte(source)}
		if err := s.add(ctx, &r); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

// AppendRecord takes a message that arrived now and may have several lines, without a newline
// at its end. It stays one record in the log, unless it is longer than half of MaxLine.
func (s *Spool) AppendRecord(ctx context.Context, message []byte, source string) error {
	if bytes.IndexByte(message, '\n') < 0 || len(message) > s.MaxLine/2-1 {
		return s.Append(ctx, append(message[:len(message):len(message)], '\n'), source)
	}
	if source = wire.CleanSource(source); source == s.Source {
		source = ""
	}
	text := append(wire.AppendRecord(nil, message), '\n')
	r := record{kind: kindJoined, time: time.Now().UnixMicro(), lines: 1, text: text, source: []byte(source)}
	return s.add(ctx, &r)
}

// add adds a record when there is room for it.
func (s *Spool) add(ctx context.Context, r *record) error {
	size := r.textAt() + len(r.text)
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.closing:
			return ErrClosed
		case !s.hasRoomLocked(size):
			s.reportFullLocked()
		case s.queue.size() > 0 && s.queue.size()+size > s.SyncBytes:
			s.queue.hurry = true
		default:
			s.addLocked(r, size)
			return nil
		}
		s.wake()
		if err := s.waitLocked(ctx); err != nil {
			return s.whyLocked(err)
		}
	}
}

func (s *Spool) addLocked(r *record, size int) {
	q := &s.queue
	s.full = false
	if q.block == nil {
		q.block = q.recent.take(q.next)
		s.wake() // the writer waits for SyncEvery from now on
	}
	q.memory = r.append(q.memory)
	q.lines += int64(r.lines)
	q.appended += int64(size)
	s.counts.lines.Add(uint64(r.lines))
	s.counts.bytes.Add(uint64(len(r.text)))
}

// hasRoomLocked reports whether n more bytes fit into the spool. Anything fits into an empty
// one.
func (s *Spool) hasRoomLocked(n int) bool {
	used := s.sizeLocked() + int64(s.queue.size()+s.queue.writing)
	const more = 2 // segments that may be needed for what is not written yet
	ends := int64(more*firstByte + (len(s.segments)+more)*endSize)
	return used == 0 || used+ends+int64(n) <= s.MaxBytes
}

// sizeLocked returns how many bytes the segments have.
func (s *Spool) sizeLocked() (n int64) {
	for _, g := range s.segments {
		n += g.size
	}
	return n
}

// reportFullLocked notes that the spool is full, and reports it where that stops a source.
func (s *Spool) reportFullLocked() {
	if !s.full && s.WhenFull == Block {
		s.limited.Warn("full", "the spool is full, so its source is not read until the collector has acknowledged "+
			"more; raise agent.spool.max_bytes, or set when_full = \"drop_oldest\"",
			"dir", s.Dir, "max_bytes", s.MaxBytes)
	}
	s.full = true
}
