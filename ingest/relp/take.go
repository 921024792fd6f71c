package relp

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"fanin/ingest/syslog"
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// take adds a frame to the batch. full reports that the batch has no space for it.
func (c *conn) take(f *frame) (full bool, err error) {
	if !f.is("syslog") {
		return c.takeOther(f)
	}
	switch {
	case !c.opened:
		return false, &fault{"no_open", "the peer sent a message before it opened a session"}
	case f.number == 0:
		return false, &fault{"protocol", "a message has the number 0, to which there is no answer"}
	}
	if full, err = c.takeMessage(f); !full && err == nil {
		c.see(f.number)
	}
	return full, err
}

// takeOther adds a frame that is no message.
func (c *conn) takeOther(f *frame) (full bool, err error) {
	if c.next.crowded() {
		return true, nil
	}
	c.see(f.number)
	r := replyUnknown
	switch {
	case f.is("close"):
		c.closing = f.number
		return false, errClose
	case f.is("open") && clientOffers(f.data):
		c.opened, r = true, replyOpen
	case f.is("open"):
		r = replyOffers
	case f.number == 0: // a hint
		return false, nil
	default:
		c.p.counts.unknown.Inc()
		if !c.unknown { // a warning costs far more than the frame
			c.unknown = true
			c.Warn("unknown_command", "a RELP client sent a command that is not known, and was refused it",
				"command", string(f.command))
		}
	}
	c.next.answers = addAnswer(c.next.answers, f.number, r)
	return false, nil
}

const maxNumber = 999_999_999

// see counts frames whose numbers do not follow each other. An answer has the number of its frame, so
// nothing depends on it.
func (c *conn) see(number uint32) {
	if want := c.number%maxNumber + 1; c.number != 0 && number != 0 && number != want {
		c.p.counts.jumps.Inc()
		if !c.jumped {
			c.jumped = true
			c.Warn("jump", "the numbers of a RELP client's frames do not follow each other", "number", number,
				"want", want)
		}
	}
	if number != 0 {
		c.number = number
	}
}

// takeMessage adds a message to the batch.
func (c *conn) takeMessage(f *frame) (full bool, err error) {
	b := c.next
	room := syslog.Room(len(f.data))
	room = lines.SplitSize(room, c.limit(room)) + 1
	if !b.fits(room, c.p.Window) {
		return true, nil
	}
	if full, err := c.makeRoom(room); full || err != nil {
		return full, err
	}
	hash := hashOf(f.data)
	if c.session == nil {
		c.session = c.p.Sessions.begin(peerOf(c.Conn), c)
	}
	if !c.decided {
		if c.opening.last = c.from.Now; len(c.opening.hashes) == 0 {
			c.opening.began = c.opening.last
		}
		c.opening.hashes = append(c.opening.hashes, hash)
	}
	if len(f.data) > 0 {
		if err := c.addLine(f.data); err != nil {
			return false, err
		}
	}
	b.hashes, b.ends, b.laid = append(b.hashes, hash), append(b.ends, len(b.Text)), b.laid+layout
	b.answers = addAnswer(b.answers, f.number, replyOK)
	if c.pending.Add(1) > int64(c.p.Window) && !c.exceeded {
		c.exceeded = true
		c.p.counts.exceeded.Inc()
		c.Warn("window", "a RELP client has more messages without an answer than window; "+
			"after a break those beyond it would be doubled: raise window to the client's windowSize",
			"window", c.p.Window)
	}
	if c.doubt != nil {
		c.doubt.first = append(c.doubt.first, hash)
	}
	return false, nil
}

// limit returns how long a line may be of which there are n bytes at most. What is too long for a cut
// stays whole: its parts would have to be committed apart.
func (c *conn) limit(n int) int {
	if n > maxText/2 {
		return wire.MaxLine
	}
	return c.p.MaxLine
}

// makeRoom makes room for n bytes in the batch. The block of many small lines is larger than they need,
// so that what they take besides their text is in proportion to what the budget counts. full reports that
// the batch must make do with what it has: sessions with blocks that wait for larger ones would wait for each other.
func (c *conn) makeRoom(n int) (full bool, err error) {
	b := c.next
	if n += len(b.Text); n <= cap(b.Text) && b.laid <= 2*len(b.block) {
		return false, nil
	}
	n = max(n, min(b.laid, maxText))
	block := c.Budget.TryAcquire(max(n, min(max(3*c.in.Have, 2*len(b.block)), maxText)))
	if block == nil {
		if len(b.hashes) > 0 {
			return true, nil
		}
		c.dropHeld()
		within, cancel := context.WithTimeout(c.Context(), c.Limits.FrameTimeout)
		defer cancel() // other sessions may have what they read into from the same reserve
		if block, err = c.Budget.Extend(within, n); err != nil {
			return false, errMemory
		}
	}
	if b.block == nil {
		b.Batch = wire.Batch{Input: c.p.lines.Name(), Host: c.Host, Source: c.p.Messages.Source,
			Time: time.Now().UnixMicro(), Marks: b.Marks[:0]}
	}
	b.Text = block[:copy(block, b.Text)]
	c.Budget.Release(b.block)
	b.block = block
	return false, nil
}

// addLine adds the line of a message to the batch, for which there is room.
func (c *conn) addLine(data []byte) error {
	b, at := c.next, len(c.next.Text)
	text, labels := c.scanner.Scan(b.Text, data, &c.from)
	if !b.Label(labels) {
		return fmt.Errorf("%d labels in a batch of %d messages", len(b.Marks), len(b.hashes)) // a message has one
	}
	b.Joined = b.Joined || wire.IsRecord(text[at:])
	if limit := c.limit(syslog.Room(len(data))); len(text)-at >= limit {
		text, _ = lines.SplitRecord(b.Text, bytes.Clone(text[at:]), limit)
		c.p.lines.Split(1)
	}
	b.Text = append(text, '\n')
	b.laid += len(b.Text) - at + len(labels.Host) + len(labels.Source) + len(labels.Attributes)
	return nil
}
