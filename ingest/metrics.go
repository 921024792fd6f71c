package ingest

import (
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
)

// The inputs that batches and metrics name.
const (
	inputTCP      = "tcp"
	inputAgent    = "agent"
	inputUDP      = "udp"
	inputUDPAgent = "udp-agent"

	inputNATS      = "nats"
	inputNATSAgent = "nats-agent"
)

// Metrics counts what comes in. A listener has its own unless it is given one
// to share: two listeners of a kind must share, and then the Metrics, not the
// listeners, is what to register.
type Metrics struct {
	tcp, agent, udp, udpAgent *input

	plainConns, agentConns prometheus.Counter
	openConns, agents      prometheus.Gauge
	rejected               map[string]prometheus.Counter // by reason: a fixed few
	acceptErrors, frames   prometheus.Counter
	slowed                 prometheus.Counter

	datagrams, empty           prometheus.Counter
	kernelDrops, atShutdown    prometheus.Counter
	refusedDatagrams, overRate prometheus.Counter
	queueWaits                 prometheus.Counter
	queueBytes, receiveBufSize prometheus.Gauge

	nats, natsAgent                      *input
	natsMessages, natsEmpty, natsRepeats prometheus.Counter
	natsRejected                         map[string]prometheus.Counter // by reason: a fixed few
	natsRefused                          map[string]prometheus.Counter // whether it is kept
	natsKept                             prometheus.Gauge
	natsDrops, natsReread, natsMissed    prometheus.Counter
	dropped                              dropped

	ofTCP, ofUDP, ofNATS []prometheus.Collector
}

// input counts the lines of one way in.
type input struct {
	lines, bytes, split, unsure prometheus.Counter
}

func (i *input) add(lines, bytes int) {
	i.lines.Add(float64(lines))
	i.bytes.Add(float64(bytes))
}

// reasons why a connection is closed by the collector.
var reasons = [...]string{
	"max_conns", "max_conns_per_ip", "displaced", "tls", "not_tls", "http", "handshake", "idle", "timeout", "protocol",
	"version", "agent_id", "certificate", "host", "taken_over", "room", "refused", "draining", "unknown",
}

// NewMetrics makes counters for any number of listeners to share.
func NewMetrics() *Metrics {
	m := &Metrics{rejected: make(map[string]prometheus.Counter)}
	tcp, udp := factory{&m.ofTCP}, factory{&m.ofUDP}

	m.tcp, m.agent = tcp.input(inputTCP), tcp.input(inputAgent)
	const conns = "Connections accepted, by who spoke."
	m.plainConns = tcp.counter("fanin_connections_total", conns, "kind", "plain")
	m.agentConns = tcp.counter("fanin_connections_total", conns, "kind", "agent")
	m.openConns = tcp.gauge("fanin_open_connections", "Connections open now.")
	m.agents = tcp.gauge("fanin_connected_agents", "Agents connected now.")
	m.acceptErrors = tcp.counter("fanin_accept_errors_total", "Failed attempts to accept a connection.", "", "")
	m.frames = tcp.counter("fanin_agent_frames_total", "Batches, opens, skips and ends taken from agents.", "", "")
	m.slowed = tcp.counter("fanin_slowed_reads_total", "Times that a connection was not read for a while because its address sends more than max_rate.", "", "")
	for _, r := range reasons {
		m.rejected[r] = tcp.counter("fanin_rejected_connections_total", "Connections that the collector closed, by reason.", "reason", r)
	}

	m.udp, m.udpAgent = udp.input(inputUDP), udp.input(inputUDPAgent)
	m.datagrams = udp.counter("fanin_udp_datagrams_total", "Datagrams read.", "", "")
	m.empty = udp.counter("fanin_udp_empty_datagrams_total", "Datagrams read that held no line.", "", "")
	const dropped = "Datagrams whose lines are lost: the kernel had no space for them, they were refused, their address sends more than max_rate, or a shutdown was given up."
	m.kernelDrops = udp.counter("fanin_udp_dropped_datagrams_total", dropped, "reason", "kernel")
	m.refusedDatagrams = udp.counter("fanin_udp_dropped_datagrams_total", dropped, "reason", "refused")
	m.overRate = udp.counter("fanin_udp_dropped_datagrams_total", dropped, "reason", "rate")
	m.atShutdown = udp.counter("fanin_udp_dropped_datagrams_total", dropped, "reason", "shutdown")
	m.queueWaits = udp.counter("fanin_udp_queue_full_total", "Times that reading paused because the queue was full; what the kernel could not hold meanwhile is counted as dropped.", "", "")
	m.queueBytes = udp.gauge("fanin_udp_queue_bytes", "Bytes read that wait to be kept.")
	m.receiveBufSize = udp.gauge("fanin_udp_receive_buffer_bytes", "Receive buffer that the kernel granted.")
	m.addNATS(factory{&m.ofNATS})
	return m
}

// messageReasons are why a message over NATS is not taken.
var messageReasons = [...]string{"protocol", "version", "agent_id", "host", "subject", "refused"}

func (m *Metrics) addNATS(f factory) {
	m.nats, m.natsAgent = f.input(inputNATS), f.input(inputNATSAgent)
	m.natsRejected = make(map[string]prometheus.Counter)
	m.natsMessages = f.counter("fanin_nats_messages_total", "Messages with plain lines taken.", "", "")
	m.natsEmpty = f.counter("fanin_nats_empty_messages_total", "Messages that held no line.", "", "")
	m.natsRepeats = f.counter("fanin_nats_repeated_messages_total", "Messages that a JetStream stream delivered again after they were kept: acknowledged again, not kept again.", "", "")
	m.natsReread = f.counter("fanin_nats_reread_messages_total", "Messages read from a JetStream stream by number, because their delivery was interrupted.", "", "")
	m.natsMissed = f.counter("fanin_nats_missed_messages_total", "Messages that left a JetStream stream before they could be taken: too old, or removed. Not known of consumers with filters.", "", "")
	m.natsDrops = f.counter("fanin_nats_dropped_messages_total", "Messages that came faster than they could be kept, outside of a JetStream stream: plain ones are lost, agents send theirs again.", "", "")
	m.natsRefused = make(map[string]prometheus.Counter)
	for _, kept := range []string{"yes", "no"} {
		m.natsRefused[kept] = f.counter("fanin_nats_refused_messages_total", "Agents' batches in a JetStream stream that the log has not, and whose agents do not wait for an answer: whether they are kept to be published again.", "kept", kept)
	}
	m.natsKept = f.gauge("fanin_nats_refused_kept", "Refused messages that are kept to be published again.")
	for _, r := range messageReasons {
		m.natsRejected[r] = f.counter("fanin_nats_rejected_messages_total", "Messages that were not taken, by reason.", "reason", r)
	}
	m.dropped.seen = make(map[*nats.Subscription]int)
}

func (m *Metrics) rejectMessage(reason string) { m.natsRejected[reason].Inc() }

// dropped is how many messages each subscription had dropped when it was asked last.
type dropped struct {
	mu   sync.Mutex
	seen map[*nats.Subscription]int
}

// countDrops counts what subscriptions dropped since, and returns it.
func (m *Metrics) countDrops(subs ...*nats.Subscription) (news int) {
	m.dropped.mu.Lock()
	defer m.dropped.mu.Unlock()
	for _, sub := range subs {
		if n, err := sub.Dropped(); err == nil {
			news += n - m.dropped.seen[sub]
			m.dropped.seen[sub] = n
		}
	}
	m.natsDrops.Add(float64(news))
	return news
}

func (m *Metrics) rejectConn(reason string) { m.rejected[reason].Inc() }

// factory makes metrics and lists them for their collector.
type factory struct{ list *[]prometheus.Collector }

func (f factory) counter(name, help, label, value string) prometheus.Counter {
	o := prometheus.CounterOpts{Name: name, Help: help}
	if label != "" {
		o.ConstLabels = prometheus.Labels{label: value}
	}
	c := prometheus.NewCounter(o)
	*f.list = append(*f.list, c)
	return c
}

func (f factory) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	*f.list = append(*f.list, g)
	return g
}

func (f factory) input(name string) *input {
	return &input{
		lines:  f.counter("fanin_received_lines_total", "Lines received, repeats included.", "input", name),
		bytes:  f.counter("fanin_received_bytes_total", "Bytes of lines received, newlines included.", "input", name),
		split:  f.counter("fanin_split_lines_total", "Lines longer than allowed that were split, with a mark.", "input", name),
		unsure: f.counter("fanin_unsure_lines_total", "Lines that cannot be sent again and are not known to be kept.", "input", name),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	describe(ch, m.ofTCP)
	describe(ch, m.ofUDP)
	describe(ch, m.ofNATS)
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	collect(ch, m.ofTCP)
	collect(ch, m.ofUDP)
	collect(ch, m.ofNATS)
}

func describe(ch chan<- *prometheus.Desc, list []prometheus.Collector) {
	for _, c := range list {
		c.Describe(ch)
	}
}

func collect(ch chan<- prometheus.Metric, list []prometheus.Collector) {
	for _, c := range list {
		c.Collect(ch)
	}
}

// Describe implements prometheus.Collector. A listener that shares its Metrics
// describes nothing.
func (t *TCP) Describe(ch chan<- *prometheus.Desc) {
	t.setUp()
	if t.ownsMetrics {
		describe(ch, t.Metrics.ofTCP)
		t.Room.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (t *TCP) Collect(ch chan<- prometheus.Metric) {
	t.setUp()
	if t.ownsMetrics {
		collect(ch, t.Metrics.ofTCP)
		t.Room.Collect(ch)
	}
}

// Describe implements prometheus.Collector. A listener that shares its Metrics
// describes nothing.
func (u *UDP) Describe(ch chan<- *prometheus.Desc) {
	u.setUp()
	if u.ownsMetrics {
		describe(ch, u.Metrics.ofUDP)
	}
}

// Collect implements prometheus.Collector.
func (u *UDP) Collect(ch chan<- prometheus.Metric) {
	u.setUp()
	if u.ownsMetrics {
		collect(ch, u.Metrics.ofUDP)
	}
}

// Describe implements prometheus.Collector. A listener that shares its Metrics
// describes nothing.
func (n *NATS) Describe(ch chan<- *prometheus.Desc) {
	n.setUp()
	if n.ownsMetrics {
		describe(ch, n.Metrics.ofNATS)
	}
}

// Collect implements prometheus.Collector.
func (n *NATS) Collect(ch chan<- prometheus.Metric) {
	n.setUp()
	if n.ownsMetrics {
		collect(ch, n.Metrics.ofNATS)
	}
}

// Describe implements prometheus.Collector.
func (r *Room) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(r, ch) }

// Collect implements prometheus.Collector.
func (r *Room) Collect(ch chan<- prometheus.Metric) {
	gauge := func(name, help string, v float64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, v)
	}
	gauge("fanin_room_bytes", "Memory that lines in flight take.", float64(r.Used()))
	gauge("fanin_room_arriving_bytes", "Memory that agents' texts take that have begun to come and are not complete.", float64(r.Arriving()))
	gauge("fanin_room_waiting_seconds", "For how long the connection has waited for memory that has waited longest.", r.Stalled().Seconds())
}
