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
	repeats, withoutField, tooLarge prometheus.Counter
	missed, resets                  prometheus.Counter
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
	m.repeats = m.Counter("fanin_redis_repeated_messages_total",
		"Entries of streams and elements of lists that were delivered again after they were committed: "+
			"acknowledged again, not committed again.", "", "")
	m.withoutField = m.Counter("fanin_redis_entries_without_field_total",
		"Entries of streams without the field that message names: the whole entry is in the log, as JSON.", "", "")
	m.tooLarge = m.Counter("fanin_redis_too_large_messages_total",
		"Entries of streams and elements of lists that were longer than max_message and are not in the log.", "", "")
	m.missed = m.Counter("fanin_redis_missed_entries_total",
		"Entries that left a stream before they were read: trimmed, or deleted.", "", "")
	m.resets = m.Counter("fanin_redis_resets_total",
		"Times a stream was found to have lost its end, to be gone, or to be another one under the same key.", "", "")
	return m
}
