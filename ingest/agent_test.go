package ingest

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"fanin/internal/wire"
)

// client speaks as an agent does.
type client struct {
	t   *testing.T
	nc  net.Conn
	dec *wire.Decoder
}

func newClient(t *testing.T, nc net.Conn) *client {
	return &client{t, nc, wire.NewDecoder(nc)}
}

func (c *client) send(frame []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(frame); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) next() wire.Frame {
	c.t.Helper()
	var f wire.Frame
	if err := c.dec.Next(&f); err != nil {
		c.t.Fatalf("read an answer: %v", err)
	}
	return f
}

func (c *client) want(k wire.Kind) wire.Frame {
	c.t.Helper()
	f := c.next()
	if f.Kind != k {
		c.t.Fatalf("got %+v, want kind %d", f, k)
	}
	return f
}

// fault reads a fault that mentions all words, and the end.
func (c *client) fault(words ...string) {
	c.t.Helper()
	f := c.want(wire.KindFault)
	for _, w := range words {
		if !strings.Contains(f.Reason, w) {
			c.t.Errorf("fault %q does not mention %q", f.Reason, w)
		}
	}
	if _, err := c.nc.Read(make([]byte, 1)); err == nil {
		c.t.Error("the connection goes on after a fault")
	}
}

var (
	instanceA = wire.StreamID{1}
	instanceB = wire.StreamID{2}
)

func hello(agent string, instance wire.StreamID, run int64) []byte {
	return wire.AppendHello(nil, wire.Hello{Version: wire.Version, Agent: agent, Instance: instance, Run: run, Host: "web1", Software: "test"})
}

func data(stream byte, from int64, text string) []byte {
	b := wire.Batch{Stream: wire.StreamID{stream}, Offset: from, End: from + int64(len(text)), Text: []byte(text)}
	return append(wire.AppendBatch(nil, &b, 0, b.Text), text...)
}

func welcome(string) wire.Welcome { return wire.Welcome{Log: wire.StreamID{9}} }

// greet connects an agent up to its welcome.
func greet(t *testing.T, addr, agent string, instance wire.StreamID, run int64) *client {
	t.Helper()
	c := newClient(t, dial(t, addr))
	c.send(hello(agent, instance, run))
	c.want(wire.KindWelcome)
	return c
}

func TestAgent(t *testing.T) {
	k := newKeeper()
	s := &TCP{Out: k, Welcome: welcome}
	addr := serveTCP(t, s)
	c := greet(t, addr, "web-1", instanceA, 1)
	c.send(wire.AppendBatch(nil, &wire.Batch{Op: wire.OpOpen, Stream: wire.StreamID{7}, Source: "app"}, 0, nil))
	c.want(wire.KindAck)
	c.send(data(7, 0, "one\n"))
	if f := c.want(wire.KindAck); f.Answer.Stream != (wire.StreamID{7}) {
		t.Errorf("ack of %v", f.Answer.Stream)
	}
	c.send(wire.AppendPing(nil, wire.KindPing, 5))
	if f := c.want(wire.KindPong); f.N != 5 {
		t.Errorf("pong %d", f.N)
	}
	batches := k.waitText(t, "one\n")
	if b := batches[1]; b.Agent != "web-1" || b.Host != "web1" || b.Input != "agent" {
		t.Errorf("batch %+v", b)
	}
	if l := s.Sessions.List(); len(l) != 1 || l[0].Agent != "web-1" || l[0].Frames != 3 {
		t.Errorf("sessions %+v", l)
	}
}

// watched is a listener whose connections tell when something was written to them, and
// go on when that returns.
type watched struct {
	net.Listener
	wrote func(frame []byte)
}

func (w *watched) Accept() (net.Conn, error) {
	nc, err := w.Listener.Accept()
	return &watchedConn{nc, w.wrote}, err
}

type watchedConn struct {
	net.Conn
	wrote func(frame []byte)
}

func (c *watchedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.wrote(p)
	return n, err
}

// TestAgentAnswersLast: when an agent has the answer to a frame, the next frame of the
// stream is welcome, however soon it comes.
func TestAgentAnswersLast(t *testing.T) {
	k := newKeeper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ack := wire.AppendAnswer(nil, wire.AnswerTo(wire.StreamID{7}, nil))
	second := make(chan struct{})
	k.outcome = func(_ context.Context, b wire.Batch) error {
		if b.Offset > 0 {
			close(second)
		}
		return nil
	}
	once := false
	addr := serveOn(t, &TCP{Out: k, Welcome: welcome}, &watched{ln, func(frame []byte) {
		if once || !bytes.Equal(frame, ack) {
			return
		}
		once = true
		select { // the agent has the answer; the collector is still about to return from writing it
		case <-second:
		case <-time.After(5 * time.Second):
		}
	}})
	c := greet(t, addr, "a", instanceA, 1)
	c.send(data(7, 0, "one\n"))
	c.want(wire.KindAck)
	c.send(data(7, 4, "two\n"))
	c.want(wire.KindAck)
	k.waitText(t, "one\ntwo\n")
}

func TestAgentByteByByte(t *testing.T) {
	k := newKeeper()
	addr := serveTCP(t, &TCP{Out: k, Welcome: welcome})
	c := newClient(t, dial(t, addr))
	for _, b := range hello("a", instanceA, 1) {
		c.send([]byte{b})
	}
	c.want(wire.KindWelcome)
	for _, b := range data(1, 0, "x\ny\n") {
		c.send([]byte{b})
	}
	c.want(wire.KindAck)
	k.waitText(t, "x\ny\n")
}

func TestAgentAnswers(t *testing.T) {
	k := newKeeper()
	expected := &wire.Expected{Known: true, Watermark: wire.Watermark{Epoch: 3, Point: wire.Point{Offset: 77}}}
	k.outcome = func(_ context.Context, b wire.Batch) error {
		switch b.Stream[0] {
		case 1:
			return expected
		case 2:
			return &wire.Refused{Reason: "no"}
		case 3:
			return errors.New("odd")
		}
		return nil
	}
	addr := serveTCP(t, &TCP{Out: k, Welcome: welcome})
	c := greet(t, addr, "a", instanceA, 1)
	c.send(data(1, 0, "x\n"))
	if f := c.want(wire.KindNack); f.Answer.Expected.Offset != 77 {
		t.Errorf("nack %+v", f.Answer)
	}
	c.send(data(2, 0, "x\n"))
	c.want(wire.KindRefuse)
	c.send(data(3, 0, "x\n"))
	c.want(wire.KindLater)
	c.send(wire.AppendBatch(nil, &wire.Batch{Op: wire.OpOpen, Stream: wire.StreamID{7}, Source: "fanin"}, 0, nil))
	c.want(wire.KindRefuse)
}

func TestAgentIDs(t *testing.T) {
	addr := serveTCP(t, &TCP{Out: newKeeper(), Welcome: welcome})
	for _, id := range []string{"", "fanin", "a b", "a\n", strings.Repeat("x", 129)} {
		c := newClient(t, dial(t, addr))
		c.send(hello(id, instanceA, 1))
		c.fault("agent id")
	}
}

func TestTakeOver(t *testing.T) {
	s := &TCP{Out: newKeeper(), Welcome: welcome}
	addr := serveTCP(t, s)
	first := greet(t, addr, "a", instanceA, 1)
	other := newClient(t, dial(t, addr))
	other.send(hello("a", instanceB, 9))
	other.fault(first.nc.LocalAddr().String(), other.nc.LocalAddr().String())

	second := greet(t, addr, "a", instanceA, 2)
	first.fault("again", second.nc.LocalAddr().String())
	older := newClient(t, dial(t, addr))
	older.send(hello("a", instanceA, 1))
	older.fault(second.nc.LocalAddr().String())
	greet(t, addr, "a", instanceA, 2)
	second.fault("again")
}

// The newer connection is welcomed only when nothing of the older is in flight.
func TestTakeOverWaits(t *testing.T) {
	k := newKeeper()
	in, out := make(chan struct{}), make(chan struct{})
	k.outcome = func(context.Context, wire.Batch) error { close(in); <-out; return nil }
	welcomed := make(chan string, 2)
	addr := serveTCP(t, &TCP{Out: k, Welcome: func(agent string) wire.Welcome { welcomed <- k.kept(); return welcome(agent) }})
	first := greet(t, addr, "a", instanceA, 1)
	<-welcomed
	first.send(data(1, 0, "x\n"))
	<-in
	second := newClient(t, dial(t, addr))
	second.send(hello("a", instanceA, 2))
	select {
	case <-welcomed:
		t.Fatal("welcomed while a frame of the older connection was in flight")
	case <-time.After(50 * time.Millisecond):
	}
	close(out)
	second.want(wire.KindWelcome)
	if kept := <-welcomed; kept != "x\n" {
		t.Errorf("at the welcome %q was kept", kept)
	}
}

func TestBadFrames(t *testing.T) {
	addr := serveTCP(t, &TCP{Out: newKeeper(), Welcome: welcome})
	b := wire.Batch{Stream: wire.StreamID{1}, Text: []byte("x\n")}
	whole := wire.AppendBatch(nil, &b, 0, b.Text)
	huge := append(append([]byte(nil), whole[:len(whole)-3]...), 2, 0xc6, 0xff, 0xff, 0xff, 0xff) // 4 GiB of text
	for name, frame := range map[string][]byte{
		"random": []byte("\x01\x02\x03\x04\x05 random bytes"), "huge": huge, "second hello": hello("a", instanceA, 1),
		"answer": wire.AppendAnswer(nil, wire.Answer{Kind: wire.KindAck}), "lossy": wire.AppendLossy(nil, &b), "no stream": data(0, 0, "x\n"),
	} {
		t.Run(name, func(t *testing.T) {
			c := greet(t, addr, "agent", instanceA, 1)
			c.send(frame)
			c.fault()
		})
	}
}

func TestHalfHello(t *testing.T) {
	addr := serveTCP(t, &TCP{Out: newKeeper(), Welcome: welcome, HandshakeTimeout: 50 * time.Millisecond})
	whole := hello("agent", instanceA, 1)
	for _, n := range []int{1, 6, 7, 8, len(whole) - 1} {
		c := dial(t, addr)
		c.Write(whole[:n])
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		for {
			_, err := c.Read(make([]byte, 100))
			var slow net.Error
			if errors.As(err, &slow) && slow.Timeout() {
				t.Errorf("still open after %d bytes of a hello", n)
			}
			if err != nil {
				break
			}
		}
	}
}

func TestSlowFrame(t *testing.T) {
	addr := serveTCP(t, &TCP{Out: newKeeper(), Welcome: welcome, FrameTimeout: 100 * time.Millisecond})
	c := greet(t, addr, "a", instanceA, 1)
	frame := data(1, 0, "some line\n")
	c.send(frame[:len(frame)-4])
	c.fault("slow")
}

func TestDrainAgent(t *testing.T) {
	k := newKeeper()
	in, out := make(chan struct{}), make(chan struct{})
	k.outcome = func(context.Context, wire.Batch) error { close(in); <-out; return nil }
	s := &TCP{Out: k, Welcome: welcome}
	addr := serveTCP(t, s)
	c := greet(t, addr, "a", instanceA, 1)
	c.send(data(1, 0, "x\n"))
	<-in
	ended := make(chan error)
	go func() { ended <- s.Shutdown(context.Background()) }()
	<-s.draining
	close(out)
	c.want(wire.KindAck)
	c.want(wire.KindDrain)
	c.nc.Close()
	if err := <-ended; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}
