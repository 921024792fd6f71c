package collector

import (
	"maps"
	"net"
	"net/netip"
	"slices"

	"fanin/internal/origin"
	"fanin/internal/wire"
)

// allowed is which addresses may connect to a listener.
type allowed struct {
	Allow []string `toml:"allow"`
}

func (a *allowed) check(c *checks) {
	if a.Allow != nil && len(a.Allow) == 0 {
		c.Problem("allow", "allow is empty, so no address could send: remove it, or name networks, "+
			"as in allow = [\"192.0.2.0/24\"]")
	}
	for _, text := range a.Allow {
		if _, err := origin.ParsePrefix(text); err != nil {
			c.Problem("allow", "allow: %v", err)
		}
	}
}

// peers is the table as listeners use it. It was checked.
func (a *allowed) peers() (p origin.Peers) {
	for _, text := range a.Allow {
		if network, err := origin.ParsePrefix(text); err == nil {
			p.Allow = append(p.Allow, network)
		}
	}
	return p
}

// filter returns ln without the connections of addresses that may not connect; refused is told
// about each.
func (a *allowed) filter(ln net.Listener, refused func(peer string)) net.Listener {
	if a.Allow == nil {
		return ln
	}
	return &filtered{ln, a.peers(), refused}
}

// filtered is a listener to which only some addresses may connect.
type filtered struct {
	net.Listener
	peers   origin.Peers
	refused func(peer string)
}

// Accept waits for a connection of an address that may connect.
func (l *filtered) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil || l.peers.Allowed(origin.Parse(nc.RemoteAddr().String())) {
			return nc, err
		}
		nc.Close()
		l.refused(nc.RemoteAddr().String())
	}
}

// peerTable is which addresses may send to an input, and what they are called in the log.
type peerTable struct {
	allowed
	Names map[string]string `toml:"names"`
}

func (a *peerTable) check(c *checks) {
	a.allowed.check(c)
	seen := make(map[netip.Addr]bool)
	for _, text := range slices.Sorted(maps.Keys(a.Names)) {
		address, err := netip.ParseAddr(text)
		address, name := address.Unmap(), a.Names[text]
		key := "names." + text
		switch {
		case err != nil || address.Zone() != "":
			c.Problem(key, "names: %q is no address; want names = {\"192.0.2.1\" = \"router-1\"}", text)
		case seen[address]:
			c.Problem(key, "names: %q is there twice, written in two ways", text)
		case name == "" || name != wire.CleanHost(name):
			c.Problem(key, "names: %q cannot be a host; want 1 to %d of A-Z a-z 0-9 . _ / : -", name, wire.MaxName)
		}
		seen[address] = true
	}
}

// peers is the table as listeners use it. It was checked.
func (a *peerTable) peers() origin.Peers {
	p := a.allowed.peers()
	for text, name := range a.Names {
		if address, err := netip.ParseAddr(text); err == nil {
			if p.Names == nil {
				p.Names = make(map[netip.Addr]string)
			}
			p.Names[address.Unmap()] = name
		}
	}
	return p
}
