package scenario

import (
	"context"
	"errors"
	"sync"
	"time"

	"fanin/internal/natsconn"
	"fanin/internal/ship"
	"fanin/internal/wire"
)

// witness is an agent that keeps the ledger of acks. A real agent would mend what
// the collector forgot, by reading its files again; this one never sends again
// what was acknowledged once, and takes the collector at its word: when that
// stands elsewhere than it must, it says so.
type witness struct {
	way       way
	streams   []*testimony
	stop      chan struct{} // no more batches
	sending   sync.WaitGroup
	cancel    context.CancelFunc // no more connection
	connected sync.WaitGroup
}

// way is how a witness reaches the collector.
type way interface {
	wire.Appender
	Run(ctx context.Context) error
}

func hello(id string) wire.Hello {
	return wire.Hello{Agent: id, Instance: wire.NewStreamID(), Run: 1, Host: id, Software: "fanin e2e"}
}

func overTCP(addr string) way {
	return &ship.TCP{
		Addrs: []string{addr}, Compress: "none", MinBackoff: 5 * time.Millisecond, MaxBackoff: 50 * time.Millisecond,
		DialTimeout: time.Second, PingEvery: time.Second, DeadAfter: 3 * time.Second, Hello: hello("witness"),
	}
}

// overNATS asks the collector itself, or goes through a stream.
func overNATS(url, stream string) way {
	return &ship.NATS{
		Login: natsconn.Login{URL: url}, Stream: stream, Compress: "none", MinBackoff: 5 * time.Millisecond, MaxBackoff: 50 * time.Millisecond,
		GreetWithin: time.Second, PingEvery: time.Second, DeadAfter: 3 * time.Second, AnswerWithin: 3 * time.Second, Hello: hello("witness-nats" + stream),
	}
}

// newWitness has two streams, whose sources count from first.
func newWitness(first int, way way) *witness {
	w := &witness{stop: make(chan struct{}), way: way}
	for i := range 2 {
		w.streams = append(w.streams, &testimony{source: first + i, id: wire.NewStreamID()})
	}
	return w
}

// start begins to send; end ends it.
func (w *witness) start() {
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(context.Background())
	w.connected.Go(func() { w.way.Run(ctx) }) // ends by cancel
	for _, t := range w.streams {
		w.sending.Go(func() { t.err = t.run(ctx, w.way, w.stop) }) // ends by stop
	}
}

// end waits for the outcome of every batch, and adds what was sent and what of
// it was acknowledged.
func (w *witness) end(sent, acked map[int]int) error {
	close(w.stop)
	giveUp := time.AfterFunc(time.Minute, w.cancel)
	w.sending.Wait()
	giveUp.Stop()
	w.cancel()
	w.connected.Wait()
	var errs []error
	for _, t := range w.streams {
		sent[t.source], acked[t.source] = t.sent, t.acked
		errs = append(errs, t.err)
	}
	return errors.Join(errs...)
}
