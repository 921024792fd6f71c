package origin

import (
	"fmt"
	"net/netip"
	"slices"
)

// Peers is which addresses may send to a listener, and which names they are shown with. The
// zero value allows all, and names none.
type Peers struct {
	Allow []netip.Prefix        // nil: every address
	Names map[netip.Addr]string // without zones, IPv4 as IPv4
	Local string                // of peers without an address, as on a Unix socket
}

// Allowed reports whether a peer may send. One without an address, as on a Unix socket, may.
func (p *Peers) Allowed(peer netip.Addr) bool {
	return p.Allow == nil || !peer.IsValid() ||
		slices.ContainsFunc(p.Allow, func(n netip.Prefix) bool { return n.Contains(peer) })
}

// Host returns the name of a peer, or else its address.
func (p *Peers) Host(peer netip.Addr) string {
	if !peer.IsValid() {
		return p.Local
	}
	peer = peer.WithZone("")
	if name, ok := p.Names[peer]; ok {
		return name
	}
	return peer.String()
}

// ParsePrefix reads a network, as in 192.0.2.0/24, or an address, which is a network of one.
func ParsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return p, fmt.Errorf("%q is no network; want one as in \"192.0.2.0/24\", or an address", text)
	case p.Addr().Is4In6():
		return p, fmt.Errorf("%q is a network of IPv4 written as IPv6; want it as in \"192.0.2.0/24\"", text)
	case p != p.Masked():
		return p, fmt.Errorf("%q names an address within a network; want %q, or the address alone", text,
			p.Masked().String())
	}
	return p, nil
}
