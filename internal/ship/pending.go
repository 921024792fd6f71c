package ship

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"fanin/internal/wire"
)

// pending is the batches of one session that wait for their answers. K identifies the
// batches that an answer may belong to: over TCP the stream, whose batches are answered in
// the order in which they were added; over NATS a token, which each batch has of its own.
type pending[K comparable] struct {
	mu       sync.Mutex
	waiting  map[K]chain
	longest  int           // how many of one key may wait; 0: one
	draining bool          // the collector stops: no new batch is sent
	err      error         // why the session ended; read it after closed
	closed   chan struct{} // closed when the session ends
}

// chain is the batches of one key, in the order in which they were added; nil behind the last.
type chain [wire.MaxChain]*flight

// flight is one batch on its way.
type flight struct {
	answer chan wire.Answer
	before *flight        // of the same key, and perhaps not written yet; nil: none
	unsent sync.WaitGroup // until the frame is written, or never will be
}

func newPending[K comparable]() pending[K] {
	return pending[K]{waiting: make(map[K]chain), closed: make(chan struct{})}
}

// setLongest sets how many batches of one key may wait, as a collector says.
func (p *pending[K]) setLongest(n int) { p.longest = min(n, wire.MaxChain) }

// add registers a batch before it is sent.
func (p *pending[K]) add(key K) (*flight, error) {
	x := &flight{answer: make(chan wire.Answer, 1)}
	x.unsent.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.draining {
		return nil, errDrained
	}
	c := p.waiting[key]
	n := c.length()
	if n >= max(p.longest, 1) {
		return nil, fmt.Errorf("stream %v already has %d batches in flight", key, n)
	}
	if c[n] = x; n > 0 {
		x.before = c[n-1]
	}
	p.waiting[key] = c
	return x, nil
}

func (c *chain) length() (n int) {
	for n < len(c) && c[n] != nil {
		n++
	}
	return n
}

// next lets the caller append the next batch of the stream, if the collector allows that.
func (p *pending[K]) next(b *wire.Batch) {
	if p.longest > 1 && b.Next != nil {
		b.Next()
	}
}

// remove ends the wait for an answer that no other batch can be given.
func (p *pending[K]) remove(key K) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, key)
}

// waits reports whether a batch still waits for its answer. It keeps its place in the chain
// until then: the answer must not be taken for that of the next batch.
func (p *pending[K]) waits(key K, x *flight) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.waiting[key]
	return slices.Contains(c[:], x)
}

// deliver hands an answer to the batch that waits for it. It reports whether one does.
func (p *pending[K]) deliver(key K, a wire.Answer) bool {
	p.mu.Lock()
	c := p.waiting[key]
	x := c[0]
	copy(c[:], c[1:])
	if c[len(c)-1] = nil; c[0] != nil {
		p.waiting[key] = c
	} else {
		delete(p.waiting, key)
	}
	p.mu.Unlock()
	if x == nil {
		return false
	}
	x.answer <- a
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

// wait waits for the answer to x until the session ends, the batch is abandoned, or the
// answer is late. An answer that came before the end counts.
func (p *pending[K]) wait(ctx context.Context, x *flight, abandoned <-chan struct{}, late <-chan time.Time) error {
	select {
	case a := <-x.answer:
		return a.Err()
	case <-p.closed:
		select {
		case a := <-x.answer:
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
