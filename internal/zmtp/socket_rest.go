package zmtp

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// restConn is a connection whose reading can be ended by the side that reads: at once, or
// behind what the peer has sent. The reader sees io.EOF.
//
// With rest, we say that we send nothing more. libzmq then closes its side, so the end of what
// it sent arrives; what it had not sent yet it keeps for the next connection. From a peer that
// goes on sending we read for restTime, and then what has arrived.
type restConn struct {
	net.Conn

	onRead func(n int) // nil: nothing

	mu     sync.Mutex  // orders deadlines
	ending atomic.Bool // end was called
	rest   bool        // read what the peer has sent first
	until  time.Time   // read for so long

	late bool // until is over; what had arrived then is read
	left int  // bytes of it
}

const (
	restTime  = 2 * time.Second
	quietTime = 250 * time.Millisecond // a peer that is silent for so long sends nothing more
)

var past = time.Unix(1, 0)

// end makes reads end: at once, or with rest behind what the peer has sent.
func (c *restConn) end(rest bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending.Load() {
		return
	}
	at := past
	if half, ok := c.Conn.(interface{ CloseWrite() error }); rest && ok && half.CloseWrite() == nil {
		c.rest, c.until = true, time.Now().Add(restTime)
		at = time.Now().Add(quietTime)
	}
	c.ending.Store(true)
	c.Conn.SetReadDeadline(at)
}

// SetReadDeadline is without effect after end.
func (c *restConn) SetReadDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending.Load() {
		return nil
	}
	return c.Conn.SetReadDeadline(at)
}

// SetDeadline sets both deadlines.
func (c *restConn) SetDeadline(at time.Time) error {
	if err := c.SetReadDeadline(at); err != nil {
		return err
	}
	return c.Conn.SetWriteDeadline(at)
}

// Read reads as the connection does, until end.
func (c *restConn) Read(p []byte) (n int, err error) {
	if !c.ending.Load() {
		n, err = c.Conn.Read(p)
	}
	if c.ending.Load() && n == 0 && (err == nil || errors.Is(err, os.ErrDeadlineExceeded)) {
		n, err = c.readRest(p)
	}
	if c.onRead != nil && n > 0 {
		c.onRead(n)
	}
	return n, err
}

// Write writes as the connection does. While the rest is read nothing can be written any more,
// and nothing need be: an answer to a PING would only be an error.
func (c *restConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil && c.ending.Load() {
		return len(p), nil
	}
	return n, err
}

// readRest reads what the peer has sent.
func (c *restConn) readRest(p []byte) (n int, err error) {
	c.mu.Lock() // until end has returned
	defer c.mu.Unlock()
	if !c.rest {
		return 0, io.EOF
	}
	now := time.Now()
	if !c.late && now.After(c.until) {
		c.late, c.left = true, unread(c.Conn)
	}
	if c.late {
		if p = p[:min(len(p), c.left)]; len(p) == 0 {
			return 0, io.EOF
		}
	}
	c.Conn.SetReadDeadline(now.Add(quietTime))
	n, err = c.Conn.Read(p)
	c.left -= n
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = io.EOF
	}
	return n, err
}
