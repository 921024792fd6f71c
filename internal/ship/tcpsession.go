package ship

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"fanin/internal/wire"
)

// tcpSession is one connection to a collector.
type tcpSession struct {
	t       *TCP
	conn    net.Conn
	records *records // between TLS and conn; nil: there is no TLS
	decoder *wire.Decoder
	encoder *encoder
	pending[wire.StreamID]
	live   liveness
	served atomic.Bool // the greeting is over
	asked  time.Time   // when reads got a deadline last; of the goroutine that reads

	writing sync.Mutex
	head    []byte // the frame that is written, without its text
}

func newTCPSession(conn net.Conn, t *TCP) *tcpSession {
	s := &tcpSession{t: t, conn: conn, encoder: t.encoderFor(conn), pending: newPending[wire.StreamID](),
		live: liveness{deadAfter: t.DeadAfter}}
	s.decoder = wire.NewDecoder(liveReader{s})
	return s
}

// goodbye is how long the end of a TLS connection may take to tell the peer of it. Package tls
// would wait for 5 s while a dead link takes nothing, and the next session waits meanwhile.
const goodbye = 100 * time.Millisecond

// close ends the session; the outcome of what waits is unknown.
func (s *tcpSession) close(err error) {
	if !s.end(err) {
		return
	}
	if s.records != nil {
		defer time.AfterFunc(goodbye, func() { s.records.Conn.Close() }).Stop()
	}
	s.conn.Close()
}

// greet sends the hello and reads the welcome and its streams.
func (s *tcpSession) greet(ctx context.Context) (w wire.Welcome, err error) {
	if end, ok := ctx.Deadline(); ok {
		s.conn.SetDeadline(end)
	}
	if _, err := s.conn.Write(wire.AppendHello(nil, s.t.Hello)); err != nil {
		return w, fmt.Errorf("send the hello: %w", err)
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
		if err := in.add(&f); err != nil {
			return w, err
		}
		s.conn.SetDeadline(time.Now().Add(s.t.GreetWithin)) // a long list over a slow line
	}
	in.report(s.t.Log)
	s.setLongest(in.Chain)
	return in.Welcome, s.conn.SetDeadline(time.Time{})
}

// noWelcome explains the most frequent causes.
func (s *tcpSession) noWelcome(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no welcome within %v: is that the port of a fanin-collector?", s.t.GreetWithin)
	case errors.Is(err, wire.ErrProtocol):
		return notCollector(err)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op // the kind of frame explains nothing here
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("the connection was closed before the collector's welcome: "+
			"the collector rejected it, and its log has the reason, or another program has that port (%w)", err)
	}
	return fmt.Errorf("read the welcome: %w", err)
}

// notCollector is the error of a peer that speaks another protocol.
func notCollector(err error) error { return fmt.Errorf("the peer is not a fanin-collector: %w", err) }

// serve reads answers until the connection ends.
func (s *tcpSession) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.close(ctx.Err()) })
	defer stop()
	s.live.hear()
	s.served.Store(true)
	go s.ping() // ends with the session
	s.close(s.read())
	return s.err
}

func (s *tcpSession) read() error {
	var f wire.Frame
	for {
		if s.drained() {
			return errDrained
		}
		if err := s.decoder.Next(&f); err != nil {
			return s.readError(err)
		}
		switch f.Kind {
		case wire.KindAck, wire.KindNack, wire.KindRefuse, wire.KindLater:
			s.deliver(f.Answer.Stream, f.Answer)
		case wire.KindFault:
			return newFault(&f)
		case wire.KindDrain:
			s.drain()
		case wire.KindPong:
		default:
			return unexpected(&f)
		}
	}
}

// unexpected is the error of a frame that a collector does not send.
func unexpected(f *wire.Frame) error {
	return fmt.Errorf("%w: the collector sent a frame of kind %d", wire.ErrProtocol, f.Kind)
}

func (s *tcpSession) readError(err error) error {
	switch {
	case s.ending():
		return errDrained // it had announced it
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("nothing came from the collector for %v or longer: it hangs, or the network is cut",
			s.t.DeadAfter)
	}
	return fmt.Errorf("read from the collector: %w", err)
}

// liveReader reads from the collector for as long as the connection is alive.
type liveReader struct{ s *tcpSession }

func (r liveReader) Read(p []byte) (int, error) {
	s := r.s
	for {
		served := s.served.Load()
		if now := time.Now(); served && now.Sub(s.asked) > s.t.DeadAfter/16 { // not for each answer
			s.asked = now
			s.conn.SetReadDeadline(now.Add(s.t.DeadAfter / 4))
		}
		n, err := s.conn.Read(p)
		if served && n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && s.live.alive(s.conn) {
			continue
		}
		if n > 0 {
			s.live.hear()
		}
		return n, err
	}
}

// ping keeps both sides informed that the other one lives.
func (s *tcpSession) ping() {
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

// append sends one frame and waits for its answer. A batch that is abandoned ends the
// session, even one that is still being written: a late answer must not be taken for that
// of a later batch.
func (s *tcpSession) append(ctx context.Context, b *wire.Batch) error {
	x, err := s.start(b)
	if err != nil {
		return err
	}
	defer s.live.finish()
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(s.t.Linger, func() {
			if s.waits(b.Stream, x) {
				s.close(errors.New("a batch in flight was abandoned"))
			}
		})
	})
	defer stop()
	if err := s.send(x, b); err != nil {
		s.close(err)
	}
	return s.wait(ctx, x, nil, nil)
}

// start registers a batch that is about to be sent. From then on the order of it and the
// next batch of its stream is kept.
func (s *tcpSession) start(b *wire.Batch) (*flight, error) {
	x, err := s.add(b.Stream)
	if err == nil {
		s.live.start(len(b.Text))
		s.next(b)
	}
	return x, err
}

// send writes a batch's frame, compressed where that pays, behind that of the batch before it.
func (s *tcpSession) send(x *flight, b *wire.Batch) error {
	defer x.unsent.Done()
	text := b.Text
	packed, encoding := s.encoder.pack(text)
	if packed != nil {
		defer s.encoder.free(packed)
		text = *packed
	}
	if x.before != nil {
		x.before.unsent.Wait()
		x.before = nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.head = wire.AppendBatch(s.head[:0], b, encoding, text)
	return s.writeLocked(s.head, text)
}

func (s *tcpSession) write(frame []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.writeLocked(frame, nil)
}
