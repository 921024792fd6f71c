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

func (s *Sink) collectKeys(send func(kind prometheus.ValueType, name, help string, v float64, labels ...string)) {
	c := &s.counts.keys
	n, age := s.keysNow()
	send(prometheus.GaugeValue, "fanin_keys", "Keys of requests that are known.", float64(n))
	send(prometheus.GaugeValue, "fanin_key_window_seconds", "How far back keys are known, for the sender of which least is known.", age.Seconds())
	const evictions, evictionsHelp = "fanin_key_evictions_total", "Keys forgotten, because there were too many or because of their age."
	send(prometheus.CounterValue, evictions, evictionsHelp, float64(c.full.Load()), "reason", "full")
	send(prometheus.CounterValue, evictions, evictionsHelp, float64(c.old.Load()), "reason", "age")
	send(prometheus.CounterValue, "fanin_key_duplicate_content_total", "Requests without a key of their own whose content equals that of one shortly before: not kept.", float64(c.duplicateContent.Load()))
	send(prometheus.CounterValue, "fanin_key_maybe_doubled_total", "Requests kept whose key may have been known once and was forgotten: they may be in the log twice.", float64(c.maybeDoubled.Load()))
}
