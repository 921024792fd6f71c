package worker

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"fanin/sink/distribute/protocol"
)

// session is one connection after the welcome: one goroutine reads, the caller of run
// works. The reader does not wait for the work: what the collector takes back meanwhile is not started.
type session struct {
	w     *Worker
	nc    net.Conn
	lease time.Duration // granted by the collector
	place ID            // what the ids of all lines have in common

	writing sync.Mutex

	mu       sync.Mutex
	changed  *sync.Cond  // what follows has changed
	waiting  []*Delivery // received, and not started; in their order
	size     int         // bytes of their text
	pending  returned    // with a key: lines whose return the collector has not confirmed
	stopping bool        // the worker is to stop
	ended    bool        // the connection has
	err      error       // why
}

// mostWaiting is how many bytes of deliveries may wait until no more is read.
const mostWaiting = 16 << 20

// returned is lines that the worker returned, as failed or without an attempt.
type returned struct {
	n        uint64
	from, to int
}

func newSession(w *Worker, nc net.Conn, welcome *protocol.Welcome) *session {
	s := &session{w: w, nc: nc, lease: welcome.Lease, place: ID{Partition: welcome.Partition, Epoch: welcome.Epoch}}
	s.changed = sync.NewCond(&s.mu)
	return s
}

func (s *session) run(ctx context.Context, r *protocol.Reader) error {
	defer context.AfterFunc(ctx, s.stop)()
	go s.read(r) // ends with the connection, which the caller closes
	for {
		d := s.next(ctx)
		if d == nil {
			break
		}
		s.work(ctx, d)
	}
	if s.over() {
		return s.err
	}
	s.releaseAll()
	return nil
}

// stop lets no delivery be started any more.
func (s *session) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	s.changed.Broadcast()
}

// next waits for the next delivery; nil: the worker is to stop, or the connection ended. With a key, it
// waits until the collector has confirmed the lines that were returned: it takes later lines from this
// worker too, also those that are here already, and names them before it confirms.
func (s *session) next(ctx context.Context) *Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ctx.Err() == nil && !s.stopping && !s.ended {
		if len(s.waiting) > 0 && s.pending == (returned{}) {
			return s.waiting[0]
		}
		s.changed.Wait()
	}
	return nil
}

// over reports whether the connection ended: what it brought belongs to other workers.
func (s *session) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// read handles the collector's frames.
func (s *session) read(r *protocol.Reader) {
	for {
		f, err := r.Frame()
		if err == nil && f.Kind == protocol.KindFault {
			err = &RefusedError{f.Reason}
		}
		if err != nil {
			s.end(err)
			return
		}
		f.N |= s.w.serial << serialShift
		switch f.Kind {
		case protocol.KindLines:
			s.receive(newDelivery(s, &f))
		case protocol.KindAccepted:
			if s.w.Accepted != nil {
				s.w.Accepted(f.N, f.From, f.To)
			}
		case protocol.KindLost:
			s.takenBack(&f)
		case protocol.KindDrain:
			s.w.Log.Info("the collector is shutting down")
		}
	}
}

// receive adds a delivery to those that wait. While they are too large, it waits, unless the confirmation
// is behind them without which none of them is started.
func (s *session) receive(d *Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting, s.size = append(s.waiting, d), s.size+len(d.Text)
	s.changed.Broadcast()
	for s.size > mostWaiting && s.pending == (returned{}) && !s.stopping && !s.ended {
		s.changed.Wait()
	}
}

// end notes that the connection has ended, and why.
func (s *session) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended, s.err = true, err
	s.dropLocked(func(*Delivery) bool { return true })
	s.changed.Broadcast()
}

// dropLocked removes deliveries that wait, and are no longer this worker's.
func (s *session) dropLocked(which func(*Delivery) bool) {
	s.waiting = slices.DeleteFunc(s.waiting, func(d *Delivery) bool {
		drop := which(d)
		if drop {
			s.size -= len(d.Text)
			close(d.lost)
		}
		return drop
	})
}

// takenBack notes that lines are no longer this worker's.
func (s *session) takenBack(f *protocol.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.changed.Broadcast()
	s.dropLocked(func(d *Delivery) bool { return d.N == f.N }) // none, if it is being worked on, or was
	if s.pending == (returned{f.N, f.From, f.To}) {
		s.pending = returned{}
		return
	}
	s.w.Log.Info("the collector took lines back", "delivery", f.N, "reason", f.Reason)
}

// mustConfirm notes lines whose return the collector has to confirm.
func (s *session) mustConfirm(n uint64, from, to int) {
	if s.w.Options.Key == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = returned{n, from, to}
	s.changed.Broadcast() // the reader must go on
}

// start takes a delivery from those that wait; false: it is no longer this worker's.
func (s *session) start(d *Delivery) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 || s.waiting[0] != d {
		return false
	}
	s.popLocked()
	s.changed.Broadcast()
	return true
}

func (s *session) popLocked() (d *Delivery) {
	d = s.waiting[0]
	s.waiting[0] = nil
	s.waiting, s.size = s.waiting[1:], s.size-len(d.Text)
	return d
}

// work has one delivery handled, and answers the lines that Handle left.
func (s *session) work(ctx context.Context, d *Delivery) {
	if !s.takeTurn(ctx, d) {
		return
	}
	defer s.passTurn()
	if !s.start(d) {
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

// longestWait is how long the lease of a delivery is held that waits for its turn.
const longestWait = time.Hour

// takeTurn waits until no other connection of the worker handles a delivery; false: ctx ended, or the
// delivery is no longer this worker's.
func (s *session) takeTurn(ctx context.Context, d *Delivery) bool {
	if s.w.turn == nil {
		return true
	}
	select {
	case s.w.turn <- struct{}{}:
		return true
	default:
	}
	defer d.Hold(longestWait)()
	select {
	case s.w.turn <- struct{}{}:
		return true
	case <-d.lost:
		return false
	case <-ctx.Done():
		return false
	}
}

func (s *session) passTurn() {
	if s.w.turn != nil {
		<-s.w.turn
	}
}

// serialShift is where the serial number of a connection is in the numbers of its deliveries, which
// so differ from those of all other connections to a cluster.
const serialShift = 40

// farewell is how long a worker that stops waits for its answers to be accepted.
const farewell = 200 * time.Millisecond

// releaseAll returns the deliveries that were not started, and waits a moment for what
// was answered to be accepted.
func (s *session) releaseAll() {
	s.send(&protocol.Frame{Kind: protocol.KindCredit, Credit: 0})
	passed := false
	defer time.AfterFunc(farewell, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		passed = true
		s.changed.Broadcast()
	}).Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !passed && !s.ended {
		if len(s.waiting) == 0 {
			s.changed.Wait()
			continue
		}
		d := s.popLocked()
		s.mu.Unlock()
		d.answerRest(protocol.KindRelease, "")
		s.mu.Lock()
	}
}

func (s *session) send(f *protocol.Frame) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	f.N &= 1<<serialShift - 1
	s.nc.SetWriteDeadline(time.Now().Add(30 * time.Second))
	_, err := s.nc.Write(protocol.AppendFrame(nil, f))
	if err != nil {
		s.nc.Close() // ends the reader, and with it the session
	}
	return err
}
