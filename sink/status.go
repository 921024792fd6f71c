package sink

import (
	"time"

	"fanin/internal/wire"
)

// Generation is one file of the log, in the order the lines were kept.
type Generation struct {
	Number uint64    `json:"generation"`
	Name   string    `json:"name"`  // base name, beside the live file; empty: gone, or moved away by another process
	Size   int64     `json:"size"`  // bytes of text, before compression
	State  string    `json:"state"` // "live", "plain", "gzip", "removed", "lost"
	Opened time.Time `json:"opened"`
	Closed time.Time `json:"closed,omitzero"`
}

// Found reports whether the file was found without state: its lines may have had another generation
// before. Such a file is opened and closed in the same moment.
func (g *Generation) Found() bool { return g.State != stateLive && g.Opened.Equal(g.Closed) }

// Status is the present state of the log, for people and for metrics.
type Status struct {
	Path        string       `json:"path"`
	State       string       `json:"state"`
	Log         string       `json:"log"`
	Incarnation string       `json:"incarnation"`
	Sync        string       `json:"sync"`
	Format      string       `json:"format"`
	Healthy     bool         `json:"healthy"`           // taking batches now
	Trouble     string       `json:"trouble,omitempty"` // why not, and the remedy
	Generation  uint64       `json:"generation"`
	Size        int64        `json:"size"` // of the live file
	Lines       uint64       `json:"lines"`
	Bytes       uint64       `json:"bytes"`
	Commits     uint64       `json:"commits"`
	Streams     int          `json:"streams"`
	Generations []Generation `json:"generations"`

	Retention RetentionStatus `json:"retention"`
}

// RetentionStatus is which rotated files are kept, see RetentionPolicy; 0: no bound.
type RetentionStatus struct {
	Files      int     `json:"files"`
	AgeSeconds float64 `json:"age_seconds"`
	Bytes      int64   `json:"bytes"` // of the live file, too
}

// retentionStatus is what the status shows of the policy in force.
func (s *Sink) retentionStatus() RetentionStatus {
	if s.janitor == nil {
		return RetentionStatus{} // not open
	}
	p := s.janitor.retention.Load()
	return RetentionStatus{Files: p.Files, AgeSeconds: p.Age.Seconds(), Bytes: max(p.Bytes, 0)}
}

// Status never waits for the writer.
func (s *Sink) Status() Status {
	c := s.counts
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	live := s.view.catalog.live()
	lines, bytes := c.written()
	return Status{
		Path: s.Path, State: s.State, Sync: s.Sync, Format: s.Format,
		Log: s.view.catalog.log.String(), Incarnation: s.view.catalog.logIncarnation.String(),
		Healthy: s.view.trouble == "" && s.view.err == nil, Trouble: s.view.trouble,
		Generation: live.number, Size: s.view.size,
		Lines: lines, Bytes: bytes, Commits: c.commits.Load(),
		Streams: len(s.view.catalog.streams), Generations: s.view.catalog.list(),
		Retention: s.retentionStatus(),
	}
}

// LogID is the log's own random id: positions mean something within one log.
func (s *Sink) LogID() wire.StreamID {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	return s.view.catalog.log
}
