package zmq

import (
	"context"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/internal/zmtp"
)

// joined is a subscriber to everything whose connection the test plays.
func (x *stage) joined(t *testing.T) *subscriber {
	t.Helper()
	s := newSubscriber(new(zmtp.Link))
	change, err := s.subscribe(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	x.mu.Lock()
	x.all[s] = struct{}{}
	x.mu.Unlock()
	x.want(change)
	return s
}

// TestLeaveCounts: lines that wait for a subscriber that leaves are counted once, also when
// the publisher had it on its list before.
func TestLeaveCounts(t *testing.T) {
	x := publish(t, new(Publisher))
	x.counts.left = prometheus.NewCounter(prometheus.CounterOpts{Name: "left"})
	s := x.joined(t)
	b := newBlock(1, 0)
	offer := func() (dropped int) {
		b.add(1, []byte("a/b"), []byte("line"))
		from, to := b.offering()
		return s.offer(b, from, to, 2, 0)
	}
	for range 2 {
		if n := offer(); n != 0 {
			t.Fatalf("%d lines are dropped", n)
		}
	}
	x.leave(s)
	if n := offer(); n != 0 {
		t.Errorf("%d lines are dropped that were counted before", n)
	}
	if st := s.status(); st.Waiting != 2 || st.Dropped != 0 {
		t.Errorf("%+v", st)
	}
	var m dto.Metric
	if err := x.counts.left.Write(&m); err != nil || m.Counter.GetValue() != 2 {
		t.Errorf("%v lines are counted, %v; want 2", m.Counter.GetValue(), err)
	}
}

// TestPublishLate: the first subscriber, which comes when the end has begun, gets what is new
// since, and no line of before.
func TestPublishLate(t *testing.T) {
	x := publish(t, new(Publisher))
	x.stop() // the test plays Run
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	x.reader = x.sink.Reader(x.sink.End())
	defer x.reader.Close()
	x.put(t, "web", "app", "old", "older")
	visible(t, x.sink)
	if x.awaitSubscription(ended) {
		t.Fatal("there is a subscription")
	}
	s := x.joined(t)
	x.put(t, "web", "app", "new")
	visible(t, x.sink)
	s.sent = 1 // so that nothing waits for the connection
	x.finish(make([]byte, 1<<10))
	if s.offered != 1 {
		t.Errorf("%d lines are offered, want the new one", s.offered)
	}
}
