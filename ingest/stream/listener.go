// Package stream accepts connections, and hands each to the protocol that its first
// bytes show.
//
//	Listener.Serve -- admit -- Conn.serve     one goroutine for each connection
//	                             |
//	                           Conn.recognize: the table of formats
//	                             |
//	              Protocol of the format that matches
//
// The listener limits connections, does TLS, keeps rates, and drains. What a protocol
// has read is bounded by the budget of its connection.
package stream

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"fanin/ingest"
	"fanin/internal/origin"
	"fanin/internal/retry"
)

// Protocol serves one connection until the connection ends, and returns why. ctx ends
// when a Shutdown is given up: it is for every Append.
type Protocol func(ctx context.Context, c *Conn) error

// Format is one row of the table by which a listener recognizes what a peer sends.
type Format struct {
	Name  string   // in metrics
	Serve Protocol // serves a connection of this format

	// Matches reports whether a connection that begins with head is of this format;
	// more reports that more bytes must decide. Without it every connection matches.
	Matches func(head []byte) (yes, more bool)

	// Refuse reports to the peer, before the connection is closed, why it is refused.
	// Without it the connection is closed without a word.
	Refuse func(nc net.Conn, why string)

	// Resumes reports that peers send again what was not acknowledged to them. Retire ends their
	// connections; where it is false, that could lose what is on the way.
	Resumes bool

	Reasons []string // for which Serve rejects connections, see Conn.Reject
	Stopped func()   // called when Shutdown has ended the connections, or gives up; nil: nothing is
}

// Limits bound what peers may do. Zero fields have the defaults named.
type Limits struct {
	MaxConns         int           // connections at a time, see Beyond; default 10,000; < 0: no bound
	MaxConnsPerIP    int           // of one address, see package origin; none for loopback; default 256; < 0: no bound
	MaxRate          int64         // bytes a second from one address, beyond which it is not read; default: no bound
	HandshakeTimeout time.Duration // for a TLS handshake, and for first bytes that decide the format; default 10 s
	FrameTimeout     time.Duration // for a message that has begun; default 30 s
	IdleTimeout      time.Duration // until a silent connection is closed, where the format allows that; default: never
}

// TLS is how connections are encrypted.
type TLS struct {
	Config  *tls.Config
	Explain func(error) error               // adds to an error of TLS what it means and what to do; nil: nothing
	Allowed func(tls.ConnectionState) error // why a peer with this certificate is refused; nil: none is
	ByALPN  map[string]Protocol             // serves connections that agreed on this protocol, whatever they send
}

// Listener accepts connections. Set the fields, then Serve.
type Listener struct {
	Formats []Format // the first that matches serves a connection; required
	Limits
	Peers   origin.Peers    // which addresses may connect, and what they are called; default: all, by address
	TLS     *TLS            // nil: plain TCP
	Budget  *ingest.Budget  // shared by the listeners of a process; nil: its own
	Metrics *ingest.Metrics // shared by all inputs of a process; nil: its own
	Log     *slog.Logger    // nil: discard

	// Others returns how many connections other listeners have that accept from the same socket, or
	// did until they were retired: they count toward MaxConns, too. Nil: there are none.
	Others func() int

	// MaxSegment is how large TCP segments peers are told to send; 0: as the system has it. Other
	// systems than Linux leave it out.
	MaxSegment int

	once    sync.Once
	limited *retry.Log
	metrics metrics
	table   []Format
	rates   *ingest.Rates
	phases

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	acceptors sync.WaitGroup // one of each of them
	conns     connTable

	connections sync.WaitGroup
}

// phases of a listener's life.
type phases struct {
	appending context.Context // of every Append: ends when a Shutdown is given up
	giveUp    context.CancelFunc
	accepting context.Context // ends with Retire or Shutdown
	close     context.CancelFunc
	serving   context.Context // ends with Shutdown
	drain     context.CancelFunc
}

func (l *Listener) setUp() {
	l.once.Do(func() {
		l.Budget, l.Metrics = cmp.Or(l.Budget, new(ingest.Budget)), cmp.Or(l.Metrics, new(ingest.Metrics))
		l.Log = cmp.Or(l.Log, slog.New(slog.DiscardHandler))
		l.limited = retry.NewLog(l.Log)
		l.MaxConns, l.MaxConnsPerIP = cmp.Or(l.MaxConns, 10_000), cmp.Or(l.MaxConnsPerIP, 256)
		l.HandshakeTimeout = cmp.Or(l.HandshakeTimeout, 10*time.Second)
		l.FrameTimeout = cmp.Or(l.FrameTimeout, 30*time.Second)
		l.table = l.rows()
		l.rates = ingest.NewRates(l.MaxRate)
		l.appending, l.giveUp = context.WithCancel(context.Background())
		l.serving, l.drain = context.WithCancel(context.Background())
		l.accepting, l.close = context.WithCancel(l.serving)
		l.listeners = make(map[net.Listener]struct{})
		l.conns = newConnTable()
		l.metrics = metrics{l.Metrics}
		l.metrics.prepare(l.Formats)
	})
}

// Serve accepts connections from ln until Retire or Shutdown, and closes ln.
func (l *Listener) Serve(ln net.Listener) error {
	l.setUp()
	defer ln.Close()
	if !l.register(ln) {
		return ingest.ErrServerClosed
	}
	defer l.unregister(ln)
	limitSegments(ln, l.MaxSegment)
	backoff := retry.Backoff{Min: 5 * time.Millisecond, Max: time.Second}
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			backoff.Reset()
			l.accept(nc)
		case l.isClosed():
			return ingest.ErrServerClosed
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			// Most likely no descriptors are left. Connected peers go on, and some of
			// them will leave.
			pause := backoff.Next()
			l.limited.Warn("accept", "cannot accept connections, trying again",
				"listener", ln.Addr().String(), "error", err, "in", pause)
			l.metrics.acceptErrors().Inc()
			retry.Pause(l.accepting, pause)
		}
	}
}

func (l *Listener) register(ln net.Listener) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isClosed() {
		return false
	}
	l.listeners[ln] = struct{}{}
	l.acceptors.Add(1)
	return true
}

func (l *Listener) unregister(ln net.Listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.listeners, ln)
	l.acceptors.Done()
}

// isClosed reports whether no more connections are accepted.
func (l *Listener) isClosed() bool { return l.accepting.Err() != nil }

func (l *Listener) isDraining() bool { return l.serving.Err() != nil }

// Retire stops accepting, so that another listener may serve the same address. Connections whose
// peers send again what was not acknowledged end, as with Shutdown. All others stay as they are
// until they end by themselves: what is on the way to them would be lost. Wait waits for that. A
// connection that was accepted in this moment is one of them; none comes after Retire.
func (l *Listener) Retire() {
	l.setUp()
	l.mu.Lock()
	l.stopAcceptingLocked()
	for c := range l.conns.all {
		c.retireLocked()
	}
	l.mu.Unlock()
	l.acceptors.Wait()
}

// Wait waits, after Retire, until the last connection has ended, or for ctx.
func (l *Listener) Wait(ctx context.Context) error { return ingest.Await(ctx, &l.connections) }

func (l *Listener) stopAcceptingLocked() {
	l.close()
	for ln := range l.listeners {
		ln.Close()
	}
}

// SetMaxConns changes MaxConns. Connections that are open stay.
func (l *Listener) SetMaxConns(n int) {
	l.setUp()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.MaxConns = cmp.Or(n, 10_000)
}

// Connections returns how many are open, displaced ones left out.
func (l *Listener) Connections() int {
	l.setUp()
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns.all) - l.conns.displaced
}

// Shutdown stops accepting and ends all connections: each protocol finishes what it
// has read, waits for every outcome, and reports it to peers that expect it. When ctx
// ends first, Shutdown closes all connections and returns ctx's error.
func (l *Listener) Shutdown(ctx context.Context) error {
	l.setUp()
	l.mu.Lock()
	l.drain()
	l.stopAcceptingLocked()
	for c := range l.conns.all {
		c.Wake()
	}
	for c := range l.conns.refused {
		c.raw.Close()
	}
	l.mu.Unlock()

	defer l.giveUp()
	err := ingest.Await(ctx, &l.connections)
	for _, f := range l.Formats {
		if f.Stopped != nil {
			f.Stopped()
		}
	}
	if err == nil {
		return nil
	}
	l.giveUp()
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns.all {
		c.raw.Close()
	}
	return err
}
