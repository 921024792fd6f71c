package datagram

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"fanin/internal/counters"
	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// gate is an Appender that waits until it is opened.
type gate struct {
	open chan struct{}
	mu   sync.Mutex
	text strings.Builder
}

func (g *gate) Append(_ context.Context, b wire.Batch) error {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	g.text.Write(b.Text)
	return nil
}

func (g *gate) said() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.String()
}

// TestRetire: a listener leaves its socket to another one, which reads at once, and appends what it
// read behind all that the first one had read.
func TestRetire(t *testing.T) {
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := socket.(*net.UDPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	socket.Close()
	sender, err := net.Dial("udp", socket.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	shared, first, second := new(Shared), &gate{open: make(chan struct{})}, &gate{open: make(chan struct{})}
	close(second.open)
	serve := func(out *gate) (*Listener, chan error) {
		in := new(counters.Set).New("udp", counters.None)
		l := &Listener{Out: out, Formats: []Format{func() Handler {
			return func(s *Socket, d *Datagram) bool {
				s.AddLines(in, d, wire.Labels{Host: "h", Source: "s"}, d.Data)
				return true
			}
		}}}
		conn, err := net.FilePacketConn(file)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- l.ServeAfter(conn.(Conn), shared) }() // ends by Shutdown
		return l, ended
	}
	send := func(l *Listener, from, to int) {
		for i := from; i < to; i++ {
			fmt.Fprintf(sender, "line %d", i)
		}
		waittest.UntilEqual(t, "datagrams that were read", float64(to-from), func() float64 { return testutil.ToFloat64(l.metrics.read()) })
	}
	a, aEnded := serve(first)
	a.setUp()
	send(a, 0, 10)
	a.Retire()
	b, bEnded := serve(second)
	b.setUp()
	send(b, 10, 20)
	if got := second.said(); got != "" {
		t.Errorf("before the first listener has appended all, the second one has appended %q", got)
	}
	close(first.open)
	for _, x := range []struct {
		l     *Listener
		ended chan error
	}{{a, aEnded}, {b, bEnded}} {
		if err := x.l.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		<-x.ended
	}
	for i, got := range []string{first.said(), second.said()} {
		var want strings.Builder
		for n := range 10 {
			fmt.Fprintf(&want, "line %d\n", 10*i+n)
		}
		if got != want.String() {
			t.Errorf("listener %d has appended %q", i, got)
		}
	}
}
