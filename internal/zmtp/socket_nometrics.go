package zmtp

import "github.com/prometheus/client_golang/prometheus"

// NoMetrics are Metrics that are not collected.
type NoMetrics struct{}

// Counter returns a counter that is not collected.
func (NoMetrics) Counter(name, help, _, _ string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

// Gauge returns a gauge that is not collected.
func (NoMetrics) Gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
}
