package plain

import (
	"bytes"
	"cmp"
	"io"

	"fanin/ingest"
	"fanin/ingest/stream"
)

// Messages reads from r what a connection would bring, and calls found with each message that it
// would find: one of syslog, or a line as it is. Wrong is called with what is wrong with a frame, as
// metrics name it. p needs no Out.
func (p *Protocol) Messages(r io.Reader, found func(msg []byte, syslog bool) error, wrong func(what string)) error {
	p.Format()
	c := &conn{Conn: &stream.Conn{Budget: new(ingest.Budget)}, p: p,
		in: &stream.Intake{Block: make([]byte, 2*p.MaxLine)}}
	c.begin()
	c.frames.wrong = func(what string, _ int) { wrong(what) }
	c.messages.scan = p.Syslog.New()
	for {
		n, err := r.Read(c.in.Block[c.in.Have:])
		c.in.Have += n
		c.findEnds(n)
		if err == io.EOF {
			return c.explainLast(found)
		}
		if err = cmp.Or(err, c.explain(c.in.Block[:c.whole], found)); err != nil {
			return err
		}
		c.in.Have = copy(c.in.Block, c.in.Block[c.whole:c.in.Have])
		if c.whole = 0; c.in.Full() { // a line that is too long; those with a count are cut
			if err := found(c.in.Bytes(), false); err != nil {
				return err
			}
			c.in.Have = 0
		}
	}
}

// explain calls found with each of whole messages.
func (c *conn) explain(text []byte, found func([]byte, bool) error) error {
	m, nuls := &c.messages, bytes.IndexByte(text, 0) >= 0
	m.nuls = m.nuls || c.ends.NULs()
	for len(text) > 0 {
		msg, n := m.next(text, 0, nuls)
		if msg != nil {
			if err := found(msg, !m.raw); err != nil {
				return err
			}
		}
		text = text[n:]
	}
	return nil
}

// explainLast is explain at the end of a connection.
func (c *conn) explainLast(found func([]byte, bool) error) error {
	text, rest := c.in.Block[:c.whole], c.in.Bytes()[c.whole:]
	if len(rest) == 0 {
		return c.explain(text, found)
	}
	f := &c.frames
	if f.size == 0 {
		return c.explain(append(c.in.Bytes(), '\n'), found)
	}
	f.wrong(cutShort, f.size+f.beyond-len(rest))
	return cmp.Or(c.explain(text, found), found(rest[f.head:], true))
}
