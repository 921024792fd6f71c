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
	appending context.Context // of every Append

	in        *stream.Intake
	whole     int        // bytes of the intake's block that are whole lines
	handed    bool       // a block is being appended
	outcome   chan error // its outcome
	ends      ingest.LineEnds
	continued bool // the line being read is the next part of a split one

	firstSeen bool // the first line was looked at
	http      bool // and it is an HTTP request
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
	if lost != nil {
		c.reportLost(lost)
	}
	switch {
	case c.http:
		c.answerHTTP()
	case lost == nil:
		c.ReportSilence(err)
	}
	return nil
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

// findEnds looks for line ends in the last n bytes that were read, and makes newlines of
// NULs that are line ends.
func (c *conn) findEnds(n int) {
	if c.in.Block == nil || n <= 0 {
		return
	}
	if !c.ends.Known() {
		c.ends.Detect(c.in.Block[:c.in.Have], n)
		if c.ends.NULs() {
			n = c.in.Have // none was looked for before
		}
	}
	before := c.in.Have - n
	unseen := c.in.Block[before:c.in.Have]
	if c.ends.NULs() {
		unseen = c.ends.Normalize(unseen, before > 0 && c.in.Block[before-1] != '\n')
		c.in.Have = before + len(unseen)
	}
	if i := bytes.LastIndexByte(unseen, '\n'); i >= 0 {
		c.whole = before + i + 1
		c.continued = false
		c.in.Progress()
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
	defer c.in.Release(nil)
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
	if err == nil && len(c.in.Bytes()) > 0 {
		err = c.appendLines(append(c.in.Bytes(), '\n'))
	}
	errors.As(err, &lost)
	return lost
}

// reportLost counts and logs lines that may not be written: they cannot be sent again.
func (c *conn) reportLost(lost *appendError) {
	unread := lines.Count(c.in.Bytes())
	ingest.Lost(c.p.lines, lost.lines, lost.error)
	c.Reject(ingest.LostReason(lost.error),
		"a plain connection was closed because its lines were not written; its sender cannot know which",
		"error", lost.error, "lines_unsure", lost.lines, "lines_read_not_given", unread)
}

// inspectFirst finds out whether the first line is an HTTP request, once its end is
// there; with long it is too long to wait for that. Blank lines do not count.
func (c *conn) inspectFirst(long bool) error {
	head := c.in.Bytes()
	if c.firstSeen || !long && bytes.IndexByte(bytes.TrimLeft(head, "\r\n"), '\n') < 0 {
		return nil
	}
	c.firstSeen = true
	if c.http = isHTTP(head, long); c.http {
		return errHTTP
	}
	return nil
}
