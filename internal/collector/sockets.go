package collector

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"fanin/internal/daemon"
)

// sockets opens the sockets of listeners. Where the configuration has "systemd:NAME" in the
// place of an address, systemd opened the socket before the start, and passed it with that
// name (sd_listen_fds(3), FileDescriptorName= in systemd.socket(5)).
type sockets struct {
	anyPort string // the number that the last TCP listener got

	passed []*os.File // by systemd, and not taken yet; nil elements were taken
	names  []string   // of all that were passed
}

// newSockets returns the sockets of a process to which systemd passed some.
func newSockets(passed []*os.File) (s sockets) {
	s.passed = passed
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
func (s *sockets) listen(listen string, private bool) (net.Listener, error) {
	name, ok := systemdName(listen)
	if !ok {
		return net.Listen("tcp", listen)
	}
	f, err := s.take(name, "tcp")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	ln, err := net.FileListener(f)
	if err == nil && !private {
		if err = onlyHere(name, ln.Addr()); err != nil {
			ln.Close()
		}
	}
	return ln, err
}

// listenPacket is listen for datagrams. Asked for any port, it prefers the number that TCP got.
func (s *sockets) listenPacket(listen string, private bool) (*net.UDPConn, error) {
	name, ok := systemdName(listen)
	if !ok {
		conn, err := s.bindPacket(listen)
		if err != nil {
			return nil, err
		}
		return conn.(*net.UDPConn), nil
	}
	f, err := s.take(name, "udp")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	conn, err := net.FilePacketConn(f)
	if err == nil && !private {
		if err = onlyHere(name, conn.LocalAddr()); err != nil {
			conn.Close()
		}
	}
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil // what take returns is one
}

func (s *sockets) bindPacket(listen string) (net.PacketConn, error) {
	if host, p, _ := net.SplitHostPort(listen); p == "0" && s.anyPort != "" {
		if conn, err := net.ListenPacket("udp", net.JoinHostPort(host, s.anyPort)); err == nil {
			return conn, nil
		}
	}
	return net.ListenPacket("udp", listen)
}

// onlyHere returns an error if other machines can reach an address.
func onlyHere(name string, at net.Addr) error {
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
}
