package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"fanin/internal/wire"
	"fanin/sink"
)

// flight is a batch on its way. At most wire.MaxChain are, each of which begins where the one before
// ends.
type flight struct {
	*batch
	next    chan struct{} // tells that another batch may follow
	follows bool          // next has told
	done    chan error    // the outcome
}

// launch sends a batch, behind those that are on their way.
func (s *session) launch(ctx context.Context, b *batch) {
	x := &flight{batch: b, next: make(chan struct{}, 1), done: make(chan error, 1)}
	b.Epoch, b.Time, b.Stream = s.now.Epoch, time.Now().UnixMicro(), streamOf(s.own, b.generation)
	b.Next = func() {
		select {
		case x.next <- struct{}{}:
		default:
		}
	}
	s.flights = append(s.flights, x)
	s.r.setFlying(true)
	go func() { x.done <- s.r.Out.Append(ctx, b.Batch) }() // ends with the outcome, which land or drain waits for
}

// room reports whether another batch may be sent. If not, follows tells when the last one on its way
// may be followed, if it ever may.
func (s *session) room() (may bool, follows <-chan struct{}) {
	switch n := len(s.flights); {
	case n == 0:
		return true, nil
	case n == wire.MaxChain:
		return false, nil
	default:
		last := s.flights[n-1]
		return last.follows, last.next
	}
}

// landing yields the outcome of the first batch on its way, if there is one.
func (s *session) landing() <-chan error {
	if len(s.flights) == 0 {
		return nil
	}
	return s.flights[0].done
}

// mayFollow reports whether a batch may be sent before those on their way have an outcome. A few
// lines are better sent together with others, a little later.
func (s *session) mayFollow(b *batch) bool {
	if len(s.flights) == 0 {
		return true
	}
	last := s.flights[len(s.flights)-1]
	return b.full && b.Op == wire.OpData && last.Op == wire.OpData && b.generation == last.generation
}

// land notes the outcome of the first batch on its way. After a failure those behind it have failed,
// too, and the outcome of each is waited for.
func (s *session) land(ctx context.Context, err error) error {
	x := s.flights[0]
	s.flights = slices.Delete(s.flights, 0, 1)
	b := x.batch
	defer func() { s.free <- b }()
	s.note(b.generation, err)
	if err != nil {
		s.drain()
	}
	switch {
	case err == nil, errors.As(err, new(*wire.Expected)):
		s.r.setFlying(len(s.flights) > 0)
	case errors.Is(err, wire.ErrRefused):
		s.r.setFlying(false)
		s.r.counts.refused.Add(1)
		return fmt.Errorf("the upstream refuses lines at %d:%d, and those behind them wait: %w", b.generation, b.Offset,
			err)
	}
	if err != nil {
		return err
	}
	s.advance(b.End, b.After)
	s.r.acknowledge(place{sink.Position{Generation: b.generation, Offset: b.End}, b.After}, s.u)
	s.r.setFailed("")
	s.r.counts.add(b)
	return s.endOthers(ctx)
}

// landAll waits for the outcomes of all batches on their way.
func (s *session) landAll(ctx context.Context) error {
	for len(s.flights) > 0 {
		if err := s.land(ctx, <-s.flights[0].done); err != nil {
			return err
		}
	}
	return nil
}

// drain waits for the outcomes of what is on its way, which count for nothing: the next session asks
// where to continue.
func (s *session) drain() {
	for _, x := range s.flights {
		<-x.done
	}
	s.flights = nil
}
