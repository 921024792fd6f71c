package sink

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// keyCounts count requests with a key.
type keyCounts struct {
	full, old        atomic.Uint64 // keys forgotten, by reason
	duplicateContent atomic.Uint64
	maybeDoubled     atomic.Uint64
}

// keysNow returns how many keys are known, and how far back the window of the sender
// with the shortest one reaches.
func (s *Sink) keysNow() (n int, age time.Duration) {
	s.view.mu.RLock()
	newest := s.view.catalog.keys.newest
	n = s.view.catalog.keys.count
	s.view.mu.RUnlock()
	age = max(0, s.env.now().Sub(time.UnixMicro(newest)))
	if s.Keys.Window > 0 {
		age = min(age, s.Keys.Window)
	}
	return n, age
}

// sendMetric sends one metric with its labels: name, value, name, value.
type sendMetric = func(kind prometheus.ValueType, name, help string, v float64, labels ...string)

func (s *Sink) collectKeys(send sendMetric) {
	c := &s.counts.keys
	counter := func(name, help string, v *atomic.Uint64, labels ...string) {
		send(prometheus.CounterValue, name, help, float64(v.Load()), labels...)
	}
	n, age := s.keysNow()
	send(prometheus.GaugeValue, "fanin_keys", "Keys of requests that are known.", float64(n))
	send(prometheus.GaugeValue, "fanin_key_window_seconds",
		"How far back keys are known, for the sender with the shortest window.", age.Seconds())
	const evicted = "Keys forgotten, because there were too many or because of their age."
	counter("fanin_key_evictions_total", evicted, &c.full, "reason", "full")
	counter("fanin_key_evictions_total", evicted, &c.old, "reason", "age")
	counter("fanin_key_duplicate_content_total",
		"Requests without a key of their own, with the same content as one shortly before: not written.",
		&c.duplicateContent)
	counter("fanin_key_maybe_doubled_total",
		"Requests written although their key may have been known and forgotten: they may be in the log twice.",
		&c.maybeDoubled)
}
