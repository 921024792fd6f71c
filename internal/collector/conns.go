package collector

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"fanin/internal/origin"
)

// conns is a listener with a limited number of connections. When all are in use, a new one
// replaces the one that has been idle longest.
type conns struct {
	net.Listener
	max, perIP int // 0, perIP < 0: no bound
	rejected   func(reason, text string, args ...any)

	mu     sync.Mutex
	open   int
	ofIP   map[netip.Prefix]int // see package origin
	states map[net.Conn]connState
}

type connState struct {
	http.ConnState
	since time.Time
}

// Accept waits for a connection that the limits allow.
func (l *conns) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.admit(nc); c != nil {
			return c, nil
		}
		nc.Close()
	}
}

// admit counts a connection; nil: the limits do not allow it.
func (l *conns) admit(nc net.Conn) net.Conn {
	addr := origin.Parse(nc.RemoteAddr().String())
	ip := origin.Network(addr)
	l.mu.Lock()
	full := l.max > 0 && l.open >= l.max
	crowded := l.perIP > 0 && !origin.Local(addr) && l.ofIP[ip] >= l.perIP
	l.mu.Unlock()
	peer := nc.RemoteAddr().String()
	if crowded {
		l.rejected("max_conns_per_ip", "too many HTTP connections from one address: raise max_conns_per_ip in "+
			"[collector.http] if they are wanted", "peer", peer, "limit", l.perIP)
		return nil
	}
	if full && !l.yield() {
		l.rejected("max_conns", "too many HTTP connections: raise max_conns in [collector.http] if they are wanted",
			"peer", peer, "limit", l.max)
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open++
	if l.ofIP == nil {
		l.ofIP = make(map[netip.Prefix]int)
	}
	l.ofIP[ip]++
	return &countedConn{Conn: nc, closed: sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.open--
		if l.ofIP[ip]--; l.ofIP[ip] == 0 {
			delete(l.ofIP, ip)
		}
	})}
}

// yield closes the connection that has been idle longest.
func (l *conns) yield() bool {
	l.mu.Lock()
	var oldest net.Conn
	for nc, st := range l.states {
		if st.ConnState == http.StateIdle && (oldest == nil || st.since.Before(l.states[oldest].since)) {
			oldest = nc
		}
	}
	delete(l.states, oldest)
	l.mu.Unlock()
	if oldest == nil {
		return false
	}
	if t, ok := oldest.(*tls.Conn); ok {
		oldest = t.NetConn() // without a closing alert, which might block
	}
	oldest.Close()
	l.rejected("yielded", "all HTTP connections are in use: an idle one was closed for a new one", "limit", l.max)
	return true
}

// state is called at each change of a connection's state.
func (l *conns) state(nc net.Conn, s http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s == http.StateClosed || s == http.StateHijacked {
		delete(l.states, nc)
		return
	}
	l.states[nc] = connState{s, time.Now()}
}

func (l *conns) count() map[string]int {
	n := map[string]int{"new": 0, "active": 0, "idle": 0}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, st := range l.states {
		n[st.String()]++
	}
	return n
}

// countedConn calls a function when it is closed.
type countedConn struct {
	net.Conn
	closed func()
}

// NetConn is the connection that is counted.
func (c *countedConn) NetConn() net.Conn { return c.Conn }

func (c *countedConn) Close() error {
	defer c.closed()
	return c.Conn.Close()
}
