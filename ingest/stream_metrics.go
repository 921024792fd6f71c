package ingest

import "github.com/prometheus/client_golang/prometheus"

// StreamMetrics counts connections. Listeners of a process share one.
type StreamMetrics struct {
	Metrics

	plainConns, agentConns prometheus.Counter
	openConns              prometheus.Gauge
	rejected               map[string]prometheus.Counter // by reason: a fixed few
	acceptErrors, slowed   prometheus.Counter
}

// reasons why a connection is closed by the collector.
var reasons = [...]string{
	"max_conns", "max_conns_per_ip", "displaced", "tls", "not_tls", "http", "handshake", "idle", "timeout", "protocol",
	"version", "agent_id", "certificate", "host", "room", "refused", "draining", "unknown",
}

// NewStreamMetrics makes counters for any number of listeners to share.
func NewStreamMetrics() *StreamMetrics {
	m := new(StreamMetrics)
	const conns = "Connections accepted, by who spoke."
	m.plainConns = m.Counter("fanin_connections_total", conns, "kind", "plain")
	m.agentConns = m.Counter("fanin_connections_total", conns, "kind", "agent")
	m.openConns = m.Gauge("fanin_open_connections", "Connections open now.")
	m.acceptErrors = m.Counter("fanin_accept_errors_total", "Failed attempts to accept a connection.", "", "")
	m.slowed = m.Counter("fanin_slowed_reads_total",
		"Times that a connection was not read for a while because its address sends more than max_rate.", "", "")
	m.rejected = m.Counters("fanin_rejected_connections_total", "Connections that the collector closed, by reason.",
		"reason", reasons[:]...)
	return m
}

func (m *StreamMetrics) rejectConn(reason string) { m.rejected[reason].Inc() }
