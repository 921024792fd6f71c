package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"fanin/ingest"
	"fanin/internal/origin"
)

// Conn is one connection, with its share of what all connections share.
type Conn struct {
	Peer   netip.Addr     // the peer's address
	Host   string         // of its lines: the name in its certificate, or else its own, or else Peer
	PID    int            // of the process that connected, on a unix socket; 0: not known
	Budget *ingest.Budget // memory for what is read
	Log    *slog.Logger
	Limits *Limits // those of the listener

	l    *Listener
	raw  net.Conn     // as it was accepted
	nc   net.Conn     // raw, or TLS over it
	from netip.Prefix // what counts as the peer's address

	head    []byte // read to recognize the format
	ended   error  // what ended that reading
	timed   bool   // a read deadline is set
	resumes bool   // see Format; belongs to the listener's mu
	fate
	heard atomic.Int64    // when bytes came last, or the connection, UnixNano
	ctx   context.Context // ends when the connection is to end
	stop  context.CancelFunc
}

// fate is whether a connection is to end, and why.
type fate struct {
	woken     atomic.Bool
	kept      atomic.Bool // it never yields
	displaced atomic.Bool // it ends for another one
	retired   atomic.Bool // it ends because its listener is retired
}

func newConn(l *Listener, nc net.Conn, peer netip.Addr) *Conn {
	c := &Conn{
		Peer: peer, Host: l.Peers.Host(peer), PID: connector(nc), Budget: l.Budget, Log: l.Log, Limits: &l.Limits,
		l: l, raw: nc, nc: nc, from: origin.Network(peer),
	}
	c.ctx, c.stop = context.WithCancel(l.appending)
	c.Heard()
	return c
}

// Net returns the connection, decrypted. What Head has was read from it.
func (c *Conn) Net() net.Conn { return c.nc }

// Head returns the bytes that were read to recognize the format.
func (c *Conn) Head() []byte { return c.head }

// Ended returns what ended the reading of Head: nil while more can be read.
func (c *Conn) Ended() error { return c.ended }

// MaxConns returns how many connections the listener may have now.
func (c *Conn) MaxConns() int {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	return c.l.MaxConns
}

// Remote returns the peer's address and port.
func (c *Conn) Remote() string { return c.raw.RemoteAddr().String() }

// TLS returns the state of TLS; ok is false where the connection has none.
func (c *Conn) TLS() (state tls.ConnectionState, ok bool) {
	tc, ok := c.nc.(*tls.Conn)
	if !ok {
		return state, false
	}
	return tc.ConnectionState(), true
}

// Context ends when the connection is to end: by Wake, or because a Shutdown was given
// up. Blocks of memory are waited for with it.
func (c *Conn) Context() context.Context { return c.ctx }

// Keep makes the connection one that never yields its place to a new one.
func (c *Conn) Keep() { c.kept.Store(true) }

// Heard notes that bytes came.
func (c *Conn) Heard() { c.heard.Store(time.Now().UnixNano()) }

// Displaced reports whether the connection ends because it was silent and another one
// takes its place.
func (c *Conn) Displaced() bool { return c.displaced.Load() }

// Draining reports whether the listener shuts down, or is retired with this connection.
func (c *Conn) Draining() bool { return c.l.isDraining() || c.retired.Load() }

// Wake makes a blocked read return, and a wait for memory to read into, so that the
// connection ends. It does not wait.
func (c *Conn) Wake() {
	c.woken.Store(true)
	c.stop()
	c.raw.SetReadDeadline(past)
}

// Woken reports whether the connection is to end.
func (c *Conn) Woken() bool { return c.woken.Load() }

// Cut makes a blocked write return, too: an answer that the peer does not read holds up
// nothing.
func (c *Conn) Cut() {
	c.Wake()
	c.raw.SetWriteDeadline(past)
}

var past = time.Unix(1, 0)

// SetReadDeadline bounds the next read; no bound for the zero time. A Wake before or
// after wins. It reports whether to go on reading.
func (c *Conn) SetReadDeadline(at time.Time) bool {
	if at.IsZero() && !c.timed {
		return !c.woken.Load()
	}
	c.raw.SetReadDeadline(at)
	c.timed = !at.IsZero()
	if c.woken.Load() {
		c.raw.SetReadDeadline(past)
		return false
	}
	return true
}

// IdleDeadline returns until when the peer may be silent from now on; zero: for ever.
func (c *Conn) IdleDeadline() (at time.Time) {
	if c.Limits.IdleTimeout > 0 {
		at = time.Now().Add(c.Limits.IdleTimeout)
	}
	return at
}

// Charge counts n bytes that were read, and returns for how long no more may be read
// so that the peer's address keeps to its rate.
func (c *Conn) Charge(n int) time.Duration {
	d := c.l.rates.Charge(c.Peer, n, time.Now())
	if d > 0 {
		c.l.metrics.slowed().Inc()
	}
	return d
}

// Sleep waits, or until the connection is to end.
func (c *Conn) Sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.ctx.Done():
	}
}

// Reject counts and logs why the collector closes the connection. The reasons are
// among those of the connection's format.
func (c *Conn) Reject(reason, text string, args ...any) {
	c.l.metrics.reject(reason)
	c.Warn(reason, text, args...)
}

// ReportSilence counts and logs that the connection ends because it was silent, if err, which
// ended its reading, means that. The reasons are "displaced" and "idle".
func (c *Conn) ReportSilence(err error) {
	switch {
	case c.Displaced():
		c.Reject("displaced", "a connection that was silent for long was closed for a new one: "+
			"raise max_conns if both are wanted", "limit", c.MaxConns())
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.Reject("idle", "a silent connection was closed: raise idle_timeout if it is wanted",
			"after", c.Limits.IdleTimeout)
	}
}

// Warn logs a warning with the peer's address, at a limited rate for each reason.
func (c *Conn) Warn(reason, text string, args ...any) {
	c.l.limited.Warn(reason, text, append(args, "peer", c.Remote())...)
}

// Unread returns how many bytes the kernel holds for the connection, encrypted ones with TLS.
func (c *Conn) Unread() int { return unread(rawConn(c.raw)) }

// CountUnread counts and logs what a stop leaves in the connection's socket.
func (c *Conn) CountUnread(losses *ingest.Losses) {
	if n := c.Unread(); n > 0 {
		losses.Add(n)
		c.Warn("unread", "a stop left bytes unread in the socket of a connection; its sender cannot know", "bytes", n)
	}
}

// HangUp closes the connection so that what was written still arrives.
func (c *Conn) HangUp() { HangUp(c.nc) }

// HangUp closes nc so that what was written still arrives: a close with bytes unread
// would reset the connection, and what was written would be lost.
func HangUp(nc net.Conn) {
	if half, ok := nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		nc.SetReadDeadline(time.Now().Add(LingerTime))
		io.CopyN(io.Discard, nc, lingerBytes)
	}
	nc.Close()
}

const (
	// LingerTime is how long the last words to a peer may take.
	LingerTime  = 500 * time.Millisecond
	lingerBytes = 8 << 20
)
