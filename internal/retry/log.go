package retry

import (
	"log/slog"
	"sync"
	"time"
)

// LogEvery is the shortest time between two messages of one reason.
const LogEvery = 10 * time.Second

// Log logs at most one message for each reason in LogEvery, so that a peer cannot
// fill a disk with our messages. The next message of that reason then tells how many
// were left out. It is safe for concurrent use.
//
// Reasons must be a fixed few: none may come from a peer.
type Log struct {
	log *slog.Logger

	mu      sync.Mutex
	reasons map[string]*reason
}

// reason is what Log remembers of one kind of message.
type reason struct {
	last   time.Time // when one was logged
	hidden int       // messages left out since
}

// NewLog returns a Log that writes to log.
func NewLog(log *slog.Logger) *Log {
	return &Log{log: log, reasons: make(map[string]*reason)}
}

// Warn logs a warning, unless one of the same reason was logged just before.
func (l *Log) Warn(reason, text string, args ...any) {
	if hidden, ok := l.allow(reason); ok {
		l.log.Warn(text, withHidden(args, hidden)...)
	}
}

// Error is Warn for errors.
func (l *Log) Error(reason, text string, args ...any) {
	if hidden, ok := l.allow(reason); ok {
		l.log.Error(text, withHidden(args, hidden)...)
	}
}

func withHidden(args []any, hidden int) []any {
	if hidden == 0 {
		return args
	}
	return append(args, "like_this_not_shown", hidden)
}

// allow reports whether a message of this reason may be logged now, and how many
// were left out before it.
func (l *Log) allow(of string) (hidden int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.reasons[of]
	if r == nil {
		r = new(reason)
		l.reasons[of] = r
	}
	if now := time.Now(); now.Sub(r.last) >= LogEvery {
		hidden, r.hidden, r.last = r.hidden, 0, now
		return hidden, true
	}
	r.hidden++
	return 0, false
}
