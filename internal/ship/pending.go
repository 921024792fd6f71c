package ship

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"fanin/internal/wire"
)

// pending is the batches of one session that wait for their answers. K identifies the
// batch that an answer belongs to: the stream over TCP, where each stream has one batch
// in flight; a token over NATS.
type pending[K comparable] struct {
	mu       sync.Mutex
	waiting  map[K]chan wire.Answer
	draining bool          // the collector stops: no new batch is sent
	err      error         // why the session ended; read it after closed
	closed   chan struct{} // closed when the session ends
}

func newPending[K comparable]() pending[K] {
	return pending[K]{waiting: make(map[K]chan wire.Answer), closed: make(chan struct{})}
}

// add registers a batch before it is sent.
func (p *pending[K]) add(key K) (chan wire.Answer, error) {
	c := make(chan wire.Answer, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.draining {
		return nil, errDrained
	}
	if _, busy := p.waiting[key]; busy {
		return nil, fmt.Errorf("stream %v already has a batch in flight", key)
	}
	p.waiting[key] = c
	return c, nil
}

// remove ends the wait for an answer. It reports whether c still waited.
func (p *pending[K]) remove(key K, c chan wire.Answer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting[key] != c {
		return false
	}
	delete(p.waiting, key)
	return true
}

// deliver hands an answer to the batch that waits for it. It reports whether one does.
func (p *pending[K]) deliver(key K, a wire.Answer) bool {
	p.mu.Lock()
	c := p.waiting[key]
	delete(p.waiting, key)
	p.mu.Unlock()
	if c == nil {
		return false
	}
	c <- a
	return true
}

// drain lets no new batch in: the collector stops.
func (p *pending[K]) drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.draining = true
}

// drained reports whether the collector stops and nothing waits for an answer any more.
func (p *pending[K]) drained() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.draining && len(p.waiting) == 0
}

// ending reports whether the session accepts no new batch.
func (p *pending[K]) ending() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.draining || p.err != nil
}

// end ends the session: the outcome of what waits is unknown. It reports whether this
// call ended it, or an earlier one.
func (p *pending[K]) end(err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return false
	}
	if err == nil {
		err = errors.New("the session ended")
	}
	p.err = err
	close(p.closed)
	return true
}

// wait waits for the answer in c until the session ends, the batch is abandoned, or the
// answer is late. An answer that came before the end counts.
func (p *pending[K]) wait(ctx context.Context, c chan wire.Answer, abandoned <-chan struct{},
	late <-chan time.Time) error {
	select {
	case a := <-c:
		return a.Err()
	case <-p.closed:
		select {
		case a := <-c:
			return a.Err()
		default:
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("abandoned; it is unknown whether the batch was committed: %w", err)
		}
		return unknown(p.err)
	case <-abandoned:
		return fmt.Errorf("abandoned; it is unknown whether the batch was committed: %w", ctx.Err())
	case <-late:
		return unknown(errNoAnswer)
	}
}

var errNoAnswer = errors.New("no answer came in time; the batch will be sent again")

// unknown is the error of a batch without an answer.
func unknown(err error) error {
	return fmt.Errorf("it is unknown whether the batch was committed: %w", err)
}
