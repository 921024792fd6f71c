package sink

import (
	"sync"
	"time"

	"fanin/internal/escape"
)

// notices are the log's own lines on their way to the writer. Any goroutine may post
// one, and does not wait. The writer posts too, in the middle of a commit, for instance:
// its notice is then part of the next group, which it begins at once (see wake).
type notices struct {
	mu   sync.Mutex
	list []notice
	wake chan struct{} // has an element while list may have one
}

type notice struct {
	time int64
	text []byte
}

// maxNotices may wait. More are counted and dropped, so that many events in a short time
// do not become as many lines.
const maxNotices = 256

func (n *notices) post(text string) bool {
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

// Notice writes a line of the log's own (source "fanin") into the log, and to Log at
// level Warn, and counts it. The args are escaped. It does not wait.
func (s *Sink) Notice(format string, args ...any) {
	text := escape.Sprintf(format, args...)
	s.Log.Warn(text)
	s.counts.notices.posted.Add(1)
	if !s.queue.notices.post(text) {
		s.counts.notices.dropped.Add(1)
	}
}
