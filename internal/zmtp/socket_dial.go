package zmtp

import (
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"fanin/internal/retry"
)

// troubles are why endpoints cannot be connected to.
type troubles struct {
	mu  sync.Mutex
	why map[Endpoint]string
}

// set notes why; nil: the endpoint is connected.
func (t *troubles) set(e Endpoint, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		delete(t.why, e)
		return
	}
	if t.why == nil {
		t.why = make(map[Endpoint]string)
	}
	t.why[e] = err.Error()
}

func (t *troubles) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []string
	for e, why := range t.why {
		all = append(all, "not connected to "+e.String()+": "+why)
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

// acceptor accepts the connections of one bound endpoint.
type acceptor struct {
	s  *Socket
	ln net.Listener
}

func (a *acceptor) run() {
	s := a.s
	backoff := retry.Backoff{Min: 5 * time.Millisecond, Max: time.Second}
	for {
		nc, err := a.ln.Accept()
		switch {
		case err == nil:
			backoff.Reset()
			a.accept(nc)
		case s.isDraining() || errors.Is(err, net.ErrClosed):
			return
		default:
			// Most likely no descriptors are left. Connected peers go on, and some of
			// them will leave.
			pause := backoff.Next()
			s.events.acceptError()
			s.limited.Warn("accept", "cannot accept ZeroMQ connections, trying again",
				"endpoint", a.ln.Addr().String(), "error", err, "in", pause)
			retry.Pause(s.accepting, pause)
		}
	}
}

func (a *acceptor) accept(nc net.Conn) {
	s := a.s
	if tcp, ok := nc.(*net.TCPConn); ok {
		tcp.SetKeepAliveConfig(keepAlive()) // the listener may have been made elsewhere
	}
	l := newLink(s, nc, true)
	ok, crowded := s.admit(l)
	if crowded {
		s.events.reject("max_conns")
		s.limited.Warn("max_conns", "too many ZeroMQ connections: raise max_conns if they are wanted",
			"socket", s.Options.Type, "peer", l.Remote, "limit", s.MaxConns)
	}
	if !ok {
		nc.Close()
		return
	}
	go l.serve() // owned by s.serving; ends with the connection, at the latest when Shutdown closes it
}

// connector keeps a connection to one endpoint.
type connector struct {
	s  *Socket
	to Endpoint
}

// The pause between attempts to connect.
const (
	minReconnect = 100 * time.Millisecond // libzmq's ZMQ_RECONNECT_IVL
	maxReconnect = 5 * time.Second
)

func (c *connector) run() {
	s := c.s
	backoff := retry.Backoff{Min: minReconnect, Max: maxReconnect, Jitter: true}
	for !s.isDraining() {
		ready, err := c.connect()
		if s.isDraining() {
			return
		}
		if ready {
			backoff.Reset()
		}
		pause := backoff.Next()
		s.troubles.set(c.to, err)
		s.events.reconnect()
		s.limited.Warn("connect "+c.to.String(), "not connected to a ZeroMQ peer, trying again",
			"socket", s.Options.Type, "endpoint", c.to.String(), "error", err, "in", pause)
		retry.Pause(s.accepting, pause)
	}
}

// connect serves one connection until it ends, and returns why it ended. ready reports
// that the handshake was completed.
func (c *connector) connect() (ready bool, err error) {
	nc, err := c.to.dial(c.s.accepting)
	if err != nil {
		return false, err
	}
	l := newLink(c.s, nc, false)
	l.Remote = c.to.String()
	if ok, _ := c.s.admit(l); !ok {
		nc.Close()
		return false, ErrClosed
	}
	l.up = func() { c.s.troubles.set(c.to, nil) }
	return l.serve()
}
