package gelf

import (
	"github.com/prometheus/client_golang/prometheus"

	"fanin/ingest"
)

// metrics are the counters of GELF, among those that all inputs of a process share.
type metrics struct{ *ingest.Metrics }

// prepare makes all metrics, so that they are there before they count.
func (m metrics) prepare() {
	m.notGELF()
	m.refusedTimes()
	m.parts()
	m.incompleteBytes()
	for _, reason := range lostReasons() {
		m.lost(reason)
	}
	for _, reason := range chunkReasons() {
		m.chunks(reason)
	}
}

func (m metrics) notGELF() prometheus.Counter {
	return m.Counter("fanin_gelf_text_messages_total",
		"Messages that are not GELF, or have no text: each is a line as it came.", "", "")
}

func (m metrics) refusedTimes() prometheus.Counter {
	return m.Counter("fanin_gelf_refused_times_total",
		"Times of messages that lines do not show: no times, or more than 24 hours off.", "", "")
}

func (m metrics) parts() prometheus.Counter {
	return m.Counter("fanin_gelf_parted_messages_total", "Messages of connections that were too large, or whose end "+
		"did not come: their parts are lines as they came.", "", "")
}

func (m metrics) incompleteBytes() prometheus.Gauge {
	return m.Gauge("fanin_gelf_incomplete_bytes", "Memory of messages of which chunks are missing.")
}

func (m metrics) lost(reason string) prometheus.Counter {
	return m.Counter("fanin_gelf_lost_messages_total", "Messages that are lost, by reason: a chunk did not come in "+
		"5 s, there was no memory for the chunks, the message is too large or is not packed well.", "reason", reason)
}

func (m metrics) chunks(reason string) prometheus.Counter {
	return m.Counter("fanin_gelf_ignored_chunks_total", "Chunks that were ignored, by reason: they came twice or "+
		"too late, contradict the chunks before them, or have a number or a count that cannot be.", "reason", reason)
}
