package agent

import (
	"fmt"
	"io"

	"fanin/internal/escape"
	"fanin/internal/ship"
	"fanin/internal/wire"
)

// compressionStatus is how lines are compressed on their way to the collector.
type compressionStatus struct {
	Encoding string            `json:"encoding"` // none, s2 or zstd
	Changes  uint64            `json:"changes"`
	Link     uint64            `json:"link_bytes_per_second,omitempty"` // when that was decided last; 0: not known
	Sent     map[string]uint64 `json:"sent_text_bytes"`                 // by encoding, before compression
}

// compression returns how lines are compressed; nil: not over a connection of its own, as over
// NATS.
func (a *agent) compression() *compressionStatus {
	s, ok := a.shipper.(*ship.TCP)
	if !ok {
		return nil
	}
	c := s.Compression()
	return &compressionStatus{Encoding: c.Encoding.String(), Changes: c.Changes, Link: uint64(c.Speed),
		Sent: map[string]uint64{wire.Plain.String(): c.Sent.Plain, wire.S2.String(): c.Sent.S2,
			wire.Zstd.String(): c.Sent.Zstd}}
}

func (c *compressionStatus) print(w io.Writer) {
	if c == nil {
		return
	}
	link := ""
	if c.Link > 0 {
		link = fmt.Sprintf(" link=%.1fMB/s", float64(c.Link)/1e6)
	}
	escape.Fprintf(w, "compression=%s changes=%d%s\n", c.Encoding, c.Changes, link)
}

// metrics are those of the compression.
func (c *compressionStatus) metrics() []metric {
	if c == nil {
		return nil
	}
	now := metric{"fanin_agent_compression", "gauge", "1 for how lines are compressed now.", nil}
	sent := metric{"fanin_agent_sent_text_bytes_total", "counter",
		"Bytes of lines sent, before compression, by how they were compressed.", nil}
	for _, e := range []wire.Encoding{wire.Plain, wire.S2, wire.Zstd} {
		is, label := 0.0, []string{"encoding", e.String()}
		if c.Encoding == e.String() {
			is = 1
		}
		now.samples = append(now.samples, sample{is, label})
		sent.samples = append(sent.samples, sample{float64(c.Sent[e.String()]), label})
	}
	return []metric{now, sent,
		{"fanin_agent_compression_changes_total", "counter", "Times that `compress = \"auto\"` changed it.",
			[]sample{{float64(c.Changes), nil}}},
		{"fanin_agent_link_bytes_per_second", "gauge", "How much the link to the collector carried when that was " +
			"decided last, as the kernel measured it; 0: not known.", []sample{{float64(c.Link), nil}}},
	}
}
