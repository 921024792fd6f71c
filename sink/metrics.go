package sink

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// counts is what the sink counts. For every input, when nothing is under way,
// received = written + duplicate + rejected.
type counts struct {
	mu     sync.Mutex
	inputs map[string]*inputCounts

	commits, checkpoints, full     atomic.Uint64
	skipped, gap                   atomic.Uint64
	expired, displaced             atomic.Uint64
	refused                        map[string]*atomic.Uint64 // streams, by limit
	interference, rotationErrors   atomic.Uint64
	bySize, byTime, byDemand       atomic.Uint64
	notices, noticesDropped        atomic.Uint64
	removed, compressed, janitorly atomic.Uint64
	syncTime                       prometheus.Histogram
	keys                           keyCounts
}

type inputCounts struct {
	received, written, bytes, duplicate atomic.Uint64
	place, size, raw, streams, content  atomic.Uint64
}

const inputOwn = "fanin"

// Why lines were not kept.
const (
	reasonPlace   = "out_of_place"
	reasonSize    = "too_large"
	reasonRaw     = "raw_format"
	reasonStreams = "streams"
	reasonContent = "other_content"
)

func newCounts() *counts {
	c := &counts{inputs: make(map[string]*inputCounts), refused: make(map[string]*atomic.Uint64)}
	for _, limit := range []string{limitTotal, limitAgent, limitAddress, limitUnproven, limitLossy, limitLossyIP} {
		c.refused[limit] = new(atomic.Uint64)
	}
	c.syncTime = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "fanin_sync_duration_seconds",
		Help:    "Time for one sync of the write-ahead log.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
	})
	for _, input := range []string{"tcp", "udp", "agent", "udp-agent", "nats", "nats-agent", inputOwn} {
		c.of(input)
	}
	return c
}

func (c *counts) of(input string) *inputCounts {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.inputs[input]
	if n == nil {
		n = new(inputCounts)
		c.inputs[input] = n
	}
	return n
}

func (n *inputCounts) wrote(lines, bytes int) {
	n.written.Add(uint64(lines))
	n.bytes.Add(uint64(bytes))
}

func (n *inputCounts) reject(reason string, lines uint64) {
	switch reason {
	case reasonPlace:
		n.place.Add(lines)
	case reasonSize:
		n.size.Add(lines)
	case reasonRaw:
		n.raw.Add(lines)
	case reasonStreams:
		n.streams.Add(lines)
	case reasonContent:
		n.content.Add(lines)
	}
}

func (c *counts) rotated(trigger string) {
	switch trigger {
	case "size":
		c.bySize.Add(1)
	case "time":
		c.byTime.Add(1)
	default:
		c.byDemand.Add(1)
	}
}

// total adds one number up over all inputs.
func (c *counts) total(which func(*inputCounts) *atomic.Uint64) (sum uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.inputs {
		sum += which(n).Load()
	}
	return sum
}

var _ prometheus.Collector = (*Sink)(nil)

// Describe sends nothing: what is collected describes itself.
func (s *Sink) Describe(chan<- *prometheus.Desc) {}

// Collect sends the sink's metrics.
func (s *Sink) Collect(out chan<- prometheus.Metric) {
	c := s.counts
	if c == nil {
		return // not open
	}
	send := func(kind prometheus.ValueType, name, help string, v float64, labels ...string) {
		var names, values []string
		for i := 0; i < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, v, values...)
	}
	counter := func(name, help string, v *atomic.Uint64, labels ...string) {
		send(prometheus.CounterValue, name, help, float64(v.Load()), labels...)
	}
	c.mu.Lock()
	for input, n := range c.inputs {
		counter("fanin_written_lines_total", "Lines committed.", &n.written, "input", input)
		counter("fanin_written_bytes_total", "Bytes of laid-out lines committed.", &n.bytes, "input", input)
		counter("fanin_duplicate_lines_total", "Lines sent again that were committed already.", &n.duplicate, "input", input)
		counter("fanin_rejected_lines_total", "Lines not kept, by reason.", &n.place, "input", input, "reason", reasonPlace)
		counter("fanin_rejected_lines_total", "Lines not kept, by reason.", &n.size, "input", input, "reason", reasonSize)
		counter("fanin_rejected_lines_total", "Lines not kept, by reason.", &n.raw, "input", input, "reason", reasonRaw)
		counter("fanin_rejected_lines_total", "Lines not kept, by reason.", &n.streams, "input", input, "reason", reasonStreams)
		counter("fanin_rejected_lines_total", "Lines not kept, by reason.", &n.content, "input", input, "reason", reasonContent)
	}
	for limit, n := range c.refused {
		counter("fanin_refused_streams_total", "Times a stream could not begin, by the limit that was met.", n, "limit", limit)
	}
	own := c.inputs[inputOwn]
	c.mu.Unlock()
	counter("fanin_received_lines_total", "Lines received, repeats included.", &own.received, "input", inputOwn)
	counter("fanin_commits_total", "Group commits.", &c.commits)
	counter("fanin_checkpoints_total", "Checkpoints.", &c.checkpoints)
	counter("fanin_skipped_bytes_total", "Bytes of sources that agents said will never come.", &c.skipped)
	counter("fanin_lossy_gap_lines_total", "Lines of lossy streams that never came.", &c.gap)
	counter("fanin_expired_streams_total", "Lossy streams forgotten because nothing came of them for lossy_expiry.", &c.expired)
	counter("fanin_displaced_streams_total", "Lossy streams of a single datagram forgotten for a new one, at a limit.", &c.displaced)
	counter("fanin_interference_total", "Times another program moved, deleted, truncated or appended to the log, or deleted its state.", &c.interference)
	counter("fanin_disk_full_total", "Times the log stopped taking lines for want of room, descriptors or a directory.", &c.full)
	counter("fanin_rotations_total", "Rotations.", &c.bySize, "trigger", "size")
	counter("fanin_rotations_total", "Rotations.", &c.byTime, "trigger", "time")
	counter("fanin_rotations_total", "Rotations.", &c.byDemand, "trigger", "demand")
	counter("fanin_rotation_errors_total", "Rotations that failed and were put off.", &c.rotationErrors)
	counter("fanin_removed_files_total", "Rotated files removed by retention.", &c.removed)
	counter("fanin_compressed_files_total", "Rotated files compressed.", &c.compressed)
	counter("fanin_upkeep_errors_total", "Compressions and removals that failed and were put off.", &c.janitorly)
	counter("fanin_notices_total", "Lines of the log's own.", &c.notices)
	counter("fanin_notices_dropped_total", "Lines of the log's own that came too fast.", &c.noticesDropped)
	c.syncTime.Collect(out)
	st := s.Status()
	healthy := 0.0
	if st.Healthy {
		healthy = 1
	}
	s.collectKeys(send)
	send(prometheus.GaugeValue, "fanin_healthy", "1 while lines are taken.", healthy)
	send(prometheus.GaugeValue, "fanin_file_size_bytes", "Size of the live file.", float64(st.Size))
	send(prometheus.GaugeValue, "fanin_generation", "Number of the live file.", float64(st.Generation))
	send(prometheus.GaugeValue, "fanin_streams", "Streams known.", float64(st.Streams))
	var kept int64
	for _, g := range st.Generations {
		kept += g.Size
	}
	send(prometheus.GaugeValue, "fanin_log_text_bytes", "Text in all files of the log, before compression.", float64(kept))
}
