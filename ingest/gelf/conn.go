package gelf

import (
	"cmp"
	"context"
	"errors"
	"os"
	"unicode/utf8"

	"fanin/ingest"
	"fanin/ingest/stream"
	"fanin/internal/wire"
)

// conn is a connection that sends messages. It appends what a read has brought before it
// reads again.
type conn struct {
	*stream.Conn
	p         *Protocol
	appending context.Context // of every Append

	in     *stream.Intake
	framer framer
	goesOn bool // the message that is coming had parts that are lines already
}

// serve reads and appends messages until the connection ends.
func (c *conn) serve() error {
	defer c.in.Release(nil)
	err := cmp.Or(c.in.Settle(c.appending), c.Ended())
	for err == nil {
		if err = c.take(); err == nil {
			_, err = c.in.Read(c.appending, true)
		}
		if err == stream.ErrHeld {
			_, err = c.takePart()
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && (c.Displaced() || c.Draining()) {
		err = c.readRest()
	}
	var lost *appendError
	if !errors.As(err, &lost) {
		errors.As(c.takeLast(), &lost)
	}
	if c.Draining() {
		c.CountUnread(c.p.unread)
	}
	if lost != nil {
		c.reportLost(lost)
		return nil
	}
	c.ReportSilence(err)
	return nil
}

// readRest reads what the kernel holds when the connection is to end, and no more: a sender
// that never pauses must not delay the end.
func (c *conn) readRest() error {
	for left := c.in.Unread(); left > 0; {
		n, err := c.in.Fill(c.appending, false)
		if n == 0 || err != nil {
			return err
		}
		left -= n
		if err := c.take(); err != nil {
			return err
		}
	}
	return nil
}

// take appends the messages whose ends are there, and makes space for more.
func (c *conn) take() error {
	for {
		b := c.in.Bytes()
		g := c.newGathering()
		used, err := c.takeWhole(g, b)
		if err = cmp.Or(err, g.finish()); err != nil {
			return err
		}
		if used > 0 {
			c.in.Progress()
			c.in.Adapt()
			c.keep(b[used:])
		}
		if again, err := c.makeSpace(); err != nil || !again {
			return err
		}
	}
}

// takeWhole adds the messages whose ends are in b, and returns how many bytes they have.
func (c *conn) takeWhole(g *gathering, b []byte) (used int, err error) {
	for {
		length, size, ok := c.framer.next(b[used:])
		if !ok {
			return used, nil
		}
		message := b[used : used+length]
		used += size
		if err := c.addMessage(g, message); err != nil {
			return used, err
		}
	}
}

// addMessage adds a message, or the last part of one.
func (c *conn) addMessage(g *gathering, message []byte) error {
	if c.goesOn {
		c.goesOn = false
		return g.addText(append([]byte(wire.SplitGoesOn), message...))
	}
	return g.addMessages(message)
}

// keep keeps what follows the bytes that were used.
func (c *conn) keep(tail []byte) {
	if len(tail) > stream.RestSize {
		c.in.Have = copy(c.in.Block, tail)
	} else {
		c.in.Release(tail)
	}
}

// makeSpace makes the block able to hold more of a message that fills it. again reports that
// messages may have ended by that.
func (c *conn) makeSpace() (again bool, err error) {
	most := int(ingest.BlockSize(c.p.Settings.MaxMessage))
	if !c.in.Full() || c.in.Grow(most) {
		return false, nil
	}
	return c.takePart()
}

// takePart appends the part of a message that is there, as it is: the message is too large,
// or its end does not come. again reports that messages have ended after all.
func (c *conn) takePart() (again bool, err error) {
	b := c.in.Bytes()
	if c.framer.settle(b) {
		return true, nil
	}
	n := len(b) - tornRune(b)
	line := make([]byte, 0, len(wire.SplitGoesOn)+n+len(wire.SplitMark))
	if c.goesOn {
		line = append(line, wire.SplitGoesOn...)
	} else {
		c.goesOn = true
		c.p.metrics.parts().Inc()
		c.p.lines.Split(1)
		c.Warn("gelf_part", "a message is too large, or its end does not come: its parts are lines as they came",
			"bytes", len(b))
	}
	line = append(append(line, b[:n]...), wire.SplitMark...)
	c.keep(b[n:])
	c.framer.at = len(b) - n
	c.in.Progress()
	g := c.newGathering()
	return false, cmp.Or(g.addText(line), g.finish())
}

// tornRune returns how many bytes at the end of b begin a character that is not complete.
func tornRune(b []byte) int {
	for n := 1; n <= min(len(b), utf8.UTFMax); n++ {
		if c := b[len(b)-n:]; utf8.RuneStart(c[0]) {
			if utf8.FullRune(c) {
				return 0
			}
			return n
		}
	}
	return 0
}

// takeLast appends what is left when the connection has ended.
func (c *conn) takeLast() error {
	if c.framer.settle(c.in.Bytes()) {
		if err := c.take(); err != nil {
			return err
		}
	}
	rest := c.in.Bytes()
	if len(rest) == 0 {
		return nil
	}
	g := c.newGathering()
	return cmp.Or(c.addMessage(g, rest), g.finish())
}

// reportLost counts and logs lines that may not be written: they cannot be sent again.
func (c *conn) reportLost(lost *appendError) {
	ingest.Lost(c.p.lines, lost.lines, lost.error)
	c.Reject(ingest.LostReason(lost.error), "a GELF connection was closed because its messages were not written; "+
		"its sender cannot know which", "error", lost.error,
		"lines_unsure", lost.lines, "bytes_read_not_given", len(c.in.Bytes()))
}
