package stream

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestHandshakes: as many as may be are under way at once, those that wait get the places of slow ones,
// and none waits for longer than it may.
func TestHandshakes(t *testing.T) {
	const most = 5 * time.Second
	f := func(name string, peers int, takes, want time.Duration) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, began := newHandshakes(), time.Now()
				var mu sync.Mutex
				var all sync.WaitGroup
				var last time.Duration // until one began
				now, peak := 0, 0
				for range peers {
					all.Go(func() {
						leave := h.enter(context.Background(), most)
						mu.Lock()
						now++
						peak, last = max(peak, now), max(last, time.Since(began))
						mu.Unlock()
						time.Sleep(min(takes, handshakePlace-1))
						mu.Lock()
						now--
						mu.Unlock()
						time.Sleep(takes - min(takes, handshakePlace-1))
						leave()
					})
				}
				all.Wait()
				if last != want || peak > handshakesAtOnce && want < most {
					t.Errorf("the last one began after %v, want %v; %d at once", last, want, peak)
				}
				if n := len(h.places); n != 0 {
					t.Errorf("%d places are held by none", n)
				}
			})
		})
	}
	f("few", handshakesAtOnce, 100*time.Millisecond, 0)
	f("a fleet", 10*handshakesAtOnce, 100*time.Millisecond, 900*time.Millisecond)
	f("silent", 3*handshakesAtOnce, 10*time.Second, 2*handshakePlace)
	f("too many that are silent", 20*handshakesAtOnce, 10*time.Second, most)
}
