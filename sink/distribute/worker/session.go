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
	w  *Worker
	nc net.Conn
	in chan *Delivery // closed when the connection ended

	writing sync.Mutex

	mu    sync.Mutex
	lost  map[uint64]bool // deliveries that were taken away before they were begun
	begun uint64          // the latest delivery that was
	ended bool
	err   error // good to read when in is closed, or ended
}

func (s *session) run(ctx context.Context, r *protocol.Reader) error {
	stop := make(chan struct{})
	defer close(stop)
	go s.read(r, stop) // ends with the connection, which the caller closes
	for {
		select {
		case d := <-s.in:
			if d == nil || s.over() {
				return s.err
			}
			s.work(ctx, d)
		case <-ctx.Done():
			s.giveBack()
			return nil
		}
	}
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
			s.mu.Lock()
			if f.N > s.begun { // else it is at work on them, or was
				s.lost[f.N] = true
			}
			s.mu.Unlock()
			s.w.Log.Info("lines were taken back", "delivery", f.N, "reason", f.Reason)
		case protocol.KindDrain:
			s.w.Log.Info("the collector goes down")
		case protocol.KindFault:
			s.err = &RefusedError{f.Reason}
			return
		}
	}
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
