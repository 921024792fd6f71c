package ingest

import (
	"log/slog"
	"sync"
	"time"
)

// sayer logs what peers do at most once in ten seconds for each reason, so
// that nobody can fill a disk with our messages, and says how many it left out.
type sayer struct {
	log *slog.Logger

	mu   sync.Mutex
	said map[string]*saying // by reason: a fixed few
}

type saying struct {
	last time.Time
	kept int // messages left out since
}

const sayEvery = 10 * time.Second

func newSayer(log *slog.Logger) *sayer {
	return &sayer{log: log, said: make(map[string]*saying)}
}

func (s *sayer) warn(reason, text string, args ...any) {
	if kept, ok := s.turn(reason); ok {
		if kept > 0 {
			args = append(args, "like_this_not_shown", kept)
		}
		s.log.Warn(text, args...)
	}
}

func (s *sayer) turn(reason string) (kept int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.said[reason]
	if x == nil {
		x = new(saying)
		s.said[reason] = x
	}
	if now := time.Now(); now.Sub(x.last) >= sayEvery {
		kept, x.kept, x.last = x.kept, 0, now
		return kept, true
	}
	x.kept++
	return 0, false
}
