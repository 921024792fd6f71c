package ingest

import "github.com/prometheus/client_golang/prometheus"

// DatagramMetrics counts datagrams. Listeners of a process share one.
type DatagramMetrics struct {
	Metrics

	datagrams, empty           prometheus.Counter
	kernelDrops, atShutdown    prometheus.Counter
	refusedDatagrams, overRate prometheus.Counter
	queueWaits                 prometheus.Counter
	queueBytes, receiveBufSize prometheus.Gauge
}

// NewDatagramMetrics makes counters for any number of listeners to share.
func NewDatagramMetrics() *DatagramMetrics {
	m := new(DatagramMetrics)
	m.datagrams = m.Counter("fanin_udp_datagrams_total", "Datagrams read.", "", "")
	m.empty = m.Counter("fanin_udp_empty_datagrams_total", "Datagrams read that held no line.", "", "")
	dropped := m.Counters("fanin_udp_dropped_datagrams_total", "Datagrams whose lines are lost: the kernel had no space for them, "+
		"they were refused, their address sends more than max_rate, or a shutdown was given up.",
		"reason", "kernel", "refused", "rate", "shutdown")
	m.kernelDrops, m.refusedDatagrams = dropped["kernel"], dropped["refused"]
	m.overRate, m.atShutdown = dropped["rate"], dropped["shutdown"]
	m.queueWaits = m.Counter("fanin_udp_queue_full_total", "Times that reading paused because the queue was full; "+
		"what the kernel could not hold meanwhile is counted as dropped.", "", "")
	m.queueBytes = m.Gauge("fanin_udp_queue_bytes", "Bytes read that wait to be kept.")
	m.receiveBufSize = m.Gauge("fanin_udp_receive_buffer_bytes", "Receive buffer that the kernel granted.")
	return m
}
