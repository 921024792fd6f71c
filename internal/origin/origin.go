// Package origin says what counts as one address wherever something is bounded by address.
package origin

import "net/netip"

// Parse is the address alone in host:port: no port, no zone, and IPv4 as IPv4. It is the
// zero Addr when there is none, as within this process or on a Unix socket.
func Parse(hostPort string) netip.Addr {
	ap, err := netip.ParseAddrPort(hostPort)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// Network is what counts as one address: of IPv6, the /64 that one customer has and within
// which it may take any address. No address at all is the zero Prefix.
func Network(ip netip.Addr) netip.Prefix {
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}

// Name is a Network in text: 192.0.2.1, or 2001:db8::/64; "" of no address.
func Name(ip netip.Addr) string {
	switch {
	case !ip.IsValid():
		return ""
	case ip.Is6():
		return Network(ip).String()
	}
	return ip.String()
}

// Local reports whether an address is 127.0.0.1 or ::1: proxies, sidecars and many workers
// connect from there, so what one address may have does not bound it.
func Local(ip netip.Addr) bool {
	return ip == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || ip == netip.IPv6Loopback()
}
