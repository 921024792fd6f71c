package collector

import (
	"context"
	"errors"
	"net/url"
	"syscall"

	"fanin/internal/access"
	"fanin/sink"
)

// audited answers as f does, and writes a notice into the log: what was asked for, by whom, and
// what became of it.
func (c *server) audited(name string, f answer) answer {
	return func(ctx context.Context, q url.Values) (any, error) {
		v, err := f(ctx, q)
		if !errors.Is(err, errNoWork) { // else there is nothing that could change
			c.audit(ctx, name, q, err)
		}
		return v, err
	}
}

// maxAudited is how many bytes of a request its notice shows.
const maxAudited = 500

func (c *server) audit(ctx context.Context, name string, q url.Values, err error) {
	if len(q) > 0 {
		name += "?" + q.Encode()
	}
	name = name[:min(len(name), maxAudited)]
	by := author(access.From(ctx))
	if err != nil {
		c.sink.Notice("AUDIT request=%s by=%q error=%q", name, by, err)
		return
	}
	c.sink.Notice("AUDIT request=%s by=%q", name, by)
}

// author names a caller, and where it is.
func author(who access.Caller) string {
	by := who.String()
	if who.Address.IsValid() && who.Name != who.Address.String() {
		by += " at " + who.Address.String()
	}
	return by
}

// loginFailed writes a notice of tokens that are not known.
func (c *server) loginFailed(p access.Peer, failures int) {
	c.sink.Notice("AUDIT request=login by=%q failures=%d error=%q", author(c.access.Anonymous(p)), failures,
		"unknown token")
}

// rotate rotates; the notice of it is the last line of the file that is closed.
func (c *server) rotate(ctx context.Context) (sink.Rotation, error) {
	return c.sink.RotateNoted(ctx, func() { c.audit(ctx, "rotate", nil, nil) })
}

// bySignal is the context of what a signal asks for.
func bySignal(ctx context.Context, sig syscall.Signal) context.Context {
	return access.With(ctx, access.Caller{Kind: "signal", Name: sig.String()})
}
