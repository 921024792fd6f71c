package merge

import "github.com/prometheus/client_golang/prometheus"

var _ prometheus.Collector = (*Server)(nil)

// Describe sends nothing: the metrics describe themselves when they are collected.
func (x *Server) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics of reads by position.
func (x *Server) Collect(out chan<- prometheus.Metric) {
	send := func(kind prometheus.ValueType, name, help string, v float64) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), kind, v)
	}
	counter := func(name, help string, v uint64) { send(prometheus.CounterValue, name, help, float64(v)) }
	c := &x.counts
	send(prometheus.GaugeValue, "fanin_reads", "Reads by position that are being answered now.",
		float64(len(x.reading)))
	counter("fanin_reads_total", "Reads by position that were answered.", c.answers.Load())
	counter("fanin_reads_refused_total", "Reads by position that were refused: too many at a time, or of a position "+
		"that is not there.", c.refused.Load())
	counter("fanin_read_bytes_total", "Bytes of lines sent in answers to reads by position.", c.bytes.Load())
}
