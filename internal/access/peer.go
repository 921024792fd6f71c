package access

import (
	"context"
	"net/netip"
	"strings"
)

// Peer is the other side of a connection, as far as the connection shows it.
type Peer struct {
	Address   netip.Addr // the zero Addr: within this machine, as on a Unix socket
	Encrypted bool       // with TLS
	Names     []string   // in its certificate, which was verified
}

// mayShow reports whether a token may come over this connection: it cannot have been read on the
// way.
func (p *Peer) mayShow() bool { return p.Encrypted || !p.Address.IsValid() || p.Address.IsLoopback() }

// Caller is the origin of a request, and what it may do.
type Caller struct {
	Peer
	Kind  string // what proves it: "certificate", "token", "address", or the way: "uid", "NATS"
	Name  string // of that kind: a certificate's, a token's
	Roles Role

	token   *Hash    // nil: it has none
	session *session // nil: it has none
}

// InSession reports whether the caller has the cookie of a session.
func (c *Caller) InSession() bool { return c.session != nil }

// String names the caller for people and for the audit: "token ops", "uid 0".
func (c *Caller) String() string { return strings.TrimSpace(c.Kind + " " + c.Name) }

// HasToken reports whether the caller showed a token, or has the session of one.
func (c *Caller) HasToken() bool { return c.token != nil }

type callerKey struct{}

// With returns a context of what a caller asks for.
func With(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// From returns the caller of a context; the zero Caller if none is known.
func From(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}
