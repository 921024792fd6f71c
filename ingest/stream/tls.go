package stream

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"time"

	"fanin/internal/wire"
)

// handshakeApart is handshake on a goroutine of its own. It needs a deep stack, which then ends with
// it: that of the connection's goroutine would stay so large, for as long as an agent is connected.
func (c *Conn) handshakeApart() bool {
	done := make(chan bool)
	go func() { done <- c.handshake() }() // ends with the handshake, which has a deadline
	return <-done
}

// handshake makes nc a TLS connection.
func (c *Conn) handshake() bool {
	waiting := c.l.metrics.waitingHandshakes()
	waiting.Inc()
	leave := c.l.conns.handshakes.enter(c.ctx, c.Limits.HandshakeTimeout/2)
	waiting.Dec()
	defer leave()
	if !c.SetReadDeadline(time.Now().Add(c.Limits.HandshakeTimeout)) {
		return false
	}
	c.raw.SetWriteDeadline(time.Now().Add(c.Limits.HandshakeTimeout))
	tc := tls.Server(c.raw, c.l.TLS.Config)
	err := tc.HandshakeContext(c.l.appending)
	if err == nil {
		c.raw.SetWriteDeadline(time.Time{})
		c.nc = tc
		c.nameByCertificate()
		return true
	}
	var notTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &notTLS):
		c.Reject("not_tls", "this port speaks TLS, but the peer sent something else: "+
			"use tls://, or remove tls from the listener", "error", err)
		c.answerPlain(notTLS.RecordHeader[:])
	case c.Draining(), errors.Is(err, io.EOF): // a port check
	default:
		if c.l.TLS.Explain != nil {
			err = c.l.TLS.Explain(err)
		}
		c.Reject("handshake", "a TLS handshake failed", "listener", c.raw.LocalAddr().String(), "error", err)
		HangUp(c.raw) // else the alert with the reason may be lost on the way
	}
	return false
}

// nameByCertificate makes the name in a certificate that was verified the host of the lines:
// the first DNS name, or else the common name.
func (c *Conn) nameByCertificate() {
	state, _ := c.TLS()
	if len(state.VerifiedChains) == 0 {
		return
	}
	leaf := state.VerifiedChains[0][0]
	name := leaf.Subject.CommonName
	if len(leaf.DNSNames) > 0 {
		name = leaf.DNSNames[0]
	}
	c.Host = cmp.Or(wire.CleanHost(name), c.Host)
}

// agreed serves a connection whose peer and the listener agreed on a protocol in the handshake. It
// reports whether it did.
func (c *Conn) agreed() bool {
	state, _ := c.TLS()
	if state.NegotiatedProtocol == "" || c.l.TLS.ByALPN == nil {
		return false
	}
	serve := c.l.TLS.ByALPN[state.NegotiatedProtocol]
	if serve == nil {
		return false
	}
	if err := serve(c.l.appending, c); err != nil {
		c.Log.Debug("a connection ended", "protocol", state.NegotiatedProtocol, "peer", c.Remote(), "error", err)
	}
	return true
}

// allowed reports whether the peer's certificate is one that may connect. A peer whose
// format can express it learns why not.
func (c *Conn) allowed() bool {
	state, ok := c.TLS()
	if !ok || c.l.TLS.Allowed == nil {
		return true
	}
	err := c.l.TLS.Allowed(state)
	if err == nil {
		return true
	}
	c.Reject("certificate", "a peer was refused because of its certificate", "error", err)
	if c.SetReadDeadline(time.Now().Add(c.Limits.HandshakeTimeout)) {
		c.explain(err.Error())
	}
	HangUp(c.nc)
	return false
}

// answerPlain reports to a peer that speaks plain TCP to this port why it is refused.
// head is what the peer sent first.
func (c *Conn) answerPlain(head []byte) {
	for _, f := range c.l.Formats {
		if f.Refuse == nil || f.Matches == nil {
			continue
		}
		if yes, more := f.Matches(head); yes || more {
			f.Refuse(c.raw, "this port speaks TLS: use tls://")
			HangUp(c.raw)
			return
		}
	}
}

// refuseTLS is the protocol of peers that speak TLS to a port that does not.
func refuseTLS(_ context.Context, c *Conn) error {
	c.Reject("tls", "this port speaks plain TCP, but the peer began a TLS handshake: "+
		"use tcp://, or give the listener tls = {...}")
	answerTLS(c.raw)
	return nil
}
