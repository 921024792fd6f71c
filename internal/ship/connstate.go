package ship

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"fanin/internal/retry"
	"fanin/internal/wire"
)

// Timing is how long a shipper waits. Zero fields take the defaults named.
type Timing struct {
	PingEvery    time.Duration // default 5 s
	DeadAfter    time.Duration // without a sign of the collector, see liveness; default 15 s
	GreetWithin  time.Duration // for the connection and its welcome; default 10 s over TCP, 5 s over NATS
	AnswerWithin time.Duration // over NATS, for the answer to a batch, before it is sent again; default 15 s
	Linger       time.Duration // for the answer to a batch in flight whose context ended; default none
	MinBackoff   time.Duration // between sessions; default 200 ms
	MaxBackoff   time.Duration // of most of them, see backoff; default 8 s
}

// setDefaults sets the zero fields; greet is the default of GreetWithin.
func (t *Timing) setDefaults(greet time.Duration) {
	set := func(d *time.Duration, v time.Duration) { *d = cmp.Or(*d, v) }
	set(&t.PingEvery, 5*time.Second)
	set(&t.DeadAfter, 15*time.Second)
	set(&t.GreetWithin, greet)
	set(&t.AnswerWithin, 15*time.Second)
	set(&t.MinBackoff, 200*time.Millisecond)
	set(&t.MaxBackoff, 8*time.Second)
}

// backoff is the pause between sessions. It has jitter: a fleet must not come back as one. The
// longest pauses are from a half to one and a half of MaxBackoff. So a collector that was away for
// long has all of its agents that know one address within 12 s after it is back, about as many in
// each second.
func (t *Timing) backoff() retry.Backoff {
	return retry.Backoff{Min: t.MinBackoff, Max: t.MaxBackoff, Jitter: true}
}

// connState is the session that works now, or why there is none. Every shipper has one.
type connState[S interface {
	comparable
	ending() bool // it accepts no new batch
}] struct {
	mu      sync.Mutex
	session S             // zero: none
	change  chan struct{} // closed when session changes
	log     wire.StreamID // the log met first: all addresses must lead to it
	trouble string
	logged  []string // troubles since there was a session: several addresses may fail in turn
}

// mostTroubles is how many different ones are logged.
const mostTroubles = 16

// lost logs why there is no session, once for each reason.
func (c *connState[S]) lost(log *slog.Logger, address string, err error, wait time.Duration) {
	if !c.note(address, err) {
		return
	}
	about := []any{"collector", address, "err", err}
	if wait > 0 {
		about = append(about, "next_try", wait)
	}
	log.Warn("no connection to the collector; lines wait in their files", about...)
}

// note stores why there is no session, and reports whether that is news.
func (c *connState[S]) note(address string, err error) (news bool) {
	text := fmt.Sprintf("%s: %v", address, err)
	var op *net.OpError
	if errors.As(err, &op) && op.Source != nil {
		text = strings.ReplaceAll(text, op.Source.String()+"->", "") // the port differs each time
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trouble = text
	if slices.Contains(c.logged, text) || len(c.logged) == mostTroubles {
		return false
	}
	c.logged = append(c.logged, text)
	return true
}

// Trouble returns why there is no connection, "" while there is one.
func (c *connState[S]) Trouble() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var none S
	if c.session != none {
		return ""
	}
	if c.trouble == "" {
		return "not connected yet"
	}
	return c.trouble
}

// anyLog forgets which log was met first.
func (c *connState[S]) anyLog() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = wire.StreamID{}
}

// sameLog rejects an address that leads to another log: its watermarks would be taken for
// those of the first one.
func (c *connState[S]) sameLog(log wire.StreamID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.log.IsZero() {
		c.log = log
	}
	if c.log != log {
		return fmt.Errorf("this address leads to the log %s, and another one to the log %s: "+
			"all addresses must lead to one log; remove one of them", log, c.log)
	}
	return nil
}

// use makes s the session that works now; zero: there is none.
func (c *connState[S]) use(s S) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = s
	var none S
	if s != none {
		c.trouble, c.logged = "", nil
	}
	if c.change != nil {
		close(c.change)
		c.change = nil
	}
}

// current waits for a session.
func (c *connState[S]) current(ctx context.Context) (S, error) {
	var none S
	for {
		c.mu.Lock()
		s := c.session
		if s != none && s.ending() {
			s = none // its goroutine is about to remove it
		}
		if s == none && c.change == nil {
			c.change = make(chan struct{})
		}
		change := c.change
		c.mu.Unlock()
		if s != none {
			return s, nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return none, fmt.Errorf("no connection to the collector: %w", ctx.Err())
		}
	}
}

// checkBatch returns what keeps a batch from being sent.
func checkBatch(ctx context.Context, b *wire.Batch) error {
	if b.Stream.IsZero() {
		return &wire.Refused{Reason: "lines without a stream cannot be acknowledged"}
	}
	return cmp.Or(b.Check(), ctx.Err())
}
