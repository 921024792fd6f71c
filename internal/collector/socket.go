package collector

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"fanin/ingest"
	"fanin/ingest/datagram"
	"fanin/ingest/stream"
	"fanin/internal/unixsock"
)

// socket is one that the kernel keeps open for an address, apart from the copies that listeners
// read from. While a reload puts one listener in the place of another, connections and datagrams
// wait in it. It is closed when its last user has left.
//
// It is a bare descriptor: in the poller of the runtime it would wake a thread for each datagram.
type socket struct {
	fd    int      // -1: it is closed
	addr  net.Addr // with the port that it got
	users int      // guarded by sockets.mu

	datagrams datagram.Shared
	place     unixsock.Place // of a unix socket that this process made

	mu        sync.Mutex
	listeners []*stream.Listener // that accept from it, or have connections that came through it
}

// newSocket copies the descriptor of a listener, of a connection or of a file.
func newSocket(of syscall.Conn, addr net.Addr) (*socket, error) {
	x := &socket{fd: -1, addr: addr}
	raw, err := of.SyscallConn()
	if err != nil {
		return nil, err
	}
	control := raw.Control(func(fd uintptr) { x.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(err, control); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return x, nil
}

// own notes the file of a unix socket, where it was made now, and gives it a mode, but 0.
func (x *socket) own(made unixsock.Place, mode fs.FileMode) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if made != (unixsock.Place{}) {
		x.place = made
	}
	if mode != 0 {
		x.place.SetMode(mode)
	}
}

// atPath reports whether the file of a unix socket is still where it was made.
func (x *socket) atPath() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.place.Ours()
}

// close removes the file of a unix socket, and closes the descriptor.
func (x *socket) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.place.Remove()
	unix.Close(x.fd)
	x.fd = -1
}

// file returns a copy of the descriptor, as a file.
func (x *socket) file() (*os.File, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.fd < 0 {
		return nil, ingest.ErrServerClosed
	}
	fd, err := unix.FcntlInt(uintptr(x.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), x.addr.String()), nil
}

// listener returns a listener for connections, on a copy of the descriptor.
func (x *socket) listener() (net.Listener, error) {
	f, err := x.file()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileListener(f)
}

// conn returns a connection for datagrams, on a copy of the descriptor.
func (x *socket) conn() (datagram.Conn, error) {
	f, err := x.file()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	conn, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	return conn.(datagram.Conn), nil // of UDP, or of a unix socket
}

// reader is a copy of a socket, to be served. It is made when a listener is opened, and not when it begins: then
// there may be no descriptor left, and a reload could not be refused any more.
type reader struct {
	serve func() error // until the listener is shut down or retired; it closes the copy
	close func()       // instead of serve
}

// packets returns a copy from which a listener reads datagrams.
func (x *socket) packets(l *datagram.Listener) (reader, error) {
	conn, err := x.conn()
	if err != nil {
		return reader{}, err
	}
	return reader{func() error { return l.ServeAfter(conn, &x.datagrams) }, func() { conn.Close() }}, nil
}

// accepting returns a copy from which a listener accepts connections.
func (x *socket) accepting(l *stream.Listener) (reader, error) {
	ln, err := x.listener()
	if err != nil {
		return reader{}, err
	}
	return reader{func() error { return l.Serve(ln) }, func() { ln.Close() }}, nil
}

// accepts notes a listener of connections, and has it count those of the others.
func (x *socket) accepts(l *stream.Listener) {
	l.Others = func() int { return x.connections(l) }
	x.mu.Lock()
	defer x.mu.Unlock()
	x.listeners = append(x.listeners, l)
}

// left forgets a listener that has no more connections.
func (x *socket) left(l *stream.Listener) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.listeners = slices.DeleteFunc(x.listeners, func(y *stream.Listener) bool { return y == l })
}

// connections counts those of all listeners but one.
func (x *socket) connections(but *stream.Listener) (n int) {
	x.mu.Lock()
	others := slices.Clone(x.listeners)
	x.mu.Unlock()
	for _, l := range others {
		if l != but {
			n += l.Connections()
		}
	}
	return n
}

// heldListener is a listener on a copy of a socket.
type heldListener struct {
	net.Listener
	*user
}

// SyscallConn returns the descriptor of the listener.
func (l *heldListener) SyscallConn() (syscall.RawConn, error) {
	return l.Listener.(syscall.Conn).SyscallConn()
}

// Close closes the copy, and leaves the socket.
func (l *heldListener) Close() error {
	l.leave()
	return l.Listener.Close()
}

// heldPackets are the datagrams of a socket.
type heldPackets struct{ *user }

// LocalAddr returns the address of the socket.
func (p heldPackets) LocalAddr() net.Addr { return p.socket.addr }

// Close leaves the socket.
func (p heldPackets) Close() { p.leave() }

// user is one use of a socket. leave ends it, and may be called again.
type user struct {
	socket *socket
	leave  func()
}
