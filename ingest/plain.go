package ingest

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"os"
	"time"

	"fanin/internal/lines"
	"fanin/internal/wire"
)

// plain is the state of a connection that sends lines. While it is busy it has
// two blocks: one is read while the other waits in Append.
type plain struct {
	whole   int        // bytes of the intake's block that are whole lines
	giving  bool       // a block is with give
	outcome chan error // its outcome
	begun   bool       // the first line was looked at
	http    bool       // and it is a request of HTTP
	goesOn  bool       // the line being read is a split one's next piece
	ends    LineEnds   // of the lines read so far
	held    time.Time  // since when a long beginning of a line holds its block
	timed   bool       // a read deadline is set
}

// servePlain takes lines until the peer ends, or the listener drains. ended is
// what ended the reading already.
func (c *conn) servePlain(ended error) {
	c.t.Metrics.plainConns.Inc()
	c.outcome = make(chan error, 1)
	err := cmp.Or(c.in.settle(c.t.ctx), ended)
	c.note(len(c.in.bytes()))
	if err == nil {
		err = c.readLines()
	}
	displaced := c.displaced.Load()
	if errors.Is(err, os.ErrDeadlineExceeded) && (displaced || c.t.isDraining()) {
		err = c.readRest()
	}
	if err == io.EOF {
		err = nil
	}
	kept := c.finish(err)
	if kept != nil {
		c.sayLost(kept)
	}
	switch {
	case c.http:
		c.answerHTTP()
	case kept != nil:
	case displaced:
		c.reject("displaced", "a connection that was silent for long was closed for a new one: raise max_conns if both are wanted", "limit", c.t.MaxConns)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.reject("idle", "a silent connection was closed: raise idle_timeout if it is wanted", "after", c.t.IdleTimeout)
	}
}

// appendError is an error of Append, not of the connection.
type appendError struct {
	error
	lines int // of the batch
}

func (e *appendError) Unwrap() error { return e.error }

var errHTTP = errors.New("the peer speaks HTTP")

// readLines reads until an error ends it, and gives whole lines at once: it
// reads on only while an earlier block is still being given.
func (c *conn) readLines() error {
	for {
		if c.whole > 0 && (c.in.full() || c.idle()) {
			if err := c.handOver(); err != nil {
				return err
			}
		}
		if err := c.makeSpace(); err != nil {
			return err
		}
		n, err := c.read()
		if err != nil {
			return err
		}
		if n == 0 && c.whole > 0 { // nothing more to read now: wait for the earlier block instead
			if err := c.handOver(); err != nil {
				return err
			}
		}
	}
}

// read waits for bytes if no whole line is there.
func (c *conn) read() (int, error) {
	wait := c.whole == 0
	pinned := 0
	if wait {
		if pinned = c.pin(); pinned < 0 {
			return 0, c.splitOpen(c.in.have)
		}
		if !c.setIdleDeadline() {
			return 0, os.ErrDeadlineExceeded
		}
	}
	n, err := c.in.fill(c.t.ctx, wait)
	if pinned > 0 {
		c.t.Budget.Unpin(c.peer, pinned)
	}
	c.note(n)
	if n > 0 {
		c.heard.Store(time.Now().UnixNano())
		c.slow(n)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && pinned > 0 && !c.woken.Load() {
		return 0, c.splitOpen(c.in.have)
	}
	return n, err
}

// pin asks to hold a block with a long beginning of a line while nothing may
// come; < 0: there is no room for that, the line must be split here.
func (c *conn) pin() int {
	if c.in.block == nil || c.in.have <= restSize {
		c.held = time.Time{}
		return 0
	}
	if c.held.IsZero() {
		c.held = time.Now()
	}
	if !c.t.Budget.Pin(c.peer, len(c.in.block)) {
		return -1
	}
	return len(c.in.block)
}

// setIdleDeadline bounds the next read by what applies, if anything does.
func (c *conn) setIdleDeadline() bool {
	var at time.Time
	switch {
	case !c.held.IsZero():
		at = c.held.Add(c.t.FrameTimeout)
	case c.t.IdleTimeout > 0:
		at = time.Now().Add(c.t.IdleTimeout)
	}
	if at.IsZero() && !c.timed {
		return !c.woken.Load()
	}
	return c.setReadDeadline(at)
}

// note looks for line ends in the last n bytes that were read, and makes newlines of
// NULs that are such.
func (c *conn) note(n int) {
	if c.in.block == nil || n <= 0 {
		return
	}
	if !c.ends.known {
		c.ends.look(c.in.block[:c.in.have], n)
		if c.ends.nuls {
			n = c.in.have // none was looked for before
		}
	}
	before := c.in.have - n
	new := c.in.block[before:c.in.have]
	if c.ends.nuls {
		new = c.ends.normal(new, before > 0 && c.in.block[before-1] != '\n')
		c.in.have = before + len(new)
	}
	if i := bytes.LastIndexByte(new, '\n'); i >= 0 {
		c.whole = before + i + 1
		c.goesOn, c.held = false, time.Time{}
	}
}

// idle says that no block is being given.
func (c *conn) idle() bool { return !c.giving || len(c.outcome) > 0 }

// settle waits until no block is being given, and is the outcome of the last.
func (c *conn) settle() error {
	if !c.giving {
		return nil
	}
	c.giving = false
	return <-c.outcome
}

// handOver gives the whole lines and goes on with what follows them.
func (c *conn) handOver() error {
	if err := c.settle(); err != nil {
		return err
	}
	if err := c.lookAtFirst(false); err != nil {
		return err
	}
	n, tail := c.whole, c.in.block[c.whole:c.in.have]
	c.whole = 0
	c.in.adapt()
	if len(tail) > restSize {
		return c.giveHere(n, tail)
	}
	c.giving = true
	go c.give(c.in.detach(tail), n) // ends with its Append; settle waits for it
	return nil
}

// give appends the first n bytes of block, which it owns.
func (c *conn) give(block []byte, n int) {
	err := c.append(block[:n])
	c.t.Budget.Release(block)
	c.outcome <- err
	if err != nil {
		c.wake() // the reader may wait for bytes that nobody will take
	}
}

// giveHere gives the lines in front of a tail too long to be moved aside.
func (c *conn) giveHere(n int, tail []byte) error {
	err := c.append(c.in.block[:n])
	c.in.have = copy(c.in.block, tail)
	return err
}

// append gives whole lines to the keeper.
func (c *conn) append(text []byte) error {
	if lines.FirstLong(text, c.t.MaxLine) < len(text) {
		return c.appendLong(text)
	}
	n := lines.Count(text)
	c.t.plainLines.Received(n, len(text))
	err := c.t.Out.Append(c.t.ctx, wire.Batch{
		Time: time.Now().UnixMicro(), Input: "tcp", Host: c.host, Source: c.t.Source, Text: text,
	})
	if err != nil {
		return &appendError{err, n}
	}
	return nil
}

// appendLong is append for text with lines to be split.
func (c *conn) appendLong(text []byte) error {
	buf, err := c.t.Budget.Extend(c.t.ctx, lines.SplitSize(len(text), c.t.MaxLine))
	if err != nil {
		return &appendError{err, lines.Count(text)}
	}
	defer c.t.Budget.Release(buf)
	out, splits := lines.Split(buf[:0], text, c.t.MaxLine)
	c.t.plainLines.Split(splits)
	return c.append(out)
}

// makeSpace sees to it that the block can take more of a line that fills it.
func (c *conn) makeSpace() error {
	if c.whole > 0 || c.in.block == nil {
		return nil
	}
	if c.in.have >= c.t.MaxLine {
		return c.splitOpen(c.t.MaxLine)
	}
	if c.in.full() && !c.in.grow(int(BlockSize(c.t.MaxLine))) {
		return c.splitOpen(c.in.have)
	}
	return nil
}

// splitOpen gives pieces of the line that has begun and not ended yet.
func (c *conn) splitOpen(most int) error {
	if err := c.settle(); err != nil {
		return err
	}
	if err := c.lookAtFirst(true); err != nil {
		return err
	}
	buf, err := c.t.Budget.Extend(c.t.ctx, lines.SplitSize(c.in.have, most))
	if err != nil {
		return &appendError{err, 0}
	}
	defer c.t.Budget.Release(buf)
	out, rest, _ := lines.SplitFirst(buf[:0], c.in.block[:c.in.have], most)
	if !c.goesOn {
		c.goesOn = true
		c.t.plainLines.Split(1)
	}
	c.held = time.Time{}
	n := copy(c.in.block[len(wire.SplitGoesOn):], rest)
	copy(c.in.block, wire.SplitGoesOn)
	c.in.have = n + len(wire.SplitGoesOn)
	return c.append(out)
}

// readRest reads what the kernel holds when the listener drains, and no more: a
// sender that never pauses must not hold up the end.
func (c *conn) readRest() error {
	for left := c.in.unread(); left > 0; {
		if c.whole > 0 && c.in.full() {
			if err := c.handOver(); err != nil {
				return err
			}
		}
		if err := c.makeSpace(); err != nil {
			return err
		}
		n, err := c.in.fill(c.t.ctx, false)
		c.note(n)
		if n == 0 || err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// finish gives what is left, a newline added, and waits for the outcome. err is
// what ended the reading.
func (c *conn) finish(err error) (lost *appendError) {
	defer c.in.release(nil)
	if errors.As(err, &lost) {
		c.settle()
		return lost
	}
	err = nil
	if c.whole > 0 && !c.http {
		err = c.handOver()
	}
	if err == nil || c.http {
		err = c.settle()
	}
	if c.http { // none of what is left is a line
		errors.As(err, &lost)
		return lost
	}
	if err == nil {
		err = c.makeSpace()
	}
	if err == nil && len(c.in.bytes()) > 0 {
		err = c.append(append(c.in.bytes(), '\n'))
	}
	errors.As(err, &lost)
	return lost
}

// sayLost says what is not known to be kept: these lines cannot be sent again.
func (c *conn) sayLost(lost *appendError) {
	unsent := lines.Count(c.in.bytes())
	c.t.plainLines.Unsure(lost.lines)
	reason := "unknown"
	switch {
	case errors.Is(lost, wire.ErrRefused):
		reason = "refused"
	case errors.Is(lost, wire.ErrDraining):
		reason = "draining"
	}
	c.reject(reason, "a plain connection was closed because its lines were not taken; its sender cannot know which",
		"error", lost.error, "lines_unsure", lost.lines, "lines_read_not_given", unsent)
}

// lookAtFirst looks whether the first line is a request of HTTP, once its end is
// there; long says that it is too long to wait for that. Blank lines do not count.
func (c *conn) lookAtFirst(long bool) error {
	head := c.in.bytes()
	if c.begun || !long && bytes.IndexByte(bytes.TrimLeft(head, "\r\n"), '\n') < 0 {
		return nil
	}
	c.begun = true
	if c.http = isHTTP(head, long); c.http {
		return errHTTP
	}
	return nil
}
