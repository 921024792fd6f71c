package certs

import (
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// Peer is a certificate that a peer showed and that was verified.
type Peer struct {
	Name      string // the common name
	Serial    *big.Int
	Authority string // the key id of the authority that made it, as bytes; "" if it has none
}

// Gate refuses certificates in the handshakes of all listeners that share it, although an
// authority signed them and they are valid: they were revoked. It knows the open connections of
// peers with a certificate, and closes those that are refused later. The zero Gate refuses none.
type Gate struct {
	changes atomic.Uint64 // calls of Enforce: files may have changed with them

	mu    sync.Mutex
	judge func(Peer) error
	open  map[net.Conn]Peer
	sweep int // when there are so many, those that are closed are forgotten
}

// minSweep is how many connections may be known without a look for those that are closed.
const minSweep = 64

// Enforce sets what decides from now on; it returns why a peer is refused, or nil. Connections that
// are open and that it refuses are closed at once. It returns how many those were. Listeners that
// share the gate read their files again at the next handshake, without the usual pause.
func (g *Gate) Enforce(judge func(Peer) error) int {
	g.changes.Add(1)
	g.mu.Lock()
	g.judge = judge
	var refused []net.Conn
	for nc, p := range g.open {
		if judge(p) != nil {
			delete(g.open, nc)
			if !isClosed(nc) {
				refused = append(refused, nc)
			}
		}
	}
	g.mu.Unlock()
	for _, nc := range refused {
		nc.Close() // the raw connection, below TLS: this does not block
	}
	return len(refused)
}

// changed is how often what decides has changed; a nil gate's never does.
func (g *Gate) changed() uint64 {
	if g == nil {
		return 0
	}
	return g.changes.Load()
}

// admit is called in each handshake, after the peer's certificate was verified.
func (g *Gate) admit(nc net.Conn, state *tls.ConnectionState) error {
	if len(state.VerifiedChains) == 0 {
		return nil
	}
	p := peerOf(state.VerifiedChains[0][0])
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.judge != nil {
		if err := g.judge(p); err != nil {
			return err
		}
	}
	if g.open == nil {
		g.open = make(map[net.Conn]Peer)
	}
	if len(g.open) >= max(g.sweep, minSweep) {
		for other := range g.open {
			if isClosed(other) {
				delete(g.open, other)
			}
		}
		g.sweep = 2 * len(g.open)
	}
	g.open[nc] = p
	return nil
}

func peerOf(c *x509.Certificate) Peer {
	return Peer{Name: c.Subject.CommonName, Serial: c.SerialNumber, Authority: string(c.AuthorityKeyId)}
}

// isClosed reports whether this side has closed a connection. One that cannot say is taken for
// open.
func isClosed(nc net.Conn) bool {
	for {
		inner, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		nc = inner.NetConn()
	}
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	return err != nil || raw.Control(func(uintptr) {}) != nil
}
