package sink

import (
	"context"
	"slices"
	"sync"
	"time"

	"fanin/internal/wire"
)

// request is one Append on its way through the writer.
type request struct {
	batch   *wire.Batch
	outcome chan error
	own     wire.Batch // what batch points to, used again
}

// requests are those that wait for the writer, in the order in which they came. The writer is woken
// once for all that come while it sleeps.
type requests struct {
	wake chan struct{} // of capacity 1: the writer need not sleep any longer

	mu       sync.Mutex
	waiting  []*request
	taken    int       // at the beginning of waiting: the writer has them
	bytes    int       // of text in waiting
	sleeping bool      // the writer waits for a request, or for enough of them
	most     int       // it sleeps until so many bytes wait; 0: until one request does
	last     time.Time // when the last request came, while the writer waits for more
	closed   error     // why none is taken any more
}

// append hands r to the writer and waits for the outcome. Until the writer has r, ctx ends that.
func (q *requests) append(ctx context.Context, r *request) error {
	if err := q.push(r); err != nil {
		return err
	}
	if r.batch.Next != nil {
		r.batch.Next()
	}
	select {
	case err := <-r.outcome:
		return err
	case <-ctx.Done():
	}
	if q.withdraw(r) {
		return ctx.Err()
	}
	return <-r.outcome
}

func (q *requests) push(r *request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed != nil {
		return q.closed
	}
	if len(q.waiting) == cap(q.waiting) {
		q.compactLocked()
	}
	q.waiting = append(q.waiting, r)
	q.bytes += len(r.batch.Text)
	if q.most > 0 {
		q.last = time.Now()
	}
	if q.sleeping && q.bytes >= q.most {
		q.sleeping = false
		q.wake <- struct{}{} // has space: the writer empties it before it sleeps again
	}
	return nil
}

// withdraw takes r back. It reports false if the writer has it.
func (q *requests) withdraw(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.compactLocked()
	i := slices.Index(q.waiting, r)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	q.bytes -= len(r.batch.Text)
	return true
}

// pop returns the next request, nil if there is none.
func (q *requests) pop() *request {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.taken == len(q.waiting) {
		return nil
	}
	r := q.waiting[q.taken]
	q.waiting[q.taken] = nil
	if q.taken++; q.taken == len(q.waiting) {
		q.compactLocked()
	}
	q.bytes -= len(r.batch.Text)
	return r
}

// compactLocked forgets those that were taken.
func (q *requests) compactLocked() {
	n := copy(q.waiting, q.waiting[q.taken:])
	clear(q.waiting[n:])
	q.waiting, q.taken = q.waiting[:n], 0
}

// sleep returns what fires when a request is there, and many bytes with it.
func (q *requests) sleep(most int) <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-q.wake:
	default:
	}
	q.most, q.last = most, time.Time{}
	if q.sleeping = q.taken == len(q.waiting) || q.bytes < most; !q.sleeping {
		q.wake <- struct{}{}
	}
	return q.wake
}

// awake ends sleep. It returns how many requests wait, and when the last one came.
func (q *requests) awake() (waiting int, last time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sleeping, q.most = false, 0
	return len(q.waiting) - q.taken, q.last
}

// close answers err to all requests that wait, and to all that come. The first call counts.
func (q *requests) close(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed != nil {
		return
	}
	q.closed = err
	q.compactLocked()
	for _, r := range q.waiting {
		r.outcome <- err
	}
	q.waiting, q.bytes = nil, 0
}
