package collector

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"fanin/internal/daemon"
)

// registry has the metrics of every part.
func (c *server) registry() *prometheus.Registry {
	r, l := prometheus.NewRegistry(), &c.settings.Collector.Log
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "fanin_build_info",
		Help:        "Always 1; the labels are the version and settings of the program.",
		ConstLabels: prometheus.Labels{"version": daemon.Release, "sync": l.Sync, "format": l.Format}})
	info.Set(1)
	r.MustRegister(info, c.sink, c.sessions, c.room, c.inputs, c.counters, c.tail, &c.fleet, c.reloads, openMetrics{c},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
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
	for _, x := range m.c.listeners.all() {
		for _, of := range x.metrics {
			of.Collect(out)
		}
	}
}
