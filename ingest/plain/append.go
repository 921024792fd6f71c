package plain

import (
	"time"

	"fanin/ingest"
	"fanin/ingest/stream"
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

// handOver has the whole lines appended and keeps what follows them.
func (c *conn) handOver() error {
	if err := c.awaitOutcome(); err != nil {
		return err
	}
	if err := c.inspectFirst(false); err != nil {
		return err
	}
	n, tail := c.whole, c.in.Block[c.whole:c.in.Have]
	c.whole = 0
	c.in.Adapt()
	if len(tail) > stream.RestSize {
		return c.appendHere(n, tail)
	}
	c.handed = true
	go c.appendBlock(c.in.Detach(tail), n) // ends with its Append; awaitOutcome waits for it
	return nil
}

// appendBlock appends the first n bytes of block, and releases it.
func (c *conn) appendBlock(block []byte, n int) {
	err := c.appendLines(block[:n])
	c.Budget.Release(block)
	c.outcome <- err
	if err != nil {
		c.Wake() // the reader may wait for bytes that will not be appended
	}
}

// appendHere appends the lines before a tail that is too long to be moved aside.
func (c *conn) appendHere(n int, tail []byte) error {
	err := c.appendLines(c.in.Block[:n])
	c.in.Have = copy(c.in.Block, tail)
	return err
}

// appendLines appends whole lines.
func (c *conn) appendLines(text []byte) error {
	if lines.FirstLong(text, c.p.MaxLine) < len(text) {
		return c.appendLong(text)
	}
	n := lines.Count(text)
	c.p.lines.Received(n, len(text))
	err := c.p.Out.Append(c.appending, wire.Batch{
		Time: time.Now().UnixMicro(), Input: c.p.lines.Name(), Host: c.Host, Source: c.p.Source, Text: text,
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

// makeSpace makes the block able to hold more of a line that fills it.
func (c *conn) makeSpace() error {
	if c.whole > 0 || c.in.Block == nil {
		return nil
	}
	if c.in.Have >= c.p.MaxLine {
		return c.splitOpen(c.p.MaxLine)
	}
	if c.in.Full() && !c.in.Grow(int(ingest.BlockSize(c.p.MaxLine))) {
		return c.splitOpen(c.in.Have)
	}
	return nil
}

// splitOpen appends parts of the line that has begun and not ended yet.
func (c *conn) splitOpen(limit int) error {
	if err := c.awaitOutcome(); err != nil {
		return err
	}
	if err := c.inspectFirst(true); err != nil {
		return err
	}
	buf, err := c.Budget.Extend(c.appending, lines.SplitSize(c.in.Have, limit))
	if err != nil {
		return c.unreceived(err, nil)
	}
	defer c.Budget.Release(buf)
	out, rest, _ := lines.SplitFirst(buf[:0], c.in.Block[:c.in.Have], limit)
	if !c.continued {
		c.continued = true
		c.p.lines.Split(1)
	}
	c.in.Progress()
	n := copy(c.in.Block[len(wire.SplitGoesOn):], rest)
	copy(c.in.Block, wire.SplitGoesOn)
	c.in.Have = n + len(wire.SplitGoesOn)
	return c.appendLines(out)
}
