package counters

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// Describe sends nothing: what is collected describes itself.
func (s *Set) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (s *Set) Collect(ch chan<- prometheus.Metric) {
	for _, c := range s.All() {
		c.collect(ch)
	}
}

func (c *Input) collect(ch chan<- prometheus.Metric) {
	send := func(name, help string, v uint64, more ...string) {
		labels, values := []string{"input"}, []string{c.name}
		if len(more) > 0 {
			labels, values = append(labels, more[0]), append(values, more[1])
		}
		desc := prometheus.NewDesc(name, help, labels, nil)
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), values...)
	}
	info := prometheus.NewDesc("fanin_input_info",
		"Always 1; the class is what identifies a repeated line of the input.",
		[]string{"input", "class"}, nil)
	ch <- prometheus.MustNewConstMetric(info, prometheus.GaugeValue, 1, c.name, c.Class().Letter())
	send("fanin_received_bytes_total", "Bytes of lines received, newlines included.", c.receivedBytes.Load())
	send("fanin_split_lines_total", "Lines longer than allowed that were split, with a mark.", c.split.Load())
	send("fanin_written_lines_total", "Lines committed.", c.written.Load())
	send("fanin_written_bytes_total", "Bytes of laid-out lines committed.", c.writtenBytes.Load())
	send("fanin_duplicate_lines_total", "Lines that were sent again and were committed before.", c.duplicate.Load())
	send("fanin_unsure_lines_total", "Lines that cannot be sent again and may or may not be written.", c.unsure.Load())
	send("fanin_dropped_lines_total", "Lines received and lost before they could be written.", c.dropped.Load())
	c.mu.Lock()
	for _, reason := range slices.Sorted(maps.Keys(c.rejected)) {
		send("fanin_rejected_lines_total", "Lines not written, by reason.", c.rejected[reason].Load(), "reason", reason)
	}
	c.mu.Unlock()
	// Last, as each line is counted as received first.
	send("fanin_received_lines_total", "Lines received, repeats included.", c.received.Load())
}
