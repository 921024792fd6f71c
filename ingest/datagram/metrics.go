package datagram

import (
	"github.com/prometheus/client_golang/prometheus"

	"fanin/ingest"
)

// metrics are the counters of a listener, among those that all inputs of a process share.
type metrics struct {
	*ingest.Metrics
	kind string // of the sockets: udp or unix
}

// prepare makes all metrics, so that they are there before they count.
func (m metrics) prepare() {
	m.read()
	m.empty()
	m.truncated()
	m.queueFull()
	m.queueBytes()
	m.receiveBuffer()
	for _, reason := range []string{"kernel", "refused", "rate", "shutdown", "not_allowed"} {
		m.dropped(reason)
	}
}

func (m metrics) read() prometheus.Counter {
	return m.Counter("fanin_"+m.kind+"_datagrams_total", "Datagrams read.", "", "")
}

func (m metrics) empty() prometheus.Counter {
	return m.Counter("fanin_"+m.kind+"_empty_datagrams_total", "Datagrams without a line.", "", "")
}

func (m metrics) truncated() prometheus.Counter {
	return m.Counter("fanin_"+m.kind+"_truncated_datagrams_total", "Datagrams that were too large, and whose ends "+
		"are lost.", "", "")
}

func (m metrics) dropped(reason string) prometheus.Counter {
	return m.Counter("fanin_"+m.kind+"_dropped_datagrams_total", "Datagrams whose lines are lost: "+
		"the kernel had no space for them, they were refused, their address sends more than max_rate or is not "+
		"in allow, or a shutdown was given up.", "reason", reason)
}

func (m metrics) queueFull() prometheus.Counter {
	return m.Counter("fanin_"+m.kind+"_queue_full_total", "Times that reading paused because the queue was full; "+
		"what the kernel had no space for meanwhile is counted as dropped.", "", "")
}

func (m metrics) queueBytes() prometheus.Gauge {
	return m.Gauge("fanin_"+m.kind+"_queue_bytes", "Bytes that were read and wait to be committed.")
}

func (m metrics) receiveBuffer() prometheus.Gauge {
	return m.Gauge("fanin_"+m.kind+"_receive_buffer_bytes", "Receive buffer that the kernel granted.")
}
