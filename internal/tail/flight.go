package tail

import (
	"cmp"
	"context"
	"slices"
	"time"

	"fanin/internal/wire"
)

// outgoing is what a follower sends. It is its goroutine's own.
type outgoing struct {
	flights []*flight // on their way, in their order
	blocks  blockSizes
}

// flight is a batch on its way. A follower has wire.MaxChain at most, each of which begins where
// the one before ends.
type flight struct {
	read
	tested bool  // for an echo
	size   int64 // of the file when it was sent, if it is tested
	begun  time.Time
	next   chan struct{} // tells that the next batch may follow
	done   chan struct{} // closed when there is an outcome
	err    error         // the outcome
}

// launch sends a batch, behind those that are on their way. It waits for the outcome where nothing is to be read
// meanwhile: most batches are a few lines that come alone.
func (f *follower) launch(ctx context.Context, r *read) {
	x := &flight{read: *r, tested: f.echo.round > 0, begun: time.Now(),
		next: make(chan struct{}, 1), done: make(chan struct{})}
	if x.tested {
		x.size = f.file.size()
	}
	f.flights = append(f.flights, x)
	if !x.full {
		f.fly(ctx, x)
		return
	}
	go f.fly(ctx, x) // ends with the outcome, which land waits for
}

// fly sends a batch, and waits for the outcome.
func (f *follower) fly(ctx context.Context, x *flight) {
	x.err = f.append(ctx, &x.read, func() {
		select {
		case x.next <- struct{}{}:
		default:
		}
	})
	close(x.done)
}

// readAhead reads the next batch while others are on their way, and returns it when it may be
// sent. It returns nothing where there is nothing to send, or no memory. Behind a batch that had room
// for more, there was no more: it does not read before the outcome.
func (f *follower) readAhead(ctx context.Context) (next read, err error) {
	if f.lastFlight().full {
		next, err = f.read(ctx, f.lastFlight().to, false)
	}
	for len(f.flights) > 0 && !(err == nil && f.mayFollow(&next)) {
		failed := f.land(ctx)
		if failed == nil {
			failed = f.settled(false)
		}
		switch {
		case failed != nil:
			f.t.pool.put(next.block)
			return read{}, failed
		case err == nil && f.file.f.hadItsTurn(4*f.t.Poll) && !f.isHidden():
			f.t.pool.put(next.block) // first: those that have descriptors may wait for memory
			if err = f.landAll(ctx); err == nil {
				f.file.f.release(false)
				err = f.file.f.hold(ctx, false)
			}
			return read{}, err
		case err == nil && next.block == nil && len(f.flights) > 0:
			next, err = f.read(ctx, f.lastFlight().to, false) // a block came back
		}
	}
	return next, err
}

func (f *follower) lastFlight() *flight { return f.flights[len(f.flights)-1] }

// mayFollow reports whether a batch may be sent behind those on their way. It may while the file
// has more than fits into a block: a few lines are better sent together, a little later. It waits
// until the way out keeps the order, or the batch before has its outcome.
func (f *follower) mayFollow(next *read) bool {
	last := f.lastFlight()
	if len(f.flights) == wire.MaxChain || next.text == nil || !next.full || last.skip || f.echo.round > 0 {
		return false
	}
	select {
	case <-last.next:
	case <-last.done:
	}
	select {
	case <-last.done:
		return false
	default:
		return true
	}
}

// land waits for the outcome of the first batch on its way, and notes it. After a failure the
// outcomes of those behind it count for nothing: the stream resumes where the collector has it.
func (f *follower) land(ctx context.Context) error {
	x := f.flights[0]
	<-x.done
	err := x.err
	f.flights = slices.Delete(f.flights, 0, 1)
	if err == nil {
		f.acknowledge(&x.read)
		if x.tested {
			err = f.awaitEcho(ctx, x.size)
		}
	}
	f.t.pool.put(x.block)
	if err == nil {
		f.blocks.acknowledged(&x.read, time.Since(x.begun), f.largest())
		return nil
	}
	for _, y := range f.flights {
		<-y.done
		f.t.pool.put(y.block)
	}
	f.flights = nil
	f.savePosition() // it notes what may be in the log
	f.blocks.failed(len(x.block)/f.scale(), err)
	return err
}

// landAll waits for the outcomes of all batches on their way.
func (f *follower) landAll(ctx context.Context) error {
	var err error
	for len(f.flights) > 0 {
		err = cmp.Or(err, f.land(ctx))
	}
	return err
}
