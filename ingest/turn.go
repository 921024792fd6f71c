package ingest

import (
	"context"

	"fanin/internal/wire"
)

// lane is the frames of one stream in flight.
type lane struct {
	frames int           // without an outcome
	last   chan struct{} // closed when the last one was answered
}

// Turn is the place of a frame among those of its stream, from Sessions.StartFrame on. A
// frame is appended when the one before it was answered, so a stream has one Append at a
// time, and its answers are in the order of its frames. A nil Turn is that of a frame which
// may not be appended.
type Turn struct {
	sessions *Sessions
	stream   wire.StreamID // by wire.StreamID.Owned
	before   chan struct{} // closed when the frame before was answered; nil: there is none
	answered chan struct{}
	decided  bool
}

// StartFrame gives the next frame of an owner's stream its turn. It reports false if
// wire.MaxChain are in flight already.
func (s *Sessions) StartFrame(owner string, stream wire.StreamID) (*Turn, bool) {
	t := &Turn{sessions: s, stream: stream.Owned(wire.StreamAgent, owner), answered: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[t.stream]
	if l.frames == wire.MaxChain {
		return nil, false
	}
	if s.lanes == nil {
		s.lanes = make(map[wire.StreamID]lane)
	}
	if t.before = l.last; t.before != nil {
		s.chained.Add(1)
	}
	s.lanes[t.stream] = lane{l.frames + 1, t.answered}
	s.frames.Add(1)
	return t, true
}

// Wait waits for the frame's turn.
func (t *Turn) Wait() {
	if t != nil && t.before != nil {
		<-t.before
	}
}

// Extend returns a block of m for the content of the frame's compressed text, which is complete and still
// in memory. A block beyond the budget's limit is only for a frame whose turn it is. If it had one
// and waited for the frame before it, that one might wait for memory for ever.
func (t *Turn) Extend(ctx context.Context, m *Budget, n int) ([]byte, error) {
	if b := m.TryAcquire(n); b != nil {
		return b, nil
	}
	t.Wait()
	return m.Extend(ctx, n)
}

// Decided notes that the outcome of the frame is known. It comes before the answer: the
// sender's next frame may come right after that.
func (t *Turn) Decided() {
	if t == nil || t.decided {
		return
	}
	t.decided = true
	t.sessions.mu.Lock()
	defer t.sessions.mu.Unlock()
	l := t.sessions.lanes[t.stream]
	l.frames--
	t.sessions.lanes[t.stream] = l
}

// Answered ends the turn: no answer to a later frame can overtake that of this one. Call it when Wait has
// returned, also for a frame that is not appended: else its successor would not wait for the one before.
func (t *Turn) Answered() {
	if t == nil {
		return
	}
	t.Decided()
	close(t.answered)
	t.sessions.mu.Lock()
	defer t.sessions.mu.Unlock()
	if t.sessions.lanes[t.stream].last == t.answered {
		delete(t.sessions.lanes, t.stream)
	}
}
