package main

import (
	"fmt"
	"strings"
)

// layoutNames are those of the collector, the cheapest first.
var layoutNames = []string{"raw", "syslog", "json"}

// layoutConns is how many connections send the lines that are laid out.
const layoutConns = 8

func layoutWorkload(name string) string { return "layout " + name }

// inLayout takes plain lines, which the file has in a layout.
func (b *bench) inLayout(s subject, name string) (sample, error) {
	s.command = b.fanin("none", fmt.Sprintf("format = %q", name))
	return b.overTCP(s, layoutConns, newBlock, "send", "layout-"+name)
}

func (b *bench) layoutTable(out *strings.Builder) {
	var rows [][]string
	for _, name := range layoutNames {
		for _, r := range b.results.of(layoutWorkload(name)) {
			rows = append(rows, []string{name, r.text((*sample).speed, "%.2f"), fmt.Sprintf("%.2f", b.ratioTo(r, layoutWorkload("raw"))),
				fmt.Sprintf("%.2f", b.ratioTo(r, layoutWorkload("syslog"))), r.text((*sample).cpuPerM, "%.2f"), r.wrong()})
		}
	}
	table(out, fmt.Sprintf("Layouts: plain TCP, %d connections, sync none, %s lines", layoutConns, million(b.lines)),
		[]string{"", "M lines/s", "x raw", "x syslog", "CPU s per M", "lost / doubled / reordered / torn"}, rows)
}
