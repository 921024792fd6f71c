package collector

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"fanin/internal/daemon"
)

func (c *server) registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "fanin_build_info", Help: "1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": daemon.Release, "sync": c.settings.Collector.Log.Sync, "format": c.settings.Collector.Log.Format}})
	info.Set(1)
	if c.work != nil {
		r.MustRegister(c.work)
	}
	if c.web != nil {
		r.MustRegister(c.web)
	}
	for _, x := range c.sources.all() {
		r.MustRegister(x.metrics...)
	}
	r.MustRegister(info, c.sink, c.sessions, c.room, c.intake.inputs, c.intake.streams, c.intake.datagrams, c.intake.messages, c.tail, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}
