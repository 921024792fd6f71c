package ship

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"math"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fanin/ingest/ingesttest"
	"fanin/internal/certs"
	"fanin/internal/certs/certstest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// collect runs the real listener over a log in memory.
func collect(t *testing.T, change ...func(*ingesttest.TCP)) (*appendertest.Memory, *ingesttest.TCP, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return collectFrom(t, ln, change...)
}

func collectFrom(t *testing.T, ln net.Listener, change ...func(*ingesttest.TCP)) (*appendertest.Memory, *ingesttest.TCP, string) {
	t.Helper()
	m := &appendertest.Memory{Log: wire.NewStreamID(), Incarnation: wire.NewStreamID()}
	s := &ingesttest.TCP{Out: m, Welcome: m.Welcome}
	for _, f := range change {
		f(s)
	}
	done := make(chan struct{})
	go func() { s.Serve(ln); close(done) }() // ended by the cleanup
	t.Cleanup(func() { s.Shutdown(bounded(t)); <-done })
	return m, s, ln.Addr().String()
}

// connect runs the agent's side of a connection to addr.
func connect(t *testing.T, addr string, change ...func(*TCP)) *TCP {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	return (&peer{ln: ln}).dial(t, append([]func(*TCP){func(c *TCP) { c.Addrs = []string{addr} }}, change...)...)
}

func TestAppenderOfTheRealListener(t *testing.T) {
	for _, compress := range []string{"none", "zstd"} {
		t.Run(compress, func(t *testing.T) {
			appendertest.Run(t, func(t *testing.T) wire.Appender {
				m, _, addr := collect(t)
				return appendertest.Observe(connect(t, addr, func(c *TCP) { c.Compress = compress }), m)
			})
		})
	}
}

// counted counts the bytes that come in.
type counted struct {
	net.Listener
	n atomic.Int64
}

type countedConn struct {
	net.Conn
	n *atomic.Int64
}

func (l *counted) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return &countedConn{conn, &l.n}, err
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// TestCompressed: a text that is worth it is sent compressed, and arrives unchanged.
func TestCompressed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	in := &counted{Listener: ln}
	m, _, addr := collectFrom(t, in)
	c := connect(t, addr, func(c *TCP) { c.Compress = "zstd" })
	id := open(t, c)
	var lines strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&lines, "2026-11-22 a line like many others, and %016x makes it different\n", uint64(i)*0x9e3779b97f4a7c15)
	}
	text := lines.String()
	b := line(id, text)
	each := len(text) / 10_000 * 3000
	for n := each; n < len(text); n += each {
		b.Cuts = append(b.Cuts, wire.Cut{Text: n, End: int64(n), After: wire.TailHash([]byte(text[:n]))})
	}
	if err := c.Append(bounded(t), b); err != nil {
		t.Fatal(err)
	}
	if got := string(m.Text(id)); got != text {
		t.Errorf("%d bytes came, want %d", len(got), len(text))
	}
	if n := in.n.Load(); n > int64(len(text)/10) {
		t.Errorf("%d bytes went for %d bytes of text", n, len(text))
	}
}

// TestExpanding: 100 MiB of empty lines, and of very short ones, arrive although no compressed text
// may expand to that many lines.
func TestExpanding(t *testing.T) {
	for _, unit := range []string{"\n", "ok\n"} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		k := new(lineCounter)
		s := &ingesttest.TCP{Out: k, Welcome: func(string) wire.Welcome { return wire.Welcome{Log: wire.StreamID{1}} }}
		done := make(chan struct{})
		go func() { s.Serve(ln); close(done) }() // ended below
		c := connect(t, ln.Addr().String(), func(c *TCP) { c.Compress = "zstd" })
		text := strings.Repeat(unit, wire.MaxCutLines)
		for sent := 0; sent < 100<<20; sent += len(text) {
			b := wire.Batch{Stream: wire.StreamID{1}, Offset: int64(sent), End: int64(sent + len(text)), Text: []byte(text)}
			if err := c.Append(bounded(t), b); err != nil {
				t.Fatal(err)
			}
		}
		if n := k.lines.Load(); n < 100<<20/int64(len(unit)) {
			t.Errorf("%q: %d lines came", unit, n)
		}
		s.Shutdown(bounded(t))
		<-done
	}
}

// lineCounter counts lines.
type lineCounter struct{ lines atomic.Int64 }

func (k *lineCounter) Append(_ context.Context, b wire.Batch) error {
	k.lines.Add(int64(bytes.Count(b.Text, []byte("\n"))))
	return nil
}

// TestNotReading: a collector that does not read for long, but sends pongs, keeps its connection. One
// that sends nothing does not.
func TestNotReading(t *testing.T) {
	const dead = 200 * time.Millisecond
	for _, pongs := range []bool{true, false} {
		p := newPeer(t)
		var connections atomic.Int32
		var blocked atomic.Int64 // for how long it was, in the end
		p.script = func(conn net.Conn) bool {
			if connections.Add(1) > 1 {
				return false
			}
			conn.Write(wire.AppendWelcome(nil, wire.Welcome{Log: p.memory.Log, Incarnation: p.memory.Incarnation}))
			began := time.Now()
			for time.Since(began) < 5*dead {
				<-time.After(dead / 4)
				if pongs {
					conn.Write(wire.AppendPing(nil, wire.KindPong, 0))
				}
			}
			blocked.Store(int64(time.Since(began)))
			d := wire.NewDecoder(conn)
			var f wire.Frame
			for d.Next(&f) == nil {
				if f.Kind == wire.KindBatch {
					conn.Write(wire.AppendAnswer(nil, wire.AnswerTo(f.Batch.Stream, nil)))
				}
			}
			return true
		}
		c := p.serve().dial(t, func(c *TCP) { c.DeadAfter, c.PingEvery = dead, dead/4 })
		text := strings.Repeat("x", wire.MaxText-1) + "\n"
		err := c.Append(bounded(t), line(wire.NewStreamID(), text))
		if pongs && (err != nil || connections.Load() != 1 || blocked.Load() == 0) {
			t.Errorf("it sent pongs: %v, %d connections", err, connections.Load())
		}
		if !pongs && (err == nil || blocked.Load() != 0) {
			t.Errorf("it sent nothing: %v, and only after %v", err, time.Duration(blocked.Load()))
		}
	}
}

// TestShutdown: a collector that stops finishes what is in flight, and announces the stop. New batches
// wait for the next collector.
func TestShutdown(t *testing.T) {
	m, s, addr := collect(t)
	there, hold := make(chan struct{}, 1), make(chan struct{})
	m.After = func(_ context.Context, b wire.Batch, outcome error) error {
		if string(b.Text) == "held\n" {
			there <- struct{}{}
			<-hold
		}
		return outcome
	}
	c := connect(t, addr)
	id := open(t, c)
	done := make(chan error, 1)
	go func() { done <- c.Append(bounded(t), line(id, "held\n")) }() // waited for below
	<-there
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(bounded(t)) }() // waited for below
	close(hold)
	if err := <-done; err != nil {
		t.Errorf("the batch in flight: %v", err)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
	waittest.Until(t, "trouble", func() bool { return c.Trouble() != "" })
}

// TestDrainBeforeTheAnswer: the connection stays until nothing is in flight.
func TestDrainBeforeTheAnswer(t *testing.T) {
	p := newPeer(t)
	var connections atomic.Int32
	p.script = func(conn net.Conn) bool {
		if connections.Add(1) > 1 {
			return false
		}
		conn.Write(wire.AppendWelcome(nil, wire.Welcome{Log: p.memory.Log, Incarnation: p.memory.Incarnation}))
		var f wire.Frame
		d := wire.NewDecoder(conn)
		for d.Next(&f) == nil && f.Kind == wire.KindPing {
		}
		conn.Write(wire.AppendDrain(nil))
		conn.Write(wire.AppendPing(nil, wire.KindPong, 1)) // other frames come between
		conn.Write(wire.AppendAnswer(nil, wire.AnswerTo(f.Batch.Stream, nil)))
		for d.Next(&f) == nil { // until the other side hangs up
		}
		return true
	}
	c := p.serve().dial(t)
	if err := c.Append(bounded(t), wire.Batch{Op: wire.OpOpen, Stream: wire.NewStreamID(), Epoch: 1}); err != nil {
		t.Errorf("the batch in flight: %v", err)
	}
	open(t, c)
	if n := connections.Load(); n != 2 {
		t.Errorf("%d connections, want a second one for what came later", n)
	}
}

// TestHostileNumbers: a collector's numbers neither keep an agent away for years, nor fill its memory,
// nor reach a terminal as commands.
func TestHostileNumbers(t *testing.T) {
	for n, want := range map[int64]time.Duration{-1: 0, 0: 0, 30: 30 * time.Second, 1 << 40: maxFaultWait, math.MaxInt64: maxFaultWait, math.MinInt64: 0} {
		if got := newFault(&wire.Frame{N: n}).wait; got != want {
			t.Errorf("a fault of %d s: waits %v, want %v", n, got, want)
		}
	}
	if got := newFault(&wire.Frame{Reason: "a\x1b[2Jb\n"}).Error(); strings.ContainsAny(got, "\x1b\n") {
		t.Errorf("the fault is %q", got)
	}
	endless := wire.AppendWelcome(nil, wire.Welcome{Log: wire.NewStreamID(), Listing: wire.Listing{Count: math.MaxInt64, Pages: func(int) iter.Seq[[]wire.StreamState] {
		return func(func([]wire.StreamState) bool) {}
	}}})
	twice := wire.AppendWelcome(nil, wire.Welcome{Log: wire.NewStreamID(), Streams: make([]wire.StreamState, 1)})
	twice = append(twice[:len(twice):len(twice)], twice...)
	first := wire.AppendWelcome(nil, wire.Welcome{Streams: make([]wire.StreamState, 1)})
	for name, answer := range map[string][]byte{"endless": endless, "a welcome after a welcome": bytes.Replace(twice, []byte{0x92, 17}, []byte{0x92, 16}, 1), "no log id": first} {
		p := newPeer(t)
		seen := make(chan struct{}, 100)
		p.script = func(conn net.Conn) bool { conn.Write(answer); seen <- struct{}{}; return true }
		welcomed := make(chan wire.Welcome, 100)
		c := p.serve().dial(t, func(c *TCP) { c.OnWelcome = func(w wire.Welcome, _ int) { welcomed <- w } })
		<-seen
		<-seen
		if len(welcomed) > 0 || c.Trouble() == "" {
			t.Errorf("%s: welcomed", name)
		}
	}
}

// TestSlowLine: a text that takes longer than DeadAfter to arrive is not silence.
func TestSlowLine(t *testing.T) {
	p := newPeer(t)
	p.script = func(conn net.Conn) bool {
		conn.Write(wire.AppendWelcome(nil, wire.Welcome{Log: p.memory.Log, Incarnation: p.memory.Incarnation}))
		d := wire.NewDecoder(conn)
		var f wire.Frame
		for d.Next(&f) == nil {
			if f.Kind == wire.KindBatch {
				<-time.After(400 * time.Millisecond) // nothing comes back, not even pongs
				conn.Write(wire.AppendAnswer(nil, wire.AnswerTo(f.Batch.Stream, nil)))
			}
		}
		return true
	}
	c := p.serve().dial(t, func(c *TCP) { c.DeadAfter = 150 * time.Millisecond; c.PingEvery = 50 * time.Millisecond })
	if err := c.Append(bounded(t), line(wire.NewStreamID(), strings.Repeat("x", 256<<10)+"\n")); err != nil {
		t.Error(err)
	}
}

// TestAbandoned: an Append that is cancelled does not wait for a peer that reads nothing.
func TestAbandoned(t *testing.T) {
	p := newPeer(t)
	silent := make(chan struct{})
	defer close(silent)
	p.script = func(conn net.Conn) bool {
		conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		conn.Write(wire.AppendWelcome(nil, wire.Welcome{Log: p.memory.Log, Incarnation: p.memory.Incarnation}))
		<-silent
		return true
	}
	c := p.serve().dial(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var all [4]chan error
	for i := range all {
		all[i] = make(chan error, 1)
		go func() { all[i] <- c.Append(ctx, line(wire.NewStreamID(), strings.Repeat("x", wire.MaxText-1)+"\n")) }() // waited for below
	}
	waittest.Until(t, "all batches to be in flight", func() bool { // one writes, the others wait for their turn
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.session == nil {
			return false
		}
		c.session.pending.mu.Lock()
		defer c.session.pending.mu.Unlock()
		return len(c.session.waiting) == len(all)
	})
	cancel()
	for _, one := range all {
		if err := <-one; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
}

// TestLinger: a batch in flight when the agent stops may still be acknowledged. No new batch is sent.
func TestLinger(t *testing.T) {
	p := newPeer(t)
	there, hold := make(chan struct{}, 1), make(chan struct{})
	p.memory.After = func(_ context.Context, b wire.Batch, outcome error) error {
		if b.Op == wire.OpData {
			there <- struct{}{}
			<-hold
		}
		return outcome
	}
	c := p.serve().dial(t, func(c *TCP) { c.Linger = 10 * time.Second })
	id, other := open(t, c), open(t, c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Append(ctx, line(id, "in flight\n")) }() // waited for below
	<-there
	cancel()
	if err := c.Append(ctx, line(other, "too late\n")); !errors.Is(err, context.Canceled) {
		t.Errorf("sent after the stop: %v", err)
	}
	close(hold)
	if err := <-done; err != nil {
		t.Errorf("in flight at the stop: %v", err)
	}
}

// TestOthersOfAnAbandonedBatch: when one batch is abandoned, the outcome of the others in the session is
// unknown. Their error is not that they were cancelled themselves.
func TestOthersOfAnAbandonedBatch(t *testing.T) {
	p := newPeer(t)
	there, hold := make(chan struct{}, 2), make(chan struct{})
	p.memory.After = func(_ context.Context, b wire.Batch, outcome error) error {
		if b.Op == wire.OpData {
			there <- struct{}{}
			<-hold
		}
		return outcome
	}
	defer close(hold)
	c := p.serve().dial(t)
	id, other := open(t, c), open(t, c)
	ctx, cancel := context.WithCancel(context.Background())
	one, two := make(chan error, 1), make(chan error, 1)
	go func() { one <- c.Append(ctx, line(id, "x\n")) }()           // waited for below
	go func() { two <- c.Append(bounded(t), line(other, "y\n")) }() // waited for below
	<-there
	<-there
	cancel()
	if err := <-one; !errors.Is(err, context.Canceled) {
		t.Errorf("the abandoned batch: %v", err)
	}
	if err := <-two; err == nil || errors.Is(err, context.Canceled) || errors.Is(err, wire.ErrRefused) {
		t.Errorf("the other batch: %v", err)
	}
}

func TestNoAddress(t *testing.T) {
	if err := new(TCP).Run(bounded(t)); err == nil || !strings.Contains(err.Error(), "address") {
		t.Errorf("got %v", err)
	}
}

// TestAnonymousIsRefused: a batch without a stream would end the connection for all others.
func TestAnonymousIsRefused(t *testing.T) {
	if err := new(TCP).Append(bounded(t), wire.Batch{Text: []byte("x\n")}); !errors.Is(err, wire.ErrRefused) {
		t.Errorf("got %v", err)
	}
}

// TestTLS: lines are sent encrypted, both sides authenticate, and each mistake is reported with its
// cause.
func TestTLS(t *testing.T) {
	ca, stranger := certstest.New(t), certstest.New(t)
	own, other := ca.Sign("a"), ca.Sign("other")
	m, _, addr := collect(t, func(s *ingesttest.TCP) {
		s.RequireCert = true
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{ca.Sign("collector", "collector")}, ClientCAs: ca.Pool, ClientAuth: tls.VerifyClientCertIfGiven}
	})
	_, _, plain := collect(t)
	with := func(name string, roots *x509.CertPool, own ...tls.Certificate) func(*TCP) {
		return func(c *TCP) {
			c.Explain = certs.Files{}.ExplainClient
			c.TLS = func() *tls.Config {
				return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: name, Certificates: own}
			}
		}
	}
	good := connect(t, addr, with("collector", ca.Pool, own))
	id := open(t, good)
	if err := good.Append(bounded(t), line(id, "secret\n")); err != nil || string(m.Text(id)) != "secret\n" {
		t.Errorf("kept %q, %v", m.Text(id), err)
	}
	f := func(what, addr, want string, change ...func(*TCP)) {
		t.Helper()
		c := connect(t, addr, change...)
		waittest.Until(t, "an attempt to connect", func() bool { return c.Trouble() != "not connected yet" })
		if got := c.Trouble(); !strings.Contains(got, want) {
			t.Errorf("%s: %q; want %q in it", what, got, want)
		}
	}
	f("another authority", addr, "certificate signed by unknown authority", with("collector", stranger.Pool, own))
	f("another name", addr, "certificate is valid for collector, not elsewhere", with("elsewhere", ca.Pool, own))
	f("no certificate of its own", addr, "requires a certificate of the agent", with("collector", ca.Pool))
	f("another agent's certificate", addr, `agent id "a" is not a name`, with("collector", ca.Pool, other))
	f("plain to TLS", addr, "speaks TLS: use tls://")
	f("TLS to plain", plain, "write tcp://", with("collector", ca.Pool))
}
