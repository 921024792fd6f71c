package zmtp

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"fanin/internal/retry"
)

// Handler serves one peer, from the end of the handshake until the connection ends, and
// returns why it ended. ctx ends when the peer is to be left: by Shutdown. A Socket calls
// it on a goroutine of its own for each peer, and closes the connection after it.
//
// The handler decides what a socket is: a PULL receives from its peers, a PUSH makes each of
// its handlers take messages from one queue, a PUB has one subscriber in each.
type Handler func(ctx context.Context, l *Link) error

// Socket binds and connects, as one ZeroMQ socket does: it accepts connections on all
// endpoints that it binds, keeps one connection to each endpoint that it connects to, and
// hands every peer to one function after the handshake. Set the fields, then Listen, then
// Serve.
//
//	Listen -> Serve -- acceptor.run ---+            one for each bound endpoint
//	                -- connector.run --+-> Link.serve -> Handle    one for each peer
type Socket struct {
	Options Options              // of every connection: kind of socket, security, limits
	Bind    []Endpoint           // accept connections here
	Connect []Endpoint           // keep a connection to each
	Handle  Handler              // serves a peer; required
	Lend    func(l *Link) Memory // lends memory for large messages of one peer; nil: Options.Memory does

	MaxConns int          // accepted connections at a time; further ones are closed at once; default 1,000
	ReadRest bool         // at Shutdown, read what has arrived before the connection ends
	Sends    bool         // at Shutdown, Handlers get the end of their ctx alone, and end with Link.Finish
	Metrics  Metrics      // nil: nothing is counted
	Log      *slog.Logger // nil: discard

	once      sync.Once
	events    events
	limited   *retry.Log
	accepting stoppable // ends with Shutdown
	acceptors []*acceptor
	troubles  troubles

	// Bound binds an endpoint, with bind or in a way of its own; nil: bind does.
	Bound func(e Endpoint, bind func() (net.Listener, error)) (net.Listener, error)

	peers
}

// peers are the connections of a socket.
type peers struct {
	mu      sync.Mutex
	links   map[*Link]struct{}
	taken   int // accepted connections among links
	serving sync.WaitGroup
}

// stoppable is a context with what ends it.
type stoppable struct {
	context.Context
	stop context.CancelFunc
}

// DefaultMaxConns is how many connections a Socket accepts at a time.
const DefaultMaxConns = 1000

// ErrClosed is what Serve returns after Shutdown.
var ErrClosed = errors.New("zmtp: socket closed")

func (s *Socket) setUp() {
	s.once.Do(func() {
		s.MaxConns = cmp.Or(s.MaxConns, DefaultMaxConns)
		s.Log = cmp.Or(s.Log, slog.New(slog.DiscardHandler))
		s.limited = retry.NewLog(s.Log)
		s.events.init(s.Metrics, s.Options.Type)
		s.accepting.Context, s.accepting.stop = context.WithCancel(context.Background())
		s.links = make(map[*Link]struct{})
	})
}

// Listen binds all endpoints that are to be bound: all or none. Connections are accepted
// by Serve.
func (s *Socket) Listen() error {
	s.setUp()
	for _, e := range s.Bind {
		ln, err := s.bind(e)
		if err != nil {
			s.Close()
			return err
		}
		s.acceptors = append(s.acceptors, &acceptor{s: s, ln: ln})
	}
	return nil
}

func (s *Socket) bind(e Endpoint) (net.Listener, error) {
	if s.Bound == nil {
		return e.bind()
	}
	return s.Bound(e, e.bind)
}

// Addrs returns the endpoints of the socket: first those it is bound to, with the port
// that each got, then those it connects to.
func (s *Socket) Addrs() []string {
	var all []string
	for _, a := range s.acceptors {
		scheme := "tcp://"
		if a.ln.Addr().Network() == "unix" {
			scheme = "ipc://"
		}
		all = append(all, scheme+a.ln.Addr().String())
	}
	for _, e := range s.Connect {
		all = append(all, e.String())
	}
	return all
}

// Serve accepts and connects until Shutdown. Peers that are to be connected to may be
// absent: they are tried again.
func (s *Socket) Serve() error {
	s.setUp()
	s.mu.Lock()
	if s.isDraining() {
		s.mu.Unlock()
		return ErrClosed
	}
	s.serving.Add(1) // before Shutdown can wait
	s.mu.Unlock()
	defer s.serving.Done()
	var parts sync.WaitGroup
	for _, a := range s.acceptors {
		parts.Go(a.run) // ends with Shutdown
	}
	for _, e := range s.Connect {
		parts.Go((&connector{s: s, to: e}).run) // ends with Shutdown
	}
	<-s.accepting.Done()
	parts.Wait()
	return ErrClosed
}

func (s *Socket) isDraining() bool { return s.accepting.Err() != nil }

// Shutdown unbinds, stops connecting, and ends all connections: each Handler's ctx ends,
// its reads end, with ReadRest behind what has arrived, and Shutdown waits for it. When
// ctx ends first, Shutdown closes all connections, waits a moment for their Handlers, and returns
// ctx's error; a Handler that waits for something else may then still run.
func (s *Socket) Shutdown(ctx context.Context) error {
	s.setUp()
	s.mu.Lock()
	s.accepting.stop()
	for l := range s.links {
		if !s.Sends || l.Conn == nil {
			l.nc.end(s.ReadRest)
		}
	}
	s.mu.Unlock()
	s.Close()
	done := make(chan struct{})
	go func() { // ends with the last handler
		s.serving.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.cut()
	select {
	case <-done:
	case <-time.After(cutTime):
	}
	return context.Cause(ctx)
}

// cutTime is how long a Shutdown that was given up waits for the Handlers.
const cutTime = time.Second

// cut closes all connections.
func (s *Socket) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.links {
		if l.Conn != nil {
			l.Conn.Close() // what waits for memory ends, too
		} else {
			l.nc.Close()
		}
	}
}

// Close unbinds. Connections stay.
func (s *Socket) Close() {
	for _, a := range s.acceptors {
		a.ln.Close()
	}
}

// Peers returns how many peers are being served now, those in their handshake left out.
func (s *Socket) Peers() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.links {
		if l.Conn != nil {
			n++
		}
	}
	return n
}

// Trouble names the endpoints that cannot be connected to, and why; "" if all are.
func (s *Socket) Trouble() string { return s.troubles.String() }

// admit makes a link of a connection, unless the socket is shutting down, or, of an
// accepted one, there are too many.
func (s *Socket) admit(l *Link) (ok, crowded bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.isDraining():
		return false, false
	case l.Accepted && s.taken >= s.MaxConns:
		return false, true
	case l.Accepted:
		s.taken++
	}
	s.links[l] = struct{}{}
	s.serving.Add(1)
	s.events.open(+1)
	return true, false
}

// leave is the end of a link that was admitted.
func (s *Socket) leave(l *Link) {
	s.mu.Lock()
	delete(s.links, l)
	if l.Accepted {
		s.taken--
	}
	s.mu.Unlock()
	s.events.open(-1)
	s.serving.Done()
}

// setConn notes that the handshake of a link is complete, unless the socket is shutting down.
func (s *Socket) setConn(l *Link, c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isDraining() && !s.ReadRest {
		return false
	}
	l.Conn = c
	return true
}
