package collector

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"fanin/internal/access"
	"fanin/internal/daemon"
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
	r.MustRegister(info, c.sink, c.sessions, c.room, c.inputs, c.counters, c.tail, &c.fleet, c.reloads, openMetrics{c},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
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
	for _, x := range m.c.listeners.all() {
		for _, of := range x.metrics {
			of.Collect(out)
		}
	}
}
