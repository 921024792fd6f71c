package ingest

import (
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
)

// NATSMetrics counts messages. Listeners of a process share one.
type NATSMetrics struct {
	Metrics

	natsMessages, natsEmpty, natsRepeats prometheus.Counter
	natsRejected                         map[string]prometheus.Counter // by reason: a fixed few
	natsRefused                          map[string]prometheus.Counter // whether it is kept
	natsKept                             prometheus.Gauge
	natsDrops, natsReread, natsMissed    prometheus.Counter
	dropped                              dropped
}

// NewNATSMetrics makes counters for any number of listeners to share.
func NewNATSMetrics() *NATSMetrics {
	m := new(NATSMetrics)
	m.natsMessages = m.Counter("fanin_nats_messages_total", "Messages with plain lines taken.", "", "")
	m.natsEmpty = m.Counter("fanin_nats_empty_messages_total", "Messages that held no line.", "", "")
	m.natsRepeats = m.Counter("fanin_nats_repeated_messages_total", "Messages that a JetStream stream delivered again "+
		"after they were kept: acknowledged again, not kept again.", "", "")
	m.natsReread = m.Counter("fanin_nats_reread_messages_total", "Messages read from a JetStream stream by number, "+
		"because their delivery was interrupted.", "", "")
	m.natsMissed = m.Counter("fanin_nats_missed_messages_total", "Messages that left a JetStream stream before they could be taken: "+
		"too old, or removed. Not known of consumers with filters.", "", "")
	m.natsDrops = m.Counter("fanin_nats_dropped_messages_total", "Messages that came faster than they could be kept, "+
		"outside of a JetStream stream: plain ones are lost, agents send theirs again.", "", "")
	m.natsRefused = m.Counters("fanin_nats_refused_messages_total", "Agents' batches in a JetStream stream that the log has not, "+
		"and whose agents do not wait for an answer: whether they are kept to be published again.", "kept", "yes", "no")
	m.natsKept = m.Gauge("fanin_nats_refused_kept", "Refused messages that are kept to be published again.")
	m.natsRejected = m.Counters("fanin_nats_rejected_messages_total", "Messages that were not taken, by reason.",
		"reason", "protocol", "version", "agent_id", "host", "subject", "refused")
	m.dropped.seen = make(map[*nats.Subscription]int)
	return m
}

func (m *NATSMetrics) rejectMessage(reason string) { m.natsRejected[reason].Inc() }

// dropped is how many messages each subscription had dropped when it was asked last.
type dropped struct {
	mu   sync.Mutex
	seen map[*nats.Subscription]int
}

// countDrops counts what subscriptions dropped since, and returns it.
func (m *NATSMetrics) countDrops(subs ...*nats.Subscription) (news int) {
	m.dropped.mu.Lock()
	defer m.dropped.mu.Unlock()
	for _, sub := range subs {
		if n, err := sub.Dropped(); err == nil {
			news += n - m.dropped.seen[sub]
			m.dropped.seen[sub] = n
		}
	}
	m.natsDrops.Add(float64(news))
	return news
}
