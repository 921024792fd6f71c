package ingest

import (
	"io"
	"net"
	"time"

	"fanin/internal/origin"
	"fanin/internal/wire"
)

const (
	yieldAfter = 10 * time.Second      // a plain connection that is silent for less does not yield
	yieldEvery = 10 * time.Millisecond // between two looks at all connections
	maxBeyond  = 64                    // connections of a kind that may be there beyond max_conns, see Beyond
	refuseTime = 2 * time.Second       // for a refused peer to say that it is an agent
)

// accept serves nc on a goroutine of its own, or refuses it when there are too
// many connections.
func (t *TCP) accept(nc net.Conn) {
	peer := origin.Parse(nc.RemoteAddr().String())
	c := newConn(t, nc, peer)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.isDraining():
		c.stop()
		nc.Close()
		return
	case t.MaxConnsPerIP > 0 && !origin.Local(peer) && t.perIP[c.from] >= t.MaxConnsPerIP:
		t.turnAway(c, "max_conns_per_ip", "too many connections from one address: raise max_conns_per_ip if they are wanted", t.MaxConnsPerIP)
		return
	case t.MaxConns > 0 && len(t.conns)-t.displaced >= t.MaxConns && !t.yield():
		t.turnAway(c, "max_conns", "too many connections: raise max_conns if they are wanted", t.MaxConns)
		return
	}
	t.conns[c] = struct{}{}
	t.perIP[c.from]++
	t.Metrics.openConns.Inc()
	t.serving.Add(1)
	go c.serve() // owned by t.serving; ends with the connection, at the latest when Shutdown closes it
}

// Beyond is how many connections a listener may have beyond maxConns, until they are
// gone: refused ones that learn why, and displaced ones whose lines are being written.
func Beyond(maxConns int) int { return refusedAtOnce(maxConns) + displacedAtOnce(maxConns) }

func refusedAtOnce(maxConns int) int { return max(displacedAtOnce(maxConns), 4) }

func displacedAtOnce(maxConns int) int {
	if maxConns <= 0 {
		return maxBeyond
	}
	return min(max(maxConns/16, 1), maxBeyond)
}

// yield closes a plain connection for a new one: of those that have been silent
// for a while, one of the address with most connections, and of these the one
// that has been silent longest. What it sent is kept: it is gone when that is written,
// and only a few may not be gone yet. Agents never yield. t.mu is held.
func (t *TCP) yield() bool {
	now := time.Now()
	if t.displaced >= displacedAtOnce(t.MaxConns) || now.Sub(t.yielded) < yieldEvery {
		return false // a flood of connections shall not cost a look at all others each
	}
	t.yielded = now
	var found *conn
	for c := range t.conns {
		if c.isAgent.Load() || c.displaced.Load() || now.UnixNano()-c.heard.Load() < int64(yieldAfter) {
			continue
		}
		if found == nil || t.perIP[c.from] > t.perIP[found.from] || t.perIP[c.from] == t.perIP[found.from] && c.heard.Load() < found.heard.Load() {
			found = c
		}
	}
	if found == nil {
		return false
	}
	found.displaced.Store(true)
	t.displaced++
	found.wake()
	return true
}

// turnAway refuses a connection, and tells the peer why if it is an agent. t.mu
// is held.
func (t *TCP) turnAway(c *conn, reason, text string, limit int) {
	t.Metrics.rejectConn(reason)
	t.limited.Warn(reason, text, "peer", c.remote(), "limit", limit)
	if len(t.refusals) >= refusedAtOnce(t.MaxConns) {
		c.stop()
		c.raw.Close()
		return
	}
	t.refusals[c] = struct{}{}
	t.serving.Add(1)
	go c.refuse(text) // owned by t.serving; ends in refuseTime, or when Shutdown closes the connection
}

func (c *conn) refuse(text string) {
	defer func() {
		c.raw.Close()
		c.stop()
		c.t.mu.Lock()
		delete(c.t.refusals, c)
		c.t.mu.Unlock()
		c.t.serving.Done()
	}()
	end := time.AfterFunc(refuseTime, func() { c.raw.Close() })
	defer end.Stop()
	if c.t.TLS != nil && !c.handshake() {
		return
	}
	head := make([]byte, len(wire.Magic))
	if _, err := io.ReadFull(c.nc, head); err != nil || string(head) != wire.Magic {
		return
	}
	if _, err := c.nc.Write(wire.AppendFault(nil, text, FaultPause)); err == nil {
		hangUp(c.nc)
	}
}
