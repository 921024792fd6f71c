package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/e2e/load"
)

// overNATS receives lines from a JetStream work queue, together with other workers of the
// same durable consumer, and waits until the server confirms each acknowledgement.
func (w *ledgerWorker) overNATS(ctx context.Context, url, stream string) error {
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true), nats.ReconnectWait(20*time.Millisecond), nats.Timeout(time.Second))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "working")
	session := time.Now().UnixNano()
	for ctx.Err() == nil {
		if err := w.fetch(ctx, js, stream, session); err != nil && ctx.Err() == nil {
			time.Sleep(100 * time.Millisecond) // the stream is not there yet, or its leader is elected
		}
	}
	return nil
}

func (w *ledgerWorker) fetch(ctx context.Context, js jetstream.JetStream, stream string, session int64) error {
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := js.CreateOrUpdateConsumer(within, stream, jetstream.ConsumerConfig{Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 5 * time.Second, MaxAckPending: 500})
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		batch, err := c.Fetch(50, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return err
		}
		for m := range batch.Messages() {
			if err := w.work(ctx, m, session); err != nil {
				return err
			}
		}
		if err := batch.Error(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (w *ledgerWorker) work(ctx context.Context, m jetstream.Msg, session int64) error {
	d, err := m.Metadata()
	if err != nil {
		return err
	}
	_, body, _ := bytes.Cut(m.Data(), []byte(": "))
	src, seq, err := load.Parse(body)
	if err != nil {
		src, seq = -1, 0
	}
	n := d.Sequence.Consumer
	w.note("D %d %d %d %d %s,%d,%d\n", time.Now().UnixNano(), session, n, d.NumDelivered, m.Headers().Get(jetstream.MsgIDHeader), src, seq)
	w.note("A %d %d %d 0 1\n", time.Now().UnixNano(), session, n)
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		within, cancel := context.WithTimeout(ctx, time.Second)
		err = m.DoubleAck(within)
		cancel()
		if err == nil {
			w.note("K %d %d %d 0 1\n", time.Now().UnixNano(), session, n)
			return nil
		}
		if errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
			return nil
		}
	}
	return err // it comes again
}
