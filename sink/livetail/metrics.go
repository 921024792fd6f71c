package livetail

import "github.com/prometheus/client_golang/prometheus"

var _ prometheus.Collector = (*Tail)(nil)

// Describe sends nothing: what is collected describes itself.
func (t *Tail) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics of all watchers.
func (t *Tail) Collect(out chan<- prometheus.Metric) {
	send := func(kind prometheus.ValueType, name, help string, v float64) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), kind, v)
	}
	send(prometheus.GaugeValue, "fanin_tail_watchers", "Watchers of the live tail now.", float64(t.watchers.Load()))
	send(prometheus.CounterValue, "fanin_tail_lines_total", "Lines shown to watchers.", float64(t.lines.Load()))
	send(prometheus.CounterValue, "fanin_tail_skips_total", "Times a watcher was too slow and was moved to the end.", float64(t.skips.Load()))
	send(prometheus.CounterValue, "fanin_tail_skipped_lines_total", "Lines that watchers were too slow for.", float64(t.skipped.Load()))
	send(prometheus.CounterValue, "fanin_tail_refused_total", "Requests to watch that were refused.", float64(t.refused.Load()))
	t.mu.Lock()
	looking := t.looking
	t.mu.Unlock()
	send(prometheus.GaugeValue, "fanin_tail_lookbacks", "Watchers that look back into the log now, and have not come to its end.", float64(looking))
	send(prometheus.CounterValue, "fanin_tail_lookbacks_refused_total", "Requests to look back that were refused: too many did already.", float64(t.notLooking.Load()))
	send(prometheus.CounterValue, "fanin_tail_timeouts_total", "Watchers let go because they took nothing.", float64(t.timeouts.Load()))
}
