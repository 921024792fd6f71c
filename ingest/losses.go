package ingest

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Losses counts what is lost at once, and reports it added up, at most once a second.
type Losses struct {
	Counter prometheus.Counter
	Report  func(n int64)

	mu    sync.Mutex
	n     int64
	timer *time.Timer // runs while something is to be reported
}

// Add counts n more.
func (l *Losses) Add(n int) {
	if n <= 0 {
		return
	}
	l.Counter.Add(float64(n))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n += int64(n); l.timer == nil {
		l.timer = time.AfterFunc(time.Second, l.Flush) // ends by itself, and Flush does its work before
	}
}

// Flush reports what was not reported yet.
func (l *Losses) Flush() {
	l.mu.Lock()
	n := l.n
	if l.timer != nil {
		l.timer.Stop()
	}
	l.n, l.timer = 0, nil
	l.mu.Unlock()
	if n > 0 {
		l.Report(n)
	}
}

// NewUnread returns what counts the bytes that a stop leaves unread in the sockets of an
// input's connections.
func NewUnread(m *Metrics, notice func(format string, args ...any), input string) *Losses {
	return &Losses{Counter: m.Counter("fanin_unread_bytes_total", "Bytes that a stop left unread in "+
		"sockets: their senders cannot know.", "", ""), Report: func(n int64) {
		notice("LOST n=%d unit=bytes reason=unread input=%s: they were in sockets when the collector stopped", n, input)
	}}
}
