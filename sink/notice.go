package sink

import (
	"sync"
	"time"

	"fanin/internal/escape"
)

// notices are the log's own lines on their way to the writer. Anybody may leave
// one, the writer itself too; nobody waits.
type notices struct {
	mu   sync.Mutex
	list []notice
	wake chan struct{}
}

type notice struct {
	time int64
	text []byte
}

// maxNotices may wait; more are counted and dropped, so that no flood of
// mishaps becomes a flood of lines.
const maxNotices = 256

func (n *notices) put(text string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.list) >= maxNotices {
		return false
	}
	n.list = append(n.list, notice{time.Now().UnixMicro(), []byte(text + "\n")})
	select {
	case n.wake <- struct{}{}:
	default:
	}
	return true
}

func (n *notices) take() []notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.list
	n.list = nil
	return list
}

// Notice puts a line of the log's own (source "fanin") into the log, on stderr
// through Log at level Warn, and counts it. What args say is escaped. It does not wait.
func (s *Sink) Notice(format string, args ...any) {
	text := escape.Sprintf(format, args...)
	s.Log.Warn(text)
	s.counts.notices.posted.Add(1)
	if !s.queue.notices.put(text) {
		s.counts.notices.dropped.Add(1)
	}
}
