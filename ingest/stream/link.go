package stream

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// link is the connection that was accepted, under TLS if there is any. What polls it may change,
// see Conn.Gather.
type link struct {
	conn atomic.Pointer[net.Conn]

	mu     sync.Mutex // of what closes it, or changes conn
	closed bool
}

func newLink(nc net.Conn) *link {
	l := new(link)
	l.conn.Store(&nc)
	return l
}

func (l *link) now() net.Conn { return *l.conn.Load() }

// change replaces the connection by next, which is the same to the peer.
func (l *link) change(next net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		next.Close()
		return
	}
	before := l.now()
	l.conn.Store(&next)
	before.Close()
}

// Close implements net.Conn.
func (l *link) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return l.now().Close()
}

// CloseWrite ends what is written, if the connection has two directions.
func (l *link) CloseWrite() error {
	if half, ok := l.now().(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return syscall.EOPNOTSUPP
}

// NetConn returns the connection as it is now: as tls.Conn does, of what is below it.
func (l *link) NetConn() net.Conn { return l.now() }

// SyscallConn returns the descriptor, if there is one.
func (l *link) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := l.now().(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, syscall.EOPNOTSUPP
}

// Read implements net.Conn.
func (l *link) Read(b []byte) (int, error) { return l.now().Read(b) }

// Write implements net.Conn.
func (l *link) Write(b []byte) (int, error) { return l.now().Write(b) }

// LocalAddr implements net.Conn.
func (l *link) LocalAddr() net.Addr { return l.now().LocalAddr() }

// RemoteAddr implements net.Conn.
func (l *link) RemoteAddr() net.Addr { return l.now().RemoteAddr() }

// SetDeadline implements net.Conn.
func (l *link) SetDeadline(t time.Time) error { return l.now().SetDeadline(t) }

// SetReadDeadline implements net.Conn.
func (l *link) SetReadDeadline(t time.Time) error { return l.now().SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (l *link) SetWriteDeadline(t time.Time) error { return l.now().SetWriteDeadline(t) }
