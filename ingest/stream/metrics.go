package stream

import (
	"github.com/prometheus/client_golang/prometheus"

	"fanin/ingest"
)

// metrics are the counters of a listener, among those that all inputs of a process share.
type metrics struct{ *ingest.Metrics }

// reasons for which a listener itself closes connections.
func reasons() []string {
	return []string{"not_allowed",
		"max_conns", "max_conns_per_ip", "tls", "not_tls", "handshake", "certificate", "protocol"}
}

// prepare makes all metrics that connections of these formats can have, so that they
// are there before they count.
func (m metrics) prepare(formats []Format) {
	m.open()
	m.waitingHandshakes()
	m.acceptErrors()
	m.slowed()
	for _, reason := range reasons() {
		m.rejected(reason)
	}
	for _, f := range formats {
		m.connections(f.Name)
		for _, reason := range f.Reasons {
			m.rejected(reason)
		}
	}
}

func (m metrics) connections(format string) prometheus.Counter {
	return m.Counter("fanin_connections_total", "Connections accepted, by what the peer sent.", "kind", format)
}

func (m metrics) open() prometheus.Gauge {
	return m.Gauge("fanin_open_connections", "Connections open now.")
}

func (m metrics) waitingHandshakes() prometheus.Gauge {
	return m.Gauge("fanin_waiting_handshakes", "TLS handshakes that wait until others have ended.")
}

func (m metrics) acceptErrors() prometheus.Counter {
	return m.Counter("fanin_accept_errors_total", "Failed attempts to accept a connection.", "", "")
}

func (m metrics) slowed() prometheus.Counter {
	return m.Counter("fanin_slowed_reads_total",
		"Times that reading from a connection paused because its address sends more than max_rate.", "", "")
}

func (m metrics) rejected(reason string) prometheus.Counter {
	return m.Counter("fanin_rejected_connections_total", "Connections that the collector closed, by reason.",
		"reason", reason)
}

func (m metrics) reject(reason string) { m.rejected(reason).Inc() }
