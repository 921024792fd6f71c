package livetail

import "github.com/prometheus/client_golang/prometheus"

var _ prometheus.Collector = (*Tail)(nil)

// Describe sends nothing: the metrics describe themselves when they are collected.
func (t *Tail) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics of all watchers.
func (t *Tail) Collect(out chan<- prometheus.Metric) {
	send := func(kind prometheus.ValueType, name, help string, v float64) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), kind, v)
	}
	gauge := func(name, help string, v int64) { send(prometheus.GaugeValue, name, help, float64(v)) }
	counter := func(name, help string, v uint64) { send(prometheus.CounterValue, name, help, float64(v)) }
	c := &t.counts
	gauge("fanin_tail_watchers", "Watchers of the live tail now.", c.watchers.Load())
	counter("fanin_tail_lines_total", "Lines sent to watchers.", c.lines.Load())
	counter("fanin_tail_skips_total", "Times a watcher was too slow and was moved to the end.", c.skips.Load())
	counter("fanin_tail_skipped_lines_total", "Lines that slow watchers were not shown.", c.skipped.Load())
	counter("fanin_tail_refused_total", "Requests to watch that were refused.", c.refused.Load())
	gauge("fanin_tail_lookbacks", "Watchers that look back into the log now, and have not reached its end.",
		int64(t.lookbacks.now()))
	counter("fanin_tail_lookbacks_refused_total", "Requests to look back that were refused because of max_lookbacks.",
		c.refusedLookback.Load())
	gauge("fanin_history_requests", "Histograms and contexts that are being made now.", int64(len(t.answers)))
	counter("fanin_history_refused_total", "Histograms and contexts that were refused because too many were being "+
		"made for too long.", c.refusedAnswers.Load())
	counter("fanin_downloads_cut_off_total", "Downloads that ended before their end.", c.cutOff.Load())
	counter("fanin_tail_timeouts_total", "Watchers disconnected because they received nothing.", c.timeouts.Load())
}
