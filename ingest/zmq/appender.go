package zmq

import (
	"sync"
	"time"

	"fanin/ingest"
	"fanin/internal/lines"
)

// appender appends the blocks of one peer, in order: one at a time, while others wait. It has
// a goroutine while there are any.
type appender struct {
	n    *Input
	peer string
	most int // bytes of blocks that may wait; one block always may

	mu      sync.Mutex
	fewer   sync.Cond // a block was appended
	waiting []*block
	held    int // bytes of waiting
	running bool
	err     error // the last error of Append that decides nothing
}

func newAppender(n *Input, peer string, most int) *appender {
	a := &appender{n: n, peer: peer, most: most}
	a.fewer.L = &a.mu
	return a
}

// idle reports whether nothing is being appended.
func (a *appender) idle() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.running
}

// full reports whether hand would wait.
func (a *appender) full() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fullLocked()
}

func (a *appender) fullLocked() bool { return len(a.waiting) > 0 && a.held >= a.most }

// hand takes a block, and waits while too many wait.
func (a *appender) hand(b *block) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.fullLocked() {
		a.fewer.Wait()
	}
	a.waiting = append(a.waiting, b)
	a.held += cap(b.Text)
	if !a.running {
		a.running = true
		go a.run() // ends when no block waits; finish waits for it
	}
}

// run appends blocks until none waits.
func (a *appender) run() {
	for {
		a.mu.Lock()
		if len(a.waiting) == 0 {
			a.running = false
			a.fewer.Broadcast()
			a.mu.Unlock()
			return
		}
		b := a.waiting[0]
		a.waiting = append(a.waiting[:0], a.waiting[1:]...)
		a.held -= cap(b.Text)
		a.fewer.Broadcast()
		a.mu.Unlock()
		if err := a.append(b); err != nil {
			a.mu.Lock()
			a.err = err
			a.mu.Unlock()
		}
	}
}

// append appends one block, and releases its memory.
func (a *appender) append(b *block) error {
	n, in := lines.Count(b.Text), a.n.lines
	in.Received(n, len(b.Text))
	b.Time, b.Input = time.Now().UnixMicro(), in.Name()
	err := a.n.Out.Append(a.n.appending, b.Batch)
	a.n.Budget.Release(b.Text)
	if err == nil {
		return nil
	}
	ingest.Lost(in, n, err)
	a.n.limited.Warn("append", "lines of ZeroMQ messages may not be in the log", "peer", a.peer, "lines", n,
		"error", err)
	if ingest.Decided(err) {
		return nil
	}
	return err
}

// finish waits until all blocks were appended, and returns the last error that leaves open
// whether lines were written.
func (a *appender) finish() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.running {
		a.fewer.Wait()
	}
	return a.err
}
