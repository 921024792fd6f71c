package cluster

import (
	"sync"
	"time"
)

// lease is until when a member may rely on owning what it owns: no other member takes a partition
// before its owner was silent for TakeoverAfter, and the lease began before the sign of life was
// sent. It is measured on this machine's clock alone, so clocks that differ do no harm.
type lease struct {
	lasts time.Duration
	now   func() time.Time

	mu    sync.Mutex
	until time.Time
}

func newLease(lasts time.Duration) *lease { return &lease{lasts: lasts, now: time.Now} }

// renew extends the lease after a sign of life that was sent at a time and has arrived.
func (l *lease) renew(sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := sent.Add(l.lasts); until.After(l.until) {
		l.until = until
	}
}

// holds reports whether it lasts.
func (l *lease) holds() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now().Before(l.until)
}
