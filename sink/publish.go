package sink

import "time"

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
