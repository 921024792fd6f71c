package nats

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natsconn"
	"fanin/internal/wire"
)

// Partition is the partition of a stream that an input reads, for as long as its log owns the
// partition. Agents' batches come through the stream only, and only agents of the partition are
// welcomed.
type Partition struct {
	Number, Count int
	Epoch         uint64 // of the ownership, part of the consumer's name

	// Check returns why the next group may not be committed; nil: it may.
	Check func(ctx context.Context) error
	// Moves is told the streams of a group before it is appended, by the log's ids.
	Moves func(streams []wire.StreamID)
	// Commit makes it known that the log has all messages up to the last one. After an error nothing
	// of the group is answered or acknowledged.
	Commit func(ctx context.Context, last uint64) error
}

// partition is the one that is read; nil: all of the stream is.
func (n *Input) partition() *Partition { return n.Stream.Partition }

// has reports whether an agent is of the partition.
func (p *Partition) has(subjects natsconn.Subjects, agent string) bool {
	return natsconn.Partition(subjects.Batch(agent), p.Count) == p.Number
}

// published is where a message was published that the stream has on subject.
func (s *streamReader) published(subject string) string {
	if s.n.partition() == nil {
		return subject
	}
	return natsconn.Published(subject)
}

// consumerPrefix begins the names of a partition's consumers; its epoch follows.
func (p *Partition) consumerPrefix() string { return fmt.Sprintf("fanin-%d-", p.Number) }

// consumerName is the name of the epoch's consumer: what an owner of an earlier epoch still
// acknowledges reaches nothing, because its consumer is gone.
func (p *Partition) consumerName() string {
	return p.consumerPrefix() + strconv.FormatUint(p.Epoch, 10)
}

// openPartition makes the consumer of this epoch. Those of earlier epochs are removed before: the
// stream gives a message to one consumer only.
func (s *streamReader) openPartition(ctx context.Context) error {
	p := s.n.partition()
	names := s.stream.ConsumerNames(ctx)
	for name := range names.Name() {
		digits, ok := strings.CutPrefix(name, p.consumerPrefix())
		epoch, err := strconv.ParseUint(digits, 10, 64)
		if !ok || err != nil || epoch >= p.Epoch {
			continue
		}
		if err := s.stream.DeleteConsumer(ctx, name); err != nil && err != jetstream.ErrConsumerNotFound {
			return fmt.Errorf("remove the consumer %s of an earlier owner: %w", name, err)
		}
	}
	if err := names.Err(); err != nil {
		return fmt.Errorf("list the consumers of the stream %s: %w", s.n.Stream.Name, err)
	}
	c, err := s.stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{Durable: s.n.Stream.Durable,
		AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverAllPolicy, MaxDeliver: -1,
		MaxAckPending: maxUnacked, AckWait: ackWait, FilterSubject: natsconn.OfPartition(p.Number),
		Description: "fanin-collector"})
	if err != nil {
		return fmt.Errorf("make the consumer %s of the stream %s: %w", s.n.Stream.Durable, s.n.Stream.Name, err)
	}
	s.consumer, s.complete = c, false
	return nil
}

// groupMessages is how many messages a group may have. What makes a group of a partition known is one
// message, with up to 2 KiB for each stream.
func (s *streamReader) groupMessages() int {
	if s.n.partition() == nil {
		return groupMessages
	}
	return min(groupMessages, max(1, int(s.n.Conn.MaxPayload()/(2<<10))))
}

// mayCommit returns why the next group may not be committed.
func (s *streamReader) mayCommit() error {
	if p := s.n.partition(); p != nil {
		return p.Check(s.n.life.Appending)
	}
	return nil
}

// moves tells which streams a group is about to move.
func (s *streamReader) moves(plain []message, chains map[wire.StreamID]*chain) {
	p := s.n.partition()
	if p == nil {
		return
	}
	ids := slices.Collect(maps.Keys(chains))
	if len(plain) > 0 {
		ids = append(ids, s.sequence.ID().Owned(wire.StreamNATS, s.sequence.Owner()))
	}
	p.Moves(ids)
}

// committed makes it known that the log has a group, and then answers the agents.
func (s *streamReader) committed(group []message, chains map[wire.StreamID]*chain) error {
	p := s.n.partition()
	if p == nil {
		return nil
	}
	last := uint64(0)
	for i := range group {
		last = max(last, group[i].seq)
	}
	if err := p.Commit(s.n.life.Appending, last); err != nil {
		return err
	}
	for _, c := range chains {
		for _, a := range c.answers {
			s.n.Conn.Publish(a.to, a.frame)
		}
	}
	return nil
}

// lateAnswer is an answer that is sent when its group was made known.
type lateAnswer struct {
	to    string
	frame []byte
}

// answer answers a batch, now or when its group was made known.
func (s *streamReader) answer(c *chain, b *batchMessage, answer wire.Answer) {
	if b.answer == "" {
		return
	}
	a := lateAnswer{s.n.Agents.Subjects.Answer(b.hello.Agent, b.answer), wire.AppendAnswer(nil, answer)}
	if s.n.partition() == nil {
		s.n.Conn.Publish(a.to, a.frame)
		return
	}
	c.answers = append(c.answers, a)
}

// handleHello handles a hello, if it is one of the partition's agents that says it.
func (r *responder) handleHello(m *nats.Msg) {
	if p := r.n.partition(); p == nil || p.has(r.subjects, natsconn.AgentOf(m.Subject)) {
		r.work(m, r.hello)
	}
}

// greet enters an agent whose session began with an earlier owner of the partition: its batches are
// in the stream, so there is nothing that it must be told. nil: it must send a hello.
func (r *responder) greet(hello *wire.Hello, reply string) *remoteAgent {
	if _, err := r.claim(hello, reply); err != nil {
		return nil
	}
	return r.enter(hello)
}

const throughStream = "this cluster takes batches through its JetStream stream only: set stream = %q in [agent.nats]"
