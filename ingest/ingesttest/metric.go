package ingesttest

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Metric returns the value of a metric that c collects, and whose label has the value;
// both may be empty. It is 0 if there is none.
func Metric(t testing.TB, c prometheus.Collector, name, value string) int {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if strings.Join(values, ",") == value {
				return int(m.GetCounter().GetValue() + m.GetGauge().GetValue())
			}
		}
	}
	return 0
}
