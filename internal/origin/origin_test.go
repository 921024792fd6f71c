package origin

import (
	"net/netip"
	"testing"
)

func TestOrigin(t *testing.T) {
	for _, x := range []struct {
		peer, network, name string
		local               bool
	}{
		{"192.0.2.1:514", "192.0.2.1/32", "192.0.2.1", false},
		{"[::ffff:192.0.2.1]:514", "192.0.2.1/32", "192.0.2.1", false},
		{"[2001:db8::1:2:3:4]:514", "2001:db8::/64", "2001:db8::/64", false},
		{"[fe80::1%eth0]:514", "fe80::/64", "fe80::/64", false},
		{"127.0.0.1:514", "127.0.0.1/32", "127.0.0.1", true},
		{"[::ffff:127.0.0.1]:514", "127.0.0.1/32", "127.0.0.1", true},
		{"127.0.0.2:514", "127.0.0.2/32", "127.0.0.2", false},
		{"[::1]:514", "::/64", "::/64", true},
		{"[::2]:514", "::/64", "::/64", false},
		{"@", "invalid Prefix", "", false},
		{"", "invalid Prefix", "", false},
	} {
		ip := Parse(x.peer)
		if network, name, local := Network(ip).String(), Name(ip), Local(ip); network != x.network || name != x.name || local != x.local {
			t.Errorf("%q is of %s, named %q, local %v; want %+v", x.peer, network, name, local, x)
		}
	}
}

// What is bounded by address is bounded, of IPv6, by the network that one customer has.
func TestNetwork(t *testing.T) {
	for _, x := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true},
		{"2001:db8:0:1::1", "2001:db8:0:2::1", false},
		{"fe80::1%eth0", "fe80::2%eth1", true},
		{"::1", "127.0.0.1", false},
	} {
		if a, b := Network(netip.MustParseAddr(x.a)), Network(netip.MustParseAddr(x.b)); (a == b) != x.same {
			t.Errorf("%s is of %v and %s of %v", x.a, a, x.b, b)
		}
	}
	if Network(netip.Addr{}) == Network(netip.IPv6Unspecified()) {
		t.Error("no address at all is not apart")
	}
}
