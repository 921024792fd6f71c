package datagram

import (
	"github.com/prometheus/client_golang/prometheus"

	"fanin/ingest"
)

// metrics are the counters of a listener, among those that all inputs of a process share.
type metrics struct{ *ingest.Metrics }

// prepare makes all metrics, so that they are there before they count.
func (m metrics) prepare() {
	m.read()
	m.empty()
	m.queueFull()
	m.queueBytes()
	m.receiveBuffer()
	for _, reason := range []string{"kernel", "refused", "rate", "shutdown", "not_allowed"} {
		m.dropped(reason)
	}
}

func (m metrics) read() prometheus.Counter {
	return m.Counter("fanin_udp_datagrams_total", "Datagrams read.", "", "")
}

func (m metrics) empty() prometheus.Counter {
	return m.Counter("fanin_udp_empty_datagrams_total", "Datagrams without a line.", "", "")
}

func (m metrics) dropped(reason string) prometheus.Counter {
	return m.Counter("fanin_udp_dropped_datagrams_total", "Datagrams whose lines are lost: "+
		"the kernel had no space for them, they were refused, their address sends more than max_rate or is not "+
		"in allow, or a shutdown was given up.", "reason", reason)
}

func (m metrics) queueFull() prometheus.Counter {
	return m.Counter("fanin_udp_queue_full_total", "Times that reading paused because the queue was full; "+
		"what the kernel had no space for meanwhile is counted as dropped.", "", "")
}

func (m metrics) queueBytes() prometheus.Gauge {
	return m.Gauge("fanin_udp_queue_bytes", "Bytes that were read and wait to be committed.")
}

func (m metrics) receiveBuffer() prometheus.Gauge {
	return m.Gauge("fanin_udp_receive_buffer_bytes", "Receive buffer that the kernel granted.")
}
