package sink

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"time"

	"fanin/internal/retry"
	"fanin/sink/line"
	"fanin/sink/summary"
)

// tally adds the lines of a file of the log between two bytes to t, by the minute in which they
// were read and by their names. A line was read when its record in the ledger says so. A line
// that has no record, since another process wrote it, or since the file was found without its
// state, counts by the time that it shows, or else when its file was opened.
func (s *Sink) tally(ctx context.Context, t *summary.Tally, g Generation, from, to int64) error {
	if from == to {
		return nil
	}
	c := &recount{s: s, g: g, at: from, to: to, tally: t, r: s.Reader(Position{g.Number, from}),
		buf: make([]byte, 256<<10), opened: line.Minute(g.Opened.UnixMicro())}
	defer c.r.Close()
	err := s.ledger(ctx, g.Number, func(r *record) bool {
		if r.length == 0 {
			return true
		}
		c.unknown(ctx, min(r.position, to))
		c.known(ctx, min(r.position+int64(r.length), to), line.Minute(r.time))
		return c.at < to && c.err == nil
	})
	c.unknown(ctx, to)
	if c.err == nil && err == nil && c.at < to && c.r.At().Generation == g.Number {
		err = errUnreadable
	}
	return cmp.Or(c.err, err)
}

// errUnreadable is the error for a file of which not all can be read at this moment: it is being
// rotated, or another process moved it.
var errUnreadable = errors.New("not all of it can be read now")

// recount reads a file along its ledger.
type recount struct {
	s      *Sink
	g      Generation
	r      *Reader
	buf    []byte
	to     int64
	tally  *summary.Tally
	opened int64 // the minute in which the file was opened
	text   []byte
	at     int64 // where text begins
	ended  bool  // there is no more text
	err    error

	stamp  [len("2006-01-02T15:04")]byte // of the last line that had no record
	minute int64                         // that it names
	worked time.Duration                 // see Sink.Worked
}

// known counts the lines before byte to, which were read in that minute.
func (c *recount) known(ctx context.Context, to, minute int64) {
	for c.at < to && c.more(ctx) {
		c.add(c.line(), minute, true)
	}
}

// unknown counts the lines before byte to, of which no record says when they were read.
func (c *recount) unknown(ctx context.Context, to int64) {
	for c.at < to && c.more(ctx) {
		c.add(c.line(), 0, false)
	}
}

// line takes the next line.
func (c *recount) line() []byte {
	n := bytes.IndexByte(c.text, '\n') + 1
	text := c.text[:n]
	c.text, c.at = c.text[n:], c.at+int64(n)
	return text
}

func (c *recount) add(text []byte, minute int64, known bool) {
	f := line.Parse(c.s.Format, text)
	if !known {
		minute = c.shown(f.Read)
	}
	c.tally.AddBytes(f.Host, f.Source, minute, 1)
}

// shown returns the minute of a time as lines have it. Most often it is that of the line before.
func (c *recount) shown(text []byte) int64 {
	if len(text) < len(c.stamp) {
		return c.opened
	}
	if string(text[:len(c.stamp)]) == string(c.stamp[:]) {
		return c.minute
	}
	t, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return c.opened
	}
	copy(c.stamp[:], text)
	c.minute = line.Minute(t.UnixMicro())
	return c.minute
}

// more reads on if there is no text at hand. It leaves the processors to the writer, and half
// of one to everything else.
func (c *recount) more(ctx context.Context) bool {
	if len(c.text) > 0 {
		return true
	}
	if c.ended || c.err != nil {
		return false
	}
	began := time.Now()
	text, at, err := c.r.Read(ctx, c.buf)
	if err != nil || text == nil || at.Generation != c.g.Number {
		c.ended, c.err = true, err
		return false
	}
	c.text, c.at = text, at.Offset
	took := time.Since(began) + 500*time.Microsecond // for the lines of the text before
	if worked := c.s.Worked(); worked-c.worked > took/2 {
		c.worked, took = worked, 4*took
	}
	if err := retry.Pause(ctx, took); err != nil {
		c.ended, c.err = true, err
	}
	return c.err == nil
}
