package agent

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// In a round, a peer that does not read its answers holds up no other.
func TestRoundStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rounds
		const peers = 5
		began, read := time.Now(), make(chan time.Duration, peers)
		all := make([]*answers, 2*peers)
		for i := range all {
			near, far := net.Pipe()
			defer far.Close()
			all[i] = &answers{nc: near, timeout: 30 * time.Second}
			all[i].queue([]byte("ack"))
			all[i].flushAfter(&r, 200*time.Millisecond)
			if i%2 > 0 {
				go func() { // ends with the first answer
					far.Read(make([]byte, 3))
					read <- time.Since(began)
				}()
			}
		}
		for range peers {
			if late := <-read; late < 200*time.Millisecond || late > 200*time.Millisecond+peers*roundStuck {
				t.Errorf("an answer came after %v", late)
			}
		}
		for _, a := range all {
			a.stop() // returns when the writes that are stuck have timed out
		}
		if took := time.Since(began); took > 33*time.Second {
			t.Errorf("the last write ended after %v", took)
		}
	})
}

// A connection that ends waits for no round, and is not written to any more.
func TestRoundStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rounds
		near, far := net.Pipe()
		defer far.Close()
		began := time.Now()
		a := &answers{nc: near, timeout: time.Second}
		a.queue([]byte("ack"))
		a.flushAfter(&r, 100*time.Millisecond)
		a.stop()
		if took := time.Since(began); took > 0 {
			t.Errorf("stopped after %v", took)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(r.due) > 0 || !a.healthy() || string(a.pending) != "ack" {
			t.Errorf("%d rounds are left; healthy %v, %q waits", len(r.due), a.healthy(), a.pending)
		}
	})
}
