package redis

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"
	"unsafe"

	"fanin/ingest"
	"fanin/internal/counters"
	"fanin/internal/lines"
	"fanin/internal/redisconn"
	"fanin/internal/retry"
	"fanin/internal/sequence"
	"fanin/internal/wire"
)

// channelReader receives the messages of all channels and patterns. They cannot be read
// again, and a server drops a client that does not read: so messages are always read, and
// wait in a queue. What comes while ChannelOptions.Pending bytes wait is dropped, counted and
// reported.
type channelReader struct {
	n        *Input
	in       *counters.Input
	channels []string
	patterns []string

	text []byte // of the message that is added

	wake chan struct{} // has an element while queue may have one

	mu      sync.Mutex
	queue   []*batch
	waiting int    // what queue costs, and the batch that is being appended
	latest  string // the source of the latest message in queue
	spare   *batch // for the next in queue
	losses  losses
}

// batch is a batch that waits.
type batch struct {
	sequence.Builder
	cost int // bytes
}

// losses are what was not reported yet.
type losses struct {
	dropped, long, breaks int
	reported              time.Time
}

const (
	// leaveTime is how long a server has to send what it had sent before a drain.
	leaveTime = 2 * time.Second
	// messageCost is what a message costs beside its text. If its source is not the one before,
	// that has a mark, in a list that grows by doubling, and a copy of its name.
	messageCost = 64
	markCost    = 2 * int(unsafe.Sizeof(wire.Mark{}))
)

func newChannelReader(n *Input) *channelReader {
	r := &channelReader{n: n, in: n.Inputs.New("redis", counters.None), wake: make(chan struct{}, 1)}
	for _, name := range n.Channels.Names {
		if IsPattern(name) {
			r.patterns = append(r.patterns, name)
		} else {
			r.channels = append(r.channels, name)
		}
	}
	return r
}

func (r *channelReader) part() string { return "channels " + strings.Join(r.n.Channels.Names, ", ") }

func (r *channelReader) key() string { return "" }

// start starts to append what is received, over one connection after the other: a log that is
// busy keeps none from being made. stop waits until all of it is appended.
func (r *channelReader) start() (stop func()) {
	stopped, appended := make(chan struct{}), make(chan struct{})
	go func() { // ends with stopped
		defer close(appended)
		r.appendAll(stopped)
	}()
	return func() {
		close(stopped)
		<-appended
	}
}

// run receives until the input drains, and then what the server had sent until then.
func (r *channelReader) run(ctx context.Context, conn *redisconn.Conn, up func()) error {
	receiving, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		conn.Leave()
		time.AfterFunc(leaveTime, cancel)
	})()
	ready, err := r.receive(receiving, conn, up)
	if ready && ctx.Err() == nil {
		r.n.Metrics.breaks.Inc()
		r.lose(func(l *losses) { l.breaks++ })
	}
	return err
}

// receive subscribes, and receives messages. ready reports that the subscription was in
// force.
func (r *channelReader) receive(ctx context.Context, conn *redisconn.Conn, up func()) (ready bool, err error) {
	conn.Listen(r.n.Channels.Silence)
	want := len(r.channels) + len(r.patterns)
	if len(r.channels) > 0 { // before the patterns: see first
		conn.Command(append([]string{"SUBSCRIBE"}, r.channels...)...)
	}
	if len(r.patterns) > 0 {
		conn.Command(append([]string{"PSUBSCRIBE"}, r.patterns...)...)
	}
	if err := conn.Send(ctx); err != nil {
		return false, err
	}
	for {
		v, err := conn.Receive(ctx, -1)
		if err != nil {
			return want <= 0, err
		}
		switch kind := v.At(0); string(kind.Bytes()) {
		case "message":
			r.add("", v.At(1).String(), v.At(2))
		case "pmessage":
			r.add(v.At(1).String(), v.At(2).String(), v.At(3))
		case "subscribe", "psubscribe":
			if want--; want == 0 {
				up()
			}
		case "unsubscribe", "punsubscribe":
			if left, _ := v.At(2).Int(); left == 0 {
				return want <= 0, errors.New("the server ended the subscription")
			}
		}
	}
}

// add queues the lines of a message that came for a pattern; "": for a channel.
func (r *channelReader) add(pattern, channel string, message redisconn.Value) {
	if !r.first(pattern, channel) {
		return // it came, or comes, for another one as well
	}
	r.n.Metrics.messages["channel"].Inc()
	if _, long := message.Skipped(); long {
		r.n.Metrics.skipped.Inc()
		r.drop(1, 0, func(l *losses) { l.long++ })
		return
	}
	r.text = r.n.lines(r.in, r.text[:0], message.Bytes())
	switch {
	case len(r.text) == 0:
		r.n.Metrics.empty.Inc()
	case !r.put(sourceOf(channel), r.text):
		r.drop(lines.Count(r.text), len(r.text), func(l *losses) { l.dropped++ })
	}
}

// put queues whole lines, unless too much waits.
func (r *channelReader) put(source string, text []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	cost := len(text) + messageCost
	if source != r.latest {
		cost += len(source) + markCost
	}
	if r.waiting > 0 && r.waiting+cost > r.n.Channels.Pending {
		return false
	}
	r.waiting, r.latest = r.waiting+cost, source
	for chunk := range lines.Chunks(text) {
		last := len(r.queue) - 1
		if last < 0 || !r.queue[last].Fits(len(chunk)) {
			r.queue = append(r.queue, r.batchLocked())
			last++
		}
		r.queue[last].Add(source, chunk, wire.Point{})
	}
	r.queue[len(r.queue)-1].cost += cost
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return true
}

// drop counts a message that is not written.
func (r *channelReader) drop(n, bytes int, why func(*losses)) {
	r.in.Received(n, bytes)
	r.in.Dropped(n)
	r.n.Metrics.dropped.Inc()
	r.lose(why)
}

func (r *channelReader) lose(what func(*losses)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	what(&r.losses)
}

// batchLocked returns an empty batch.
func (r *channelReader) batchLocked() *batch {
	b := r.spare
	if r.spare = nil; b == nil {
		b = new(batch)
	}
	return b
}

// appendAll appends what is queued until stop is closed, and then the rest.
func (r *channelReader) appendAll(stop <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for stopped := false; ; {
		for b := r.next(); b != nil; b = r.next() {
			r.append(b)
			r.report(false)
		}
		if r.report(stopped); stopped {
			return
		}
		select {
		case <-r.wake:
		case <-tick.C:
		case <-stop:
			stopped = true
		}
	}
}

// next removes the first batch from the queue; nil: it is empty.
func (r *channelReader) next() *batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return nil
	}
	b := r.queue[0]
	r.queue[0] = nil
	r.queue = r.queue[1:]
	return b
}

// append appends a batch once: its messages cannot be received again.
func (r *channelReader) append(b *batch) {
	r.in.Received(b.Lines, len(b.Text))
	err := r.n.Out.Append(r.n.life.Appending, wire.Batch{Time: time.Now().UnixMicro(), Input: r.in.Name(),
		Host: r.n.Lines.Host, Cuts: b.Cuts, Marks: b.Marks, Text: b.Text})
	if err != nil {
		ingest.Lost(r.in, b.Lines, err)
		r.n.limited.Warn("redis_append", "lines of messages may not be in the log", "from", r.part(),
			"lines", b.Lines, "error", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting -= b.cost
	b.Reset()
	b.cost, r.spare = 0, b
}

// report reports what was lost, at most every ten seconds unless this is the last report.
func (r *channelReader) report(last bool) {
	r.mu.Lock()
	l := r.losses
	if l == (losses{reported: l.reported}) || !last && time.Since(l.reported) < retry.LogEvery {
		r.mu.Unlock()
		return
	}
	r.losses = losses{reported: time.Now()}
	r.mu.Unlock()
	if l.dropped > 0 {
		r.n.Notice("LOST n=%d unit=messages reason=redis-slow: messages of the %s came faster than they could be "+
			"written", l.dropped, r.part())
	}
	if l.long > 0 {
		r.n.Notice("LOST n=%d unit=messages reason=redis-long: messages of the %s were longer than max_message",
			l.long, r.part())
	}
	if l.breaks > 0 {
		r.n.Notice("NOTE n=%d unit=breaks reason=redis-away: the connection for the %s broke; "+
			"what is published until the next one is missing", l.breaks, r.part())
	}
}
