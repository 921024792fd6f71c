package ingest

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"fanin/internal/counters"
	"fanin/internal/lines"
	"fanin/internal/retry"
	"fanin/internal/wire"
)

// TCP takes lines from connections: agents, which are answered, and anybody who
// sends plain lines, on one port. Set the fields, then Serve. Zero fields take
// the defaults named.
type TCP struct {
	Out      wire.Appender                   // who keeps the lines; required
	Welcome  func(agent string) wire.Welcome // what to tell an agent that connects; nil refuses agents
	Sessions *Sessions                       // shared by the listeners of a process; nil: its own
	Budget   *Budget                         // shared by the listeners of a process; nil: its own
	Metrics  *StreamMetrics                  // shared by the listeners of a process; nil: its own
	Inputs   *counters.Set                   // counts lines; shared by all of a process; nil: its own
	Log      *slog.Logger                    // nil: discard

	Source           string                          // of plain lines; default "tcp"
	TLS              *tls.Config                     // nil: plain TCP
	ExplainTLS       func(error) error               // says what an error of TLS means, and what to do; nil: it stays as it is
	RequireAgentCert bool                            // an agent's id and its host must be names in its certificate, see checkCert
	TrustHost        bool                            // with RequireAgentCert: an agent may name any host
	Allowed          func(tls.ConnectionState) error // with TLS: why a peer with this certificate is not let in; nil: all are

	MaxConns         int           // connections at a time, see yield and Beyond; default 10,000; < 0 no bound
	MaxConnsPerIP    int           // of one address (see package origin), but 127.0.0.1 and ::1, since proxies and sidecars come from there; default 256; < 0 no bound
	HandshakeTimeout time.Duration // for a TLS handshake, and for a hello that has begun; default 10 s
	FrameTimeout     time.Duration // for a frame that has begun, longer for large ones, see minRate; and for the end of a line that holds room; default 30 s
	IdleTimeout      time.Duration // closes silent plain connections; default never
	AgentTimeout     time.Duration // closes silent agents, which ping each 5 s; default 15 s
	MaxLine          int           // longer plain lines are split; default wire.MaxLine, from 256 bytes to 2 MiB
	MaxRate          int64         // bytes a second from one address, beyond which its connections are not read; default no bound
	BlockSize        int           // the largest read of plain lines; default 256 KiB

	once                   sync.Once
	limited                *retry.Log
	ctx                    context.Context // of every Append: ends when a Shutdown is given up
	giveUp                 context.CancelFunc
	unpack                 func() (*zstd.Decoder, error)
	plainLines, agentLines *counters.Input
	rates                  rates

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	perIP     map[netip.Prefix]int
	displaced int       // of conns: they end when their lines are written
	yielded   time.Time // when a connection was looked for that can yield
	refusals  map[*conn]struct{}
	draining  chan struct{} // closed by Shutdown
	serving   sync.WaitGroup
}

// ErrServerClosed is what Serve returns after Shutdown.
var ErrServerClosed = errors.New("ingest: server closed")

func (t *TCP) setUp() {
	t.once.Do(func() {
		if t.Sessions == nil {
			t.Sessions = new(Sessions)
		}
		if t.Budget == nil {
			t.Budget = new(Budget)
		}
		if t.Metrics == nil {
			t.Metrics = NewStreamMetrics()
		}
		if t.Log == nil {
			t.Log = slog.New(slog.DiscardHandler)
		}
		if t.Inputs == nil {
			t.Inputs = new(counters.Set)
		}
		t.plainLines, t.agentLines = t.Inputs.New("tcp", counters.None), t.Inputs.New("agent", counters.Sequence)
		t.limited = retry.NewLog(t.Log)
		orDefault(&t.Source, "tcp")
		orDefault(&t.MaxConns, 10_000)
		orDefault(&t.MaxConnsPerIP, 256)
		orDefault(&t.HandshakeTimeout, 10*time.Second)
		orDefault(&t.FrameTimeout, 30*time.Second)
		orDefault(&t.AgentTimeout, 15*time.Second)
		orDefault(&t.MaxLine, wire.MaxLine)
		orDefault(&t.BlockSize, 256<<10)
		t.rates.limit = float64(max(t.MaxRate, 0))
		t.MaxLine = min(max(t.MaxLine, lines.MinLimit), wire.MaxText/2)
		t.BlockSize = int(BlockSize(min(max(t.BlockSize, firstBlock), wire.MaxText/2)))
		t.ctx, t.giveUp = context.WithCancel(context.Background())
		t.unpack = sync.OnceValues(NewUnpacker)
		t.listeners = make(map[net.Listener]struct{})
		t.conns = make(map[*conn]struct{})
		t.perIP = make(map[netip.Prefix]int)
		t.refusals = make(map[*conn]struct{})
		t.draining = make(chan struct{})
	})
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Serve accepts connections from ln until Shutdown, and closes ln.
func (t *TCP) Serve(ln net.Listener) error {
	t.setUp()
	defer ln.Close()
	if !t.listen(ln) {
		return ErrServerClosed
	}
	defer t.unlisten(ln)
	var pause time.Duration
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			pause = 0
			t.accept(nc)
		case t.isDraining():
			return ErrServerClosed
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			// Most likely no descriptors are left: those who are connected
			// go on, and some of them will leave.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			t.limited.Warn("accept", "cannot accept connections, trying again", "listener", ln.Addr().String(), "error", err, "in", pause)
			t.Metrics.acceptErrors.Inc()
			select {
			case <-time.After(pause):
			case <-t.draining:
			}
		}
	}
}

func (t *TCP) listen(ln net.Listener) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.isDraining() {
		return false
	}
	t.listeners[ln] = struct{}{}
	return true
}

func (t *TCP) unlisten(ln net.Listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.listeners, ln)
}

func (t *TCP) isDraining() bool {
	select {
	case <-t.draining:
		return true
	default:
		return false
	}
}

func (t *TCP) gone(c *conn) {
	t.mu.Lock()
	delete(t.conns, c)
	if c.displaced.Load() {
		t.displaced--
	}
	if t.perIP[c.from]--; t.perIP[c.from] == 0 {
		delete(t.perIP, c.from)
	}
	t.mu.Unlock()
	t.Metrics.openConns.Dec()
	t.serving.Done()
}

// Shutdown stops accepting, tells agents to come back later, gives what plain
// connections have sent until now, waits for every outcome and tells it to those
// who wait. When ctx ends first, it closes all connections and returns ctx's error.
func (t *TCP) Shutdown(ctx context.Context) error {
	t.setUp()
	t.mu.Lock()
	if !t.isDraining() {
		close(t.draining)
	}
	for ln := range t.listeners {
		ln.Close()
	}
	for c := range t.conns {
		c.wake()
	}
	for c := range t.refusals {
		c.raw.Close()
	}
	t.mu.Unlock()

	done := make(chan struct{})
	go func() { // ends with the last connection
		t.serving.Wait()
		close(done)
	}()
	select {
	case <-done:
		t.giveUp()
		return nil
	case <-ctx.Done():
	}
	t.giveUp()
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.conns {
		c.raw.Close()
	}
	return context.Cause(ctx)
}
