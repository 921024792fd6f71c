package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// gelfPerSecond is how many messages of GELF are sent a second.
const gelfPerSecond = 100_000

// gelfBlock is a block of messages of GELF, one a line, as Docker sends them.
func gelfBlock() *block {
	r := rand.New(rand.NewPCG(1, 1))
	return makeHeaded(0, func() int { return least + r.IntN(most-least+1) }, func(i int) string {
		return fmt.Sprintf(`{"version":"1.1","host":"web00","level":%d,"timestamp":1795000000.%03d,"_container_name":"app%d","short_message":"`,
			i%8, i%1000, i%syslogTags)
	}, `"}`)
}

// gelf sends messages of GELF as datagrams.
func (b *bench) gelf(s subject, lines int) (sample, error) {
	s.command = func(dir string, port, _ int) (args, env []string, err error) {
		config := fmt.Sprintf("[collector]\nstate = \"state\"\n[collector.log]\npath = \"all.log\"\nsync = \"none\"\nrotate_size = \"off\"\nkeep_bytes = \"off\"\n"+
			"[[collector.tcp]]\nlisten = %q\n[[collector.gelf]]\nlisten = %[1]q\n", address(port))
		return []string{b.collector, "--config", "collector.toml"}, nil, write(dir, "collector.toml", config)
	}
	return b.asDatagrams(s, lines, gelfPerSecond, gelfBlock(), "gelf-datagrams")
}

func (b *bench) gelfTable(out *strings.Builder) {
	var rows [][]string
	for _, r := range b.results.of("gelf udp 100k/s") {
		rows = append(rows, []string{r.subject, r.text((*sample).lostPercent, "%.1f %%"), r.text((*sample).uncounted, "%.0f"),
			r.text((*sample).cpuPerM, "%.2f"), r.text((*sample).peak, "%.0f"), r.wrong()})
	}
	table(out, fmt.Sprintf("GELF over UDP, 100,000 messages a second, %d names", syslogTags),
		[]string{"", "lost", "lost and not counted", "CPU s per M", "peak MiB", "lost / doubled / reordered / torn"}, rows)
}
