package spool

import (
	"cmp"
	"sync/atomic"
	"time"
)

// Status is the state of a spool at one moment.
type Status struct {
	Dir      string    `json:"dir"`
	Source   string    `json:"source"`
	Segments int       `json:"segments"`
	Size     int64     `json:"size"`              // bytes of the segments
	Behind   int64     `json:"behind"`            // bytes that are not acknowledged
	Oldest   time.Time `json:"oldest,omitzero"`   // when the first line that is not acknowledged arrived
	Full     bool      `json:"full,omitempty"`    // Append waits for room
	Trouble  string    `json:"trouble,omitempty"` // why nothing is written, or nothing is sent
}

// Status returns the state now.
func (s *Spool) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Dir: s.Dir, Source: s.Source, Segments: len(s.segments), Size: s.sizeLocked(),
		Full: s.full, Trouble: cmp.Or(s.unwrote, s.unsent)}
	st.Behind = st.Size + int64(s.queue.size()+s.queue.writing)
	if len(s.segments) > 0 && s.segments[0].stream == s.place.stream {
		st.Behind = max(0, st.Behind-s.place.Offset)
	}
	if st.Behind > 0 {
		st.Oldest = s.oldestLocked()
	}
	return st
}

// oldestLocked returns when the first line arrived that is not acknowledged. While none is on
// its way, this is at most when the first one of its segment did.
func (s *Spool) oldestLocked() time.Time {
	switch {
	case s.oldest != 0:
		return time.UnixMicro(s.oldest)
	case len(s.segments) > 0:
		return time.UnixMicro(s.segments[0].first)
	}
	return time.Now()
}

// counts is what a spool counts since it was opened.
type counts struct {
	lines, bytes               atomic.Uint64 // taken
	acknowledged               atomic.Uint64 // lines
	droppedLines, droppedBytes atomic.Uint64 // by drop_oldest
	damaged, skipped           atomic.Uint64 // bytes
}

// Counts are the spool's counters by name, since it was opened.
func (s *Spool) Counts() map[string]uint64 {
	c := &s.counts
	return map[string]uint64{
		"spool_lines": c.lines.Load(), "spool_bytes": c.bytes.Load(), "spool_acknowledged_lines": c.acknowledged.Load(),
		"spool_dropped_lines": c.droppedLines.Load(), "spool_dropped_bytes": c.droppedBytes.Load(),
		"spool_damaged_bytes": c.damaged.Load(), "spool_skipped_bytes": c.skipped.Load(),
	}
}
