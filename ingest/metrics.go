package ingest

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics makes the metrics of one kind of listener, and is their prometheus.Collector.
// A metric is made when it is first asked for, so nothing lists them all. Its zero
// value is ready.
type Metrics struct {
	mu   sync.Mutex
	made map[metricKey]prometheus.Metric
}

type metricKey struct{ name, label, value string }

// Counter returns the counter with a name and one label, both of which may be empty.
func (m *Metrics) Counter(name, help, label, value string) prometheus.Counter {
	return m.metric(metricKey{name, label, value}, func() prometheus.Metric {
		o := prometheus.CounterOpts{Name: name, Help: help}
		if label != "" {
			o.ConstLabels = prometheus.Labels{label: value}
		}
		return prometheus.NewCounter(o)
	}).(prometheus.Counter)
}

// Counters returns the counter for each value of a label.
func (m *Metrics) Counters(name, help, label string, values ...string) map[string]prometheus.Counter {
	all := make(map[string]prometheus.Counter, len(values))
	for _, value := range values {
		all[value] = m.Counter(name, help, label, value)
	}
	return all
}

// Gauge returns the gauge with a name.
func (m *Metrics) Gauge(name, help string) prometheus.Gauge {
	return m.metric(metricKey{name: name}, func() prometheus.Metric {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}).(prometheus.Gauge)
}

func (m *Metrics) metric(k metricKey, create func() prometheus.Metric) prometheus.Metric {
	m.mu.Lock()
	defer m.mu.Unlock()
	x := m.made[k]
	if x == nil {
		if m.made == nil {
			m.made = make(map[metricKey]prometheus.Metric)
		}
		x = create()
		m.made[k] = x
	}
	return x
}

// Describe sends nothing: what is collected describes itself.
func (m *Metrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range m.made {
		ch <- x
	}
}
