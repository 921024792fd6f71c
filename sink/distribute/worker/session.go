package worker

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"fanin/sink/distribute/protocol"
)

// session is one connection after the welcome: one goroutine reads, the caller of run
// works.
type session struct {
	w     *Worker
	nc    net.Conn
	lease time.Duration // granted by the collector
	place ID            // what the ids of all lines have in common

	in chan *Delivery // closed when the connection ended

	held      []*Delivery   // received while awaitConfirmed waited; for run alone
	confirmed chan struct{} // the collector has confirmed the lines that were returned last

	writing sync.Mutex

	mu      sync.Mutex
	pending returned        // with a key: lines whose return the collector has not confirmed
	lost    map[uint64]bool // deliveries that were taken back before they were started
	started uint64          // the latest delivery that was started
	ended   bool
	err     error // to be read when in is closed, or ended is set
}

// returned is lines that the worker returned, as failed or without an attempt.
type returned struct {
	n        uint64
	from, to int
}

func newSession(w *Worker, nc net.Conn, welcome *protocol.Welcome) *session {
	return &session{w: w, nc: nc, lease: welcome.Lease, place: ID{Partition: welcome.Partition, Epoch: welcome.Epoch},
		in: make(chan *Delivery, 1), confirmed: make(chan struct{}, 1),
		lost: make(map[uint64]bool)}
}

func (s *session) run(ctx context.Context, r *protocol.Reader) error {
	stop := make(chan struct{})
	defer close(stop)
	go s.read(r, stop) // ends with the connection, which the caller closes
	for {
		d, ok := s.next(ctx)
		switch {
		case !ok:
			s.releaseAll()
			return nil
		case d == nil || s.over():
			return s.err
		}
		s.work(ctx, d)
		s.awaitConfirmed(ctx)
	}
}

// next returns the next delivery, or nil when the connection ended; not ok: ctx ended.
func (s *session) next(ctx context.Context) (d *Delivery, ok bool) {
	if len(s.held) > 0 && ctx.Err() == nil {
		d, s.held = s.held[0], s.held[1:]
		return d, true
	}
	select {
	case d = <-s.in:
		if d != nil && ctx.Err() != nil { // both are ready: nothing more is started
			s.held = append(s.held, d)
			return nil, false
		}
		return d, true
	case <-ctx.Done():
		return nil, false
	}
}

// awaitConfirmed waits until the collector has confirmed the lines that were returned.
// With a key, it takes later lines from this worker too, also those that are here
// already, and names them before it confirms.
func (s *session) awaitConfirmed(ctx context.Context) {
	for s.unconfirmed() {
		select {
		case d := <-s.in:
			if d == nil {
				return
			}
			s.held = append(s.held, d) // within the credit
		case <-s.confirmed:
		case <-ctx.Done():
			return
		}
	}
}

func (s *session) unconfirmed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending != returned{}
}

// over reports whether the connection ended: what it brought belongs to other workers.
func (s *session) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// read handles the collector's frames.
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
		f.N |= s.w.serial << serialShift
		switch f.Kind {
		case protocol.KindLines:
			select {
			case s.in <- newDelivery(s, &f):
			case <-stop:
				return
			}
		case protocol.KindAccepted:
			if s.w.Accepted != nil {
				s.w.Accepted(f.N, f.From, f.To)
			}
		case protocol.KindLost:
			s.takenBack(&f)
		case protocol.KindDrain:
			s.w.Log.Info("the collector is shutting down")
		case protocol.KindFault:
			s.err = &RefusedError{f.Reason}
			return
		}
	}
}

// takenBack notes that lines are no longer this worker's.
func (s *session) takenBack(f *protocol.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.N > s.started { // else it is being worked on, or was
		s.lost[f.N] = true
	}
	if s.pending == (returned{f.N, f.From, f.To}) {
		s.pending = returned{}
		select {
		case s.confirmed <- struct{}{}:
		default:
		}
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
}

// start notes that a delivery is started; false: the collector has taken it back.
func (s *session) start(d *Delivery) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := s.lost[d.N]
	delete(s.lost, d.N)
	s.started = d.N
	return !lost
}

// work has one delivery handled, and answers the lines that Handle left.
func (s *session) work(ctx context.Context, d *Delivery) {
	if !s.takeTurn(ctx, d) {
		d.answerRest(protocol.KindRelease, "")
		return
	}
	defer s.passTurn()
	if s.over() || !s.start(d) {
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

// takeTurn waits until no other connection of the worker handles a delivery; false: ctx ended.
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
	end := time.After(farewell)
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
	f.N &= 1<<serialShift - 1
	s.nc.SetWriteDeadline(time.Now().Add(30 * time.Second))
	_, err := s.nc.Write(protocol.AppendFrame(nil, f))
	if err != nil {
		s.nc.Close() // ends the reader, and with it the session
	}
	return err
}
