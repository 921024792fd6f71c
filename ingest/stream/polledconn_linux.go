package stream

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// polledConn is a TCP connection that a poller polls. Its deadlines are exact when they have passed
// already, and otherwise up to pollSweep late.
type polledConn struct {
	polling       *polling
	fd            int
	number        int32 // of all that were adopted
	local, remote net.Addr

	in, out side
	writing sync.Mutex // a Write is not divided by another
}

// side is one direction of a connection. A call to the system, which does not block, holds its lock:
// so no descriptor is closed meanwhile.
type side struct {
	mu       sync.Mutex
	woken    sync.Cond
	ready    bool        // the next try may succeed
	hungUp   bool        // so may each that follows: the peer sends, or takes, no more
	starved  atomic.Bool // out: a try found no room. Before, events do not matter, and most are such
	closed   bool
	expired  bool         // the deadline has passed
	deadline atomic.Int64 // by polling.now; 0: none
}

func newPolledConn(g *polling, fd int, of net.Conn) *polledConn {
	c := &polledConn{polling: g, fd: fd, local: of.LocalAddr(), remote: of.RemoteAddr()}
	for _, s := range []*side{&c.in, &c.out} {
		s.woken.L, s.ready = &s.mu, true
	}
	return c
}

// wake makes a Read or a Write that waits try again.
func (c *polledConn) wake(events uint32) {
	hungUp := events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
	if hungUp || events&unix.EPOLLIN != 0 {
		c.in.wake(hungUp)
	}
	hungUp = events&(unix.EPOLLHUP|unix.EPOLLERR) != 0
	if hungUp || events&unix.EPOLLOUT != 0 && c.out.starved.Load() {
		c.out.wake(hungUp)
	}
}

func (s *side) wake(hungUp bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready, s.hungUp = true, s.hungUp || hungUp
	s.woken.Signal()
}

// awaitLocked waits until the next try may succeed. An event during the try makes it ready again.
func (s *side) awaitLocked() error {
	for {
		switch {
		case s.closed:
			return net.ErrClosed
		case s.expired:
			return os.ErrDeadlineExceeded
		case s.ready || s.hungUp:
			s.ready = false
			return nil
		}
		s.woken.Wait()
	}
}

// Read implements net.Conn.
func (c *polledConn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	for {
		if err := c.in.awaitLocked(); err != nil {
			return 0, c.fault("read", err)
		}
		n, err := readNow(c.fd, b)
		switch {
		case err == unix.EAGAIN:
			c.in.hungUp = false
		case err == unix.EINTR:
			c.in.ready = true
		case err != nil:
			c.in.ready = true
			return 0, c.fault("read", os.NewSyscallError("read", err))
		case n == 0:
			c.in.ready = true
			return 0, io.EOF
		default:
			c.in.ready = n == len(b) // less is all there was: epoll(7)
			c.polling.bytes.Add(int64(n))
			return n, nil
		}
	}
}

// Write implements net.Conn.
func (c *polledConn) Write(b []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	for {
		if err := c.out.awaitLocked(); err != nil {
			return n, c.fault("write", err)
		}
		more, err := writeNow(c.fd, b[n:])
		n += max(more, 0)
		c.out.ready = true
		switch {
		case err == unix.EAGAIN:
			// The first time it is tried again: what woke nothing until now may have made room.
			c.out.ready, c.out.hungUp = !c.out.starved.Swap(true), false
		case err != nil && err != unix.EINTR:
			return n, c.fault("write", os.NewSyscallError("write", err))
		case n == len(b):
			c.out.starved.Store(false)
			return n, nil
		}
	}
}

// Close implements net.Conn.
func (c *polledConn) Close() error {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.in.closed {
		return c.fault("close", net.ErrClosed)
	}
	c.in.closed, c.out.closed = true, true
	c.in.woken.Broadcast()
	c.out.woken.Broadcast()
	c.polling.of.leave(c) // before the number of the descriptor means another one
	return unix.Close(c.fd)
}

// CloseWrite ends what is written.
func (c *polledConn) CloseWrite() error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.closed {
		return c.fault("close", net.ErrClosed)
	}
	return os.NewSyscallError("shutdown", unix.Shutdown(c.fd, unix.SHUT_WR))
}

// SyscallConn returns the descriptor, as long as it is open: it tells whether it is.
func (c *polledConn) SyscallConn() (syscall.RawConn, error) { return polledFD{c}, nil }

// polledFD is the descriptor of a polledConn.
type polledFD struct{ c *polledConn }

// Control implements syscall.RawConn.
func (d polledFD) Control(f func(fd uintptr)) error {
	d.c.in.mu.Lock()
	defer d.c.in.mu.Unlock()
	if d.c.in.closed {
		return d.c.fault("control", net.ErrClosed)
	}
	f(uintptr(d.c.fd))
	return nil
}

// Read implements syscall.RawConn: f is called until it reports that it is done.
func (d polledFD) Read(f func(fd uintptr) bool) error { return d.try(&d.c.in, "read", f) }

// Write implements syscall.RawConn, likewise.
func (d polledFD) Write(f func(fd uintptr) bool) error {
	d.c.out.starved.Store(true)
	return d.try(&d.c.out, "write", f)
}

func (d polledFD) try(s *side, op string, f func(fd uintptr) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.awaitLocked(); err != nil {
			return d.c.fault(op, err)
		}
		if f(uintptr(d.c.fd)) {
			s.ready = true
			return nil
		}
		s.hungUp = false
	}
}

func (c *polledConn) fault(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// LocalAddr implements net.Conn.
func (c *polledConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *polledConn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *polledConn) SetDeadline(t time.Time) error {
	c.in.expireAt(c.polling, t)
	c.out.expireAt(c.polling, t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *polledConn) SetReadDeadline(t time.Time) error { c.in.expireAt(c.polling, t); return nil }

// SetWriteDeadline implements net.Conn.
func (c *polledConn) SetWriteDeadline(t time.Time) error { c.out.expireAt(c.polling, t); return nil }

// expireAt sets the deadline; the zero time is none.
func (s *side) expireAt(g *polling, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline.Store(0)
	if !t.IsZero() {
		s.deadline.Store(max(int64(t.Sub(g.began)), 1))
	}
	s.expireLocked(g)
}

// expire notes that the deadline has passed, if it has.
func (s *side) expire(g *polling) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked(g)
}

func (s *side) expireLocked(g *polling) {
	if s.expired = s.isLate(g.now()); s.expired {
		s.woken.Broadcast()
	}
}

func (s *side) isLate(now int64) bool {
	at := s.deadline.Load()
	return at != 0 && at <= now
}

// readNow and writeNow are calls that never block, so the runtime need not know of them. If it does, it wakes
// a thread of its own that watches long calls: for a few lines that costs more than the call.

func readNow(fd int, b []byte) (int, error) {
	return callNow(unix.SYS_READ, fd, b)
}

func writeNow(fd int, b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	return callNow(unix.SYS_WRITE, fd, b)
}

func callNow(call uintptr, fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
