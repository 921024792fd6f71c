package relay

import (
	"cmp"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/internal/wire"
)

// counts are totals since the start.
type counts struct {
	acknowledged, lines, bytes atomic.Uint64 // batches, and what they had
	expired                    atomic.Uint64 // lines that can never be relayed
	tooLong                    atomic.Uint64 // lines that no upstream accepts
	refused                    atomic.Uint64 // batches that the upstream refused; they wait
	doubted                    atomic.Uint64 // times that lines may have been relayed twice
	savedRun                   atomic.Int64
}

// add counts a batch that was acknowledged.
func (c *counts) add(b *batch) {
	c.acknowledged.Add(1)
	if b.Op == wire.OpSkip {
		c.tooLong.Add(1)
		return
	}
	c.lines.Add(uint64(b.lines))
	c.bytes.Add(uint64(len(b.Text)))
}

// Status is what a relay has done, and what it waits for.
type Status struct {
	To       string   `json:"to"`
	Upstream string   `json:"upstream,omitempty"` // its log's id; "": it was not met yet
	Way      []string `json:"way"`                // of a line, from this log on
	Position string   `json:"position,omitempty"` // up to which the upstream has the log
	Lag      int64    `json:"lag_bytes"`          // of the log, behind that
	Lines    uint64   `json:"lines"`              // acknowledged since the start
	Expired  uint64   `json:"unrelayed_lines"`    // that retention or others removed first
	TooLong  uint64   `json:"too_long_lines"`     // that no upstream accepts
	Waits    string   `json:"waits,omitempty"`    // why nothing is forwarded
}

// Status returns the present state.
func (r *Relay) Status() Status {
	st := Status{To: r.to, Waits: r.Waits(), Lines: r.counts.lines.Load(), Expired: r.counts.expired.Load(),
		TooLong: r.counts.tooLong.Load()}
	for _, id := range r.Way().Logs {
		st.Way = append(st.Way, id.String())
	}
	r.mu.Lock()
	at := r.at.at
	if r.known {
		st.Position = at.String()
	}
	st.Upstream = r.saved.Upstream
	r.mu.Unlock()
	st.Lag = r.sink.Distance(at, r.sink.End())
	return st
}

// Describe sends nothing: what is collected describes itself.
func (r *Relay) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (r *Relay) Collect(ch chan<- prometheus.Metric) {
	send := func(kind prometheus.ValueType, name, help string, v float64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), kind, v)
	}
	st, c := r.Status(), &r.counts
	forwards := 1.0
	if st.Waits != "" {
		forwards = 0
	}
	send(prometheus.GaugeValue, "fanin_upstream_up", "1 while this log can be forwarded to the upstream, else 0.",
		forwards)
	send(prometheus.GaugeValue, "fanin_upstream_lag_bytes", "Bytes of this log that the upstream has not acknowledged.",
		float64(st.Lag))
	counter := func(name, help string, n *atomic.Uint64) {
		send(prometheus.CounterValue, name, help, float64(n.Load()))
	}
	counter("fanin_upstream_lines_total", "Lines of this log that the upstream acknowledged.", &c.lines)
	counter("fanin_upstream_bytes_total", "Bytes of text of those lines.", &c.bytes)
	counter("fanin_upstream_expired_lines_total", "Lines that were removed before the upstream had them.", &c.expired)
	counter("fanin_upstream_too_long_lines_total", "Lines that were left out, since no batch can carry them.",
		&c.tooLong)
	counter("fanin_upstream_refused_total", "Batches that the upstream refused. They wait, and are sent again.",
		&c.refused)
	counter("fanin_upstream_doubted_total", "Times that lines may have been relayed twice, since this log or the "+
		"upstream's was in an older state.", &c.doubted)
}

// Waits is why nothing is forwarded, "" while it is.
func (r *Relay) Waits() string {
	r.mu.Lock()
	why := r.state.blocked
	if why == "" && r.at.at.Compare(r.sink.End()) < 0 {
		why = r.state.failed
	}
	r.mu.Unlock()
	return cmp.Or(r.Trouble(), why)
}
