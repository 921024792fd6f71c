package nats

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natsconn"
	"fanin/internal/sequence"
	"fanin/internal/wire"
)

// streamReader reads the messages of a JetStream stream, each exactly once and in the stream's
// order, and acknowledges them when they are committed.
//
// The consumer is trusted with new messages only. Deliveries are numbered without gaps: when
// one is missing (this process or another one was killed, a connection broke), the messages
// between the consumer's ack floor and its last delivery are read from the stream by number
// before anything newer is processed. So the order holds, and what is delivered again later is
// recognised by its number.
type streamReader struct {
	n        *Input
	js       jetstream.JetStream
	stream   jetstream.Stream
	consumer jetstream.Consumer
	filters  []string // subjects that are read
	complete bool     // the consumer has no filter: it delivers every message of the stream
	position position

	sequence  *sequence.Sequence // of the plain lines
	batch     sequence.Builder   // of plain lines
	discarded discarded          // messages of the group in progress
}

// position is how far the stream was read.
type position struct {
	next   uint64         // number of the next delivery
	gaps   int            // in the numbers of deliveries, in this session
	seen   uint64         // the latest message that was delivered to any process
	done   sequence.Entry // all messages up to this one are processed
	behind int            // how often the stream was found to be behind its consumer
}

// covers reports whether a message was processed. After a server lost the end of a stream, other
// messages have the same numbers, but later times.
func (p *position) covers(m *message) bool {
	e := m.entry()
	return e.Number <= p.done.Number && e.Witness <= p.done.Witness
}

// message is one message of the stream, however it was read.
type message struct {
	subject, answer string
	data            []byte
	seq             uint64
	time            time.Time
	delivery        uint64
	ack             func() error // nil: it was read by number
}

func (m *message) entry() sequence.Entry {
	return sequence.Entry{Number: m.seq, Witness: sequence.At(m.time)}
}

// Bounds of what is in memory at once: a group, and as much read ahead.
const (
	groupMessages = 256
	groupBytes    = 4 << 20
	maxUnacked    = 4096
	ackWait       = 30 * time.Second
)

// A fetch asks for so many messages that they have about fetchBytes together, based on the
// largest of the fetch before. It must not ask for a bound in bytes: a replicated consumer
// reports that the bound is reached before it sends what was within, and the library does not
// listen any more then.
const (
	fetchBytes = 8 << 20
	minFetch   = 4
)

func newStreamReader(n *Input) *streamReader {
	return &streamReader{n: n, sequence: newSequence(n)}
}

// newSequence is the log's stream of the plain messages: entries are messages, and their
// witnesses times.
func newSequence(n *Input) *sequence.Sequence {
	name := n.Stream.Name
	id := sha256.Sum256([]byte("plain messages of the JetStream stream " + name))
	return sequence.New(n.Out, wire.Batch{Kind: wire.StreamNATS, Stream: wire.StreamID(id[:16]),
		Input: n.lines.plain.Name(), Agent: "nats:" + name, Host: n.Plain.Host, Source: name})
}

// run reads messages until the input drains.
func (s *streamReader) run() {
	part := s.n.streamPart()
	for s.n.connected() {
		err := s.session(func() {
			s.n.setTrouble(part, nil)
			s.n.Forbidden(nil)
		})
		switch {
		case s.n.life.Draining():
			return
		case errors.Is(err, nats.ErrDisconnected): // the connection's handlers log it
			s.n.health.troubles.NotYet(part)
		default:
			s.n.setTrouble(part, err)
			s.n.life.Pause(time.Second)
		}
	}
}

// session reads messages until something goes wrong. A request that the server has forgotten
// would be waited for, so it ends with the connection.
func (s *streamReader) session(begun func()) error {
	ctx, cancel := context.WithCancel(s.n.life.Appending)
	defer cancel()
	stop := context.AfterFunc(s.n.life.Receiving, cancel)
	defer stop()
	ctx, release := natsconn.WhileConnected(ctx, s.n.Conn)
	defer release()
	err := s.read(ctx, begun)
	if errors.Is(context.Cause(ctx), nats.ErrDisconnected) {
		return nats.ErrDisconnected
	}
	return err
}

// read reads messages until ctx ends, or something goes wrong.
func (s *streamReader) read(ctx context.Context, begun func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := s.prepare(ctx); err != nil {
		return err
	}
	begun()
	messages := make(chan message, 64)
	failed := make(chan error, 1)
	go func() { failed <- s.fetch(ctx, messages); close(messages) }() // ends with the session
	tick, stop := s.resting()
	defer stop()
	for {
		select {
		case m, ok := <-messages:
			if !ok {
				return <-failed
			}
			if err := s.take(ctx, collect(m, messages)); err != nil {
				return err
			}
		case <-tick:
			s.rest()
		}
	}
}

// take processes a group of messages that were delivered.
func (s *streamReader) take(ctx context.Context, group []message) error {
	if err := s.n.name.wait(s.n.life.Receiving); err != nil {
		return err
	}
	if err := s.check(ctx, group); err != nil {
		return err
	}
	return s.process(group)
}

// prepare finds the stream and how far it was read, and processes what was interrupted.
func (s *streamReader) prepare(ctx context.Context) error {
	if err := cmp.Or(s.n.name.wait(s.n.life.Receiving), ctx.Err()); err != nil {
		return err
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	if err := s.sequence.Open(s.n.life.Appending); err != nil {
		return err
	}
	s.position.gaps = 0
	return s.reread(ctx)
}

// fetch fetches messages and passes them on as they come.
func (s *streamReader) fetch(ctx context.Context, out chan<- message) error {
	want := minFetch
	for ctx.Err() == nil {
		largest, err := s.fetchSome(ctx, want, out)
		if err != nil {
			return fmt.Errorf("fetch messages with the consumer %s of the stream %s: %w",
				s.n.Stream.Durable, s.n.Stream.Name, err)
		}
		want = min(max(fetchBytes/largest, minFetch), 2*want, groupMessages)
	}
	return ctx.Err()
}

// fetchSome does one fetch and returns the size of the largest message, at least 1.
func (s *streamReader) fetchSome(ctx context.Context, want int, out chan<- message) (largest int, err error) {
	within, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	batch, err := s.consumer.Fetch(want, jetstream.FetchContext(within), jetstream.FetchHeartbeat(3*time.Second))
	if err != nil {
		return 1, err
	}
	largest = 1
	for m := range batch.Messages() {
		largest = max(largest, len(m.Data()))
		x, err := newMessage(m)
		if err != nil {
			return largest, err
		}
		x.subject = s.published(x.subject)
		select {
		case out <- x:
		case <-ctx.Done():
		}
	}
	if err := batch.Error(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return largest, err
	}
	return largest, nil
}

func newMessage(m jetstream.Msg) (message, error) {
	d, err := m.Metadata()
	if err != nil {
		return message{}, fmt.Errorf("read the numbers of a delivery: %w", err)
	}
	return message{subject: m.Subject(), answer: answerHeader(m.Headers()), data: m.Data(), seq: d.Sequence.Stream,
		time: d.Timestamp, delivery: d.Sequence.Consumer, ack: m.Ack}, nil
}

// collect returns m and what waits behind it, up to a full group.
func collect(m message, messages <-chan message) []message {
	group, size := []message{m}, len(m.data)
	for len(group) < groupMessages && size < groupBytes {
		select {
		case m, ok := <-messages:
			if !ok {
				return group
			}
			group, size = append(group, m), size+len(m.data)
		default:
			return group
		}
	}
	return group
}
