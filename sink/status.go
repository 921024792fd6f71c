package sink

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"fanin/internal/wire"
)

// Rotation says what a rotation did.
type Rotation struct {
	Generation uint64 `json:"generation"` // the one that was closed
	Name       string `json:"name"`       // its backup's base name; empty when there was nothing to rotate
	Size       int64  `json:"size"`
}

// Generation is one file of the log, in the order the lines were kept.
type Generation struct {
	Number uint64    `json:"generation"`
	Name   string    `json:"name"`  // base name, beside the live file; empty: gone or moved away by somebody
	Size   int64     `json:"size"`  // bytes of text, before compression
	State  string    `json:"state"` // "live", "plain", "gzip", "removed", "lost"
	Opened time.Time `json:"opened"`
	Closed time.Time `json:"closed,omitzero"`
}

// Status is the log as it stands, for people and for metrics.
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
}

// Status never waits for the writer.
func (s *Sink) Status() Status {
	c := s.counts
	s.mu.RLock()
	defer s.mu.RUnlock()
	live := s.catalog.live()
	return Status{
		Path: s.Path, State: s.State, Sync: s.Sync, Format: s.Format,
		Log: s.catalog.log.String(), Incarnation: s.catalog.incarnation.String(),
		Healthy: s.trouble == "" && s.err == nil, Trouble: s.trouble,
		Generation: live.number, Size: s.size,
		Lines: c.total(writtenLines), Bytes: c.total(writtenBytes), Commits: c.commits.Load(),
		Streams: len(s.catalog.streams), Generations: s.catalog.list(),
	}
}

func writtenLines(n *inputCounts) *atomic.Uint64 { return &n.written }
func writtenBytes(n *inputCounts) *atomic.Uint64 { return &n.bytes }

// Rotate closes the live file and begins a new one, unless it is empty.
func (s *Sink) Rotate(ctx context.Context) (Rotation, error) {
	var r Rotation
	var blocked error
	err := s.do(ctx, func(w *writer) error {
		old := w.catalog.live()
		if w.file.size == 0 {
			r.Generation = old.number
			return nil
		}
		w.rotateAfter = time.Time{}
		if err := w.rotate("demand"); err != nil {
			return err
		}
		if w.catalog.live() == old {
			blocked = fmt.Errorf("%s could not be moved aside; the collector's log says why", s.Path)
		}
		r = Rotation{Generation: old.number, Name: old.name, Size: old.size}
		return nil
	})
	return r, cmp.Or(err, blocked)
}

// Reopen looks whether Path still names the file that is written to, and begins
// a new file there if not.
func (s *Sink) Reopen(ctx context.Context) error {
	return s.do(ctx, func(w *writer) error {
		if why := w.file.foul(s.Path); why != "" {
			return w.replace(why)
		}
		return nil
	})
}

// Checkpoint puts all that was committed where a reader of the files alone
// finds it: the ledger and the table.
func (s *Sink) Checkpoint(ctx context.Context) error {
	return s.do(ctx, func(w *writer) error { return w.checkpoint() })
}

// Worked is how long the writer has had batches to work on since the log was
// opened. What reads the log in large amounts leaves the processors to it when it
// has much to do.
func (s *Sink) Worked() time.Duration {
	worked := s.worked.Load()
	if since := s.working.Load(); since != 0 {
		worked += max(time.Now().UnixNano()-since, 0)
	}
	return time.Duration(worked)
}

// LogID is the log's own random id: positions mean something within one log.
func (s *Sink) LogID() wire.StreamID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.catalog.log
}

// shown tells the others how long the file is.
func (s *Sink) shown(f *file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size, f.shown = f.size, f.size
	if s.grown != nil {
		close(s.grown)
		s.grown = nil
	}
}

// setTrouble tells the others what keeps the writer from working.
func (s *Sink) setTrouble(text string) {
	s.mu.Lock()
	s.trouble = text
	s.mu.Unlock()
}
