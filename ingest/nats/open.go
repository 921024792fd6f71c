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

// open finds the stream and its consumer, creates them if that is wanted, and refuses them if
// they would lose messages silently.
func (s *streamReader) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var err error
	if s.js, err = jetstream.New(s.n.Conn); err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	s.filters = slices.Clone(s.n.Plain.Subjects)
	if s.n.servesAgents() {
		s.filters = append(s.filters, s.n.Agents.Subjects.AllBatches())
	}
	o := &s.n.Stream
	want := natsconn.Stream{Name: o.Name, Subjects: s.filters, Create: o.Create, Replicas: o.Replicas}
	if o.Partition != nil {
		want.Partitions, want.Keep = o.Partition.Count, o.Partition.Keep
	}
	stream, created, err := want.Open(ctx, s.js)
	if err != nil {
		return err
	}
	if created {
		s.n.Log.Info("created the stream", "stream", o.Name, "subjects", s.filters, "replicas", o.Replicas)
	}
	s.stream = stream
	s.warn(&stream.CachedInfo().Config)
	if o.Partition != nil {
		s.filters = []string{natsconn.OfPartition(o.Partition.Number)}
		return s.openPartition(ctx)
	}
	return s.openConsumer(ctx)
}

// warn logs what may surprise an operator.
func (s *streamReader) warn(c *jetstream.StreamConfig) {
	if c.MaxAge > 0 {
		s.n.limited.Warn("nats_age", "the stream drops messages of this age, even if they were not read",
			"stream", c.Name, "max_age", c.MaxAge)
	}
	if c.Storage == jetstream.MemoryStorage {
		s.n.limited.Warn("nats_memory", "the stream is in memory: its messages are lost when its servers stop",
			"stream", c.Name)
	}
}

func (s *streamReader) openConsumer(ctx context.Context) error {
	stream, durable := s.n.Stream.Name, s.n.Stream.Durable
	c, err := s.stream.Consumer(ctx, durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) && s.n.Stream.Create {
		c, err = s.stream.CreateConsumer(ctx, s.consumerConfig())
	}
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("the stream %[1]s has no consumer %[2]s: set create = true, or run: "+
			"nats consumer add %[1]s %[2]s --pull --ack=explicit --deliver=all --max-deliver=-1", stream, durable)
	}
	if err != nil {
		return fmt.Errorf("open the consumer %s of the stream %s: %w", durable, stream, err)
	}
	config := &c.CachedInfo().Config
	if err := refuseConsumer(config); err != nil {
		return fmt.Errorf("%w: remove the consumer, or choose another durable (nats consumer rm %s %s)",
			err, stream, durable)
	}
	s.consumer, s.complete = c, config.FilterSubject == "" && len(config.FilterSubjects) == 0
	return nil
}

// consumerConfig is a new consumer. It has no filter if it reads all of the stream: servers before
// 2.10 support no more than one.
func (s *streamReader) consumerConfig() jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{Durable: s.n.Stream.Durable, AckPolicy: jetstream.AckExplicitPolicy,
		DeliverPolicy: jetstream.DeliverAllPolicy, MaxDeliver: -1, MaxAckPending: maxUnacked, AckWait: ackWait,
		Description: "fanin-collector"}
	unread := func(subject string) bool { return !slices.Contains(s.filters, subject) }
	switch {
	case !slices.ContainsFunc(s.stream.CachedInfo().Config.Subjects, unread):
	case len(s.filters) == 1:
		c.FilterSubject = s.filters[0]
	default:
		c.FilterSubjects = s.filters
	}
	return c
}

// refuseConsumer returns why an existing consumer cannot be used.
func refuseConsumer(c *jetstream.ConsumerConfig) error {
	switch {
	case c.DeliverSubject != "":
		return fmt.Errorf("the consumer %s is a push consumer, but a pull consumer is needed", c.Durable)
	case c.AckPolicy != jetstream.AckExplicitPolicy:
		return fmt.Errorf("the consumer %s has the ack policy %q, but explicit is needed, "+
			"or messages are lost in a crash", c.Durable, c.AckPolicy)
	case c.MaxDeliver > 0:
		return fmt.Errorf("the consumer %s silently drops messages after %d deliveries, but --max-deliver=-1 is needed",
			c.Durable, c.MaxDeliver)
	case c.HeadersOnly:
		return fmt.Errorf("the consumer %s delivers headers only", c.Durable)
	}
	return nil
}
