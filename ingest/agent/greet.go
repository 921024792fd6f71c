package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"fanin/ingest"
	"fanin/internal/origin"
	"fanin/internal/wire"
)

// greet reads the hello, claims the agent id and answers with the welcome.
func (c *conn) greet() error {
	var f wire.Frame
	c.frames.expect(c.Limits.HandshakeTimeout, c.Limits.HandshakeTimeout)
	if err := c.dec.Next(&f); err != nil {
		return err
	}
	h := f.Hello
	if err := c.checkHello(f.Kind, h); err != nil {
		c.free(f.Batch.Text)
		return err
	}
	ctx, cancel := context.WithTimeout(c.appending, c.Limits.HandshakeTimeout)
	defer cancel()
	claim, err := c.p.Sessions.Claim(ctx, h, c.Remote(), c.evict)
	if err != nil {
		return &ingest.Fault{Reason: "agent_id", Text: err.Error()}
	}
	c.claim, c.origin = claim, c.address()
	if c.dec.Zstd, err = c.p.unpack(); err != nil {
		return fmt.Errorf("prepare to decompress texts: %w", err)
	}
	welcome := c.p.Welcome(h.Owner())
	welcome.About.Encodings, welcome.Chain = wire.Encodings, wire.MaxChain
	for frame := range wire.WelcomeFrames(welcome, 0) {
		if !c.answers.write(frame) {
			return errors.New("the agent does not read its welcome")
		}
	}
	c.charge(c.unpaid)
	c.Log.Debug("agent connected", "agent", h.Owner(), "peer", c.Remote(), "run", h.Run, "software", h.Software)
	return nil
}

func (c *conn) checkHello(k wire.Kind, h wire.Hello) error {
	if k != wire.KindHello {
		return &ingest.Fault{Reason: "protocol", Text: "an agent begins with a hello"}
	}
	if f := ingest.CheckHello(h, wire.Version); f != nil {
		return f
	}
	switch {
	case c.p.Welcome == nil:
		return &ingest.Fault{Reason: "protocol", Text: "this listener takes plain lines only"}
	case c.p.RequireCert:
		return c.checkCert(h)
	}
	return orNil(c.p.Relays.Check(&h, []string{h.Agent}))
}

// orNil is f as an error, which is nil if f is.
func orNil(f *ingest.Fault) error {
	if f == nil {
		return nil
	}
	return f
}

// checkCert requires that the agent's id, and the host that its lines name, are among
// its certificate's names: the subject's common name and the DNS names. The host may
// also be the agent's id.
func (c *conn) checkCert(h wire.Hello) error {
	state, _ := c.TLS()
	if len(state.VerifiedChains) == 0 {
		return &ingest.Fault{Reason: "certificate", Text: "this listener requires a certificate of the agent: " +
			"set tls = {cert, key} in the agent's configuration"}
	}
	names := certNames(state.VerifiedChains[0][0])
	if !slices.Contains(names, h.Agent) {
		return &ingest.Fault{Reason: "certificate",
			Text: fmt.Sprintf("agent id %q is not a name in the agent's certificate, which has %q", h.Agent, names)}
	}
	if h.Host != "" && h.Host != h.Agent && !slices.Contains(names, h.Host) && !c.p.TrustHost && !h.IsRelay() {
		return &ingest.Fault{Reason: "host",
			Text: fmt.Sprintf("host %q is neither the agent's id nor a name in its certificate, which has %q: "+
				"set host in the agent's configuration, or trust_host = true at the listener", h.Host, names)}
	}
	return orNil(c.p.Relays.Check(&h, names))
}

func certNames(leaf *x509.Certificate) []string {
	names := append([]string{leaf.Subject.CommonName}, leaf.DNSNames...)
	return slices.DeleteFunc(names, func(s string) bool { return s == "" })
}

// address returns what the agent's streams are counted by: nothing when a certificate
// proves whose they are.
func (c *conn) address() string {
	if state, ok := c.TLS(); ok && len(state.VerifiedChains) > 0 {
		return ""
	}
	return origin.Name(c.Peer)
}

// evict ends the connection because the agent connected again. It does not wait.
func (c *conn) evict(reason string) {
	c.evicted.Store(&reason)
	c.answers.cut(c.Cut)
}
