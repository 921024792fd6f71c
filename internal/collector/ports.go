package collector

import (
	"cmp"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"

	"fanin/internal/config"
	"fanin/internal/config/tables"
)

// port is a listener of the configuration.
type port struct {
	at, network, listen string // at is the path of the table
	tls                 *tables.ServerTLS
	key                 string       // where the port is in the table; "": listen
	buffer              *config.Size // udp: read_buffer
}

// path is the path of the key.
func (p port) path() string { return p.at + "." + p.name() }

func (p port) name() string { return cmp.Or(p.key, "listen") }

// isAny reports whether the port is any that is free.
func (p port) isAny() bool { return strings.HasSuffix(p.listen, ":0") }

func (s *settings) ports() (all []port) {
	c := &s.Collector
	add := func(at string, t opener) {
		for _, p := range t.needs().ports {
			p.at = at
			all = append(all, p)
		}
	}
	for _, x := range c.Inputs {
		add(x.at, x.table)
	}
	if c.HTTP != nil {
		add("collector.http", c.HTTP)
	}
	if c.Work != nil {
		add("collector.work", c.Work)
	}
	return all
}

// checkPorts refuses a port that two listeners of the configuration would share.
func (s *settings) checkPorts() {
	all := s.ports()
	for i, p := range all {
		if name, ok := systemdName(p.listen); ok {
			s.checkSystemd(p, name, all[:i])
			continue
		}
		host, number, err := p.split()
		if err != nil {
			if _, _, serr := net.SplitHostPort(p.listen); serr == nil { // else it was reported
				s.file.Problem(p.path(), "%s is %q: %v; want a port from 0 to 65535", p.name(), p.listen, err)
			}
			continue
		}
		for _, q := range all[:i] {
			other, n, err := q.split()
			if err == nil && number != 0 && n == number && q.network == p.network && sameHost(host, other) {
				s.file.Problem(p.path(), "%s is %q, where %s listens already (%q): set another port for "+
					"one of them", p.name(), p.listen, q.at, q.listen)
				break
			}
		}
	}
}

// checkSystemd refuses a socket of systemd's that two listeners would take.
func (s *settings) checkSystemd(p port, name string, before []port) {
	for _, q := range before {
		if other, ok := systemdName(q.listen); ok && other == name && q.network == p.network {
			s.file.Problem(p.path(), "%s is %q, which %s has already: give each socket a unit with a "+
				"FileDescriptorName= of its own", p.name(), p.listen, q.at)
			return
		}
	}
}

func (p port) split() (host string, number int, err error) {
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

// names are the names that the certificate of a listener must have, as far as its address
// shows.
func (p port) names() []string {
	host, _, err := net.SplitHostPort(p.listen)
	if err != nil || host == "localhost" || hostAddr(host).IsValid() {
		return nil
	}
	return []string{host}
}

// tryPorts listens on all ports at the same time, as the start does.
func (s *settings) tryPorts() (problems []error) {
	var held []io.Closer
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	all := s.ports()
	slices.SortStableFunc(all, func(a, b port) int { return btoi(a.isAny()) - btoi(b.isAny()) })
	for _, p := range all {
		if _, ok := systemdName(p.listen); ok {
			continue // the start gets it
		}
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
