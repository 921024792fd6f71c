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
	if c.work != nil {
		r.MustRegister(c.work)
	}
	if c.web != nil {
		r.MustRegister(c.web)
	}
	for _, x := range c.listeners.all() {
		r.MustRegister(x.metrics...)
	}
	r.MustRegister(info, c.sink, c.sessions, c.room, c.inputs, c.counters, c.tail, &c.fleet,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}
