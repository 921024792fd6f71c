package sink

import (
	"context"
	"sync"
)

// inOrder has work done by some goroutines, each piece by one of them, and returns the pieces in
// the order in which they were given. One goroutine at a time may use it; it must be stopped.
type inOrder[T any] struct {
	todo    chan piece[T]
	pending []piece[T] // in the order in which they were given
	workers sync.WaitGroup
}

// piece is a piece of work.
type piece[T any] struct {
	of   *T
	done chan struct{} // closed when it is done
}

// newInOrder starts so many workers, each with a function of its own that does a piece. No more
// pieces than room may be given and not taken yet.
func newInOrder[T any](room, workers int, worker func() func(*T)) *inOrder[T] {
	o := &inOrder[T]{todo: make(chan piece[T], room)}
	for range workers {
		do := worker()
		o.workers.Go(func() { // ends by stop
			for p := range o.todo {
				do(p.of)
				close(p.done)
			}
		})
	}
	return o
}

// give has a piece done. It never waits.
func (o *inOrder[T]) give(of *T) {
	p := piece[T]{of, make(chan struct{})}
	o.pending = append(o.pending, p)
	o.todo <- p
}

// take waits for the piece that was given first; nil: none is left.
func (o *inOrder[T]) take(ctx context.Context) (*T, error) {
	if len(o.pending) == 0 {
		return nil, nil
	}
	p := o.pending[0]
	select {
	case <-p.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	o.pending = o.pending[:copy(o.pending, o.pending[1:])]
	return p.of, nil
}

// stop ends the workers, and returns when they have ended.
func (o *inOrder[T]) stop() {
	close(o.todo)
	o.workers.Wait()
}
