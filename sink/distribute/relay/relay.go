// Package relay is a worker within the collector: it carries the lines of its
// group into a JetStream stream, each as one message, for workers who are reached
// over NATS. A line is done when the stream has acknowledged it.
package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"fanin/internal/natsconn"
	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
	"fanin/sink/line"
)

// DefaultSubject is what subjects begin with unless it is said otherwise.
const DefaultSubject = "work"

// Relay carries one group's lines. Set the fields, then Run. Zero fields take the
// defaults named.
//
// A message's subject is Subject.HOST.SOURCE, see Token; its text is the line as
// it stands in the file; its Nats-Msg-Id is the line's place: LOG.GENERATION.OFFSET.
// The stream forgets ids after its duplicate window (two minutes, unless it was made
// otherwise). What is carried again after that, because the acknowledgement was lost
// with the server or with this process, may be there twice, and is counted.
type Relay struct {
	Dial  func(ctx context.Context) (net.Conn, error) // to the work distributor; required
	Conn  *nats.Conn                                  // required; it stays the caller's
	Parts func(line []byte) line.Fields               // of a line of this log; required
	ID    string                                      // of the log; required

	Group    string // default "nats"
	From     string // where a new group begins, as for any worker
	Stream   string // required
	Subject  string // that the messages' subjects begin with; default DefaultSubject
	Create   bool   // make the stream, as a work queue that says no when it is full
	Replicas int    // of a stream that is made; default 1
	Log      *slog.Logger
	Joined   func() // called when the group is there; may be nil

	js     jetstream.JetStream
	window time.Duration // how long the stream remembers message ids
	opened bool

	mu      sync.Mutex
	trouble string

	carried, again, unsure atomic.Uint64
}

// batch is how many lines are on their way at once: 4,000 is what the library
// allows to be without an acknowledgement.
const batch = 2000

const answerTimeout = 10 * time.Second // of the server

func (r *Relay) defaults() {
	if r.Log == nil {
		r.Log = slog.New(slog.DiscardHandler)
	}
	if r.Group == "" {
		r.Group = "nats"
	}
	if r.Subject == "" {
		r.Subject = DefaultSubject
	}
	r.Replicas = max(r.Replicas, 1)
}

// Run carries lines until ctx ends.
func (r *Relay) Run(ctx context.Context) error {
	r.defaults()
	w := worker.Worker{Dial: r.Dial, Handle: r.carry, Log: r.Log,
		Welcomed: func(protocol.Welcome) {
			if r.Joined != nil {
				r.Joined()
			}
		},
		Options: protocol.Hello{Group: r.Group, From: r.From, Name: "NATS " + r.Stream, Batch: batch, Credit: 2 * batch}}
	return w.Run(ctx)
}

// Trouble says what keeps lines from being carried now; "": nothing does.
func (r *Relay) Trouble() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.trouble
}

func (r *Relay) setTrouble(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	r.mu.Lock()
	news := text != r.trouble
	r.trouble = text
	r.mu.Unlock()
	switch {
	case news && err != nil:
		r.Log.Warn("lines are not carried into the stream; trying again, and none is given up", "stream", r.Stream, "group", r.Group, "err", err)
	case news:
		r.Log.Info("lines are carried into the stream", "stream", r.Stream, "group", r.Group)
	}
}

// carry publishes the lines of a delivery until the stream has all of them. A
// server that is away is no fault of the lines: they keep their lease meanwhile.
func (r *Relay) carry(ctx context.Context, d *worker.Delivery) error {
	left := r.messages(d)
	begun := time.Now()
	if d.Attempt > 1 {
		r.again.Add(uint64(len(left)))
	}
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := r.open(ctx)
		if err == nil {
			left, err = r.publish(ctx, d, left)
		}
		if len(left) == 0 {
			r.setTrouble(nil)
			return nil
		}
		if ctx.Err() != nil {
			return worker.ErrRelease
		}
		if noStream(err) {
			r.opened = false // it was removed, or its store wiped
		}
		r.setTrouble(err)
		d.Touch()
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return worker.ErrRelease
		}
		if r.window > 0 && time.Since(begun) > r.window {
			r.unsure.Add(uint64(len(left)))
			begun = time.Now()
		}
	}
}

// one is a line on its way.
type one struct {
	i       int // in the delivery
	message *nats.Msg
	ack     jetstream.PubAckFuture
}

func (r *Relay) messages(d *worker.Delivery) []one {
	list := make([]one, 0, d.Len())
	for i, line := range d.Lines() {
		p := r.Parts(line.Text)
		m := nats.NewMsg(r.Subject + "." + Token(p.Host) + "." + Token(p.Source))
		m.Header.Set(jetstream.MsgIDHeader, fmt.Sprintf("%s.%d.%d", r.ID, line.ID.Generation, line.ID.Offset))
		m.Data = line.Text
		list = append(list, one{i: i, message: m})
	}
	return list
}

// publish publishes lines in their order, up to the first that cannot be, and
// returns those that the stream has not acknowledged. A line that no server would
// take is the delivery's to fail.
func (r *Relay) publish(ctx context.Context, d *worker.Delivery, list []one) (left []one, err error) {
	ctx, stop := r.whileConnected(ctx)
	defer stop()
	n := 0
	for ; n < len(list) && ctx.Err() == nil; n++ {
		x := &list[n]
		x.ack, err = r.js.PublishMsgAsync(x.message, jetstream.WithExpectStream(r.Stream))
		if errors.Is(err, nats.ErrMaxPayload) {
			d.Nack(x.i, x.i+1, fmt.Sprintf("%d bytes are more than the NATS server's max_payload of %d", len(x.message.Data), r.Conn.MaxPayload()))
			err = nil
		}
		if err != nil {
			break
		}
	}
	left, aerr := r.acks(ctx, list[:n])
	return append(left, list[n:]...), r.explain(cmp.Or(aerr, err, context.Cause(ctx)))
}

// acks waits for the stream to acknowledge list, and returns those it did not.
func (r *Relay) acks(ctx context.Context, list []one) (missing []one, err error) {
	for _, x := range list {
		if x.ack == nil {
			continue
		}
		select {
		case <-x.ack.Ok():
			r.carried.Add(1)
			continue
		case err = <-x.ack.Err():
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		missing = append(missing, x)
	}
	return missing, err
}

// whileConnected is ctx until the connection is lost, which no answer outlives, or
// for as long as an answer may take.
func (r *Relay) whileConnected(ctx context.Context) (_ context.Context, stop func()) {
	ctx, end := context.WithTimeoutCause(ctx, answerTimeout, fmt.Errorf("no answer within %s", answerTimeout))
	ctx, cancel := context.WithCancelCause(ctx)
	lost := r.Conn.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	go func() { // ends with stop
		if _, ok := <-lost; ok {
			cancel(nats.ErrDisconnected)
		}
	}()
	return ctx, func() {
		r.Conn.RemoveStatusListener(lost)
		cancel(nil)
		end()
	}
}

func (r *Relay) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case noStream(err):
		return fmt.Errorf("no stream takes %s.>: does the stream %s have that subject? %w", r.Subject, r.Stream, err)
	}
	return fmt.Errorf("publish to the stream %s: %w", r.Stream, err)
}

func noStream(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse)
}

// open finds or makes the stream, once, and again when it is gone.
func (r *Relay) open(ctx context.Context) (err error) {
	if r.opened {
		return nil
	}
	if !r.Conn.IsConnected() {
		return fmt.Errorf("not connected to the NATS server: %w", errors.Join(r.Conn.LastError()))
	}
	if r.js, err = jetstream.New(r.Conn, jetstream.WithPublishAsyncMaxPending(2*batch), jetstream.WithPublishAsyncTimeout(answerTimeout)); err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	ctx, stop := r.whileConnected(ctx)
	defer stop()
	s, err := r.js.Stream(ctx, r.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) && r.Create {
		s, err = r.js.CreateStream(ctx, jetstream.StreamConfig{Name: r.Stream, Subjects: []string{r.Subject + ".>"}, Retention: jetstream.WorkQueuePolicy,
			Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage, Replicas: r.Replicas, Description: "made by fanin-collector"})
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("the stream %s does not exist: say create = true, or: nats stream add %s --subjects=%q --retention=work --discard=new", r.Stream, r.Stream, r.Subject+".>")
	}
	if err != nil {
		return fmt.Errorf("look for the stream %s: %w", r.Stream, cmp.Or(context.Cause(ctx), err))
	}
	if err := natsconn.Refuse(&s.CachedInfo().Config); err != nil {
		return err
	}
	r.window, r.opened = s.CachedInfo().Config.Duplicates, true
	return nil
}

// Token makes one token of a subject of a host or a source: what has a meaning in
// subjects becomes '_'.
func Token(name []byte) string {
	if len(name) == 0 {
		return "-"
	}
	return strings.Map(func(c rune) rune {
		if c <= ' ' || c == '.' || c == '*' || c == '>' || c == 0x7f {
			return '_'
		}
		return c
	}, string(name))
}

// Describe sends nothing: what is collected describes itself.
func (r *Relay) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics of the relay.
func (r *Relay) Collect(out chan<- prometheus.Metric) {
	send := func(name, help string, v uint64) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, []string{"stream"}, nil), prometheus.CounterValue, float64(v), r.Stream)
	}
	send("fanin_relay_lines_total", "Lines that a JetStream work queue acknowledged.", r.carried.Load())
	send("fanin_relay_again_lines_total", "Lines carried into a JetStream work queue again; the queue knows them by their ids within its duplicate window.", r.again.Load())
	send("fanin_relay_unsure_lines_total", "Lines carried again after the queue's duplicate window: they may be in it twice.", r.unsure.Load())
}
