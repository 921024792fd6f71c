package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"fanin/e2e/scenario"
)

// crowdTrial is a crowd whose figures are in the tables. It is measured by the mode "crowd" in a process
// of its own, which may be bound to one processor.
type crowdTrial struct {
	agents  int
	subject string
	args    []string
}

// one is a line in a batch of its own, as most are of which agents send a few a second.
var one = []string{"-rate", "19", "-burst", "1", "-restarts", "0", "-kills", "0"}

// crowdTrials are the crowds.
func crowdTrials(quick bool) []crowdTrial {
	steady := 2 * time.Minute
	if quick {
		steady = 10 * time.Second
	}
	length := func(n int) []string { return []string{"-for", (time.Duration(n) * steady).String()} }
	with := func(lists ...[]string) (all []string) {
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	split, tls := []string{"-split", "-kills", "1"}, []string{"-tls"}
	return []crowdTrial{
		{200, "none, 19 lines/s each, no bursts", with(one, []string{"-for", "30s", "-sync", "none"})},
		{1000, "none", with(length(1), []string{"-sync", "none"})},
		{1000, "commit", length(1)},
		{crowdMost, crowdPlain, with(length(2), split)},
		{crowdMost, crowdTLS, with(length(2), split, tls)},
		{crowdMost, crowdAnew, with(length(1), split, tls, []string{"-resume=false"})},
	}
}

// The subjects of the largest crowd.
const (
	crowdMost  = 10_000
	crowdPlain = "commit"
	crowdTLS   = "commit, TLS"
	crowdAnew  = "commit, TLS, none resumes"
)

func crowdName(agents int) string { return fmt.Sprintf("crowd, %d agents", agents) }

// crowdWorkloads measure many agents that send a little each.
func (b *bench) crowdWorkloads() (list []workload) {
	for _, c := range crowdTrials(b.quick) {
		list = append(list, workload{kind: "crowd", name: crowdName(c.agents), fits: func(subject) bool { return true },
			measure:  func(subject) (sample, error) { return b.crowd(c) },
			subjects: []subject{{name: c.subject, ours: true, command: b.fanin("none")}}})
	}
	return list
}

// crowd measures one crowd.
func (b *bench) crowd(c crowdTrial) (r sample, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	file := filepath.Join(b.dir, "crowd.json")
	defer os.Remove(file)
	day := exec.Command(self, append([]string{"crowd", "-agents", fmt.Sprint(c.agents), "-dir", b.dir, "-collector",
		b.collector, "-report", file}, c.args...)...)
	day.Stdout, day.Stderr = os.Stderr, os.Stderr
	if err := day.Run(); err != nil {
		return r, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return r, err
	}
	d := new(scenario.CrowdReport)
	if err := json.Unmarshal(text, d); err != nil {
		return r, err
	}
	r.tally = tally{d.Lines, d.Lost, d.Doubled, d.Reordered, d.Torn}
	r.Seconds, r.CPU, r.AgentCPU = d.Took.Seconds(), d.Collector.CPU.Seconds(), d.Crowd.Seconds()
	r.P50, r.P99, r.Peak = d.P50.Seconds()*1000, d.P99.Seconds()*1000, float64(d.Collector.Peak)/(1<<20)
	r.Batches, r.More, r.Back = d.Batches, float64(d.Behind[1]-d.Behind[0]), d.Back.Seconds()
	return r, nil
}

// crowdTable has what crowds cost.
func (b *bench) crowdTable(out *strings.Builder) {
	var rows [][]string
	for _, n := range []int{200, 1000, crowdMost} {
		for _, r := range b.results.of(crowdName(n)) {
			rows = append(rows, []string{thousands(n), r.subject, r.text((*sample).speed, "%.3f"), r.text((*sample).perBatch, "%.1f"),
				r.text((*sample).cores, "%.2f"), r.text((*sample).agentPerM, "%.1f"), r.text((*sample).p50, "%.0f") + " / " + r.text((*sample).p99, "%.0f"),
				r.text((*sample).peak, "%.0f"), r.text((*sample).back, "%.1f"), r.wrong()})
		}
	}
	table(out, "A crowd of agents, 20 lines a second each", []string{"agents", "", "M lines/s", "us of CPU a batch", "processors", "us a line, all agents",
		"p50 / p99 ms", "peak MiB", "all back, s", "lost / doubled / reordered / torn"}, rows)
}

// crowdGoals are those of crowds.
func crowdGoals(add func(what string, value, bound float64, atLeast bool),
	of func(workload, subject string, figure func(*sample) float64) float64) {
	add("200 agents, a batch for each line: us of CPU a batch", of(crowdName(200), "none, 19 lines/s each, no bursts", (*sample).perBatch), 15, false)
	add("1,000 agents, none: p99 ms", of(crowdName(1000), "none", (*sample).p99), 50, false)
	add("1,000 agents, commit: p99 ms", of(crowdName(1000), "commit", (*sample).p99), 100, false)
	for _, c := range []struct {
		subject string
		memory  float64
	}{{crowdPlain, 300}, {crowdTLS, 600}, {crowdAnew, 600}} {
		name := func(figure string) string { return "10,000 agents, " + c.subject + ": " + figure }
		figure := func(f func(*sample) float64) float64 { return of(crowdName(crowdMost), c.subject, f) }
		add(name("p99 ms"), figure((*sample).p99), 500, false)
		add(name("peak MiB"), figure((*sample).peak), c.memory, false)
		add(name("s until all are back after kill -9"), figure((*sample).back), 15, false)
		add(name("us a line, all agents"), figure((*sample).agentPerM), 5, false)
		add(name("lines that wait, more at the end than at the beginning"), figure((*sample).more), crowdMost, false)
	}
}
