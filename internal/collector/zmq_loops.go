package collector

import (
	"net"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"

	"fanin/internal/zmtp"
)

// checkLoops refuses an output to a socket that this collector itself receives from, or
// answers at: in this table, or in those before it.
func (t *zmqTable) checkLoops(c *checks) {
	tables := []*zmqTable{t}
	for _, o := range c.others {
		if other, ok := o.table.(*zmqTable); ok {
			tables = append(tables, other)
		}
	}
	for _, one := range tables {
		for _, other := range tables {
			if one != t && other != t {
				continue
			}
			if out, in, ok := one.loop(other); ok {
				c.At(c.Path+".output", "the output at %q and the input at %q meet: the collector would receive "+
					"the lines again that it sends there, without end", out, in)
				return
			}
		}
	}
}

// loop finds endpoints at which lines go out that come in with another table.
func (t *zmqTable) loop(input *zmqTable) (out, in zmtp.Endpoint, found bool) {
	_, inputs := input.sockets()
	for _, o := range t.outs() {
		if o.table != "output" {
			continue
		}
		for _, x := range inputs {
			if bound, connected, ok := meeting(x.bound(), o.endpoints.connected()); ok {
				return connected, bound, true
			}
			if bound, connected, ok := meeting(o.endpoints.bound(), x.connected()); ok {
				return bound, connected, true
			}
		}
	}
	return out, in, false
}

// meeting finds an endpoint that is bound and one that connects to it.
func meeting(bound, connected []zmtp.Endpoint) (b, c zmtp.Endpoint, found bool) {
	for _, b := range bound {
		for _, c := range connected {
			if meet(b, c) {
				return b, c, true
			}
		}
	}
	return b, c, false
}

// meet reports whether who connects to one endpoint reaches the other, which this machine
// binds. Names other than this machine's are not looked up.
func meet(bound, connected zmtp.Endpoint) bool {
	if bound.Network != connected.Network {
		return false
	}
	if bound.Network == "unix" {
		return path.Clean(bound.Address) == path.Clean(connected.Address)
	}
	at, port, _ := net.SplitHostPort(bound.Address)
	to, other, _ := net.SplitHostPort(connected.Address)
	if port != other {
		return false
	}
	if strings.EqualFold(at, to) {
		return true
	}
	target := addrs(to)
	if at == "*" || hostAddr(at).IsUnspecified() {
		return slices.ContainsFunc(target, func(a netip.Addr) bool {
			return a.IsLoopback() || slices.Contains(own(), a)
		})
	}
	return slices.ContainsFunc(addrs(at), func(a netip.Addr) bool { return slices.Contains(target, a) })
}

// addrs are the addresses of a host. Who connects to the unspecified one reaches this machine.
func addrs(host string) []netip.Addr {
	loopback := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	name, err := os.Hostname()
	switch a := hostAddr(host).WithZone(""); {
	case strings.EqualFold(host, "localhost"), a.IsUnspecified():
		return loopback
	case a.IsValid():
		return []netip.Addr{a}
	case err == nil && strings.EqualFold(host, name):
		return append(loopback, own()...)
	}
	return nil
}

// own are the addresses of this machine's interfaces.
func own() (all []netip.Addr) {
	list, _ := net.InterfaceAddrs() // without them, names and loopback addresses are compared
	for _, x := range list {
		if p, err := netip.ParsePrefix(x.String()); err == nil {
			all = append(all, p.Addr().Unmap().WithZone(""))
		}
	}
	return all
}
