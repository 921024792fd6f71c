// Package redis is the output to Redis: it carries the lines of its group into a stream
// or a list of a server, each line exactly once and in the order of the log.
//
//	group "redis" -> carry.Loop -> Output.send -> stream | list -> redisconn.Conn
//
// What makes a repeat harmless is stored at the server itself, by the same script as the
// lines: how far the target has the log. For a stream that is the id of its last entry,
// GENERATION-OFFSET, which is the position of a line; for a list it is a second key. So after
// any kill, of either side, the output asks the target, and continues behind that.
//
// Three rules make that right:
//
//  1. Lines come in the order of the log, and one delivery at a time: the group's key is
//     "log". A line that is handed out again precedes all that follow it. So what is not
//     behind the target's last line is in the target.
//  2. Lines are added by a script that first compares how far the target has the log with
//     what the output knows: all lines of it are added, or none is.
//  3. A target counts as ours only if its last entry names this log, and is the line that
//     the log has at this position. Else nothing is sent.
//
// A target that lacks lines which were delivered has lost them: a server that failed over,
// was flushed, or lost its last second. The group then goes back, see judge.
package redis

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/redisconn"
	"fanin/internal/retry"
	"fanin/sink"
	"fanin/sink/distribute"
	"fanin/sink/distribute/carry"
	"fanin/sink/distribute/protocol"
)

// Output carries one group's lines into a stream or a list. Set the fields, then Run. Zero
// fields take the defaults named.
type Output struct {
	Sink   *sink.Sink              // required
	Work   *distribute.Distributor // required
	Server *redisconn.Client       // required

	Stream, List string // the key; exactly one is required

	Group  string       // default "redis"
	From   string       // where a new group begins, as for any worker
	MaxLen int64        // entries that the target keeps; about as many, in a stream; 0: all
	Log    *slog.Logger // nil: discard
	Joined func()       // called when the group exists; may be nil

	loop     carry.Loop
	warnings *retry.Log
	counts   struct{ resent, lost, behind, trimmed atomic.Uint64 }

	mu      sync.Mutex // for all below, which are those of send and watch
	target  target
	given   given
	conn    *redisconn.Conn // nil: what the target has is not known
	has     state           // what it has
	waiting bool            // lines wait for the next attempt
	course
}

// course is where the lines go on. The zero position means that it is not known.
type course struct {
	next   sink.Position // where the line behind the last one that was carried begins
	resume sink.Position // where the group was moved back to
	back   sink.Position // the same, while a delivery from before may still come
}

// The bounds of a delivery, and so of what a script does at once, while the server does nothing
// else. A delivery has 128 KiB of text at most.
const batch = 4096

func (o *Output) setUp() {
	o.Group = cmp.Or(o.Group, "redis")
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.warnings = retry.NewLog(o.Log)
	log := o.Sink.Status().Log
	if o.Stream != "" {
		o.target = &stream{name: o.Stream, log: log, maxLen: o.MaxLen, parts: o.Sink.Parts}
	} else {
		o.target = &list{name: o.List, log: log, maxLen: o.MaxLen, trimmed: &o.counts.trimmed}
	}
	o.given = given{disk: o.Sink.Disk, mode: o.Sink.Modes.File, Log: log, Target: o.name(),
		path: filepath.Join(o.Sink.State, "work", "redis-"+o.Group+".json")}
}

// Run carries lines until ctx ends. It returns an error only when the distributor refuses
// the group.
func (o *Output) Run(ctx context.Context) error {
	o.setUp()
	if err := o.given.load(); err != nil {
		return err
	}
	l := &o.loop
	l.Dial, l.Send, l.Joined, l.Log = o.Work.Connect, o.send, o.Joined, o.Log
	l.Target = o.target.String()
	l.Window = func() time.Duration { return math.MaxInt64 } // the target knows every line that it has
	l.Options = protocol.Hello{Group: o.Group, From: o.From, Key: "log", Name: "Redis " + l.Target, Batch: batch,
		Credit: 2 * batch}
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { o.watch(ctx) }) // ends with ctx
	err := l.Run(ctx)
	cancel()
	watching.Wait()
	o.drop()
	return errors.Join(err, o.given.save())
}

// name is what the target is called in messages and metrics.
func (o *Output) name() string {
	if o.Stream != "" {
		return "stream " + o.Stream
	}
	return "list " + o.List
}

// Trouble returns what keeps lines from being carried now, or "".
func (o *Output) Trouble() string { return o.loop.Trouble() }

// drop closes the connection: what the target has is asked again.
func (o *Output) drop() {
	if o.conn != nil {
		o.conn.Close()
		o.conn = nil
	}
}
