package collector

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"fanin/internal/daemon"
)

// sockets opens the sockets of listeners. Where the configuration has "systemd:NAME" in the
// place of an address, systemd opened the socket before the start, and passed it with that
// name (sd_listen_fds(3), FileDescriptorName= in systemd.socket(5)).
//
// While a reload builds its listeners, sharing is set: they get the sockets of those that they
// replace.
type sockets struct {
	anyPort string // the number that the last TCP listener got

	passed []*os.File // by systemd, and not taken yet; nil elements were taken
	names  []string   // of all that were passed

	mu      sync.Mutex
	held    map[string]*socket // by network and address, as the configuration has them
	sharing bool
	started bool // what systemd passed was taken, or closed
}

// newSockets returns the sockets of a process to which systemd passed some.
func newSockets(passed []*os.File) *sockets {
	s := &sockets{passed: passed, held: make(map[string]*socket)}
	for _, f := range passed {
		s.names = append(s.names, f.Name())
	}
	return s
}

const systemdPrefix = "systemd:"

// systemdName returns the NAME in "systemd:NAME".
func systemdName(listen string) (name string, ok bool) {
	return strings.CutPrefix(listen, systemdPrefix)
}

// goodSystemdName is what systemd accepts, and what a list separated by ':' can hold.
var goodSystemdName = regexp.MustCompile(`^[!-9;-~]{1,255}$`)

// listen returns the socket of a listener of connections over TCP. A socket of systemd's that
// is not private may be one that only this machine can reach.
func (s *sockets) listen(listen string, private bool) (*heldListener, error) {
	u, err := s.use("tcp", listen, func() (io.Closer, net.Addr, error) {
		ln, err := net.Listen("tcp", listen)
		if err != nil {
			return nil, nil, err
		}
		return ln, ln.Addr(), nil
	})
	if err != nil {
		return nil, err
	}
	ln, err := u.socket.listener()
	if err == nil {
		err = onlyHere(listen, ln.Addr(), private)
	}
	if err != nil {
		u.leave()
		return nil, err
	}
	return &heldListener{ln, u}, nil
}

// listenPacket is listen for datagrams. Asked for any port, it prefers the number that TCP got.
func (s *sockets) listenPacket(listen string, private bool) (heldPackets, error) {
	u, err := s.use("udp", listen, func() (io.Closer, net.Addr, error) {
		conn, err := s.bindPacket(listen)
		if err != nil {
			return nil, nil, err
		}
		return conn, conn.LocalAddr(), nil
	})
	if err != nil {
		return heldPackets{}, err
	}
	if err := onlyHere(listen, u.socket.addr, private); err != nil {
		u.leave()
		return heldPackets{}, err
	}
	return heldPackets{u}, nil
}

// use returns the socket of an address: systemd's, or one that bind makes; or while sharing, the
// one that is held.
func (s *sockets) use(network, listen string, bind func() (io.Closer, net.Addr, error)) (*user, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := network + " " + listen
	x := s.held[key]
	if x == nil || !s.sharing {
		made, err := s.make(network, listen, bind)
		if err != nil {
			return nil, err
		}
		if x = made; !strings.HasSuffix(listen, ":0") { // each of these gets a port of its own
			s.held[key] = x
		}
	}
	x.users++
	return &user{x, sync.OnceFunc(func() { s.leave(key, x) })}, nil
}

// make makes the socket of an address.
func (s *sockets) make(network, listen string, bind func() (io.Closer, net.Addr, error)) (*socket, error) {
	var c io.Closer
	var addr net.Addr
	name, ok := systemdName(listen)
	if ok {
		f, err := s.take(name, network)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		c, addr, err = fileSocket(f, network)
		if err != nil {
			return nil, fmt.Errorf("listen on the socket %q of systemd: %w", name, err)
		}
	} else {
		var err error
		if c, addr, err = bind(); err != nil {
			return nil, s.explain(network, listen, err)
		}
	}
	defer c.Close()
	return newSocket(c.(syscall.Conn), addr)
}

// fileSocket is a socket that systemd passed.
func fileSocket(f *os.File, network string) (io.Closer, net.Addr, error) {
	if network == "udp" || network == "unixgram" {
		conn, err := net.FilePacketConn(f)
		if err != nil {
			return nil, nil, err
		}
		return conn, conn.LocalAddr(), nil
	}
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, nil, err
	}
	return ln, ln.Addr(), nil
}

// explain adds to an error of a bind what to do if another listener of this process has the port,
// which a reload would end.
func (s *sockets) explain(network, listen string, err error) error {
	if !s.sharing || !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	p := port{network: network, listen: listen}
	host, number, perr := p.split()
	for key := range s.held {
		of, other, _ := strings.Cut(key, " ")
		q := port{network: of, listen: other}
		otherHost, n, qerr := q.split()
		if perr == nil && qerr == nil && of == network && n == number && sameHost(host, otherHost) {
			return fmt.Errorf("%w: this collector has the port at %s, which cannot change while it runs: restart it, "+
				"or remove the listener with one reload and add it with another", err, other)
		}
	}
	return err
}

// leave ends one use of a socket.
func (s *sockets) leave(key string, x *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.users--; x.users > 0 {
		return
	}
	x.close()
	if s.held[key] == x {
		delete(s.held, key)
	}
}

// setAnyPort notes the port that a TCP listener got.
func (s *sockets) setAnyPort(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, s.anyPort, _ = net.SplitHostPort(address)
}

// share sets whether listeners get sockets that others have.
func (s *sockets) share(sharing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sharing = sharing
}

func (s *sockets) bindPacket(listen string) (net.PacketConn, error) {
	if host, p, _ := net.SplitHostPort(listen); p == "0" && s.anyPort != "" {
		if conn, err := net.ListenPacket("udp", net.JoinHostPort(host, s.anyPort)); err == nil {
			return conn, nil
		}
	}
	return net.ListenPacket("udp", listen)
}

// onlyHere returns an error if other machines can reach a socket of systemd's that is not private.
func onlyHere(listen string, at net.Addr, private bool) error {
	name, ok := systemdName(listen)
	if !ok || private {
		return nil
	}
	if a, err := netip.ParseAddrPort(at.String()); err == nil && a.Addr().Unmap().IsLoopback() {
		return nil
	}
	return &daemon.Exit{Code: daemon.ExitConfig, Err: fmt.Errorf("the socket %q of systemd listens on %s, which other "+
		"machines can reach, and is not encrypted: give the listener tls, or set insecure = true (or --insecure) "+
		"if you trust the network", name, at)}
}

// take returns the one socket of a name and a kind that systemd passed.
func (s *sockets) take(name, kind string) (*os.File, error) {
	at := -1
	var others []string
	for i, f := range s.passed {
		if f == nil || s.names[i] != name {
			continue
		}
		is, err := socketKind(f)
		switch {
		case err != nil:
			return nil, s.refuse(name, fmt.Errorf("is no socket: %w", err))
		case is != kind:
			others = append(others, is)
		case at >= 0:
			return nil, s.refuse(name, errors.New("is there twice: give each socket a unit with a FileDescriptorName= "+
				"of its own, and a listener"))
		default:
			at = i
		}
	}
	switch {
	case at >= 0:
		f := s.passed[at]
		s.passed[at] = nil
		return f, nil
	case len(others) > 0:
		return nil, s.refuse(name, fmt.Errorf("is a socket for %s, and this listener needs one for %s: see "+
			"ListenStream= and ListenDatagram= in the .socket unit", strings.Join(others, " and "), kind))
	case s.started:
		return nil, s.refuse(name, errors.New("is passed at a start only: restart the collector"))
	case len(s.names) == 0:
		return nil, s.refuse(name, errors.New("was not passed, and no other socket either: enable and start the "+
			".socket unit, which starts the service with it"))
	}
	return nil, s.refuse(name, fmt.Errorf("was not passed, or another listener has it; systemd passed %q: set "+
		"FileDescriptorName=%s in the .socket unit", s.names, name))
}

func (s *sockets) refuse(name string, err error) error {
	return &daemon.Exit{Code: daemon.ExitConfig, Err: fmt.Errorf("the socket %q of systemd %w", name, err)}
}

// socketKind is what a socket is for, as package net names it.
func socketKind(f *os.File) (string, error) {
	fd := int(f.Fd())
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return "", os.NewSyscallError("getsockopt", err)
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return "", os.NewSyscallError("getsockopt", err)
	}
	name, ok := map[[2]int]string{
		{unix.AF_INET, unix.SOCK_STREAM}: "tcp", {unix.AF_INET6, unix.SOCK_STREAM}: "tcp",
		{unix.AF_INET, unix.SOCK_DGRAM}: "udp", {unix.AF_INET6, unix.SOCK_DGRAM}: "udp",
		{unix.AF_UNIX, unix.SOCK_STREAM}: "unix", {unix.AF_UNIX, unix.SOCK_DGRAM}: "unixgram",
	}[[2]int{family, kind}]
	if !ok {
		name = fmt.Sprintf("family %d and type %d", family, kind)
	}
	return name, nil
}

// close closes what no listener took: a peer that connects there would wait for ever.
func (s *sockets) close(log *slog.Logger) {
	for i, f := range s.passed {
		if f != nil {
			log.Warn("systemd passed a socket that no listener of the configuration names: it is closed",
				"name", s.names[i], "remedy", "set listen = \""+systemdPrefix+s.names[i]+"\" for a listener, or "+
					"remove it from the .socket unit")
			f.Close()
		}
	}
	s.passed = slices.Delete(s.passed, 0, len(s.passed))
	s.started = true
}
