package sink

import (
	"sync/atomic"
	"time"
)

// publishSize lets readers read as much of the file as is written.
func (s *Sink) publishSize(f *file) {
	s.view.mu.Lock()
	defer s.view.mu.Unlock()
	s.view.size, f.published = f.size, f.size
	if s.view.grown != nil {
		close(s.view.grown)
		s.view.grown = nil
	}
}

// setTrouble publishes what keeps the writer from working, "" for nothing.
func (s *Sink) setTrouble(text string) {
	s.view.mu.Lock()
	s.view.trouble = text
	s.view.mu.Unlock()
}

// busyTime measures for how long the writer has been at work.
type busyTime struct {
	total atomic.Int64 // nanoseconds, without the present span
	since atomic.Int64 // when the present span began, in nanoseconds since 1970; 0: the writer waits
}

// Worked is how long the writer has had batches to work on since the log was
// opened. What reads the log in large amounts leaves the processors to it when it
// has much to do.
func (s *Sink) Worked() time.Duration {
	worked := s.queue.busy.total.Load()
	if since := s.queue.busy.since.Load(); since != 0 {
		worked += max(time.Now().UnixNano()-since, 0)
	}
	return time.Duration(worked)
}
