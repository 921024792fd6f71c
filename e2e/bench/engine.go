package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natsconn"
)

// The server alone: what the cluster's trials ask of it, without agents, collectors and files. Sixteen
// senders have two messages of an agent's size on their way each; one consumer takes them all, or one
// for each partition does. Messages are acknowledged late, since a collector writes them before: by one
// consumer when 16 more have come, by 16 consumers when the next one of the partition has. Then the
// order of the acknowledgements is not that of the stream, and the server writes a block again when half
// of it is gone. It shows how much of the distance between one collector and three is the server's.

// engineMessage is about the size of a full batch.
const engineMessage = 1_000_000

// engineStall is how long no message may come before the trial has failed.
const engineStall = 20 * time.Second

// engine is such a trial: its takers are processes that share the partitions. One without partitions
// takes everything.
func (b *bench) engine(x clusterTrial) (r sample, err error) {
	s := &sharers{dir: filepath.Join(b.dir, "trial")}
	defer os.RemoveAll(s.dir)
	defer s.stop()
	if err := errors.Join(emptied(s.dir), b.startServer(s)); err != nil {
		return r, err
	}
	partitions := 0
	if x.members > 0 {
		partitions = clusterPartitions
	}
	if err := makeStream(s.nats.URL, partitions); err != nil {
		return r, err
	}
	each := int(newBlock(0).size(b.lines/clusterPartitions)/engineMessage) + 1
	var takers []*helper
	for i := range max(1, x.members) {
		h, err := prepare("engine-take", s.nats.URL, partitions, i, max(1, x.members), each)
		if err != nil {
			return r, err
		}
		takers = append(takers, h)
	}
	sender, err := prepare("engine-send", s.nats.URL, each)
	if err != nil {
		return r, err
	}
	server, begun := cpuOf(s.nats.Servers[0].PID()), time.Now()
	for _, h := range append(takers, sender) {
		err = errors.Join(err, h.begin())
	}
	for _, h := range takers {
		err = errors.Join(err, h.ready())
	}
	r.Seconds, r.ServerCPU, r.Lines = time.Since(begun).Seconds(), cpuOf(s.nats.Servers[0].PID())-server, b.lines
	for _, h := range takers {
		r.CPU += cpuOf(h.cmd.Process.Pid)
		err = errors.Join(err, h.begin(), h.cmd.Wait())
	}
	r.AgentCPU = cpuOf(sender.cmd.Process.Pid)
	return r, errors.Join(err, sender.end())
}

// makeStream makes the stream as a collector does.
func makeStream(url string, partitions int) error {
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	stream := natsconn.Stream{Name: clusterStream, Subjects: []string{natsconn.Subjects("fanin").AllBatches()}, Create: true,
		Replicas: 1, Partitions: partitions}
	_, _, err = stream.Open(context.Background(), js)
	return err
}

// engineSend sends so many messages to each partition, each by a connection of its own.
func engineSend(url string, each int) error {
	var all sync.WaitGroup
	errs := make([]error, clusterPartitions)
	ids := partitionIDs()
	conns := make([]nats.JetStreamContext, clusterPartitions)
	for p := range conns {
		nc, err := nats.Connect(url)
		if err != nil {
			return err
		}
		if conns[p], err = nc.JetStream(nats.PublishAsyncMaxPending(2)); err != nil {
			return err
		}
	}
	if err := onWord(); err != nil {
		return err
	}
	for p, js := range conns {
		all.Go(func() { // waited for below
			text, subject := make([]byte, engineMessage), natsconn.Subjects("fanin").Batch(ids[p])
			for range each {
				if _, err := js.PublishAsync(subject, text, nats.StallWait(engineStall)); err != nil {
					errs[p] = err
					return
				}
			}
			<-js.PublishAsyncComplete()
		})
	}
	all.Wait()
	return errors.Join(append(errs, onWord())...)
}

// engineTake takes its share of the messages, every nth partition from the first one on.
func engineTake(url string, partitions, first, n, each int) error {
	var consumers []jetstream.Consumer
	left, done := new(atomic.Int64), make(chan error, clusterPartitions)
	for p := first; p < max(1, partitions); p += n {
		c, err := engineConsumer(url, partitions, p)
		if err != nil {
			return err
		}
		consumers = append(consumers, c)
	}
	left.Store(int64(each * len(consumers)))
	if partitions == 0 {
		left.Store(int64(each * clusterPartitions))
	}
	if err := onWord(); err != nil {
		return err
	}
	behind := clusterPartitions / max(1, partitions)
	for _, c := range consumers {
		go func() { done <- takeUntil(c, left, behind) }() // ends with the last message of all
	}
	if err := <-done; err != nil {
		return err
	}
	return onWord()
}

func engineConsumer(url string, partitions, p int) (jetstream.Consumer, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	config := jetstream.ConsumerConfig{Durable: fmt.Sprintf("take-%d", p), AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 4096,
		AckWait: time.Hour} // the last ones are never acknowledged
	if partitions > 0 {
		config.FilterSubject = natsconn.OfPartition(p)
	}
	return js.CreateConsumer(context.Background(), clusterStream, config)
}

// takeUntil takes messages until none is left of what all consumers of the process take. It acknowledges each
// when so many later ones have come; the last ones are not acknowledged.
func takeUntil(c jetstream.Consumer, left *atomic.Int64, behind int) error {
	var taken []jetstream.Msg
	for last := time.Now(); left.Load() > 0; {
		batch, err := c.Fetch(8, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return err
		}
		for m := range batch.Messages() {
			taken = append(taken, m)
			if len(taken) > behind {
				if err := taken[0].Ack(); err != nil {
					return err
				}
				taken = taken[1:]
			}
			left.Add(-1)
			last = time.Now()
		}
		if time.Since(last) > engineStall {
			return fmt.Errorf("%d messages did not come", left.Load())
		}
	}
	return nil
}
