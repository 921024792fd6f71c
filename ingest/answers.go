package ingest

import (
	"net"
	"sync"
	"time"
)

// answers writes frames to an agent. Whoever has one and finds the pen free
// writes for all who come meanwhile: no goroutine waits for answers, and those
// that come together go out together.
type answers struct {
	nc      net.Conn
	timeout time.Duration

	mu      sync.Mutex
	pending []byte
	spare   []byte // what pending was before, to use again
	writing bool
	failed  bool
}

// mostPending bounds what an agent that does not read can make us keep.
const mostPending = 64 << 10

// write reports false when the connection cannot take answers any more.
func (a *answers) write(frame []byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed || a.writing && len(a.pending)+len(frame) > mostPending {
		return false
	}
	a.pending = append(a.pending, frame...)
	if a.writing {
		return true
	}
	a.writing = true
	for len(a.pending) > 0 && !a.failed {
		out := a.pending
		a.pending = a.spare[:0]
		end := time.Now().Add(a.timeout)
		a.mu.Unlock()
		a.nc.SetWriteDeadline(end)
		_, err := a.nc.Write(out)
		a.mu.Lock()
		a.failed = err != nil
		if a.spare = out; cap(out) > mostPending {
			a.spare = nil
		}
	}
	a.writing = false
	return !a.failed
}

// hurry says that what is written from now on is the last word.
func (a *answers) hurry() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.timeout = lingerTime
}
