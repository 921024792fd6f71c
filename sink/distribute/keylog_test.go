package distribute

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
)

// TestKeyLog: with the key "log", no delivery leaves a line out that is not answered yet,
// and one is out at a time, while workers fail, return lines, come and go, and let leases
// end.
func TestKeyLog(t *testing.T) {
	b := openNew(t, Settings{Attempts: 1000})
	var mu sync.Mutex
	var next int // the first line that is not answered yet
	var busy bool
	w := worker.Worker{Options: protocol.Hello{Group: "g", From: "start", Key: "log", Credit: 1 << 15, Batch: 40, Lease: leastLease}}
	w.Handle = func(ctx context.Context, d *worker.Delivery) error {
		mu.Lock()
		defer mu.Unlock()
		if busy {
			t.Error("two deliveries are out")
		}
		busy = true
		if out := b.group("g").InFlight; out > d.Len() {
			t.Errorf("%d lines are out, and the delivery has %d", out, d.Len())
		}
		defer func() { busy = false }()
		first, until := 0, rand.IntN(2*d.Len())
		for i, line := range d.Lines() {
			var number int
			fmt.Sscanf(string(b.sink.Parts(line.Text).Body), "%d", &number)
			if i == 0 {
				first = number
			}
			if number != first+i || first > next {
				t.Errorf("line %d follows line %d, and line %d was not answered", number, first+i-1, next)
			}
		}
		if until == 0 || until > d.Len() {
			until = d.Len()
		}
		if d.Ack(0, until) != nil || until == d.Len() {
			next = max(next, first+until)
			return nil
		}
		next = max(next, first+until)
		switch rand.IntN(8) {
		case 0:
			return errors.New("by lot")
		case 1:
			busy = false // another worker may have it then
			mu.Unlock()
			time.Sleep(2 * leastLease) // the lease ends
			mu.Lock()
		}
		return worker.ErrRelease
	}
	var stops []func()
	for i := range 3 {
		w.Options.Name = fmt.Sprint("w-", i)
		stops = append(stops, b.work(new(w)))
	}
	const lines = 3000
	for i := range lines {
		b.put("web", fmt.Sprint("app", i%7), fmt.Sprint(i))
		if i%500 == 250 {
			stops[i/500%3]()
			stops[i/500%3] = b.work(new(w))
		}
	}
	b.done("g")
	mu.Lock()
	defer mu.Unlock()
	if next != lines {
		t.Errorf("%d lines were answered, want %d", next, lines)
	}
}

// TestKeyLogOthers: a worker with another key cannot join, and thus takes no lines away.
func TestKeyLogOthers(t *testing.T) {
	b := openNew(t, Settings{})
	b.work(&worker.Worker{Options: protocol.Hello{Group: "g", Key: "log"}, Handle: func(context.Context, *worker.Delivery) error { return nil }})
	b.wait("the first worker", func() bool { return b.group("g").Workers == 1 })
	w := &worker.Worker{Dial: b.dist.Connect, Options: protocol.Hello{Group: "g"}, Handle: func(context.Context, *worker.Delivery) error { return nil }}
	var refused *worker.RefusedError
	if err := w.Run(t.Context()); !errors.As(err, &refused) {
		t.Errorf("the second worker ended with %v", err)
	}
}
