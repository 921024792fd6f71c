// Package nats is the output to a JetStream stream: it carries the lines of its group
// there, each as one message, for workers that are reached over NATS. A line is done
// when the stream has acknowledged it.
package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"fanin/internal/natsconn"
	"fanin/sink/distribute/carry"
	"fanin/sink/distribute/protocol"
	"fanin/sink/line"
)

// DefaultSubject is the first part of the messages' subjects by default.
const DefaultSubject = "work"

// Output carries one group's lines into a stream. Set the fields, then Run. Zero
// fields take the defaults named.
//
// A message's subject is Subject.HOST.SOURCE, see Token. Its text is the line as in the
// file. Its Nats-Msg-Id is the line's position: LOG.GENERATION.OFFSET. The stream
// forgets ids after its duplicate window (two minutes by default). A line that is
// carried again later, because the acknowledgement was lost with the server or with
// this process, may be in the stream twice, and is counted.
type Output struct {
	Dial  func(ctx context.Context) (net.Conn, error) // to the work distributor; required
	Conn  *nats.Conn                                  // required; the caller closes it
	Parts func(line []byte) line.Fields               // of a line of this log; required
	ID    string                                      // of the log; required

	Group    string       // default "nats"
	From     string       // where a new group begins, as for any worker
	Stream   string       // required
	Subject  string       // first part of the messages' subjects; default DefaultSubject
	Create   bool         // create a missing stream, as a work queue that refuses messages when it is full
	Replicas int          // of a created stream; default 1
	Log      *slog.Logger // nil: discard
	Joined   func()       // called when the group exists; may be nil

	loop carry.Loop

	// Used by send alone.
	js     jetstream.JetStream
	window time.Duration // how long the stream remembers message ids
	opened bool          // the stream was found, and not lost since
}

// batch is how many lines are in progress at once: the library allows 4,000 without
// an acknowledgement.
const batch = 2000

// answerTimeout is how long an answer of the server may take.
const answerTimeout = 10 * time.Second

func (o *Output) defaults() {
	o.Group = cmp.Or(o.Group, "nats")
	o.Subject = cmp.Or(o.Subject, DefaultSubject)
	o.Replicas = max(o.Replicas, 1)
}

// Run carries lines until ctx ends. It returns an error only when the distributor
// refuses the group.
func (o *Output) Run(ctx context.Context) error {
	o.defaults()
	l := &o.loop
	l.Dial, l.Send, l.Joined, l.Log = o.Dial, o.send, o.Joined, o.Log
	l.Target = "stream " + o.Stream
	l.Window = func() time.Duration { return o.window }
	l.Options = protocol.Hello{Group: o.Group, From: o.From, Name: "NATS " + o.Stream, Batch: batch, Credit: 2 * batch}
	return l.Run(ctx)
}

// Trouble returns what keeps lines from being carried now, or "".
func (o *Output) Trouble() string { return o.loop.Trouble() }

// send publishes lines once and waits for their acknowledgements.
func (o *Output) send(ctx context.Context, lines []carry.Line) error {
	if err := o.open(ctx); err != nil {
		return err
	}
	err := o.publish(ctx, lines)
	if natsconn.NoStream(err) {
		o.opened = false // the stream was removed, or its store wiped
	}
	return err
}

func (o *Output) message(l *carry.Line) *nats.Msg {
	p := o.Parts(l.Text)
	m := nats.NewMsg(o.Subject + "." + Token(p.Host) + "." + Token(p.Source))
	m.Header.Set(jetstream.MsgIDHeader, fmt.Sprintf("%s.%d.%d", o.ID, l.ID.Generation, l.ID.Offset))
	m.Data = l.Text
	return m
}

// publish publishes lines in their order, up to the first that cannot be sent, and
// waits for the answers. A line that no server would accept is rejected.
func (o *Output) publish(ctx context.Context, lines []carry.Line) error {
	ctx, stop := o.whileConnected(ctx)
	defer stop()
	acks := make([]jetstream.PubAckFuture, 0, len(lines))
	var err error
	for i := range lines {
		if ctx.Err() != nil {
			break
		}
		var ack jetstream.PubAckFuture
		ack, err = o.js.PublishMsgAsync(o.message(&lines[i]), jetstream.WithExpectStream(o.Stream))
		if errors.Is(err, nats.ErrMaxPayload) {
			lines[i].Reject(fmt.Sprintf("%d bytes are more than the NATS server's max_payload of %d",
				len(lines[i].Text), o.Conn.MaxPayload()))
			ack, err = nil, nil
		}
		if err != nil {
			break
		}
		acks = append(acks, ack)
	}
	return o.explain(cmp.Or(o.answers(ctx, lines, acks), err, context.Cause(ctx)))
}

// answers waits for the acknowledgements of the first lines, and sets their outcomes.
// It returns the last error.
func (o *Output) answers(ctx context.Context, lines []carry.Line, acks []jetstream.PubAckFuture) (err error) {
	for i, ack := range acks {
		if ack == nil {
			continue
		}
		select {
		case <-ack.Ok():
			lines[i].Carried()
			continue
		case err = <-ack.Err():
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if !natsconn.NoStream(err) {
			lines[i].Unknown()
		}
	}
	return err
}

// whileConnected returns a context that ends with ctx, when the connection is lost
// (no answer comes after that), or when an answer has taken too long.
func (o *Output) whileConnected(ctx context.Context) (_ context.Context, stop func()) {
	ctx, end := context.WithTimeoutCause(ctx, answerTimeout, fmt.Errorf("no answer within %s", answerTimeout))
	ctx, release := natsconn.WhileConnected(ctx, o.Conn)
	return ctx, func() {
		release()
		end()
	}
}

func (o *Output) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case natsconn.NoStream(err):
		return fmt.Errorf("no stream takes %s.>: does the stream %s have that subject? %w", o.Subject, o.Stream, err)
	}
	return fmt.Errorf("publish to the stream %s: %w", o.Stream, err)
}

// open finds or creates the stream, once, and again when it is gone.
func (o *Output) open(ctx context.Context) (err error) {
	if o.opened {
		return nil
	}
	if !o.Conn.IsConnected() {
		return fmt.Errorf("not connected to the NATS server: %w", errors.Join(o.Conn.LastError()))
	}
	o.js, err = jetstream.New(o.Conn, jetstream.WithPublishAsyncMaxPending(2*batch),
		jetstream.WithPublishAsyncTimeout(answerTimeout))
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	ctx, stop := o.whileConnected(ctx)
	defer stop()
	want := natsconn.Stream{Name: o.Stream, Subjects: []string{o.Subject + ".>"},
		Create: o.Create, Replicas: o.Replicas}
	s, _, err := want.Open(ctx, o.js)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return fmt.Errorf("look up the stream %s: %w", o.Stream, cause)
	}
	if err != nil {
		return err
	}
	o.window, o.opened = s.CachedInfo().Config.Duplicates, true
	return nil
}

// Token converts a host or a source to one token of a subject: characters with a
// meaning in subjects become '_'.
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

// Describe sends nothing: the metrics describe themselves when they are collected.
func (o *Output) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics of the output.
func (o *Output) Collect(out chan<- prometheus.Metric) {
	send := func(name, help string, v uint64) {
		desc := prometheus.NewDesc(name, help, []string{"stream"}, nil)
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), o.Stream)
	}
	n := o.loop.Counts()
	send("fanin_relay_lines_total", "Lines that a JetStream work queue acknowledged.", n.Carried)
	send("fanin_relay_again_lines_total", "Lines carried into a JetStream work queue again; "+
		"the queue knows them by their ids within its duplicate window.", n.Again)
	send("fanin_relay_unsure_lines_total", "Lines carried again after the queue's duplicate window: "+
		"they may be in it twice.", n.Unsure)
}
