// Package retry has what the module does between attempts: pauses that grow, and
// a log that repeated messages cannot flood.
package retry

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is a pause that doubles from attempt to attempt, from Min up to Max. The
// zero value of Jitter waits exactly that long; with Jitter a pause is between a
// half and one and a half of it, so that many clients of one server that went away
// do not come back as one. It is not safe for concurrent use.
type Backoff struct {
	Min, Max time.Duration
	Jitter   bool

	next time.Duration
}

// Next returns the pause before the next attempt, and doubles the one after it.
func (b *Backoff) Next() time.Duration {
	d := b.peek()
	b.next = min(2*d, b.Max)
	if b.Jitter {
		d = d/2 + rand.N(max(d, 1))
	}
	return d
}

// peek returns the pause before the next attempt without jitter.
func (b *Backoff) peek() time.Duration { return max(b.next, b.Min) }

// Reset begins again at Min: an attempt succeeded.
func (b *Backoff) Reset() { b.next = 0 }

// AtLeast makes the next pause at least d, even beyond Max: the peer asked for it.
func (b *Backoff) AtLeast(d time.Duration) { b.next = max(b.peek(), d) }

// Wait pauses before the next attempt. Its error is the context's.
func (b *Backoff) Wait(ctx context.Context) error { return Pause(ctx, b.Next()) }

// Pause waits for d, or until ctx is done; then it returns the context's error.
func Pause(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}
