package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// figureName is the file beside the document that has the figure.
const figureName = "cost.svg"

// costConns are the numbers of connections over which each number of lines comes.
var costConns = []int{1, 100, 10_000}

// wholeNumbers reads numbers such as "1e6,1e7".
func wholeNumbers(text string) (list []int, err error) {
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.ParseFloat(word, 64)
		if err != nil || n < 1 || n > 1e12 || n != float64(int(n)) {
			return nil, fmt.Errorf("%q is no number of lines", word)
		}
		list = append(list, int(n))
	}
	return list, nil
}

func costName(conns, lines int) string {
	return fmt.Sprintf("cost, %d connections, %d lines", conns, lines)
}

// costWorkloads measure what lines cost, however many there are and over how many connections they come.
// Files are rotated, and removed when the log has 2 GiB; they are not compressed, which has a measurement of
// its own.
func (b *bench) costWorkloads() (list []workload) {
	s := subject{name: "fanin-none", ours: true, command: adjusted(adjusted(b.fanin("none"),
		"rotate_size = \"off\"\nkeep_bytes = \"off\"", "rotate_size = \"256MiB\"\nkeep_bytes = \"2GiB\"\ncompress = \"none\""),
		"[[collector.tcp]]\n", "[[collector.tcp]]\nmax_conns = 11000\nmax_conns_per_ip = 11000\n")}
	for _, lines := range b.sizes {
		for _, conns := range costConns {
			list = append(list, workload{kind: "tcp", name: costName(conns, lines), fits: func(subject) bool { return true },
				measure: func(s subject) (sample, error) { return b.counted(s, conns, lines, "plain") }, subjects: []subject{s}})
		}
	}
	return list
}

// costTable has what lines cost at each size.
func (b *bench) costTable(out *strings.Builder) {
	var rows [][]string
	for _, lines := range b.sizes {
		for _, conns := range costConns {
			for _, r := range b.results.of(costName(conns, lines)) {
				rows = append(rows, []string{million(lines), thousands(conns), r.text((*sample).speed, "%.2f"),
					r.text((*sample).cpuPerM, "%.3f"), r.text((*sample).peak, "%.0f")})
			}
		}
	}
	table(out, "Cost over size: plain TCP, sync none, files of 256 MiB, 2 GiB of them kept", []string{"lines", "connections",
		"M lines/s", "CPU s per M", "peak MiB"}, rows)
	if len(rows) > 0 {
		fmt.Fprintf(out, "![Lines a second, CPU time and memory over the number of lines](%s)\n\n", figureName)
	}
}

// draw writes the figure of what lines cost, if it was measured and is wanted.
func (b *bench) draw() error {
	if b.figure == "" {
		return nil
	}
	f := figure{sizes: b.sizes, panels: []panel{{title: "M lines/s", of: (*sample).speed},
		{title: "CPU seconds per M lines", of: (*sample).cpuPerM}, {title: "peak MiB", of: (*sample).peak}}}
	measured := false
	for i := range f.panels {
		p := &f.panels[i]
		for _, conns := range costConns {
			var values []float64
			for _, lines := range b.sizes {
				if r := b.results.find(costName(conns, lines), "fanin-none"); r != nil {
					values, measured = append(values, r.median(p.of)), true
				}
			}
			p.series = append(p.series, values)
		}
	}
	if !measured {
		return nil
	}
	return os.WriteFile(b.figure, f.svg(), 0o644)
}
