package journal

import (
	"cmp"
	"context"
	"sync"

	"fanin/internal/wire"
)

// session is what a collector answered at the start of the last session. The zero value is
// ready.
type session struct {
	mu      sync.Mutex
	welcome *wire.Welcome // nil: there was none yet
	maxText int           // of a batch
	next    chan struct{} // closed at the next welcome; nil: nothing waits for it
}

// begin notes a welcome.
func (s *session) begin(w *wire.Welcome, maxText int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.welcome, s.maxText = w, maxText
	if s.next != nil {
		close(s.next)
		s.next = nil
	}
}

// nextWelcome is closed at the next welcome.
func (s *session) nextWelcome() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = make(chan struct{})
	}
	return s.next
}

// await waits for the first welcome.
func (s *session) await(ctx context.Context) (*wire.Welcome, error) {
	for {
		met := s.nextWelcome()
		s.mu.Lock()
		w := s.welcome
		s.mu.Unlock()
		if w != nil {
			return w, nil
		}
		select {
		case <-met:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// id is the log of the last session.
func (s *session) id() logID {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.welcome == nil {
		return logID{}
	}
	return logID{s.welcome.Log, s.welcome.Incarnation}
}

// batchText is the most text that a batch may have.
func (s *session) batchText() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(s.maxText, wire.MaxText)
}
