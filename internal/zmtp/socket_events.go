package zmtp

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics makes the metrics of sockets; *ingest.Metrics is one. Sockets of a kind share
// theirs.
type Metrics interface {
	Counter(name, help, label, value string) prometheus.Counter
	Gauge(name, help string) prometheus.Gauge
}

// events counts what happens to the connections of a socket.
type events struct {
	connections, acceptErrors, reconnects prometheus.Counter
	opened                                prometheus.Gauge
	rejected                              map[string]prometheus.Counter // by reason: a fixed few
}

// rejections are the reasons for which a socket closes connections.
func rejections() []string {
	all := []string{"max_conns"}
	for _, r := range []Reason{NotZMTP, OldVersion, OtherSecurity, Credentials, OtherType, Malformed, Oversized,
		Replayed, TimedOut, Unread, Refused, Ended} {
		all = append(all, string(r))
	}
	return all
}

// init makes all counters, so that they are there before they count. Without m nothing is
// counted.
func (e *events) init(m Metrics, of SocketType) {
	if m == nil {
		return
	}
	e.connections = m.Counter("fanin_zmq_connections_total", "ZeroMQ connections whose handshake was completed.",
		"socket", strings.ToLower(string(of)))
	e.acceptErrors = m.Counter("fanin_zmq_accept_errors_total",
		"Failed attempts to accept a ZeroMQ connection.", "", "")
	e.reconnects = m.Counter("fanin_zmq_reconnects_total",
		"Attempts to connect to a ZeroMQ peer that failed, and connections to one that ended.", "", "")
	e.opened = m.Gauge("fanin_zmq_open_connections", "ZeroMQ connections open now.")
	e.rejected = make(map[string]prometheus.Counter)
	for _, reason := range rejections() {
		e.rejected[reason] = m.Counter("fanin_zmq_rejected_connections_total",
			"ZeroMQ connections that were closed before or in their handshake, by reason.", "reason", reason)
	}
}

func inc(c prometheus.Counter) {
	if c != nil {
		c.Inc()
	}
}

func (e *events) ready()               { inc(e.connections) }
func (e *events) acceptError()         { inc(e.acceptErrors) }
func (e *events) reconnect()           { inc(e.reconnects) }
func (e *events) reject(reason string) { inc(e.rejected[reason]) }

func (e *events) open(n float64) {
	if e.opened != nil {
		e.opened.Add(n)
	}
}
