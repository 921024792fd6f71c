package distribute

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counts is what is counted over all groups.
type counts struct {
	workers, inFlight             atomic.Int64
	breaches, leases, nacks, late atomic.Uint64
	refused                       [len(refusals)]atomic.Uint64
}

// refusals are why workers are turned away.
var refusals = [...]string{"certificate", "draining", "greeting", "max_groups", "max_groups_per_ip", "max_workers", "max_workers_per_ip"}

func (c *counts) refuse(reason string) { c.refused[slices.Index(refusals[:], reason)].Add(1) }

// sayings keeps peers from filling a disk with our messages: each kind of message
// is logged at most once in ten seconds.
type sayings struct {
	mu   sync.Mutex
	last map[string]time.Time
	kept map[string]int
}

const sayEvery = 10 * time.Second

func (d *Distributor) say(kind, text string, err error, args ...any) {
	s := &d.said
	s.mu.Lock()
	if s.last == nil {
		s.last, s.kept = make(map[string]time.Time), make(map[string]int)
	}
	now := time.Now()
	if now.Sub(s.last[kind]) < sayEvery {
		s.kept[kind]++
		s.mu.Unlock()
		return
	}
	if kept := s.kept[kind]; kept > 0 {
		args = append(args, "like_this_not_shown", kept)
	}
	s.last[kind], s.kept[kind] = now, 0
	s.mu.Unlock()
	d.Log.Warn(text, append([]any{"err", err}, args...)...)
}

const refusedName = "fanin_workers_refused_total"

var _ prometheus.Collector = (*Distributor)(nil)

// Describe sends nothing: what is collected describes itself.
func (d *Distributor) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics of all groups.
func (d *Distributor) Collect(out chan<- prometheus.Metric) {
	send := func(kind prometheus.ValueType, name, help string, v float64, labels ...string) {
		var names []string
		switch {
		case name == refusedName:
			names = []string{"reason"}
		case len(labels) > 0:
			names = []string{"group"}
		}
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, v, labels...)
	}
	c := &d.counts
	send(prometheus.GaugeValue, "fanin_workers", "Workers connected now.", float64(c.workers.Load()))
	for i, reason := range refusals {
		send(prometheus.CounterValue, refusedName, "Workers turned away or refused, by reason.", float64(c.refused[i].Load()), reason)
	}
	send(prometheus.CounterValue, "fanin_worker_breaches_total", "Workers let go because they broke the protocol.", float64(c.breaches.Load()))
	send(prometheus.CounterValue, "fanin_leases_ended_total", "Times a worker did not answer in time.", float64(c.leases.Load()))
	send(prometheus.CounterValue, "fanin_nacked_lines_total", "Lines that workers gave back as not done.", float64(c.nacks.Load()))
	send(prometheus.CounterValue, "fanin_late_answers_total", "Answers to lines that were no longer the worker's.", float64(c.late.Load()))
	ctx, cancel := context.WithTimeout(d.ctx, 5*time.Second)
	defer cancel()
	groups, err := d.Groups(ctx)
	if err != nil {
		return // a scrape without them says it
	}
	for _, g := range groups {
		gauge := func(name, help string, v float64) { send(prometheus.GaugeValue, name, help, v, g.Group) }
		counter := func(name, help string, v uint64) { send(prometheus.CounterValue, name, help, float64(v), g.Group) }
		gauge("fanin_group_workers", "Workers of the group.", float64(g.Workers))
		gauge("fanin_group_lag_lines", "Lines that the group is not done with.", float64(g.LagLines))
		gauge("fanin_group_lag_bytes", "Bytes of them.", float64(g.LagBytes))
		gauge("fanin_group_lag_seconds", "Age of the oldest of them.", g.LagSeconds)
		gauge("fanin_group_in_flight_lines", "Lines at workers, without an answer.", float64(g.InFlight))
		counter("fanin_group_accepted_lines_total", "Lines acknowledged.", g.Accepted)
		counter("fanin_group_redelivered_lines_total", "Lines handed out again.", g.Redelivered)
		counter("fanin_group_dead_lines_total", "Lines put to the dead letters.", g.Dead)
		counter("fanin_group_expired_lines_total", "Lines removed before they were done with.", g.Expired)
	}
}
