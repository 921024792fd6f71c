package ship

import (
	"net"
	"sync"
	"time"
)

// liveness decides whether a silent TCP connection is still one.
type liveness struct {
	deadAfter time.Duration

	mu        sync.Mutex
	heard     time.Time // when the collector was heard last, or the first batch in flight was sent
	confirmed uint64    // bytes that the collector's kernel has confirmed
	inFlight  int       // batches that wait for an answer
	largest   int       // text among those
}

// minRate is how many bytes a second a connection must carry to count as alive, where the
// time is the only evidence.
const minRate = 32 << 10

// hear notes that bytes came from the collector.
func (l *liveness) hear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = time.Now()
}

// start notes that a batch with n bytes of text is sent. Only the first batch in flight
// restarts the clock: otherwise a stream that starts now and then would keep a dead
// connection.
func (l *liveness) start(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inFlight == 0 {
		l.heard = time.Now()
	}
	l.inFlight++
	l.largest = max(l.largest, n)
}

// finish notes that a batch does not wait any more.
func (l *liveness) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inFlight--; l.inFlight == 0 {
		l.largest = 0
	}
}

// alive reports whether a silent connection may still be one. It may while the peer's
// kernel confirms bytes, however slowly, and for deadAfter after that. It is dead if bytes
// wait then and none was confirmed. A collector that does not read because its disk is full
// confirms nothing, but sends a pong now and then. Where all bytes were confirmed, or the
// system does not report it, a large text in flight gives the peer more time.
func (l *liveness) alive(conn net.Conn) bool {
	bytes, pending, known := confirmed(conn)
	l.mu.Lock()
	defer l.mu.Unlock()
	if bytes > l.confirmed {
		l.confirmed, l.heard = bytes, time.Now()
	}
	quiet := time.Since(l.heard)
	if quiet < l.deadAfter {
		return true
	}
	return !(known && pending) && quiet < l.deadAfter+time.Duration(l.largest)*time.Second/minRate
}
