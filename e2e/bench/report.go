package main

import (
	"fmt"
	"slices"
)

// results are all samples, in the order of their first appearance.
type results struct {
	rows []row
}

// row is one subject's samples of one workload.
type row struct {
	workload, subject string
	samples           []sample
}

func (rs *results) add(workload, subject string, s sample) {
	for i := range rs.rows {
		if r := &rs.rows[i]; r.workload == workload && r.subject == subject {
			r.samples = append(r.samples, s)
			return
		}
	}
	rs.rows = append(rs.rows, row{workload, subject, []sample{s}})
}

// median of what a figure says of each sample.
func (r *row) median(figure func(*sample) float64) float64 {
	var values []float64
	for i := range r.samples {
		values = append(values, figure(&r.samples[i]))
	}
	slices.Sort(values)
	n := len(values)
	if n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[n/2]
}

func (s *sample) speed() float64     { return float64(s.Lines) / s.Seconds / 1e6 }
func (s *sample) rate() float64      { return float64(s.Bytes) / s.Seconds / 1e6 }
func (s *sample) cpuPerM() float64   { return s.CPU / float64(max(s.Lines, 1)) * 1e6 }
func (s *sample) agentPerM() float64 { return s.AgentCPU / float64(max(s.Lines, 1)) * 1e6 }
func (s *sample) lostPercent() float64 {
	return 100 * float64(s.Lost) / float64(max(s.Lost+s.Lines, 1))
}

// line is a sample for the terminal.
func (s *sample) line(kind string) string {
	switch kind {
	case "latency":
		return fmt.Sprintf("p50 %.2f ms  p99 %.2f ms", s.P50, s.P99)
	case "idle":
		return fmt.Sprintf("%.1f MiB more", s.More)
	}
	wrong := fmt.Sprintf("lost %d doubled %d reordered %d torn %d", s.Lost, s.Doubled, s.Reordered, s.Torn)
	if kind == "chain" {
		return fmt.Sprintf("%.2f M/s  %.2f + %.2f CPU s/M  %.0f / %.0f MiB  %s", s.speed(), s.agentPerM(), s.cpuPerM(), s.AgentRSS, s.Peak, wrong)
	}
	return fmt.Sprintf("%.2f M/s  %.2f CPU s/M  %.0f MiB  %.0f MB/s  %s", s.speed(), s.cpuPerM(), s.Peak, s.rate(), wrong)
}

func (b *bench) report() error { return nil }
