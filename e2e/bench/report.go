package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
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
	if r := rs.find(workload, subject); r != nil {
		r.samples = append(r.samples, s)
		return
	}
	rs.rows = append(rs.rows, row{workload, subject, []sample{s}})
}

func (rs *results) find(workload, subject string) *row {
	for i := range rs.rows {
		if r := &rs.rows[i]; r.workload == workload && r.subject == subject {
			return r
		}
	}
	return nil
}

// of is every subject's row of one workload.
func (rs *results) of(workload string) (list []row) {
	for _, r := range rs.rows {
		if r.workload == workload {
			list = append(list, r)
		}
	}
	return list
}

// median of what a figure says of each sample.
func (r *row) median(figure func(*sample) float64) float64 {
	var values []float64
	for i := range r.samples {
		values = append(values, figure(&r.samples[i]))
	}
	return median(values)
}

func (r *row) text(figure func(*sample) float64, format string) string {
	return fmt.Sprintf(format, r.median(figure))
}

// wrong is the worst of all rounds: one lost line is not outvoted.
func (r *row) wrong() string {
	var worst tally
	for _, s := range r.samples {
		worst.Lost = max(worst.Lost, s.Lost)
		worst.Doubled = max(worst.Doubled, s.Doubled)
		worst.Reordered = max(worst.Reordered, s.Reordered)
		worst.Torn = max(worst.Torn, s.Torn)
	}
	return fmt.Sprintf("%d / %d / %d / %d", worst.Lost, worst.Doubled, worst.Reordered, worst.Torn)
}

// line is a sample for the terminal.
func (s *sample) line(kind string) string {
	switch kind {
	case "latency":
		return fmt.Sprintf("p50 %.2f ms  p99 %.2f ms", s.P50, s.P99)
	case "backlog":
		return fmt.Sprintf("%.2f M/s  %.1f MiB more  first line p50 %.0f ms  worst %.0f ms", s.speed(), s.More, s.P50, s.P99)
	case "search":
		return fmt.Sprintf("%.0f MB/s  %.0f MB per CPU s  text : gzip %.1f  histogram %.1f ms  first line since a time %.1f ms  %.0f MiB",
			s.rate(), s.ratePerCPU(), s.Ratio, s.P50, s.P99, s.Peak)
	case "waits":
		return fmt.Sprintf("%.3f s  %.2f CPU s  %.0f MB/s  %.0f MB per CPU s  %.2f M/s  %.0f MiB", s.Seconds, s.CPU, s.rate(),
			s.ratePerCPU(), s.speed(), s.Peak)
	case "crowd":
		return fmt.Sprintf("%.1f us a batch  %.2f processors  p50 %.1f ms  p99 %.1f ms  %.0f MiB  back after %.1f s", s.perBatch(),
			s.cores(), s.P50, s.P99, s.Peak, s.Back)
	case "idle":
		return fmt.Sprintf("%.1f MiB more", s.More)
	}
	wrong := fmt.Sprintf("lost %d doubled %d reordered %d torn %d", s.Lost, s.Doubled, s.Reordered, s.Torn)
	if kind == "udp" {
		wrong += fmt.Sprintf(" counted %d", s.Counted)
	}
	if kind == "chain" || kind == relayed {
		return fmt.Sprintf("%.2f M/s  %.2f + %.2f CPU s/M  %.0f / %.0f MiB  %s", s.speed(), s.agentPerM(), s.cpuPerM(), s.AgentRSS, s.Peak, wrong)
	}
	return fmt.Sprintf("%.2f M/s  %.2f CPU s/M  %.0f MiB  %.0f MB/s  %s", s.speed(), s.cpuPerM(), s.Peak, s.rate(), wrong)
}

// The part of the document that a run rewrites; all else in it was written by hand.
const (
	begins = "<!-- measured: rewritten by make bench -->\n"
	ends   = "<!-- end of measured -->\n"
)

// report prints the tables, and puts them into the document if there is one.
func (b *bench) report() error {
	tables := b.tables()
	fmt.Print("\n" + tables)
	if err := b.draw(); err != nil {
		return err
	}
	if b.out == "" {
		return nil
	}
	old, err := os.ReadFile(b.out)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.WriteFile(b.out, replaced(old, machine(b.dir)+"\n"+b.how()+"\n"+tables), 0o644)
}

// replaced puts text in the place of what was measured before, or behind all else.
func replaced(old []byte, text string) []byte {
	before, rest, found := bytes.Cut(old, []byte(begins))
	_, after, _ := bytes.Cut(rest, []byte(ends))
	if !found {
		before, after = append(before, '\n'), nil
	}
	return bytes.Join([][]byte{before, []byte(begins), []byte("\n" + text), []byte(ends), after}, nil)
}

// how says how it was measured.
func (b *bench) how() string {
	rounds := "one round"
	if b.runs > 1 {
		rounds = fmt.Sprintf("medians of %d interleaved rounds", b.runs)
	}
	return fmt.Sprintf("%s of %s lines, 46 to 328 bytes each. What is lost, doubled, reordered or torn is never averaged: the worst round counts.\n",
		strings.ToUpper(rounds[:1])+rounds[1:], million(b.lines))
}
