package ship

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanin/internal/natstest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

func TestMain(m *testing.M) { natstest.VerifyMain(m) }

// peer is a collector in a few lines: it speaks the protocol over real sockets and has its log in
// memory.
type peer struct {
	ln     net.Listener
	memory *appendertest.Memory
	script func(conn net.Conn) bool // handles a connection, and reports whether it did
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{ln: ln, memory: new(appendertest.Memory)}
	p.memory.Log, p.memory.Incarnation = wire.NewStreamID(), wire.NewStreamID()
	t.Cleanup(func() { ln.Close() })
	return p
}

func (p *peer) serve() *peer {
	go func() { // ends when the listener is closed
		for {
			conn, err := p.ln.Accept()
			if err != nil {
				return
			}
			go p.conn(conn) // ends with the connection
		}
	}()
	return p
}

func (p *peer) conn(conn net.Conn) {
	defer conn.Close()
	d := wire.NewDecoder(conn)
	var f wire.Frame
	if d.Next(&f) != nil || f.Kind != wire.KindHello {
		return
	}
	if p.script != nil && p.script(conn) {
		return
	}
	conn.Write(wire.AppendWelcome(nil, p.memory.Welcome(f.Hello.Agent)))
	for d.Next(&f) == nil {
		if f.Kind == wire.KindPing {
			conn.Write(wire.AppendPing(nil, wire.KindPong, f.N))
			continue
		}
		b := f.Batch
		b.Agent = "a"
		go func() { // ends with its answer
			conn.Write(wire.AppendAnswer(nil, wire.AnswerTo(b.Stream, p.memory.Append(context.Background(), b))))
		}()
	}
}

func (p *peer) dial(t *testing.T, change ...func(*TCP)) *TCP {
	t.Helper()
	c := &TCP{Addrs: []string{p.ln.Addr().String()}, Hello: wire.Hello{Agent: "a", Instance: wire.NewStreamID(), Run: 1},
		Timing: Timing{MinBackoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond}}
	for _, f := range change {
		f(c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { c.Run(ctx); close(done) }() // ended by the cleanup
	t.Cleanup(func() { cancel(); <-done })
	return c
}

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestAppender(t *testing.T) {
	appendertest.Run(t, func(t *testing.T) wire.Appender {
		p := newPeer(t).serve()
		return appendertest.Observe(p.dial(t), p.memory)
	})
}

func line(id wire.StreamID, text string) wire.Batch {
	return wire.Batch{Stream: id, Epoch: 1, End: int64(len(text)), After: wire.TailHash([]byte(text)), Text: []byte(text)}
}

func open(t *testing.T, c *TCP) wire.StreamID {
	t.Helper()
	id := wire.NewStreamID()
	if err := c.Append(bounded(t), wire.Batch{Op: wire.OpOpen, Stream: id, Epoch: 1, Source: "app"}); err != nil {
		t.Fatal(err)
	}
	return id
}

// TestHalfOpen: the connection to a peer that falls silent is closed, and the outcome of what waits is
// unknown. Nothing confirms bytes on this connection, as if the peer's machine were gone.
func TestHalfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		go io.Copy(io.Discard, theirs) // ends with the connection
		defer theirs.Close()
		c := &TCP{Timing: Timing{DeadAfter: 15 * time.Second, PingEvery: 5 * time.Second}}
		s := newTCPSession(ours, c)
		served := make(chan error, 1)
		go func() { served <- s.serve(t.Context()) }() // ends with the connection
		began := time.Now()
		err := s.append(t.Context(), &wire.Batch{Op: wire.OpOpen, Stream: wire.NewStreamID(), Epoch: 1})
		if err == nil || errors.Is(err, wire.ErrRefused) || errors.As(err, new(*wire.Expected)) {
			t.Errorf("got %v, want an unknown outcome", err)
		}
		if took := time.Since(began); took < c.DeadAfter || took > 2*c.DeadAfter {
			t.Errorf("the silence was noticed after %v", took)
		}
		if err := <-served; !strings.Contains(err.Error(), "nothing came from the collector") {
			t.Errorf("the session ended with %v", err)
		}
	})
}

// TestFault: the collector's reason for refusing a session is reported, and its pause is respected.
func TestFault(t *testing.T) {
	p := newPeer(t)
	asked := make(chan time.Time, 100)
	p.script = func(conn net.Conn) bool {
		asked <- time.Now()
		conn.Write(wire.AppendFault(nil, "the agent id is taken by 10.0.0.1", 0))
		return true
	}
	p.serve()
	c := p.dial(t)
	<-asked
	<-asked
	if got := c.Trouble(); got == "" || got == "not connected yet" {
		t.Errorf("trouble is %q", got)
	}
}

// TestGarbage: a peer that speaks another protocol is an error, not a crash.
func TestGarbage(t *testing.T) {
	for _, text := range []string{"HTTP/1.1 400 Bad Request\r\n\r\n", "\x95\x10\x01", "\xdd\xff\xff\xff\xff", "\x93\x14"} {
		p := newPeer(t)
		seen := make(chan struct{}, 100)
		p.script = func(conn net.Conn) bool { io.WriteString(conn, text); seen <- struct{}{}; return true }
		p.serve()
		c := p.dial(t)
		<-seen
		<-seen
		if c.Trouble() == "" {
			t.Errorf("%q: connected", text)
		}
	}
}

// TestTwoLogs: addresses of different logs are not mixed.
func TestTwoLogs(t *testing.T) {
	a, b := newPeer(t).serve(), newPeer(t).serve()
	welcomed := make(chan wire.StreamID, 100)
	c := a.dial(t, func(c *TCP) {
		c.Addrs = append(c.Addrs, b.ln.Addr().String())
		c.OnWelcome = func(w wire.Welcome, _ int) { welcomed <- w.Log }
	})
	open(t, c)
	a.ln.Close()
	c.mu.Lock()
	c.session.conn.Close()
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if err := c.Append(ctx, wire.Batch{Op: wire.OpOpen, Stream: wire.NewStreamID(), Epoch: 1}); err == nil {
		t.Fatal("appended to another log")
	}
	if log := <-welcomed; log != a.memory.Log || len(welcomed) > 0 {
		t.Error("another log was welcomed")
	}
}

// TestCancelledAppend: the answer to an abandoned batch is not taken for that of the next one.
func TestCancelledAppend(t *testing.T) {
	p := newPeer(t)
	hold, there := make(chan struct{}), make(chan struct{}, 1)
	p.memory.After = func(_ context.Context, b wire.Batch, outcome error) error {
		if b.Op == wire.OpData && string(b.Text) == "one\n" {
			there <- struct{}{}
			<-hold
		}
		return outcome
	}
	c := p.serve().dial(t)
	id := open(t, c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Append(ctx, line(id, "one\n")) }() // ends by cancel
	<-there
	cancel()
	<-done
	close(hold)
	err := c.Append(bounded(t), line(id, "other\n"))
	var expected *wire.Expected
	if !errors.As(err, &expected) {
		t.Fatalf("got %v, want the stream's watermark", err)
	}
}
