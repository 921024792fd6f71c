package plain

import (
	"bytes"
	"time"

	"fanin/ingest"
	"fanin/ingest/syslog"
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// messages appends the messages of a connection that are more than lines as they are. It goes
// over the bytes that frames has seen, and finds the same messages.
type messages struct {
	c     *conn
	scan  *syslog.Scanner // nil: each message is a line as it is
	limit int             // as that of frames

	nuls    bool        // NULs end lines
	plain   bool        // no message has a byte 0xC0
	inner   bool        // the message may have newlines inside
	raw     bool        // the message is no syslog
	cut     bool        // it is only the beginning of one
	trailer bool        // a newline that comes next belongs to the end of the message before
	last    wire.Labels // of the message before
	goesOn  bool        // which was the beginning of a line that was divided

	origin     syslog.Origin
	batch      wire.Batch
	count      int // lines of the batch
	taken      int // bytes of the connection that became the batch
	labelBytes int // that its marks take
}

const (
	maxLabelBytes = 512 << 10 // that the marks of a batch may take beside its text
	mostOfMark    = wire.MarkBytes + 2*wire.MaxName + wire.MaxAttributes
)

// append appends whole messages.
func (m *messages) append(b whole) error {
	c, text, first := m.c, b.text, b.first
	m.nuls = m.nuls || b.nuls
	m.origin = syslog.Origin{Host: c.Host, PID: c.PID, Now: time.Now()}
	m.batch = wire.Batch{Time: m.origin.Now.UnixMicro(), Input: c.p.lines.Name(), Host: c.Host, Source: c.source,
		Marks: c.p.takeMarks()}
	defer m.release()
	if m.scan == nil && c.p.Syslog != nil {
		m.scan = c.p.Syslog.New()
	}
	nuls := bytes.IndexByte(text, 0) >= 0
	m.plain = !wire.IsRecord(text)
	for len(text) > 0 {
		msg, n := m.next(text, first, nuls)
		if first > 0 {
			m.raw = b.line && m.isRaw(msg)
		}
		first, m.cut = 0, b.goesOn
		if msg != nil {
			if err := m.add(msg, len(text)); err != nil {
				m.drop(1, text[n:], 0, len(text))
				return err
			}
			m.taken += n
		}
		text = text[n:]
	}
	return m.flush()
}

// drop counts messages that are lost because those before them were not written: so many, and those
// in text, of bytes in all.
func (m *messages) drop(dropped int, text []byte, first, bytesInAll int) {
	nuls := bytes.IndexByte(text, 0) >= 0
	for len(text) > 0 {
		msg, n := m.next(text, first, nuls)
		first = 0
		if msg != nil {
			dropped++
		}
		text = text[n:]
	}
	m.c.drop(dropped, bytesInAll)
}

// next returns the message that text begins with, and how many bytes it takes: nil if they are
// only the end of the message before.
func (m *messages) next(text []byte, first int, nuls bool) (msg []byte, n int) {
	if first > 0 {
		m.trailer, m.inner = true, true // it may be one with a count
		return text[:first], first
	}
	if m.scan != nil {
		head, size, more := syslog.Count(text)
		if more { // the count is so small that it leaves out what showed that it is one
			head = bytes.IndexByte(text, ' ') + 1
			size = len(text) - head
		}
		if head > 0 {
			n = head + min(size, m.limit)
			msg = text[head:n]
			m.trailer, m.raw, m.inner = true, false, bytes.IndexByte(msg, '\n') >= 0
			return msg, n
		}
	}
	m.raw, m.inner = m.isRaw(text), false
	end := lineEnd(text, m.nuls && nuls)
	nul, trailer := text[end] == 0, m.trailer
	m.trailer = nul && (trailer || end > 0)
	if end == 0 && (nul || trailer) {
		return nil, 1
	}
	return text[:end], end + 1
}

// isRaw reports whether a message without a count is no syslog.
func (m *messages) isRaw(text []byte) bool {
	if m.scan == nil {
		return true
	}
	_, size := ingest.Priority(text)
	m.nuls = m.nuls || size > 0
	return size == 0 && !m.c.p.Syslog.Any
}

// add adds the line of a message to the batch. left is about how much is to be added, this
// message included.
func (m *messages) add(msg []byte, left int) error {
	c, b := m.c, &m.batch
	need := lines.SplitSize(syslog.Room(len(msg)), c.p.MaxLine) + len(wire.SplitMark) + 1
	if err := m.makeRoom(need, left); err != nil {
		return err
	}
	out, labels := m.line(msg)
	line := out[len(b.Text):]
	m.label(labels)
	if m.scan != nil && !m.verbatim() && !b.Joined {
		b.Joined = wire.IsRecord(line)
	}
	m.count++
	limit := c.p.MaxLine
	if m.cut {
		limit -= len(wire.SplitMark)
	}
	if len(line) >= limit {
		before := len(b.Text)
		out, _ = lines.SplitRecord(b.Text, bytes.Clone(line), limit)
		m.count += lines.Count(out[before:])
		c.p.lines.Split(1)
	}
	if m.goesOn = m.cut; m.cut {
		out = append(out, wire.SplitMark...)
	}
	b.Text = append(out, '\n')
	return nil
}

// line appends the line of a message to the text of the batch.
func (m *messages) line(msg []byte) (out []byte, labels wire.Labels) {
	switch {
	case m.scan == nil:
		return append(m.batch.Text, msg...), wire.Labels{Host: m.batch.Host, Source: m.batch.Source}
	case m.goesOn && bytes.HasPrefix(msg, []byte(wire.SplitGoesOn)):
		return wire.AppendRecord(m.batch.Text, msg), m.last
	case m.raw:
		return wire.AppendRecord(m.batch.Text, msg), wire.Labels{Host: m.batch.Host, Source: m.batch.Source}
	}
	m.scan.Verbatim = m.verbatim()
	return m.scan.Scan(m.batch.Text, msg, &m.origin)
}

// verbatim reports whether the message stands in its line as it is: most often.
func (m *messages) verbatim() bool { return m.plain && !m.inner }

// label sets the labels of the next line: makeRoom has made room for a mark.
func (m *messages) label(labels wire.Labels) {
	before := len(m.batch.Marks)
	m.batch.Label(labels)
	if m.cut {
		m.last = labels
	}
	if len(m.batch.Marks) > before {
		m.labelBytes += wire.MarkBytes + len(labels.Host) + len(labels.Source) + len(labels.Attributes)
	}
}

// makeRoom makes the batch able to hold need more bytes of text, and a mark.
func (m *messages) makeRoom(need, left int) error {
	b := &m.batch
	if cap(b.Text)-len(b.Text) >= need && len(b.Marks) < wire.MaxMarks && m.labelBytes < maxLabelBytes &&
		len(b.Text)+need+m.labelBytes+mostOfMark <= wire.MaxText {
		return nil
	}
	if err := m.flush(); err != nil || cap(b.Text) >= need {
		return err
	}
	if b.Text != nil {
		m.c.Budget.Release(b.Text)
		b.Text = nil
	}
	block, err := m.c.Budget.Extend(m.c.appending, max(need, min(left, m.c.p.BlockSize)))
	if err != nil {
		return m.c.unreceived(err, nil)
	}
	b.Text = block[:0]
	return nil
}

// flush appends the batch, and empties it.
func (m *messages) flush() (err error) {
	b, n := &m.batch, m.count
	if n == 0 {
		return nil
	}
	m.c.p.lines.Received(n, m.taken)
	if aerr := m.c.p.Out.Append(m.c.appending, *b); aerr != nil {
		err = &appendError{aerr, n}
	}
	clear(b.Marks)
	b.Text, b.Marks, b.Joined = b.Text[:0], b.Marks[:0], false
	m.count, m.taken, m.labelBytes = 0, 0, 0
	return err
}

// release releases the memory of the batch, which nothing needs any more.
func (m *messages) release() {
	clear(m.batch.Marks)
	m.c.p.keepMarks(m.batch.Marks)
	if m.batch.Text != nil {
		m.c.Budget.Release(m.batch.Text)
	}
	m.batch, m.count, m.taken, m.labelBytes = wire.Batch{}, 0, 0, 0
}
