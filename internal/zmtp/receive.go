package zmtp

import (
	"errors"
	"io"
)

const (
	maxFrames  = 512     // of a message; one with more is skipped like one with too many bytes
	maxCommand = 4 << 10 // bytes of a command's body, and of a subscription
	maxAside   = 64 << 10
	maxSkip    = 1 << 30 // bytes of a frame that is skipped; a peer that claims more is closed
)

// incoming is the message that is arriving. Its bytes begin at the buffer's r; places in it count
// from there.
type incoming struct {
	pos   int    // up to where it has been parsed
	need  int    // how many bytes are wanted to go on
	total int    // bytes of its frames so far
	spans []span // its frames so far
	taken bool   // it was returned, and is dropped with the next step

	skipping bool  // it is larger than allowed, or there is no memory for it
	refused  bool  // there is no memory for it
	more     bool  // the frame that is skipped is not its last one
	skip     int64 // bytes of that frame that are to come
	skipped  int64 // bytes of all its frames
}

// span is where the body of a frame is.
type span struct{ from, to int }

// event is what a step found.
type event int

const (
	nothing   event = iota // more bytes are wanted
	progress               // something that is not for the caller
	message                // c.msg is complete
	subscribe              // c.topic
	cancel                 // c.topic
)

// Receive returns the frames of the next message. It waits for one, and answers PINGs meanwhile.
// The frames are valid until the next Receive or Next: they are parts of the read buffer.
//
// The error is io.EOF if the peer closed between messages, io.ErrUnexpectedEOF if in the middle
// of one, an *Error if the peer broke the protocol, net.ErrClosed after Close, and
// os.ErrDeadlineExceeded at the read deadline, after which Receive can be called again.
func (c *Conn) Receive() (frames [][]byte, err error) {
	for {
		frames, ok, err := c.Next()
		if ok || err != nil {
			return frames, err
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// Next is Receive for a message that has arrived: it never reads from the network, and ok is
// false if there is no whole message in the buffer. So a caller gathers many messages per read:
//
//	frames, err := c.Receive()
//	for ok := err == nil; ok; frames, ok, err = c.Next() {
//		… // copy the frames
//	}
func (c *Conn) Next() (frames [][]byte, ok bool, err error) {
	for {
		e, err := c.step()
		switch {
		case err != nil:
			return nil, false, c.failed(err)
		case e == nothing:
			return nil, false, nil
		case e == message:
			return c.taken(), true, nil
		}
	}
}

// taken returns the frames of the message that is complete.
func (c *Conn) taken() [][]byte {
	c.msg.taken = true
	b := c.in.bytes()
	c.frames = c.frames[:0]
	for _, s := range c.msg.spans {
		c.frames = append(c.frames, b[s.from:s.to:s.to])
	}
	return c.frames
}

// fill reads more from the network.
func (c *Conn) fill() error {
	err := c.in.fill(c.ctx, c.msg.need)
	if errors.Is(err, ErrNoMemory) {
		err = c.refuse()
	}
	if err != nil {
		return c.failed(c.readError(err))
	}
	return nil
}

// readError names the end of the connection.
func (c *Conn) readError(err error) error {
	if err == io.EOF && c.inside() {
		return io.ErrUnexpectedEOF
	}
	return err
}

// inside reports whether a part of a message has arrived.
func (c *Conn) inside() bool {
	m := &c.msg
	if m.taken {
		return c.in.w-c.in.r > m.pos
	}
	return c.in.w > c.in.r || m.skipping
}

// step looks at the next frame in the buffer.
func (c *Conn) step() (event, error) {
	m := &c.msg
	if m.taken {
		c.drop()
	}
	if m.skipping && !c.skip() {
		return nothing, nil
	}
	b := c.in.bytes()
	h, ok, err := parseHeader(b[m.pos:])
	if err != nil {
		return nothing, err
	}
	if !ok {
		m.need = m.pos + shortHeader
		if len(b) >= m.need {
			m.need = m.pos + longHeader
		}
		return nothing, nil
	}
	if c.box != nil {
		return c.stepBox(h)
	}
	if e, err := c.admit(h, h.flags, h.size); e != message || err != nil {
		return e, err
	}
	from := m.pos + h.length
	if m.need = from + int(h.size); m.need > len(b) {
		return nothing, nil
	}
	m.pos = m.need
	return c.take(h.flags, span{from, m.pos})
}

// drop forgets the message that has been taken, or what there is of it.
func (c *Conn) drop() {
	m := &c.msg
	c.in.r += m.pos
	clear(c.frames) // they may be in a block that nothing else holds
	c.in.settle(true)
	m.pos, m.need, m.total, m.taken = 0, shortHeader, 0, false
	m.spans = m.spans[:0]
}

// Discard gives back the memory of the message that was returned last, or that is arriving, with
// what has been read. Receive does so before it returns an error that ends the connection; one that
// ends it on its own account calls Discard, on the goroutine that receives.
func (c *Conn) Discard() {
	clear(c.frames) // they may be in a block that nothing else holds
	c.in.settle(false)
	c.in.r, c.in.w = 0, 0
	c.msg = incoming{need: shortHeader}
}

// admit decides by its length whether a frame is taken; h is its header, flags and size are
// those of what it holds. message means yes.
func (c *Conn) admit(h header, flags byte, size int64) (event, error) {
	m := &c.msg
	if flags&flagCommand != 0 {
		if size > maxCommand || m.pos > c.limit+maxAside {
			return nothing, failf(Oversized, "the peer sent a command of %d bytes; at most %d are taken",
				size, maxCommand)
		}
		return message, nil
	}
	if !m.skipping && size <= int64(c.limit-m.total) && len(m.spans) < maxFrames && m.pos <= c.limit+maxAside {
		return message, nil
	}
	if c.closeOversized || h.size > maxSkip {
		return nothing, failf(Oversized, "the peer sent a message of %d bytes or more in %d frames or more; "+
			"at most %d bytes in %d frames are taken", int64(m.total)+size, len(m.spans)+1, c.limit, maxFrames)
	}
	c.beginSkip(h, flags, size)
	return progress, nil
}

// beginSkip forgets the frames of the message so far, and skips the one with header h.
func (c *Conn) beginSkip(h header, flags byte, size int64) {
	m := &c.msg
	if !m.skipping {
		m.skipping, m.skipped = true, int64(m.total)
	}
	m.skipped += size
	m.more = flags&flagMore != 0
	c.in.r += m.pos + h.length
	here := min(h.size, int64(c.in.w-c.in.r)) // of its body; a block, which is given back, has nothing else
	m.skip = h.size - here
	c.in.r += int(here)
	c.in.settle(false)
	m.pos, m.total = 0, 0
	m.spans = m.spans[:0]
}

// refuse begins to skip a message for which there is no memory: what has arrived of a large frame
// is dropped, and of a small one, or of a header, it stays.
func (c *Conn) refuse() error {
	m := &c.msg
	if !m.skipping {
		m.skipping, m.refused, m.skipped, m.skip, m.more = true, true, int64(m.total), 0, true
	}
	b := c.in.bytes()[m.pos:]
	h, ok, err := parseHeader(b)
	if err != nil {
		return err
	}
	if ok && h.size > maxCommand+int64(boxOverhead) && (c.box == nil || len(b) >= h.length+boxOverhead) {
		flags, size := h.flags, h.size
		if c.box != nil {
			if err := c.box.check(b[h.length : h.length+boxOverhead]); err != nil {
				return err
			}
			flags, size = c.box.peekFlags(b[h.length:]), size-int64(boxOverhead)
		}
		c.beginSkip(h, flags, size)
		return nil
	}
	c.in.keep(m.pos)
	m.pos, m.total, m.need = 0, 0, len(b)+1
	m.spans = m.spans[:0]
	return nil
}

// skip drops what has arrived of the frame that is skipped. It reports whether all of it has.
func (c *Conn) skip() bool {
	m := &c.msg
	n := min(m.skip, int64(c.in.w-c.in.r))
	c.in.r += int(n)
	m.skip -= n
	if m.skip > 0 {
		m.need = 1
		return false
	}
	if !m.more {
		if !m.refused {
			c.counts.Skipped.Add(1)
			c.counts.SkippedBytes.Add(m.skipped)
		}
		m.skipping, m.refused = false, false
	}
	return true
}

// take takes a frame that has arrived; its body is at the place at.
func (c *Conn) take(flags byte, at span) (event, error) {
	m := &c.msg
	if flags&flagCommand != 0 {
		e, err := c.command(c.in.bytes()[at.from:at.to])
		if len(m.spans) == 0 { // it is not within a message
			c.drop()
		}
		return e, err
	}
	m.total += at.to - at.from
	m.spans = append(m.spans, at)
	if flags&flagMore != 0 {
		return progress, nil
	}
	return message, nil
}
