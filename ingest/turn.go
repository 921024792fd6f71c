package ingest

import (
	"context"

	"fanin/internal/wire"
)

// ownedStream is a stream by what its owner calls it. wire.StreamID.Owned is one number for both, but
// costs a SHA-256.
type ownedStream struct {
	owner  string
	stream wire.StreamID
}

// lane is the frames of one stream in flight.
type lane struct {
	frames int   // without an outcome
	last   *Turn // of the last one
}

// Turn is the place of a frame among those of its stream, from Sessions.StartFrame on. Frames are
// appended in their order: each when the Appender has the one before, or, where that does not say so
// (wire.Batch.Next), when the one before was answered. Their answers are in the same order. A nil Turn
// is that of a frame which may not be appended.
type Turn struct {
	sessions *Sessions
	stream   ownedStream
	before   *Turn // of the frame before, unless that was answered
	decided  bool

	// All below belongs to sessions.mu. The channels are nil if no frame waits.
	isAppended, isAnswered bool
	appended, answered     chan struct{}
}

// StartFrame gives the next frame of an owner's stream its turn. It reports false if
// wire.MaxChain are in flight already.
func (s *Sessions) StartFrame(owner string, stream wire.StreamID) (*Turn, bool) {
	t := &Turn{sessions: s, stream: ownedStream{owner, stream}}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[t.stream]
	if l.frames == wire.MaxChain {
		return nil, false
	}
	if s.lanes == nil {
		s.lanes = make(map[ownedStream]lane)
	}
	if t.before = l.last; t.before != nil {
		t.before.appended, t.before.answered = make(chan struct{}), make(chan struct{})
		if t.before.isAppended {
			close(t.before.appended)
		}
		s.chained.Add(1)
	}
	s.lanes[t.stream] = lane{l.frames + 1, t}
	s.frames.Add(1)
	return t, true
}

// Wait waits until the frame may be appended.
func (t *Turn) Wait() {
	if t != nil && t.before != nil {
		<-t.before.appended
	}
}

// Appended lets the next frame be appended: the Appender has this one.
func (t *Turn) Appended() {
	t.sessions.mu.Lock()
	defer t.sessions.mu.Unlock()
	t.appendedLocked()
}

func (t *Turn) appendedLocked() {
	if !t.isAppended && t.appended != nil {
		close(t.appended)
	}
	t.isAppended = true
}

// WaitAnswer waits until the frame may be answered. Its outcome may be known before that of the frame
// before it.
func (t *Turn) WaitAnswer() {
	if t != nil && t.before != nil {
		<-t.before.answered
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
	if l, ok := t.sessions.lanes[t.stream]; ok {
		l.frames--
		t.sessions.lanes[t.stream] = l
	}
}

// Answered ends the turn, also that of a frame which is not appended, when those before it have ended:
// no answer to a later frame can overtake one of theirs.
func (t *Turn) Answered() {
	if t == nil {
		return
	}
	t.Decided()
	t.WaitAnswer()
	t.sessions.mu.Lock()
	defer t.sessions.mu.Unlock()
	t.appendedLocked()
	if !t.isAnswered && t.answered != nil {
		close(t.answered)
	}
	t.isAnswered, t.before = true, nil
	if t.sessions.lanes[t.stream].last == t {
		delete(t.sessions.lanes, t.stream)
	}
}
