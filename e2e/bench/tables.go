package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// tables are the medians, as they stand in docs/benchmarks.md.
func (b *bench) tables() string {
	var out strings.Builder
	b.tcpTable(&out)
	b.chainTable(&out)
	b.relayTable(&out)
	b.linkTable(&out)
	b.latencyTable(&out)
	b.udpTable(&out)
	b.syslogTable(&out)
	b.layoutTable(&out)
	b.gelfTable(&out)
	b.idleTable(&out)
	b.diskTable(&out)
	b.searchTable(&out)
	b.workTable(&out)
	b.natsTable(&out)
	b.sharingTable(&out)
	b.redisTable(&out)
	b.zmqTable(&out)
	b.relpTable(&out)
	b.sourcesTable(&out)
	b.waitsTable(&out)
	b.crowdTable(&out)
	b.costTable(&out)
	b.goalTable(&out)
	return out.String()
}

// table writes rows under a title, or nothing if there are none.
func table(out *strings.Builder, title string, head []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	rule := make([]string, len(head))
	for i := range rule {
		rule[i] = "---"
	}
	fmt.Fprintf(out, "### %s\n\n", title)
	for _, row := range append([][]string{head, rule}, rows...) {
		fmt.Fprintf(out, "| %s |\n", strings.Join(row, " | "))
	}
	out.WriteByte('\n')
}

func (b *bench) tcpTable(out *strings.Builder) {
	for _, n := range b.conns {
		workload := fmt.Sprintf("tcp %d", n)
		var rows [][]string
		for _, r := range b.results.of(workload) {
			speed := (*sample).speed
			rows = append(rows, []string{r.subject, r.text(speed, "%.2f"),
				b.ratio(r, "copy", speed), b.ratio(r, "rsyslog", speed),
				r.text((*sample).cpuPerM, "%.2f"), r.text((*sample).peak, "%.0f"), r.wrong()})
		}
		title := fmt.Sprintf("Plain TCP, %d connections, %s lines", n, million(b.lines))
		if n == 1 {
			title = fmt.Sprintf("Plain TCP, one connection, %s lines", million(b.lines))
		}
		table(out, title, []string{"", "M lines/s", "x bare copy", "x rsyslog", "CPU s per M", "peak MiB", "lost / doubled / reordered / torn"}, rows)
	}
}

func (b *bench) chainTable(out *strings.Builder) {
	var rows [][]string
	for _, r := range b.results.of("chain") {
		rows = append(rows, []string{r.subject, r.text((*sample).speed, "%.2f"), b.ratio(r, "rsyslog", (*sample).speed),
			r.text((*sample).agentPerM, "%.2f") + " + " + r.text((*sample).cpuPerM, "%.2f"),
			r.text((*sample).agentPeak, "%.0f") + " / " + r.text((*sample).peak, "%.0f"), r.wrong()})
	}
	table(out, "File, agent, collector, file; "+million(b.lines)+" lines (rsyslog: an eighth)",
		[]string{"", "M lines/s", "x rsyslog", "CPU s per M, agent + collector", "peak MiB, agent / collector", "lost / doubled / reordered / torn"}, rows)
}

func (b *bench) latencyTable(out *strings.Builder) {
	var rows [][]string
	for _, workload := range []string{"latency", "latency by agent"} {
		way := map[string]string{"latency": "socket to file", "latency by agent": "file, agent, collector, file"}[workload]
		for _, r := range b.results.of(workload) {
			rows = append(rows, []string{way, r.subject, r.text((*sample).p50, "%.2f"), r.text((*sample).p99, "%.2f")})
		}
	}
	table(out, "Latency at 1,000 lines a second, written to visible in the file", []string{"", "", "p50 ms", "p99 ms"}, rows)
}

func (b *bench) udpTable(out *strings.Builder) {
	var rows [][]string
	for _, workload := range []string{"udp 200k/s", "udp burst"} {
		way := map[string]string{"udp 200k/s": "200,000 a second", "udp burst": "burst of 500,000"}[workload]
		for _, r := range b.results.of(workload) {
			uncounted := "counts none"
			if strings.HasPrefix(r.subject, "fanin") {
				uncounted = r.text((*sample).uncounted, "%.0f")
			}
			rows = append(rows, []string{way, r.subject, r.text((*sample).lostPercent, "%.1f %%"), uncounted,
				r.text((*sample).cpuPerM, "%.2f"), r.text((*sample).peak, "%.0f")})
		}
	}
	table(out, "UDP, a line a datagram", []string{"", "", "lost", "lost and not counted", "CPU s per M", "peak MiB"}, rows)
}

func (b *bench) idleTable(out *strings.Builder) {
	var rows [][]string
	for _, r := range b.results.of("idle 1000") {
		rows = append(rows, []string{r.subject, r.text((*sample).more, "%.1f")})
	}
	table(out, "1,000 idle connections", []string{"", "MiB more"}, rows)
}

func (b *bench) workTable(out *strings.Builder) {
	var rows [][]string
	for _, r := range b.results.of("hand out") {
		rows = append(rows, []string{r.subject, r.text((*sample).speed, "%.2f"), r.text((*sample).cpuPerM, "%.2f"), r.text((*sample).peak, "%.0f")})
	}
	table(out, "Handed out to four workers while they arrive, and acknowledged; "+million(b.lines)+" lines (others than fanin: a sixteenth; ZeroMQ acknowledges nothing)",
		[]string{"", "M lines/s", "CPU s per M", "peak MiB"}, rows)
	rows = nil
	for _, groups := range []int{0, 1, 4} {
		for _, r := range b.results.of(fmt.Sprintf("ingest, %d groups", groups)) {
			rows = append(rows, []string{r.subject, fmt.Sprint(groups), r.text((*sample).speed, "%.2f"),
				fmt.Sprintf("%.2f", b.ratioTo(r, "ingest, 0 groups")), r.text((*sample).peak, "%.0f")})
		}
	}
	table(out, "Taken from 8 connections while groups of four workers read", []string{"", "groups", "M lines/s", "x none", "peak MiB"}, rows)
	rows = nil
	for _, workload := range []string{"7 workers", "8, one stalled"} {
		for _, r := range b.results.of(workload) {
			rows = append(rows, []string{workload, r.text((*sample).speed, "%.2f"), fmt.Sprintf("%.2f", b.ratioTo(r, "7 workers"))})
		}
	}
	table(out, "A worker that takes lines and never answers", []string{"", "M lines/s", "x without it"}, rows)
}

// ratioTo is what a row has of its subject's speed in another workload.
func (b *bench) ratioTo(r row, workload string) float64 {
	base := b.results.find(workload, r.subject)
	if base == nil {
		return math.NaN()
	}
	var values []float64
	for i := range min(len(r.samples), len(base.samples)) {
		values = append(values, r.samples[i].speed()/base.samples[i].speed())
	}
	return median(values)
}

func (b *bench) diskTable(out *strings.Builder) {
	var rows [][]string
	for _, workload := range []string{"disk, 1 writing", "disk, 2 writing"} {
		for _, r := range b.results.of(workload) {
			rows = append(rows, []string{workload, r.text((*sample).rate, "%.0f")})
		}
	}
	for _, workload := range []string{"tcp 8", "chain"} {
		for _, r := range b.results.of(workload) {
			if r.subject == "fanin-commit" {
				rows = append(rows, []string{"fanin-commit, " + workload + " (each byte is written twice)", r.text((*sample).rate, "%.0f")})
			}
		}
	}
	table(out, "What the disk takes, synced at the end", []string{"", "MB/s"}, rows)
}

// ratio is what a row has of another subject's figure: the median of each round's
// ratio, since the rounds differ more than the subjects within one.
func (b *bench) ratio(r row, other string, figure func(*sample) float64) string {
	v := b.ratioOf(r, other, figure)
	if math.IsNaN(v) {
		return "-"
	}
	return fmt.Sprintf("%.2f", v)
}

func (b *bench) ratioOf(r row, other string, figure func(*sample) float64) float64 {
	base := b.results.find(r.workload, other)
	if base == nil {
		return math.NaN()
	}
	var values []float64
	for i := range min(len(r.samples), len(base.samples)) {
		values = append(values, figure(&r.samples[i])/figure(&base.samples[i]))
	}
	return median(values)
}

func million(n int) string {
	if n%1_000_000 == 0 {
		return fmt.Sprintf("%d M", n/1_000_000)
	}
	return fmt.Sprintf("%.2f M", float64(n)/1e6)
}

// median is the middle value, or the mean of the two in the middle.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	n := len(values)
	if n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[n/2]
}
