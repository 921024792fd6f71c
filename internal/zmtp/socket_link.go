package zmtp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"fanin/internal/origin"
)

// Link is one connection of a Socket, and its peer. Its Conn may be used after the
// handshake, which is to say in a Handler.
type Link struct {
	*Conn
	Addr     netip.Addr // of the peer; the zero Addr on a Unix socket
	Remote   string     // the peer's address and port, or the endpoint that was connected to
	Accepted bool       // the peer connected to us
	Memory   Memory     // what Socket.Lend returned

	s  *Socket
	nc *restConn
	up func() // after the handshake; nil: nothing
}

func newLink(s *Socket, nc net.Conn, accepted bool) *Link {
	l := &Link{s: s, Accepted: accepted, nc: &restConn{Conn: nc}, Remote: nc.RemoteAddr().String()}
	l.Addr = origin.Parse(l.Remote)
	if !l.Addr.IsValid() && accepted {
		l.Remote = nc.LocalAddr().String() // a client of a Unix socket has no name
	}
	return l
}

// Host returns the peer's address as the host of its lines: "127.0.0.1" on a Unix socket.
func (l *Link) Host() string {
	if l.Addr.IsValid() {
		return l.Addr.String()
	}
	return "127.0.0.1"
}

// Stopped reports whether the connection ends because of Shutdown.
func (l *Link) Stopped() bool { return l.nc.ending.Load() || l.s.Sends && l.s.isDraining() }

// OnRead has f called with the number of bytes of each read. It is set before the peer is
// served, as in Socket.Lend.
func (l *Link) OnRead(f func(n int)) { l.nc.onRead = f }

// Unread returns how many bytes the kernel holds that came from the peer and were not
// read: what a Shutdown leaves behind.
func (l *Link) Unread() int { return unread(l.nc.Conn) }

// serve makes the handshake, and has the peer served. ready reports that the handshake was
// completed; err is why the connection ended.
func (l *Link) serve() (ready bool, err error) {
	s := l.s
	ctx, cancel := context.WithCancel(s.accepting)
	defer s.leave(l)
	defer cancel()
	defer l.nc.Close()
	o := s.Options
	if s.Lend != nil {
		l.Memory = s.Lend(l)
		o.Memory = l.Memory
	}
	shaking, shaken := s.shaking()
	conn, err := Handshake(shaking, l.nc, &o)
	shaken()
	if err != nil {
		l.reject(err)
		return false, err
	}
	if !s.setConn(l, conn) {
		return true, ErrClosed
	}
	s.events.ready()
	if l.up != nil {
		l.up()
	}
	if err = s.Handle(ctx, l); err == nil {
		err = io.EOF
	}
	conn.Close()
	return true, err
}

// shaking returns the context of a handshake. With ReadRest, one that is under way at Shutdown
// has a moment more: a peer that has our part of it already sends what is to be read.
func (s *Socket) shaking() (context.Context, context.CancelFunc) {
	if !s.ReadRest {
		return context.WithCancel(s.accepting)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(s.accepting, func() { time.AfterFunc(cutTime, cancel) })
	return ctx, func() {
		stop()
		cancel()
	}
}

// reject counts and logs that there was no handshake.
func (l *Link) reject(err error) {
	if l.s.isDraining() {
		return
	}
	reason := TimedOut
	var broken *Error
	if errors.As(err, &broken) {
		reason = broken.Reason
	}
	l.s.events.reject(string(reason))
	if reason == Ended && l.Accepted {
		return // a port check, or a peer that gave up
	}
	if l.Accepted { // else the connector reports it
		l.s.limited.Warn("handshake "+string(reason), "a ZeroMQ peer was refused", "socket", l.s.Options.Type,
			"peer", l.Remote, "reason", reason, "error", err)
	}
}
