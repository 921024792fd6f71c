package stream

import (
	"net"
	"net/netip"
	"time"

	"fanin/internal/origin"
)

const (
	yieldAfter = 10 * time.Second      // a connection that is silent for less does not yield
	yieldEvery = 10 * time.Millisecond // between two searches of all connections
	maxBeyond  = 64                    // connections of a kind beyond MaxConns, see Beyond
	refuseTime = 2 * time.Second       // for a refused peer to show its format
)

// connTable holds the connections of a listener.
type connTable struct {
	all       map[*Conn]struct{}
	perIP     map[netip.Prefix]int
	displaced int       // of all: they end when their lines are written
	searched  time.Time // when a connection was searched for that can yield
	refused   map[*Conn]struct{}
	handshakes
}

func newConnTable() connTable {
	return connTable{
		all: make(map[*Conn]struct{}), perIP: make(map[netip.Prefix]int), refused: make(map[*Conn]struct{}),
		handshakes: newHandshakes(),
	}
}

func (t *connTable) add(c *Conn) {
	t.all[c] = struct{}{}
	t.perIP[c.from]++
}

func (t *connTable) remove(c *Conn) {
	delete(t.all, c)
	if c.Displaced() {
		t.displaced--
	}
	if t.perIP[c.from]--; t.perIP[c.from] == 0 {
		delete(t.perIP, c.from)
	}
}

// yielding returns the connection that yields its place to a new one: of those that
// have been silent for a while, one of the address with most connections, and of
// these the one that has been silent longest. It is nil if there is none, or if too
// many have yielded whose lines are not written yet.
func (t *connTable) yielding(maxConns int) (found *Conn) {
	now := time.Now()
	if t.displaced >= displacedAtOnce(maxConns) || now.Sub(t.searched) < yieldEvery {
		return nil // in a flood, not each new connection may cost a search of all others
	}
	t.searched = now
	for c := range t.all {
		if c.kept.Load() || c.Displaced() || now.UnixNano()-c.heard.Load() < int64(yieldAfter) {
			continue
		}
		if found == nil || t.perIP[c.from] > t.perIP[found.from] ||
			t.perIP[c.from] == t.perIP[found.from] && c.heard.Load() < found.heard.Load() {
			found = c
		}
	}
	return found
}

// accept serves nc on a goroutine of its own, or refuses it when there are too many
// connections.
func (l *Listener) accept(nc net.Conn) {
	c := newConn(l, nc, origin.Parse(nc.RemoteAddr().String()))
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.isDraining():
		c.stop()
		nc.Close()
		return
	case !l.Peers.Allowed(c.Peer):
		c.stop()
		nc.Close()
		c.Reject("not_allowed", "an address that is not in allow was refused: add it if its lines are wanted")
		return
	case l.MaxConnsPerIP > 0 && !origin.Local(c.Peer) && l.conns.perIP[c.from] >= l.MaxConnsPerIP:
		l.refuseLocked(c, "max_conns_per_ip",
			"too many connections from one address: raise max_conns_per_ip if they are wanted", l.MaxConnsPerIP)
		return
	case l.MaxConns > 0 && len(l.conns.all)-l.conns.displaced+l.others() >= l.MaxConns && !l.yieldLocked():
		l.refuseLocked(c, "max_conns", "too many connections: raise max_conns if they are wanted", l.MaxConns)
		return
	}
	l.conns.add(c)
	l.metrics.open().Inc()
	l.connections.Add(1)
	go c.serve() // owned by l.connections; ends with the connection, at the latest when Shutdown closes it
}

func (l *Listener) others() int {
	if l.Others == nil {
		return 0
	}
	return l.Others()
}

// Beyond returns how many connections a listener may have beyond maxConns until they
// are gone: refused ones that learn why, and displaced ones whose lines are being
// written.
func Beyond(maxConns int) int { return refusedAtOnce(maxConns) + displacedAtOnce(maxConns) }

func refusedAtOnce(maxConns int) int { return max(displacedAtOnce(maxConns), 4) }

func displacedAtOnce(maxConns int) int {
	if maxConns <= 0 {
		return maxBeyond
	}
	return min(max(maxConns/16, 1), maxBeyond)
}

// yieldLocked makes a silent connection end for a new one. What it sent is kept: it is
// gone when that is written.
func (l *Listener) yieldLocked() bool {
	c := l.conns.yielding(l.MaxConns)
	if c == nil {
		return false
	}
	c.displaced.Store(true)
	l.conns.displaced++
	c.Wake()
	return true
}

// refuseLocked refuses a connection, and reports why to a peer whose format can
// express that.
func (l *Listener) refuseLocked(c *Conn, reason, why string, limit int) {
	l.metrics.reject(reason)
	l.limited.Warn(reason, why, "peer", c.Remote(), "limit", limit)
	if len(l.conns.refused) >= refusedAtOnce(l.MaxConns) {
		c.stop()
		c.raw.Close()
		return
	}
	l.conns.refused[c] = struct{}{}
	l.connections.Add(1)
	go c.refuse(why) // owned by l.connections; ends in refuseTime, or when Shutdown closes the connection
}

// refuse reports to the peer why it is refused.
func (c *Conn) refuse(why string) {
	defer func() {
		c.raw.Close()
		c.stop()
		c.l.mu.Lock()
		delete(c.l.conns.refused, c)
		c.l.mu.Unlock()
		c.l.connections.Done()
	}()
	end := time.AfterFunc(refuseTime, func() { c.raw.Close() })
	defer end.Stop()
	if c.l.TLS != nil && !c.handshake() {
		return
	}
	c.explain(why)
}

// gone removes a connection that has ended.
func (l *Listener) gone(c *Conn) {
	l.mu.Lock()
	l.conns.remove(c)
	l.mu.Unlock()
	l.metrics.open().Dec()
	l.connections.Done()
}
