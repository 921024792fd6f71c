package zmtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/internal/waittest"
)

// counted are the metrics of a socket, by name and label.
type counted struct {
	mu  sync.Mutex
	all map[string]prometheus.Counter
	up  prometheus.Gauge
}

func newCounted() *counted {
	return &counted{all: make(map[string]prometheus.Counter), up: prometheus.NewGauge(prometheus.GaugeOpts{Name: "g"})}
}

func (c *counted) Counter(name, _, _, value string) prometheus.Counter {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := name + " " + value
	if c.all[k] == nil {
		c.all[k] = &counter{}
	}
	return c.all[k]
}

func (c *counted) Gauge(string, string) prometheus.Gauge { return c.up }

// counter is a prometheus.Counter that can be read.
type counter struct {
	prometheus.Counter
	mu sync.Mutex
	n  int
}

func (c *counter) Inc() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *counted) value(name, label string) int {
	x := c.Counter("fanin_zmq_"+name, "", "", label).(*counter)
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.n
}

// receiver is a PULL that is served until the test ends, and the messages that it received.
type receiver struct {
	*Socket
	counted *counted
	got     chan string
	ended   chan error // why connections ended
	stop    func()
}

func receive(t *testing.T, s *Socket) *receiver {
	t.Helper()
	r := &receiver{Socket: s, counted: newCounted(), got: make(chan string, 1000), ended: make(chan error, 1000)}
	s.Options.Type, s.Metrics = Pull, r.counted
	if len(s.Bind)+len(s.Connect) == 0 {
		s.Bind = []Endpoint{{"tcp", "127.0.0.1:0"}}
	}
	s.Handle = func(_ context.Context, l *Link) error {
		for {
			frames, err := l.Receive()
			if err != nil {
				r.ended <- err
				return err
			}
			r.got <- string(frames[0])
		}
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }() // ends by stop
	r.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), waittest.Limit)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; !errors.Is(err, ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
		if n := len(s.links); n != 0 || s.taken != 0 {
			t.Errorf("%d connections are left, %d of them accepted", n, s.taken)
		}
	})
	t.Cleanup(r.stop)
	return r
}

func (r *receiver) address() string { return strings.TrimPrefix(r.Addrs()[0], "tcp://") }

// push connects as a PUSH and sends a message, which must arrive.
func (r *receiver) push(t *testing.T, text string) *Conn {
	t.Helper()
	nc, err := net.Dial("tcp", r.address())
	if err != nil {
		t.Fatal(err)
	}
	c, err := Handshake(t.Context(), nc, &Options{Type: Push})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	r.pushOn(t, c, text)
	return c
}

func (r *receiver) pushOn(t *testing.T, c *Conn, text string) {
	t.Helper()
	if err := errors.Join(c.Send([]byte(text)), c.Flush()); err != nil {
		t.Fatal(err)
	}
	r.want(t, text)
}

func (r *receiver) want(t *testing.T, text string) {
	t.Helper()
	select {
	case got := <-r.got:
		if got != text {
			t.Fatalf("received %q, want %q", got, text)
		}
	case <-time.After(waittest.Limit):
		t.Fatalf("%q did not arrive", text)
	}
}

// TestSocketMaxConns: connections beyond the limit are closed at once and counted; when one
// leaves, another one may come.
func TestSocketMaxConns(t *testing.T) {
	r := receive(t, &Socket{MaxConns: 3})
	a := r.push(t, "a")
	r.push(t, "b")
	idle, err := net.Dial("tcp", r.address()) // one in its handshake counts, too
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	waittest.Until(t, "three connections", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.taken == 3
	})
	const more = 50
	for range more {
		nc, err := net.Dial("tcp", r.address())
		if err != nil {
			t.Fatal(err)
		}
		nc.SetReadDeadline(time.Now().Add(waittest.Limit))
		if n, err := nc.Read(make([]byte, 1)); n != 0 || errors.Is(err, context.DeadlineExceeded) || err == nil {
			t.Fatalf("a connection too many was not closed at once: %d bytes, %v", n, err)
		}
		nc.Close()
	}
	if n := r.counted.value("rejected_connections_total", "max_conns"); n != more {
		t.Errorf("%d connections are counted as refused, want %d", n, more)
	}
	if r.Peers() != 2 {
		t.Errorf("there are %d peers, want 2", r.Peers())
	}
	a.Close()
	waittest.Until(t, "a connection to leave", func() bool { return r.Peers() == 1 })
	r.push(t, "c")
}

// greetingPush is the beginning of a handshake with NULL, as a PUSH of version 3.0.
const greetingPush = "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00NULL\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// readyPush is its READY.
const readyPush = "\x04\x1a\x05READY\x0bSocket-Type\x00\x00\x00\x04PUSH"

// TestSocketHostile: whatever a peer sends, or does not send, it ends no other connection, and
// the socket serves the next one.
func TestSocketHostile(t *testing.T) {
	r := receive(t, &Socket{Options: Options{HandshakeTimeout: 300 * time.Millisecond, MaxMessage: 1 << 16}})
	good := r.push(t, "good")
	for _, c := range []struct{ name, bytes, reason string }{
		{"nothing", "", "timeout"},
		{"one byte", "\xff", "timeout"},
		{"half a greeting", greetingPush[:40], "timeout"},
		{"no READY", greetingPush, "timeout"},
		{"HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n" + strings.Repeat("x", 64), "greeting"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("x", 64), "greeting"},
		{"version 1", "\x01\x00" + strings.Repeat("\x00", 62), ""},
		{"version 2", "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x01\x08\x00\x00" + strings.Repeat("\x00", 50), "version"},
		{"other mechanism", strings.Replace(greetingPush, "NULL\x00", "PLAIN", 1), "mechanism"},
		{"other type", greetingPush + strings.Replace(readyPush, "PUSH", "PULL", 1), "socket_type"},
		{"command of 2^63 bytes", greetingPush + "\x06\x80\x00\x00\x00\x00\x00\x00\x00", ""},
		{"command of 2^62 bytes", greetingPush + "\x06\x40\x00\x00\x00\x00\x00\x00\x00", ""},
		{"READY that lies", greetingPush + "\x04\x1a\x05READY\x0bSocket-Type\x7f\xff\xff\xffPUSH", ""},
		{"frame of 2^63 bytes", greetingPush + readyPush + "\x02\x80\x00\x00\x00\x00\x00\x00\x00", "-"},
		{"frame of 2^62 bytes", greetingPush + readyPush + "\x02\x40\x00\x00\x00\x00\x00\x00\x00", "-"},
		{"a command after the handshake", greetingPush + readyPush + "\x04\x03\x05REA", "-"},
	} {
		before := r.counted.value("rejected_connections_total", c.reason)
		nc, err := net.Dial("tcp", r.address())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(nc, c.bytes); err != nil {
			t.Fatal(err)
		}
		nc.SetReadDeadline(time.Now().Add(waittest.Limit))
		if _, err := io.Copy(io.Discard, nc); errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: the connection was not closed", c.name)
		}
		nc.Close()
		if c.reason != "" && c.reason != "-" {
			waittest.UntilEqual(t, c.name+": peers refused because of "+c.reason, before+1,
				func() int { return r.counted.value("rejected_connections_total", c.reason) })
		}
		if c.reason == "-" {
			if err := <-r.ended; !errors.As(err, new(*Error)) {
				t.Errorf("%s: the connection ended with %v", c.name, err)
			}
		}
		r.pushOn(t, good, "still good")
		r.push(t, "and another").Close()
		<-r.ended
	}
}

// TestSocketManyPeers: 5,000 connections that say nothing cost the others nothing, and are gone
// with their handshakes' time.
func TestSocketManyPeers(t *testing.T) {
	peers := 5000
	if testing.Short() {
		peers = 500
	}
	r := receive(t, &Socket{MaxConns: 100, Options: Options{HandshakeTimeout: 500 * time.Millisecond}})
	good := r.push(t, "good")
	closed := make(chan struct{}, peers)
	for i := range peers {
		nc, err := net.Dial("tcp", r.address())
		if err != nil {
			t.Fatal(err)
		}
		go func() { // ends with the connection, which the socket closes
			defer nc.Close()
			io.WriteString(nc, greetingPush[:i%64])
			io.Copy(io.Discard, nc)
			closed <- struct{}{}
		}()
		if i%100 == 0 {
			r.pushOn(t, good, "meanwhile")
		}
	}
	for range peers {
		<-closed
	}
	waittest.Until(t, "all to be gone", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.taken == 1
	})
	r.push(t, "after it")
}

// TestSocketReconnects: a peer that is absent is tried again, and so is one that went away.
func TestSocketReconnects(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	r := receive(t, &Socket{Connect: []Endpoint{{"unix", path}}})
	waittest.Until(t, "the trouble to be known", func() bool { return strings.Contains(r.Trouble(), "not connected to ipc://"+path) })
	for i := range 3 {
		ln, err := Endpoint{"unix", path}.bind()
		if err != nil {
			t.Fatal(err)
		}
		nc, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c, err := Handshake(t.Context(), nc, &Options{Type: Push})
		if err != nil {
			t.Fatal(err)
		}
		r.pushOn(t, c, fmt.Sprint(i))
		if why := r.Trouble(); why != "" {
			t.Errorf("while it is connected, the trouble is %q", why)
		}
		ln.Close()
		c.Close()
		waittest.Until(t, "the peer to be missed", func() bool { return r.Trouble() != "" })
	}
	if n := r.counted.value("reconnects_total", ""); n < 3 {
		t.Errorf("%d reconnects are counted", n)
	}
}

// TestSocketShutdown: it unbinds at once, and ends handshakes and idle connections.
func TestSocketShutdown(t *testing.T) {
	for _, rest := range []bool{false, true} {
		r := receive(t, &Socket{ReadRest: rest, Connect: []Endpoint{{"tcp", "127.0.0.1:1"}}, Bind: []Endpoint{{"tcp", "127.0.0.1:0"}}})
		r.push(t, "a")
		slow, err := net.Dial("tcp", r.address())
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Close()
		began := time.Now()
		r.stop()
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("ReadRest %v: the shutdown took %v", rest, d)
		}
		if err := <-r.ended; err != io.EOF {
			t.Errorf("ReadRest %v: the connection ended with %v", rest, err)
		}
		if nc, err := net.Dial("tcp", r.address()); err == nil {
			nc.Close()
			t.Errorf("ReadRest %v: the port is still bound", rest)
		}
	}
}
