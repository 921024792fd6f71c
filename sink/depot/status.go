package depot

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counts are totals since the start.
type counts struct {
	files, bytes atomic.Uint64 // copied, or found to be there; bytes of their objects that were sent
	errors       atomic.Uint64 // attempts that failed
	damaged      atomic.Uint64 // files that were not what was committed
	expired      atomic.Uint64 // lines that can never be copied
}

// Status is what a copier has done, and what it waits for.
type Status struct {
	To      string    `json:"to"`
	Files   uint64    `json:"files"`             // copied since the start, or found to be there
	Bytes   uint64    `json:"bytes"`             // sent since the start
	Waiting int       `json:"waiting_files"`     // closed, and not copied yet
	Lag     int64     `json:"waiting_bytes"`     // of their text
	Since   time.Time `json:"waiting,omitzero"`  // when the oldest of them was closed
	Refused int       `json:"refused_files"`     // of them, those that cannot be copied as things are
	Expired uint64    `json:"unarchived_lines"`  // that were removed before they were copied
	Trouble string    `json:"trouble,omitempty"` // why nothing, or not everything, is copied
}

// Status returns the present state.
func (c *Copier) Status() Status {
	st := Status{To: c.place.String(), Files: c.counts.files.Load(), Bytes: c.counts.bytes.Load(),
		Expired: c.counts.expired.Load()}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.claimLocked()
	for _, f := range c.sink.Closed() {
		if c.done[stemOf(f.Generation)] {
			continue
		}
		if st.Waiting == 0 {
			st.Since = f.Closed
		}
		st.Waiting++
		st.Lag += f.Size
	}
	st.Refused, st.Trouble = len(c.refused), c.trouble
	for _, r := range c.refused {
		if st.Trouble == "" {
			st.Trouble = r.why
		}
	}
	return st
}

// Describe sends nothing: what is collected describes itself.
func (c *Copier) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *Copier) Collect(ch chan<- prometheus.Metric) {
	send := func(kind prometheus.ValueType, name, help string, v float64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), kind, v)
	}
	st, up, lag := c.Status(), 1.0, 0.0
	if st.Trouble != "" {
		up = 0
	}
	if !st.Since.IsZero() {
		lag = max(time.Since(st.Since).Seconds(), 0)
	}
	gauge := prometheus.GaugeValue
	send(gauge, "fanin_archive_up", "1 while closed files can be copied to the archive, else 0.", up)
	send(gauge, "fanin_archive_waiting_files", "Closed files that are not in the archive yet.", float64(st.Waiting))
	send(gauge, "fanin_archive_waiting_bytes", "Bytes of text of those files.", float64(st.Lag))
	send(gauge, "fanin_archive_lag_seconds", "How long ago the oldest of those files was closed; 0: there is none.",
		lag)
	send(gauge, "fanin_archive_refused_files", "Of those files, those that cannot be copied as things are: see the "+
		"status.", float64(st.Refused))
	counter := func(name, help string, n *atomic.Uint64) {
		send(prometheus.CounterValue, name, help, float64(n.Load()))
	}
	counter("fanin_archive_files_total", "Files that were copied to the archive, or found to be there.",
		&c.counts.files)
	counter("fanin_archive_bytes_total", "Bytes that were sent to the archive.", &c.counts.bytes)
	counter("fanin_archive_errors_total", "Attempts to copy a file that failed.", &c.counts.errors)
	counter("fanin_archive_damaged_files_total", "Files that were not what was committed, and were copied as they are.",
		&c.counts.damaged)
	counter("fanin_archive_expired_lines_total", "Lines that were removed before they were in the archive.",
		&c.counts.expired)
}
