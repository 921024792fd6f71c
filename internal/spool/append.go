package spool

import (
	"bytes"
	"context"
	"io"
	"time"

	"fanin/internal/lines"
	"fanin/internal/wire"
)

// queue is what was appended and is not synced yet. Under Spool.mu.
type queue struct {
	records  []byte // for the writer's next sync
	lines    int64  // in them
	writing  int    // bytes that the writer is syncing
	appended int64  // bytes of records, ever
	synced   int64
	hurry    bool // something waits for the next sync
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
		case len(s.queue.records) > 0 && len(s.queue.records)+size > s.SyncBytes:
			s.queue.hurry = true
		default:
			s.full = false
			s.queue.records = r.append(s.queue.records)
			s.queue.lines += int64(r.lines)
			s.queue.appended += int64(size)
			s.counts.lines.Add(uint64(r.lines))
			s.counts.bytes.Add(uint64(len(r.text)))
			s.wake()
			return nil
		}
		s.wake()
		if err := s.waitLocked(ctx); err != nil {
			return s.whyLocked(err)
		}
	}
}

// hasRoomLocked reports whether n more bytes fit into the spool. Anything fits into an empty
// one.
func (s *Spool) hasRoomLocked(n int) bool {
	used := s.sizeLocked() + int64(len(s.queue.records)+s.queue.writing)
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

// Copy appends all lines that r gives, until its end. A last line without a newline is a
// line. Lines longer than MaxLine are divided, so memory is bounded. n is how many bytes
// were read. A read that waits must be ended by closing r.
func (s *Spool) Copy(ctx context.Context, r io.Reader, source string) (n int64, err error) {
	c := copying{s: s, source: source, block: make([]byte, runBytes)}
	for {
		got, rerr := r.Read(c.block[c.held:])
		n += int64(got)
		if err := c.add(ctx, got); err != nil {
			return n, err
		}
		if rerr == nil {
			continue
		}
		if err := c.end(ctx); err != nil {
			return n, err
		}
		if rerr == io.EOF {
			rerr = nil
		}
		return n, rerr
	}
}

// copying is what Copy holds: the beginning of a line whose end it has not read.
type copying struct {
	s      *Spool
	source string
	block  []byte
	held   int    // bytes in block, no newline among them
	part   []byte // of a line that is too long
	inside bool   // a part of the held line was appended
}

// add appends what is complete with got more bytes.
func (c *copying) add(ctx context.Context, got int) error {
	have := c.block[:c.held+got]
	end := bytes.LastIndexByte(have[c.held:], '\n') + 1
	if end > 0 {
		end += c.held
		if err := c.append(ctx, have[:end]); err != nil {
			return err
		}
		c.inside = false
	}
	c.held = copy(c.block, have[end:])
	if c.held < len(c.block) {
		return nil
	}
	if len(c.block) < c.s.MaxLine {
		c.block = append(make([]byte, 0, min(2*c.held, c.s.MaxLine)), c.block...)
		c.block = c.block[:cap(c.block)]
		return nil
	}
	n := wire.CutLine(c.block, lines.PartLimit(c.s.MaxLine))
	c.part = append(c.begin(), c.block[:n]...)
	c.part = append(append(c.part, wire.SplitMark...), '\n')
	if err := c.s.Append(ctx, c.part, c.source); err != nil {
		return err
	}
	c.inside = true
	c.held = copy(c.block, c.block[n:])
	return nil
}

// begin returns the beginning of the next part.
func (c *copying) begin() []byte {
	if c.inside {
		return append(c.part[:0], wire.SplitGoesOn...)
	}
	return c.part[:0]
}

// append appends whole lines; the first one may be the last part of a longer one.
func (c *copying) append(ctx context.Context, text []byte) error {
	if c.inside {
		end := bytes.IndexByte(text, '\n') + 1
		c.part = append(c.begin(), text[:end]...)
		if err := c.s.Append(ctx, c.part, c.source); err != nil {
			return err
		}
		text = text[end:]
	}
	return c.s.Append(ctx, text, c.source)
}

// end appends a last line without a newline.
func (c *copying) end(ctx context.Context) error {
	if c.held == 0 {
		return nil
	}
	return c.append(ctx, append(c.block[:c.held:c.held], '\n'))
}
