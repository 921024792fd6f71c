package agent

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// metric is a metric of Prometheus, with its samples.
//
// The agent writes the text format itself: the usual library would make the program, which
// runs on every machine, a fifth larger.
type metric struct {
	name, kind, help string
	samples          []sample
}

// sample is a value, with pairs of a label's name and its value.
type sample struct {
	value  float64
	labels []string
}

// countHelp says what each of the agent's counts is: those of `status`, of docs/metrics.md,
// and of the metrics.
var countHelp = map[string]string{
	"bytes": "Bytes of files acknowledged.",
	"closed_idle_files": "Times that a file was closed because more files are followed than may " +
		"be open.",
	"divided_records": "Records of several lines that end at `max_lines` or `max_bytes`, so " +
		"that their rest is another record.",
	"hole_bytes":    "Bytes of NULs that were skipped as holes.",
	"ignored_files": "Files that the last look found, and that `ignore_older` leaves alone.",
	"journal_lines": "Lines of the journal acknowledged; `lines` has them too.",
	"journal_missing_entries": "Entries that the journal did not have any more, or that the agent may " +
		"not read.",
	"journal_restarts":            "Times that journalctl was started again.",
	"journal_reused_numbers":      "Times that the journal gave a number again that another entry had.",
	"journal_short_messages":      "Messages of the journal longer than 8 MiB, whose end was left out.",
	"journal_suppressed_messages": "Messages that journald did not store, as it says itself.",
	"lines":                       "Lines of files and of the journal acknowledged.",
	"maybe_doubled_bytes":         "Bytes that may be in the log twice.",
	"missing_files": "Files that cannot be found now; their streams resume when the files are " +
		"found, and end after `forget`.",
	"read_directories": "Directories that the last look read for patterns; it reads at most 100,000.",
	"refused_batches":  "Times that the collector refused lines of a file.",
	"replaced_files":   "Files that were replaced by another version.",
	"skipped_bytes": "Bytes that were not sent because an earlier incarnation of the log " +
		"already has them.",
	"split_lines":              "Lines longer than allowed that were split, with a mark.",
	"spool_acknowledged_lines": "Lines of spools acknowledged.",
	"spool_bytes":              "Bytes of these lines.",
	"spool_damaged_bytes": "Bytes of spools that are no lines: damaged, or not synced before a " +
		"power cut.",
	"spool_dropped_bytes": "Bytes of these lines.",
	"spool_dropped_lines": "Lines dropped from full spools with `when_full = \"drop_oldest\"`.",
	"spool_lines":         "Lines of standard input and sockets that were taken into a spool.",
	"spool_skipped_bytes": "Bytes of spools that an earlier incarnation of the log already has.",
	"truncated_files":     "Files that no longer had the bytes that were sent of them.",
	"unfit_files":         "Files refused because they are no logs.",
	"unfit_lines": "Lines that were not in the format of their file, and were sent as they " +
		"are.",
	"unix_connections":         "Connections to sockets now.",
	"unix_messages":            "Messages received on sockets.",
	"unix_refused_connections": "Connections closed because there were `max_conns`.",
	"unix_truncated_messages":  "Datagrams longer than 1 MiB, whose end is lost.",
	"unseen_files": "Files that were rotated before the agent saw them, and were sent all " +
		"the same.",
	"unsure_files":   "Files of which the agent could not determine what was sent before.",
	"vanished_files": "Files that could not be found when they were needed.",
	"waiting_files": "Files that the last look found, and that wait because `max_files` are " +
		"followed.",
	"watched_directories": "Directories that the kernel watches for the agent; at most 16,384.",
	"wide_files": "Files in another encoding than their table says, such as UTF-16 without " +
		"`encoding`.",
}

// gauges are the counts that say how many there are now, or at the last look.
var gauges = []string{"missing_files", "ignored_files", "waiting_files", "read_directories", "watched_directories",
	"unix_connections"}

// metrics answers with all metrics in Prometheus' text format, version 0.0.4.
func (a *agent) metrics(w http.ResponseWriter, _ *http.Request) {
	st := a.status()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	io.WriteString(w, metricsText(append(st.metrics(), a.renewer.metrics()...))) // the client may be gone
}

// metrics makes the metrics of a status.
func (st *status) metrics() []metric {
	connected := 1.0
	if st.Trouble != "" {
		connected = 0
	}
	all := []metric{
		{"fanin_agent_build_info", "gauge", "Always 1; the label is the version of the program.",
			[]sample{{1, []string{"version", st.Version}}}},
		{"fanin_agent_connected", "gauge", "1 while there is a connection to the collector.",
			[]sample{{connected, nil}}},
		{"fanin_agent_start_time_seconds", "gauge", "When the agent started, in seconds since 1970.",
			[]sample{{float64(st.Since.UnixMilli()) / 1000, nil}}},
	}
	all = append(append(all, sourceMetrics(st.Sources)...), st.Compression.metrics()...)
	for _, name := range slices.Sorted(maps.Keys(st.Counts)) {
		m := metric{"fanin_agent_" + name, "gauge", countHelp[name], []sample{{float64(st.Counts[name]), nil}}}
		if !slices.Contains(gauges, name) {
			m.name, m.kind = m.name+"_total", "counter"
		}
		all = append(all, m)
	}
	return all
}

// sourceMetrics are the metrics of sources, by their kinds: no label names a file.
func sourceMetrics(sources []sourceStatus) []metric {
	type sum struct {
		bytes, seconds float64
		states         map[string]int
	}
	kinds := make(map[string]*sum)
	kind := func(name string) *sum {
		if kinds[name] == nil {
			kinds[name] = &sum{states: map[string]int{current: 0, behind: 0, stuck: 0}}
		}
		return kinds[name]
	}
	kind("file") // also before there is one
	for _, s := range sources {
		k := kind(s.Kind)
		k.bytes += float64(s.LagBytes)
		k.seconds = max(k.seconds, s.LagSeconds)
		k.states[s.State]++
	}
	count := metric{"fanin_agent_sources", "gauge", "Sources, by what they are and whether their lines wait.", nil}
	bytes := metric{"fanin_agent_lag_bytes", "gauge", "Bytes of sources that are not acknowledged.", nil}
	seconds := metric{"fanin_agent_lag_seconds", "gauge",
		"For how long the line that has waited longest for its acknowledgement has waited, at least.", nil}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		k := kinds[kind]
		for _, state := range slices.Sorted(maps.Keys(k.states)) {
			n := float64(k.states[state])
			count.samples = append(count.samples, sample{n, []string{"kind", kind, "state", state}})
		}
		bytes.samples = append(bytes.samples, sample{k.bytes, []string{"kind", kind}})
		seconds.samples = append(seconds.samples, sample{k.seconds, []string{"kind", kind}})
	}
	return []metric{count, bytes, seconds}
}

// metricsText writes metrics in the text format. Names and labels are the agent's own.
func metricsText(all []metric) string {
	var b strings.Builder
	for _, m := range all {
		b.WriteString("# HELP " + m.name + " " + m.help + "\n# TYPE " + m.name + " " + m.kind + "\n")
		for _, s := range m.samples {
			b.WriteString(m.name)
			for i := 0; i < len(s.labels); i += 2 {
				b.WriteString(fmt.Sprintf("%c%s=%q", "{,"[min(i, 1)], s.labels[i], s.labels[i+1]))
			}
			if len(s.labels) > 0 {
				b.WriteByte('}')
			}
			b.WriteString(fmt.Sprintf(" %g\n", s.value))
		}
	}
	return b.String()
}
