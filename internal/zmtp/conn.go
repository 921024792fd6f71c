package zmtp

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Peer is what the handshake told of the other side.
type Peer struct {
	Type     SocketType
	Identity string // as the peer says, not proven
	Minor    byte   // of its version 3.x, at most 1: peers with 0 subscribe with messages, and know no PING
	User     string // PLAIN: the client's user. Set on a server only
	Key      Key    // CURVE: the other side's public key
}

// Conn is a connection to one peer after its handshake. One goroutine may receive while another
// one sends; Close may be called at any time, by any.
type Conn struct {
	nc   net.Conn
	peer Peer
	ctx  context.Context // ends with Close
	stop context.CancelFunc

	in             *buffer
	msg            incoming
	frames         [][]byte // of the message that was returned last
	topic          []byte   // of the last subscription
	box            *box     // nil: not encrypted
	limit          int      // on a message
	closeOversized bool
	counts         *Counts

	out  writer
	beat beat

	mu    sync.Mutex
	cause error // why the connection ended, once it has
}

// Peer returns what the handshake told of the other side.
func (c *Conn) Peer() Peer { return c.peer }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// SetReadDeadline bounds the waiting of Receive and Subscription. The zero time is no bound.
func (c *Conn) SetReadDeadline(at time.Time) error { return c.nc.SetReadDeadline(at) }

// Close ends the connection. Blocked calls return. What was sent and not flushed is lost.
func (c *Conn) Close() error { return c.end(net.ErrClosed) }

// end ends the connection, because of cause.
func (c *Conn) end(cause error) error {
	c.mu.Lock()
	first := c.cause == nil
	if first {
		c.cause = cause
	}
	c.mu.Unlock()
	if !first {
		return nil
	}
	c.stop()
	c.beat.stop()
	return c.nc.Close()
}

// ended returns why the connection ended, nil while it goes on.
func (c *Conn) ended() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// failed returns the error of a call that met err: the reason why the connection ended, if it
// has. It ends it otherwise, except for a deadline.
func (c *Conn) failed(err error) error {
	cause := c.ended()
	if cause == nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	defer c.Discard()
	if cause != nil {
		return cause
	}
	if c.inside() && (errors.Is(err, io.ErrUnexpectedEOF) || !errors.As(err, new(*Error))) {
		c.counts.Torn.Add(1)
	}
	c.end(err)
	return err
}

// newConn returns the connection that h made. x is nil if it is not encrypted.
func newConn(h *handshake, x *box) *Conn {
	c := &Conn{
		nc: h.nc, peer: h.peer, in: h.in, box: x, limit: h.o.limit(), counts: h.o.Counts,
		closeOversized: h.o.CloseOversized || h.o.limit() == maxCommand,
		out:            writer{nc: h.nc, box: x, timeout: h.o.writeTimeout()},
	}
	c.msg.need = shortHeader
	c.in.most, c.in.half = maxBuffer, x != nil
	if c.counts == nil {
		c.counts = new(Counts)
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.beat.begin(c, h.o)
	return c
}
