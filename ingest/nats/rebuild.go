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

const (
	// rebuildWait is how long one fetch waits, and rebuildIdle how long the consumer outlives the last one.
	rebuildWait, rebuildIdle = 5 * time.Second, 5 * time.Minute
	// rebuildTries is how many fetches may bring nothing, one after the other.
	rebuildTries = 2
)

// rebuild reads with a consumer that acknowledges nothing. If that loses messages on their way, it fails, and
// all begins anew.
func (s *streamReader) rebuild(ctx context.Context, from, to uint64) error {
	c, err := s.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{FilterSubjects: s.filters,
		AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq: max(from, 1), InactiveThreshold: rebuildIdle, MemoryStorage: true, Replicas: 1})
	if err != nil {
		return err
	}
	defer func() { // or it expires
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rebuildWait)
		defer cancel()
		s.stream.DeleteConsumer(ctx, c.CachedInfo().Name)
	}()
	r := &rebuilding{s: s, to: to, left: c.CachedInfo().NumPending}
	for empty := 0; r.left > 0; {
		group, err := r.fetch(ctx, c)
		if err != nil {
			return err
		}
		if empty++; len(group) > 0 {
			empty = 0
		}
		if empty == rebuildTries && r.left > 0 {
			return fmt.Errorf("%d messages do not come", r.left)
		}
		if err := s.process(group); err != nil {
			return err
		}
	}
	return nil
}

// rebuilding is where a Rebuild is.
type rebuilding struct {
	s    *streamReader
	to   uint64 // the last message that is wanted
	have uint64 // how many the consumer has sent
	left uint64 // how many it will send; 0 also if no more are wanted
}

// fetch fetches the next messages; none: none came in time.
func (r *rebuilding) fetch(ctx context.Context, c jetstream.Consumer) (group []message, err error) {
	within, cancel := context.WithTimeout(ctx, rebuildWait)
	defer cancel()
	batch, err := c.Fetch(groupMessages, jetstream.FetchContext(within))
	if err != nil {
		return nil, err
	}
	for m := range batch.Messages() {
		x, err := newMessage(m)
		if err != nil {
			return nil, err
		}
		d, err := m.Metadata()
		if err != nil {
			return nil, err
		}
		if r.have++; d.Sequence.Consumer != r.have {
			return nil, fmt.Errorf("messages were lost on their way before number %d", x.seq)
		}
		if r.left = d.NumPending; x.seq > r.to {
			r.left = 0
			break
		}
		x.subject, x.answer, x.ack = r.s.published(x.subject), "", nil
		group = append(group, x)
	}
	if err := batch.Error(); err != nil && within.Err() == nil {
		return nil, err
	}
	return group, ctx.Err()
}
