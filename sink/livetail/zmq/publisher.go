// Package zmq publishes a log over ZeroMQ as it grows, from PUB sockets.
package zmq

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/internal/retry"
	"fanin/internal/zmtp"
	"fanin/sink"
)

// Publisher publishes each line that is committed to the subscribers of a PUB socket. Set
// the fields, then Run; Handle is the socket's. A message has these frames (RFC 29):
//
//	topic      HOST/SOURCE of the line, "-" for a part that it does not have
//	line       as in the file, without its newline
//	counter    with Sequence: 4 bytes, little-endian, counted up for each line of the topic
//
// A subscriber gets the lines whose topic begins with one of its subscriptions, from its
// subscription on. None is waited for: for one that does not keep up the oldest lines that
// wait are dropped, and counted. Each line is encoded once, whatever the number of
// subscribers, and what waits is shared by them.
type Publisher struct {
	Sink     *sink.Sink
	HWM      int // lines that may wait for one subscriber; default DefaultHWM
	Sequence bool
	Metrics  zmtp.Metrics // nil: nothing is counted
	Log      *slog.Logger // nil: discard

	once    sync.Once
	limited *retry.Log
	counts  counts
	encoder encoder      // of Run
	reader  *sink.Reader // of Run

	mu     sync.Mutex
	all    map[*subscriber]struct{}
	wanted int           // subscriptions, of all
	idle   bool          // Run waits for a subscription
	from   sink.Position // where it begins
	awake  chan struct{}
}

// DefaultHWM is how many lines may wait for a subscriber.
const DefaultHWM = 100_000

// counts are totals of lines over all subscribers.
type counts struct {
	sent, slow, left prometheus.Counter
	refused          prometheus.Counter
}

func (p *Publisher) setUp() {
	p.once.Do(func() {
		p.HWM = cmp.Or(p.HWM, DefaultHWM)
		p.Log = cmp.Or(p.Log, slog.New(slog.DiscardHandler))
		p.limited = retry.NewLog(p.Log)
		p.all, p.awake, p.from = make(map[*subscriber]struct{}), make(chan struct{}, 1), p.Sink.End()
		p.encoder = encoder{sink: p.Sink, most: min(max(p.HWM/2, 1), maxRun), sequence: p.Sequence}
		p.counts.init(p.Metrics)
	})
}

func (c *counts) init(m zmtp.Metrics) {
	if m == nil {
		m = zmtp.NoMetrics{}
	}
	const dropped = "fanin_zmq_pub_dropped_lines_total"
	const help = "Lines that subscribers of PUB sockets had subscribed to and were not sent, by reason: too slow, or " +
		"disconnected meanwhile."
	c.sent = m.Counter("fanin_zmq_pub_lines_total", "Lines sent to subscribers of PUB sockets, each counted.", "", "")
	c.slow = m.Counter(dropped, help, "reason", "slow")
	c.left = m.Counter(dropped, help, "reason", "disconnected")
	c.refused = m.Counter("fanin_zmq_pub_refused_total",
		"Subscribers of PUB sockets disconnected because they subscribed to too much.", "", "")
}

// Subscribers returns the state of all subscribers, by their addresses.
func (p *Publisher) Subscribers() []Subscriber {
	p.setUp()
	list := []Subscriber{}
	for _, s := range p.subscribers() {
		list = append(list, s.status())
	}
	slices.SortFunc(list, func(a, b Subscriber) int { return strings.Compare(a.Peer, b.Peer) })
	return list
}

func (p *Publisher) subscribers() (list []*subscriber) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.all {
		list = append(list, s)
	}
	return list
}

// Handle serves one subscriber. It is a zmtp.Handler.
func (p *Publisher) Handle(ctx context.Context, l *zmtp.Link) error {
	p.setUp()
	s := newSubscriber(l)
	p.mu.Lock()
	p.all[s] = struct{}{}
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	gone := make(chan struct{})
	var err error
	go func() { // ends with the connection, which is awaited below
		defer close(gone)
		err = p.read(s)
		cancel()
		l.Close() // ends a write
	}()
	s.write(ctx, func(n uint64) { p.counts.sent.Add(float64(n)) })
	if l.Stopped() {
		l.Finish(gone)
	}
	l.Close()
	<-gone
	p.leave(s)
	return err
}

// read applies a subscriber's subscriptions until the connection ends.
func (p *Publisher) read(s *subscriber) error {
	for {
		topic, add, err := s.link.Subscription()
		if err != nil {
			return err
		}
		change, err := s.subscribe(topic, add)
		if err != nil {
			p.counts.refused.Inc()
			p.limited.Warn("subscriptions", "a ZeroMQ subscriber was disconnected, because it subscribes to too much",
				"peer", s.link.Remote, "error", err)
			return err
		}
		p.want(change)
	}
}

// want notes that there are more subscriptions, or fewer. The first one wakes Run.
func (p *Publisher) want(change int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted += change
	if p.idle && p.wanted > 0 {
		p.idle, p.from = false, p.Sink.End()
		p.awake <- struct{}{}
	}
}

// leave forgets a subscriber whose connection has ended.
func (p *Publisher) leave(s *subscriber) {
	p.mu.Lock()
	delete(p.all, s)
	p.mu.Unlock()
	st := s.leave()
	p.want(-st.Subscriptions)
	p.counts.left.Add(float64(st.Waiting))
	if st.Dropped+st.Waiting > 0 {
		p.Log.Debug("a ZeroMQ subscriber left, and was not sent all that it had subscribed to", "peer", st.Peer,
			"sent", st.Sent, "dropped", st.Dropped, "waiting", st.Waiting)
	}
}

// farewell is how long subscribers have at the end to read what waits for them.
const farewell = time.Second

// Run publishes lines, beginning with the first subscription, until ctx ends. Then it
// publishes what is in the log, and waits a moment for subscribers to have it.
func (p *Publisher) Run(ctx context.Context) error {
	p.setUp()
	p.reader = p.Sink.Reader(p.from)
	defer p.reader.Close()
	buf := make([]byte, 256<<10)
	for p.awaitSubscription(ctx) {
		grown := p.Sink.Grown() // before the look
		if p.step(ctx, buf) {
			continue
		}
		select {
		case <-grown:
			retry.Pause(ctx, 2*time.Millisecond) // so that many small commits are read together
		case <-ctx.Done():
		}
	}
	p.finish(buf)
	return ctx.Err()
}

// finish publishes the rest, and waits until it is sent.
func (p *Publisher) finish(buf []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	p.mu.Lock()
	idle := p.idle
	p.idle = false // no subscriber is awaited any more
	p.mu.Unlock()
	select {
	case <-p.awake: // the first subscription came as ctx ended
		p.reader.Seek(p.from)
	default:
	}
	for !idle && p.isWanted() && ctx.Err() == nil && p.step(ctx, buf) {
	}
	for slices.ContainsFunc(p.subscribers(), func(s *subscriber) bool { return !s.done() }) {
		if retry.Pause(ctx, 5*time.Millisecond) != nil {
			return
		}
	}
}

func (p *Publisher) isWanted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wanted > 0
}

// awaitSubscription waits until there is a subscription. With counters it does not: they
// count lines that no subscriber gets, too. False: ctx ended.
func (p *Publisher) awaitSubscription(ctx context.Context) bool {
	p.mu.Lock()
	p.idle = p.wanted == 0 && !p.Sequence
	idle := p.idle
	p.mu.Unlock()
	if !idle {
		return ctx.Err() == nil
	}
	p.reader.Close() // a file that is removed meanwhile would keep its space
	select {
	case <-p.awake:
		p.reader.Seek(p.from)
		return true
	case <-ctx.Done():
		return false
	}
}

// step publishes some of what is new, and reports whether there was something.
func (p *Publisher) step(ctx context.Context, buf []byte) bool {
	text, _, err := p.reader.Read(ctx, buf)
	var gone *sink.GoneError
	switch {
	case errors.As(err, &gone):
		p.limited.Warn("gone", "lines were removed before they were published over ZeroMQ", "from", gone.From.String(),
			"to", gone.To.String())
		return true
	case err != nil:
		if errors.Is(err, sink.ErrNoPosition) { // the log is an older state of itself
			p.reader.Seek(p.Sink.End())
		}
		p.limited.Warn("read", "cannot read the log to publish it over ZeroMQ; trying again", "error", err)
		retry.Pause(ctx, time.Second)
		return ctx.Err() == nil
	}
	for line := range bytes.Lines(text) {
		p.encoder.add(bytes.TrimSuffix(line, []byte{'\n'}), p.offer)
	}
	p.encoder.flush(p.offer)
	return text != nil
}

// offer shows subscribers what is new in a block: the runs from to to-1.
func (p *Publisher) offer(b *block, from, to int) {
	all := p.subscribers()
	first := b.number - min(b.number, kept(len(all)))
	for _, s := range all {
		if n := s.offer(b, from, to, p.HWM, first); n > 0 {
			p.counts.slow.Add(float64(n))
			p.limited.Warn("slow", "a ZeroMQ subscriber reads too slowly; lines are dropped for it, and counted",
				"peer", s.link.Remote, "hwm", p.HWM)
		}
	}
}
