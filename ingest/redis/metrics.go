package redis

import (
	"github.com/prometheus/client_golang/prometheus"

	"fanin/ingest"
)

// Metrics counts messages.
type Metrics struct {
	*ingest.Metrics

	messages                        map[string]prometheus.Counter // by where they come from
	empty, dropped, breaks, skipped prometheus.Counter
}

// NewMetrics makes the counters of an input among those that all inputs of a process
// share.
func NewMetrics(shared *ingest.Metrics) *Metrics {
	m := &Metrics{Metrics: shared}
	m.messages = m.Counters("fanin_redis_messages_total",
		"Messages of channels, entries of streams and elements of lists that were read.",
		"from", "channel", "stream", "list")
	m.empty = m.Counter("fanin_redis_empty_messages_total", "Messages, entries and elements without a line.", "", "")
	m.dropped = m.Counter("fanin_redis_dropped_messages_total",
		"Messages of channels that were dropped: they came faster than they could be written, or were too long.",
		"", "")
	m.breaks = m.Counter("fanin_redis_breaks_total",
		"Connections that broke while channels were received: what was published until the next one is missing.",
		"", "")
	m.skipped = m.Counter("fanin_redis_skipped_values_total",
		"Values longer than max_message, which were skipped without being held.", "", "")
	return m
}
