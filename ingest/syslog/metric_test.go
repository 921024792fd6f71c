package syslog

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// valueOf is what a counter has counted.
func valueOf(t *testing.T, c prometheus.Counter) int {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	all, err := r.Gather()
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	return int(all[0].GetMetric()[0].GetCounter().GetValue())
}
