package spool

import (
	"context"
	"slices"

	"fanin/internal/wire"
)

// outgoing is what the sender has on its way.
type outgoing struct {
	flights []*flight // in their order
	ready   *batch    // was read, and is not sent yet; nil: there is none
	batches [wire.MaxChain + 1]batch
	turn    int // of the batch that is read next
}

// flight is a batch on its way. There are wire.MaxChain at most, each of which begins where the
// one before ends. next, done and err are under Spool.mu.
type flight struct {
	*batch
	next bool  // the batch behind it may follow
	done bool  // it has an outcome
	err  error // the outcome
}

// step is what the sender does next.
type step int

const (
	stepLand step = iota // the first batch on its way has an outcome
	stepSend             // the batch that was read may be sent
	stepRead             // there is more to read
	stepDone             // the segment is sealed, and all of it is acknowledged
)

// await waits until there is something to do. The error is ctx's.
func (r *sender) await(ctx context.Context) (step, error) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	for {
		if step, ok := r.stepLocked(); ok {
			return step, nil
		}
		if err := r.waitLocked(ctx); err != nil {
			return 0, err
		}
	}
}

func (r *sender) stepLocked() (next step, ok bool) {
	switch {
	case len(r.flights) > 0 && r.flights[0].done:
		return stepLand, true
	case r.ready != nil:
		return stepSend, r.mayFollowLocked()
	case r.isReadableLocked():
		return stepRead, true
	}
	return stepDone, len(r.flights) == 0 && r.g.sealed
}

// mayFollowLocked reports whether the batch that was read may be sent behind those on their way.
// What is no lines is sent alone.
func (r *sender) mayFollowLocked() bool {
	n := len(r.flights)
	if n == 0 {
		return true
	}
	last := r.flights[n-1]
	return n < wire.MaxChain && last.next && !last.isSkip() && !r.ready.isSkip()
}

// isReadableLocked reports whether there is more to read. While batches are on their way, a few
// lines are better sent together, a little later. What may not follow the last of them is not read: while
// the collector is away, it would only take memory.
func (r *sender) isReadableLocked() bool {
	n := r.g.size - max(r.readTo().offset, firstByte)
	if flying := len(r.flights); flying > 0 {
		return r.flights[flying-1].next && n >= int64(min(leastRecent, r.s.BatchBytes))
	}
	return n > 0
}

// readTo is where reading goes on.
func (r *sender) readTo() cursor {
	switch n := len(r.flights); {
	case r.ready != nil:
		return r.ready.to
	case n > 0:
		return r.flights[n-1].to
	}
	return r.from
}

// waitLocked waits for a change. If nothing is on its way for a while, it saves the place, and
// later gives memory back.
func (r *sender) waitLocked(ctx context.Context) error {
	s := r.s
	soon, cancel := ctx, func() {}
	resting, unsaved := len(r.flights) == 0, s.place != r.saved
	switch {
	case resting && unsaved:
		soon, cancel = context.WithTimeout(ctx, saveEvery)
	case resting && r.areLarge():
		soon, cancel = context.WithTimeout(ctx, idle)
	}
	err := s.waitLocked(soon)
	cancel()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
	case unsaved:
		s.mu.Unlock()
		r.savePlace(true)
		s.mu.Lock()
	default:
		r.giveBack()
	}
	return nil
}

// giveBack gives the memory of batches back. None is on its way.
func (r *sender) giveBack() { r.ready, r.batches = nil, [len(r.batches)]batch{} }

func (r *sender) areLarge() bool {
	return slices.ContainsFunc(r.batches[:], func(b batch) bool { return b.isLarge() })
}

// launch sends the batch that was read, behind those on their way.
func (r *sender) launch(ctx context.Context) {
	s, x := r.s, &flight{batch: r.ready}
	s.mu.Lock()
	at, epoch := s.place.Point, s.place.epoch
	s.mu.Unlock()
	if n := len(r.flights); n > 0 {
		last := r.flights[n-1]
		at = wire.Point{Offset: last.End, Tail: last.After}
	}
	r.describe(x.batch, at, epoch)
	x.Next = func() { s.change(func() { x.next = true }) }
	r.ready, r.flights = nil, append(r.flights, x)
	r.noteOldest()
	go func() { // ends with the outcome, which land waits for
		err := r.out.Append(ctx, x.Batch)
		s.change(func() { x.done, x.err = true, err })
	}()
}

// noteOldest notes when the first line arrived that is on its way.
func (r *sender) noteOldest() {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.s.oldest = 0; len(r.flights) > 0 {
		r.s.oldest = r.flights[0].arrived
	}
}

// land waits for the outcome of the first batch on its way, and notes it. After a failure the
// outcomes of those behind it count for nothing: the stream resumes where the collector has it.
func (r *sender) land() error {
	x := r.flights[0]
	err := r.s.outcome(x)
	if r.flights = slices.Delete(r.flights, 0, 1); err == nil {
		r.acknowledge(x.batch)
	} else {
		for _, y := range r.flights {
			r.s.outcome(y)
		}
		r.flights = nil
	}
	r.noteOldest()
	return err
}

// landAll waits for the outcomes of all batches on their way.
func (r *sender) landAll() (err error) {
	for err == nil && len(r.flights) > 0 {
		err = r.land()
	}
	return err
}

func (s *Spool) outcome(x *flight) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !x.done {
		s.waitLocked(context.Background())
	}
	return x.err
}

// change changes something, and wakes everything that waits for a change.
func (s *Spool) change(something func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	something()
	s.signalLocked()
}
