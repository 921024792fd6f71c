package zmq

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/ingest"
	"fanin/internal/zmtp"
)

// counts counts messages, among what all inputs of a process count.
type counts struct {
	messages, empty, dropped, skipped     prometheus.Counter
	missing, restarts, unnumbered, breaks prometheus.Counter
	unread, crowded, forgotten            prometheus.Counter
}

func (c *counts) init(m *ingest.Metrics, of zmtp.SocketType) {
	socket := strings.ToLower(string(of))
	counter := func(name, help string) prometheus.Counter { return m.Counter(name, help, "socket", socket) }
	c.messages = counter("fanin_zmq_messages_total", "ZeroMQ messages that were read.")
	c.empty = counter("fanin_zmq_empty_frames_total", "Frames of ZeroMQ messages without a line.")
	c.dropped = counter("fanin_zmq_dropped_messages_total",
		"ZeroMQ messages that were dropped because they came faster than they could be written. A PULL never drops.")
	c.skipped = counter("fanin_zmq_skipped_messages_total", "ZeroMQ messages larger than max_message: not kept.")
	c.breaks = counter("fanin_zmq_breaks_total",
		"ZeroMQ connections that broke, so that messages may be missing.")
	c.crowded = counter("fanin_zmq_crowded_total",
		"ZeroMQ peers disconnected because a large message came too slowly while others waited for memory.")
	c.unread = counter("fanin_zmq_unread_bytes_total",
		"Bytes that had arrived from ZeroMQ peers and were not read when the collector stopped.")
	c.missing = m.Counter("fanin_zmq_missing_messages_total",
		"ZeroMQ messages that are missing, as the counters in the others show (sequence = true).", "", "")
	c.restarts = m.Counter("fanin_zmq_restarts_total",
		"Times that the counter in a topic's ZeroMQ messages began anew (sequence = true).", "", "")
	c.forgotten = m.Counter("fanin_zmq_forgotten_topics_total",
		"Topics of ZeroMQ publishers whose counters were forgotten, because there were too many (sequence = true).",
		"", "")
	c.unnumbered = m.Counter("fanin_zmq_unnumbered_messages_total",
		"ZeroMQ messages without a counter, where one is expected (sequence = true).", "", "")
}
