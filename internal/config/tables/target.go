package tables

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"fanin/internal/config"
	"fanin/internal/natsconn"
)

// Target is where lines go: a scheme, and addresses of one log.
type Target struct {
	Scheme string // "tcp", "tls", "udp", "nats"
	Addrs  []string
}

// String is the addresses as one text.
func (t Target) String() string {
	if t.Scheme == "nats" {
		return strings.Join(t.Addrs, ",")
	}
	return t.Scheme + "://" + strings.Join(t.Addrs, ",")
}

// ReadTarget reads the key to of a table: addresses of one kind, since they lead to one log. It
// reports the mistakes.
func ReadTarget(at config.Table, to []string) (t Target) {
	for _, text := range to {
		scheme, addr, err := ParseTo(text)
		if err != nil {
			at.Problem("to", "%v", err)
			continue
		}
		if t.Scheme != "" && t.Scheme != scheme {
			at.Problem("to", "%q does not fit %s://: all addresses must be of one kind, and lead to one log", text,
				t.Scheme)
		}
		t.Scheme = scheme
		t.Addrs = append(t.Addrs, addr)
	}
	return t
}

// CheckTLS reports a tls table that has no effect.
func (t Target) CheckTLS(at config.Table, tls *ClientTLS) {
	if tls != nil && t.Scheme != "" && t.Scheme != "tls" && t.Scheme != "nats" {
		at.Problem("tls", "tls is set, but to has %s://; write tls://", t.Scheme)
	}
	tls.Check(at)
}

// ParseTo reads an address of a collector.
func ParseTo(to string) (scheme, addr string, err error) {
	u, err := url.Parse(to)
	if err != nil || u.Scheme == "" || u.Host == "" {
		u = &url.URL{Scheme: "tcp", Host: to}
	}
	switch u.Scheme {
	case "tcp", "tls", "udp":
	case "nats":
		return "nats", "nats://" + u.Host, natsconn.CheckURL(to)
	default:
		return "", "", fmt.Errorf("%q: want tcp://, tls://, udp:// or nats:// before host:port", to)
	}
	if _, port, err := net.SplitHostPort(u.Host); err != nil || port == "" {
		return "", "", fmt.Errorf("%q: want host:port, as in \"tcp://collector:6789\"", to)
	}
	return u.Scheme, u.Host, nil
}
