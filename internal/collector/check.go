package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"fanin/internal/certs"
	"fanin/internal/config"
	"fanin/internal/daemon"
	"fanin/internal/disk"
	"fanin/sink/distribute"
)

// port is a listener of the configuration.
type port struct {
	at, network, listen string
	tls                 *tlsTable
}

func (s *settings) ports() (all []port) {
	c := &s.Collector
	for i, t := range c.TCP {
		all = append(all, port{fmt.Sprintf("collector.tcp[%d]", i), "tcp", t.Listen, t.TLS})
	}
	for i, u := range c.UDP {
		all = append(all, port{fmt.Sprintf("collector.udp[%d]", i), "udp", u.Listen, nil})
	}
	if c.HTTP != nil {
		all = append(all, port{"collector.http", "tcp", c.HTTP.Listen, c.HTTP.TLS})
	}
	if c.Work != nil {
		all = append(all, port{"collector.work", "tcp", c.Work.Listen, c.Work.TLS})
	}
	return all
}

// checkPorts refuses a port that two listeners of the configuration would share.
func (s *settings) checkPorts() {
	all := s.ports()
	for i, p := range all {
		host, number, err := p.split()
		if err != nil {
			if _, _, serr := net.SplitHostPort(p.listen); serr == nil { // else it was said
				s.file.Problem(p.at+".listen", "listen is %q: %v; want a port from 0 to 65535", p.listen, err)
			}
			continue
		}
		for _, q := range all[:i] {
			other, n, err := q.split()
			if err == nil && number != 0 && n == number && q.network == p.network && sameHost(host, other) {
				s.file.Problem(p.at+".listen", "listen is %q, where %s listens already (%q): give one of them another port", p.listen, q.at, q.listen)
				break
			}
		}
	}
}

func (p *port) split() (host string, number int, err error) {
	host, name, err := net.SplitHostPort(p.listen)
	if err == nil {
		number, err = net.LookupPort(p.network, name)
	}
	return host, number, err
}

// sameHost reports whether two listeners of one port would meet: an unspecified
// address is every address, of both families.
func sameHost(a, b string) bool {
	x, y := hostAddr(a), hostAddr(b)
	return a == b || x.IsUnspecified() || y.IsUnspecified() || x.IsValid() && x == y
}

func hostAddr(host string) netip.Addr {
	switch host {
	case "":
		return netip.IPv4Unspecified()
	case "localhost":
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	a, _ := netip.ParseAddr(host) // a name has none
	return a.Unmap()
}

// checkMachine refuses what this machine cannot give.
func (s *settings) checkMachine() error {
	have := config.Size(daemon.Memory())
	if have == 0 {
		return nil
	}
	var problems []error
	want := func(key string, n config.Size) {
		if n > have {
			problems = append(problems, fmt.Errorf("%s is %s, and this machine (or the control group) has %s of memory", key, n, have))
		}
	}
	want("collector.max_in_flight", s.Collector.MaxInFlight)
	for i, u := range s.Collector.UDP {
		want(fmt.Sprintf("collector.udp[%d].queue", i), orZero(u.Queue))
	}
	for i, n := range s.Collector.NATS {
		want(fmt.Sprintf("collector.nats[%d].pending", i), orZero(n.Pending))
	}
	if err := errors.Join(problems...); err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	return nil
}

// checkEnvironment tries what the settings name, so that what it accepts starts:
// memory, paths, certificates, ports. It changes nothing.
func (s *settings) checkEnvironment(ctx context.Context) error {
	problems := []error{s.checkMachine(), cmp.Or(s.sink().Check(ctx), s.checkState())}
	for _, p := range s.ports() {
		if p.tls != nil {
			problems = append(problems, prefix(p.at+".tls", p.tls.files(nil).CheckServer(time.Now(), p.names()...)))
		}
	}
	for i := range s.Collector.NATS {
		t := &s.Collector.NATS[i]
		at := fmt.Sprintf("collector.nats[%d]", i)
		login, err := t.tlsLogin(nil)
		if err == nil {
			err = login.Check()
		}
		if err == nil && t.TLS != nil {
			err = t.TLS.files(nil).CheckClient(time.Now())
		}
		problems = append(problems, prefix(at, err))
	}
	problems = append(problems, s.tryPorts()...)
	if err := errors.Join(problems...); err != nil {
		return &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	return nil
}

func prefix(at string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", at, err)
}

// names are what the certificate of a listener must bear as far as its address tells.
func (p *port) names() []string {
	host, _, _ := net.SplitHostPort(p.listen)
	if host == "localhost" || hostAddr(host).IsValid() {
		return nil
	}
	return []string{host}
}

// checkState refuses what keeps the rest of the state directory from being used.
func (s *settings) checkState() error {
	socket := filepath.Join(s.state(), controlName)
	if err := fitsSocket(socket); err != nil {
		return err
	}
	if fi, err := os.Lstat(socket); err == nil && fi.IsDir() {
		return &disk.KindError{Path: socket, Is: "a directory", Want: "free for the control socket"}
	}
	return distribute.CheckState(s.state())
}

// maxSocket is how long the path of a socket may be.
const maxSocket = 107

func fitsSocket(path string) error {
	if len(path) > maxSocket {
		return fmt.Errorf("the control socket %s cannot be opened: the path has %d bytes and sockets allow %d; give a shorter collector.state", path, len(path), maxSocket)
	}
	return nil
}

// tryPorts listens on all ports at the same time, as the start does.
func (s *settings) tryPorts() (problems []error) {
	var held []io.Closer
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	for _, p := range s.ports() {
		var c io.Closer
		var err error
		if p.network == "udp" {
			c, err = net.ListenPacket(p.network, p.listen)
		} else {
			c, err = net.Listen(p.network, p.listen)
		}
		if err != nil {
			problems = append(problems, prefix(p.at, err))
			continue
		}
		held = append(held, c)
	}
	return problems
}

func (t *clientTLS) files(log *slog.Logger) certs.Files {
	return certs.Files{Cert: t.Cert, Key: t.Key, CA: t.CA, ServerName: t.ServerName, Log: log}
}

func (t *tlsTable) files(log *slog.Logger) certs.Files {
	return certs.Files{Cert: t.Cert, Key: t.Key, CA: t.ClientCA, Log: log}
}
