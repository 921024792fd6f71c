package appendertest

import (
	"context"
	"sync"

	"fanin/internal/wire"
)

// Ordered is a way out that keeps the order of a stream's batches, as a connection does. The next
// batch of a stream may follow at once, and waits here for the outcome of the one before.
type Ordered struct {
	To    wire.Appender
	Pairs bool // the first batch with text of a stream waits until two are on their way

	another chan struct{} // closed when there were two

	mu     sync.Mutex
	last   map[wire.StreamID]chan struct{} // closed when the last one has its outcome
	flying map[wire.StreamID]int
	most   int // of one stream at a time
}

// NewOrdered makes a way out to an Appender.
func NewOrdered(to wire.Appender) *Ordered {
	return &Ordered{To: to, another: make(chan struct{}), last: make(map[wire.StreamID]chan struct{}),
		flying: make(map[wire.StreamID]int)}
}

// Append appends b when the batch before has its outcome.
func (o *Ordered) Append(ctx context.Context, b wire.Batch) error {
	done := make(chan struct{})
	defer close(done)
	before := o.begin(b.Stream, done)
	defer o.end(b.Stream)
	if b.Next != nil {
		b.Next()
	}
	if before != nil {
		<-before
	}
	if o.Pairs && b.Op == wire.OpData && b.Offset == 0 {
		select {
		case <-o.another:
		case <-ctx.Done():
		}
	}
	return o.To.Append(ctx, b)
}

func (o *Ordered) begin(id wire.StreamID, done chan struct{}) (before chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before, o.last[id] = o.last[id], done
	o.flying[id]++
	if o.flying[id] == 2 && o.most < 2 {
		close(o.another)
	}
	o.most = max(o.most, o.flying[id])
	return before
}

func (o *Ordered) end(id wire.StreamID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flying[id]--
}

// AtMost returns how many batches of one stream were on their way at a time.
func (o *Ordered) AtMost() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.most
}

// Another is closed when two batches of one stream were on their way.
func (o *Ordered) Another() <-chan struct{} { return o.another }
