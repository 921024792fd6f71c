package ingesttest

import (
	"cmp"
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"fanin/ingest"
	"fanin/ingest/agent"
	"fanin/ingest/datagram"
	"fanin/ingest/plain"
	"fanin/ingest/syslog"
	"fanin/internal/counters"
	"fanin/internal/waittest"
)

// UDP is a listener for agents' datagrams and plain ones, as the collector makes it.
type UDP struct {
	datagram.Listener
	Inputs  *counters.Set
	Source  string
	MaxLine int
	Syslog  *syslog.Settings

	once sync.Once
}

func (u *UDP) setUp() {
	u.once.Do(func() {
		u.Inputs, u.Metrics = cmp.Or(u.Inputs, new(counters.Set)), cmp.Or(u.Metrics, new(ingest.Metrics))
		if u.Formats != nil {
			return
		}
		agents := &agent.Datagrams{Inputs: u.Inputs}
		lines := &plain.Datagrams{Inputs: u.Inputs, Source: u.Source, MaxLine: u.MaxLine, Syslog: u.Syslog}
		u.Formats = []datagram.Format{agents.Format(), lines.Format()}
	})
}

// Counts returns what an input has counted.
func (u *UDP) Counts(input string) counters.Counts {
	n := u.Inputs.Of(input).Counts()
	return n
}

// Dropped returns how many datagrams were dropped for a reason.
func (u *UDP) Dropped(t testing.TB, reason string) int {
	t.Helper()
	return Metric(t, u.Metrics, "fanin_udp_dropped_datagrams_total", reason)
}

// StartUDP serves u until stop is called, at the latest when the test ends.
func StartUDP(t testing.TB, u *UDP, listen string) (to *net.UDPAddr, stop func()) {
	t.Helper()
	conn, err := net.ListenPacket("udp", listen)
	if err != nil {
		t.Skip(err)
	}
	u.setUp()
	metrics := u.Metrics // Serve writes the field
	served := make(chan error, 1)
	go func() { served <- u.Serve(conn.(*net.UDPConn)) }() // ended by stop
	// A Serve that begins after Shutdown reads nothing.
	waittest.Until(t, "the listener", func() bool { return Metric(t, metrics, "fanin_udp_receive_buffer_bytes", "") > 0 })
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := u.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != ingest.ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return conn.LocalAddr().(*net.UDPAddr), stop
}

// DialUDP returns a socket that sends to a listener until the test ends.
func DialUDP(t testing.TB, to *net.UDPAddr) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
