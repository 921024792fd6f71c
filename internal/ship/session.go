package ship

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
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

	mu      sync.Mutex
	waiting map[wire.StreamID]chan wire.Answer
	err     error
	closed  chan struct{}
}

func newSession(conn net.Conn, t *TCP) *session {
	return &session{t: t, conn: conn, decoder: wire.NewDecoder(conn), waiting: make(map[wire.StreamID]chan wire.Answer), closed: make(chan struct{})}
}

// close ends the session; whoever waits in it learns that the outcome is unknown.
func (s *session) close(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
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

func (s *session) ended() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
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
	for left := int64(1); left > 0; left -= max(1, int64(len(f.Streams))) {
		if err := s.decoder.Next(&f); err != nil {
			return w, fmt.Errorf("read the welcome: %w", err)
		}
		switch f.Kind {
		case wire.KindWelcome:
			w, left = f.Welcome, f.N+1
		case wire.KindStreams:
			w.Streams = append(w.Streams, f.Streams...)
		case wire.KindFault:
			return w, &fault{f.Reason, time.Duration(f.N) * time.Second}
		default:
			return w, fmt.Errorf("read the welcome: %w: a frame of kind %d", wire.ErrProtocol, f.Kind)
		}
	}
	return w, s.conn.SetDeadline(time.Time{})
}

// serve reads answers until the connection ends.
func (s *session) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.close(ctx.Err()) })
	defer stop()
	go s.ping() // ends with the session
	err := s.read()
	s.close(err)
	return s.err
}

func (s *session) read() error {
	var f wire.Frame
	for {
		s.conn.SetReadDeadline(time.Now().Add(s.t.DeadAfter))
		if err := s.decoder.Next(&f); err != nil {
			return fmt.Errorf("read from the collector: %w", err)
		}
		switch f.Kind {
		case wire.KindAck, wire.KindNack, wire.KindRefuse, wire.KindLater:
			s.answer(f.Answer)
		case wire.KindFault:
			return &fault{f.Reason, time.Duration(f.N) * time.Second}
		case wire.KindDrain:
			return &fault{"it is going down", time.Second}
		case wire.KindPong:
		default:
			return fmt.Errorf("%w: the collector sent a frame of kind %d", wire.ErrProtocol, f.Kind)
		}
	}
}

func (s *session) answer(a wire.Answer) {
	s.mu.Lock()
	c := s.waiting[a.Stream]
	delete(s.waiting, a.Stream)
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
			if err := s.write(wire.AppendPing(nil, wire.KindPing, n), nil); err != nil {
				s.close(err)
				return
			}
		}
	}
}

// append sends one frame and waits for its answer.
func (s *session) append(ctx context.Context, b *wire.Batch) error {
	c := make(chan wire.Answer, 1)
	s.mu.Lock()
	_, busy := s.waiting[b.Stream]
	if !busy {
		s.waiting[b.Stream] = c
	}
	s.mu.Unlock()
	if busy {
		return fmt.Errorf("stream %s has a batch on the way already", b.Stream)
	}
	if err := s.send(b); err != nil {
		s.close(err)
		return fmt.Errorf("send to the collector: %w", err)
	}
	select {
	case a := <-c:
		return a.Err()
	case <-s.closed:
		return fmt.Errorf("not known whether the batch was kept: %w", s.err)
	case <-ctx.Done():
		// Its answer must not be taken for a later batch's: the connection ends.
		s.close(ctx.Err())
		return ctx.Err()
	}
}

// send writes a batch's frame, compressed where that pays.
func (s *session) send(b *wire.Batch) error {
	text, encoding := b.Text, uint8(0)
	if s.squeeze != nil && len(text) >= leastSqueezed {
		packed := s.squeeze.pack(text)
		defer s.squeeze.free(packed)
		if len(*packed) < len(text) {
			text, encoding = *packed, 1
		}
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.head = wire.AppendBatch(s.head[:0], b, encoding, text)
	return s.writeLocked(s.head, text)
}

func (s *session) write(head, text []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.writeLocked(head, text)
}

// writeLocked writes both parts at once where the connection can.
func (s *session) writeLocked(head, text []byte) error {
	s.conn.SetWriteDeadline(time.Now().Add(s.t.DeadAfter))
	parts := net.Buffers{head}
	if len(text) > 0 {
		parts = append(parts, text)
	}
	_, err := parts.WriteTo(s.conn)
	return err
}
