package ingest

import (
	"context"
	"sync"
	"time"

	"fanin/internal/retry"
)

// Lifetime is when an input works that makes its connections itself. Begin it before
// anything else.
type Lifetime struct {
	Appending context.Context // of every Append: ends when a Shutdown is abandoned
	Receiving context.Context // ends with Shutdown

	abandon, stop context.CancelFunc
	mu            sync.Mutex // orders Enter and Shutdown
	serving       sync.WaitGroup
}

// Begin begins it.
func (l *Lifetime) Begin() {
	l.Appending, l.abandon = context.WithCancel(context.Background())
	l.Receiving, l.stop = context.WithCancel(context.Background())
}

// Enter counts a Serve, which Leave ends, unless Shutdown came first.
func (l *Lifetime) Enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Draining() {
		return false
	}
	l.serving.Add(1)
	return true
}

// Leave ends what Enter counted.
func (l *Lifetime) Leave() { l.serving.Done() }

// Stop ends receiving. It does not wait.
func (l *Lifetime) Stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stop()
}

// Shutdown ends receiving, and waits until all that Enter counted has left. When ctx ends
// first, it abandons what is being appended, and returns ctx's error.
func (l *Lifetime) Shutdown(ctx context.Context) error {
	l.Stop()
	defer l.abandon()
	return Await(ctx, &l.serving)
}

// Draining reports whether Shutdown was called.
func (l *Lifetime) Draining() bool { return l.Receiving.Err() != nil }

// Pause waits, and reports whether the input still receives.
func (l *Lifetime) Pause(d time.Duration) bool { return retry.Pause(l.Receiving, d) == nil }
