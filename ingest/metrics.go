package ingest

import "github.com/prometheus/client_golang/prometheus"

// Metrics makes the metrics of one kind of listener, and is their prometheus.Collector.
// All are made before the first is collected.
type Metrics struct{ list []prometheus.Collector }

// Counter makes a counter. The label and its value may be empty.
func (m *Metrics) Counter(name, help, label, value string) prometheus.Counter {
	o := prometheus.CounterOpts{Name: name, Help: help}
	if label != "" {
		o.ConstLabels = prometheus.Labels{label: value}
	}
	c := prometheus.NewCounter(o)
	m.list = append(m.list, c)
	return c
}

// Counters makes a counter for each value of a label.
func (m *Metrics) Counters(name, help, label string, values ...string) map[string]prometheus.Counter {
	all := make(map[string]prometheus.Counter, len(values))
	for _, value := range values {
		all[value] = m.Counter(name, help, label, value)
	}
	return all
}

// Gauge makes a gauge.
func (m *Metrics) Gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	m.list = append(m.list, g)
	return g
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.list {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.list {
		c.Collect(ch)
	}
}
