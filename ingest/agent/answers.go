package agent

import (
	"net"
	"sync"
	"time"

	"fanin/ingest/stream"
)

// answers writes frames to an agent. If no goroutine is writing, write writes,
// including the frames that are queued meanwhile: no goroutine waits for answers, and
// those that come together go out together.
type answers struct {
	nc net.Conn

	mu      sync.Mutex
	timeout time.Duration
	set     deadline // of nc's writes
	pending []byte
	spare   []byte // the block of pending before, for the next
	writing bool
	failed  bool
	delayed bool // a round writes what is pending
	delays  sync.WaitGroup
}

// maxPending bounds the memory that an agent can take that does not read.
const maxPending = 64 << 10

// write writes or queues a frame. It reports false when the connection can no longer
// take answers.
func (a *answers) write(frame []byte) bool {
	return a.queue(frame) && a.flush()
}

// flush writes all frames that wait, unless another goroutine does. It reports false when the
// connection can no longer take answers.
func (a *answers) flush() bool {
	for {
		out := a.next()
		if out == nil {
			return a.healthy()
		}
		_, err := a.nc.Write(out)
		a.written(out, err)
	}
}

// flushAfter is flush after a delay, in one of the rounds, or before, with the next frame that is
// written. Frames that wait for this travel together.
func (a *answers) flushAfter(r *rounds, delay time.Duration) {
	if delay <= 0 {
		a.flush()
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.delayed {
		return // what waits goes out by then
	}
	a.delayed = true
	a.delays.Add(1)
	r.add(a, delay)
}

// flushLater is flush in a round, unless stop came before.
func (a *answers) flushLater() {
	if a.endDelay() {
		defer a.delays.Done()
		a.flush()
	}
}

// endDelay reports whether there was a delay. It is the caller's then.
func (a *answers) endDelay() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	was := a.delayed
	a.delayed = false
	return was
}

// stop lets no round write any more, and waits for one that does: the connection ends.
func (a *answers) stop() {
	if a.endDelay() {
		a.delays.Done()
	}
	a.delays.Wait()
}

// queue adds a frame to those that wait. When one does not find room, none is sent any more:
// the answer to a later frame of the stream would be taken for it.
func (a *answers) queue(frame []byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failed = a.failed || a.writing && len(a.pending)+len(frame) > maxPending
	if a.failed {
		return false
	}
	a.pending = append(a.pending, frame...)
	return true
}

// next returns all frames that wait, and bounds their write; nil: there are none, or another goroutine
// writes them.
func (a *answers) next() (out []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.writing || a.failed || len(a.pending) == 0 {
		return nil
	}
	a.writing = true
	if at, change := a.set.move(time.Now().Add(a.timeout), a.timeout/deadlineSlack); change {
		a.nc.SetWriteDeadline(at)
	}
	out, a.pending = a.pending, a.spare[:0]
	return out
}

// written ends a write and keeps its block for the next.
func (a *answers) written(block []byte, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.writing, a.failed = false, a.failed || err != nil
	if a.spare = block; cap(block) > maxPending {
		a.spare = nil
	}
}

func (a *answers) healthy() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.failed
}

// hurry shortens the time for what is written from now on: the last words.
func (a *answers) hurry() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.timeout = stream.LingerTime
}

// cut ends a write that the peer does not read: cut sets a deadline that has passed. What is written from
// then on has as little time as the last words, and a deadline of its own.
func (a *answers) cut(cut func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	cut()
	a.timeout, a.set = stream.LingerTime, deadline{}
}
