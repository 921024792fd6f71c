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
// behind what has arrived until then. The reader sees io.EOF.
type restConn struct {
	net.Conn

	onRead func(n int) // nil: nothing

	mu     sync.Mutex  // orders deadlines
	ending atomic.Bool // end was called
	rest   bool        // read what has arrived first
	known  bool        // left was determined
	left   int         // bytes to read until the end
}

var past = time.Unix(1, 0)

// end makes reads end: with rest, only behind what the kernel holds now.
func (c *restConn) end(rest bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending.Load() {
		c.rest = rest
		c.ending.Store(true)
	}
	c.Conn.SetReadDeadline(past)
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
func (c *restConn) Read(p []byte) (int, error) {
	n, err := c.read(p)
	if c.onRead != nil && n > 0 {
		c.onRead(n)
	}
	return n, err
}

func (c *restConn) read(p []byte) (int, error) {
	if !c.ending.Load() {
		n, err := c.Conn.Read(p)
		if !errors.Is(err, os.ErrDeadlineExceeded) || !c.ending.Load() {
			return n, err
		}
	}
	if !c.known {
		c.known = true
		if c.mu.Lock(); c.rest {
			c.left = unread(c.Conn)
		}
		c.Conn.SetReadDeadline(time.Time{}) // what is left is there: no read waits
		c.mu.Unlock()
	}
	if c.left == 0 {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}
