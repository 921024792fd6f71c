// Package carry is the loop of an output: a worker inside the collector that sends
// the lines of its group on to a target outside, such as a stream of a NATS server.
//
// The loop does what all outputs share. It receives deliveries, sends their lines
// until the target has confirmed each of them, pauses between attempts, keeps the
// lease while the target is away, counts every line, and releases the rest at
// shutdown. An output adds one function, Send.
package carry

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/retry"
	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
)

// Send offers lines to the target once, in their order, and sets the outcome of each
// line that it offered. The loop sends lines without a final outcome again. The error
// says what keeps them from being carried; it is logged when it changes. ctx ends at
// shutdown.
type Send func(ctx context.Context, lines []Line) error

// ErrMoved is the error of Send when it has moved the group to another position: the rest of
// the delivery is returned, and what is handed out next is carried.
var ErrMoved = errors.New("the group was moved")

// Loop carries the lines of one group to a target. Set the fields, then Run.
//
// A target that is away is no failure of the lines: the loop never reports them as
// failed, so none of them becomes a dead letter. Only Line.Reject does that.
type Loop struct {
	Dial    func(ctx context.Context) (net.Conn, error) // to the work distributor; required
	Options protocol.Hello                              // Group is required
	Target  string                                      // its name in messages, such as "stream WORK"; required
	Send    Send                                        // required

	// Window returns for how long the target recognizes a line that is sent again. A
	// line sent again later may be there twice and counts as unsure. Nil, or 0: the
	// target recognizes none, so each line that is sent again after an unknown outcome
	// counts.
	Window func() time.Duration

	Joined func()       // called whenever the loop has joined its group; may be nil
	Log    *slog.Logger // nil: discard

	mu      sync.Mutex
	trouble string

	counts counters
}

// counters are the totals behind Counts.
type counters struct{ received, carried, rejected, released, again, unsure atomic.Uint64 }

// Counts are totals of lines since the start. Received = Carried + Rejected + Released
// + those in progress.
type Counts struct {
	Received uint64 // delivered to the loop
	Carried  uint64 // confirmed by the target
	Rejected uint64 // refused by the target for good: reported as failed
	Released uint64 // returned without an outcome: at shutdown, or with ErrMoved
	Again    uint64 // of those received: not delivered for the first time
	Unsure   uint64 // sent again without the target recognizing a repeat: possible duplicates
}

// Counts returns the totals.
func (l *Loop) Counts() Counts {
	c := &l.counts
	return Counts{Received: c.received.Load(), Carried: c.carried.Load(), Rejected: c.rejected.Load(),
		Released: c.released.Load(), Again: c.again.Load(), Unsure: c.unsure.Load()}
}

// Run carries lines until ctx ends. It returns an error only when the distributor
// refuses the group.
func (l *Loop) Run(ctx context.Context) error {
	if l.Log == nil {
		l.Log = slog.New(slog.DiscardHandler)
	}
	w := worker.Worker{Dial: l.Dial, Handle: l.carry, Log: l.Log, Options: l.Options}
	if l.Joined != nil {
		w.Welcomed = func(protocol.Welcome) { l.Joined() }
	}
	return w.Run(ctx)
}

// Trouble returns what keeps lines from being carried now, or "".
func (l *Loop) Trouble() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.trouble
}

// Report sets what keeps lines from being carried, nil for nothing, and logs it when it has
// changed. The loop reports what Send returns; an output may report what it finds out
// otherwise.
func (l *Loop) Report(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	l.mu.Lock()
	changed := text != l.trouble
	l.trouble = text
	l.mu.Unlock()
	switch {
	case changed && err != nil:
		l.Log.Warn("lines cannot be carried to the target; trying again, none is given up",
			"target", l.Target, "group", l.Options.Group, "err", err)
	case changed:
		l.Log.Info("lines are carried to the target", "target", l.Target, "group", l.Options.Group)
	}
}

// The pause between two attempts doubles from firstPause to longestPause.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
)

// carry sends the lines of a delivery until each has a final outcome.
func (l *Loop) carry(ctx context.Context, d *worker.Delivery) error {
	b := newBatch(d)
	l.counts.received.Add(uint64(len(b.left)))
	if d.Attempt > 1 {
		l.counts.again.Add(uint64(len(b.left)))
	}
	defer d.Hold(math.MaxInt64)()
	pause := retry.Backoff{Min: firstPause, Max: longestPause}
	for {
		err := l.Send(ctx, b.left)
		carried, rejected := b.settle()
		l.counts.carried.Add(uint64(carried))
		l.counts.rejected.Add(uint64(rejected))
		if len(b.left) == 0 {
			l.Report(nil)
			return nil
		}
		moved := errors.Is(err, ErrMoved)
		if ctx.Err() == nil && !moved {
			l.Report(err)
		}
		if moved || pause.Wait(ctx) != nil {
			l.counts.released.Add(uint64(len(b.left)))
			return worker.ErrRelease
		}
		l.counts.unsure.Add(uint64(b.possibleDuplicates(l.window())))
	}
}

// window returns for how long the target recognizes repeats now.
func (l *Loop) window() time.Duration {
	if l.Window == nil {
		return 0
	}
	return l.Window()
}
