package ship

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"fanin/internal/wire"
)

// session is one connection to a collector.
type session struct {
	t       *TCP
	conn    net.Conn
	decoder *wire.Decoder
	squeeze *squeezer // nil: texts go as they are

	writing sync.Mutex
	head    []byte // the frame being written, without its text

	mu       sync.Mutex
	waiting  map[wire.StreamID]chan wire.Answer
	largest  int       // text among those that wait
	served   bool      // it is past the greeting
	since    time.Time // when the collector was heard last, or a batch begun
	acked    uint64    // bytes that its kernel has confirmed
	draining bool      // the collector goes down: nothing new is begun
	err      error
	closed   chan struct{}
}

func newSession(conn net.Conn, t *TCP) *session {
	s := &session{t: t, conn: conn, waiting: make(map[wire.StreamID]chan wire.Answer), closed: make(chan struct{})}
	s.decoder = wire.NewDecoder(ear{s})
	return s
}

// close ends the session; whoever waits in it learns that the outcome is unknown.
func (s *session) close(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeLocked(err)
}

func (s *session) closeLocked(err error) {
	select {
	case <-s.closed:
		return
	default:
	}
	if err == nil {
		err = errors.New("the connection ended")
	}
	s.err = err
	close(s.closed)
	s.conn.Close()
}

// ending reports that nothing can be begun in this session any more.
func (s *session) ending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining || s.err != nil
}

// greet says hello and reads the welcome and its streams.
func (s *session) greet(ctx context.Context) (w wire.Welcome, err error) {
	if end, ok := ctx.Deadline(); ok {
		s.conn.SetDeadline(end)
	}
	if _, err := s.conn.Write(wire.AppendHello(nil, s.t.Hello)); err != nil {
		return w, fmt.Errorf("say hello: %w", err)
	}
	var f wire.Frame
	in := newWelcome()
	for in.left > 0 {
		if err := s.decoder.Next(&f); err != nil {
			return w, s.noWelcome(err)
		}
		if f.Kind == wire.KindFault {
			return w, newFault(&f)
		}
		if err := in.take(&f); err != nil {
			return w, err
		}
		s.conn.SetDeadline(time.Now().Add(s.t.DialTimeout)) // a long list over a slow line
	}
	in.report(s.t.Log)
	return in.Welcome, s.conn.SetDeadline(time.Time{})
}

// noWelcome says in other words what most often is the matter.
func (s *session) noWelcome(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no welcome within %v: is that the port of a fanin-collector?", s.t.DialTimeout)
	case errors.Is(err, wire.ErrProtocol):
		return fmt.Errorf("what answers there is no fanin-collector: %w", err)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op // which frame it was says nothing here
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("the connection was closed before the collector's welcome came: the collector turned it away, and its log says why, or that is another program's port (%w)", err)
	}
	return fmt.Errorf("read the welcome: %w", err)
}

// serve reads answers until the connection ends.
func (s *session) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.close(ctx.Err()) })
	defer stop()
	s.mu.Lock()
	s.served, s.since = true, time.Now()
	s.mu.Unlock()
	go s.ping() // ends with the session
	err := s.read()
	s.close(err)
	return s.err
}

func (s *session) read() error {
	var f wire.Frame
	for {
		s.mu.Lock()
		done := s.draining && len(s.waiting) == 0
		s.mu.Unlock()
		if done {
			return errDrained
		}
		if err := s.decoder.Next(&f); err != nil {
			return s.noAnswer(err)
		}
		switch f.Kind {
		case wire.KindAck, wire.KindNack, wire.KindRefuse, wire.KindLater:
			s.answer(f.Answer)
		case wire.KindFault:
			return newFault(&f)
		case wire.KindDrain:
			s.mu.Lock()
			s.draining = true
			s.mu.Unlock()
		case wire.KindPong:
		default:
			return fmt.Errorf("%w: the collector sent a frame of kind %d", wire.ErrProtocol, f.Kind)
		}
	}
}

func (s *session) noAnswer(err error) error {
	switch {
	case s.ending():
		return errDrained // it said so, and hung up
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("nothing came from the collector for %v or longer: it hangs, or the network is cut", s.t.DeadAfter)
	}
	return fmt.Errorf("read from the collector: %w", err)
}

// slowest is how many bytes a second a connection must bring to be taken for one,
// where only time tells.
const slowest = 32 << 10

// ear reads what the collector says, for as long as the connection lives.
type ear struct{ s *session }

func (e ear) Read(p []byte) (int, error) {
	s := e.s
	for {
		s.mu.Lock()
		served := s.served
		s.mu.Unlock()
		if served {
			s.conn.SetReadDeadline(time.Now().Add(s.t.DeadAfter / 4))
		}
		n, err := s.conn.Read(p)
		if served && n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && s.lives() {
			continue
		}
		if n > 0 {
			s.mu.Lock()
			s.since = time.Now()
			s.mu.Unlock()
		}
		return n, err
	}
}

// lives reports whether a silent connection may still be one. It does while the
// other side confirms bytes, however slowly, and for DeadAfter after that. It
// does not if bytes wait then and none was confirmed. A collector that does not
// read because its disk is full confirms nothing, but says a word now and then.
// Where all was confirmed, or the system does not tell, a large text on its way
// gives the other side more time.
func (s *session) lives() bool {
	acked, pending, known := confirmed(s.conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if acked > s.acked {
		s.acked, s.since = acked, time.Now()
	}
	quiet := time.Since(s.since)
	if quiet < s.t.DeadAfter {
		return true
	}
	return !(known && pending) && quiet < s.t.DeadAfter+time.Duration(s.largest)*time.Second/slowest
}

func (s *session) answer(a wire.Answer) {
	s.mu.Lock()
	c := s.waiting[a.Stream]
	delete(s.waiting, a.Stream)
	if len(s.waiting) == 0 {
		s.largest = 0
	}
	s.mu.Unlock()
	if c != nil {
		c <- a
	}
}

// ping keeps both sides knowing that the other one lives.
func (s *session) ping() {
	tick := time.NewTicker(s.t.PingEvery)
	defer tick.Stop()
	for n := int64(1); ; n++ {
		select {
		case <-s.closed:
			return
		case <-tick.C:
			if err := s.write(wire.AppendPing(nil, wire.KindPing, n)); err != nil {
				s.close(err)
				return
			}
		}
	}
}

// append sends one frame and waits for its answer.
func (s *session) append(ctx context.Context, b *wire.Batch) error {
	c, err := s.begin(b)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(s.t.Linger, func() { s.abandon(b.Stream, c) })
	})
	defer stop()
	if err := s.send(b); err != nil {
		s.close(err)
	}
	select {
	case a := <-c:
		return a.Err()
	case <-s.closed:
	}
	select {
	case a := <-c: // it came before the end
		return a.Err()
	default:
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("given up; not known whether the batch was kept: %w", err)
	}
	return fmt.Errorf("not known whether the batch was kept: %w", s.err)
}

// begin makes room for the answer to b.
func (s *session) begin(b *wire.Batch) (chan wire.Answer, error) {
	c := make(chan wire.Answer, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return nil, errDrained
	}
	if _, busy := s.waiting[b.Stream]; busy {
		return nil, fmt.Errorf("stream %s has a batch on the way already", b.Stream)
	}
	if len(s.waiting) == 0 { // or else a stream that begins now and then would keep a dead connection
		s.since = time.Now()
	}
	s.waiting[b.Stream] = c
	s.largest = max(s.largest, len(b.Text))
	return c, nil
}

// abandon ends the session if c still waits in it: an answer that comes late
// must not be taken for that of a later batch.
func (s *session) abandon(stream wire.StreamID, c chan wire.Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting[stream] == c {
		s.closeLocked(errors.New("a batch on its way was given up"))
	}
}

// send writes a batch's frame, compressed where that pays.
func (s *session) send(b *wire.Batch) error {
	text, encoding := b.Text, uint8(0)
	if packed := s.squeeze.pack(text); packed != nil {
		defer s.squeeze.free(packed)
		text, encoding = *packed, 1
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.head = wire.AppendBatch(s.head[:0], b, encoding, text)
	return s.writeLocked(s.head, text)
}

func (s *session) write(frame []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.writeLocked(frame, nil)
}

// writeLocked writes both parts at once where the connection can. It takes as
// long as it takes: ear decides whether the connection lives.
func (s *session) writeLocked(head, text []byte) error {
	parts := net.Buffers{head}
	if len(text) > 0 {
		parts = append(parts, text)
	}
	if _, err := parts.WriteTo(s.conn); err != nil {
		return fmt.Errorf("send to the collector: %w", err)
	}
	return nil
}
