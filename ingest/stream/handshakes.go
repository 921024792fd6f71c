package stream

import (
	"context"
	"sync"
	"time"
)

// handshakes limits how many TLS handshakes are under way at a time. When thousands of agents come
// back at once, all of theirs would otherwise end late, at about the same time, and time out together
// on a slow machine. So they end one after the other, and those that wait take little memory.
//
// A peer that is slow holds its place for handshakePlace alone, and none waits for longer than half of
// the time for a handshake: so silent peers keep no other out.
type handshakes struct{ places chan struct{} }

const (
	handshakesAtOnce = 256 // enough for 2,500 a second at a round trip of 100 ms
	handshakePlace   = time.Second
)

func newHandshakes() handshakes { return handshakes{make(chan struct{}, handshakesAtOnce)} }

// enter waits for a place, for as long as most and until ctx ends. leave gives it back.
func (h handshakes) enter(ctx context.Context, most time.Duration) (leave func()) {
	select {
	case h.places <- struct{}{}:
	default:
		late := time.NewTimer(most)
		defer late.Stop()
		select {
		case h.places <- struct{}{}:
		case <-late.C:
			return func() {}
		case <-ctx.Done():
			return func() {}
		}
	}
	free := sync.OnceFunc(func() { <-h.places })
	slow := time.AfterFunc(handshakePlace, free) // ends at once
	return func() {
		slow.Stop()
		free()
	}
}
