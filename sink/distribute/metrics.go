package distribute

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counts are totals over all groups.
type counts struct {
	workers, inFlight             atomic.Int64  // now
	members                       atomic.Uint64 // ever, which also numbers them
	breaches, leases, nacks, late atomic.Uint64
	refused                       [len(refusals)]atomic.Uint64
}

// refusals are the reasons why workers are refused.
var refusals = [...]string{
	"certificate", "draining", "greeting", "max_groups", "max_groups_per_ip", "max_workers", "max_workers_per_ip",
	"role", "token", "token_limited", "unencrypted",
}

func (c *counts) refuse(reason string) { c.refused[slices.Index(refusals[:], reason)].Add(1) }

var _ prometheus.Collector = (*Distributor)(nil)

// Describe sends nothing: the metrics describe themselves when they are collected.
func (d *Distributor) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics of all groups.
func (d *Distributor) Collect(out chan<- prometheus.Metric) {
	c := &d.counts
	all := sender{out: out}
	all.gauge("fanin_workers", "Workers connected now.", float64(c.workers.Load()))
	all.counter("fanin_worker_breaches_total",
		"Workers disconnected because they violated the protocol.", c.breaches.Load())
	all.counter("fanin_leases_ended_total", "Times a worker did not answer in time.", c.leases.Load())
	all.counter("fanin_nacked_lines_total", "Lines that workers reported as failed.", c.nacks.Load())
	all.counter("fanin_late_answers_total", "Answers to lines that no longer belonged to the worker.", c.late.Load())
	for i, reason := range refusals {
		of := sender{out, "reason", []string{reason}}
		of.counter("fanin_workers_refused_total", "Workers refused, by reason.", c.refused[i].Load())
	}
	ctx, cancel := context.WithTimeout(d.ctx, 5*time.Second)
	defer cancel()
	groups, err := d.Groups(ctx)
	if err != nil {
		return // the scrape lacks the groups, which shows
	}
	for i := range groups {
		groups[i].collect(out)
	}
}

func (g *GroupStatus) collect(out chan<- prometheus.Metric) {
	of := sender{out, "group", []string{g.Group}}
	of.gauge("fanin_group_workers", "Workers of the group.", float64(g.Workers))
	of.gauge("fanin_group_lag_lines", "Lines that the group has not finished.", float64(g.LagLines))
	of.gauge("fanin_group_lag_bytes", "Bytes of these lines.", float64(g.LagBytes))
	of.gauge("fanin_group_lag_seconds", "Age of the oldest of these lines.", g.LagSeconds)
	of.gauge("fanin_group_in_flight_lines", "Lines at workers, without an answer.", float64(g.InFlight))
	of.counter("fanin_group_accepted_lines_total", "Lines acknowledged.", g.Accepted)
	of.counter("fanin_group_redelivered_lines_total", "Lines handed out again.", g.Redelivered)
	of.counter("fanin_group_dead_lines_total", "Lines written to the dead letters.", g.Dead)
	of.counter("fanin_group_expired_lines_total", "Lines removed before they were finished.", g.Expired)
}

// sender sends metrics that share a label, or have none.
type sender struct {
	out    chan<- prometheus.Metric
	label  string
	values []string
}

func (s sender) gauge(name, help string, v float64) { s.send(prometheus.GaugeValue, name, help, v) }

func (s sender) counter(name, help string, v uint64) {
	s.send(prometheus.CounterValue, name, help, float64(v))
}

func (s sender) send(kind prometheus.ValueType, name, help string, v float64) {
	var labels []string
	if s.label != "" {
		labels = []string{s.label}
	}
	s.out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, labels, nil), kind, v, s.values...)
}
