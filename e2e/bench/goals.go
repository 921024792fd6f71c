package main

import (
	"fmt"
	"math"
	"strings"
)

// goal is a figure that the design asks for.
type goal struct {
	what    string
	value   float64
	bound   float64
	atLeast bool
}

func (g goal) met() bool {
	if g.atLeast {
		return g.value >= g.bound
	}
	return g.value <= g.bound
}

// verdict says by how much a goal was missed.
func (g goal) verdict() string {
	if g.met() {
		return "met"
	}
	if g.bound == 0 {
		return "missed"
	}
	return fmt.Sprintf("missed by %.0f %%", math.Abs(g.value-g.bound)/g.bound*100)
}

func (b *bench) goals() (list []goal) {
	add := func(what string, value, bound float64, atLeast bool) {
		if !math.IsNaN(value) && !math.IsNaN(bound) {
			list = append(list, goal{what, value, bound, atLeast})
		}
	}
	of := func(workload, subject string, figure func(*sample) float64) float64 {
		if r := b.results.find(workload, subject); r != nil {
			return r.median(figure)
		}
		return math.NaN()
	}
	ratio := func(workload, subject, other string) float64 {
		if r := b.results.find(workload, subject); r != nil {
			return b.ratioOf(*r, other, (*sample).speed)
		}
		return math.NaN()
	}
	add("sync none, 8 connections: times the bare copy", ratio("tcp 8", "fanin-none", "copy"), 0.5, true)
	add("sync none, 8 connections: times rsyslog", ratio("tcp 8", "fanin-none", "rsyslog"), 5, true)
	for _, n := range []int{1, 8, 64} {
		workload := fmt.Sprintf("tcp %d", n)
		add(fmt.Sprintf("sync none, %d connections: M lines/s", n), of(workload, "fanin-none", (*sample).speed), map[int]float64{1: 2.5, 8: 4, 64: 4}[n], true)
		add(fmt.Sprintf("sync none, %d connections: CPU s per M", n), of(workload, "fanin-none", (*sample).cpuPerM), 0.30, false)
		add(fmt.Sprintf("sync none, %d connections: peak MiB", n), of(workload, "fanin-none", (*sample).peak), 48, false)
	}
	disk := of("disk, 1 writing", "disk", (*sample).rate)
	both := of("disk, 2 writing", "disk", (*sample).rate)
	add("sync commit, 8 connections: MB/s (the lesser of 0.6 of the disk and 0.8 of half its parallel rate)",
		of("tcp 8", "fanin-commit", (*sample).rate), min(0.6*disk, 0.4*both), true)
	for _, s := range []string{"fanin-none", "fanin-commit"} {
		add(s+", agent chain: M lines/s", of("chain", s, (*sample).speed), 2, true)
		add(s+", agent chain: CPU s per M, agent", of("chain", s, (*sample).agentPerM), 0.2, false)
		add(s+", agent chain: CPU s per M, collector", of("chain", s, (*sample).cpuPerM), 0.4, false)
		add(s+", agent chain: peak MiB, agent", of("chain", s, (*sample).agentPeak), 32, false)
		add(s+", agent chain: peak MiB, collector", of("chain", s, (*sample).peak), 48, false)
	}
	add("1,000 idle connections: MiB more", of("idle 1000", "fanin-none", (*sample).more), 12, false)
	add("sync none: p99 ms", of("latency", "fanin-none", (*sample).p99), 1.5, false)
	add("sync commit: p99 ms", of("latency", "fanin-commit", (*sample).p99), 4, false)
	add("sync commit, by agent: p99 ms", of("latency by agent", "fanin-commit", (*sample).p99), 6, false)
	add("UDP 200,000 a second: lost %", of("udp 200k/s", "fanin-none", (*sample).lostPercent), 0, false)
	for _, form := range []string{"syslog 3164", "syslog 5424"} {
		add(form+", sync none, 8 connections: times rsyslog", ratio(form, "fanin-none", "rsyslog"), 3, true)
		add(form+", sync none, 8 connections: CPU s per M", of(form, "fanin-none", (*sample).cpuPerM), 0.5, false)
	}
	add("syslog over UDP, 200,000 a second: lost %", of("syslog udp 200k/s", "fanin-none", (*sample).lostPercent), 0, false)
	to := func(workload, subject, other string) float64 {
		if r := b.results.find(workload, subject); r != nil {
			return b.ratioTo(*r, other)
		}
		return math.NaN()
	}
	add("layout syslog: times raw", to(layoutWorkload("syslog"), "fanin-none", layoutWorkload("raw")), 0.8, true)
	add("layout json: times syslog", to(layoutWorkload("json"), "fanin-none", layoutWorkload("syslog")), 0.7, true)
	add("GELF over UDP, 100,000 a second: lost %", of("gelf udp 100k/s", "fanin-none", (*sample).lostPercent), 0, false)
	add("search: MB/s of text", of("search", "fanin-none", (*sample).rate), 1000, true)
	add("search: MB of text per CPU s", of("search", "fanin-none", (*sample).ratePerCPU), 500, true)
	add("histogram: ms", of("search", "fanin-none", (*sample).p50), 300, false)
	add("UDP burst of 500,000: lost %", of("udp burst", "fanin-none", (*sample).lostPercent), 0, false)
	for _, s := range []string{"fanin-none", "fanin-commit"} {
		add(s+", handed out to 4 workers: M lines/s", of("hand out", s, (*sample).speed), 1, true)
		add(s+", forwarded by a relay: times the agent chain", to(relayed, s, "chain"), 0.8, true)
		add(s+", taken while 4 groups read: times without", to("ingest, 4 groups", s, "ingest, 0 groups"), 0.8, true)
	}
	add("one stalled worker of 8: times without it", to("8, one stalled", "fanin-none", "7 workers"), 0.95, true)
	foreignGoals(add, of, ratio)
	b.linkGoals(add, of)
	waitsGoals(add, of, ratio)
	crowdGoals(add, of)
	add("20 GiB that no worker took: MiB more", of("backlog", "fanin-none", (*sample).more), 16, false)
	add("20 GiB, compressed: ms to the first line since a time, the worst of 20", of("backlog", "fanin-none", (*sample).p99), 10, false)
	return list
}

// foreignGoals are those of other programs' protocols, and of an agent's sources.
func foreignGoals(add func(what string, value, bound float64, atLeast bool),
	of func(workload, subject string, figure func(*sample) float64) float64, ratio func(workload, subject, other string) float64) {
	add("core NATS, answered after the commit: M lines/s", of("nats", "core", (*sample).speed), 1, true)
	add("JetStream, 3 replicas: M lines/s", of("nats", "JetStream, 3 replicas", (*sample).speed), 0.5, true)
	shared := ratio(sharing, threeCollectors, oneCollector)
	add("JetStream, 3 collectors, 16 partitions: times one collector", shared, 0.9, true)
	add("the same, over what the server alone gives 16 consumers, times one", shared/ratio(sharing, sixteenConsumers, oneConsumer), 0.9, true)
	add("Redis stream to file: M lines/s", of(redisIn, "fanin-none", (*sample).speed), 0.5, true)
	add("file to Redis stream, no AOF: M lines/s", of(redisOut, "fanin-none", (*sample).speed), 0.2, true)
	add("file to Redis stream, appendfsync always: times redis-benchmark", ratio(redisAlways, "fanin-none", "redis-benchmark"), 0.8, true)
	add("one libzmq PUSH to file: M messages/s", of("zmq in", "fanin-none", (*sample).speed), 1.8, true)
	add("PUB to 10 libzmq subscribers: M messages/s in all", of("zmq pub", "fanin-none", (*sample).speed), 1, true)
	add("a pipe into fanin-agent -: times send", ratio(sourcePipe, "pipe", "send"), 0.6, true)
	add("CRI, agent chain: M lines/s", of(sourceCRI, "cri", (*sample).speed), 2, true)
}

// waitsGoals are those of what an operator waits for.
func waitsGoals(add func(what string, value, bound float64, atLeast bool),
	of func(workload, subject string, figure func(*sample) float64) float64, ratio func(workload, subject, other string) float64) {
	add("verify, plain log: MB/s", of(verifyPlain, ourVerify, (*sample).rate), 1500, true)
	add("cat, plain log: MB/s", of(catPlain, ourCat, (*sample).rate), 1000, true)
	add("verify, archives: times one klauspost reader", of(verifyArchives, ourVerify, (*sample).rate)/of(verifyArchives, oneReader, (*sample).rate), 1.5, true)
	add("start after kill -9, 100,000 streams, a full ring: s", of(startAgain, "fanin-commit", (*sample).seconds), 1, false)
	add("first line since a time in compressed files: worst ms", of("search", "fanin-none", (*sample).p99), 10, false)
	add("intake while files are compressed: times without", ratio(compressing, gzipFiles, plainFiles), 0.95, true)
	add("send: times following", ratio(sourcePipe, "send", "follow"), 0.95, true)
}

func (b *bench) goalTable(out *strings.Builder) {
	var rows [][]string
	for _, g := range b.goals() {
		sign := "<="
		if g.atLeast {
			sign = ">="
		}
		rows = append(rows, []string{g.what, fmt.Sprintf("%s %.4g", sign, g.bound), fmt.Sprintf("%.3g", g.value), g.verdict()})
	}
	table(out, "The goals", []string{"", "goal", "measured", ""}, rows)
}
