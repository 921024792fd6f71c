package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natsconn"
)

// open finds the stream and its consumer, makes them if that is wanted, and
// refuses them if they would lose messages without a word.
func (s *streamReader) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var err error
	if s.js, err = jetstream.New(s.n.Conn); err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	s.filters = slices.Clone(s.n.Subjects)
	if s.n.meetsAgents() {
		s.filters = append(s.filters, s.n.Agents.AllBatches())
	}
	want := natsconn.Stream{Name: s.n.Stream, Subjects: s.filters, Create: s.n.Create, Replicas: s.n.Replicas}
	stream, created, err := want.Open(ctx, s.js)
	if err != nil {
		return err
	}
	if created {
		s.n.Log.Info("created the stream", "stream", s.n.Stream, "subjects", s.filters, "replicas", s.n.Replicas)
	}
	s.stream = stream
	s.warn(stream.CachedInfo())
	return s.openConsumer(ctx, stream)
}

// warn says what may surprise.
func (s *streamReader) warn(info *jetstream.StreamInfo) {
	c := &info.Config
	if c.MaxAge > 0 {
		s.n.limited.Warn("nats_age", "the stream drops messages of this age, taken or not", "stream", c.Name, "max_age", c.MaxAge)
	}
	if c.Storage == jetstream.MemoryStorage {
		s.n.limited.Warn("nats_memory", "the stream is in memory: what it took is lost when its servers stop", "stream", c.Name)
	}
}

func (s *streamReader) openConsumer(ctx context.Context, stream jetstream.Stream) error {
	c, err := stream.Consumer(ctx, s.n.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) && s.n.Create {
		c, err = stream.CreateConsumer(ctx, s.consumerConfig(stream.CachedInfo()))
	}
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("the stream %s has no consumer %s: say create = true, or: nats consumer add %s %s --pull --ack=explicit --deliver=all --max-deliver=-1", s.n.Stream, s.n.Durable, s.n.Stream, s.n.Durable)
	}
	if err != nil {
		return fmt.Errorf("the consumer %s of the stream %s: %w", s.n.Durable, s.n.Stream, err)
	}
	config := &c.CachedInfo().Config
	if err := s.refuseConsumer(config); err != nil {
		return err
	}
	s.consumer, s.whole = c, config.FilterSubject == "" && len(config.FilterSubjects) == 0
	return nil
}

func (s *streamReader) consumerConfig(info *jetstream.StreamInfo) jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{Durable: s.n.Durable, AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
		MaxDeliver: -1, MaxAckPending: mostUnacked, AckWait: 30 * time.Second, Description: "fanin-collector"}
	all := !slices.ContainsFunc(info.Config.Subjects, func(subject string) bool { return !slices.Contains(s.filters, subject) })
	switch {
	case all: // no filter: servers before 2.10 know no more than one
	case len(s.filters) == 1:
		c.FilterSubject = s.filters[0]
	default:
		c.FilterSubjects = s.filters
	}
	return c
}

// refuseConsumer says why a consumer that somebody else made will not do.
func (s *streamReader) refuseConsumer(c *jetstream.ConsumerConfig) error {
	remedy := fmt.Sprintf("remove it, or name another durable (nats consumer rm %s %s)", s.n.Stream, s.n.Durable)
	switch {
	case c.DeliverSubject != "":
		return fmt.Errorf("the consumer %s pushes, and a pull consumer is wanted: %s", s.n.Durable, remedy)
	case c.AckPolicy != jetstream.AckExplicitPolicy:
		return fmt.Errorf("the consumer %s has the ack policy %q: explicit is wanted, or messages are lost in a crash: %s", s.n.Durable, c.AckPolicy, remedy)
	case c.MaxDeliver > 0:
		return fmt.Errorf("the consumer %s gives messages up after %d deliveries, and tells nobody: --max-deliver=-1 is wanted: %s", s.n.Durable, c.MaxDeliver, remedy)
	case c.HeadersOnly:
		return fmt.Errorf("the consumer %s delivers headers only: %s", s.n.Durable, remedy)
	}
	return nil
}
