package scenario

import (
	"context"
	"errors"
	"sync"
	"time"

	"fanin/internal/ship"
	"fanin/internal/wire"
)

// witness is an agent that keeps the ledger of acks. A real agent would mend what
// the collector forgot, by reading its files again; this one never sends again
// what was acknowledged once, and takes the collector at its word: when that
// stands elsewhere than it must, it says so.
type witness struct {
	tcp       *ship.TCP
	streams   []*testimony
	stop      chan struct{} // no more batches
	sending   sync.WaitGroup
	cancel    context.CancelFunc // no more connection
	connected sync.WaitGroup
}

func newWitness(addr string) *witness {
	w := &witness{stop: make(chan struct{}), tcp: &ship.TCP{
		Addrs: []string{addr}, Compress: "none", MinBackoff: 5 * time.Millisecond, MaxBackoff: 50 * time.Millisecond,
		DialTimeout: time.Second, PingEvery: time.Second, DeadAfter: 3 * time.Second,
		Hello: wire.Hello{Agent: "witness", Instance: wire.NewStreamID(), Run: 1, Host: "witness", Software: "fanin e2e"},
	}}
	for i := range 2 {
		w.streams = append(w.streams, &testimony{source: witnessSources + i, id: wire.NewStreamID()})
	}
	return w
}

// start begins to send; end ends it.
func (w *witness) start() {
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(context.Background())
	w.connected.Go(func() { w.tcp.Run(ctx) }) // ends by cancel
	for _, t := range w.streams {
		w.sending.Go(func() { t.err = t.run(ctx, w.tcp, w.stop) }) // ends by stop
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
