package ship

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"fanin/internal/wire"
)

// Streams that begin one after another do not make a dead connection look alive.
func TestNewBatchesKeepNoDeadConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		go io.Copy(io.Discard, theirs) // ends with the connection
		defer theirs.Close()
		defer ours.Close()
		s := newTCPSession(ours, &TCP{Timing: Timing{DeadAfter: 15 * time.Second}})
		begun := time.Now()
		s.live.hear()
		for n := byte(1); s.live.alive(ours); n++ {
			if time.Since(begun) > time.Minute {
				t.Fatal("the connection still counts as alive after a minute of silence")
			}
			if _, err := s.start(&wire.Batch{Stream: wire.StreamID{n}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
	})
}
