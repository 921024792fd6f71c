package origin

import (
	"net/netip"
	"testing"
)

func TestAllowed(t *testing.T) {
	var networks []netip.Prefix
	for _, text := range []string{"192.0.2.0/24", "198.51.100.7", "2001:db8::/32", "::ffff:203.0.113.1"} {
		p, err := ParsePrefix(text)
		if err != nil {
			t.Fatal(err)
		}
		networks = append(networks, p)
	}
	p := Peers{Allow: networks}
	for address, want := range map[string]bool{
		"192.0.2.255": true, "192.0.3.0": false, "198.51.100.7": true, "198.51.100.8": false,
		"2001:db8:ffff::1": true, "2001:db9::1": false, "203.0.113.1": true,
	} {
		if got := p.Allowed(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
		if none := (&Peers{Allow: []netip.Prefix{}}); none.Allowed(netip.MustParseAddr(address)) {
			t.Errorf("%s is allowed where none is", address)
		}
	}
	if !p.Allowed(netip.Addr{}) || !new(Peers).Allowed(netip.MustParseAddr("192.0.2.1")) {
		t.Error("what has no address, or is not bounded, is refused")
	}
}

func TestParsePrefix(t *testing.T) {
	for _, text := range []string{"", "192.0.2.0/33", "router-1", "192.0.2.7/24", "fe80::1%eth0", "::ffff:192.0.2.0/120"} {
		if p, err := ParsePrefix(text); err == nil {
			t.Errorf("%q is %v", text, p)
		}
	}
}

func TestHost(t *testing.T) {
	p := Peers{Names: map[netip.Addr]string{netip.MustParseAddr("192.0.2.1"): "router-1", netip.MustParseAddr("fe80::1"): "link"}}
	for address, want := range map[string]string{"192.0.2.1": "router-1", "192.0.2.2": "192.0.2.2", "fe80::1%eth0": "link", "fe80::2%eth0": "fe80::2"} {
		if got := p.Host(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s is shown as %s, want %s", address, got, want)
		}
	}
}
