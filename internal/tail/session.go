package tail

import (
	"cmp"
	"context"
	"sync"
	"time"

	"fanin/internal/wire"
)

// session is what a collector answered at the start of the last session: its log, where
// the streams are, and how much text a batch may have. The zero value is ready.
type session struct {
	mu       sync.Mutex
	welcome  *wire.Welcome                       // nil: there was none yet
	maxText  int                                 // of a batch; 0: there was no welcome
	streams  map[wire.StreamID]*wire.StreamState // of the welcome, without those that ended since
	archives map[wire.StreamID]*wire.StreamState // likewise, of archives: they are no files
	count    int64                               // of welcomes
	next     chan struct{}                       // closed at the next welcome; nil: nothing waits for it
}

// begin notes a welcome.
func (s *session) begin(w *wire.Welcome, maxText int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.welcome, s.maxText, s.streams = w, maxText, make(map[wire.StreamID]*wire.StreamState, len(w.Streams))
	s.archives = make(map[wire.StreamID]*wire.StreamState)
	for i := range w.Streams {
		x := &w.Streams[i]
		if len(x.Identity) > 0 && x.Identity[0] == archiveKind {
			s.archives[x.Stream] = x
		} else {
			s.streams[x.Stream] = x
		}
	}
	s.count++
	if s.next != nil {
		close(s.next)
		s.next = nil
	}
}

// last returns the last welcome, nil if there was none, and its number.
func (s *session) last() (*wire.Welcome, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.welcome, s.count
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

// batchText returns the most text that a batch may have.
func (s *session) batchText() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(s.maxText, wire.MaxText)
}

// watermark returns the log, and what its collector knows of a stream; nil if nothing.
func (s *session) watermark(id wire.StreamID) (logID, *wire.Watermark) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := cmp.Or(s.streams[id], s.archives[id]); x != nil {
		w := x.Watermark
		return s.logLocked(), &w
	}
	return s.logLocked(), nil
}

func (s *session) logLocked() logID {
	if s.welcome == nil {
		return logID{}
	}
	return logID{s.welcome.Log, s.welcome.Incarnation}
}

// mergeInto adds what the collector knows of the streams to what saved positions know.
func (s *session) mergeInto(known map[wire.StreamID]*savedPosition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, x := range s.streams {
		known[id] = merge(known[id], x, s.logLocked())
	}
}

// forget forgets a stream that ended.
func (s *session) forget(id wire.StreamID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, id)
}

// knowsMore reports whether the collector knows streams that are not among the saved positions.
func (s *session) knowsMore(positions map[wire.StreamID]*savedPosition) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.streams {
		if positions[id] == nil {
			return true
		}
	}
	return false
}

// Welcome tells the tailer what a collector answered at the start of a session, and the
// most text that a batch may have in this session.
func (t *Tailer) Welcome(w wire.Welcome, maxText int) { t.session.begin(&w, maxText) }

// awaitWelcome waits until a collector has answered where the streams are. That may
// take days, and the agent is alive meanwhile.
func (t *Tailer) awaitWelcome(ctx context.Context) error {
	tick := time.NewTicker(t.Poll)
	defer tick.Stop()
	for {
		met := t.session.nextWelcome()
		if w, _ := t.session.last(); w != nil {
			return nil
		}
		select {
		case <-met:
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if t.Alive != nil {
				t.Alive()
			}
		}
	}
}

// Known is a welcome with what the saved positions know of the log: for a way out that may be
// gone while no collector answers. It is empty before Run has read the saved positions.
func (t *Tailer) Known() wire.Welcome {
	var w wire.Welcome
	t.mu.Lock()
	positions := t.positions
	t.mu.Unlock()
	if positions == nil {
		return w
	}
	for _, m := range positions.all() {
		w.Log, w.Incarnation = m.Log.log, m.Log.incarnation
	}
	return w
}
