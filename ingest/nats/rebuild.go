package nats

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natsconn"
	"fanin/internal/sequence"
)

// Rebuild appends the messages to the log that a stream keeps of a partition, from one number to another,
// in their order and as the input did that read them first. What the log has is recognized. Nothing is
// acknowledged, and no agent is answered. An Input that rebuilds does not serve.
func (n *Input) Rebuild(ctx context.Context, number, count int, from, to uint64) error {
	n.Stream.Partition = &Partition{Number: number, Count: count, rebuilds: true,
		Check:  func(context.Context) error { return ctx.Err() },
		Commit: func(context.Context, sequence.Entry) error { return nil },
	}
	n.setUp()
	end := context.AfterFunc(ctx, func() { n.Shutdown(ctx) })
	defer end()
	s := newStreamReader(n)
	if err := s.findPartition(ctx); err != nil {
		return err
	}
	if err := s.sequence.Open(n.life.Appending); err != nil {
		return err
	}
	err := s.rebuild(ctx, from, to)
	if err != nil {
		return fmt.Errorf("read the messages %d to %d of the stream %s: %w", from, to, n.Stream.Name, err)
	}
	return nil
}

func (s *streamReader) findPartition(ctx context.Context) (err error) {
	if s.js, err = jetstream.New(s.n.Conn); err != nil {
		return err
	}
	s.filters = []string{natsconn.OfPartition(s.n.partition().Number)}
	s.stream, err = s.js.Stream(ctx, s.n.Stream.Name)
	return err
}

// rebuildWait is how long one fetch waits.
const rebuildWait = 5 * time.Second

func (s *streamReader) rebuild(ctx context.Context, from, to uint64) error {
	c, err := s.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: s.filters,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(from, 1)})
	if err != nil {
		return err
	}
	defer func() { s.stream.DeleteConsumer(context.WithoutCancel(ctx), c.CachedInfo().Name) }() // or it expires
	left := c.CachedInfo().NumPending
	for left > 0 {
		batch, err := c.Fetch(groupMessages, jetstream.FetchMaxWait(rebuildWait))
		if err != nil {
			return err
		}
		var group []message
		for m := range batch.Messages() {
			x, err := newMessage(m)
			if err != nil {
				return err
			}
			d, _ := m.Metadata()
			if left = d.NumPending; x.seq > to {
				left = 0
				continue
			}
			x.subject, x.answer, x.ack = s.published(x.subject), "", nil
			group = append(group, x)
		}
		if err := batch.Error(); err != nil {
			return err
		}
		if err := s.process(group); err != nil {
			return err
		}
	}
	return nil
}
