package collector

import (
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"fanin/internal/access"
	"fanin/internal/daemon"
	"fanin/internal/disk"
)

// accessMetrics are about the tokens that are accepted.
func accessMetrics(p *access.Policy) []prometheus.Collector {
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "fanin_access_tokens",
			Help: "Tokens of [[collector.access]] that are accepted now."}, func() float64 {
			tokens, _ := p.Tokens()
			return float64(tokens)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "fanin_access_broken_files",
			Help: "Files of tokens that cannot be used as they are now; their last good content counts."},
			func() float64 {
				_, broken := p.Tokens()
				return float64(broken)
			}),
	}
}

// registry has the metrics of every part.
func (c *server) registry() *prometheus.Registry {
	r, l := prometheus.NewRegistry(), &c.settings.Collector.Log
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "fanin_build_info",
		Help:        "Always 1; the labels are the version and settings of the program.",
		ConstLabels: prometheus.Labels{"version": daemon.Release, "sync": l.Sync, "format": l.Format}})
	info.Set(1)
	r.MustRegister(info, c.sink, c.sessions, c.room, c.inputs, c.counters, c.tail, &c.reads, &c.fleet, c.reloads,
		openMetrics{c}, logMetrics{c})
	if c.partition == nil { // else the process has more of these
		r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	r.MustRegister(accessMetrics(c.access)...)
	return r
}

// openMetrics are those of what is open now: a reload changes it.
type openMetrics struct{ c *server }

// Describe sends nothing: what is collected describes itself.
func (openMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics of the distributor and of all listeners.
func (m openMetrics) Collect(out chan<- prometheus.Metric) {
	if d := m.c.work.Load(); d != nil {
		d.Collect(out)
	}
	if r := m.c.relay; r != nil {
		r.Collect(out)
	}
	if a := m.c.archive; a != nil {
		a.Collect(out)
	}
	for _, x := range m.c.listeners.all() {
		for _, of := range x.metrics {
			of.Collect(out)
		}
	}
}

// silence is for how long no line of an agent came that is not connected, until it counts as silent: a
// restart, of the agent or of its machine, is over by then.
const silence = 10 * time.Minute

// logMetrics are those that need more than one part of the collector, or its disk.
type logMetrics struct{ c *server }

// Describe sends nothing: what is collected describes itself.
func (logMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect sends how many agents are silent, and the space on the log's file system where it is known.
func (m logMetrics) Collect(out chan<- prometheus.Metric) {
	gauge := func(name, help string, value float64) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, value)
	}
	gauge("fanin_silent_agents", "Agents that the log knows, that are not connected, and of which no line came for 10 "+
		"minutes.", float64(m.c.sink.Silent(time.Now().Add(-silence), m.c.sessions.Has)))
	available, size, err := disk.Space(filepath.Dir(m.c.sink.Path))
	if err != nil {
		return // the directory is gone, which fanin_healthy shows
	}
	gauge("fanin_disk_available_bytes", "Bytes that can still be written to the log's file system.", float64(available))
	gauge("fanin_disk_size_bytes", "Size of the log's file system.", float64(size))
}
