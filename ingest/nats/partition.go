package nats

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natsconn"
	"fanin/internal/sequence"
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
	// Moves is told the streams of a group before it is appended, by the log's ids. Nil: nothing is.
	Moves func(streams []wire.StreamID)
	// Commit makes it known that the log has all messages up to the last one. After an error nothing
	// of the group is answered or acknowledged.
	Commit func(ctx context.Context, last sequence.Entry) error
	// Rest is called every second while no message comes: the log may have lines of its own, notices.
	Rest func(ctx context.Context) error

	// Keep: messages stay in the stream when they are acknowledged. The input begins behind Last, and
	// its owner purges what is not needed any more.
	Keep bool
	Last func() sequence.Entry // what was made known

	rebuilds bool // see Rebuild
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

// openPartition makes the consumer of this epoch. All others of the partition are removed before: the
// stream gives a message to one consumer only. One of a later epoch is there if the bucket of the
// cluster was deleted, and its epochs began anew.
func (s *streamReader) openPartition(ctx context.Context) error {
	if err := s.mayCommit(); err != nil {
		return err // the consumer of the owner must not be removed
	}
	p := s.n.partition()
	names := s.stream.ConsumerNames(ctx)
	for name := range names.Name() {
		if !strings.HasPrefix(name, p.consumerPrefix()) || name == p.consumerName() {
			continue
		}
		if err := s.stream.DeleteConsumer(ctx, name); err != nil && err != jetstream.ErrConsumerNotFound {
			return fmt.Errorf("remove the consumer %s of another owner: %w", name, err)
		}
	}
	if err := names.Err(); err != nil {
		return fmt.Errorf("list the consumers of the stream %s: %w", s.n.Stream.Name, err)
	}
	c, err := s.stream.Consumer(ctx, s.n.Stream.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		c, err = s.makePartition(ctx)
	}
	if err != nil {
		return fmt.Errorf("make the consumer %s of the stream %s: %w", s.n.Stream.Durable, s.n.Stream.Name, err)
	}
	s.consumer, s.complete = c, false
	return nil
}

func (s *streamReader) makePartition(ctx context.Context) (jetstream.Consumer, error) {
	p := s.n.partition()
	config := jetstream.ConsumerConfig{Durable: s.n.Stream.Durable, AckPolicy: jetstream.AckExplicitPolicy,
		DeliverPolicy: jetstream.DeliverAllPolicy, MaxDeliver: -1, MaxAckPending: maxUnacked, AckWait: ackWait,
		FilterSubject: natsconn.OfPartition(p.Number), Description: "fanin-collector"}
	if natsconn.Keeps(s.stream) {
		if err := s.beginBehind(ctx, p.Last(), &config); err != nil {
			return nil, err
		}
	}
	return s.stream.CreateConsumer(ctx, config)
}

// beginBehind has a consumer begin behind a message: what is before is in a log. Where other messages
// have the numbers by now, because a server lost the end of the stream, or it was made again, those
// that are later than the message are what is behind it.
func (s *streamReader) beginBehind(ctx context.Context, last sequence.Entry, c *jetstream.ConsumerConfig) error {
	if last.Number == 0 {
		return nil
	}
	c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, last.Number+1
	info, err := s.stream.Info(ctx)
	if err != nil {
		return err
	}
	reused := info.State.LastSeq < last.Number
	if !reused {
		m, err := s.stream.GetMsg(ctx, last.Number)
		switch {
		case err == nil:
			reused = sequence.At(m.Time) != last.Witness
		case !errors.Is(err, jetstream.ErrMsgNotFound): // then it was purged
			return err
		}
	}
	if reused {
		after := time.Unix(0, int64(last.Witness)+1)
		c.DeliverPolicy, c.OptStartSeq, c.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &after
	}
	return nil
}

// mayCommit returns why the next group may not be committed.
func (s *streamReader) mayCommit() error {
	if p := s.n.partition(); p != nil {
		return p.Check(s.n.life.Appending)
	}
	return nil
}

// resting ticks while a partition is read.
func (s *streamReader) resting() (tick <-chan time.Time, stop func()) {
	if s.n.partition() == nil {
		return nil, func() {}
	}
	t := time.NewTicker(time.Second)
	return t.C, t.Stop
}

// rest makes known what the log has written by itself. What fails is done again, or by the next group.
func (s *streamReader) rest() {
	if s.mayCommit() == nil {
		s.n.partition().Rest(s.n.life.Receiving)
	}
}

// moves tells which streams a group is about to move.
func (s *streamReader) moves(plain []message, chains map[wire.StreamID]*chain) {
	p := s.n.partition()
	if p == nil || p.Moves == nil {
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
	var last sequence.Entry
	for i := range group {
		if e := group[i].entry(); e.Number > last.Number {
			last = e
		}
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

// mayGreet reports whether an agent may be welcomed: an owner that was replaced must not tell it how far
// its streams are. The agent asks again, and the owner answers.
func (r *responder) mayGreet() bool {
	p := r.n.partition()
	if p == nil {
		return true
	}
	err := p.Check(r.n.life.Appending)
	if err != nil {
		r.n.limited.Warn("nats_greet", "an agent is not welcomed: the partition may have another owner", "error", err)
	}
	return err == nil
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
