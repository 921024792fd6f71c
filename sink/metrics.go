package sink

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/internal/counters"
)

// counts is what the sink counts, beside what becomes of the lines of each input.
type counts struct {
	inputs *counters.Set

	commits, checkpoints, full, interference atomic.Uint64

	streams   streamCounts
	rotations rotationCounts
	upkeep    upkeepCounts
	notices   noticeCounts
	keys      keyCounts
	shares    shares // of the log, by sender
	syncTime  prometheus.Histogram
}

type streamCounts struct {
	skips, skippedBytes, gapLines, expired, displaced atomic.Uint64

	refused map[string]*atomic.Uint64 // by limit
}

type rotationCounts struct{ bySize, byTime, byDemand, errors atomic.Uint64 }

type upkeepCounts struct{ removed, compressed, errors atomic.Uint64 }

type summaryCounts struct{ written, errors atomic.Uint64 }

type noticeCounts struct{ posted, dropped atomic.Uint64 }

// ownInput names the log's own lines.
const ownInput = "fanin"

func newCounts(inputs *counters.Set) *counts {
	if inputs == nil {
		inputs = new(counters.Set)
	}
	inputs.New(ownInput, counters.None)
	c := &counts{inputs: inputs, streams: streamCounts{refused: make(map[string]*atomic.Uint64)}}
	for _, limit := range []string{limitTotal, limitAgent, limitAddress, limitUnproven, limitLossy, limitLossyIP} {
		c.streams.refused[limit] = new(atomic.Uint64)
	}
	c.syncTime = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "fanin_sync_duration_seconds",
		Help:    "Time for one sync of the write-ahead log.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
	})
	return c
}

func (c *counts) of(name string) *counters.Input { return c.inputs.Of(name) }

func (c *counts) rotated(trigger string) {
	switch trigger {
	case "size":
		c.rotations.bySize.Add(1)
	case "time":
		c.rotations.byTime.Add(1)
	default:
		c.rotations.byDemand.Add(1)
	}
}

// written returns how many lines and bytes were committed, of all inputs.
func (c *counts) written() (lines, bytes uint64) {
	for _, x := range c.inputs.All() {
		n := x.Counts()
		lines, bytes = lines+n.Written, bytes+n.WrittenBytes
	}
	return lines, bytes
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
	send := sender(out)
	counter := func(name, help string, v *atomic.Uint64, labels ...string) {
		send(prometheus.CounterValue, name, help, float64(v.Load()), labels...)
	}
	for limit, n := range c.streams.refused {
		counter("fanin_refused_streams_total", "Times a stream could not begin, by the limit that was reached.", n,
			"limit", limit)
	}
	counter("fanin_commits_total", "Group commits.", &c.commits)
	s.summarizer.collect(counter)
	counter("fanin_checkpoints_total", "Checkpoints.", &c.checkpoints)
	counter("fanin_skips_total", "Times a source left out something for good: each has a notice.", &c.streams.skips)
	counter("fanin_skipped_bytes_total", "Bytes of sources that agents will never send; an entry of a journal "+
		"counts as 65,536.", &c.streams.skippedBytes)
	counter("fanin_lossy_gap_lines_total", "Lines of lossy streams that never arrived.", &c.streams.gapLines)
	counter("fanin_expired_streams_total", "Lossy streams forgotten because they were silent for lossy_expiry.",
		&c.streams.expired)
	counter("fanin_displaced_streams_total",
		"Lossy streams of a single datagram forgotten for a new one, at a limit.", &c.streams.displaced)
	counter("fanin_interference_total", "Times another program moved, deleted, truncated or appended to the "+
		"log, or deleted its state.", &c.interference)
	counter("fanin_disk_full_total", "Times the log stopped accepting lines: space, descriptors or a "+
		"directory were missing.", &c.full)
	counter("fanin_rotations_total", "Rotations.", &c.rotations.bySize, "trigger", "size")
	counter("fanin_rotations_total", "Rotations.", &c.rotations.byTime, "trigger", "time")
	counter("fanin_rotations_total", "Rotations.", &c.rotations.byDemand, "trigger", "demand")
	counter("fanin_rotation_errors_total", "Rotations that failed; they are retried.", &c.rotations.errors)
	counter("fanin_removed_files_total", "Rotated files removed by retention.", &c.upkeep.removed)
	counter("fanin_compressed_files_total", "Rotated files compressed.", &c.upkeep.compressed)
	counter("fanin_upkeep_errors_total", "Compressions and removals that failed; they are retried.", &c.upkeep.errors)
	counter("fanin_notices_total", "Notices: lines that the collector wrote into the log itself.", &c.notices.posted)
	counter("fanin_notices_dropped_total", "Notices dropped because there were too many at once.", &c.notices.dropped)
	c.syncTime.Collect(out)
	s.collectStatus(send)
}

// sender returns a function that sends a metric; labels are names and values in turn.
func sender(out chan<- prometheus.Metric) func(prometheus.ValueType, string, string, float64, ...string) {
	return func(kind prometheus.ValueType, name, help string, v float64, labels ...string) {
		var names, values []string
		for i := 0; i < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, v, values...)
	}
}

// collectStatus sends the present state of the log.
func (s *Sink) collectStatus(send func(prometheus.ValueType, string, string, float64, ...string)) {
	st := s.Status()
	healthy := 0.0
	if st.Healthy {
		healthy = 1
	}
	s.collectKeys(send)
	send(prometheus.GaugeValue, "fanin_healthy", "1 while lines are accepted.", healthy)
	send(prometheus.GaugeValue, "fanin_file_size_bytes", "Size of the live file.", float64(st.Size))
	send(prometheus.GaugeValue, "fanin_generation", "Number of the live file.", float64(st.Generation))
	send(prometheus.GaugeValue, "fanin_streams", "Streams known.", float64(st.Streams))
	var kept int64
	for _, g := range st.Generations {
		kept += g.Size
	}
	send(prometheus.GaugeValue, "fanin_log_text_bytes", "Text in all files of the log, before compression.",
		float64(kept))
}
