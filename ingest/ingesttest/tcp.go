package ingesttest

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"fanin/ingest"
	"fanin/ingest/agent"
	"fanin/ingest/plain"
	"fanin/ingest/stream"
	"fanin/ingest/syslog"
	"fanin/internal/counters"
	"fanin/internal/wire"
)

// TCP is a listener for agents and plain lines, as the collector makes it. The fields
// are those of its parts.
type TCP struct {
	Out      wire.Appender
	Welcome  func(agent string) wire.Welcome
	Sessions *ingest.Sessions
	Budget   *ingest.Budget
	Inputs   *counters.Set
	Metrics  *ingest.Metrics
	Log      *slog.Logger

	TLS                    *tls.Config
	Allowed                func(tls.ConnectionState) error
	RequireCert, TrustHost bool
	Relays                 *ingest.Relays

	stream.Limits
	AgentTimeout time.Duration
	Source       string
	MaxLine      int
	Syslog       *syslog.Settings
	Notice       func(format string, args ...any)

	once     sync.Once
	listener *stream.Listener
	stopped  chan struct{}
}

func (s *TCP) setUp() {
	s.once.Do(func() {
		s.Sessions, s.Budget = cmp.Or(s.Sessions, new(ingest.Sessions)), cmp.Or(s.Budget, new(ingest.Budget))
		s.Inputs, s.Metrics = cmp.Or(s.Inputs, new(counters.Set)), cmp.Or(s.Metrics, new(ingest.Metrics))
		agents := &agent.Protocol{Out: s.Out, Welcome: s.Welcome, Sessions: s.Sessions, Inputs: s.Inputs,
			RequireCert: s.RequireCert, TrustHost: s.TrustHost, Timeout: s.AgentTimeout, Relays: s.Relays}
		lines := &plain.Protocol{Out: s.Out, Inputs: s.Inputs, Source: s.Source, MaxLine: s.MaxLine,
			Syslog: s.Syslog, Metrics: s.Metrics, Notice: s.Notice}
		s.listener = &stream.Listener{Formats: []stream.Format{agents.Format(), lines.Format()}, Limits: s.Limits,
			Budget: s.Budget, Metrics: s.Metrics, Log: s.Log}
		if s.TLS != nil {
			s.listener.TLS = &stream.TLS{Config: s.TLS, Allowed: s.Allowed}
		}
		s.stopped = make(chan struct{})
	})
}

// Serve serves connections from ln until Shutdown.
func (s *TCP) Serve(ln net.Listener) error {
	s.setUp()
	return s.listener.Serve(ln)
}

// Shutdown ends Serve.
func (s *TCP) Shutdown(ctx context.Context) error {
	s.setUp()
	return s.listener.Shutdown(ctx)
}

// Stopped is closed when Shutdown has begun: the listener that Start serves is closed, and
// every connection is to end.
func (s *TCP) Stopped() <-chan struct{} { return s.stopped }

// Counts returns what an input has counted.
func (s *TCP) Counts(input string) counters.Counts {
	n := s.Inputs.Of(input).Counts()
	return n
}

// Rejected returns how many connections were closed for a reason.
func (s *TCP) Rejected(t testing.TB, reason string) int {
	t.Helper()
	return Metric(t, s.Metrics, "fanin_rejected_connections_total", reason)
}

// Open returns how many connections are open.
func (s *TCP) Open(t testing.TB) int {
	t.Helper()
	return Metric(t, s.Metrics, "fanin_open_connections", "")
}

// Start serves s on a port of its own until the test ends.
func Start(t testing.TB, s *TCP) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return StartOn(t, s, ln)
}

// StartOn serves s on ln until the test ends, and checks then that it released all
// memory.
func StartOn(t testing.TB, s *TCP, ln net.Listener) (addr string) {
	t.Helper()
	s.setUp()
	served := make(chan error, 1)
	go func() { // ends by Shutdown
		served <- s.Serve(ln)
		close(s.stopped)
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil && !t.Failed() {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != ingest.ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
		if used, arriving := s.Budget.Used(), s.Budget.Arriving(); used != 0 || arriving != 0 {
			t.Errorf("%d bytes of memory were not released, %d of them arriving", used, arriving)
		}
	})
	return ln.Addr().String()
}

// Dial connects to addr until the test ends.
func Dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	return nc.(*net.TCPConn)
}
