package plain

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"os"

	"fanin/ingest"
	"fanin/ingest/stream"
	"fanin/internal/lines"
)

// conn is a connection that sends lines. While it is busy it has two blocks: one is
// read while the other one is being appended.
//
// whole is never beyond the bytes of the intake's block. appendBlock owns the block
// that it was handed, and nothing else.
type conn struct {
	*stream.Conn
	p         *Protocol
	source    string          // of lines that name none
	appending context.Context // of every Append

	in        *stream.Intake
	ends      ingest.LineEnds
	frames    frames
	whole     int        // bytes of the intake's block that are whole messages
	first     int        // bytes of the first message in the block, if it is the rest of a counted one that was divided
	continued bool       // the message being read is the next part of a divided one
	handed    bool       // a block is being appended
	outcome   chan error // its outcome
	messages  messages   // belongs to what is being appended
	dropped   int        // lines that were read and not handed over; belongs to what is being appended

	firstSeen bool // the first line was looked at
	http      bool // and it is an HTTP request
}

// begin makes ready for the first message.
func (c *conn) begin() {
	s := c.p.Syslog
	c.source = withPID(c.p.Source, c.PID)
	c.frames = frames{syslog: s != nil, every: s != nil && s.Any, limit: c.p.MaxLine, wrong: c.wrongFrame}
	c.messages = messages{c: c, limit: c.p.MaxLine}
}

// serve reads and appends lines until the connection ends.
func (c *conn) serve() error {
	err := cmp.Or(c.in.Settle(c.appending), c.Ended())
	c.findEnds(len(c.in.Bytes()))
	if err == nil {
		err = c.readLines()
	}
	displaced := c.Displaced()
	if errors.Is(err, os.ErrDeadlineExceeded) && (displaced || c.Draining()) {
		err = c.readRest()
	}
	if err == io.EOF {
		err = nil
	}
	lost := c.finish(err)
	if c.Draining() {
		c.CountUnread(c.p.unread)
	}
	if lost != nil {
		c.reportLost(lost)
	}
	c.in.Release(nil)
	switch {
	case c.http:
		c.answerHTTP()
	case lost == nil:
		c.ReportSilence(err)
	}
	return nil
}

// wrongFrame counts and logs a frame with which something is wrong.
func (c *conn) wrongFrame(what string, bytes int) {
	c.p.wrong[what].Inc()
	switch what {
	case wrongNumber:
		c.Warn(what, "a line begins with a number that cannot be an octet count; it is kept as it is")
	case wrongLength:
		c.Warn(what, "an octet count is too small: what follows the message begins no other one, and is kept as a line")
	case tooLong:
		c.Warn(what, "a message with an octet count is longer than max_line: its end is left out", "bytes", bytes)
	case cutShort:
		c.Warn(what, "a connection ended within a message with an octet count; what came of it is kept",
			"missing", bytes)
	}
}

// appendError is an error of Append, not of the connection.
type appendError struct {
	error
	lines int // of the batch
}

func (e *appendError) Unwrap() error { return e.error }

var errHTTP = errors.New("the peer speaks HTTP")

// readLines reads until an error ends it, and hands whole lines over at once. It reads
// on only while an earlier block is still being appended.
func (c *conn) readLines() error {
	for {
		if c.whole > 0 && (c.in.Full() || c.appended()) {
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
	n, err := c.in.Read(c.appending, c.whole == 0)
	if err == stream.ErrHeld {
		return 0, c.splitOpen(c.in.Have)
	}
	c.findEnds(n)
	return n, err
}

// findEnds looks for the ends of messages in the last n bytes that were read.
func (c *conn) findEnds(n int) {
	if c.in.Block == nil || n <= 0 {
		return
	}
	seen := c.in.Have - n
	if !c.ends.Known() {
		c.ends.Detect(c.in.Block[:c.in.Have], n)
		if c.ends.NULs() {
			c.frames.nuls, seen = true, 0 // none was looked for before
		}
	}
	before := c.whole
	for {
		c.skip()
		c.whole = c.frames.advance(c.in.Block[:c.in.Have], c.whole, seen)
		if c.frames.skip == 0 || c.whole == c.in.Have {
			break
		}
		seen = c.whole
	}
	if c.whole > before {
		c.continued = false
		c.in.Progress()
	}
}

// skip removes bytes that are of no message.
func (c *conn) skip() {
	if n := min(c.frames.skip, c.in.Have-c.whole); n > 0 {
		c.p.skipped.Add(n)
		c.in.Have = c.whole + copy(c.in.Block[c.whole:], c.in.Block[c.whole+n:c.in.Have])
		c.frames.skip -= n
	}
}

// readRest reads what the kernel holds when the listener drains, and no more: a sender
// that never pauses must not delay the end.
func (c *conn) readRest() error {
	for left := c.in.Unread(); left > 0; {
		if c.whole > 0 && c.in.Full() {
			if err := c.handOver(); err != nil {
				return err
			}
		}
		if err := c.makeSpace(); err != nil {
			return err
		}
		n, err := c.in.Fill(c.appending, false)
		c.findEnds(n)
		if n == 0 || err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// finish appends what is left, a newline added, and waits for the outcome. err is what
// ended the reading.
func (c *conn) finish(err error) (lost *appendError) {
	if errors.As(err, &lost) {
		c.awaitOutcome()
		return lost
	}
	err = nil
	if c.whole > 0 && !c.http {
		err = c.handOver()
	}
	if err == nil || c.http {
		err = c.awaitOutcome()
	}
	if c.http { // none of what is left is a line
		errors.As(err, &lost)
		return lost
	}
	if err == nil {
		err = c.makeSpace()
	}
	if rest := c.in.Bytes(); err == nil && len(rest) > 0 {
		err = c.appendRest(rest)
	}
	errors.As(err, &lost)
	return lost
}

// appendRest appends a message whose end did not come.
func (c *conn) appendRest(rest []byte) error {
	f := &c.frames
	switch {
	case f.size > 0:
		f.wrong(cutShort, f.size+f.beyond-len(rest))
		rest = rest[f.head:]
		return c.messages.append(whole{text: rest, first: len(rest)})
	case f.syslog || f.nuls:
		return c.messages.append(whole{text: append(rest, '\n'), nuls: c.ends.NULs()})
	}
	return c.appendLines(append(rest, '\n'))
}

// drop counts lines that were read, and are lost because those before them were not written.
func (c *conn) drop(lines, bytes int) {
	c.p.lines.Received(lines, bytes)
	c.p.lines.Dropped(lines)
	c.dropped += lines
}

// dropRest drops what was read and not handed over.
func (c *conn) dropRest() {
	rest := c.in.Bytes()
	if c.http || len(rest) == 0 {
		return
	}
	text, begun := rest[:c.whole], 0
	if c.whole < len(rest) {
		begun = 1
	}
	if !c.frames.special {
		c.drop(lines.Count(text)+begun, len(rest))
		return
	}
	c.messages.nuls = c.messages.nuls || c.ends.NULs()
	c.messages.drop(begun, text, c.first, len(rest))
}

// reportLost counts and logs lines that may not be written: they cannot be sent again.
func (c *conn) reportLost(lost *appendError) {
	c.dropRest()
	ingest.Lost(c.p.lines, lost.lines, lost.error)
	c.Reject(ingest.LostReason(lost.error),
		"a plain connection was closed because its lines were not written; its sender cannot know which",
		"error", lost.error, "lines_unsure", lost.lines, "lines_read_not_given", c.dropped)
}

// inspectFirst finds out whether the first line is an HTTP request, once its end is
// there; with long it is too long to wait for that. Blank lines do not count.
func (c *conn) inspectFirst(long bool) error {
	head := c.in.Bytes()
	c.firstSeen = c.firstSeen || c.frames.special || c.frames.size > 0 // that is no HTTP
	if c.firstSeen || !long && bytes.IndexByte(bytes.TrimLeft(head, "\r\n"), '\n') < 0 {
		return nil
	}
	c.firstSeen = true
	if c.http = isHTTP(head, long); c.http {
		return errHTTP
	}
	return nil
}
