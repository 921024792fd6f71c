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
	shipper   shipper
	streams   []*testimony
	stop      chan struct{} // no more batches
	sending   sync.WaitGroup
	cancel    context.CancelFunc // no more connection
	connected sync.WaitGroup
}

// shipper is how a witness reaches the collector.
type shipper interface {
	wire.Appender
	Run(ctx context.Context) error
}

func hello(id string) wire.Hello {
	return wire.Hello{Agent: id, Instance: wire.NewStreamID(), Run: 1, Host: id, Software: "fanin e2e"}
}

func timing() ship.Timing {
	return ship.Timing{
		MinBackoff: 5 * time.Millisecond, MaxBackoff: 50 * time.Millisecond, GreetWithin: time.Second,
		PingEvery: time.Second, DeadAfter: 3 * time.Second, AnswerWithin: 3 * time.Second,
	}
}

func overTCP(addr string) shipper {
	return &ship.TCP{Addrs: []string{addr}, Compress: "none", Hello: hello("witness"), Timing: timing()}
}

// overNATS asks the collector itself, or goes through a stream.
func overNATS(url, stream string) shipper {
	return &ship.NATS{Login: natsconn.Login{URL: url}, Stream: stream, Compress: "none",
		Hello: hello("witness-nats" + stream), Timing: timing()}
}

// newWitness has two streams, whose sources count from first.
func newWitness(first int, shipper shipper) *witness {
	w := &witness{stop: make(chan struct{}), shipper: shipper}
	for i := range 2 {
		w.streams = append(w.streams, &testimony{source: first + i, id: wire.NewStreamID()})
	}
	return w
}

// start begins to send; end ends it.
func (w *witness) start() {
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(context.Background())
	w.connected.Go(func() { w.shipper.Run(ctx) }) // ends by cancel
	for _, t := range w.streams {
		w.sending.Go(func() { t.err = t.run(ctx, w.shipper, w.stop) }) // ends by stop
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
