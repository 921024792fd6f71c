package ingest

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"fanin/internal/origin"
	"fanin/internal/wire"
)

// conn is one connection. Its first bytes tell who speaks: an agent, plain
// lines, or somebody who meant another port.
type conn struct {
	t                  *TCP
	raw                net.Conn // as it was accepted
	nc                 net.Conn // raw, or TLS over it
	peer               netip.Addr
	from               netip.Prefix // what counts as peer's address
	host               string       // peer, as the host of plain lines
	in                 *intake
	woken              atomic.Bool
	isAgent, displaced atomic.Bool
	heard              atomic.Int64    // when bytes came last, or the connection, UnixNano
	ctx                context.Context // ends when it is woken, and when a Shutdown is given up
	stop               context.CancelFunc
	plain
}

func newConn(t *TCP, nc net.Conn, peer netip.Addr) *conn {
	c := &conn{t: t, raw: nc, nc: nc, peer: peer, from: origin.Network(peer), host: peer.String()}
	c.ctx, c.stop = context.WithCancel(t.ctx)
	c.heard.Store(time.Now().UnixNano())
	return c
}

func (c *conn) remote() string { return c.raw.RemoteAddr().String() }

func (c *conn) serve() {
	defer c.t.gone(c)
	defer c.stop()
	defer c.raw.Close()
	if c.t.TLS != nil && (!c.handshake() || !c.admit()) {
		return
	}
	c.in = newIntake(c.nc, c.t.Budget, c.t.BlockSize)
	switch who, err := c.sniff(); who {
	case agent:
		head := append([]byte(nil), c.in.bytes()...)
		c.in.release(nil)
		c.in = nil
		c.isAgent.Store(true)
		serveAgent(c, head)
	case tlsHello:
		c.in.release(nil)
		c.reject("tls", "this port speaks plain TCP, but the peer began a TLS handshake: use tcp://, or give the listener tls = {...}")
		answerTLS(c.raw)
	case plainText:
		c.servePlain(err)
	case nobody:
		c.in.release(nil)
		c.reject("handshake", "a peer began an agent's greeting and did not finish it in time")
	}
}

// reject says why the connection is closed, and counts it.
func (c *conn) reject(reason, text string, args ...any) {
	c.t.Metrics.rejectConn(reason)
	c.t.limited.Warn(reason, text, append(args, "peer", c.remote())...)
}

// wake makes a blocked read return, and a wait for memory to read into, so that
// the connection sees that it is to end.
func (c *conn) wake() {
	c.woken.Store(true)
	c.stop()
	c.raw.SetReadDeadline(past)
}

var past = time.Unix(1, 0)

// setReadDeadline holds unless the connection is to end: wake may come before
// or after, and wins both times. It reports whether to go on reading.
func (c *conn) setReadDeadline(at time.Time) bool {
	c.raw.SetReadDeadline(at)
	c.timed = !at.IsZero()
	if c.woken.Load() {
		c.raw.SetReadDeadline(past)
		return false
	}
	return true
}

// slow waits for as long as the rate of the peer's address wants after n bytes.
func (c *conn) slow(n int) {
	if d := c.t.rates.charge(c.peer, n, time.Now()); d > 0 {
		c.t.Metrics.slowed.Inc()
		c.sleep(d)
	}
}

func (c *conn) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.ctx.Done():
	}
}

type speaker int

const (
	unknown speaker = iota
	agent
	plainText
	tlsHello
	nobody
)

// recognise says who begins so; unknown: more bytes must tell.
func recognise(head []byte) speaker {
	if len(head) == 0 {
		return unknown
	}
	switch is, more := wire.IsHello(head); {
	case is:
		return agent
	case more:
		return unknown
	}
	// A TLS record: handshake, version 3.0 to 3.4. No text begins so.
	for i, ok := range []bool{head[0] == 0x16, len(head) < 2 || head[1] == 3, len(head) < 3 || head[2] <= 4} {
		switch {
		case i < len(head) && !ok:
			return plainText
		case i >= len(head):
			return unknown
		}
	}
	return tlsHello
}

// sniff reads until it is clear who speaks. Silence is allowed, but a greeting
// that has begun must be finished. err is what ended the reading.
func (c *conn) sniff() (who speaker, err error) {
	begun := false
	c.setIdleDeadline()
	for {
		n, err := c.in.first()
		if err != nil {
			if begun && errors.Is(err, os.ErrDeadlineExceeded) && !c.t.isDraining() {
				return nobody, err
			}
			return plainText, err
		}
		head := c.in.bytes()
		if who = recognise(head); who != unknown {
			return who, nil
		}
		if !begun && n > 0 {
			begun = true
			c.setReadDeadline(time.Now().Add(c.t.HandshakeTimeout))
		}
	}
}

// handshake makes nc a TLS connection.
func (c *conn) handshake() bool {
	if !c.setReadDeadline(time.Now().Add(c.t.HandshakeTimeout)) {
		return false
	}
	c.raw.SetWriteDeadline(time.Now().Add(c.t.HandshakeTimeout))
	tc := tls.Server(c.raw, c.t.TLS)
	err := tc.HandshakeContext(c.t.ctx)
	if err == nil {
		c.raw.SetWriteDeadline(time.Time{})
		c.nc = tc
		return true
	}
	var notTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &notTLS):
		c.reject("not_tls", "this port speaks TLS, but the peer sent something else: use tls://, or remove tls from the listener", "error", err)
		c.answerPlain(notTLS)
	case c.t.isDraining(), errors.Is(err, io.EOF): // a port check
	default:
		if c.t.ExplainTLS != nil {
			err = c.t.ExplainTLS(err)
		}
		c.reject("handshake", "a TLS handshake failed", "listener", c.raw.LocalAddr().String(), "error", err)
		hangUp(c.raw) // else the alert that says why may be lost on the way
	}
	return false
}

// admit reports whether the certificate is one that may connect. An agent, which can
// be answered, is told why not.
func (c *conn) admit() bool {
	tc, ok := c.nc.(*tls.Conn)
	if !ok || c.t.Allowed == nil {
		return true
	}
	err := c.t.Allowed(tc.ConnectionState())
	if err == nil {
		return true
	}
	c.reject("certificate", "a peer was refused because of its certificate", "error", err)
	head := make([]byte, len(wire.Magic))
	if c.setReadDeadline(time.Now().Add(c.t.HandshakeTimeout)) {
		if n, _ := io.ReadFull(c.nc, head); string(head[:n]) == wire.Magic {
			c.nc.SetWriteDeadline(time.Now().Add(lingerTime))
			c.nc.Write(wire.AppendFault(nil, err.Error(), FaultPause))
		}
	}
	hangUp(c.nc)
	return false
}

// answerPlain tells an agent that speaks plain TCP to this TLS port why it is
// closed.
func (c *conn) answerPlain(e tls.RecordHeaderError) {
	if string(e.RecordHeader[:]) == wire.Magic[:len(e.RecordHeader)] {
		c.raw.Write(wire.AppendFault(nil, "this port speaks TLS: use tls://", 30))
		hangUp(c.raw)
	}
}

// answerTLS tells a peer that began a TLS handshake with a port that speaks plain TCP. It is
// no TLS, so that the peer says at once what is the matter, and needs not wait or guess.
func answerTLS(raw net.Conn) {
	raw.SetWriteDeadline(time.Now().Add(lingerTime))
	io.WriteString(raw, "fanin: this port speaks plain TCP, not TLS: use tcp://\n")
	hangUp(raw)
}

// hangUp closes nc so that what was written still arrives: a close with bytes
// unread would reset the connection and take it back.
func hangUp(nc net.Conn) {
	if half, ok := nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		nc.SetReadDeadline(time.Now().Add(lingerTime))
		io.CopyN(io.Discard, nc, lingerBytes)
	}
	nc.Close()
}

const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 8 << 20
)
