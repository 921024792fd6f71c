package ship

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fanin/ingest"
	"fanin/ingest/ingesttest"
	natsin "fanin/ingest/nats"
	"fanin/internal/natstest"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// links is n batches of a stream, each behind the one before.
func links(id wire.StreamID, n int) (list []wire.Batch, text string) {
	for i := range n {
		line := fmt.Sprintf("line %d %s\n", i, strings.Repeat("x", i%7*500))
		b := wire.Batch{Stream: id, Epoch: 1, Offset: int64(len(text)), Before: wire.TailHash([]byte(text)), Text: []byte(line)}
		text += line
		b.End, b.After = int64(len(text)), wire.TailHash([]byte(text))
		list = append(list, b)
	}
	return list, text
}

// held is a log in memory that holds the first batch of each stream until release is closed.
type held struct{ there, release chan struct{} }

func hold(m *appendertest.Memory) held {
	h := held{make(chan struct{}, 1), make(chan struct{})}
	m.Before = func(_ context.Context, b wire.Batch) error {
		if b.Op == wire.OpData && b.Offset == 0 {
			select {
			case h.there <- struct{}{}:
			default:
			}
			<-h.release
		}
		return nil
	}
	return h
}

// inFlight appends both batches of a chain while the first is held, and checks that frames of both have
// arrived before there is an answer, and that both are acknowledged.
func inFlight(t *testing.T, a wire.Appender, m *appendertest.Memory, h held, s *ingest.Sessions) {
	t.Helper()
	id := wire.NewStreamID()
	if err := a.Append(bounded(t), wire.Batch{Op: wire.OpOpen, Stream: id, Epoch: 1, Source: "app"}); err != nil {
		t.Fatal(err)
	}
	list, text := links(id, 2)
	next, done := make(chan struct{}, 1), make(chan error, 2)
	list[0].Next = func() { next <- struct{}{} }
	go func() { done <- a.Append(bounded(t), list[0]) }() // waited for below
	<-h.there
	<-next
	before := s.List()[0].Frames
	go func() { done <- a.Append(bounded(t), list[1]) }() // waited for below
	waittest.Until(t, "the second frame", func() bool { return s.List()[0].Frames > before })
	if len(done) > 0 || len(m.Text(id)) > 0 {
		t.Errorf("while the first batch is held, %q is kept, and %d have an outcome", m.Text(id), len(done))
	}
	close(h.release)
	for range list {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := string(m.Text(id)); got != text {
		t.Errorf("kept %q, want %q", got, text)
	}
}

// TestTwoInFlight: the second batch of a chain is at the collector while the first one waits there.
func TestTwoInFlight(t *testing.T) {
	sessions := new(ingest.Sessions)
	var h held
	m, _, addr := collect(t, func(s *ingesttest.TCP) {
		h, s.Sessions = hold(s.Out.(*appendertest.Memory)), sessions
	})
	inFlight(t, connect(t, addr), m, h, sessions)
}

// TestTwoInFlightOverNATS is TestTwoInFlight. Each batch is a message, which is handled on a goroutine of its
// own.
func TestTwoInFlightOverNATS(t *testing.T) {
	s := natstest.New(t)
	sessions := new(ingest.Sessions)
	var h held
	m, _ := collectNATS(t, s, func(n *natsin.Input) { h, n.Sessions = hold(n.Out.(*appendertest.Memory)), sessions })
	inFlight(t, connectNATS(t, s), m, h, sessions)
}

// TestTwoInFlightThroughStream: the second batch is in the JetStream stream before the first one has its
// answer.
func TestTwoInFlightThroughStream(t *testing.T) {
	s := natstest.New(t)
	var h held
	m, _ := collectNATS(t, s, throughStream, func(n *natsin.Input) { h = hold(n.Out.(*appendertest.Memory)) })
	n := connectNATS(t, s, viaStream)
	id := openNATS(t, n)
	list, text := links(id, 2)
	next, done := make(chan struct{}, 1), make(chan error, 2)
	list[0].Next = func() { next <- struct{}{} }
	go func() { done <- n.Append(bounded(t), list[0]) }() // waited for below
	<-h.there
	<-next
	second := make(chan struct{}, 1)
	list[1].Next = func() { second <- struct{}{} }
	go func() { done <- n.Append(bounded(t), list[1]) }() // waited for below
	<-second
	close(h.release)
	for range list {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := string(m.Text(id)); got != text {
		t.Errorf("kept %q, want %q", got, text)
	}
}

// TestManyChains: chains of many streams over one connection, each in its order.
func TestManyChains(t *testing.T) {
	m, _, addr := collect(t)
	c := connect(t, addr)
	const streams, batches = 20, 60
	done := make(chan error, streams)
	for range streams {
		id := open(t, c)
		go func() { // waited for below
			list, text := links(id, batches)
			err := pour(bounded(t), c, list)
			if got := string(m.Text(id)); err == nil && got != text {
				err = fmt.Errorf("stream %v: kept %d bytes, want %d", id, len(got), len(text))
			}
			done <- err
		}()
	}
	for range streams {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// pour sends batches of one stream, two at a time where that is allowed.
func pour(ctx context.Context, a wire.Appender, list []wire.Batch) error {
	var last chan error
	for _, b := range list {
		next, done := make(chan struct{}, 1), make(chan error, 1)
		b.Next = func() { next <- struct{}{} }
		go func() { done <- a.Append(ctx, b) }() // waited for with the next batch
		if last != nil {
			if err := <-last; err != nil {
				<-done
				return err
			}
		}
		select {
		case <-next:
		case err := <-done:
			done <- err
		}
		last = done
	}
	return <-last
}

// TestOlderCollector: a collector whose welcome says nothing of chains gets one batch of a stream at a time.
// testdata/welcome.golden of the package wire is such a welcome.
func TestOlderCollector(t *testing.T) {
	p := newPeer(t)
	h := hold(p.memory)
	c := p.serve().dial(t) // it answers frames as they come, in any order
	id := open(t, c)
	list, text := links(id, 10)
	done := make(chan error, 1)
	go func() { done <- c.Append(bounded(t), list[0]) }() // waited for below
	<-h.there
	if err := c.Append(bounded(t), list[1]); err == nil || errors.As(err, new(*wire.Expected)) {
		t.Errorf("a second batch was sent: %v", err)
	}
	close(h.release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	for i := 1; i < len(list); i++ {
		list[i].Next = func() { t.Errorf("after batch %d another one may follow before its outcome", i) }
		if err := c.Append(bounded(t), list[i]); err != nil {
			t.Fatal(err)
		}
	}
	if got := string(p.memory.Text(id)); got != text {
		t.Errorf("kept %q, want %q", got, text)
	}
}

// chained starts a session with a peer that accepts chains, over a connection in memory.
func chained(ours net.Conn, t *TCP) *tcpSession {
	s := newTCPSession(ours, t)
	s.setLongest(wire.MaxChain)
	return s
}

// TestAnswersInOrder: of two batches of a stream the first answer is that of the first one, and an answer without a
// batch is delivered to none.
func TestAnswersInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		defer theirs.Close()
		go io.Copy(io.Discard, theirs) // ends with the connection
		s := chained(ours, &TCP{})
		list, _ := links(wire.StreamID{1}, 3)
		got := make([]error, 3)
		for i := range 2 {
			go func() { got[i] = s.append(t.Context(), &list[i]) }() // ends with the answer
			synctest.Wait()
		}
		if err := s.append(t.Context(), &list[2]); err == nil || !strings.Contains(err.Error(), "2 batches in flight") {
			t.Errorf("a third one: %v", err)
		}
		refused := wire.Answer{Kind: wire.KindRefuse, Stream: wire.StreamID{1}, Reason: "for the first"}
		if !s.deliver(wire.StreamID{1}, refused) || !s.deliver(wire.StreamID{1}, wire.Answer{Kind: wire.KindAck}) ||
			s.deliver(wire.StreamID{1}, wire.Answer{Kind: wire.KindAck}) {
			t.Error("there are not two that wait for an answer")
		}
		synctest.Wait()
		if !errors.Is(got[0], wire.ErrRefused) || got[1] != nil {
			t.Errorf("the outcomes are %v", got)
		}
		if len(s.waiting) > 0 {
			t.Errorf("%d streams wait", len(s.waiting))
		}
	})
}

// TestAbandonedInChain: when the first batch of a chain is abandoned, no answer is taken for that of the second one.
func TestAbandonedInChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		go io.Copy(io.Discard, theirs) // ends with the connection
		s := chained(ours, &TCP{Timing: Timing{Linger: time.Second}})
		list, _ := links(wire.StreamID{1}, 2)
		ctx, cancel := context.WithCancel(t.Context())
		got := make([]error, 2)
		go func() { got[0] = s.append(ctx, &list[0]) }() // ends with the session
		synctest.Wait()
		go func() { got[1] = s.append(t.Context(), &list[1]) }() // ends with the session
		synctest.Wait()
		cancel()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		s.deliver(wire.StreamID{1}, wire.Answer{Kind: wire.KindAck, Stream: wire.StreamID{1}})
		synctest.Wait()
		if !errors.Is(got[0], context.Canceled) || got[1] == nil || errors.Is(got[1], context.Canceled) {
			t.Errorf("the outcomes are %v", got)
		}
	})
}

// cutting is a listener whose connections break after some bytes, in one direction or the other.
type cutting struct{ net.Listener }

func (l cutting) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &cutConn{Conn: nc}
	c.left.Store(200 + rand.Int64N(20_000))
	return c, nil
}

// cutConn is a connection that breaks after some bytes.
type cutConn struct {
	net.Conn
	left atomic.Int64
}

func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return c.cut(n, err)
}

func (c *cutConn) Write(b []byte) (int, error) {
	n := int(min(int64(len(b)), max(c.left.Load(), 0)))
	n, err := c.cut(c.Conn.Write(b[:n]))
	if n < len(b) && err == nil {
		err = net.ErrClosed
	}
	return n, err
}

func (c *cutConn) cut(n int, err error) (int, error) {
	if c.left.Add(-int64(n)) <= 0 {
		c.Conn.Close()
		return n, cmp.Or(err, net.ErrClosed)
	}
	return n, err
}

// TestChainsCut: the connection is cut at a random byte, again and again, while a chain is in flight. The stream resumes where
// the collector has it, and the log has each line once, in order.
func TestChainsCut(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m, _, addr := collectFrom(t, cutting{ln})
	var sessions atomic.Int64
	c := connect(t, addr, func(c *TCP) { c.OnWelcome = func(wire.Welcome, int) { sessions.Add(1) } })
	id := open(t, c)
	list, text := links(id, 400)
	for at := 0; at < len(list); {
		if pour(bounded(t), c, list[at:min(at+8, len(list))]) == nil {
			at = min(at+8, len(list))
			continue
		}
		at = resumed(t, c, id, list)
	}
	if got := string(m.Text(id)); got != text {
		t.Errorf("%d bytes are kept, want %d", len(got), len(text))
	}
	if n := sessions.Load(); n < 20 {
		t.Errorf("%d sessions only: nothing was tested", n)
	}
}

// resumed returns which batch of a stream comes next at the collector.
func resumed(t *testing.T, a wire.Appender, id wire.StreamID, list []wire.Batch) int {
	t.Helper()
	for {
		probe := wire.Batch{Op: wire.OpSkip, Stream: id, Epoch: 9, End: 1, Control: wire.Control{Reason: "to learn the position"}}
		err := a.Append(bounded(t), probe)
		e := new(wire.Expected)
		switch {
		case errors.As(err, &e):
			for i := range list {
				if list[i].Offset == e.Offset {
					return i
				}
			}
			return len(list)
		case err == nil || errors.Is(err, wire.ErrRefused):
			t.Fatal(err)
		}
	}
}
