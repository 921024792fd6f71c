package worker

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"fanin/sink/distribute/protocol"
)

// session is one connection at work: a goroutine reads, the caller's works.
type session struct {
	w     *Worker
	nc    net.Conn
	lease time.Duration  // granted by the collector
	in    chan *Delivery // closed when the connection ended

	held    []*Delivery   // that came while settle waited; run's alone
	settled chan struct{} // the collector has confirmed what was given back last

	writing sync.Mutex

	mu    sync.Mutex
	back  givenBack       // with a key: what the collector has yet to confirm
	lost  map[uint64]bool // deliveries that were taken away before they were begun
	begun uint64          // the latest delivery that was
	ended bool
	err   error // good to read when in is closed, or ended
}

// givenBack is lines that the worker said it has not done.
type givenBack struct {
	n        uint64
	from, to int
}

func newSession(w *Worker, nc net.Conn, lease time.Duration) *session {
	return &session{w: w, nc: nc, lease: lease, in: make(chan *Delivery, 1), settled: make(chan struct{}, 1), lost: make(map[uint64]bool)}
}

func (s *session) run(ctx context.Context, r *protocol.Reader) error {
	stop := make(chan struct{})
	defer close(stop)
	go s.read(r, stop) // ends with the connection, which the caller closes
	for {
		d, ok := s.next(ctx)
		switch {
		case !ok:
			s.giveBack()
			return nil
		case d == nil || s.over():
			return s.err
		}
		s.work(ctx, d)
		s.settle(ctx)
	}
}

// next is the next delivery, or nil when the connection ended; not ok: ctx did.
func (s *session) next(ctx context.Context) (d *Delivery, ok bool) {
	if len(s.held) > 0 && ctx.Err() == nil {
		d, s.held = s.held[0], s.held[1:]
		return d, true
	}
	select {
	case d = <-s.in:
		return d, true
	case <-ctx.Done():
		return nil, false
	}
}

// settle waits until the collector has heard what was given back. With a key, that
// takes later lines from this worker, too, also those that are here already; the
// collector says which before it confirms.
func (s *session) settle(ctx context.Context) {
	for s.unsettled() {
		select {
		case d := <-s.in:
			if d == nil {
				return
			}
			s.held = append(s.held, d) // within the credit
		case <-s.settled:
		case <-ctx.Done():
			return
		}
	}
}

func (s *session) unsettled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.back != givenBack{}
}

// over reports whether the connection ended: what it brought is others' by now.
func (s *session) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// read takes the collector's frames.
func (s *session) read(r *protocol.Reader, stop <-chan struct{}) {
	defer close(s.in)
	defer func() {
		s.mu.Lock()
		s.ended = true
		s.mu.Unlock()
	}()
	for {
		f, err := r.Frame()
		if err != nil {
			s.err = err
			return
		}
		switch f.Kind {
		case protocol.KindLines:
			d := newDelivery(s, &f)
			select {
			case s.in <- d:
			case <-stop:
				return
			}
		case protocol.KindAccepted:
			if s.w.Accepted != nil {
				s.w.Accepted(f.N, f.From, f.To)
			}
		case protocol.KindLost:
			s.take(&f)
		case protocol.KindDrain:
			s.w.Log.Info("the collector goes down")
		case protocol.KindFault:
			s.err = &RefusedError{f.Reason}
			return
		}
	}
}

// take notes that lines are no longer this worker's.
func (s *session) take(f *protocol.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.N > s.begun { // else it is at work on them, or was
		s.lost[f.N] = true
	}
	if s.back == (givenBack{f.N, f.From, f.To}) {
		s.back = givenBack{}
		select {
		case s.settled <- struct{}{}:
		default:
		}
		return
	}
	s.w.Log.Info("lines were taken back", "delivery", f.N, "reason", f.Reason)
}

// gaveBack notes what the collector is to confirm.
func (s *session) gaveBack(n uint64, from, to int) {
	if s.w.Options.Key == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.back = givenBack{n, from, to}
}

// work does one delivery and answers what Handle left.
func (s *session) work(ctx context.Context, d *Delivery) {
	s.mu.Lock()
	lost := s.lost[d.N]
	delete(s.lost, d.N)
	s.begun = d.N
	s.mu.Unlock()
	if lost {
		return
	}
	err := s.w.Handle(ctx, d)
	switch {
	case err == nil:
		d.answerRest(protocol.KindAck, "")
	case errors.Is(err, ErrRelease):
		d.answerRest(protocol.KindRelease, "")
	default:
		d.answerRest(protocol.KindNack, err.Error())
	}
}

// giveBack releases what was handed to this worker and not begun, and waits a
// moment for what it has answered to be accepted.
func (s *session) giveBack() {
	s.send(&protocol.Frame{Kind: protocol.KindCredit, Credit: 0})
	end := time.After(200 * time.Millisecond)
	for _, d := range s.held {
		d.answerRest(protocol.KindRelease, "")
	}
	for {
		select {
		case d := <-s.in:
			if d == nil {
				return
			}
			d.answerRest(protocol.KindRelease, "")
		case <-end:
			return
		}
	}
}

func (s *session) send(f *protocol.Frame) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.nc.SetWriteDeadline(time.Now().Add(30 * time.Second))
	_, err := s.nc.Write(protocol.AppendFrame(nil, f))
	if err != nil {
		s.nc.Close() // the reader ends, and with it the session
	}
	return err
}
