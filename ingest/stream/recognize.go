package stream

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// serve serves the connection with the protocol that it is of.
func (c *Conn) serve() {
	defer c.l.gone(c)
	defer c.stop()
	defer c.raw.Close()
	if c.l.TLS != nil && !c.handshakeApart() || c.agreed() || !c.allowed() {
		return
	}
	f, err := c.recognize()
	if f == nil {
		if c.Draining() {
			return
		}
		reason, text := "handshake", "a connection began in a known format and did not continue in time"
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			reason, text = "protocol", "a connection is of no known format"
		}
		c.Reject(reason, text)
		return
	}
	c.ended = err
	c.recognized(f)
	if f.Name != "" {
		c.l.metrics.connections(f.Name).Inc()
	}
	if err := f.Serve(c.l.appending, c); err != nil {
		c.Log.Debug("a connection ended", "format", f.Name, "peer", c.Remote(), "error", err)
	}
}

// recognized notes of which format the connection is.
func (c *Conn) recognized(f *Format) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.resumes = f.Resumes
	if c.l.isClosed() {
		c.retireLocked()
	}
}

// retireLocked ends the connection, if its peer sends again what was not acknowledged.
func (c *Conn) retireLocked() {
	if c.resumes {
		c.retired.Store(true)
		c.Wake()
	}
}

// rows returns the table of formats: the listener's, and TLS, which no text begins as.
func (l *Listener) rows() []Format {
	return append([]Format{{Matches: isTLS, Serve: refuseTLS}}, l.Formats...)
}

// match returns the first row that a connection beginning with head matches; nil if
// none does. undecided reports that more bytes must decide.
func match(rows []Format, head []byte) (f *Format, undecided bool) {
	for i := range rows {
		if rows[i].Matches == nil {
			return &rows[i], false
		}
		switch yes, more := rows[i].Matches(head); {
		case yes:
			return &rows[i], false
		case more:
			return nil, true
		}
	}
	return nil, false
}

// recognize reads until it is clear which format the connection is of. A peer may be
// silent, but a beginning that can be several formats must go on in time. err is what
// ended the reading: a connection that has ended, or is to end, is of the format that
// matches everything, unless what came before a stop is of another one. f is nil if nothing came.
func (c *Conn) recognize() (f *Format, err error) {
	rows := c.l.table
	b := make([]byte, 64)
	c.SetReadDeadline(c.IdleDeadline())
	for begun := false; ; {
		n, err := c.nc.Read(b)
		if n == 0 && err != nil && len(c.head) == 0 && c.Draining() {
			if n = c.readLate(b); n == 0 {
				return nil, err // what comes later is of a format that is not known
			}
		}
		c.head = append(c.head, b[:n]...)
		if n == 0 && err != nil {
			if begun && errors.Is(err, os.ErrDeadlineExceeded) && !c.Draining() {
				return nil, err
			}
			return fallback(rows), err
		}
		if f, undecided := match(rows, c.head); !undecided {
			return f, nil // an error comes again with the next read
		}
		if !begun && n > 0 {
			begun = true
			c.SetReadDeadline(time.Now().Add(c.Limits.HandshakeTimeout))
		}
	}
}

// lateTime bounds the read of bytes that the kernel has.
const lateTime = 100 * time.Millisecond

// readLate reads what came before the connection was told to end.
func (c *Conn) readLate(b []byte) (n int) {
	if c.Unread() == 0 {
		return 0
	}
	c.raw.SetReadDeadline(time.Now().Add(lateTime))
	defer c.raw.SetReadDeadline(past)
	n, _ = c.nc.Read(b) // an error comes again with the next read
	return n
}

// fallback returns the row that matches everything; nil: there is none.
func fallback(rows []Format) *Format {
	if last := &rows[len(rows)-1]; last.Matches == nil {
		return last
	}
	return nil
}

// explain reports to the peer why its connection is refused, if its format can express
// that.
func (c *Conn) explain(why string) {
	rows := c.l.table
	head, b := []byte(nil), make([]byte, 64)
	for {
		n, err := c.nc.Read(b)
		head = append(head, b[:n]...)
		f, undecided := match(rows, head)
		if f != nil && f.Refuse != nil {
			c.nc.SetWriteDeadline(time.Now().Add(LingerTime))
			f.Refuse(c.nc, why)
			HangUp(c.nc)
		}
		if !undecided || err != nil {
			return
		}
	}
}

// isTLS matches a TLS record: a handshake of version 3.0 to 3.4.
func isTLS(head []byte) (yes, more bool) {
	const handshake, major, maxMinor = 0x16, 3, 4
	switch {
	case len(head) > 0 && head[0] != handshake, len(head) > 1 && head[1] != major, len(head) > 2 && head[2] > maxMinor:
		return false, false
	}
	return len(head) > 2, len(head) <= 2
}

// answerTLS answers a peer that began a TLS handshake where none is spoken. The answer
// is no TLS, so the peer reports it at once and need not wait or guess.
func answerTLS(raw net.Conn) {
	raw.SetWriteDeadline(time.Now().Add(LingerTime))
	io.WriteString(raw, "fanin: this port speaks plain TCP, not TLS: use tcp://\n")
	HangUp(raw)
}
