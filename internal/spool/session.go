package spool

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
	welcome *wire.Welcome // without its streams; nil: there was none yet
	streams []wire.StreamState
	maxText int
	next    chan struct{} // closed at the next welcome; nil: nothing waits for it
}

// logID names one incarnation of a log.
type logID struct{ log, incarnation wire.StreamID }

// Welcome tells the spool what a collector answered at the start of a session, and the most
// text that a batch may have in it. Nothing is sent before the first one.
func (s *Spool) Welcome(w wire.Welcome, maxText int) {
	x := &s.session
	x.mu.Lock()
	defer x.mu.Unlock()
	x.streams = nil
	for i := range w.Streams {
		if isOf(w.Streams[i].Identity, s.id) {
			x.streams = append(x.streams, w.Streams[i])
		}
	}
	w.Streams = nil
	x.welcome, x.maxText = &w, maxText
	if x.next != nil {
		close(x.next)
		x.next = nil
	}
}

// nextWelcome is closed at the next welcome.
func (x *session) nextWelcome() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.next == nil {
		x.next = make(chan struct{})
	}
	return x.next
}

// log returns the log of the last session, and the most text that a batch may have.
func (x *session) log() (id logID, maxText int, met bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.welcome == nil {
		return logID{}, wire.MaxText, false
	}
	return logID{x.welcome.Log, x.welcome.Incarnation}, cmp.Or(x.maxText, wire.MaxText), true
}

// await waits for the first welcome.
func (x *session) await(ctx context.Context) error {
	for {
		next := x.nextWelcome()
		if _, _, met := x.log(); met {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// gone returns the spool's streams in the last welcome of which there is no segment: a
// process was killed after it removed the segment and before it ended the stream.
func (s *Spool) gone() (all []wire.StreamState) {
	s.mu.Lock()
	there := make(map[wire.StreamID]bool, len(s.segments))
	for _, g := range s.segments {
		there[g.stream] = true
	}
	s.mu.Unlock()
	s.session.mu.Lock()
	defer s.session.mu.Unlock()
	for _, x := range s.session.streams {
		if !there[x.Stream] {
			all = append(all, x)
		}
	}
	s.session.streams = nil
	return all
}

// Known is a welcome with what the spool remembers of the log, for a way out that may be gone
// while no collector answers.
func (s *Spool) Known() (w wire.Welcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Log, w.Incarnation = s.place.log.log, s.place.log.incarnation
	return w
}
