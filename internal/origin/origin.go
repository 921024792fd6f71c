// Package origin defines what counts as one address wherever something is bounded by
// address.
package origin

import "net/netip"

// Parse returns the address of host:port without port and zone, and IPv4 as IPv4. It is the
// zero Addr if there is none, as within this process or on a Unix socket.
func Parse(hostPort string) netip.Addr {
	ap, err := netip.ParseAddrPort(hostPort)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// Network returns what counts as one address: for IPv6 the /64 network, which one customer
// has and within which it may use any address. For no address it is the zero Prefix.
func Network(ip netip.Addr) netip.Prefix {
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}

// Name returns a Network as text: 192.0.2.1, or 2001:db8::/64; "" for no address.
func Name(ip netip.Addr) string {
	switch {
	case !ip.IsValid():
		return ""
	case ip.Is6():
		return Network(ip).String()
	}
	return ip.String()
}

// Local reports whether an address is 127.0.0.1 or ::1. Bounds per address do not apply to
// it, because proxies, sidecars and many workers connect from there.
func Local(ip netip.Addr) bool {
	return ip == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || ip == netip.IPv6Loopback()
}
