package agent_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanin/ingest/ingesttest"
	"fanin/ingest/stream"
	"fanin/internal/counters"
	"fanin/internal/wire"
)

func TestAgent(t *testing.T) {
	k := ingesttest.NewRecorder()
	s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome}
	addr := ingesttest.Start(t, s)
	c := ingesttest.Greet(t, addr, "web-1", ingesttest.InstanceA, 1)
	c.Send(wire.AppendBatch(nil, &wire.Batch{Op: wire.OpOpen, Stream: wire.StreamID{7}, Source: "app"}, 0, nil))
	c.Want(wire.KindAck)
	c.Send(ingesttest.Data(7, 0, "one\n"))
	if f := c.Want(wire.KindAck); f.Answer.Stream != (wire.StreamID{7}) {
		t.Errorf("ack of %v", f.Answer.Stream)
	}
	c.Send(wire.AppendPing(nil, wire.KindPing, 5))
	if f := c.Want(wire.KindPong); f.N != 5 {
		t.Errorf("pong %d", f.N)
	}
	batches := k.WaitText(t, "one\n")
	if b := batches[1]; b.Agent != "web-1" || b.Host != "web1" || b.Input != "agent" {
		t.Errorf("batch %+v", b)
	}
	if l := s.Sessions.List(); len(l) != 1 || l[0].Agent != "web-1" || l[0].Frames != 3 {
		t.Errorf("sessions %+v", l)
	}
}

// watched is a listener whose connections call wrote after each write, and return from
// the write when wrote returns.
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
	k := ingesttest.NewRecorder()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ack := wire.AppendAnswer(nil, wire.AnswerTo(wire.StreamID{7}, nil))
	second := make(chan struct{})
	k.Outcome = func(_ context.Context, b wire.Batch) error {
		if b.Offset > 0 {
			close(second)
		}
		return nil
	}
	once := false
	addr := ingesttest.StartOn(t, &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome}, &watched{ln, func(frame []byte) {
		if once || !bytes.Equal(frame, ack) {
			return
		}
		once = true
		select { // the agent has the answer; the collector is still about to return from writing it
		case <-second:
		case <-time.After(5 * time.Second):
		}
	}})
	c := ingesttest.Greet(t, addr, "a", ingesttest.InstanceA, 1)
	c.Send(ingesttest.Data(7, 0, "one\n"))
	c.Want(wire.KindAck)
	c.Send(ingesttest.Data(7, 4, "two\n"))
	c.Want(wire.KindAck)
	k.WaitText(t, "one\ntwo\n")
}

func TestAgentByteByByte(t *testing.T) {
	k := ingesttest.NewRecorder()
	addr := ingesttest.Start(t, &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome})
	c := ingesttest.NewClient(t, ingesttest.Dial(t, addr))
	for _, b := range ingesttest.Hello("a", ingesttest.InstanceA, 1) {
		c.Send([]byte{b})
	}
	c.Want(wire.KindWelcome)
	for _, b := range ingesttest.Data(1, 0, "x\ny\n") {
		c.Send([]byte{b})
	}
	c.Want(wire.KindAck)
	k.WaitText(t, "x\ny\n")
}

func TestAgentAnswers(t *testing.T) {
	k := ingesttest.NewRecorder()
	expected := &wire.Expected{Known: true, Watermark: wire.Watermark{Epoch: 3, Point: wire.Point{Offset: 77}}}
	k.Outcome = func(_ context.Context, b wire.Batch) error {
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
	s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome}
	addr := ingesttest.Start(t, s)
	c := ingesttest.Greet(t, addr, "a", ingesttest.InstanceA, 1)
	c.Send(ingesttest.Data(1, 0, "x\n"))
	if f := c.Want(wire.KindNack); f.Answer.Expected.Offset != 77 {
		t.Errorf("nack %+v", f.Answer)
	}
	c.Send(ingesttest.Data(2, 0, "x\n"))
	c.Want(wire.KindRefuse)
	c.Send(ingesttest.Data(3, 0, "x\n"))
	c.Want(wire.KindLater)
	c.Send(wire.AppendBatch(nil, &wire.Batch{Op: wire.OpOpen, Stream: wire.StreamID{7}, Source: "fanin"}, 0, nil))
	c.Want(wire.KindRefuse)
	if n := s.Counts("agent"); n.Received != 3 || n.Rejected[counters.Retry] != 1 {
		t.Errorf("%+v; want 3 lines received, of which the agent repeats 1", n)
	}
}

func TestAgentIDs(t *testing.T) {
	addr := ingesttest.Start(t, &ingesttest.TCP{Out: ingesttest.NewRecorder(), Welcome: ingesttest.Welcome})
	for _, id := range []string{"", "fanin", "a b", "a\n", strings.Repeat("x", 129)} {
		c := ingesttest.NewClient(t, ingesttest.Dial(t, addr))
		c.Send(ingesttest.Hello(id, ingesttest.InstanceA, 1))
		c.WantFault("agent id")
	}
}

func TestTakeOver(t *testing.T) {
	s := &ingesttest.TCP{Out: ingesttest.NewRecorder(), Welcome: ingesttest.Welcome}
	addr := ingesttest.Start(t, s)
	first := ingesttest.Greet(t, addr, "a", ingesttest.InstanceA, 1)
	other := ingesttest.NewClient(t, ingesttest.Dial(t, addr))
	other.Send(ingesttest.Hello("a", ingesttest.InstanceB, 9))
	other.WantFault(first.Conn.LocalAddr().String(), other.Conn.LocalAddr().String())

	second := ingesttest.Greet(t, addr, "a", ingesttest.InstanceA, 2)
	first.WantFault("again", second.Conn.LocalAddr().String())
	older := ingesttest.NewClient(t, ingesttest.Dial(t, addr))
	older.Send(ingesttest.Hello("a", ingesttest.InstanceA, 1))
	older.WantFault(second.Conn.LocalAddr().String())
	ingesttest.Greet(t, addr, "a", ingesttest.InstanceA, 2)
	second.WantFault("again")
	if n := ingesttest.Metric(t, s.Sessions, "fanin_rejected_connections_total", "taken_over"); n != 2 {
		t.Errorf("%d connections are counted as taken over, want 2", n)
	}
}

// The newer connection is welcomed only when nothing of the older is in flight.
func TestTakeOverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := ingesttest.NewRecorder()
		written := make(chan struct{})
		k.Outcome = func(context.Context, wire.Batch) error { <-written; return nil }
		var atWelcome []string
		p := ingesttest.StartPipes(t, &ingesttest.TCP{Out: k, Welcome: func(agent string) wire.Welcome {
			atWelcome = append(atWelcome, k.Text())
			return ingesttest.Welcome(agent)
		}})
		first := p.Join(t, ingesttest.Addr(1), 0)
		first.Conn.Write(ingesttest.Data(1, 0, "x\n"))
		synctest.Wait()
		second := ingesttest.NewClient(t, p.Dial(ingesttest.Addr(1), 2))
		second.Send(ingesttest.Hello("a0", ingesttest.InstanceA, 2))
		synctest.Wait()
		if len(atWelcome) != 1 {
			t.Fatal("welcomed while a frame of the older connection was in flight")
		}
		close(written)
		second.Want(wire.KindWelcome)
		if len(atWelcome) != 2 || atWelcome[1] != "x\n" {
			t.Errorf("at the welcomes %q was recorded", atWelcome)
		}
		synctest.Wait()
		if acks, faults := first.Got(wire.KindAck), first.Got(wire.KindFault); acks != 1 || faults != 1 {
			t.Errorf("the older connection got %d acks and %d faults", acks, faults)
		}
		first.Conn.Close()
		second.Conn.Close()
	})
}

func TestBadFrames(t *testing.T) {
	addr := ingesttest.Start(t, &ingesttest.TCP{Out: ingesttest.NewRecorder(), Welcome: ingesttest.Welcome})
	b := wire.Batch{Stream: wire.StreamID{1}, Text: []byte("x\n")}
	whole := wire.AppendBatch(nil, &b, 0, b.Text)
	huge := append(append([]byte(nil), whole[:len(whole)-3]...), 2, 0xc6, 0xff, 0xff, 0xff, 0xff) // 4 GiB of text
	for name, frame := range map[string][]byte{
		"random": []byte("\x01\x02\x03\x04\x05 random bytes"), "huge": huge, "second hello": ingesttest.Hello("a", ingesttest.InstanceA, 1),
		"answer": wire.AppendAnswer(nil, wire.Answer{Kind: wire.KindAck}), "lossy": wire.AppendLossy(nil, &b), "no stream": ingesttest.Data(0, 0, "x\n"),
	} {
		t.Run(name, func(t *testing.T) {
			c := ingesttest.Greet(t, addr, "agent", ingesttest.InstanceA, 1)
			c.Send(frame)
			c.WantFault()
		})
	}
}

func TestHalfHello(t *testing.T) {
	addr := ingesttest.Start(t, &ingesttest.TCP{Out: ingesttest.NewRecorder(), Welcome: ingesttest.Welcome, Limits: stream.Limits{HandshakeTimeout: 50 * time.Millisecond}})
	whole := ingesttest.Hello("agent", ingesttest.InstanceA, 1)
	for _, n := range []int{1, 6, 7, 8, len(whole) - 1} {
		c := ingesttest.Dial(t, addr)
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
	addr := ingesttest.Start(t, &ingesttest.TCP{Out: ingesttest.NewRecorder(), Welcome: ingesttest.Welcome, Limits: stream.Limits{FrameTimeout: 100 * time.Millisecond}})
	c := ingesttest.Greet(t, addr, "a", ingesttest.InstanceA, 1)
	frame := ingesttest.Data(1, 0, "some line\n")
	c.Send(frame[:len(frame)-4])
	c.WantFault("slow")
}

func TestDrainAgent(t *testing.T) {
	k := ingesttest.NewRecorder()
	in, out := make(chan struct{}), make(chan struct{})
	k.Outcome = func(context.Context, wire.Batch) error { close(in); <-out; return nil }
	s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome}
	addr := ingesttest.Start(t, s)
	c := ingesttest.Greet(t, addr, "a", ingesttest.InstanceA, 1)
	c.Send(ingesttest.Data(1, 0, "x\n"))
	<-in
	ended := make(chan error)
	go func() { ended <- s.Shutdown(context.Background()) }()
	<-s.Stopped()
	close(out)
	c.Want(wire.KindAck)
	c.Want(wire.KindDrain)
	c.Conn.Close()
	if err := <-ended; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}
