package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// syslogTags is how many names and processes the messages of a source have.
const syslogTags = 50

// syslogBlock makes blocks of messages of a form, "3164" or "5424", one a line.
func syslogBlock(form string) func(source int) *block {
	return func(source int) *block {
		r := rand.New(rand.NewPCG(1, 1))
		return makeHeaded(source, func() int { return least + r.IntN(most-least+1) }, func(i int) string {
			app, pid := i%syslogTags, 1000+i%syslogTags
			if form == "5424" {
				return fmt.Sprintf("<%d>1 2026-10-11T22:14:15.003Z web%02d app%d %d - - ", 8+i%8, source, app, pid)
			}
			return fmt.Sprintf("<%d>Oct 11 22:14:15 web%02d app%d[%d]: ", 8+i%8, source, app, pid)
		}, "")
	}
}

// parses is whether a subject takes messages of syslog apart in this bench.
func parses(s subject) bool { return s.name == "fanin-none" || s.name == "rsyslog" }

// parsing is a subject that takes messages apart: rsyslog with its default parsers and file
// format.
func (b *bench) parsing(s subject) subject {
	if s.name != "rsyslog" {
		return s
	}
	s.command = func(dir string, port, _ int) (args, env []string, err error) {
		config := fmt.Sprintf(`global(workDirectory="%[1]s" net.enableDNS="off")
module(load="imtcp" maxSessions="2000")
module(load="imudp")
input(type="imtcp" address="127.0.0.1" port="%[2]d")
input(type="imudp" address="127.0.0.1" port="%[2]d" rcvbufSize="8m")
action(type="omfile" file="%[1]s/all.log" template="RSYSLOG_TraditionalFileFormat")
`, dir, port)
		return b.peers.rsyslog(dir, "collector"), b.peers.env, write(dir, "collector.conf", config)
	}
	return s
}

func (b *bench) syslogTable(out *strings.Builder) {
	var rows [][]string
	for _, workload := range []string{"syslog 3164", "syslog 5424", "syslog udp 200k/s"} {
		way := map[string]string{"syslog 3164": "RFC 3164, TCP, 8 connections", "syslog 5424": "RFC 5424, TCP, 8 connections",
			"syslog udp 200k/s": "RFC 3164, UDP, 200,000 a second"}[workload]
		for _, r := range b.results.of(workload) {
			speed := (*sample).speed
			rows = append(rows, []string{way, r.subject, r.text(speed, "%.2f"), b.ratio(r, "rsyslog", speed),
				r.text((*sample).cpuPerM, "%.2f"), r.text((*sample).peak, "%.0f"), r.text((*sample).lostPercent, "%.1f %%"), r.wrong()})
		}
	}
	table(out, fmt.Sprintf("Syslog: messages taken apart, %d tags; %s lines", syslogTags, million(b.lines)),
		[]string{"", "", "M lines/s", "x rsyslog", "CPU s per M", "peak MiB", "lost", "lost / doubled / reordered / torn"}, rows)
}
