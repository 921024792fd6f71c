package nats

import (
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"fanin/ingest"
)

// Metrics counts messages.
type Metrics struct {
	*ingest.Metrics

	messages, empty, repeats prometheus.Counter
	rejected                 map[string]prometheus.Counter // by reason: a fixed few
	refused                  map[string]prometheus.Counter // whether it is kept
	kept                     prometheus.Gauge
	drops, reread, missed    prometheus.Counter
}

// NewMetrics makes the counters of an input among those that all inputs of a process
// share.
func NewMetrics(shared *ingest.Metrics) *Metrics {
	m := &Metrics{Metrics: shared}
	m.messages = m.Counter("fanin_nats_messages_total", "Messages with plain lines that were read.", "", "")
	m.empty = m.Counter("fanin_nats_empty_messages_total", "Messages without a line.", "", "")
	m.repeats = m.Counter("fanin_nats_repeated_messages_total", "Messages that a JetStream stream delivered again "+
		"after they were committed: acknowledged again, not committed again.", "", "")
	m.reread = m.Counter("fanin_nats_reread_messages_total", "Messages read from a JetStream stream by number, "+
		"because their delivery was interrupted.", "", "")
	m.missed = m.Counter("fanin_nats_missed_messages_total",
		"Messages that left a JetStream stream before they were read: "+
			"too old, or removed. Unknown for consumers with filters.", "", "")
	m.drops = m.Counter("fanin_nats_dropped_messages_total", "Messages that arrived faster than "+
		"they could be written, outside of a JetStream stream: plain ones are lost, agents send theirs again.", "", "")
	m.refused = m.Counters("fanin_nats_refused_messages_total",
		"Agents' batches in a JetStream stream that the log refused and whose agents do not wait for an answer, "+
			"by whether they are kept to be published again.",
		"kept", "yes", "no")
	m.kept = m.Gauge("fanin_nats_refused_kept", "Refused messages that are kept to be published again.")
	m.rejected = m.Counters("fanin_nats_rejected_messages_total", "Messages that were not accepted, by reason.",
		"reason", "protocol", "version", "agent_id", "host", "subject", "refused")
	return m
}

// drops is how many messages each subscription had dropped when it was asked last.
type drops map[*nats.Subscription]int

// countDrops counts what subscriptions dropped since, and returns it.
func (m *Metrics) countDrops(seen drops, subs ...*nats.Subscription) (news int) {
	for _, sub := range subs {
		if n, err := sub.Dropped(); err == nil {
			news += n - seen[sub]
			seen[sub] = n
		}
	}
	m.drops.Add(float64(news))
	return news
}
