package sink

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fanin/internal/wire"
)

// gathered runs senders against requests that are answered as the writer does, in groups that cost
// some time each. It returns how many groups there were, and the requests in them.
func gathered(senders int, text []byte, commit time.Duration, pause func(sender, turn int) time.Duration) (groups, all int) {
	q := &requests{wake: make(chan struct{}, 1)}
	var stopped atomic.Bool
	var sending, writing sync.WaitGroup
	done := make(chan struct{})
	writing.Go(func() {
		var g gathering
		for {
			select {
			case <-q.sleep(0):
			case <-done:
				return
			}
			g.begin(q, done)
			time.Sleep(commit)
			groups++
			for r := q.pop(); r != nil; r = q.pop() {
				all++
				r.outcome <- nil
			}
		}
	})
	for n := range senders {
		sending.Go(func() {
			r := &request{batch: &wire.Batch{Text: text}, outcome: make(chan error, 1)}
			for turn := 0; !stopped.Load(); turn++ {
				time.Sleep(pause(n, turn))
				if q.append(context.Background(), r) != nil {
					return
				}
			}
		})
	}
	time.Sleep(2 * time.Second)
	stopped.Store(true)
	sending.Wait()
	close(done)
	writing.Wait()
	return groups, all
}

// TestGathering: small batches of many share a group, and nothing else waits.
func TestGathering(t *testing.T) {
	steady := func(every time.Duration, senders int) func(int, int) time.Duration {
		return func(n, turn int) time.Duration {
			if turn == 0 {
				return every * time.Duration(n) / time.Duration(senders)
			}
			return every
		}
	}
	at := func(d time.Duration) func(int, int) time.Duration {
		return func(int, int) time.Duration { return d }
	}
	f := func(name string, senders int, text []byte, pause func(int, int) time.Duration, least, most float64) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				groups, all := gathered(senders, text, 20*time.Microsecond, pause)
				each := float64(all) / float64(groups)
				t.Logf("%d requests in %d groups, %.1f in each", all, groups, each)
				if each < least || each > most {
					t.Errorf("%.2f requests in a group, want %.2f to %.2f", each, least, most)
				}
			})
		})
	}
	small, large := []byte("x\n"), make([]byte, gatherBytes)
	f("a crowd", 200, small, steady(50*time.Millisecond, 200), 6, 12)
	f("a large crowd", 2000, small, steady(50*time.Millisecond, 2000), 240, 400)
	f("few that write seldom", 20, small, steady(50*time.Millisecond, 20), 1, 1.1)
	f("large batches", 200, large, steady(50*time.Millisecond, 200), 1, 1.1)
	f("one that waits for its answer", 1, small, at(50*time.Microsecond), 1, 1.01)
	t.Run("eight that wait for their answers", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, all := gathered(8, small, 20*time.Microsecond, at(50*time.Microsecond))
			if free := 2 * time.Second / (80 * time.Microsecond) * 8; all < int(free)/2 {
				t.Errorf("%d requests; without a wait there are about %d", all, free)
			}
		})
	})
}

// TestRequests: a request is answered by the writer, or taken back, or refused, and nothing else.
func TestRequests(t *testing.T) {
	q := &requests{wake: make(chan struct{}, 1)}
	mine := &request{batch: &wire.Batch{Text: []byte("x\n")}, outcome: make(chan error, 1)}
	for range 3 {
		if err := q.push(mine); err != nil {
			t.Fatal(err)
		}
		if !q.withdraw(mine) || q.withdraw(mine) || q.pop() != nil || q.bytes != 0 {
			t.Fatal("a request that was taken back is still there")
		}
	}
	var order []*request
	for range 100 { // longer than any block of it
		for range 3 {
			r := &request{batch: mine.batch, outcome: make(chan error, 1)}
			order = append(order, r)
			q.push(r)
		}
		for range 2 {
			if r := q.pop(); r != order[0] {
				t.Fatal("not in the order in which they came")
			}
			order = order[1:]
		}
	}
	q.close(wire.ErrDraining)
	for _, r := range order {
		if err := <-r.outcome; err != wire.ErrDraining {
			t.Fatal(err)
		}
	}
	if err := q.push(mine); err != wire.ErrDraining {
		t.Errorf("after the end: %v", err)
	}
}
