package plain

import (
	"time"

	"fanin/ingest"
	"fanin/ingest/stream"
	"fanin/ingest/syslog"
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// appended reports whether no block is being appended.
func (c *conn) appended() bool { return !c.handed || len(c.outcome) > 0 }

// awaitOutcome waits until no block is being appended, and returns the outcome of the
// last one.
func (c *conn) awaitOutcome() error {
	if !c.handed {
		return nil
	}
	c.handed = false
	return <-c.outcome
}

// handOver has the whole messages appended and keeps what follows them.
func (c *conn) handOver() error {
	if err := c.awaitOutcome(); err != nil {
		return err
	}
	if err := c.inspectFirst(false); err != nil {
		return err
	}
	b := whole{text: c.in.Block[:c.whole], special: c.frames.special, nuls: c.ends.NULs(), first: c.first}
	tail := c.in.Block[c.whole:c.in.Have]
	c.whole, c.frames.special, c.first = 0, false, 0
	c.in.Adapt()
	if len(tail) > stream.RestSize {
		return c.appendHere(b, tail)
	}
	c.handed = true
	go c.appendBlock(c.in.Detach(tail), b) // ends with its Append; awaitOutcome waits for it
	return nil
}

// whole is whole messages.
type whole struct {
	text    []byte
	special bool // they are not lines to be taken as they are
	nuls    bool // NULs ended lines before there was a priority
	first   int  // bytes of the first one; 0: it begins like any other
	line    bool // the first one is a line, and not one with a count
	goesOn  bool // it is only the beginning of a message, whose rest comes later
}

// append appends whole messages.
func (c *conn) append(b whole) error {
	if b.special {
		return c.messages.append(b)
	}
	c.messages.trailer = false
	return c.appendLines(b.text)
}

// appendBlock appends what block begins with, and releases it.
func (c *conn) appendBlock(block []byte, b whole) {
	err := c.append(b)
	c.Budget.Release(block)
	c.outcome <- err
	if err != nil {
		c.Wake() // the reader may wait for bytes that will not be appended
	}
}

// appendHere appends the messages before a tail that is too long to be moved aside.
func (c *conn) appendHere(b whole, tail []byte) error {
	err := c.append(b)
	c.in.Have = copy(c.in.Block, tail)
	return err
}

// appendLines appends whole lines as they are.
func (c *conn) appendLines(text []byte) error {
	if lines.FirstLong(text, c.p.MaxLine) < len(text) {
		return c.appendLong(text)
	}
	n := lines.Count(text)
	c.p.lines.Received(n, len(text))
	err := c.p.Out.Append(c.appending, wire.Batch{
		Time: time.Now().UnixMicro(), Input: c.p.lines.Name(), Host: c.Host, Source: c.source, Text: text,
	})
	if err != nil {
		return &appendError{err, n}
	}
	return nil
}

// appendLong is appendLines for text with lines to be split.
func (c *conn) appendLong(text []byte) error {
	buf, err := c.Budget.Extend(c.appending, lines.SplitSize(len(text), c.p.MaxLine))
	if err != nil {
		return c.unreceived(err, text)
	}
	defer c.Budget.Release(buf)
	out, splits := lines.Split(buf[:0], text, c.p.MaxLine)
	c.p.lines.Split(splits)
	return c.appendLines(out)
}

// unreceived counts lines for which there was no memory, and returns the error that
// reports them as lost.
func (c *conn) unreceived(err error, text []byte) error {
	n := lines.Count(text)
	c.p.lines.Received(n, len(text))
	return &appendError{err, n}
}

// makeSpace makes the block able to hold more of a message that fills it.
func (c *conn) makeSpace() error {
	if c.whole > 0 || c.in.Block == nil {
		return nil
	}
	if c.frames.size == 0 && c.in.Have >= c.p.MaxLine {
		return c.splitOpen(c.p.MaxLine)
	}
	if c.in.Full() && !c.in.Grow(int(ingest.BlockSize(c.p.MaxLine+syslog.MaxCountHead))) {
		return c.splitOpen(c.in.Have)
	}
	return nil
}

// splitOpen appends parts of the message that has begun and not ended yet.
func (c *conn) splitOpen(limit int) error {
	if err := c.awaitOutcome(); err != nil {
		return err
	}
	if err := c.inspectFirst(true); err != nil {
		return err
	}
	if !c.continued {
		c.continued = true
		c.p.lines.Split(1)
	}
	c.in.Progress()
	if c.frames.syslog {
		return c.splitMessage(min(limit, c.in.Have))
	}
	buf, err := c.Budget.Extend(c.appending, lines.SplitSize(c.in.Have, limit))
	if err != nil {
		return c.unreceived(err, nil)
	}
	defer c.Budget.Release(buf)
	out, rest, _ := lines.SplitFirst(buf[:0], c.in.Block[:c.in.Have], limit)
	c.keepRest(rest)
	return c.appendLines(out)
}

// splitMessage is splitOpen where messages of syslog are looked for: of limit bytes, most become
// the first part. The parts to come have its labels.
func (c *conn) splitMessage(limit int) error {
	f := &c.frames
	text := c.in.Block[f.head:c.in.Have]
	cut := wire.CutLine(text, max(min(limit, len(text))-1-len(wire.SplitMark), 1))
	err := c.messages.append(whole{text: text[:cut], first: cut, line: f.size == 0, nuls: c.ends.NULs(), goesOn: true})
	if f.special = true; f.size > 0 {
		f.size += len(wire.SplitGoesOn) - f.head - cut
		f.head, c.first = 0, f.size
	}
	c.keepRest(text[cut:])
	return err
}

// keepRest begins the block with the rest of a message of which parts were appended.
func (c *conn) keepRest(rest []byte) {
	n := copy(c.in.Block[len(wire.SplitGoesOn):], rest)
	copy(c.in.Block, wire.SplitGoesOn)
	c.in.Have = n + len(wire.SplitGoesOn)
}
