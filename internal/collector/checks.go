package collector

import (
	"net"

	"fanin/internal/config"
	"fanin/internal/wire"
)

// listen refuses an address where lines would leave this machine unencrypted, unless
// the configuration or a flag accepts that.
func (c *checks) listen(address string, insecure, encrypted bool) {
	if encrypted {
		insecure = true
	}
	c.listenPlain(address, insecure, "give it tls = {cert = \"...\", key = \"...\", client_ca = \"...\"}")
}

// listenPlain is listen where encryption is not possible, or there is none.
func (c *checks) listenPlain(address string, insecure bool, remedy string) {
	if name, ok := systemdName(address); ok { // its address is known at the start
		if !goodSystemdName.MatchString(name) {
			c.Problem("listen", "listen is %q; want the FileDescriptorName= of a .socket unit, as in "+
				"\"systemd:syslog\"", address)
		}
		return
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		c.Problem("listen", "listen is %q; want host:port, as in %q", address, defaultListen)
		return
	}
	ip := net.ParseIP(host)
	if insecure || c.insecure || host == "localhost" || ip != nil && ip.IsLoopback() {
		return
	}
	c.Problem("listen", "listen is %q, which other machines can reach, and is not encrypted: %s, "+
		"or set insecure = true (or --insecure) if you trust the network", address, remedy)
}

// source refuses a source that no line of the log can have: the sink would refuse all lines.
func (c *checks) source(name string) {
	switch {
	case name == wire.SourceNotice:
		c.Problem("source", "source is %q, which marks the collector's own lines: set another one", name)
	case name != wire.CleanSource(name):
		c.Problem("source", "source is %q; want 1 to %d of A-Z a-z 0-9 . _ / - [ ]", name, wire.MaxName)
	}
}

func (c *checks) maxLine(n *config.Size) { c.SizeBetween("max_line", n, 256, 1<<20) }

// maxRate checks how many bytes a second an address may send.
func (c *checks) maxRate(n *config.Size) { c.SizeOrOff("max_rate", n, 64<<10) }

// changedKey is a key of a table, and whether it has another value than the default.
type changedKey struct {
	name    string
	changed bool
}

// changed is a key with a default.
func changed[T comparable](name string, value *T, byDefault T) changedKey {
	return changedKey{name, config.Or(value, byDefault) != byDefault}
}

// unused refuses keys that have no effect with the value of another one. That they have their
// default is no mistake: it is as if they were not there.
func (c *checks) unused(with string, keys ...changedKey) {
	for _, key := range keys {
		if key.changed {
			c.Problem(key.name, "%s has no effect with %s: remove one of the two", key.name, with)
		}
	}
}
