package redis

import "github.com/prometheus/client_golang/prometheus"

// Describe sends nothing: the metrics describe themselves when they are collected.
func (o *Output) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics of the output.
func (o *Output) Collect(out chan<- prometheus.Metric) {
	send := func(name, help string, v uint64) {
		desc := prometheus.NewDesc(name, help, []string{"target"}, nil)
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), o.name())
	}
	n := o.loop.Counts()
	send("fanin_redis_output_lines_total", "Lines that a Redis stream or list has.", n.Carried)
	send("fanin_redis_output_again_lines_total", "Lines handed out for it again; none is added twice.", n.Again)
	send("fanin_redis_output_resent_lines_total", "Lines sent again because the server had lost them.",
		o.counts.resent.Load())
	send("fanin_redis_output_lost_total", "Times that a server had lost lines which the log no longer had: how many "+
		"is not known.", o.counts.lost.Load())
	send("fanin_redis_output_behind_lines_total", "Lines that are older than all that a Redis stream has, and were "+
		"not added to it.", o.counts.behind.Load())
	send("fanin_redis_output_trimmed_lines_total", "Lines removed from the beginning of a Redis list because it had "+
		"more than max_len.", o.counts.trimmed.Load())
}
